//! Bindings of first-hop security in a file, from an orderly end of the daemon to its next start: whose an address was is
//! known before the first guest speaks.

use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_fabric::first_hop::{BINDINGS_MAX, KeptHold};
use weir_wire::{MacAddr, Vid};

use crate::commit::Controller;
use crate::kept_file::{self, seconds_now};
use crate::published::Snapshot;

/// What the file has.
const KIND: &str = "addresses";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    switch: String,
    vlan: u16,
    address: IpAddr,
    port: String,
    mac: [u8; 6],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_s: Option<u32>,
    idle_s: u32,
    heard: bool,
}

/// Keeps the bindings that stand; logs what becomes of them.
pub async fn save(controller: &Controller, path: &Path) {
    let Ok(kept) = controller.worker().ask_all(|view| view.fabric.keep_holds(view.now)).await else { return };
    let kept = kept.concat();
    if kept.is_empty() {
        return;
    }
    let snapshot = controller.snapshot();
    let lines: Vec<Line> = kept.iter().map(|hold| line(hold, &snapshot)).collect();
    match kept_file::write(path, KIND, &lines, seconds_now()) {
        Ok(()) => tracing::info!("{} addresses of guests are kept in {}", lines.len(), path.display()),
        Err(error) => tracing::warn!("{}: whose the addresses of guests are cannot be kept: {error}", path.display()),
    }
}

/// Takes up what was kept, if anything was.
pub async fn restore(controller: &Controller, path: &Path) {
    match kept_file::take::<Line>(path, KIND, BINDINGS_MAX, seconds_now()) {
        None => {}
        Some(Ok((passed_s, lines))) => {
            let snapshot = controller.snapshot();
            let holds: Vec<KeptHold> = lines.iter().filter_map(|line| hold(line, &snapshot, passed_s)).collect();
            // Each network takes up those of its own ports.
            let asked = controller.worker().ask_all(move |view| view.fabric.restore_holds(view.now, &holds)).await;
            match asked.map(|stand| stand.iter().sum::<usize>()) {
                Ok(stand) => tracing::info!("{stand} of {} addresses of guests are bound again", lines.len()),
                Err(gone) => tracing::warn!("whose the addresses of guests are is lost: {gone}"),
            }
        }
        Some(Err(reason)) => {
            tracing::warn!("{}: whose the addresses of guests are is lost: {reason}", path.display());
        }
    }
}

fn line(hold: &KeptHold, snapshot: &Snapshot) -> Line {
    let KeptHold { place: (switch, vid, address), port, mac, left_s, idle_s, heard } = *hold;
    let names = &snapshot.names;
    Line {
        switch: names.switch(switch),
        vlan: vid.0,
        address,
        port: names.port(port),
        mac: mac.0,
        left_s,
        idle_s,
        heard,
    }
}

/// `None` where its port or its switch is gone, or its lease is over.
fn hold(line: &Line, snapshot: &Snapshot, passed_s: u64) -> Option<KeptHold> {
    let passed_s = u32::try_from(passed_s).unwrap_or(u32::MAX);
    let left_s = match line.left_s {
        Some(left) => Some(left.checked_sub(passed_s).filter(|left| *left > 0)?),
        None => None,
    };
    Some(KeptHold {
        place: (snapshot.names.switch_id(&line.switch)?, Vid(line.vlan), line.address),
        port: snapshot.ids.port(&line.port)?,
        mac: MacAddr(line.mac),
        left_s,
        idle_s: line.idle_s.saturating_add(passed_s),
        heard: line.heard,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_wire::{Epoch, Instant};

    use super::*;
    use crate::config::Config;
    use crate::published::Names;
    use crate::state::Ids;

    fn snapshot(state: &str) -> Snapshot {
        let config = Config::parse(state).expect("parses");
        let ids = Ids::default().after(&config);
        let names = Arc::new(Names::of(&config, &ids, Epoch(1), Instant::ZERO));
        Snapshot { config, ids, names, ..Snapshot::default() }
    }

    #[test]
    fn a_binding_finds_its_port_again_and_a_lease_that_is_over_does_not() {
        let before = snapshot(
            "switch = [{ name = \"lan\" }]\nport = [{ name = \"a\", switch = \"lan\", mem = {} }, { name = \"b\", switch = \"lan\", mem = {} }]",
        );
        let after = snapshot(
            "switch = [{ name = \"dmz\" }, { name = \"lan\" }]\nport = [{ name = \"b\", switch = \"lan\", mem = {} }]",
        );
        let of = |port: &str, left_s| KeptHold {
            place: (before.names.switch_id("lan").expect("is there"), Vid(0), [10, 0, 0, 2].into()),
            port: before.ids.port(port).expect("is there"),
            mac: MacAddr([2, 0, 0, 0, 0, 2]),
            left_s,
            idle_s: 5,
            heard: false,
        };
        let again = hold(&line(&of("b", Some(100)), &before), &after, 40).expect("its port is there");
        assert_eq!(after.names.switch(again.place.0), "lan");
        assert_eq!((Some(again.port), again.left_s, again.idle_s), (after.ids.port("b"), Some(60), 45));
        assert_eq!(hold(&line(&of("b", None), &before), &after, 40).map(|hold| hold.left_s), Some(None));
        assert_eq!(hold(&line(&of("b", Some(40)), &before), &after, 40), None, "its lease is over");
        assert_eq!(hold(&line(&of("a", None), &before), &after, 0), None, "its port is gone");
    }
}
