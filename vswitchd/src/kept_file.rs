//! Files that the daemon writes at an orderly end and reads at its next start: a line of JSON that says what it is and
//! when it was written, a line for each thing, and a last one with their number.
//!
//! Such a file is written whole or not at all, readable by its owner alone, and taken away once it was read, so that no
//! later start finds what is long over. One of another form, that is cut, or that has more lines than its reader has room
//! for, is not used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The form of the files.
const VERSION: u32 = 1;
/// The longest line that is read.
const LINE_MAX: u64 = 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    weir: String,
    version: u32,
    /// Seconds since 1970.
    written_s: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    lines: usize,
}

/// Seconds since 1970.
pub fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Writes `all`, which are of this `kind`, at `now_s` seconds since 1970.
///
/// # Errors
/// Where the file cannot be written; what was there before stays then.
pub fn write<T: Serialize>(path: &Path, kind: &str, all: &[T], now_s: u64) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = Path::new(&name);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside)?;
    let mut out = BufWriter::new(file);
    let head = Head { weir: kind.to_owned(), version: VERSION, written_s: now_s };
    writeln!(out, "{}", serde_json::to_string(&head)?)?;
    for one in all {
        writeln!(out, "{}", serde_json::to_string(one)?)?;
    }
    writeln!(out, "{}", serde_json::to_string(&Tail { lines: all.len() })?)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(beside, path)
}

/// Reads what is of this `kind`, `max` lines at most, and takes the file away; with it comes how many seconds passed since it
/// was written. `None` where there is no file.
///
/// # Errors
/// Why it is of no use.
pub fn take<T: DeserializeOwned>(
    path: &Path,
    kind: &str,
    max: usize,
    now_s: u64,
) -> Option<Result<(u64, Vec<T>), String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    let all = read(file, kind, max, now_s);
    // Whatever it was, it is of no use a second time.
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!("{}: cannot be removed: {error}; remove it before the next start", path.display());
    }
    Some(all)
}

fn read<T: DeserializeOwned>(file: File, kind: &str, max: usize, now_s: u64) -> Result<(u64, Vec<T>), String> {
    let mut lines = Lines { from: BufReader::new(file), number: 0 };
    let text = lines.text()?;
    let head: Head = lines.parse(&text)?;
    if (head.weir.as_str(), head.version) != (kind, VERSION) {
        let (found, version) = (head.weir, head.version);
        return Err(format!("it has {found} in form {version}, where {kind} in form {VERSION} are read"));
    }
    let mut all = Vec::new();
    for count in 0..=max {
        let text = lines.text()?;
        if let Ok(Tail { lines }) = serde_json::from_str(&text) {
            return if lines == count {
                Ok((now_s.saturating_sub(head.written_s), all))
            } else {
                Err(format!("it has {count} lines where it says {lines}"))
            };
        }
        all.push(lines.parse(&text)?);
    }
    Err(format!("it has more than {max} lines"))
}

/// The lines of a file, each of bounded length.
struct Lines<R> {
    from: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    fn text(&mut self) -> Result<String, String> {
        self.number += 1;
        let mut text = String::new();
        let read = self.from.by_ref().take(LINE_MAX).read_line(&mut text);
        read.map_err(|e| format!("line {}: {e}", self.number))?;
        if text.ends_with('\n') { Ok(text) } else { Err(format!("line {}: it is cut or too long", self.number)) }
    }

    fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|e| format!("line {}: {e}", self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("weir-kept-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_is_written_is_read_once() {
        let path = path("whole");
        let all = ["a".to_owned(), "b".to_owned()];
        write(&path, "names", &all, 1000).expect("written");
        assert_eq!(take::<String>(&path, "names", 2, 1030), Some(Ok((30, all.to_vec()))));
        assert_eq!(take::<String>(&path, "names", 2, 1030), None, "it is gone");
    }

    #[test]
    fn what_is_broken_or_of_another_kind_is_not_used() {
        let path = path("broken");
        write(&path, "names", &["a", "b"], 1000).expect("written");
        let whole = fs::read_to_string(&path).expect("read");
        let tried = |text: &str, kind: &str, max: usize| {
            fs::write(&path, text).expect("written");
            take::<String>(&path, kind, max, 1000).expect("is there")
        };
        for cut in 0..whole.len() {
            assert!(tried(&whole[..cut], "names", 2).is_err(), "cut after {cut} bytes");
        }
        assert!(tried(&whole, "names", 2).is_ok());
        assert!(tried(&whole, "others", 2).is_err_and(|reason| reason.contains("has names")));
        assert!(tried(&whole, "names", 1).is_err_and(|reason| reason.contains("more than 1")));
        assert!(tried(&whole.replace("\"version\":1", "\"version\":2"), "names", 2).is_err());
        assert!(tried(&whole.replace("\"a\"\n", ""), "names", 2).is_err_and(|reason| reason.contains("says 2")));
        assert!(tried(&"x".repeat(4000), "names", 2).is_err_and(|reason| reason.contains("too long")));
    }
}
