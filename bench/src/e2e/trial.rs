//! One trial: a scenario, a switch, a figure.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Failure;
use super::change;
use super::guests::{Counted, Guests, Traffic};
use super::scenario::{Kind, Scenario};
use super::switches::{self, Switch};

/// How long a trial takes, and how often it is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Length of a timed stretch.
    pub time: Duration,
    /// Timed stretches.
    pub runs: usize,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Frames a second (rates), nanoseconds (latency, the median; changes), or percent of a core (idle): median over the
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
}

/// Measures a switch that runs.
///
/// # Errors
/// Where the guests cannot connect, or what comes out is not what was sent.
pub fn measure(scenario: &Scenario, switch: &Switch, effort: Effort, binaries: &Path) -> Result<Outcome, Failure> {
    let stamped = matches!(scenario.kind, Kind::Latency | Kind::Change);
    let rate = if stamped { scenario.rate } else { 0 };
    let traffic = Traffic {
        frame: scenario.frame,
        flows: scenario.flows,
        both_ways: scenario.both_ways,
        rate,
        stamped,
        edge: scenario.edge,
    };
    let [a, b] = switch.sockets();
    let mut guests = Guests::connect([&a, &b], traffic)?;
    guests.add_silent(switch.silent())?;
    // Switches learn where the guests are before anything is timed.
    warm_up(&mut guests, scenario)?;
    let mut figures = Vec::new();
    for run in 0..effort.runs.max(1) {
        figures.push(match scenario.kind {
            Kind::Rate | Kind::NewFlows => rate_of(&mut guests, switch, effort.time)?,
            Kind::NoLoss => no_loss(&mut guests, switch, effort.time)?,
            Kind::Latency => latency(&mut guests, switch, effort.time)?,
            Kind::Idle => idle(switch, effort.time),
            Kind::Change => change::measure(&mut guests, switch, effort.time, (binaries, run))?,
        });
    }
    Ok(summary(&mut figures))
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) value: f64,
    pub(super) cpu_ns: f64,
    pub(super) tail_ns: [f64; 2],
}

fn warm_up(guests: &mut Guests, scenario: &Scenario) -> Result<(), Failure> {
    let primed = match scenario.kind {
        Kind::NewFlows => guests.greet() || guests.prime(),
        Kind::Rate | Kind::NoLoss | Kind::Latency | Kind::Idle | Kind::Change => guests.prime(),
    };
    if primed { Ok(()) } else { Err("the frames that are to open the flows do not come through".to_owned()) }
}

/// What came out must be what was sent: at most as much, of the right length, from the right guest.
pub(super) fn check(counted: &Counted) -> Result<(), Failure> {
    if counted.received == 0 {
        return Err("nothing came through".to_owned());
    }
    // Strange frames are the switch's own (neighbour discovery, say): a few.
    if counted.strange * 1000 > counted.received + 10_000 {
        return Err(format!("{} frames of {} are not what was sent", counted.strange, counted.received));
    }
    Ok(())
}

fn rate_of(guests: &mut Guests, switch: &Switch, time: Duration) -> Result<Figure, Failure> {
    guests.set_rate(0);
    guests.flow(time / 10);
    let before = switch.cpu_time();
    let counted = guests.flow(time);
    let cpu = switch.cpu_time().saturating_sub(before);
    check(&counted)?;
    Ok(Figure { value: counted.rate(), cpu_ns: cpu.as_nanos() as f64 / counted.received as f64, tail_ns: [0.0; 2] })
}

/// RFC 2544, 26.1: halve the interval between a rate with loss and one without.
fn no_loss(guests: &mut Guests, switch: &Switch, time: Duration) -> Result<Figure, Failure> {
    let top = rate_of(guests, switch, time / 4)?;
    let directions = if guests.both_ways() { 2.0 } else { 1.0 };
    let (mut good, mut bad) = (0.0, top.value / directions * 1.2);
    let mut cpu_ns = top.cpu_ns;
    while bad - good > top.value / directions * 0.02 {
        let rate = (good + bad) / 2.0;
        guests.set_rate(rate as u64);
        let before = switch.cpu_time();
        let counted = guests.run(time);
        // What was not even sent was too fast for the guests: their limit is no loss of the switch.
        let offered = counted.sent as f64 >= rate * directions * counted.time.as_secs_f64() * 0.98;
        if counted.lost() == 0 && offered {
            good = rate;
            cpu_ns = (switch.cpu_time().saturating_sub(before)).as_nanos() as f64 / counted.received.max(1) as f64;
        } else {
            bad = rate;
        }
    }
    Ok(Figure { value: good * directions, cpu_ns, tail_ns: [0.0; 2] })
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

fn latency(guests: &mut Guests, switch: &Switch, time: Duration) -> Result<Figure, Failure> {
    let before = switch.cpu_time();
    let counted = guests.run(time);
    let cpu = switch.cpu_time().saturating_sub(before);
    check(&counted)?;
    let at = |quantile: f64| counted.latency.value_at_quantile(quantile) as f64;
    let cpu_ns = cpu.as_nanos() as f64 / counted.received as f64;
    Ok(Figure { value: at(0.5), cpu_ns, tail_ns: [at(0.99), at(0.999)] })
}

fn summary(figures: &mut [Figure]) -> Outcome {
    figures.sort_by(|a, b| a.value.total_cmp(&b.value));
    let middle = figures.get(figures.len() / 2).copied();
    let Some(Figure { value, cpu_ns, tail_ns }) = middle else {
        return Outcome { median: 0.0, least: 0.0, most: 0.0, cpu_ns: 0.0, tail_ns: [0.0; 2] };
    };
    Outcome {
        median: value,
        least: figures.first().map_or(0.0, |figure| figure.value),
        most: figures.last().map_or(0.0, |figure| figure.value),
        cpu_ns,
        tail_ns,
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
