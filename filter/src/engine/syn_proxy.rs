//! The SYN proxy: handshakes with clients are done in a guest's place, and the guest hears of those alone that were
//! completed.
//!
//! A SYN toward a guest that is protected, and that the policy allows, is answered with a cookie and forgotten. The ACK
//! that brings the cookie back opens a flow, and the guest gets a SYN of our making with the client's own number. When
//! it accepts, both handshakes are complete, and from then on only the numbers that the guest counts by differ: its
//! segments are moved by a constant on their way to the client ([`Engine::splice_out`]), the client's acknowledgments
//! back ([`Engine::splice_in`]). The flow's state, the streams and the rules know the guest's numbers alone.
//!
//! Until the guest has accepted, the client is offered a window of nothing, so no data is lost; what it sends to ask for
//! more makes us ask the guest again. Window scale, timestamps and SACK are not used on such connections. Splices are as
//! many as flows at most, and go with these.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_wire::build::{Toward, bare_segment, shift_ack, shift_seq};
use weir_wire::checksum::verify_l4;
use weir_wire::numbers::{TCP_ACK, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet, PortId, TcpFields};

use super::pass::{Passing, Refusal};
use super::{Engine, Exits, Place, Ticket};
use crate::cookie::{Bound, Cookies};
use crate::event::Notice;
use crate::flow::Ways;
use crate::flow::key::Key;
use crate::flow::tcp::Segment;
use crate::inspect::Direction;

/// The proxy stays on so long after the threshold was met last.
const LINGER: Duration = Duration::from_secs(10);
/// How long its start is not told again.
const QUIET: Duration = Duration::from_secs(60);
/// The least time between two SYNs to a guest for one connection.
const AGAIN: Duration = Duration::from_millis(200);
/// What we tell clients to send at most: an Ethernet segment over IPv4 and IPv6.
const OUR_MSS: [u16; 2] = [1460, 1440];
/// What a client takes that says nothing (RFC 9293, 3.7.1).
const USUAL_MSS: [u16; 2] = [536, 1220];

/// A connection whose ends count differently.
#[derive(Clone, Copy, Debug)]
enum Splice {
    /// The guest was asked.
    Asked { seq: u32, cookie: u32, mss: u16, window: u16, at: Instant },
    /// It has accepted: the client's number for each of its segments is so much higher.
    Open { offset: u32 },
}

/// What the proxy has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynProxyCounters {
    /// SYNs that were answered with a cookie.
    pub cookies: u64,
    /// Cookies that came back.
    pub completed: u64,
    /// Acknowledgments toward guests behind a proxy that belong to no connection and bring no cookie.
    pub refused: u64,
}

/// The proxies of all guests.
#[derive(Debug)]
pub(super) struct SynProxies {
    cookies: Cookies,
    splices: BTreeMap<u32, Splice>,
    /// By port: on until, and not told again until.
    on: Vec<[Instant; 2]>,
    counters: SynProxyCounters,
}

impl SynProxies {
    pub fn new(seed: u64) -> SynProxies {
        let mut state = seed ^ 0x7379_6e5f_7072_6f78;
        let key = [(); 2].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z ^ (z >> 29)
        });
        SynProxies {
            cookies: Cookies::new(key),
            splices: BTreeMap::new(),
            on: Vec::new(),
            counters: SynProxyCounters::default(),
        }
    }

    /// A flow has ended.
    #[inline]
    pub fn forget(&mut self, slot: u32) {
        if !self.splices.is_empty() {
            self.splices.remove(&slot);
        }
    }

    /// No connection is spliced.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.splices.is_empty()
    }

    /// A flow's connection is spliced.
    pub fn holds(&self, slot: u32) -> bool {
        self.splices.contains_key(&slot)
    }

    /// How much higher the client counts the guest's segments.
    fn offset(&self, slot: u32) -> Option<u32> {
        match self.splices.get(&slot)? {
            Splice::Open { offset } => Some(*offset),
            Splice::Asked { .. } => None,
        }
    }
}

/// What a cookie is bound to: the flow's name, as two hashes of it under different keys would be no better than one.
fn words(key: &Key, from_low: bool) -> [u64; 6] {
    let [a, b, c, d, e] = key.words();
    [a, b, c, d, e, u64::from(from_low)]
}

impl Engine {
    /// What the proxy has done.
    pub fn syn_proxy_counters(&self) -> SynProxyCounters {
        self.proxies.counters
    }

