//! One trial: a scenario, a switch, a figure.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Failure;
use super::bursts;
use super::change;
use super::distance::Distance;
use super::forwarder::Forwarder;
use super::guests::{Counted, Guests, Traffic};
use super::injected::Injected;
use super::mix::Mix;
use super::offline::Engine;
use super::scenario::{Kind, Ports, Scenario};
use super::search;
use super::streams;
use super::switches::{self, Switch};

/// So long conversations are had before they are timed.
const LEARNING: Duration = Duration::from_millis(200);
/// How often guests greet until a frame comes through.
const GREETINGS: usize = 100;
/// TCP needs time to find its rate, and one that has lost something to find it again: what is measured of it in a shorter
/// stretch is luck.
const STREAM_LEAST: Duration = Duration::from_millis(600);
/// Ethernet, IPv4, TCP with its time stamps.
const TCP_HEADERS: usize = 66;

/// How long a trial takes, and how often it is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Length of a timed stretch.
    pub time: Duration,
    /// Timed stretches.
    pub runs: usize,
    /// How long is waited until the cores are near each other.
    pub wait: Duration,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Frames a second (rates), bits a second (streams), bits a second of CPU time (captures), percent of the host (mix), nanoseconds (latency, the median; changes), or percent of a core (idle): median over the
    /// runs, and the extremes.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// CPU time of the switch a frame, in nanoseconds; the median.
    pub cpu_ns: f64,
    /// The 99th and 99.9th percentile of the latency, in nanoseconds (of a change: the 99.9th and the longest); 0 where
    /// none was measured.
    pub tail_ns: [f64; 2],
    /// How far the switch's core and the guests' were from each other.
    pub distance: Distance,
    /// Of an engine that inspects a capture: what it takes beside CPU time.
    pub engine: Option<Engine>,
}

/// A switch that runs, with its guests, and the figures so far.
pub struct Trial<'s> {
    scenario: &'s Scenario,
    switch: Switch,
    load: Load,
    figures: Vec<Figure>,
}

/// Who sends and receives.
enum Load {
    /// Guests on rings.
    Guests(Box<Guests>),
    /// Two pairs of guests, each on a switch of its own.
    Pairs(Vec<Guests>),
    /// The kernel, frames of ours by the hosts' devices.
    Injected(Box<Injected>),
    /// Guests who have conversations.
    Mix(Box<Mix>),
    /// The hosts' own TCP.
    Streams,
}

