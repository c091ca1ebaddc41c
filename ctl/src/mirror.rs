//! `vswitchctl mirror`.

use clap::{Args, Subcommand, ValueEnum};
use weir_proto::v1;
use weir_proto::v1::mirror_spec::To;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, bytes, count, print, print_applied, print_json};

/// What can be done with mirrors.
#[derive(Subcommand)]
pub enum Command {
    /// Copy frames of ports or switches to a port, a capture file, or an analyser's address.
    ///
    /// Examples:
    ///   vswitchctl mirror add web --port vm1 --filter 'tcp port 443' --to-port monitor
    ///   vswitchctl mirror add all --switch lan --to-file /var/tmp/lan.pcap --megabytes 100 --files 4
    ///   vswitchctl mirror add far --port vm1 --to-erspan 10.0.0.9 --session 7 --router edge
    #[command(verbatim_doc_comment)]
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Remove a mirror.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        name: String,
    },
    /// Show mirrors and what they have counted.
    #[command(visible_alias = "list")]
    Show {
        /// One mirror; all where absent.
        name: Option<String>,
    },
}

/// Which frames of a port.
#[derive(Clone, Copy, ValueEnum)]
pub enum Direction {
    /// Those that come in by it.
    In,
    /// Those that leave by it.
    Out,
    /// All.
    Both,
}

/// What a mirror looks at, and where its copies go.
#[derive(Args)]
pub struct Settings {
    /// Look at this port; may be given several times.
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<String>,
    /// Look at the ports of this switch; may be given several times.
    #[arg(long = "switch", value_name = "SWITCH")]
    switches: Vec<String>,
    /// Look at this VLAN only; may be given several times.
    #[arg(long = "vlan", value_name = "VLAN")]
    vlans: Vec<u32>,
    /// What comes in, what leaves, or both.
    #[arg(long, value_enum, default_value = "both")]
    direction: Direction,
    /// What it takes: host, net, port, portrange with src or dst; ip, ip6, arp, tcp, udp, icmp, icmp6, igmp, sctp; ip
    /// proto, ether host, ether proto, vlan, broadcast, multicast, less, greater; and, or, not, brackets.
    #[arg(long, value_name = "EXPRESSION", default_value = "")]
    filter: String,
    /// One of so many frames.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    one_of: u32,
    /// Bytes of each frame; 0: all.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    snap: u32,
    /// To this port.
    #[arg(long, value_name = "PORT", group = "to", required_unless_present_any = ["to_file", "to_erspan"])]
    to_port: Option<String>,
    /// To this capture file.
    #[arg(long, value_name = "FILE", group = "to")]
    to_file: Option<String>,
    /// A file is full with so many megabytes [usually: 100].
    #[arg(long, value_name = "NUMBER", requires = "to_file")]
    megabytes: Option<u32>,
    /// Files that are kept [usually: 4].
    #[arg(long, value_name = "NUMBER", requires = "to_file")]
    files: Option<u32>,
    /// To this address, in ERSPAN.
    #[arg(long, value_name = "ADDRESS", group = "to")]
    to_erspan: Option<String>,
    /// Our address for it.
    #[arg(long, value_name = "ADDRESS", requires = "to_erspan")]
    from: Option<String>,
    /// The session, 0 to 1023 [usually: 1].
    #[arg(long, value_name = "NUMBER", requires = "to_erspan")]
    session: Option<u32>,
    /// ERSPAN's type, 2 or 3 [usually: 2].
    #[arg(long = "type", value_name = "NUMBER", requires = "to_erspan")]
    kind: Option<u32>,
    /// The router that sends; the host where absent.
    #[arg(long, value_name = "ROUTER", requires = "to_erspan")]
    router: Option<String>,
}

impl Settings {
    fn spec(self, name: String) -> v1::MirrorSpec {
        let to = if let Some(path) = self.to_file {
            let (megabytes, files) = (self.megabytes.unwrap_or_default(), self.files.unwrap_or_default());
            Some(To::ToFile(v1::MirrorFile { path, megabytes, files }))
        } else if let Some(to) = self.to_erspan {
            Some(To::ToErspan(v1::MirrorErspan {
                to,
                from: self.from.unwrap_or_default(),
                session: self.session.unwrap_or(1),
                r#type: self.kind.unwrap_or_default(),
                router: self.router.unwrap_or_default(),
            }))
        } else {
            self.to_port.map(To::ToPort)
        };
        let direction = match self.direction {
            Direction::In => v1::MirrorDirection::In,
            Direction::Out => v1::MirrorDirection::Out,
            Direction::Both => v1::MirrorDirection::Both,
        };
        let Settings { ports, switches, vlans, filter, one_of, snap, .. } = self;
        v1::MirrorSpec { name, ports, switches, vlans, direction: direction.into(), filter, one_of, snap, to }
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.mirrors().await?;
    let applied = match command {
        Command::Add { name, settings } => {
            client.add(v1::AddMirrorRequest { mirror: Some(settings.spec(name)) }).await?
        }
        Command::Del { name } => client.delete(v1::DeleteMirrorRequest { name }).await?,
        Command::Show { name } => {
            let request = v1::ListMirrorsRequest { name: name.unwrap_or_default() };
            let mirrors = client.list(request).await?.into_inner().mirrors;
            return match format {
                Format::Json => print_json(&mirrors),
                Format::Table => print(&text(&mirrors)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn text(mirrors: &[v1::MirrorStatus]) -> String {
    let mut table = Table::new(&["MIRROR", "LOOKS AT", "FILTER", "TO", ">MATCHED", ">COPIES", ">BYTES", ">LOST"]);
    for status in mirrors {
        let spec = status.spec.clone().unwrap_or_default();
        let mut looked_at: Vec<String> = spec.ports.clone();
        looked_at.extend(spec.switches.iter().map(|switch| format!("switch {switch}")));
        looked_at.extend(spec.vlans.iter().map(|vlan| format!("VLAN {vlan}")));
        let to = match &spec.to {
            Some(To::ToPort(port)) => format!("port {port}"),
            Some(To::ToFile(file)) => file.path.clone(),
            Some(To::ToErspan(erspan)) => format!("{} session {}", erspan.to, erspan.session),
            None => String::new(),
        };
        table.row(vec![
            spec.name,
            looked_at.join(", "),
            spec.filter,
            to,
            count(status.matched),
            count(status.mirrored),
            bytes(status.bytes),
            count(status.dropped),
        ]);
    }
    if table.is_empty() {
        return "no mirrors; add one with: vswitchctl mirror add web --port vm1 --to-file /var/tmp/vm1.pcap\n".into();
    }
    table.text()
}
