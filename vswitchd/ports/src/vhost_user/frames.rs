//! The port's part in moving frames: which rings have their turn, what is held, what is counted.
//!
//! # Safety model
//! None of its own: rings and memory are reached through [`super::receive`] and [`super::transmit`].

use weir_wire::{DropReason, Packet, Pool, PortId};

use super::VhostUserPort;
use super::chain::Segment;
use super::features;
use super::receive::Source;
use super::transmit::{SendFault, Sink};
use super::virtqueue::{Ring, either};
use super::vring::Vring;
use crate::{Pieces, Port, discard};

impl VhostUserPort {
    /// Takes frames from all rings that run; those longer than `hold_over` with their first bytes only.
    pub(super) fn take_in(
        &mut self,
        hold_over: usize,
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
        room: usize,
    ) -> usize {
        self.release();
        self.look_around();
        let before = burst.len();
        let Some(session) = &mut self.session else { return 0 };
        let log = session.log.as_ref().filter(|_| session.agreed.has(features::LOG_ALL));
        let mut source = Source {
            memory: &session.memory,
            agreed: session.agreed,
            log,
            segments: &mut self.segments,
            held: &mut self.held,
            hold_over,
            index: 0,
            counters: &mut self.counters,
        };
        let mut failed = false;
        let rings = self.ways.from_guest.len();
        for turn in 0..rings {
            let Some(&(index, passes)) = self.ways.from_guest.get((self.ways.first + turn) % rings) else { break };
            let Some(vring) = session.rings.get_mut(usize::from(index)) else { break };
            let Some(ring) = vring.running() else { continue };
            let left = room.saturating_sub(burst.len() - before);
            source.index = index;
            let result = either!(ring, ring => {
                if passes { source.burst(ring, id, pool, burst, left).map(drop) } else { source.discard(ring, left) }
            });
            if let Err(fault) = result {
                source.counters.rx_dropped.count(DropReason::BadDescriptor);
                vring.fail(fault);
                failed = true;
            }
        }
        self.ways.first = self.ways.first.wrapping_add(1);
        if !session.rarps.is_empty() && self.ways.link {
            self.announce(id, pool, burst);
        }
        if failed {
            self.refresh();
        }
        burst.len() - before
    }

    /// Sends packets; those that are not whole have their rest at `origin`.
    pub(super) fn put_out(&mut self, origin: Option<&dyn Port>, pool: &mut Pool, packets: &mut Vec<Packet>) {
        if !self.ways.link {
            discard(pool, packets, &mut self.counters, DropReason::LinkDown);
            return;
        }
        let Some(session) = &mut self.session else { return };
        let log = session.log.as_ref().filter(|_| session.agreed.has(features::LOG_ALL));
        let mut sink = Sink {
            memory: &session.memory,
            agreed: session.agreed,
            log,
            segments: &mut self.segments,
            chains: &mut self.chains,
        };
        let rest = |packet: &Packet| origin.and_then(|origin| origin.rest(packet)).map(|Pieces(pieces)| pieces);
        if let [only] = self.ways.to_guest.as_slice()
            && let Some(ring) = session.rings.get_mut(usize::from(*only)).and_then(Vring::running)
        {
            let takes = |packet: &Packet| self.departure.takes(packet);
            // A fault shows again, and stops the ring, when the others are sent.
            let sent = either!(ring, ring => sink.send_plain(ring, packets, takes, rest)).unwrap_or(0);
            self.counters.tx_bytes += packets.iter().take(sent).map(|packet| packet.len() as u64).sum::<u64>();
            self.counters.tx_packets += sent as u64;
            packets.drain(..sent).for_each(|Packet { buffer, .. }| pool.give(buffer));
        }
        if !packets.is_empty() {
            self.departure.send_parts(pool, packets, &mut self.counters, |packet| {
                let pieces = if packet.is_whole() { Some(&[][..]) } else { rest(packet) };
                let pieces = pieces.ok_or(DropReason::NoBuffer)?;
                send(&mut sink, &mut session.rings, &self.ways.to_guest, packet, pieces)
            });
        }
        let mut failed = false;
        for &index in &self.ways.to_guest {
            match session.rings.get_mut(usize::from(index)).map(|vring| vring.running()) {
                Some(Some(ring)) => ring.publish(log),
                _ => failed = true,
            }
        }
        if failed {
            self.refresh();
        }
    }

    /// Completes the chains of frames that were held.
    pub(super) fn give_back(&mut self) {
        if self.held.is_empty() {
            return;
        }
        if let Some(session) = &mut self.session {
            let log = session.log.as_ref().filter(|_| session.agreed.has(features::LOG_ALL));
            for &(index, head) in self.held.chains() {
                if let Some(ring) = session.rings.get_mut(usize::from(index)).and_then(Vring::running) {
                    ring.complete(head, 0);
                }
            }
            for &(index, _) in &self.ways.from_guest {
                if let Some(ring) = session.rings.get_mut(usize::from(index)).and_then(Vring::running) {
                    ring.publish(log);
                }
            }
        }
        self.held.clear();
    }
}

/// Sends one packet as it is; a fault of the ring stops it.
#[inline]
fn send(
    sink: &mut Sink<'_>,
    rings: &mut [Vring],
    to_guest: &[u16],
    packet: &Packet,
    rest: &[Segment],
) -> Result<(), DropReason> {
    let way = match to_guest {
        [only] => *only,
        [] => return Err(DropReason::LinkDown),
        several => several.get((packet.hash % several.len() as u64) as usize).copied().unwrap_or(0),
    };
    let vring = rings.get_mut(usize::from(way)).ok_or(DropReason::LinkDown)?;
    let ring = vring.running().ok_or(DropReason::LinkDown)?;
    either!(ring, ring => sink.send(ring, packet, rest)).map_err(|fault| match fault {
        SendFault::Drop(reason) => reason,
        SendFault::Ring(fault) => {
            vring.fail(fault);
            DropReason::BadDescriptor
        }
    })
}
