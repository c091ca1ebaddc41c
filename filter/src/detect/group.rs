//! One group of rules on packets and streams: what is searched for in each.

use std::collections::{HashMap, HashSet};

use weir_ids_rules::rule::Condition;

use super::asks::Ask;
use super::compiled::{Compiled, Kind};
use super::condition::takes_none;
use super::fast::Fast;
use super::lane::Lane;
use super::matcher::Pattern;
use super::placed;

/// Rules of a group that may be found by the same bytes in the same few places.
const SHARED: usize = 16;

/// Bytes of a short payload.
const SHORT: usize = 512;

/// Marks rules in a search of streams that are found there for packets alone, see [`Group::is_joined`].
const FOR_PACKETS: u32 = 1 << 31;

/// Bytes of a stream that stay at hand behind what has been searched, where a rule may need them.
pub const WINDOW: usize = 16 << 10;

/// The rules of one group.
#[derive(Debug, Default)]
pub struct Group {
    /// Found in the stream.
    stream: Lane,
    /// The search of streams finds what that of packets with more than [`SHORT`] bytes does.
    joined: bool,
    /// Found in the payload of each packet with more than [`SHORT`] bytes, or judged on each such packet.
    pub packet: Lane,
    /// The same for the others, with the rules for short payloads; `None` where there are no such rules.
    pub short: Option<Lane>,
    /// All of them.
    pub rules: Box<[u32]>,
    /// Those judged on packets that ask nothing of the payload, nor that there is one.
    pub plain: Box<[u32]>,
    pub needs: Needs,
}

/// What a group must be shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Streams.
    pub stream: bool,
    /// Packets by themselves.
    pub packets: bool,
    /// Bytes of a stream that the rules may need behind what has been searched.
    pub lookback: u32,
}

/// By what each rule is found in a payload, by its number.
#[derive(Clone, Copy, Debug)]
pub struct InPayload<'f> {
    /// Its fast pattern.
    pub fast: &'f [Option<Fast>],
    /// One that can only lie in a few places.
    pub placed: &'f [Option<Fast>],
}

impl<'f> InPayload<'f> {
    fn pattern(self, rule: u32) -> Option<Pattern<'f>> {
        self.fast.get(rule as usize)?.as_ref().map(Fast::pattern)
    }

    /// The same for packets, of which only few places need to be looked at for a rule that is found there. What many
    /// rules share, or is too short to tell much, would make candidates of them all.
    fn in_packets(self, rules: &[u32]) -> impl Fn(u32) -> Option<Pattern<'f>> {
        let near = move |rule: u32| self.placed.get(rule as usize)?.as_ref().map(Fast::pattern);
        let mut crowds: HashMap<Pattern<'f>, usize> = HashMap::new();
        rules.iter().filter_map(|&rule| near(rule)).for_each(|pattern| *crowds.entry(pattern).or_default() += 1);
        move |rule| {
            let tells = |pattern: &Pattern<'_>| {
                let crowd = crowds.get(pattern).copied().unwrap_or(0);
                crowd <= if pattern.bytes.len() < 2 { SHARED / 4 } else { SHARED }
            };
            let is_placed = |pattern: &Pattern<'_>| placed::is_placed(pattern);
            self.pattern(rule).filter(is_placed).or_else(|| near(rule).filter(tells)).or_else(|| self.pattern(rule))
        }
    }
}

impl Group {
    /// The group of `rules`, of all that there are. `found` says by what each of them is found in the payload.
    pub fn new(rules: &[u32], all: &[Compiled], found: InPayload<'_>, has_stream: bool) -> Group {
        let (mut stream, mut packet, mut short) = (Vec::new(), Vec::new(), Vec::new());
        let (mut plain, mut lookback) = (Vec::new(), 0);
        let pattern = |n: u32| found.pattern(n);
        for &number in rules {
            let Some(rule) = all.get(number as usize) else { continue };
            let (in_stream, in_packet) = lanes_of(rule, has_stream);
            if in_stream {
                stream.push(number);
                let alone = !rule.anchored && rule.payload.as_ref().is_some_and(|check| check.is_one_literal());
                let longest = pattern(number).map_or(WINDOW, |pattern| pattern.bytes.len());
                lookback = lookback.max(if alone { longest.max(64) } else { WINDOW });
            }
            if in_packet {
                if rule.payload.is_none() && !needs_payload(rule) {
                    plain.push(number);
                }
                short.push(number);
                if !is_short(rule) {
                    packet.push(number);
                }
            }
        }
        let needs = Needs { stream: !stream.is_empty(), packets: !short.is_empty(), lookback: lookback as u32 };
        let short = (short.len() > packet.len()).then(|| Lane::new(&short, found.in_packets(&short)));
        let (stream, joined) = stream_lane(&stream, &packet, found);
        Group {
            stream,
            joined,
            packet: Lane::new(&packet, found.in_packets(&packet)),
            short,
            rules: rules.into(),
            plain: plain.into(),
            needs,
        }
    }
}

