//! Segments that come in one by one are joined toward hosts that take super-segments, and every byte arrives.

use serde_json::Value;
use weir_tests::lab::{
    Attach, Failure, Host, Lan, skip_unless_root, switch_with_rules, tap, transfer, vhost_user, xdp,
};

const MEGABYTES: u64 = 96;
/// The longest frame that is no super-segment.
const FRAME: u64 = 1514;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(u64::MAX)
}

/// Packets and bytes that the host's network device has received.
fn received(host: &Host) -> Result<(u64, u64), Failure> {
    let shown = host.namespace.ip(&["-s", "-j", "link", "show", "dev", "eth0"])?;
    let shown: Value = serde_json::from_str(&shown).map_err(|e| Failure::of("ip -s -j link", e))?;
    let counted = &shown[0]["stats64"]["rx"];
    Ok((number(&counted["packets"]), number(&counted["bytes"])))
}

fn counters(lan: &Lan, port: &str) -> Result<Value, Failure> {
    let shown = lan.daemon.ctl_json(&["port", "show", port])?;
    Ok(shown[0]["counters"].clone())
}

/// Sends from one host to the other; bytes a frame as the receiver's device has counted them, and the counters of its
/// port before and after.
fn send(lan: &Lan, from: &Host, to: &Host) -> Result<(u64, Value, Value), Failure> {
    let (mean, _, before, after) = send_some(lan, from, to, MEGABYTES)?;
    Ok((mean, before, after))
}

/// The same of so many megabytes, with the bits of payload a second.
fn send_some(lan: &Lan, from: &Host, to: &Host, megabytes: u64) -> Result<(u64, f64, Value, Value), Failure> {
    let (before, count) = (received(to)?, counters(lan, &to.name)?);
    let done = transfer(&from.namespace, &to.namespace, to.at(5001), megabytes << 20)?;
    let (after, count_after) = (received(to)?, counters(lan, &to.name)?);
    let mean = (after.1 - before.1) / (after.0 - before.0).max(1);
    let rate = done.bits_per_second();
    println!("{} to {}: {mean} bytes a frame, {:.2} Gbit/s", from.name, to.name, rate * 1e-9);
    Ok((mean, rate, count, count_after))
}

fn grown(before: &Value, after: &Value, name: &str) -> u64 {
    number(&after[name]) - number(&before[name])
}

#[test]
fn segments_from_af_xdp_arrive_as_super_segments_and_one_by_one_where_that_is_off() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = Lan::start(&switch_with_rules(""), &[xdp("sender"), tap("tap"), vhost_user("vhost")])?;
    let [sender, receivers @ ..] = &lan.hosts[..] else { unreachable!() };
    for receiver in receivers {
        let (mean, before, after) = send(&lan, sender, receiver)?;
        assert!(mean > 2 * FRAME, "{}: {mean} bytes a frame", receiver.name);
        let (joined, supers) = (grown(&before, &after, "tx_joined"), grown(&before, &after, "tx_supers"));
        assert!(joined > supers && supers > 100, "{joined} frames were joined to {supers}");
        // All that was sent of it, by frames as they came in.
        let frames = grown(&before, &after, "tx_packets") + joined;
        assert!(frames * 1448 >= MEGABYTES << 20, "{frames} frames");
        let shown = lan.daemon.ctl(&["port", "show", &receiver.name])?;
        assert!(shown.contains("joined on the way out") && shown.contains("gro"), "{shown}");

        lan.daemon.ctl(&["port", "set", &receiver.name, "--no-gro"])?;
        let (mean, before, after) = send(&lan, sender, receiver)?;
        assert!(mean <= FRAME, "{}: {mean} bytes a frame", receiver.name);
        assert_eq!(grown(&before, &after, "tx_joined"), 0);
        assert!(lan.daemon.ctl(&["port", "show", &receiver.name])?.contains("no GRO"));

        lan.daemon.ctl(&["port", "set", &receiver.name, "--no-gro=false"])?;
        let (mean, ..) = send(&lan, sender, receiver)?;
        assert!(mean > 2 * FRAME, "{}: {mean} bytes a frame", receiver.name);
    }
    // Where the receiver takes no super-segments there are none.
    let [tap, ..] = receivers else { unreachable!() };
    assert_eq!(sender.attach, Attach::Xdp);
    let (mean, before, after) = send(&lan, tap, sender)?;
    assert!(mean <= FRAME && grown(&before, &after, "tx_joined") == 0, "{mean} bytes a frame");
    Ok(())
}

#[test]
fn a_rate_counts_frames_as_they_came_and_what_it_lets_go_together_is_joined() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = Lan::start(&switch_with_rules(""), &[xdp("sender"), tap("tap")])?;
    let [sender, receiver] = &lan.hosts[..] else { unreachable!() };
    lan.daemon.ctl(&["port", "set", "tap", "--rate-out", "300m"])?;
    let (mean, rate, before, after) = send_some(&lan, sender, receiver, 48)?;
    // Of each frame of 1514 bytes 1448 are payload. What finds the queue full is lost, which costs TCP some of its rate.
    let most = 300e6 * 1448.0 / 1514.0;
    assert!(rate < 1.03 * most && rate > 0.4 * most, "{:.1} of {:.1} Mbit/s", rate * 1e-6, most * 1e-6);
    assert!(mean > FRAME && grown(&before, &after, "tx_joined") > 0, "{mean} bytes a frame");
    Ok(())
}
