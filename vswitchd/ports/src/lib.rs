//! The kernel and the guests: TAP, AF_XDP, vhost-user, and memory and pcap ports for tests.
//!
//! The only crate with `unsafe`. One file per mechanism, each opening with its safety model: who owns which index,
//! which fences, what a hostile peer can do. Whatever a guest or the kernel may change under us is copied once, on
//! arrival, into buffers of ours; indices and lengths from the other side are checked before use.

mod bpf;
pub mod clock;
mod departure;
pub mod error;
pub mod event;
mod fd;
pub mod heap;
pub mod huge_heap;
pub mod huge_pages;
pub mod limits;
pub mod mem;
pub mod netdev;
pub mod netns;
pub mod pcap;
pub mod tap;
pub mod uplink;
pub mod vhost_user;
mod vnet_header;
pub mod xdp;

use std::os::fd::BorrowedFd;

use weir_wire::buffer::SUPER_MAX;
use weir_wire::{Capabilities, DropCounters, DropReason, Origin, Packet, Pool, PortId};

pub use error::{PortError, PortErrorKind};
pub use mem::{MemPeer, MemPort};
pub use pcap::{PcapConfig, PcapPort};
pub use tap::{TapConfig, TapPort};
pub use uplink::{UplinkConfig, UplinkPort};
use xdp::fast_path::{Lane, Passed};
pub use xdp::{XdpConfig, XdpMode, XdpPort};

/// Whether a port may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// Notifications are on and nothing waits: [`Port::event_fd`] becomes readable when something does.
    Idle,
    /// Something came in between; do not sleep.
    Ready,
}

/// What a port has counted. Frames count once, also super-segments that were cut on the way out.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Frames handed to the fabric.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Their bytes, as they came from the fabric.
    pub tx_bytes: u64,
    /// Frames that super-segments were cut into, in addition to the ones counted in `tx_packets`.
    pub tx_cut: u64,
    /// Frames that were joined to one before them, in addition to the ones counted in `tx_packets` and `tx_dropped`.
    pub tx_joined: u64,
    /// Super-segments that they have made.
    pub tx_supers: u64,
    /// Notifications sent to the other side.
    pub kicks: u64,
    /// Frames that never became packets: refused on arrival, by reason. Not part of `rx_packets`.
    pub rx_dropped: DropCounters,
    /// Packets the fabric handed over that could not be sent, by reason.
    pub tx_dropped: DropCounters,
}

/// What an operator wants to know of a port beside its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Frames can flow.
    pub link: bool,
    /// The mechanism: "vhost-user", "tap", "xdp", "mem", "pcap".
    pub kind: &'static str,
    /// One line on how it runs: "server /run/x.sock, connected, 1 queue pair, split ring", "native, copy, queue 0-1".
    pub mode: String,
    /// Why there is no link, or what went wrong last; empty when all is well.
    pub problem: String,
    /// Largest L3 packet the port carries.
    pub mtu: u32,
    /// Details in a fixed order, name and value: features agreed on, rings, memory, namespace.
    pub details: Vec<(String, String)>,
}

/// A way in and out of the fabric. Owned by one worker; never blocks.
pub trait Port: Send {
    /// Copies up to `room` waiting frames into buffers of `pool` and appends them to `burst` as packets of port `id`
    /// with their offload marks, not parsed. Returns how many. Frames that cannot be taken are counted and consumed.
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize;

    /// The same, but long frames may come in with their first bytes only; the rest stays where it is until
    /// [`Port::release`].
    fn rx_parts(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        self.rx(id, pool, burst, room)
    }

