//! `vswitchctl port`.

use clap::{Args, Subcommand, ValueEnum};
use weir_proto::v1;
use weir_proto::v1::port_spec::Attachment;

use crate::Format;
use crate::attach;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::rate;
use crate::switching::PortOptions;
use crate::table::{Table, bytes, count, print, print_applied, print_json};

/// What can be done with ports.
#[derive(Subcommand)]
pub enum Command {
    /// Open a port and put it on a switch.
    ///
    /// Examples:
    ///   vswitchctl port add vm1 --switch lan --vhost-user /run/weir/vm1.sock --group web
    ///   vswitchctl port add ct1 --switch lan --tap eth0 --netns ct1
    ///   vswitchctl port add uplink --switch lan --xdp eth1
    #[command(verbatim_doc_comment)]
    Add {
        /// Its name.
        name: String,
        /// Its switch.
        #[arg(long)]
        switch: String,
        #[command(flatten)]
        attach: Attach,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change settings of a port; what is not given stays. The link stays up unless the port is attached elsewhere.
    Set {
        /// Its name.
        name: String,
        /// Move it to this switch.
        #[arg(long)]
        switch: Option<String>,
        #[command(flatten)]
        attach: Attach,
        #[command(flatten)]
        settings: Settings,
    },
    /// Close a port and end its flows.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        name: String,
    },
    /// Open a port that the loop guard has blocked.
    Clear {
        /// Its name.
        name: String,
    },
    /// Show ports; with a name, everything about one.
    #[command(visible_alias = "list")]
    Show {
        /// One port; all where absent.
        name: Option<String>,
        /// Ports of this switch.
        #[arg(long)]
        switch: Option<String>,
    },
    /// Print how to attach a guest to a port: QEMU, libvirt, Cloud Hypervisor, Firecracker, User Mode Linux.
    AttachHelp {
        /// The port.
        name: String,
    },
}

/// What a port is attached to.
#[derive(Args)]
pub struct Attach {
    /// A guest by shared memory, at this unix socket.
    #[arg(long, value_name = "PATH", group = "attachment")]
    vhost_user: Option<String>,
    /// A TAP interface of this name.
    #[arg(long, value_name = "NAME", group = "attachment")]
    tap: Option<String>,
    /// An interface of the kernel, by AF_XDP.
    #[arg(long, value_name = "INTERFACE", group = "attachment")]
    xdp: Option<String>,
    /// A capture file to be replayed once.
    #[arg(long, value_name = "FILE", group = "attachment")]
    pcap: Option<String>,
    /// Nothing; for tests.
    #[arg(long, group = "attachment")]
    mem: bool,
    /// vhost-user: who makes the socket: we (server), or the hypervisor (client), so that guests survive our restart.
    #[arg(long, value_enum, requires = "vhost_user")]
    role: Option<Role>,
    /// vhost-user: which front end is on the other side [usually: found out by itself].
    #[arg(long, value_enum, requires = "vhost_user")]
    profile: Option<Profile>,
    /// vhost-user: permissions of the socket, octal [usually: 0600].
    #[arg(long, value_name = "MODE", requires = "vhost_user", value_parser = octal)]
    socket_mode: Option<u32>,
    /// vhost-user: group of the socket, by name or number.
    #[arg(long, value_name = "GROUP", requires = "vhost_user")]
    socket_group: Option<String>,
    /// vhost-user: let the guest choose packed rings (QEMU: packed=on; its driver must restart after a restart of the daemon).
    #[arg(long, requires = "vhost_user")]
    packed: bool,
    /// tap, xdp: network namespace, by name or path.
    #[arg(long, value_name = "NAMESPACE", requires = "attachment")]
    netns: Option<String>,
    /// tap: the interface stays when the port goes.
    #[arg(long, requires = "tap")]
    persist: bool,
    /// xdp: how the driver is reached [usually: the best that works].
    #[arg(long, value_enum, requires = "xdp")]
    mode: Option<Mode>,
    /// pcap: write what goes out to this file.
    #[arg(long, value_name = "FILE")]
    pcap_write: Option<String>,
    /// vhost-user, tap: queue pairs; xdp: queues.
    #[arg(long, value_name = "NUMBER", requires = "attachment")]
    queues: Option<u32>,
    /// vhost-user, tap: MTU in bytes.
    #[arg(long, value_name = "BYTES", requires = "attachment")]
    mtu: Option<u32>,
    /// vhost-user, tap: MAC address of the other side.
    #[arg(long, requires = "attachment")]
    mac: Option<String>,
}

