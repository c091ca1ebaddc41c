//! Rules on packets and streams, by kind of flow: a flow gets its groups when it starts.
//!
//! Groups go by protocol, direction and the server's port: one of the rules for any port, and one of those for the
//! port. Both are one where that costs little memory.

use std::collections::HashMap;

use weir_ids_rules::PortSet;
use weir_ids_rules::rule::Arrow;
use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

use super::Direction;
use super::compiled::{Compiled, Kind};
use super::fast::Fast;
use super::lane::Lane;
use crate::event::Tuple;

/// Protocols that have groups of their own; the last stands for all others.
const CLASSES: [u8; 5] = [PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP, PROTOCOL_ICMPV6, 0];

/// In how many ranges of ports a rule may stand on average. Where port lists are so entangled that it is more, ports
/// are looked at only when a rule is judged.
const PLACES_PER_RULE: usize = 8;

/// Rules of a group up to which each is asked at the start of a flow.
const SMALL_GROUP: usize = 64;

/// Bytes of a stream that stay at hand behind what has been searched, where a rule may need them.
pub const WINDOW: usize = 16 << 10;

/// The rules of one group.
#[derive(Debug, Default)]
pub struct Group {
    /// Found in the stream.
    pub stream: Lane,
    /// Found in each packet's payload, or judged on each packet.
    pub packet: Lane,
    /// All of them.
    pub rules: Box<[u32]>,
    /// Bytes of a stream that the rules may need behind what has been searched.
    pub lookback: usize,
}

impl Group {
    fn new(rules: &[u32], all: &[Compiled], fast: &[Option<Fast<'_>>], has_stream: bool) -> Group {
        let (mut stream, mut packet) = (Vec::new(), Vec::new());
        let mut lookback = 0;
        let pattern = |n: u32| fast.get(n as usize)?.as_ref().map(|fast| fast.bytes.as_slice());
        for &number in rules {
            let Some(rule) = all.get(number as usize) else { continue };
            let (in_stream, in_packet) = lanes_of(rule, has_stream);
            if in_stream {
                stream.push(number);
                let alone = !rule.anchored && rule.payload.as_ref().is_some_and(|check| check.is_one_literal());
                let longest = pattern(number).map_or(WINDOW, <[u8]>::len);
                lookback = lookback.max(if alone { longest.max(64) } else { WINDOW });
            }
            if in_packet {
                packet.push(number);
            }
        }
        Group {
            stream: Lane::new(&stream, pattern),
            packet: Lane::new(&packet, pattern),
            rules: rules.into(),
            lookback,
        }
    }
}

/// Whether a rule is found in streams, and in packets.
fn lanes_of(rule: &Compiled, has_stream: bool) -> (bool, bool) {
    match rule.kind {
        Kind::Stream => (has_stream, !has_stream && rule.protocol != weir_ids_rules::rule::Protocol::TcpStream),
        Kind::PacketAndStream => (has_stream, true),
        Kind::Packet | Kind::App | Kind::ProtocolOnly => (false, true),
        // Its payload's part is found here, the rest in transactions.
        Kind::Transaction => (has_stream && rule.payload.is_some(), !has_stream && rule.payload.is_some()),
        Kind::Ends | Kind::Oddities | Kind::Frame => (false, false),
    }
}

/// Which groups flows of one class and direction get, by the server's port.
#[derive(Debug, Default)]
struct PortTable {
    /// Group of the rules for any port.
    common: Option<u32>,
    /// First port of a range, and the group of the rules for it; sorted.
    special: Vec<(u16, Option<u32>)>,
    /// The special groups hold the common rules too.
    merged: bool,
}

/// The groups of one direction of a flow, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection(pub [Option<u32>; 2]);

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    /// By class and direction.
    tables: [[PortTable; 2]; CLASSES.len()],
}

impl Groups {
    /// Builds the groups of `rules`; `fast` holds the fast pattern of each rule that is found in the payload.
    pub fn new(rules: &[Compiled], fast: &[Option<Fast<'_>>]) -> Groups {
        let mut builder = Builder { rules, fast, known: HashMap::new(), groups: Vec::new() };
        let tables = CLASSES.map(|protocol| {
            [Direction::Original, Direction::Reply].map(|direction| builder.table(protocol, direction))
        });
        Groups { groups: builder.groups, tables }
    }

    /// All of them, in the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// A group by its number.
    pub fn get(&self, number: u32) -> Option<&Group> {
        self.groups.get(number as usize)
    }

    /// The groups selected.
    pub fn of(&self, selection: Selection) -> impl Iterator<Item = &Group> {
        selection.0.into_iter().flatten().filter_map(|number| self.get(number))
    }

    /// The groups for packets that go this way and have this tuple. Of a small group each rule is asked whether it
    /// takes such packets at all, so that a flow that concerns none has no group.
    pub fn select(&self, rules: impl Fn(u32) -> bool, tuple: &Tuple, direction: Direction) -> Selection {
        let class = CLASSES.iter().position(|&p| p == tuple.protocol).unwrap_or(CLASSES.len() - 1);
        let Some(table) = self.tables.get(class).and_then(|t| t.get(direction as usize)) else {
            return Selection::default();
        };
        let server_port = match tuple.protocol {
            PROTOCOL_TCP | PROTOCOL_UDP if direction == Direction::Original => tuple.destination_port,
            PROTOCOL_TCP | PROTOCOL_UDP => tuple.source_port,
            _ => 0,
        };
        let after = table.special.partition_point(|&(first, _)| first <= server_port);
        let special = after.checked_sub(1).and_then(|i| table.special.get(i)).and_then(|&(_, group)| group);
        let groups = match (table.merged, special) {
            (true, Some(group)) => [Some(group), None],
            (true | false, special) => [table.common, special],
        };
        let concerns = |number: &u32| {
            self.get(*number)
                .is_some_and(|group| group.rules.len() > SMALL_GROUP || group.rules.iter().any(|&rule| rules(rule)))
        };
        Selection(groups.map(|group| group.filter(concerns)))
    }

    /// Sizes, for people.
    pub fn describe(&self, text: &mut String) {
        use std::fmt::Write;
        for (protocol, ways) in CLASSES.iter().zip(&self.tables) {
            for (way, table) in ways.iter().enumerate() {
                let common = table.common.and_then(|number| self.get(number));
                let always = common.map_or((0, 0), |group| (group.stream.always.len(), group.packet.always.len()));
                // Writing into a String does not fail.
                let _ = writeln!(
                    text,
                    "protocol {protocol}, way {way}: {} rules for any port (judged on each stream and packet: {always:?}), {} port ranges",
                    common.map_or(0, |group| group.rules.len()),
                    table.special.len(),
                );
            }
        }
        let _ = writeln!(text, "{} groups, {} bytes", self.groups.len(), self.memory());
    }

    /// Bytes of memory that the searches take.
    pub fn memory(&self) -> usize {
        self.groups.iter().map(|g| g.stream.memory() + g.packet.memory() + size_of_val::<[u32]>(&g.rules)).sum()
    }
}

struct Builder<'b> {
    rules: &'b [Compiled],
    fast: &'b [Option<Fast<'b>>],
    /// Groups made so far, by their rules and whether they have a stream.
    known: HashMap<(Vec<u32>, bool), u32>,
    groups: Vec<Group>,
}

