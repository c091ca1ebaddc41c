//! Captures of conversations, for engines that inspect without a switch.
//!
//! So many conversations are had at a time that each packet finds its flow among as many others. Some of them ask for a page that a
//! rule of ours names: who does not tell of each has not looked.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use weir_ports::pcap::writer::Writer;

use super::Failure;
use super::talk::{self, Step};

/// Bytes of a capture, about.
const BYTES: u64 = 96 << 20;
/// Frames of a capture at most, about: of short ones there would be too many.
const FRAMES: u64 = 500_000;
/// One conversation of so many is the one that is to be told of.
const MARKED: u32 = 500;
/// From frame to frame.
const STEP: Duration = Duration::from_micros(5);
/// The first frame's time, after 1970.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// What is said in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// All of it, as often as guests have it.
    Mix,
    /// Pages.
    Web,
    /// TLS.
    Secrets,
    /// Names that are asked for.
    Names,
    /// Datagrams of 60 bytes, 64 a flow.
    Small,
    /// Datagrams of 1514 bytes, 64 a flow.
    Large,
}

/// A capture that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Its frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many conversations have to be told of.
    pub marked: u64,
}

/// A conversation that is being had.
struct Slot {
    script: usize,
    number: u32,
    next: usize,
}

/// Writes a capture of conversations, `at_a_time` together, each to its end.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, said: Said, at_a_time: u32) -> Result<Written, Failure> {
    write_up_to(path, said, at_a_time, BYTES, FRAMES)
}

fn write_up_to(path: &Path, said: Said, at_a_time: u32, bytes: u64, frames: u64) -> Result<Written, Failure> {
    let at = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut scripts = talk::of(said);
    let usual = scripts.len();
    scripts.push(talk::marked());
    let mut writer = Writer::new(BufWriter::new(File::create(path).map_err(at)?)).map_err(at)?;
    let (mut written, mut begun, mut room) = (Written::default(), 0, Vec::new());
    let mut begin = |written: &mut Written| {
        begun += 1;
        let number: u32 = begun - 1;
        let is_marked = number.is_multiple_of(MARKED);
        written.marked += u64::from(is_marked);
        Slot { script: if is_marked { usual } else { number as usize % usual }, number, next: 0 }
    };
    let mut slots: Vec<Slot> = (0..at_a_time).map(|_| begin(&mut written)).collect();
    while !slots.is_empty() {
        for slot in &mut slots {
            let Some(step) = scripts.get(slot.script).and_then(|script| script.get(slot.next)) else { continue };
            slot.next += 1;
            let frame = Step::write(step, slot.number, &mut room);
            writer.write(BEGIN + STEP * written.frames as u32, frame).map_err(at)?;
            written.frames += 1;
            written.bytes += frame.len() as u64;
        }
        let goes_on = written.bytes < bytes && written.frames < frames;
        let over = |slot: &Slot| scripts.get(slot.script).is_none_or(|script| slot.next >= script.len());
        if goes_on {
            slots.iter_mut().filter(|slot| over(slot)).for_each(|slot| *slot = begin(&mut written));
        } else {
            slots.retain(|slot| !over(slot));
        }
    }
    writer.flush().map_err(at)?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use weir_ports::pcap::reader::{Reader, Record};

    use super::*;

    #[test]
    fn a_capture_holds_what_is_said_of_it() {
        let path = std::env::temp_dir().join(format!("weir-bench-capture-{}.pcap", std::process::id()));
        for said in [Said::Mix, Said::Web, Said::Secrets, Said::Names, Said::Small, Said::Large] {
            let written = write_up_to(&path, said, 600, 2 << 20, 20_000).unwrap();
            assert!(written.frames >= 1000 && written.marked >= 2, "{said:?}: {written:?}");
            let file = fs::read(&path).unwrap();
            let mut reader = Reader::new(&file[..]).unwrap();
            let (mut record, mut seen) = (Record::default(), Written::default());
            while reader.next(&mut record).unwrap() {
                seen.frames += 1;
                seen.bytes += record.bytes.len() as u64;
                let request = b"GET /marked-by-the-bench";
                seen.marked += u64::from(record.bytes.windows(request.len()).any(|window| window == request));
            }
            assert_eq!(seen, written, "{said:?}");
        }
        fs::remove_file(&path).unwrap();
    }
}
