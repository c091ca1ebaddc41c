//! Neighbour discovery messages (RFC 4861, 4.3 and 4.4), and what ARP packets and they say.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frames::{Ends, ip_with_hop_limit};
use crate::numbers::*;
use crate::{L3, MacAddr, Packet};

/// Option: the sender's link-layer address.
const SOURCE_LINK: u8 = 1;
/// Option: the target's link-layer address.
const TARGET_LINK: u8 = 2;
/// Neighbour discovery is believed from the link alone, which only this hop limit proves (RFC 4861, 6.1 and 7.1).
const HOP_LIMIT: u8 = 255;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group that a node with this address listens to (RFC 4291, 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The MAC of an IPv6 group (RFC 2464, 7).
pub fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// Who has `target`? Sent to `to`, or to the target's group where `to` is absent. An unspecified `source` asks whether
/// anybody has the address that we want to take (RFC 4862, 5.4.2).
pub fn solicitation(from: (MacAddr, Ipv6Addr), target: Ipv6Addr, to: Option<MacAddr>) -> Vec<u8> {
    let (mac, source) = from;
    let group = solicited_node(target);
    let destination = if to.is_some() { target } else { group };
    let destination_mac = to.unwrap_or(group_mac(group));
    let ends = Ends { source_mac: mac, destination_mac, source: source.into(), destination: destination.into() };
    let head = [NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    let [a, b, c, d, e, f] = mac.0;
    let option = [SOURCE_LINK, 1, a, b, c, d, e, f];
    let option: &[u8] = if source.is_unspecified() { &[] } else { &option };
    ip_with_hop_limit(ends, PROTOCOL_ICMPV6, HOP_LIMIT, &[&head, &target.octets(), option])
}

/// `from` says of a router that it has its address; to whoever asked, or to everybody where `to` is absent.
pub fn advertisement(from: (MacAddr, Ipv6Addr), to: Option<(MacAddr, Ipv6Addr)>) -> Vec<u8> {
    host_advertisement(from, true, to)
}

/// The same of a host, which may be a router.
pub fn host_advertisement(from: (MacAddr, Ipv6Addr), router: bool, to: Option<(MacAddr, Ipv6Addr)>) -> Vec<u8> {
    let (mac, address) = from;
    let (destination_mac, destination) = to.unwrap_or((group_mac(ALL_NODES), ALL_NODES));
    let ends = Ends { source_mac: mac, destination_mac, source: address.into(), destination: destination.into() };
    // Override; router where it is one, solicited where somebody asked.
    let flags = 0x20 | if router { 0x80 } else { 0 } | if to.is_some() { 0x40 } else { 0 };
    let head = [NEIGHBOR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    let [a, b, c, d, e, f] = mac.0;
    let option = [TARGET_LINK, 1, a, b, c, d, e, f];
    ip_with_hop_limit(ends, PROTOCOL_ICMPV6, HOP_LIMIT, &[&head, &address.octets(), &option])
}

/// What a router tells the hosts of a link (RFC 4861, 4.2; RFC 8106, 5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// How long it is a default router, in seconds; 0: it is none.
    pub lifetime_s: u16,
    /// Addresses are given by DHCPv6.
    pub managed: bool,
    /// Other things are told by DHCPv6.
    pub other: bool,
    /// The MTU of the link.
    pub mtu: u32,
    /// Networks of 64 bits.
    pub prefixes: Vec<Ipv6Addr>,
    /// Hosts make their addresses from these.
    pub autonomous: bool,
    /// How long addresses from them are valid, and preferred, without being told of again, in seconds.
    pub lifetimes_s: (u32, u32),
    /// Name servers.
    pub dns: Vec<Ipv6Addr>,
    /// Domains in which hosts look for short names.
    pub search: Vec<String>,
    /// How long servers and domains are, without being told of again, in seconds.
    pub servers_s: u32,
}

/// A router, at `mac`, tells of itself; to one host, or to everybody where `to` is absent.
pub fn router_advertisement(
    (mac, source): (MacAddr, Ipv6Addr),
    to: Option<(MacAddr, Ipv6Addr)>,
    told: &Advertisement,
) -> Vec<u8> {
    let (destination_mac, destination) = to.unwrap_or((group_mac(ALL_NODES), ALL_NODES));
    let ends = Ends { source_mac: mac, destination_mac, source: source.into(), destination: destination.into() };
    let flags = if told.managed { 0x80 } else { 0 } | if told.other { 0x40 } else { 0 };
    let [high, low] = told.lifetime_s.to_be_bytes();
    // Hop limit 64; the times of neighbour discovery are not specified.
    let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, flags, high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([SOURCE_LINK, 1]);
    message.extend(mac.0);
    message.extend([5, 1, 0, 0]);
    message.extend(told.mtu.to_be_bytes());
    for prefix in &told.prefixes {
        // On the link, and for making addresses.
        message.extend([3, 4, 64, if told.autonomous { 0xc0 } else { 0x80 }]);
        message.extend(told.lifetimes_s.0.to_be_bytes());
        message.extend(told.lifetimes_s.1.to_be_bytes());
        message.extend([0; 4]);
        message.extend(prefix.octets());
    }
    // The length counts units of eight bytes: itself and two for each server.
    if let Some(units) = u8::try_from(1 + 2 * told.dns.len()).ok().filter(|units| *units > 1) {
        message.extend([25, units, 0, 0]);
        message.extend(told.servers_s.to_be_bytes());
        told.dns.iter().for_each(|server| message.extend(server.octets()));
    }
    message.extend(search_option(told));
    ip_with_hop_limit(ends, PROTOCOL_ICMPV6, HOP_LIMIT, &[&message])
}

/// Domains as RFC 8106, 5.2 writes them: names without compression, then zeros up to eight bytes. Empty where there are
/// none, or more than an option holds.
fn search_option(told: &Advertisement) -> Vec<u8> {
    let mut names = Vec::new();
    for name in &told.search {
        for label in name.split('.').filter(|label| (1..64).contains(&label.len())) {
            names.push(label.len() as u8);
            names.extend(label.bytes());
        }
        names.push(0);
    }
    names.resize(names.len().next_multiple_of(8), 0);
    match u8::try_from(1 + names.len() / 8) {
        Ok(units) if units > 1 => [&[31, units, 0, 0][..], &told.servers_s.to_be_bytes(), &names].concat(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// The host that asks for routers: its MAC and address, which is unspecified where it has none yet. `None` of other
/// packets and of those that must not be believed (RFC 4861, 6.1.1).
pub fn solicits_routers(packet: &Packet) -> Option<(MacAddr, Ipv6Addr)> {
    if packet.icmp() != Some((ROUTER_SOLICITATION, 0)) || packet.ipv6()?[7] != HOP_LIMIT {
        return None;
    }
    let (IpAddr::V6(source), _) = packet.addresses()? else { return None };
    let mac = link_option(packet.transport().get(8..)?, SOURCE_LINK)?;
    match mac {
        Some(_) if source.is_unspecified() => None,
        mac => Some((mac.unwrap_or(packet.src_mac()), source)),
    }
}

/// What a neighbour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// "Who has `target`? I am `sender`, at `mac`." The sender is unspecified where it only wants to take the address.
    Asks {
        /// Who asks.
        sender: IpAddr,
        /// Its MAC.
        mac: MacAddr,
        /// What it asks for.
        target: IpAddr,
    },
    /// "I have `address`, at `mac`."
    Has {
        /// The address.
        address: IpAddr,
        /// Its MAC.
        mac: MacAddr,
        /// Somebody asked.
        solicited: bool,
    },
}

/// What an ARP packet, a solicitation or an advertisement says; `None` of other packets and of those that must not be
/// believed (RFC 826; RFC 4861, 7.1). The ICMPv6 checksum is not looked at.
pub fn says(packet: &Packet) -> Option<Says> {
    match packet.headers.l3_kind {
        L3::Arp => arp_says(packet),
        L3::Ipv6 => nd_says(packet),
        L3::Ipv4 | L3::Other => None,
    }
}

/// Whether an advertisement says that its sender is a router; `None` of other packets.
pub fn tells_router(packet: &Packet) -> Option<bool> {
    let is_one = packet.headers.l3_kind == L3::Ipv6 && packet.icmp() == Some((NEIGHBOR_ADVERTISEMENT, 0));
    packet.transport().get(4).filter(|_| is_one).map(|flags| flags & 0x80 != 0)
}

fn arp_says(packet: &Packet) -> Option<Says> {
    let body = packet.network().first_chunk::<28>()?;
    let [_, _, _, _, _, _, op_high, op_low, rest @ ..] = body;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let (_, target) = rest.split_first_chunk::<6>()?;
    let sender = Ipv4Addr::from(*sender);
    let target = Ipv4Addr::from(*target.first_chunk::<4>()?);
    let mac = MacAddr(*mac);
    if mac.is_multicast() || mac == MacAddr::ZERO {
        return None;
    }
    match u16::from_be_bytes([*op_high, *op_low]) {
        // A host that asks for its own address tells everybody that it has it (RFC 5227, 3).
        1 if sender == target => Some(Says::Has { address: sender.into(), mac, solicited: false }),
        1 => Some(Says::Asks { sender: sender.into(), mac, target: target.into() }),
        2 if sender.is_unspecified() => None,
        2 => Some(Says::Has { address: sender.into(), mac, solicited: sender != target }),
        _ => None,
    }
}

fn nd_says(packet: &Packet) -> Option<Says> {
    let hop_limit = packet.ipv6()?[7];
    let (kind, code) = packet.icmp()?;
    if hop_limit != HOP_LIMIT || code != 0 {
        return None;
    }
    let (IpAddr::V6(source), IpAddr::V6(destination)) = packet.addresses()? else { return None };
    let message = packet.transport();
    let flags = *message.get(4)?;
    let target = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
    let options = message.get(24..).unwrap_or(&[]);
    if target.is_multicast() {
        return None;
    }
    match kind {
        NEIGHBOR_SOLICITATION if source.is_unspecified() => {
            // RFC 4861, 7.1.1: asked of the group, without an option.
            let fine = destination == solicited_node(target) && link_option(options, SOURCE_LINK)?.is_none();
            fine.then_some(Says::Asks { sender: source.into(), mac: packet.src_mac(), target: target.into() })
        }
        NEIGHBOR_SOLICITATION => {
            let mac = link_option(options, SOURCE_LINK)?.unwrap_or(packet.src_mac());
            Some(Says::Asks { sender: source.into(), mac, target: target.into() })
        }
        NEIGHBOR_ADVERTISEMENT => {
            let solicited = flags & 0x40 != 0;
            if solicited && destination.is_multicast() {
                return None;
            }
            let mac = link_option(options, TARGET_LINK)?.unwrap_or(packet.src_mac());
            Some(Says::Has { address: target.into(), mac, solicited })
        }
        _ => None,
    }
}

/// The link-layer address in the option of this kind; `None` where the options are malformed, `Some(None)` where it is
/// not among them.
fn link_option(mut options: &[u8], wanted: u8) -> Option<Option<MacAddr>> {
    let mut found = None;
    while let [kind, units, ..] = options {
        // RFC 4861, 4.6: lengths are in units of eight bytes, zero is not allowed.
        let length = usize::from(*units) * 8;
        let (option, rest) = options.split_at_checked(length).filter(|_| length > 0)?;
        if *kind == wanted {
            let mac = MacAddr(*option.get(2..)?.first_chunk()?);
            if mac.is_multicast() || mac == MacAddr::ZERO {
                return None;
            }
            found = Some(mac);
        }
        options = rest;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::frames::{ArpKind, arp, packet};
    use super::*;
    use crate::{Pool, PortId, checksum};

    const ME: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const YOU: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn heard(frame: &[u8]) -> Option<Says> {
        let packet = packet(frame, PortId(1), &mut Pool::default()).unwrap();
        assert!(checksum::verify_l4(&packet));
        says(&packet)
    }

    #[test]
    fn solicitations_and_advertisements_say_what_they_were_made_to_say() {
        let (mine, yours): (Ipv6Addr, Ipv6Addr) = ("fe80::1".parse().unwrap(), "fd00::a:bcde".parse().unwrap());
        let asks = Some(Says::Asks { sender: mine.into(), mac: ME, target: yours.into() });
        assert_eq!(heard(&solicitation((ME, mine), yours, None)), asks);
        assert_eq!(heard(&solicitation((ME, mine), yours, Some(YOU))), asks);
        let frame = solicitation((ME, mine), yours, None);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x0a, 0xbc, 0xde]);
        let nobody = Ipv6Addr::UNSPECIFIED;
        let takes = Some(Says::Asks { sender: nobody.into(), mac: ME, target: yours.into() });
        assert_eq!(heard(&solicitation((ME, nobody), yours, None)), takes);
        let has = |solicited| Some(Says::Has { address: mine.into(), mac: ME, solicited });
        assert_eq!(heard(&advertisement((ME, mine), Some((YOU, yours)))), has(true));
        assert_eq!(heard(&advertisement((ME, mine), None)), has(false));
        for router in [true, false] {
            let frame = host_advertisement((ME, mine), router, Some((YOU, yours)));
            assert_eq!(heard(&frame), has(true));
            assert_eq!(tells_router(&packet(&frame, PortId(1), &mut Pool::default()).unwrap()), Some(router));
        }
        assert_eq!(tells_router(&packet(&frame, PortId(1), &mut Pool::default()).unwrap()), None, "no advertisement");
    }

    #[test]
    fn arp_says_the_same() {
        let (mine, yours) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let request = arp(ArpKind::Request, (ME, mine), (MacAddr::ZERO, yours));
        assert_eq!(heard(&request), Some(Says::Asks { sender: mine.into(), mac: ME, target: yours.into() }));
        let reply = arp(ArpKind::Reply, (ME, mine), (YOU, yours));
        assert_eq!(heard(&reply), Some(Says::Has { address: mine.into(), mac: ME, solicited: true }));
        let announcement = arp(ArpKind::Request, (ME, mine), (MacAddr::ZERO, mine));
        assert_eq!(heard(&announcement), Some(Says::Has { address: mine.into(), mac: ME, solicited: false }));
    }

    #[test]
    fn a_router_tells_of_itself_in_options_that_can_be_walked() {
        let router: Ipv6Addr = "fe80::1".parse().unwrap();
        let told = Advertisement {
            lifetime_s: 1800,
            other: true,
            mtu: 1400,
            prefixes: vec!["fd00::".parse().unwrap(), "fd01::".parse().unwrap()],
            dns: vec!["fd00::53".parse().unwrap()],
            search: vec!["guests.test".into()],
            ..Advertisement::default()
        };
        let frame = router_advertisement((ME, router), None, &told);
        let packet = packet(&frame, PortId(1), &mut Pool::default()).unwrap();
        assert!(checksum::verify_l4(&packet));
        assert_eq!((packet.icmp(), packet.ipv6().unwrap()[7]), (Some((134, 0)), 255));
        assert_eq!(packet.transport()[4..8], [64, 0x40, 7, 8]);
        let options = &packet.transport()[16..];
        assert_eq!(link_option(options, SOURCE_LINK), Some(Some(ME)));
        let mut kinds = Vec::new();
        let mut rest = options;
        while let [kind, units, ..] = rest {
            kinds.push((*kind, *units));
            rest = &rest[usize::from(*units) * 8..];
        }
        assert_eq!(kinds, [(1, 1), (5, 1), (3, 4), (3, 4), (25, 3), (31, 3)]);
        let names = &options[options.len() - 16..];
        assert_eq!(names, b"\x06guests\x04test\0\0\0\0");
    }

    #[test]
    fn hosts_that_ask_for_routers_are_understood() {
        let host: Ipv6Addr = "fe80::7".parse().unwrap();
        let ask = |source: Ipv6Addr, option: &[u8], hop_limit| {
            let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
            let ends = Ends {
                source_mac: YOU,
                destination_mac: group_mac(all_routers),
                source: source.into(),
                destination: all_routers.into(),
            };
            let frame = ip_with_hop_limit(ends, PROTOCOL_ICMPV6, hop_limit, &[&[133, 0, 0, 0, 0, 0, 0, 0], option]);
            solicits_routers(&packet(&frame, PortId(1), &mut Pool::default()).unwrap())
        };
        assert_eq!(ask(host, &[1, 1, 2, 0, 0, 0, 0, 1], 255), Some((ME, host)));
        assert_eq!(ask(host, &[], 255), Some((YOU, host)));
        assert_eq!(ask(Ipv6Addr::UNSPECIFIED, &[], 255), Some((YOU, Ipv6Addr::UNSPECIFIED)));
        assert_eq!(ask(Ipv6Addr::UNSPECIFIED, &[1, 1, 2, 0, 0, 0, 0, 1], 255), None);
        assert_eq!(ask(host, &[], 64), None);
        assert_eq!(ask(host, &[1, 0], 255), None);
    }

    #[test]
    fn what_came_from_afar_or_is_malformed_is_not_believed() {
        let (mine, yours): (Ipv6Addr, Ipv6Addr) = ("fe80::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let good = solicitation((ME, mine), yours, None);
        let mut far = good.clone();
        far[14 + 7] = 254;
        assert_eq!(says(&packet(&far, PortId(1), &mut Pool::default()).unwrap()), None);
        let mut endless = good;
        endless[14 + 40 + 25] = 0;
        assert_eq!(says(&packet(&endless, PortId(1), &mut Pool::default()).unwrap()), None);
    }
}
