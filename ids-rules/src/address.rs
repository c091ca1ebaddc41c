//! Sets of IP addresses: what `any`, networks, ranges, lists and negations come to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set of IPv4 and IPv6 addresses, as sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl AddressSet {
    /// All addresses.
    pub fn any() -> AddressSet {
        AddressSet { v4: vec![(0, u32::MAX)], v6: vec![(0, u128::MAX)] }
    }

    /// The addresses from `first` to `last`, both included; `None` where they are of different kinds or out of order.
    pub fn range(first: IpAddr, last: IpAddr) -> Option<AddressSet> {
        match (first, last) {
            (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => {
                Some(AddressSet { v4: vec![(a.to_bits(), b.to_bits())], v6: Vec::new() })
            }
            (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => {
                Some(AddressSet { v4: Vec::new(), v6: vec![(a.to_bits(), b.to_bits())] })
            }
            _ => None,
        }
    }

    /// The network that `address` is in; `None` where `prefix` is longer than the address.
    pub fn network(address: IpAddr, prefix: u32) -> Option<AddressSet> {
        match address {
            IpAddr::V4(a) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                let first = a.to_bits() & mask;
                AddressSet::range(Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first | !mask).into())
            }
            IpAddr::V6(a) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                let first = a.to_bits() & mask;
                AddressSet::range(Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(first | !mask).into())
            }
            _ => None,
        }
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether it has every address as a member.
    pub fn is_any(&self) -> bool {
        self.v4 == [(0, u32::MAX)] && self.v6 == [(0, u128::MAX)]
    }

    /// Whether `address` is a member. An IPv4 address mapped into IPv6 counts as IPv6.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => within(&self.v4, a.to_bits()),
            IpAddr::V6(a) => within(&self.v6, a.to_bits()),
        }
    }

    /// How many ranges it takes to say it.
    pub fn range_count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Members of either. Ranges are put in order by [`AddressSet::normalise`] once all are collected.
    pub(crate) fn extend(&mut self, other: &AddressSet) {
        self.v4.extend_from_slice(&other.v4);
        self.v6.extend_from_slice(&other.v6);
    }

    /// Sorts and joins the ranges.
    pub(crate) fn normalise(&mut self) {
        join(&mut self.v4, |end| end.checked_add(1));
        join(&mut self.v6, |end| end.checked_add(1));
    }

    /// Members of this one that `other` does not have.
    pub fn without(&self, other: &AddressSet) -> AddressSet {
        AddressSet {
            v4: subtract(&self.v4, &other.v4, |x| x.checked_add(1), |x| x.checked_sub(1)),
            v6: subtract(&self.v6, &other.v6, |x| x.checked_add(1), |x| x.checked_sub(1)),
        }
    }
}

/// Whether one of the sorted `ranges` holds `value`.
#[inline]
pub(crate) fn within<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= value);
    after.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|&(_, last)| value <= last)
}

/// Sorts `ranges` and joins those that overlap or touch.
pub(crate) fn join<T: Ord + Copy>(ranges: &mut Vec<(T, T)>, next: impl Fn(T) -> Option<T>) {
    ranges.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for &(first, last) in ranges.iter() {
        match joined.last_mut() {
            Some(before) if next(before.1).is_none_or(|n| first <= n) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    *ranges = joined;
}

/// The ranges of `from` with those of `take` cut out; both sorted and disjoint.
pub(crate) fn subtract<T: Ord + Copy>(
    from: &[(T, T)],
    take: &[(T, T)],
    next: impl Fn(T) -> Option<T>,
    previous: impl Fn(T) -> Option<T>,
) -> Vec<(T, T)> {
    let mut left = Vec::with_capacity(from.len());
    for &(first, last) in from {
        let mut start = Some(first);
        let begin = take.partition_point(|&(_, end)| end < first);
        for &(cut_first, cut_last) in take.iter().skip(begin).take_while(|&&(cut, _)| cut <= last) {
            let Some(at) = start else { break };
            if cut_first > at
                && let Some(end) = previous(cut_first)
            {
                left.push((at, end));
            }
            start = next(cut_last).map(|n| n.max(at));
        }
        if let Some(at) = start.filter(|&at| at <= last) {
            left.push((at, last));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str, prefix: u32) -> AddressSet {
        AddressSet::network(text.parse().unwrap(), prefix).unwrap()
    }

    #[test]
    fn networks_hold_their_first_and_last_address_only() {
        let set = net("10.1.2.3", 8);
        assert!(set.contains("10.0.0.0".parse().unwrap()));
        assert!(set.contains("10.255.255.255".parse().unwrap()));
        assert!(!set.contains("11.0.0.0".parse().unwrap()));
        assert!(!set.contains("9.255.255.255".parse().unwrap()));
        assert!(!set.contains("::1".parse().unwrap()));
    }

    #[test]
    fn everything_without_everything_is_empty() {
        assert!(AddressSet::any().without(&AddressSet::any()).is_empty());
    }

    #[test]
    fn zero_and_full_prefixes_work() {
        assert!(net("1.2.3.4", 0).contains("255.255.255.255".parse().unwrap()));
        assert!(net("::1", 128).contains("::1".parse().unwrap()));
        assert!(!net("::1", 128).contains("::2".parse().unwrap()));
    }

    #[test]
    fn subtraction_agrees_with_counting_members() {
        let mut seed = 7u32;
        let mut random = move |n: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % n
        };
        for _ in 0..500 {
            let mut sets = [Vec::new(), Vec::new()];
            for set in &mut sets {
                for _ in 0..random(5) {
                    let first = random(40) as u8;
                    set.push((first, first + random(8) as u8));
                }
                join(set, |x| x.checked_add(1));
            }
            let [from, take] = sets;
            let left = subtract(&from, &take, |x| x.checked_add(1), |x| x.checked_sub(1));
            for v in 0..=60u8 {
                assert_eq!(within(&left, v), within(&from, v) && !within(&take, v), "{from:?} - {take:?} at {v}");
            }
        }
    }
}
