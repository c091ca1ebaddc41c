//! Messages to the desired state and back: ports.

use weir_proto::v1;
use weir_proto::v1::port_spec::Attachment as Proto;

use super::convert::{filled, narrow, text, texts};
use super::convert_switching;
use crate::config::{
    Attachment, Bits, Mac, Mem, Pcap, Port, Rate, Share, Tap, Uplink, VhostProfile, VhostRole, VhostUser, Vlan, Xdp,
    XdpMode,
};
use crate::refusal::Refusal;

pub(super) fn port_of(spec: &v1::PortSpec) -> Result<Port, Refusal> {
    let object = format!("port {}", spec.name);
    let mut port = Port {
        name: spec.name.clone(),
        switch: spec.switch.clone(),
        groups: spec.groups.clone(),
        isolated: spec.isolated,
        down: spec.down,
        learning: !spec.no_learning,
        gro: !spec.no_gro,
        fdb_limit: spec.fdb_limit,
        vlan: spec.vlan.as_ref().map(|v| vlan_of(&object, v)).transpose()?,
        rate: spec.rate.as_ref().map(rate_of),
        share: spec.share.as_ref().map(share_of),
        ..Port::default()
    };
    convert_switching::port_of(&object, spec, &mut port)?;
    match &spec.attachment {
        None => {}
        Some(Proto::VhostUser(v)) => port.vhost_user = Some(vhost_user_of(&object, v)?),
        Some(Proto::Tap(t)) => port.tap = Some(tap_of(&object, t)?),
        Some(Proto::Xdp(x)) => port.xdp = Some(xdp_of(&object, x)?),
        Some(Proto::Uplink(u)) => {
            port.uplink = Some(Uplink { interface: u.interface.clone(), netns: filled(&u.netns) });
        }
        Some(Proto::Pcap(p)) => port.pcap = Some(Pcap { read: filled(&p.read), write: filled(&p.write) }),
        Some(Proto::Mem(v1::Mem {})) => port.mem = Some(Mem {}),
    }
    Ok(port)
}

fn optional_u16(object: &str, field: &str, number: Option<u32>) -> Result<Option<u16>, Refusal> {
    number.map(|n| narrow(object, field, n)).transpose()
}

fn optional_mac(object: &str, field: &str, mac: &str) -> Result<Option<Mac>, Refusal> {
    filled(mac).map(|m| text(object, field, &m)).transpose()
}

pub(super) fn rate_of(rate: &v1::Rate) -> Rate {
    Rate {
        inward: rate.in_bits.map(Bits),
        outward: rate.out_bits.map(Bits),
        in_packets: rate.in_packets,
        out_packets: rate.out_packets,
        burst: rate.burst,
    }
}

pub(super) fn rate_to_proto(rate: &Rate) -> v1::Rate {
    v1::Rate {
        in_bits: rate.inward.map(|bits| bits.0),
        out_bits: rate.outward.map(|bits| bits.0),
        in_packets: rate.in_packets,
        out_packets: rate.out_packets,
        burst: rate.burst,
    }
}

pub(super) fn share_to_proto(share: &Share) -> v1::Share {
    let bits = |bits: Option<Bits>| bits.map(|bits| bits.0);
    v1::Share { guarantee_bits: bits(share.guarantee), peak_bits: bits(share.peak), weight: share.weight }
}

pub(super) fn share_of(share: &v1::Share) -> Share {
    Share { guarantee: share.guarantee_bits.map(Bits), peak: share.peak_bits.map(Bits), weight: share.weight.max(1) }
}

fn vlan_of(object: &str, vlan: &v1::Vlan) -> Result<Vlan, Refusal> {
    Ok(Vlan {
        access: optional_u16(object, "vlan.access", vlan.access)?,
        trunk: texts(object, "vlan.trunk", &vlan.trunk)?,
        native: optional_u16(object, "vlan.native", vlan.native)?,
        tunnel: optional_u16(object, "vlan.tunnel", vlan.tunnel)?,
        tag_type: convert_switching::tag_type_of(object, vlan.tag_type)?,
    })
}

fn vhost_user_of(object: &str, v: &v1::VhostUser) -> Result<VhostUser, Refusal> {
    let role = match v1::VhostRole::try_from(v.role) {
        Ok(v1::VhostRole::Unspecified | v1::VhostRole::Server) => VhostRole::Server,
        Ok(v1::VhostRole::Client) => VhostRole::Client,
        Err(_) => return Err(Refusal::invalid(format!("{object}: role {} is not known to this version", v.role))),
    };
    let profile = match v1::VhostProfile::try_from(v.profile) {
        Ok(v1::VhostProfile::Unspecified | v1::VhostProfile::Auto) => VhostProfile::Auto,
        Ok(v1::VhostProfile::Qemu) => VhostProfile::Qemu,
        Ok(v1::VhostProfile::Uml) => VhostProfile::Uml,
        Ok(v1::VhostProfile::Dpdk) => VhostProfile::Dpdk,
        Err(_) => {
            return Err(Refusal::invalid(format!("{object}: profile {} is not known to this version", v.profile)));
        }
    };
    Ok(VhostUser {
        path: v.path.clone(),
        role,
        queues: optional_u16(object, "vhost_user.queues", v.queues)?.unwrap_or(1),
        profile,
        mtu: optional_u16(object, "vhost_user.mtu", v.mtu)?,
        mac: optional_mac(object, "vhost_user.mac", &v.mac)?,
        socket_mode: v.socket_mode,
        socket_group: filled(&v.socket_group),
        packed: v.packed,
    })
}

