//! Reads capture files: classic pcap with microseconds or nanoseconds in either byte order, and pcapng.
//!
//! Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. A file comes from anywhere, so every length is checked
//! before it is used; what does not fit ends in an error that names the place. Limits: a frame of 256 KiB, a pcapng
//! block of 1 MiB, 64 pcapng interfaces.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead, Read};
use std::time::Duration;

/// Longest frame taken.
const FRAME_MAX: u32 = 256 << 10;
/// Longest pcapng block taken.
const BLOCK_MAX: u32 = 1 << 20;
/// pcapng interfaces remembered.
const INTERFACES_MAX: usize = 64;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

const MAGIC_MICRO: u32 = 0xa1b2_c3d4;
const MAGIC_NANO: u32 = 0xa1b2_3c4d;
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const OPTION_TSRESOL: u16 = 9;

/// Why a capture file could not be read on.
#[derive(Debug)]
pub struct CaptureError {
    /// Bytes into the file.
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a capture file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The first bytes are of no format known here.
    NotACapture,
    /// The file ends within a header or a frame.
    Truncated,
    /// A version other than 2.4 of pcap or 1 of pcapng.
    Version(u16),
    /// The frames are not Ethernet; the number is the LINKTYPE.
    LinkType(u32),
    /// A length beyond what is taken, or one that contradicts another.
    Length(u32),
    /// A frame of an interface that was not described.
    Interface(u32),
    /// The file cannot be read.
    Io(io::Error),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: ", self.offset)?;
        match &self.fault {
            Fault::NotACapture => f.write_str("not a pcap or pcapng file"),
            Fault::Truncated => f.write_str("the file ends in the middle of a frame or header"),
            Fault::Version(n) => write!(f, "version {n} of the format is not known"),
            Fault::LinkType(n) => write!(f, "link type {n} is not Ethernet"),
            Fault::Length(n) => write!(f, "a length of {n} is not possible here"),
            Fault::Interface(n) => write!(f, "interface {n} was not described"),
            Fault::Io(e) => write!(f, "cannot read: {e}"),
        }
    }
}

impl std::error::Error for CaptureError {}

/// One captured frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Since the epoch, as the capturing host saw it.
    pub time: Duration,
    /// What was captured of the frame.
    pub bytes: Vec<u8>,
    /// The frame's length on the wire.
    pub original_len: u32,
    /// LINKTYPE of the frame.
    pub link: u32,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Little,
    Big,
}

impl Order {
    #[inline]
    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }

    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        }
    }
}

#[derive(Debug)]
enum Format {
    /// Nanoseconds a unit of the fraction.
    Classic { unit: u32, link: u32 },
    /// Units a second and LINKTYPE, by interface.
    Next { interfaces: Vec<(u64, u32)> },
}

