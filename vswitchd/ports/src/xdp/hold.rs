//! What the port has of its device: taken, being taken up, or gone; and the way from one to the other.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::XdpPort;
use super::attachment::{self, Attachment, MTU_IN_CHUNK};
use super::program::Pieces;
use crate::PortError;
use crate::netdev::LinkState;

/// Between attempts to take up a device that is there but cannot be had.
const RETRY: Duration = Duration::from_secs(1);

/// What the port has of its device.
#[derive(Debug)]
pub(super) enum Hold {
    Attached(Attachment),
    /// A thread tries to take it up.
    Opening(JoinHandle<Result<Attachment, PortError>>),
    /// There is no device, or the last attempt failed.
    Nothing,
}

impl XdpPort {
    pub(super) fn keep(&mut self, attachment: Attachment) {
        for (token, socket) in attachment.sockets.iter().enumerate() {
            if let Err(e) = self.epoll.add(socket.as_fd(), token as u64) {
                self.problem = format!("cannot wait for queue {token}: {e}");
            }
        }
        self.hold = Hold::Attached(attachment);
    }

    /// Lets go of the device. Closing waits for the kernel, so it is done elsewhere.
    fn release(&mut self) {
        if let Hold::Attached(attachment) = std::mem::replace(&mut self.hold, Hold::Nothing) {
            for socket in &attachment.sockets {
                // A socket that could not be added is not in the set.
                drop(self.epoll.remove(socket.as_fd()));
            }
            let closing = std::thread::Builder::new().name("xdp-close".into());
            // Without a thread the attachment was dropped with the closure, here.
            drop(closing.spawn(move || drop(attachment)));
        }
    }

    /// Starts to take the device up on a thread of its own.
    fn take_up(&mut self) {
        let (config, done) = (self.config.clone(), Arc::clone(&self.done));
        let thread = std::thread::Builder::new().name("xdp-open".into()).spawn(move || {
            let opened = attachment::open(&config);
            done.signal();
            opened
        });
        match thread {
            Ok(thread) => self.hold = Hold::Opening(thread),
            Err(e) => self.problem = format!("cannot start a thread to take the device up: {e}"),
        }
    }

    /// Takes what the thread has brought, if it is done.
    fn finish_opening(&mut self) {
        if !matches!(&self.hold, Hold::Opening(thread) if thread.is_finished()) {
            return;
        }
        let Hold::Opening(thread) = std::mem::replace(&mut self.hold, Hold::Nothing) else { return };
        match thread.join() {
            Ok(Ok(attachment)) => self.keep(attachment),
            Ok(Err(e)) => {
                self.problem = e.to_string();
                self.retry_later();
            }
            Err(_) => self.problem = "the thread that takes the device up has failed".to_owned(),
        }
    }

    fn retry_later(&mut self) {
        if let Err(e) = self.timer.set(RETRY) {
            self.problem = format!("cannot set a timer: {e}");
        }
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
            self.release();
        }
        match &self.hold {
            Hold::Attached(_) => {
                let state = self.device.state().unwrap_or_default();
                self.link = state.up && state.carrier;
                self.problem = why_down(state).to_owned();
            }
            Hold::Opening(_) => self.link = false,
            Hold::Nothing => {
                self.link = false;
                if index.is_some() {
                    self.take_up();
                } else {
                    self.problem = "the device is gone; a device of that name is taken up again".to_owned();
                }
            }
        }
    }
}

fn why_down(state: LinkState) -> &'static str {
    match (state.up, state.carrier) {
        (true, true) => "",
        (true, false) => "the device has no carrier: its other side is down or unplugged",
        (false, _) => "the device is down",
    }
}
