//! Bindings of first-hop security that outlive an orderly end of the daemon: those that were learned, and leases. What the
//! operator gives is given again by the state.

use weir_wire::{Instant, MacAddr, PortId};

use super::{BINDINGS_MAX, Binding, Origin, Place};
use crate::{Fabric, coarse};

/// A binding as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptHold {
    /// The address, and where.
    pub place: Place,
    /// Who has it.
    pub port: PortId,
    /// By which MAC.
    pub mac: MacAddr,
    /// Seconds that a lease has left; `None` for what was learned.
    pub left_s: Option<u32>,
    /// Seconds since it was used last.
    pub idle_s: u32,
    /// A trusted port said so.
    pub heard: bool,
}

impl Fabric {
    /// The bindings that are worth keeping.
    pub fn keep_holds(&self, now: Instant) -> Vec<KeptHold> {
        let now_s = coarse(now);
        let kept = |(place, binding): super::BindingEntry| {
            let left_s = binding.until_s.map(|until| until.saturating_sub(now_s));
            let worth = match binding.origin {
                Origin::Given => false,
                Origin::Dhcp => left_s.is_some_and(|left| left > 0),
                Origin::Learned => true,
            };
            let Binding { port, mac, heard, seen_s, .. } = binding;
            let idle_s = now_s.saturating_sub(seen_s);
            worth.then_some(KeptHold { place, port, mac, left_s, idle_s, heard })
        };
        self.bindings.list(BINDINGS_MAX).into_iter().filter_map(kept).collect()
    }

    /// Takes up bindings that were kept, as old as they are by now, of ports that are on their switches still; returns how
    /// many. What is bound already stays as it is.
    pub fn restore_holds(&mut self, now: Instant, kept: &[KeptHold]) -> usize {
        let now_s = coarse(now);
        let mut stand = 0;
        for hold in kept {
            let Some(port) = self.bridge.port(hold.port) else { continue };
            let fits = port.config.switch == hold.place.0 && (port.config.guard.is_some() || hold.heard);
            let room = self.bindings.len() < BINDINGS_MAX && self.bindings.get(now_s, hold.place).is_none();
            if !fits || !room || hold.left_s == Some(0) {
                continue;
            }
            let origin = if hold.left_s.is_some() { Origin::Dhcp } else { Origin::Learned };
            let until_s = hold.left_s.map(|left| now_s.saturating_add(left));
            let seen_s = now_s.saturating_sub(hold.idle_s);
            let binding = Binding::new(seen_s, (hold.port, hold.mac), origin);
            self.bindings.put(hold.place, Binding { until_s, heard: hold.heard, ..binding });
            stand += 1;
        }
        stand
    }
}
