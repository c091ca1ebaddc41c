//! The SYN proxy: handshakes with clients are done in a guest's place, and the guest hears of those alone that were
//! completed.
//!
//! A SYN toward a guest that is protected, and that the policy allows, is answered with a cookie and forgotten. The ACK
//! that brings the cookie back opens a flow, and the guest gets a SYN of our making with the client's own number and
//! options. When it accepts, both handshakes are complete, and from then on only the numbers that the guest counts by
//! differ: each side is told them in its own ([`splice`](super::splice)). The flow's state, the streams and the rules know
//! the guest's numbers alone.
//!
//! Window scale, SACK and timestamps are agreed on with clients that have timestamps, whose echo remembers the rest
//! ([`Agreed`]); what a guest itself agrees to is learned from its answers, by port, and until then taken to be what most
//! hosts do. Where it turns out otherwise, windows are told in the units that were promised.
//!
//! Until the guest has accepted, the client is offered a window of nothing, so no data is lost; what it sends to ask for
//! more makes us ask the guest again. Splices are as many as flows at most, and go with these.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_wire::build::{Toward, bare_segment};
use weir_wire::checksum::verify_l4;
use weir_wire::numbers::{TCP_ACK, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, PortId, TcpFields, TcpOptions};

use super::pass::{Passing, Refusal};
use super::splice::{Numbers, Splice};
use super::{Engine, Exits, Place};
use crate::cookie::{Agreed, Bound, Cookies};
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
/// How long what a guest agrees to is believed: another may have come behind its port.
const RELEARN: Duration = Duration::from_secs(600);
/// What we tell clients to send at most: an Ethernet segment over IPv4 and IPv6.
const OUR_MSS: [u16; 2] = [1460, 1440];
/// What a client takes that says nothing (RFC 9293, 3.7.1).
const USUAL_MSS: [u16; 2] = [536, 1220];

/// What guests are taken to agree to before one has answered: window scale 7, as Linux does by its usual bounds.
const USUAL: TcpOptions = TcpOptions { mss: None, scale: Some(7), sack_permitted: true, timestamps: Some((0, 0)) };

/// A guest that was asked in the name of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The client's number.
    seq: u32,
    cookie: u32,
    /// The client's window, in its units.
    window: u16,
    mss: u16,
    agreed: Agreed,
    /// The client's time, and the one that it was told.
    stamps: Option<(u32, u32)>,
    at: Instant,
}

impl Asked {
    /// The SYN for the guest.
    fn syn(&self) -> (TcpFields, TcpOptions) {
        // A SYN's window has no units.
        let wide = u32::from(self.window) << self.agreed.theirs.unwrap_or(0);
        let window = u16::try_from(wide).unwrap_or(u16::MAX);
        let numbers = TcpFields { seq: self.seq, ack: 0, flags: TCP_SYN, window, ..TcpFields::default() };
        let options = TcpOptions {
            mss: Some(self.mss),
            scale: self.agreed.theirs,
            sack_permitted: self.agreed.sack,
            timestamps: self.stamps.map(|(theirs, _)| (theirs, 0)),
        };
        (numbers, options)
    }

    /// What the client expects of the guest next.
    fn theirs(&self) -> TcpFields {
        let (seq, ack) = (self.cookie.wrapping_add(1), self.seq.wrapping_add(1));
        TcpFields { seq, ack, ..TcpFields::default() }
    }
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
    pub splices: BTreeMap<u32, Splice>,
    /// By port: on until, and not told again until.
    on: Vec<[Instant; 2]>,
    /// By port: what a guest there agrees to, and since when that is known.
    learned: Vec<Option<(TcpOptions, Instant)>>,
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
            learned: Vec::new(),
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

    /// Takes out what is known of the flow at a place.
    pub fn take_splice(&mut self, slot: u32) -> Option<Splice> {
        self.splices.remove(&slot)
    }

    /// Puts in what was known of a flow at another place.
    pub fn put_splice(&mut self, slot: u32, splice: Splice) {
        self.splices.insert(slot, splice);
    }

