//! Sets of ports: what `any`, ranges, lists and negations come to.

use crate::address::{join, subtract, within};

/// A set of ports, as sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortSet {
    ranges: Vec<(u16, u16)>,
}

impl PortSet {
    /// All ports.
    pub fn any() -> PortSet {
        PortSet { ranges: vec![(0, u16::MAX)] }
    }

    /// The ports from `first` to `last`, both included.
    pub fn range(first: u16, last: u16) -> PortSet {
        PortSet { ranges: vec![(first, last)] }
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether it has every port as a member.
    pub fn is_any(&self) -> bool {
        self.ranges == [(0, u16::MAX)]
    }

    /// Whether `port` is a member.
    #[inline]
    pub fn contains(&self, port: u16) -> bool {
        within(&self.ranges, port)
    }

    /// Its members, as sorted ranges with both ends included.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    pub(crate) fn extend(&mut self, other: &PortSet) {
        self.ranges.extend_from_slice(&other.ranges);
    }

    pub(crate) fn normalise(&mut self) {
        join(&mut self.ranges, |end| end.checked_add(1));
    }

    pub(crate) fn without(&self, other: &PortSet) -> PortSet {
        PortSet { ranges: subtract(&self.ranges, &other.ranges, |x| x.checked_add(1), |x| x.checked_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut set = PortSet::range(10, 19);
        set.extend(&PortSet::range(20, 30));
        set.extend(&PortSet::range(65535, 65535));
        set.normalise();
        assert_eq!(set.ranges(), [(10, 30), (65535, 65535)]);
    }

    #[test]
    fn all_but_the_ends_are_left() {
        let left = PortSet::any().without(&PortSet::range(0, 0)).without(&PortSet::range(65535, 65535));
        assert_eq!(left.ranges(), [(1, 65534)]);
    }
}
