//! What a switch and a port are told to be, and the changes that say so.

use weir_wire::{InterfaceId, MacAddr, PortId, RouterId, SwitchId, Vid};

use crate::appliance::ApplianceConfig;
use crate::first_hop::GuardConfig;
use crate::lldp::LldpConfig;
use crate::loops::LoopGuard;
use crate::mirror::MirrorConfig;
use crate::multicast::{RouterPort, SnoopingConfig};
use crate::router::RouterConfig;
use crate::serve::Serves;
use crate::storm::StormLimits;

/// What to do with a kind of frame that has no single destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flood {
    /// Send it to every other port of the VLAN.
    #[default]
    Flood,
    /// Drop it.
    Drop,
}

/// How a port's frames belong to VLANs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VlanMode {
    /// All frames belong to one VLAN and carry no tag; `Vid(0)` is the untagged LAN of a switch without VLANs.
    /// Tagged frames are dropped, but for priority tags and the VLAN's own.
    Access(Vid),
    /// All frames belong to one VLAN, whatever tags they carry, and get its tag in front (IEEE 802.1ad, "dot1q-tunnel");
    /// they leave as they came.
    Tunnel(Vid),
    /// Tagged frames of the VLANs in `allowed`; untagged ones belong to `native` or are dropped where there is none.
    Trunk {
        /// Allowed VLANs as inclusive ranges.
        allowed: Vec<(Vid, Vid)>,
        /// VLAN of untagged frames, both ways. It is a member without being named in `allowed`.
        native: Option<Vid>,
    },
}

impl Default for VlanMode {
    fn default() -> VlanMode {
        VlanMode::Access(Vid(0))
    }
}

/// A switch's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchConfig {
    /// Learned addresses are forgotten after this many seconds without a frame; 0 for never.
    pub ageing_s: u32,
    /// Learned addresses at most, in all; at the limit the longest unused one of the port that holds the most makes
    /// room, so that a port which floods addresses displaces its own.
    pub fdb_limit: usize,
    /// Unknown unicast.
    pub unknown_unicast: Flood,
    /// Broadcast.
    pub broadcast: Flood,
    /// Multicast.
    pub multicast: Flood,
    /// Static addresses.
    pub static_macs: Vec<(Vid, MacAddr, PortId)>,
    /// Send groups where they were joined; `None`: everywhere.
    pub snooping: Option<SnoopingConfig>,
    /// What is done about loops.
    pub loop_guard: LoopGuard,
    /// Answer address resolution for hosts that are known.
    pub suppress: bool,
}

impl Default for SwitchConfig {
    fn default() -> SwitchConfig {
        SwitchConfig {
            ageing_s: 300,
            fdb_limit: 65536,
            unknown_unicast: Flood::Flood,
            broadcast: Flood::Flood,
            multicast: Flood::Flood,
            static_macs: Vec::new(),
            snooping: None,
            loop_guard: LoopGuard::default(),
            suppress: false,
        }
    }
}

/// A port's settings, as the fabric sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The switch it is on, or the appliance that it belongs to.
    pub switch: SwitchId,
    /// Its VLANs.
    pub vlan: VlanMode,
    /// Isolated ports do not exchange frames with each other.
    pub isolated: bool,
    /// Administratively down.
    pub down: bool,
    /// Learn addresses from it.
    pub learning: bool,
    /// Learned addresses at most on this port, whose longest unused one makes room; 0 for no limit of its own.
    pub fdb_limit: usize,
    /// EtherType of its outer tags: a trunk takes and sends no other, a tunnel puts it on. `None`: a trunk takes all and
    /// leaves them as they are, a tunnel puts on 802.1ad's.
    pub tag_type: Option<u16>,
    /// What it may send to many.
    pub storm: StormLimits,
    /// Block it when a bridge speaks spanning tree behind it.
    pub bpdu_guard: bool,
    /// The loop guard may block it.
    pub may_block: bool,
    /// What it does about LLDP.
    pub lldp: LldpConfig,
    /// Whether a multicast router is behind it.
    pub multicast_router: RouterPort,
    /// Give what comes in by it this DSCP, 0 to 63; `None`: trust what it carries.
    pub dscp: Option<u8>,
    /// First-hop security of a guest's port; `None` for one that is trusted.
    pub guard: Option<GuardConfig>,
}

impl Default for PortConfig {
    fn default() -> PortConfig {
        PortConfig {
            switch: SwitchId(0),
            vlan: VlanMode::default(),
            isolated: false,
            down: false,
            learning: true,
            fdb_limit: 0,
            tag_type: None,
            storm: StormLimits::default(),
            bpdu_guard: false,
            may_block: true,
            lldp: LldpConfig::default(),
            multicast_router: RouterPort::Learn,
            dscp: None,
            guard: None,
        }
    }
}

/// One change of the fabric. Changes are planned and checked by the control plane; here they cannot fail.
#[derive(Clone, Debug)]
pub enum Step {
    /// Adds a switch or changes its settings.
    SetSwitch(SwitchId, SwitchConfig),
    /// Removes a switch; its ports must be gone.
    RemoveSwitch(SwitchId),
    /// Adds a port or changes its settings. A port's link counts as up until [`Fabric::set_link`] says otherwise.
    ///
    /// [`Fabric::set_link`]: crate::Fabric::set_link
    SetPort(PortId, PortConfig),
    /// Removes a port with its addresses and flows.
    RemovePort(PortId),
    /// Forgets learned addresses of a switch.
    FlushFdb(SwitchId),
    /// Adds a router or changes it, with all its interfaces and routes.
    SetRouter(RouterId, RouterConfig),
    /// Removes a router with its interfaces.
    RemoveRouter(RouterId),
    /// Replaces all mirrors.
    SetMirrors(Vec<MirrorConfig>),
    /// Adds an appliance or changes it; its number is one of [`SwitchId::is_appliance`].
    SetAppliance(SwitchId, ApplianceConfig),
    /// Removes an appliance; what it joined is apart.
    RemoveAppliance(SwitchId),
    /// Forgets all bindings of address translation.
    FlushNat,
    /// Forgets what was learned of the neighbours of an interface.
    FlushNeighbors(InterfaceId),
    /// What interfaces of routers serve; all others serve nothing.
    SetServed(Vec<(InterfaceId, Serves)>),
}
