//! First-hop security as it is without a word of configuration: guests with kernels of their own notice nothing, and a
//! guest that says what is not its own is not heard, neither by its peers nor by a router nor by the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use weir_tests::lab::{
    Daemon, DhcpClient, Failure, Namespace, RawHost, missing_dhcp_client, ping, skip_unless_root, wait_for,
};
use weir_wire::MacAddr;
use weir_wire::build::frames::{Ends, udp};
use weir_wire::build::neighbor::{advertisement, solicitation};
use weir_wire::build::{ArpKind, EchoKind, arp, icmp_echo};

const SOON: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
/// The spoofer's own MAC and addresses.
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);
const OWN4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 66);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x66);
const VICTIM4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const VICTIM6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const PEER4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
const ROUTER4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0xfe);
const HOST4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0xc8);

const LAN: &str = r#"
[[switch]]
name = "lan"
[[router]]
name = "edge"
interface = [{ name = "lan", switch = "lan", addresses = ["10.77.0.254/24", "fd77::fe/64"], dhcp = { ranges = "10.77.0.100-10.77.0.119" } }]
"#;

fn tap(name: &str, host: &Namespace, more: &str) -> String {
    let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", host.name());
    format!("\n[[port]]\nname = \"{name}\"\nswitch = \"lan\"\n{tap}\n{more}\n")
}

/// Two guests with kernels, and a third in the hands of the test.
struct Site {
    daemon: Daemon,
    victim: Namespace,
    peer: Namespace,
    raw: RawHost,
}

impl Site {
    fn new(more: &str) -> Result<Site, Failure> {
        let (victim, peer) = (Namespace::new("victim")?, Namespace::new("peer")?);
        let socket = "\n[[port]]\nname = \"raw\"\nswitch = \"lan\"\nvhost_user = { path = \"{dir}/raw.sock\" }\n";
        let host = "\n[[port]]\nname = \"host\"\nswitch = \"lan\"\ntap = { name = \"host0\" }\n";
        let config = [LAN, more, &tap("victim", &victim, ""), &tap("peer", &peer, ""), socket, host].concat();
        let daemon = Daemon::start(&config)?;
        daemon.namespace().address("host0", &format!("{HOST4}/24"))?;
        daemon.namespace().address("host0", &format!("{HOST6}/64"))?;
        for (host, v4, v6) in [(&victim, VICTIM4, VICTIM6), (&peer, PEER4, PEER6)] {
            host.address("eth0", &format!("{v4}/24"))?;
            host.address("eth0", &format!("{v6}/64"))?;
        }
        for address in ["10.77.0.1", "fd77::1", "10.77.0.254", "fd77::fe"] {
            // The first one may wait for the neighbour's address longer than a ping waits.
            ping(&peer, address, 1)?;
            assert_eq!(ping(&peer, address, 3)?.lost(), 0, "{address}");
        }
        let raw = RawHost::connect(&daemon.path("raw.sock"))?;
        Ok(Site { daemon, victim, peer, raw })
    }

    fn dropped(&self, reason: &str) -> Result<u64, Failure> {
        let shown = self.daemon.ctl_json(&["guard", "show", "raw"])?;
        let counts = shown[0]["dropped"].as_array().cloned().unwrap_or_default();
        Ok(counts.iter().find(|count| count["name"] == reason).and_then(|c| c["count"].as_u64()).unwrap_or(0))
    }

    /// The MAC that the peer's kernel knows an address by.
    fn known_to_peer(&self, address: IpAddr) -> Result<String, Failure> {
        let shown = self.peer.ip(&["neigh", "show", &address.to_string(), "dev", "eth0"])?;
        Ok(shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap_or_default().to_owned())
    }
}

fn mac_of(host: &Namespace) -> Result<MacAddr, Failure> {
    parsed_mac(&host.ip(&["link", "show", "eth0"])?)
}

fn parsed_mac(shown: &str) -> Result<MacAddr, Failure> {
    let text = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap_or_default();
    let octets: Vec<u8> = text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    octets.try_into().map(MacAddr).map_err(|_| Failure::new(format!("no address in {shown}")))
}

/// A datagram from these ends; its source is the claim.
fn claims(source_mac: MacAddr, source: IpAddr, to: (MacAddr, IpAddr)) -> Vec<u8> {
    udp(Ends { source_mac, destination_mac: to.0, source, destination: to.1 }, (4000, 9), b"spoofed")
}

