//! `vswitchctl service`, `schedule` and `tier`: what rules speak in.

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with services.
#[derive(Subcommand)]
pub enum ServiceCommand {
    /// Say what a service is spoken by; what is given is all of it.
    Set {
        /// Its name.
        name: String,
        /// TCP ports of the server, with commas; each "80" or "8000-8080".
        #[arg(long, value_name = "PORT,...", value_delimiter = ',')]
        tcp: Vec<String>,
        /// UDP ports of the server, with commas.
        #[arg(long, value_name = "PORT,...", value_delimiter = ',')]
        udp: Vec<String>,
        /// ICMP and ICMPv6 types, with commas: echo-request, 3/4.
        #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
        icmp: Vec<String>,
        /// Other IP protocols, with commas: gre, esp, 89.
        #[arg(long, value_name = "PROTOCOL,...", value_delimiter = ',')]
        protocol: Vec<String>,
    },
    /// Take a service out.
    Del {
        /// Its name.
        name: String,
    },
    /// Show services.
    #[command(visible_alias = "list")]
    Show,
}

/// What can be done with schedules.
#[derive(Subcommand)]
pub enum ScheduleCommand {
    /// Say when the rules of a schedule are in force; what is given is all of it.
    Set {
        /// Its name.
        name: String,
        /// A weekly time, once or several times: "mon-fri 08:00-18:00", "daily 22:00-06:00".
        #[arg(long = "time", value_name = "TIME", required = true)]
        times: Vec<String>,
        /// By the host's time zone [usually: universal time].
        #[arg(long)]
        local: bool,
    },
    /// Take a schedule out.
    Del {
        /// Its name.
        name: String,
    },
    /// Show schedules.
    #[command(visible_alias = "list")]
    Show,
}

/// What can be done with tiers.
#[derive(Subcommand)]
pub enum TierCommand {
    /// Add a tier, or say what it does with flows that none of its rules names.
    Set {
        /// Its name.
        name: String,
        /// allow, drop or reject what its rules leave [usually: the next tier is asked].
        #[arg(long, value_name = "ACTION")]
        default: Option<String>,
        /// Put it before this tier [usually: where it stands; a new one last].
        #[arg(long, value_name = "TIER")]
        before: Option<String>,
    },
    /// Take a tier out.
    Del {
        /// Its name.
        name: String,
    },
    /// Show tiers in order.
    #[command(visible_alias = "list")]
    Show,
}

/// Runs a command on services.
pub async fn service(command: ServiceCommand, daemon: &Connection, format: Format) -> Result<(), Failure> {
    match command {
        ServiceCommand::Set { name, tcp, udp, icmp, protocol } => {
            let ported = |name: &str, ports: Vec<String>| v1::ServiceEntry {
                protocols: vec![name.into()],
                destination_ports: ports,
                ..v1::ServiceEntry::default()
            };
            let mut entries = Vec::new();
            for (name, ports) in [("tcp", tcp), ("udp", udp)] {
                if !ports.is_empty() {
                    entries.push(ported(name, ports));
                }
            }
            if !icmp.is_empty() {
                entries.push(v1::ServiceEntry { icmp, ..v1::ServiceEntry::default() });
            }
            if !protocol.is_empty() {
                entries.push(v1::ServiceEntry { protocols: protocol, ..v1::ServiceEntry::default() });
            }
            let service = Some(v1::ServiceSpec { name, entries });
            set(v1::SetSegmentRequest { service, ..v1::SetSegmentRequest::default() }, daemon, format).await
        }
        ServiceCommand::Del { name } => remove("service", name, daemon, format).await,
        ServiceCommand::Show => {
            let services = list(daemon).await?.services;
            let mut table = Table::new(&["SERVICE", "IS"]);
            for service in &services {
                let entries: Vec<String> = service.entries.iter().map(entry).collect();
                table.row(vec![service.name.clone(), entries.join(", or ")]);
            }
            show(&services, &table, format)
        }
    }
}

