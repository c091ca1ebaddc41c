//! What is sent to a router itself: address resolution, echo requests, what its services are asked (`serve`), and what
//! nobody listens for.

use weir_filter::{Cleared, Why};
use weir_wire::build::neighbor::{Says, advertisement, says, solicits_routers};
use weir_wire::build::{ArpKind, IcmpError, Toward, arp, packet as parsed, reset, reset_numbers};
use weir_wire::numbers::*;
use weir_wire::{DropReason, InterfaceId, L3, MacAddr, Packet, PortId, SwitchId, checksum};

use std::net::{IpAddr, Ipv6Addr};

use super::Target;
use super::neighbor::Heard;
use crate::stages::Walk;

/// The TTL of echo replies.
const TTL: u8 = 64;

impl Walk<'_> {
    /// The end of an inspected packet at the routers of its switch and VLAN.
    pub(crate) fn deliver(&mut self, cleared: Cleared) {
        self.deliver_to(None, cleared);
    }

    /// The same of a packet to a router's address, which it reached by interface `at`.
    pub(crate) fn deliver_to(&mut self, at: Option<InterfaceId>, cleared: Cleared) {
        let packet = cleared.into_packet();
        if packet.offload.checksum == weir_wire::Checksum::Complete && !checksum::verify_l4(&packet) {
            return self.end(packet, Why::reason(DropReason::BadL4Checksum));
        }
        if let Some(said) = says(&packet) {
            self.hear(&packet, said);
            return self.delivered(packet);
        }
        if let Some(host) = solicits_routers(&packet) {
            let switch = self.bridge.port(packet.port).map_or(SwitchId(u16::MAX), |port| port.config.switch);
            let doors = self.routers.doors_of(switch, packet.vid);
            let here: Vec<InterfaceId> = doors.map(|door| door.interface).collect();
            here.into_iter().for_each(|id| self.routers.solicited(self.now, id, host));
            return self.delivered(packet);
        }
        match (packet.icmp(), packet.headers.l3_kind) {
            (Some((ICMP_ECHO_REQUEST, 0)), L3::Ipv4) | (Some((ICMPV6_ECHO_REQUEST, 0)), L3::Ipv6) => self.echo(packet),
            (Some(_), _) | (None, L3::Arp | L3::Other) => self.delivered(packet),
            (None, L3::Ipv4) if packet.headers.protocol == PROTOCOL_IGMP => self.delivered(packet),
            (None, L3::Ipv4 | L3::Ipv6) => match self.punt(packet, at) {
                Some(packet) if at.is_none() => self.delivered(packet),
                Some(packet) => self.unserved(packet),
                None => {}
            },
        }
    }

    pub(crate) fn delivered(&mut self, packet: Packet) {
        self.counters(packet.port).delivered += 1;
        self.pool.give(packet.buffer);
    }

    /// Turns an echo request into its reply.
    fn echo(&mut self, mut packet: Packet) {
        self.counters(packet.port).delivered += 1;
        if packet.dst_mac().is_multicast() || turn(&mut packet).is_none() {
            return self.pool.give(packet.buffer);
        }
        let port = packet.port;
        self.replies.push((port, Cleared::originate(packet)));
    }

    /// Tells the sender that nobody listens.
    fn unserved(&mut self, packet: Packet) {
        let port = packet.port;
        let reply = match (packet.headers.protocol, reset_numbers(&packet, Toward::Sender)) {
            (PROTOCOL_TCP, Some(numbers)) => reset(&packet, Toward::Sender, numbers, self.pool),
            (PROTOCOL_UDP, _) => self.error(&packet, IcmpError::PortUnreachable),
            _ => self.error(&packet, IcmpError::ProtocolUnreachable),
        };
        self.replies.extend(reply.map(|reply| (port, Cleared::originate(reply))));
        self.end(packet, Why::reason(DropReason::NotServed));
    }

    fn error(&mut self, packet: &Packet, error: IcmpError) -> Option<Packet> {
        let at = self.entrance(packet)?;
        self.routers.error(self.now, at, packet, error, self.pool)
    }

    /// A neighbour speaks.
    fn hear(&mut self, packet: &Packet, said: Says) {
        let Some(switch) = self.bridge.port(packet.port).map(|port| port.config.switch) else { return };
        let here: Vec<InterfaceId> = self.routers.doors_of(switch, packet.vid).map(|door| door.interface).collect();
        for id in here {
            match said {
                Says::Asks { sender, mac, target } => self.asked(packet, id, sender, mac, target),
                Says::Has { address, mac, solicited } => self.told(id, address, mac, solicited),
            }
        }
    }

    /// Somebody asks who has `target`.
    fn asked(&mut self, packet: &Packet, id: InterfaceId, sender: IpAddr, mac: MacAddr, target: IpAddr) {
        let Some(interface) = self.routers.interface(id) else { return };
        let ours = interface.has(target);
        let nobody = sender.is_unspecified();
        let near = !nobody && interface.is_on_link(sender) && !interface.has(sender);
        let own = interface.config.mac;
        let claimed = if nobody { (target, ours) } else { (sender, interface.has(sender)) };
        if let (address, true) = claimed {
            self.routers.contest(self.now, id, address, mac);
        }
        if near {
            let how = if ours { Heard::Directly } else { Heard::InPassing };
            self.believe(id, sender, mac, how);
        }
        if !ours && !self.stands_for(id, target) {
            return;
        }
        let frame = match (target, sender) {
            (IpAddr::V4(target), IpAddr::V4(sender)) => arp(ArpKind::Reply, (own, target), (mac, sender)),
            (IpAddr::V6(target), IpAddr::V6(_)) if nobody => advertisement((own, target), None),
            (IpAddr::V6(target), IpAddr::V6(sender)) => advertisement((own, target), Some((mac, sender))),
            _ => return,
        };
        self.reply(packet, &frame);
    }

    /// Whether an interface answers for an address that is not its own: one it was told to answer for, which is not to be
    /// reached by the same interface, or which is the outside name of a host.
    fn stands_for(&self, id: InterfaceId, target: IpAddr) -> bool {
        let Some(interface) = self.routers.interface(id) else { return false };
        if !interface.config.proxy.iter().any(|network| network.contains(target)) {
            return false;
        }
        let Some(router) = self.routers.router(interface.router) else { return false };
        if self.nat.stands_for_host(router.zone, target) {
            return true;
        }
        match router.table.lookup(target) {
            Some(Target::Via(ways)) => ways.iter().all(|way| way.interface != id),
            Some(Target::Local) => true,
            Some(Target::Edge | Target::Blackhole | Target::Unreachable | Target::Prohibit) | None => false,
        }
    }

    /// Somebody says that it has `address`.
    fn told(&mut self, id: InterfaceId, address: IpAddr, mac: MacAddr, solicited: bool) {
        self.serving.told(id, address, mac);
        let Some(interface) = self.routers.interface(id) else { return };
        if interface.addresses.iter().any(|a| a.prefix.address == address) {
            return self.routers.contest(self.now, id, address, mac);
        }
        if !interface.is_on_link(address) || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            return;
        }
        // Only an answer adds a neighbour, and only one that was asked for is there to be found.
        let asked = solicited && self.routers.neighbors.peek(id, address).is_some();
        self.believe(id, address, mac, if asked { Heard::Directly } else { Heard::InPassing });
    }

    fn believe(&mut self, id: InterfaceId, address: IpAddr, mac: MacAddr, how: Heard) {
        let waiting = self.routers.neighbors.hear(self.now, (id, address), mac, how);
        self.routers.released.extend(waiting);
    }

    /// Sends a frame of ours back to where a packet came from.
    pub(crate) fn reply(&mut self, cause: &Packet, frame: &[u8]) {
        let Some(mut packet) = parsed(frame, cause.port, self.pool) else { return };
        packet.vid = cause.vid;
        let port: PortId = cause.port;
        self.replies.push((port, Cleared::originate(packet)));
    }
}

