//! `vswitchctl router`.

use clap::{Args, Subcommand, ValueEnum};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::switch::action_name;
use crate::table::{Table, bytes, count, print, print_applied, print_json};

/// What can be done with routers.
#[derive(Subcommand)]
pub enum Command {
    /// Add a router.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change settings of a router; what is not given stays.
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove a router with its interfaces and routes.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        name: String,
    },
    /// Show routers and their interfaces.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        name: Option<String>,
    },
    /// Interfaces of routers.
    #[command(subcommand)]
    Interface(Interface),
}

/// A router's settings.
#[derive(Args)]
pub struct Settings {
    /// What happens to routed flows no rule names [usually: as on the strictest of its switches].
    #[arg(long, value_enum)]
    default: Option<Default>,
    /// Inspect routed flows by this rule set; "none" for no inspection [usually: that of its switches].
    #[arg(long, value_name = "RULESET")]
    inspect: Option<String>,
}

/// What is done with a new flow.
#[derive(Clone, Copy, ValueEnum)]
pub enum Default {
    /// As the strictest of its switches does.
    Inherit,
    /// Forward it.
    Allow,
    /// Drop it silently.
    Drop,
    /// Drop it and tell the sender.
    Reject,
}

/// What can be done with interfaces.
#[derive(Subcommand)]
pub enum Interface {
    /// Put a router on a switch.
    Add(Place),
    /// Replace an interface; what is not given has its usual value.
    Set(Place),
    /// Take a router off a switch.
    #[command(visible_alias = "delete")]
    Del {
        /// The router.
        router: String,
        /// The interface.
        name: String,
    },
}

/// An interface.
#[derive(Args)]
pub struct Place {
    /// The router.
    router: String,
    /// The interface's name within the router.
    name: String,
    /// The switch it is on.
    #[arg(long)]
    switch: String,
    /// VLAN there [usually: the untagged LAN].
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    vlan: u32,
    /// An address with the length of its network's prefix, 10.0.0.1/24; may be given again.
    #[arg(long = "address", value_name = "ADDRESS/LENGTH")]
    addresses: Vec<String>,
    /// Its MAC [usually: made from the names].
    #[arg(long)]
    mac: Option<String>,
    /// The longest IP packet that leaves by it [usually: 1500].
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Lower the segment size that TCP connections through it announce to what fits the MTU.
    #[arg(long)]
    clamp_mss: bool,
    /// A neighbour that is not asked for its MAC; may be given again.
    #[arg(long = "neighbor", value_name = "ADDRESS=MAC", value_parser = neighbor)]
    neighbors: Vec<v1::StaticNeighbor>,
    /// Tell its network of the router and its IPv6 prefixes, so that hosts configure themselves.
    #[arg(long)]
    advertise: bool,
    /// A name server that the network is told of; may be given again.
    #[arg(long = "advertise-dns", value_name = "ADDRESS", requires = "advertise")]
    advertise_dns: Vec<String>,
    /// A network elsewhere for whose addresses it answers when it is asked for their MAC; may be given again.
    #[arg(long, value_name = "NETWORK")]
    proxy: Vec<String>,
}

fn neighbor(text: &str) -> Result<v1::StaticNeighbor, String> {
    let (address, mac) = text.split_once('=').ok_or("write ADDRESS=MAC, as in 10.0.0.9=52:54:00:00:00:09")?;
    Ok(v1::StaticNeighbor { address: address.into(), mac: mac.into() })
}

impl Settings {
    /// The message, and the names of the fields that were given.
    fn spec(self, name: String) -> (v1::RouterSpec, Vec<String>) {
        let mut spec = v1::RouterSpec { name, ..v1::RouterSpec::default() };
        let mut fields = Vec::new();
        if let Some(action) = self.default {
            fields.push("default_action".to_owned());
            spec.default_action = match action {
                Default::Inherit => v1::Action::Unspecified.into(),
                Default::Allow => v1::Action::Allow.into(),
                Default::Drop => v1::Action::Drop.into(),
                Default::Reject => v1::Action::Reject.into(),
            };
        }
        if let Some(set) = self.inspect {
            fields.push("inspect".to_owned());
            spec.inspect = set;
        }
        (spec, fields)
    }
}

