//! Routers of the fabric between hosts with kernels of their own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use weir_tests::lab::{
    Daemon, Failure, HttpServer, Namespace, http_get, ping, skip_unless_root, trace_route, transfer, wait_for,
};

/// A host to be: its name, its switch, its addresses, its gateways.
type Wanted<'a> = (&'a str, &'a str, [&'a str; 2], [&'a str; 2]);

const A: Wanted<'_> = ("a", "lan", ["10.1.0.2/24", "fd01::2/64"], ["10.1.0.1", "fd01::1"]);
const B: Wanted<'_> = ("b", "dmz", ["10.2.0.2/24", "fd02::2/64"], ["10.2.0.1", "fd02::1"]);

const EDGE: &str = r#"
[[router]]
name = "edge"
interface = [
    { name = "lan", switch = "lan", addresses = ["10.1.0.1/24", "fd01::1/64"] },
    { name = "dmz", switch = "dmz", addresses = ["10.2.0.1/24", "fd02::1/64"] },
]
"#;

/// Starts the daemon with switches `lan` and `dmz`, what `more` says, and hosts behind TAPs.
fn start(wanted: &[Wanted<'_>], more: &str) -> Result<(Daemon, Vec<Namespace>), Failure> {
    let mut config = format!("[[switch]]\nname = \"lan\"\n[[switch]]\nname = \"dmz\"\n{more}");
    let mut hosts = Vec::new();
    for (name, switch, ..) in wanted {
        let host = Namespace::new(name)?;
        let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", host.name());
        config += &format!("\n[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{tap}\n");
        hosts.push(host);
    }
    let daemon = Daemon::start(&config)?;
    for ((_, _, addresses, gateways), host) in wanted.iter().zip(&hosts) {
        for (address, gateway) in addresses.iter().zip(gateways) {
            host.address("eth0", address)?;
            host.ip(&["route", "add", "default", "via", gateway])?;
        }
    }
    Ok((daemon, hosts))
}

fn addresses(texts: &[&str]) -> Vec<Option<IpAddr>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}

#[test]
fn two_networks_meet_in_a_router() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, hosts) = start(&[A, B], EDGE)?;
    let [a, b] = &hosts[..] else { unreachable!() };
    for address in ["10.1.0.1", "fd01::1", "10.2.0.1", "10.2.0.2", "fd02::2"] {
        assert_eq!(ping(a, address, 3)?.lost(), 0, "{address}");
    }
    assert_eq!(ping(b, "10.1.0.2", 3)?.lost(), 0);
    assert_eq!(trace_route(a, "10.2.0.2")?, addresses(&["10.1.0.1", "10.2.0.2"]));
    assert_eq!(trace_route(a, "fd02::2")?, addresses(&["fd01::1", "fd02::2"]));

    for (number, address) in ["10.2.0.2:80", "[fd02::2]:80"].into_iter().enumerate() {
        let address: SocketAddr = address.parse().map_err(|e| Failure::of(address, e))?;
        let _server = HttpServer::start(b, address, "beyond the router")?;
        assert!(http_get(a, address, "/")?.is_page_with("beyond the router"));
        let sent = transfer(a, b, SocketAddr::new(address.ip(), 7000 + number as u16), 64 << 20)?;
        println!("{address}: {:.2} Gbit/s through the router", sent.bits_per_second() / 1e9);
    }
    let flows = daemon.ctl_json(&["flow", "show", "--protocol", "tcp"])?;
    let flows = flows["flows"].as_array().or(flows.as_array()).ok_or_else(|| Failure::new("no list of flows"))?.clone();
    assert!(!flows.is_empty() && flows.iter().all(|flow| flow["switch"] == "edge"), "{flows:?}");
    let mut names: Vec<String> =
        flows.iter().map(|f| format!("{} {} {}", f["source"], f["source_port"], f["destination_port"])).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), flows.len(), "both ways of a connection are one flow");

    let stats = daemon.ctl_json(&["stats"])?;
    assert!(stats["totals"]["delivered"].as_u64().is_some_and(|n| n > 0), "{}", stats["totals"]);
    let neighbors = daemon.ctl(&["neighbor", "show"])?;
    assert!(neighbors.contains("10.2.0.2") && neighbors.contains("reachable"), "{neighbors}");
    assert!(daemon.ctl(&["route", "get", "edge", "10.2.0.2"])?.starts_with("direct"));
    Ok(())
}

/// What the kernel of a host takes for the MTU of the way.
fn path_mtu(host: &Namespace, to: &str) -> Result<String, Failure> {
    let route = host.ip(&["route", "get", to])?;
    Ok(route.split_whitespace().skip_while(|word| *word != "mtu").nth(1).unwrap_or("none").to_owned())
}

