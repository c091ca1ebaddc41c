//! Choices for captures, by the names of Suricata's configuration.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use super::flow::State;
use crate::decode::{self, defrag};
use crate::eve::kinds::{Bodies, Kinds};
use crate::hosts::Hosts;

/// What is done where something cannot be inspected as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Go on.
    Ignore,
    /// Drop the packet.
    DropPacket,
    /// Drop the packet and the rest of the flow.
    DropFlow,
    /// Refuse the packet with an answer, drop the rest of the flow.
    Reject,
    /// Let the packet through uninspected.
    PassPacket,
    /// Let the packet and the rest of the flow through uninspected.
    PassFlow,
    /// Follow the flow no more.
    Bypass,
}

impl Policy {
    /// By the name in the configuration; `None` for `auto`.
    pub fn from_name(name: &str) -> Option<Policy> {
        Some(match name {
            "ignore" => Policy::Ignore,
            "drop-packet" => Policy::DropPacket,
            "drop-flow" => Policy::DropFlow,
            "reject" | "reject-both" => Policy::Reject,
            "pass-packet" => Policy::PassPacket,
            "pass-flow" => Policy::PassFlow,
            "bypass" => Policy::Bypass,
            _ => return None,
        })
    }

    /// The name that EVE gives it.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Ignore => "ignore",
            Policy::DropPacket => "drop_packet",
            Policy::DropFlow => "drop_flow",
            Policy::Reject => "reject",
            Policy::PassPacket => "pass_packet",
            Policy::PassFlow => "pass_flow",
            Policy::Bypass => "bypass",
        }
    }
}

/// Whose data counts where TCP segments overlap, in passive mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// A segment that begins before the other. Windows does the same.
    #[default]
    Bsd,
    /// Or begins with it and is longer.
    Linux,
    /// Or begins with it and is not shorter.
    OldLinux,
    /// A segment that ends after the other, or ends with it and does not begin after it.
    Solaris,
    /// The one that came first.
    First,
    /// The one that came last.
    Last,
}

/// What is done with urgent data (RFC 6093).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgent {
    /// The byte before the urgent pointer is no part of the stream.
    #[default]
    OutOfBand,
    /// It is a part of the stream.
    Inline,
    /// The packet is dropped.
    Drop,
    /// The whole segment is left out.
    Gap,
}

/// Seconds after which flows are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP: new, established, closed.
    pub tcp: [u64; 3],
    /// UDP: new, established.
    pub udp: [u64; 2],
    /// ICMP: new, established.
    pub icmp: [u64; 2],
    /// Others: new, established.
    pub other: [u64; 2],
    /// Flows that are followed no more.
    pub bypassed: u64,
}

impl Timeouts {
    /// Seconds for a flow.
    #[inline]
    pub fn of(&self, protocol: u8, state: State) -> u64 {
        let pair = match protocol {
            6 => {
                let [new, established, closed] = self.tcp;
                return match state {
                    State::New => new,
                    State::Established => established,
                    State::Closed => closed,
                    State::Bypassed => self.bypassed,
                };
            }
            17 => self.udp,
            1 | 58 => self.icmp,
            _ => self.other,
        };
        match state {
            State::New => pair[0],
            State::Established | State::Closed => pair[1],
            State::Bypassed => self.bypassed,
        }
    }
}

/// Choices of the stream engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Data is inspected as it comes; the first copy counts.
    pub inline: bool,
    /// Connections are taken up in their middle.
    pub midstream: bool,
    /// What is done with such connections.
    pub midstream_policy: Policy,
    /// Connections of which one side is seen are taken up.
    pub async_oneside: bool,
    /// Packets that do not fit their connection are dropped, where packets can be.
    pub drop_invalid: bool,
    /// Segments with bad checksums are ignored.
    pub checksum_validation: bool,
    /// Bytes of a direction that are inspected; 0 is no limit.
    pub depth: u64,
    /// Overlaps.
    pub overlap: Hosts<Overlap>,
    /// Urgent data.
    pub urgent: Urgent,
    /// Bytes held beyond holes or unacknowledged, in one direction.
    pub held: usize,
    /// The same of all flows together.
    pub memory: usize,
    /// SYNs that differ, remembered for one connection.
    pub syns: u8,
    /// The same of SYN/ACKs.
    pub syn_acks: u8,
    /// Parsers follow encrypted traffic no more (`app-layer.protocols.tls.encryption-handling: bypass`).
    pub bypass: bool,
}