    /// Answers a SYN that may pass in the place of the guest behind the only port it goes to; `false` where no proxy is
    /// on for it.
    pub(super) fn answers_syn(&mut self, p: &mut Passing<'_, '_>, key: &Key, from_low: bool) -> bool {
        let Some(to) = p.exits.sole() else { return false };
        if !self.policy.accounts().has_proxies() || !self.is_proxying(p, to) {
            return false;
        }
        let Some(syn) = Segment::of(p.packet).filter(|syn| syn.is_open()) else { return false };
        let family = usize::from(p.packet.ipv6().is_some());
        let offered = mss(p.packet.tcp_options()).or(USUAL_MSS.get(family).copied()).unwrap_or(536);
        let words = words(key, from_low);
        let cookie = self.proxies.cookies.make(p.now, Bound { words: &words, seq: syn.seq }, offered);
        let numbers = TcpFields {
            seq: cookie,
            ack: syn.seq.wrapping_add(1),
            flags: TCP_SYN | TCP_ACK,
            window: 0,
            ..TcpFields::default()
        };
        let ours = OUR_MSS.get(family).copied();
        let from = p.packet.port;
        self.replies.push_own(from, || bare_segment(p.packet, Toward::Sender, numbers, ours, p.pool));
        self.proxies.counters.cookies += 1;
        true
    }

    /// Whether the proxy before a port is on.
    fn is_proxying(&mut self, p: &Passing<'_, '_>, to: PortId) -> bool {
        let Some(proxy) = self.policy.accounts().proxy(to) else { return false };
        if proxy.half_open == 0 {
            return true;
        }
        let index = usize::from(to.0);
        if index >= self.proxies.on.len() {
            self.proxies.on.resize(index + 1, [Instant::ZERO; 2]);
        }
        let [_, half_open] = self.quotas.half_open(to);
        let Some([until, quiet]) = self.proxies.on.get_mut(index) else { return false };
        if half_open >= proxy.half_open {
            *until = p.now.after(LINGER);
            if p.now >= *quiet {
                *quiet = p.now.after(QUIET);
                let text = format!(
                    "{half_open} connections toward it wait half-open: handshakes are done in its place from here on"
                );
                let number = Some(u64::from(half_open));
                let notice = Notice::new(p.now, "syn-proxy", p.switch, to, text);
                self.teller.notice(Notice { vid: p.packet.vid, number, ..notice });
            }
        }
        p.now < *until
    }

    /// Takes a segment of no known flow that brings back a cookie: opens the flow, and asks the guest.
    pub(super) fn takes_cookie(&mut self, p: &mut Passing<'_, '_>, key: &Key, from_low: bool) -> Result<bool, Refusal> {
        let Some(to) = p.exits.sole().filter(|_| self.policy.accounts().has_proxies() && key.is_tcp()) else {
            return Ok(false);
        };
        let Some(ack) = Segment::of(p.packet).filter(|segment| segment.flags == TCP_ACK) else { return Ok(false) };
        if self.policy.accounts().proxy(to).is_none() {
            return Ok(false);
        }
        let (seq, cookie) = (ack.seq.wrapping_sub(1), ack.ack.wrapping_sub(1));
        let words = words(key, from_low);
        let checked = self.proxies.cookies.check(p.now, Bound { words: &words, seq }, cookie);
        let Some(mss) = checked.filter(|_| verify_l4(p.packet)) else {
            self.proxies.counters.refused += 1;
            return Ok(false);
        };
        self.proxies.counters.completed += 1;
        let numbers = TcpFields { seq, ack: 0, flags: TCP_SYN, window: ack.window, ..TcpFields::default() };
        let syn = bare_segment(p.packet, Toward::Receiver, numbers, Some(mss), p.pool);
        let Some(mut syn) = syn else { return Err(DropReason::SynProxied.into()) };
        syn.hash = p.packet.hash;
        let mut inner =
            Passing { now: p.now, packet: &syn, switch: p.switch, exits: Exits::One(to), pool: &mut *p.pool };
        let opened = self.open_for_client(&mut inner, *key, from_low);
        let hash = syn.hash;
        if let Err(refusal) = opened {
            p.pool.give(syn.buffer);
            return Err(refusal);
        }
        let Place::Known { slot, .. } = self.look_up(key, hash, from_low) else {
            p.pool.give(syn.buffer);
            return Err(DropReason::SynProxied.into());
        };
        self.proxies.splices.insert(slot, Splice::Asked { seq, cookie, mss, window: ack.window, at: p.now });
        self.table.at_mut(slot).settled = Ways::default();
        self.replies.push_made(to, syn, p.pool);
        Ok(true)
    }

