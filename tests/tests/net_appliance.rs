//! The guard as an appliance, between hosts and bridges with kernels of their own: in the fabric between two switches,
//! as a piece of cable between two Linux bridges, and in one arm of a Linux router and of a router of another daemon. An
//! attack is stopped, everything else passes, and what is lost with a link or with the daemon is what was promised.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::{
    Daemon, Exchange, Failure, HttpServer, Namespace, http_get, http_pieces, ping, skip_unless_root, transfer, wait_for,
};

const EXPLOIT: &[u8] = b"the-exploit-in-the-request";
const RULES: &str = r#"
[[rule_set]]
name = "ours"
text = 'drop tcp any any -> any 80 (msg:"an exploit"; content:"the-exploit-in-the-request"; sid:7;)'
"#;
const PATIENCE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(10);

fn tap(name: &str, switch: &str, interface: &str, host: &Namespace) -> String {
    let tap = format!("tap = {{ name = \"{interface}\", netns = \"{}\" }}", host.name());
    format!("[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{tap}\n")
}

/// The same into a namespace that is a router or a bridge: others speak through it.
fn trusted_tap(name: &str, switch: &str, interface: &str, host: &Namespace) -> String {
    tap(name, switch, interface, host) + "guard = { on = false }\n"
}

/// Two hosts, `a` and `b`, in one network.
struct Pair {
    a: Namespace,
    b: Namespace,
    web: SocketAddr,
}

impl Pair {
    fn new() -> Result<Pair, Failure> {
        Ok(Pair { a: Namespace::new("a")?, b: Namespace::new("b")?, web: SocketAddr::from(([10, 0, 0, 2], 80)) })
    }

    fn address(&self) -> Result<(), Failure> {
        self.a.address("eth0", "10.0.0.1/24")?;
        self.b.address("eth0", "10.0.0.2/24")
    }

    fn reach(&self) -> Result<(), Failure> {
        wait_for("a ping from a to b", SOON, || (ping(&self.a, "10.0.0.2", 1).ok()?.lost() == 0).then_some(()))
    }
}

/// Ordinary traffic from `a` to the server passes; the attack gets no answer and does not arrive.
fn stops_the_attack_only(a: &Namespace, b: &Namespace, web: SocketAddr) -> Result<(), Failure> {
    let server = HttpServer::start(b, web, "a page")?;
    assert!(http_get(a, web, "/")?.is_page_with("a page"));
    let request = [b"GET /?", EXPLOIT, b" HTTP/1.1\r\nHost: web\r\n\r\n"].concat();
    for size in [request.len(), 7] {
        let pieces: Vec<&[u8]> = request.chunks(size).collect();
        let exchange = http_pieces(a, web, &pieces, PATIENCE)?;
        assert!(!matches!(exchange, Exchange::Answered(..)), "pieces of {size}: {exchange:?}");
        assert!(!server.has_read(EXPLOIT), "pieces of {size}");
    }
    assert!(http_get(a, web, "/")?.is_page_with("a page"), "others go on");
    transfer(a, b, SocketAddr::new(web.ip(), 7000), 32 << 20)?;
    Ok(())
}

/// The attack is answered: nobody stops it.
fn lets_the_attack_pass(a: &Namespace, b: &Namespace, web: SocketAddr) -> Result<(), Failure> {
    let server = HttpServer::start(b, web, "a page")?;
    let request = [b"GET /?", EXPLOIT, b" HTTP/1.1\r\nHost: web\r\n\r\n"].concat();
    let exchange = http_pieces(a, web, &[&request], PATIENCE)?;
    assert!(matches!(exchange, Exchange::Answered(..)), "{exchange:?}");
    assert!(server.has_read(EXPLOIT));
    Ok(())
}

