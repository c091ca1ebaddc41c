//! What inspection takes: the time of bursts with inspected packets beyond what plain forwarding of so many takes.
//!
//! Two clock readings a burst, and none where no rule set is in use. What plain forwarding takes is learnt from bursts
//! without inspected packets, one of [`EVERY`].

use weir_fabric::Fabric;
use weir_ports::clock;
use weir_wire::{Instant, PortId};

/// One burst of so many without inspected packets is measured.
const EVERY: u32 = 16;
/// Weight of the newest burst in the average, one of so many parts.
const MEMORY: u64 = 16;

/// A stopwatch around bursts.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Average nanoseconds to forward a packet that is not inspected, in 256ths.
    plain_256: u64,
    bursts: u32,
}

/// A burst that is being measured.
pub(super) struct Running {
    begun: Instant,
    inspected: u64,
}

impl Meter {
    /// Before a burst; `None` where there is nothing to measure.
    pub fn begin(&mut self, fabric: &Fabric) -> Option<Running> {
        if !fabric.inspects() {
            return None;
        }
        Some(Running { begun: clock::monotonic(), inspected: fabric.engine().budget().inspected() })
    }

    /// After a burst of so many packets from a port.
    pub fn end(&mut self, running: Option<Running>, fabric: &mut Fabric, (port, packets): (PortId, usize)) {
        let Some(Running { begun, inspected }) = running else { return };
        let now_inspected = fabric.engine().budget().inspected();
        if now_inspected == inspected {
            fabric.budget().review(begun);
            self.bursts = self.bursts.wrapping_add(1);
            if self.bursts.is_multiple_of(EVERY) {
                let took = clock::monotonic().since(begun).as_nanos() as u64;
                self.learn(took, packets);
            }
            return;
        }
        let now = clock::monotonic();
        let took = now.since(begun).as_nanos() as u64;
        let ns = took.saturating_sub(self.plain(packets));
        fabric.budget().charge(now, port, ns);
    }

    fn plain(&self, packets: usize) -> u64 {
        self.plain_256.saturating_mul(packets as u64) >> 8
    }

    fn learn(&mut self, took: u64, packets: usize) {
        let each = (took << 8) / packets.max(1) as u64;
        self.plain_256 = match self.plain_256 {
            0 => each,
            before => before - before / MEMORY + each / MEMORY,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_forwarding_is_learnt_by_the_packet() {
        let mut meter = Meter::default();
        meter.learn(6400, 64);
        assert_eq!(meter.plain(10), 1000);
        (0..200).for_each(|_| meter.learn(12_800, 64));
        assert!((1_900..=2_000).contains(&meter.plain(10)), "{}", meter.plain(10));
    }
}
