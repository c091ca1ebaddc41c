//! A host with its guests, as an operator would set it up: two switches, a router, a way out with address translation;
//! guests that get everything they need from the switch, by real clients and real kernels.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use weir_tests::lab::{
    Daemon, DhcpClient, Fact, Failure, HttpServer, NameServer, Namespace, ask_name, http_get, missing_dhcp_client,
    ping, skip_unless_root, trace_route, transfer, wait_for,
};

const HOST: &str = r#"
[[switch]]
name = "lan"
[[switch]]
name = "apps"
[[switch]]
name = "wan"

[[router]]
name = "edge"
route = [{ to = "0.0.0.0/0", via = "203.0.113.9" }, { to = "::/0", via = "2001:db8:5::9" }]
masquerade = [{ interface = "wan" }]
forward = [
    { protocol = "tcp", address = "203.0.113.1", ports = 8080, to = "10.1.0.10", to_port = 80 },
    { protocol = "tcp", address = "2001:db8:5::1", ports = 8080, to = "fd02::b0b", to_port = 80 },
]
[router.dns]
domain = "guests.test"
forward = "192.168.99.2"
record = [
    { name = "gateway", addresses = ["10.1.0.1", "fd01::1"] },
    { name = "www", alias_of = "web.example.test" },
]
[[router.interface]]
name = "lan"
switch = "lan"
addresses = ["10.1.0.1/24", "fd01::1/64"]
advertise = { other = true, dns = "fd01::1" }
dhcp = { ranges = "10.1.0.100-10.1.0.199", host = [{ port = "alpha", name = "first", address = "10.1.0.10" }] }
dhcp6 = {}
[[router.interface]]
name = "apps"
switch = "apps"
addresses = ["10.2.0.1/24", "fd02::1/64"]
advertise = { managed = true }
dhcp = { lease_s = 600, ntp = "10.2.0.1" }
dhcp6 = { ranges = "fd02::1000-fd02::1fff", host = [{ port = "beta", address = "fd02::b0b" }] }
[[router.interface]]
name = "wan"
switch = "wan"
addresses = ["203.0.113.1/24", "2001:db8:5::1/64"]
"#;

/// The host: the daemon, two guests, the outside world, and what lies behind its narrow road.
struct Host {
    daemon: Daemon,
    alpha: Namespace,
    beta: Namespace,
    outside: Namespace,
    far: Namespace,
}

fn start() -> Result<Host, Failure> {
    let [alpha, beta, outside] = [Namespace::new("alpha")?, Namespace::new("beta")?, Namespace::new("outside")?];
    let far = Namespace::new("far")?;
    let mut config = HOST.to_owned();
    let hosts = [(&alpha, "alpha", "lan"), (&beta, "beta", "apps"), (&outside, "outside", "wan")];
    for (last, (host, name, switch)) in (1u8..).zip(hosts) {
        // The card of a guest keeps its address when the daemon begins anew.
        let tap =
            format!("tap = {{ name = \"eth0\", netns = \"{}\", mac = \"52:54:00:00:01:{last:02x}\" }}", host.name());
        // The outside world forwards for those behind it.
        let role = if name == "outside" { "guard = { roles = \"router\" }" } else { "" };
        config += &format!("\n[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{tap}\n{role}\n");
    }
    let mut daemon = Daemon::prepare(&config)?;
    // The host's own way to its name server.
    daemon.namespace().veth("mgmt0", &outside, "mgmt0")?;
    daemon.namespace().address("mgmt0", "192.168.99.1/24")?;
    outside.address("mgmt0", "192.168.99.2/24")?;
    daemon.run()?;
    outside.address("eth0", "203.0.113.9/24")?;
    outside.address("eth0", "2001:db8:5::9/64")?;
    // Behind the outside world, by a road that takes packets of 1300 bytes.
    outside.veth("far0", &far, "far0")?;
    for (host, v4, v6) in
        [(&outside, "198.51.100.1/24", "2001:db8:6::1/64"), (&far, "198.51.100.2/24", "2001:db8:6::2/64")]
    {
        host.address("far0", v4)?;
        host.address("far0", v6)?;
        host.ip(&["link", "set", "far0", "mtu", "1300"])?;
    }
    far.ip(&["route", "add", "default", "via", "198.51.100.1"])?;
    far.ip(&["route", "add", "default", "via", "2001:db8:6::1"])?;
    for (file, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
        outside.inside(|| Ok(std::fs::write(format!("/proc/sys/net/{file}"), value)?))?;
    }
    for guest in [&alpha, &beta] {
        guest.ip(&["link", "set", "eth0", "up"])?;
    }
    Ok(Host { daemon, alpha, beta, outside, far })
}

fn socket(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|e| Failure::of(text, e))
}

/// Whether the test cannot run here; says why.
fn skip() -> bool {
    if skip_unless_root() {
        return true;
    }
    let tracepath = Command::new("tracepath").arg("-V").output().is_err().then_some("tracepath (iputils-tracepath)");
    match missing_dhcp_client().or(tracepath) {
        Some(program) => {
            println!("skipped: needs {program}");
            true
        }
        None => false,
    }
}