/// ICMPv6 of the kind that only routers send.
fn from_a_router(kind: u8) -> Vec<u8> {
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);
    let all = (MacAddr([0x33, 0x33, 0, 0, 0, 1]), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    let ends = Ends { source_mac: OWN, destination_mac: all.0, source: link_local.into(), destination: all.1.into() };
    // An echo request of the same length is given the type, and its checksum is put right.
    let mut frame = icmp_echo(ends, EchoKind::Request, 0x4000, 0x0708, &[0; 32]);
    // RFC 1624: what was taken out and what was put in.
    let sum = u32::from(!u16::from_be_bytes([frame[56], frame[57]])) + u32::from(!0x8000u16) + (u32::from(kind) << 8);
    let folded = (sum & 0xffff) + (sum >> 16);
    let changed = !((folded & 0xffff) + (folded >> 16)) as u16;
    frame[54] = kind;
    frame[56..58].copy_from_slice(&changed.to_be_bytes());
    frame[21] = 255;
    frame
}

/// A DHCP offer of a server that nobody asked.
fn offer(to: MacAddr) -> Vec<u8> {
    let mut message = vec![0; 240];
    (message[0], message[1], message[2]) = (2, 1, 6);
    message[28..34].copy_from_slice(&to.0);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, 2, 255]);
    let ends = Ends {
        source_mac: OWN,
        destination_mac: MacAddr::BROADCAST,
        source: OWN4.into(),
        destination: Ipv4Addr::BROADCAST.into(),
    };
    udp(ends, (67, 68), &message)
}

