//! What is expected of a switch beyond forwarding, with real kernels on its ports: multicast by membership, VLANs in
//! VLANs, and guards against loops and storms.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use weir_tests::lab::{Daemon, Failure, Lan, Namespace, RawHost, ping, skip_unless_root, tap, wait_for};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// A host of the test's own making.
const RAW: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// A frame to everybody from this host, of the EtherType for experiments.
fn hello(from: [u8; 6]) -> Vec<u8> {
    [&[0xff; 6][..], &from, &[0x88, 0xb5], &[0; 46]].concat()
}

/// Frames that were sent to a port.
fn sent_to(daemon: &Daemon, port: &str) -> Result<u64, Failure> {
    let shown = daemon.ctl_json(&["port", "show", port])?;
    shown[0]["counters"]["tx_packets"].as_u64().ok_or_else(|| Failure::new(format!("no counter in {shown}")))
}

/// Drops of frames from a port, by reason.
fn dropped(daemon: &Daemon, port: &str, reason: &str) -> Result<u64, Failure> {
    let shown = daemon.ctl_json(&["port", "show", port])?;
    let counts = shown[0]["counters"]["dropped"].as_array().cloned().unwrap_or_default();
    Ok(counts.iter().find(|count| count["name"] == reason).and_then(|count| count["count"].as_u64()).unwrap_or(0))
}

#[test]
fn groups_go_where_kernels_have_joined_them() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let snooping = "snooping = { querier = \"10.77.0.200\", response_s = 1, unregistered = \"drop\" }\n";
    let head = format!("[[switch]]\nname = \"lan\"\n{snooping}");
    let lan = Lan::start(&head, &[tap("sender"), tap("member"), tap("other")])?;
    let [sender, member, _] = &lan.hosts[..] else { unreachable!() };
    // Neighbours find each other whatever is known of groups.
    assert_eq!(ping(&sender.namespace, "fd77::2", 2)?.lost(), 0);

    sender.namespace.ip(&["route", "add", "224.0.0.0/4", "dev", "eth0"])?;
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let socket = member.namespace.inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:5000")?;
        socket.join_multicast_v4(&group, &member.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    })?;
    let group6: Ipv6Addr = "ff15::77".parse().map_err(|e| Failure::of("ff15::77", e))?;
    let socket6 = member.namespace.inside(|| {
        let socket = UdpSocket::bind("[::]:5001")?;
        let index = std::fs::read_to_string("/sys/class/net/eth0/ifindex").unwrap_or_default();
        // Without sysfs of its own the namespace's first interface behind loopback is number 2.
        socket
            .join_multicast_v6(&group6, index.trim().parse().unwrap_or(2))
            .or_else(|_| socket.join_multicast_v6(&group6, 2))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    })?;
    let state = |wanted: &str| {
        let shown = lan.daemon.ctl(&["multicast", "show"]).ok()?;
        shown.lines().any(|line| line.contains(wanted) && line.contains("member")).then_some(shown)
    };
    wait_for("the membership", PATIENCE, || state("239.1.2.3"))?;
    wait_for("the membership of IPv6", PATIENCE, || state("ff15::77"))?;
    // What was heard is trusted once hosts have had the time to answer.
    wait_for("a drop of what nobody has joined", PATIENCE, || {
        let send = || Ok(UdpSocket::bind((sender.address, 0))?.send_to(b"?", "239.9.9.9:5000")?);
        sender.namespace.inside(send).ok()?;
        (dropped(&lan.daemon, "sender", "multicast-unregistered").ok()? > 0).then_some(())
    })?;

    let before = sent_to(&lan.daemon, "other")?;
    sender.namespace.inside(|| {
        let socket = UdpSocket::bind((sender.address, 0))?;
        (0..100).try_for_each(|_| socket.send_to(b"to the group", (group, 5000)).map(drop))?;
        let socket = UdpSocket::bind("[fd77::1]:0")?;
        (0..100).try_for_each(|_| socket.send_to(b"to the group", (group6, 5001)).map(drop))?;
        Ok(())
    })?;
    let mut buffer = [0; 100];
    for socket in [&socket, &socket6] {
        for _ in 0..100 {
            assert_eq!(socket.recv(&mut buffer)?, 12);
        }
    }
    let more = sent_to(&lan.daemon, "other")? - before;
    assert!(more < 50, "{more} frames went to a host that has joined nothing");

    drop(socket);
    wait_for("the end of the membership", PATIENCE, || {
        let shown = lan.daemon.ctl(&["multicast", "show"]).ok()?;
        (!shown.contains("239.1.2.3")).then_some(())
    })?;
    assert_eq!(ping(&sender.namespace, "fd77::3", 2)?.lost(), 0, "neighbours all the same");
    Ok(())
}

