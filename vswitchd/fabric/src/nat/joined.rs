//! Addresses that are joined to others for good: one to one, or by their prefix.

use std::net::IpAddr;

use weir_wire::{InterfaceId, SwitchId};

use super::{Nat, OneToOne};

/// Outside addresses that are looked through rather than searched.
const FEW: usize = 8;

/// One bit of a word that an address has, and one of 64 others.
#[inline]
fn bit(address: IpAddr) -> u64 {
    let word = match address {
        IpAddr::V4(v4) => u32::from(v4),
        IpAddr::V6(v6) => {
            let wide = u128::from(v6);
            (wide >> 96) as u32 ^ (wide >> 64) as u32 ^ (wide >> 32) as u32 ^ wide as u32
        }
    };
    1 << (word.wrapping_mul(0x9e37_79b1) >> 26)
}

impl Nat {
    /// Whether an address stands for a host inside by its prefix.
    pub fn stands_for_host(&self, zone: SwitchId, address: IpAddr) -> bool {
        self.joined_outside(zone, address).is_some()
    }

    /// Whether an address is one of those that stand for hosts inside.
    #[inline]
    pub(super) fn is_outside(&self, zone: SwitchId, address: IpAddr) -> bool {
        self.is_listed(zone, address)
            || self.networks.iter().any(|(z, network)| *z == zone.0 && network.outside.contains(address))
    }

    /// Whether an address is among the outside addresses of a zone.
    #[inline]
    fn is_listed(&self, zone: SwitchId, address: IpAddr) -> bool {
        if self.outside_bits & bit(address) == 0 {
            return false;
        }
        match self.outside.as_slice() {
            few if few.len() <= FEW => few.contains(&(zone.0, address)),
            many => many.binary_search(&(zone.0, address)).is_ok(),
        }
    }

    /// Notes which outside addresses there are, so that most others are known to be none at once.
    pub(super) fn note_outside(&mut self) {
        self.outside_bits = self.outside.iter().fold(0, |bits, (_, address)| bits | bit(*address));
    }

    /// The join of an outside address.
    #[inline]
    pub(super) fn joined_outside(&self, zone: SwitchId, outside: IpAddr) -> Option<OneToOne> {
        let [list, _] = &self.joined;
        let at = list.partition_point(|(z, a, _)| (*z, *a) < (zone.0, outside));
        let known = list.get(at).filter(|(z, a, _)| (*z, *a) == (zone.0, outside)).map(|(_, _, joined)| *joined);
        known.or_else(|| {
            let own = self.networks.is_empty() || self.outside.binary_search(&(zone.0, outside)).is_ok();
            let here = self.networks.iter().filter(|(z, _)| *z == zone.0 && !own);
            here.map(|(_, network)| network).find_map(|network| {
                let inside = network.inward(outside)?;
                Some(OneToOne { outside, inside, interface: network.interface })
            })
        })
    }

    /// The join of an inside address, at this interface or at any.
    #[inline]
    pub(super) fn joined_inside(&self, zone: SwitchId, inside: IpAddr, by: Option<InterfaceId>) -> Option<OneToOne> {
        let [_, list] = &self.joined;
        let at = list.partition_point(|(z, a, _)| (*z, *a) < (zone.0, inside));
        let here = list.get(at..)?.iter().take_while(|(z, a, _)| (*z, *a) == (zone.0, inside));
        let known = here.map(|(_, _, joined)| *joined).find(|joined| by.is_none_or(|by| by == joined.interface));
        known.or_else(|| {
            let here = self.networks.iter().filter(|(z, n)| *z == zone.0 && by.is_none_or(|by| by == n.interface));
            here.map(|(_, network)| network).find_map(|network| {
                let outside = network.outward(inside)?;
                Some(OneToOne { outside, inside, interface: network.interface })
            })
        })
    }
}
