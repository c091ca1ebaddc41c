//! One ring as the front end sets it up: size, address, base, descriptors, states.
//!
//! Messages come in any order and more than once; a ring runs as soon as it has all it needs, and is made anew from
//! what is known whenever something changes under it. A ring that is started but disabled is drained (vhost-user, "Ring
//! states"). One that broke the rules stays stopped until it is set up again.

use super::features::{self, Agreed};
use super::inflight::Inflight;
use super::memory::GuestMemory;
use super::message::RingAddress;
use super::notify::{Kick, Notifier};
use super::packed::PackedRing;
use super::split::SplitRing;
use super::virtqueue::{Ring, RingFault, SetupFault};

/// How the driver tells that work waits.
#[derive(Debug, Default)]
pub enum Waking {
    /// Not said yet: the ring is stopped.
    #[default]
    Stopped,
    /// Not at all: the ring is to be looked at.
    Polled,
    /// By an eventfd.
    Kicked(Kick),
}

/// One ring.
#[derive(Debug, Default)]
pub struct Vring {
    /// Its place: even ones go to the guest.
    pub index: u16,
    size: u32,
    address: Option<RingAddress>,
    base: u32,
    /// How the driver wakes us.
    pub waking: Waking,
    /// How we wake the driver.
    pub call: Option<Notifier>,
    /// How we tell the driver's owner of a fault.
    pub error: Option<Notifier>,
    /// The front end's flag; in force where ring states were agreed on.
    pub enabled: bool,
    ring: Option<Ring>,
    /// Why it was stopped by us.
    pub fault: Option<RingFault>,
}

impl Vring {
    /// A ring of which nothing is known.
    pub fn new(index: u16) -> Vring {
        Vring { index, ..Vring::default() }
    }

    /// The ring, while it runs.
    #[inline]
    pub fn running(&mut self) -> Option<&mut Ring> {
        self.ring.as_mut()
    }

    /// Sets how we wake the driver. A running ring's driver is woken at once: the call that it waits for may have gone
    /// to the descriptor there was before, or to none.
    pub fn set_call(&mut self, call: Option<Notifier>) {
        self.call = call;
        if let Some(call) = self.call.as_ref().filter(|_| self.ring.is_some()) {
            call.signal();
        }
    }

    /// Whether it runs.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.ring.is_some()
    }

    /// Sets the size; in force at once.
    pub fn set_size(&mut self, size: u32) {
        self.pause();
        self.size = size;
        self.fault = None;
    }

    /// Sets the place; in force at once.
    pub fn set_address(&mut self, address: RingAddress) {
        self.pause();
        self.address = Some(address);
        self.fault = None;
    }

    /// Sets where to go on.
    pub fn set_base(&mut self, base: u32) {
        self.ring = None;
        self.base = base;
        self.fault = None;
    }

    /// Where it would go on, as GET_VRING_BASE says it.
    pub fn base(&self) -> u32 {
        self.ring.as_ref().map_or(self.base, Ring::base)
    }

    /// Lets go of the guest's memory and keeps the place; [`Vring::start`] goes on from there.
    pub fn pause(&mut self) {
        self.base = self.base();
        self.ring = None;
    }

    /// Stops it until the next kick descriptor. Returns how the driver woke us, to be forgotten by the caller.
    pub fn stop(&mut self) -> Waking {
        self.pause();
        std::mem::take(&mut self.waking)
    }

    /// Stops it for breaking the rules, and says so to the driver's owner.
    #[cold]
    pub fn fail(&mut self, fault: RingFault) {
        self.pause();
        self.fault = Some(fault);
        if let Some(error) = &self.error {
            error.signal();
        }
    }

    /// Runs it if it has all it needs and does not run yet.
    ///
    /// # Errors
    /// [`SetupFault`] where what it has does not fit.
    pub fn start(
        &mut self,
        memory: &GuestMemory,
        agreed: Agreed,
        inflight: Option<&Inflight>,
    ) -> Result<(), SetupFault> {
        let Some(address) = self.address else { return Ok(()) };
        let stopped = matches!(self.waking, Waking::Stopped) || self.fault.is_some();
        if self.ring.is_some() || stopped || self.size == 0 || memory.is_empty() {
            return Ok(());
        }
        // An address that does not fit is forgotten, or it would be refused again with every message to come.
        let made = if agreed.has(features::RING_PACKED) {
            PackedRing::new(memory, address, self.size, self.base, agreed).map(|mut ring| {
                if let Some(note) = inflight.and_then(|inflight| inflight.note(self.index, self.size as u16)) {
                    ring.keep(note);
                }
                Ring::Packed(ring)
            })
        } else {
            self.split(memory, address, agreed, inflight).map(Ring::Split)
        };
        let ring = made.inspect_err(|_| self.address = None)?;
        self.ring = Some(ring);
        Ok(())
    }

    fn split(
        &self,
        memory: &GuestMemory,
        address: RingAddress,
        agreed: Agreed,
        inflight: Option<&Inflight>,
    ) -> Result<SplitRing, SetupFault> {
        let mut ring = SplitRing::new(memory, address, self.size, self.base as u16, agreed)?;
        if let Some(inflight) = inflight {
            // Everything that was not given back comes again: the noted ones first, then those after them.
            let heads = inflight.recover(self.index, ring.used_index(), self.size as u16);
            ring.seek(ring.used_index().wrapping_add(heads.len() as u16));
            ring.take_again(heads);
        }
        Ok(ring)
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let state = match (&self.ring, self.fault, &self.waking) {
            (_, Some(fault), _) => format!("stopped: {fault}"),
            (Some(ring), _, _) => ring.describe(),
            (None, _, Waking::Stopped) => "stopped".to_string(),
            (None, ..) => "waiting for its address or memory".to_string(),
        };
        let waking = match self.waking {
            Waking::Stopped => "",
            Waking::Polled => ", polled",
            Waking::Kicked(_) => ", kicked",
        };
        let enabled = if self.enabled { ", enabled" } else { "" };
        format!("{} entries, {state}{waking}{enabled}", self.size)
    }
}
