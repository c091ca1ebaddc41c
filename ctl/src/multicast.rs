//! `vswitchctl multicast`.

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_json};

/// What can be done with multicast groups.
#[derive(Subcommand)]
pub enum Command {
    /// Show groups, their members, routers and queriers of switches that snoop.
    #[command(visible_alias = "list")]
    Show {
        /// One switch; all where absent.
        switch: Option<String>,
    },
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let Command::Show { switch } = command;
    let request = v1::ListMulticastRequest { switch: switch.unwrap_or_default() };
    let switches = daemon.switching().await?.list_multicast(request).await?.into_inner().switches;
    match format {
        Format::Json => print_json(&switches),
        Format::Table => print(&text(&switches)),
    }
}

fn text(switches: &[v1::MulticastStatus]) -> String {
    if switches.is_empty() {
        return "no switch snoops; let one do so with: vswitchctl switch set lan --snooping on\n".into();
    }
    let mut table = Table::new(&["SWITCH", "VLAN", "WHAT", "ADDRESS", "PORT", ">LEFT"]);
    let left = |left_s: Option<u32>| left_s.map_or("-".to_owned(), |left_s| format!("{left_s}s"));
    for status in switches {
        let mut row = |vlan: u32, what: &str, address: &str, port: &str, left: String| {
            table.row(vec![status.switch.clone(), vlan.to_string(), what.into(), address.into(), port.into(), left]);
        };
        for querier in &status.queriers {
            let port = if querier.port.is_empty() { "(switch)" } else { &querier.port };
            row(querier.vlan, "querier", &querier.address, port, "-".into());
        }
        for router in &status.routers {
            row(router.vlan, "router", "", &router.port, left(router.left_s));
        }
        for group in &status.groups {
            for member in &group.members {
                row(group.vlan, "group", &group.address, &member.port, left(member.left_s));
            }
        }
    }
    let mut text = if table.is_empty() { "nobody has joined a group\n".to_owned() } else { table.text() };
    for status in switches {
        let v1::MulticastStatus { switch, reports, queries, asked, broken, refused, .. } = status;
        text += &format!(
            "{switch}: {reports} reports and {queries} queries read, {asked} sent, {broken} not believed, {refused} \
             refused at a limit\n"
        );
    }
    text
}
