//! Mirrors as they are wanted.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use weir_fabric::mirror::filter::Filter;

use super::check::{Problems, VID_MAX, unique};
use super::values::one_or_many;
use super::{Config, is_default};

/// Mirrors at most.
pub const MIRRORS_MAX: usize = weir_fabric::mirror::MIRRORS;

/// Copies of frames for an analyser. Exactly one of `port`, `file` and `erspan` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// Its name.
    pub name: String,
    /// Ports that it looks at.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ports: Vec<String>,
    /// Switches whose ports it looks at.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub switches: Vec<String>,
    /// VLANs that it looks at; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    /// What comes in by the ports, what leaves by them, or both.
    #[serde(default, skip_serializing_if = "is_default")]
    pub direction: Direction,
    /// What it takes, as in tcpdump; absent: all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// One of so many; 0 and 1: all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub one_of: u32,
    /// Bytes of each frame; 0: all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub snap: u32,
    /// To a port.
    #[serde(default, rename = "to_port", skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// To a capture file.
    #[serde(default, rename = "to_file", skip_serializing_if = "Option::is_none")]
    pub file: Option<CaptureFile>,
    /// To an address, in ERSPAN.
    #[serde(default, rename = "to_erspan", skip_serializing_if = "Option::is_none")]
    pub erspan: Option<ErspanTo>,
}

/// Which frames of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Those that come in by it.
    In,
    /// Those that leave by it.
    Out,
    /// All.
    #[default]
    Both,
}

/// Capture files that take turns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureFile {
    /// The file that is written; older ones get `.1`, `.2` and so on.
    pub path: String,
    /// A file is full with so many megabytes.
    #[serde(default = "hundred")]
    pub megabytes: u32,
    /// Files that are kept, the one that is written included.
    #[serde(default = "four")]
    pub files: u32,
}

fn hundred() -> u32 {
    100
}

fn four() -> u32 {
    4
}

/// An analyser that takes ERSPAN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErspanTo {
    /// Its address.
    pub to: Ipv4Addr,
    /// Our address: one of the router's; absent: the router's first, or as the host has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Ipv4Addr>,
    /// The session, 0 to 1023.
    #[serde(default = "one", rename = "session")]
    pub session: u16,
    /// 2 or 3.
    #[serde(default = "two", rename = "type")]
    pub kind: u8,
    /// The router that sends; absent: the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
}

fn one() -> u16 {
    1
}

fn two() -> u8 {
    2
}

impl Config {
    pub(super) fn check_mirrors(&self, problems: &mut Problems) {
        let count = self.mirrors.len();
        problems
            .unless(count <= MIRRORS_MAX, || format!("{count} mirrors are more than the {MIRRORS_MAX} a daemon takes"));
        unique("mirror", self.mirrors.iter().map(|mirror| mirror.name.as_str()), problems);
        self.mirrors.iter().for_each(|mirror| self.check_mirror(mirror, problems));
    }

    fn check_mirror(&self, mirror: &Mirror, problems: &mut Problems) {
        let name = &mirror.name;
        for port in mirror.ports.iter().chain(&mirror.port) {
            problems.unless(self.port(port).is_some(), || format!("mirror {name}: there is no port \"{port}\""));
        }
        for switch in &mirror.switches {
            problems
                .unless(self.switch(switch).is_some(), || format!("mirror {name}: there is no switch \"{switch}\""));
        }
        problems.unless(!(mirror.ports.is_empty() && mirror.switches.is_empty()), || {
            format!("mirror {name}: it looks at nothing; give ports or switches")
        });
        problems.unless(mirror.vlans.iter().all(|&vlan| vlan <= VID_MAX), || {
            format!("mirror {name}: a VLAN is above {VID_MAX}")
        });
        if let Err(error) = Filter::parse(&mirror.filter) {
            problems.add(format!("mirror {name}: filter: {error}"));
        }
        let sinks = usize::from(mirror.port.is_some())
            + usize::from(mirror.file.is_some())
            + usize::from(mirror.erspan.is_some());
        problems.unless(sinks == 1, || format!("mirror {name}: give one of to_port, to_file and to_erspan"));
        if let Some(port) = &mirror.port {
            problems.unless(!mirror.ports.contains(port), || {
                format!("mirror {name}: port {port} would see its own copies; mirror other ports to it")
            });
        }
        if let Some(file) = &mirror.file {
            problems.unless(file.path.starts_with('/'), || {
                format!("mirror {name}: file \"{}\" must be absolute", file.path)
            });
            problems.unless((1..=1_000_000).contains(&file.megabytes) && (1..=1000).contains(&file.files), || {
                format!("mirror {name}: give a file 1 to 1000000 megabytes, and 1 to 1000 files")
            });
        }
        if let Some(erspan) = &mirror.erspan {
            self.check_erspan(name, erspan, problems);
        }
    }

    fn check_erspan(&self, name: &str, erspan: &ErspanTo, problems: &mut Problems) {
        problems.unless(erspan.session < 1024, || format!("mirror {name}: session is above 1023"));
        problems.unless(matches!(erspan.kind, 2 | 3), || format!("mirror {name}: ERSPAN has the types 2 and 3"));
        problems.unless(!erspan.to.is_unspecified() && !erspan.to.is_multicast(), || {
            format!("mirror {name}: {} is no address of an analyser", erspan.to)
        });
        let Some(router) = &erspan.router else { return };
        match self.router(router) {
            None => problems.add(format!("mirror {name}: there is no router \"{router}\"")),
            Some(known) => problems.unless(erspan_interface(known, erspan.from).is_some(), || {
                format!("mirror {name}: router {router} has no interface with that IPv4 address; give another \"from\"")
            }),
        }
    }
}

/// The interface of a router by which ERSPAN begins, and its address.
pub fn erspan_interface(router: &super::Router, from: Option<Ipv4Addr>) -> Option<(&str, Ipv4Addr)> {
    router.interfaces.iter().find_map(|interface| {
        let own = interface.addresses.iter().filter_map(|network| match network.ip() {
            std::net::IpAddr::V4(own) => Some(own),
            std::net::IpAddr::V6(_) => None,
        });
        let mut own = own.filter(|own| from.is_none_or(|from| from == *own));
        own.next().map(|own| (interface.name.as_str(), own))
    })
}
