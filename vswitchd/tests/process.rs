//! The daemon as a process: how it starts, tells that it is ready, refuses to start, and ends.

// What is expected of the test's own surroundings is no answer of the daemon.
#![allow(clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A folder that goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("weir-process-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("made");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).expect("written");
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removed");
    }
}

fn vswitchd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vswitchd"))
}

fn run(folder: &Folder) -> Command {
    let mut command = vswitchd();
    command.arg("run").arg("--listen").arg(format!("unix:{}", folder.path("control.sock").display()));
    command
}

fn arguments<const N: usize>(mut command: Command, more: [&Path; N]) -> Command {
    command.args(more);
    command
}

/// Starts it as systemd would, and waits until it says that it is ready.
fn start(folder: &Folder, mut command: Command) -> Child {
    let notices = folder.path("notify");
    let manager = UnixDatagram::bind(&notices).expect("bound");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let child = command.env("NOTIFY_SOCKET", &notices).stderr(Stdio::null()).spawn().expect("starts");
    let mut notice = [0; 64];
    let length = manager.recv(&mut notice).expect("is ready in time");
    assert!(notice[..length].starts_with(b"READY=1"));
    std::fs::remove_file(notices).expect("removed");
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("is there");
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_is_ready_when_it_says_so_and_leaves_nothing_behind() {
    let folder = Folder::new("life");
    let state = folder.path("state.toml");
    let eve = folder.path("eve.json");
    let mut child = start(&folder, arguments(run(&folder), [Path::new("--state"), &state, Path::new("--eve"), &eve]));
    let socket = folder.path("control.sock");
    let mode = std::fs::metadata(&socket).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // The event file is opened anew and the daemon goes on.
    signal(&child, Signal::HUP);
    signal(&child, Signal::TERM);
    assert!(child.wait().expect("ends").success());
    assert!(!socket.exists());
}

#[test]
fn a_killed_daemon_does_not_hinder_the_next_but_a_running_one_does() {
    let folder = Folder::new("killed");
    let mut first = start(&folder, run(&folder));
    let said = refused(&run(&folder).output().expect("ends"));
    assert!(said.contains("another vswitchd answers there"), "{said}");
    signal(&first, Signal::KILL);
    first.wait().expect("ends");
    assert!(folder.path("control.sock").exists(), "its socket is still there");
    let mut second = start(&folder, run(&folder));
    signal(&second, Signal::INT);
    assert!(second.wait().expect("ends").success());
}

#[test]
fn ports_of_its_state_are_open_when_it_is_ready_and_closed_when_it_ends() {
    let folder = Folder::new("ports");
    let guest = folder.path("vm1.sock");
    let state = format!(
        "switch = [{{ name = \"lan\" }}]\n\
         port = [{{ name = \"vm1\", switch = \"lan\", vhost_user = {{ path = \"{}\" }} }}]\n",
        guest.display()
    );
    let config = folder.write("weir.toml", &state);
    let mut child = start(&folder, arguments(run(&folder), [Path::new("--config"), &config]));
    assert!(guest.exists());
    signal(&child, Signal::TERM);
    assert!(child.wait().expect("ends").success());
    assert!(!guest.exists());
}

#[test]
fn a_wrong_state_is_refused_with_its_place_before_anything_is_made() {
    let folder = Folder::new("wrong");
    let config = folder.write("weir.toml", "[[switch]]\nname = \"lan\"\ncolour = \"red\"\n");
    let said = refused(&arguments(run(&folder), [Path::new("--config"), &config]).output().expect("ends"));
    assert!(said.contains("weir.toml") && said.contains("line 3") && said.contains("colour"), "{said}");
    let config = folder.write("weir.toml", "[[port]]\nname = \"p\"\nswitch = \"lan\"\nmem = {}\n");
    let said = refused(&arguments(run(&folder), [Path::new("--config"), &config]).output().expect("ends"));
    assert!(said.contains("port p: there is no switch \"lan\""), "{said}");
    let said = refused(&vswitchd().arg("check").arg(&config).output().expect("ends"));
    assert!(said.contains("there is no switch"), "{said}");
    let config = folder.write("weir.toml", "[[switch]]\nname = \"lan\"\n");
    assert!(vswitchd().arg("check").arg(&config).output().expect("ends").status.success());
    assert!(!folder.path("control.sock").exists());
}

#[test]
fn tcp_without_certificates_is_refused() {
    let output = vswitchd().args(["run", "--listen", "tcp:127.0.0.1:0"]).output().expect("ends");
    assert!(refused(&output).contains("TCP needs mutual TLS"));
    let open = ["run", "--listen", "tcp:0.0.0.0:0", "--insecure-loopback"];
    assert!(refused(&vswitchd().args(open).output().expect("ends")).contains("only loopback"));
}

#[test]
fn wrong_usage_has_a_status_of_its_own() {
    for wrong in [&["run", "--listen", "somewhere"][..], &["run", "--config", "a", "--state", "b"], &["fly"]] {
        assert_eq!(vswitchd().args(wrong).output().expect("ends").status.code(), Some(2), "{wrong:?}");
    }
}
