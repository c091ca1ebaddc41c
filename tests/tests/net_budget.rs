//! Inspection within a budget of processor time, under real TCP: it takes no more than it may, traffic goes on, and the
//! log accounts for every flow that was given up.

use std::time::Duration;

use weir_tests::lab::{Failure, HttpServer, Lan, bandwidth, http_get, skip_unless_root, tap};

/// Rules that want to see every byte of every stream.
const SWITCH: &str = r#"
[[rule_set]]
name = "all"
text = 'alert tcp any any -> any any (msg:"never"; content:"what nobody ever says in all these bytes"; sid:1;)'

[[switch]]
name = "lan"
inspect = "all"

[settings]
stream_depth = 1000000000000
"#;
const BUDGET: &str = "\n[settings.inspection]\ncpu_budget = \"1%\"\nof = \"core\"\n";
const LOAD: Duration = Duration::from_secs(3);

/// Sends as much as passes, and opens connections beside it.
fn load(lan: &Lan) -> Result<f64, Failure> {
    let [web, client] = &lan.hosts[..] else { unreachable!() };
    let server = HttpServer::start(&web.namespace, web.at(80), "a page")?;
    let sent = bandwidth(&client.namespace, &web.namespace, web.at(5001), LOAD)?;
    for _ in 0..50 {
        assert!(http_get(&client.namespace, server.address(), "/")?.is_page_with("a page"));
    }
    Ok(sent.gigabits_per_second())
}

#[test]
fn a_budget_is_kept_and_every_flow_given_up_is_in_the_log() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let unbound = Lan::start(SWITCH, &[tap("web"), tap("client")])?;
    load(&unbound)?;
    let free = unbound.daemon.ctl_json(&["inspect", "show"])?;
    drop(unbound);

    let lan = Lan::start(&(SWITCH.to_owned() + BUDGET), &[tap("web"), tap("client")])?;
    let before = lan.daemon.ctl_json(&["inspect", "show"])?;
    load(&lan)?;
    let after = lan.daemon.ctl_json(&["inspect", "show"])?;
    assert_eq!(after["budget_ns"], 10_000_000);

    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    let elapsed = number(&after["monotonic_ns"]) - number(&before["monotonic_ns"]);
    let spent = number(&after["spent_ns"]);
    // A purse, and what the ladder takes to go down: five looks of 20 ms, at most at full speed.
    let most = elapsed / 100 + 1_000_000 + 120_000_000;
    assert!(spent <= most, "{spent} ns of {elapsed} ns were spent, {most} ns at most");
    assert!(number(&free["spent_ns"]) > spent, "without a budget it takes more: {free} {after}");

    let shed: u64 = after["shed"].as_array().into_iter().flatten().map(|of| number(&of["count"])).sum();
    assert!(shed > 0, "{after}");
    let told = || -> Result<u64, Failure> {
        Ok(lan.daemon.events()?.iter().filter(|event| event["event_type"] == "inspection").count() as u64)
    };
    lan.daemon.wait_event("the last flow given up", |_| told().is_ok_and(|told| told == shed))?;
    assert_eq!(number(&after["refused"]), 0, "open is the usual");
    let ports = after["ports"].as_array().cloned().unwrap_or_default();
    let by_port: u64 = ports.iter().map(|port| number(&port["ns"])).sum();
    assert_eq!(by_port, spent, "all that was spent was spent for somebody");
    Ok(())
}

#[test]
fn what_may_not_pass_uninspected_is_refused_beyond_the_budget_and_passes_again_later() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let closed = BUDGET.to_owned() + "beyond = \"closed\"\n";
    let lan = Lan::start(&(SWITCH.to_owned() + &closed), &[tap("web"), tap("client")])?;
    let [web, client] = &lan.hosts[..] else { unreachable!() };
    bandwidth(&client.namespace, &web.namespace, web.at(5001), LOAD)?;
    let after = lan.daemon.ctl_json(&["inspect", "show"])?;
    assert!(after["refused"].as_u64() > Some(0), "{after}");
    assert_eq!(after["shed"].as_array().map(Vec::len), Some(0), "{after}");
    // The purse fills again while nobody sends: TCP tries until it may pass.
    let server = HttpServer::start(&web.namespace, web.at(80), "a page")?;
    assert!(http_get(&client.namespace, server.address(), "/")?.is_page_with("a page"));
    Ok(())
}

/// What the account says at one time.
#[derive(Clone, Copy, Debug)]
struct Account {
    at_ns: u64,
    spent_ns: u64,
    inspected_bytes: u64,
    shed: u64,
}

