//! What the first bytes of a direction say of its protocol.
//!
//! Patterns at known places come first, each confirmed by its protocol's probe; then the probes of protocols whose port
//! it is; then those of all others that work on any port. The cost is bounded: at most [`PROBED`] bytes are looked at.

use std::sync::LazyLock;

use weir_ids_rules::AppProtocol;
use weir_wire::numbers::PROTOCOL_TCP;

use super::{Description, PROTOCOLS, Probe, Settings};
use crate::event::Tuple;
use crate::inspect::Direction;

/// Bytes of a direction that are looked at.
pub const PROBED: usize = 4096;

/// What was learnt from a direction so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    patterns_done: bool,
    probes_done: bool,
    /// It is so because the direction ended: more bytes might have told more.
    cut_short: bool,
}

impl Evidence {
    /// More bytes will not tell more.
    pub fn is_done(&self) -> bool {
        self.patterns_done && self.probes_done
    }

    /// The direction ended before it could tell.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// No probe waits for more bytes.
    pub fn probes_done(&self) -> bool {
        self.probes_done
    }
}

/// The protocol that bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// This one.
    Is(AppProtocol),
    /// This one, said by the other side than was thought.
    Reversed(AppProtocol),
    /// None, or not yet: [`Evidence::is_done`] tells which.
    Unknown,
}

/// Asks patterns and probes. `end`: no more bytes follow.
pub fn guess(
    way: Direction,
    bytes: &[u8],
    tuple: &Tuple,
    evidence: &mut Evidence,
    settings: &Settings,
    end: bool,
) -> Guess {
    let end = end || bytes.len() >= PROBED;
    let bytes = bytes.get(..PROBED).unwrap_or(bytes);
    // Servers skip empty lines before a request (RFC 9112, 2.2); what is refused inline must not hide behind them. What
    // is no text may begin with these bytes as well.
    if settings.http.inline && way == Direction::Original && tuple.protocol == PROTOCOL_TCP {
        let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if let (1.., Some(request)) = (empty, bytes.get(empty..)) {
            let mut aside = *evidence;
            let as_it_is = ask(way, bytes, tuple, &mut aside, settings, end);
            return match as_it_is {
                Guess::Unknown => ask(way, request, tuple, evidence, settings, end),
                Guess::Is(_) | Guess::Reversed(_) => as_it_is,
            };
        }
    }
    ask(way, bytes, tuple, evidence, settings, end)
}

/// Asks them of bytes as they are.
fn ask(way: Direction, bytes: &[u8], tuple: &Tuple, evidence: &mut Evidence, settings: &Settings, end: bool) -> Guess {
    if bytes.is_empty() {
        return Guess::Unknown;
    }
    let mut waiting = false;
    if !evidence.patterns_done {
        for description in with_patterns(way, bytes, tuple, settings) {
            match (description.probe)(way, bytes, tuple) {
                Probe::Yes => return Guess::Is(description.protocol),
                Probe::Reversed => return Guess::Reversed(description.protocol),
                Probe::More => waiting = true,
                Probe::No => {}
            }
        }
        let told_all = !waiting && bytes.len() >= depth(way, tuple, settings);
        evidence.patterns_done = end || told_all;
        evidence.cut_short |= end && !told_all && bytes.len() < PROBED;
    }
    if waiting && !end {
        return Guess::Unknown;
    }
    if !evidence.probes_done {
        let mut more = false;
        let spoken = Spoken::over(tuple);
        let at_ports = spoken.at_ports(tuple, settings);
        let candidates = spoken.of(at_ports).chain(spoken.of(spoken.anywhere & !at_ports));
        for description in enabled(candidates, tuple, settings) {
            match (description.probe)(way, bytes, tuple) {
                Probe::Yes => return Guess::Is(description.protocol),
                Probe::Reversed => return Guess::Reversed(description.protocol),
                Probe::More => more = true,
                Probe::No => {}
            }
        }
        evidence.probes_done = end || !more;
        evidence.cut_short |= end && more && bytes.len() < PROBED;
    }
    Guess::Unknown
}

/// The protocol that a pattern of a direction names.
pub fn pattern(way: Direction, bytes: &[u8], tuple: &Tuple, settings: &Settings) -> Option<AppProtocol> {
    let bytes = bytes.get(..PROBED).unwrap_or(bytes);
    with_patterns(way, bytes, tuple, settings)
        .find(|description| (description.probe)(way, bytes, tuple) == Probe::Yes)
        .map(|description| description.protocol)
}

/// Whether bytes look like a protocol that was agreed on.
pub fn agrees(protocol: AppProtocol, way: Direction, bytes: &[u8], tuple: &Tuple, settings: &Settings) -> bool {
    let mut candidates = candidates(tuple, settings);
    candidates.any(|description| {
        description.protocol == protocol
            && matches!((description.probe)(way, bytes, tuple), Probe::Yes | Probe::Reversed)
    })
}

/// The protocols of a transport.
struct Spoken {
    all: Vec<&'static Description>,
    /// Those with patterns, by direction.
    with_patterns: [Patterned; 2],
    /// Those that are looked for on any port, a bit each.
    anywhere: u64,
    /// Of each port that any of them has of its own those that do, a bit each; sorted.
    by_port: Vec<(u16, u64)>,
}

/// Protocols with patterns in a direction.
struct Patterned {
    list: Vec<&'static Description>,
    /// Of each byte that a direction may begin with those of the list, a bit each, whose pattern may stand there.
    begun_by: Vec<u64>,
}

