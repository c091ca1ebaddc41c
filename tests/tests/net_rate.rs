//! Bandwidth as a resource, with the kernel's TCP: rates are held in both directions, shares are what was promised.

use weir_tests::lab::{Attach, Failure, Lan, Transfer, Wanted, skip_unless_root, switch_with_rules, transfer};

const MEGABYTE: u64 = 1 << 20;

/// Payload is this part of the bits on the link: 1448 bytes of 1514.
const PAYLOAD: f64 = 1448.0 / 1514.0;

fn host<'a>(name: &'a str, more: &'a str) -> Wanted<'a> {
    Wanted { name, attach: Attach::Tap, more }
}

fn is_near(got: f64, wanted: f64, part: f64) -> bool {
    (got / wanted - 1.0).abs() < part
}

fn send(lan: &Lan, from: usize, to: usize, port: u16, bytes: u64) -> Result<Transfer, Failure> {
    transfer(&lan.hosts[from].namespace, &lan.hosts[to].namespace, lan.hosts[to].at(port), bytes)
}

#[test]
fn a_rate_holds_in_either_direction_and_changes_live() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan =
        Lan::start(&switch_with_rules(""), &[host("a", "rate = { in = \"80m\", out = \"40m\" }"), host("b", "")])?;
    let inward = send(&lan, 0, 1, 5001, 20 * MEGABYTE)?.bits_per_second();
    assert!(is_near(inward, 80e6 * PAYLOAD, 0.1), "in: {inward:.0} bit/s");
    let outward = send(&lan, 1, 0, 5001, 10 * MEGABYTE)?.bits_per_second();
    assert!(is_near(outward, 40e6 * PAYLOAD, 0.1), "out: {outward:.0} bit/s");
    lan.daemon.ctl(&["port", "set", "a", "--rate-out", "160m"])?;
    let faster = send(&lan, 1, 0, 5002, 40 * MEGABYTE)?.bits_per_second();
    assert!(is_near(faster, 160e6 * PAYLOAD, 0.1), "changed: {faster:.0} bit/s");
    lan.daemon.ctl(&["port", "set", "a", "--rate-out", "none", "--rate-in", "none"])?;
    let free = send(&lan, 1, 0, 5003, 100 * MEGABYTE)?.bits_per_second();
    assert!(free > 320e6, "without a rate: {free:.0} bit/s");
    Ok(())
}

#[test]
fn guests_that_contend_get_what_they_were_promised() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    // 60 of 100 are promised to one and 10 to the other; the rest, 30, goes 1 to 2.
    let lan = Lan::start(
        &switch_with_rules(""),
        &[
            host("server", "rate = { out = \"100m\" }"),
            host("gold", "share = { guarantee = \"60m\", weight = 1 }"),
            host("tin", "share = { guarantee = \"10m\", weight = 2 }"),
        ],
    )?;
    let alone = send(&lan, 2, 0, 5001, 20 * MEGABYTE)?.bits_per_second();
    assert!(is_near(alone, 100e6 * PAYLOAD, 0.1), "alone: {alone:.0} bit/s");
    // 70 to 30: what takes both of them equally long.
    let (gold, tin) = std::thread::scope(|scope| {
        let gold = scope.spawn(|| send(&lan, 1, 0, 5002, 42 * MEGABYTE));
        let tin = scope.spawn(|| send(&lan, 2, 0, 5003, 18 * MEGABYTE));
        (gold.join(), tin.join())
    });
    let rate = |result: std::thread::Result<Result<Transfer, Failure>>| match result {
        Ok(transfer) => transfer.map(|transfer| transfer.bits_per_second()),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let (gold, tin) = (rate(gold)?, rate(tin)?);
    println!("gold {:.1} Mbit/s, tin {:.1} Mbit/s", gold / 1e6, tin / 1e6);
    assert!(is_near(gold, 70e6 * PAYLOAD, 0.05), "gold: {gold:.0} bit/s");
    assert!(is_near(tin, 30e6 * PAYLOAD, 0.05), "tin: {tin:.0} bit/s");
    let shown = lan.daemon.ctl(&["port", "show", "server"])?;
    assert!(shown.contains("out 100 Mbit/s"), "{shown}");
    Ok(())
}

