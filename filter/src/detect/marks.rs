//! What rules leave for each other: bits and counters of a flow, bits of addresses, of pairs of them, of transactions.
//!
//! Names become numbers when rules are compiled. Bits of addresses are kept for all flows of a worker, with an expiry;
//! their table is bounded: when it is full of bits that still hold, a new one is not set, and that is counted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use weir_ids_rules::Rule;
use weir_ids_rules::rule::{BitCommand, BitTrack, FlowBit, FlowInt, FlowIntCommand, FlowIntValue};
use weir_wire::Instant;

use crate::event::Tuple;

/// Bits of addresses at a time.
const HOST_BITS: usize = 65_536;
/// Bits of one transaction.
const TX_BITS: usize = 32;

/// Numbers for the names in rules.
#[derive(Debug, Default)]
pub struct Numbers {
    names: HashMap<String, u32>,
    list: Vec<String>,
}

impl Numbers {
    /// The number of a name, a new one where it has none.
    pub fn of(&mut self, name: &str) -> u32 {
        if let Some(&known) = self.names.get(name) {
            return known;
        }
        let number = self.list.len() as u32;
        self.names.insert(name.to_owned(), number);
        self.list.push(name.to_owned());
        number
    }

    /// The names, by number.
    pub fn into_list(self) -> Box<[Box<str>]> {
        self.list.into_iter().map(String::into_boxed_str).collect()
    }
}

/// The right side of a counter's command.
#[derive(Clone, Copy, Debug)]
pub enum Operand {
    Number(u32),
    Counter(u32),
}

/// A mark that must be there, or not, for a rule to match.
#[derive(Debug)]
pub enum Mark {
    /// One of these flow bits.
    AnyBit(Box<[u32]>),
    /// None of these.
    NoBit(Box<[u32]>),
    /// A bit of an address, pair or transaction.
    Address { bit: u64, track: BitTrack, set: bool },
    /// A counter that is set, or not.
    Counter { counter: u32, set: bool },
    /// A counter compared.
    Compare { counter: u32, less: bool, equal: bool, greater: bool, value: Operand },
}

/// What a match leaves behind.
#[derive(Debug)]
pub enum Act {
    /// Changes a flow bit.
    Bit(u32, Change),
    /// Changes a bit of an address, pair or transaction, for some seconds.
    Address { bit: u64, track: BitTrack, change: Change, expire: u32 },
    /// `=`
    CounterSet(u32, Operand),
    /// `+`
    CounterAdd(u32, Operand),
    /// `-`
    CounterSubtract(u32, Operand),
}

/// How a bit changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Set,
    Unset,
    Toggle,
}

/// Whether all that the rule has to do with bits is setting them.
pub fn only_sets(rule: &Rule) -> bool {
    rule.flowbits.iter().all(|bit| matches!(bit, FlowBit::Set(_)))
}

/// How a rule stands to flow bits and the like: those that set come first, then those that set and ask, then those
/// that ask.
pub fn rank(rule: &Rule) -> [u8; 3] {
    let rank = |sets: bool, asks: bool| match (sets, asks) {
        (true, false) => 0,
        (true, true) => 1,
        (false, true) => 2,
        (false, false) => 3,
    };
    let asks_bit = |b: &FlowBit| matches!(b, FlowBit::IsSet(_) | FlowBit::IsNotSet(_));
    let bits = rank(rule.flowbits.iter().any(|b| !asks_bit(b)), rule.flowbits.iter().any(asks_bit));
    let asks_counter = |i: &FlowInt| {
        matches!(i.command, FlowIntCommand::Compare { .. } | FlowIntCommand::IsSet | FlowIntCommand::IsNotSet)
    };
    let counters = rank(rule.flowints.iter().any(|i| !asks_counter(i)), rule.flowints.iter().any(asks_counter));
    let asks_host = |command| matches!(command, BitCommand::IsSet | BitCommand::IsNotSet);
    let hosts = rank(rule.xbits.iter().any(|x| !asks_host(x.command)), rule.xbits.iter().any(|x| asks_host(x.command)));
    [bits, counters, hosts]
}

/// Numbers of a program's names.
#[derive(Debug, Default)]
pub struct MarkNames {
    pub bits: Numbers,
    pub counters: Numbers,
}