impl Builder<'_> {
    fn table(&mut self, protocol: u8, direction: Direction) -> PortTable {
        let has_stream = protocol == PROTOCOL_TCP;
        let (mut common, mut special) = (Vec::new(), Vec::new());
        for (number, rule) in (0u32..).zip(self.rules) {
            let (in_stream, in_packet) = lanes_of(rule, has_stream);
            let found_here = in_stream || in_packet;
            if !found_here || !rule.takes_protocol(protocol) || !rule.takes_direction(direction) {
                continue;
            }
            let ports = server_ports(rule, direction);
            if ports.iter().any(covers_much) { common.push(number) } else { special.push((number, ports)) }
        }
        let budget = PLACES_PER_RULE * (common.len() + special.len()) + 65_536;
        let sets = by_port(&special, budget).unwrap_or_else(|| {
            common.extend(special.iter().map(|&(number, _)| number));
            common.sort_unstable();
            special.clear();
            Vec::new()
        });
        let mut distinct: Vec<&Vec<u32>> = sets.iter().map(|(_, rules)| rules).filter(|r| !r.is_empty()).collect();
        distinct.sort();
        distinct.dedup();
        let merged_size: usize = distinct.iter().map(|rules| rules.len() + common.len()).sum();
        let merged = merged_size <= 2 * (common.len() + special.len()) + 1024;
        let mut table = PortTable { common: self.group(&common, has_stream), special: Vec::new(), merged };
        for (first, mut rules) in sets {
            if merged && !rules.is_empty() {
                rules.extend_from_slice(&common);
                rules.sort_unstable();
            }
            table.special.push((first, self.group(&rules, has_stream)));
        }
        table
    }

    fn group(&mut self, rules: &[u32], has_stream: bool) -> Option<u32> {
        if rules.is_empty() {
            return None;
        }
        let key = (rules.to_vec(), has_stream);
        if let Some(&known) = self.known.get(&key) {
            return Some(known);
        }
        let number = self.groups.len() as u32;
        self.groups.push(Group::new(rules, self.rules, self.fast, has_stream));
        self.known.insert(key, number);
        Some(number)
    }
}

/// The ports of the rule that the server's port must be one of; a packet in the original direction goes to it, one in
/// the reply direction comes from it.
fn server_ports(rule: &Compiled, direction: Direction) -> Vec<PortSet> {
    let (ahead, back) = (&rule.destination.ports, &rule.source.ports);
    match (rule.arrow, direction) {
        (Arrow::Both | Arrow::Transaction, _) => vec![PortSet::clone(ahead), PortSet::clone(back)],
        (Arrow::Forward, Direction::Original) => vec![PortSet::clone(ahead)],
        (Arrow::Forward, Direction::Reply) => vec![PortSet::clone(back)],
    }
}

/// Whether a set of ports is so wide that its rule counts as one for any port.
fn covers_much(set: &PortSet) -> bool {
    set.ranges().iter().map(|&(first, last)| u32::from(last) - u32::from(first) + 1).sum::<u32>() > 16_384
}

/// The rules for each range of ports: first port and rules, sorted by port. `None` where that takes more than `budget`
/// places.
fn by_port(special: &[(u32, Vec<PortSet>)], budget: usize) -> Option<Vec<(u16, Vec<u32>)>> {
    let mut edges: Vec<u16> = vec![0];
    for (_, sets) in special {
        for &(first, last) in sets.iter().flat_map(PortSet::ranges) {
            edges.push(first);
            edges.extend(last.checked_add(1));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    if special.is_empty() {
        return Some(Vec::new());
    }
    let mut left = budget;
    let mut table: Vec<(u16, Vec<u32>)> = edges.into_iter().map(|first| (first, Vec::new())).collect();
    for (number, sets) in special {
        for &(first, last) in sets.iter().flat_map(PortSet::ranges) {
            let begin = table.partition_point(|&(edge, _)| edge < first);
            for (_, rules) in table.iter_mut().skip(begin).take_while(|(edge, _)| *edge <= last) {
                if rules.last() != Some(number) {
                    left = left.checked_sub(1)?;
                    rules.push(*number);
                }
            }
        }
    }
    Some(table)
}