/// Choices for captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Packets can be refused.
    pub ips: bool,
    /// Decoder.
    pub decode: decode::Settings,
    /// Checksums are computed where rules ask for them, though bad ones are not acted upon.
    pub checksums_asked: bool,
    /// Streams.
    pub stream: StreamSettings,
    /// Ends of flows.
    pub timeouts: Timeouts,
    /// Flows at once.
    pub flows: usize,
    /// VLANs tell flows apart.
    pub vlan_tracking: bool,
    /// What is done where a parser gives up.
    pub app_error: Policy,
    /// Seed of the flow table.
    pub seed: u64,
    /// Events that are written.
    pub kinds: Kinds,
}

/// Named options, as the configuration has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub BTreeMap<String, String>);

impl Options {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether it says yes; `default` where it says nothing.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            Some("yes" | "true" | "on" | "1") => true,
            Some("no" | "false" | "off" | "0") => false,
            Some(_) | None => default,
        }
    }

    /// A number.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.get(name).and_then(|text| text.trim().parse().ok()).unwrap_or(default)
    }

    /// A size: a number with `b`, `kb`, `mb`, `gb` or without.
    pub fn size(&self, name: &str, default: u64) -> u64 {
        self.get(name).and_then(size).unwrap_or(default)
    }

    /// Ports out of a list.
    pub fn ports(&self, name: &str) -> Option<Vec<u16>> {
        let text = self.get(name)?;
        Some(text.split([',', '[', ']', ' ']).filter_map(|part| part.trim().parse().ok()).collect())
    }
}

/// A size in bytes, as the configuration writes it.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = match text.get(digits.len()..)?.trim() {
        "" | "b" => 1,
        "kb" | "k" | "kib" => 1 << 10,
        "mb" | "m" | "mib" => 1 << 20,
        "gb" | "g" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

impl Settings {
    /// From options; what they do not name is as Suricata has it by default.
    pub fn from_options(options: &Options, ips: bool) -> Settings {
        let checksum = options.get("checksum") != Some("none");
        let capture_checks = !matches!(options.get("pcap-file.checksum-checks"), Some("no" | "false" | "off"));
        let defaults = decode::Settings::default();
        let defrag_defaults = defrag::Settings::default();
        let decode = decode::Settings {
            checksums: checksum && capture_checks,
            vxlan: tunnel_ports(options, "vxlan", "VXLAN_PORTS", defaults.vxlan),
            geneve: tunnel_ports(options, "geneve", "GENEVE_PORTS", defaults.geneve),
            teredo: tunnel_ports(options, "teredo", "TEREDO_PORTS", defaults.teredo),
            defrag: defrag::Settings {
                timeout: std::time::Duration::from_secs(options.number("defrag.timeout", 60)),
                memory: options.size("defrag.memcap", defrag_defaults.memory as u64) as usize,
                trackers: options.number("defrag.trackers", defrag_defaults.trackers as u64) as usize,
                policy: host_policies(options).0,
                pieces: defrag_defaults.pieces,
            },
            layers: options.number("decoder.max-layers", defaults.layers.into()).clamp(1, 128) as u8,
        };
        Settings {
            ips,
            decode,
            checksums_asked: capture_checks,
            stream: stream_settings(options, ips, checksum),
            timeouts: timeouts(options),
            flows: options.number("flow.limit", 1 << 20) as usize,
            vlan_tracking: options.flag("vlan.use-for-tracking", true),
            app_error: policy(options, "app-layer.error-policy", ips, false),
            seed: options.number("flow.seed", 0x5bd1_e995),
            kinds: kinds(options),
        }
    }
}

