//! `vswitchctl route policy`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::appliance::{Fail, Switch};
use crate::connect::Connection;
use crate::failure::Failure;
use crate::route::{Action, number, way};
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with policy routes.
#[derive(Subcommand)]
pub enum Command {
    /// Add a policy route to a router; the first that fits decides.
    Add(Box<Policy>),
    /// Remove policy routes from a router.
    #[command(visible_alias = "delete")]
    Del {
        /// The router.
        router: String,
        /// The policy routes.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Pass a policy route over, or ask it again: packets go as if it were not there.
    Bypass {
        /// The router.
        router: String,
        /// The policy route.
        name: String,
        /// Whether it is passed over.
        #[arg(value_enum)]
        switch: Switch,
    },
    /// Show policy routes in the order in which they are asked.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        router: Option<String>,
    },
}

/// A policy route. What is given must fit; what may be given again fits by any of its values.
#[derive(Args)]
pub struct Policy {
    /// The router.
    router: String,
    /// Its name within the router.
    name: String,
    /// Network that packets come from; may be given again.
    #[arg(long, value_name = "NETWORK")]
    from: Vec<String>,
    /// Network that packets go to; may be given again.
    #[arg(long, value_name = "NETWORK")]
    to: Vec<String>,
    /// Interface of the router that packets come in by; may be given again.
    #[arg(long = "in", value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// Port that packets come from; may be given again.
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<String>,
    /// Group of ports that packets come from; may be given again.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// IP protocol, by name or number; may be given again.
    #[arg(long = "protocol", value_name = "PROTOCOL")]
    protocols: Vec<String>,
    /// Source ports of TCP and UDP, 53 or 8000-8080; may be given again.
    #[arg(long, value_name = "PORTS")]
    source_ports: Vec<String>,
    /// Destination ports of TCP and UDP; may be given again.
    #[arg(long, value_name = "PORTS")]
    destination_ports: Vec<String>,
    /// Packets of the other way too, so that an appliance sees both.
    #[arg(long)]
    both_ways: bool,
    /// The next router; may be given again, flows are spread over all.
    #[arg(long, value_name = "GATEWAY")]
    via: Vec<String>,
    /// The interface they leave by [usually: the one in whose network the gateway is].
    #[arg(long)]
    interface: Option<String>,
    /// As the routes of this table say (route add --table); where it has none, the next policy route is asked.
    #[arg(long, conflicts_with_all = ["via", "interface", "action"])]
    table: Option<String>,
    /// Drop them.
    #[arg(long, value_enum, conflicts_with_all = ["via", "interface"])]
    action: Option<Action>,
    /// Where none of the gateways answers: packets end there, or go on as if it were not there [usually: closed].
    #[arg(long, value_enum, requires = "via")]
    fail: Option<Fail>,
    /// Put it before this one [usually: it is the last].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    before: String,
}

impl Policy {
    fn request(self) -> v1::AddPolicyRouteRequest {
        let spec = v1::PolicyRouteSpec {
            name: self.name,
            from: self.from,
            to: self.to,
            interfaces: self.interfaces,
            ports: self.ports,
            groups: self.groups,
            protocols: self.protocols,
            source_ports: self.source_ports,
            destination_ports: self.destination_ports,
            both_ways: self.both_ways,
            via: self.via,
            interface: self.interface.unwrap_or_default(),
            table: self.table.unwrap_or_default(),
            action: number(self.action),
            fail_open: self.fail == Some(Fail::Open),
            bypass: false,
        };
        v1::AddPolicyRouteRequest { router: self.router, policy_route: Some(spec), before: self.before }
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.routers().await?;
    let applied = match command {
        Command::Add(policy) => client.add_policy_route(policy.request()).await?,
        Command::Del { router, names } => {
            client.delete_policy_routes(v1::DeletePolicyRoutesRequest { router, names }).await?
        }
        Command::Bypass { router, name, switch } => {
            let bypass = switch == Switch::On;
            client.bypass_policy_route(v1::BypassPolicyRouteRequest { router, name, bypass }).await?
        }
        Command::Show { router } => {
            let request = v1::ListRoutersRequest { name: router.unwrap_or_default() };
            let routers = client.list(request).await?.into_inner().routers;
            let specs: Vec<v1::RouterSpec> = routers.into_iter().filter_map(|status| status.spec).collect();
            return match format {
                Format::Json => print_json(&specs),
                Format::Table => print(&text(&specs)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn text(routers: &[v1::RouterSpec]) -> String {
    let mut table = Table::new(&["ROUTER", "POLICY ROUTE", "FITS", "WAY"]);
    for router in routers {
        for policy in &router.policy_routes {
            table.row(vec![router.name.clone(), policy.name.clone(), fits(policy), leads(policy)]);
        }
    }
    if table.is_empty() { "no policy routes; see vswitchctl route policy add --help\n".into() } else { table.text() }
}

/// What a policy route fits, in words.
fn fits(policy: &v1::PolicyRouteSpec) -> String {
    let lists = [
        ("from", &policy.from),
        ("to", &policy.to),
        ("in", &policy.interfaces),
        ("port", &policy.ports),
        ("group", &policy.groups),
        ("protocol", &policy.protocols),
        ("source ports", &policy.source_ports),
        ("destination ports", &policy.destination_ports),
    ];
    let given = lists.iter().filter(|(_, list)| !list.is_empty());
    let mut words: Vec<String> = given.map(|(name, list)| format!("{name} {}", list.join(","))).collect();
    words.extend(policy.both_ways.then(|| "both ways".to_owned()));
    if words.is_empty() { "all".into() } else { words.join("; ") }
}

fn leads(policy: &v1::PolicyRouteSpec) -> String {
    let nowhere = policy.via.is_empty() && policy.interface.is_empty();
    if policy.bypass {
        return format!("bypassed ({})", leads(&v1::PolicyRouteSpec { bypass: false, ..policy.clone() }));
    }
    if policy.fail_open {
        return format!("{}, open", leads(&v1::PolicyRouteSpec { fail_open: false, ..policy.clone() }));
    }
    match (policy.action, policy.table.as_str()) {
        (0, "") if nowhere => "the router's own table".into(),
        (0, "") if policy.interface.is_empty() => way(0, &policy.via),
        (0, "") => format!("{} by {}", way(0, &policy.via), policy.interface),
        (0, table) => format!("table {table}"),
        (action, _) => way(action, &policy.via),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_route_is_told_in_words() {
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut policy = v1::PolicyRouteSpec { from: strings(&["10.0.0.0/24"]), both_ways: true, ..Default::default() };
        assert_eq!(
            (fits(&policy).as_str(), leads(&policy).as_str()),
            ("from 10.0.0.0/24; both ways", "the router's own table")
        );
        policy.via = strings(&["10.0.1.2", "10.0.1.3"]);
        assert_eq!(leads(&policy), "10.0.1.2, 10.0.1.3");
        let guard = v1::PolicyRouteSpec { fail_open: true, bypass: true, ..policy.clone() };
        assert_eq!(leads(&guard), "bypassed (10.0.1.2, 10.0.1.3, open)");
        policy.action = v1::RouteAction::Prohibit.into();
        assert_eq!(leads(&policy), "prohibit");
    }
}
