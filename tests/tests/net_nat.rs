//! Address translation between hosts with kernels of their own: out by masquerade, in by forwarded ports.

use std::net::SocketAddr;

use weir_tests::lab::{
    Daemon, Failure, HttpServer, Namespace, http_get, ping, skip_unless_root, trace_route, transfer,
};

const EDGE: &str = r#"
[[switch]]
name = "lan"
[[switch]]
name = "wan"
[[router]]
name = "edge"
interface = [
    { name = "lan", switch = "lan", addresses = ["10.1.0.1/24", "fd01::1/64"] },
    { name = "wan", switch = "wan", addresses = ["198.51.100.1/24", "2001:db8:5::1/64"], mtu = 1400 },
]
masquerade = [{ interface = "wan" }]
forward = [
    { protocol = "tcp", address = "198.51.100.1", ports = 8080, to = "10.1.0.2", to_port = 80 },
    { protocol = "tcp", address = "2001:db8:5::1", ports = 8080, to = "fd01::2", to_port = 80 },
]
"#;

/// A client and a server inside, and a host outside that knows nothing of the inside.
fn start() -> Result<(Daemon, [Namespace; 3]), Failure> {
    let hosts = [Namespace::new("server")?, Namespace::new("client")?, Namespace::new("outside")?];
    let mut config = EDGE.to_owned();
    for (host, (name, switch)) in hosts.iter().zip([("server", "lan"), ("client", "lan"), ("outside", "wan")]) {
        let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", host.name());
        config += &format!("\n[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{tap}\n");
    }
    let daemon = Daemon::start(&config)?;
    for (host, last) in hosts.iter().zip([2, 3]) {
        host.address("eth0", &format!("10.1.0.{last}/24"))?;
        host.address("eth0", &format!("fd01::{last}/64"))?;
        host.ip(&["route", "add", "default", "via", "10.1.0.1"])?;
        host.ip(&["route", "add", "default", "via", "fd01::1"])?;
    }
    let [_, _, outside] = &hosts;
    outside.address("eth0", "198.51.100.9/24")?;
    outside.address("eth0", "2001:db8:5::9/64")?;
    Ok((daemon, hosts))
}

fn socket(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|e| Failure::of(text, e))
}

#[test]
fn hosts_inside_reach_the_outside_by_the_routers_address() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, [_, client, outside]) = start()?;
    for address in ["198.51.100.9", "2001:db8:5::9"] {
        assert_eq!(ping(&client, address, 3)?.lost(), 0, "{address}");
    }
    let _server = HttpServer::start(&outside, socket("198.51.100.9:80")?, "the wide world")?;
    assert!(http_get(&client, socket("198.51.100.9:80")?, "/")?.is_page_with("the wide world"));
    // What the outside sees is the router, also where the way is narrower than the hosts think.
    let sent = transfer(&client, &outside, socket("198.51.100.9:7000")?, 32 << 20)?;
    println!("masqueraded: {:.2} Gbit/s", sent.bits_per_second() / 1e9);
    transfer(&client, &outside, socket("[2001:db8:5::9]:7000")?, 8 << 20)?;
    let way = trace_route(&client, "198.51.100.9")?;
    assert_eq!(way, ["10.1.0.1", "198.51.100.9"].map(|address| address.parse().ok()));

    let bindings = daemon.ctl(&["nat", "bindings"])?;
    assert!(bindings.contains("10.1.0.3") && bindings.contains("198.51.100.1"), "{bindings}");
    let flows = daemon.ctl(&["flow", "show", "--protocol", "tcp"])?;
    assert!(flows.contains("10.1.0.3") && !flows.contains("198.51.100.1:"), "flows have true ends:\n{flows}");
    Ok(())
}

#[test]
fn a_forwarded_port_is_reached_from_outside_and_from_inside() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, [server, client, outside]) = start()?;
    let (v4, v6) = (socket("10.1.0.2:80")?, socket("[fd01::2]:80")?);
    let _servers = [HttpServer::start(&server, v4, "from inside")?, HttpServer::start(&server, v6, "from inside")?];
    for address in ["198.51.100.1:8080", "[2001:db8:5::1]:8080"] {
        for from in [&outside, &client] {
            assert!(http_get(from, socket(address)?, "/")?.is_page_with("from inside"), "{address}");
        }
    }
    // A rule speaks of the true ends: who calls, and who is called.
    let state = daemon.ctl(&["show", "--config"])?;
    let rule = "[[rule]]\nname = \"no-web\"\naction = \"reject\"\nprotocol = \"tcp\"\ndestination_ports = 80\n\
                from = { addresses = \"198.51.100.0/24\" }\nto = { ports = \"server\", addresses = \"10.1.0.2\" }\n";
    daemon.apply(&format!("{state}\n{rule}"))?;
    assert!(http_get(&outside, socket("198.51.100.1:8080")?, "/").is_ok_and(|e| !e.is_page_with("from inside")));
    assert!(http_get(&client, socket("198.51.100.1:8080")?, "/")?.is_page_with("from inside"));

    daemon.apply(&state)?;
    daemon.ctl(&["nat", "del", "edge", "--forward", "tcp/198.51.100.1/8080"])?;
    daemon.ctl(&["nat", "flush"])?;
    assert!(http_get(&outside, socket("198.51.100.1:8080")?, "/").is_ok_and(|e| !e.is_page_with("from inside")));
    daemon.ctl(&["nat", "forward", "edge", "tcp", "198.51.100.1", "9090", "10.1.0.2", "80"])?;
    assert!(http_get(&outside, socket("198.51.100.1:9090")?, "/")?.is_page_with("from inside"));
    Ok(())
}
