//! Router advertisements: networks are told which router they have and from which prefixes hosts make their addresses
//! (RFC 4861, 6.2; RFC 4862; RFC 8106).
//!
//! Told when the interface comes, again [`EARLY_EVERY`] twice, then [`EVERY`]; at once to a host that asks with an address
//! of its own, and to everybody at most [`APART`] where it has none. When an interface goes, or tells no longer, its
//! network hears that it is no default router any more.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use weir_wire::build::neighbor::{Advertisement, router_advertisement};
use weir_wire::{Instant, InterfaceId, MacAddr, SwitchId, Vid};

use super::{Emission, Interface, Routers, is_link_local, link_local};

/// Time between the first advertisements (RFC 4861, 10: at most 16 s).
pub const EARLY_EVERY: Duration = Duration::from_secs(16);
/// How many follow each other so.
const EARLY: u8 = 3;
/// Time between two advertisements later.
pub const EVERY: Duration = Duration::from_secs(200);
/// Time between two advertisements to everybody, whoever asks (RFC 4861, 10: 3 s).
pub const APART: Duration = Duration::from_secs(3);

/// How long servers and domains are, at least, in seconds: three times [`EVERY`] (RFC 8106, 5.1).
const SERVERS_S: u32 = 600;

/// How far an interface is with its advertisements.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Telling {
    sent: u8,
    next: Instant,
    last: Option<Instant>,
}

impl Telling {
    /// There is something new to tell.
    pub fn begin(&mut self, now: Instant) {
        (self.sent, self.next) = (0, now);
    }
}

impl Interface {
    /// What its network is told, for `lifetime_s`; `None` where it is told nothing.
    fn advertisement(&self, last: bool) -> Option<Advertisement> {
        let told = self.config.advertise.as_ref()?;
        let prefixes = self.addresses.iter().filter_map(|address| match address.prefix.address {
            IpAddr::V6(v6) if address.prefix.length == 64 && !is_link_local(&v6.into()) => {
                Some(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        Some(Advertisement {
            lifetime_s: if last { 0 } else { told.lifetime_s },
            managed: told.managed,
            other: told.other,
            mtu: self.config.mtu,
            prefixes: prefixes.collect(),
            autonomous: told.autonomous,
            lifetimes_s: told.lifetimes_s,
            dns: told.dns.clone(),
            search: told.search.clone(),
            servers_s: if last { 0 } else { SERVERS_S.max(told.lifetime_s.into()) },
        })
    }

    /// The frame that tells it, to one host or to all.
    pub(super) fn advertisement_frame(&self, to: Option<(MacAddr, Ipv6Addr)>) -> Option<Vec<u8>> {
        let mac = self.config.mac;
        Some(router_advertisement((mac, link_local(mac)), to, &self.advertisement(false)?))
    }

    /// The frame that takes it back, and where it goes.
    pub(super) fn farewell(&self) -> Option<(SwitchId, Vid, Vec<u8>)> {
        let (mac, config) = (self.config.mac, &self.config);
        let frame = router_advertisement((mac, link_local(mac)), None, &self.advertisement(true)?);
        Some((config.switch, config.vid, frame))
    }
}

impl Routers {
    /// Tells what is due; returns when the next is.
    pub(crate) fn advertise(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (index, interface) in self.interfaces.iter_mut().enumerate() {
            let Some(interface) = interface.as_mut().filter(|interface| interface.config.advertise.is_some()) else {
                continue;
            };
            let telling = &mut interface.telling;
            if telling.next <= now {
                telling.sent = (telling.sent + 1).min(EARLY);
                telling.last = Some(now);
                telling.next = now.after(if telling.sent < EARLY { EARLY_EVERY } else { EVERY });
                self.emissions.push(Emission::Advertise(InterfaceId(index as u16), None));
            }
            next = [next, Some(telling.next)].into_iter().flatten().min();
        }
        next
    }

    /// A host on the network of an interface asks for routers.
    pub(crate) fn solicited(&mut self, now: Instant, id: InterfaceId, (mac, address): (MacAddr, Ipv6Addr)) {
        let Some(interface) = self.interface_mut(id).filter(|interface| interface.config.advertise.is_some()) else {
            return;
        };
        let near = is_link_local(&address.into()) || interface.is_on_link(address.into());
        if !address.is_unspecified() {
            if near {
                self.emissions.push(Emission::Advertise(id, Some((mac, address))));
            }
            return;
        }
        let telling = &mut interface.telling;
        if telling.last.is_none_or(|last| now.since(last) >= APART) {
            telling.last = Some(now);
            self.emissions.push(Emission::Advertise(id, None));
        }
    }
}
