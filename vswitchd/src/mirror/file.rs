//! Capture files that take turns: the one that is written, and so many older ones.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::config::CaptureFile;

/// pcap with nanoseconds, version 2.4, Ethernet (draft-ietf-opsawg-pcap).
const MAGIC: u32 = 0xa1b2_3c4d;
const LONGEST: u32 = 262_144;

/// Capture files in rotation.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    most: u64,
    files: u32,
    file: BufWriter<File>,
    written: u64,
}

impl Rotating {
    /// Begins a new file; one that is there becomes the first of the older ones.
    pub fn open(wanted: &CaptureFile) -> io::Result<Rotating> {
        let (path, most) = (PathBuf::from(&wanted.path), u64::from(wanted.megabytes) << 20);
        if path.exists() {
            age(&path, wanted.files)?;
        }
        let (file, written) = begin(&path)?;
        Ok(Rotating { path, most, files: wanted.files, file, written })
    }

    /// Appends a frame; `whole` is the length that it had.
    pub fn write(&mut self, wall_ns: u64, frame: &[u8], whole: usize) -> io::Result<()> {
        if self.written + 16 + frame.len() as u64 > self.most {
            self.file.flush()?;
            age(&self.path, self.files)?;
            (self.file, self.written) = begin(&self.path)?;
        }
        let (seconds, nanos) = (wall_ns / 1_000_000_000, wall_ns % 1_000_000_000);
        for word in [seconds as u32, nanos as u32, frame.len() as u32, whole as u32] {
            self.file.write_all(&word.to_le_bytes())?;
        }
        self.file.write_all(frame)?;
        self.written += 16 + frame.len() as u64;
        Ok(())
    }

    /// Hands what was written to the kernel, so that readers see it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn begin(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
    file.write_all(&MAGIC.to_le_bytes())?;
    file.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    file.write_all(&LONGEST.to_le_bytes())?;
    file.write_all(&1_u32.to_le_bytes())?;
    Ok((file, 24))
}

/// The name of an older file; 0 is the one that is written.
fn older(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Every file becomes one older, but the oldest, which goes.
fn age(path: &Path, files: u32) -> io::Result<()> {
    for number in (0..files.saturating_sub(1)).rev() {
        match std::fs::rename(older(path, number), older(path, number + 1)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_turns_and_the_oldest_goes() {
        let folder = std::env::temp_dir().join(format!("weir-mirror-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("m.pcap");
        let wanted = CaptureFile { path: path.display().to_string(), megabytes: 1, files: 3 };
        let mut files = Rotating::open(&wanted).unwrap();
        // A little over a megabyte with each 700 frames.
        for n in 0..3500_u64 {
            files.write(n * 1_000_000_000 + 7, &[n as u8; 1500], 1514).unwrap();
        }
        files.flush().unwrap();
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["m.pcap", "m.pcap.1", "m.pcap.2"]);
        for name in &names {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            assert!(bytes.len() <= 1 << 20 && bytes.starts_with(&[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]), "{name}");
            assert_eq!(bytes[28..40], [7, 0, 0, 0, 0xdc, 5, 0, 0, 0xea, 5, 0, 0], "{name}: time and lengths");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
