//! A range of ports for each guest: the ports of a masquerade in blocks of equal size, of which each inside address has one
//! as long as it has bindings there.
//!
//! So no guest can take another's ports, and who spoke to somebody outside can be told by the port. Which block is tried
//! first is decided by the seed and the address. Limit: as many guests as there are blocks; the next one is refused and
//! counted as where ports run out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The ports that are shared out: zone and outside address, and the guest or the number of the block.
type OfGuest = (u16, IpAddr, IpAddr);
type OfBlock = (u16, IpAddr, u32);

/// Who has which block.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    of_guest: BTreeMap<OfGuest, u32>,
    of_block: BTreeMap<OfBlock, IpAddr>,
}

impl Blocks {
    /// The block of a guest, which gets one if it has none. `lives` says whether a guest has bindings. `None` where all
    /// blocks are others'.
    pub fn of(
        &mut self,
        (zone, outside, guest): (u16, IpAddr, IpAddr),
        (ports, each): (&RangeInclusive<u16>, u16),
        hash: u64,
        lives: impl Fn(IpAddr) -> bool,
    ) -> Option<RangeInclusive<u16>> {
        let (first, each) = (u32::from(*ports.start()), u32::from(each.max(1)));
        let count = (u32::from(*ports.end()) + 1).saturating_sub(first) / each;
        let range = |block: u32| {
            let start = first + block * each;
            u16::try_from(start).ok().zip(u16::try_from(start + each - 1).ok()).map(|(first, last)| first..=last)
        };
        if let Some(&block) = self.of_guest.get(&(zone, outside, guest)) {
            return range(block);
        }
        let start = hash.checked_rem(u64::from(count))? as u32;
        let is_free = |block: &u32| self.of_block.get(&(zone, outside, *block)).is_none_or(|owner| !lives(*owner));
        let block = (0..count).map(|n| (start + n) % count).find(is_free)?;
        if let Some(before) = self.of_block.insert((zone, outside, block), guest) {
            self.of_guest.remove(&(zone, outside, before));
        }
        self.of_guest.insert((zone, outside, guest), block);
        range(block)
    }

    /// Forgets who has which: the ports that are shared out may be others now. Ports in use are not given twice all the
    /// same.
    pub fn clear(&mut self) {
        *self = Blocks::default();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(n: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, n).into()
    }

    #[test]
    fn each_has_its_own_and_keeps_it_while_it_lives() {
        let mut blocks = Blocks::default();
        let outside = Ipv4Addr::new(198, 51, 100, 1).into();
        let ports = 1000..=1059;
        let mut of = |guest: u8, lives: &dyn Fn(IpAddr) -> bool| {
            blocks.of((0, outside, ip(guest)), (&ports, 16), u64::from(guest), lives)
        };
        let given: Vec<RangeInclusive<u16>> = (1..=3).filter_map(|guest| of(guest, &|_| true)).collect();
        assert_eq!(given, [1016..=1031, 1032..=1047, 1000..=1015], "what is left over of the ports is not given");
        assert_eq!(of(2, &|_| true), Some(1032..=1047), "it keeps its block");
        assert_eq!(of(4, &|_| true), None, "all are others'");
        assert_eq!(of(4, &|guest| guest != ip(2)), Some(1032..=1047), "one has gone");
        assert_eq!(of(2, &|_| true), None);
    }
}