#[test]
fn hosts_learn_the_mtu_of_the_way() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let narrow = EDGE.replace("switch = \"dmz\",", "switch = \"dmz\", mtu = 1320,");
    let (daemon, hosts) = start(&[A, B], &narrow)?;
    let [a, b] = &hosts[..] else { unreachable!() };
    for address in ["10.2.0.2:7000", "[fd02::2]:7000"] {
        let address: SocketAddr = address.parse().map_err(|e| Failure::of(address, e))?;
        transfer(a, b, address, 4 << 20)?;
        assert_eq!(path_mtu(a, &address.ip().to_string())?, "1320");
    }
    let drops = daemon.ctl(&["why"])?;
    assert!(drops.contains("path-mtu"), "{drops}");

    // A datagram that may be cut is cut again for the narrow way, and put together by the host.
    b.ip(&["route", "flush", "cache"])?;
    let server = b.inside(|| Ok(UdpSocket::bind("10.2.0.2:7001")?))?;
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    let client = a.inside(|| {
        let socket = UdpSocket::bind("10.1.0.2:0")?;
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
        Ok(socket)
    })?;
    let datagram: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
    client.send_to(&datagram, "10.2.0.2:7001")?;
    let mut buffer = [0; 8000];
    let (length, from) = server.recv_from(&mut buffer)?;
    assert_eq!((&buffer[..length], from.ip()), (&datagram[..], IpAddr::from([10, 1, 0, 2])));
    Ok(())
}

#[test]
fn routers_and_a_kernel_in_a_row_are_a_way() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    // lan - edge - dmz - core - far, and behind "far" a kernel that routes to a network of its own.
    let more = r#"
[[switch]]
name = "far"
[[router]]
name = "edge"
interface = [
    { name = "lan", switch = "lan", addresses = ["10.1.0.1/24", "fd01::1/64"] },
    { name = "dmz", switch = "dmz", addresses = ["10.2.0.1/24", "fd02::1/64"] },
]
route = [{ to = "0.0.0.0/0", via = "10.2.0.254" }, { to = "::/0", via = "fd02::fe" }]
[[router]]
name = "core"
interface = [
    { name = "dmz", switch = "dmz", addresses = ["10.2.0.254/24", "fd02::fe/64"] },
    { name = "far", switch = "far", addresses = ["10.3.0.1/24", "fd03::1/64"] },
]
route = [
    { to = "10.1.0.0/24", via = "10.2.0.1" },
    { to = "fd01::/64", via = "fd02::1" },
    { to = "10.4.0.0/16", via = "10.3.0.2" },
    { to = "fd04::/32", via = "fd03::2" },
]
"#;
    let far = ("far", "far", ["10.3.0.2/24", "fd03::2/64"], ["10.3.0.1", "fd03::1"]);
    let (daemon, hosts) = start(&[A, far], more)?;
    let [a, far] = &hosts[..] else { unreachable!() };
    far.ip(&["addr", "add", "10.4.0.9/32", "dev", "lo"])?;
    far.ip(&["addr", "add", "fd04::9/128", "dev", "lo", "nodad"])?;
    assert_eq!(ping(a, "10.4.0.9", 3)?.lost(), 0);
    assert_eq!(ping(a, "fd04::9", 3)?.lost(), 0);
    assert_eq!(trace_route(a, "10.4.0.9")?, addresses(&["10.1.0.1", "10.2.0.254", "10.4.0.9"]));
    assert_eq!(trace_route(a, "fd04::9")?, addresses(&["fd01::1", "fd02::fe", "fd04::9"]));
    transfer(a, far, SocketAddr::from(([10, 4, 0, 9], 7000)), 16 << 20)?;
    let flows = daemon.ctl(&["flow", "show", "--protocol", "tcp"])?;
    assert_eq!(flows.matches(":7000").count(), 1, "one flow through both routers:\n{flows}");
    Ok(())
}