/// A switch with a kernel behind port `host` and the test itself behind `raw`, with more lines for its port.
fn with_raw(switch: &str, raw: &str) -> Result<(Daemon, Namespace, RawHost), Failure> {
    let host = Namespace::new("host")?;
    // An address of a guarded host is its own: where one is to flap, neither end is guarded.
    let host_port = if raw.contains("on = false") { raw } else { "" };
    let config = format!(
        "[[switch]]\nname = \"lan\"\n{switch}\n\
         [[port]]\nname = \"host\"\nswitch = \"lan\"\n{host_port}\ntap = {{ name = \"eth0\", netns = \"{}\" }}\n\
         [[port]]\nname = \"raw\"\nswitch = \"lan\"\n{raw}\nvhost_user = {{ path = \"{{dir}}/raw.sock\" }}\n",
        host.name()
    );
    let daemon = Daemon::start(&config)?;
    host.address("eth0", "10.77.0.1/24")?;
    let raw = RawHost::connect(&daemon.path("raw.sock"))?;
    Ok((daemon, host, raw))
}

#[test]
fn a_bridge_behind_a_guarded_port_is_shut_out_until_the_port_is_cleared() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, _host, mut raw) = with_raw("", "bpdu_guard = true")?;
    let bpdu = [&[1, 0x80, 0xc2, 0, 0, 0][..], &RAW, &[0, 38, 0x42, 0x42, 3, 0, 0, 2, 2], &[0; 40]].concat();
    raw.send(&bpdu)?;
    daemon.wait_event("the block", |event| event["notice"]["kind"] == "port-blocked" && event["in_iface"] == "raw")?;
    let shown = daemon.ctl(&["port", "show", "raw"])?;
    assert!(shown.contains("blocked: a bridge speaks spanning tree behind it"), "{shown}");
    let before = sent_to(&daemon, "host")?;
    raw.send(&hello(RAW))?;
    wait_for("the drop", PATIENCE, || (dropped(&daemon, "raw", "port-blocked").ok()? > 0).then_some(()))?;
    assert_eq!(sent_to(&daemon, "host")?, before);
    assert!(daemon.ctl(&["why"])?.contains("port-blocked"));
    assert!(daemon.ctl(&["port", "clear", "raw"])?.contains("is open"));
    raw.send(&hello(RAW))?;
    wait_for("the frame", PATIENCE, || (sent_to(&daemon, "host").ok()? > before).then_some(()))?;
    Ok(())
}

