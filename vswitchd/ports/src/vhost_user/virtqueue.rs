//! What frames are moved through: a ring of either kind, split or packed.
//!
//! [`Virtqueue`] is what receiving and sending need of a ring. They are written once and compiled for each kind, so that
//! which it is, is asked once for a burst ([`Ring`]) and not for each frame.
//!
//! A *head* names a chain between its being looked at and its being completed: in a split ring the index of its first
//! descriptor, in a packed ring the place of that in the ring. An *entry* is what the driver makes available: in a split
//! ring one for each chain, in a packed ring one for each descriptor, so that a chain there spans as many as it has.
//!
//! # Safety model
//! See [`super::split`] and [`super::packed`].

use std::fmt;

use super::descriptor::Descriptor;
use super::dirty_log::DirtyLog;
use super::packed::PackedRing;
use super::split::SplitRing;

/// The largest ring (virtio 1.2, 2.7 and 2.8.10.1).
pub const SIZE_MAX: u32 = 32768;

/// A ring that broke a rule beyond repair: it is stopped until the front end sets it up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFault {
    /// More entries announced than the ring has.
    IndexJump {
        /// How far the driver's index is ahead of ours.
        ahead: u16,
        /// Entries of the ring.
        size: u16,
    },
    /// A descriptor index outside the table, or a packed ring's buffer id that the ring has not.
    DescriptorIndex {
        /// The index.
        index: u16,
        /// Entries of the table.
        size: u16,
    },
    /// A chain that is longer than the ring, and so comes back to itself.
    Loop,
}

impl fmt::Display for RingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingFault::IndexJump { ahead, size } => {
                write!(f, "the driver's index is {ahead} ahead of ours on a ring of {size}")
            }
            RingFault::DescriptorIndex { index, size } => {
                write!(f, "descriptor index {index} on a ring of {size}")
            }
            RingFault::Loop => write!(f, "a descriptor chain loops"),
        }
    }
}

/// A ring that cannot be used as it was set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupFault {
    /// The size is none that this kind of ring can have, [`SIZE_MAX`] at most.
    Size(u32),
    /// An area does not lie in guest memory, whole and in one region.
    Outside(u64),
    /// An area's address is not aligned as it must be (split: 16, 2 and 4 bytes; packed: 16, 4 and 4).
    Alignment(u64),
    /// It is to go on at a place that it has not.
    Position(u16),
}

impl fmt::Display for SetupFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupFault::Size(size) => write!(f, "ring size {size} is not a power of two up to {SIZE_MAX}"),
            SetupFault::Outside(address) => write!(f, "the ring at {address:#x} is outside the guest's memory"),
            SetupFault::Alignment(address) => write!(f, "the ring at {address:#x} is not aligned"),
            SetupFault::Position(at) => write!(f, "the ring has no entry {at} to go on at"),
        }
    }
}

/// Writes completions of one burst: the ring's numbers stay in registers until it is dropped.
pub trait Completions {
    /// See [`Virtqueue::complete`].
    fn put(&mut self, head: u16, len: u32);
}

/// A running ring, as receiving and sending need it.
pub trait Virtqueue {
    /// See [`Completions`].
    type Completions<'a>: Completions
    where
        Self: 'a;

    /// A chain stands in entries that follow each other, also in a table.
    const IN_PLACE: bool;

    /// Entries of the ring.
    fn size(&self) -> u16;

    /// Indirect tables were agreed on.
    fn indirect(&self) -> bool;

    /// The region of guest memory used last.
    fn hint(&mut self) -> &mut usize;

    /// Chains have to be completed in the order in which they were taken.
    fn keeps_order(&self) -> bool;

    /// Chains wait to be taken again.
    fn has_again(&self) -> bool;

    /// The next chain to be taken again. Without a crash before there is none.
    fn next_again(&mut self) -> Option<u16>;