#[test]
fn routers_are_made_and_changed_while_traffic_flows() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, hosts) = start(&[A, B], "")?;
    let [a, b] = &hosts[..] else { unreachable!() };
    assert_eq!(ping(a, "10.2.0.2", 1)?.lost(), 1);
    daemon.ctl(&["router", "add", "edge"])?;
    daemon.ctl(&["router", "interface", "add", "edge", "lan", "--switch", "lan", "--address", "10.1.0.1/24"])?;
    daemon.ctl(&["router", "interface", "add", "edge", "dmz", "--switch", "dmz", "--address", "10.2.0.1/24"])?;
    assert_eq!(ping(a, "10.2.0.2", 2)?.lost(), 0);

    // Routes come and go.
    b.ip(&["addr", "add", "10.9.0.1/32", "dev", "lo"])?;
    assert_eq!(ping(a, "10.9.0.1", 1)?.lost(), 1);
    daemon.ctl(&["route", "add", "edge", "10.9.0.0/16", "--via", "10.2.0.2"])?;
    assert_eq!(ping(a, "10.9.0.1", 2)?.lost(), 0);
    daemon.ctl(&["route", "add", "edge", "10.9.0.1/32", "--action", "blackhole"])?;
    assert_eq!(ping(a, "10.9.0.1", 1)?.lost(), 1);
    assert!(daemon.ctl(&["why"])?.contains("route-refused"));
    daemon.ctl(&["route", "del", "edge", "10.9.0.1/32"])?;
    assert_eq!(ping(a, "10.9.0.1", 2)?.lost(), 0);

    // What is forgotten of a neighbour is asked for again.
    daemon.ctl(&["neighbor", "flush"])?;
    assert_eq!(ping(a, "10.2.0.2", 2)?.lost(), 0);

    // The policy judges by the true ends, wherever the ports are.
    let refused = daemon.try_ctl(&["route", "add", "edge", "10.8.0.0/16", "--via", "192.0.2.1"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("192.0.2.1"), "{said}");
    let state = daemon.ctl(&["show", "--config"])?;
    let rule = "[[rule]]\nname = \"no-b\"\naction = \"drop\"\nfrom = { ports = \"a\" }\nto = { ports = \"b\" }\n";
    daemon.apply(&format!("{state}\n{rule}"))?;
    assert_eq!(ping(a, "10.2.0.2", 1)?.lost(), 1, "from a to b is refused");
    assert_eq!(ping(b, "10.1.0.2", 2)?.lost(), 0, "and from b to a is not");
    assert_eq!(ping(a, "10.2.0.1", 2)?.lost(), 0, "nor is the router");
    daemon.apply(&state)?;

    daemon.ctl(&["router", "del", "edge"])?;
    assert_eq!(ping(a, "10.2.0.2", 1)?.lost(), 1);
    Ok(())
}

#[test]
fn vlans_of_one_switch_meet_in_a_router() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let hosts = [Namespace::new("ten")?, Namespace::new("twenty")?];
    let mut config = r#"
[[switch]]
name = "lan"
[[router]]
name = "edge"
interface = [
    { name = "ten", switch = "lan", vlan = 10, addresses = "10.1.0.1/24", clamp_mss = true },
    { name = "twenty", switch = "lan", vlan = 20, addresses = "10.2.0.1/24", mtu = 1300 },
]
"#
    .to_owned();
    for (host, vlan) in hosts.iter().zip([10, 20]) {
        let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", host.name());
        config += &format!("[[port]]\nname = \"v{vlan}\"\nswitch = \"lan\"\nvlan = {{ access = {vlan} }}\n{tap}\n");
    }
    let daemon = Daemon::start(&config)?;
    let [ten, twenty] = &hosts;
    for (host, address, gateway) in [(ten, "10.1.0.2/24", "10.1.0.1"), (twenty, "10.2.0.2/24", "10.2.0.1")] {
        host.address("eth0", address)?;
        host.ip(&["route", "add", "default", "via", gateway])?;
    }
    assert_eq!(ping(ten, "10.2.0.2", 3)?.lost(), 0);
    transfer(ten, twenty, SocketAddr::from(([10, 2, 0, 2], 7000)), 16 << 20)?;
    transfer(twenty, ten, SocketAddr::from(([10, 1, 0, 2], 7001)), 16 << 20)?;
    // Both ends heard in the handshake how long their segments may be: nobody had to be told later.
    assert_eq!((path_mtu(ten, "10.2.0.2")?, path_mtu(twenty, "10.1.0.2")?), ("none".into(), "none".into()));
    assert!(!daemon.ctl(&["why"])?.contains("path-mtu"));
    Ok(())
}

#[test]
fn hosts_configure_themselves_by_what_the_router_tells() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let told = EDGE.replace("\"fd01::1/64\"] }", "\"fd01::1/64\"], mtu = 1400, advertise = {} }");
    let (daemon, _hosts) = start(&[B], &told)?;
    let guest = Namespace::new("guest")?;
    let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", guest.name());
    let state = daemon.ctl(&["show", "--config"])?;
    daemon.apply(&format!("{state}\n[[port]]\nname = \"guest\"\nswitch = \"lan\"\n{tap}\n"))?;
    guest.ip(&["link", "set", "eth0", "up"])?;
    let configured = wait_for("an address by router advertisement", Duration::from_secs(30), || {
        let addresses = guest.ip(&["-6", "addr", "show", "dev", "eth0", "scope", "global"]).ok()?;
        (addresses.contains("fd01:") && !addresses.contains("tentative")).then_some(addresses)
    })?;
    assert!(configured.contains("/64"), "{configured}");
    let routes = guest.ip(&["-6", "route", "show", "default"])?;
    assert!(routes.contains("proto ra"), "{routes}");
    assert_eq!(ping(&guest, "fd02::2", 3)?.lost(), 0);

    // Without the router, the way is gone at once.
    daemon.ctl(&["router", "del", "edge"])?;
    wait_for("the end of the default route", Duration::from_secs(10), || {
        guest.ip(&["-6", "route", "show", "default"]).ok()?.trim().is_empty().then_some(())
    })
}

