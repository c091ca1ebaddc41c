//! Ports joined without a switch: what one takes in, the other sends.
//!
//! With a TAP at one end and a vhost-user front end at the other, the kernel's TCP/IP of a namespace is a guest: real
//! TCP through real rings at the speed of the host, without a guest kernel to boot.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_ports::event::Epoll;
use weir_ports::{Armed, Port, TapConfig, TapPort};
use weir_wire::buffer::PoolLimits;
use weir_wire::{Packet, Pool, PortId};

use super::front::FrontPort;
use super::{Failure, Namespace};

/// A thread that carries frames between two ports, marks and all; unplugged with its value.
#[derive(Debug)]
pub struct Cable {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

/// Turns without a frame before the thread sleeps.
const IDLE_TURNS: u32 = 64;
/// How long it sleeps at most before it looks whether it is to stop.
const SLEEP: Duration = Duration::from_millis(100);

impl Cable {
    /// Makes the TAP `interface` in `host` and joins it to the socket where the switch listens.
    pub fn plug(host: &Namespace, interface: &str, socket: &Path) -> Result<Cable, Failure> {
        Cable::join([Box::new(Cable::tap(host, interface)?), Box::new(FrontPort::connect(socket)?)])
    }

    /// Joins two TAPs, each in a namespace of its own.
    pub fn between(a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<Cable, Failure> {
        Cable::join([Box::new(Cable::tap(a.0, a.1)?), Box::new(Cable::tap(b.0, b.1)?)])
    }

    /// Makes the TAP `interface` in `host`; the port is its other side.
    pub fn tap(host: &Namespace, interface: &str) -> Result<TapPort, Failure> {
        let netns = Some(host.name().to_owned());
        let config = TapConfig { netns, ..TapConfig::new(interface) };
        TapPort::open(config).map_err(|e| Failure::of(format!("TAP {interface} in {}", host.name()), e))
    }

    /// Joins any two ports.
    pub fn join(ports: [Box<dyn Port>; 2]) -> Result<Cable, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("cable".to_owned()).spawn(move || carry(ports, &seen))?;
        Ok(Cable { stop, thread: Some(thread) })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(e)) => println!("the cable failed: {e}"),
                Err(_) => println!("the cable's thread panicked"),
            }
        }
    }
}

fn carry(mut ports: [Box<dyn Port>; 2], stop: &AtomicBool) -> Result<(), Failure> {
    let mut pool = Pool::new(PoolLimits { frames: 4096, supers: 512 });
    let epoll = Epoll::new()?;
    for (token, port) in (0_u64..).zip(&ports) {
        epoll.add(port.event_fd(), token)?;
    }
    let (mut burst, mut ready, mut idle) = (Vec::new(), Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let [a, b] = &mut ports;
        let moved = pass(&mut **a, &mut **b, &mut pool, &mut burst) + pass(&mut **b, &mut **a, &mut pool, &mut burst);
        idle = if moved > 0 { 0 } else { idle + 1 };
        if idle < IDLE_TURNS {
            continue;
        }
        idle = 0;
        let armed = ports.each_mut().map(|port| port.arm());
        let limit = if armed == [Armed::Idle; 2] { SLEEP } else { Duration::ZERO };
        epoll.wait(&mut ready, Some(limit))?;
        for (token, port) in (0_u64..).zip(&mut ports) {
            port.disarm();
            if ready.contains(&token) {
                port.on_event();
            }
        }
    }
    Ok(())
}

/// One burst from one port to the other; how many frames it was.
fn pass(from: &mut dyn Port, to: &mut dyn Port, pool: &mut Pool, burst: &mut Vec<Packet>) -> usize {
    let count = from.rx(PortId(0), pool, burst, 64);
    // A port completes marks by the headers found: what cannot be parsed cannot be carried.
    let mut kept = Vec::with_capacity(burst.len());
    for mut packet in burst.drain(..) {
        if packet.parse().is_ok() { kept.push(packet) } else { pool.give(packet.buffer) }
    }
    to.tx(pool, &mut kept);
    to.flush();
    from.flush();
    count
}
