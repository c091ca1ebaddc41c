//! Connections whose ends count differently: the client met a cookie in the place of the guest's first number.
//!
//! Each packet of such a connection passes here twice. What the client says is put into the guest's numbers before
//! anybody judges it ([`Engine::splice_in`]), what the guest says into the client's when it leaves
//! ([`Engine::splice_out`]): sequence numbers toward the client, acknowledgments, blocks of selective acknowledgments and
//! echoed times toward the guest, the guest's times toward the client, and windows where the guest does not scale them as
//! the client was told. What the client counts by itself both know.

use weir_wire::Packet;
use weir_wire::build::{Stamp, scale_window, shift_ack, shift_quoted_seq, shift_sack, shift_seq, shift_stamp};
use weir_wire::numbers::TCP_SYN;

use super::syn_proxy::{Asked, SynProxies};
use super::{Engine, Place, Ticket};
use crate::inspect::Direction;

/// How far such a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Splice {
    /// The guest was asked.
    Asked(Asked),
    /// It has accepted.
    Open(Numbers),
}

/// What is added to what one end says for the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// The client's number for each of the guest's segments is so much higher.
    pub offset: u32,
    /// And so are the guest's times.
    pub stamp: u32,
    /// Doublings of the guest's windows.
    pub to_client: i8,
    /// Doublings of the client's.
    pub to_guest: i8,
}

impl SynProxies {
    fn numbers(&self, slot: u32) -> Option<Numbers> {
        match self.splices.get(&slot)? {
            Splice::Open(numbers) => Some(*numbers),
            Splice::Asked(_) => None,
        }
    }
}

impl Engine {
    /// The numbers of a packet's connection, if it goes this way.
    fn splice_of(&self, ticket: &Ticket, way: Direction) -> Option<Numbers> {
        let Place::Known { slot, generation, direction } = ticket.place else { return None };
        self.table.get(slot, generation).filter(|_| direction == way)?;
        self.proxies.numbers(slot)
    }

    /// What the client says in its numbers, in the guest's.
    pub(super) fn splice_in(&self, ticket: &Ticket, packet: &mut Packet) {
        if let Some(numbers) = self.splice_of(ticket, Direction::Original) {
            heard(packet, numbers.offset.wrapping_neg(), numbers.stamp.wrapping_neg(), numbers.to_guest);
        }
    }

    /// What the client says, in its own numbers again: it is to come once more.
    pub(super) fn splice_back(&self, ticket: &Ticket, packet: &mut Packet) {
        if let Some(numbers) = self.splice_of(ticket, Direction::Original) {
            heard(packet, numbers.offset, numbers.stamp, -numbers.to_guest);
        }
    }

    /// What the guest says in its numbers, in the client's; what an error on the way to the client quotes of that, in the
    /// guest's again, which would not believe it else.
    pub(super) fn splice_out(&self, ticket: &Ticket, packet: &mut Packet) {
        if let Place::Error { slot, generation, quoted: Direction::Reply } = ticket.place
            && self.table.get(slot, generation).is_some()
            && let Some(numbers) = self.proxies.numbers(slot)
        {
            shift_quoted_seq(packet, numbers.offset.wrapping_neg());
        }
        if let Some(numbers) = self.splice_of(ticket, Direction::Reply) {
            shift_seq(packet, numbers.offset);
            if numbers.stamp != 0 {
                shift_stamp(packet, Stamp::Value, numbers.stamp);
            }
            rescale(packet, numbers.to_client);
        }
    }

    /// Answers of the guard to a client of a spliced connection, from the `first` that waits on, in the client's numbers.
    pub(super) fn splice_answers(&mut self, ticket: &Ticket, first: usize) {
        if let Place::Known { slot, generation, .. } = ticket.place
            && let Some(flow) = self.table.get(slot, generation)
            && let Some(numbers) = self.proxies.numbers(slot)
        {
            self.replies.shift(first, flow.ports[0], numbers.offset);
        }
    }

    /// A sequence number that an ICMP error quotes of a segment that went this way, as the guest counts.
    pub(super) fn quoted_number(&self, slot: u32, quoted: Direction, seq: u32) -> u32 {
        match self.proxies.numbers(slot) {
            Some(numbers) if quoted == Direction::Reply => seq.wrapping_sub(numbers.offset),
            _ => seq,
        }
    }
}

/// What a client says it has heard of its guest.
fn heard(packet: &mut Packet, offset: u32, stamp: u32, doublings: i8) {
    shift_ack(packet, offset);
    shift_sack(packet, offset);
    if stamp != 0 {
        shift_stamp(packet, Stamp::Echo, stamp);
    }
    rescale(packet, doublings);
}

/// Windows of SYNs have no scale.
fn rescale(packet: &mut Packet, doublings: i8) {
    if doublings != 0 && packet.tcp().is_some_and(|tcp| !tcp.has(TCP_SYN)) {
        scale_window(packet, doublings);
    }
}
