//! The flows of the last day in a file, from an orderly end of the daemon to its next start.
//!
//! Ports and switches are named, since their numbers may change; a port that is gone is one that no rule names, a switch
//! that is gone takes its flows with it. Times are kept as ages. What is older than the clock of the host, which begins
//! with its start, cannot be told and is left out.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_filter::event::Tuple;
use weir_filter::flow::UNKNOWN_PORT;
use weir_ports::clock;
use weir_wire::{Instant, PortId, Vid};

use crate::flow_log::{FlowLog, KEPT, Recorded};
use crate::kept_file::{self, seconds_now};
use crate::published::{Board, Snapshot};

/// What the file has.
const KIND: &str = "flows";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Seconds since its last packet, and from its first to its last.
    age_s: u64,
    took_s: u64,
    switch: String,
    vlan: u16,
    protocol: u8,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    port: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    out: Option<String>,
    packets: u64,
}

/// Keeps the flows that are remembered; logs what becomes of them.
pub fn save(log: &FlowLog, board: &Board, path: &Path) {
    let now = clock::monotonic();
    let lines: Vec<Line> = log.since(Instant::ZERO).iter().map(|flow| line(flow, board, now)).collect();
    if lines.is_empty() {
        return;
    }
    match kept_file::write(path, KIND, &lines, seconds_now()) {
        Ok(()) => tracing::info!("{} flows of the last day are kept in {}", lines.len(), path.display()),
        Err(error) => tracing::warn!("{}: the flows of the last day cannot be kept: {error}", path.display()),
    }
}

/// Takes up what was kept, if anything was.
pub fn restore(log: &FlowLog, snapshot: &Snapshot, path: &Path) {
    match kept_file::take::<Line>(path, KIND, KEPT, seconds_now()) {
        None => {}
        Some(Ok((passed_s, lines))) => {
            let now = clock::monotonic();
            let flows: Vec<Recorded> = lines.iter().filter_map(|line| flow(line, snapshot, now, passed_s)).collect();
            tracing::info!("{} of {} flows of the last day are remembered again", flows.len(), lines.len());
            log.take_up(flows);
        }
        Some(Err(reason)) => tracing::warn!("{}: the flows of the last day are lost: {reason}", path.display()),
    }
}

fn line(flow: &Recorded, board: &Board, now: Instant) -> Line {
    let names = board.names(flow.epoch);
    let tuple = flow.tuple;
    Line {
        age_s: now.since(flow.last).as_secs(),
        took_s: flow.last.since(flow.start).as_secs(),
        switch: names.switch(flow.switch),
        vlan: flow.vid.0,
        protocol: tuple.protocol,
        from: (tuple.source, tuple.source_port),
        to: (tuple.destination, tuple.destination_port),
        port: names.port(flow.ports.0),
        out: flow.ports.1.map(|port| names.port(port)),
        packets: flow.packets,
    }
}

fn flow(line: &Line, snapshot: &Snapshot, now: Instant, passed_s: u64) -> Option<Recorded> {
    let back = |from: Instant, seconds: u64| {
        let by = u64::try_from(Duration::from_secs(seconds).as_nanos()).ok()?;
        from.0.checked_sub(by).map(Instant)
    };
    let last = back(now, line.age_s.checked_add(passed_s)?)?;
    let port = |name: &str| -> PortId { snapshot.ids.port(name).unwrap_or(UNKNOWN_PORT) };
    Some(Recorded {
        start: back(last, line.took_s).unwrap_or(Instant::ZERO),
        last,
        epoch: snapshot.epoch,
        switch: snapshot.names.switch_id(&line.switch)?,
        vid: Vid(line.vlan),
        tuple: Tuple {
            source: line.from.0,
            destination: line.to.0,
            source_port: line.from.1,
            destination_port: line.to.1,
            protocol: line.protocol,
        },
        ports: (port(&line.port), line.out.as_deref().map(port)),
        packets: line.packets,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_wire::Epoch;

    use super::*;
    use crate::config::Config;
    use crate::published::Names;
    use crate::state::Ids;

    fn snapshot(state: &str, epoch: u64) -> Snapshot {
        let config = Config::parse(state).expect("parses");
        let ids = Ids::default().after(&config);
        let names = Arc::new(Names::of(&config, &ids, Epoch(epoch), Instant::ZERO));
        Snapshot { config, ids, epoch: Epoch(epoch), names, ..Snapshot::default() }
    }

    const BEFORE: &str = "switch = [{ name = \"lan\" }]\nport = [{ name = \"a\", switch = \"lan\", mem = {} }, { name = \"b\", switch = \"lan\", mem = {} }]";
    const AFTER: &str =
        "switch = [{ name = \"dmz\" }, { name = \"lan\" }]\nport = [{ name = \"b\", switch = \"lan\", mem = {} }]";

    #[test]
    fn a_flow_is_the_same_by_its_names_and_has_grown_older() {
        let (before, after) = (snapshot(BEFORE, 1), snapshot(AFTER, 7));
        let board = Board::default();
        board.announce(Arc::clone(&before.names));
        let tuple = Tuple {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            source_port: 1000,
            destination_port: 80,
            protocol: 6,
        };
        let port = |name: &str| before.ids.port(name).expect("is there");
        let recorded = Recorded {
            start: Instant::from_secs(90),
            last: Instant::from_secs(95),
            epoch: Epoch(1),
            switch: before.names.switch_id("lan").expect("is there"),
            vid: Vid(3),
            tuple,
            ports: (port("a"), Some(port("b"))),
            packets: 12,
        };
        let kept = line(&recorded, &board, Instant::from_secs(100));
        let again = flow(&kept, &after, Instant::from_secs(200), 30).expect("its switch is there");
        assert_eq!((again.start, again.last), (Instant::from_secs(160), Instant::from_secs(165)));
        let b = after.ids.port("b").expect("is there");
        assert_eq!((again.ports, again.epoch), ((UNKNOWN_PORT, Some(b)), Epoch(7)));
        assert_eq!(after.names.switch(again.switch), "lan");
        assert_eq!((again.tuple, again.vid, again.packets), (tuple, Vid(3), 12));
        assert!(flow(&kept, &after, Instant::from_secs(20), 30).is_none(), "the host has started since");
        let gone = Line { switch: "gone".into(), ..kept };
        assert!(flow(&gone, &after, Instant::from_secs(200), 30).is_none());
    }
}
