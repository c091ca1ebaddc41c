//! A patch cable between two guests: whatever comes in by one vhost-user port leaves by the other, uninspected.
//!
//!     cargo run --release -p weir-ports --example patch -- /tmp/a.sock /tmp/b.sock
//!
//! It listens on both sockets and shows what a front end agreed on whenever that changes. `client:PATH` connects
//! instead of listening, `dpdk:PATH` is for DPDK's virtio-user. For trying out front ends; a fabric is what forwards for real.

use std::time::{Duration, Instant};

use weir_ports::event::Epoll;
use weir_ports::vhost_user::{Profile, Role, VhostUserConfig, VhostUserPort};
use weir_ports::{Armed, Port};
use weir_wire::{Packet, Pool, PortId};

const BURST: usize = 64;
const POLL_WINDOW: Duration = Duration::from_micros(50);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ports = Vec::new();
    for argument in std::env::args().skip(1) {
        let (profile, argument) = match argument.strip_prefix("dpdk:") {
            Some(rest) => (Profile::Dpdk, rest),
            None => (Profile::Auto, argument.as_str()),
        };
        let (role, path) = match argument.strip_prefix("client:") {
            Some(path) => (Role::Client, path),
            None => (Role::Server, argument),
        };
        let config = VhostUserConfig {
            role,
            profile,
            queue_pairs_max: 4,
            mtu: 9000,
            feature_mask: u64::MAX,
            ..VhostUserConfig::new(path)
        };
        ports.push(VhostUserPort::new(config)?);
    }
    let [a, b] = ports.as_mut_slice() else {
        return Err("usage: patch [dpdk:][client:]SOCKET [dpdk:][client:]SOCKET".into());
    };
    let epoll = Epoll::new()?;
    epoll.add(a.event_fd(), 0)?;
    epoll.add(b.event_fd(), 1)?;
    let (mut pool, mut burst, mut tokens) = (Pool::default(), Vec::new(), Vec::new());
    let (mut last, mut shown) = (Instant::now(), [String::new(), String::new()]);
    loop {
        let moved = forward(a, b, &mut pool, &mut burst) + forward(b, a, &mut pool, &mut burst);
        if moved > 0 {
            last = Instant::now();
        } else if last.elapsed() > POLL_WINDOW {
            if a.arm() == Armed::Idle && b.arm() == Armed::Idle {
                show(&mut shown, [a, b]);
                epoll.wait(&mut tokens, None)?;
                a.on_event();
                b.on_event();
            }
            a.disarm();
            b.disarm();
            last = Instant::now();
        }
    }
}

fn forward(from: &mut VhostUserPort, to: &mut VhostUserPort, pool: &mut Pool, burst: &mut Vec<Packet>) -> usize {
    let moved = from.rx(PortId(0), pool, burst, BURST);
    let mut index = 0;
    while let Some(packet) = burst.get_mut(index) {
        match packet.parse() {
            Ok(()) => index += 1,
            Err(reason) => {
                eprintln!("dropped: {}", reason.label());
                pool.give(burst.swap_remove(index).buffer);
            }
        }
    }
    to.tx(pool, burst);
    from.flush();
    to.flush();
    moved
}

/// Prints the status of the ports whose link or features have changed.
fn show(shown: &mut [String; 2], ports: [&mut VhostUserPort; 2]) {
    for (before, port) in shown.iter_mut().zip(ports) {
        let status = port.status();
        let text = format!("{}, link {}, {}", status.mode, status.link, status.problem);
        if *before != text {
            println!("{text}");
            for (name, value) in &status.details {
                println!("    {name}: {value}");
            }
            println!("    {:?}", port.counters());
            *before = text;
        }
    }
}