    /// Takes over where another one is on, and what it has counted.
    pub fn adopt(&mut self, other: &SynProxies) {
        if self.on.len() < other.on.len() {
            self.on.resize(other.on.len(), [Instant::ZERO; 2]);
        }
        for (mine, theirs) in self.on.iter_mut().zip(&other.on) {
            *mine = [mine[0].max(theirs[0]), mine[1].max(theirs[1])];
        }
        if self.learned.len() < other.learned.len() {
            self.learned.resize(other.learned.len(), None);
        }
        for (mine, theirs) in self.learned.iter_mut().zip(&other.learned) {
            *mine = mine.or(*theirs);
        }
        self.counters.cookies += other.counters.cookies;
        self.counters.completed += other.counters.completed;
        self.counters.refused += other.counters.refused;
    }

    fn known(&self, now: Instant, port: PortId) -> Option<(TcpOptions, Instant)> {
        self.learned.get(usize::from(port.0)).copied().flatten().filter(|(_, since)| now.since(*since) < RELEARN)
    }

    /// What a guest behind a port is thought to agree to.
    fn habits(&self, now: Instant, port: PortId) -> TcpOptions {
        self.known(now, port).map_or(USUAL, |(options, _)| options)
    }

    /// Learns of a guest's answer. What it was not asked for it could not agree to.
    fn learn(&mut self, now: Instant, port: PortId, asked: &Asked, answer: TcpOptions) {
        let (habits, since) = self.known(now, port).unwrap_or((USUAL, now));
        let options = TcpOptions {
            mss: answer.mss,
            scale: if asked.agreed.theirs.is_some() { answer.scale } else { habits.scale },
            sack_permitted: if asked.agreed.sack { answer.sack_permitted } else { habits.sack_permitted },
            timestamps: if asked.stamps.is_some() { answer.timestamps } else { habits.timestamps },
        };
        let index = usize::from(port.0);
        if index >= self.learned.len() {
            self.learned.resize(index + 1, None);
        }
        if let Some(place) = self.learned.get_mut(index) {
            *place = Some((options, since));
        }
    }
}

