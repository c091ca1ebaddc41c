//! A vhost-user port and a front end of ours on one socket, in one thread.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use weir_ports::Port;
use weir_ports::vhost_user::frontend::{Frontend, FrontendConfig};
use weir_ports::vhost_user::{VhostUserConfig, VhostUserPort};
use weir_wire::{DropReason, Offload, Packet, Pool, PortId};

/// A socket path of this test's own, removed at its end.
pub struct Socket(PathBuf);

impl Socket {
    pub fn new() -> Socket {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Socket(std::env::temp_dir().join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A port, its guest's front end, and what a worker would bring.
pub struct Guest {
    pub frontend: Frontend,
    pub port: VhostUserPort,
    pub pool: Pool,
    pub socket: Socket,
}

pub const ID: PortId = PortId(3);

impl Guest {
    pub fn new(frontend: FrontendConfig) -> Guest {
        Guest::with(frontend, |_| {})
    }

    /// A port that listens, with changed settings, and a front end that has connected and started.
    pub fn with(frontend: FrontendConfig, change: impl FnOnce(&mut VhostUserConfig)) -> Guest {
        let socket = Socket::new();
        let mut config = VhostUserConfig::new(socket.path());
        config.queue_pairs_max = frontend.queue_pairs;
        config.feature_mask = u64::MAX;
        change(&mut config);
        let mut port = VhostUserPort::new(config).unwrap();
        let frontend = Frontend::connect(socket.path(), frontend, &mut || port.on_event()).unwrap();
        serve(&mut port);
        Guest { frontend, port, pool: Pool::default(), socket }
    }

    /// Another front end on the same socket, in the place of the one there was.
    pub fn reconnect(&mut self, config: FrontendConfig) {
        self.frontend.hang_up();
        let port = &mut self.port;
        serve(port);
        self.frontend = Frontend::connect(self.socket.path(), config, &mut || port.on_event()).unwrap();
        serve(port);
    }

    /// Takes what the port has received.
    pub fn rx(&mut self) -> Vec<Packet> {
        let mut burst = Vec::new();
        self.port.rx(ID, &mut self.pool, &mut burst, 1024);
        self.port.flush();
        burst
    }

    /// Takes what the port has received, as bytes and marks.
    pub fn received(&mut self) -> Vec<(Vec<u8>, Offload)> {
        let packets = self.rx();
        packets
            .into_iter()
            .map(|packet| {
                assert_eq!(packet.port, ID);
                let got = (packet.bytes().to_vec(), packet.offload);
                self.pool.give(packet.buffer);
                got
            })
            .collect()
    }

    /// Sends frames to the guest.
    pub fn tx(&mut self, frames: &[(&[u8], Offload)]) {
        let mut packets = frames
            .iter()
            .map(|(bytes, offload)| Packet::new(self.pool.copy(bytes).unwrap(), PortId(9), *offload))
            .collect();
        self.port.tx(&mut self.pool, &mut packets);
        self.port.flush();
        assert!(packets.is_empty());
    }

    /// Sends one plain frame from the guest, through whatever the port makes of it.
    pub fn guest_sends(&mut self, frame: &[u8]) -> bool {
        let sent = self.frontend.send(0, &[0; 12], frame);
        self.frontend.flush(0);
        sent
    }

    /// What the guest has received, as headers and frames.
    pub fn guest_received(&mut self) -> Vec<([u8; 12], Vec<u8>)> {
        let mut got = Vec::new();
        self.frontend.receive(0, |header, frame| got.push((*header, frame.to_vec())));
        got
    }

    pub fn rx_dropped(&self, reason: DropReason) -> u64 {
        self.port.counters().rx_dropped.get(reason)
    }

    pub fn tx_dropped(&self, reason: DropReason) -> u64 {
        self.port.counters().tx_dropped.get(reason)
    }

    pub fn problem(&self) -> String {
        self.port.status().problem
    }

    /// Frames pass both ways.
    pub fn assert_works(&mut self) {
        assert!(self.port.link(), "no link: {}", self.problem());
        let frame = frame(100, 0x5a);
        assert!(self.guest_sends(&frame));
        let got = self.received();
        assert!(got.iter().any(|(bytes, _)| *bytes == frame), "from the guest: {got:?}, {:?}", self.port.status());
        self.tx(&[(&frame, Offload::default())]);
        let got = self.guest_received();
        assert!(got.iter().any(|(_, bytes)| *bytes == frame), "to the guest: {got:?}");
        assert_eq!(self.pool.outstanding(), 0);
    }
}

/// Lets the port serve what waits.
pub fn serve(port: &mut VhostUserPort) {
    for _ in 0..8 {
        port.on_event();
    }
}

/// A frame of `len` bytes that differ with place and seed.
pub fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8).wrapping_add(seed)).collect()
}
