//! `vswitchctl dhcp`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with the addresses that routers give.
#[derive(Subcommand)]
pub enum Command {
    /// Give addresses to the network of a router's interface, or change by what.
    ///
    /// All settings are set; those that are not named are as usual. Hosts stay.
    Set(Box<Set>),
    /// Stop giving addresses by an interface.
    Off {
        /// The router.
        router: String,
        /// The interface.
        interface: String,
        /// IPv6 instead of IPv4.
        #[arg(long)]
        v6: bool,
    },
    /// Guests with addresses of their own.
    #[command(subcommand)]
    Host(Host),
    /// The addresses that guests hold.
    #[command(subcommand)]
    Lease(Lease),
    /// Show which interfaces give addresses, and what was counted.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        router: Option<String>,
    },
}

/// What an interface gives.
#[derive(Args)]
pub struct Set {
    /// The router.
    router: String,
    /// The interface.
    interface: String,
    /// DHCPv6 instead of DHCP for IPv4; without --range it tells of servers only.
    #[arg(long)]
    v6: bool,
    /// Addresses to give; may be given again [usually: the whole network].
    #[arg(long = "range", value_name = "FIRST-LAST")]
    ranges: Vec<String>,
    /// How long a guest has its address without asking again [usually: 3600].
    #[arg(long, value_name = "SECONDS")]
    lease: Option<u32>,
    /// The router that guests are told [usually: the interface's address].
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true, conflicts_with = "v6")]
    gateway: String,
    /// Name server; may be given again [usually: the interface's address, where names are served].
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// The guests' domain [usually: that of the router's names].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, conflicts_with = "v6")]
    domain: String,
    /// Domain in which guests look for short names; may be given again.
    #[arg(long, value_name = "NAME")]
    search: Vec<String>,
    /// Time server; may be given again.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "v6")]
    ntp: Vec<String>,
    /// Route beside the default one; may be given again.
    #[arg(long, value_name = "NETWORK=GATEWAY", value_parser = route, conflicts_with = "v6")]
    route: Vec<v1::GuestRoute>,
    /// The server that guests boot from.
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true, conflicts_with = "v6")]
    next_server: String,
    /// The file there.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true, conflicts_with = "v6")]
    boot_file: String,
    /// Any other option, by number: 43=hex:0104, 72=10.0.0.5,10.0.0.6, 66=text:boot; may be given again.
    #[arg(long, value_name = "CODE=VALUE", value_parser = option, conflicts_with = "v6")]
    option: Vec<v1::GuestOption>,
    /// Addresses that one port may hold [usually: 16].
    #[arg(long, value_name = "NUMBER")]
    per_port: Option<u32>,
    /// Give addresses without asking the network whether somebody has them.
    #[arg(long, conflicts_with = "v6")]
    no_probe: bool,
}

/// What can be done with guests that have addresses of their own.
#[derive(Subcommand)]
pub enum Host {
    /// Give a guest an address or a name of its own. All that is given of port, mac and id must be as it is said.
    #[command(visible_alias = "set")]
    Add(AddHost),
    /// Take it back.
    #[command(visible_alias = "delete")]
    Del {
        /// The router.
        router: String,
        /// The interface.
        interface: String,
        /// Its address, name, port or MAC.
        host: String,
    },
}

/// A guest with an address of its own.
#[derive(Args)]
pub struct AddHost {
    /// The router.
    router: String,
    /// The interface.
    interface: String,
    /// Its address.
    #[arg(default_value = "", hide_default_value = true)]
    address: String,
    /// Its name.
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// The port it is behind.
    #[arg(long, default_value = "", hide_default_value = true, required_unless_present_any = ["mac", "id"])]
    port: String,
    /// Its MAC.
    #[arg(long, default_value = "", hide_default_value = true)]
    mac: String,
    /// Its client identifier, of DHCPv6 its DUID, in hexadecimal digits.
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// The file that it is given as its user data, where metadata is served; needs --port.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true, requires = "port")]
    user_data: String,
    /// Key that it is to let in by SSH, where metadata is served; needs --port; may be given again.
    #[arg(long = "ssh-key", value_name = "KEY", requires = "port")]
    ssh_keys: Vec<String>,
}

/// What can be done with addresses that guests hold.
#[derive(Subcommand)]
pub enum Lease {
    /// Show them.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        #[arg(default_value = "", hide_default_value = true)]
        router: String,
        /// Of one port.
        #[arg(long, default_value = "", hide_default_value = true)]
        port: String,
        /// Those that have run out or were given back too.
        #[arg(long)]
        all: bool,
    },
    /// Take addresses back. Guests go on using theirs until they ask again.
    Release {
        /// This address.
        #[arg(default_value = "", hide_default_value = true, required_unless_present_any = ["router", "port", "mac"])]
        address: String,
        /// Of this router.
        #[arg(long, default_value = "", hide_default_value = true)]
        router: String,
        /// Of this port.
        #[arg(long, default_value = "", hide_default_value = true)]
        port: String,
        /// Of this MAC.
        #[arg(long, default_value = "", hide_default_value = true)]
        mac: String,
    },
}

fn route(text: &str) -> Result<v1::GuestRoute, String> {
    let (to, via) = text.split_once('=').ok_or("write NETWORK=GATEWAY, as in 10.9.0.0/16=10.0.0.2")?;
    Ok(v1::GuestRoute { to: to.into(), via: via.into() })
}

