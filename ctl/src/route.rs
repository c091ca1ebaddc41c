//! `vswitchctl route`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::{Args, Subcommand, ValueEnum};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::policy_route;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with routes.
#[derive(Subcommand)]
pub enum Command {
    /// Add a route to a router.
    Add(Route),
    /// Add a route to a router, or replace the one to the same network.
    Set(Route),
    /// Remove routes from a router.
    #[command(visible_alias = "delete")]
    Del {
        /// The router.
        router: String,
        /// The networks.
        #[arg(required = true, value_name = "NETWORK")]
        to: Vec<String>,
        /// The table they stand in [usually: the router's own].
        #[arg(long, default_value = "", hide_default_value = true)]
        table: String,
    },
    /// Show the routes that routers were given.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        router: Option<String>,
    },
    /// Where packets go by more than their destination.
    #[command(subcommand)]
    Policy(policy_route::Command),
    /// Tell the route that packets to an address take.
    Get {
        /// The router.
        router: String,
        /// The address.
        address: String,
    },
}

/// A route: gateways, or an interface, or an action.
#[derive(Args)]
pub struct Route {
    /// The router.
    router: String,
    /// Where to: 10.0.0.0/8, 0.0.0.0/0, ::/0.
    network: String,
    /// The next router; may be given again, flows are spread over all.
    #[arg(long, value_name = "GATEWAY", required_unless_present_any = ["interface", "action"])]
    via: Vec<String>,
    /// The interface [usually: the one in whose network the gateway is].
    #[arg(long)]
    interface: Option<String>,
    /// Drop what takes this route.
    #[arg(long, value_enum, conflicts_with_all = ["via", "interface"])]
    action: Option<Action>,
    /// The table it stands in, which policy routes name [usually: the router's own].
    #[arg(long, default_value = "", hide_default_value = true)]
    table: String,
}

/// What becomes of packets that are not to be routed.
#[derive(Clone, Copy, ValueEnum)]
pub enum Action {
    /// Dropped without a word.
    Blackhole,
    /// Dropped; the sender is told that the host is unreachable.
    Unreachable,
    /// Dropped; the sender is told that it is prohibited.
    Prohibit,
}

impl Route {
    fn request(self, only_new: bool) -> v1::SetRoutesRequest {
        let (action, interface) = (number(self.action), self.interface.unwrap_or_default());
        let route = v1::RouteSpec { to: self.network, via: self.via, interface, action, table: self.table };
        v1::SetRoutesRequest { router: self.router, routes: vec![route], only_new }
    }
}

/// The number of an action in messages.
pub(crate) fn number(action: Option<Action>) -> i32 {
    match action {
        None => v1::RouteAction::Unspecified,
        Some(Action::Blackhole) => v1::RouteAction::Blackhole,
        Some(Action::Unreachable) => v1::RouteAction::Unreachable,
        Some(Action::Prohibit) => v1::RouteAction::Prohibit,
    }
    .into()
}

/// What an action, or the lack of one, does.
pub(crate) fn way(action: i32, via: &[String]) -> String {
    match v1::RouteAction::try_from(action) {
        Ok(v1::RouteAction::Unspecified) if via.is_empty() => "direct".to_owned(),
        Ok(v1::RouteAction::Unspecified) => via.join(", "),
        Ok(v1::RouteAction::Blackhole) => "blackhole".to_owned(),
        Ok(v1::RouteAction::Unreachable) => "unreachable".to_owned(),
        Ok(v1::RouteAction::Prohibit) => "prohibit".to_owned(),
        Err(_) => "?".to_owned(),
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.routers().await?;
    let applied = match command {
        Command::Add(route) => client.set_routes(route.request(true)).await?,
        Command::Set(route) => client.set_routes(route.request(false)).await?,
        Command::Del { router, to, table } => {
            client.delete_routes(v1::DeleteRoutesRequest { router, to, table }).await?
        }
        Command::Policy(command) => return policy_route::run(command, daemon, format).await,
        Command::Show { router } => {
            let request = v1::ListRoutersRequest { name: router.unwrap_or_default() };
            let routers = client.list(request).await?.into_inner().routers;
            let specs: Vec<v1::RouterSpec> = routers.into_iter().filter_map(|status| status.spec).collect();
            return match format {
                Format::Json => print_json(&specs),
                Format::Table => print(&text(&specs)),
            };
        }
        Command::Get { router, address } => {
            let answer = client.look_up(v1::LookUpRouteRequest { router, address }).await?.into_inner();
            return match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&found(&answer)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn text(routers: &[v1::RouterSpec]) -> String {
    let mut table = Table::new(&["ROUTER", "NETWORK", "VIA", "INTERFACE", "TABLE"]);
    for router in routers {
        for interface in &router.interfaces {
            for address in &interface.addresses {
                table.row(vec![
                    router.name.clone(),
                    network(address),
                    "direct".into(),
                    interface.name.clone(),
                    String::new(),
                ]);
            }
        }
        for route in &router.routes {
            let via = way(route.action, &route.via);
            table.row(vec![router.name.clone(), route.to.clone(), via, route.interface.clone(), route.table.clone()]);
        }
    }
    if table.is_empty() { "no routes\n".into() } else { table.text() }
}

/// The network of an address with the length of its prefix: 10.0.0.0/24 for 10.0.0.1/24.
fn network(text: &str) -> String {
    let masked = || {
        let (address, length) = text.split_once('/')?;
        let length: u32 = length.parse().ok()?;
        Some(match address.parse().ok()? {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
                format!("{}/{length}", Ipv4Addr::from(u32::from(v4) & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
                format!("{}/{length}", Ipv6Addr::from(u128::from(v6) & mask))
            }
        })
    };
    masked().unwrap_or_else(|| text.to_owned())
}

fn found(answer: &v1::LookUpRouteResponse) -> String {
    let mut text = match answer.kind.as_str() {
        "none" => "no route\n".to_owned(),
        "local" => "the router itself\n".to_owned(),
        "edge" => "the first or last address of a network, which is nobody's\n".to_owned(),
        kind => format!("{kind}\n"),
    };
    for way in &answer.ways {
        let gateway = if way.gateway.is_empty() { "the destination itself" } else { &way.gateway };
        let mac = if way.mac.is_empty() { "not asked for yet" } else { &way.mac };
        text += &format!("  {gateway} by {} ({mac})\n", way.interface);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_their_networks() {
        for (address, expected) in [
            ("10.0.1.9/24", "10.0.1.0/24"),
            ("10.0.1.9/32", "10.0.1.9/32"),
            ("10.0.1.9/0", "0.0.0.0/0"),
            ("fd00::1:9/112", "fd00::1:0/112"),
            ("something else", "something else"),
        ] {
            assert_eq!(network(address), expected);
        }
    }
}
