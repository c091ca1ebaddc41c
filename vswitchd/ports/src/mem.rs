//! A port in memory: tests, simulations and benches are its other side.
//!
//! [`MemPort::pair`] makes a port for the fabric and a [`MemPeer`] for whoever plays the guest, possibly on another
//! thread. Frames keep their offload marks both ways. Each direction is a bounded queue; its buffers are kept and
//! reused, so a pair that runs allocates nothing. The lock is taken once a burst, not once a frame.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_wire::{Capabilities, DropReason, Offload, Packet, Pool, PortId};

use crate::departure::Departure;
use crate::event::{Epoll, EventFd};
use crate::{Armed, Counters, Port, Status};

/// A frame outside the fabric: its bytes and what is left to finish on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// What is left to finish.
    pub offload: Offload,
}

/// How a memory port behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemConfig {
    /// What the peer takes unfinished.
    pub capabilities: Capabilities,
    /// Largest L3 packet, in bytes.
    pub mtu: u32,
    /// Frames each direction holds; what comes beyond is refused.
    pub depth: usize,
}

impl Default for MemConfig {
    fn default() -> MemConfig {
        MemConfig { capabilities: Capabilities::ALL, mtu: 1500, depth: 4096 }
    }
}

/// One direction.
#[derive(Debug)]
struct Lane {
    queue: Mutex<Queue>,
    depth: usize,
    wake: EventFd,
    /// The reader sleeps, or is about to: whoever adds a frame signals `wake`.
    armed: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    spare: Vec<Vec<u8>>,
}

impl Lane {
    fn new(depth: usize) -> io::Result<Lane> {
        Ok(Lane {
            queue: Mutex::new(Queue::default()),
            depth: depth.max(1),
            wake: EventFd::new()?,
            armed: AtomicBool::new(false),
        })
    }

    /// A queue is whole between any two statements that touch it, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signals the reader if it sleeps. Called after the lock is released; see [`Lane::arm`].
    fn wake(&self) -> bool {
        let sleeping = self.armed.swap(false, Ordering::SeqCst);
        if sleeping {
            self.wake.signal();
        }
        sleeping
    }

    /// The flag goes up before the queue is looked at under its lock, so a frame is either seen here or its writer
    /// sees the flag.
    fn arm(&self) -> bool {
        self.armed.store(true, Ordering::SeqCst);
        self.lock().frames.is_empty()
    }
}

impl Queue {
    fn push(&mut self, depth: usize, bytes: &[u8], offload: Offload) -> bool {
        if self.frames.len() >= depth {
            return false;
        }
        let mut owned = self.spare.pop().unwrap_or_default();
        owned.clear();
        owned.extend_from_slice(bytes);
        self.frames.push_back(Frame { bytes: owned, offload });
        true
    }

    fn recycle(&mut self, frame: Frame, depth: usize) {
        if self.spare.len() < depth {
            self.spare.push(frame.bytes);
        }
    }
}

#[derive(Debug)]
struct Shared {
    to_fabric: Lane,
    to_peer: Lane,
    link: AtomicBool,
}

/// The fabric's end.
#[derive(Debug)]
pub struct MemPort {
    shared: Arc<Shared>,
    departure: Departure,
    counters: Counters,
    sent: bool,
}

/// The other end: plays the guest. All calls take `&self`, so it may be used from several threads.
#[derive(Debug)]
pub struct MemPeer {
    shared: Arc<Shared>,
    epoll: Epoll,
}

impl MemPort {
    /// A connected pair with a link, an MTU of 1500 and room for 4096 frames each way; the peer takes what
    /// `capabilities` says.
    pub fn pair(capabilities: Capabilities) -> io::Result<(MemPort, MemPeer)> {
        MemPort::pair_with(MemConfig { capabilities, ..MemConfig::default() })
    }

    /// A connected pair with a link.
    pub fn pair_with(config: MemConfig) -> io::Result<(MemPort, MemPeer)> {
        let shared = Arc::new(Shared {
            to_fabric: Lane::new(config.depth)?,
            to_peer: Lane::new(config.depth)?,
            link: AtomicBool::new(true),
        });
        let epoll = Epoll::new()?;
        epoll.add(shared.to_peer.wake.as_fd(), 0)?;
        let port = MemPort {
            shared: Arc::clone(&shared),
            departure: Departure::new(config.capabilities, config.mtu),
            counters: Counters::default(),
            sent: false,
        };
        Ok((port, MemPeer { shared, epoll }))
    }
}