/// Reads one capture file, frame by frame.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    offset: u64,
    order: Order,
    format: Format,
    block: Vec<u8>,
    any_link: bool,
    /// Frames shown by [`Reader::glance`] that were not lent yet, and where the next one begins.
    glanced: usize,
    glanced_to: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the file's header. `source` should be buffered.
    ///
    /// # Errors
    /// Where it is no capture of Ethernet frames.
    pub fn new(source: R) -> Result<Reader<R>, CaptureError> {
        Reader::open(source, false)
    }

    /// The same for frames of any link: [`Record::link`] names it.
    ///
    /// # Errors
    /// Where it is no capture.
    pub fn of_any_link(source: R) -> Result<Reader<R>, CaptureError> {
        Reader::open(source, true)
    }

    fn open(source: R, any_link: bool) -> Result<Reader<R>, CaptureError> {
        let (order, format) = (Order::Little, Format::Classic { unit: 1, link: ETHERNET });
        let mut reader =
            Reader { source, offset: 0, order, format, block: Vec::new(), any_link, glanced: 0, glanced_to: 0 };
        let mut magic = [0; 4];
        if !reader.fill(&mut magic)? {
            return Err(reader.fault_at(0, Fault::NotACapture));
        }
        let (order, unit) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICRO, _) => (Order::Little, 1000),
            (MAGIC_NANO, _) => (Order::Little, 1),
            (_, MAGIC_MICRO) => (Order::Big, 1000),
            (_, MAGIC_NANO) => (Order::Big, 1),
            (SECTION, _) => {
                reader.format = Format::Next { interfaces: Vec::new() };
                reader.section()?;
                return Ok(reader);
            }
            _ => return Err(reader.fault_at(0, Fault::NotACapture)),
        };
        reader.order = order;
        let link = reader.classic_header()?;
        reader.format = Format::Classic { unit, link };
        Ok(reader)
    }

    /// Reads the next frame into `record`; `false` at the end of the file.
    ///
    /// # Errors
    /// Where the file is cut off or contradicts itself. Reading on is of no use then.
    pub fn next(&mut self, record: &mut Record) -> Result<bool, CaptureError> {
        match self.format {
            Format::Classic { unit, link } => {
                record.link = link;
                self.next_classic(unit, record)
            }
            Format::Next { .. } => self.next_block(record),
        }
    }

    /// Where the next read begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn classic_header(&mut self) -> Result<u32, CaptureError> {
        let header: [u8; 20] = self.exactly()?;
        let [a, b, _, _, _, _, _, _, _, _, _, _, _, _, _, _, l @ ..] = header;
        let version = self.order.u16([a, b]);
        if version != 2 {
            return Err(self.fault_at(4, Fault::Version(version)));
        }
        // The upper bits say whether frames end with a frame check sequence, which no kernel of today's writes.
        let link_type = self.order.u32(l) & 0x0fff_ffff;
        self.link(20, link_type)
    }

    /// The LINKTYPE, where it is taken.
    fn link(&self, at: u64, link: u32) -> Result<u32, CaptureError> {
        if link == ETHERNET || self.any_link { Ok(link) } else { Err(self.fault_at(at, Fault::LinkType(link))) }
    }

    fn next_classic(&mut self, unit: u32, record: &mut Record) -> Result<bool, CaptureError> {
        let at = self.offset;
        let mut header = [0; 16];
        if !self.fill(&mut header)? {
            return Ok(false);
        }
        let captured = classic_frame(self.order, &header, unit, record);
        let captured = captured.map_err(|captured| self.fault_at(at + 8, Fault::Length(captured)))?;
        record.bytes.resize(captured, 0);
        let mut bytes = std::mem::take(&mut record.bytes);
        let whole = self.fill_or_truncated(&mut bytes);
        record.bytes = bytes;
        whole.map(|()| true)
    }

    fn next_block(&mut self, record: &mut Record) -> Result<bool, CaptureError> {
        loop {
            let at = self.offset;
            let mut kind = [0; 4];
            if !self.fill(&mut kind)? {
                return Ok(false);
            }
            let kind = self.order.u32(kind);
            if kind == SECTION {
                self.section()?;
                continue;
            }
            let length: [u8; 4] = self.exactly()?;
            self.body(at, self.order.u32(length))?;
            match kind {
                INTERFACE => self.interface(at)?,
                ENHANCED_PACKET => return self.enhanced(at, record).map(|()| true),
                SIMPLE_PACKET => return self.simple(at, record).map(|()| true),
                // Names, statistics, comments, and kinds that are yet to be invented.
                _ => {}
            }
        }
    }

    /// A section's header after its type; the byte order is told only within it.
    fn section(&mut self) -> Result<(), CaptureError> {
        let at = self.offset - 4;
        let length: [u8; 4] = self.exactly()?;
        let magic: [u8; 4] = self.exactly()?;
        self.order = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (BYTE_ORDER, _) => Order::Little,
            (_, BYTE_ORDER) => Order::Big,
            _ => return Err(self.fault_at(at + 8, Fault::NotACapture)),
        };
        let length = self.order.u32(length);
        // Twelve bytes are read; the rest is as long as that of a block which is four bytes shorter.
        self.body(at, length.checked_sub(4).ok_or_else(|| self.fault_at(at + 4, Fault::Length(length)))?)?;
        let version = self.order.u16(self.block.first_chunk().copied().unwrap_or_default());
        if version != 1 {
            return Err(self.fault_at(at + 12, Fault::Version(version)));
        }
        self.format = Format::Next { interfaces: Vec::new() };
        Ok(())
    }

    /// Reads a block's body and its trailing length into `self.block`, which then holds the body.
    fn body(&mut self, at: u64, length: u32) -> Result<(), CaptureError> {
        if !(12..=BLOCK_MAX).contains(&length) || !length.is_multiple_of(4) {
            return Err(self.fault_at(at + 4, Fault::Length(length)));
        }
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        block.resize(length as usize - 8, 0);
        let whole = self.fill_or_truncated(&mut block);
        block.truncate(length as usize - 12);
        self.block = block;
        whole
    }

    fn interface(&mut self, at: u64) -> Result<(), CaptureError> {
        let link_type = self.link(at + 8, self.half(0).unwrap_or(u16::MAX).into())?;
        let units = units_a_second(self.resolution());
        let full = self.fault_at(at, Fault::Interface(INTERFACES_MAX as u32));
        match &mut self.format {
            Format::Next { interfaces } if interfaces.len() < INTERFACES_MAX => interfaces.push((units, link_type)),
            Format::Next { .. } | Format::Classic { .. } => return Err(full),
        }
        Ok(())
    }

    /// The interface's if_tsresol option; microseconds without one.
    fn resolution(&self) -> u8 {
        let mut at = 8;
        // Each option is four bytes at least, so the walk ends with the block.
        while let (Some(code), Some(length)) = (self.half(at), self.half(at + 2)) {
            if code == OPTION_TSRESOL {
                return self.block.get(at + 4).copied().unwrap_or(6);
            }
            if code == 0 {
                break;
            }
            at += 4 + usize::from(length).next_multiple_of(4);
        }
        6
    }

    fn enhanced(&mut self, at: u64, record: &mut Record) -> Result<(), CaptureError> {
        let (Some(interface), Some(high), Some(low)) = (self.word(0), self.word(4), self.word(8)) else {
            return Err(self.fault_at(at + 4, Fault::Length(self.block.len() as u32)));
        };
        let units = match &self.format {
            Format::Next { interfaces } => interfaces.get(interface as usize).copied(),
            Format::Classic { .. } => None,
        };
        let (units, link) = units.ok_or_else(|| self.fault_at(at + 8, Fault::Interface(interface)))?;
        record.link = link;
        record.time = time_of(u64::from(high) << 32 | u64::from(low), units);
        self.frame(at, 12, 20, record)
    }

    fn simple(&mut self, at: u64, record: &mut Record) -> Result<(), CaptureError> {
        let original = self.word(0).unwrap_or(0);
        let room = self.block.len().saturating_sub(4);
        record.time = Duration::ZERO;
        record.original_len = original;
        record.link = match &self.format {
            Format::Next { interfaces } => interfaces.first().map_or(ETHERNET, |&(_, link)| link),
            Format::Classic { link, .. } => *link,
        };
        let captured = room.min(original as usize);
        self.copy(at, 4, captured, record)
    }

    /// A frame whose two lengths stand at `lengths` and whose bytes begin at `start`.
    fn frame(&self, at: u64, lengths: usize, start: usize, record: &mut Record) -> Result<(), CaptureError> {
        let (captured, original) = (self.word(lengths).unwrap_or(0), self.word(lengths + 4).unwrap_or(0));
        record.original_len = original;
        self.copy(at, start, captured as usize, record)
    }

    fn copy(&self, at: u64, start: usize, len: usize, record: &mut Record) -> Result<(), CaptureError> {
        let bytes = start.checked_add(len).and_then(|end| self.block.get(start..end));
        let bytes = bytes.filter(|b| b.len() <= FRAME_MAX as usize);
        let bytes = bytes.ok_or_else(|| self.fault_at(at + 8, Fault::Length(len.min(u32::MAX as usize) as u32)))?;
        record.bytes.clear();
        record.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn word(&self, at: usize) -> Option<u32> {
        word_at(&self.block, at).map(|b| self.order.u32(b))
    }

    fn half(&self, at: usize) -> Option<u16> {
        Some(self.order.u16(*self.block.get(at..)?.first_chunk()?))
    }

    fn fault_at(&self, offset: u64, fault: Fault) -> CaptureError {
        CaptureError { offset, fault }
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], CaptureError> {
        let mut bytes = [0; N];
        self.fill_or_truncated(&mut bytes)?;
        Ok(bytes)
    }

    fn fill_or_truncated(&mut self, bytes: &mut [u8]) -> Result<(), CaptureError> {
        let at = self.offset;
        if bytes.is_empty() || self.fill(bytes)? { Ok(()) } else { Err(self.fault_at(at, Fault::Truncated)) }
    }

    /// Reads all of `bytes`; `false` where the file ends before the first of them.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, CaptureError> {
        let start = self.offset;
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if done == 0 => return Ok(false),
                Ok(0) => return Err(self.fault_at(start, Fault::Truncated)),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fault_at(self.offset, Fault::Io(e))),
            }
            self.offset = start + done as u64;
        }
        Ok(true)
    }
}