/// The address that the kernel of a guest has made from what the router tells.
fn made_by_itself(guest: &Namespace, network: &str) -> Result<String, Failure> {
    let own = || {
        let list = guest.ip(&["-6", "addr", "show", "dev", "eth0", "scope", "global", "-tentative"]).ok()?;
        let mut words = list.split_whitespace().skip_while(|word| *word != "inet6");
        let found = words.find(|word| word.starts_with(network))?;
        found.split('/').next().map(str::to_owned)
    };
    wait_for(&format!("an address in {network}"), Duration::from_secs(20), own)
}

/// What a program prints that runs in a guest, with the guest's name server in place of the machine's.
fn in_guest(guest: &Namespace, name_server: &str, command: &[&str]) -> Result<String, Failure> {
    let folder = format!("/etc/netns/{}", guest.name());
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        format!("{folder}/resolv.conf"),
        format!("nameserver {name_server}\noptions timeout:3 attempts:1\n"),
    )?;
    let output = Command::new("ip").args(["netns", "exec", guest.name()]).args(command).output();
    std::fs::remove_dir_all(&folder)?;
    let output = output.map_err(|e| Failure::of(command.join(" "), e))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(Failure::of(command.join(" "), format!("{said}{}", String::from_utf8_lossy(&output.stderr)))),
    }
}

#[test]
fn guests_get_addresses_and_names_and_go_out_and_are_reached() -> Result<(), Failure> {
    if skip() {
        return Ok(());
    }
    let host = start()?;
    let facts = [
        ("web.example.test", Fact::Address([203, 0, 113, 9].into())),
        ("web.example.test", Fact::Address("2001:db8:5::9".parse().map_err(|e| Failure::of("address", e))?)),
        ("long.example.test", Fact::Texts(12)),
    ];
    let world = NameServer::start(&host.outside, socket("192.168.99.2:53")?, &facts)?;
    let (beta_v4, alpha_v6) = addresses(&host)?;
    names(&host, &world, &beta_v4)?;
    long_names(&host)?;
    out_and_in(&host, &alpha_v6)?;
    way_and_width(&host)
}

/// By DHCP, by what the router tells, by DHCPv6. Returns the IPv4 address of one guest, the IPv6 address of the other.
fn addresses(host: &Host) -> Result<(String, String), Failure> {
    let Host { alpha, beta, .. } = host;
    let (first, second) = (DhcpClient::new(alpha)?, DhcpClient::new(beta)?);
    let lease = first.udhcpc("Alpha-Host", &[])?;
    assert_eq!(lease.told("ip"), Some("10.1.0.10"), "{lease:?}");
    assert_eq!((lease.told("router"), lease.told("dns")), (Some("10.1.0.1"), Some("10.1.0.1")));
    assert_eq!(lease.told("domain"), Some("guests.test"));
    let lease = second.udhcpc("db", &["-O", "ntpsrv"])?;
    let beta_v4 = lease.told("ip").ok_or_else(|| Failure::new("no address"))?.to_owned();
    assert!(beta_v4.starts_with("10.2.0."), "{beta_v4}");
    assert_eq!((lease.told("lease"), lease.told("ntpsrv")), (Some("600"), Some("10.2.0.1")), "{lease:?}");
    let alpha_v6 = made_by_itself(alpha, "fd01:")?;
    made_by_itself(beta, "fd02:")?;
    let servers = first.dhclient6(&["-S"])?;
    assert_eq!(servers.told("new_dhcp6_name_servers"), Some("fd01::1"), "{servers:?}");
    let lease = second.dhclient6(&[])?;
    assert_eq!(lease.told("new_ip6_address"), Some("fd02::b0b"), "{lease:?}");
    assert_eq!(lease.told("new_dhcp6_name_servers"), Some("fd02::1"));
    Ok((beta_v4, alpha_v6))
}

/// Of the world, of each other, backwards.
fn names(host: &Host, world: &NameServer, beta_v4: &str) -> Result<(), Failure> {
    let Host { alpha, beta, .. } = host;
    let found = in_guest(alpha, "10.1.0.1", &["getent", "ahosts", "web.example.test"])?;
    assert!(found.contains("203.0.113.9") && found.contains("2001:db8:5::9"), "{found}");
    let asked = world.asked();
    for _ in 0..3 {
        in_guest(beta, "fd02::1", &["getent", "ahosts", "web.example.test"])?;
    }
    assert_eq!(world.asked(), asked, "answers are remembered");
    for (name, address) in [
        ("www.guests.test", "203.0.113.9"),
        ("db.guests.test", beta_v4),
        ("beta.guests.test", "fd02::b0b"),
        ("alpha.guests.test", "10.1.0.10"),
        ("first.guests.test", "10.1.0.10"),
        ("gateway.guests.test", "10.1.0.1"),
    ] {
        let found = in_guest(alpha, "10.1.0.1", &["getent", "ahosts", name])?;
        assert!(found.contains(address), "{name}: {found}");
    }
    let found = in_guest(alpha, "10.1.0.1", &["getent", "hosts", beta_v4])?;
    assert!(found.contains("db.guests.test"), "{found}");
    Ok(())
}

