//! Addresses as the headers of rules tell them apart, and which rules may concern packets between two of them.
//!
//! Most headers name the same few sets: the site's own network, and what is outside of it. Between two guests of a site no
//! rule on what comes from outside can match, and nothing needs to be searched for its sake. So all addresses fall into a
//! few nets, and each pair of nets has tables of its own, with the rules that packets from one to the other can match.
//!
//! Limit: [`MOST`] nets. They are told apart by the sets that most rules name; what other headers ask is asked when a rule
//! is judged, as everything is.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use weir_ids_rules::AddressSet;
use weir_ids_rules::rule::Arrow;

use super::compiled::{Compiled, Kind};
use crate::event::Tuple;

/// Nets at most; each pair costs tables.
const MOST: usize = 3;
/// A set that fewer than one of so many rules names is not worth a net.
const SHARE: usize = 16;

/// From which net to which packets go, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    pair: u8,
    turned: u8,
}

impl Between {
    /// The number of the pair, for tables.
    pub fn index(self) -> usize {
        usize::from(self.pair)
    }

    /// That of packets which go the other way.
    pub fn turned(self) -> Between {
        Between { pair: self.turned, turned: self.pair }
    }
}

/// The nets of a rule set.
#[derive(Debug)]
pub struct Nets {
    /// What tells them apart.
    sets: Vec<Arc<AddressSet>>,
    nets: Vec<Net>,
}

/// Between which nets rules may match.
#[derive(Debug)]
pub struct Reach {
    /// Pairs of nets.
    pairs: usize,
    /// Of each rule the pairs, a bit each.
    rules: Vec<u16>,
}

impl Reach {
    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Whether packets between the nets of a pair may match a rule.
    pub fn takes(&self, pair: usize, rule: u32) -> bool {
        self.rules.get(rule as usize).is_some_and(|takes| takes >> pair & 1 == 1)
    }
}

/// Addresses that lie in the same of the sets.
#[derive(Debug)]
struct Net {
    /// Those sets, a bit each.
    marks: u8,
    addresses: AddressSet,
}

impl Default for Nets {
    fn default() -> Nets {
        Nets { sets: Vec::new(), nets: vec![Net { marks: 0, addresses: AddressSet::any() }] }
    }
}

impl Nets {
    /// The nets that tell most of these rules apart.
    pub fn of(rules: &[Compiled]) -> Nets {
        let mut sets: Vec<(usize, &Arc<AddressSet>)> = Vec::new();
        let mut known: HashMap<&AddressSet, usize> = HashMap::new();
        // Those on addresses alone stand in no table.
        for rule in rules.iter().filter(|rule| rule.kind != Kind::Ends) {
            for set in [&rule.source, &rule.destination].map(|end| &end.addresses) {
                if set.is_any() {
                    continue;
                }
                let at = *known.entry(set).or_insert_with(|| {
                    sets.push((0, set));
                    sets.len() - 1
                });
                sets.get_mut(at).into_iter().for_each(|(count, _)| *count += 1);
            }
        }
        sets.sort_by_key(|&(count, _)| Reverse(count));
        let mut nets = Nets::default();
        for (_, set) in sets.into_iter().take_while(|&(count, _)| count * SHARE >= rules.len()) {
            nets.tell_apart(set);
        }
        nets
    }

    /// Splits the nets by a set, where that gives more of them and not too many.
    fn tell_apart(&mut self, set: &Arc<AddressSet>) {
        let bit = 1 << self.sets.len();
        let halves = self.nets.iter().flat_map(|net| {
            let outside = net.addresses.without(set);
            let inside = net.addresses.without(&outside);
            [Net { marks: net.marks | bit, addresses: inside }, Net { marks: net.marks, addresses: outside }]
        });
        let nets: Vec<Net> = halves.filter(|net| !net.addresses.is_empty()).collect();
        if nets.len() > self.nets.len() && nets.len() <= MOST {
            self.nets = nets;
            self.sets.push(Arc::clone(set));
        }
    }

    /// The number of the net that an address lies in.
    fn net_of(&self, address: IpAddr) -> usize {
        let bits = self.sets.iter().enumerate();
        let marks = bits.fold(0, |marks, (nth, set)| marks | u8::from(set.contains(address)) << nth);
        self.nets.iter().position(|net| net.marks == marks).unwrap_or(0)
    }

    fn pair(&self, source: usize, destination: usize) -> Between {
        let number = |from: usize, to: usize| (from * self.nets.len() + to) as u8;
        Between { pair: number(source, destination), turned: number(destination, source) }
    }

    /// From where to where a packet with this tuple goes.
    pub fn between(&self, tuple: &Tuple) -> Between {
        if self.sets.is_empty() {
            return Between::default();
        }
        self.pair(self.net_of(tuple.source), self.net_of(tuple.destination))
    }

    /// All pairs, in the order of their numbers.
    pub fn pairs(&self) -> impl Iterator<Item = Between> {
        let count = self.nets.len();
        (0..count * count).map(move |number| self.pair(number / count, number % count))
    }

    /// Between which nets each rule may match.
    pub fn reach(&self, rules: &[Compiled]) -> Reach {
        let mut known: HashMap<&AddressSet, u8> = HashMap::new();
        let mut reach = Reach { pairs: self.pairs().count(), rules: Vec::with_capacity(rules.len()) };
        for rule in rules {
            let ends = [&rule.source, &rule.destination].map(|end| end.addresses.as_ref());
            let [ahead, back] = ends.map(|set| *known.entry(set).or_insert_with(|| self.met_by(set)));
            reach.rules.push(self.pairs().enumerate().fold(0, |takes, (number, _)| {
                let (from, to) = (number / self.nets.len(), number % self.nets.len());
                let goes = |source: u8, destination: u8| source >> from & 1 == 1 && destination >> to & 1 == 1;
                takes | u16::from(goes(ahead, back) || rule.arrow != Arrow::Forward && goes(back, ahead)) << number
            }));
        }
        reach
    }

    /// The nets that have an address in a set, a bit each.
    fn met_by(&self, set: &AddressSet) -> u8 {
        let nets = self.nets.iter().enumerate();
        nets.fold(0, |met, (nth, net)| met | u8::from(net.addresses.without(set) != net.addresses) << nth)
    }
}