/// What a bit of addresses is called by: a hash of its name (64-bit FNV-1a), so that the bits of all rule sets of a
/// worker, and of those that follow them, mean the same.
fn host_bit(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Compiles the marks that a rule asks for and leaves.
pub fn compile(rule: &Rule, names: &mut MarkNames) -> (Box<[Mark]>, Box<[Act]>) {
    let (mut wants, mut acts) = (Vec::new(), Vec::new());
    for bit in &rule.flowbits {
        match bit {
            FlowBit::IsSet(list) => wants.push(Mark::AnyBit(list.iter().map(|n| names.bits.of(n)).collect())),
            FlowBit::IsNotSet(list) => wants.push(Mark::NoBit(list.iter().map(|n| names.bits.of(n)).collect())),
            FlowBit::Set(name) => acts.push(Act::Bit(names.bits.of(name), Change::Set)),
            FlowBit::Unset(name) => acts.push(Act::Bit(names.bits.of(name), Change::Unset)),
            FlowBit::Toggle(name) => acts.push(Act::Bit(names.bits.of(name), Change::Toggle)),
        }
    }
    for x in &rule.xbits {
        let name = if x.host { format!("host:{}", x.name) } else { x.name.clone() };
        let (bit, track, expire) = (host_bit(&name), x.track, x.expire);
        match x.command {
            BitCommand::IsSet => wants.push(Mark::Address { bit, track, set: true }),
            BitCommand::IsNotSet => wants.push(Mark::Address { bit, track, set: false }),
            BitCommand::Set => acts.push(Act::Address { bit, track, change: Change::Set, expire }),
            BitCommand::Unset => acts.push(Act::Address { bit, track, change: Change::Unset, expire }),
            BitCommand::Toggle => acts.push(Act::Address { bit, track, change: Change::Toggle, expire }),
        }
    }
    for int in &rule.flowints {
        let counter = names.counters.of(&int.name);
        let mut operand = |value: &FlowIntValue| match value {
            FlowIntValue::Number(number) => Operand::Number(*number),
            FlowIntValue::Counter(name) => Operand::Counter(names.counters.of(name)),
        };
        match &int.command {
            FlowIntCommand::Set(value) => acts.push(Act::CounterSet(counter, operand(value))),
            FlowIntCommand::Add(value) => acts.push(Act::CounterAdd(counter, operand(value))),
            FlowIntCommand::Subtract(value) => acts.push(Act::CounterSubtract(counter, operand(value))),
            &FlowIntCommand::Compare { less, equal, greater, ref value } => {
                let value = operand(value);
                wants.push(Mark::Compare { counter, less, equal, greater, value });
            }
            FlowIntCommand::IsSet => wants.push(Mark::Counter { counter, set: true }),
            FlowIntCommand::IsNotSet => wants.push(Mark::Counter { counter, set: false }),
        }
    }
    (wants.into(), acts.into())
}

/// Bits and counters of one flow.
#[derive(Debug, Default)]
pub struct FlowMarks {
    /// 64 a word.
    bits: Vec<u64>,
    counters: Vec<Option<u32>>,
}

impl FlowMarks {
    /// Whether a flow bit is set.
    pub fn has(&self, bit: u32) -> bool {
        self.bits.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn change(&mut self, bit: u32, change: Change) {
        let (index, mask) = (bit as usize / 64, 1u64 << (bit % 64));
        if self.bits.len() <= index {
            if change == Change::Unset {
                return;
            }
            self.bits.resize(index + 1, 0);
        }
        if let Some(word) = self.bits.get_mut(index) {
            *word = match change {
                Change::Set => *word | mask,
                Change::Unset => *word & !mask,
                Change::Toggle => *word ^ mask,
            };
        }
    }

    /// A counter's value.
    pub fn counter(&self, counter: u32) -> Option<u32> {
        self.counters.get(counter as usize).copied().flatten()
    }

    fn set_counter(&mut self, counter: u32, value: u32) {
        let index = counter as usize;
        if self.counters.len() <= index {
            self.counters.resize(index + 1, None);
        }
        if let Some(slot) = self.counters.get_mut(index) {
            *slot = Some(value);
        }
    }

    /// What is compared, set, added or taken away; a counter that was never set is 0 there.
    fn value(&self, operand: Operand) -> u32 {
        match operand {
            Operand::Number(number) => number,
            Operand::Counter(counter) => self.counter(counter).unwrap_or(0),
        }
    }

    /// Bits that are set, and counters, for those who are told.
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|&word| word == 0) && self.counters.iter().all(Option::is_none)
    }

    /// The same under another program, whose numbers these tell; what it does not name is forgotten.
    pub fn renumber(&self, bit: impl Fn(u32) -> Option<u32>, counter: impl Fn(u32) -> Option<u32>) -> FlowMarks {
        let mut marks = FlowMarks::default();
        self.set_bits().filter_map(bit).for_each(|bit| marks.change(bit, Change::Set));
        for (number, value) in self.counters() {
            if let Some(number) = counter(number) {
                marks.set_counter(number, value);
            }
        }
        marks
    }

    /// Numbers of the bits that are set.
    pub fn set_bits(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.bits).flat_map(|(index, &word)| {
            (0..64u32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index * 64 + bit)
        })
    }

    /// Counters that have a value, by number.
    pub fn counters(&self) -> impl Iterator<Item = (u32, u32)> {
        (0u32..).zip(&self.counters).filter_map(|(number, value)| value.map(|value| (number, value)))
    }
}

