//! What inspection takes: the time of bursts with inspected packets beyond what plain forwarding of so many takes.
//!
//! Two clock readings a burst, and none where no rule set is in use. What plain forwarding takes is learnt from bursts
//! without inspected packets, one of [`EVERY`]. One burst of [`sample::EVERY`] is looked at rule by rule.

use weir_fabric::Fabric;
use weir_filter::engine::sample;
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
    looks: u64,
}

/// A burst that is being measured.
pub(super) struct Running {
    begun: Instant,
    inspected: u64,
    /// It is looked at rule by rule, which makes it dearer than it would be: of so few that nobody is charged unduly.
    sampled: bool,
}

impl Meter {
    /// Before a burst; `None` where there is nothing to measure.
    pub fn begin(&mut self, fabric: &mut Fabric) -> Option<Running> {
        if !fabric.inspects() {
            return None;
        }
        self.looks = self.looks.wrapping_add(1);
        let sampled = self.looks.is_multiple_of(sample::EVERY);
        if sampled {
            fabric.sample().begin_sample(nanoseconds);
        }
        Some(Running { begun: clock::monotonic(), inspected: fabric.engine().budget().inspected(), sampled })
    }

    /// After a burst of so many packets from a port.
    pub fn end(&mut self, running: Option<Running>, fabric: &mut Fabric, (port, packets): (PortId, usize)) {
        let Some(Running { begun, inspected, sampled }) = running else { return };
        if sampled {
            fabric.sample().end_sample();
        }
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

/// The clock of what single rules take.
fn nanoseconds() -> u64 {
    clock::monotonic().0
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
