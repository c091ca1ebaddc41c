//! A host of its own on this machine: a network namespace.
//!
//! Work for the host runs on a thread that has entered the namespace; sockets it opens and processes it starts stay
//! there. The rest of the process never changes its namespace.

use std::process::{Child, Command};
use std::sync::Once;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::cleanup::{namespace_made, remove_namespace, sweep, unique};
use super::{Failure, wait_for};

/// Whether this process may make namespaces.
pub fn root_here() -> bool {
    rustix::process::geteuid().is_root()
}

/// For the first line of a test that needs root: true, and said aloud, where there is none.
pub fn skip_unless_root() -> bool {
    if root_here() {
        return false;
    }
    println!("skipped: needs root (CAP_NET_ADMIN)");
    true
}

/// A network namespace; removed with its value, with all that runs in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes an empty one with its loopback up. `label` shows in its name.
    pub fn new(label: &str) -> Result<Namespace, Failure> {
        static FIRST: Once = Once::new();
        FIRST.call_once(sweep);
        let namespace = Namespace { name: unique(label) };
        namespace_made(&namespace.name);
        ip(&["netns", "add", &namespace.name])?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name below `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` for this namespace and returns what it printed.
    pub fn ip(&self, arguments: &[&str]) -> Result<String, Failure> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Runs `work` on a thread inside and waits for it.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.name)?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts `work` on a thread inside.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> JoinHandle<Result<T, Failure>> {
        let name = self.name.clone();
        std::thread::spawn(move || {
            enter(&name)?;
            work()
        })
    }

    /// Starts a process inside.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, Failure> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.inside(|| command.spawn().map_err(|e| Failure::of(program, e)))
    }

    /// Waits until the interface exists, gives it an address (`10.0.0.1/24`) and brings it up.
    pub fn address(&self, interface: &str, address: &str) -> Result<(), Failure> {
        let what = format!("interface {interface} in {}", self.name);
        wait_for(&what, Duration::from_secs(20), || self.ip(&["link", "show", "dev", interface]).ok())?;
        // `nodad`: an IPv6 address would otherwise be unusable for the first second.
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.ip(&[&["addr", "add", address, "dev", interface], nodad].concat())?;
        self.ip(&["link", "set", interface, "up"])?;
        Ok(())
    }

    /// Joins `here` in this namespace to `there` in `other` by a pair of virtual Ethernet devices, both up.
    pub fn veth(&self, here: &str, other: &Namespace, there: &str) -> Result<(), Failure> {
        self.ip(&["link", "add", here, "type", "veth", "peer", "name", there, "netns", &other.name])?;
        self.ip(&["link", "set", here, "up"])?;
        other.ip(&["link", "set", there, "up"])?;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove_namespace(&self.name);
    }
}

/// Moves the calling thread into a namespace; the caller's thread ends there.
pub(super) fn enter(name: &str) -> Result<(), Failure> {
    let path = format!("/run/netns/{name}");
    let file = std::fs::File::open(&path).map_err(|e| Failure::of(&path, e))?;
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).map_err(|e| Failure::of(path, e))
}

fn ip(arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|e| Failure::of("cannot run ip (Debian: apt-get install iproute2)", e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::of(format!("ip {}", arguments.join(" ")), said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
