//! Rules on transactions, by application protocol and direction: which buffers are searched, and when.

use std::collections::HashMap;
use std::sync::Arc;

use weir_ids_rules::rule::{Arrow, Protocol, Transform};
use weir_ids_rules::{AppProtocol, Buffer};

use super::Direction;
use super::compiled::{Compiled, Kind, Part, way_of};
use super::fast::{Fast, Place};
use super::lane::Lane;
use super::nets::{Between, Reach};
use super::transform::Transforms;
use crate::app::{Description, PROTOCOLS};

/// Progress that no transaction has: the rule is judged as soon as there is one.
const AT_ONCE: u8 = 0;

/// The rules of one protocol and direction.
#[derive(Debug, Default)]
pub struct TxTable {
    /// Buffers that are searched, in the order in which they become complete.
    pub lanes: Vec<TxLane>,
    /// Those of them that may grow.
    pub growing: Vec<usize>,
    /// Rules without a fast pattern in a buffer, with the progress at which they are judged first; sorted by it.
    pub always: Vec<(u8, u32)>,
    /// Rules that wait for a match of the payload, with the progress at which they are judged first; sorted by rule.
    pub by_payload: Vec<(u32, u8)>,
    /// Rules that ask for an anomaly of the transaction.
    pub anomalies: Vec<u32>,
}

impl TxTable {
    /// Where a rule stands in it, for people.
    pub fn place_of(&self, rule: u32) -> Option<String> {
        if let Some(lane) = self.lanes.iter().find(|lane| lane.lane.searches(rule)) {
            return Some(format!("the search of {}, at progress {}", lane.buffer.name(), lane.ready));
        }
        if self.anomalies.contains(&rule) {
            return Some(format!("the {} rules on anomalies", self.anomalies.len()));
        }
        if self.by_payload.iter().any(|&(number, _)| number == rule) {
            return Some(format!("the {} rules that a match in the payload calls for", self.by_payload.len()));
        }
        let always = self.always.iter().find(|&&(_, number)| number == rule);
        always.map(|(ready, _)| format!("the {} rules judged each time, from progress {ready} on", self.always.len()))
    }

    /// No rule can match.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.always.is_empty() && self.by_payload.is_empty() && self.anomalies.is_empty()
    }
}

/// One buffer that is searched.
#[derive(Debug)]
pub struct TxLane {
    pub buffer: Buffer,
    pub transforms: Transforms,
    /// Progress from which on it is there.
    pub ready: u8,
    /// It may grow while rules look at it.
    pub may_grow: bool,
    /// Its search finds the rules of another buffer too. Where both show the same bytes, one search is enough.
    pub is_shared: bool,
    pub lane: Arc<Lane>,
}

/// Buffers that show a body, which is a file as a rule and then shown by [`Buffer::FileData`] too.
const BODIES: [Buffer; 2] = [Buffer::HttpRequestBody, Buffer::HttpResponseBody];

fn may_grow(buffer: Buffer) -> bool {
    BODIES.contains(&buffer) || matches!(buffer, Buffer::FileData | Buffer::FileName | Buffer::FileMagic)
}

/// What buffers a protocol has, by direction: the progress at which each is there, or [`Has::NONE`].
#[derive(Clone, Debug)]
pub struct Has {
    ready: [Box<[u8]>; 2],
}

impl Has {
    const NONE: u8 = u8::MAX;

    fn new(description: &Description) -> Has {
        let none: Box<[u8]> = vec![Has::NONE; Buffer::ALL.len()].into();
        let mut has = Has { ready: [none.clone(), none] };
        for provides in description.buffers {
            let ready = &mut has.ready[provides.way as usize];
            if let Some(slot) = ready.get_mut(provides.buffer as usize) {
                *slot = provides.ready;
            }
            // Whose bytes are shown, of that it can be told what it is.
            if provides.buffer == Buffer::FileData
                && let Some(slot) = ready.get_mut(Buffer::FileMagic as usize)
            {
                *slot = provides.ready;
            }
        }
        has
    }

    /// The progress at which a buffer is there; `None` where the protocol does not have it in that direction.
    pub fn ready(&self, buffer: Buffer, way: Direction) -> Option<u8> {
        self.ready[way as usize].get(buffer as usize).copied().filter(|&ready| ready != Has::NONE)
    }
}

/// All tables.
#[derive(Debug, Default)]
pub struct TxTables {
    /// By protocol's number.
    tables: Vec<Option<Box<Entry>>>,
    /// Some table has a rule.
    has_rules: bool,
}

#[derive(Debug)]
struct Entry {
    has: Has,
    hooks: &'static [(&'static str, Direction, u8)],
    /// By pair of nets and direction.
    between: Vec<[TxTable; 2]>,
}

/// A lane on its way: its place, and its rules.
type Wanted<'r> = ((Buffer, &'r [Transform], u8), Vec<u32>);