    /// Entries that wait. The driver is asked only when fewer than `wanted` are known to be there.
    ///
    /// # Errors
    /// [`RingFault`].
    fn waiting(&mut self, wanted: u16) -> Result<u16, RingFault>;

    /// Looks at up to `most` waiting entries and hands head and first descriptor of each to `each`, until that says that it
    /// has seen enough. What follows a chain that goes on in the next entries is not looked at.
    ///
    /// # Errors
    /// [`RingFault`]; what was handed out before it is good.
    fn look(&mut self, most: u16, each: impl FnMut(u16, Descriptor) -> bool) -> Result<(), RingFault>;

    /// The head of the chain that starts in the waiting entry `ahead` of the next. The entry must be one that
    /// [`Virtqueue::waiting`] reported.
    ///
    /// # Errors
    /// [`RingFault::DescriptorIndex`].
    fn head(&self, ahead: u16) -> Result<u16, RingFault>;

    /// The first descriptor of the chain `head`, of which all is read.
    ///
    /// # Errors
    /// [`RingFault`].
    fn first(&mut self, head: u16) -> Result<Descriptor, RingFault>;

    /// The descriptor that follows `before`, number `count` of its chain, the first being 0. The chain's first
    /// descriptor was the last that was asked for.
    ///
    /// # Errors
    /// [`RingFault`].
    fn following(&self, before: Descriptor, count: usize) -> Result<Descriptor, RingFault>;

    /// Entries that the chain `head` spans, which was read.
    fn entries(&self, head: u16) -> u16;

    /// Takes `n` waiting entries; they must have been reported by [`Virtqueue::waiting`].
    fn take(&mut self, n: u16);

    /// Gives the chain `head` back, with `len` bytes written to it. The driver sees it after [`Virtqueue::publish`].
    #[inline]
    fn complete(&mut self, head: u16, len: u32) {
        self.completing().put(head, len);
    }

    /// A writer for the completions of a burst.
    fn completing(&mut self) -> Self::Completions<'_>;

    /// Shows the driver what was completed.
    fn publish(&mut self, log: Option<&DirtyLog>);
}

/// A running ring of either kind.
#[derive(Debug)]
pub enum Ring {
    /// Three areas: descriptors, what is available, what is used.
    Split(SplitRing),
    /// One area for all.
    Packed(PackedRing),
}

/// Does the same with a ring of either kind.
macro_rules! either {
    ($self:expr, $ring:ident => $act:expr) => {
        match $self {
            Ring::Split($ring) => $act,
            Ring::Packed($ring) => $act,
        }
    };
}
pub(super) use either;

impl Ring {
    /// Where it goes on after a stop, as GET_VRING_BASE says it.
    pub fn base(&self) -> u32 {
        either!(self, ring => ring.base())
    }

    /// Where it stands, for people.
    pub fn describe(&self) -> String {
        either!(self, ring => ring.describe())
    }

    /// Gives a chain back; see [`Virtqueue::complete`].
    #[inline]
    pub fn complete(&mut self, head: u16, len: u32) {
        either!(self, ring => ring.complete(head, len));
    }

    /// Shows the driver what was completed.
    #[inline]
    pub fn publish(&mut self, log: Option<&DirtyLog>) {
        either!(self, ring => ring.publish(log));
    }

    /// Whether the driver wants to be notified of what was published since the last call.
    #[inline]
    pub fn wants_interrupt(&mut self) -> bool {
        either!(self, ring => ring.wants_interrupt())
    }

    /// Asks for kicks, then looks again: `true` where entries wait already.
    ///
    /// # Errors
    /// [`RingFault`].
    pub fn request_kicks(&mut self, log: Option<&DirtyLog>) -> Result<bool, RingFault> {
        either!(self, ring => ring.request_kicks(log))
    }

    /// Asks not to be kicked.
    pub fn suppress_kicks(&mut self, log: Option<&DirtyLog>) {
        either!(self, ring => ring.suppress_kicks(log));
    }
}
