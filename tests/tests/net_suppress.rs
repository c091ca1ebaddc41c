//! A switch that answers address resolution, with real kernels: who is known is not disturbed, and who wants an address
//! that another has is told so.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::{Daemon, Failure, Lan, Namespace, ping, skip_unless_root, skip_without, tap, wait_for};

const PATIENCE: Duration = Duration::from_secs(10);

fn counted(daemon: &Daemon, what: &str) -> Result<u64, Failure> {
    let shown = daemon.ctl_json(&["switch", "show", "lan"])?;
    let found = &shown[0]["suppression"][what];
    found.as_u64().or(found.is_null().then_some(0)).ok_or_else(|| Failure::new(format!("no {what} in {shown}")))
}

/// Frames that were sent to a host's port.
fn heard(daemon: &Daemon, port: &str) -> Result<u64, Failure> {
    let shown = daemon.ctl_json(&["port", "show", port])?;
    shown[0]["counters"]["tx_packets"].as_u64().ok_or_else(|| Failure::new(format!("no counter in {shown}")))
}

/// What `busybox arping` says in a host; `true` where it ended well.
fn arping(host: &Namespace, arguments: &[&str]) -> Result<(bool, String), Failure> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host.name(), "busybox", "arping", "-I", "eth0"]).args(arguments);
    let output = command.output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn mac_of(host: &Namespace) -> Result<String, Failure> {
    let shown = host.ip(&["-json", "link", "show", "eth0"])?;
    let shown: Value = serde_json::from_str(&shown).map_err(|e| Failure::of("ip -json", e))?;
    shown[0]["address"].as_str().map(str::to_owned).ok_or_else(|| Failure::new("eth0 has no MAC"))
}

#[test]
fn kernels_find_each_other_without_disturbing_a_third() -> Result<(), Failure> {
    if skip_unless_root() || skip_without("busybox") {
        return Ok(());
    }
    let head = "[[switch]]\nname = \"lan\"\nsuppress_arp = true\n";
    let lan = Lan::start(head, &[tap("one"), tap("two"), tap("three")])?;
    let [one, two, three] = &lan.hosts[..] else { unreachable!() };
    // The first questions are flooded, and the answers teach the switch.
    for address in ["10.77.0.2", "fd77::2"] {
        assert_eq!(ping(&one.namespace, address, 2)?.lost(), 0, "{address}");
    }
    let (answered, before) = (counted(&lan.daemon, "answered")?, heard(&lan.daemon, "three")?);
    one.namespace.ip(&["neigh", "flush", "dev", "eth0"])?;
    for address in ["10.77.0.2", "fd77::2"] {
        assert_eq!(ping(&one.namespace, address, 2)?.lost(), 0, "{address}");
    }
    assert!(counted(&lan.daemon, "answered")? >= answered + 2);
    let questions = heard(&lan.daemon, "three")? - before;
    assert!(questions <= 1, "{questions} frames went to a host that is not concerned");
    let neighbors = one.namespace.ip(&["neigh", "show", "10.77.0.2"])?;
    assert!(neighbors.contains(&mac_of(&two.namespace)?), "the owner's MAC: {neighbors}");
    let (ended_well, said) = arping(&one.namespace, &["-c", "2", "10.77.0.2"])?;
    assert!(ended_well && said.to_lowercase().contains(&mac_of(&two.namespace)?), "{said}");

    // An address that nobody has is asked for as ever, and found when somebody takes it.
    three.namespace.address("eth0", "10.77.0.33/24")?;
    assert_eq!(ping(&one.namespace, "10.77.0.33", 2)?.lost(), 0);
    // A host that has gone is not spoken for.
    three.namespace.ip(&["link", "set", "eth0", "down"])?;
    wait_for("the end of what was known", PATIENCE, || {
        let flooded = counted(&lan.daemon, "flooded").ok()?;
        one.namespace.ip(&["neigh", "flush", "dev", "eth0"]).ok()?;
        let lost = ping(&one.namespace, "10.77.0.33", 1).ok()?.lost();
        (lost == 1 && counted(&lan.daemon, "flooded").ok()? > flooded).then_some(())
    })?;
    let shown = lan.daemon.ctl(&["switch", "show"])?;
    assert!(shown.contains("ANSWERED"), "{shown}");
    Ok(())
}

#[test]
fn who_wants_an_address_that_is_taken_is_told_and_who_has_it_keeps_it() -> Result<(), Failure> {
    if skip_unless_root() || skip_without("busybox") {
        return Ok(());
    }
    let head = "[[switch]]\nname = \"lan\"\nsuppress_arp = true\n";
    let lan = Lan::start(head, &[tap("one"), tap("two"), tap("three")])?;
    let [one, two, _] = &lan.hosts[..] else { unreachable!() };
    for address in ["10.77.0.2", "fd77::2"] {
        assert_eq!(ping(&one.namespace, address, 2)?.lost(), 0, "{address}");
    }
    let answered = counted(&lan.daemon, "answered")?;
    // Duplicate address detection with ARP (RFC 5227) fails for the address of another and not for one's own.
    let (free, said) = arping(&one.namespace, &["-D", "-c", "2", "10.77.0.2"])?;
    assert!(!free, "{said}");
    let (free, said) = arping(&two.namespace, &["-D", "-c", "2", "10.77.0.2"])?;
    assert!(free, "{said}");
    assert!(counted(&lan.daemon, "answered")? > answered);
    // The kernel's own, of IPv6.
    one.namespace.ip(&["addr", "add", "fd77::2/64", "dev", "eth0"])?;
    let state = wait_for("the end of the detection", PATIENCE, || {
        let shown = one.namespace.ip(&["addr", "show", "dev", "eth0"]).ok()?;
        let line = shown.lines().find(|line| line.contains("fd77::2/64"))?.to_owned();
        (!line.contains("tentative") || line.contains("dadfailed")).then_some(line)
    })?;
    assert!(state.contains("dadfailed"), "{state}");
    two.namespace.ip(&["addr", "del", "fd77::2/64", "dev", "eth0"])?;
    two.namespace.ip(&["addr", "add", "fd77::2/64", "dev", "eth0"])?;
    let state = wait_for("its own address", PATIENCE, || {
        let shown = two.namespace.ip(&["addr", "show", "dev", "eth0"]).ok()?;
        let line = shown.lines().find(|line| line.contains("fd77::2/64"))?.to_owned();
        (!line.contains("tentative") || line.contains("dadfailed")).then_some(line)
    })?;
    assert!(!state.contains("dadfailed"), "{state}");
    Ok(())
}
