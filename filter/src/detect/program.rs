//! A rule set compiled for detection: the rules in the order in which they act, and for each kind of traffic those
//! that concern it.
//!
//! The order is that of the actions (pass, drop, reject, alert, unless the settings say otherwise); then rules that set
//! flow bits before those that ask for them; then priority; then the order of the text. A rule's number is its place.

use weir_ids_rules::adjustment::Change;
use weir_ids_rules::rule::{Condition, FileTest};

use super::Direction;
use super::asks::Ask;
use super::compiled::{Compiled, Kind, Part};
use super::ends::Ends;
use super::fast::Fast;
use super::group::InPayload;
use super::groups::{Groups, Selection};
use super::judge::{class_of, oriented};
use super::marks::MarkNames;
use super::nets::Nets;
use super::threshold::{RateFilter, Suppression};
use super::transactions::TxTables;
use crate::event::{Signature, Tuple};

/// Choices that shape a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSettings {
    /// The order in which rules act, by action: "pass", "drop", "reject", "alert".
    pub action_order: [&'static str; 4],
}

impl Default for ProgramSettings {
    fn default() -> ProgramSettings {
        ProgramSettings { action_order: ["pass", "drop", "reject", "alert"] }
    }
}

/// A rule set compiled for detection. Made once per text, shared by all flows.
#[derive(Debug, Default)]
pub struct Program {
    rules: Vec<Compiled>,
    /// Rules on addresses alone.
    pub(super) ends: Ends,
    /// Rules on oddities of decoding.
    pub(super) oddities: Box<[u32]>,
    /// Rules on frames.
    pub(super) frames: Box<[u32]>,
    pub(super) nets: Nets,
    pub(super) groups: Groups,
    pub(super) transactions: TxTables,
    /// Names of flow bits and counters, by number.
    pub(super) bits: Box<[Box<str>]>,
    pub(super) counters: Box<[Box<str>]>,
    /// Some rule keeps transactions out of the log.
    pub(super) configures: bool,
    /// Numbers of rules by `gid` and `sid`, sorted.
    by_sid: Box<[(u32, u32, u32)]>,
}

impl Program {
    /// The program of these rules, in the order in which they act; `fast` and `found` have the same order.
    pub(super) fn of(rules: Vec<Compiled>, fast: &[Option<Fast>], found: &InPayload<'_>, names: MarkNames) -> Program {
        let of_kind = |kind: Kind| {
            let all = (0u32..).zip(&rules);
            all.filter(|(_, rule)| rule.kind == kind).map(|(number, _)| number).collect::<Box<[u32]>>()
        };
        let numbered = (0u32..).zip(&rules);
        let mut by_sid: Vec<_> = numbered.map(|(n, rule)| (rule.signature.gid, rule.signature.sid, n)).collect();
        by_sid.sort_unstable();
        let nets = Nets::of(&rules);
        let reach = nets.reach(&rules);
        Program {
            by_sid: by_sid.into(),
            ends: Ends::new(&rules, &reach),
            oddities: of_kind(Kind::Oddities),
            frames: of_kind(Kind::Frame),
            groups: Groups::new(&rules, found, &reach),
            transactions: TxTables::new(&rules, fast, &reach),
            nets,
            bits: names.bits.into_list(),
            counters: names.counters.into_list(),
            configures: rules.iter().any(|rule| rule.config.is_some()),
            rules,
        }
    }

    /// Rules in use.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Whether a rule asks for digests of files.
    pub fn compares_digests(&self) -> bool {
        self.rules.iter().any(|rule| {
            rule.parts.iter().any(|part| match part {
                Part::Files(tests) => tests.iter().any(|test| matches!(test, FileTest::Hash { .. })),
                _ => false,
            })
        })
    }

    /// Whether a rule asks for checksums.
    pub fn compares_checksums(&self) -> bool {
        let asks = |ask: &Ask| matches!(ask, Ask::Header(Condition::Checksum { .. }));
        self.rules.iter().any(|rule| rule.asks.iter().any(asks))
    }

    /// Whether a rule asks for what is odd about packets.
    pub fn watches_oddities(&self) -> bool {
        !self.oddities.is_empty()
    }

    /// Whether a rule wants files stored.
    pub fn stores_files(&self) -> bool {
        self.rules.iter().any(|rule| rule.store.is_some())
    }

    /// Bytes of memory that the searches for fast patterns take.
    pub fn search_memory(&self) -> usize {
        self.groups.memory() + self.transactions.memory()
    }

    /// How many rules of each kind there are, and the sizes of the tables, for people.
    pub fn describe(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        let kinds = [
            Kind::Ends,
            Kind::ProtocolOnly,
            Kind::Oddities,
            Kind::Packet,
            Kind::PacketAndStream,
            Kind::Stream,
            Kind::App,
            Kind::Transaction,
            Kind::Frame,
        ];
        for kind in kinds {
            // Writing into a String does not fail.
            let _ = writeln!(text, "{kind:?}: {} rules", self.rules.iter().filter(|rule| rule.kind == kind).count());
        }
        self.groups.describe(&mut text);
        self.transactions.describe(&mut text);
        text
    }