    /// Sends all of `packets`, emptying it; every buffer goes back to `pool`. What cannot be sent is counted by
    /// reason, never waited for. Marks the port does not take are completed here.
    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>);

    /// Sends `packets` as [`Port::tx`] does. Some of them may have left their rest at `origin`, the port that they came
    /// in by; a port that cannot send such a packet as it is has it made whole.
    fn tx_from(&mut self, origin: &dyn Port, pool: &mut Pool, packets: &mut Vec<Packet>) {
        fill_all(origin, pool, packets, |_| false);
        self.tx(pool, packets);
    }

    /// Makes a packet whole that came in by this port since the last [`Port::release`]. `false` where there is no buffer
    /// for it, or nothing known of its rest; it stays as it was.
    fn fill(&self, packet: &mut Packet, pool: &mut Pool) -> bool {
        let _: &mut Pool = pool;
        packet.is_whole()
    }

    /// Copies the rest of a packet that came in by this port since the last [`Port::release`]. `false` where nothing is known
    /// of it.
    fn copy_rest(&self, packet: &Packet, to: &mut [u8]) -> bool {
        let _: &Packet = packet;
        to.is_empty()
    }

    /// Where the rest of a packet stands that came in by this port since the last [`Port::release`].
    fn rest(&self, packet: &Packet) -> Option<Pieces<'_>> {
        let _: &Packet = packet;
        None
    }

    /// Lets go of what received packets have left behind: to be called when all of a burst have been sent or dropped.
    fn release(&mut self) {}

    /// Ends a turn: publishes indices and notifies the other side once if it asked to be.
    fn flush(&mut self);

    /// Joins segments of one connection that are sent together, where the other side takes super-segments (GRO). Ports whose
    /// other side takes none do nothing.
    fn set_gro(&mut self, on: bool) {
        let _: bool = on;
    }

    /// Lets the other side see that there is something behind this port, or that there is nothing: the port is one end of
    /// a wire, and `up` says whether the other end has a link. Does not change what [`Port::link`] says. Ports that
    /// cannot tell do nothing.
    fn set_carrier(&mut self, up: bool) {
        let _: bool = up;
    }

    /// Turns notifications on, then looks again for work.
    fn arm(&mut self) -> Armed;

    /// Turns notifications off again; the worker polls from here on.
    fn disarm(&mut self);

    /// One descriptor, the same for the port's whole life, that is readable when the port wants a turn. A port with
    /// several sources nests them in an epoll instance of its own.
    fn event_fd(&self) -> BorrowedFd<'_>;

    /// Once armed it needs no turn until [`Port::event_fd`] is readable, also while the worker is busy with others.
    fn may_doze(&self) -> bool {
        false
    }

    /// Called after a sleep in which [`Port::event_fd`] was readable: drains event counters, accepts, reconnects.
    fn on_event(&mut self);

    /// Frames can flow. Cheap: read once a turn.
    fn link(&self) -> bool;

    /// What the port offers to the fast path as things stand; `None` where it does not take part.
    fn lane(&self) -> Option<Lane> {
        None
    }

    /// Finds out anew what [`Port::lane`] says. A few system calls; for once in a while.
    fn look_at_lane(&mut self) {}

    /// Counts what came in and went out by the port on the fast path.
    fn passed(&mut self, received: Passed, sent: Passed) {
        let _: (Passed, Passed) = (received, sent);
    }

    /// What may leave unfinished by this port.
    fn capabilities(&self) -> Capabilities;

    /// What was counted so far.
    fn counters(&self) -> &Counters;

    /// For people. May allocate; not called per packet.
    fn status(&self) -> Status;
}

/// Pieces of a guest's memory, in order; they stay mapped while the port they are of is borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a>(&'a [vhost_user::chain::Segment]);

/// A port as the origin of the packets that came in by it.
pub struct FromPort<'a>(pub &'a dyn Port);

impl Origin for FromPort<'_> {
    fn fill(&self, packet: &mut Packet, pool: &mut Pool) -> bool {
        self.0.fill(packet, pool)
    }

    fn copy_rest(&self, packet: &Packet, to: &mut [u8]) -> bool {
        self.0.copy_rest(packet, to)
    }
}

/// Makes all packets whole but those that `spare` says can stay as they are. What cannot be made whole is left, and is
/// dropped where it is to be sent.
fn fill_all(origin: &dyn Port, pool: &mut Pool, packets: &mut [Packet], spare: impl Fn(&Packet) -> bool) {
    for packet in packets.iter_mut().filter(|packet| !packet.is_whole()) {
        if !spare(packet) {
            origin.fill(packet, pool);
        }
    }
}

/// Why the pool gave no buffer for a frame of `len` bytes.
fn no_buffer(len: usize) -> DropReason {
    if len > SUPER_MAX { DropReason::TooLong } else { DropReason::NoBuffer }
}

/// Counts all of `packets` as dropped for one reason and gives their buffers back.
fn discard(pool: &mut Pool, packets: &mut Vec<Packet>, counters: &mut Counters, reason: DropReason) {
    counters.tx_dropped.add(reason, packets.len() as u64);
    for packet in packets.drain(..) {
        pool.give(packet.buffer);
    }
}
