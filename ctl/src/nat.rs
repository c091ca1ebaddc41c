//! `vswitchctl nat`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with address translation.
#[derive(Subcommand)]
pub enum Command {
    /// Let what goes out by an interface bear its address.
    Masquerade(Masquerade),
    /// Give ports of an outside address to a host inside.
    Forward(Forward),
    /// Join an outside address to a host inside, with all its ports.
    OneToOne {
        /// The router.
        router: String,
        /// The outside address: one of the router's own.
        outside: String,
        /// The inside address.
        inside: String,
    },
    /// Give an IPv6 network another prefix outside (NPTv6, RFC 6296).
    Nptv6 {
        /// The router.
        router: String,
        /// The network inside.
        inside: String,
        /// The prefix it has outside, of the same length.
        outside: String,
    },
    /// Let hosts that have IPv6 alone reach the IPv4 world (NAT64, RFC 6146).
    Nat64 {
        /// The router.
        router: String,
        /// The interface by which the IPv4 world is reached.
        interface: String,
        /// The prefix behind which it is [usually: 64:ff9b::/96].
        #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
        prefix: String,
        /// The IPv4 address that hosts have there [usually: the interface's own].
        #[arg(long, default_value = "", hide_default_value = true)]
        address: String,
        /// Ports that are given [usually: 1024-65535].
        #[arg(long, value_name = "FIRST-LAST", default_value = "", hide_default_value = true)]
        ports: String,
        /// Flows of one inside address at most [usually: no limit of its own].
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        limit_each: u32,
    },
    /// Translate what a protocol says of addresses in its messages.
    Helper {
        /// The router.
        router: String,
        /// The protocol: ftp, tftp.
        protocol: String,
    },
    /// Remove translations.
    #[command(visible_alias = "delete")]
    Del(Named),
    /// Show translations.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        router: Option<String>,
    },
    /// Show the bindings that are in use.
    Bindings {
        /// Show at most this many.
        #[arg(long, default_value_t = 1000)]
        limit: u32,
    },
    /// Forget all bindings.
    Flush,
}

/// A masquerade.
#[derive(Args)]
pub struct Masquerade {
    /// The router.
    router: String,
    /// The interface.
    interface: String,
    /// Inside network it is for; may be given again [usually: all].
    #[arg(long, value_name = "NETWORK")]
    from: Vec<String>,
    /// The outside address, one of a family; may be given again [usually: the interface's own].
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Ports that are given [usually: 1024-65535].
    #[arg(long, value_name = "FIRST-LAST")]
    ports: Option<String>,
    /// One port for an inside end, whoever it speaks to.
    #[arg(long)]
    endpoint_independent: bool,
    /// Flows of one inside address at most [usually: no limit of its own].
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    limit_each: u32,
    /// Give each inside address so many of the ports for itself [usually: all share them].
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    ports_each: u32,
}

/// A forwarded port.
#[derive(Args)]
pub struct Forward {
    /// The router.
    router: String,
    /// tcp or udp.
    protocol: String,
    /// The outside address: one of the router's own.
    address: String,
    /// Its ports: 443, 8000-8080.
    ports: String,
    /// The host inside.
    to: String,
    /// The port there that the first of the ports becomes [usually: the same].
    #[arg(default_value_t = 0, hide_default_value = true)]
    to_port: u32,
}

/// Which translations.
#[derive(Args)]
pub struct Named {
    /// The router.
    router: String,
    /// The masquerade of this interface; may be given again.
    #[arg(long, value_name = "INTERFACE", required_unless_present_any = ["forward", "one_to_one", "nptv6", "nat64", "helper"])]
    masquerade: Vec<String>,
    /// A forwarded port, tcp/ADDRESS/PORTS; may be given again.
    #[arg(long, value_name = "PROTOCOL/ADDRESS/PORTS", value_parser = forward)]
    forward: Vec<v1::Forward>,
    /// A joined address, by its outside; may be given again.
    #[arg(long, value_name = "ADDRESS")]
    one_to_one: Vec<String>,
    /// A network with another prefix, by its outside; may be given again.
    #[arg(long, value_name = "PREFIX")]
    nptv6: Vec<String>,
    /// The IPv4 world behind this prefix; may be given again.
    #[arg(long, value_name = "PREFIX")]
    nat64: Vec<String>,
    /// The helper for this protocol; may be given again.
    #[arg(long, value_name = "PROTOCOL")]
    helper: Vec<String>,
}

