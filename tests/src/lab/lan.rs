//! A switch with hosts on it, each behind the kind of port that the test asks for.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};

use super::{Cable, Daemon, Failure, Namespace};

/// What joins a host to the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A TAP whose network device is in the host.
    Tap,
    /// One end of a virtual Ethernet pair, taken by AF_XDP; the other is in the host, with its offloads as they come.
    Xdp,
    /// The same, and settled flows to other such ports pass in the kernel.
    FastXdp,
    /// A vhost-user socket; a [`Cable`] is the guest and carries the frames of a TAP in the host, marks and all.
    VhostUser,
}

/// A host to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The name of its port.
    pub name: &'a str,
    /// What joins it to the switch.
    pub attach: Attach,
    /// More lines of TOML for the port: groups, VLANs.
    pub more: &'a str,
}

/// A host on the switch.
#[derive(Debug)]
pub struct Host {
    /// Its network; the interface is `eth0`.
    pub namespace: Namespace,
    /// The name of its port.
    pub name: String,
    /// What joins it to the switch.
    pub attach: Attach,
    /// Its address; the network is 10.77.0.0/24.
    pub address: Ipv4Addr,
    // Held for as long as the host is there.
    _cable: Option<Cable>,
}

impl Host {
    /// A TCP or UDP port of it.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }
}

/// A running switch with its hosts.
#[derive(Debug)]
pub struct Lan {
    /// The hosts, as they were asked for.
    pub hosts: Vec<Host>,
    /// The switch.
    pub daemon: Daemon,
    /// The desired state it was started with.
    pub config: String,
}

/// A switch that inspects with the rules given (none: not at all) and allows everything.
pub fn switch_with_rules(rules: &str) -> String {
    let inspect = if rules.is_empty() { "" } else { "inspect = \"test\"\n" };
    let mut text = format!("[[switch]]\nname = \"lan\"\ndefault = \"allow\"\n{inspect}");
    if !rules.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[rule_set]]\nname = \"test\"\nstrict = true\ntext = '''\n{rules}\n'''\n");
    }
    text
}

impl Lan {
    /// Starts the daemon with the switch `lan` that `head` describes and a port for each host wanted, and gives the
    /// hosts their addresses: 10.77.0.1, 10.77.0.2 ... and fd77::1, fd77::2 ...
    pub fn start(head: &str, wanted: &[Wanted<'_>]) -> Result<Lan, Failure> {
        let mut config = head.to_owned();
        let mut namespaces = Vec::new();
        for (number, host) in wanted.iter().enumerate() {
            let namespace = Namespace::new(host.name)?;
            let attachment = match host.attach {
                Attach::Tap => format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", namespace.name()),
                Attach::Xdp => format!("xdp = {{ interface = \"x{number}\" }}"),
                Attach::FastXdp => format!("xdp = {{ interface = \"x{number}\", fast_path = true }}"),
                Attach::VhostUser => format!("vhost_user = {{ path = \"{{dir}}/{number}.sock\" }}"),
            };
            let (name, more) = (host.name, host.more);
            config += &format!("\n[[port]]\nname = \"{name}\"\nswitch = \"lan\"\n{attachment}\n{more}\n");
            namespaces.push(namespace);
        }
        let mut daemon = Daemon::prepare(&config)?;
        for (number, (host, namespace)) in wanted.iter().zip(&namespaces).enumerate() {
            if matches!(host.attach, Attach::Xdp | Attach::FastXdp) {
                daemon.namespace().veth(&format!("x{number}"), namespace, "eth0")?;
            }
        }
        daemon.run()?;
        let mut hosts = Vec::new();
        for (number, (host, namespace)) in wanted.iter().zip(namespaces).enumerate() {
            let cable = match host.attach {
                Attach::VhostUser => Some(Cable::plug(&namespace, "eth0", &daemon.path(&format!("{number}.sock")))?),
                Attach::Tap | Attach::Xdp | Attach::FastXdp => None,
            };
            let last = u8::try_from(number + 1).map_err(|_| Failure::new("too many hosts for one network"))?;
            namespace.address("eth0", &format!("10.77.0.{last}/24"))?;
            namespace.address("eth0", &format!("fd77::{last}/64"))?;
            let address = Ipv4Addr::new(10, 77, 0, last);
            hosts.push(Host { namespace, name: host.name.to_owned(), attach: host.attach, address, _cable: cable });
        }
        Ok(Lan { hosts, daemon, config })
    }
}

/// A host behind a TAP.
pub fn tap(name: &str) -> Wanted<'_> {
    Wanted { name, attach: Attach::Tap, more: "" }
}

/// A host behind AF_XDP.
pub fn xdp(name: &str) -> Wanted<'_> {
    Wanted { name, attach: Attach::Xdp, more: "" }
}

/// A host behind a vhost-user socket.
pub fn vhost_user(name: &str) -> Wanted<'_> {
    Wanted { name, attach: Attach::VhostUser, more: "" }
}