#[test]
fn ten_guests_get_their_peak_of_an_idle_uplink_and_their_guarantee_of_a_busy_one() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    // An uplink of 100 Mbit/s; each of ten guests may take 30 and is promised 10.
    let names: Vec<String> = (0..10).map(|guest| format!("g{guest}")).collect();
    let mut wanted = vec![host("uplink", "rate = { out = \"100m\" }")];
    wanted.extend(names.iter().map(|name| host(name, "share = { guarantee = \"10m\", peak = \"30m\" }")));
    let lan = Lan::start(&switch_with_rules(""), &wanted)?;
    let alone = send(&lan, 4, 0, 6000, 12 * MEGABYTE)?.bits_per_second();
    println!("one guest alone: {:.2} Mbit/s", alone / 1e6);
    assert!(is_near(alone, 30e6 * PAYLOAD, 0.05), "alone: {alone:.0} bit/s");
    let rates: Vec<std::thread::Result<Result<Transfer, Failure>>> = std::thread::scope(|scope| {
        let lan = &lan;
        let guest = |guest: usize| scope.spawn(move || send(lan, guest, 0, 6000 + guest as u16, 6 * MEGABYTE));
        (1..=10).map(guest).collect::<Vec<_>>().into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    for (guest, rate) in names.iter().zip(rates) {
        let rate = match rate {
            Ok(transfer) => transfer?.bits_per_second(),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        println!("{guest} among ten: {:.2} Mbit/s", rate / 1e6);
        assert!(is_near(rate, 10e6 * PAYLOAD, 0.05), "{guest}: {rate:.0} bit/s");
    }
    Ok(())
}

#[test]
fn ports_of_a_group_share_its_rate_in_both_directions() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let head =
        format!("{}\n[[group]]\nname = \"tenant\"\nrate = {{ in = \"60m\", out = \"40m\" }}\n", switch_with_rules(""));
    let member = "groups = \"tenant\"";
    let lan = Lan::start(&head, &[host("server", ""), host("one", member), host("two", member)])?;
    let both = |to_server: bool, port: u16, bytes: u64| {
        let ends = |guest: usize| if to_server { (guest, 0) } else { (0, guest) };
        let lan = &lan;
        let (one, two) = std::thread::scope(|scope| {
            let [one, two] = [1, 2].map(|guest| {
                let (from, to) = ends(guest);
                scope.spawn(move || send(lan, from, to, port + guest as u16, bytes))
            });
            (one.join(), two.join())
        });
        [one, two]
            .into_iter()
            .map(|result| match result {
                Ok(transfer) => transfer.map(|transfer| transfer.bits_per_second()),
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect::<Result<Vec<f64>, Failure>>()
    };
    // Alone, one has all of it.
    let alone = send(&lan, 1, 0, 6000, 15 * MEGABYTE)?.bits_per_second();
    assert!(is_near(alone, 60e6 * PAYLOAD, 0.1), "alone: {alone:.0} bit/s");
    for (to_server, port, rate) in [(true, 6010, 60e6), (false, 6020, 40e6)] {
        let rates = both(to_server, port, 10 * MEGABYTE)?;
        println!("to the server: {to_server}, {:.1} and {:.1} Mbit/s", rates[0] / 1e6, rates[1] / 1e6);
        // Both end about the same time: together they had the group's rate until then, and each its half.
        let slower = rates[0].min(rates[1]);
        assert!(is_near(slower * 2.0, rate * PAYLOAD, 0.05), "together: {rates:?}");
        assert!(is_near(rates[0], rates[1], 0.05), "each alike: {rates:?}");
    }
    lan.daemon.ctl(&["group", "set", "tenant", "--rate-in", "120m"])?;
    let faster = send(&lan, 1, 0, 6030, 30 * MEGABYTE)?.bits_per_second();
    assert!(is_near(faster, 120e6 * PAYLOAD, 0.1), "changed: {faster:.0} bit/s");
    assert!(lan.daemon.ctl(&["group", "show"])?.contains("one, two"));
    Ok(())
}

#[test]
fn a_group_is_promised_a_share_that_its_ports_divide() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    // An uplink of 90 Mbit/s. A tenant with three guests is promised 30; what is left, 60, goes 1 to 1 with a guest alone.
    let head = format!(
        "{}\n[[group]]\nname = \"tenant\"\nshare = {{ guarantee = \"30m\", weight = 1 }}\n",
        switch_with_rules("")
    );
    let member = "groups = \"tenant\"";
    let wanted = [
        host("uplink", "rate = { out = \"90m\" }"),
        host("a", ""),
        host("b", member),
        host("c", member),
        host("d", member),
    ];
    let lan = Lan::start(&head, &wanted)?;
    let all = |port: u16, megabytes: [u64; 4]| -> Result<Vec<f64>, Failure> {
        let lan = &lan;
        let results: Vec<std::thread::Result<Result<Transfer, Failure>>> = std::thread::scope(|scope| {
            let guest =
                |(at, size): (usize, u64)| scope.spawn(move || send(lan, at + 1, 0, port + at as u16, size * MEGABYTE));
            let started: Vec<_> = megabytes.into_iter().enumerate().map(guest).collect();
            started.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let rate = |result: std::thread::Result<Result<Transfer, Failure>>| match result {
            Ok(transfer) => transfer.map(|transfer| transfer.bits_per_second()),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        results.into_iter().map(rate).collect()
    };
    // What takes all of them equally long: 30 to one, 20 to each of three.
    let rates = all(7000, [15, 10, 10, 10])?;
    println!("a guest alone and three of a tenant: {:.2?} Mbit/s", rates.iter().map(|r| r / 1e6).collect::<Vec<_>>());
    assert_shares(&rates, [30e6, 20e6, 20e6, 20e6]);
    // Changed live: the tenant is promised nothing more, and weighs twice as much.
    lan.daemon.ctl(&["group", "set", "tenant", "--weight", "2"])?;
    let rates = all(7100, [12, 8, 8, 8])?;
    println!("at a weight of two: {:.2?} Mbit/s", rates.iter().map(|r| r / 1e6).collect::<Vec<_>>());
    assert_shares(&rates, [30e6, 20e6, 20e6, 20e6]);
    lan.daemon.ctl(&["group", "set", "tenant", "--no-share"])?;
    let rates = all(7200, [9, 9, 9, 9])?;
    assert_shares(&rates, [22.5e6; 4]);
    Ok(())
}

/// Each has its share of what all got, within 5 %; and all together what there is, but for what starting and ending
/// takes on a machine that does other work.
fn assert_shares(rates: &[f64], wanted: [f64; 4]) {
    let (got, promised): (f64, f64) = (rates.iter().sum(), wanted.iter().sum());
    assert!(is_near(got, promised * PAYLOAD, 0.15), "together {got:.0} bit/s of {promised}: {rates:?}");
    for (rate, wanted) in rates.iter().zip(wanted) {
        assert!(is_near(*rate / got, wanted / promised, 0.05), "{rates:?}");
    }
}
