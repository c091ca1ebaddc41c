//! Rules on addresses alone, which are asked about the first packet of each direction of a flow. Between two nets few of
//! them can match, so these are listed, by what the packets carry.

use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};

use super::compiled::{Compiled, Kind};
use super::nets::{Between, Reach};

/// Protocols that have lists of their own; the last stands for all others.
const CLASSES: [u8; 3] = [PROTOCOL_TCP, PROTOCOL_UDP, 0];

/// The rules on addresses alone.
#[derive(Debug, Default)]
pub struct Ends {
    count: usize,
    /// By pair of nets and class, in the order in which they act.
    lists: Vec<[Box<[u32]>; CLASSES.len()]>,
}

impl Ends {
    /// Those of `rules`; `reach` says between which nets each may match.
    pub fn new(rules: &[Compiled], reach: &Reach) -> Ends {
        let all = || (0u32..).zip(rules).filter(|(_, rule)| rule.kind == Kind::Ends);
        let list = |pair: usize, class: u8| {
            let may_take = move |rule: &Compiled| class == 0 || rule.takes_protocol(class);
            all()
                .filter(|&(number, rule)| may_take(rule) && reach.takes(pair, number))
                .map(|(number, _)| number)
                .collect()
        };
        let lists = (0..reach.pairs()).map(|pair| CLASSES.map(|class| list(pair, class))).collect();
        Ends { count: all().count(), lists }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Those that packets of a protocol between two nets may match.
    pub fn between(&self, between: Between, protocol: u8) -> &[u32] {
        let class = CLASSES.iter().position(|&class| class == protocol).unwrap_or(CLASSES.len() - 1);
        self.lists.get(between.index()).and_then(|lists| lists.get(class)).map_or(&[], |list| list)
    }
}