/// What is too long for UDP comes by TCP; strangers are told nothing.
fn long_names(host: &Host) -> Result<(), Failure> {
    for server in ["10.1.0.1:53", "[fd01::1]:53"] {
        let server = socket(server)?;
        assert_eq!(ask_name(&host.alpha, server, "nobody.guests.test", 1, false)?.code, 3);
        let short = ask_name(&host.alpha, server, "long.example.test", 16, false)?;
        assert!(short.cut && short.length <= 512, "{short:?}");
        let long = ask_name(&host.alpha, server, "long.example.test", 16, true)?;
        assert_eq!((long.code, long.cut, long.records), (0, false, 12), "{long:?}");
    }
    let stranger = ask_name(&host.outside, socket("203.0.113.1:53")?, "web.example.test", 1, false);
    assert!(stranger.is_err(), "{stranger:?}");
    Ok(())
}

/// Out by name and address, in by a forwarded port.
fn out_and_in(host: &Host, alpha_v6: &str) -> Result<(), Failure> {
    let Host { alpha, beta, outside, .. } = host;
    let _web = [
        HttpServer::start(outside, socket("203.0.113.9:80")?, "the wide world")?,
        HttpServer::start(outside, socket("[2001:db8:5::9]:80")?, "the wide world")?,
        HttpServer::start(alpha, socket("10.1.0.10:80")?, "from a guest")?,
        HttpServer::start(beta, socket("[fd02::b0b]:80")?, "from a guest")?,
    ];
    for guest in [alpha, beta] {
        for address in ["203.0.113.9:80", "[2001:db8:5::9]:80"] {
            assert!(http_get(guest, socket(address)?, "/")?.is_page_with("the wide world"), "{address}");
        }
    }
    let page = in_guest(alpha, "10.1.0.1", &["busybox", "wget", "-q", "-O", "-", "http://web.example.test/"])?;
    assert!(page.contains("the wide world"), "{page}");
    for address in ["203.0.113.1:8080", "[2001:db8:5::1]:8080"] {
        assert!(http_get(outside, socket(address)?, "/")?.is_page_with("from a guest"), "{address}");
    }
    assert_eq!(ping(beta, alpha_v6, 2)?.lost(), 0);
    Ok(())
}

/// The routers on the way, and the narrow road behind them, by real tools and by real transfers.
fn way_and_width(host: &Host) -> Result<(), Failure> {
    let Host { alpha, beta, far, .. } = host;
    let way = trace_route(alpha, "198.51.100.2")?;
    assert_eq!(way, ["10.1.0.1", "203.0.113.9", "198.51.100.2"].map(|address| address.parse().ok()));
    for (to, gateway) in [("198.51.100.2", "10.1.0.1"), ("2001:db8:6::2", "fd01::1")] {
        let way = in_guest(alpha, "10.1.0.1", &["tracepath", "-n", "-m", "5", to])?;
        assert!(way.contains(gateway) && way.contains("pmtu 1300") && way.contains("reached"), "{way}");
    }
    transfer(beta, far, socket("198.51.100.2:7000")?, 8 << 20)?;
    transfer(beta, far, socket("[2001:db8:6::2]:7001")?, 8 << 20)?;
    Ok(())
}

#[test]
fn leases_outlive_the_daemon_and_are_taken_back() -> Result<(), Failure> {
    if skip() {
        return Ok(());
    }
    let Host { mut daemon, alpha, beta, outside: _outside, far: _far } = start()?;
    let (first, second) = (DhcpClient::new(&alpha)?, DhcpClient::new(&beta)?);
    first.udhcpc("one", &[])?;
    let before = second.udhcpc("two", &[])?.told("ip").map(str::to_owned);
    second.dhclient6(&[])?;
    let leases = |daemon: &Daemon| -> Result<Vec<(String, String)>, Failure> {
        let list = daemon.ctl_json(&["dhcp", "lease", "show"])?;
        let list = list.as_array().cloned().unwrap_or_default();
        Ok(list.iter().map(|l| (l["port"].to_string(), l["address"].to_string())).collect())
    };
    let held = leases(&daemon)?;
    assert_eq!(held.len(), 3, "{held:?}");
    daemon.kill()?;
    daemon.run()?;
    assert_eq!(leases(&daemon)?, held, "what was given is known after a crash");
    // Another guest on that network does not get what the first one holds; the first one gets it again.
    for guest in [&alpha, &beta] {
        guest.ip(&["link", "set", "eth0", "up"])?;
    }
    assert_eq!(second.udhcpc("two", &[])?.told("ip").map(str::to_owned), before);
    let taken = daemon.ctl(&["dhcp", "lease", "release", "--port", "beta"])?;
    assert!(taken.contains('2'), "{taken}");
    assert_eq!(leases(&daemon)?.len(), 1);
    let stats = daemon.ctl(&["dhcp", "show"])?;
    assert!(stats.contains("edge") && stats.contains("lan"), "{stats}");
    Ok(())
}
