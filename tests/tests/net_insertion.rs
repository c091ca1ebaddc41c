//! What each way to insert the guard does where something goes: a link, the daemon, the guard's time. And what a piece of
//! cable carries that is not IP between hosts: what switches, routers and members of groups say to each other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use weir_tests::lab::{
    Daemon, Exchange, Failure, HttpServer, Namespace, RawHost, http_get, http_pieces, ping, skip_unless_root, transfer,
    wait_for,
};
use weir_wire::build::neighbor::group_mac;
use weir_wire::build::{Ends, ip, tagged, udp};
use weir_wire::{MacAddr, checksum};

const EXPLOIT: &[u8] = b"the-exploit-in-the-request";
const RULES: &str = r#"
[[rule_set]]
name = "ours"
text = 'drop tcp any any -> any 80 (msg:"an exploit"; content:"the-exploit-in-the-request"; sid:7;)'
"#;
const PATIENCE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(10);

fn tap(name: &str, switch: &str, host: &Namespace, more: &str) -> String {
    let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\"{more} }}", host.name());
    format!("[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{tap}\n")
}

fn socket(name: &str, switch: &str) -> String {
    format!(
        "[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\nvhost_user = {{ path = \"{{dir}}/{name}.sock\" }}\n\
         guard = {{ on = false }}\n"
    )
}

fn reach(from: &Namespace, address: &str) -> Result<(), Failure> {
    wait_for("a ping", SOON, || (ping(from, address, 1).ok()?.lost() == 0).then_some(()))
}

fn is_cut_off(from: &Namespace, address: &str) -> Result<(), Failure> {
    wait_for("the loss of a ping", SOON, || (ping(from, address, 1).ok()?.lost() == 1).then_some(()))
}

/// Ordinary traffic passes, the attack does not.
fn stops_the_attack_only(from: &Namespace, to: &Namespace, web: SocketAddr) -> Result<(), Failure> {
    let server = HttpServer::start(to, web, "a page")?;
    assert!(http_get(from, web, "/")?.is_page_with("a page"));
    let request = [b"GET /?", EXPLOIT, b" HTTP/1.1\r\nHost: web\r\n\r\n"].concat();
    let exchange = http_pieces(from, web, &[&request], PATIENCE)?;
    assert!(!matches!(exchange, Exchange::Answered(..)), "{exchange:?}");
    assert!(!server.has_read(EXPLOIT));
    transfer(from, to, SocketAddr::new(web.ip(), 7000), 8 << 20)?;
    Ok(())
}