    /// A segment of a connection whose guest was asked and has not accepted yet. `None` where the connection is open,
    /// and the segment one like any other.
    pub(super) fn before_splice(
        &mut self,
        p: &mut Passing<'_, '_>,
        slot: u32,
        direction: Direction,
    ) -> Option<Result<(), Refusal>> {
        let Some(&Splice::Asked { seq, cookie, mss, window, at }) = self.proxies.splices.get(&slot) else {
            return None;
        };
        let absorbed = || Some(Err(Refusal::of(slot, DropReason::SynProxied)));
        let segment = Segment::of(p.packet)?;
        if direction == Direction::Original {
            if segment.flags & TCP_RST != 0 || (segment.flags & TCP_SYN != 0 && segment.seq != seq) {
                return None;
            }
            // It asks for a window, or sends what it could not know that nobody reads yet: the guest is asked again.
            if p.now.since(at) >= AGAIN
                && let Some(to) = p.exits.sole()
            {
                let numbers = TcpFields { seq, ack: 0, flags: TCP_SYN, window, ..TcpFields::default() };
                self.replies.push_own(to, || bare_segment(p.packet, Toward::Receiver, numbers, Some(mss), p.pool));
                self.proxies.splices.insert(slot, Splice::Asked { seq, cookie, mss, window, at: p.now });
            }
            return absorbed();
        }
        let accepts = segment.flags == TCP_SYN | TCP_ACK;
        if !accepts && segment.flags & TCP_RST == 0 {
            return None;
        }
        if let Err(refusal) = self.known_flow(p, slot, direction) {
            return Some(Err(refusal));
        }
        let client = p.exits.sole().unwrap_or(self.table.at(slot).ports[0]);
        let theirs = TcpFields { seq: cookie.wrapping_add(1), ack: seq.wrapping_add(1), ..TcpFields::default() };
        if !accepts {
            let reset = TcpFields { flags: TCP_RST | TCP_ACK, ..theirs };
            self.replies.push_own(client, || bare_segment(p.packet, Toward::Receiver, reset, None, p.pool));
            return absorbed();
        }
        self.proxies.splices.insert(slot, Splice::Open { offset: cookie.wrapping_sub(segment.seq) });
        let opening = TcpFields { flags: TCP_ACK, window: segment.window, ..theirs };
        self.replies.push_own(client, || bare_segment(p.packet, Toward::Receiver, opening, None, p.pool));
        let numbers = TcpFields {
            seq: seq.wrapping_add(1),
            ack: segment.seq.wrapping_add(1),
            flags: TCP_ACK,
            window,
            ..TcpFields::default()
        };
        let guest = p.packet.port;
        if let Some(mut ack) = bare_segment(p.packet, Toward::Sender, numbers, None, p.pool) {
            ack.port = client;
            ack.hash = p.packet.hash;
            let mut inner =
                Passing { now: p.now, packet: &ack, switch: p.switch, exits: Exits::One(guest), pool: &mut *p.pool };
            match self.known_flow(&mut inner, slot, Direction::Original) {
                Ok(()) => self.replies.push_made(guest, ack, p.pool),
                Err(refusal) => {
                    p.pool.give(ack.buffer);
                    return Some(Err(refusal));
                }
            }
        }
        absorbed()
    }

    /// What the client says in its numbers, in the guest's.
    pub(super) fn splice_in(&self, ticket: &Ticket, packet: &mut Packet) {
        if let Place::Known { slot, generation, direction: Direction::Original } = ticket.place
            && self.table.get(slot, generation).is_some()
            && let Some(offset) = self.proxies.offset(slot)
        {
            shift_ack(packet, offset.wrapping_neg());
        }
    }

    /// What the client says, in its own numbers again: it is to come once more.
    pub(super) fn splice_back(&self, ticket: &Ticket, packet: &mut Packet) {
        if let Place::Known { slot, generation, direction: Direction::Original } = ticket.place
            && self.table.get(slot, generation).is_some()
            && let Some(offset) = self.proxies.offset(slot)
        {
            shift_ack(packet, offset);
        }
    }

    /// What the guest says in its numbers, in the client's.
    pub(super) fn splice_out(&self, ticket: &Ticket, packet: &mut Packet) {
        if let Place::Known { slot, generation, direction: Direction::Reply } = ticket.place
            && self.table.get(slot, generation).is_some()
            && let Some(offset) = self.proxies.offset(slot)
        {
            shift_seq(packet, offset);
        }
    }

    /// Answers of the guard to a client of a spliced connection, from the `first` that waits on, in the client's numbers.
    pub(super) fn splice_answers(&mut self, ticket: &Ticket, first: usize) {
        if let Place::Known { slot, generation, .. } = ticket.place
            && let Some(flow) = self.table.get(slot, generation)
            && let Some(offset) = self.proxies.offset(slot)
        {
            self.replies.shift(first, flow.ports[0], offset);
        }
    }

    /// A sequence number that an ICMP error quotes of a segment that went this way, as the guest counts.
    pub(super) fn quoted_number(&self, slot: u32, quoted: Direction, seq: u32) -> u32 {
        match self.proxies.offset(slot) {
            Some(offset) if quoted == Direction::Reply => seq.wrapping_sub(offset),
            _ => seq,
        }
    }
}

/// RFC 9293, 3.2: kind 2, length 4.
fn mss(mut options: &[u8]) -> Option<u16> {
    loop {
        options = match options {
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [1, rest @ ..] => rest,
            [2..=u8::MAX, length @ 2..=u8::MAX, ..] => options.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}
