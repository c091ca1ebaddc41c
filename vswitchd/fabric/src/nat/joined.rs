//! Addresses that are joined to others for good: one to one, or by their prefix.

use std::net::IpAddr;

use weir_wire::{InterfaceId, SwitchId};

use super::{Nat, OneToOne};

impl Nat {
    /// Whether an address stands for a host inside by its prefix.
    pub fn stands_for_host(&self, zone: SwitchId, address: IpAddr) -> bool {
        self.joined_outside(zone, address).is_some()
    }

    /// Whether an address is one of those that stand for hosts inside.
    #[inline]
    pub(super) fn is_outside(&self, zone: SwitchId, address: IpAddr) -> bool {
        self.outside.binary_search(&(zone.0, address)).is_ok()
            || self.networks.iter().any(|(z, network)| *z == zone.0 && network.outside.contains(address))
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