#[test]
fn an_address_that_flaps_is_told_and_its_second_port_is_blocked() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let guard = "loop_guard = { moves = 4, block = true }";
    // Where the port were guarded, the guard would refuse the address before it could flap.
    let (daemon, host, mut raw) = with_raw(guard, "guard = { on = false }")?;
    let mac = host.ip(&["link", "show", "eth0"])?;
    let text = mac.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap_or_default().to_owned();
    let octets: Vec<u8> = text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let address: [u8; 6] = octets.try_into().map_err(|_| Failure::new(format!("no address in {mac}")))?;
    wait_for("the port's block", PATIENCE, || {
        // The kernel speaks first and often; then somebody else with its address.
        let send = || {
            Ok(UdpSocket::bind("10.77.0.1:0")?.send_to(b"x", "10.77.0.255:9").map(drop).or_else(|_| {
                let socket = UdpSocket::bind("10.77.0.1:0")?;
                socket.set_broadcast(true)?;
                socket.send_to(b"x", "10.77.0.255:9").map(drop)
            })?)
        };
        host.inside(send).ok()?;
        std::thread::sleep(Duration::from_millis(20));
        raw.send(&hello(address)).ok()?;
        let shown = daemon.ctl(&["port", "show", "raw"]).ok()?;
        shown.contains("blocked: an address of another port flaps to it").then_some(())
    })?;
    let told = daemon.wait_event("the flap", |event| event["notice"]["kind"] == "mac-flap")?;
    assert_eq!((&told["in_iface"], &told["out_iface"]), (&"raw".into(), &"host".into()));
    assert_eq!(told["notice"]["mac"], text);
    Ok(())
}

#[test]
fn a_storm_is_cut_and_the_rest_of_the_switch_goes_on() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, _host, mut raw) = with_raw("", "storm = { broadcast = { packets = 100 } }")?;
    let before = sent_to(&daemon, "host")?;
    for _ in 0..3000 {
        raw.send(&hello(RAW))?;
    }
    let lost = wait_for("the drops", PATIENCE, || {
        let lost = dropped(&daemon, "raw", "storm-broadcast").ok()?;
        (lost > 1000).then_some(lost)
    })?;
    let came = sent_to(&daemon, "host")? - before;
    println!("{came} came through, {lost} were dropped");
    assert!(came < 1500, "{came} of 3000 came through");
    daemon.wait_event("the storm", |event| event["notice"]["kind"] == "storm-broadcast")?;
    daemon.ctl(&["port", "set", "raw", "--storm-broadcast", "none"])?;
    let (lost, before) = (dropped(&daemon, "raw", "storm-broadcast")?, sent_to(&daemon, "host")?);
    for _ in 0..200 {
        raw.send(&hello(RAW))?;
    }
    wait_for("all of them", PATIENCE, || (sent_to(&daemon, "host").ok()? >= before + 200).then_some(()))?;
    assert_eq!(dropped(&daemon, "raw", "storm-broadcast")?, lost);
    Ok(())
}

#[test]
fn neighbours_are_heard_and_told_by_lldp() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, _host, mut raw) = with_raw("", "lldp = \"both\"")?;
    let told = raw.take(PATIENCE, |frame| frame[12..14] == [0x88, 0xcc]).ok_or_else(|| Failure::new("no LLDP"))?;
    assert!(told.starts_with(&[1, 0x80, 0xc2, 0, 0, 0x0e]));
    assert!(told.windows(6).any(|part| part == [4, 4, 5, b'r', b'a', b'w']), "the port's name: {told:x?}");
    // The same from somebody else.
    let mut other = told;
    other[6..12].copy_from_slice(&RAW);
    other[17..23].copy_from_slice(&RAW);
    raw.send(&other)?;
    let shown = wait_for("the neighbour", PATIENCE, || {
        let shown = daemon.ctl_json(&["lldp", "show"]).ok()?;
        shown["neighbors"].as_array().is_some_and(|all| !all.is_empty()).then_some(shown)
    })?;
    let neighbor = &shown["neighbors"][0];
    assert_eq!((&neighbor["port"], &neighbor["chassis"]), (&"raw".into(), &"02:00:00:00:00:77".into()));
    assert_eq!((&neighbor["remote_port"], &neighbor["capabilities"][0]), (&"raw".into(), &"bridge".into()));
    assert!(raw.take(SECOND / 10, |frame| frame[6..12] == RAW).is_none(), "it is not passed on");
    Ok(())
}

