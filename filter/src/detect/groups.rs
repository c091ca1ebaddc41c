//! Rules on packets and streams, by kind of flow: a flow gets its groups when it starts.
//!
//! Rules that name an application protocol have groups of their own, taken when it is known that the flow speaks it.
//! The others' groups go by protocol, direction and the server's port: one of the rules for any port, and one of those for the
//! port. Both are one where that costs little memory, and for ports that much traffic goes to. Rules that take any port of
//! the server and few of the client (those on questions, met in answers) have groups by the client's port. All this is
//! there for each pair of nets that the rules tell apart ([`super::nets`]), with the rules that may match between them;
//! groups with the same rules are one.

use std::collections::HashMap;

use weir_ids_rules::rule::Arrow;
use weir_ids_rules::{AppProtocol, PortSet};
use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

use super::Direction;
use super::compiled::Compiled;
use super::group::{Group, InPayload, lanes_of};
use super::nets::{Between, Reach};
use crate::event::Tuple;

/// Protocols that have groups of their own; the last stands for all others.
const CLASSES: [u8; 5] = [PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP, PROTOCOL_ICMPV6, 0];

/// Ports that much traffic goes to: the rules for them and for any port are searched for together, which takes memory.
const BUSY: [u16; 16] = [21, 22, 25, 53, 80, 110, 135, 139, 143, 443, 445, 1433, 3306, 3389, 5060, 8080];

/// Application protocols with rules of their own, and the ports where they are spoken.
const USUAL: [(AppProtocol, u16); 9] = [
    (AppProtocol::Ftp, 21),
    (AppProtocol::Ssh, 22),
    (AppProtocol::Smtp, 25),
    (AppProtocol::Dns, 53),
    (AppProtocol::Http1, 80),
    (AppProtocol::Http1, 8080),
    (AppProtocol::Imap, 143),
    (AppProtocol::Tls, 443),
    (AppProtocol::Smb, 445),
];

/// In how many ranges of ports a rule may stand on average. Where port lists are so entangled that it is more, ports
/// are looked at only when a rule is judged.
const PLACES_PER_RULE: usize = 8;

/// Rules of a group up to which each is asked at the start of a flow.
const SMALL_GROUP: usize = 64;

/// Protocols that carry application protocols.
const APP_CLASSES: [u8; 2] = [PROTOCOL_TCP, PROTOCOL_UDP];

/// Which groups flows of one class and direction get, by their ports.
#[derive(Debug, Default)]
struct PortTable {
    /// Group of the rules for any port.
    common: Option<u32>,
    /// The ranges of the server's ports that have rules of their own; sorted.
    special: Vec<Range>,
    /// The same for the client's ports.
    client: Vec<Range>,
}

/// A range of ports, up to the next one.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u16,
    /// The rules for it.
    group: Option<u32>,
    /// The group holds the common rules too.
    merged: bool,
}

/// The range that a port lies in, where it has rules.
fn range_of(ranges: &[Range], port: u16) -> Option<&Range> {
    let after = ranges.partition_point(|range| range.first <= port);
    after.checked_sub(1).and_then(|i| ranges.get(i)).filter(|range| range.group.is_some())
}

impl PortTable {
    /// The groups for a port of the server: of the rules for any port, and of those for this one.
    fn of_port(&self, port: u16) -> [Option<u32>; 2] {
        match range_of(&self.special, port) {
            Some(&Range { group, merged: true, .. }) => [group, None],
            Some(&Range { group, merged: false, .. }) => [self.common, group],
            None => [self.common, None],
        }
    }

    /// The group for a port of the client.
    fn of_client(&self, port: u16) -> Option<u32> {
        range_of(&self.client, port).and_then(|range| range.group)
    }
}

/// The groups of one direction of a flow, by number: those of the server's port, that of the client's, and that of what
/// it speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection(pub [Option<u32>; 4]);

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    /// By pair of nets.
    tables: Vec<Tables>,
    /// Groups of ports with the group of what is usually spoken there, and the group that holds the rules of both;
    /// sorted.
    joined: Vec<((u32, u32), u32)>,
}

/// The groups of packets between two nets.
#[derive(Debug, Default)]
struct Tables {
    /// By class and direction.
    ports: [[PortTable; 2]; CLASSES.len()],
    /// Groups of the rules on payloads of an application protocol, by its number, class and direction.
    apps: Vec<[[Option<u32>; 2]; 2]>,
    /// By class and direction: there is such a group.
    any_app: [[bool; 2]; 2],
}

impl Groups {
    /// Builds the groups of `rules`; `found` says by what each of them is found in the payload, `reach` between which nets
    /// it may match.
    pub fn new(rules: &[Compiled], found: &InPayload<'_>, reach: &Reach) -> Groups {
        let mut builder = Builder { rules, found: *found, known: HashMap::new(), groups: Vec::new() };
        let mut groups = Groups::default();
        for pair in 0..reach.pairs() {
            let takes = |number: u32| reach.takes(pair, number);
            let tables = builder.tables(&takes);
            groups.joined.extend(builder.join(&tables));
            groups.tables.push(tables);
        }
        groups.joined.sort_unstable();
        groups.joined.dedup();
        Groups { groups: builder.groups, ..groups }
    }