/// A bit of an address or of a pair.
type HostKey = (u64, IpAddr, Option<IpAddr>);

/// Bits of addresses and pairs, for all flows of a worker.
#[derive(Debug, Default)]
pub struct HostMarks {
    bits: BTreeMap<HostKey, Instant>,
    /// Bits that were not set for want of room.
    pub refused: u64,
    swept: Instant,
}

impl HostMarks {
    fn has(&self, now: Instant, key: &HostKey) -> bool {
        self.bits.get(key).is_some_and(|&until| now < until)
    }

    fn change(&mut self, now: Instant, key: HostKey, change: Change, expire: u32) {
        let set = match change {
            Change::Set => true,
            Change::Unset => false,
            Change::Toggle => !self.has(now, &key),
        };
        if !set {
            self.bits.remove(&key);
            return;
        }
        if self.bits.len() >= HOST_BITS && !self.bits.contains_key(&key) {
            if now.since(self.swept) >= Duration::from_secs(1) {
                self.swept = now;
                self.bits.retain(|_, until| now < *until);
            }
            if self.bits.len() >= HOST_BITS {
                self.refused += 1;
                return;
            }
        }
        self.bits.insert(key, now.after(Duration::from_secs(expire.into())));
    }
}

fn host_key(bit: u64, track: BitTrack, packet: &Tuple) -> HostKey {
    match track {
        BitTrack::Source | BitTrack::Transaction => (bit, packet.source, None),
        BitTrack::Destination => (bit, packet.destination, None),
        BitTrack::Pair => (bit, packet.source.min(packet.destination), Some(packet.source.max(packet.destination))),
    }
}

/// All marks that a rule judged on one packet can see.
#[derive(Debug)]
pub struct Marks<'m> {
    pub now: Instant,
    /// Of the packet.
    pub tuple: &'m Tuple,
    pub flow: &'m mut FlowMarks,
    pub hosts: &'m mut HostMarks,
    /// Bits of the transaction; none where the rule is judged on a packet.
    pub transaction: Option<&'m mut Vec<u64>>,
}

