//! Settled flows whose packets may pass without us: the kernel forwards them by itself.
//!
//! The engine offers a flow's direction when enough of its packets were carried ([`Engine::offer`]). Whoever can have them
//! forwarded elsewhere says so ([`Engine::hand_over`]) and reports what passed ([`Engine::passed`]), until it takes the
//! flow back ([`Engine::take_back`]). As soon as the guard wants to see a flow's packets again, because it ends, is
//! blocked or is judged anew, its places are *recalled*. A change of policy concerns all flows and is the caller's to
//! know.
//!
//! Packets that are shown in between (of TCP those that open or end the connection must be) are judged as ever, but for
//! the window of TCP, of which nothing is known meanwhile.

use std::net::IpAddr;

use weir_wire::{Checksum, Instant, MacAddr, Packet, PortId, SwitchId, Vid};

use super::{Engine, FlowName};
use crate::inspect::Direction;

/// Packets of a direction after which it is offered.
const ENOUGH: u64 = 16;
/// Offers and recalls that wait; more offers are made by later packets.
const OFFERS: usize = 64;

/// The name of a flow in the table, which finds nothing once the flow has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPlace {
    slot: u32,
    generation: u32,
}

/// One direction of a settled flow, as its packets look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The flow.
    pub flow: FlowPlace,
    /// Which direction of it.
    pub direction: Direction,
    /// The port its packets come in by.
    pub from: PortId,
    /// The port they leave by.
    pub to: PortId,
    /// The switch they are on.
    pub switch: SwitchId,
    /// The VLAN they are in.
    pub vid: Vid,
    /// Destination and source MAC as they stand in the frame.
    pub addresses: [u8; 12],
    /// IP addresses of sender and receiver.
    pub ends: (IpAddr, IpAddr),
    /// Ports of sender and receiver.
    pub ports: (u16, u16),
    /// TCP or UDP.
    pub protocol: u8,
}

impl Offer {
    /// The MAC its packets come from.
    pub fn source(&self) -> MacAddr {
        let [.., a, b, c, d, e, f] = self.addresses;
        MacAddr([a, b, c, d, e, f])
    }
}

/// What waits for the caller.
#[derive(Debug, Default)]
pub(super) struct Away {
    offers: Vec<Offer>,
    recalled: Vec<u32>,
}

impl Engine {
    /// Offers the direction of a packet that was just carried to `to`, once enough have been and where its packets need
    /// nothing done to them.
    #[inline]
    pub fn offer(&mut self, packet: &Packet, name: &FlowName, to: PortId) {
        if self.away.offers.len() >= OFFERS || packet.offload.checksum != Checksum::Complete {
            return;
        }
        let Some(slot) = self.table.find(name.key(), packet.hash) else { return };
        let flow = self.table.at(slot);
        let direction = flow.direction(name.is_from_low());
        let way = direction as usize & 1;
        if flow.inspect.is_some()
            || flow.away[way] != 0
            || flow.packets[way] < ENOUGH
            || !flow.packets[way].is_multiple_of(ENOUGH)
        {
            return;
        }
        let tuple = flow.key.tuple(flow.initiator_is_low);
        let ends = [(tuple.source, tuple.source_port), (tuple.destination, tuple.destination_port)];
        let [(source, source_port), (destination, destination_port)] = match direction {
            Direction::Original => ends,
            Direction::Reply => [ends[1], ends[0]],
        };
        self.away.offers.push(Offer {
            flow: FlowPlace { slot, generation: flow.generation },
            direction,
            from: packet.port,
            to,
            switch: flow.key.switch(),
            vid: flow.key.vid(),
            addresses: packet.bytes().first_chunk().copied().unwrap_or_default(),
            ends: (source, destination),
            ports: (source_port, destination_port),
            protocol: packet.headers.protocol,
        });
    }

    /// Directions that may be handed over, for once.
    pub fn take_offers(&mut self, into: &mut Vec<Offer>) {
        into.append(&mut self.away.offers);
    }

    /// Something is offered.
    #[inline]
    pub fn has_offers(&self) -> bool {
        !self.away.offers.is_empty()
    }

    /// Packets of this direction pass elsewhere from here on, at a place of the caller's. `false` where the flow has
    /// changed since it was offered.
    pub fn hand_over(&mut self, flow: FlowPlace, direction: Direction, place: u32) -> bool {
        let epoch = self.policy.epoch();
        let stands = self.table.get(flow.slot, flow.generation);
        if !stands
            .is_some_and(|flow| flow.is_settled() && flow.epoch == epoch && flow.away[direction as usize & 1] == 0)
        {
            return false;
        }
        let flow = self.table.at_mut(flow.slot);
        flow.away[direction as usize & 1] = place.saturating_add(1);
        if flow.key.is_tcp() {
            flow.tcp.look_away();
        }
        true
    }

    /// Takes packets that have passed elsewhere into their flow's account; `false` where the flow has ended.
    pub fn passed(&mut self, flow: FlowPlace, direction: Direction, packets: u64, bytes: u64, last: Instant) -> bool {
        if self.table.get(flow.slot, flow.generation).is_none() {
            return false;
        }
        let flow = self.table.at_mut(flow.slot);
        let way = direction as usize & 1;
        flow.packets[way] += packets;
        flow.bytes[way] += bytes;
        flow.last = flow.last.max(last);
        true
    }

    /// All packets of a direction are shown to us again.
    pub fn take_back(&mut self, flow: FlowPlace, direction: Direction) {
        if self.table.get(flow.slot, flow.generation).is_none() {
            return;
        }
        let flow = self.table.at_mut(flow.slot);
        flow.away[direction as usize & 1] = 0;
        if flow.away == [0, 0] {
            flow.tcp.look_again();
        }
    }

    /// Asks for the packets of a flow.
    #[inline]
    pub(super) fn recall(&mut self, slot: u32) {
        let away = self.table.at(slot).away;
        if away != [0, 0] {
            self.away.recalled.extend(away.into_iter().filter(|&place| place != 0).map(|place| place - 1));
        }
    }

    /// Some places are to be shut.
    #[inline]
    pub fn has_recalled(&self) -> bool {
        !self.away.recalled.is_empty()
    }

    /// The places that are to be shut at once; some may be named again.
    pub fn recalled(&mut self) -> impl Iterator<Item = u32> {
        self.away.recalled.drain(..)
    }
}