/// The events that are written, and how.
fn kinds(options: &Options) -> Kinds {
    let mut kinds = options.get("outputs.eve-log.types").map(Kinds::from_list).unwrap_or_default();
    kinds.bodies = Bodies {
        encoded: options.flag("outputs.eve-log.types.alert.http-body", false),
        printable: options.flag("outputs.eve-log.types.alert.http-body-printable", false),
    };
    kinds
}

/// The ports of a tunnel: its own, those of the variable, or the customary ones; none where it is switched off.
fn tunnel_ports(options: &Options, name: &str, variable: &str, usual: Vec<u16>) -> Vec<u16> {
    if !options.flag(&format!("decoder.{name}.enabled"), true) {
        return Vec::new();
    }
    // Where the setting names the variable, there is no number in it.
    let own = options.ports(&format!("decoder.{name}.ports")).filter(|ports| !ports.is_empty());
    own.or_else(|| options.ports(&format!("vars.port-groups.{variable}"))).unwrap_or(usual)
}

/// A policy: its own, or the one for all exceptions, or what suits the mode. `lenient`: what suits is to go on.
fn policy(options: &Options, name: &str, ips: bool, lenient: bool) -> Policy {
    let suits = if ips && !lenient { Policy::DropFlow } else { Policy::Ignore };
    let own = options.get(name).and_then(Policy::from_name);
    let chosen = own.or_else(|| options.get("exception-policy").and_then(Policy::from_name)).unwrap_or(suits);
    match chosen {
        Policy::DropPacket | Policy::DropFlow | Policy::Reject if !ips => Policy::Ignore,
        other => other,
    }
}

fn stream_settings(options: &Options, ips: bool, checksum: bool) -> StreamSettings {
    let midstream = options.flag("stream.midstream", false);
    StreamSettings {
        inline: match options.get("stream.inline") {
            None | Some("auto") => ips,
            Some(_) => options.flag("stream.inline", ips),
        },
        midstream,
        midstream_policy: policy(options, "stream.midstream-policy", ips, midstream),
        async_oneside: options.flag("stream.async-oneside", false),
        drop_invalid: options.flag("stream.drop-invalid", true),
        checksum_validation: checksum && options.flag("stream.checksum-validation", true),
        depth: options.size("stream.reassembly.depth", 1 << 20),
        overlap: host_policies(options).1,
        urgent: match options.get("stream.reassembly.urgent.policy") {
            Some("inline") => Urgent::Inline,
            Some("drop") => Urgent::Drop,
            Some("gap") => Urgent::Gap,
            Some(_) | None => Urgent::OutOfBand,
        },
        held: 1 << 20,
        memory: options.size("stream.reassembly.memcap", 256 << 20) as usize,
        syns: options.number("stream.max-syn-queued", 10).min(255) as u8,
        syn_acks: options.number("stream.max-synack-queued", 5).min(255) as u8,
        bypass: options.get("app-layer.protocols.tls.encryption-handling") == Some("bypass"),
    }
}

/// What hosts do with overlaps, by the systems that are said to run on them.
fn host_policies(options: &Options) -> (Hosts<defrag::Policy>, Hosts<Overlap>) {
    let (mut fragments, mut segments) = (Hosts::all(defrag::Policy::Windows), Hosts::all(Overlap::Bsd));
    let table = [
        ("windows", defrag::Policy::Windows, Overlap::Bsd),
        ("bsd", defrag::Policy::Bsd, Overlap::Bsd),
        ("bsd-right", defrag::Policy::Last, Overlap::Bsd),
        ("old-linux", defrag::Policy::Linux, Overlap::OldLinux),
        ("linux", defrag::Policy::Linux, Overlap::Linux),
        ("old-solaris", defrag::Policy::First, Overlap::Solaris),
        ("solaris", defrag::Policy::Solaris, Overlap::Solaris),
        ("hpux10", defrag::Policy::Solaris, Overlap::Bsd),
        ("hpux11", defrag::Policy::First, Overlap::First),
        ("irix", defrag::Policy::Bsd, Overlap::Bsd),
        ("macos", defrag::Policy::First, Overlap::First),
        ("vista", defrag::Policy::Windows, Overlap::First),
    ];
    for (name, of_fragments, of_segments) in table {
        let list = options.get(&format!("host-os-policy.{name}")).unwrap_or_default();
        let words = list.split([',', '[', ']', ' ', '"', '\'']);
        for network in words.filter_map(|word| word.parse::<IpNetwork>().ok()) {
            fragments.set(network, of_fragments);
            segments.set(network, of_segments);
        }
    }
    (fragments, segments)
}