impl Marks<'_> {
    /// Whether the marks are as the rule wants them.
    pub fn satisfy(&self, wants: &[Mark]) -> bool {
        wants.iter().all(|want| match want {
            Mark::AnyBit(bits) => bits.iter().any(|&bit| self.flow.has(bit)),
            Mark::NoBit(bits) => !bits.iter().any(|&bit| self.flow.has(bit)),
            &Mark::Address { bit, track: BitTrack::Transaction, set } => {
                self.transaction.as_ref().is_some_and(|bits| bits.contains(&bit)) == set
            }
            &Mark::Address { bit, track, set } => self.hosts.has(self.now, &host_key(bit, track, self.tuple)) == set,
            &Mark::Counter { counter, set } => self.flow.counter(counter).is_some() == set,
            &Mark::Compare { counter, less, equal, greater, value } => {
                let Some(left) = self.flow.counter(counter) else { return false };
                match left.cmp(&self.flow.value(value)) {
                    std::cmp::Ordering::Less => less,
                    std::cmp::Ordering::Equal => equal,
                    std::cmp::Ordering::Greater => greater,
                }
            }
        })
    }

    /// Leaves what a match leaves.
    pub fn apply(&mut self, acts: &[Act]) {
        for act in acts {
            match *act {
                Act::Bit(bit, change) => self.flow.change(bit, change),
                Act::Address { bit, track: BitTrack::Transaction, change, .. } => self.change_transaction(bit, change),
                Act::Address { bit, track, change, expire } => {
                    self.hosts.change(self.now, host_key(bit, track, self.tuple), change, expire);
                }
                Act::CounterSet(counter, value) => self.flow.set_counter(counter, self.flow.value(value)),
                Act::CounterAdd(counter, value) => {
                    let before = self.flow.counter(counter).unwrap_or(0);
                    self.flow.set_counter(counter, before.wrapping_add(self.flow.value(value)));
                }
                // From a counter that was never set nothing is taken, and it stays so.
                Act::CounterSubtract(counter, value) => {
                    if let Some(before) = self.flow.counter(counter) {
                        self.flow.set_counter(counter, before.wrapping_sub(self.flow.value(value)));
                    }
                }
            }
        }
    }

    fn change_transaction(&mut self, bit: u64, change: Change) {
        let Some(bits) = &mut self.transaction else { return };
        let there = bits.contains(&bit);
        let set = match change {
            Change::Set => true,
            Change::Unset => false,
            Change::Toggle => !there,
        };
        if set && !there && bits.len() < TX_BITS {
            bits.push(bit);
        } else if !set {
            bits.retain(|&known| known != bit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: [u8; 4], destination: [u8; 4]) -> Tuple {
        Tuple {
            source: IpAddr::from(source),
            destination: IpAddr::from(destination),
            source_port: 1,
            destination_port: 2,
            protocol: 6,
        }
    }

    #[test]
    fn bits_and_counters_of_a_flow_change_as_rules_say() {
        let (mut flow, mut hosts) = (FlowMarks::default(), HostMarks::default());
        let tuple = tuple([1, 1, 1, 1], [2, 2, 2, 2]);
        let mut marks =
            Marks { now: Instant::ZERO, tuple: &tuple, flow: &mut flow, hosts: &mut hosts, transaction: None };
        assert!(marks.satisfy(&[Mark::NoBit([70].into())]));
        marks.apply(&[Act::Bit(70, Change::Set), Act::Bit(3, Change::Toggle), Act::Bit(3, Change::Toggle)]);
        assert!(marks.satisfy(&[Mark::AnyBit([3, 70].into()), Mark::NoBit([3].into())]));
        marks.apply(&[Act::CounterAdd(1, Operand::Number(2)), Act::CounterAdd(1, Operand::Counter(1))]);
        let is_four = Mark::Compare { counter: 1, less: false, equal: true, greater: false, value: Operand::Number(4) };
        assert!(marks.satisfy(&[is_four, Mark::Counter { counter: 0, set: false }]));
        assert_eq!(flow.set_bits().collect::<Vec<_>>(), [70]);
        assert_eq!(flow.counters().collect::<Vec<_>>(), [(1, 4)]);
    }

    #[test]
    fn counters_count_as_unsigned_numbers_do_and_begin_with_a_sum() {
        let (mut flow, mut hosts) = (FlowMarks::default(), HostMarks::default());
        let tuple = tuple([1, 1, 1, 1], [2, 2, 2, 2]);
        let mut marks =
            Marks { now: Instant::ZERO, tuple: &tuple, flow: &mut flow, hosts: &mut hosts, transaction: None };
        let (one, unset) = (Operand::Number(1), Operand::Counter(9));
        marks.apply(&[Act::CounterSubtract(0, one)]);
        assert!(marks.satisfy(&[Mark::Counter { counter: 0, set: false }]));
        marks.apply(&[Act::CounterSet(0, unset), Act::CounterAdd(1, unset)]);
        let above = |counter, value| Mark::Compare { counter, less: false, equal: false, greater: true, value };
        assert!(!marks.satisfy(&[above(0, unset)]));
        marks.apply(&[Act::CounterSubtract(0, one)]);
        assert!(marks.satisfy(&[above(0, unset), above(0, Operand::Number(u32::MAX - 1))]));
        marks.apply(&[Act::CounterAdd(0, Operand::Number(3))]);
        assert_eq!(flow.counters().collect::<Vec<_>>(), [(0, 2), (1, 0)]);
    }

    #[test]
    fn bits_of_pairs_hold_in_both_directions_until_they_expire() {
        let (mut flow, mut hosts) = (FlowMarks::default(), HostMarks::default());
        let (there, back) = (tuple([1, 1, 1, 1], [2, 2, 2, 2]), tuple([2, 2, 2, 2], [1, 1, 1, 1]));
        let set = Act::Address { bit: 0, track: BitTrack::Pair, change: Change::Set, expire: 10 };
        Marks { now: Instant::ZERO, tuple: &there, flow: &mut flow, hosts: &mut hosts, transaction: None }
            .apply(&[set]);
        let mut at = |seconds, track| {
            let now = Instant::from_secs(seconds);
            Marks { now, tuple: &back, flow: &mut flow, hosts: &mut hosts, transaction: None }
                .satisfy(&[Mark::Address { bit: 0, track, set: true }])
        };
        assert_eq!([at(9, BitTrack::Pair), at(10, BitTrack::Pair), at(9, BitTrack::Source)], [true, false, false]);
    }
}
