//! Bindings that outlive the daemon: taken out when it stops, put back when it starts.
//!
//! Only those are kept over which both sides have spoken and that have not ended: of the others nobody would miss any.
//! What comes back is held against the state that stands: an outside address that is none any more, a name that somebody
//! else has by now, or a time that is over leave a binding out.

use std::net::IpAddr;
use std::time::Duration;

use weir_filter::spec::Timeouts;
use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6};
use weir_wire::{Instant, SwitchId};

use super::Nat;
use super::bindings::{Bindings, Names, Way};
use crate::Fabric;

/// A binding as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBinding {
    /// Its names.
    pub names: Names,
    /// Seconds since a packet used it.
    pub idle_s: u64,
    /// The only remote address that it lets in, where it holds for all remote ends.
    pub expects: Option<IpAddr>,
}

impl Bindings {
    fn keep(&self, now: Instant, timeouts: &Timeouts) -> Vec<KeptBinding> {
        let kept = self.known().filter(|(binding, _, moves)| {
            let asks = matches!(binding.names().protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6);
            // Where numbers of a stream were moved, the connection cannot go on without knowing by how much.
            binding.is_answered() && !binding.is_ending() && !asks && !moves && !binding.is_over(now, timeouts)
        });
        let keep = |(binding, expects, _): (&super::bindings::Binding, Option<IpAddr>, bool)| KeptBinding {
            names: binding.names(),
            idle_s: binding.idle(now).as_secs(),
            expects,
        };
        kept.map(keep).collect()
    }
}

impl Nat {
    fn restore(&mut self, now: Instant, kept: &KeptBinding, timeouts: &Timeouts) -> bool {
        let KeptBinding { names, idle_s, expects } = *kept;
        let used =
            Instant(now.0.saturating_sub(Duration::from_secs(idle_s).as_nanos().min(u128::from(u64::MAX)) as u64));
        let fine = self.is_outside(SwitchId(names.zone), names.outside.0)
            && !self.is_outside(SwitchId(names.zone), names.inside.0)
            && self.bindings.is_free(now, &names, timeouts)
            && self.bindings.add(now, names, Way::Out, timeouts);
        if !fine {
            return false;
        }
        if !self.bindings.take_up(&names, used, expects, (now, timeouts)) {
            return false;
        }
        self.attend(&names);
        true
    }
}

impl Fabric {
    /// The bindings of address translation that are worth keeping.
    pub fn keep_bindings(&self, now: Instant) -> Vec<KeptBinding> {
        self.nat.bindings.keep(now, &self.engine.policy().settings().timeouts)
    }

    /// Puts bindings back; returns how many of them stand.
    pub fn restore_bindings(&mut self, now: Instant, kept: &[KeptBinding]) -> usize {
        let timeouts = self.engine.policy().settings().timeouts;
        kept.iter().filter(|kept| self.nat.restore(now, kept, &timeouts)).count()
    }
}
