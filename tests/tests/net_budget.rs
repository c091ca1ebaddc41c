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