#[test]
fn a_wire_carries_what_switches_routers_and_members_say_as_it_is() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let guard = "[[appliance]]\nname = \"guard\"\nwire = [\"left\", \"right\"]\ninspect = \"ours\"\n";
    let daemon = Daemon::start(&format!("{}{}{guard}{RULES}", socket("left", "guard"), socket("right", "guard")))?;
    let mut left = RawHost::connect(&daemon.path("left.sock"))?;
    let mut right = RawHost::connect(&daemon.path("right.sock"))?;
    let mac = [2, 0, 0, 0, 0, 1];
    let control = |to: [u8; 6], rest: &[u8]| {
        let mut frame = [&to[..], &mac, rest].concat();
        frame.resize(60, 0);
        frame
    };
    let igmp = |kind: u8, to: [u8; 4], group: [u8; 4]| {
        let mut body = [&[kind, 10, 0, 0][..], &group].concat();
        let sum = !checksum::sum(&body).fold();
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        let destination_mac = MacAddr([1, 0, 0x5e, to[1] & 0x7f, to[2], to[3]]);
        ip(Ends { destination: to.into(), destination_mac, ..Ends::ipv4(1, 2) }, 2, &[&body])
    };
    let mld = |kind: u8, group: &str| -> Result<Vec<u8>, Failure> {
        let to: std::net::Ipv6Addr = group.parse().map_err(|e| Failure::of(group, e))?;
        let ends = Ends { destination: to.into(), destination_mac: group_mac(to), ..Ends::ipv6(1, 2) };
        let IpAddr::V6(from) = ends.source else { return Err(Failure::new("an IPv6 address")) };
        let mut body = [&[kind, 0, 0, 0, 0, 10, 0, 0][..], &to.octets()].concat();
        let pseudo = checksum::pseudo_ipv6(&from.octets(), &to.octets(), 58, body.len() as u32);
        let sum = !pseudo.and(checksum::sum(&body)).fold();
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        Ok(ip(ends, 58, &[&body]))
    };
    let plain = udp(Ends::ipv4(1, 2), (1, 2), b"x");
    let frames = [
        ("spanning tree", control([1, 0x80, 0xc2, 0, 0, 0], &[0, 38, 0x42, 0x42, 3])),
        ("spanning tree of a VLAN", control([1, 0, 0xc, 0xcc, 0xcc, 0xcd], &[0, 50, 0xaa, 0xaa, 3, 0, 0, 0xc, 1, 0xb])),
        ("LACP", control([1, 0x80, 0xc2, 0, 0, 2], &[0x88, 9, 1, 1])),
        ("802.1X", control([1, 0x80, 0xc2, 0, 0, 3], &[0x88, 0x8e, 2, 1])),
        ("LLDP", control([1, 0x80, 0xc2, 0, 0, 14], &[0x88, 0xcc, 2, 7, 4])),
        ("a tag", tagged(&plain, 7, 3)),
        ("two tags", tagged(&tagged(&plain, 20, 0), 10, 7)),
        ("an IGMP query", igmp(0x11, [224, 0, 0, 1], [0; 4])),
        ("an IGMP report", igmp(0x16, [239, 1, 2, 3], [239, 1, 2, 3])),
        ("an IGMP leave", igmp(0x17, [224, 0, 0, 2], [239, 1, 2, 3])),
        ("an MLD query", mld(130, "ff02::1")?),
        ("an MLD report", mld(131, "ff15::77")?),
    ];
    for (what, frame) in &frames {
        // The vhost-user port of the wire gets its link with the first of its guest's buffers.
        let over = wait_for(what, SOON, || {
            left.send(frame).ok()?;
            right.take(Duration::from_millis(200), |seen| seen == frame)
        });
        over?;
        right.send(frame)?;
        assert!(left.take(PATIENCE, |seen| seen == frame).is_some(), "{what}, and back");
    }
    Ok(())
}

#[test]
fn a_wire_carries_jumbo_frames_and_tells_each_side_of_the_others_link() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let guard = "[[appliance]]\nname = \"guard\"\nwire = [\"a\", \"b\"]\ninspect = \"ours\"\n";
    let ports = tap("a", "guard", &a, ", mtu = 9000") + &tap("b", "guard", &b, ", mtu = 9000");
    let mut daemon = Daemon::start(&format!("{ports}{guard}{RULES}"))?;
    a.address("eth0", "10.0.0.1/24")?;
    b.address("eth0", "10.0.0.2/24")?;
    reach(&a, "10.0.0.2")?;
    // A datagram that fills a frame of 9000 bytes, which may not be cut.
    let sizes = b.inside(|| {
        let socket = UdpSocket::bind("10.0.0.2:5000")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    })?;
    a.inside(|| Ok(UdpSocket::bind("10.0.0.1:0")?.send_to(&[7; 8972], "10.0.0.2:5000")?))?;
    let mut buffer = [0; 10_000];
    assert_eq!(sizes.recv(&mut buffer)?, 8972);
    let counters = daemon.ctl_json(&["port", "show", "a"])?;
    let bytes = counters[0]["counters"]["rx_bytes"].as_u64().unwrap_or(0);
    assert!(bytes > 9000, "{counters}");
    let web = SocketAddr::from(([10, 0, 0, 2], 80));
    stops_the_attack_only(&a, &b, web)?;

    let carrier = |host: &Namespace, up: bool| {
        let what = if up { "a carrier" } else { "no carrier" };
        wait_for(what, SOON, || (host.ip(&["link", "show", "eth0"]).ok()?.contains("NO-CARRIER") != up).then_some(()))
    };
    for (one, other) in [(&a, &b), (&b, &a)] {
        one.ip(&["link", "set", "eth0", "down"])?;
        carrier(other, false)?;
        let pulse = wait_for("the degraded guard", SOON, || {
            let shown = daemon.ctl_json(&["appliance", "show", "guard"]).ok()?;
            (shown[0]["pulse"] == "degraded").then_some(shown)
        })?;
        assert_eq!(pulse[0]["standing"], "guarding", "the guard itself is well: {pulse}");
        one.ip(&["link", "set", "eth0", "up"])?;
        carrier(other, true)?;
    }
    reach(&a, "10.0.0.2")?;
    daemon.kill()?;
    assert!(a.ip(&["link", "show", "eth0"]).is_err(), "nothing is left of a port whose daemon is dead");
    Ok(())
}

