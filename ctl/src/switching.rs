//! Options of `vswitchctl switch` and `vswitchctl port` for snooping, loops, storms, LLDP, tunnels and marks.

use clap::{Args, ValueEnum};
use weir_proto::v1;

use crate::failure::Failure;

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Toggle {
    /// On.
    On,
    /// Off.
    Off,
}

/// A switch's part.
#[derive(Args)]
pub struct SwitchOptions {
    /// Send multicast groups only where they were joined [usually: off].
    #[arg(long, value_enum)]
    snooping: Option<Toggle>,
    /// Ask hosts for their groups from this address (0.0.0.0: as a proxy); turns snooping on.
    #[arg(long, value_name = "ADDRESS")]
    querier: Option<String>,
    /// Seconds between two questions [usually: 125].
    #[arg(long, value_name = "SECONDS")]
    query_interval: Option<u32>,
    /// Seconds that hosts may take to answer [usually: 10].
    #[arg(long, value_name = "SECONDS")]
    query_response: Option<u32>,
    /// Groups that nobody has joined [usually: flood].
    #[arg(long, value_enum)]
    unregistered: Option<crate::switch::Flood>,
    /// A port is out of a group with the first leave.
    #[arg(long)]
    fast_leave: bool,
    /// So many moves of an address within ten seconds are flapping; 0: not watched [usually: 8].
    #[arg(long, value_name = "NUMBER")]
    flap_moves: Option<u32>,
    /// Block ports that flapping addresses do not belong to, or that hear a probe [usually: off].
    #[arg(long, value_enum)]
    loop_block: Option<Toggle>,
    /// Send loop probes so often; 0: none [usually: 0].
    #[arg(long, value_name = "SECONDS")]
    loop_probe: Option<u32>,
    /// Open a blocked port after so many seconds; 0: by "port clear" alone [usually: 300].
    #[arg(long, value_name = "SECONDS")]
    loop_recover: Option<u32>,
    /// Answer ARP requests and neighbour solicitations for hosts that are known [usually: off].
    #[arg(long, value_enum)]
    suppress_arp: Option<Toggle>,
}

impl SwitchOptions {
    /// Puts the settings into `spec`; returns the names of the fields that were given.
    pub fn put(self, spec: &mut v1::SwitchSpec) -> Vec<String> {
        let mut fields = Vec::new();
        let asks = self.querier.is_some()
            || self.query_interval.is_some()
            || self.query_response.is_some()
            || self.unregistered.is_some()
            || self.fast_leave;
        if self.snooping.is_some() || asks {
            fields.push("snooping".to_owned());
            spec.snooping = (self.snooping != Some(Toggle::Off)).then(|| v1::Snooping {
                querier: self.querier.unwrap_or_default(),
                interval_s: self.query_interval.unwrap_or_default(),
                response_s: self.query_response.unwrap_or_default(),
                drop_unregistered: matches!(self.unregistered, Some(crate::switch::Flood::Drop)),
                fast_leave: self.fast_leave,
                ..v1::Snooping::default()
            });
        }
        let given = [self.flap_moves, self.loop_probe, self.loop_recover].iter().any(Option::is_some);
        if given || self.loop_block.is_some() {
            fields.push("loop_guard".to_owned());
            spec.loop_guard = Some(v1::LoopGuard {
                moves: self.flap_moves.unwrap_or(8),
                within_s: 10,
                block: self.loop_block == Some(Toggle::On),
                probe_s: self.loop_probe.unwrap_or(0),
                recover_s: self.loop_recover.unwrap_or(300),
            });
        }
        if let Some(suppress) = self.suppress_arp {
            fields.push("suppress_arp".to_owned());
            spec.suppress_arp = suppress == Toggle::On;
        }
        fields
    }
}

/// What a port does about LLDP.
#[derive(Clone, Copy, ValueEnum)]
pub enum Lldp {
    /// Listen on network devices, silent towards guests.
    Auto,
    /// Nothing.
    Off,
    /// Listen.
    Receive,
    /// Speak.
    Send,
    /// Both.
    Both,
}

/// Whether a multicast router is behind a port.
#[derive(Clone, Copy, ValueEnum)]
pub enum MulticastRouter {
    /// As it is heard.
    Learn,
    /// It gets every group.
    Always,
    /// What says so is not believed.
    Never,
}

/// The EtherType of outer tags.
#[derive(Clone, Copy, ValueEnum)]
pub enum TagType {
    /// 0x8100.
    #[value(name = "802.1q")]
    Customer,
    /// 0x88a8.
    #[value(name = "802.1ad")]
    Service,
    /// 0x9100.
    #[value(name = "0x9100")]
    Stacked,
}

impl TagType {
    fn number(self) -> u32 {
        match self {
            TagType::Customer => 0x8100,
            TagType::Service => 0x88a8,
            TagType::Stacked => 0x9100,
        }
    }
}

