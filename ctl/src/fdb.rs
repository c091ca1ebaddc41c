//! `vswitchctl fdb`.

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_json};

/// What can be done with the addresses that switches know.
#[derive(Subcommand)]
pub enum Command {
    /// Show addresses.
    #[command(visible_alias = "list")]
    Show {
        /// One switch; all where absent.
        switch: Option<String>,
    },
    /// Forget learned addresses.
    Flush {
        /// One switch; all where absent.
        switch: Option<String>,
    },
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.switches().await?;
    match command {
        Command::Show { switch } => {
            let request = v1::ListFdbRequest { switch: switch.unwrap_or_default() };
            let entries = client.list_fdb(request).await?.into_inner().entries;
            if format == Format::Json {
                return print_json(&entries);
            }
            let mut table = Table::new(&["SWITCH", ">VLAN", "ADDRESS", "PORT", ">AGE"]);
            for entry in entries {
                let age = if entry.is_static { "static".to_owned() } else { format!("{}s", entry.age_s) };
                let vlan = if entry.vlan == 0 { String::new() } else { entry.vlan.to_string() };
                table.row(vec![entry.switch, vlan, entry.mac, entry.port, age]);
            }
            print(&if table.is_empty() { "no addresses are known\n".into() } else { table.text() })
        }
        Command::Flush { switch } => {
            let request = v1::FlushFdbRequest { switch: switch.unwrap_or_default() };
            let answer = client.flush_fdb(request).await?.into_inner();
            match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&format!("flushed {} switches\n", answer.switches)),
            }
        }
    }
}
