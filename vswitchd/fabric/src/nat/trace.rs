//! What translation would make of a packet, in words. Makes no binding and keeps none alive.

use weir_wire::{DropReason, Packet, SwitchId};

use super::bindings::Way;
use super::ends::{End, Side, read, write};
use super::{Exit, Nat};

fn end((address, port): End) -> String {
    match (address.is_ipv6(), port) {
        (_, 0) => address.to_string(),
        (true, _) => format!("[{address}]:{port}"),
        (false, _) => format!("{address}:{port}"),
    }
}

impl Nat {
    /// What a packet that came to a router has its inside destination by, which it is given; `None` where it keeps its own.
    pub fn trace_inward(&self, zone: SwitchId, packet: &mut Packet) -> Option<String> {
        let ends = read(packet)?;
        if !self.is_outside(zone, ends.destination.0) {
            return None;
        }
        let at = (zone.0, ends.protocol, ends.destination, ends.source);
        let (inside, how) = if let Some(names) = self.bindings.find(Way::In, at) {
            (names.inside, "by a binding that stands")
        } else if let Some(joined) = self.joined_outside(zone, ends.destination.0) {
            ((joined.inside, ends.destination.1), "joined to it")
        } else {
            let edges = self.edges.iter().filter(|edge| edge.zone == zone);
            let mut forwards = edges.flat_map(|edge| &edge.config.forwards).filter(|forward| {
                (forward.protocol, forward.address) == (ends.protocol, ends.destination.0)
                    && forward.ports.contains(&ends.destination.1)
            });
            let found = forwards.next()?;
            let port = found.to_port.saturating_add(ends.destination.1.saturating_sub(*found.ports.start()));
            ((found.to, port), "forwarded")
        };
        if inside.0.is_ipv4() == ends.destination.0.is_ipv4() {
            write(packet, Side::Destination, inside)?;
            packet.hash = 0;
        }
        Some(format!("4 translation: {} stands for {} inside, {how}", end(ends.destination), end(inside)))
    }

    /// What a packet would be called outside that leaves a router so, as the first of its flow where it has no binding.
    ///
    /// # Errors
    /// Why it would not leave.
    pub fn trace_outward(&self, exit: &Exit, packet: &Packet) -> Result<Option<String>, DropReason> {
        let Some(ends) = read(packet) else { return Ok(None) };
        let named = |outside: End, how: &str| {
            Ok(Some(format!("7 translation: {} becomes {} outside, {how}", end(ends.source), end(outside))))
        };
        if let Some((server, _)) = self.traced_beyond(exit.zone, ends.destination.0) {
            return Ok(Some(format!("7 translation: NAT64, to {server} in IPv4")));
        }
        let at = (exit.zone.0, ends.protocol, ends.source, ends.destination);
        if let Some(names) = self.bindings.find(Way::Out, at) {
            return named(names.outside, "by a binding that stands");
        }
        if let Some(joined) = self.joined_inside(exit.zone, ends.source.0, Some(exit.to)) {
            return named((joined.outside, ends.source.1), "joined to it");
        }
        let Some(by) = self.terms(exit, &ends) else { return Ok(None) };
        let address = by.address.filter(|address| address.is_ipv4() == ends.destination.0.is_ipv4());
        let address = address.ok_or(DropReason::NatExhausted)?;
        if by.limit_each > 0 && self.bindings.of(exit.zone.0, ends.source.0) >= by.limit_each {
            return Err(DropReason::NatLimit);
        }
        let (first, last) = (by.ports.start(), by.ports.end());
        Ok(Some(format!(
            "7 translation: {} is masqueraded as {address}, by a free port of {first} to {last}, its own where that is free",
            end(ends.source)
        )))
    }
}
