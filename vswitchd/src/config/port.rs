//! Ports as they are wanted.

use serde::{Deserialize, Serialize};

use super::dscp::Dscp;
use super::switching::{Lldp, MulticastRouter, Storm, TagType};
use super::values::{Bits, Mac, Range, one_or_many};
use super::{Guard, Quota, SynProxy, is_default};

/// A port. Exactly one of `vhost_user`, `tap`, `xdp`, `uplink`, `pcap` and `mem` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Name of its switch.
    pub switch: String,
    /// Labels that rules speak of.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub groups: Vec<String>,
    /// Isolated ports do not exchange frames with each other.
    #[serde(default, skip_serializing_if = "is_default")]
    pub isolated: bool,
    /// Administratively down.
    #[serde(default, skip_serializing_if = "is_default")]
    pub down: bool,
    /// Learn addresses from it.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub learning: bool,
    /// Join segments of one TCP connection that are sent to it together, where it takes super-segments.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub gro: bool,
    /// Learned addresses at most on this port; 0 for no limit of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fdb_limit: u32,
    /// First-hop security; absent: guests are guarded, all others trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// How its frames belong to VLANs; absent: untagged frames only, no VLANs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// What it may send to many; absent: as much as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// Block it when a bridge speaks spanning tree behind it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bpdu_guard: bool,
    /// What it does about LLDP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lldp: Lldp,
    /// Whether a multicast router is behind it, where the switch snoops.
    #[serde(default, skip_serializing_if = "is_default")]
    pub multicast_router: MulticastRouter,
    /// The DSCP that packets get which come in by it; absent: they keep their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<Dscp>,
    /// What it may carry; absent: as much as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Its share of the ports with a rate that it sends to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// What it may open; absent: as much as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// When handshakes are done in its place; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn_proxy: Option<SynProxy>,
    /// A guest by shared memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost_user: Option<VhostUser>,
    /// A TAP interface of the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<Tap>,
    /// Any network interface by AF_XDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<Xdp>,
    /// A network card that the host goes on using.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// Capture files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcap: Option<Pcap>,
    /// Nothing on the other side, for tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<Mem>,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// What a port is attached to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attachment<'a> {
    /// A guest by shared memory.
    VhostUser(&'a VhostUser),
    /// A TAP interface.
    Tap(&'a Tap),
    /// A network interface by AF_XDP.
    Xdp(&'a Xdp),
    /// A network card shared with the host.
    Uplink(&'a Uplink),
    /// Capture files.
    Pcap(&'a Pcap),
    /// Nothing.
    Mem(&'a Mem),
}

impl Attachment<'_> {
    /// What no two ports can have both: the socket, the interface, the file that is written.
    pub fn resource(&self) -> Option<String> {
        match self {
            Attachment::VhostUser(v) => Some(format!("socket {}", v.path)),
            Attachment::Tap(t) => Some(interface(&t.name, t.netns.as_deref())),
            Attachment::Xdp(x) => Some(interface(&x.interface, x.netns.as_deref())),
            Attachment::Uplink(u) => Some(interface(&u.interface, u.netns.as_deref())),
            Attachment::Pcap(p) => p.write.as_ref().map(|path| format!("file {path}")),
            Attachment::Mem(_) => None,
        }
    }
}

fn interface(name: &str, netns: Option<&str>) -> String {
    match netns {
        Some(netns) => format!("interface {name} in {netns}"),
        None => format!("interface {name}"),
    }
}

impl Port {
    /// What it is attached to.
    ///
    /// # Errors
    /// Where none or several attachments are given: their names.
    pub fn attachment(&self) -> Result<Attachment<'_>, Vec<&'static str>> {
        let given: Vec<(&'static str, Attachment<'_>)> = [
            self.vhost_user.as_ref().map(|v| ("vhost_user", Attachment::VhostUser(v))),
            self.tap.as_ref().map(|t| ("tap", Attachment::Tap(t))),
            self.xdp.as_ref().map(|x| ("xdp", Attachment::Xdp(x))),
            self.uplink.as_ref().map(|u| ("uplink", Attachment::Uplink(u))),
            self.pcap.as_ref().map(|p| ("pcap", Attachment::Pcap(p))),
            self.mem.as_ref().map(|m| ("mem", Attachment::Mem(m))),
        ]
        .into_iter()
        .flatten()
        .collect();
        match given.as_slice() {
            [(_, attachment)] => Ok(*attachment),
            several => Err(several.iter().map(|(name, _)| *name).collect()),
        }
    }

    /// Takes over what another port is attached to.
    pub fn take_attachment(&mut self, from: Port) {
        self.vhost_user = from.vhost_user;
        self.tap = from.tap;
        self.xdp = from.xdp;
        self.uplink = from.uplink;
        self.pcap = from.pcap;
        self.mem = from.mem;
    }
}

/// What a port may carry: `{ in = "1g", out = "500m" }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Bits a second from the port into the switch. What is too much waits with the guest; nothing is lost.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub inward: Option<Bits>,
    /// Bits a second out of the switch to the port.
    #[serde(default, rename = "out", skip_serializing_if = "Option::is_none")]
    pub outward: Option<Bits>,
    /// Frames a second from the port; 0 for no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub in_packets: u64,
    /// Frames a second to the port; 0 for no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub out_packets: u64,
    /// Bytes that may pass at once after a pause; 0: what passes in 10 ms.
    #[serde(default, skip_serializing_if = "is_default")]
    pub burst: u64,
}

/// A port's share of the ports with a rate that it sends to: `{ guarantee = "1g", peak = "3g" }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Bits a second that it gets however many others want the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<Bits>,
    /// Bits a second that it gets at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Bits>,
    /// Its part of what is left, in relation to the others': 1 to 1000.
    #[serde(default = "one_weight")]
    pub weight: u32,
}

fn one_weight() -> u32 {
    1
}

/// How a port's frames belong to VLANs: `{ access = 10 }` or `{ trunk = ["10", "20-30"], native = 1 }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vlan {
    /// All frames belong to this VLAN and carry no tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<u16>,
    /// Tagged frames of these VLANs.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub trunk: Vec<Range>,
    /// VLAN of untagged frames of a trunk; absent: they are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<u16>,
    /// All frames belong to this VLAN with whatever tags they carry (a customer's port of IEEE 802.1ad).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<u16>,
    /// The EtherType of outer tags: all that a trunk takes and sends, what a tunnel puts on; absent: all, `802.1ad`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_type: Option<TagType>,
}

/// Which side makes the unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VhostRole {
    /// We listen, the hypervisor connects.
    #[default]
    Server,
    /// The hypervisor listens, we connect and reconnect.
    Client,
}