/// Two switches in the provider's hands, joined by a trunk with 802.1ad's tags, and what else is to be on them.
fn provider(more: &str) -> Result<Daemon, Failure> {
    let trunk = "vlan = { trunk = \"1-4094\", tag_type = \"802.1ad\" }";
    let port = |name: &str, switch: &str| {
        let socket = format!("vhost_user = {{ path = \"{{dir}}/{name}.sock\" }}");
        format!("[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{trunk}\n{socket}\n")
    };
    let head = "[[switch]]\nname = \"west\"\n[[switch]]\nname = \"east\"\n";
    Daemon::start(&[head, &port("to-east", "west"), &port("to-west", "east"), more].concat())
}

#[test]
fn a_customers_vlans_cross_two_switches_unchanged() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let port = |name: &str, switch: &str, vlan: &str| {
        let socket = format!("vhost_user = {{ path = \"{{dir}}/{name}.sock\" }}");
        format!("[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\nvlan = {vlan}\n{socket}\n")
    };
    let trunk = "{ trunk = \"100\", tag_type = \"802.1ad\" }";
    let ports =
        [port("a", "west", "{ tunnel = 100 }"), port("b", "east", "{ tunnel = 100 }"), port("p", "east", trunk)];
    let daemon = provider(&ports.concat())?;
    let _cable = RawHost::cable(&daemon.path("to-east.sock"), &daemon.path("to-west.sock"))?;
    let connect = |name: &str| RawHost::connect(&daemon.path(&format!("{name}.sock")));
    let (mut a, mut b, mut p) = (connect("a")?, connect("b")?, connect("p")?);
    for tag in [&[][..], &[0x81, 0, 0x60, 7]] {
        let head = [&[0xff; 6][..], &RAW].concat();
        let rest = [tag, &[0x88, 0xb5], &[0; 46]].concat();
        let (sent, outer) = ([&head[..], &rest].concat(), if tag.is_empty() { 0 } else { 0x60 });
        // Ports come up one after the other: the first frames may find nobody.
        let came = wait_for("the customer's frame", PATIENCE, || {
            a.send(&sent).ok()?;
            b.take(SECOND / 5, |frame| frame.get(6..12) == Some(&RAW[..]))
        })?;
        assert_eq!(came, sent, "as it was sent");
        let inside = p.take(PATIENCE, |frame| frame.get(6..12) == Some(&RAW[..]));
        let wanted = [&head[..], &[0x88, 0xa8, outer, 100], &rest].concat();
        assert_eq!(inside, Some(wanted), "with the provider's tag in front");
        while b.take(SECOND / 5, |_| true).is_some() || p.take(SECOND / 5, |_| true).is_some() {}
    }
    let shown = daemon.ctl(&["fdb", "show", "west"])?;
    assert!(shown.lines().skip(1).all(|line| line.contains(" 100 ")), "all is in the provider's VLAN:\n{shown}");
    Ok(())
}

/// Hosts a and b on one switch, an analyser and the port of a monitor on another, which a router reaches.
fn watched() -> Result<(Daemon, [Namespace; 3]), Failure> {
    let spaces = [Namespace::new("a")?, Namespace::new("b")?, Namespace::new("analyser")?];
    let [a, b, analyser] = &spaces;
    let tap = |name: &str, switch: &str, space: &Namespace| {
        let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", space.name());
        format!("[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{tap}\n")
    };
    let config = [
        "[[switch]]\nname = \"lan\"\n[[switch]]\nname = \"far\"\n".to_owned(),
        tap("a", "lan", a),
        tap("b", "lan", b),
        tap("analyser", "far", analyser),
        "[[port]]\nname = \"monitor\"\nswitch = \"far\"\nvhost_user = { path = \"{dir}/monitor.sock\" }\n".to_owned(),
        "[[router]]\nname = \"edge\"\n[[router.interface]]\nname = \"far\"\nswitch = \"far\"\n".to_owned(),
        "addresses = \"10.9.0.1/24\"\n".to_owned(),
    ];
    let daemon = Daemon::start(&config.concat())?;
    a.address("eth0", "10.77.0.1/24")?;
    b.address("eth0", "10.77.0.2/24")?;
    analyser.address("eth0", "10.9.0.9/24")?;
    Ok((daemon, spaces))
}

