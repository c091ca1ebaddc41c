//! A guest that stands between two networks: what one of its cards gets leaves by the other, as it is.
//!
//! It copies each frame once, in whole bursts, and does nothing else; DPDK's testpmd would, too.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_ports::vhost_user::frontend::Frontend;

use super::Failure;
use super::guests::frontend;

/// A header without offloads, which this guest has agreed to none of.
const PLAIN: [u8; 12] = [0; 12];

/// The guest.
pub struct Forwarder {
    cards: [Frontend; 2],
}

impl Forwarder {
    /// Connects both cards, for frames of a length.
    ///
    /// # Errors
    /// Where a socket cannot be reached or no agreement is come to.
    pub fn connect(sockets: [&Path; 2], frame: usize) -> Result<Forwarder, Failure> {
        let [a, b] = sockets;
        let mut cards = [frontend(a, frame, false)?, frontend(b, frame, false)?];
        for card in &mut cards {
            for ring in 0..2 {
                // It looks all the time.
                card.queue(ring).map(|queue| queue.request_call(false));
            }
        }
        Ok(Forwarder { cards })
    }

    /// Forwards both ways until it is told to stop.
    pub fn forward_until(&mut self, done: &AtomicBool) {
        let [a, b] = &mut self.cards;
        while !done.load(Ordering::Relaxed) {
            if carry(a, b) + carry(b, a) == 0 {
                // The generators share its core.
                std::thread::yield_now();
            }
        }
    }
}

/// What one card has got leaves by the other; what finds its ring full is dropped. Returns how many there were.
fn carry(from: &mut Frontend, to: &mut Frontend) -> usize {
    let (Some(from), Some(to)) = (from.queue(0), to.queue(1)) else { return 0 };
    let count = from.receive(|_, frame| {
        to.send(&PLAIN, frame);
    });
    if count > 0 {
        to.flush();
    }
    count
}
