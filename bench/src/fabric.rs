//! A fabric fed with bursts, timed from parsing to egress.

use std::sync::Arc;

use weir_fabric::{Egress, Fabric, PortConfig, Step, SwitchConfig};
use weir_filter::{Limits, Policy, spec};
use weir_wire::{DropCounters, DropReason, Epoch, Instant, Offload, Packet, Pool, PortId, SwitchId};

use crate::measure::{Step as Cost, timed};
use crate::traffic::Flows;

/// Packets moved at once, as the worker does.
pub const BURST: usize = 64;

/// Allocations that an event may make: its packet, its text, and the list it waits in growing.
const PER_EVENT: u64 = 3;

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
        Bench::with_room(ports, policy, 1 << 21)
    }

    /// The same with room for so many flows.
    ///
    /// # Errors
    /// What the policy's compiler says.
    pub fn with_room(ports: u16, policy: &spec::Spec, flows: usize) -> Result<Bench, String> {
        let policy = Policy::compile(policy, Epoch(1)).map_err(|errors| errors.0.join("; "))?;
        let mut fabric = Fabric::new(Limits { flows, flows_per_port: flows, ..Limits::default() }, 1);
        fabric.apply(Instant::ZERO, Step::SetSwitch(SwitchId(0), SwitchConfig::default()));
        for port in 1..=ports {
            fabric.apply(Instant::ZERO, Step::SetPort(PortId(port), PortConfig::default()));
        }
        fabric.install(Arc::new(policy));
        // As of a daemon whose events nobody follows.
        fabric.set_read(false);
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

    /// Copies in a packet with its marks.
    pub fn add_packet(&mut self, packet: &Packet) {
        self.burst.extend(packet.duplicate(&mut self.pool));
    }

    /// Packets copied in since the last burst.
    pub fn waiting(&self) -> usize {
        self.burst.len()
    }

    /// Moves the burst; the cost is that from parsing to egress.
    pub fn run(&mut self) -> Cost {
        self.now = Instant(self.now.0 + 10_000);
        let Bench { fabric, burst, pool, out, .. } = self;
        let ((), mut step) = timed(burst.len() as u64, || fabric.process(self.now, burst, pool, out));
        for port in 1..=self.ports {
            if let Some(queue) = self.out.queue(PortId(port)) {
                queue.drain(..).for_each(|packet| self.pool.give(packet.buffer));
            }
        }
        self.fabric.drain_events(|_| step.excused += PER_EVENT);
        step
    }

    /// Flows that are open.
    pub fn flows(&self) -> usize {
        self.fabric.engine().flow_count()
    }

    /// Packets received, sent and dropped for `reason` so far.
    pub fn books(&self, reason: DropReason) -> [u64; 3] {
        let totals = self.fabric.totals();
        [totals.received, totals.sent, self.drops().get(reason)]
    }

    /// What was dropped so far, by reason.
    pub fn drops(&self) -> DropCounters {
        let mut drops = DropCounters::default();
        let ports = (0..=self.ports).filter_map(|port| self.fabric.counters(PortId(port)));
        ports.for_each(|counters| drops.merge(&counters.dropped));
        drops
    }
}
