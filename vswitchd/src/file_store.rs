//! Files of live traffic that rules want stored, on their way from the event thread to a directory.
//!
//! A thread of its own writes them, each under its SHA-256 in a folder of the first two digits, whole or not at all: a
//! file is written beside its place and then moved there. What lies there already is the same file, and stays.
//!
//! Limits: [`WAITING`] files wait for the thread, of which the engine bounds the bytes; all files of the directory
//! together take no more than the settings say. What is beyond is not stored, counted, and told of once.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use weir_filter::event::{HandedFile, StoredFile};

use crate::config::FileStore;

/// Files that wait to be written.
const WAITING: usize = 256;

/// Files stored, and files that were not.
#[derive(Debug, Default)]
pub struct Counters {
    stored: AtomicU64,
    lost: AtomicU64,
}

impl Counters {
    /// Files stored since the start, and files that were not.
    pub fn read(&self) -> (u64, u64) {
        (self.stored.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
}

/// A file, and where it goes.
struct Order {
    file: Arc<HandedFile>,
    directory: PathBuf,
    total_bytes: u64,
}

/// The way to the thread that writes.
pub struct FileWriter {
    orders: SyncSender<Order>,
    counters: Arc<Counters>,
}

impl FileWriter {
    /// Starts the thread. It ends when this is dropped and all is written.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(counters: Arc<Counters>) -> io::Result<FileWriter> {
        let (orders, taken) = sync_channel(WAITING);
        let told = Arc::clone(&counters);
        std::thread::Builder::new().name("files".into()).spawn(move || write_all(&taken, &told))?;
        Ok(FileWriter { orders, counters })
    }

    /// Has a file stored. Never waits.
    pub fn store(&self, file: Arc<HandedFile>, settings: &FileStore) {
        if settings.directory.is_empty() {
            return;
        }
        let order = Order { file, directory: PathBuf::from(&settings.directory), total_bytes: settings.total_bytes };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.orders.try_send(order) {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How storing a file went.
#[derive(Debug)]
enum Went {
    Stored,
    /// It was there already.
    Known,
    /// The directory has as many bytes as it may.
    Full,
    Failed(io::Error),
}

fn write_all(orders: &Receiver<Order>, counters: &Counters) {
    let mut shelves = HashMap::new();
    let mut bad = false;
    for order in orders {
        let directory = order.directory.as_path();
        let shelf = shelves.entry(order.directory.clone()).or_insert_with(|| Shelf { bytes: bytes_below(directory) });
        let went = shelf.store(directory, order.file.file(), order.total_bytes);
        match &went {
            Went::Stored | Went::Known => counters.stored.fetch_add(1, Ordering::Relaxed),
            Went::Full | Went::Failed(_) => counters.lost.fetch_add(1, Ordering::Relaxed),
        };
        // The first failure is told, and the end of failing.
        match went {
            Went::Full if !bad => {
                tracing::warn!("{}: file_store.total_bytes is reached; files are not stored", directory.display());
                bad = true;
            }
            Went::Failed(error) if !bad => {
                tracing::error!("{}: files cannot be stored: {error}", directory.display());
                bad = true;
            }
            Went::Stored if bad => {
                tracing::info!("{}: files are stored again", directory.display());
                bad = false;
            }
            Went::Stored | Went::Known | Went::Full | Went::Failed(_) => {}
        }
    }
}

/// A directory with files.
struct Shelf {
    bytes: u64,
}

impl Shelf {
    fn store(&mut self, directory: &Path, file: &StoredFile, total_bytes: u64) -> Went {
        let path = directory.join(file.path());
        if path.exists() {
            return Went::Known;
        }
        let length = file.bytes.len() as u64;
        if self.bytes.saturating_add(length) > total_bytes {
            // Files may have been taken away since.
            self.bytes = bytes_below(directory);
            if self.bytes.saturating_add(length) > total_bytes {
                return Went::Full;
            }
        }
        match write(&path, &file.bytes) {
            Ok(()) => {
                self.bytes += length;
                Went::Stored
            }
            Err(error) => Went::Failed(error),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = path.with_extension("part");
    let mut out = OpenOptions::new().create(true).truncate(true).write(true).mode(0o640).open(&unfinished)?;
    let written = out.write_all(bytes).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // What could not be written whole is no file; that it stays would change nothing.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// The bytes of the files in a store's folders.
fn bytes_below(directory: &Path) -> u64 {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries(directory).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let lengths = folders.flat_map(|folder| entries(&folder.path())).map(|file| file.metadata().map_or(0, |m| m.len()));
    lengths.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(first: u8, length: usize) -> StoredFile {
        StoredFile { sha256: [first; 32], bytes: vec![first; length].into(), size: length as u64 }
    }

    #[test]
    fn files_lie_under_their_digest_once_and_within_the_bound() {
        let directory = std::env::temp_dir().join(format!("weir-files-{}", std::process::id()));
        let mut shelf = Shelf { bytes: bytes_below(&directory) };
        assert!(matches!(shelf.store(&directory, &file(0xab, 600), 1000), Went::Stored));
        let path = directory.join("ab").join("ab".repeat(32));
        assert_eq!(fs::read(&path).expect("stored"), vec![0xab; 600]);
        assert!(matches!(shelf.store(&directory, &file(0xab, 600), 1000), Went::Known));
        assert!(matches!(shelf.store(&directory, &file(0xcd, 600), 1000), Went::Full));
        fs::remove_file(&path).expect("removed");
        assert!(matches!(shelf.store(&directory, &file(0xcd, 600), 1000), Went::Stored));
        assert_eq!(bytes_below(&directory), 600);
        assert!(matches!(shelf.store(Path::new("/proc/nowhere"), &file(1, 1), 1000), Went::Failed(_)));
        fs::remove_dir_all(&directory).expect("removed");
    }
}