#[test]
fn mirrors_show_what_passes_to_a_port_a_file_and_an_analyser_far_away() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, [a, _b, analyser]) = watched()?;
    let (a, analyser) = (&a, &analyser);
    let mut monitor = RawHost::connect(&daemon.path("monitor.sock"))?;
    let file = daemon.path("b.pcap").display().to_string();
    let filter = ["--filter", "icmp and host 10.77.0.1"];
    daemon.ctl(&[&["mirror", "add", "port", "--port", "a", "--to-port", "monitor"], &filter[..]].concat())?;
    daemon.ctl(&[&["mirror", "add", "file", "--port", "b", "--to-file", &file], &filter[..]].concat())?;
    let far =
        ["mirror", "add", "far", "--port", "a", "--direction", "in", "--to-erspan", "10.9.0.9", "--router", "edge"];
    daemon.ctl(&[&far, &filter[..]].concat())?;
    let wrong =
        daemon.try_ctl(&["mirror", "add", "x", "--port", "a", "--to-port", "monitor", "--filter", "port http"])?;
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("http"));
    // Copies for somebody the router does not know yet would wait, and only few of them.
    assert_eq!(ping(analyser, "10.9.0.1", 1)?.lost(), 0, "the router knows the analyser");
    let receiver = analyser.inside(|| {
        let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::empty(), Some(ipproto::GRE))?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    })?;
    assert_eq!(ping(a, "10.77.0.2", 10)?.lost(), 0, "the traffic itself");

    let (mut requests, mut replies) = (0, 0);
    while requests < 10 || replies < 10 {
        let is_ping = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 1 && frame[30..34] == [10, 77, 0, 2];
        let is_pong = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 1 && frame[26..30] == [10, 77, 0, 2];
        let frame = monitor.take(PATIENCE, |frame| is_ping(frame) || is_pong(frame));
        let frame =
            frame.ok_or_else(|| Failure::new(format!("{requests} requests and {replies} replies were seen")))?;
        if is_ping(&frame) { requests += 1 } else { replies += 1 }
    }
    let mut packet = [0; 2000];
    for _ in 0..10 {
        let length = receiver.recv(&mut packet)?;
        // IPv4, GRE with a sequence number, ERSPAN type II, then the frame.
        assert_eq!(packet[20..24], [0x10, 0, 0x88, 0xbe]);
        assert_eq!((packet[28] >> 4, packet[36 + 23], length > 36 + 60), (1, 1, true));
    }
    let capture = wait_for("the capture file", PATIENCE, || {
        let bytes = std::fs::read(&file).ok()?;
        (bytes.len() >= 24 + 20 * (16 + 98)).then_some(bytes)
    })?;
    assert_eq!(capture[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
    assert_eq!(capture.len(), 24 + 20 * (16 + 98), "ten requests, ten replies, and nothing else");
    let shown = daemon.ctl_json(&["mirror", "show"])?;
    let stats = |at: usize| (shown[at]["mirrored"].as_u64(), shown[at]["dropped"].as_u64());
    assert_eq!((stats(0), stats(1)), ((Some(20), Some(0)), (Some(20), Some(0))), "{shown}");
    daemon.ctl(&["mirror", "del", "port"])?;
    assert_eq!(ping(a, "10.77.0.2", 2)?.lost(), 0);
    assert!(monitor.take(SECOND / 5, |frame| frame[12..14] == [8, 0] && frame[23] == 1).is_none(), "it is gone");
    Ok(())
}
