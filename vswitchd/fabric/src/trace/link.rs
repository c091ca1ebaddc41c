//! The MAC addresses that a packet between two addresses would carry where its sender is behind a port: for those who ask
//! about a five-tuple and not about a frame.
//!
//! The sender's is the one bound to its address, or known to a router, or learned on the port; the receiver's the same,
//! or that of the router on its network where it is elsewhere. What cannot be found is told.

use std::net::IpAddr;

use weir_wire::buffer::PoolLimits;
use weir_wire::{Instant, MacAddr, Offload, Packet, Pool, PortId, SwitchId, Vid};

use crate::appliance::Arms;
use crate::{Fabric, coarse};

/// What stands for a sender that nothing is known of.
const NOBODY: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

impl Fabric {
    /// Puts the MAC addresses into a frame with an IP packet that comes in by `port`; tells how each was found.
    pub fn find_link(&self, now: Instant, port: PortId, frame: &mut [u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut pool = Pool::new(PoolLimits { frames: 1, supers: 1 });
        let Some(mut packet) = pool.copy(frame).map(|buffer| Packet::new(buffer, port, Offload::default())) else {
            return lines;
        };
        let parsed = packet.parse().is_ok();
        let Some((source, destination)) = packet.addresses().filter(|_| parsed) else { return lines };
        let Some(known) = self.bridge.port(port) else { return lines };
        let place = (known.config.switch, known.admit(&packet).unwrap_or_default());
        let from = self.sender(now, port, place, source, &mut lines);
        let to = self.receiver(now, place, (source, destination), &mut lines);
        if let Some(macs) = frame.first_chunk_mut::<12>() {
            let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (to.0, from.0);
            *macs = [a, b, c, d, e, f, g, h, i, j, k, l];
        }
        lines
    }

    fn sender(
        &self,
        now: Instant,
        port: PortId,
        place: (SwitchId, Vid),
        source: IpAddr,
        lines: &mut Vec<String>,
    ) -> MacAddr {
        let mut learned: Vec<_> =
            self.fdb(now, place.0).into_iter().filter(|e| e.port == port && e.vid == place.1).collect();
        learned.sort_by_key(|entry| (!entry.is_static, entry.age_s));
        let found = self
            .bound(now, place, source)
            .map(|mac| (mac, "bound to its address"))
            .or_else(|| self.resolved(now, place, source).map(|mac| (mac, "known to a router")))
            .or_else(|| learned.first().map(|entry| (entry.mac, "learned on the port")));
        match found {
            Some((mac, how)) => {
                lines.push(format!("0 {source} has {mac}, {how}"));
                mac
            }
            None => {
                lines.push(format!("0 nothing was learned on port {}: {NOBODY} stands for its guest", port.0));
                NOBODY
            }
        }
    }

    fn receiver(
        &self,
        now: Instant,
        place: (SwitchId, Vid),
        (source, destination): (IpAddr, IpAddr),
        lines: &mut Vec<String>,
    ) -> MacAddr {
        let here = |config: &crate::router::config::InterfaceConfig| (config.switch, config.vid) == place;
        let doors: Vec<_> =
            self.routers.interfaces().map(|i| (&i.config, &i.addresses)).filter(|(c, _)| here(c)).collect();
        let owner = doors.iter().find(|(_, addresses)| addresses.iter().any(|a| a.prefix.address == destination));
        let (mac, how) = if destination.is_multicast() {
            (group(destination), "its group's")
        } else if let Some((config, _)) = owner {
            (config.mac, "the router's own")
        } else if let Some(mac) = self.bound(now, place, destination) {
            (mac, "bound to its address")
        } else if let Some(mac) =
            self.beyond(place.0).into_iter().find_map(|far| self.bound(now, (far, place.1), destination))
        {
            (mac, "bound to its address, beyond an appliance")
        } else if let Some(mac) = self.resolved(now, place, destination) {
            (mac, "known to a router")
        } else {
            let near = |address: IpAddr| {
                doors.iter().find(|(config, _)| config.addresses.iter().any(|prefix| prefix.contains(address)))
            };
            match (near(destination), near(source).or(doors.first())) {
                (None, Some((config, _))) => (config.mac, "that of the router on the sender's network"),
                (Some(_), _) | (None, None) => {
                    (MacAddr([0xff; 6]), "not known: it goes to everybody, as a question for it does")
                }
            }
        };
        lines.push(format!("0 {destination} is sent to {mac}, {how}"));
        mac
    }

    /// The switches that appliances join a switch with, near or far.
    fn beyond(&self, switch: SwitchId) -> Vec<SwitchId> {
        let mut known = vec![switch];
        let mut at = 0;
        while let Some(&here) = known.get(at) {
            at += 1;
            for found in self.bridge.appliances.iter().flatten() {
                let Arms::Inline(sides) = &found.config.arms else { continue };
                let more = sides.iter().filter(|_| sides.contains(&here)).filter(|side| !known.contains(side));
                let more: Vec<SwitchId> = more.copied().collect();
                known.extend(more);
            }
        }
        known.split_off(1)
    }

    fn bound(&self, now: Instant, (switch, vid): (SwitchId, Vid), address: IpAddr) -> Option<MacAddr> {
        let binding = self.bindings.get(coarse(now), (switch, vid, address))?;
        (binding.mac != MacAddr::ZERO).then_some(binding.mac)
    }

    fn resolved(&self, now: Instant, place: (SwitchId, Vid), address: IpAddr) -> Option<MacAddr> {
        let here = |id| {
            let config = self.routers.interface(id).map(|interface| &interface.config);
            config.is_some_and(|config| (config.switch, config.vid) == place)
        };
        let entries = self.routers.neighbors.list(now);
        entries.into_iter().find(|entry| entry.address == address && here(entry.interface))?.mac
    }
}

/// RFC 1112, 6.4; RFC 2464, 7.
fn group(address: IpAddr) -> MacAddr {
    match address {
        IpAddr::V4(v4) => {
            let [_, b, c, d] = v4.octets();
            MacAddr([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            MacAddr([0x33, 0x33, a, b, c, d])
        }
    }
}
