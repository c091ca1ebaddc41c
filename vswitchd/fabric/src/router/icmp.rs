//! ICMP errors of a router: with its own address, and not too many.

use std::net::IpAddr;

use weir_wire::build::{IcmpError, icmp_error};
use weir_wire::{Instant, InterfaceId, Packet, Pool};

use super::limit::Bucket;
use super::{Routers, is_link_local};

/// ICMP errors a second for each interface.
pub const RATE: u64 = 500;
/// The same at once.
pub const BURST: u32 = 100;

/// How many an interface may still send.
#[derive(Debug)]
pub(crate) struct Errors(Bucket);

impl Default for Errors {
    fn default() -> Errors {
        Errors(Bucket::new(RATE, BURST))
    }
}

impl Routers {
    /// Tells the sender of a packet, which came in by this interface, what became of it. The answer leaves by the port
    /// that the packet came from.
    pub(crate) fn error(
        &mut self,
        now: Instant,
        at: InterfaceId,
        packet: &Packet,
        error: IcmpError,
        pool: &mut Pool,
    ) -> Option<Packet> {
        let (sender, _) = packet.addresses()?;
        let source = self.speaker(at, sender)?;
        let interface = self.interface_mut(at)?;
        if !interface.errors.0.take(now) {
            interface.counters.errors_limited += 1;
            return None;
        }
        let reply = icmp_error(packet, source, error, pool)?;
        interface.counters.errors_sent += 1;
        Some(reply)
    }

    /// The address that tells `other` of an error at this interface: its own, else another one of the router's.
    fn speaker(&self, at: InterfaceId, other: IpAddr) -> Option<IpAddr> {
        let interface = self.interface(at)?;
        let fine = |address: &IpAddr| !is_link_local(address) || is_link_local(&other);
        interface.source_for(other).filter(fine).or_else(|| {
            let all = self.router(interface.router)?.interfaces.iter().filter_map(|&id| self.interface(id));
            all.filter_map(|interface| interface.source_for(other)).find(fine)
        })
    }
}
