//! `vswitchctl guard`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, count, print, print_applied, print_json};

/// What can be done with first-hop security.
#[derive(Subcommand)]
pub enum Command {
    /// Change what a port's guard does; what is not given stays.
    Set {
        /// The port.
        port: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show the ports, what their guards do, and what they dropped.
    #[command(visible_alias = "list")]
    Show {
        /// One port; all where absent.
        port: Option<String>,
    },
    /// Show whose an address is.
    Bindings {
        /// Of one port.
        #[arg(long)]
        port: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 1000)]
        limit: u32,
    },
    /// Forget whose an address is, so that another port can use it.
    Forget {
        /// The switch.
        switch: String,
        /// The address.
        address: String,
        /// The VLAN; 0 for the untagged LAN.
        #[arg(long, default_value_t = 0)]
        vlan: u32,
    },
}

/// A guard's settings.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Settings {
    /// Guard the port, or trust it [usually: guests are guarded, all others trusted].
    #[arg(long, value_name = "BOOL")]
    on: Option<bool>,
    /// Learn addresses on first use, or let only those given and DHCP's pass [usually: true].
    #[arg(long, value_name = "BOOL")]
    learn: Option<bool>,
    /// Learned addresses at most [usually: 64].
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,
    /// Addresses that are the port's, with commas; "none" for none.
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',')]
    addresses: Option<Vec<String>>,
    /// Addresses that the port may use whoever else does, with commas; "none" for none.
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',')]
    shared: Option<Vec<String>>,
    /// What the guest does beside speaking for itself, with commas: router, dhcp-server; "none" for none.
    #[arg(long, value_name = "ROLE,...", value_delimiter = ',')]
    roles: Option<Vec<String>>,
    /// The only MACs that the port may use, with commas; "none" for any that is nobody else's.
    #[arg(long, value_name = "MAC,...", value_delimiter = ',')]
    macs: Option<Vec<String>>,
    /// MACs that the port may use whoever else does, with commas; "none" for none.
    #[arg(long, value_name = "MAC,...", value_delimiter = ',')]
    shared_macs: Option<Vec<String>>,
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.guard().await?;
    match command {
        Command::Set { port, settings } => {
            let named = |list: &Option<Vec<String>>| -> Vec<String> {
                list.iter().flatten().filter(|address| *address != "none").cloned().collect()
            };
            let request = v1::SetGuardRequest {
                port,
                on: settings.on,
                learn: settings.learn,
                limit: settings.limit,
                addresses: named(&settings.addresses),
                set_addresses: settings.addresses.is_some(),
                shared: named(&settings.shared),
                set_shared: settings.shared.is_some(),
                roles: named(&settings.roles),
                set_roles: settings.roles.is_some(),
                macs: named(&settings.macs),
                set_macs: settings.macs.is_some(),
                shared_macs: named(&settings.shared_macs),
                set_shared_macs: settings.shared_macs.is_some(),
            };
            print_applied(client.set(request).await?.get_ref(), format == Format::Json, false)
        }
        Command::Show { port } => {
            let request = v1::ShowGuardRequest { port: port.unwrap_or_default() };
            let ports = client.show(request).await?.into_inner().ports;
            match format {
                Format::Json => print_json(&ports),
                Format::Table => print(&text(&ports)),
            }
        }
        Command::Bindings { port, limit } => {
            let request = v1::ListAddressBindingsRequest { port: port.unwrap_or_default(), limit };
            let found = client.list_address_bindings(request).await?.into_inner();
            match format {
                Format::Json => print_json(&found),
                Format::Table => print(&bindings(&found)),
            }
        }
        Command::Forget { switch, address, vlan } => {
            client.forget_address_binding(v1::ForgetAddressBindingRequest { switch, vlan, address }).await?;
            Ok(())
        }
    }
}

fn text(ports: &[v1::GuardStatus]) -> String {
    let mut table =
        Table::new(&["PORT", "GUARD", "ROLES", "LEARNS", ">LIMIT", ">BOUND", "GIVEN", "MACS", "SHARED", "DROPPED"]);
    for port in ports {
        let dropped: Vec<String> = port.dropped.iter().map(|c| format!("{} {}", count(c.count), c.name)).collect();
        table.row(vec![
            port.port.clone(),
            if port.on { "on".into() } else { "trusted".into() },
            port.roles.join(","),
            if port.learn { "yes".into() } else { "no".into() },
            port.limit.to_string(),
            port.bindings.to_string(),
            port.addresses.join(","),
            port.macs.join(","),
            port.shared.iter().chain(&port.shared_macs).cloned().collect::<Vec<_>>().join(","),
            dropped.join(", "),
        ]);
    }
    table.text()
}

fn bindings(found: &v1::ListAddressBindingsResponse) -> String {
    let mut table = Table::new(&["SWITCH", ">VLAN", "ADDRESS", "PORT", "MAC", "FROM", ">LEASE"]);
    for binding in &found.bindings {
        table.row(vec![
            binding.switch.clone(),
            binding.vlan.to_string(),
            binding.address.clone(),
            binding.port.clone(),
            binding.mac.clone(),
            if binding.heard { "heard".into() } else { binding.origin.clone() },
            binding.lease_s.map_or(String::new(), |seconds| format!("{seconds}s")),
        ]);
    }
    table.text()
}
