//! Frames for switches whose ports are network devices: made and counted in the kernel, in the hosts' namespaces.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_ports::netns::NetNs;
use weir_ports::xdp::load::{FlowPort, Generator, Sink, Sunk};

use super::Failure;
use super::edge::GUESTS;
use super::forwarder::Forwarder;
use super::guests::{Traffic, frame_of};
use super::hosts::Hosts;

/// Frames sent at first when as many as possible are; then as many at a time as take [`CALL`], since each call of the
/// kernel's has to be set up, and at its end waits some 20 ms for all processors (RCU), in which nothing is sent.
const BURST: u32 = 4096;
const CALL: Duration = Duration::from_millis(250);
/// Frames sent at a time, and the pause after them, when the switch is to learn.
const GENTLE: (u32, Duration) = (64, Duration::from_millis(1));
/// So long every flow is sent gently, again and again: our switch looks once a second what its devices can do.
const LEARNING: Duration = Duration::from_millis(2500);
/// What was sent has arrived after this time.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// What arrived in a stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// How long it was.
    pub time: Duration,
    /// Frames that were sent, at both hosts.
    pub expected: u64,
    /// Others.
    pub strange: u64,
}

/// A generator and a sink in each host.
pub struct Injected {
    generators: [Generator; 2],
    sinks: [Sink; 2],
    traffic: Traffic,
    /// The guest between them, where there is one.
    guest: Option<Forwarder>,
}

impl Injected {
    /// Makes them on the hosts' interfaces.
    ///
    /// # Errors
    /// Where the kernel takes no such programs.
    pub fn new(hosts: &Hosts, traffic: Traffic, guest: Option<Forwarder>) -> Result<Injected, Failure> {
        let make = |side: usize| -> Result<(Generator, Sink), Failure> {
            let ns = NetNs::open(Some(hosts.name(side))).map_err(|e| e.to_string())?;
            let port = if side == 0 { FlowPort::Source } else { FlowPort::Destination };
            let flows = (traffic.flows, port);
            let sink = Sink::new(&ns, "eth0", traffic.frame, [GUESTS[1 - side], GUESTS[side]]);
            let generator = Generator::new(&ns, "eth0", frame_of(side, &traffic), flows);
            Ok((generator.map_err(|e| e.to_string())?, sink.map_err(|e| e.to_string())?))
        };
        let [(first, at_first), (second, at_second)] = [make(0)?, make(1)?];
        Ok(Injected { generators: [first, second], sinks: [at_first, at_second], traffic, guest })
    }

    /// Sends every flow both ways, slowly, so that every flow and address is known; the error says what was missing.
    ///
    /// # Errors
    /// Where not all flows come through.
    pub fn prime(&mut self) -> Result<(), Failure> {
        let mut guest = self.guest.take();
        let primed = beside(guest.as_mut(), || self.prime_hosts());
        self.guest = guest;
        primed
    }

    fn prime_hosts(&self) -> Result<(), Failure> {
        let (start, flows) = (Instant::now(), self.traffic.flows);
        let mut best = Sunk::default();
        while start.elapsed() < LEARNING || (best.expected < u64::from(flows) && start.elapsed() < LEARNING * 4) {
            let before = self.counts()?;
            let (burst, pause) = GENTLE;
            for _ in 0..flows.div_ceil(burst) {
                for generator in &self.generators {
                    sent(generator.run(|| generator.send(burst.min(flows))))?;
                }
                std::thread::sleep(pause);
            }
            std::thread::sleep(ON_ITS_WAY);
            let now = self.counts()?;
            let seen = Sunk { expected: now.expected - before.expected, strange: now.strange - before.strange };
            best = if seen.expected > best.expected { seen } else { best };
        }
        if best.expected < u64::from(flows) {
            return Err(format!("{} frames of {} flows came through, {} others", best.expected, flows, best.strange));
        }
        Ok(())
    }

    /// Sends as many as possible for some time and counts what arrives in it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn flow(&mut self, time: Duration) -> Result<Arrived, Failure> {
        let mut guest = self.guest.take();
        let arrived = beside(guest.as_mut(), || self.flow_between_hosts(time));
        self.guest = guest;
        arrived
    }

    fn flow_between_hosts(&self, time: Duration) -> Result<Arrived, Failure> {
        let senders = if self.traffic.both_ways { &self.generators[..] } else { &self.generators[..1] };
        let (before, start) = (self.counts()?, Instant::now());
        let work = |generator: &Generator| {
            generator.run(|| {
                let mut burst = BURST;
                while start.elapsed() < time {
                    let begun = Instant::now();
                    generator.send(burst)?;
                    let share = CALL.as_secs_f64() / begun.elapsed().as_secs_f64().max(1e-6);
                    burst = (f64::from(burst) * share).clamp(64.0, 1e6) as u32;
                }
                Ok(())
            })
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = senders.iter().map(|generator| scope.spawn(|| work(generator))).collect();
            threads.into_iter().try_for_each(|thread| sent(thread.join().map_err(|_| "a generator failed")?))
        })?;
        let (now, time) = (self.counts()?, start.elapsed());
        Ok(Arrived { time, expected: now.expected - before.expected, strange: now.strange - before.strange })
    }

    fn counts(&self) -> Result<Sunk, Failure> {
        let mut sum = Sunk::default();
        for sink in &self.sinks {
            let counts = sink.counts().map_err(|e| format!("the sink's counts: {e}"))?;
            sum.expected += counts.expected;
            sum.strange += counts.strange;
        }
        Ok(sum)
    }
}

/// Does something while the guest forwards.
fn beside<T>(guest: Option<&mut Forwarder>, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if let Some(guest) = guest {
            scope.spawn(|| guest.forward_until(&done));
        }
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn sent(done: Result<std::io::Result<()>, weir_ports::PortError>) -> Result<(), Failure> {
    done.map_err(|e| e.to_string())?.map_err(|e| format!("the kernel does not send frames of ours (Linux 5.18): {e}"))
}
