//! What the port has of its device: taken, being taken up, or gone; and the way from one to the other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use super::XdpPort;
use super::attachment::{self, Attachment, MTU_IN_CHUNK};
use super::fast_path::Lane;
use super::listen::Listening;
use super::program::{Hook, Pieces};
use crate::PortError;
use crate::event::EventFd;
use crate::netdev::LinkState;

/// Bytes before the L3 packet, in frames without a tag.
const ETHERNET: u32 = 14;
/// Between attempts to take up a device that is there but cannot be had.
const RETRY: Duration = Duration::from_secs(1);

/// What the port has of its device.
#[derive(Debug)]
pub(super) enum Hold {
    Attached(Attachment),
    /// A thread tries to take it up.
    Opening(Receiver<Result<Attachment, PortError>>),
    /// There is no device, or the last attempt failed.
    Nothing,
}

impl XdpPort {
    pub(super) fn keep(&mut self, attachment: Attachment) {
        self.hold = Hold::Attached(attachment);
        self.listening = Listening::No;
    }

    /// Lets go of the device. Closing waits for the kernel, so it is done elsewhere.
    fn let_go(&mut self) {
        // Their chunks go with it.
        self.heads.clear();
        if let Hold::Attached(attachment) = std::mem::replace(&mut self.hold, Hold::Nothing) {
            // A socket that is not in the set need not be taken out.
            attachment.sockets.iter().for_each(|socket| drop(self.epoll.remove(socket.as_fd())));
            let closing = std::thread::Builder::new().name("xdp-close".into());
            // Without a thread the attachment was dropped with the closure, here.
            drop(closing.spawn(move || drop(attachment)));
        }
    }

    /// Starts to take the device up on a thread of its own.
    fn take_up(&mut self) {
        let (config, fast_path) = (self.config.clone(), self.fast_path.clone());
        let bell = Bell(Arc::clone(&self.done));
        let (result, opened) = sync_channel(1);
        let thread = std::thread::Builder::new().name("xdp-open".into()).spawn(move || {
            // Dropped last, so that the result is there when it rings; also where the thread fails.
            let _bell = bell;
            let result = result;
            // A port that is gone by now wants no device; the attachment is dropped here.
            drop(result.send(attachment::open(&config, fast_path.as_ref())));
        });
        match thread {
            Ok(_) => self.hold = Hold::Opening(opened),
            Err(e) => self.rest(format!("cannot start a thread to take the device up: {e}")),
        }
    }

    /// Takes what the thread has brought, if it is done.
    fn finish_opening(&mut self) {
        let Hold::Opening(opened) = &self.hold else { return };
        let opened = match opened.try_recv() {
            Ok(opened) => opened.map_err(|e| e.to_string()),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err("the thread that takes the device up has failed".to_owned()),
        };
        self.hold = Hold::Nothing;
        match opened {
            Ok(attachment) => self.keep(attachment),
            Err(problem) => self.rest(problem),
        }
    }

    /// Leaves a device alone for a while that could not be taken up.
    fn rest(&mut self, problem: String) {
        self.problem = problem;
        self.resting = true;
        if let Err(e) = self.timer.set(RETRY) {
            self.problem = format!("cannot set a timer: {e}");
        }
    }

    /// Finds out what the device can do for the fast path as it stands.
    pub(super) fn measure_lane(&mut self) {
        let Hold::Attached(held) = &self.hold else {
            self.lane = None;
            return;
        };
        let Some(device) = held.member.as_ref().map(|member| member.device) else { return };
        // A kernel that does not tell is not asked for it.
        let takes = self.device.takes_redirects().unwrap_or(false);
        let longest = self.departure.mtu().saturating_add(ETHERNET);
        self.lane = Some(Lane { device, longest, takes, native: held.way.hook == Hook::Native });
    }

    /// Finds out what became of the device.
    pub(super) fn look(&mut self) {
        self.turns = 0;
        self.finish_opening();
        let index = self.device.index().ok();
        let mtu = self.device.mtu().unwrap_or(self.departure.mtu());
        self.departure.set_mtu(mtu);
        if let Hold::Attached(held) = &self.hold
            && (index != Some(held.index) || mtu > MTU_IN_CHUNK && held.pieces == Pieces::One)
        {
            self.let_go();
        }
        match &self.hold {
            Hold::Attached(_) => {
                let state = self.device.state().unwrap_or_default();
                self.link = state.up && state.carrier;
                self.problem = why_down(state).to_owned();
                self.measure_lane();
            }
            Hold::Opening(_) => self.link = false,
            Hold::Nothing => {
                self.link = false;
                if index.is_some() {
                    if !self.resting {
                        self.take_up();
                    }
                } else {
                    self.problem = "the device is gone; a device of that name is taken up again".to_owned();
                }
            }
        }
    }
}

/// Rings when it is dropped.
struct Bell(Arc<EventFd>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.signal();
    }
}

fn why_down(state: LinkState) -> &'static str {
    match (state.up, state.carrier) {
        (true, true) => "",
        (true, false) => "the device has no carrier: its other side is down or unplugged",
        (false, _) => "the device is down",
    }
}