/// A port's settings.
#[derive(Args)]
pub struct Settings {
    /// A label that rules speak of; may be given several times.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// All frames belong to this VLAN and carry no tag; "none" for no VLANs.
    #[arg(long, value_name = "VLAN", conflicts_with_all = ["trunk", "native"])]
    access: Option<String>,
    /// Tagged frames of these VLANs: "10,20-30".
    #[arg(long, value_name = "VLANS", value_delimiter = ',')]
    trunk: Vec<String>,
    /// VLAN of untagged frames of a trunk.
    #[arg(long, value_name = "VLAN", requires = "trunk")]
    native: Option<u32>,
    /// Isolated ports do not exchange frames with each other.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    isolated: Option<bool>,
    /// Administratively down.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    down: Option<bool>,
    /// Do not learn addresses from it.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    no_learning: Option<bool>,
    /// Do not join segments of one TCP connection that are sent to it together.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    no_gro: Option<bool>,
    /// Learn at most this many addresses from it; 0 for no limit of its own.
    #[arg(long, value_name = "NUMBER")]
    fdb_limit: Option<u32>,
    /// Take at most this from it, bits a second ("500m", "1.5g"); "none" for no limit.
    #[arg(long, value_name = "BITS")]
    rate_in: Option<String>,
    /// Send at most this to it, bits a second; "none" for no limit.
    #[arg(long, value_name = "BITS")]
    rate_out: Option<String>,
    /// Bytes that may pass at once after a pause, with --rate-in or --rate-out [usually: what passes in 10 ms].
    #[arg(long, value_name = "BYTES")]
    burst: Option<u64>,
    /// It gets this much of a port with a rate, however many others want it; "none" for nothing promised.
    #[arg(long, value_name = "BITS")]
    guarantee: Option<String>,
    /// It gets at most this much of a port with a rate; "none" for no limit.
    #[arg(long, value_name = "BITS")]
    peak: Option<String>,
    /// Its part of what is left, in relation to the others', 1 to 1000.
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u32>,
    #[command(flatten)]
    switching: PortOptions,
}

/// Who makes the socket.
#[derive(Clone, Copy, ValueEnum)]
pub enum Role {
    /// We do.
    Server,
    /// The hypervisor does.
    Client,
}

/// Which front end is on the other side.
#[derive(Clone, Copy, ValueEnum)]
pub enum Profile {
    /// Found out by itself.
    Auto,
    /// QEMU and Cloud Hypervisor.
    Qemu,
    /// User Mode Linux.
    Uml,
    /// DPDK's virtio-user.
    Dpdk,
}

/// How AF_XDP reaches the driver.
#[derive(Clone, Copy, ValueEnum)]
pub enum Mode {
    /// The best that works.
    Auto,
    /// The driver's own rings on our memory.
    ZeroCopy,
    /// The driver's hook, one copy.
    Copy,
    /// The kernel's generic hook.
    Generic,
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim_start_matches("0o"), 8).map_err(|_| "write an octal number, as in 0660".into())
}

impl Attach {
    fn message(self) -> Result<Option<Attachment>, Failure> {
        if let (Some(_), true) = (&self.mac, self.xdp.is_some()) {
            return Err(Failure::usage("--mac belongs to --vhost-user and --tap; an interface has its own"));
        }
        let mac = self.mac.unwrap_or_default();
        let netns = self.netns.unwrap_or_default();
        if !netns.is_empty() && self.tap.is_none() && self.xdp.is_none() {
            return Err(Failure::usage("--netns belongs to --tap and --xdp"));
        }
        Ok(if let Some(path) = self.vhost_user {
            Some(Attachment::VhostUser(v1::VhostUser {
                path,
                role: self.role.map_or(0, |role| match role {
                    Role::Server => v1::VhostRole::Server.into(),
                    Role::Client => v1::VhostRole::Client.into(),
                }),
                queues: self.queues,
                profile: self.profile.map_or(0, |profile| match profile {
                    Profile::Auto => v1::VhostProfile::Auto.into(),
                    Profile::Qemu => v1::VhostProfile::Qemu.into(),
                    Profile::Uml => v1::VhostProfile::Uml.into(),
                    Profile::Dpdk => v1::VhostProfile::Dpdk.into(),
                }),
                mtu: self.mtu,
                mac,
                socket_mode: self.socket_mode,
                socket_group: self.socket_group.unwrap_or_default(),
                packed: self.packed,
            }))
        } else if let Some(name) = self.tap {
            let (queues, mtu, persist) = (self.queues, self.mtu, self.persist);
            Some(Attachment::Tap(v1::Tap { name, netns, queues, mtu, mac, persist }))
        } else if let Some(interface) = self.xdp {
            Some(Attachment::Xdp(v1::Xdp {
                interface,
                netns,
                mode: self.mode.map_or(0, |mode| match mode {
                    Mode::Auto => v1::XdpMode::Auto.into(),
                    Mode::ZeroCopy => v1::XdpMode::ZeroCopy.into(),
                    Mode::Copy => v1::XdpMode::Copy.into(),
                    Mode::Generic => v1::XdpMode::Generic.into(),
                }),
                first_queue: None,
                queues: self.queues,
                fast_path: None,
            }))
        } else if self.pcap.is_some() || self.pcap_write.is_some() {
            let (read, write) = (self.pcap.unwrap_or_default(), self.pcap_write.unwrap_or_default());
            Some(Attachment::Pcap(v1::Pcap { read, write }))
        } else {
            self.mem.then_some(Attachment::Mem(v1::Mem {}))
        })
    }
}

