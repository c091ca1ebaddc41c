//! First packets of flows, timed from parsing to egress: each packet opens one that never was before.

use weir_filter::spec::Spec;
use weir_wire::DropReason;
use weir_wire::build::frames::{Ends, udp};

use crate::fabric::{BURST, Bench};
use crate::measure::{Figure, Rounds};

/// Flows that the table of the first case has room for: more than are opened.
pub const ROOMY: usize = 1 << 23;
/// Flows that the table of the other has room for: all of them are there before.
pub const CROWDED: usize = 1 << 16;
/// The same of as many as a network has room for.
pub const VAST: usize = 1 << 20;

/// Frames of one client to one server, each of another flow.
pub struct Openings {
    frame: Vec<u8>,
    next: u32,
}

impl Openings {
    /// Between these ends.
    pub fn between(ends: Ends) -> Openings {
        let mut frame = udp(ends, (0, 0), &[0xa5; 18]);
        // No checksum (RFC 768), so that ports can be changed alone.
        if let Some(sum) = frame.get_mut(40..42) {
            sum.fill(0);
        }
        Openings { frame, next: 0 }
    }

    /// The next frame.
    pub fn frame(&mut self) -> &[u8] {
        let (client, server) = (1024 + (self.next % 60_000) as u16, 5000 + (self.next / 60_000) as u16);
        self.next += 1;
        if let Some(ports) = self.frame.get_mut(34..38) {
            ports[..2].copy_from_slice(&client.to_be_bytes());
            ports[2..].copy_from_slice(&server.to_be_bytes());
        }
        &self.frame
    }
}

/// Bursts of first packets, with this policy and room for so many flows.
///
/// # Errors
/// Where a packet was not forwarded, or opened no flow.
pub fn open(rounds: &Rounds, name: &str, room: usize, policy: &Spec) -> Result<Figure, String> {
    let mut bench = Bench::with_room(2, policy, room)?;
    let (ends, mut opened) = (Ends::ipv4(1, 2), 0);
    bench.add(&udp(ends.reversed(), (9, 9), &[0; 18]), 2);
    bench.run();
    let mut openings = Openings::between(ends);
    let mut burst = |bench: &mut Bench| {
        (0..BURST).for_each(|_| bench.add(openings.frame(), 1));
        opened += BURST;
        bench.run()
    };
    if room < ROOMY {
        for _ in 0..room / BURST {
            burst(&mut bench);
        }
    }
    let figure = rounds.measure(name, || burst(&mut bench));
    let [received, sent, _] = bench.books(DropReason::Policy);
    let flows = bench.flows();
    // The greeting has a flow of its own.
    if received != sent || flows != (opened + 1).min(room) {
        return Err(format!("\"{name}\" gave a wrong answer: {received} received, {sent} sent, {flows} flows"));
    }
    Ok(figure)
}
