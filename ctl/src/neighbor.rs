//! `vswitchctl neighbor`.

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_json};

/// What can be done with the neighbours that routers know.
#[derive(Subcommand)]
pub enum Command {
    /// Show neighbours.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        router: Option<String>,
    },
    /// Forget what was learned of neighbours.
    Flush {
        /// One router; all where absent.
        router: Option<String>,
    },
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.routers().await?;
    match command {
        Command::Show { router } => {
            let request = v1::ListNeighborsRequest { router: router.unwrap_or_default() };
            let neighbors = client.list_neighbors(request).await?.into_inner().neighbors;
            if format == Format::Json {
                return print_json(&neighbors);
            }
            let mut table = Table::new(&["ROUTER", "INTERFACE", "ADDRESS", "MAC", "STATE", ">AGE", ">WAITING"]);
            for entry in neighbors {
                let waiting = if entry.held == 0 { String::new() } else { entry.held.to_string() };
                let age = if entry.state == "static" { String::new() } else { format!("{}s", entry.age_s) };
                table.row(vec![entry.router, entry.interface, entry.address, entry.mac, entry.state, age, waiting]);
            }
            print(&if table.is_empty() { "no neighbours are known\n".into() } else { table.text() })
        }
        Command::Flush { router } => {
            let request = v1::FlushNeighborsRequest { router: router.unwrap_or_default() };
            let answer = client.flush_neighbors(request).await?.into_inner();
            match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&format!("forgot {} neighbours\n", answer.forgotten)),
            }
        }
    }
}