    /// The groups for a direction whose ports have `ports`, and whose protocol has `app`: one that holds the rules of
    /// both, where there is one.
    pub fn join(&self, Selection([first, second, client, _]): Selection, app: Option<u32>) -> Selection {
        if let (Some(ports), None, Some(app)) = (first, second, app)
            && let Ok(at) = self.joined.binary_search_by_key(&(ports, app), |&(pair, _)| pair)
        {
            return Selection([self.joined.get(at).map(|&(_, group)| group), None, client, None]);
        }
        Selection([first, second, client, app])
    }

    /// The group of the rules on the payload of what a flow speaks, for packets that go this way.
    pub fn of_app(&self, app: AppProtocol, protocol: u8, direction: Direction, between: Between) -> Option<u32> {
        let class = APP_CLASSES.iter().position(|&class| class == protocol)?;
        self.tables.get(between.index())?.apps.get(app as usize)?.get(class)?.get(direction as usize).copied()?
    }

    /// Whether there is such a group for any application protocol.
    pub fn has_app(&self, protocol: u8, direction: Direction, between: Between) -> bool {
        let class = APP_CLASSES.iter().position(|&class| class == protocol);
        let any_app = self.tables.get(between.index()).map(|tables| &tables.any_app);
        any_app.zip(class).and_then(|(any, class)| any.get(class)).is_some_and(|ways| ways[direction as usize])
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

    /// Whether a rule on packets of these groups is worth judging on this payload.
    #[inline]
    pub fn may_take(&self, selection: Selection, payload: &[u8]) -> bool {
        let mut lanes = self.of(selection).map(|group| group.of_packet(payload.len()));
        lanes.any(|lane| !lane.always.is_empty() || lane.finds(payload))
    }

    /// The groups for packets that go this way, have this tuple and go between these nets. Of a small group each rule is
    /// asked whether it takes such packets at all, so that a flow that concerns none has no group.
    pub fn select(
        &self,
        rules: impl Fn(u32) -> bool,
        (tuple, between): (&Tuple, Between),
        direction: Direction,
    ) -> Selection {
        let class = CLASSES.iter().position(|&p| p == tuple.protocol).unwrap_or(CLASSES.len() - 1);
        let tables = self.tables.get(between.index()).and_then(|tables| tables.ports.get(class));
        let Some(table) = tables.and_then(|tables| tables.get(direction as usize)) else {
            return Selection::default();
        };
        let (server, client) = match (tuple.protocol, direction) {
            (PROTOCOL_TCP | PROTOCOL_UDP, Direction::Original) => (tuple.destination_port, tuple.source_port),
            (PROTOCOL_TCP | PROTOCOL_UDP, Direction::Reply) => (tuple.source_port, tuple.destination_port),
            _ => (0, 0),
        };
        let [first, second] = table.of_port(server);
        let groups = [first, second, table.of_client(client), None];
        let concerns = |number: &u32| {
            self.get(*number)
                .is_some_and(|group| group.rules.len() > SMALL_GROUP || group.rules.iter().any(|&rule| rules(rule)))
        };
        Selection(groups.map(|group| group.filter(concerns)))
    }

    /// Sizes, for people.
    pub fn describe(&self, text: &mut String) {
        use std::fmt::Write;
        let all = self.tables.iter().enumerate();
        for (pair, (protocol, ways)) in all.flat_map(|(pair, t)| CLASSES.iter().zip(&t.ports).map(move |t| (pair, t))) {
            for (way, table) in ways.iter().enumerate() {
                let common = table.common.and_then(|number| self.get(number));
                let always = common.map_or((0, 0), |group| (group.always().len(), group.packet.always.len()));
                // Writing into a String does not fail.
                let _ = writeln!(
                    text,
                    "nets {pair}, protocol {protocol}, way {way}: {} rules for any port (judged on each stream and packet: {always:?}), {} port ranges",
                    common.map_or(0, |group| group.rules.len()),
                    table.special.len(),
                );
            }
        }
        let _ = writeln!(text, "{} groups, {} bytes", self.groups.len(), self.memory());
    }

    /// Bytes of memory that the searches take.
    pub fn memory(&self) -> usize {
        self.groups.iter().map(Group::memory).sum()
    }
}

struct Builder<'b> {
    rules: &'b [Compiled],
    found: InPayload<'b>,
    /// Groups made so far, by their rules and whether they have a stream.
    known: HashMap<(Vec<u32>, bool), u32>,
    groups: Vec<Group>,
}