impl Settings {
    /// Puts the settings into `spec`; returns the names of the fields that were given.
    fn put(self, spec: &mut v1::PortSpec) -> Result<Vec<String>, Failure> {
        let mut fields = Vec::new();
        if !self.groups.is_empty() {
            fields.push("groups");
            spec.groups = self.groups;
        }
        if let Some(access) = self.access {
            fields.push("vlan");
            spec.vlan = match access.as_str() {
                "none" => None,
                vlan => {
                    let vlan = vlan.parse().map_err(|_| Failure::usage(format!("--access {vlan}: not a VLAN")))?;
                    Some(v1::Vlan { access: Some(vlan), ..v1::Vlan::default() })
                }
            };
        } else if !self.trunk.is_empty() {
            fields.push("vlan");
            spec.vlan = Some(v1::Vlan { trunk: self.trunk, native: self.native, ..v1::Vlan::default() });
        }
        for (given, field, slot) in [
            (self.isolated, "isolated", &mut spec.isolated),
            (self.down, "down", &mut spec.down),
            (self.no_learning, "no_learning", &mut spec.no_learning),
            (self.no_gro, "no_gro", &mut spec.no_gro),
        ] {
            if let Some(value) = given {
                fields.push(field);
                *slot = value;
            }
        }
        if let Some(limit) = self.fdb_limit {
            fields.push("fdb_limit");
            spec.fdb_limit = limit;
        }
        if self.rate_in.is_some() || self.rate_out.is_some() {
            fields.push("rate");
            let (in_bits, out_bits) =
                (rate::bits("--rate-in", self.rate_in)?, rate::bits("--rate-out", self.rate_out)?);
            spec.rate = (in_bits.is_some() || out_bits.is_some()).then(|| v1::Rate {
                in_bits,
                out_bits,
                burst: self.burst.unwrap_or_default(),
                ..v1::Rate::default()
            });
        }
        if self.guarantee.is_some() || self.peak.is_some() || self.weight.is_some() {
            fields.push("share");
            spec.share = Some(v1::Share {
                guarantee_bits: rate::bits("--guarantee", self.guarantee)?,
                peak_bits: rate::bits("--peak", self.peak)?,
                weight: self.weight.unwrap_or(1),
            });
        }
        fields.extend(self.switching.put(spec)?);
        Ok(fields.into_iter().map(str::to_owned).collect())
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.ports().await?;
    let applied = match command {
        Command::Add { name, switch, attach, settings } => {
            let attachment = attach.message()?;
            if attachment.is_none() {
                return Err(Failure::usage("what is it attached to? give --vhost-user, --tap, --xdp, --pcap or --mem"));
            }
            let mut spec = v1::PortSpec { name, switch, attachment, ..v1::PortSpec::default() };
            settings.put(&mut spec)?;
            client.add(v1::AddPortRequest { port: Some(spec), ..v1::AddPortRequest::default() }).await?
        }
        Command::Set { name, switch, attach, settings } => {
            let attachment = attach.message()?;
            let mut spec = v1::PortSpec { name, attachment, ..v1::PortSpec::default() };
            let mut fields = settings.put(&mut spec)?;
            if spec.attachment.is_some() {
                fields.push("attachment".into());
            }
            if let Some(switch) = switch {
                spec.switch = switch;
                fields.push("switch".into());
            }
            if fields.is_empty() {
                return Err(Failure::usage("nothing to set; see vswitchctl port set --help"));
            }
            client.set(v1::SetPortRequest { port: Some(spec), fields }).await?
        }
        Command::Del { name } => client.delete(v1::DeletePortRequest { name }).await?,
        Command::Clear { name } => {
            let request = v1::ClearPortRequest { name: name.clone() };
            let cause = daemon.switching().await?.clear_port(request).await?.into_inner().cause;
            return match format {
                Format::Json => print_json(&cause),
                Format::Table if cause.is_empty() => print(&format!("port {name} was not blocked\n")),
                Format::Table => print(&format!("port {name} is open; it was blocked: {cause}\n")),
            };
        }
        Command::Show { name, switch } => {
            let one = name.is_some();
            let request = v1::ListPortsRequest { name: name.unwrap_or_default(), switch: switch.unwrap_or_default() };
            let ports = client.list(request).await?.into_inner().ports;
            return match format {
                Format::Json => print_json(&ports),
                Format::Table if one => print(&ports.iter().map(detail).collect::<String>()),
                Format::Table => print(&text(&ports)),
            };
        }
        Command::AttachHelp { name } => {
            let request = v1::ListPortsRequest { name, switch: String::new() };
            let ports = client.list(request).await?.into_inner().ports;
            let help = ports.first().and_then(|p| p.spec.as_ref()).map(attach::help);
            return print(&help.ok_or_else(|| Failure::refused("the daemon did not tell of the port"))?);
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn sum(counts: &[v1::Count]) -> u64 {
    counts.iter().map(|c| c.count).sum()
}

/// Ports as a table.
pub fn text(ports: &[v1::PortStatus]) -> String {
    let mut table =
        Table::new(&["PORT", "SWITCH", "LINK", "KIND", ">RX", ">TX", ">RX BYTES", ">TX BYTES", ">DROPS", "MODE"]);
    for port in ports {
        let spec = port.spec.clone().unwrap_or_default();
        let counters = port.counters.clone().unwrap_or_default();
        let drops = sum(&counters.rx_dropped) + sum(&counters.dropped) + sum(&counters.tx_dropped);
        table.row(vec![
            spec.name,
            spec.switch,
            if spec.down {
                "off"
            } else if port.link {
                "up"
            } else {
                "down"
            }
            .into(),
            port.kind.clone(),
            count(counters.rx_packets),
            count(counters.tx_packets),
            bytes(counters.rx_bytes),
            bytes(counters.tx_bytes),
            count(drops),
            if port.problem.is_empty() { port.mode.clone() } else { format!("{} ({})", port.mode, port.problem) },
        ]);
    }
    if table.is_empty() {
        return "no ports; add one with: vswitchctl port add vm1 --switch lan --vhost-user /run/weir/vm1.sock\n".into();
    }
    table.text()
}

/// Everything about a port.
pub fn detail(port: &v1::PortStatus) -> String {
    let spec = port.spec.clone().unwrap_or_default();
    let counters = port.counters.clone().unwrap_or_default();
    let mut lines: Vec<(String, String)> = vec![
        ("port".into(), spec.name.clone()),
        ("switch".into(), spec.switch.clone()),
        ("groups".into(), spec.groups.join(", ")),
        ("link".into(), if port.link { "up" } else { "down" }.into()),
        ("mode".into(), format!("{}: {}", port.kind, port.mode)),
        ("problem".into(), port.problem.clone()),
        ("mtu".into(), port.mtu.to_string()),
        ("vlan".into(), vlan(spec.vlan.as_ref())),
        ("flags".into(), flags(&spec)),
        ("rate".into(), spec.rate.as_ref().map(rate::limits).unwrap_or_default()),
        ("share".into(), spec.share.as_ref().map(rate::share).unwrap_or_default()),
    ];
    lines.extend(port.details.iter().map(|d| (d.name.clone(), d.value.clone())));
    let moved = |packets: u64, octets: u64| format!("{packets} packets, {octets} bytes");
    lines.push(("received".into(), moved(counters.rx_packets, counters.rx_bytes)));
    lines.push(("sent".into(), moved(counters.tx_packets, counters.tx_bytes)));
    lines.push(("cut on the way out".into(), counters.tx_cut.to_string()));
    let joined = format!("{} frames, to {} super-segments", counters.tx_joined, counters.tx_supers);
    lines.push(("joined on the way out".into(), joined));
    for (when, counts) in [
        ("refused on arrival", &counters.rx_dropped),
        ("dropped on the way", &counters.dropped),
        ("not sent", &counters.tx_dropped),
    ] {
        lines.extend(counts.iter().map(|c| (when.to_owned(), format!("{} {}: {}", c.count, c.name, c.meaning))));
    }
    lines.retain(|(_, value)| !value.is_empty());
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

fn vlan(vlan: Option<&v1::Vlan>) -> String {
    match vlan {
        None => String::new(),
        Some(v1::Vlan { access: Some(vid), .. }) => format!("access {vid}"),
        Some(v1::Vlan { tunnel: Some(vid), .. }) => format!("tunnel {vid}"),
        Some(v1::Vlan { trunk, native, .. }) => {
            let native = native.map(|vid| format!(", native {vid}")).unwrap_or_default();
            format!("trunk {}{native}", trunk.join(","))
        }
    }
}

fn flags(spec: &v1::PortSpec) -> String {
    let flags =
        [("down", spec.down), ("isolated", spec.isolated), ("no learning", spec.no_learning), ("no GRO", spec.no_gro)];
    flags.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
