//! Packets marked by rules, as the kernels of both ends read them.

use std::process::{Command, Output};
use std::time::Duration;

use weir_tests::lab::{Failure, Lan, Namespace, skip_unless_root, skip_without, switch_with_rules, tap, wait_for};

/// Answers each datagram with the traffic class that it came with.
const SERVER: &str = r#"
import socket, sys, threading
def serve(family, level, on):
    s = socket.socket(family, socket.SOCK_DGRAM); s.setsockopt(level, on, 1); s.bind(("", int(sys.argv[1])))
    while True:
        _, said, _, who = s.recvmsg(100, 100)
        s.sendto(str(int.from_bytes(said[0][2][:4], "little")).encode(), who)
threading.Thread(target=serve, args=(socket.AF_INET, 0, 13)).start()
# The IPv6 socket takes IPv6 alone.
def six():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(41, 26, 1); s.setsockopt(41, 66, 1)
    s.bind(("::", int(sys.argv[1])))
    while True:
        _, said, _, who = s.recvmsg(100, 100)
        s.sendto(str(int.from_bytes(said[0][2][:4], "little")).encode(), who)
six()
"#;

/// Asks three times, with ECT(0) set; prints the classes that arrived there, and here.
const CLIENT: &str = r#"
import socket, sys
six = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)
level, send, told = (41, 67, 66) if six else (0, 1, 13)
s.setsockopt(level, send, 2); s.setsockopt(level, told, 1)
there, here = [], []
for n in range(3):
    s.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
    text, said, _, _ = s.recvmsg(100, 100)
    there.append(text.decode()); here.append(str(int.from_bytes(said[0][2][:4], "little")))
print(" ".join(there), "|", " ".join(here))
"#;

struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(from: &Namespace, address: &str, port: &str) -> Result<Output, Failure> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", from.name(), "python3", "-c", CLIENT, address, port]);
    Ok(command.output()?)
}

#[test]
fn kernels_see_the_mark_of_the_rule_that_allows_them() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    if Command::new("python3").arg("--version").output().is_err() && skip_without("python3") {
        return Ok(());
    }
    let rules = "\n[[rule]]\nname = \"voice\"\naction = \"allow\"\nprotocol = \"udp\"\ndestination_ports = 5060\n\
                 dscp = \"ef\"\n";
    let lan = Lan::start(&format!("{}{rules}", switch_with_rules("")), &[tap("caller"), tap("called")])?;
    let [caller, called] = &lan.hosts[..] else { unreachable!() };
    let serve = |port: &str| called.namespace.spawn(Command::new("python3").args(["-c", SERVER, port])).map(Ended);
    let _servers = [serve("5060")?, serve("5061")?];
    // ECN stays: EF is 46, ECT(0) 2. What comes back carries none, since the server sets none.
    for (address, port, expected) in [
        ("10.77.0.2", "5060", "186 186 186 | 184 184 184"),
        ("fd77::2", "5060", "186 186 186 | 184 184 184"),
        ("10.77.0.2", "5061", "2 2 2 | 0 0 0"),
        ("fd77::2", "5061", "2 2 2 | 0 0 0"),
    ] {
        let said = wait_for("an answer", Duration::from_secs(15), || {
            let output = ask(&caller.namespace, address, port).ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        })?;
        assert_eq!(said, expected, "{address} port {port}");
    }
    let shown = lan.daemon.ctl(&["policy", "show"])?;
    assert!(shown.contains("allow (dscp ef)"), "{shown}");
    Ok(())
}