impl<R: BufRead> Reader<R> {
    /// Shows `look` frames that are lent later, each once and with its LINKTYPE, until it has seen the next `count`. Those
    /// that do not lie whole in the source's buffer, and those of pcapng, are not shown.
    #[inline]
    pub fn glance(&mut self, count: usize, mut look: impl FnMut(u32, &[u8])) {
        let Format::Classic { link, .. } = self.format else { return };
        if self.glanced >= count {
            return;
        }
        self.glanced_to = self.glanced_to.max(self.offset);
        // What is wrong here is told when it is read.
        let buffered = self.source.fill_buf().unwrap_or_default();
        let ahead = usize::try_from(self.glanced_to - self.offset).unwrap_or(usize::MAX);
        let mut rest = buffered.get(ahead..).unwrap_or_default();
        while self.glanced < count {
            let Some(([_, _, _, _, _, _, _, _, length @ .., _, _, _, _], behind)) = rest.split_first_chunk::<16>()
            else {
                return;
            };
            let length = self.order.u32(*length).min(FRAME_MAX) as usize;
            let Some((frame, behind)) = behind.split_at_checked(length) else { return };
            look(link, frame);
            rest = behind;
            self.glanced += 1;
            self.glanced_to += 16 + length as u64;
        }
    }

    /// Hands the next frame to `take`, with what [`Record`] says of it beside its bytes; `None` at the end of the file.
    /// A frame that lies whole in the source's buffer is not copied.
    ///
    /// # Errors
    /// As [`Reader::next`] has them.
    #[inline]
    pub fn lend<T>(
        &mut self,
        record: &mut Record,
        take: impl FnOnce(&Record, &[u8]) -> T,
    ) -> Result<Option<T>, CaptureError> {
        self.glanced = self.glanced.saturating_sub(1);
        if let Format::Classic { unit, link } = self.format {
            record.link = link;
            let offset = self.offset;
            let buffered = self.source.fill_buf().map_err(|e| CaptureError { offset, fault: Fault::Io(e) })?;
            if let Some((header, behind)) = buffered.split_first_chunk() {
                let captured = classic_frame(self.order, header, unit, record);
                let captured =
                    captured.map_err(|long| CaptureError { offset: offset + 8, fault: Fault::Length(long) })?;
                if let Some(bytes) = behind.get(..captured) {
                    let taken = take(record, bytes);
                    let length = header.len() + captured;
                    self.source.consume(length);
                    self.offset += length as u64;
                    return Ok(Some(taken));
                }
            }
        }
        let there = self.next(record)?;
        Ok(there.then(|| take(record, &record.bytes)))
    }
}

