//! Micro-segmentation with real TCP: two tiers before the tenants' own rules, services, groups by label and by address,
//! guests of one group kept apart, and connections that stop when the policy changes under them.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::{
    Exchange, Failure, HttpServer, Lan, Said, Wanted, converse, http_get, http_pieces, skip_unless_root, tap, wait_for,
};

const HEAD: &str = r#"
[[switch]]
name = "lan"

[[service]]
name = "web"
entries = [{ protocol = "tcp", destination_ports = [80, 8080] }]

[[service]]
name = "admin"
entries = [{ protocol = "tcp", destination_ports = 2222 }]

[[group]]
name = "outer"
addresses = ["10.77.0.3", "fd77::3"]

[[tier]]
name = "emergency"

[[tier]]
name = "site"
default = "drop"

[[rule]]
name = "tenant-web"
action = "pass"
services = "web"

[[rule]]
name = "tenant-admin"
action = "deny"
services = "admin"

[[rule]]
name = "admins"
action = "pass"
tier = "site"
services = "admin"
from = { groups = "admins" }

[[rule]]
name = "web-is-the-tenants"
action = "next"
tier = "site"
services = "web"
"#;

const LOCKDOWN: &str = r#"
[[rule]]
name = "lockdown"
action = "deny"
tier = "emergency"
from = { groups = "outer" }
"#;

const PATIENCE: Duration = Duration::from_millis(700);
const SOON: Duration = Duration::from_secs(10);

fn lan() -> Result<Lan, Failure> {
    let admin = Wanted { more: "groups = [\"admins\", \"crowd\"]", ..tap("admin") };
    let outer = Wanted { more: "groups = \"crowd\"", ..tap("outer") };
    Lan::start(HEAD, &[tap("server"), admin, outer])
}

fn is_answered(lan: &Lan, from: usize, to: SocketAddr) -> Result<bool, Failure> {
    let request: &[u8] = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n";
    Ok(http_pieces(&lan.hosts[from].namespace, to, &[request], PATIENCE)
        .is_ok_and(|exchange| matches!(exchange, Exchange::Answered(..))))
}

fn status(lan: &Lan, rule: &str) -> Result<serde_json::Value, Failure> {
    let shown = lan.daemon.ctl_json(&["policy", "show"])?;
    let lists = [&shown["rules"], &shown["implied"]].into_iter().filter_map(|list| list.as_array());
    let mut all = lists.flatten();
    let found = all.find(|status| status["rule"]["name"] == rule || status["name"] == rule);
    found.cloned().ok_or_else(|| Failure::new(format!("no rule {rule} in {shown}")))
}

#[test]
fn tiers_decide_in_turn_and_every_rule_counts() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = lan()?;
    let [server, admin, outer] = &lan.hosts[..] else { unreachable!() };
    let (web, door, other) = (server.at(80), server.at(2222), server.at(7000));
    let servers = [web, door, other].map(|address| HttpServer::start(&server.namespace, address, "a page"));
    for server in servers.iter() {
        assert!(server.is_ok(), "{server:?}");
    }
    // What the site hands on, the tenants allow; what the site allows, the tenants do not see; the rest it drops.
    for host in [admin, outer] {
        assert!(http_get(&host.namespace, web, "/")?.is_page_with("a page"), "{}", host.name);
    }
    let answered = |to| Ok::<_, Failure>([is_answered(&lan, 1, to)?, is_answered(&lan, 2, to)?]);
    assert_eq!(answered(door)?, [true, false]);
    assert_eq!(answered(other)?, [false, false]);
    for (rule, least) in [("web-is-the-tenants", 2), ("tenant-web", 2), ("admins", 1), ("tier site default", 2)] {
        let status = status(&lan, rule)?;
        assert!(status["hits"].as_u64() >= Some(least) && status["last_hit_s"].is_u64(), "{status}");
    }
    let carried = status(&lan, "tenant-web")?;
    assert!(carried["packets"].as_u64() >= Some(10) && carried["bytes"].as_u64() >= Some(600), "{carried}");
    assert_eq!(status(&lan, "tenant-admin")?["hits"], 0);

    // The emergency tier takes hold of what is open, and only of those whom it names: by address.
    let mut open = converse(&outer.namespace, &server.namespace, server.at(8080))?;
    assert_eq!(open.say(b"anybody there?", SOON)?, Said::Heard);
    let config = lan.daemon.ctl(&["show", "--config"])?;
    lan.daemon.apply(&format!("{config}{LOCKDOWN}"))?;
    assert_eq!(open.say(b"and now?", PATIENCE)?, Said::Silence);
    assert_eq!(answered(web)?, [true, false]);
    assert!(status(&lan, "lockdown")?["hits"].as_u64() >= Some(1));
    assert!(status(&lan, "tenant-web")?["hits"].as_u64() >= Some(3), "counts outlive a change");
    lan.daemon.apply(&config)?;
    assert_eq!(answered(web)?, [true, true]);

    // Groups by name of the label, kept apart by one setting, live.
    let _page = HttpServer::start(&outer.namespace, outer.at(80), "a page")?;
    assert!(is_answered(&lan, 1, outer.at(80))?);
    lan.daemon.ctl(&["group", "members", "crowd", "--isolated", "true"])?;
    assert!(!is_answered(&lan, 1, outer.at(80))?);
    assert_eq!(answered(web)?, [true, true], "others are no members");
    assert!(status(&lan, "group crowd isolated")?["hits"].as_u64() >= Some(1));
    lan.daemon.ctl(&["group", "members", "crowd", "--isolated", "false"])?;
    assert!(is_answered(&lan, 1, outer.at(80))?);
    Ok(())
}

#[test]
fn a_rule_follows_its_schedule() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = lan()?;
    let server = &lan.hosts[0];
    let _page = HttpServer::start(&server.namespace, server.at(80), "a page")?;
    assert!(is_answered(&lan, 1, server.at(80))?);
    lan.daemon.ctl(&["schedule", "set", "always", "--time", "daily 00:00-24:00"])?;
    let config = lan.daemon.ctl(&["show", "--config"])?;
    let closed = "[[rule]]\nname = \"closed\"\naction = \"drop\"\ntier = \"emergency\"\nschedule = \"always\"\n";
    lan.daemon.apply(&format!("{config}\n{closed}"))?;
    assert!(!is_answered(&lan, 1, server.at(80))?);
    let used = lan.daemon.try_ctl(&["schedule", "del", "always"])?;
    assert!(String::from_utf8_lossy(&used.stderr).contains("rules name it: closed"));
    assert!(lan.daemon.ctl(&["schedule", "show"])?.contains("in force"));
    // A time of the week that is not now, whenever the test runs: three days from here.
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|e| Failure::of("clock", e))?;
    let day = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][((now.as_secs() / 86_400 + 3) % 7) as usize];
    lan.daemon.ctl(&["schedule", "set", "always", "--time", &format!("{day} 00:00-24:00")])?;
    wait_for("the rule's end", SOON, || is_answered(&lan, 1, server.at(80)).ok()?.then_some(()))?;
    assert_eq!(status(&lan, "closed")?["idle"], true);
    Ok(())
}
