//! What has to be undone, known to the whole process, so that a signal can undo it too.
//!
//! Every namespace is named after the process that made it, and every process that the laboratory starts runs in one
//! of them. So whoever finds a namespace of a process that is gone can end what runs in it and remove it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};

use super::Failure;

static NAMESPACES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// What the names of our namespaces and folders begin with; the process id follows.
pub(super) const PREFIX: &str = "weir-";

pub(super) fn namespace_made(name: &str) {
    if let Ok(mut all) = NAMESPACES.lock() {
        all.insert(name.to_owned());
    }
}

/// Ends what runs in a namespace of ours and removes it.
pub(super) fn remove_namespace(name: &str) {
    // Twice: first asked to end, then made to.
    for signal in [Signal::TERM, Signal::KILL] {
        for pid in pids_in(name) {
            // It may have ended between the listing and now.
            let _ = kill_process(pid, signal);
        }
        for _ in 0..50 {
            if pids_in(name).is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    // A failure here leaves a namespace that the next run sweeps away.
    let _ = Command::new("ip").args(["netns", "del", name]).output();
    if let Ok(mut all) = NAMESPACES.lock() {
        all.remove(name);
    }
}

fn pids_in(namespace: &str) -> Vec<Pid> {
    let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() else { return Vec::new() };
    let own = std::process::id().cast_signed();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.trim().parse().ok())
        .filter(|&pid| pid != own)
        .filter_map(Pid::from_raw)
        .collect()
}

/// Removes every namespace and folder that this process has made: for a signal handler's thread.
pub fn end_everything() {
    let names: Vec<String> = NAMESPACES.lock().map(|all| all.iter().cloned().collect()).unwrap_or_default();
    for name in names {
        remove_namespace(&name);
    }
    let folders: Vec<PathBuf> = FOLDERS.lock().map(|all| all.iter().cloned().collect()).unwrap_or_default();
    for folder in folders {
        // The process is about to end; what cannot be removed is swept away by the next one.
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Removes what processes that are gone left behind. Done once by the first namespace of a process.
pub fn sweep() {
    for name in names_in(Path::new("/run/netns")).into_iter().filter(|name| is_orphan(name)) {
        remove_namespace(&name);
    }
    for name in names_in(&std::env::temp_dir()).into_iter().filter(|name| is_orphan(name)) {
        // Another process may sweep the same folder at the same time.
        let _ = std::fs::remove_dir_all(std::env::temp_dir().join(name));
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Whether a name is one of ours, `weir-PID-...`, and its process is gone.
fn is_orphan(name: &str) -> bool {
    let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { return false };
    pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// A folder that goes with its value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder for this process.
    pub fn new(label: &str) -> Result<Scratch, Failure> {
        let path = std::env::temp_dir().join(unique(label));
        std::fs::create_dir_all(&path).map_err(|e| Failure::of(path.display(), e))?;
        if let Ok(mut all) = FOLDERS.lock() {
            all.insert(path.clone());
        }
        Ok(Scratch(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is swept away by the next run.
        let _ = std::fs::remove_dir_all(&self.0);
        if let Ok(mut all) = FOLDERS.lock() {
            all.remove(&self.0);
        }
    }
}

/// A name of this process that no other value has.
pub(super) fn unique(label: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{PREFIX}{}-{}-{label}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_processes_that_are_gone_are_orphans() {
        assert!(!is_orphan(&unique("here")));
        assert!(is_orphan("weir-4194305-1-gone"), "larger than any process id");
        assert!(!is_orphan("weir-"));
        assert!(!is_orphan("other-4194305-1"));
    }

    #[test]
    fn a_scratch_folder_goes_with_its_value() {
        let scratch = Scratch::new("x").unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "content").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