/// Makes an echo request its reply: the ends change places, so only the type changes the checksum.
fn turn(packet: &mut Packet) -> Option<()> {
    let (l3, l4, kind) = (usize::from(packet.headers.l3), usize::from(packet.headers.l4), packet.headers.l3_kind);
    let frame = packet.buffer.bytes_mut();
    frame.first_chunk_mut::<12>()?.rotate_left(6);
    let (asks, answers) = match kind {
        L3::Ipv4 => {
            let header = frame.get_mut(l3..)?.first_chunk_mut::<20>()?;
            header[12..20].rotate_left(4);
            let before = u16::from_be_bytes([header[8], header[9]]);
            header[8] = TTL;
            let after = u16::from_be_bytes([header[8], header[9]]);
            let sum = checksum::update(u16::from_be_bytes([header[10], header[11]]), before, after);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            (ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY)
        }
        L3::Ipv6 => {
            let header = frame.get_mut(l3..)?.first_chunk_mut::<40>()?;
            header[8..40].rotate_left(16);
            header[7] = TTL;
            (ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY)
        }
        L3::Arp | L3::Other => return None,
    };
    let message = frame.get_mut(l4..)?.first_chunk_mut::<4>()?;
    message[0] = answers;
    let [before, after] = [asks, answers].map(|kind| u16::from_be_bytes([kind, 0]));
    let sum = checksum::update(u16::from_be_bytes([message[2], message[3]]), before, after);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(())
}
