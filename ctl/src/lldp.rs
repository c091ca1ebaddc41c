//! `vswitchctl lldp`.

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_json};

/// What can be done with LLDP.
#[derive(Subcommand)]
pub enum Command {
    /// Show what neighbours say of themselves.
    #[command(visible_alias = "list")]
    Show {
        /// One port; all where absent.
        port: Option<String>,
    },
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let Command::Show { port } = command;
    let request = v1::ListLldpRequest { port: port.unwrap_or_default() };
    let answer = daemon.switching().await?.list_lldp(request).await?.into_inner();
    match format {
        Format::Json => print_json(&answer),
        Format::Table => print(&text(&answer)),
    }
}

fn text(answer: &v1::ListLldpResponse) -> String {
    let mut table = Table::new(&["PORT", "SYSTEM", "CHASSIS", "ITS PORT", "DOES", "ADDRESSES", ">LEFT", "DESCRIPTION"]);
    for neighbor in &answer.neighbors {
        table.row(vec![
            neighbor.port.clone(),
            neighbor.system.clone(),
            neighbor.chassis.clone(),
            neighbor.remote_port.clone(),
            neighbor.capabilities.join(","),
            neighbor.addresses.join(","),
            format!("{}s", neighbor.left_s),
            neighbor.description.clone(),
        ]);
    }
    let mut text = if table.is_empty() {
        "no neighbours heard; ports of network devices listen, others with: vswitchctl port set NAME --lldp both\n"
            .to_owned()
    } else {
        table.text()
    };
    for v1::LldpCounters { port, sent, received, broken, refused } in &answer.counters {
        text += &format!("{port}: {sent} sent, {received} read, {broken} broken, {refused} refused at the limit\n");
    }
    text
}
