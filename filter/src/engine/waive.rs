//! Packets that pass without being judged, because the operator says so: a bypass, or an appliance that fails open.
//!
//! Nothing is looked up and nothing remembered of them but when the last one of each switch passed: connections that
//! began meanwhile are taken up in their midst, as after the start of the daemon.

use weir_wire::{Instant, Packet, SwitchId};

use super::{Cleared, Engine};

/// Switches that are remembered; the longest unused makes room.
const REMEMBERED: usize = 64;

/// When packets were last let pass, by switch.
#[derive(Debug, Default)]
pub(super) struct Waivers(Vec<(SwitchId, Instant)>);

impl Waivers {
    fn note(&mut self, now: Instant, switch: SwitchId) {
        if let Some((_, last)) = self.0.iter_mut().find(|(known, _)| *known == switch) {
            *last = now;
            return;
        }
        if self.0.len() >= REMEMBERED
            && let Some(oldest) = self.0.iter_mut().min_by_key(|(_, last)| *last)
        {
            *oldest = (switch, now);
            return;
        }
        self.0.push((switch, now));
    }

    /// When a packet of this switch was last let pass.
    pub fn last(&self, switch: SwitchId) -> Option<Instant> {
        self.0.iter().find(|(known, _)| *known == switch).map(|(_, last)| *last)
    }
}

impl Engine {
    /// Lets a packet pass without judging it. For traffic that the operator wants to pass whatever the guard is able to
    /// say: whoever calls this counts it.
    pub fn waive(&mut self, now: Instant, packet: Packet, switch: SwitchId) -> Cleared {
        self.waivers.note(now, switch);
        Cleared(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_packet_of_each_of_the_last_switches_is_remembered() {
        let mut waivers = Waivers::default();
        for n in 0..REMEMBERED as u64 + 1 {
            waivers.note(Instant::from_secs(n + 1), SwitchId(n as u16));
        }
        waivers.note(Instant::from_secs(500), SwitchId(7));
        assert_eq!(waivers.last(SwitchId(0)), None, "it made room");
        assert_eq!(waivers.last(SwitchId(7)), Some(Instant::from_secs(500)));
        assert_eq!(waivers.last(SwitchId(REMEMBERED as u16)), Some(Instant::from_secs(REMEMBERED as u64 + 1)));
    }
}