fn timeouts(options: &Options) -> Timeouts {
    let one = |kind: &str, state: &str, default: u64| options.number(&format!("flow-timeouts.{kind}.{state}"), default);
    let pair = |kind: &str| [one(kind, "new", 30), one(kind, "established", 300)];
    Timeouts {
        tcp: [one("tcp", "new", 30), one("tcp", "established", 300), one("tcp", "closed", 10)],
        udp: pair("udp"),
        icmp: pair("icmp"),
        other: pair("default"),
        bypassed: one("default", "bypassed", 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        Options(pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [("12", 12), ("100kb", 102_400), ("1 mb", 1 << 20), ("2GB", 2 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        assert_eq!(size("many"), None);
    }

    #[test]
    fn tunnels_have_ports_of_their_own_or_are_off() {
        let of = |pairs: &[(&str, &str)]| Settings::from_options(&options(pairs), false).decode;
        assert_eq!(of(&[]).vxlan, [4789]);
        assert_eq!(of(&[("vars.port-groups.VXLAN_PORTS", "[1, 2]")]).vxlan, [1, 2]);
        assert_eq!(of(&[("decoder.vxlan.ports", "$VXLAN_PORTS"), ("vars.port-groups.VXLAN_PORTS", "9")]).vxlan, [9]);
        assert_eq!(of(&[("decoder.geneve.ports", "7000")]).geneve, [7000]);
        assert!(of(&[("decoder.teredo.enabled", "no")]).teredo.is_empty());
    }

    #[test]
    fn systems_of_hosts_are_given_by_network() {
        let pairs = [
            ("host-os-policy.windows", "[0.0.0.0/0]"),
            ("host-os-policy.linux", "[10.0.0.0/8, 192.168.1.100, '8762:2352:6241:7245:E000:0:0:0']"),
            ("host-os-policy.solaris", "10.7.0.0/16"),
        ];
        let settings = Settings::from_options(&options(&pairs), false);
        let of = |host: &str| {
            let host = host.parse().unwrap();
            (settings.decode.defrag.policy.of(host), settings.stream.overlap.of(host))
        };
        assert_eq!(of("10.1.1.1"), (defrag::Policy::Linux, Overlap::Linux));
        assert_eq!(of("10.7.1.1"), (defrag::Policy::Solaris, Overlap::Solaris));
        assert_eq!(of("192.168.1.100"), (defrag::Policy::Linux, Overlap::Linux));
        assert_eq!(of("192.168.1.101"), (defrag::Policy::Windows, Overlap::Bsd));
        assert_eq!(of("8762:2352:6241:7245:e000::"), (defrag::Policy::Linux, Overlap::Linux));
    }

    #[test]
    fn policies_of_exceptions_follow_the_mode() {
        let of = |pairs: &[(&str, &str)], ips| Settings::from_options(&options(pairs), ips).stream.midstream_policy;
        assert_eq!(of(&[], false), Policy::Ignore);
        assert_eq!(of(&[], true), Policy::DropFlow);
        assert_eq!(of(&[("stream.midstream", "true")], true), Policy::Ignore);
        assert_eq!(of(&[("exception-policy", "bypass"), ("stream.midstream", "true")], true), Policy::Bypass);
        assert_eq!(
            of(&[("stream.midstream-policy", "pass-flow"), ("exception-policy", "ignore")], true),
            Policy::PassFlow
        );
        assert_eq!(of(&[("stream.midstream-policy", "drop-flow")], false), Policy::Ignore);
    }
}
