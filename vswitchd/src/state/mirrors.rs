//! Mirrors in the fabric's terms.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use weir_fabric::mirror::erspan::Erspan;
use weir_fabric::mirror::filter::Filter;
use weir_fabric::mirror::{MirrorConfig, Sink, Source};
use weir_wire::Vid;

use super::Ids;
use crate::config::{Config, Direction, Mirror, erspan_interface};

/// All mirrors. `outlets`: the numbers of those that go to files or by the host, by the mirrors' names.
pub fn mirrors(desired: &Config, ids: &Ids, outlets: &BTreeMap<String, u64>) -> Vec<MirrorConfig> {
    desired.mirrors.iter().filter_map(|mirror| config(mirror, desired, ids, outlets)).collect()
}

fn config(mirror: &Mirror, desired: &Config, ids: &Ids, outlets: &BTreeMap<String, u64>) -> Option<MirrorConfig> {
    let (inward, outward) = match mirror.direction {
        Direction::In => (true, false),
        Direction::Out => (false, true),
        Direction::Both => (true, true),
    };
    let looked_at = desired.ports.iter().filter(|port| {
        let named = mirror.ports.contains(&port.name) || mirror.switches.contains(&port.switch);
        // The analyser's port does not see its own copies.
        named && mirror.port.as_ref() != Some(&port.name)
    });
    let sources = looked_at.filter_map(|port| Some(Source { port: ids.port(&port.name)?, inward, outward }));
    let outlet = || outlets.get(&mirror.name).copied();
    let sink = match (&mirror.port, &mirror.erspan) {
        (Some(port), _) => Sink::Port(ids.port(port)?),
        (None, None) => Sink::Handed(outlet()?),
        (None, Some(wanted)) => {
            let erspan = |source: Ipv4Addr| Erspan {
                source,
                destination: wanted.to,
                session: wanted.session,
                is_type_3: wanted.kind == 3,
            };
            match &wanted.router {
                None => Sink::HandedErspan(outlet()?, erspan(wanted.from.unwrap_or(Ipv4Addr::UNSPECIFIED))),
                Some(name) => {
                    let (interface, own) = erspan_interface(desired.router(name)?, wanted.from)?;
                    Sink::Erspan(ids.interface(name, interface)?, erspan(own))
                }
            }
        }
    };
    Some(MirrorConfig {
        name: mirror.name.clone(),
        sources: sources.collect(),
        vids: mirror.vlans.iter().map(|&vid| Vid(vid)).collect(),
        // A checked state's filters compile.
        filter: Filter::parse(&mirror.filter).ok()?,
        one_of: mirror.one_of,
        snap: mirror.snap,
        sink,
    })
}
