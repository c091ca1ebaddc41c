//! Stories of captures: frames in, lines out, without rules; and the parts by themselves.

mod brief;
mod bytes;
mod conversation;
mod flows;
mod handshake;
mod packets;
mod store;
mod waiting;

use std::sync::Arc;

use super::*;
use crate::decode::tcp::flag::{ACK, FIN, PSH, RST, SYN};
use crate::detect::ProgramSettings;

/// Where the two ends of the stories live.
const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

/// A capture without rules, and a clock that a story moves on.
struct Lab {
    capture: Capture,
    lines: String,
    seconds: u64,
}

impl Lab {
    fn new(pairs: &[(&str, &str)], ips: bool) -> Lab {
        let options = Options(pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect());
        let settings = Settings::from_options(&options, ips);
        let shared = Shared::new(crate::app::Settings::default(), ips);
        let capture = Capture::new(settings, Arc::new(Program::default()), shared);
        Lab { capture, lines: String::new(), seconds: 1000 }
    }

    /// With rules, which must compile.
    fn ruled(rules: &str) -> Lab {
        Lab::ruled_with(rules, &[])
    }

    /// The same with options.
    fn ruled_with(rules: &str, pairs: &[(&str, &str)]) -> Lab {
        Lab::judging(rules, pairs, false, &ProgramSettings::default())
    }

    /// With rules whose refusals are carried out.
    fn inline(rules: &str) -> Lab {
        Lab::judging(rules, &[], true, &ProgramSettings::default())
    }

    /// The same with another order of actions.
    fn inline_in_order(rules: &str, action_order: [&'static str; 4]) -> Lab {
        Lab::judging(rules, &[], true, &ProgramSettings { action_order })
    }

    fn judging(rules: &str, pairs: &[(&str, &str)], ips: bool, settings: &ProgramSettings) -> Lab {
        let (set, problems) = weir_ids_rules::RuleSet::parse(
            &[weir_ids_rules::Source { name: "t", text: rules }],
            &weir_ids_rules::Variables::default(),
        );
        assert!(problems.is_empty(), "{}", problems[0]);
        let (program, problems) = Program::compile(&set, settings);
        assert!(problems.is_empty(), "{}", problems[0]);
        let mut lab = Lab::new(pairs, ips);
        let shared = Shared::new(crate::app::Settings::default(), ips);
        lab.capture = Capture::new(lab.capture.core.settings.clone(), Arc::new(program), shared);
        lab
    }

    /// The rules that were told of so far, and forgets them.
    fn alerts(&mut self) -> Vec<u32> {
        let sid = |line: &str| line.split("\"signature_id\":").nth(1)?.split(',').next()?.parse().ok();
        let mut told: Vec<u32> = self.lines.lines().filter_map(sid).collect();
        told.sort_unstable();
        self.lines.clear();
        told
    }

    fn packet(&mut self, packet: &[u8]) {
        self.capture.frame(Link::Raw, packet, Instant::from_secs(self.seconds), &mut self.lines);
    }

    fn end(&mut self) {
        self.capture.finish(&mut self.lines);
    }

    /// How many lines hold all of these.
    fn count(&self, parts: &[&str]) -> usize {
        self.lines.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }
}

/// An IPv4 packet with right checksums.
fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + rest.len() as u16).to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    let sum = !weir_wire::checksum::sum(&packet).fold();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(rest);
    packet
}

fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(from.1.to_be_bytes());
    datagram.extend(to.1.to_be_bytes());
    datagram.extend((8 + data.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    ipv4(from.0, to.0, 17, &datagram)
}

/// A TCP segment from the client (`true`) or the server, ports 4000 and 80.
fn tcp(from_client: bool, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
    optioned(from_client, flags, (seq, ack), &[], data)
}

/// The same with options, padded to words of four bytes.
fn optioned(from_client: bool, flags: u8, (seq, ack): (u32, u32), options: &[u8], data: &[u8]) -> Vec<u8> {
    let (source, destination) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let (sport, dport): (u16, u16) = if from_client { (4000, 80) } else { (80, 4000) };
    let mut segment = Vec::new();
    segment.extend(sport.to_be_bytes());
    segment.extend(dport.to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50 + ((options.len() as u8 / 4) << 4), flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(options);
    segment.extend(data);
    let pseudo = weir_wire::checksum::pseudo_ipv4(source, destination, 6, segment.len() as u32);
    let sum = !pseudo.and(weir_wire::checksum::sum(&segment)).fold();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ipv4(source, destination, 6, &segment)
}
