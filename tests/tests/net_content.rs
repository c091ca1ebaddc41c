//! The content filter between real programs: Apache with two name-based sites on one address, of which one is denied.

use std::time::{Duration, Instant};

use weir_tests::lab::{
    Apache, Failure, Fetched, HttpServer, Lan, Said, Wanted, converse, fetch, http_get, ping, skip_unless_root,
    skip_without, switch_with_rules, tap,
};

const CONTENT: &str = r#"
[[content.list]]
name = "bad"
files = ["{dir}/bad.list"]

[[content.rule]]
name = "no-bad"
action = "deny"
lists = ["bad"]
from = { groups = ["office"] }
"#;

fn missing() -> bool {
    skip_unless_root() || skip_without("apache2") || skip_without("curl") || skip_without("openssl")
}

fn lan() -> Result<Lan, Failure> {
    let list =
        std::env::temp_dir().join(format!("weir-net-content-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&list, "bad.example\ngood.example/private.html\n")?;
    let head = switch_with_rules("") + &CONTENT.replace("{dir}/bad.list", &list.display().to_string());
    let office = |name| Wanted { more: "groups = [\"office\"]", ..tap(name) };
    let lan = Lan::start(&head, &[tap("web"), office("desk"), tap("lab")])?;
    Ok(lan)
}

/// The path of the list's file, from the configuration.
fn list_of(lan: &Lan) -> Option<String> {
    let line = lan.config.lines().find(|line| line.starts_with("files = "))?;
    line.split('"').nth(1).map(str::to_owned)
}

#[test]
fn one_site_of_a_server_is_denied_and_its_neighbour_is_not() -> Result<(), Failure> {
    if missing() {
        return Ok(());
    }
    let lan = lan()?;
    let [web, desk, lab] = &lan.hosts[..] else { unreachable!() };
    let _apache = Apache::start(&web.namespace, &["good.example", "bad.example"])?;
    let server = web.address.to_string();
    let get = |from: &weir_tests::lab::Host, url: &str, more: &[&str]| fetch(&from.namespace, url, &server, more);
    let is_page = |got: &Fetched, name: &str| got.status == 200 && got.body.contains(&format!("this is {name}"));

    for scheme in ["http", "https"] {
        let good = get(desk, &format!("{scheme}://good.example/"), &[])?;
        assert!(is_page(&good, "good.example"), "{scheme}: {good:?}");
        let bad = get(desk, &format!("{scheme}://bad.example/"), &[])?;
        assert!(!bad.body.contains("this is bad.example"), "{scheme}: {bad:?}");
        let other = get(lab, &format!("{scheme}://bad.example/"), &[])?;
        assert!(is_page(&other, "bad.example"), "who is in no group may: {other:?}");
    }
    let page = get(desk, "http://WWW.Bad.example./", &[])?;
    assert_eq!((page.exit, page.status), (0, 403), "{page:?}");
    assert!(page.body.contains("no-bad"), "the page names the rule: {page:?}");
    let private = get(desk, "http://good.example/%70rivate.html", &["--path-as-is"])?;
    assert_eq!(private.status, 403, "{private:?}");

    // Both in one connection that is kept: the neighbour answers, then the denied site does not.
    let both = get(
        desk,
        "http://good.example/",
        &[
            "--next",
            "-s",
            "-w",
            "\n%{http_code}",
            "-m",
            "10",
            "--connect-to",
            &format!("::{server}:"),
            "http://bad.example/",
        ],
    )?;
    assert!(both.body.contains("this is good.example") || both.body.contains("403"), "{both:?}");
    assert!(!both.body.contains("this is bad.example"), "{both:?}");

    let event =
        lan.daemon.wait_event("the denial", |e| e["event_type"] == "content" && e["content"]["app_proto"] == "tls")?;
    assert_eq!(event["content"]["action"], "blocked");
    assert_eq!(event["content"]["hostname"], "bad.example");
    assert_eq!(event["content"]["rule"], "no-bad");
    assert_eq!(event["content"]["list"], "bad");
    assert_eq!(event["in_iface"], "desk");
    let shown = lan.daemon.ctl(&["content", "show"])?;
    assert!(shown.contains("no-bad") && shown.contains("bad"), "{shown}");
    Ok(())
}

#[test]
fn a_reloaded_list_holds_at_once_and_a_broken_one_changes_nothing() -> Result<(), Failure> {
    if missing() {
        return Ok(());
    }
    let lan = lan()?;
    let [web, desk, _] = &lan.hosts[..] else { unreachable!() };
    let _apache = Apache::start(&web.namespace, &["good.example", "bad.example"])?;
    let server = web.address.to_string();
    let list = list_of(&lan).ok_or_else(|| Failure::new("no list in the configuration"))?;
    let status =
        |name: &str| Ok::<u16, Failure>(fetch(&desk.namespace, &format!("http://{name}/"), &server, &[])?.status);
    assert_eq!((status("good.example")?, status("bad.example")?), (200, 403));

    std::fs::write(&list, "good.example\n")?;
    lan.daemon.ctl(&["content", "list", "reload"])?;
    assert_eq!((status("good.example")?, status("bad.example")?), (403, 200));
    let asked = lan.daemon.ctl(&["content", "test", "http://good.example/x", "--from", "desk"])?;
    assert!(asked.contains("deny by rule no-bad, list bad"), "{asked}");

    std::fs::remove_file(&list)?;
    let refused = lan.daemon.try_ctl(&["content", "list", "reload"])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("content list bad"));
    assert_eq!((status("good.example")?, status("bad.example")?), (403, 200));
    Ok(())
}

#[test]
fn a_list_of_hundreds_of_thousands_of_names_is_reloaded_without_loss() -> Result<(), Failure> {
    const NAMES: usize = 300_000;
    if skip_unless_root() {
        return Ok(());
    }
    let lan = lan()?;
    let [web, desk, lab] = &lan.hosts[..] else { unreachable!() };
    let list = list_of(&lan).ok_or_else(|| Failure::new("no list in the configuration"))?;
    let server = HttpServer::start(&web.namespace, web.at(80), "a page")?;
    let mut open = converse(&desk.namespace, &web.namespace, web.at(7000))?;
    let names =
        |from: usize| (from..from + NAMES).map(|n| format!("host-{n}.test,ads,{}\n", n % 100)).collect::<String>();
    for from in [0, NAMES / 2] {
        std::fs::write(&list, names(from))?;
        let (took, pings) = std::thread::scope(|scope| -> Result<_, Failure> {
            let pinging = scope.spawn(|| ping(&lab.namespace, &web.address.to_string(), 5_000));
            let begun = Instant::now();
            lan.daemon.ctl(&["content", "list", "reload"])?;
            let took = begun.elapsed();
            Ok((took, pinging.join().map_err(|_| Failure::new("the pings failed"))??))
        })?;
        assert_eq!(pings.lost(), 0, "nothing is lost meanwhile");
        assert_eq!(open.say(b"still here", Duration::from_secs(5))?, Said::Heard, "what is open stays open");
        let shown = lan.daemon.ctl_json(&["content", "list", "show"])?;
        let of = |member: &str| shown[0][member].as_u64().unwrap_or(0);
        assert_eq!((of("entries"), of("refused")), (NAMES as u64, 0), "{shown}");
        let each = of("memory") as f64 / NAMES as f64;
        println!("{NAMES} names in force after {took:.2?}, {each:.1} bytes each");
        assert!(each <= 16.0, "{each}");
        for (n, denied) in [(from, true), (from + NAMES - 1, true), (from + NAMES, false)] {
            let asked =
                lan.daemon.ctl(&["content", "test", &format!("http://www.host-{n}.test/"), "--from", "desk"])?;
            assert_eq!(asked.contains("deny by rule no-bad, list bad, category ads"), denied, "{asked}");
        }
    }
    assert!(http_get(&desk.namespace, server.address(), "/")?.is_page_with("a page"));
    Ok(())
}
