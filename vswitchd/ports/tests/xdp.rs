//! AF_XDP ports against the kernel, on veth pairs with the offloads they come with: needs CAP_NET_ADMIN; without it
//! every test says that it was skipped.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod lab;

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use lab::{Cable, Space, eventually, everything_passes, is_quiet, privileged, tcp_both_ways};
use weir_ports::event::Epoll;
use weir_ports::{Armed, Port, PortErrorKind, TapConfig, TapPort, XdpConfig, XdpMode, XdpPort};
use weir_wire::{DropReason, Offload, Packet, Pool, PortId};

/// A namespace that stands for the host: it holds the switch's ends.
struct Host(Space);

impl Host {
    fn new() -> Host {
        Host(Space::new())
    }

    /// A veth pair: `name` here, `eth0` there, with the address `n`.
    fn veth(&self, name: &str, to: &Space, n: u8, mtu: u32) {
        self.0.sh(&format!("ip link add {name} mtu {mtu} type veth peer name eth0 netns {} mtu {mtu}", to.name));
        self.0.sh(&format!("ip link set {name} up"));
        to.address("eth0", n);
    }

    fn config(&self, name: &str) -> XdpConfig {
        XdpConfig { netns: Some(self.0.name.clone()), ..XdpConfig::new(name) }
    }
}

struct Two {
    a: Space,
    b: Space,
    host: Host,
    cable: Cable,
}

fn two_veths(mtu: u32, mode: XdpMode, guest: &str) -> Two {
    let (host, a, b) = (Host::new(), Space::new(), Space::new());
    for (space, name, n) in [(&a, "left", 1), (&b, "right", 2)] {
        host.veth(name, space, n, mtu);
        if !guest.is_empty() {
            space.sh(&format!("ethtool -K eth0 {guest}"));
        }
    }
    let open = |name| XdpPort::open(XdpConfig { mode, ..host.config(name) }, None).unwrap();
    let cable = Cable::new(open("left"), open("right"));
    Two { a, b, host, cable }
}

#[test]
fn veths_with_their_default_offloads_talk_tcp() {
    if !privileged("veths_with_their_default_offloads_talk_tcp") {
        return;
    }
    let two = two_veths(1500, XdpMode::Auto, "");
    everything_passes(&two.a, &two.b, 16);
    let (status, counters) = two.cable.ask(|[left, _]| (left.status(), left.counters().clone()));
    assert_eq!(status.mode, "native, copy, queues 0-0");
    let refused = status.details.iter().find(|(name, _)| name == "not used").unwrap();
    assert!(refused.1.starts_with("native, zero-copy: ") && refused.1.contains("not supported"), "{refused:?}");
    assert!(counters.kicks > 0);
    assert!(!status.details.iter().any(|(name, _)| name == "warning"), "{:?}", status.details);
    assert!(two.host.0.sh("ethtool -k left").contains("rx-vlan-offload: off"));
    two.b.sh("ip link set eth0 down");
    two.cable.until("a veth without its other side has no link", |[_, right]| !right.link());
    two.cable.until("both ports let their worker sleep", |ports| ports.iter_mut().all(|p| is_quiet(&mut **p)));
    assert_eq!(counters.rx_dropped.total(), 0);
    two.cable.cut();
}

#[test]
fn the_generic_hook_carries_what_fits_a_frame() {
    if !privileged("the_generic_hook_carries_what_fits_a_frame") {
        return;
    }
    let two = two_veths(1500, XdpMode::Generic, "tso off gso off");
    everything_passes(&two.a, &two.b, 4);
    let status = two.cable.ask(|[left, _]| left.status());
    assert_eq!(status.mode, "generic, copy, queues 0-0");
    assert!(status.details.iter().any(|(name, text)| name == "advice" && text.contains("tso")));
    two.cable.cut();
}

#[test]
fn jumbo_frames_travel_in_several_pieces() {
    if !privileged("jumbo_frames_travel_in_several_pieces") {
        return;
    }
    let two = two_veths(9000, XdpMode::Auto, "");
    two.a.sh("ping -c 2 -i 0.2 -M do -s 8972 -W 10 10.77.0.2");
    everything_passes(&two.a, &two.b, 16);
    let (status, frames, bytes) =
        two.cable.ask(|[left, _]| (left.status(), left.counters().tx_packets, left.counters().tx_bytes));
    assert_eq!(status.mtu, 9000);
    assert!(bytes / frames > 1600, "{} bytes a frame on average", bytes / frames);
    two.cable.cut();
}

#[test]
fn zero_copy_where_there_is_none_is_refused_with_the_reason() {
    if !privileged("zero_copy_where_there_is_none_is_refused_with_the_reason") {
        return;
    }
    let (host, a) = (Host::new(), Space::new());
    host.veth("left", &a, 1, 1500);
    let error = XdpPort::open(XdpConfig { mode: XdpMode::ZeroCopy, ..host.config("left") }, None).unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unsupported, "{error}");
    let error = XdpPort::open(XdpConfig { queues: Some(0..9), ..host.config("left") }, None).unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Invalid, "{error}");
    let first = XdpPort::open(host.config("left"), None).unwrap();
    let error = XdpPort::open(host.config("left"), None).unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Busy, "{error}");
    drop(first);
    assert!(!host.0.sh("ip link show left").contains("xdp"), "the program goes with the port");
}