/// Gives a body and the file that it is one search, for the rules of both. A rule that is found in the wrong one of them
/// is judged as any other, and does not match. Gives the buffers that share one.
fn share(lanes: &mut [Wanted<'_>]) -> Vec<Buffer> {
    let place = |lanes: &[Wanted<'_>], buffers: &[Buffer]| {
        lanes.iter().position(|((buffer, transforms, _), _)| buffers.contains(buffer) && transforms.is_empty())
    };
    let (Some(body), Some(file)) = (place(lanes, &BODIES), place(lanes, &[Buffer::FileData])) else {
        return Vec::new();
    };
    let both = [body, file].map(|at| lanes.get(at).map(|(_, rules)| rules.as_slice()).unwrap_or_default());
    let mut rules = both.concat();
    rules.sort_unstable();
    rules.dedup();
    let of_lane = lanes.iter_mut().enumerate().filter(|&(at, _)| at == body || at == file);
    of_lane
        .map(|(_, ((buffer, ..), of_lane))| {
            of_lane.clone_from(&rules);
            *buffer
        })
        .collect()
}

impl TxTables {
    /// Builds the tables of all protocols. `fast` has the order of `compiled`, as `reach` has: between which nets each of
    /// them may match.
    pub fn new(compiled: &[Compiled], fast: &[Option<Fast>], reach: &Reach) -> TxTables {
        let mut tables = TxTables { tables: (0..AppProtocol::ALL.len()).map(|_| None).collect(), has_rules: false };
        let mut known = HashMap::new();
        for description in PROTOCOLS {
            let has = Has::new(description);
            let mut entry = Entry { has, hooks: description.hooks, between: Vec::new() };
            let of_way = [Direction::Original, Direction::Reply].map(|way| {
                let numbers = (0u32..).zip(compiled).filter(|(_, rule)| entry.takes(rule, description.protocol, way));
                (way, numbers.map(|(number, _)| number).collect::<Vec<u32>>())
            });
            for pair in 0..reach.pairs() {
                let ways = of_way.each_ref().map(|(way, numbers)| {
                    let numbers: Vec<u32> = numbers.iter().copied().filter(|&n| reach.takes(pair, n)).collect();
                    entry.build(*way, &numbers, (compiled, fast), &mut known)
                });
                entry.between.push(ways);
            }
            if let Some(slot) = tables.tables.get_mut(description.protocol as usize) {
                tables.has_rules |= entry.between.iter().flatten().any(|table| !table.is_empty());
                *slot = Some(Box::new(entry));
            }
        }
        tables
    }

    /// No rule looks at transactions.
    pub fn is_idle(&self) -> bool {
        !self.has_rules
    }

    fn entry(&self, protocol: AppProtocol) -> Option<&Entry> {
        self.tables.get(protocol as usize)?.as_deref()
    }

    /// The rules of a protocol and direction between two nets; `None` where none can match.
    pub fn get(&self, protocol: AppProtocol, way: Direction, between: Between) -> Option<&TxTable> {
        let ways = self.entry(protocol)?.between.get(between.index());
        ways.map(|ways| &ways[way as usize]).filter(|table| !table.is_empty())
    }

    /// What buffers a protocol has.
    pub fn has(&self, protocol: AppProtocol) -> Option<&Has> {
        self.entry(protocol).map(|entry| &entry.has)
    }

    /// Direction and progress of a protocol's hook. Those with the same name in both directions give `way`'s.
    pub fn hook(&self, protocol: AppProtocol, name: &str, way: Direction) -> Option<(Direction, u8)> {
        let hooks = self.entry(protocol)?.hooks;
        let named = |wanted: Option<Direction>| {
            hooks.iter().find(|(hook, of, _)| *hook == name && wanted.is_none_or(|wanted| wanted == *of))
        };
        named(Some(way)).or_else(|| named(None)).map(|&(_, way, progress)| (way, progress))
    }

    /// Sizes, for people.
    pub fn describe(&self, text: &mut String) {
        use std::fmt::Write;
        for (protocol, entry) in AppProtocol::ALL.iter().zip(&self.tables) {
            let pairs = entry.iter().flat_map(|entry| entry.between.iter().enumerate());
            for (pair, way, table) in pairs.flat_map(|(pair, ways)| (0..).zip(ways).map(move |(way, t)| (pair, way, t)))
            {
                if table.is_empty() {
                    continue;
                }
                // Writing into a String does not fail.
                let _ = writeln!(
                    text,
                    "{}, nets {pair}, way {way}: {} buffers searched, {} rules without a pattern, {} by payload, {} on anomalies",
                    protocol.name(),
                    table.lanes.len(),
                    table.always.len(),
                    table.by_payload.len(),
                    table.anomalies.len(),
                );
            }
        }
        let _ = writeln!(text, "{} bytes", self.memory());
    }

    /// Bytes of memory that the searches take.
    pub fn memory(&self) -> usize {
        let mut seen: Vec<*const Lane> = Vec::new();
        let tables = self.tables.iter().flatten().flat_map(|entry| entry.between.iter().flatten());
        tables
            .flat_map(|table| &table.lanes)
            .filter(|lane| {
                let address = Arc::as_ptr(&lane.lane);
                let fresh = !seen.contains(&address);
                seen.push(address);
                fresh
            })
            .map(|lane| lane.lane.memory())
            .sum()
    }
}

impl Entry {
    /// Whether a rule can match on transactions of this protocol and direction.
    fn takes(&self, rule: &Compiled, protocol: AppProtocol, way: Direction) -> bool {
        if rule.kind != Kind::Transaction || (rule.protocol.is_app() && !rule.protocol.takes_app(protocol)) {
            return false;
        }
        if !rule.protocol.is_app()
            && !matches!(
                rule.protocol,
                Protocol::Ip
                    | Protocol::Tcp
                    | Protocol::Udp
                    | Protocol::Ipv4
                    | Protocol::Ipv6
                    | Protocol::TcpStream
                    | Protocol::TcpPacket
            )
        {
            return false;
        }
        // A rule on both directions is judged with the one that answers, and looks at both then.
        let both = rule.arrow == Arrow::Transaction;
        if !rule.takes_direction(way) {
            return false;
        }
        rule.parts.iter().all(|part| match part {
            Part::Text(text) => match text.way {
                Some(named) => both && self.has.ready(text.buffer, named).is_some(),
                None if both => {
                    [Direction::Original, Direction::Reply].iter().any(|&w| self.has.ready(text.buffer, w).is_some())
                }
                None => self.has.ready(text.buffer, way).is_some(),
            },
            Part::Hook(name) => self.hooks.iter().any(|(hook, of, _)| **hook == **name && *of == way),
            // A state is compared with where the direction at hand is, whichever direction it is named after.
            Part::State(name, _) => self.hooks.iter().any(|(hook, ..)| **hook == **name),
            // None of something is nothing to other protocols.
            Part::Number(test) => {
                let protocols = test.field.protocols();
                protocols.is_empty() || protocols.contains(&protocol)
            }
            Part::Event(_) | Part::Named { .. } | Part::Files(_) | Part::Payload => true,
        })
    }

    fn build<'r>(
        &self,
        way: Direction,
        numbers: &[u32],
        (compiled, fast): (&[Compiled], &'r [Option<Fast>]),
        known: &mut HashMap<Vec<u32>, Arc<Lane>>,
    ) -> TxTable {
        let mut table = TxTable::default();
        let mut lanes: Vec<Wanted<'r>> = Vec::new();
        for &number in numbers {
            let (Some(rule), Some(fast)) = (compiled.get(number as usize), fast.get(number as usize)) else { continue };
            let searched = fast.as_ref().and_then(|fast| match &fast.place {
                Place::Text { buffer, transforms, way: named } if named.is_none_or(|named| way_of(named) == way) => {
                    self.has.ready(*buffer, way).map(|ready| (*buffer, transforms.as_ref(), ready))
                }
                Place::Text { .. } | Place::Payload => None,
            });
            if let Some(place) = searched {
                match lanes.iter_mut().find(|(known, _)| *known == place) {
                    Some((_, of_lane)) => of_lane.push(number),
                    None => lanes.push((place, vec![number])),
                }
            } else if rule.parts.iter().any(|part| matches!(part, Part::Event(_))) {
                table.anomalies.push(number);
            } else if rule.arrow != Arrow::Transaction && rule.parts.iter().any(|part| matches!(part, Part::Payload)) {
                table.by_payload.push((number, self.first_ready(rule, way)));
            } else if rule.arrow != Arrow::Transaction || fast.is_none() {
                table.always.push((self.first_ready(rule, way), number));
            }
        }
        let shared = share(&mut lanes);
        lanes.sort_by_key(|((buffer, _, ready), _)| (*ready, *buffer as u8));
        for ((buffer, transforms, ready), of_lane) in lanes {
            let pattern = |n: u32| fast.get(n as usize).and_then(Option::as_ref).map(Fast::pattern);
            let lane = known.entry(of_lane).or_insert_with_key(|of_lane| Arc::new(Lane::new(of_lane, pattern)));
            table.lanes.push(TxLane {
                buffer,
                transforms: Transforms::compile(transforms),
                ready,
                may_grow: may_grow(buffer),
                is_shared: transforms.is_empty() && shared.contains(&buffer),
                lane: Arc::clone(lane),
            });
        }
        table.growing = (0..).zip(&table.lanes).filter(|(_, lane)| lane.may_grow).map(|(nth, _)| nth).collect();
        table.always.sort_unstable();
        table
    }

    /// The progress at which a rule without a fast pattern is judged first: that at which all its buffers are there.
    fn first_ready(&self, rule: &Compiled, way: Direction) -> u8 {
        let ready = rule.parts.iter().map(|part| match part {
            Part::Text(text) => self.has.ready(text.buffer, way).unwrap_or(AT_ONCE),
            Part::Hook(name) => {
                self.hooks.iter().find(|(hook, of, _)| **hook == **name && *of == way).map_or(AT_ONCE, |h| h.2)
            }
            _ => AT_ONCE,
        });
        ready.max().unwrap_or(AT_ONCE)
    }
}