impl MemPeer {
    /// Hands a frame to the fabric; `false` where the queue is full.
    pub fn inject(&self, bytes: &[u8], offload: Offload) -> bool {
        let lane = &self.shared.to_fabric;
        let taken = lane.lock().push(lane.depth, bytes, offload);
        lane.wake();
        taken
    }

    /// Takes the oldest frame the fabric has sent.
    pub fn take(&self) -> Option<Frame> {
        self.shared.to_peer.lock().frames.pop_front()
    }

    /// Takes all frames the fabric has sent, oldest first.
    pub fn take_all(&self) -> Vec<Frame> {
        self.shared.to_peer.lock().frames.drain(..).collect()
    }

    /// Takes the oldest frame into `frame`, whose buffer goes back to the queue: allocates nothing.
    pub fn take_into(&self, frame: &mut Frame) -> bool {
        let lane = &self.shared.to_peer;
        let mut queue = lane.lock();
        match queue.frames.pop_front() {
            Some(next) => {
                queue.recycle(std::mem::replace(frame, next), lane.depth);
                true
            }
            None => false,
        }
    }

    /// Frames that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.shared.to_peer.lock().frames.len()
    }

    /// Frames handed to the fabric that it has not taken yet.
    pub fn pending(&self) -> usize {
        self.shared.to_fabric.lock().frames.len()
    }

    /// Waits until a frame waits to be taken; `false` when `timeout` is over first.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let lane = &self.shared.to_peer;
        lane.wake.drain();
        if lane.arm() {
            self.epoll.wait(&mut Vec::with_capacity(1), Some(timeout))?;
        }
        lane.armed.store(false, Ordering::SeqCst);
        Ok(!lane.lock().frames.is_empty())
    }

    /// Takes the port's link up or down and wakes its worker.
    pub fn set_link(&self, up: bool) {
        self.shared.link.store(up, Ordering::SeqCst);
        self.shared.to_fabric.wake.signal();
    }
}