fn standing(daemon: &Daemon) -> Result<String, Failure> {
    let shown = daemon.ctl_json(&["appliance", "show", "guard"])?;
    Ok(shown[0]["standing"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn two_switches_meet_in_the_guard_alone() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let ports = tap("a", "lan", "eth0", &pair.a) + &tap("b", "dmz", "eth0", &pair.b);
    let mut daemon = Daemon::start(&format!("switch = [{{ name = \"lan\" }}, {{ name = \"dmz\" }}]\n{ports}{RULES}"))?;
    pair.address()?;
    assert_eq!(ping(&pair.a, "10.0.0.2", 1)?.lost(), 1, "nothing joins them");
    daemon.ctl(&["appliance", "add", "guard", "--inline", "lan", "dmz", "--inspect", "ours"])?;
    pair.reach()?;
    stops_the_attack_only(&pair.a, &pair.b, pair.web)?;
    let alert = daemon.wait_event("the alert", |e| e["event_type"] == "alert")?;
    assert_eq!((&alert["alert"]["action"], &alert["in_iface"]), (&"blocked".into(), &"a".into()));

    daemon.ctl(&["appliance", "bypass", "guard", "on"])?;
    assert_eq!(standing(&daemon)?, "bypassed");
    lets_the_attack_pass(&pair.a, &pair.b, pair.web)?;
    daemon.ctl(&["appliance", "bypass", "guard", "off"])?;
    stops_the_attack_only(&pair.a, &pair.b, pair.web)?;
    daemon.ctl(&["appliance", "set", "guard", "--down"])?;
    assert_eq!(ping(&pair.a, "10.0.0.2", 1)?.lost(), 1, "it is down");
    daemon.ctl(&["appliance", "set", "guard", "--down", "false"])?;
    pair.reach()?;

    daemon.kill()?;
    assert!(pair.a.ip(&["link", "show", "eth0"]).is_err(), "nothing is left of a port whose daemon is dead");
    Ok(())
}

/// A host behind a Linux bridge: its interface, the bridge in a namespace of its own.
fn behind_a_bridge(host: &Namespace, bridge: &Namespace) -> Result<(), Failure> {
    host.veth("eth0", bridge, "host")?;
    bridge.ip(&["link", "add", "br0", "type", "bridge"])?;
    bridge.ip(&["link", "set", "host", "master", "br0"])?;
    bridge.ip(&["link", "set", "br0", "up"])?;
    Ok(())
}

fn enslave(bridge: &Namespace, tap: &str) -> Result<(), Failure> {
    wait_for(tap, SOON, || bridge.ip(&["link", "set", tap, "master", "br0"]).ok())?;
    bridge.ip(&["link", "set", tap, "up"])?;
    Ok(())
}

#[test]
fn two_linux_bridges_meet_in_a_wire() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let (left, right) = (Namespace::new("left")?, Namespace::new("right")?);
    behind_a_bridge(&pair.a, &left)?;
    behind_a_bridge(&pair.b, &right)?;
    let ports = tap("left", "guard", "wire", &left) + &tap("right", "guard", "wire", &right);
    let guard = "[[appliance]]\nname = \"guard\"\nwire = [\"left\", \"right\"]\ninspect = \"ours\"\n";
    let mut daemon = Daemon::start(&format!("{ports}{guard}{RULES}"))?;
    enslave(&left, "wire")?;
    enslave(&right, "wire")?;
    pair.address()?;
    pair.reach()?;
    stops_the_attack_only(&pair.a, &pair.b, pair.web)?;
    // Tags pass, and what is within them is inspected.
    let has_vlans = pair.a.ip(&["link", "add", "link", "lo", "name", "try", "type", "vlan", "id", "7"]).is_ok();
    if !has_vlans {
        println!("skipped: tags within the wire need VLAN devices in the kernel (8021q)");
    }
    for (host, address) in [(&pair.a, "10.7.0.1/24"), (&pair.b, "10.7.0.2/24")].into_iter().filter(|_| has_vlans) {
        host.ip(&["link", "add", "link", "eth0", "name", "v7", "type", "vlan", "id", "7"])?;
        host.address("v7", address)?;
    }
    if has_vlans {
        stops_the_attack_only(&pair.a, &pair.b, SocketAddr::from(([10, 7, 0, 2], 80)))?;
    }

    // Where one side is down, the other sees no carrier.
    let carrier = |up: bool| {
        let what = if up { "a carrier at the right" } else { "no carrier at the right" };
        wait_for(what, SOON, || (right.ip(&["link", "show", "wire"]).ok()?.contains("NO-CARRIER") != up).then_some(()))
    };
    carrier(true)?;
    left.ip(&["link", "set", "wire", "down"])?;
    carrier(false)?;
    left.ip(&["link", "set", "wire", "up"])?;
    carrier(true)?;
    pair.reach()?;

    // The wire ends with the daemon: closed.
    daemon.kill()?;
    assert_eq!(ping(&pair.a, "10.0.0.2", 1)?.lost(), 1);
    daemon.run()?;
    enslave(&left, "wire")?;
    enslave(&right, "wire")?;
    pair.reach()
}

/// A Linux router with `a` behind `lan` and `b` behind `dmz`, and a third interface `arm` through which it sends
/// everything between them.
fn router_with_an_arm(pair: &Pair, router: &Namespace) -> Result<(), Failure> {
    pair.a.veth("eth0", router, "lan")?;
    pair.b.veth("eth0", router, "dmz")?;
    router.inside(|| {
        for name in
            ["ip_forward", "conf/all/rp_filter", "conf/default/rp_filter", "conf/lan/rp_filter", "conf/dmz/rp_filter"]
        {
            let value = if name == "ip_forward" { "1" } else { "0" };
            std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value)?;
        }
        Ok(())
    })?;
    router.address("lan", "10.1.0.1/24")?;
    router.address("dmz", "10.2.0.1/24")?;
    pair.a.address("eth0", "10.1.0.2/24")?;
    pair.b.address("eth0", "10.2.0.2/24")?;
    pair.a.ip(&["route", "add", "default", "via", "10.1.0.1"])?;
    pair.b.ip(&["route", "add", "default", "via", "10.2.0.1"])?;
    Ok(())
}

