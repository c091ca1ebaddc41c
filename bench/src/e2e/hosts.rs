//! Two hosts with the kernel's own network stack, each in a namespace, and what is between them.
//!
//! For ports that are network devices: TAPs that a switch makes in the hosts, or pairs of virtual Ethernet devices of
//! which the switch has one end each, `s0` and `s1`, in a namespace of its own. The hosts' interface is `eth0`.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use weir_tests::lab::Namespace;

use super::Failure;
use super::scenario::Ports;

/// Addresses of the hosts.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 3, 0, 1), Ipv4Addr::new(10, 3, 0, 2)];
/// The switch's ends of the pairs.
pub const ENDS: [&str; 2] = ["s0", "s1"];

/// What a bridge that keeps state is told: whoever is known passes, whoever is new is let in by the last rule. `HOOK` is
/// the family.
const STATEFUL: &str = "table HOOK weir-bench {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n  \
                        ct state established,related accept\n  ct state invalid drop\n  ct state new accept\n  \
                        meta protocol arp accept\n }\n}\n";

/// The hosts, and the namespace of what joins them.
#[derive(Debug)]
pub struct Hosts {
    pub(super) both: [Namespace; 2],
    pub(super) middle: Namespace,
}

impl Hosts {
    /// Makes them, joined to nothing.
    ///
    /// # Errors
    /// Without the right to make namespaces.
    pub fn new() -> Result<Hosts, Failure> {
        let new = |label| Namespace::new(label).map_err(|e| format!("{e}"));
        Ok(Hosts { both: [new("a")?, new("b")?], middle: new("middle")? })
    }

    /// The name of a host's namespace.
    pub fn name(&self, side: usize) -> &str {
        self.both[side.min(1)].name()
    }

    /// The name of the namespace of [`ENDS`].
    pub fn middle(&self) -> &str {
        self.middle.name()
    }

    /// A TCP port of a host.
    pub fn at(&self, side: usize, port: u16) -> SocketAddr {
        SocketAddr::from((ADDRESSES[side.min(1)], port))
    }

    /// Joins the first `count` hosts to [`ENDS`] by pairs of devices.
    ///
    /// # Errors
    /// Where the kernel makes none.
    pub fn wire(&self, count: usize, mtu: usize) -> Result<(), Failure> {
        for (end, host) in ENDS.iter().zip(&self.both).take(count) {
            self.middle.veth(end, host, "eth0").map_err(|e| e.to_string())?;
            ip(&self.middle, &["link", "set", end, "mtu", &mtu.to_string()])?;
        }
        Ok(())
    }

    /// Joins [`ENDS`] by the kernel's bridge with a stateful firewall (nftables).
    ///
    /// # Errors
    /// Where the kernel has no bridge, or keeps no state for one.
    pub fn bridge(&self, ports: Ports) -> Result<(), Failure> {
        ip(&self.middle, &["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        ip(&self.middle, &["link", "set", "br0", "up"])?;
        for end in ENDS {
            ip(&self.middle, &["link", "set", end, "master", "br0"])?;
            if ports == Ports::Veth {
                // A veth takes frames from XDP programs only where it polls, which this turns on.
                self.command("ethtool", &["-K", end, "gro", "on"])?;
            }
        }
        // Without conntrack for bridges, frames are shown to the filter of IP.
        self.nft(&STATEFUL.replace("HOOK", "bridge")).or_else(|_| {
            let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            let write = || std::fs::write(path, "1").map_err(|e| weir_tests::lab::Failure::of(path, e));
            self.middle.inside(write).map_err(|e| e.to_string())?;
            self.nft(&STATEFUL.replace("HOOK", "inet"))
        })
    }

    /// Whether the first `count` of [`ENDS`] have an XDP program.
    pub fn has_programs(&self, count: usize) -> bool {
        let has =
            |end: &&str| self.middle.ip(&["link", "show", "dev", end]).is_ok_and(|said| said.contains("prog/xdp"));
        ENDS.iter().take(count).all(has)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new(program);
        let child = self.middle.spawn(command.args(arguments).stdout(Stdio::null())).map_err(|e| e.to_string())?;
        let output = child.wait_with_output().map_err(|e| format!("{program}: {e}"))?;
        if output.status.success() { Ok(()) } else { Err(format!("{program} {}: failed", arguments.join(" "))) }
    }

    fn nft(&self, text: &str) -> Result<(), Failure> {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.middle.spawn(&mut command).map_err(|e| e.to_string())?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(text.as_bytes()).map_err(|e| format!("nft: {e}"))?;
        }
        let output = child.wait_with_output().map_err(|e| format!("nft: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Gives the hosts their addresses, once their interfaces are there.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn settle(&self, mtu: usize) -> Result<(), Failure> {
        for (host, address) in self.both.iter().zip(ADDRESSES) {
            host.address("eth0", &format!("{address}/24")).map_err(|e| e.to_string())?;
            ip(host, &["link", "set", "eth0", "mtu", &mtu.to_string()])?;
        }
        Ok(())
    }
}

fn ip(namespace: &Namespace, arguments: &[&str]) -> Result<(), Failure> {
    namespace.ip(arguments).map(drop).map_err(|e| e.to_string())
}
