//! Several workers on a machine with few cores: two pairs of guests that fill their rings at once, and then leave the cores
//! to the switch.
//!
//! A generator that sends without a pause needs a core of its own, which the second worker is to have. So it sends what
//! the rings hold, sleeps until the switch must be done, and takes what came out. The figure is the frames by the time that
//! the busiest worker had packets, as the workers say of themselves: what they would forward a second if they had
//! packets all the time. That all frames came through is checked.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Failure;
use super::change::{finished, vswitchctl};
use super::guests::Guests;
use super::switches::Switch;
use super::trial::{Figure, check};

/// Frames that each guest sends in a burst: fewer than its peer's ring takes.
const FRAMES: usize = 512;
/// Four times what one slow worker needs for the frames of four guests.
const PAUSE: Duration = Duration::from_millis(4);
/// What came out is there; this long nothing more comes.
const QUIET: Duration = Duration::from_micros(300);

/// Sends bursts for some time.
///
/// # Errors
/// Where frames are lost, or the workers say nothing.
pub(super) fn measure(
    pairs: &mut [Guests],
    switch: &Switch,
    time: Duration,
    binaries: &Path,
) -> Result<Figure, Failure> {
    let before = workers(switch, binaries)?;
    let (mut sent, mut received) = (0, 0);
    let end = Instant::now() + time;
    while Instant::now() < end {
        let mut counts: Vec<_> = pairs.iter_mut().map(|pair| pair.burst(FRAMES)).collect();
        std::thread::sleep(PAUSE);
        for (pair, counted) in pairs.iter_mut().zip(&mut counts) {
            pair.settle(counted, QUIET);
            check(counted)?;
            (sent, received) = (sent + counted.sent, received + counted.received);
        }
    }
    if received != sent {
        return Err(format!("{sent} frames were sent, {received} came through"));
    }
    let after = workers(switch, binaries)?;
    let spent: Vec<[f64; 2]> =
        after.iter().zip(&before).map(|(after, before)| [after[0] - before[0], after[1] - before[1]]).collect();
    let busiest = spent.iter().map(|[busy, _]| *busy).fold(0.0, f64::max);
    let cpu: f64 = spent.iter().map(|[_, cpu]| cpu).sum();
    if busiest <= 0.0 {
        return Err("no worker was busy".to_owned());
    }
    Ok(Figure { value: received as f64 * 1e9 / busiest, cpu_ns: cpu / received as f64, tail_ns: [0.0; 2] })
}

/// Of each worker: nanoseconds in which it had packets, and of CPU time.
fn workers(switch: &Switch, binaries: &Path) -> Result<Vec<[f64; 2]>, Failure> {
    let said = finished(vswitchctl(switch, binaries, &["--json", "worker", "show", "--look", "50"])?, "worker show")?;
    let shown: Value = serde_json::from_str(&said).map_err(|e| format!("vswitchctl worker show: {e}"))?;
    let all = shown["workers"].as_array().ok_or("vswitchctl worker show has no workers")?;
    Ok(all.iter().map(|worker| ["busy_ns", "cpu_ns"].map(|name| worker[name].as_f64().unwrap_or(0.0))).collect())
}