#[test]
fn a_guard_in_the_fabric_goes_with_the_daemon_and_a_lost_link_cuts_off_one_guest_alone() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let hosts = [Namespace::new("a")?, Namespace::new("b")?, Namespace::new("c")?];
    let ports: String = hosts.iter().zip(["a", "b", "c"]).map(|(host, name)| tap(name, "lan", host, "")).collect();
    let head = "[[switch]]\nname = \"lan\"\ninspect = \"ours\"\n";
    let mut daemon = Daemon::start(&format!("{head}{ports}{RULES}"))?;
    let address =
        || hosts.iter().zip(1..).try_for_each(|(host, n): (_, u8)| host.address("eth0", &format!("10.0.0.{n}/24")));
    address()?;
    let [a, b, c] = &hosts;
    reach(a, "10.0.0.2")?;
    let web = SocketAddr::from(([10, 0, 0, 2], 80));
    stops_the_attack_only(a, b, web)?;
    c.ip(&["link", "set", "eth0", "down"])?;
    is_cut_off(a, "10.0.0.3")?;
    stops_the_attack_only(a, b, web)?;
    c.ip(&["link", "set", "eth0", "up"])?;
    reach(a, "10.0.0.3")?;
    daemon.kill()?;
    assert!(a.ip(&["link", "show", "eth0"]).is_err(), "closed: the switch is gone");
    daemon.run()?;
    wait_for("the addresses", SOON, || address().ok())?;
    reach(a, "10.0.0.2")?;
    stops_the_attack_only(a, b, web)
}

#[test]
fn two_switches_lose_each_other_with_a_link_and_groups_cross_between_them() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let hosts = [Namespace::new("a")?, Namespace::new("b")?, Namespace::new("c")?];
    let [a, b, c] = &hosts;
    let snooping = "snooping = { querier = \"10.0.0.200\", response_s = 1, unregistered = \"drop\" }";
    let switches = format!("[[switch]]\nname = \"lan\"\n{snooping}\n[[switch]]\nname = \"dmz\"\n{snooping}\n");
    let guard = "[[appliance]]\nname = \"guard\"\ninline = [\"lan\", \"dmz\"]\ninspect = \"ours\"\n";
    let ports = tap("a", "lan", a, "") + &tap("b", "dmz", b, "") + &tap("c", "dmz", c, "");
    let daemon = Daemon::start(&format!("{switches}{ports}{guard}{RULES}"))?;
    hosts.iter().zip(1..).try_for_each(|(host, n): (_, u8)| host.address("eth0", &format!("10.0.0.{n}/24")))?;
    reach(a, "10.0.0.2")?;
    let web = SocketAddr::from(([10, 0, 0, 2], 80));
    stops_the_attack_only(a, b, web)?;

    // Groups: a member beyond the guard is heard of, gets what is sent there, and nobody else does.
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let member = b.inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:5000")?;
        socket.join_multicast_v4(&group, &Ipv4Addr::new(10, 0, 0, 2))?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        Ok(socket)
    })?;
    a.ip(&["route", "add", "224.0.0.0/4", "dev", "eth0"])?;
    let speak = || a.inside(|| Ok(UdpSocket::bind("10.0.0.1:0")?.send_to(b"to the group", (group, 5000)).map(drop)?));
    let mut buffer = [0; 100];
    wait_for("a datagram to the group", Duration::from_secs(20), || {
        speak().ok()?;
        member.recv(&mut buffer).ok()
    })?;
    let sent = |port: &str| -> Result<u64, Failure> {
        let shown = daemon.ctl_json(&["port", "show", port])?;
        Ok(shown[0]["counters"]["tx_packets"].as_u64().unwrap_or(0))
    };
    let before = [sent("b")?, sent("c")?];
    (0..100).try_for_each(|_| speak())?;
    wait_for("all of it", SOON, || (sent("b").ok()? >= before[0] + 100).then_some(()))?;
    let more = sent("c")? - before[1];
    assert!(more < 50, "{more} frames went to a host that has joined nothing");

    // A link: whoever is behind it is gone, the others go on through the guard.
    b.ip(&["link", "set", "eth0", "down"])?;
    is_cut_off(a, "10.0.0.2")?;
    stops_the_attack_only(a, c, SocketAddr::from(([10, 0, 0, 3], 80)))?;
    b.ip(&["link", "set", "eth0", "up"])?;
    reach(a, "10.0.0.2")
}