#[test]
fn a_linux_router_sends_both_ways_through_one_arm() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (pair, router) = (Pair::new()?, Namespace::new("router")?);
    router_with_an_arm(&pair, &router)?;
    let arm = r#"
switch = [{ name = "arm" }]
[[router]]
name = "guard"
inspect = "ours"
interface = [{ name = "arm", switch = "arm", addresses = "10.9.0.2/24" }]
route = [{ to = "0.0.0.0/0", via = "10.9.0.1" }]
"#;
    let mut daemon = Daemon::start(&format!("{arm}{}{RULES}", trusted_tap("arm", "arm", "arm", &router)))?;
    let join = || -> Result<(), Failure> {
        router.address("arm", "10.9.0.1/24")?;
        router.inside(|| Ok(std::fs::write("/proc/sys/net/ipv4/conf/arm/rp_filter", "0")?))?;
        router.ip(&["route", "add", "default", "via", "10.9.0.2", "dev", "arm", "table", "100"])?;
        Ok(())
    };
    join()?;
    // What is to happen while the arm is gone: with this route nothing passes, without it everything goes around.
    router.ip(&["route", "add", "unreachable", "default", "metric", "1000", "table", "100"])?;
    router.ip(&["rule", "add", "iif", "lan", "table", "100"])?;
    router.ip(&["rule", "add", "iif", "dmz", "table", "100"])?;
    stops_the_attack_only(&pair.a, &pair.b, SocketAddr::from(([10, 2, 0, 2], 80)))?;
    let flows = daemon.ctl_json(&["flow", "show", "--protocol", "tcp"])?;
    let flows = flows["flows"].as_array().or(flows.as_array()).cloned().unwrap_or_default();
    assert!(!flows.is_empty() && flows.iter().all(|flow| flow["switch"] == "guard"), "{flows:?}");

    let web = SocketAddr::from(([10, 2, 0, 2], 80));
    daemon.kill()?;
    assert_eq!(ping(&pair.a, "10.2.0.2", 1)?.lost(), 1, "closed: the arm is gone, and its table says so");
    daemon.run()?;
    wait_for("the arm", SOON, || join().ok())?;
    stops_the_attack_only(&pair.a, &pair.b, web)?;
    router.ip(&["route", "del", "unreachable", "default", "metric", "1000", "table", "100"])?;
    daemon.kill()?;
    lets_the_attack_pass(&pair.a, &pair.b, web)
}

#[test]
fn a_router_of_ours_has_the_guard_in_one_arm() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (pair, transit) = (Pair::new()?, Namespace::new("transit")?);
    // Two routers of one daemon reach each other through the guard of another, on the network between them.
    let routers = r#"
