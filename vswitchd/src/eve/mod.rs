//! Events on their way from the worker to people: EVE JSON to a file and to streams.
//!
//! One thread takes the worker's batches, writes each event as a line, and hands the line to whoever follows. A reader
//! that is too slow misses events and is told how many; nothing here can hold up the worker, whose channel is bounded
//! and counts what it loses.
//!
//! Who reads records of what flows speak, a file or a stream, is known to the worker ([`Readers`]): without a reader it
//! makes none.

mod file;
mod json;
mod kept;
pub mod kinds;
mod stats;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use weir_filter::Event;
use weir_ports::clock;
use weir_wire::Instant;

pub use file::EveFile;
pub use json::line;
pub use kept::KEPT;
use kept::{Kept, Unwritten};
pub use stats::{Figures, line as stats_line};

use crate::file_store::{self, FileWriter};
use crate::flow_log::FlowLog;
use crate::published::{Board, Names};
use crate::readers::Readers;
use crate::worker::Batch;

/// Lines that a slow reader may lag behind.
const LAG_MAX: usize = 4096;
/// How long a line that does not come from the worker may wait.
pub const PAUSE: Duration = Duration::from_secs(1);

/// An event as readers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counts the daemon's events.
    pub number: u64,
    /// The event's type: one of [`TYPES`].
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
    kept: Arc<Mutex<Kept>>,
    counters: Arc<Counters>,
    /// Lines that do not come from the worker, on their way to the file.
    asides: Arc<Mutex<VecDeque<Line>>>,
    flow_log: FlowLog,
    files: Arc<file_store::Counters>,
    readers: Readers,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    lost: AtomicU64,
}

impl Default for Feed {
    fn default() -> Feed {
        let (lines, _) = broadcast::channel(LAG_MAX);
        Feed {
            lines,
            kept: Arc::default(),
            counters: Arc::default(),
            asides: Arc::default(),
            flow_log: FlowLog::default(),
            files: Arc::default(),
            readers: Readers::default(),
        }
    }
}

impl Feed {
    /// A feed that tells `readers` who reads records.
    pub fn new(readers: Readers) -> Feed {
        Feed { readers, ..Feed::default() }
    }

    /// Who reads records of what flows speak.
    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Lines from here on, after up to `last` of those that are kept.
    pub fn follow(&self, last: usize) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        // Under the lock no line can come between the kept ones and the followed ones.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.lines.subscribe();
        (kept.last(last), receiver)
    }

    /// Lines made, and lines that could not be written to the file.
    pub fn counters(&self) -> (u64, u64) {
        (self.counters.written.load(Ordering::Relaxed), self.counters.lost.load(Ordering::Relaxed))
    }

    /// Tells a line that does not come from the worker. It is written with the next batch of events, within [`PAUSE`].
    pub fn tell(&self, line: Line) {
        let mut asides = self.asides.lock().unwrap_or_else(PoisonError::into_inner);
        if asides.len() < KEPT {
            asides.push_back(line);
        }
    }

    /// Files stored, and files that were not.
    pub fn files(&self) -> (u64, u64) {
        self.files.read()
    }

    /// The flows that ended lately.
    pub fn flow_log(&self) -> &FlowLog {
        &self.flow_log
    }

    fn take_asides(&self) -> VecDeque<Line> {
        std::mem::take(&mut *self.asides.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, line: Line) {
        let line = Arc::new(line);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keep(Arc::clone(&line));
        // Nobody follows: the line is kept all the same.
        drop(self.lines.send(line));
    }

    /// Keeps events for those who ask later; gives those back that somebody follows.
    fn push_unread(&self, events: Vec<Unwritten>) -> Vec<Unwritten> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody begins to follow while the lock is held.
        if self.lines.receiver_count() > 0 {
            return events;
        }
        self.counters.written.fetch_add(events.len() as u64, Ordering::Relaxed);
        events.into_iter().for_each(|event| kept.keep_unwritten(event));
        Vec::new()
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
pub fn pump(events: &Receiver<Batch>, board: &Board, feed: &Feed, file: Option<EveFile>) {
    let files = FileWriter::start(Arc::clone(&feed.files));
    if let Err(error) = &files {
        tracing::error!("files cannot be stored, as there is no thread for it: {error}");
    }
    // What the file takes is read as long as it is written.
    let _reader = file.as_ref().map(|_| feed.readers.begin());
    let mut writer = Writer { board, feed, file, files: files.ok(), number: 0 };
    loop {
        match events.recv_timeout(PAUSE) {
            Ok(batch) => writer.batch(batch),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        writer.asides();
        feed.readers.review(std::time::Instant::now());
        if let Some(file) = &mut writer.file {
            file.flush();
        }
    }
}

/// Makes lines of events and hands them on.
struct Writer<'w> {
    board: &'w Board,
    feed: &'w Feed,
    file: Option<EveFile>,
    files: Option<FileWriter>,
    number: u64,
}

impl Writer<'_> {
    fn batch(&mut self, batch: Batch) {
        let (clocks, names) = (Clocks::now(), self.board.names(batch.epoch));
        let snapshot = self.board.read();
        let wanted = &snapshot.config.settings.eve;
        // A flow may have been judged by a policy of long ago, whose rules had other numbers.
        let mut judged = (batch.epoch, Arc::clone(&names));
        let mut events = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            self.feed.flow_log.note(&event, batch.epoch);
            if let (Event::File(file), Some(files)) = (&event, &self.files) {
                files.store(Arc::clone(file), &snapshot.config.settings.file_store);
            }
            if !wanted.tells(kind(&event)) {
                continue;
            }
            let judged_by = match &event {
                Event::Flow(record) => {
                    if judged.0 != record.epoch {
                        judged = (record.epoch, self.board.names(record.epoch));
                    }
                    Arc::clone(&judged.1)
                }
                Event::Alert { .. }
                | Event::Record { .. }
                | Event::File(_)
                | Event::Drop { .. }
                | Event::Allow { .. }
                | Event::Shed { .. }
                | Event::Content { .. }
                | Event::Notice(_)
                | Event::Virus { .. } => Arc::clone(&names),
            };
            self.number += 1;
            if let Event::File(file) = &event {
                // It is told at once, since what is kept for readers must not keep its bytes.
                let line = json::stored(file.file(), self.number, &clocks);
                self.hand_on(line);
                continue;
            }
            events.push(Unwritten { event, number: self.number, clocks, names: Arc::clone(&names), judged_by });
        }
        let read = if self.file.is_some() { events } else { self.feed.push_unread(events) };
        for event in read {
            self.hand_on(event.line());
        }
    }

    fn asides(&mut self) {
        for line in self.feed.take_asides() {
            self.number += 1;
            self.hand_on(Line { number: self.number, ..line });
        }
    }

    fn hand_on(&mut self, line: Line) {
        self.feed.counters.written.fetch_add(1, Ordering::Relaxed);
        if let Some(file) = &mut self.file
            && !file.write(&line.eve)
        {
            self.feed.counters.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.feed.push(line);
    }
}

/// The type of an event.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::Alert { .. } => "alert",
        Event::Record { kind, .. } => kind,
        Event::File(_) => "filestore",
        Event::Drop { .. } => "drop",
        Event::Allow { .. } => "allow",
        Event::Shed { .. } => "inspection",
        Event::Content { .. } => "content",
        Event::Virus { .. } => "virus",
        Event::Flow(_) => "flow",
        Event::Notice(_) => "notice",
    }
}

#[cfg(test)]
mod tests;