#[test]
fn a_hairpin_joins_two_vlans_of_one_trunk() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let vlan = |vlan: &str| format!("vlan = {vlan}\n");
    let ports =
        tap("a", "lan", &a, "") + &vlan("{ access = 10 }") + &tap("b", "lan", &b, "") + &vlan("{ access = 20 }");
    let trunk = socket("trunk", "lan") + &vlan("{ trunk = [10, 20] }");
    let turn = "[[appliance]]\nname = \"turn\"\nhairpin = { port = \"arm\", vlans = [[10, 20]] }\ninspect = \"ours\"\n";
    // The other side is anybody's trunk; here it is another switch of the same daemon.
    let config = format!("[[switch]]\nname = \"lan\"\n{ports}{trunk}{}{turn}{RULES}", socket("arm", "turn"));
    let daemon = Daemon::start(&config)?;
    a.address("eth0", "10.0.0.1/24")?;
    b.address("eth0", "10.0.0.2/24")?;
    assert_eq!(ping(&a, "10.0.0.2", 1)?.lost(), 1, "nothing joins the VLANs");
    let cable = RawHost::cable(&daemon.path("trunk.sock"), &daemon.path("arm.sock"))?;
    reach(&a, "10.0.0.2")?;
    let web = SocketAddr::from(([10, 0, 0, 2], 80));
    stops_the_attack_only(&a, &b, web)?;
    let alert = daemon.wait_event("the alert", |e| e["event_type"] == "alert")?;
    assert_eq!(alert["alert"]["action"], "blocked");
    drop(cable);
    assert_eq!(ping(&a, "10.0.0.2", 1)?.lost(), 1, "closed: its only link is gone");
    let _cable = RawHost::cable(&daemon.path("trunk.sock"), &daemon.path("arm.sock"))?;
    reach(&a, "10.0.0.2")?;
    stops_the_attack_only(&a, &b, web)
}