/// A port's part.
#[derive(Args)]
pub struct PortOptions {
    /// All its frames belong to this VLAN with whatever tags they carry (802.1ad, a customer's port).
    #[arg(long, value_name = "VLAN", conflicts_with_all = ["access", "trunk", "native"])]
    tunnel: Option<u32>,
    /// EtherType of outer tags: all that a trunk takes and sends, what a tunnel puts on.
    #[arg(long, value_enum)]
    tag_type: Option<TagType>,
    /// Hold its broadcasts to a rate: "1000pps", "1m" bits a second, or both as in "1m,1000pps"; "none" for no limit.
    /// With one of the three options given, those not given have no limit.
    #[arg(long, value_name = "RATE")]
    storm_broadcast: Option<String>,
    /// The same for multicast.
    #[arg(long, value_name = "RATE")]
    storm_multicast: Option<String>,
    /// The same for frames to unknown addresses.
    #[arg(long, value_name = "RATE")]
    storm_unknown: Option<String>,
    /// Block it when a bridge speaks spanning tree behind it.
    #[arg(long, value_enum)]
    bpdu_guard: Option<Toggle>,
    /// What it does about LLDP.
    #[arg(long, value_enum)]
    lldp: Option<Lldp>,
    /// Whether a multicast router is behind it, where the switch snoops.
    #[arg(long, value_enum)]
    multicast_router: Option<MulticastRouter>,
    /// Give packets that come in by it this DSCP, 0 to 63; "trust" for their own.
    #[arg(long, value_name = "DSCP")]
    dscp: Option<String>,
}

impl PortOptions {
    /// Puts the settings into `spec`, behind those of its VLANs; returns the names of the fields that were given.
    pub fn put(self, spec: &mut v1::PortSpec) -> Result<Vec<&'static str>, Failure> {
        let mut fields = Vec::new();
        if self.tunnel.is_some() || self.tag_type.is_some() {
            let vlan = spec.vlan.get_or_insert_default();
            if self.tunnel.is_none() && vlan.trunk.is_empty() {
                return Err(Failure::usage("--tag-type goes with --trunk or --tunnel"));
            }
            fields.push("vlan");
            vlan.tunnel = self.tunnel;
            vlan.tag_type = self.tag_type.map_or(0, TagType::number);
        }
        if self.storm_broadcast.is_some() || self.storm_multicast.is_some() || self.storm_unknown.is_some() {
            fields.push("storm");
            let storm = v1::Storm {
                broadcast: storm("--storm-broadcast", self.storm_broadcast)?,
                multicast: storm("--storm-multicast", self.storm_multicast)?,
                unknown: storm("--storm-unknown", self.storm_unknown)?,
            };
            spec.storm = (storm != v1::Storm::default()).then_some(storm);
        }
        if let Some(guard) = self.bpdu_guard {
            fields.push("bpdu_guard");
            spec.bpdu_guard = guard == Toggle::On;
        }
        if let Some(lldp) = self.lldp {
            fields.push("lldp");
            spec.lldp = match lldp {
                Lldp::Auto => v1::Lldp::Auto.into(),
                Lldp::Off => v1::Lldp::Off.into(),
                Lldp::Receive => v1::Lldp::Receive.into(),
                Lldp::Send => v1::Lldp::Send.into(),
                Lldp::Both => v1::Lldp::Both.into(),
            };
        }
        if let Some(router) = self.multicast_router {
            fields.push("multicast_router");
            spec.multicast_router = match router {
                MulticastRouter::Learn => v1::MulticastRouter::Learn.into(),
                MulticastRouter::Always => v1::MulticastRouter::Always.into(),
                MulticastRouter::Never => v1::MulticastRouter::Never.into(),
            };
        }
        if let Some(dscp) = self.dscp {
            fields.push("dscp");
            let number = || dscp.parse().map_err(|_| Failure::usage(format!("--dscp {dscp}: write 0 to 63, or trust")));
            spec.dscp = if dscp == "trust" { None } else { Some(number()?) };
        }
        Ok(fields)
    }
}

/// "1000pps", "1m", "1m,1000pps".
fn storm(option: &str, text: Option<String>) -> Result<Option<v1::StormLimit>, Failure> {
    let Some(text) = text.filter(|text| text != "none") else { return Ok(None) };
    let mut limit = v1::StormLimit::default();
    for part in text.split(',') {
        match part.strip_suffix("pps") {
            Some(packets) => {
                let wrong = |_| Failure::usage(format!("{option} {part}: write frames a second as in 1000pps"));
                limit.packets = packets.parse().map_err(wrong)?;
            }
            None => limit.bits = crate::rate::bits(option, Some(part.to_owned()))?,
        }
    }
    Ok(Some(limit))
}
