//! Why a request was refused, and why a session ended.

use std::fmt;

use super::inflight::InflightFault;
use super::memory::MemoryFault;
use super::notify::NotAnEvent;
use super::socket::Ended;
use super::virtqueue::SetupFault;

/// A request that was understood and cannot be carried out.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such ring.
    NoSuchRing(u32),
    /// Features that were not offered.
    NotOffered(u64),
    /// A memory region.
    Memory(MemoryFault),
    /// A ring's setup.
    Ring(u16, SetupFault),
    /// A notification descriptor.
    Notification(NotAnEvent),
    /// Memory for descriptors in flight.
    Inflight(InflightFault),
    /// A ring position that does not exist.
    Base(u32),
    /// An MTU out of range.
    Mtu(u64),
    /// A request that is not served.
    NotServed(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoSuchRing(index) => write!(f, "there is no ring {index}"),
            Refusal::NotOffered(bits) => write!(f, "features {bits:#x} were not offered"),
            Refusal::Memory(fault) => fault.fmt(f),
            Refusal::Ring(index, fault) => write!(f, "ring {index}: {fault}"),
            Refusal::Notification(fault) => fault.fmt(f),
            Refusal::Inflight(fault) => fault.fmt(f),
            Refusal::Base(base) => write!(f, "a split ring has no position {base}"),
            Refusal::Mtu(mtu) => write!(f, "an MTU of {mtu} is out of range"),
            Refusal::NotServed(number) => write!(f, "request {number} is not served"),
        }
    }
}

impl From<MemoryFault> for Refusal {
    fn from(fault: MemoryFault) -> Refusal {
        Refusal::Memory(fault)
    }
}

impl From<NotAnEvent> for Refusal {
    fn from(fault: NotAnEvent) -> Refusal {
        Refusal::Notification(fault)
    }
}

impl From<InflightFault> for Refusal {
    fn from(fault: InflightFault) -> Refusal {
        Refusal::Inflight(fault)
    }
}

/// Why a session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// The connection.
    Connection(Ended),
    /// A request was refused and no acknowledgement was wanted.
    Refused(Refusal),
    /// Shared memory was cut short.
    MemoryCut,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionEnd::Connection(ended) => ended.fmt(f),
            SessionEnd::Refused(refusal) => write!(f, "the front end asked for what cannot be: {refusal}"),
            SessionEnd::MemoryCut => write!(f, "the front end made its shared memory shorter"),
        }
    }
}

impl From<Ended> for SessionEnd {
    fn from(ended: Ended) -> SessionEnd {
        SessionEnd::Connection(ended)
    }
}
