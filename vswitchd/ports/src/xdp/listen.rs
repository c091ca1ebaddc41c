//! When the kernel tells of what comes in: while somebody sleeps, and not while frames pass.
//!
//! A socket that is waited for by epoll tells of every frame that has left, too: the kernel asks everybody who waits
//! whether they want to know that there is room again, which takes a tenth of the time of a frame between two veths.
//! So the sockets are taken out of the set when frames pass, and put in again before the worker sleeps. Ports
//! with little to do leave them there.

use super::XdpPort;
use super::hold::Hold;

/// Frames after which a port that is polled is taken for busy.
const BUSY_AFTER: u64 = 256;

/// Whether the sockets are in the port's set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    No,
    /// And somebody may sleep.
    Armed,
    /// And nobody does, since so many frames had passed.
    Awake(u64),
}

impl XdpPort {
    /// Has the kernel tell of what comes in. `false` where it cannot: the port is to be polled.
    pub(super) fn listen(&mut self) -> bool {
        if self.listening == Listening::No
            && let Hold::Attached(held) = &self.hold
        {
            for (token, socket) in held.sockets.iter().enumerate() {
                if let Err(e) = self.epoll.add(socket.as_fd(), token as u64) {
                    self.problem = format!("cannot wait for queue {token}: {e}");
                    // Those that are in the set are taken out with the others.
                    self.be_deaf();
                    return false;
                }
            }
        }
        self.listening = Listening::Armed;
        true
    }

    /// Nobody sleeps.
    pub(super) fn awake(&mut self) {
        if self.listening == Listening::Armed {
            self.listening = Listening::Awake(self.passed_so_far());
        }
    }

    /// Spares the kernel the telling where frames pass and nobody sleeps.
    #[inline]
    pub(super) fn stop_listening_when_busy(&mut self) {
        if let Listening::Awake(since) = self.listening
            && self.passed_so_far() - since >= BUSY_AFTER
        {
            self.be_deaf();
        }
    }

    fn be_deaf(&mut self) {
        if let Hold::Attached(held) = &self.hold {
            // A socket that is not in the set need not be taken out.
            held.sockets.iter().for_each(|socket| drop(self.epoll.remove(socket.as_fd())));
        }
        self.listening = Listening::No;
    }

    fn passed_so_far(&self) -> u64 {
        self.counters.rx_packets + self.counters.tx_packets
    }
}
