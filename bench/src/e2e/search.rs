//! Searches: the highest rate and the longest burst that a switch carries with no more than so much loss.
//!
//! The rate is searched as MLRsearch does (RFC 9411's trials are long, and most of them only say "far too much"): the interval
//! is halved by short trials first, then by longer ones, and what is told has passed a trial of the full length. Another
//! process on a core costs any switch some frames: a rate at which a trial lost some is tried once more before it counts.
//! The number of trials is bounded.

use std::time::Duration;

use super::Failure;
use super::guests::{Counted, Guests};
use super::switches::Switch;
use super::trial::{Figure, check, rate_of};

/// Of the stretch, a trial's length, and how narrow the interval is to become by such trials: parts of the highest rate.
const PHASES: [(u32, f64); 2] = [(16, 0.08), (6, 0.02)];
/// Rates that are tried for the full length, each so much lower than the one before.
const CONFIRMED: usize = 6;
const STEP: f64 = 0.98;
/// How often a rate is tried before it counts as too high.
const TRIES: usize = 2;

/// The shortest burst that is tried and the longest, which is more than all rings hold.
const BURST_MIN: u64 = 64;
const BURST_MAX: u64 = 4 << 20;
/// How often a burst has to come through.
const BURSTS: usize = 3;

/// The highest rate at which no more than `loss` percent are lost.
pub(super) fn no_loss(guests: &mut Guests, switch: &Switch, time: Duration, loss: f64) -> Result<Figure, Failure> {
    let top = rate_of(guests, switch, time / 4)?;
    let directions = if guests.both_ways() { 2.0 } else { 1.0 };
    let top_rate = top.value / directions;
    let mut passes = |rate: f64, time: Duration| {
        (0..TRIES).any(|_| {
            guests.set_rate(rate as u64);
            let counted = guests.run(time);
            // What was not even sent was too fast for the guests: their limit is no loss of the switch.
            let offered = counted.sent as f64 >= rate * directions * counted.time.as_secs_f64() * 0.98;
            offered && is_within(&counted, loss)
        })
    };
    let (mut good, mut bad) = (0.0, top_rate * 1.2);
    for (part, width) in PHASES {
        while bad - good > top_rate * width {
            let rate = (good + bad) / 2.0;
            if passes(rate, time / part) { good = rate } else { bad = rate }
        }
    }
    let mut rate = good;
    for _ in 0..CONFIRMED {
        let before = switch.cpu_time();
        if rate > 0.0 && passes(rate, time / 2) {
            let cpu = switch.cpu_time().saturating_sub(before).as_secs_f64();
            let cpu_ns = cpu * 1e9 / (rate * directions * time.as_secs_f64() / 2.0);
            return Ok(Figure { value: rate * directions, cpu_ns, tail_ns: [0.0; 2] });
        }
        rate *= STEP;
    }
    Err(format!("no rate below {good:.0} a second passed a whole trial"))
}

fn is_within(counted: &Counted, loss: f64) -> bool {
    counted.lost() as f64 <= counted.sent as f64 * loss / 100.0
}

/// The longest burst of which each guest's peer gets every frame: frames of a guest.
pub(super) fn back_to_back(guests: &mut Guests, time: Duration) -> Result<Figure, Failure> {
    check(&guests.stretch(BURST_MIN))?;
    // What would take longer than a stretch at 40 million a second is a rate, and no burst any more.
    let most = ((time.as_secs_f64() * 40e6) as u64 / BURSTS as u64).clamp(BURST_MIN, BURST_MAX);
    let mut passes = |frames: u64| (0..BURSTS).all(|_| guests.stretch(frames).lost() == 0);
    let (mut good, mut bad) = (0, BURST_MIN);
    while bad <= most && passes(bad) {
        (good, bad) = (bad, bad * 2);
    }
    while bad <= most && bad - good > (good / 20).max(16) {
        let middle = good.midpoint(bad);
        if passes(middle) { good = middle } else { bad = middle }
    }
    if good == 0 {
        return Err(format!("not even {BURST_MIN} frames came through at once"));
    }
    Ok(Figure { value: good as f64, cpu_ns: 0.0, tail_ns: [0.0; 2] })
}

/// Addresses that the switch knows of `count` that were shown to it at a rate.
pub(super) fn addresses(guests: &mut Guests, count: u32, rate: u64) -> Result<Figure, Failure> {
    let shown = guests.show_addresses(count, rate);
    if shown.arrived < u64::from(count) {
        return Err(format!("of {count} frames that showed an address {} arrived", shown.arrived));
    }
    let asked = guests.ask_addresses(count, rate);
    if asked.arrived < u64::from(count) {
        return Err(format!("of {count} frames to an address that was shown {} arrived", asked.arrived));
    }
    let known = u64::from(count).saturating_sub(asked.flooded);
    Ok(Figure { value: known as f64, cpu_ns: 0.0, tail_ns: [0.0; 2] })
}