impl Builder<'_> {
    /// The groups of the rules that are `taken`.
    fn tables(&mut self, taken: &impl Fn(u32) -> bool) -> Tables {
        let ways = [Direction::Original, Direction::Reply];
        let ports = CLASSES.map(|protocol| ways.map(|direction| self.table(taken, protocol, direction)));
        let of_app = |&app| APP_CLASSES.map(|protocol| self.app(taken, app, protocol));
        let apps: Vec<[[Option<u32>; 2]; 2]> = AppProtocol::ALL.iter().map(of_app).collect();
        let any = |class: usize, way: usize| apps.iter().any(|classes| classes[class][way].is_some());
        let any_app = [0, 1].map(|class| [0, 1].map(|way| any(class, way)));
        Tables { ports, apps, any_app }
    }

    fn table(&mut self, taken: &impl Fn(u32) -> bool, protocol: u8, direction: Direction) -> PortTable {
        let has_stream = protocol == PROTOCOL_TCP;
        let (mut common, mut special, mut client) = (Vec::new(), Vec::new(), Vec::new());
        for (number, rule) in (0u32..).zip(self.rules) {
            let (in_stream, in_packet) = lanes_of(rule, has_stream);
            let found_here = in_stream || in_packet;
            if !found_here
                || !taken(number)
                || rule.protocol.is_app()
                || !rule.takes_protocol(protocol)
                || !rule.takes_direction(direction)
            {
                continue;
            }
            let ports = server_ports(rule, direction);
            if !ports.iter().any(covers_much) {
                special.push((number, ports));
            } else if let Some(ports) = client_ports(rule, protocol, direction) {
                client.push((number, vec![ports]));
            } else {
                common.push(number);
            }
        }
        let by_client = by_port(&client, PLACES_PER_RULE * client.len() + 65_536).unwrap_or_else(|| {
            common.extend(client.iter().map(|&(number, _)| number));
            common.sort_unstable();
            Vec::new()
        });
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
        let few = merged_size <= 2 * (common.len() + special.len()) + 1024;
        let mut table = PortTable { common: self.group(&common, has_stream), ..PortTable::default() };
        let of_client = by_client.into_iter();
        table.client = of_client
            .map(|(first, rules)| Range { first, group: self.group(&rules, has_stream), merged: false })
            .collect();
        let mut ends = sets.iter().skip(1).map(|&(first, _)| first - 1).collect::<Vec<u16>>();
        ends.push(u16::MAX);
        for ((first, mut rules), last) in sets.into_iter().zip(ends) {
            let merged = !rules.is_empty() && (few || BUSY.iter().any(|port| (first..=last).contains(port)));
            if merged {
                rules.extend_from_slice(&common);
                rules.sort_unstable();
            }
            table.special.push(Range { first, group: self.group(&rules, has_stream), merged });
        }
        table
    }

    /// The groups of the rules on payloads of an application protocol, by direction.
    fn app(&mut self, taken: &impl Fn(u32) -> bool, app: AppProtocol, protocol: u8) -> [Option<u32>; 2] {
        let has_stream = protocol == PROTOCOL_TCP;
        [Direction::Original, Direction::Reply].map(|direction| {
            let takes = |rule: &Compiled| {
                let (in_stream, in_packet) = lanes_of(rule, has_stream);
                (in_stream || in_packet)
                    && rule.protocol.is_app()
                    && rule.protocol.takes_app(app)
                    && rule.takes_protocol(protocol)
                    && rule.takes_direction(direction)
            };
            let rules = (0u32..).zip(self.rules).filter(|&(number, rule)| takes(rule) && taken(number));
            let rules: Vec<u32> = rules.map(|(number, _)| number).collect();
            self.group(&rules, has_stream)
        })
    }

    /// Joins the groups of application protocols with those of any port, and of the ports where they are spoken.
    fn join(&mut self, tables: &Tables) -> Vec<((u32, u32), u32)> {
        let mut joined = Vec::new();
        for (&app, classes) in AppProtocol::ALL.iter().zip(&tables.apps) {
            let usual = USUAL.iter().filter(|(spoken, _)| *spoken == app).map(|&(_, port)| port);
            let ports: Vec<u16> = usual.chain([0]).collect();
            for ((class, ways), tables) in APP_CLASSES.iter().zip(classes).zip(&tables.ports) {
                for (of_app, table) in ways.iter().zip(tables) {
                    for (&port, &of_app) in ports.iter().flat_map(|port| of_app.iter().map(move |app| (port, app))) {
                        let [Some(of_ports), None] = table.of_port(port) else { continue };
                        let rules = [of_ports, of_app].map(|number| self.groups.get(number as usize).map(|g| &g.rules));
                        let mut rules: Vec<u32> = rules.into_iter().flatten().flatten().copied().collect();
                        rules.sort_unstable();
                        joined
                            .extend(self.group(&rules, *class == PROTOCOL_TCP).map(|both| ((of_ports, of_app), both)));
                    }
                }
            }
        }
        joined
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
        self.groups.push(Group::new(rules, self.rules, self.found, has_stream));
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

/// The ports of the rule that the client's port must be one of, where these are few.
fn client_ports(rule: &Compiled, protocol: u8, direction: Direction) -> Option<PortSet> {
    let ports = match direction {
        Direction::Original => &rule.source.ports,
        Direction::Reply => &rule.destination.ports,
    };
    let few = rule.arrow == Arrow::Forward && matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP) && !covers_much(ports);
    few.then(|| PortSet::clone(ports))
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
