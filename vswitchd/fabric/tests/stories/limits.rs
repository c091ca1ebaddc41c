//! Bounds of the address table, and who makes room.

use weir_fabric::{FdbStats, PortConfig, SwitchConfig};

use crate::lab::{LAN, Lab, frame, raw};

/// A frame to everybody from a host made of a number.
fn from(n: u32) -> Vec<u8> {
    let [a, b, c, d] = n.to_be_bytes();
    raw([2, 1, a, b, c, d], [0xff; 6])
}

fn to(n: u32) -> Vec<u8> {
    let [a, b, c, d] = n.to_be_bytes();
    raw([2, 0, 0, 0, 0, 99], [2, 1, a, b, c, d])
}

fn small(fdb_limit: usize) -> Lab {
    Lab::new(SwitchConfig { fdb_limit, ..SwitchConfig::default() }, &[1, 2, 3])
}

fn stats(lab: &Lab) -> FdbStats {
    lab.fabric.fdb_stats(LAN).unwrap()
}

#[test]
fn the_longest_unused_address_makes_room() {
    let mut lab = small(4);
    for n in 0..4 {
        lab.send(1, &from(n));
        lab.wait(1);
    }
    lab.send(1, &from(0));
    lab.send(1, &from(4));
    assert_eq!((stats(&lab).learned, stats(&lab).evicted), (4, 1));
    let known: Vec<bool> = (0..5).map(|n| lab.ports(2, &to(n)).len() == 1).collect();
    // Host 99 of the probe took one more place, from the port that holds the most.
    assert_eq!(known, [true, false, false, true, true]);
}

#[test]
fn who_floods_addresses_displaces_his_own() {
    let mut lab = small(64);
    for n in 0..20 {
        lab.send(2, &from(n));
    }
    lab.wait(1);
    for n in 1000..3000 {
        lab.send(3, &from(n));
    }
    assert_eq!(stats(&lab).learned, 64);
    for n in 0..20 {
        assert_eq!(lab.ports(1, &to(n)), [2], "host {n} is still known");
    }
}

#[test]
fn a_port_keeps_to_its_own_limit() {
    let mut lab = Lab::plain();
    lab.port(3, PortConfig { fdb_limit: 3, ..PortConfig::default() });
    for n in 0..10 {
        lab.send(3, &from(n));
        lab.send(2, &from(100 + n));
        lab.wait(1);
    }
    let on = |lab: &Lab, port: u16| lab.fabric.fdb(lab.now, LAN).iter().filter(|e| e.port.0 == port).count();
    assert_eq!((on(&lab, 2), on(&lab, 3)), (10, 3));
    // Addresses that move there count as well.
    lab.send(3, &from(100));
    assert_eq!((on(&lab, 2), on(&lab, 3)), (9, 3));
    assert_eq!(lab.ports(1, &to(100)), [3]);
}

#[test]
fn a_limit_of_zero_learns_nothing() {
    let mut lab = small(0);
    lab.send(2, &from(1));
    assert_eq!(lab.ports(1, &to(1)), [2, 3]);
    assert_eq!(lab.fabric.fdb(lab.now, LAN), []);
}

#[test]
fn the_default_table_holds_its_limit() {
    let mut lab = Lab::new(SwitchConfig::default(), &[1, 2]);
    for n in 0..65536 {
        lab.send(1, &from(n));
    }
    let FdbStats { learned, evicted, .. } = stats(&lab);
    assert_eq!(learned as u64 + evicted, 65536);
    assert!(evicted < 200, "{evicted} addresses found both their buckets full before the limit");
    for n in 65536..70000 {
        lab.send(1, &from(n));
        assert!(stats(&lab).learned <= 65536);
    }
    lab.wait(300);
    while lab.tick().is_some() {}
    assert_eq!(stats(&lab).learned, 0, "all of them age out, some thousands a tick");
    assert_eq!(lab.ports(2, &frame(2, 1)), [1]);
}
