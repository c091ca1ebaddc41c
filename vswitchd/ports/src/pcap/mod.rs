//! A port that replays a capture file and writes what is sent to it into another. For tests and the bench.
//!
//! The file to replay is read and checked as a whole when the port is opened, so a broken one is an error then and
//! never later. Recording writes to the disk from the worker's thread: not for a switch that carries traffic.

pub mod reader;
pub mod writer;

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use weir_wire::{Capabilities, DropReason, Instant, Offload, Packet, Pool, PortId};

use crate::clock::monotonic;
use crate::departure::Departure;
use crate::event::TimerFd;
use crate::{Armed, Counters, Port, PortError, PortErrorKind, Status, no_buffer};
use reader::{Reader, Record};
use writer::Writer;

/// Bytes of frames that one port replays.
const REPLAY_MAX: usize = 512 << 20;

/// How fast to replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the fabric takes it.
    #[default]
    Fast,
    /// With the pauses of the capture.
    Captured,
}

/// A capture to replay, one to write, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcapConfig {
    /// Frames that come in by the port.
    pub replay: Option<PathBuf>,
    /// How fast they come.
    pub pace: Pace,
    /// How often the file is replayed.
    pub rounds: u64,
    /// File for the frames that leave by the port.
    pub record: Option<PathBuf>,
    /// Largest L3 packet that leaves, in bytes.
    pub mtu: u32,
}

impl Default for PcapConfig {
    fn default() -> PcapConfig {
        PcapConfig { replay: None, pace: Pace::Fast, rounds: 1, record: None, mtu: 1500 }
    }
}

/// A port on files.
#[derive(Debug)]
pub struct PcapPort {
    config: PcapConfig,
    records: Vec<Record>,
    /// Frames handed to the fabric so far, over all rounds.
    position: u64,
    started: Option<Instant>,
    timer: TimerFd,
    sink: Option<Writer<BufWriter<File>>>,
    departure: Departure,
    counters: Counters,
    problem: String,
}

impl PcapPort {
    /// Reads the file to replay and makes the file to record to.
    ///
    /// # Errors
    /// Where a file cannot be opened, or the one to replay is not a whole capture; the text names the place in it.
    pub fn open(config: PcapConfig) -> Result<PcapPort, PortError> {
        let records = config.replay.as_deref().map_or_else(|| Ok(Vec::new()), read_all)?;
        let sink = config.record.as_deref().map(create).transpose()?;
        let timer = TimerFd::new().map_err(|e| PortError::os("pcap", "cannot make a timer", e))?;
        Ok(PcapPort {
            departure: Departure::new(Capabilities::default(), config.mtu),
            config,
            records,
            position: 0,
            started: None,
            timer,
            sink,
            counters: Counters::default(),
            problem: String::new(),
        })
    }

    /// Frames that are still to come.
    pub fn remaining(&self) -> u64 {
        (self.records.len() as u64).saturating_mul(self.config.rounds).saturating_sub(self.position)
    }

    /// How long until the next frame is due; `None` where none is left.
    fn due_in(&mut self) -> Option<Duration> {
        if self.remaining() == 0 {
            return None;
        }
        if self.config.pace == Pace::Fast {
            return Some(Duration::ZERO);
        }
        let now = monotonic();
        let start = *self.started.get_or_insert(now);
        let due = self.offset_of(self.position)?;
        Some(due.saturating_sub(now.since(start)))
    }

    /// When a frame is due after the start. Rounds follow each other without a pause.
    fn offset_of(&self, position: u64) -> Option<Duration> {
        let count = self.records.len() as u64;
        let (round, index) = (position.checked_div(count)?, position.checked_rem(count)?);
        let first = self.records.first()?.time;
        let length = self.records.last()?.time.saturating_sub(first);
        let within = self.records.get(index as usize)?.time.saturating_sub(first);
        Some(length.saturating_mul(u32::try_from(round).unwrap_or(u32::MAX)).saturating_add(within))
    }
}

fn object(path: &Path) -> String {
    format!("pcap {}", path.display())
}

fn read_all(path: &Path) -> Result<Vec<Record>, PortError> {
    let file = File::open(path).map_err(|e| PortError::os(object(path), "cannot open it", e))?;
    let broken = |e: reader::CaptureError| PortError::new(PortErrorKind::Invalid, object(path), e.to_string());
    let mut reader = Reader::new(BufReader::new(file)).map_err(broken)?;
    let (mut records, mut record, mut bytes) = (Vec::new(), Record::default(), 0);
    while reader.next(&mut record).map_err(broken)? {
        bytes += record.bytes.len();
        if bytes > REPLAY_MAX {
            let what = format!("more than {} MiB of frames", REPLAY_MAX >> 20);
            return Err(PortError::new(PortErrorKind::Invalid, object(path), what)
                .with_remedy("split the file, for example with editcap"));
        }
        records.push(std::mem::take(&mut record));
    }
    Ok(records)
}

fn create(path: &Path) -> Result<Writer<BufWriter<File>>, PortError> {
    let failed = |e| PortError::os(object(path), "cannot write it", e);
    let file = File::create(path).map_err(failed)?;
    Writer::new(BufWriter::with_capacity(1 << 20, file)).map_err(failed)
}