/// Runs a command on schedules.
pub async fn schedule(command: ScheduleCommand, daemon: &Connection, format: Format) -> Result<(), Failure> {
    match command {
        ScheduleCommand::Set { name, times, local } => {
            let schedule = Some(v1::ScheduleSpec { name, times, local, open: false });
            set(v1::SetSegmentRequest { schedule, ..v1::SetSegmentRequest::default() }, daemon, format).await
        }
        ScheduleCommand::Del { name } => remove("schedule", name, daemon, format).await,
        ScheduleCommand::Show => {
            let schedules = list(daemon).await?.schedules;
            let mut table = Table::new(&["SCHEDULE", "CLOCK", "RULES", "TIMES"]);
            for schedule in &schedules {
                let clock = if schedule.local { "local" } else { "utc" };
                let rules = if schedule.open { "in force" } else { "-" };
                table.row(vec![schedule.name.clone(), clock.into(), rules.into(), schedule.times.join("; ")]);
            }
            show(&schedules, &table, format)
        }
    }
}

/// Runs a command on tiers.
pub async fn tier(command: TierCommand, daemon: &Connection, format: Format) -> Result<(), Failure> {
    match command {
        TierCommand::Set { name, default, before } => {
            let tier = Some(v1::TierSpec { name, default_action: default.unwrap_or_default() });
            let before = before.unwrap_or_default();
            set(v1::SetSegmentRequest { tier, before, ..v1::SetSegmentRequest::default() }, daemon, format).await
        }
        TierCommand::Del { name } => remove("tier", name, daemon, format).await,
        TierCommand::Show => {
            let tiers = list(daemon).await?.tiers;
            let mut table = Table::new(&[">#", "TIER", "WHAT ITS RULES LEAVE"]);
            for (index, tier) in tiers.iter().enumerate() {
                let rest = if tier.default_action.is_empty() { "next tier" } else { &tier.default_action };
                table.row(vec![(index + 1).to_string(), tier.name.clone(), rest.to_owned()]);
            }
            show(&tiers, &table, format)
        }
    }
}

/// Sets the members of a group; what is not given stays.
pub async fn members(
    name: &str,
    edit: impl FnOnce(&mut v1::GroupMembers),
    daemon: &Connection,
    format: Format,
) -> Result<(), Failure> {
    let known = list(daemon).await?.groups.into_iter().find(|group| group.group == name);
    let mut group = known.unwrap_or_else(|| v1::GroupMembers { group: name.into(), ..v1::GroupMembers::default() });
    edit(&mut group);
    set(v1::SetSegmentRequest { group: Some(group), ..v1::SetSegmentRequest::default() }, daemon, format).await
}

/// All there are.
pub async fn list(daemon: &Connection) -> Result<v1::ListSegmentsResponse, Failure> {
    Ok(daemon.segments().await?.list(v1::ListSegmentsRequest {}).await?.into_inner())
}

async fn set(request: v1::SetSegmentRequest, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let applied = daemon.segments().await?.set(request).await?;
    print_applied(applied.get_ref(), format == Format::Json, false)
}

async fn remove(kind: &str, name: String, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let request = v1::RemoveSegmentRequest { kind: kind.into(), name };
    let applied = daemon.segments().await?.remove(request).await?;
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn show<T: serde::Serialize>(all: &[T], table: &Table, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print_json(&all),
        Format::Table if table.is_empty() => print("none\n"),
        Format::Table => print(&table.text()),
    }
}

fn entry(entry: &v1::ServiceEntry) -> String {
    let mut parts = Vec::new();
    for (what, list) in [
        ("", &entry.protocols),
        ("icmp ", &entry.icmp),
        ("from port ", &entry.source_ports),
        ("to port ", &entry.destination_ports),
    ] {
        if !list.is_empty() {
            parts.push(format!("{what}{}", list.join(",")));
        }
    }
    if parts.is_empty() { "anything".into() } else { parts.join(" ") }
}
