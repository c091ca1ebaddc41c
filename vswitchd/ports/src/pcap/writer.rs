//! Writes capture files: classic pcap with nanoseconds, in the host's byte order, which every reader knows.

use std::io::{self, Write};
use std::time::Duration;

const MAGIC_NANO: u32 = 0xa1b2_3c4d;
const SNAPLEN: u32 = 262_144;
const ETHERNET: u32 = 1;

/// Writes one capture file of Ethernet frames.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: W,
}

impl<W: Write> Writer<W> {
    /// Writes the file's header. `sink` should be buffered.
    pub fn new(mut sink: W) -> io::Result<Writer<W>> {
        let version = [2u16.to_ne_bytes(), 4u16.to_ne_bytes()].concat();
        sink.write_all(&MAGIC_NANO.to_ne_bytes())?;
        sink.write_all(&version)?;
        for word in [0, 0, SNAPLEN, ETHERNET] {
            sink.write_all(&u32::to_ne_bytes(word))?;
        }
        Ok(Writer { sink })
    }

    /// Writes a frame that was seen at `time` since the epoch.
    pub fn write(&mut self, time: Duration, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).min(SNAPLEN);
        // The format's seconds end in 2106.
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let mut header = [0; 16];
        let words = [seconds, time.subsec_nanos(), length, u32::try_from(frame.len()).unwrap_or(u32::MAX)];
        for (to, word) in header.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        self.sink.write_all(&header)?;
        self.sink.write_all(frame.get(..length as usize).unwrap_or(frame))
    }

    /// Hands what is buffered to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Reader, Record};
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file).unwrap();
        let time = Duration::new(1_700_000_000, 123_456_789);
        writer.write(time, &[0xa5; 60]).unwrap();
        writer.write(time, &[]).unwrap();
        let mut reader = Reader::new(&file[..]).unwrap();
        let mut record = Record::default();
        assert!(reader.next(&mut record).unwrap());
        assert_eq!(record, Record { time, bytes: vec![0xa5; 60], original_len: 60, link: 1 });
        assert!(reader.next(&mut record).unwrap() && record.bytes.is_empty());
        assert!(!reader.next(&mut record).unwrap());
    }
}
