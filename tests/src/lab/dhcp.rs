//! Real DHCP clients in a namespace: BusyBox's `udhcpc` for IPv4, ISC's `dhclient` for IPv6.
//!
//! What they are told is done to the namespace by a script of ours, which keeps it in a file too, so that nothing of the
//! machine itself is changed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Failure, Namespace, Scratch};

/// For `udhcpc`: sets address, routes and name servers of the namespace.
const SCRIPT_V4: &str = r#"#!/bin/sh
case "$1" in
deconfig) ip addr flush dev "$interface" scope global 2>/dev/null; exit 0 ;;
bound|renew) ;;
*) exit 0 ;;
esac
ip -4 addr flush dev "$interface"
ip addr add "$ip/$mask" broadcast + dev "$interface"
for via in $router; do ip route replace default via "$via" dev "$interface"; done
set > "$TOLD.new"; mv "$TOLD.new" "$TOLD"
"#;

/// For `dhclient -6`.
const SCRIPT_V6: &str = r#"#!/bin/sh
case "$reason" in
BOUND6|RENEW6|REBIND6|REBOOT6) ip -6 addr replace "$new_ip6_address/128" dev "$interface" nodad ;;
esac
case "$reason" in
PREINIT6) ip link set "$interface" up ;;
*) set > "$TOLD.new"; mv "$TOLD.new" "$TOLD" ;;
esac
exit 0
"#;

/// What a client was told, as the variables of its script.
#[derive(Debug)]
pub struct Lease {
    text: String,
}

impl Lease {
    /// A variable: `ip`, `router`, `dns`, `domain` of `udhcpc`; `new_ip6_address`, `new_dhcp6_name_servers` of `dhclient`.
    pub fn told(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('\''))
    }
}

/// The program that a client needs, where it is missing.
pub fn missing_dhcp_client() -> Option<&'static str> {
    let runs = |program: &str, argument: &str| {
        Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    match (runs("busybox", "true"), runs("dhclient", "--version")) {
        (false, _) => Some("busybox (udhcpc)"),
        (true, false) => Some("dhclient (isc-dhcp-client)"),
        (true, true) => None,
    }
}

/// A folder with what the clients of a namespace keep.
#[derive(Debug)]
pub struct DhcpClient<'a> {
    namespace: &'a Namespace,
    scratch: Scratch,
}

impl<'a> DhcpClient<'a> {
    /// For the interface `eth0` of a namespace.
    pub fn new(namespace: &'a Namespace) -> Result<DhcpClient<'a>, Failure> {
        Ok(DhcpClient { namespace, scratch: Scratch::new("dhcp")? })
    }

    fn script(&self, text: &str) -> Result<PathBuf, Failure> {
        let path = self.scratch.path().join("script");
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Asks for an IPv4 address, with this host name and more arguments; gives up after some seconds.
    pub fn udhcpc(&self, name: &str, more: &[&str]) -> Result<Lease, Failure> {
        let script = self.script(SCRIPT_V4)?;
        let mut command = Command::new("busybox");
        command.args(["udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "2"]);
        command.arg("-s").arg(script).args(["-x", &format!("hostname:{name}")]).args(more);
        self.run(command)
    }

    /// Asks for an IPv6 address, or with `-S` among the arguments for servers only.
    pub fn dhclient6(&self, more: &[&str]) -> Result<Lease, Failure> {
        // It speaks from the link-local address, which must have been found to be nobody else's.
        super::wait_for("a link-local address", std::time::Duration::from_secs(10), || {
            let shown = self.namespace.ip(&["-6", "addr", "show", "dev", "eth0", "scope", "link"]).ok()?;
            (shown.contains("fe80") && !shown.contains("tentative")).then_some(())
        })?;
        let script = self.script(SCRIPT_V6)?;
        let file = |name: &str| self.scratch.path().join(name);
        // It wants the file to be there.
        std::fs::write(file("leases"), "")?;
        let mut command = Command::new("dhclient");
        command.args(["-6", "-1", "-d"]).args(more).arg("-sf").arg(script);
        command.arg("-lf").arg(file("leases")).arg("-pf").arg(file("pid")).args(["-cf", "/dev/null"]);
        command.args(["-e", &format!("TOLD={}", file("told").display()), "eth0"]);
        self.run_until_told(command)
    }

    fn run(&self, mut command: Command) -> Result<Lease, Failure> {
        let told = self.scratch.path().join("told");
        // Nothing was told yet, or something before.
        let _ = std::fs::remove_file(&told);
        let errors = std::fs::File::create(self.scratch.path().join("errors"))?;
        command.env("TOLD", &told).stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors);
        let status = self.namespace.spawn(&mut command)?.wait()?;
        self.read(&told, status.success())
    }

    /// The same of a client that goes on running: it is ended when it was told.
    fn run_until_told(&self, mut command: Command) -> Result<Lease, Failure> {
        let told = self.scratch.path().join("told");
        let _ = std::fs::remove_file(&told);
        let errors = std::fs::File::create(self.scratch.path().join("errors"))?;
        command.env("TOLD", &told).stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors);
        let mut child = self.namespace.spawn(&mut command)?;
        let done = super::wait_for("dhclient", std::time::Duration::from_secs(30), || {
            let ended = child.try_wait().ok().flatten().is_some();
            (ended || told.exists()).then_some(())
        });
        child.kill()?;
        child.wait()?;
        self.read(&told, done.is_ok())
    }

    fn read(&self, told: &Path, done: bool) -> Result<Lease, Failure> {
        match std::fs::read_to_string(told) {
            Ok(text) if done => Ok(Lease { text }),
            Ok(_) | Err(_) => {
                let errors = std::fs::read_to_string(self.scratch.path().join("errors")).unwrap_or_default();
                Err(Failure::of("the DHCP client was told nothing", errors))
            }
        }
    }
}