fn account(lan: &Lan) -> Result<Account, Failure> {
    let shown = lan.daemon.ctl_json(&["inspect", "show"])?;
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    let sum = |list: &str, of: &str| shown[list].as_array().into_iter().flatten().map(|one| number(&one[of])).sum();
    Ok(Account {
        at_ns: number(&shown["monotonic_ns"]),
        spent_ns: number(&shown["spent_ns"]),
        inspected_bytes: sum("ports", "bytes"),
        shed: sum("shed", "count"),
    })
}

#[test]
fn from_nothing_to_three_times_what_can_be_inspected_the_budget_holds_and_traffic_goes_on() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    // What the inspection of a byte costs here says how much a hundredth of a core can inspect.
    let unbound = Lan::start(SWITCH, &[tap("web"), tap("client")])?;
    load(&unbound)?;
    let free = account(&unbound)?;
    drop(unbound);
    let inspectable = 10_000_000.0 / free.spent_ns as f64 * free.inspected_bytes as f64 * 8.0;
    println!("1 % of a core inspects {:.0} Mbit/s here", inspectable / 1e6);

    let lan = Lan::start(&(SWITCH.to_owned() + BUDGET), &[tap("web"), tap("client")])?;
    let [web, client] = &lan.hosts[..] else { unreachable!() };
    let mut shed = Vec::new();
    for (step, factor) in [0.0, 0.5, 1.0, 2.0, 3.0].into_iter().enumerate() {
        let before = account(&lan)?;
        let rate = inspectable * factor;
        let passed = if factor > 0.0 {
            lan.daemon.ctl(&["port", "set", "client", "--rate-in", &format!("{}k", (rate / 1e3).ceil())])?;
            let port = 6000 + step as u16;
            bandwidth(&client.namespace, &web.namespace, web.at(port), LOAD)?.gigabits_per_second() * 1e9
        } else {
            std::thread::sleep(Duration::from_secs(1));
            0.0
        };
        let after = account(&lan)?;
        let (elapsed, spent) = (after.at_ns - before.at_ns, after.spent_ns - before.spent_ns);
        println!(
            "{factor} times: {:.1} of {:.1} Mbit/s passed, inspection took {:.2} % of a core, {} flows were given up",
            passed / 1e6,
            rate / 1e6,
            spent as f64 / elapsed as f64 * 100.0,
            after.shed - before.shed
        );
        // The purse, and what the ladder takes to go down at this rate: bursts of 20 ms, five times.
        assert!(spent <= elapsed / 100 + 1_000_000 + 20_000_000, "{factor} times: {spent} ns of {elapsed} ns");
        // What TCP makes of a rate that is kept by waiting; others build meanwhile.
        assert!(passed >= rate * 0.5, "{factor} times: forwarding goes on: {passed:.0} of {rate:.0} bit/s");
        shed.push(after.shed - before.shed);
    }
    assert_eq!(shed.first(), Some(&0), "nothing is given up where nothing is asked: {shed:?}");
    assert!(shed.last() > Some(&0), "beyond the budget flows are given up: {shed:?}");
    let all: u64 = shed.iter().sum();
    lan.daemon.wait_event("every flow given up in the log", |_| {
        let told = |events: Vec<serde_json::Value>| events.iter().filter(|e| e["event_type"] == "inspection").count();
        lan.daemon.events().is_ok_and(|events| told(events) as u64 == all)
    })?;
    Ok(())
}

#[test]
fn the_account_names_the_rules_and_their_groups() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let rules = SWITCH.replace(
        "text = '",
        "text = 'alert tcp any any -> any any (msg:\"dear\"; content:\"ZZ\"; pcre:\"/ZZ.*never/\"; sid:2;)\n",
    );
    let lan = Lan::start(
        &rules.replace("text = '", "text = '''").replace("sid:1;)'", "sid:1;)'''"),
        &[tap("web"), tap("client")],
    )?;
    load(&lan)?;
    let shown = lan.daemon.ctl_json(&["inspect", "show"])?;
    // The stream of the load is of one byte, Z, so that this rule is a candidate everywhere.
    let rule = &shown["rules"][0];
    assert_eq!((rule["sid"].as_u64(), rule["msg"].as_str()), (Some(2), Some("dear")), "{shown}");
    assert!(rule["ns"].as_u64() > Some(0) && rule["checks"].as_u64() > Some(0), "{rule}");
    assert_eq!(shown["rule_groups"][0]["group"], "tcp");
    let top = lan.daemon.ctl(&["inspect", "show"])?;
    assert!(top.contains("RULE GROUP") && top.contains("dear"), "{top}");
    Ok(())
}