#[test]
fn super_segments_of_a_tap_are_cut_for_a_veth() {
    if !privileged("super_segments_of_a_tap_are_cut_for_a_veth") {
        return;
    }
    let (host, a, b) = (Host::new(), Space::new(), Space::new());
    host.veth("right", &b, 2, 1500);
    let tap = TapPort::open(TapConfig { netns: Some(a.name.clone()), ..TapConfig::new("eth0") }).unwrap();
    a.address("eth0", 1);
    let cable = Cable::new(tap, XdpPort::open(host.config("right"), None).unwrap());
    everything_passes(&a, &b, 16);
    let cut = cable.ask(|[tap, veth]| (tap.counters().tx_cut, veth.counters().tx_cut));
    assert!(cut.0 == 0 && cut.1 > 0, "{cut:?}");
    cable.cut();
}

#[test]
fn several_queues_carry_one_connection() {
    if !privileged("several_queues_carry_one_connection") {
        return;
    }
    let (host, a, b) = (Host::new(), Space::new(), Space::new());
    for (space, name, n) in [(&a, "left", 1), (&b, "right", 2)] {
        let space_name = &space.name;
        host.0.sh(&format!(
            "ip link add {name} numrxqueues 2 numtxqueues 2 type veth peer name eth0 netns {space_name} numrxqueues 2 numtxqueues 2"
        ));
        host.0.sh(&format!("ethtool -L {name} rx 2 tx 2"));
        space.sh("ethtool -L eth0 rx 2 tx 2");
        space.address("eth0", n);
    }
    let open = |name| XdpPort::open(host.config(name), None).unwrap();
    let cable = Cable::new(open("left"), open("right"));
    everything_passes(&a, &b, 4);
    assert_eq!(cable.ask(|[left, _]| left.status().mode), "native, copy, queues 0-1");
    cable.cut();
}

#[test]
fn a_device_that_is_deleted_under_load_comes_back_when_it_is_made_again() {
    if !privileged("a_device_that_is_deleted_under_load_comes_back_when_it_is_made_again") {
        return;
    }
    let Two { a, b, host, cable } = two_veths(1500, XdpMode::Auto, "");
    tcp_both_ways(&a, &b, "10.77.0.2", 1 << 20);
    let mut flood = std::process::Command::new("ip")
        .args(["netns", "exec", &a.name, "ping", "-q", "-i", "0.002", "-s", "1400", "10.77.0.2"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    host.0.sh("ip link set right down");
    cable.until("the link goes down", |[_, right]| !right.link());
    cable.until("drops are counted", |[_, right]| right.counters().tx_dropped.get(DropReason::LinkDown) > 10);
    host.0.sh("ip link set right up");
    cable.until("the link comes up", |[_, right]| right.link());
    a.sh("ping -c 1 -W 10 10.77.0.2");
    host.0.sh("ip link del right");
    cable.until("the device is gone", |[_, right]| !right.link() && right.status().mode == "no device");
    cable.until("the dead port lets its worker sleep", |[_, right]| is_quiet(&mut **right));
    flood.kill().unwrap();
    flood.wait().unwrap();
    host.veth("other", &b, 2, 1500);
    let other = XdpPort::open(host.config("other"), None).unwrap();
    host.0.sh("ip link set other down");
    host.0.sh("ip link set other name right");
    host.0.sh("ip link set right up");
    cable.until("a device that is taken is told", |[_, right]| right.status().problem.contains("queue 0"));
    drop(other);
    cable.until("the device is taken up again", |[_, right]| right.link());
    a.sh("ip neigh flush dev eth0");
    eventually("traffic flows again", || {
        let ping = ["netns", "exec", &a.name, "ping", "-c", "1", "-W", "1", "10.77.0.2"];
        std::process::Command::new("ip").args(ping).output().unwrap().status.success()
    });
    tcp_both_ways(&a, &b, "10.77.0.2", 1 << 20);
    cable.cut();
}

/// Descriptors that a port waits for.
fn waited_for(port: &XdpPort) -> usize {
    let path = format!("/proc/self/fdinfo/{}", port.event_fd().as_raw_fd());
    std::fs::read_to_string(path).unwrap().lines().filter(|line| line.starts_with("tfd:")).count()
}

#[test]
fn a_busy_port_asks_to_be_told_again_before_it_sleeps() {
    if !privileged("a_busy_port_asks_to_be_told_again_before_it_sleeps") {
        return;
    }
    let (host, a) = (Host::new(), Space::new());
    host.veth("left", &a, 1, 1500);
    let mut port = XdpPort::open(host.config("left"), None).unwrap();
    eventually("the link is up", || {
        port.on_event();
        port.link()
    });
    let (mut pool, mut burst) = (Pool::default(), Vec::new());
    let mut receive = |port: &mut XdpPort| {
        let received = port.rx(PortId(1), &mut pool, &mut burst, 64);
        burst.drain(..).for_each(|packet| pool.give(packet.buffer));
        received
    };
    while receive(&mut port) > 0 || port.arm() == Armed::Ready {}
    let asleep = waited_for(&port);
    port.disarm();
    let mut pool = Pool::default();
    for round in 0..10 {
        assert_eq!(waited_for(&port), if round < 8 { asleep } else { asleep - 1 }, "{round}");
        let packet = |_| Packet::new(pool.copy(&[0xa5; 60]).unwrap(), PortId(2), Offload::default());
        let mut packets: Vec<Packet> = (0..32).map(packet).collect();
        port.tx(&mut pool, &mut packets);
        port.flush();
    }
    while receive(&mut port) > 0 || port.arm() == Armed::Ready {}
    assert_eq!(waited_for(&port), asleep);
    // Whoever is there is asked for.
    a.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", "10.77.0.9:9")).unwrap();
    eventually("the sleeper is woken", || {
        let mut tokens = Vec::new();
        let epoll = Epoll::new().unwrap();
        epoll.add(port.event_fd(), 7).unwrap();
        epoll.wait(&mut tokens, Some(Duration::ZERO)).unwrap();
        tokens == [7]
    });
    port.disarm();
    assert!(receive(&mut port) > 0);
}
