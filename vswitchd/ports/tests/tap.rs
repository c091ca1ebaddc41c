//! TAP ports against the kernel: needs CAP_NET_ADMIN; without it every test says that it was skipped.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod lab;

use lab::{Cable, Space, everything_passes, is_quiet, privileged};
use weir_ports::{Port, PortErrorKind, TapConfig, TapPort};
use weir_wire::DropReason;

fn in_space(space: &Space, name: &str) -> TapConfig {
    TapConfig { netns: Some(space.name.clone()), ..TapConfig::new(name) }
}

fn two_taps(configure: impl Fn(&Space) -> TapConfig) -> (Space, Space, Cable) {
    let (a, b) = (Space::new(), Space::new());
    let ports = [&a, &b].map(|space| TapPort::open(configure(space)).unwrap());
    for (space, n) in [(&a, 1), (&b, 2)] {
        space.address("eth0", n);
    }
    let [left, right] = ports;
    (a, b, Cable::new(left, right))
}

#[test]
fn super_segments_pass_whole_from_tap_to_tap() {
    if !privileged("super_segments_pass_whole_from_tap_to_tap") {
        return;
    }
    let (a, b, cable) = two_taps(|space| in_space(space, "eth0"));
    everything_passes(&a, &b, 64);
    let (frames, bytes, cut, dropped) = cable.ask(|[_, right]| {
        let c = right.counters();
        (c.tx_packets, c.tx_bytes, c.tx_cut, c.tx_dropped.total())
    });
    assert_eq!((cut, dropped), (0, 0));
    assert!(bytes / frames > 1600, "{} bytes a frame on average: super-segments were handed over", bytes / frames);
    cable.cut();
}

#[test]
fn without_offloads_frames_are_complete_and_within_the_mtu() {
    if !privileged("without_offloads_frames_are_complete_and_within_the_mtu") {
        return;
    }
    let (a, b, cable) = two_taps(|space| TapConfig { offloads: false, mtu: Some(1400), ..in_space(space, "eth0") });
    everything_passes(&a, &b, 4);
    let (frames, bytes, mtu) =
        cable.ask(|[left, _]| (left.counters().rx_packets, left.counters().rx_bytes, left.status().mtu));
    assert_eq!(mtu, 1400);
    assert!(bytes / frames <= 1414);
    cable.cut();
}

#[test]
fn several_queues_carry_one_connection() {
    if !privileged("several_queues_carry_one_connection") {
        return;
    }
    let (a, b, cable) = two_taps(|space| TapConfig { queues: 4, ..in_space(space, "eth0") });
    everything_passes(&a, &b, 8);
    cable.cut();
}

#[test]
fn a_device_is_made_here_and_moved_there_with_its_settings() {
    if !privileged("a_device_is_made_here_and_moved_there_with_its_settings") {
        return;
    }
    let (birth, home) = (Space::new(), Space::new());
    let mac = "02:00:00:00:77:01".parse().unwrap();
    let config = TapConfig {
        move_to_netns: Some(home.name.clone()),
        mac: Some(mac),
        mtu: Some(9000),
        ..in_space(&birth, "eth7")
    };
    let port = TapPort::open(config.clone()).unwrap();
    assert!(port.link());
    assert_eq!((port.status().mtu, port.device().mac().unwrap()), (9000, mac));
    assert!(home.sh("ip link show eth7").contains("mtu 9000"));
    assert!(!birth.sh("ip -brief link").contains("eth7"));
    drop(port);
    assert!(!home.sh("ip -brief link").contains("eth7"), "an owned device goes with its port");
    let config = TapConfig { persist: true, ..config };
    drop(TapPort::open(config.clone()).unwrap());
    let before = home.sh("cat /sys/class/net/eth7/ifindex");
    let port = TapPort::open(config).unwrap();
    assert_eq!(home.sh("cat /sys/class/net/eth7/ifindex"), before, "taken up where it is");
    assert!(port.link());
}

#[test]
fn a_persistent_device_stays_and_is_taken_up_again() {
    if !privileged("a_persistent_device_stays_and_is_taken_up_again") {
        return;
    }
    let space = Space::new();
    let config = TapConfig { persist: true, ..in_space(&space, "keep0") };
    drop(TapPort::open(config.clone()).unwrap());
    let before = space.sh("cat /sys/class/net/keep0/ifindex");
    let port = TapPort::open(config.clone()).unwrap();
    assert_eq!(space.sh("cat /sys/class/net/keep0/ifindex"), before);
    let error = TapPort::open(config).unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Busy, "{error}");
    drop(port);
    space.sh("ip link del keep0");
    space.sh("ip tuntap add mq0 mode tap multi_queue");
    TapPort::open(in_space(&space, "mq0")).unwrap();
    space.sh("ip link add veth7 type veth peer name veth8");
    let error = TapPort::open(in_space(&space, "veth7")).unwrap_err();
    assert!(error.to_string().contains("no TAP device"), "{error}");
}

#[test]
fn the_link_follows_the_device_down_up_away_and_into_nothing() {
    if !privileged("the_link_follows_the_device_down_up_away_and_into_nothing") {
        return;
    }
    let (a, b, cable) = two_taps(|space| in_space(space, "eth0"));
    a.sh("ping -c 1 -W 10 10.77.0.2");
    b.sh("ip link set eth0 mtu 1400");
    cable.until("the MTU is the device's", |[_, right]| right.status().mtu == 1400);
    b.sh("ip link set eth0 down");
    cable.until("the link goes down", |[_, right]| !right.link());
    a.sh("sh -c 'ping -c 1 -W 1 10.77.0.2 || true'");
    cable.until("frames are counted", |[_, right]| right.counters().tx_dropped.get(DropReason::LinkDown) > 0);
    b.sh("ip link set eth0 up");
    cable.until("the link comes up", |[_, right]| right.link());

    let c = Space::new();
    b.sh(&format!("ip link set eth0 netns {} name moved0", c.name));
    cable.until("the link goes down with the move", |[_, right]| !right.link());
    c.address("moved0", 2);
    cable.until("the port has followed", |[_, right]| right.link());
    a.sh("ping -c 2 -i 0.2 -W 10 10.77.0.2");

    c.sh("ip link del moved0");
    cable.until("the device is gone", |[_, right]| !right.link());
    a.sh("sh -c 'ping -c 1 -W 1 10.77.0.2 || true'");
    cable.until("the reason is told", |[_, right]| right.status().problem.contains("deleted"));
    cable.until("the dead port lets its worker sleep", |[_, right]| is_quiet(&mut **right));
    cable.cut();
}
