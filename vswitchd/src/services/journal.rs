//! Leases in a file, so that they outlive the daemon.
//!
//! One line of JSON for each lease that is given, changed or taken back, appended before the guest hears of it; a later
//! line of an address replaces an earlier one. The file is written anew, whole or not at all, when the daemon starts and
//! when it has grown to several times what it has to hold. A last line that a crash has cut is passed over.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::leases::{Lease, Leases, Place};

/// Lines beyond twice the number of leases after which the file is written anew.
const SLACK: usize = 4096;
/// The longest line that is read.
const LINE_MAX: usize = 8192;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    /// What the daemon calls itself in DHCPv6.
    Duid { duid: Vec<u8> },
    /// The address is nobody's any more.
    Free { free: (String, IpAddr) },
    /// The address is somebody's.
    Lease(Lease),
}

/// The file, or none.
#[derive(Debug)]
pub struct Journal {
    path: Option<PathBuf>,
    file: Option<File>,
    lines: usize,
    duid: Vec<u8>,
    /// Lines that could not be written.
    pub failed: u64,
}

impl Journal {
    /// A journal that keeps nothing.
    pub fn none(duid: Vec<u8>) -> Journal {
        Journal { path: None, file: None, lines: 0, duid, failed: 0 }
    }

    /// Reads what the file at `path` holds, if there is one, and writes it anew. `duid` is what the daemon calls itself
    /// where the file says nothing else.
    ///
    /// # Errors
    /// Where the file can be neither read nor written; names it.
    pub fn open(path: &Path, now_s: u64, duid: Vec<u8>) -> Result<(Journal, Leases), String> {
        let named = |e: std::io::Error| format!("lease file {}: {e}", path.display());
        let mut journal = Journal { path: Some(path.to_owned()), ..Journal::none(duid) };
        let leases = journal.read(path, now_s).map_err(named)?;
        journal.write_anew(&leases).map_err(named)?;
        Ok((journal, leases))
    }

    /// What the daemon calls itself in DHCPv6.
    pub fn duid(&self) -> &[u8] {
        &self.duid
    }

    fn read(&mut self, path: &Path, now_s: u64) -> std::io::Result<Leases> {
        let mut leases = Leases::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(leases),
            Err(e) => return Err(e),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            match serde_json::from_slice(&line) {
                Ok(_) | Err(_) if line.len() > LINE_MAX => {}
                Ok(Line::Duid { duid }) => self.duid = duid,
                Ok(Line::Free { free: (place, address) }) => drop(leases.remove(&place.into(), address)),
                // What finds no room has found none before either.
                Ok(Line::Lease(lease)) => drop(leases.put(now_s, lease)),
                Err(error) => tracing::warn!("lease file {}: a line is passed over: {error}", path.display()),
            }
        }
        Ok(leases)
    }

    /// Keeps a lease.
    pub fn keep(&mut self, lease: &Lease, leases: &Leases) {
        self.append(&Line::Lease(lease.clone()), leases);
    }

    /// Keeps that an address is free.
    pub fn free(&mut self, place: &Place, address: IpAddr, leases: &Leases) {
        self.append(&Line::Free { free: (place.to_string(), address) }, leases);
    }

    fn append(&mut self, line: &Line, leases: &Leases) {
        if self.path.is_none() {
            return;
        }
        let written = match self.lines > leases.len() * 2 + SLACK || self.file.is_none() {
            true => self.write_anew(leases),
            false => self.write_line(line),
        };
        if let Err(error) = written {
            self.failed += 1;
            if self.failed.is_power_of_two() {
                tracing::error!("leases cannot be written and would not survive a restart: {error}");
            }
        }
    }

    fn write_line(&mut self, line: &Line) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.lines += 1;
        file.write_all(&text)
    }

    fn write_anew(&mut self, leases: &Leases) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut text = serde_json::to_vec(&Line::Duid { duid: self.duid.clone() })?;
        for lease in leases.iter() {
            text.push(b'\n');
            serde_json::to_writer(&mut text, &Line::Lease(lease.clone()))?;
        }
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        self.file = Some(OpenOptions::new().append(true).open(path)?);
        self.lines = leases.len() + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::leases::Standing;
    use super::*;
    use weir_wire::MacAddr;

    fn lease(last: u8) -> Lease {
        Lease {
            place: "r/lan".into(),
            address: IpAddr::from([10, 0, 0, last]),
            client: vec![1, last],
            mac: MacAddr([2, 0, 0, 0, 0, last]),
            port: "vm".into(),
            name: None,
            until_s: 100,
            standing: Standing::Bound,
        }
    }

    #[test]
    fn leases_and_the_daemons_name_outlive_it_and_a_torn_line() {
        let path = std::env::temp_dir().join(format!("weir-journal-{}", std::process::id()));
        let (mut journal, mut leases) = Journal::open(&path, 0, vec![1]).expect("opens");
        for last in [5, 6] {
            leases.put(0, lease(last)).expect("room");
            journal.keep(&lease(last), &leases);
        }
        journal.free(&lease(5).place, lease(5).address, &leases);
        let mut file = OpenOptions::new().append(true).open(&path).expect("is there");
        file.write_all(b"{\"place\":\"r/lan\",\"addr").expect("written");
        let (journal, leases) = Journal::open(&path, 0, vec![2]).expect("opens again");
        assert_eq!(journal.duid(), [1]);
        assert_eq!(leases.iter().cloned().collect::<Vec<_>>(), [lease(6)]);
        assert_eq!(fs::read_to_string(&path).expect("reads").lines().count(), 2, "it was written anew");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_refused_by_name() {
        let error = Journal::open(Path::new("/nonexistent/leases"), 0, Vec::new()).expect_err("no folder");
        assert!(error.contains("/nonexistent/leases"), "{error}");
    }
}
