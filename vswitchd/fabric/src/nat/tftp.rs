//! TFTP through address translation (RFC 1350, 4): a server answers a request to port 69 by another port, so the answer
//! belongs to no binding of the request.
//!
//! A client inside is answered at its outside name by any port of the server that it asked, and by nobody else. A server
//! inside, whose port 69 is forwarded or joined, answers by the outside name that it was asked by. Whether the answer may
//! pass, the rules decide: to the guard it is a flow of its own. Limit: one binding more for each transfer.

use std::net::IpAddr;

use weir_filter::spec::Timeouts;
use weir_wire::numbers::PROTOCOL_UDP;
use weir_wire::{Instant, SwitchId};

use super::bindings::{ANYBODY, Names, Way};
use super::ends::{End, Ends};
use super::{Nat, TRIES};

/// The port that requests go to.
const TFTP: u16 = 69;

impl Nat {
    /// A host inside whose binding was made asks a server: what this one answers by another port comes to the host too.
    pub(super) fn expect_tftp(&mut self, now: Instant, names: &Names, server: IpAddr, timeouts: &Timeouts) {
        let asks = names.protocol == PROTOCOL_UDP && names.remote.1 == TFTP;
        if !asks || !self.tftp_zones.contains(&names.zone) {
            return;
        }
        let wanted = Names { remote: ANYBODY, ..*names };
        // Where others have the name for all remote ends the answer is theirs; the client asks again by another port.
        if self.bindings.is_free(now, &wanted, timeouts) && self.bindings.expect(now, wanted, server, timeouts) {
            self.counters.made += 1;
        }
    }

    /// The outside name of a server's answer to a client that asked it by its outside name; `None` where it is none.
    pub(super) fn tftp_answer(
        &mut self,
        now: Instant,
        zone: SwitchId,
        ends: &Ends,
        timeouts: &Timeouts,
    ) -> Option<End> {
        if ends.protocol != PROTOCOL_UDP || !self.tftp_zones.contains(&zone.0) {
            return None;
        }
        let Ends { protocol, source, destination } = *ends;
        let asked = self.bindings.find(Way::Out, (zone.0, protocol, (source.0, TFTP), destination))?;
        let ports = (0..TRIES as u16).map(|n| source.1.checked_add(n).unwrap_or(1024 + n));
        for port in ports {
            let outside = (asked.outside.0, port);
            let names = Names { zone: zone.0, protocol, inside: source, outside, remote: destination };
            if self.bindings.is_free(now, &names, timeouts) {
                let made = self.bindings.add(now, names, Way::Out, timeouts);
                self.counters.made += u64::from(made);
                return made.then_some(outside);
            }
        }
        self.counters.exhausted += 1;
        None
    }
}