/// What the header of a frame of classic pcap says: how many bytes were captured of it, and into `record` the rest. An error
/// is a length beyond what is taken.
#[inline]
fn classic_frame(order: Order, header: &[u8; 16], unit: u32, record: &mut Record) -> Result<usize, u32> {
    let &[s0, s1, s2, s3, f0, f1, f2, f3, c0, c1, c2, c3, original @ ..] = header;
    let captured = order.u32([c0, c1, c2, c3]);
    if captured > FRAME_MAX {
        return Err(captured);
    }
    const SECOND: u64 = 1_000_000_000;
    let nanos = u64::from(order.u32([f0, f1, f2, f3])) * u64::from(unit);
    record.time = Duration::new(u64::from(order.u32([s0, s1, s2, s3])) + nanos / SECOND, (nanos % SECOND) as u32);
    record.original_len = order.u32(original);
    Ok(captured as usize)
}

fn word_at(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// if_tsresol: a power of ten, or of two with the uppermost bit set. What does not fit 64 bits counts as its limit.
fn units_a_second(resolution: u8) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.saturating_pow(exponent)
}

fn time_of(units: u64, units_a_second: u64) -> Duration {
    let units_a_second = units_a_second.max(1);
    let nanos = u128::from(units % units_a_second) * 1_000_000_000 / u128::from(units_a_second);
    Duration::from_secs(units / units_a_second).saturating_add(Duration::from_nanos(nanos as u64))
}