switch = [{ name = "lan" }, { name = "dmz" }, { name = "out" }, { name = "in" }]
[[router]]
name = "edge"
interface = [
    { name = "lan", switch = "lan", addresses = "10.1.0.1/24" },
    { name = "out", switch = "out", addresses = "10.9.0.1/24" },
]
route = [{ to = "0.0.0.0/0", via = "10.9.0.2" }]
[[router]]
name = "core"
interface = [
    { name = "dmz", switch = "dmz", addresses = "10.2.0.1/24" },
    { name = "in", switch = "in", addresses = "10.9.0.3/24" },
]
route = [{ to = "0.0.0.0/0", via = "10.9.0.2" }]
"#;
    let guard = r#"
switch = [{ name = "arm" }]
[[router]]
name = "guard"
inspect = "ours"
interface = [{ name = "arm", switch = "arm", addresses = "10.9.0.2/24" }]
route = [{ to = "10.1.0.0/24", via = "10.9.0.1" }, { to = "10.2.0.0/24", via = "10.9.0.3" }]
"#;
    let ports = tap("a", "lan", "eth0", &pair.a) + &tap("b", "dmz", "eth0", &pair.b);
    let ends = trusted_tap("out", "out", "out", &transit) + &trusted_tap("in", "in", "in", &transit);
    let _routers = Daemon::start(&format!("{routers}{ports}{ends}"))?;
    let mut arm = Daemon::start(&format!("{guard}{}{RULES}", trusted_tap("arm", "arm", "arm", &transit)))?;
    transit.ip(&["link", "add", "br0", "type", "bridge"])?;
    transit.ip(&["link", "set", "br0", "up"])?;
    ["out", "in", "arm"].iter().try_for_each(|end| enslave(&transit, end))?;
    for (host, address, gateway) in [(&pair.a, "10.1.0.2/24", "10.1.0.1"), (&pair.b, "10.2.0.2/24", "10.2.0.1")] {
        host.address("eth0", address)?;
        host.ip(&["route", "add", "default", "via", gateway])?;
    }
    let reach = || {
        let reached = || (ping(&pair.a, "10.2.0.2", 1).ok()?.lost() == 0).then_some(());
        wait_for("a ping through the arm", SOON, reached)
    };
    reach()?;
    let web = SocketAddr::from(([10, 2, 0, 2], 80));
    stops_the_attack_only(&pair.a, &pair.b, web)?;
    // The routers know no other way: closed.
    arm.kill()?;
    assert_eq!(ping(&pair.a, "10.2.0.2", 1)?.lost(), 1, "nothing passes without the guard");
    arm.run()?;
    enslave(&transit, "arm")?;
    reach()?;
    stops_the_attack_only(&pair.a, &pair.b, web)
}

#[test]
fn an_ear_tells_of_the_attack_and_stops_nothing() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (pair, bridge) = (Pair::new()?, Namespace::new("bridge")?);
    pair.a.veth("eth0", &bridge, "to-a")?;
    pair.b.veth("eth0", &bridge, "to-b")?;
    // A bridge that remembers nothing sends everything to everybody.
    bridge.ip(&["link", "add", "br0", "type", "bridge", "ageing_time", "0"])?;
    bridge.ip(&["link", "set", "br0", "up"])?;
    for port in ["to-a", "to-b"] {
        bridge.ip(&["link", "set", port, "master", "br0"])?;
    }
    let guard = "[[appliance]]\nname = \"guard\"\nlisten = \"copies\"\ninspect = \"ours\"\n";
    let mut daemon = Daemon::start(&format!("{}{guard}{RULES}", tap("copies", "guard", "copies", &bridge)))?;
    enslave(&bridge, "copies")?;
    pair.address()?;
    pair.reach()?;
    lets_the_attack_pass(&pair.a, &pair.b, pair.web)?;
    let alert = daemon.wait_event("the alert", |e| e["event_type"] == "alert")?;
    assert_eq!(alert["alert"]["signature_id"], 7);
    assert_eq!(alert["alert"]["action"], "allowed", "it only listens: {alert}");
    assert_eq!(standing(&daemon)?, "listening");
    let port = daemon.ctl_json(&["port", "show", "copies"])?;
    assert_eq!(port[0]["counters"]["tx_packets"].as_u64().unwrap_or(0), 0, "nothing was sent: {port}");
    bridge.ip(&["link", "set", "copies", "down"])?;
    lets_the_attack_pass(&pair.a, &pair.b, pair.web)?;
    daemon.kill()?;
    lets_the_attack_pass(&pair.a, &pair.b, pair.web)
}
