//! One line on the first bytes of a frame, for people: "10.0.0.1:40000 -> 10.0.0.2:80 tcp".

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_wire::MacAddr;

use crate::config::Protocol;

const ETHER_IPV4: u16 = 0x0800;
const ETHER_ARP: u16 = 0x0806;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_QINQ: u16 = 0x88a8;
const ETHER_IPV6: u16 = 0x86dd;
/// TCP, UDP and SCTP begin with their ports.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// Describes a frame by as much of it as is there.
pub(super) fn of(head: &[u8]) -> String {
    let (mut ether_type, mut at) = (u16_at(head, 12), 14);
    let mut vlan = String::new();
    while let Some(ETHER_VLAN | ETHER_QINQ) = ether_type {
        let vid = u16_at(head, at).unwrap_or(0) & 0xfff;
        vlan = format!("vlan {vid} ");
        ether_type = u16_at(head, at + 2);
        at += 4;
    }
    let rest = head.get(at..).unwrap_or(&[]);
    let what = match ether_type {
        Some(ETHER_IPV4) => ipv4(rest),
        Some(ETHER_IPV6) => ipv6(rest),
        Some(ETHER_ARP) => arp(rest),
        Some(_) | None => None,
    };
    let link = || {
        let mac = |from: usize| head.get(from..).and_then(<[u8]>::first_chunk).map(|&m| MacAddr(m).to_string());
        let (to, from) = (mac(0), mac(6));
        let short = || "?".to_owned();
        let kind = ether_type.map_or_else(short, |e| format!("0x{e:04x}"));
        format!("{} -> {} type {kind}", from.unwrap_or_else(short), to.unwrap_or_else(short))
    };
    format!("{vlan}{}", what.unwrap_or_else(link))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&two| u16::from_be_bytes(two))
}

fn ipv4(bytes: &[u8]) -> Option<String> {
    let source = Ipv4Addr::from(*bytes.get(12..)?.first_chunk::<4>()?);
    let destination = Ipv4Addr::from(*bytes.get(16..)?.first_chunk::<4>()?);
    let header = usize::from(bytes.first()? & 0xf) * 4;
    let later_fragment = u16_at(bytes, 6)? & 0x1fff != 0;
    let transport = if later_fragment { &[] } else { bytes.get(header..).unwrap_or(&[]) };
    Some(ends(&source.to_string(), &destination.to_string(), *bytes.get(9)?, transport))
}

fn ipv6(bytes: &[u8]) -> Option<String> {
    let source = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?);
    let destination = Ipv6Addr::from(*bytes.get(24..)?.first_chunk::<16>()?);
    let transport = bytes.get(40..).unwrap_or(&[]);
    Some(ends(&format!("[{source}]"), &format!("[{destination}]"), *bytes.get(6)?, transport))
}

fn ends(source: &str, destination: &str, protocol: u8, transport: &[u8]) -> String {
    let name = Protocol(protocol);
    match (u16_at(transport, 0), u16_at(transport, 2)) {
        (Some(from), Some(to)) if WITH_PORTS.contains(&protocol) => {
            format!("{source}:{from} -> {destination}:{to} {name}")
        }
        _ => format!("{source} -> {destination} {name}"),
    }
}

fn arp(bytes: &[u8]) -> Option<String> {
    let sender = Ipv4Addr::from(*bytes.get(14..)?.first_chunk::<4>()?);
    let target = Ipv4Addr::from(*bytes.get(24..)?.first_chunk::<4>()?);
    Some(match u16_at(bytes, 6)? {
        1 => format!("arp who has {target}, tell {sender}"),
        _ => format!("arp {sender} is at its sender"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ether_type: &[u8], rest: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], ether_type, rest].concat()
    }

    const TCP: [u8; 24] = [0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0, 80];

    #[test]
    fn frames_are_told_by_what_they_carry() {
        assert_eq!(of(&frame(&[8, 0], &TCP)), "10.0.0.1:40000 -> 10.0.0.2:80 tcp");
        let tagged = [&[0, 10, 8, 0][..], &TCP].concat();
        assert_eq!(of(&frame(&[0x81, 0], &tagged)), "vlan 10 10.0.0.1:40000 -> 10.0.0.2:80 tcp");
        assert_eq!(of(&frame(&[0x88, 0xcc], &[])), "02:00:00:00:00:01 -> 02:00:00:00:00:02 type 0x88cc");
    }

    #[test]
    fn any_cut_of_a_frame_is_described_without_a_panic() {
        for whole in [frame(&[8, 0], &TCP), frame(&[0x86, 0xdd], &[0; 60]), frame(&[8, 6], &[0; 28])] {
            for length in 0..whole.len() {
                assert!(!of(&whole[..length]).is_empty());
            }
        }
    }
}
