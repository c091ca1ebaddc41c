//! TAP, AF_XDP and vhost-user ports on one switch, with inspection and offloads on: every pair talks, and every byte
//! arrives as it was sent.

use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::{
    Attach, Failure, Host, Lan, Wanted, ping, skip_unless_root, switch_with_rules, tap, transfer, vhost_user, wait_for,
    xdp,
};

/// Something to look for in every stream that is never there.
const RULES: &str = r#"alert tcp any any -> any any (msg:"never"; content:"a string that no test sends"; sid:1;)"#;

/// Megabytes of each transfer: `WEIR_TRANSFER_MB`, by default 1024.
fn megabytes() -> u64 {
    std::env::var("WEIR_TRANSFER_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024)
}

fn pair_works(lan: &Lan, a: &Host, b: &Host) -> Result<(), Failure> {
    for address in [b.address.to_string(), format!("fd77::{}", b.address.octets()[3])] {
        // The first one may wait for the neighbour's address longer than a ping waits.
        ping(&a.namespace, &address, 1)?;
        assert_eq!(ping(&a.namespace, &address, 3)?.lost(), 0, "{} to {} ({address})", a.name, b.name);
    }
    for (from, to) in [(a, b), (b, a)] {
        let done = transfer(&from.namespace, &to.namespace, to.at(5001), megabytes() << 20)?;
        let rate = done.bits_per_second() * 1e-9;
        println!("{} to {}: {} MB, {rate:.2} Gbit/s, sum {:#x}", from.name, to.name, done.bytes >> 20, done.checksum);
    }
    assert!(lan.daemon.events()?.iter().all(|e| e["event_type"] != "alert"), "nothing to alert of was sent");
    Ok(())
}

/// Every packet that the switch was given is accounted for: sent, or dropped for a reason, and so for each port; and the
/// kernel on the other side of a TAP has counted the same.
fn counters_add_up(lan: &Lan) -> Result<(), Failure> {
    // A neighbour solicitation between two readings makes them differ; the next two will not.
    let mut last = String::new();
    let agreed = wait_for("agreement of the counters", Duration::from_secs(10), || match disagreement(lan) {
        Ok(None) => Some(()),
        Ok(Some(why)) => {
            last = why;
            None
        }
        Err(e) => {
            last = e.to_string();
            None
        }
    });
    agreed.map_err(|e| Failure::of(e, last))
}

fn disagreement(lan: &Lan) -> Result<Option<String>, Failure> {
    let stats = lan.daemon.ctl_json(&["stats"])?;
    let total = |name: &str| number(&stats["totals"][name]);
    let came = total("received") + total("originated") + total("copied");
    let went = total("sent") + total("delivered") + total("held") + total("merged") + total("dropped");
    let ports = stats["ports"].as_array().ok_or_else(|| Failure::new("no ports in the statistics"))?;
    let of_ports = |name: &str| ports.iter().map(|port| number(&port["counters"][name])).sum::<u64>();
    let counts = |list: &Value| list.as_array().into_iter().flatten().map(|drop| number(&drop["count"])).sum::<u64>();
    // What a port could not send any more, and what it refused before it became a packet of the switch.
    let [tx_dropped, rx_dropped] =
        ["tx_dropped", "rx_dropped"].map(|name| ports.iter().map(|port| counts(&port["counters"][name])).sum::<u64>());
    let dropped = counts(&stats["drops"]);
    let mut sums = vec![
        ("packets in and out of the switch".to_owned(), came, went),
        ("received, in all and by port".to_owned(), total("received"), of_ports("rx_packets")),
        (
            "sent, in all and by port".to_owned(),
            total("sent"),
            of_ports("tx_packets") + of_ports("tx_joined") + tx_dropped,
        ),
        ("dropped, in all and by reason".to_owned(), total("dropped") + tx_dropped + rx_dropped, dropped),
    ];
    for host in lan.hosts.iter().filter(|host| host.attach == Attach::Tap) {
        let port = ports.iter().find(|port| port["name"] == host.name.as_str());
        let port = &port.ok_or_else(|| Failure::new("a port is missing in the statistics"))?["counters"];
        let kernel = host.namespace.ip(&["-s", "-j", "link", "show", "dev", "eth0"])?;
        let kernel: Value = serde_json::from_str(&kernel).map_err(|e| Failure::of("ip -s -j link", e))?;
        let kernel = &kernel[0]["stats64"];
        sums.push((
            format!("{}: its kernel's sent", host.name),
            number(&port["rx_packets"]),
            number(&kernel["tx"]["packets"]),
        ));
        sums.push((
            format!("{}: its kernel's received", host.name),
            number(&port["tx_packets"]),
            number(&kernel["rx"]["packets"]),
        ));
    }
    let wrong = sums.into_iter().find(|(_, a, b)| a != b);
    Ok(wrong.map(|(what, a, b)| format!("{what}: {a} and {b}")))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(u64::MAX)
}

fn all_pairs_of(wanted: &[Wanted<'_>]) -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = Lan::start(&switch_with_rules(RULES), wanted)?;
    for (number, a) in lan.hosts.iter().enumerate() {
        for b in lan.hosts.iter().skip(number + 1) {
            pair_works(&lan, a, b)?;
        }
    }
    counters_add_up(&lan)
}

#[test]
fn tap_and_tap() -> Result<(), Failure> {
    all_pairs_of(&[tap("tap-a"), tap("tap-b")])
}

#[test]
fn af_xdp_and_af_xdp() -> Result<(), Failure> {
    all_pairs_of(&[xdp("xdp-a"), xdp("xdp-b")])
}

#[test]
fn tap_and_af_xdp_and_vhost_user() -> Result<(), Failure> {
    all_pairs_of(&[tap("tap"), xdp("xdp"), vhost_user("vhost")])
}