#[test]
fn a_linux_router_with_the_guard_in_one_arm_goes_as_its_routes_say_when_the_link_is_lost() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (a, b, router) = (Namespace::new("a")?, Namespace::new("b")?, Namespace::new("router")?);
    a.veth("eth0", &router, "lan")?;
    b.veth("eth0", &router, "dmz")?;
    let set =
        |name: &str, value: &str| router.inside(|| Ok(std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value)?));
    set("ip_forward", "1")?;
    for name in ["all", "default", "lan", "dmz"] {
        set(&format!("conf/{name}/rp_filter"), "0")?;
    }
    for (host, interface, net) in [(&a, "lan", "10.1.0"), (&b, "dmz", "10.2.0")] {
        router.address(interface, &format!("{net}.1/24"))?;
        host.address("eth0", &format!("{net}.2/24"))?;
        host.ip(&["route", "add", "default", "via", &format!("{net}.1")])?;
    }
    let arm = format!(
        "switch = [{{ name = \"arm\" }}]\n[[router]]\nname = \"guard\"\ninspect = \"ours\"\n\
         interface = [{{ name = \"arm\", switch = \"arm\", addresses = \"10.9.0.2/24\" }}]\n\
         route = [{{ to = \"0.0.0.0/0\", via = \"10.9.0.1\" }}]\n\
         [[port]]\nname = \"arm\"\nswitch = \"arm\"\ntap = {{ name = \"arm\", netns = \"{}\" }}\nguard = {{ on = false }}\n",
        router.name()
    );
    let _daemon = Daemon::start(&format!("{arm}{RULES}"))?;
    set("conf/arm/rp_filter", "0")?;
    let join = || -> Result<(), Failure> {
        router.address("arm", "10.9.0.1/24")?;
        router.ip(&["route", "replace", "default", "via", "10.9.0.2", "dev", "arm", "table", "100"])?;
        Ok(())
    };
    join()?;
    router.ip(&["route", "add", "unreachable", "default", "metric", "1000", "table", "100"])?;
    for interface in ["lan", "dmz"] {
        router.ip(&["rule", "add", "iif", interface, "table", "100"])?;
    }
    let web = SocketAddr::from(([10, 2, 0, 2], 80));
    stops_the_attack_only(&a, &b, web)?;
    router.ip(&["link", "set", "arm", "down"])?;
    assert_eq!(ping(&a, "10.2.0.2", 1)?.lost(), 1, "closed: its table says so");
    router.ip(&["link", "set", "arm", "up"])?;
    router.ip(&["addr", "flush", "dev", "arm"])?;
    wait_for("the arm", SOON, || join().ok())?;
    stops_the_attack_only(&a, &b, web)?;
    router.ip(&["route", "del", "unreachable", "default", "metric", "1000", "table", "100"])?;
    router.ip(&["link", "set", "arm", "down"])?;
    let server = HttpServer::start(&b, web, "a page")?;
    assert!(http_get(&a, web, "/")?.is_page_with("a page"), "open: around the guard");
    drop(server);
    Ok(())
}

/// The attack is answered: nobody looks.
fn lets_the_attack_pass(from: &Namespace, to: &Namespace, web: SocketAddr) -> Result<(), Failure> {
    let server = HttpServer::start(to, web, "a page")?;
    let request = [b"GET /?", EXPLOIT, b" HTTP/1.1\r\nHost: web\r\n\r\n"].concat();
    let exchange = http_pieces(from, web, &[&request], PATIENCE)?;
    assert!(matches!(exchange, Exchange::Answered(..)) && server.has_read(EXPLOIT), "{exchange:?}");
    Ok(())
}

#[test]
fn a_policy_route_leads_through_an_arm_and_fails_as_it_is_told() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (a, b, transit) = (Namespace::new("a")?, Namespace::new("b")?, Namespace::new("transit")?);
    let wired = |name: &str| {
        let tap = format!("tap = {{ name = \"{name}\", netns = \"{}\" }}\nguard = {{ on = false }}\n", transit.name());
        format!("[[port]]\nname = \"{name}\"\nswitch = \"{name}\"\n{tap}")
    };
    let routers = r#"
switch = [{ name = "lan" }, { name = "dmz" }, { name = "mid" }]
[[router]]
name = "edge"
interface = [
    { name = "lan", switch = "lan", addresses = "10.1.0.1/24" },
    { name = "dmz", switch = "dmz", addresses = "10.2.0.1/24" },
    { name = "mid", switch = "mid", addresses = "10.9.0.1/24" },
]
policy_route = [{ name = "look", from = "10.1.0.0/24", to = "10.2.0.0/24", both_ways = true, via = "10.9.0.2", fail = "open" }]
"#;
    let guard = r#"