impl Port for PcapPort {
    fn rx(&mut self, id: PortId, pool: &mut Pool, burst: &mut Vec<Packet>, room: usize) -> usize {
        let before = burst.len();
        for _ in 0..room {
            if self.due_in() != Some(Duration::ZERO) {
                break;
            }
            let index = self.position % (self.records.len() as u64).max(1);
            self.position += 1;
            let Some(record) = self.records.get(index as usize) else { break };
            match pool.copy(&record.bytes) {
                Some(buffer) => {
                    self.counters.rx_packets += 1;
                    self.counters.rx_bytes += record.bytes.len() as u64;
                    burst.push(Packet::new(buffer, id, Offload::default()));
                }
                None => self.counters.rx_dropped.count(no_buffer(record.bytes.len())),
            }
        }
        burst.len() - before
    }

    fn tx(&mut self, pool: &mut Pool, packets: &mut Vec<Packet>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (sink, problem) = (&mut self.sink, &mut self.problem);
        self.departure.send(pool, packets, &mut self.counters, |packet| {
            let Some(writer) = sink else { return Ok(()) };
            writer.write(now, packet.bytes()).map_err(|e| {
                *problem = format!("cannot record: {e}");
                DropReason::TxError
            })
        });
    }

    fn flush(&mut self) {
        if let Some(writer) = &mut self.sink
            && let Err(e) = writer.flush()
        {
            self.problem = format!("cannot record: {e}");
        }
    }

    fn arm(&mut self) -> Armed {
        match self.due_in() {
            None => Armed::Idle,
            Some(Duration::ZERO) => Armed::Ready,
            Some(later) if self.timer.set(later).is_ok() => Armed::Idle,
            Some(_) => Armed::Ready,
        }
    }

    fn disarm(&mut self) {
        // The timer runs out once; there is nothing to turn off.
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    fn on_event(&mut self) {
        self.timer.drain();
    }

    fn link(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Capabilities {
        self.departure.capabilities()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn status(&self) -> Status {
        let name = |path: &Option<PathBuf>| path.as_ref().map_or("nothing".to_owned(), |p| p.display().to_string());
        Status {
            link: true,
            kind: "pcap",
            mode: format!("replays {}, records to {}", name(&self.config.replay), name(&self.config.record)),
            problem: self.problem.clone(),
            mtu: self.departure.mtu(),
            details: vec![("frames to come".to_owned(), self.remaining().to_string())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the system's place for such, gone at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            Scratch(std::env::temp_dir().join(format!("weir-{}-{name}.pcap", std::process::id())))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(std::fs::remove_file(&self.0));
        }
    }

    fn frame(n: u8) -> Vec<u8> {
        let mut frame = vec![n; 60];
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame
    }

    fn write_capture(path: &Path, pause: Duration) {
        let mut writer = create(path).unwrap();
        for n in 0..3u8 {
            writer.write(Duration::from_secs(1000) + pause * n.into(), &frame(n)).unwrap();
        }
        writer.flush().unwrap();
    }

    #[test]
    fn a_capture_is_replayed_and_recorded() {
        let (from, to) = (Scratch::new("from"), Scratch::new("to"));
        write_capture(&from.0, Duration::from_secs(3600));
        let config =
            PcapConfig { replay: Some(from.0.clone()), record: Some(to.0.clone()), rounds: 2, ..PcapConfig::default() };
        let mut port = PcapPort::open(config).unwrap();
        let (mut pool, mut burst) = (Pool::default(), Vec::new());
        assert_eq!(port.rx(PortId(1), &mut pool, &mut burst, 4), 4);
        assert_eq!(port.arm(), Armed::Ready);
        assert_eq!(port.rx(PortId(1), &mut pool, &mut burst, 4), 2);
        assert_eq!((port.arm(), port.remaining()), (Armed::Idle, 0));
        burst.iter_mut().for_each(|p| p.parse().unwrap());
        port.tx(&mut pool, &mut burst);
        port.flush();
        let written = read_all(&to.0).unwrap();
        assert_eq!(written.iter().map(|r| r.bytes[0]).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        assert_eq!((port.counters().tx_packets, pool.outstanding()), (6, 0));
    }

    #[test]
    fn a_paced_replay_waits_for_the_next_frame() {
        let from = Scratch::new("paced");
        write_capture(&from.0, Duration::from_secs(3600));
        let config = PcapConfig { replay: Some(from.0.clone()), pace: Pace::Captured, ..PcapConfig::default() };
        let mut port = PcapPort::open(config).unwrap();
        let (mut pool, mut burst) = (Pool::default(), Vec::new());
        assert_eq!(port.rx(PortId(1), &mut pool, &mut burst, 64), 1);
        assert_eq!(port.arm(), Armed::Idle);
        assert_eq!(port.remaining(), 2);
        assert_eq!(port.offset_of(4), Some(Duration::from_secs(3 * 3600)));
    }

    #[test]
    fn a_broken_file_is_an_error_with_its_place() {
        let bad = Scratch::new("bad");
        write_capture(&bad.0, Duration::ZERO);
        let length = std::fs::metadata(&bad.0).unwrap().len();
        File::options().write(true).open(&bad.0).unwrap().set_len(length - 1).unwrap();
        let error = PcapPort::open(PcapConfig { replay: Some(bad.0.clone()), ..PcapConfig::default() }).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Invalid);
        assert!(error.to_string().contains("at byte 192: the file ends"), "{error}");
        let none = PcapConfig { replay: Some("/nonexistent/x.pcap".into()), ..PcapConfig::default() };
        assert_eq!(PcapPort::open(none).unwrap_err().kind(), PortErrorKind::NotFound);
    }
}