/// The search of a stream for the rules on it, and whether it finds those of `packet` too. These are few, and the bytes of a
/// segment in order are searched once in place of twice.
fn stream_lane(stream: &[u32], packet: &[u32], found: InPayload<'_>) -> (Lane, bool) {
    let pattern = |rule: u32| found.pattern(rule);
    let in_packets = found.in_packets(packet);
    let streams: HashSet<u32> = stream.iter().copied().collect();
    let own = |rule: u32| streams.contains(&rule) && pattern(rule).is_some();
    let more = packet.iter().copied().filter(|&rule| !own(rule) && in_packets(rule).is_some());
    let both: Vec<u32> = stream.iter().copied().chain(more.map(|rule| rule | FOR_PACKETS)).collect();
    if !stream.is_empty() {
        let lane =
            Lane::new(
                &both,
                |rule| {
                    if rule & FOR_PACKETS == 0 { pattern(rule) } else { in_packets(rule & !FOR_PACKETS) }
                },
            );
        if lane.is_searched() {
            return (lane, true);
        }
    }
    (Lane::new(stream, pattern), false)
}

impl Group {
    /// Whether a payload that is what a stream grew by need not be searched by itself: [`Group::find`] finds all that is
    /// found in packets, but for those judged on each.
    #[inline]
    pub fn is_joined(&self, payload: usize) -> bool {
        self.joined && payload > SHORT
    }

    /// Tells `add` the rules found in the stream as [`Lane::find`] does. Those found for packets alone have no end, and their
    /// patterns may begin before the fresh bytes.
    #[inline]
    pub fn find(&self, text: &[u8], fresh: usize, starts: &[usize], mut add: impl FnMut(u32, Option<usize>)) {
        self.stream.find(text, fresh, starts, |rule, end| {
            add(rule & !FOR_PACKETS, Some(end).filter(|_| rule & FOR_PACKETS == 0));
        });
    }

    /// Those judged each time that a stream grows.
    #[inline]
    pub fn always(&self) -> &[u32] {
        &self.stream.always
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let short = self.short.as_ref().map_or(0, Lane::memory);
        self.stream.memory() + self.packet.memory() + short + size_of_val::<[u32]>(&self.rules)
    }

    /// The lane for a packet with so many bytes of payload.
    pub fn of_packet(&self, payload: usize) -> &Lane {
        self.short.as_ref().filter(|_| payload <= SHORT).unwrap_or(&self.packet)
    }
}

/// Whether a rule takes no packets but those with a payload that is looked at.
fn needs_payload(rule: &Compiled) -> bool {
    rule.asks.iter().any(|ask| match ask {
        Ask::Header(Condition::PayloadSize(bounds)) => !takes_none(*bounds),
        _ => false,
    })
}

/// Whether a rule takes payloads of few bytes only.
fn is_short(rule: &Compiled) -> bool {
    rule.asks.iter().any(|ask| match ask {
        Ask::Header(Condition::PayloadSize(bounds)) => !bounds.negated && bounds.max <= SHORT as u64,
        _ => false,
    })
}

/// Whether a rule is found in streams, and in packets.
pub fn lanes_of(rule: &Compiled, has_stream: bool) -> (bool, bool) {
    match rule.kind {
        Kind::Stream => (has_stream, !has_stream && rule.protocol != weir_ids_rules::rule::Protocol::TcpStream),
        Kind::PacketAndStream => (has_stream, true),
        Kind::Packet | Kind::App | Kind::ProtocolOnly => (false, true),
        // Its payload's part is found here, the rest in transactions.
        Kind::Transaction => (has_stream && rule.payload.is_some(), !has_stream && rule.payload.is_some()),
        Kind::Ends | Kind::Oddities | Kind::Frame => (false, false),
    }
}