impl Place {
    fn request(self, only_new: bool) -> v1::SetInterfaceRequest {
        let told = v1::Advertise { dns: self.advertise_dns, ..v1::Advertise::default() };
        let interface = v1::InterfaceSpec {
            name: self.name,
            switch: self.switch,
            vlan: self.vlan,
            mac: self.mac.unwrap_or_default(),
            addresses: self.addresses,
            mtu: self.mtu,
            clamp_mss: self.clamp_mss,
            neighbors: self.neighbors,
            advertise: self.advertise.then_some(told),
            proxy: self.proxy,
        };
        v1::SetInterfaceRequest { router: self.router, interface: Some(interface), only_new }
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.routers().await?;
    let applied = match command {
        Command::Add { name, settings } => {
            let (spec, _) = settings.spec(name);
            client.add(v1::AddRouterRequest { router: Some(spec) }).await?
        }
        Command::Set { name, settings } => {
            let (spec, fields) = settings.spec(name);
            if fields.is_empty() {
                return Err(Failure::usage("nothing to set; see vswitchctl router set --help"));
            }
            client.set(v1::SetRouterRequest { router: Some(spec), fields }).await?
        }
        Command::Del { name } => client.delete(v1::DeleteRouterRequest { name }).await?,
        Command::Interface(Interface::Add(place)) => client.set_interface(place.request(true)).await?,
        Command::Interface(Interface::Set(place)) => client.set_interface(place.request(false)).await?,
        Command::Interface(Interface::Del { router, name }) => {
            client.delete_interface(v1::DeleteInterfaceRequest { router, interface: name }).await?
        }
        Command::Show { name } => {
            let request = v1::ListRoutersRequest { name: name.unwrap_or_default() };
            let routers = client.list(request).await?.into_inner().routers;
            return match format {
                Format::Json => print_json(&routers),
                Format::Table => print(&text(&routers)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

/// Routers as tables: themselves, then their interfaces.
pub fn text(routers: &[v1::RouterStatus]) -> String {
    let mut table = Table::new(&["ROUTER", "DEFAULT", "INSPECT", ">INTERFACES", ">ROUTES", ">MEMORY", "JOINED WITH"]);
    let columns = ["ROUTER", "INTERFACE", "SWITCH", ">VLAN", "MAC", "ADDRESSES", ">MTU", ">RX", ">TX", ">ERRORS"];
    let mut interfaces = Table::new(&columns);
    for status in routers {
        let name = status.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default();
        table.row(vec![
            name.clone(),
            action_name(status.applied_default).into(),
            status.applied_inspect.clone(),
            status.interfaces.len().to_string(),
            status.routes.to_string(),
            bytes(status.table_bytes),
            if status.zone == name { String::new() } else { status.zone.clone() },
        ]);
        for interface in &status.interfaces {
            let shown =
                |a: &v1::InterfaceAddress| format!("{}{}", a.address, if a.duplicate { " (duplicate)" } else { "" });
            interfaces.row(vec![
                name.clone(),
                interface.name.clone(),
                interface.switch.clone(),
                if interface.vlan == 0 { String::new() } else { interface.vlan.to_string() },
                interface.mac.clone(),
                interface.addresses.iter().map(shown).collect::<Vec<_>>().join(","),
                interface.mtu.to_string(),
                count(interface.received),
                count(interface.forwarded),
                count(interface.errors_sent),
            ]);
        }
    }
    match (table.is_empty(), interfaces.is_empty()) {
        (true, _) => "no routers; add one with: vswitchctl router add edge\n".into(),
        (false, true) => table.text(),
        (false, false) => format!("{}\n{}", table.text(), interfaces.text()),
    }
}