/// What a cookie is bound to: the flow's name, as two hashes of it under different keys would be no better than one, and
/// whether the client has timestamps, which it must not forget.
fn words(key: &Key, from_low: bool, options: &TcpOptions) -> [u64; 6] {
    let [a, b, c, d, e] = key.words();
    [a, b, c, d, e, u64::from(from_low) | u64::from(options.timestamps.is_some()) << 1]
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
        let (offered, habits) = (TcpOptions::of(p.packet.tcp_options()), self.proxies.habits(p.now, to));
        let timestamps = offered.timestamps.filter(|_| habits.timestamps.is_some());
        // Without the echo of a time there is nobody who remembers the rest.
        let told = timestamps.and(offered.scale.and(habits.scale));
        let agreed = Agreed {
            theirs: told.and(offered.scale),
            told,
            sack: timestamps.is_some() && offered.sack_permitted && habits.sack_permitted,
        };
        let mss = offered.mss.or(USUAL_MSS.get(family).copied()).unwrap_or(536);
        let words = words(key, from_low, &TcpOptions { timestamps, ..offered });
        let cookie = self.proxies.cookies.make(p.now, Bound { words: &words, seq: syn.seq }, mss);
        let numbers = TcpFields {
            seq: cookie,
            ack: syn.seq.wrapping_add(1),
            flags: TCP_SYN | TCP_ACK,
            window: 0,
            ..TcpFields::default()
        };
        let ours = OUR_MSS.get(family).copied();
        let answer = TcpOptions {
            mss: ours.min(habits.mss.or(ours)),
            scale: told,
            sack_permitted: agreed.sack,
            timestamps: timestamps.map(|(theirs, _)| (agreed.stamp(p.now), theirs)),
        };
        let from = p.packet.port;
        self.replies.push_own(from, || bare_segment(p.packet, Toward::Sender, numbers, &answer, p.pool));
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
        let said = TcpOptions::of(p.packet.tcp_options());
        let words = words(key, from_low, &said);
        let checked = self.proxies.cookies.check(p.now, Bound { words: &words, seq }, cookie);
        let Some(mss) = checked.filter(|_| verify_l4(p.packet)) else {
            self.proxies.counters.refused += 1;
            return Ok(false);
        };
        self.proxies.counters.completed += 1;
        let agreed = said.timestamps.map_or(Agreed::default(), |(_, echo)| Agreed::of(echo));
        let asked = Asked { seq, cookie, window: ack.window, mss, agreed, stamps: said.timestamps, at: p.now };
        let (numbers, options) = asked.syn();
        let syn = bare_segment(p.packet, Toward::Receiver, numbers, &options, p.pool);
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
        self.proxies.splices.insert(slot, Splice::Asked(asked));
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
        let Some(&Splice::Asked(asked)) = self.proxies.splices.get(&slot) else { return None };
        let segment = Segment::of(p.packet)?;
        if direction == Direction::Original {
            if segment.flags & TCP_RST != 0 || (segment.flags & TCP_SYN != 0 && segment.seq != asked.seq) {
                return None;
            }
            // It asks for a window, or sends what it could not know that nobody reads yet: the guest is asked again.
            if p.now.since(asked.at) >= AGAIN
                && let Some(to) = p.exits.sole()
            {
                let (numbers, options) = asked.syn();
                self.replies.push_own(to, || bare_segment(p.packet, Toward::Receiver, numbers, &options, p.pool));
                self.proxies.splices.insert(slot, Splice::Asked(Asked { at: p.now, ..asked }));
            }
            return Some(Err(Refusal::of(slot, DropReason::SynProxied)));
        }
        let accepts = segment.flags == TCP_SYN | TCP_ACK;
        if !accepts && segment.flags & TCP_RST == 0 {
            return None;
        }
        if let Err(refusal) = self.known_flow(p, slot, direction) {
            return Some(Err(refusal));
        }
        let told = if accepts { self.splice(p, slot, &asked) } else { Ok(()) };
        if !accepts {
            let client = p.exits.sole().unwrap_or(self.table.at(slot).ports[0]);
            let numbers = TcpFields { flags: TCP_RST | TCP_ACK, ..asked.theirs() };
            let none = TcpOptions::default();
            self.replies.push_own(client, || bare_segment(p.packet, Toward::Receiver, numbers, &none, p.pool));
        }
        Some(told.and(Err(Refusal::of(slot, DropReason::SynProxied))))
    }

    /// The guest accepts: both ends are told, each in its numbers.
    fn splice(&mut self, p: &mut Passing<'_, '_>, slot: u32, asked: &Asked) -> Result<(), Refusal> {
        let Some(segment) = Segment::of(p.packet) else { return Ok(()) };
        let guest = p.packet.port;
        let options = TcpOptions::of(p.packet.tcp_options());
        self.proxies.learn(p.now, guest, asked, options);
        let client = p.exits.sole().unwrap_or(self.table.at(slot).ports[0]);
        let stamps = asked.stamps.zip(options.timestamps);
        let numbers = Numbers {
            offset: asked.cookie.wrapping_sub(segment.seq),
            stamp: stamps.map_or(0, |((_, told), (value, _))| told.wrapping_sub(value)),
            to_client: options.scale.unwrap_or(0) as i8 - asked.agreed.told.unwrap_or(0) as i8,
            // A guest that does not scale takes no scaled windows either.
            to_guest: if options.scale.is_none() { asked.agreed.theirs.unwrap_or(0) as i8 } else { 0 },
        };
        self.proxies.splices.insert(slot, Splice::Open(numbers));
        let window = segment.window >> asked.agreed.told.unwrap_or(0);
        let opening = TcpFields { flags: TCP_ACK, window: window.max(1), ..asked.theirs() };
        let stamped = |timestamps| TcpOptions { timestamps, ..TcpOptions::default() };
        let said = stamped(asked.stamps.map(|(theirs, told)| (told, theirs)));
        self.replies.push_own(client, || bare_segment(p.packet, Toward::Receiver, opening, &said, p.pool));
        let wide = u32::from(asked.window) << numbers.to_guest;
        let ack = TcpFields {
            seq: asked.seq.wrapping_add(1),
            ack: segment.seq.wrapping_add(1),
            flags: TCP_ACK,
            window: u16::try_from(wide).unwrap_or(u16::MAX),
            ..TcpFields::default()
        };
        let said = stamped(stamps.map(|((theirs, _), (value, _))| (theirs, value)));
        let Some(mut ack) = bare_segment(p.packet, Toward::Sender, ack, &said, p.pool) else { return Ok(()) };
        ack.port = client;
        ack.hash = p.packet.hash;
        let mut inner =
            Passing { now: p.now, packet: &ack, switch: p.switch, exits: Exits::One(guest), pool: &mut *p.pool };
        match self.known_flow(&mut inner, slot, Direction::Original) {
            Ok(()) => {
                self.replies.push_made(guest, ack, p.pool);
                Ok(())
            }
            Err(refusal) => {
                p.pool.give(ack.buffer);
                Err(refusal)
            }
        }
    }
}