fn forward(text: &str) -> Result<v1::Forward, String> {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(protocol), Some(address), Some(ports)) => {
            // The host inside does not name it; any address of its family will do.
            let to = address.clone();
            Ok(v1::Forward { protocol, address, ports, to, to_port: 0 })
        }
        _ => Err("write PROTOCOL/ADDRESS/PORTS, as in tcp/203.0.113.5/443".into()),
    }
}

impl Named {
    fn request(self) -> v1::DeleteNatRequest {
        let masquerade = |interface| v1::Masquerade { interface, ..v1::Masquerade::default() };
        let joined = |outside: String| v1::OneToOne { inside: outside.clone(), outside };
        let nat = v1::NatSpec {
            masquerades: self.masquerade.into_iter().map(masquerade).collect(),
            forwards: self.forward,
            one_to_one: self.one_to_one.into_iter().map(joined).collect(),
            nptv6: self.nptv6.into_iter().map(|outside| v1::Nptv6 { inside: outside.clone(), outside }).collect(),
            nat64: self.nat64.into_iter().map(|prefix| v1::Nat64 { prefix, ..v1::Nat64::default() }).collect(),
            helpers: self.helper,
        };
        v1::DeleteNatRequest { router: self.router, nat: Some(nat) }
    }
}

/// What a command adds.
fn addition(command: Command) -> Option<v1::AddNatRequest> {
    let (router, nat) = match command {
        Command::Masquerade(m) => {
            let masquerade = v1::Masquerade {
                interface: m.interface,
                from: m.from,
                addresses: m.addresses,
                ports: m.ports.unwrap_or_default(),
                endpoint_independent: m.endpoint_independent,
                limit_each: m.limit_each,
                ports_each: m.ports_each,
            };
            (m.router, v1::NatSpec { masquerades: vec![masquerade], ..v1::NatSpec::default() })
        }
        Command::Forward(f) => {
            let Forward { router, protocol, address, ports, to, to_port } = f;
            let forward = v1::Forward { protocol, address, ports, to, to_port };
            (router, v1::NatSpec { forwards: vec![forward], ..v1::NatSpec::default() })
        }
        Command::OneToOne { router, outside, inside } => {
            let one_to_one = vec![v1::OneToOne { outside, inside }];
            (router, v1::NatSpec { one_to_one, ..v1::NatSpec::default() })
        }
        Command::Nptv6 { router, inside, outside } => {
            let nptv6 = vec![v1::Nptv6 { inside, outside }];
            (router, v1::NatSpec { nptv6, ..v1::NatSpec::default() })
        }
        Command::Nat64 { router, interface, prefix, address, ports, limit_each } => {
            let nat64 = vec![v1::Nat64 { prefix, interface, address, ports, limit_each }];
            (router, v1::NatSpec { nat64, ..v1::NatSpec::default() })
        }
        Command::Helper { router, protocol } => {
            (router, v1::NatSpec { helpers: vec![protocol], ..v1::NatSpec::default() })
        }
        Command::Del(_) | Command::Show { .. } | Command::Bindings { .. } | Command::Flush => return None,
    };
    Some(v1::AddNatRequest { router, nat: Some(nat) })
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.routers().await?;
    let applied = match command {
        Command::Del(named) => client.delete_nat(named.request()).await?,
        Command::Show { router } => {
            let request = v1::ListRoutersRequest { name: router.unwrap_or_default() };
            let routers = client.list(request).await?.into_inner().routers;
            let specs: Vec<v1::RouterSpec> = routers.into_iter().filter_map(|status| status.spec).collect();
            return match format {
                Format::Json => print_json(&specs),
                Format::Table => print(&text(&specs)),
            };
        }
        Command::Bindings { limit } => {
            let answer = client.list_bindings(v1::ListBindingsRequest { limit }).await?.into_inner();
            return match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&bindings(&answer)),
            };
        }
        Command::Flush => {
            let answer = client.flush_bindings(v1::FlushBindingsRequest {}).await?.into_inner();
            return match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&format!("forgot {} bindings\n", answer.forgotten)),
            };
        }
        command @ (Command::Masquerade(_)
        | Command::Forward(_)
        | Command::OneToOne { .. }
        | Command::Nptv6 { .. }
        | Command::Nat64 { .. }
        | Command::Helper { .. }) => {
            let Some(request) = addition(command) else { return Ok(()) };
            client.add_nat(request).await?
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn text(routers: &[v1::RouterSpec]) -> String {
    let mut table = Table::new(&["ROUTER", "KIND", "OUTSIDE", "INSIDE", "NOTE"]);
    for router in routers {
        let nat = router.nat.clone().unwrap_or_default();
        for m in nat.masquerades {
            let outside = format!("{} {}", m.interface, m.addresses.join(","));
            let mut notes = vec![format!("ports {}", m.ports)];
            notes.extend(m.endpoint_independent.then(|| "endpoint-independent".to_owned()));
            notes.extend((m.limit_each > 0).then(|| format!("{} flows each", m.limit_each)));
            notes.extend((m.ports_each > 0).then(|| format!("{} ports each", m.ports_each)));
            let inside = if m.from.is_empty() { "all".to_owned() } else { m.from.join(",") };
            let row = [router.name.clone(), "masquerade".into(), outside.trim().into(), inside, notes.join(", ")];
            table.row(row.into());
        }
        for f in nat.forwards {
            let to_port = if f.to_port == 0 { f.ports.clone() } else { f.to_port.to_string() };
            let (outside, inside) = (format!("{} port {}", f.address, f.ports), format!("{} port {to_port}", f.to));
            table.row(vec![router.name.clone(), "forward".into(), outside, inside, f.protocol]);
        }
        for n in nat.nptv6 {
            table.row(vec![router.name.clone(), "nptv6".into(), n.outside, n.inside, String::new()]);
        }
        for n in nat.nat64 {
            let outside = format!("{} {}", n.interface, n.address);
            let note = format!("ports {}", n.ports);
            table.row(vec![router.name.clone(), "nat64".into(), outside.trim().into(), n.prefix, note]);
        }
        for protocol in nat.helpers {
            table.row(vec![router.name.clone(), "helper".into(), protocol, String::new(), String::new()]);
        }
        for j in nat.one_to_one {
            table.row(vec![router.name.clone(), "one-to-one".into(), j.outside, j.inside, String::new()]);
        }
    }
    if table.is_empty() { "nothing is translated; see vswitchctl nat --help\n".into() } else { table.text() }
}

fn bindings(answer: &v1::ListBindingsResponse) -> String {
    let columns = ["ROUTER", "PROTOCOL", "INSIDE", ">PORT", "OUTSIDE", ">PORT", "REMOTE", ">PORT", ">IDLE", "ANSWERED"];
    let mut table = Table::new(&columns);
    for b in &answer.bindings {
        let remote = if b.remote.is_empty() { "anybody".to_owned() } else { b.remote.clone() };
        table.row(vec![
            b.router.clone(),
            b.protocol.clone(),
            b.inside.clone(),
            b.inside_port.to_string(),
            b.outside.clone(),
            b.outside_port.to_string(),
            remote,
            b.remote_port.to_string(),
            format!("{}s", b.idle_s),
            if b.answered { "yes" } else { "no" }.into(),
        ]);
    }
    let v1::ListBindingsResponse { total, made, exhausted, over_limit, full, .. } = answer;
    let refused =
        format!("refused: {exhausted} for want of a port, {over_limit} over a limit, {full} for want of room");
    let summary = format!("{} shown of {total} bindings, {made} made, {refused}\n", answer.bindings.len());
    if table.is_empty() { summary } else { format!("{}\n{summary}", table.text()) }
}