#[test]
fn policy_routes_choose_between_two_gateways() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    // Two kernels lead from dmz to the same network behind them; which one a packet took shows in its counters.
    let one = ("one", "dmz", ["10.2.0.8/24", "fd02::8/64"], ["10.2.0.1", "fd02::1"]);
    let two = ("two", "dmz", ["10.2.0.9/24", "fd02::9/64"], ["10.2.0.1", "fd02::1"]);
    let more = EDGE.to_owned()
        + r#"route = [
    { to = "10.9.0.0/16", via = "10.2.0.8" },
    { to = "10.9.0.0/16", via = "10.2.0.9", table = "second" },
]
"#;
    let (daemon, hosts) = start(&[A, one, two], &more)?;
    let [a, one, two] = &hosts[..] else { unreachable!() };
    // They speak from the address of a network behind them, which both have.
    for (host, name) in [(one, "one"), (two, "two")] {
        host.ip(&["addr", "add", "10.9.0.1/32", "dev", "lo"])?;
        daemon.ctl(&["guard", "set", name, "--roles", "router"])?;
    }
    let taken = |way: &str| -> Result<(), Failure> {
        let got = |host: &Namespace| -> Result<u64, Failure> {
            let shown = host.ip(&["-s", "link", "show", "dev", "eth0"])?;
            let line = shown.lines().skip_while(|line| !line.contains("RX:")).nth(1).unwrap_or("");
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).ok_or_else(|| Failure::new("no counters"))
        };
        let before = [got(one)?, got(two)?];
        assert_eq!(ping(a, "10.9.0.1", 10)?.lost(), 0);
        let [first, second] = [got(one)? - before[0], got(two)? - before[1]];
        let expected = if way == "one" { first >= 10 && second < 10 } else { second >= 10 && first < 10 };
        assert!(expected, "{way}: {first} by one, {second} by two");
        Ok(())
    };
    taken("one")?;
    let add = ["route", "policy", "add", "edge", "icmp", "--protocol", "icmp", "--port", "a", "--via", "10.2.0.9"];
    daemon.ctl(&add)?;
    taken("two")?;
    let shown = daemon.ctl(&["route", "policy", "show"])?;
    assert!(shown.contains("icmp") && shown.contains("10.2.0.9"), "{shown}");
    // What stands before it decides.
    let main = ["route", "policy", "add", "edge", "stay", "--from", "10.1.0.0/24", "--before", "icmp"];
    daemon.ctl(&main)?;
    taken("one")?;
    daemon.ctl(&["route", "policy", "del", "edge", "stay", "icmp"])?;
    daemon.ctl(&["route", "policy", "add", "edge", "t", "--to", "10.9.0.0/24", "--table", "second"])?;
    taken("two")?;
    daemon.ctl(&["route", "policy", "del", "edge", "t"])?;
    daemon.ctl(&[
        "route",
        "policy",
        "add",
        "edge",
        "no",
        "--in",
        "lan",
        "--to",
        "10.9.0.0/16",
        "--action",
        "prohibit",
    ])?;
    assert_eq!(ping(a, "10.9.0.1", 1)?.lost(), 1);
    Ok(())
}

#[test]
fn a_host_that_takes_all_for_its_own_network_is_answered_for_others() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let more = EDGE.replace("\"fd01::1/64\"] }", "\"fd01::1/64\"], proxy = [\"10.0.0.0/8\", \"fd00::/8\"] }");
    let (daemon, hosts) = start(&[A, B], &more)?;
    let [a, _] = &hosts[..] else { unreachable!() };
    a.ip(&["route", "replace", "default", "dev", "eth0"])?;
    a.ip(&["-6", "route", "replace", "default", "dev", "eth0"])?;
    assert_eq!(ping(a, "10.2.0.2", 3)?.lost(), 0);
    assert_eq!(ping(a, "fd02::2", 3)?.lost(), 0);
    let known = a.ip(&["neigh", "show", "10.2.0.2"])?;
    let routers = daemon.ctl(&["router", "show"])?;
    let mac = known.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap_or("none");
    assert!(routers.contains(mac), "{known} is the router's\n{routers}");
    Ok(())
}