#[test]
fn what_is_not_a_guests_own_is_heard_by_nobody() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut site = Site::new("")?;
    let (victim, peer) = (mac_of(&site.victim)?, mac_of(&site.peer)?);
    let router = site.known_to_peer(ROUTER4.into())?;
    // What is its own passes: the spoofer is an ordinary guest.
    site.raw.send(&icmp_echo(
        Ends { source_mac: OWN, destination_mac: peer, source: OWN4.into(), destination: PEER4.into() },
        EchoKind::Request,
        1,
        1,
        b"hello",
    ))?;
    let asked = |frame: &[u8]| frame.get(12..14) == Some(&[8, 6]) && frame.get(38..42) == Some(&OWN4.octets()[..]);
    site.raw.take(SOON, asked).ok_or_else(|| Failure::new("the peer does not answer a guest"))?;
    let all: MacAddr = MacAddr::BROADCAST;
    let mut matrix: Vec<(&str, Vec<u8>, &str)> = vec![
        ("the MAC of a peer", claims(victim, OWN4.into(), (peer, PEER4.into())), "spoofed-mac"),
        ("IPv4 of a peer, to a peer", claims(OWN, VICTIM4.into(), (peer, PEER4.into())), "spoofed-address"),
        (
            "IPv4 of a peer, to everybody",
            claims(OWN, VICTIM4.into(), (all, Ipv4Addr::BROADCAST.into())),
            "spoofed-address",
        ),
        ("IPv4 of the router", claims(OWN, ROUTER4.into(), (peer, PEER4.into())), "spoofed-address"),
        ("IPv6 of a peer", claims(OWN, VICTIM6.into(), (peer, PEER6.into())), "spoofed-address"),
        ("ARP for a peer", arp(ArpKind::Request, (OWN, VICTIM4), (MacAddr::ZERO, VICTIM4)), "spoofed-arp"),
        ("ARP reply for a peer", arp(ArpKind::Reply, (OWN, VICTIM4), (peer, PEER4)), "spoofed-arp"),
        ("ARP for the router", arp(ArpKind::Reply, (OWN, ROUTER4), (peer, PEER4)), "spoofed-arp"),
        ("NA for a peer", advertisement((OWN, VICTIM6), Some((peer, PEER6))), "spoofed-neighbor"),
        ("NA for a peer, to all", advertisement((OWN, VICTIM6), None), "spoofed-neighbor"),
        ("NS from a peer's address", solicitation((OWN, VICTIM6), PEER6, None), "spoofed-address"),
        ("RA", from_a_router(134), "rogue-router"),
        ("redirect", from_a_router(137), "rogue-router"),
        ("DHCP offer", offer(peer), "rogue-dhcp"),
        (
            "DHCPv6 reply",
            udp(
                Ends { source_mac: OWN, destination_mac: peer, source: OWN6.into(), destination: PEER6.into() },
                (547, 546),
                &[7, 1, 2, 3],
            ),
            "rogue-dhcp",
        ),
    ];
    // The same to the router, and to the host that it all runs on.
    let host = parsed_mac(&site.daemon.namespace().ip(&["link", "show", "host0"])?)?;
    let through = parsed_mac(&format!("link/ether {router}"))?;
    for (what, to, v4, v6) in [("to the router", through, ROUTER4, ROUTER6), ("to the host", host, HOST4, HOST6)] {
        matrix.extend([
            (what, claims(victim, OWN4.into(), (to, v4.into())), "spoofed-mac"),
            (what, claims(OWN, VICTIM4.into(), (to, v4.into())), "spoofed-address"),
            (what, claims(OWN, VICTIM6.into(), (to, v6.into())), "spoofed-address"),
            (what, arp(ArpKind::Reply, (OWN, VICTIM4), (to, v4)), "spoofed-arp"),
            (what, arp(ArpKind::Request, (OWN, VICTIM4), (MacAddr::ZERO, v4)), "spoofed-arp"),
            (what, advertisement((OWN, VICTIM6), Some((to, v6))), "spoofed-neighbor"),
            (what, offer(to), "rogue-dhcp"),
        ]);
    }
    for (what, frame, reason) in matrix {
        let before = site.dropped(reason)?;
        site.raw.send(&frame)?;
        wait_for(what, SOON, || (site.dropped(reason).ok()? > before).then_some(()))
            .map_err(|e| Failure::of(e, reason))?;
    }
    assert_ne!(site.known_to_peer(VICTIM4.into())?, OWN.to_string());
    assert_ne!(site.known_to_peer(VICTIM6.into())?, OWN.to_string());
    assert_eq!(site.known_to_peer(ROUTER4.into())?, router);
    let neighbours = site.daemon.namespace().ip(&["neigh", "show", "dev", "host0"])?;
    assert!(!neighbours.contains(&OWN.to_string()), "the host believes the spoofer: {neighbours}");
    let known = site.daemon.ctl(&["neighbor", "show"])?;
    assert!(!known.lines().any(|line| line.contains("10.77.0.1 ") && line.contains(&OWN.to_string())), "{known}");
    for address in ["10.77.0.1", "fd77::1", "10.77.0.254", "10.77.0.200"] {
        assert_eq!(ping(&site.peer, address, 3)?.lost(), 0, "{address}: nobody noticed");
    }
    site.daemon.wait_event("a drop", |e| e["event_type"] == "drop" && e.to_string().contains("spoofed-arp"))?;
    Ok(())
}

#[test]
fn an_address_moves_with_its_guest_and_between_guests() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut site = Site::new("")?;
    // A change of address: the old one is given up, another guest takes it.
    site.victim.ip(&["addr", "add", "10.77.0.50/24", "dev", "eth0"])?;
    wait_for("the new address", SOON, || (ping(&site.peer, "10.77.0.50", 1).ok()?.lost() == 0).then_some(()))?;
    let claim =
        arp(ArpKind::Request, (OWN, Ipv4Addr::new(10, 77, 0, 50)), (MacAddr::ZERO, Ipv4Addr::new(10, 77, 0, 50)));
    let before = site.dropped("spoofed-arp")?;
    for _ in 0..4 {
        site.raw.send(&claim)?;
        std::thread::sleep(SECOND);
    }
    assert_eq!(site.dropped("spoofed-arp")?, before + 4, "its holder answers");
    site.victim.ip(&["addr", "del", "10.77.0.50/24", "dev", "eth0"])?;
    let bound = || {
        let shown = site.daemon.ctl_json(&["guard", "bindings", "--port", "raw"]).ok()?;
        shown.to_string().contains("10.77.0.50").then_some(())
    };
    for _ in 0..10 {
        site.raw.send(&claim)?;
        if bound().is_some() {
            break;
        }
        std::thread::sleep(SECOND);
    }
    bound().ok_or_else(|| Failure::new("the address has not moved"))?;
    site.daemon.wait_event("the move", |e| e["notice"]["kind"] == "address-moved")?;

    // A guest that appears behind another port when its own has no link any more.
    let moved = mac_of(&site.victim)?;
    site.victim.ip(&["link", "set", "eth0", "down"])?;
    let announcement = arp(ArpKind::Request, (moved, VICTIM4), (MacAddr::ZERO, VICTIM4));
    wait_for("the guest behind its new port", SOON, || {
        site.raw.send(&announcement).ok()?;
        let shown = site.daemon.ctl_json(&["guard", "bindings", "--port", "raw"]).ok()?;
        shown.to_string().contains("\"10.77.0.1\"").then_some(())
    })
}

