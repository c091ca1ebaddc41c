//! A guest's network card as a port: frames go through the rings of a vhost-user front end of ours.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use weir_ports::event::Epoll;
use weir_ports::vhost_user::features::{self, Agreed};
use weir_ports::vhost_user::frontend::{Frontend, FrontendConfig};
use weir_ports::vhost_user::net_header;
use weir_ports::{Armed, Counters, Port, Status};
use weir_wire::{Capabilities, DropReason, Packet, Pool, PortId, segment};

use super::Failure;

/// The driver's side of a vhost-user socket.
#[derive(Debug)]
pub struct FrontPort {
    frontend: Frontend,
    calls: Epoll,
    counters: Counters,
    done: Vec<Packet>,
}

/// How long a frame waits for room in a full ring before it is dropped, as a driver's queue would hold it.
const FULL_LIMIT: Duration = Duration::from_millis(20);
const MTU: u32 = 1500;

impl FrontPort {
    /// Connects to the socket where the switch listens and agrees on all that it offers.
    pub fn connect(socket: &Path) -> Result<FrontPort, Failure> {
        let config = FrontendConfig { ring_size: 512, buffer_len: 4096, ..FrontendConfig::default() };
        let frontend = Frontend::connect(socket, config, &mut || {});
        let mut frontend = frontend.map_err(|e| Failure::of(socket.display(), e))?;
        let calls = Epoll::new()?;
        let receiving = frontend.queue(0).ok_or_else(|| Failure::new("the front end has no queue"))?;
        calls.add(receiving.call().as_fd(), 0)?;
        Ok(FrontPort { frontend, calls, counters: Counters::default(), done: Vec::new() })
    }

    fn agreed(&self) -> Agreed {
        self.frontend.agreed
    }

    fn send(&mut self, packet: &Packet) {
        let header = net_header::write(packet, self.agreed(), 0);
        let start = Instant::now();
        while !self.frontend.send(0, &header, packet.bytes()) {
            self.frontend.flush(0);
            if start.elapsed() > FULL_LIMIT {
                self.counters.tx_dropped.count(DropReason::TxFull);
                return;
            }
            std::thread::yield_now();
        }
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += packet.len() as u64;
    }

    fn request_call(&mut self, wanted: bool) -> bool {
        self.frontend.queue(0).is_some_and(|queue| queue.request_call(wanted))
    }
}

impl Port for FrontPort {
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, _room: usize) -> usize {
        let (agreed, before, counters) = (self.frontend.agreed, burst.len(), &mut self.counters);
        self.frontend.receive(0, |header, frame| {
            let marks = net_header::read(header, agreed, frame.len());
            match (marks, pool.copy(frame)) {
                (Ok(offload), Some(buffer)) => burst.push(Packet::new(buffer, id, offload)),
                (Err(_), Some(buffer)) => {
                    counters.rx_dropped.count(DropReason::BadOffload);
                    pool.give(buffer);
                }
                (_, None) => counters.rx_dropped.count(DropReason::NoBuffer),
            }
        });
        burst.len() - before
    }

    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>) {
        let capabilities = self.capabilities();
        for packet in packets.drain(..) {
            if let Err(reason) = segment::complete(packet, capabilities, MTU, pool, &mut self.done) {
                self.counters.tx_dropped.count(reason);
            }
            for packet in std::mem::take(&mut self.done) {
                self.send(&packet);
                pool.give(packet.buffer);
            }
        }
    }

    fn flush(&mut self) {
        self.frontend.flush(0);
    }

    fn arm(&mut self) -> Armed {
        if self.request_call(true) { Armed::Ready } else { Armed::Idle }
    }

    fn disarm(&mut self) {
        self.request_call(false);
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.calls.as_fd()
    }

    fn on_event(&mut self) {
        if let Some(queue) = self.frontend.queue(0) {
            queue.call().drain();
        }
    }

    fn link(&self) -> bool {
        true
    }

    /// What the switch takes unfinished from a guest.
    fn capabilities(&self) -> Capabilities {
        let (agreed, checksum) = (self.agreed(), self.agreed().has(features::CSUM));
        Capabilities {
            checksum,
            tso4: checksum && agreed.has(features::HOST_TSO4),
            tso6: checksum && agreed.has(features::HOST_TSO6),
            ecn: checksum && agreed.has(features::HOST_ECN),
            uso: checksum && agreed.has(features::HOST_USO),
        }
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn status(&self) -> Status {
        Status { link: true, kind: "vhost-user front end", mtu: MTU, ..Status::default() }
    }
}
