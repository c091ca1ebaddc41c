//! The EVE file: one line an event, opened again when asked so that it can be rotated.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that lines are added to.
#[derive(Debug)]
pub struct EveFile {
    path: PathBuf,
    out: BufWriter<File>,
    reopen: Arc<AtomicBool>,
    broken: bool,
}

impl EveFile {
    /// Opens the file, or makes it. When `reopen` is set, it is opened anew before the next line.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(path: &Path, reopen: Arc<AtomicBool>) -> io::Result<EveFile> {
        Ok(EveFile { path: path.to_owned(), out: open(path)?, reopen, broken: false })
    }

    /// Adds a line; `false` where it could not be.
    pub fn write(&mut self, line: &str) -> bool {
        if self.reopen.swap(false, Ordering::Relaxed) {
            self.open_anew();
        }
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        self.note(&written);
        written.is_ok()
    }

    /// Hands what was written to the kernel.
    pub fn flush(&mut self) {
        let flushed = self.out.flush();
        self.note(&flushed);
    }

    fn open_anew(&mut self) {
        let flushed = self.out.flush();
        self.note(&flushed);
        match open(&self.path) {
            Ok(out) => self.out = out,
            Err(error) => {
                tracing::error!("{}: cannot be opened anew: {error}; the old file is kept", self.path.display())
            }
        }
    }

    /// Tells of the first failure and of the end of failing, not of each line.
    fn note(&mut self, result: &io::Result<()>) {
        match result {
            Ok(()) if self.broken => {
                self.broken = false;
                tracing::info!("{}: events are written again", self.path.display());
            }
            Err(error) if !self.broken => {
                self.broken = true;
                tracing::error!("{}: events cannot be written: {error}; they are lost", self.path.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn open(path: &Path) -> io::Result<BufWriter<File>> {
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    Ok(BufWriter::with_capacity(64 << 10, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_is_opened_anew_when_asked() {
        let directory = std::env::temp_dir().join(format!("weir-eve-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("made");
        let (path, old) = (directory.join("eve.json"), directory.join("eve.json.1"));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut file = EveFile::open(&path, Arc::clone(&reopen)).expect("opens");
        assert!(file.write("first"));
        file.flush();
        std::fs::rename(&path, &old).expect("renamed");
        reopen.store(true, Ordering::Relaxed);
        assert!(file.write("second"));
        file.flush();
        assert_eq!(std::fs::read_to_string(&old).expect("there"), "first\n");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "second\n");
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