#[test]
fn floating_addresses_move_where_the_operator_says_so() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut site = Site::new("")?;
    for port in ["victim", "raw"] {
        site.daemon.ctl(&["guard", "set", port, "--shared", "10.77.0.200", "--shared-macs", "00:00:5e:00:01:07"])?;
    }
    site.victim.ip(&["addr", "add", "10.77.0.200/24", "dev", "eth0"])?;
    wait_for("the floating address", SOON, || (ping(&site.peer, "10.77.0.200", 1).ok()?.lost() == 0).then_some(()))?;
    let floating = Ipv4Addr::new(10, 77, 0, 200);
    let vrrp = MacAddr([0, 0, 0x5e, 0, 1, 7]);
    for mac in [OWN, vrrp] {
        site.raw.send(&arp(ArpKind::Request, (mac, floating), (MacAddr::ZERO, floating)))?;
        wait_for("the peer's new neighbour", SOON, || {
            (site.known_to_peer(floating.into()).ok()? == mac.to_string()).then_some(())
        })?;
    }
    Ok(())
}

#[test]
fn leases_bind_and_their_holders_renew_them() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    if let Some(program) = missing_dhcp_client() {
        println!("skipped: needs {program}");
        return Ok(());
    }
    let mut site = Site::new("")?;
    let client = DhcpClient::new(&site.victim)?;
    let first = client.udhcpc("victim", &[])?;
    let address: Ipv4Addr = first.told("ip").unwrap_or_default().parse().map_err(|e| Failure::of("ip", e))?;
    let bindings = site.daemon.ctl(&["guard", "bindings", "--port", "victim"])?;
    assert!(bindings.lines().any(|l| l.contains(&address.to_string()) && l.contains("dhcp")), "{bindings}");
    let before = site.dropped("spoofed-arp")?;
    site.raw.send(&arp(ArpKind::Request, (OWN, address), (MacAddr::ZERO, address)))?;
    wait_for("the drop", SOON, || (site.dropped("spoofed-arp").ok()? > before).then_some(()))?;
    let again = client.udhcpc("victim", &["-r", &address.to_string()])?;
    assert_eq!(again.told("ip"), first.told("ip"));
    assert_eq!(ping(&site.victim, "10.77.0.254", 3)?.lost(), 0);
    Ok(())
}

#[test]
fn neighbours_find_each_other_where_a_snooping_switch_has_no_querier() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = LAN.replace("name = \"lan\"\n[[router]]", "name = \"lan\"\nsnooping = {}\n[[router]]");
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let _daemon = Daemon::start(&[lan.as_str(), &tap("a", &a, ""), &tap("b", &b, "")].concat())?;
    // Without `nodad`: each kernel asks whether its address is somebody's before it uses it.
    for (host, address) in [(&a, "fd77::a/64"), (&b, "fd77::b/64")] {
        wait_for("the interface", SOON, || host.ip(&["link", "set", "eth0", "up"]).ok())?;
        host.ip(&["addr", "add", address, "dev", "eth0"])?;
    }
    for host in [&a, &b] {
        wait_for("the end of duplicate address detection", SOON, || {
            let shown = host.ip(&["-6", "addr", "show", "dev", "eth0"]).ok()?;
            (!shown.contains("tentative")).then_some(())
        })?;
    }
    wait_for("a neighbour", SOON, || (ping(&a, "fd77::b", 1).ok()?.lost() == 0).then_some(()))?;
    // The same address a second time is found to be taken.
    b.ip(&["addr", "add", "fd77::a/64", "dev", "eth0"])?;
    wait_for("the failure of the duplicate", SOON, || {
        b.ip(&["-6", "addr", "show", "dev", "eth0"]).ok()?.contains("dadfailed").then_some(())
    })
}
