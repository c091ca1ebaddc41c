//! What a frame costs in the vhost-user ring code: the port's part only, hot cache, one thread.
//!
//!     cargo run --release -p weir-ports --example ring_speed [BURSTS [RING]]
//!
//! The guest's side is our own front end. Each line is the median of many bursts, in nanoseconds a frame.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use weir_ports::Port;
use weir_ports::vhost_user::features;
use weir_ports::vhost_user::frontend::queue::Layout;
use weir_ports::vhost_user::frontend::{Frontend, FrontendConfig, RING_KINDS};
use weir_ports::vhost_user::{VhostUserConfig, VhostUserPort};
use weir_wire::{Packet, Pool, PortId};

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{:>16} {:>6} {:>6} {:>7} {:>9} {:>11} {:>9}",
        "ring", "bytes", "burst", "buffers", "layout", "from guest", "to guest"
    );
    let kinds = [0, features::IN_ORDER, features::RING_PACKED, RING_KINDS];
    let mut arguments = std::env::args().skip(1);
    let bursts = arguments.next().map_or(Ok(40_000), |number| number.parse())?;
    let only = arguments.next();
    for (name, kind) in ["split", "split, in order", "packed", "packed, in order"].into_iter().zip(kinds) {
        if only.as_ref().is_none_or(|only| only == name) {
            lines(name, kind, bursts)?;
        }
    }
    Ok(())
}

fn lines(name: &str, kind: u64, bursts: usize) -> Result<(), Box<dyn Error>> {
    for (len, burst, buffer_len, layout) in [
        (64, 32, 128, Layout::Together),
        (64, 64, 128, Layout::Together),
        (64, 32, 2048, Layout::Together),
        (64, 64, 2048, Layout::Together),
        (64, 64, 2048, Layout::Apart),
        (64, 64, 2048, Layout::Indirect),
        (1500, 64, 2048, Layout::Together),
        (1500, 64, 2048, Layout::Indirect),
    ] {
        let config = FrontendConfig { layout, buffer_len, ..FrontendConfig::default() };
        let config = FrontendConfig { features: config.features | kind, ..config };
        let (from, to) = measure(len, burst, config, bursts)?;
        println!("{name:>16} {len:>6} {burst:>6} {buffer_len:>7} {:>9} {from:>11.1} {to:>9.1}", format!("{layout:?}"));
    }
    Ok(())
}

fn measure(len: usize, burst: usize, config: FrontendConfig, bursts: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("weir-ring-speed-{}.sock", std::process::id()));
    let mut port = VhostUserPort::new(VhostUserConfig { feature_mask: u64::MAX, ..VhostUserConfig::new(&path) })?;
    let mut frontend = Frontend::connect(&path, config, &mut || port.on_event())?;
    port.on_event();
    // As a guest that polls, whatever the kind of ring.
    for ring in 0..2 {
        frontend.queue(ring).map(|queue| queue.request_call(false));
    }
    let (mut pool, mut packets) = (Pool::default(), Vec::<Packet>::new());
    let frame = vec![0x5a; len];
    let (mut from, mut to) = (Vec::with_capacity(bursts), Vec::with_capacity(bursts));
    for _ in 0..bursts {
        for _ in 0..burst {
            frontend.send(0, &[0; 12], &frame);
        }
        frontend.flush(0);
        let start = Instant::now();
        port.rx(PortId(0), &mut pool, &mut packets, burst);
        let middle = Instant::now();
        port.tx(&mut pool, black_box(&mut packets));
        port.flush();
        to.push(middle.elapsed());
        from.push(middle - start);
        frontend.receive(0, |_, _| {});
    }
    let sent = port.counters().tx_packets;
    if sent != (bursts * burst) as u64 {
        return Err(format!("{sent} frames instead of {}: {:?}", bursts * burst, port.counters()).into());
    }
    let median = |times: &mut Vec<std::time::Duration>| {
        times.sort_unstable();
        times.get(bursts / 2).map_or(0.0, |time| time.as_nanos() as f64 / burst as f64)
    };
    Ok((median(&mut from), median(&mut to)))
}
