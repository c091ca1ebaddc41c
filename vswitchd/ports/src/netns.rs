//! Network namespaces by name or path.
//!
//! A thread's namespace decides where devices and sockets are made, so work in another namespace runs on a thread of
//! its own that ends with it: no caller's namespace ever changes. A descriptor stays in the namespace it was made in.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::fd::check;
use crate::{PortError, PortErrorKind};

/// Where `ip netns add` keeps its handles.
const HANDLES: &str = "/run/netns";

/// A network namespace: the process's own, or one held open.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    handle: Option<OwnedFd>,
}

impl NetNs {
    /// The namespace of the calling thread.
    pub fn own() -> NetNs {
        NetNs { name: String::new(), handle: None }
    }

    /// The namespace that `ip netns` calls `name`, or that a path leads to ("/proc/4711/ns/net"); the process's own
    /// for `None`.
    ///
    /// # Errors
    /// `NotFound` where there is no such namespace, `Denied` without the right to look.
    pub fn open(name: Option<&str>) -> Result<NetNs, PortError> {
        let Some(name) = name else { return Ok(NetNs::own()) };
        let path = path_of(name).ok_or_else(|| {
            PortError::new(PortErrorKind::Invalid, format!("namespace {name:?}"), "not a name or path")
        })?;
        let file = File::open(&path).map_err(|e| {
            PortError::os(format!("namespace {name}"), format!("cannot open {}", path.display()), e)
                .with_remedy(format!("create it with \"ip netns add {name}\", or give the path of a namespace"))
        })?;
        Ok(NetNs { name: name.to_owned(), handle: Some(file.into()) })
    }

    /// The namespace that a descriptor of the kernel's stands for.
    pub(crate) fn from_handle(name: String, handle: OwnedFd) -> NetNs {
        NetNs { name, handle: Some(handle) }
    }

    /// The same namespace, held a second time.
    pub fn duplicate(&self) -> Result<NetNs, PortError> {
        let handle = self.handle.as_ref().map(OwnedFd::try_clone).transpose().map_err(cannot_hold)?;
        Ok(NetNs { name: self.name.clone(), handle })
    }

    /// The name or path it was opened by; empty for the process's own.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor that stands for the namespace.
    ///
    /// # Errors
    /// Where /proc is not mounted.
    pub fn handle(&self) -> Result<OwnedFd, PortError> {
        let handle = match &self.handle {
            Some(handle) => handle.try_clone(),
            None => File::open("/proc/thread-self/ns/net").map(OwnedFd::from),
        };
        handle.map_err(cannot_hold)
    }

    /// Runs `work` in the namespace and waits for it.
    ///
    /// # Errors
    /// `Denied` without CAP_SYS_ADMIN over the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, PortError> {
        let Some(handle) = &self.handle else { return Ok(work()) };
        let object = || format!("namespace {}", self.name);
        let outcome = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(handle.as_fd()).map_err(|e| {
                        PortError::os(object(), "cannot enter it", e)
                            .with_remedy("vswitchd needs CAP_SYS_ADMIN to work in other namespaces")
                    })?;
                    Ok(work())
                })
                .join()
        });
        outcome.unwrap_or_else(|_| Err(PortError::new(PortErrorKind::System, object(), "the work in it failed")))
    }
}

fn cannot_hold(source: std::io::Error) -> PortError {
    PortError::os("namespace", "cannot get a handle on the network namespace", source)
}

fn enter(handle: BorrowedFd<'_>) -> std::io::Result<()> {
    // SAFETY: setns takes no pointers; it changes the calling thread alone, which its only caller made for this.
    check(unsafe { libc::setns(handle.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// A path is taken as it is; a name must be one path component, as `ip netns` has it.
fn path_of(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name));
    }
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    plain.then(|| Path::new(HANDLES).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_the_handles_and_paths_to_themselves() {
        assert_eq!(path_of("red").unwrap(), Path::new("/run/netns/red"));
        assert_eq!(path_of("/proc/1/ns/net").unwrap(), Path::new("/proc/1/ns/net"));
        for bad in ["", "..", "a/b", "../etc"] {
            assert_eq!(path_of(bad), None);
        }
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named_with_a_remedy() {
        let error = NetNs::open(Some("weir-no-such-namespace")).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound);
        assert!(error.to_string().contains("ip netns add weir-no-such-namespace"), "{error}");
    }

    #[test]
    fn work_in_the_own_namespace_runs_on_the_calling_thread() {
        let here = std::thread::current().id();
        assert_eq!(NetNs::own().run(|| std::thread::current().id()).unwrap(), here);
    }
}
