//! Events on their way from the worker to people: EVE JSON to a file and to streams.
//!
//! One thread takes the worker's batches, writes each event as a line, and hands the line to whoever follows. A reader
//! that is too slow misses events and is told how many; nothing here can hold up the worker, whose channel is bounded
//! and counts what it loses.

mod file;
mod json;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use weir_filter::Event;
use weir_ports::clock;
use weir_wire::Instant;

pub use file::EveFile;
pub use json::line;

use crate::published::{Board, Names};
use crate::worker::Batch;

/// Lines that a slow reader may lag behind.
const LAG_MAX: usize = 4096;
/// Lines kept for those who ask what happened lately.
pub const KEPT: usize = 1000;

/// An event as readers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counts the daemon's events.
    pub number: u64,
    /// "alert", "drop", "allow" or "flow".
    pub kind: &'static str,
    /// When, in nanoseconds since 1970.
    pub wall_ns: u64,
    /// The port the packet came in by.
    pub in_port: String,
    /// The port it was going to; empty where not known.
    pub out_port: String,
    /// EVE JSON without the line's end.
    pub eve: String,
}

/// Where lines go.
#[derive(Clone)]
pub struct Feed {
    lines: broadcast::Sender<Arc<Line>>,
    kept: Arc<Mutex<VecDeque<Arc<Line>>>>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    lost: AtomicU64,
}

impl Default for Feed {
    fn default() -> Feed {
        let (lines, _) = broadcast::channel(LAG_MAX);
        Feed { lines, kept: Arc::default(), counters: Arc::default() }
    }
}

impl Feed {
    /// Lines from here on, after up to `last` of those that are kept.
    pub fn follow(&self, last: usize) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        // Under the lock no line can come between the kept ones and the followed ones.
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.lines.subscribe();
        let skip = kept.len().saturating_sub(last);
        (kept.iter().skip(skip).cloned().collect(), receiver)
    }

    /// Lines made, and lines that could not be written to the file.
    pub fn counters(&self) -> (u64, u64) {
        (self.counters.written.load(Ordering::Relaxed), self.counters.lost.load(Ordering::Relaxed))
    }

    fn push(&self, line: Line) {
        let line = Arc::new(line);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&line));
        // Nobody follows: the line is kept all the same.
        drop(self.lines.send(line));
    }
}

/// Both clocks at one moment; turns the worker's times into dates.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The worker's clock.
    pub monotonic: Instant,
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
}

impl Clocks {
    /// Both clocks now.
    pub fn now() -> Clocks {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clocks { monotonic: clock::monotonic(), wall_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// A time of the worker's clock in nanoseconds since 1970.
    pub fn wall_ns(&self, time: Instant) -> u64 {
        if time <= self.monotonic {
            self.wall_ns.saturating_sub(self.monotonic.0 - time.0)
        } else {
            self.wall_ns.saturating_add(time.0 - self.monotonic.0)
        }
    }
}

/// What numbers in an event stand for.
#[derive(Clone, Copy, Debug)]
pub struct Naming<'a> {
    /// Of ports and switches.
    pub names: &'a Names,
    /// Of the rule that decided.
    pub judged_by: &'a Names,
}

/// Takes the worker's events until it ends. Runs on a thread of its own.
pub fn pump(events: &Receiver<Batch>, board: &Board, feed: &Feed, mut file: Option<EveFile>) {
    let mut number = 0;
    while let Ok(batch) = events.recv() {
        let (clocks, names) = (Clocks::now(), board.names(batch.epoch));
        for event in &batch.events {
            number += 1;
            // A flow may have been judged by a policy of long ago, whose rules had other numbers.
            let judged_by = match event {
                Event::Flow(record) => board.names(record.epoch),
                Event::Alert { .. } | Event::Drop { .. } | Event::Allow { .. } => Arc::clone(&names),
            };
            let line = line(event, number, &clocks, &Naming { names: &names, judged_by: &judged_by });
            feed.counters.written.fetch_add(1, Ordering::Relaxed);
            if let Some(file) = &mut file
                && !file.write(&line.eve)
            {
                feed.counters.lost.fetch_add(1, Ordering::Relaxed);
            }
            feed.push(line);
        }
        if let Some(file) = &mut file {
            file.flush();
        }
    }
}

#[cfg(test)]
mod tests;
