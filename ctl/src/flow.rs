//! `vswitchctl flow`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, bytes, count, duration_ms, print, print_json};

/// What can be done with flows.
#[derive(Subcommand)]
pub enum Command {
    /// Show flows.
    #[command(visible_alias = "show")]
    List {
        #[command(flatten)]
        filter: Filter,
        /// Show at most this many.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: u32,
    },
    /// End flows: their packets are dropped from here on. At least one filter must be given.
    Kill {
        #[command(flatten)]
        filter: Filter,
    },
}

/// Which flows; all filters that are given must match.
#[derive(Args)]
pub struct Filter {
    /// Flows of this port, as initiator or responder.
    #[arg(long)]
    port: Option<String>,
    /// Flows of this switch.
    #[arg(long)]
    switch: Option<String>,
    /// Either address, as 10.0.0.1 or 10.0.0.0/24.
    #[arg(long, value_name = "CIDR")]
    address: Option<String>,
    /// Either TCP or UDP port.
    #[arg(long, value_name = "NUMBER")]
    l4_port: Option<u32>,
    /// IP protocol, by name or number.
    #[arg(long)]
    protocol: Option<String>,
    /// The rule that let it in; "default" for the switch's default.
    #[arg(long)]
    rule: Option<String>,
    /// new, established, closed or blocked.
    #[arg(long)]
    state: Option<String>,
    /// One flow by its number.
    #[arg(long)]
    id: Option<u64>,
    /// Flows on which an inspection rule has fired.
    #[arg(long)]
    alerted: bool,
}

impl From<Filter> for v1::FlowFilter {
    fn from(filter: Filter) -> v1::FlowFilter {
        v1::FlowFilter {
            port: filter.port.unwrap_or_default(),
            switch: filter.switch.unwrap_or_default(),
            address: filter.address.unwrap_or_default(),
            l4_port: filter.l4_port,
            protocol: filter.protocol.unwrap_or_default(),
            rule: filter.rule.unwrap_or_default(),
            state: filter.state.unwrap_or_default(),
            id: filter.id,
            alerted: filter.alerted,
        }
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.flows().await?;
    match command {
        Command::List { filter, limit } => {
            let request = v1::ListFlowsRequest { filter: Some(filter.into()), limit };
            let answer = client.list(request).await?.into_inner();
            match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&text(&answer)),
            }
        }
        Command::Kill { filter } => {
            let answer = client.kill(v1::KillFlowsRequest { filter: Some(filter.into()) }).await?.into_inner();
            match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&format!("ended {} flows\n", answer.killed)),
            }
        }
    }
}

fn text(answer: &v1::ListFlowsResponse) -> String {
    let mut table = Table::new(&[
        ">ID",
        "PROTO",
        "SOURCE",
        "DESTINATION",
        "PORTS",
        "STATE",
        "INSPECTED",
        ">PACKETS",
        ">BYTES",
        ">AGE",
        ">IDLE",
        "RULE",
    ]);
    for flow in &answer.flows {
        let alerted = if flow.alerted { " (alerted)" } else { "" };
        let in_xdp = if flow.in_xdp { ", in XDP" } else { "" };
        table.row(vec![
            flow.id.to_string(),
            flow.protocol_name.clone(),
            end(flow, &flow.source, flow.source_port),
            end(flow, &flow.destination, flow.destination_port),
            format!("{} > {}", flow.in_port, if flow.out_port.is_empty() { "?" } else { &flow.out_port }),
            format!("{}{in_xdp}{alerted}", flow.state),
            match flow.inspection.as_str() {
                "inspected" => "yes".into(),
                other => other.to_owned(),
            },
            format!("{}/{}", count(flow.packets_to_server), count(flow.packets_to_client)),
            format!("{}/{}", bytes(flow.bytes_to_server), bytes(flow.bytes_to_client)),
            duration_ms(flow.age_ms),
            duration_ms(flow.idle_ms),
            flow.rule.clone(),
        ]);
    }
    let shown = answer.flows.len();
    let more = if answer.more { "; there are more that match (--limit)" } else { "" };
    let summary = format!("{shown} shown of {} flows{more}\n", answer.total);
    if table.is_empty() { summary } else { table.text() + &summary }
}

fn end(flow: &v1::Flow, address: &str, port: u32) -> String {
    let with_ports = matches!(flow.protocol, 6 | 17 | 132);
    match (with_ports, address.contains(':')) {
        (true, true) => format!("[{address}]:{port}"),
        (true, false) => format!("{address}:{port}"),
        (false, _) => address.to_owned(),
    }
}
