//! From a port as it is wanted to a port that is open.

use std::sync::Arc;

use weir_ports::mem::MemConfig;
use weir_ports::vhost_user::features;
use weir_ports::vhost_user::{Profile, Role, VhostUserConfig, VhostUserPort};
use weir_ports::xdp::fast_path::FastPath;
use weir_ports::{
    MemPort, PcapConfig, PcapPort, Port, TapConfig, TapPort, UplinkConfig, UplinkPort, XdpConfig, XdpPort,
};
use weir_wire::Capabilities;

use crate::config::{self, Attachment, VhostProfile, VhostRole};
use crate::listen::group_id;
use crate::refusal::{self, Refusal};

/// Opens ports. The daemon's is [`HostOpener`]; tests bring their own.
pub trait Opener: Send + Sync {
    /// Opens a port whose settings were checked.
    ///
    /// # Errors
    /// What the kernel or the settings refuse, with the port's name and a remedy.
    fn open(&self, port: &config::Port) -> Result<Box<dyn Port>, Refusal>;
}

/// Opens ports of this host.
#[derive(Clone, Debug, Default)]
pub struct HostOpener {
    /// Where AF_XDP ports let settled flows pass in the kernel; the worker's.
    pub fast_path: Arc<FastPath>,
}

impl Opener for HostOpener {
    fn open(&self, port: &config::Port) -> Result<Box<dyn Port>, Refusal> {
        let name = &port.name;
        let attachment =
            port.attachment().map_err(|_| Refusal::invalid(format!("port {name}: it needs one attachment")))?;
        match attachment {
            Attachment::VhostUser(v) => vhost_user(name, v),
            Attachment::Tap(t) => tap(name, t),
            Attachment::Xdp(x) => xdp(name, x, &self.fast_path),
            Attachment::Uplink(u) => uplink(name, u),
            Attachment::Pcap(p) => pcap(name, p),
            Attachment::Mem(_) => mem(name),
        }
    }
}

fn vhost_user(name: &str, wanted: &config::VhostUser) -> Result<Box<dyn Port>, Refusal> {
    let group = wanted.socket_group.as_deref().map(group_id).transpose();
    let config = VhostUserConfig {
        role: match wanted.role {
            VhostRole::Server => Role::Server,
            VhostRole::Client => Role::Client,
        },
        queue_pairs_max: wanted.queues,
        profile: match wanted.profile {
            VhostProfile::Auto => Profile::Auto,
            VhostProfile::Qemu => Profile::Qemu,
            VhostProfile::Uml => Profile::Uml,
            VhostProfile::Dpdk => Profile::Dpdk,
        },
        mac: wanted.mac.map(|m| m.0),
        socket_mode: wanted.socket_mode,
        socket_group: group.map_err(|e| Refusal::state(format!("port {name}: socket_group: {e}")))?,
        feature_mask: if wanted.packed { u64::MAX } else { !features::RING_PACKED },
        ..VhostUserConfig::new(&wanted.path)
    };
    let config = VhostUserConfig { mtu: wanted.mtu.unwrap_or(config.mtu), ..config };
    if wanted.role == VhostRole::Server
        && let Some(directory) = std::path::Path::new(&wanted.path).parent()
    {
        std::fs::create_dir_all(directory).map_err(|e| {
            Refusal::state(format!("port {name}: {}: cannot be made: {e}; make it yourself", directory.display()))
        })?;
    }
    let port = VhostUserPort::new(config).map_err(|e| refusal::from_port(name, &e))?;
    Ok(Box::new(port))
}

fn tap(name: &str, wanted: &config::Tap) -> Result<Box<dyn Port>, Refusal> {
    let config = TapConfig {
        netns: wanted.netns.clone(),
        queues: wanted.queues,
        mtu: wanted.mtu.map(u32::from),
        mac: wanted.mac.map(|m| m.0),
        persist: wanted.persist,
        ..TapConfig::new(&wanted.name)
    };
    let port = TapPort::open(config).map_err(|e| refusal::from_port(name, &e))?;
    Ok(Box::new(port))
}

fn xdp(name: &str, wanted: &config::Xdp, fast_path: &Arc<FastPath>) -> Result<Box<dyn Port>, Refusal> {
    let first = u32::from(wanted.first_queue);
    let config = XdpConfig {
        netns: wanted.netns.clone(),
        queues: wanted.queues.map(|count| first..first + u32::from(count)),
        mode: match wanted.mode {
            config::XdpMode::Auto => weir_ports::XdpMode::Auto,
            config::XdpMode::ZeroCopy => weir_ports::XdpMode::ZeroCopy,
            config::XdpMode::Copy => weir_ports::XdpMode::Copy,
            config::XdpMode::Generic => weir_ports::XdpMode::Generic,
        },
        ..XdpConfig::new(&wanted.interface)
    };
    let port = XdpPort::open(config, wanted.fast_path.then(|| Arc::clone(fast_path)))
        .map_err(|e| refusal::from_port(name, &e))?;
    Ok(Box::new(port))
}

fn uplink(name: &str, wanted: &config::Uplink) -> Result<Box<dyn Port>, Refusal> {
    let config = UplinkConfig { netns: wanted.netns.clone(), ..UplinkConfig::new(&wanted.interface) };
    let port = UplinkPort::open(config).map_err(|e| refusal::from_port(name, &e))?;
    Ok(Box::new(port))
}

fn pcap(name: &str, wanted: &config::Pcap) -> Result<Box<dyn Port>, Refusal> {
    let config = PcapConfig {
        replay: wanted.read.as_ref().map(Into::into),
        record: wanted.write.as_ref().map(Into::into),
        ..PcapConfig::default()
    };
    let port = PcapPort::open(config).map_err(|e| refusal::from_port(name, &e))?;
    Ok(Box::new(port))
}

/// Nobody takes what is sent to it, so it need not hold much.
fn mem(name: &str) -> Result<Box<dyn Port>, Refusal> {
    const DEPTH: usize = 64;
    let config = MemConfig { capabilities: Capabilities::ALL, depth: DEPTH, ..MemConfig::default() };
    let (port, _peer) = MemPort::pair_with(config)
        .map_err(|e| Refusal::internal(format!("port {name}: no memory port can be made: {e}")))?;
    Ok(Box::new(port))
}
