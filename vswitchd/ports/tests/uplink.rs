//! A card that host and guests share, against three kernels: needs CAP_NET_ADMIN; without it every test says that it
//! was skipped.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod lab;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use lab::{Cable, Space, eventually, is_quiet, privileged, tcp_both_ways};
use weir_ports::{TapConfig, TapPort, UplinkConfig, UplinkPort};

const HOST: &str = "10.77.0.1";
const OUTSIDE: &str = "10.77.0.2";
const GUEST: &str = "10.77.0.3";

/// A host with one card, what is behind the card, and a guest behind the switch.
struct Site {
    host: Space,
    outside: Space,
    guest: Space,
}

impl Site {
    fn new() -> Site {
        let site = Site { host: Space::new(), outside: Space::new(), guest: Space::new() };
        site.plug();
        site
    }

    fn plug(&self) {
        self.host.sh(&format!("ip link add eth0 type veth peer name eth0 netns {}", self.outside.name));
        self.host.address("eth0", 1);
        self.outside.address("eth0", 2);
    }

    fn uplink(&self) -> UplinkPort {
        let netns = Some(self.host.name.clone());
        UplinkPort::open(UplinkConfig { netns, ..UplinkConfig::new("eth0") }).unwrap()
    }

    fn attach(&self) -> Cable {
        let tap = TapConfig { netns: Some(self.guest.name.clone()), ..TapConfig::new("eth0") };
        let cable = Cable::new(self.uplink(), TapPort::open(tap).unwrap());
        self.guest.address("eth0", 3);
        cable
    }

    /// A connection from outside to the host, as an operator has one.
    fn session(&self) -> Session {
        let listener = self.host.run(|| TcpListener::bind((HOST, 0)).unwrap());
        let target = listener.local_addr().unwrap();
        let operator = self.outside.run(|| TcpStream::connect(target).unwrap());
        let (host, _) = listener.accept().unwrap();
        for stream in [&operator, &host] {
            stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        }
        Session { operator, host }
    }
}

struct Session {
    operator: TcpStream,
    host: TcpStream,
}

impl Session {
    fn answers(&mut self) {
        let mut got = [0; 5];
        self.operator.write_all(b"uname").unwrap();
        self.host.read_exact(&mut got).unwrap();
        self.host.write_all(b"Linux").unwrap();
        self.operator.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"Linux");
    }
}

#[test]
fn host_guest_and_network_reach_each_other_over_one_card() {
    if !privileged("host_guest_and_network_reach_each_other_over_one_card") {
        return;
    }
    let site = Site::new();
    let mut session = site.session();
    session.answers();
    let cable = site.attach();
    session.answers();
    for (from, to, address) in [
        (&site.guest, &site.outside, OUTSIDE),
        (&site.outside, &site.guest, GUEST),
        (&site.guest, &site.host, HOST),
        (&site.host, &site.guest, GUEST),
        (&site.host, &site.outside, OUTSIDE),
        (&site.guest, &site.outside, "fd77::2"),
        (&site.host, &site.guest, "fd77::3"),
    ] {
        tcp_both_ways(from, to, address, 8 << 20);
        from.sh(&format!("ping -c 1 -W 5 -s 8000 {address}"));
    }
    session.answers();
    let status = cable.ask(|[uplink, _]| uplink.status());
    let detail = |name: &str| status.details.iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert_eq!(status.mode, "eth0, shared with the host by tcx programs, through weir-eth0");
    assert_eq!((detail("guests known"), detail("spoofed, dropped")), ("1".to_owned(), "0".to_owned()));
    for space in [&site.host, &site.outside, &site.guest] {
        assert_eq!(space.snmp("TcpInCsumErrors"), 0);
    }
    cable.until("the ports let their worker sleep", |ports| ports.iter_mut().all(|p| is_quiet(&mut **p)));
    cable.cut();
    session.answers();
    assert!(!site.host.sh("ip link").contains("weir-eth0"), "nothing of ours is left");
    tcp_both_ways(&site.host, &site.outside, OUTSIDE, 1 << 20);
}

#[test]
fn a_guest_cannot_take_the_address_of_host_or_gateway() {
    if !privileged("a_guest_cannot_take_the_address_of_host_or_gateway") {
        return;
    }
    let site = Site::new();
    site.host.sh(&format!("ip route add default via {OUTSIDE}"));
    site.host.sh(&format!("ping -c 1 -W 5 {OUTSIDE}"));
    let mut session = site.session();
    let cable = site.attach();
    for victim in [&site.host, &site.outside] {
        let mac = victim.sh("cat /sys/class/net/eth0/address");
        site.guest.sh(&format!("ip link set eth0 address {}", mac.trim()));
        let before = spoofed(&cable);
        site.guest.sh(&format!("ping -c 3 -i 0.2 -W 1 {OUTSIDE} ; true"));
        eventually("what the guest sends is dropped and counted", || spoofed(&cable) > before);
        session.answers();
        tcp_both_ways(&site.host, &site.outside, OUTSIDE, 1 << 20);
    }
    cable.cut();
}

fn spoofed(cable: &Cable) -> u64 {
    let status = cable.ask(|[uplink, _]| uplink.status());
    status.details.iter().find(|(name, _)| name == "spoofed, dropped").unwrap().1.parse().unwrap()
}

#[test]
fn a_card_that_goes_and_comes_back_is_shared_again() {
    if !privileged("a_card_that_goes_and_comes_back_is_shared_again") {
        return;
    }
    let site = Site::new();
    let cable = site.attach();
    tcp_both_ways(&site.guest, &site.outside, OUTSIDE, 1 << 16);
    site.host.sh("ip link del eth0");
    cable.until("the port has no link", |[uplink, _]| !uplink.link());
    let problem = cable.ask(|[uplink, _]| uplink.status().problem);
    assert_eq!(problem, "there is no card eth0");
    site.plug();
    cable.until("the port has its link again", |[uplink, _]| uplink.link());
    site.guest.sh("ip neigh flush all");
    tcp_both_ways(&site.guest, &site.outside, OUTSIDE, 1 << 16);
    cable.cut();
}
