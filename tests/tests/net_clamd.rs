//! Debian's clamd asked beside, between real TCP stacks: what only clamd knows does not arrive, what is clean arrives
//! whole even where clamd takes its time, and where clamd is gone the stated act is done.

use std::time::Duration;

use weir_tests::lab::{
    Clamd, Exchange, Failure, Host, HttpServer, Lan, http_get, skip_unless_root, skip_without, switch_with_rules, tap,
    wait_for,
};

const MARKER: &str = "what-only-clamd-knows";
const SOON: Duration = Duration::from_secs(20);

fn missing() -> bool {
    skip_unless_root() || skip_without("clamd")
}

fn clamd() -> Result<Clamd, Failure> {
    let hex: String = MARKER.bytes().map(|byte| format!("{byte:02x}")).collect();
    Clamd::start(&format!("Weir.Marker:0:*:{hex}\n"))
}

fn lan(clamd: &Clamd, more: &str) -> Result<Lan, Failure> {
    let virus = format!("[virus]\nenabled = true\nclamd = \"{}\"\n{more}", clamd.socket().display());
    Lan::start(&format!("{}\n{virus}", switch_with_rules("")), &[tap("server"), tap("client")])
}

fn two(lan: &Lan) -> [&Host; 2] {
    let [server, client] = &lan.hosts[..] else { unreachable!() };
    [server, client]
}

/// Fetches a page from a server of its own.
fn fetched(lan: &Lan, port: u16, body: &str) -> Result<Exchange, Failure> {
    let [server, client] = two(lan);
    let web = HttpServer::start(&server.namespace, server.at(port), body)?;
    http_get(&client.namespace, web.address(), "/file")
}

fn clean(length: usize) -> String {
    "all is well. ".chars().cycle().take(length).collect()
}

#[test]
fn what_only_clamd_knows_does_not_arrive_and_all_else_does() -> Result<(), Failure> {
    if missing() {
        return Ok(());
    }
    let clamd = clamd()?;
    let lan = lan(&clamd, "")?;
    for (number, length) in [10, 3000, 200_000].into_iter().enumerate() {
        let number = number as u16;
        let body = clean(length);
        assert!(fetched(&lan, 80 + number, &body)?.is_page_with(&body), "{length} clean bytes");
        let infected = format!("{body}{MARKER}");
        let exchange = fetched(&lan, 90 + number, &infected)?;
        assert!(!exchange.is_page_with(&infected), "{length} bytes");
        assert!(!format!("{exchange:?}").contains(MARKER), "{length} bytes");
    }
    let event = lan.daemon.wait_event("the finding", |e| e["event_type"] == "virus")?;
    assert!(event["virus"]["signature"].as_str().is_some_and(|name| name.starts_with("Weir.Marker")), "{event}");
    assert_eq!(event["virus"]["action"], "blocked");
    let shown = wait_for("clamd's version", SOON, || {
        lan.daemon.ctl_json(&["virus", "show"]).ok().filter(|shown| shown["clamd"]["answers"] == true)
    })?;
    let asked = &shown["clamd"];
    assert!(asked["text"].as_str().is_some_and(|text| text.starts_with("ClamAV")), "{asked}");
    assert_eq!((asked["clean"].as_u64(), asked["infected"].as_u64()), (Some(3), Some(3)), "{asked}");
    Ok(())
}

#[test]
fn a_clean_file_waits_for_a_slow_clamd_and_arrives_whole() -> Result<(), Failure> {
    if missing() {
        return Ok(());
    }
    let clamd = clamd()?;
    let lan = lan(&clamd, "hold_ms = 60000\n")?;
    let [server, client] = two(&lan);
    let body = clean(3_000_000);
    let web = HttpServer::start(&server.namespace, server.at(80), &body)?;
    clamd.halt()?;
    std::thread::scope(|scope| -> Result<(), Failure> {
        let fetching = scope.spawn(|| http_get(&client.namespace, web.address(), "/file"));
        let waits = || {
            let asked = lan.daemon.ctl_json(&["virus", "show"]).ok()?;
            (asked["clamd"]["asked"].as_u64()? > 0).then_some(())
        };
        let asked = wait_for("the question", SOON, waits);
        assert!(!fetching.is_finished(), "nothing is delivered to its end without a verdict");
        clamd.go_on()?;
        asked?;
        let exchange = fetching.join().map_err(|_| Failure::new("the client failed"))??;
        assert!(exchange.is_page_with(&body), "it arrived whole");
        Ok(())
    })
}

#[test]
fn where_clamd_is_gone_the_stated_act_is_done() -> Result<(), Failure> {
    if missing() {
        return Ok(());
    }
    for (act, arrives) in [("closed", false), ("open", true)] {
        let clamd = clamd()?;
        let lan = lan(&clamd, &format!("on_clamd_failure = \"{act}\"\nhold_ms = 2000\n"))?;
        let body = clean(50_000);
        assert!(fetched(&lan, 80, &body)?.is_page_with(&body), "{act}: while it is there");
        // In the midst of a file: it is there, and says nothing.
        clamd.halt()?;
        assert_eq!(fetched(&lan, 81, &body)?.is_page_with(&body), arrives, "{act}: it says nothing");
        clamd.kill()?;
        assert_eq!(fetched(&lan, 82, &body)?.is_page_with(&body), arrives, "{act}: it is gone");
        let event = lan.daemon.wait_event("what could not be judged", |e| e["event_type"] == "virus")?;
        let told = event["virus"]["signature"].as_str().unwrap_or_default();
        assert!(told.starts_with("not judged: "), "{event}");
        assert_eq!(event["virus"]["action"], if arrives { "allowed" } else { "blocked" });
        let gone = || {
            let shown = lan.daemon.ctl_json(&["virus", "show"]).ok()?;
            (shown["clamd"]["answers"] == false && shown["clamd"]["failed"].as_u64()? == 2).then_some(())
        };
        wait_for("that clamd is seen to be gone", SOON, gone)?;
    }
    Ok(())
}