impl Patterned {
    fn new(list: Vec<&'static Description>, way: Direction) -> Patterned {
        let may_begin = |description: &Description, byte: u8| {
            let mut patterns = description.patterns.iter().filter(|&&(direction, ..)| direction == way);
            patterns.any(|&(_, offset, pattern)| offset > 0 || pattern.first().is_none_or(|&first| first == byte))
        };
        let bits =
            |byte| (0..).zip(&list).filter(|&(_, one)| may_begin(one, byte)).fold(0, |bits, (n, _)| bits | 1 << n);
        let begun_by = (0..=u8::MAX).map(bits).collect();
        Patterned { list, begun_by }
    }

    /// Those whose pattern may stand at the start of bytes.
    fn likely(&self, bytes: &[u8]) -> impl Iterator<Item = &'static Description> {
        let first = bytes.first().copied().unwrap_or(0);
        let mut bits = self.begun_by.get(usize::from(first)).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let nth = bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
            self.list.get(nth as usize).copied()
        })
    }
}

// They are told apart by bits.
const _: () = assert!(PROTOCOLS.len() <= u64::BITS as usize);

impl Spoken {
    fn new(carries: fn(&Description) -> bool) -> Spoken {
        let all = || PROTOCOLS.iter().copied().filter(|description| carries(description));
        let with_patterns = [Direction::Original, Direction::Reply].map(|way| {
            let has = |description: &&Description| description.patterns.iter().any(|&(direction, ..)| direction == way);
            Patterned::new(all().filter(has).collect(), way)
        });
        let all: Vec<&Description> = all().collect();
        let bits = |of: &dyn Fn(&Description) -> bool| {
            (0..).zip(&all).filter(|&(_, one)| of(one)).fold(0, |bits, (n, _)| bits | 1u64 << n)
        };
        let mut ports: Vec<u16> = all.iter().flat_map(|description| description.ports).copied().collect();
        ports.sort_unstable();
        ports.dedup();
        let by_port = ports.into_iter().map(|port| (port, bits(&|one| one.ports.contains(&port)))).collect();
        Spoken { anywhere: bits(&|one| !one.on_ports_only), by_port, with_patterns, all }
    }

    fn over(tuple: &Tuple) -> &'static Spoken {
        static TCP: LazyLock<Spoken> = LazyLock::new(|| Spoken::new(|description| description.tcp));
        static UDP: LazyLock<Spoken> = LazyLock::new(|| Spoken::new(|description| description.udp));
        if tuple.protocol == 17 { &UDP } else { &TCP }
    }

    /// Those whose port it is, a bit each.
    fn at_ports(&self, tuple: &Tuple, settings: &Settings) -> u64 {
        let at = |port: u16| {
            let known =
                self.by_port.binary_search_by_key(&port, |&(port, _)| port).ok().and_then(|n| self.by_port.get(n));
            let more = settings.more_ports.iter().filter(|&&(_, other)| other == port);
            let more = more.flat_map(|&(protocol, _)| {
                (0..).zip(&self.all).filter(move |(_, one)| one.protocol == protocol).map(|(n, _)| 1u64 << n)
            });
            more.fold(known.map_or(0, |&(_, bits)| bits), |bits, bit| bits | bit)
        };
        at(tuple.destination_port) | at(tuple.source_port)
    }

    /// Those of some bits, in order.
    fn of(&'static self, mut bits: u64) -> impl Iterator<Item = &'static Description> {
        std::iter::from_fn(move || {
            let nth = bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
            self.all.get(nth as usize).copied()
        })
    }
}

/// Those of `list` that the operator wants looked for.
fn enabled<'s, I: Iterator<Item = &'static Description>>(
    list: I,
    tuple: &Tuple,
    settings: &'s Settings,
) -> impl Iterator<Item = &'static Description> + use<'s, I> {
    let over = if tuple.protocol == 17 { 17 } else { 6 };
    list.filter(move |description| {
        let protocol = description.protocol;
        (settings.disabled.is_empty() || !settings.disabled.contains(&protocol))
            && (settings.disabled_over.is_empty() || !settings.disabled_over.contains(&(protocol, over)))
    })
}

fn candidates<'s>(tuple: &Tuple, settings: &'s Settings) -> impl Iterator<Item = &'static Description> + use<'s> {
    enabled(Spoken::over(tuple).all.iter().copied(), tuple, settings)
}

/// Those with a pattern that stands in the bytes.
fn with_patterns(
    way: Direction,
    bytes: &[u8],
    tuple: &Tuple,
    settings: &Settings,
) -> impl Iterator<Item = &'static Description> {
    let likely = Spoken::over(tuple).with_patterns[way as usize].likely(bytes);
    enabled(likely.filter(move |description| matches(description, way, bytes)), tuple, settings)
}

fn matches(description: &Description, way: Direction, bytes: &[u8]) -> bool {
    description.patterns.iter().any(|&(direction, offset, pattern)| {
        if direction != way {
            return false;
        }
        if offset == 0 {
            return bytes.first() == pattern.first() && bytes.starts_with(pattern);
        }
        let depth = pattern.len().saturating_add(usize::from(offset));
        let head = bytes.get(..depth).unwrap_or(bytes);
        head.windows(pattern.len().max(1)).any(|window| window == pattern)
    })
}

/// Bytes within which a pattern of the direction may stand.
fn depth(way: Direction, tuple: &Tuple, settings: &Settings) -> usize {
    let patterns = candidates(tuple, settings).flat_map(|description| description.patterns);
    let depths = patterns
        .filter(|(direction, _, _)| *direction == way)
        .map(|(_, offset, pattern)| usize::from(*offset) + pattern.len());
    depths.max().unwrap_or(0)
}
