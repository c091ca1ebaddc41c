//! A fabric fed with bursts, timed from parsing to egress.

use std::sync::Arc;
use std::time::Duration;

use weir_fabric::{Egress, Fabric, PortConfig, Step, SwitchConfig};
use weir_filter::{Limits, Policy, spec};
use weir_wire::{DropReason, Epoch, Instant, Offload, Packet, Pool, PortId, SwitchId};

use crate::measure::timed;
use crate::traffic::Flows;

/// Packets moved at once, as the worker does.
pub const BURST: usize = 64;

/// A switch with ports 1 to n, and packets on their way through it.
pub struct Bench {
    fabric: Fabric,
    pool: Pool,
    out: Egress,
    burst: Vec<Packet>,
    ports: u16,
    now: Instant,
}

impl Bench {
    /// A switch with `ports` ports and this policy.
    ///
    /// # Errors
    /// What the policy's compiler says.
    pub fn new(ports: u16, policy: &spec::Spec) -> Result<Bench, String> {
        let policy = Policy::compile(policy, Epoch(1)).map_err(|errors| errors.0.join("; "))?;
        let mut fabric = Fabric::new(Limits { flows: 1 << 21, flows_per_port: 1 << 21, ..Limits::default() }, 1);
        fabric.apply(Instant::ZERO, Step::SetSwitch(SwitchId(0), SwitchConfig::default()));
        for port in 1..=ports {
            fabric.apply(Instant::ZERO, Step::SetPort(PortId(port), PortConfig::default()));
        }
        fabric.install(Arc::new(policy));
        let (pool, out) = (Pool::default(), Egress::default());
        Ok(Bench { fabric, pool, out, burst: Vec::with_capacity(BURST), ports, now: Instant::from_secs(1) })
    }

    /// Sets up every flow, both ways.
    pub fn open(&mut self, flows: &Flows) {
        for flow in 0..flows.count() {
            for way in [0, 1] {
                self.add(flows.frame(flow, way), 1 + way as u16);
                self.run();
            }
        }
    }

    /// Copies a frame in, as a port does.
    pub fn add(&mut self, frame: &[u8], port: u16) {
        if let Some(buffer) = self.pool.copy(frame) {
            self.burst.push(Packet::new(buffer, PortId(port), Offload::default()));
        }
    }

    /// Moves the burst; returns its length and the time from parsing to egress.
    pub fn run(&mut self) -> (u64, Duration) {
        let packets = self.burst.len() as u64;
        self.now = Instant(self.now.0 + 10_000);
        let ((), took) = timed(|| self.fabric.process(self.now, &mut self.burst, &mut self.pool, &mut self.out));
        for port in 1..=self.ports {
            if let Some(queue) = self.out.queue(PortId(port)) {
                queue.drain(..).for_each(|packet| self.pool.give(packet.buffer));
            }
        }
        (packets, took)
    }

    /// Packets received, sent and dropped for `reason` so far.
    pub fn books(&self, reason: DropReason) -> [u64; 3] {
        let totals = self.fabric.totals();
        let dropped = (0..=self.ports).filter_map(|port| self.fabric.counters(PortId(port)));
        [totals.received, totals.sent, dropped.map(|counters| counters.dropped.get(reason)).sum()]
    }
}
