//! A patch cable between two vhost-user sockets: our rings and no switch, never asleep.
//!
//!     cargo run --release -p weir-bench --bin ring_patch -- /tmp/v0 /tmp/v1
//!
//! What it carries is the most that our switch can; what is missing to that is the switch's own.
#![forbid(unsafe_code)]

use weir_ports::Port;
use weir_ports::vhost_user::{VhostUserConfig, VhostUserPort};
use weir_wire::{Packet, Pool, PortId};

/// Frames moved at a time, as the switch does.
const BURST: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sockets: Vec<String> = std::env::args().skip(1).collect();
    let [a, b] = sockets.as_slice() else { return Err("usage: ring_patch SOCKET SOCKET".into()) };
    // Guests choose the kind of their rings.
    let [a, b] = [a, b].map(|path| VhostUserConfig { feature_mask: u64::MAX, ..VhostUserConfig::new(path) });
    let (mut a, mut b) = (VhostUserPort::new(a)?, VhostUserPort::new(b)?);
    let mut pool = Pool::default();
    let mut burst = Vec::with_capacity(BURST);
    loop {
        carry(&mut a, &mut b, &mut pool, &mut burst);
        carry(&mut b, &mut a, &mut pool, &mut burst);
        a.flush();
        b.flush();
    }
}

/// Moves a burst from one side to the other.
fn carry(from: &mut VhostUserPort, to: &mut VhostUserPort, pool: &mut Pool, burst: &mut Vec<Packet>) {
    if from.rx_parts(PortId(0), pool, burst, BURST) > 0 {
        to.tx_from(from, pool, burst);
    }
}