switch = [{ name = "arm" }]
[[router]]
name = "guard"
inspect = "ours"
interface = [{ name = "arm", switch = "arm", addresses = "10.9.0.2/24" }]
route = [{ to = "0.0.0.0/0", via = "10.9.0.1" }]
"#;
    let edge =
        Daemon::start(&format!("{routers}{}{}{}", tap("a", "lan", &a, ""), tap("b", "dmz", &b, ""), wired("mid")))?;
    let mut arm = Daemon::start(&format!("{guard}{}{RULES}", wired("arm")))?;
    transit.ip(&["link", "add", "br0", "type", "bridge"])?;
    transit.ip(&["link", "set", "br0", "up"])?;
    let plug = |name: &str| {
        wait_for(name, SOON, || transit.ip(&["link", "set", name, "master", "br0"]).ok())?;
        transit.ip(&["link", "set", name, "up"])
    };
    plug("mid")?;
    plug("arm")?;
    for (host, net) in [(&a, "10.1.0"), (&b, "10.2.0")] {
        host.address("eth0", &format!("{net}.2/24"))?;
        host.ip(&["route", "add", "default", "via", &format!("{net}.1")])?;
    }
    reach(&a, "10.2.0.2")?;
    let web = SocketAddr::from(([10, 2, 0, 2], 80));
    stops_the_attack_only(&a, &b, web)?;

    // The arm goes with its daemon: packets go around it as soon as it is missed, and through it once it is back.
    arm.kill()?;
    edge.wait_event("the loss", |event| event["notice"]["kind"] == "gateway-lost")?;
    lets_the_attack_pass(&a, &b, web)?;
    arm.run()?;
    plug("arm")?;
    edge.wait_event("its return", |event| event["notice"]["kind"] == "gateway-back")?;
    stops_the_attack_only(&a, &b, web)?;

    edge.ctl(&["route", "policy", "bypass", "edge", "look", "on"])?;
    lets_the_attack_pass(&a, &b, web)?;
    edge.ctl(&["route", "policy", "bypass", "edge", "look", "off"])?;
    stops_the_attack_only(&a, &b, web)?;

    // The same policy route, failing closed: a lost link of the arm is the end of it.
    edge.ctl(&["route", "policy", "del", "edge", "look"])?;
    let nets = ["--from", "10.1.0.0/24", "--to", "10.2.0.0/24"];
    let add = [&["route", "policy", "add", "edge", "look", "--both-ways", "--via", "10.9.0.2"][..], &nets].concat();
    edge.ctl(&add)?;
    stops_the_attack_only(&a, &b, web)?;
    transit.ip(&["link", "set", "arm", "down"])?;
    is_cut_off(&a, "10.2.0.2")?;
    transit.ip(&["link", "set", "arm", "up"])?;
    reach(&a, "10.2.0.2")
}

/// All threads of a process are stopped.
fn stands_still(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains("T (stopped)"))
    })
}

#[test]
fn a_probe_tells_of_a_guard_that_has_no_time() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let guard = "[[appliance]]\nname = \"guard\"\nwire = [\"a\", \"b\"]\nfail = \"open\"\n\
                 probe = { interval_ms = 100, within_ms = 500, misses = 1 }\n";
    let daemon = Daemon::start(&format!("{}{}{guard}", tap("a", "guard", &a, ""), tap("b", "guard", &b, "")))?;
    let pulse = |wanted: &str| {
        wait_for(wanted, SOON, || {
            let shown = daemon.ctl_json(&["appliance", "show", "guard"]).ok()?;
            (shown[0]["pulse"] == wanted).then_some(shown)
        })
    };
    let shown = pulse("up")?;
    assert!(shown[0]["probes"].as_u64() > Some(0), "{shown}");
    let signal = |signal: &str| -> Result<(), Failure> {
        let pid = daemon.pid()?.to_string();
        let done = Command::new("kill").args([signal, &pid]).status()?;
        if done.success() { Ok(()) } else { Err(Failure::new(format!("kill {signal} {pid}: {done}"))) }
    };
    a.address("eth0", "10.0.0.1/24")?;
    b.address("eth0", "10.0.0.2/24")?;
    reach(&a, "10.0.0.2")?;
    // The whole daemon stands still, as where the host has no processor for it.
    signal("-STOP")?;
    // On a busy host it takes a while until all threads have heard of it.
    wait_for("a daemon that stands still", SOON, || stands_still(daemon.pid().ok()?).then_some(()))?;
    let lost = ping(&a, "10.0.0.2", 2);
    signal("-CONT")?;
    assert_eq!(lost?.lost(), 2, "nothing goes on without it");
    let failed = daemon.wait_event("the failure", |event| event["notice"]["kind"] == "appliance-failed")?;
    let text = failed["notice"]["text"].as_str().unwrap_or_default();
    assert!(text.contains("ms late") && text.contains("everything passes"), "{failed}");
    daemon.wait_event("its end", |event| event["notice"]["kind"] == "appliance-up")?;
    pulse("up")?;
    daemon.ctl(&["appliance", "set", "guard", "--probe", "off"])?;
    pulse("unknown")?;
    Ok(())
}