/// Which front end is on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VhostProfile {
    /// Found out by itself.
    #[default]
    Auto,
    /// QEMU and Cloud Hypervisor.
    Qemu,
    /// User Mode Linux.
    Uml,
    /// DPDK's virtio-user.
    Dpdk,
}

/// A guest by shared memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VhostUser {
    /// Path of the unix socket, absolute.
    pub path: String,
    /// Which side makes it.
    #[serde(default)]
    pub role: VhostRole,
    /// Queue pairs offered at most, 1 to 16.
    #[serde(default = "one")]
    pub queues: u16,
    /// Which front end is on the other side.
    #[serde(default)]
    pub profile: VhostProfile,
    /// Largest L3 packet told to the guest, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// MAC address told to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Permissions of a socket we make, as in `0o660`; absent: 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_mode: Option<u32>,
    /// Group of a socket we make, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_group: Option<String>,
    /// Let the guest choose packed rings. Under QEMU such a guest has to restart its driver when the daemon was restarted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub packed: bool,
}

fn one() -> u16 {
    1
}

/// A TAP interface of the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    /// Name of the interface, up to 15 characters.
    pub name: String,
    /// Network namespace in which it is made, by name or path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Queues, 1 to 16.
    #[serde(default = "one")]
    pub queues: u16,
    /// MTU set on the interface, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// MAC address set on the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The interface stays when the port goes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub persist: bool,
}

/// How AF_XDP reaches the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// The best that works.
    #[default]
    Auto,
    /// The driver's own rings on our memory.
    ZeroCopy,
    /// The driver's XDP hook, one copy.
    Copy,
    /// The kernel's generic hook; works with any driver.
    Generic,
}

/// Any network interface by AF_XDP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xdp {
    /// Name of the interface.
    pub interface: String,
    /// Network namespace it is in, by name or path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// How it reaches the driver.
    #[serde(default)]
    pub mode: XdpMode,
    /// First queue.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_queue: u16,
    /// Number of queues; absent: all the interface has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// Settled flows to other such ports are forwarded by the kernel.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fast_path: bool,
}

/// A network card that the host goes on using: guests reach the network and the host by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Name of the card.
    pub interface: String,
    /// Network namespace it is in, by name or path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
}

/// Capture files: frames come from one and go to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pcap {
    /// File that is replayed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
    /// File that is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<String>,
}

/// A port without another side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mem {}
