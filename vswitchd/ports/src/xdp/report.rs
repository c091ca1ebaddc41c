//! What an operator is told of an AF_XDP port.

use super::XdpPort;
use super::hold::Hold;
use super::program::{Hook, Pieces};
use crate::Status;

impl XdpPort {
    pub(super) fn report(&self) -> Status {
        let mode = match &self.hold {
            Hold::Attached(held) => format!("{}, queues {}-{}", held.way, held.queues.start, held.queues.end - 1),
            Hold::Opening(_) => "taking the device up".to_owned(),
            Hold::Nothing => "no device".to_owned(),
        };
        Status {
            link: self.link,
            kind: "xdp",
            mode,
            problem: self.problem.clone(),
            mtu: self.departure.mtu(),
            details: self.details(),
        }
    }

    /// Whether settled flows pass in the kernel, and what would help.
    fn fast_path_report(&self, refused: &str) -> String {
        match self.lane {
            None => format!("no: {refused}"),
            Some(lane) if lane.takes || !lane.native => "yes".to_owned(),
            Some(_) => {
                "from here only: the device takes no redirected frames (of a veth: turn gro on at its other side)"
                    .to_owned()
            }
        }
    }

    fn details(&self) -> Vec<(String, String)> {
        let mut details: Vec<(String, String)> = Vec::new();
        let mut tell = |name: &str, value: String| details.push((name.to_owned(), value));
        tell("device", self.config.interface.clone());
        tell("namespace", self.config.netns.clone().unwrap_or_else(|| "the daemon's".to_owned()));
        let Hold::Attached(held) = &self.hold else { return details };
        tell("driver", held.driver.clone());
        for refused in &held.refused {
            tell("not used", refused.clone());
        }
        for warning in &held.warnings {
            tell("warning", warning.clone());
        }
        tell("fast path", self.fast_path_report(&held.no_fast_path));
        let several = if held.pieces == Pieces::Several { "yes" } else { "no" };
        tell("frames in several pieces", several.to_owned());
        tell("rings", format!("{} entries a queue", self.config.ring));
        if held.way.hook == Hook::Generic {
            let advice = "super-segments do not pass: turn off tso and gso where frames come from (ethtool -K)";
            tell("advice", advice.to_owned());
        }
        for (queue, socket) in held.queues.clone().zip(&held.sockets) {
            if let Ok(s) = socket.statistics() {
                let text = format!(
                    "rx dropped {}, rx ring full {}, fill ring empty {}, invalid descriptors rx {} tx {}",
                    s.rx_dropped, s.rx_ring_full, s.rx_fill_ring_empty_descs, s.rx_invalid_descs, s.tx_invalid_descs
                );
                tell(&format!("queue {queue}"), text);
            }
        }
        details
    }
}