    /// Adds what a `threshold.config` says of the rule with this `gid` and `sid` (0 for all).
    pub fn adjust(&mut self, gid: u32, sid: u32, adjustment: &Adjustment) {
        let fits =
            |rule: &&mut Compiled| (gid == 0 || rule.signature.gid == gid) && (sid == 0 || rule.signature.sid == sid);
        for rule in self.rules.iter_mut().filter(fits) {
            match adjustment {
                Adjustment::Suppress(suppression) => {
                    let mut all = std::mem::take(&mut rule.suppressions).into_vec();
                    all.push(suppression.clone());
                    rule.suppressions = all.into();
                }
                Adjustment::Rate(filter) => rule.rate = Some(*filter),
                // A rule's own threshold is not overridden by one for all rules.
                Adjustment::Threshold(threshold) if sid != 0 || rule.threshold.is_none() => {
                    rule.threshold = Some(*threshold);
                }
                Adjustment::Threshold(_) => {}
            }
        }
    }

    /// Whether a rule may ever match in a flow whose initiator sends `tuple`.
    pub fn concerns(&self, tuple: &Tuple) -> bool {
        let ways = [Direction::Original, Direction::Reply];
        let takes = |number: u32, tuple: &Tuple| self.rule(number).is_some_and(|rule| rule.takes_ends(tuple));
        let grouped = ways.iter().any(|&way| {
            let tuple = oriented(tuple, way);
            let ends = (&tuple, self.nets.between(&tuple));
            self.groups.select(|number| takes(number, &tuple), ends, way) != Selection::default()
        });
        let class = |rule: &Compiled| rule.takes_protocol(class_of(tuple.protocol));
        let other = |kinds: &[Kind]| {
            let mut rules = self.rules.iter().filter(|rule| kinds.contains(&rule.kind) || rule.protocol.is_app());
            rules.any(|rule| class(rule) && ways.iter().any(|&way| rule.takes_ends(&oriented(tuple, way))))
        };
        grouped || other(&[Kind::Ends, Kind::Transaction, Kind::Frame])
    }

    /// The protocol whose traffic the rule of a number is asked about.
    pub fn group(&self, number: u32) -> Option<&'static str> {
        use weir_ids_rules::rule::Protocol as P;
        Some(match self.rule(number)?.protocol {
            P::Http => "http",
            P::App(protocol) => protocol.name(),
            P::Tcp | P::TcpPacket | P::TcpStream => "tcp",
            P::Udp => "udp",
            P::Icmp | P::Icmpv4 | P::Icmpv6 => "icmp",
            P::Ip | P::Ipv4 | P::Ipv6 => "ip",
            P::Sctp | P::Igmp | P::Gre | P::Esp | P::Ah | P::PacketHeader | P::Ether | P::Arp => "other",
        })
    }

    /// What the rule of a number says of itself.
    pub fn signature(&self, number: u32) -> Option<&Signature> {
        self.rule(number).map(|rule| rule.signature.as_ref())
    }

    /// The number of the rule that has `gid` and `sid` of this one.
    pub(super) fn number_of(&self, rule: &Compiled) -> Option<u32> {
        self.number_of_sid(rule.signature.gid, rule.signature.sid)
    }

    /// The number of a rule by its `gid` and `sid`.
    pub(super) fn number_of_sid(&self, gid: u32, sid: u32) -> Option<u32> {
        let wanted = (gid, sid);
        let at = self.by_sid.partition_point(|&(gid, sid, _)| (gid, sid) < wanted);
        self.by_sid.get(at).filter(|&&(gid, sid, _)| (gid, sid) == wanted).map(|&(_, _, number)| number)
    }

    /// What flows say must be followed beyond their packets and streams: transactions or frames are asked for.
    pub fn follows_protocols(&self) -> bool {
        !self.transactions.is_idle() || !self.frames.is_empty()
    }

    pub(super) fn rule(&self, number: u32) -> Option<&Compiled> {
        self.rules.get(number as usize)
    }
}

/// What a `threshold.config` changes of a rule.
#[derive(Clone, Debug)]
pub enum Adjustment {
    /// `suppress`
    Suppress(Suppression),
    /// `rate_filter`
    Rate(RateFilter),
    /// `threshold`, `event_filter`
    Threshold(weir_ids_rules::rule::Threshold),
}

impl From<Change> for Adjustment {
    fn from(change: Change) -> Adjustment {
        match change {
            Change::Suppress { track, addresses } => Adjustment::Suppress(Suppression { track, addresses }),
            Change::Threshold(threshold) => Adjustment::Threshold(threshold),
            Change::Rate { track, count, seconds, action, timeout } => {
                Adjustment::Rate(RateFilter { track, count, seconds, action, timeout })
            }
        }
    }
}