fn tap_of(object: &str, t: &v1::Tap) -> Result<Tap, Refusal> {
    Ok(Tap {
        name: t.name.clone(),
        netns: filled(&t.netns),
        queues: optional_u16(object, "tap.queues", t.queues)?.unwrap_or(1),
        mtu: optional_u16(object, "tap.mtu", t.mtu)?,
        mac: optional_mac(object, "tap.mac", &t.mac)?,
        persist: t.persist,
    })
}

fn xdp_of(object: &str, x: &v1::Xdp) -> Result<Xdp, Refusal> {
    let mode = match v1::XdpMode::try_from(x.mode) {
        Ok(v1::XdpMode::Unspecified | v1::XdpMode::Auto) => XdpMode::Auto,
        Ok(v1::XdpMode::ZeroCopy) => XdpMode::ZeroCopy,
        Ok(v1::XdpMode::Copy) => XdpMode::Copy,
        Ok(v1::XdpMode::Generic) => XdpMode::Generic,
        Err(_) => return Err(Refusal::invalid(format!("{object}: mode {} is not known to this version", x.mode))),
    };
    Ok(Xdp {
        interface: x.interface.clone(),
        netns: filled(&x.netns),
        mode,
        first_queue: optional_u16(object, "xdp.first_queue", x.first_queue)?.unwrap_or(0),
        queues: optional_u16(object, "xdp.queues", x.queues)?,
        fast_path: x.fast_path.unwrap_or(false),
    })
}

pub(super) fn port_to_proto(port: &Port) -> v1::PortSpec {
    let mut spec = v1::PortSpec {
        name: port.name.clone(),
        switch: port.switch.clone(),
        groups: port.groups.clone(),
        attachment: port.attachment().ok().map(attachment_to_proto),
        vlan: port.vlan.as_ref().map(|v| v1::Vlan {
            access: v.access.map(u32::from),
            trunk: v.trunk.iter().map(ToString::to_string).collect(),
            native: v.native.map(u32::from),
            tunnel: v.tunnel.map(u32::from),
            tag_type: v.tag_type.map_or(0, |kind| u32::from(kind.number())),
        }),
        isolated: port.isolated,
        down: port.down,
        no_learning: !port.learning,
        no_gro: !port.gro,
        fdb_limit: port.fdb_limit,
        rate: port.rate.as_ref().map(rate_to_proto),
        share: port.share.as_ref().map(share_to_proto),
        ..v1::PortSpec::default()
    };
    convert_switching::port_to_proto(port, &mut spec);
    spec
}

fn attachment_to_proto(attachment: Attachment<'_>) -> Proto {
    let mac = |mac: &Option<Mac>| mac.map(|m| m.to_string()).unwrap_or_default();
    match attachment {
        Attachment::VhostUser(v) => Proto::VhostUser(v1::VhostUser {
            path: v.path.clone(),
            role: match v.role {
                VhostRole::Server => v1::VhostRole::Server.into(),
                VhostRole::Client => v1::VhostRole::Client.into(),
            },
            queues: Some(u32::from(v.queues)),
            profile: match v.profile {
                VhostProfile::Auto => v1::VhostProfile::Auto.into(),
                VhostProfile::Qemu => v1::VhostProfile::Qemu.into(),
                VhostProfile::Uml => v1::VhostProfile::Uml.into(),
                VhostProfile::Dpdk => v1::VhostProfile::Dpdk.into(),
            },
            mtu: v.mtu.map(u32::from),
            mac: mac(&v.mac),
            socket_mode: v.socket_mode,
            socket_group: v.socket_group.clone().unwrap_or_default(),
            packed: v.packed,
        }),
        Attachment::Tap(t) => Proto::Tap(v1::Tap {
            name: t.name.clone(),
            netns: t.netns.clone().unwrap_or_default(),
            queues: Some(u32::from(t.queues)),
            mtu: t.mtu.map(u32::from),
            mac: mac(&t.mac),
            persist: t.persist,
        }),
        Attachment::Xdp(x) => Proto::Xdp(v1::Xdp {
            interface: x.interface.clone(),
            netns: x.netns.clone().unwrap_or_default(),
            mode: match x.mode {
                XdpMode::Auto => v1::XdpMode::Auto.into(),
                XdpMode::ZeroCopy => v1::XdpMode::ZeroCopy.into(),
                XdpMode::Copy => v1::XdpMode::Copy.into(),
                XdpMode::Generic => v1::XdpMode::Generic.into(),
            },
            first_queue: Some(u32::from(x.first_queue)),
            queues: x.queues.map(u32::from),
            fast_path: Some(x.fast_path),
        }),
        Attachment::Uplink(u) => {
            Proto::Uplink(v1::Uplink { interface: u.interface.clone(), netns: u.netns.clone().unwrap_or_default() })
        }
        Attachment::Pcap(p) => Proto::Pcap(v1::Pcap {
            read: p.read.clone().unwrap_or_default(),
            write: p.write.clone().unwrap_or_default(),
        }),
        Attachment::Mem(Mem {}) => Proto::Mem(v1::Mem {}),
    }
}