fn option(text: &str) -> Result<v1::GuestOption, String> {
    const FORM: &str = "write CODE=text:..., CODE=hex:... or CODE=ADDRESS,...";
    let (code, value) = text.split_once('=').ok_or(FORM)?;
    let mut option = v1::GuestOption { code: code.parse().map_err(|_| FORM)?, ..v1::GuestOption::default() };
    match (value.strip_prefix("text:"), value.strip_prefix("hex:")) {
        (Some(text), _) => option.text = text.into(),
        (None, Some(hex)) => option.hex = hex.into(),
        (None, None) => option.addresses = value.split(',').map(str::to_owned).collect(),
    }
    Ok(option)
}

impl Set {
    fn request(self) -> v1::SetDhcpRequest {
        let Set { router, interface, v6, ranges, lease, dns, search, per_port, .. } = self;
        if v6 {
            let hosts = Vec::new();
            let dhcp6 = Some(v1::Dhcp6Spec { ranges, lease_s: lease, dns, search, per_port, hosts });
            return v1::SetDhcpRequest { router, interface, dhcp: None, dhcp6 };
        }
        let dhcp = v1::DhcpSpec {
            ranges,
            lease_s: lease,
            gateway: self.gateway,
            dns,
            domain: self.domain,
            search,
            ntp: self.ntp,
            routes: self.route,
            next_server: self.next_server,
            boot_file: self.boot_file,
            options: self.option,
            per_port,
            probe: Some(!self.no_probe),
            hosts: Vec::new(),
        };
        v1::SetDhcpRequest { router, interface, dhcp: Some(dhcp), dhcp6: None }
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.services().await?;
    let applied = match command {
        Command::Set(set) => client.set_dhcp(set.request()).await?,
        Command::Off { router, interface, v6 } => {
            client.delete_dhcp(v1::DeleteDhcpRequest { router, interface, dhcp: !v6, dhcp6: v6 }).await?
        }
        Command::Host(Host::Add(wanted)) => {
            let AddHost { router, interface, address, name, port, mac, id, user_data, ssh_keys } = wanted;
            let host = Some(v1::GuestHost { name, port, mac, id, address, user_data, ssh_keys });
            client.set_host(v1::SetHostRequest { router, interface, host }).await?
        }
        Command::Host(Host::Del { router, interface, host }) => {
            client.delete_host(v1::DeleteHostRequest { router, interface, host }).await?
        }
        Command::Lease(Lease::Show { router, port, all }) => {
            let request = v1::ListLeasesRequest { router, port, all, ..v1::ListLeasesRequest::default() };
            let leases = client.list_leases(request).await?.into_inner().leases;
            return match format {
                Format::Json => print_json(&leases),
                Format::Table => print(&lease_table(&leases)),
            };
        }
        Command::Lease(Lease::Release { address, router, port, mac }) => {
            let request = v1::ReleaseLeasesRequest { router, address, port, mac };
            let answer = client.release_leases(request).await?.into_inner();
            return match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&format!("took {} leases back\n", answer.released)),
            };
        }
        Command::Show { router } => {
            let request = v1::ListServicesRequest { router: router.unwrap_or_default() };
            let answer = client.list(request).await?.into_inner();
            return match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&text(&answer)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn lease_table(leases: &[v1::Lease]) -> String {
    let mut table = Table::new(&["ROUTER", "INTERFACE", "ADDRESS", "MAC", "PORT", "NAME", "STATE", ">LEFT"]);
    for lease in leases.iter().cloned() {
        let v1::Lease { router, interface, address, mac, port, name, state, left_s } = lease;
        table.row(vec![router, interface, address, mac, port, name, state, format!("{left_s}s")]);
    }
    if table.is_empty() { "no addresses are held\n".into() } else { table.text() }
}

fn text(answer: &v1::ListServicesResponse) -> String {
    let mut table = Table::new(&["ROUTER", "INTERFACE", "KIND", "RANGES", ">LEASE", ">HOSTS", ">HELD"]);
    for interface in &answer.interfaces {
        // Leases of both kinds together, so they stand once.
        let mut held = interface.leases.to_string();
        let mut row = |kind: &str, ranges: &[String], lease: Option<u32>, hosts: usize| {
            let usual = if kind == "dhcp" { "all" } else { "" };
            let ranges = if ranges.is_empty() { usual.to_owned() } else { ranges.join(",") };
            let lease = format!("{}s", lease.unwrap_or_default());
            let names = [interface.router.clone(), interface.interface.clone(), kind.into()];
            table.row([&names[..], &[ranges, lease, hosts.to_string(), std::mem::take(&mut held)]].concat());
        };
        if let Some(dhcp) = &interface.dhcp {
            row("dhcp", &dhcp.ranges, dhcp.lease_s, dhcp.hosts.len());
        }
        if let Some(dhcp6) = &interface.dhcp6 {
            row("dhcp6", &dhcp6.ranges, dhcp6.lease_s, dhcp6.hosts.len());
        }
    }
    if table.is_empty() {
        return "no addresses are given; see vswitchctl dhcp set --help\n".into();
    }
    let line = |kind: &str, counters: &Option<v1::DhcpCounters>| {
        let c = counters.unwrap_or_default();
        format!(
            "{kind}: {} requests, {} answered, {} refused; without an answer: {} malformed, {} foreign, {} too many, \
             {} over a port's limit, {} for want of an address; {} conflicts\n",
            c.requests,
            c.answers,
            c.refusals,
            c.malformed,
            c.foreign,
            c.limited,
            c.port_limit,
            c.exhausted,
            c.conflicts
        )
    };
    let unwritten = match answer.unwritten {
        0 => String::new(),
        n => format!(
            "{n} changes of leases could not be written and would not survive a restart; see the daemon's log\n"
        ),
    };
    table.text() + &line("dhcp", &answer.dhcp) + &line("dhcp6", &answer.dhcp6) + &unwritten
}