impl Port for MemPort {
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        let lane = &self.shared.to_fabric;
        let mut queue = lane.lock();
        let mut taken = 0;
        while taken < room {
            let Some(frame) = queue.frames.pop_front() else { break };
            match pool.copy(&frame.bytes) {
                Some(buffer) => {
                    self.counters.rx_packets += 1;
                    self.counters.rx_bytes += frame.bytes.len() as u64;
                    burst.push(Packet::new(buffer, id, frame.offload));
                    taken += 1;
                }
                None => self.counters.rx_dropped.count(crate::no_buffer(frame.bytes.len())),
            }
            queue.recycle(frame, lane.depth);
        }
        taken
    }

    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>) {
        if !self.link() {
            crate::discard(pool, packets, &mut self.counters, DropReason::LinkDown);
            return;
        }
        self.departure.join(None, pool, packets, &mut self.counters);
        let lane = &self.shared.to_peer;
        let mut queue = lane.lock();
        self.departure.send(pool, packets, &mut self.counters, |packet| {
            if queue.push(lane.depth, packet.bytes(), packet.offload) { Ok(()) } else { Err(DropReason::TxFull) }
        });
        self.sent = true;
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.sent) && self.shared.to_peer.wake() {
            self.counters.kicks += 1;
        }
    }

    fn set_gro(&mut self, on: bool) {
        self.departure.set_gro(on);
    }

    fn arm(&mut self) -> Armed {
        if self.shared.to_fabric.arm() { Armed::Idle } else { Armed::Ready }
    }

    fn disarm(&mut self) {
        self.shared.to_fabric.armed.store(false, Ordering::SeqCst);
    }

    fn may_doze(&self) -> bool {
        true
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.to_fabric.wake.as_fd()
    }

    fn on_event(&mut self) {
        self.shared.to_fabric.wake.drain();
    }

    fn link(&self) -> bool {
        self.shared.link.load(Ordering::Relaxed)
    }

    fn capabilities(&self) -> Capabilities {
        self.departure.capabilities()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn status(&self) -> Status {
        let link = self.link();
        Status {
            link,
            kind: "mem",
            mode: format!("{} frames each way", self.shared.to_peer.depth),
            problem: if link { String::new() } else { "the peer took the link down".to_owned() },
            mtu: self.departure.mtu(),
            details: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::{Checksum, Segmentation};

    const PARTIAL: Offload =
        Offload { checksum: Checksum::Partial { start: 34, offset: 16 }, segmentation: Segmentation::None };

    fn packet(pool: &mut Pool, bytes: &[u8]) -> Packet {
        Packet::new(pool.copy(bytes).unwrap(), PortId(0), Offload::default())
    }

    #[test]
    fn frames_and_marks_cross_in_order() {
        let (mut port, peer) = MemPort::pair(Capabilities::ALL).unwrap();
        let (mut pool, mut burst) = (Pool::default(), Vec::new());
        assert!(peer.inject(&[0xa5; 60], PARTIAL));
        assert!(peer.inject(&[0x5a; 61], Offload::default()));
        assert_eq!(port.rx(PortId(3), &mut pool, &mut burst, 64), 2);
        assert_eq!((burst[0].port, burst[0].offload, burst[0].bytes()), (PortId(3), PARTIAL, &[0xa5; 60][..]));
        port.tx(&mut pool, &mut burst);
        assert!(burst.is_empty());
        assert_eq!(pool.outstanding(), 0);
        let frames = peer.take_all();
        assert_eq!(frames[0], Frame { bytes: vec![0xa5; 60], offload: PARTIAL });
        assert_eq!(frames[1].bytes, [0x5a; 61]);
        let c = port.counters();
        assert_eq!((c.rx_packets, c.rx_bytes, c.tx_packets, c.tx_bytes), (2, 121, 2, 121));
    }

    #[test]
    fn a_full_queue_counts_tx_full_and_refuses_injection() {
        let config = MemConfig { depth: 2, ..MemConfig::default() };
        let (mut port, peer) = MemPort::pair_with(config).unwrap();
        let mut pool = Pool::default();
        let mut packets: Vec<_> = (0..5).map(|_| packet(&mut pool, &[1; 60])).collect();
        port.tx(&mut pool, &mut packets);
        assert_eq!((port.counters().tx_packets, port.counters().tx_dropped.get(DropReason::TxFull)), (2, 3));
        assert_eq!(pool.outstanding(), 0);
        assert!(peer.inject(&[1; 60], Offload::default()) && peer.inject(&[1; 60], Offload::default()));
        assert!(!peer.inject(&[1; 60], Offload::default()));
    }

    #[test]
    fn an_empty_pool_counts_no_buffer() {
        let (mut port, peer) = MemPort::pair(Capabilities::ALL).unwrap();
        let mut pool = Pool::new(weir_wire::buffer::PoolLimits { frames: 1, supers: 0 });
        for _ in 0..3 {
            peer.inject(&[1; 60], Offload::default());
        }
        let mut burst = Vec::new();
        assert_eq!(port.rx(PortId(0), &mut pool, &mut burst, 64), 1);
        assert_eq!(port.counters().rx_dropped.get(DropReason::NoBuffer), 2);
        assert_eq!(peer.pending(), 0);
    }

    #[test]
    fn without_a_link_nothing_leaves() {
        let (mut port, peer) = MemPort::pair(Capabilities::ALL).unwrap();
        let mut pool = Pool::default();
        peer.set_link(false);
        let mut packets = vec![packet(&mut pool, &[1; 60])];
        port.tx(&mut pool, &mut packets);
        assert_eq!(port.counters().tx_dropped.get(DropReason::LinkDown), 1);
        assert_eq!((peer.waiting(), pool.outstanding()), (0, 0));
        assert!(!port.link());
    }

    #[test]
    fn an_armed_port_is_woken_once() {
        let (mut port, peer) = MemPort::pair(Capabilities::ALL).unwrap();
        assert_eq!(port.arm(), Armed::Idle);
        peer.inject(&[1; 60], Offload::default());
        peer.inject(&[1; 60], Offload::default());
        assert_eq!(port.shared.to_fabric.wake.drain(), 1);
        assert_eq!(port.arm(), Armed::Ready);
        port.disarm();
        peer.inject(&[1; 60], Offload::default());
        assert_eq!(port.shared.to_fabric.wake.drain(), 0);
    }

    #[test]
    fn a_waiting_peer_is_woken_by_a_flush() {
        let (mut port, peer) = MemPort::pair(Capabilities::ALL).unwrap();
        std::thread::scope(|s| {
            let waiter = s.spawn(|| peer.wait(Duration::from_secs(20)).unwrap());
            let mut pool = Pool::default();
            let mut packets = vec![packet(&mut pool, &[1; 60])];
            port.tx(&mut pool, &mut packets);
            port.flush();
            assert!(waiter.join().unwrap());
        });
        assert!(!MemPort::pair(Capabilities::ALL).unwrap().1.wait(Duration::ZERO).unwrap());
    }
}
