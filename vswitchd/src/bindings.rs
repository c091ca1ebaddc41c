//! Bindings of address translation in a file ([`crate::kept_file`]), from an orderly end of the daemon to its next start.
//!
//! Routers are named, since their numbers may change. A file that is of no use is not used: the reason is logged. Limit: as
//! many bindings as the daemon has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_fabric::nat::bindings::{BINDINGS_MAX, Names as BindingNames};
use weir_fabric::nat::kept::KeptBinding;
use weir_wire::SwitchId;

use crate::commit::Controller;
use crate::kept_file::{self, seconds_now};
use crate::published::Names;
use crate::worker::Gone;

/// What the file has.
const KIND: &str = "bindings";
/// Bindings put back at a time: traffic waits meanwhile.
const CHUNK: usize = 8192;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    zone: String,
    protocol: u8,
    inside: (IpAddr, u16),
    outside: (IpAddr, u16),
    remote: (IpAddr, u16),
    idle_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expects: Option<IpAddr>,
}

/// Keeps the bindings that stand; logs what becomes of them.
pub async fn save(controller: &Controller, path: &Path) {
    let Ok(kept) = controller.worker().ask_all(|view| view.fabric.keep_bindings(view.now)).await else { return };
    let kept = kept.concat();
    if kept.is_empty() {
        return;
    }
    let lines = lines(&kept, &controller.snapshot().names);
    match kept_file::write(path, KIND, &lines, seconds_now()) {
        Ok(()) => tracing::info!("{} bindings of address translation are kept in {}", kept.len(), path.display()),
        Err(error) => tracing::warn!("{}: bindings of address translation cannot be kept: {error}", path.display()),
    }
}

/// Takes up what was kept, if anything was.
pub async fn restore(controller: &Controller, path: &Path) {
    match kept_file::take::<Line>(path, KIND, BINDINGS_MAX, seconds_now()) {
        None => {}
        Some(Ok((passed_s, lines))) => {
            let kept = bindings(&lines, &controller.snapshot().names, passed_s);
            match put_back(controller, kept).await {
                Ok((stand, all)) => tracing::info!("{stand} of {all} bindings of address translation stand again"),
                Err(gone) => tracing::warn!("bindings of address translation are lost: {gone}"),
            }
        }
        Some(Err(reason)) => tracing::warn!("{}: bindings of address translation are lost: {reason}", path.display()),
    }
}

async fn put_back(controller: &Controller, kept: Vec<KeptBinding>) -> Result<(usize, usize), Gone> {
    let (all, mut stand) = (kept.len(), 0);
    for chunk in kept.chunks(CHUNK) {
        let chunk = chunk.to_vec();
        // Each network takes up those of its own routers.
        let stood = controller.worker().ask_all(move |view| view.fabric.restore_bindings(view.now, &chunk)).await?;
        stand += stood.iter().sum::<usize>();
    }
    Ok((stand, all))
}

fn lines(kept: &[KeptBinding], names: &Names) -> Vec<Line> {
    let line = |KeptBinding { names: binding, idle_s, expects }: &KeptBinding| {
        let BindingNames { zone, protocol, inside, outside, remote } = *binding;
        let zone = names.switch(SwitchId(zone));
        Line { zone, protocol, inside, outside, remote, idle_s: *idle_s, expects: *expects }
    };
    kept.iter().map(line).collect()
}

/// The bindings of these lines, so many seconds older. A router that is gone has taken its own with it.
fn bindings(lines: &[Line], names: &Names, passed_s: u64) -> Vec<KeptBinding> {
    let zones: HashMap<&str, u16> = names.zones().collect();
    let binding = |line: &Line| {
        let Line { protocol, inside, outside, remote, idle_s, expects, .. } = *line;
        let names = BindingNames { zone: *zones.get(line.zone.as_str())?, protocol, inside, outside, remote };
        Some(KeptBinding { names, idle_s: idle_s.saturating_add(passed_s), expects })
    };
    lines.iter().filter_map(binding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::state::Ids;

    fn names() -> Names {
        let config =
            Config::parse("switch = [{ name = \"lan\" }]\nrouter = [{ name = \"edge\" }, { name = \"other\" }]");
        let config = config.expect("parses");
        let ids = Ids::default().after(&config);
        Names::of(&config, &ids, Default::default(), Default::default())
    }

    fn kept(names: &Names) -> Vec<KeptBinding> {
        let zone = names.zones().find(|(name, _)| *name == "other").expect("a zone").1;
        let end = |text: &str, port| (text.parse().expect("an address"), port);
        let names = BindingNames {
            zone,
            protocol: 17,
            inside: end("10.0.0.1", 5000),
            outside: end("198.51.100.1", 5001),
            remote: end("192.0.2.1", 53),
        };
        let second = BindingNames { inside: end("fd00::1", 1), outside: end("2001:db8::1", 2), ..names };
        let expects = Some(end("2001:db8::9", 0).0);
        vec![
            KeptBinding { names, idle_s: 7, expects: None },
            KeptBinding { names: BindingNames { remote: end("0.0.0.0", 0), ..second }, idle_s: 0, expects },
        ]
    }

    #[test]
    fn what_is_kept_is_the_same_by_its_names_and_has_grown_older() {
        let names = names();
        let before = kept(&names);
        let text = serde_json::to_string(&lines(&before, &names)).expect("written");
        let read: Vec<Line> = serde_json::from_str(&text).expect("read");
        let after = bindings(&read, &names, 30);
        let idle: Vec<u64> = after.iter().map(|kept| kept.idle_s).collect();
        assert_eq!(idle, [37, 30]);
        assert!(before.iter().zip(&after).all(|(a, b)| (a.names, a.expects) == (b.names, b.expects)));
    }

    #[test]
    fn a_router_that_is_gone_takes_its_bindings_along() {
        let names = names();
        let mut all = lines(&kept(&names), &names);
        all[0].zone = "gone".into();
        assert_eq!(bindings(&all, &names, 0).len(), 1);
    }
}
