//! A guest that sends and takes whole frames, whatever they are: what a kernel would not send, and what it would not
//! show.

use std::path::Path;
use std::time::{Duration, Instant};

use weir_ports::Port;
use weir_wire::buffer::PoolLimits;
use weir_wire::{Offload, Packet, Pool, PortId};

use super::front::FrontPort;
use super::{Cable, Failure};

/// A network card in the hands of the test.
#[derive(Debug)]
pub struct RawHost {
    port: FrontPort,
    pool: Pool,
    waiting: std::collections::VecDeque<Vec<u8>>,
}

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(2);

impl RawHost {
    /// Connects to the socket of a vhost-user port.
    pub fn connect(socket: &Path) -> Result<RawHost, Failure> {
        let pool = Pool::new(PoolLimits { frames: 2048, supers: 64 });
        Ok(RawHost { port: FrontPort::connect(socket)?, pool, waiting: std::collections::VecDeque::new() })
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let buffer = self.pool.copy(frame).ok_or_else(|| Failure::new("the test has no buffer"))?;
        let mut packet = Packet::new(buffer, PortId(0), Offload::default());
        packet.parse().map_err(|reason| Failure::new(format!("the test's own frame: {}", reason.label())))?;
        self.port.tx(&mut self.pool, &mut vec![packet]);
        self.port.flush();
        Ok(())
    }

    /// The next frame that `wanted` accepts, which comes within `patience`; others are passed over.
    pub fn take(&mut self, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let until = Instant::now() + patience;
        loop {
            while let Some(frame) = self.waiting.pop_front() {
                if wanted(&frame) {
                    return Some(frame);
                }
            }
            let mut burst = Vec::new();
            self.port.rx(PortId(0), &mut self.pool, &mut burst, 64);
            self.port.flush();
            for packet in burst {
                self.waiting.push_back(packet.bytes().to_vec());
                self.pool.give(packet.buffer);
            }
            if self.waiting.is_empty() {
                if Instant::now() >= until {
                    return None;
                }
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Joins two sockets of vhost-user ports: a cable between two switches.
    pub fn cable(a: &Path, b: &Path) -> Result<Cable, Failure> {
        Cable::join([Box::new(FrontPort::connect(a)?), Box::new(FrontPort::connect(b)?)])
    }
}
