//! Rates that several ports share: a tenant's ports together carry no more than the tenant's rate, in each direction.
//!
//! A shared rate is a bucket for each direction. What comes in is not taken from a port while a bucket of its groups is
//! empty; what goes out waits in the port's own queues. Those that want a shared rate take turns at it by what they have
//! had ([`Turns`]).

use weir_fabric::shape::{Bucket, Limit};
use weir_wire::{Instant, PortId};

use super::turns::Turns;

/// A rate that a port shares with the others of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRate {
    /// The group's name: one rate for all ports that name it.
    pub name: String,
    /// From its ports into the fabric.
    pub inward: Limit,
    /// Out of the fabric to its ports.
    pub outward: Limit,
}

/// The shared rates of all ports, one of each kind a place.
#[derive(Debug, Default)]
pub(super) struct GroupRates {
    names: Vec<String>,
    inward: Vec<Bucket>,
    pub outward: Vec<Bucket>,
    /// By place: who goes next, inward and outward.
    turns: Vec<[Turns; 2]>,
}

impl GroupRates {
    /// Takes other rates. What a group has used up of its old ones stays used up.
    pub fn set<'a>(&mut self, now: Instant, wanted: impl Iterator<Item = &'a GroupRate>) {
        let old = std::mem::take(self);
        for rate in wanted {
            if self.place(&rate.name).is_some() {
                continue;
            }
            let before = old.place(&rate.name);
            let bucket = |buckets: &[Bucket], limit| {
                let mut bucket =
                    before.and_then(|at| buckets.get(at).copied()).unwrap_or_else(|| Bucket::new(limit, now));
                bucket.set_limit(limit, now);
                bucket
            };
            self.names.push(rate.name.clone());
            self.inward.push(bucket(&old.inward, rate.inward));
            self.outward.push(bucket(&old.outward, rate.outward));
            self.turns.push(Default::default());
        }
    }

    /// Takes over what groups of another network have used up, until rates are next set: places change then.
    pub fn adopt(&mut self, other: GroupRates) {
        for (place, name) in other.names.iter().enumerate() {
            if let (None, Some(&inward), Some(&outward)) =
                (self.place(name), other.inward.get(place), other.outward.get(place))
            {
                self.names.push(name.clone());
                self.inward.push(inward);
                self.outward.push(outward);
                self.turns.push(Default::default());
            }
        }
    }

    /// No port shares a rate.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Where a group's rates are.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// One of these places limits what goes out.
    pub fn hold_outward(&self, through: &[usize]) -> bool {
        through.iter().any(|&at| self.outward.get(at).is_some_and(|bucket| !bucket.limit().is_none()))
    }

    /// How many frames may come in, at most `most`.
    pub fn room(&mut self, through: &[usize], now: Instant, most: usize) -> usize {
        let mut room = most;
        for &at in through {
            if let Some(bucket) = self.inward.get_mut(at) {
                bucket.refill(now);
                room = room.min(bucket.room(most));
            }
        }
        room
    }

    /// Whether it is a port's turn to bring something in.
    pub fn may_receive(&mut self, through: &[usize], port: PortId) -> bool {
        through.iter().all(|&at| {
            let limits = self.inward.get(at).is_some_and(|bucket| !bucket.limit().is_none());
            !limits || self.turns.get_mut(at).is_none_or(|[inward, _]| inward.may_go(port))
        })
    }

    /// Whether something may go out by a port, and it is its turn.
    pub fn may_send(&mut self, through: &[usize], port: PortId, now: Instant) -> bool {
        through.iter().all(|&at| {
            let Some(bucket) = self.outward.get_mut(at).filter(|bucket| !bucket.limit().is_none()) else { return true };
            bucket.refill(now);
            bucket.is_open() && self.turns.get_mut(at).is_none_or(|[_, outward]| outward.may_go(port))
        })
    }

    /// A port has brought in so many bytes in its turn, or sent them.
    pub fn went(&mut self, through: &[usize], port: PortId, (inward, outward): (u64, u64)) {
        for &at in through {
            let Some([into, out]) = self.turns.get_mut(at) else { continue };
            if inward > 0 {
                into.went(port, inward);
            }
            if outward > 0 {
                out.went(port, outward);
            }
        }
    }

    /// So much has come in.
    pub fn received(&mut self, through: &[usize], bytes: u64, frames: u64) {
        for &at in through {
            self.inward.get_mut(at).into_iter().for_each(|bucket| bucket.take(bytes, frames));
        }
    }

    /// When something may come in again; `None`: now.
    pub fn inward_opens(&self, through: &[usize]) -> Option<Instant> {
        opens(&self.inward, through)
    }

    /// When something may go out again; `None`: now.
    pub fn outward_opens(&self, through: &[usize]) -> Option<Instant> {
        opens(&self.outward, through)
    }
}

fn opens(buckets: &[Bucket], through: &[usize]) -> Option<Instant> {
    let closed = through.iter().filter_map(|&at| buckets.get(at)).filter(|bucket| !bucket.is_open());
    closed.map(Bucket::opens).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(name: &str, bits: u64) -> GroupRate {
        GroupRate { name: name.into(), inward: Limit::bits(bits), outward: Limit::bits(bits) }
    }

    #[test]
    fn ports_of_a_group_share_one_rate_and_its_debt_outlives_a_change() {
        let (mut rates, now) = (GroupRates::default(), Instant::from_secs(1));
        rates.set(now, [rate("a", 1_000_000), rate("b", 1_000_000), rate("a", 1_000_000)].iter());
        let (a, b) = (rates.place("a").unwrap(), rates.place("b").unwrap());
        assert_eq!(rates.names.len(), 2);
        assert_eq!(rates.room(&[a], now, 64), 2);
        rates.received(&[a], 1 << 20, 700);
        assert_eq!((rates.room(&[a], now, 64), rates.room(&[b], now, 64), rates.room(&[a, b], now, 64)), (0, 2, 0));
        assert!(rates.inward_opens(&[b]).is_none() && rates.inward_opens(&[a, b]).is_some_and(|at| at > now));
        rates.set(now, [rate("b", 5_000_000), rate("a", 2_000_000)].iter());
        let a = rates.place("a").unwrap();
        assert_eq!(rates.room(&[a], now, 64), 0, "changing the rate is no way out of it");
        rates.set(now, std::iter::empty());
        assert!(rates.is_empty() && !rates.hold_outward(&[0, 1]));
        assert_eq!(rates.room(&[0, 1], now, 64), 64);
    }
}