impl<'s> Trial<'s> {
    /// Connects the guests and lets the switch learn where they are, before anything is timed.
    ///
    /// # Errors
    /// Where the guests cannot connect, or nothing comes through.
    pub fn begin(scenario: &'s Scenario, switch: Switch) -> Result<Trial<'s>, Failure> {
        let mut trial = Trial { scenario, switch, load: Load::Streams, figures: Vec::new() };
        trial.load = trial.connect().map_err(|e| trial.with_log(e))?;
        Ok(trial)
    }

    fn connect(&self) -> Result<Load, Failure> {
        let scenario = self.scenario;
        let stamped = matches!(scenario.kind, Kind::Latency | Kind::Change);
        let rate = if stamped { scenario.rate } else { 0 };
        let traffic = Traffic {
            frame: scenario.frame,
            imix: scenario.imix,
            // Addresses are shown one by one; the flow is one.
            flows: if scenario.kind == Kind::Addresses { 1 } else { scenario.flows },
            both_ways: scenario.both_ways,
            rate,
            stamped,
            edge: scenario.edge,
            packed: scenario.packed,
        };
        if let Some(hosts) = self.switch.hosts() {
            if scenario.kind == Kind::Stream {
                return Ok(Load::Streams);
            }
            let [near, far] = self.switch.sockets();
            let through = scenario.ports == Ports::VethGuest;
            let guest = through.then(|| Forwarder::connect([&near, &far], scenario.frame)).transpose()?;
            let mut injected = Injected::new(hosts, traffic, guest)?;
            injected.prime()?;
            return Ok(Load::Injected(Box::new(injected)));
        }
        let [a, b] = self.switch.sockets();
        if scenario.kind == Kind::Mix {
            let mut mix = Mix::connect([&a, &b], scenario.flows)?;
            mix.run(LEARNING)?;
            return Ok(Load::Mix(Box::new(mix)));
        }
        if scenario.kind == Kind::Bursts {
            return self.pairs(traffic);
        }
        let mut guests = Guests::connect([&a, &b], traffic)?;
        guests.add_silent(self.switch.silent())?;
        warm_up(&mut guests, scenario)?;
        Ok(Load::Guests(Box::new(guests)))
    }

    /// Two pairs of guests, each on a switch of its own.
    fn pairs(&self, traffic: Traffic) -> Result<Load, Failure> {
        let sockets: Vec<_> = self.switch.sockets().into_iter().chain(self.switch.silent()).collect();
        let mut pairs = Vec::new();
        for pair in sockets.as_chunks::<2>().0 {
            let mut guests = Guests::connect([&pair[0], &pair[1]], traffic)?;
            warm_up(&mut guests, self.scenario)?;
            pairs.push(guests);
        }
        Ok(Load::Pairs(pairs))
    }

    /// Holds a switch that would take the processor from the others while nobody sends to it.
    pub fn hold(&self) {
        if !self.switch.kind().sleeps(self.scenario) {
            self.switch.hold();
        }
    }

    /// One timed stretch of a switch that takes `turns` with others: it runs for as long only.
    ///
    /// # Errors
    /// Where what comes out is not what was sent.
    pub fn in_turn(&mut self, time: Duration, binaries: &Path, turns: bool) -> Result<(), Failure> {
        if !turns {
            return self.run(time, binaries);
        }
        self.switch.let_go();
        let result = self.run(time, binaries);
        self.hold();
        result
    }

    /// One timed stretch.
    ///
    /// # Errors
    /// Where what comes out is not what was sent.
    pub fn run(&mut self, time: Duration, binaries: &Path) -> Result<(), Failure> {
        let run = self.figures.len();
        let (scenario, switch) = (self.scenario, &self.switch);
        let figure = match &mut self.load {
            Load::Guests(guests) => match scenario.kind {
                Kind::Rate => rate_of(guests, switch, time),
                Kind::NewFlows => new_flows(guests, switch, time),
                Kind::NoLoss => search::no_loss(guests, switch, time, scenario.loss),
                Kind::BackToBack => search::back_to_back(guests, time),
                Kind::Addresses => search::addresses(guests, scenario.flows, scenario.rate),
                Kind::Latency => latency(guests, switch, time, scenario.load),
                Kind::Idle => Ok(idle(switch, time)),
                Kind::Change => change::measure(guests, switch, time, (binaries, run)),
                Kind::Stream | Kind::Mix | Kind::Bursts | Kind::Capture => {
                    Err("guests on rings send frames".to_owned())
                }
            },
            Load::Pairs(pairs) => bursts::measure(pairs, switch, time, binaries),
            Load::Injected(injected) => injected_rate(injected, switch, time),
            Load::Mix(mix) => mix_of(mix, switch, time),
            Load::Streams => stream_of(scenario, switch, time),
        };
        self.figures.push(figure.map_err(|e| self.with_log(e))?);
        Ok(())
    }

    /// What came out of the stretches of one distance, or of all where that is not known; `rounds` says which they are.
    pub fn outcome(&self, rounds: &[Distance], distance: Distance) -> Outcome {
        let counts = |round: Distance| distance == Distance::Unknown || round == distance;
        let mut figures: Vec<Figure> =
            self.figures.iter().zip(rounds).filter(|&(_, &round)| counts(round)).map(|(&figure, _)| figure).collect();
        Outcome { distance, ..summary(&mut figures) }
    }

    fn with_log(&self, failure: Failure) -> Failure {
        let drops = self.switch.drops().map(|drops| format!("; it dropped: {drops}")).unwrap_or_default();
        let log = self.switch.log_end();
        let log = if log.is_empty() { log } else { format!("; its log ends: {log}") };
        failure + &drops + &log
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) value: f64,
    pub(super) cpu_ns: f64,
    pub(super) tail_ns: [f64; 2],
}

fn warm_up(guests: &mut Guests, scenario: &Scenario) -> Result<(), Failure> {
    let primed = match scenario.kind {
        // Frames that come before the switch is ready are lost.
        Kind::NewFlows => (0..GREETINGS).any(|_| guests.greet()),
        Kind::Rate
        | Kind::NoLoss
        | Kind::BackToBack
        | Kind::Addresses
        | Kind::Latency
        | Kind::Idle
        | Kind::Change
        | Kind::Stream
        | Kind::Mix
        | Kind::Capture
        | Kind::Bursts => guests.prime(),
    };
    if primed { Ok(()) } else { Err("the frames that are to open the flows do not come through".to_owned()) }
}

/// What came out must be what was sent: at most as much, of the right length, from the right guest.
pub(super) fn check(counted: &Counted) -> Result<(), Failure> {
    passed(counted.received, counted.strange)
}

fn passed(received: u64, strange: u64) -> Result<(), Failure> {
    if received == 0 {
        return Err("nothing came through".to_owned());
    }
    // Strange frames are the switch's own (neighbour discovery, say): a few.
    if strange * 1000 > received + 10_000 {
        return Err(format!("{strange} frames of {received} are not what was sent"));
    }
    Ok(())
}

pub(super) fn rate_of(guests: &mut Guests, switch: &Switch, time: Duration) -> Result<Figure, Failure> {
    guests.set_rate(0);
    guests.flow(time / 10);
    let before = switch.cpu_time();
    let counted = guests.flow(time);
    let cpu = switch.cpu_time().saturating_sub(before);
    check(&counted)?;
    Ok(Figure { value: counted.rate(), cpu_ns: cpu.as_nanos() as f64 / counted.received as f64, tail_ns: [0.0; 2] })
}

/// Every frame opens a flow that never was before. A switch that lets frames pass without remembering them has not done
/// what is asked: where a peer says how many it remembers, that is held against what came out.
fn new_flows(guests: &mut Guests, switch: &Switch, time: Duration) -> Result<Figure, Failure> {
    switch.forget_connections()?;
    guests.set_rate(0);
    let early = guests.flow(time / 10);
    let before = switch.cpu_time();
    let counted = guests.flow(time);
    let cpu = switch.cpu_time().saturating_sub(before);
    check(&counted)?;
    let passed = early.received + counted.received;
    if let Some(remembered) = switch.connections()?
        && remembered * 100 < passed * 99
    {
        return Err(format!("of {passed} frames that opened a connection it remembers {remembered}"));
    }
    Ok(Figure { value: counted.rate(), cpu_ns: cpu.as_nanos() as f64 / counted.received as f64, tail_ns: [0.0; 2] })
}

fn injected_rate(injected: &mut Injected, switch: &Switch, time: Duration) -> Result<Figure, Failure> {
    let mut cpu = Vec::with_capacity(2);
    let arrived = injected.flow(time, || cpu.push(switch.cpu_time()))?;
    passed(arrived.expected, arrived.strange)?;
    let value = arrived.expected as f64 / arrived.time.as_secs_f64();
    Ok(Figure { value, cpu_ns: used(&cpu).as_nanos() as f64 / arrived.expected as f64, tail_ns: [0.0; 2] })
}

/// Percent of the host's CPU time for each gigabit a second: of a switch that is kept busy, so that waiting is not in it.
fn mix_of(mix: &mut Mix, switch: &Switch, time: Duration) -> Result<Figure, Failure> {
    mix.run(time / 10)?;
    let before = switch.cpu_time();
    let carried = mix.run(time)?;
    let cpu = switch.cpu_time().saturating_sub(before);
    passed(carried.frames, carried.strange)?;
    let gigabits = carried.bytes as f64 * 8.0 / 1e9;
    let cpu_ns = cpu.as_nanos() as f64 / carried.frames as f64;
    Ok(Figure { value: 100.0 * cpu.as_secs_f64() / gigabits / cores() as f64, cpu_ns, tail_ns: [0.0; 2] })
}

/// Cores of the host, also those that we do not run on.
fn cores() -> usize {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

/// Bits of payload a second; the CPU time is of the switch, for so much payload as a full frame has.
fn stream_of(scenario: &Scenario, switch: &Switch, time: Duration) -> Result<Figure, Failure> {
    let hosts = switch.hosts().ok_or("streams are of hosts")?;
    let time = time.max(STREAM_LEAST);
    let mut cpu = Vec::with_capacity(2);
    let passed = streams::stream(hosts, scenario.flows, [time / 2, time], || cpu.push(switch.cpu_time()))?;
    if passed.bytes == 0 {
        return Err("nothing came through".to_owned());
    }
    let frames = passed.bytes as f64 / (scenario.frame - TCP_HEADERS) as f64;
    let value = passed.bytes as f64 * 8.0 / passed.time.as_secs_f64();
    Ok(Figure { value, cpu_ns: used(&cpu).as_nanos() as f64 / frames, tail_ns: [0.0; 2] })
}

/// The CPU time between the last two times that it was asked for.
fn used(cpu: &[Duration]) -> Duration {
    match cpu {
        [.., before, after] => after.saturating_sub(*before),
        _ => Duration::ZERO,
    }
}

/// Percent of a core that the switch uses while nobody sends.
fn idle(switch: &Switch, time: Duration) -> Figure {
    // What was sent before has to be over, and the switch asleep.
    std::thread::sleep(Duration::from_millis(500));
    let (before, begin) = (switch.cpu_time(), Instant::now());
    std::thread::sleep(time);
    let used = switch.cpu_time().saturating_sub(before);
    Figure { value: 100.0 * used.as_secs_f64() / begin.elapsed().as_secs_f64(), cpu_ns: 0.0, tail_ns: [0.0; 2] }
}

/// At the guests' rate, or at a share of what the switch carries: percent, unless 0 (RFC 2544, 26.2).
fn latency(guests: &mut Guests, switch: &Switch, time: Duration, load: u32) -> Result<Figure, Failure> {
    if load > 0 {
        let directions = if guests.both_ways() { 2.0 } else { 1.0 };
        let top = rate_of(guests, switch, time / 4)?;
        guests.set_rate((top.value / directions * f64::from(load) / 100.0).max(1.0) as u64);
        guests.run(time / 10);
    }
    let before = switch.cpu_time();
    let counted = guests.run(time);
    let cpu = switch.cpu_time().saturating_sub(before);
    check(&counted)?;
    let at = |quantile: f64| counted.latency.value_at_quantile(quantile) as f64;
    let cpu_ns = cpu.as_nanos() as f64 / counted.received as f64;
    Ok(Figure { value: at(0.5), cpu_ns, tail_ns: [at(0.99), at(0.999)] })
}

pub(super) fn summary(figures: &mut [Figure]) -> Outcome {
    figures.sort_by(|a, b| a.value.total_cmp(&b.value));
    let middle = figures.get(figures.len() / 2).copied();
    let Some(Figure { value, cpu_ns, tail_ns }) = middle else {
        return Outcome {
            median: 0.0,
            least: 0.0,
            most: 0.0,
            cpu_ns: 0.0,
            tail_ns: [0.0; 2],
            distance: Distance::Unknown,
            engine: None,
        };
    };
    Outcome {
        median: value,
        least: figures.first().map_or(0.0, |figure| figure.value),
        most: figures.last().map_or(0.0, |figure| figure.value),
        cpu_ns,
        tail_ns,
        distance: Distance::Unknown,
        engine: None,
    }
}

/// Pins the calling thread, the guests', to its core.
///
/// # Errors
/// Where the machine has no second core.
pub fn pin() -> Result<(), Failure> {
    weir_ports::clock::pin_to_cpu(switches::GUEST_CORE)
        .map_err(|e| format!("the guests need a core of their own, number {}: {e}", switches::GUEST_CORE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_extremes_are_told() {
        let figure = |value| Figure { value, cpu_ns: value * 2.0, tail_ns: [0.0; 2] };
        let outcome = summary(&mut [figure(3.0), figure(1.0), figure(9.0)]);
        assert_eq!((outcome.median, outcome.least, outcome.most, outcome.cpu_ns), (3.0, 1.0, 9.0, 6.0));
    }
}
