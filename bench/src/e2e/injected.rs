//! Frames for switches whose ports are network devices: made and counted in the kernel, in the hosts' namespaces.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weir_ports::netns::NetNs;
use weir_ports::xdp::load::{FlowPort, Generator, Sink, Sunk};

use super::Failure;
use super::edge::GUESTS;
use super::forwarder::Forwarder;
use super::guests::{Traffic, frame_of};
use super::hosts::Hosts;

/// Frames sent in one call of the kernel's at first, then as many as take the time that is wanted. At its end a call waits for
/// all processors (RCU), some 20 ms and longer where one of them sleeps: nothing is sent meanwhile. So it is counted within
/// one call only, at [`AWAY`] from its ends.
const CALL: u32 = 4096;
const CALL_MAX: f64 = 64e6;
const AWAY: Duration = Duration::from_millis(20);
/// A call takes so much longer than it has to, since none is as fast as the one before.
const AMPLE: f64 = 1.4;
/// A call that ends while it is counted was too short; so often another one is made.
const TRIES: u32 = 12;
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(10);
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
    /// Frames that the kernel is to send in one call.
    call: u32,
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
        Ok(Injected { generators: [first, second], sinks: [at_first, at_second], traffic, call: CALL, guest })
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

    /// Sends as many as possible and counts what arrives in some time of it; calls `each` at its beginning and its end.
    ///
    /// # Errors
    /// What the kernel says; where it never sends for as long as it is to be counted.
    pub fn flow(&mut self, time: Duration, mut each: impl FnMut() + Send) -> Result<Arrived, Failure> {
        let mut guest = self.guest.take();
        let mut call = self.call;
        let arrived = beside(guest.as_mut(), || {
            for _ in 0..TRIES {
                let (arrived, took) = self.flow_between_hosts(time, call, &mut each)?;
                let share = (time + 2 * AWAY).as_secs_f64() * AMPLE / took.as_secs_f64().max(1e-6);
                call = (f64::from(call) * share).clamp(f64::from(CALL), CALL_MAX) as u32;
                if let Some(arrived) = arrived {
                    return Ok(arrived);
                }
            }
            Err("the generators do not send at a steady rate".to_owned())
        });
        (self.guest, self.call) = (guest, call);
        arrived
    }

    /// The same with calls of so many frames, and how long the shortest took; nothing where it was over before it had been
    /// counted.
    fn flow_between_hosts(
        &self,
        time: Duration,
        call: u32,
        each: &mut (impl FnMut() + Send),
    ) -> Result<(Option<Arrived>, Duration), Failure> {
        let senders = if self.traffic.both_ways { &self.generators[..] } else { &self.generators[..1] };
        let (begun, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = |generator: &Generator| {
            let mut took = Duration::ZERO;
            let done = generator.run(|| {
                begun.fetch_add(1, Ordering::Relaxed);
                let begin = Instant::now();
                let done = generator.send(call);
                took = begin.elapsed();
                done
            });
            ended.store(true, Ordering::Relaxed);
            sent(done).map(|()| took)
        };
        // Whether all still send at that time.
        let until = |at: Instant| {
            while Instant::now() < at && !ended.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK.min(at.saturating_duration_since(Instant::now())));
            }
            !ended.load(Ordering::Relaxed)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = senders.iter().map(|generator| scope.spawn(|| work(generator))).collect();
            while begun.load(Ordering::Relaxed) < senders.len() && !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut arrived = None;
            if until(Instant::now() + AWAY) {
                each();
                let (before, start) = (self.counts()?, Instant::now());
                until(start + time);
                let (now, time) = (self.counts()?, start.elapsed());
                each();
                // A call that only waits for its end sends no more.
                let lasts = until(Instant::now() + LOOK) && self.counts()?.expected > now.expected;
                let (expected, strange) = (now.expected - before.expected, now.strange - before.strange);
                arrived = lasts.then_some(Arrived { time, expected, strange });
            }
            let took = threads.into_iter().map(|thread| thread.join().map_err(|_| "a generator failed")?);
            let took = took.collect::<Result<Vec<Duration>, Failure>>()?;
            Ok((arrived, took.into_iter().min().unwrap_or_default()))
        })
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
