//! Changes that people make with care: on trial, and beside the live policy first.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use weir_tests::lab::{Failure, Lan, Said, converse, ping, skip_unless_root, switch_with_rules, tap, wait_for};

const PATIENCE: Duration = Duration::from_secs(1);

fn rule(name: &str, action: &str, more: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"{action}\"\n{more}\n")
}

#[test]
fn a_change_that_cuts_the_operator_off_goes_back_by_itself() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = Lan::start(&switch_with_rules(""), &[tap("management"), tap("operator")])?;
    let [management, operator] = &lan.hosts[..] else { unreachable!() };
    let listener = management.namespace.inside(|| Ok(TcpListener::bind(management.at(22))?))?;
    let mut session = operator.namespace.inside(|| Ok(TcpStream::connect(management.at(22))?))?;
    let (mut host, _) = listener.accept()?;
    let mut heard = [0; 6];
    session.write_all(b"uptime")?;
    host.read_exact(&mut heard)?;
    let wrong = rule("too-much", "drop", "from = { ports = [\"operator\"] }");
    let path = lan.daemon.path("wrong.toml");
    std::fs::write(&path, format!("{}\n{wrong}", lan.daemon.config()?))?;
    let said = lan.daemon.ctl(&["apply", &path.display().to_string(), "--confirm-within", "4"])?;
    assert!(said.contains("+ rule too-much") && said.contains("undone in 4 s"), "{said}");
    session.write_all(b"please")?;
    host.set_read_timeout(Some(PATIENCE))?;
    assert!(host.read_exact(&mut heard).is_err(), "the change has cut the session off");
    wait_for("the state goes back", Duration::from_secs(15), || {
        (!lan.daemon.ctl(&["policy", "show"]).ok()?.contains("too-much")).then_some(())
    })?;
    // The connection was never ended: TCP brings what was said, and the answer.
    host.set_read_timeout(Some(Duration::from_secs(20)))?;
    host.read_exact(&mut heard)?;
    host.write_all(&heard)?;
    session.set_read_timeout(Some(Duration::from_secs(20)))?;
    session.read_exact(&mut heard)?;
    assert_eq!(&heard, b"please");
    assert_eq!(ping(&operator.namespace, &management.address.to_string(), 2)?.lost(), 0);
    Ok(())
}

#[test]
fn a_candidate_tells_what_it_would_change_and_changes_nothing_until_it_is_promoted() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = Lan::start(&switch_with_rules(""), &[tap("web"), tap("guest"), tap("other")])?;
    let [web, guest, other] = &lan.hosts[..] else { unreachable!() };
    let mut standing = converse(&guest.namespace, &web.namespace, web.at(5432))?;
    assert_eq!(standing.say(b"before", PATIENCE)?, Said::Heard);
    let candidate = rule("no-guest", "drop", "from = { ports = [\"guest\"] }\nprotocol = \"tcp\"");
    let path = lan.daemon.path("candidate.toml");
    std::fs::write(&path, candidate)?;
    lan.daemon.ctl(&["shadow", "load", &path.display().to_string()])?;
    let mut begun = converse(&guest.namespace, &web.namespace, web.at(5433))?;
    let mut spared = converse(&other.namespace, &web.namespace, web.at(5434))?;
    for session in [&mut standing, &mut begun, &mut spared] {
        assert_eq!(session.say(b"meanwhile", PATIENCE)?, Said::Heard, "nothing is done of what a candidate says");
    }
    let report = lan.daemon.ctl_json(&["shadow", "report"])?;
    let flows = report["flows"].as_array().ok_or_else(|| Failure::new("no flows"))?;
    let mut ports: Vec<u64> = flows.iter().filter_map(|flow| flow["destination_port"].as_u64()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [5432, 5433], "{report}");
    for flow in flows {
        assert_eq!((&flow["in_port"], &flow["out_port"]), (&"guest".into(), &"web".into()));
        assert_eq!((&flow["live"]["action"], &flow["live"]["rule"]), (&"allow".into(), &"default".into()));
        assert_eq!((&flow["candidate"]["action"], &flow["candidate"]["rule"]), (&"drop".into(), &"no-guest".into()));
        assert!(flow["packets"].as_u64() > Some(3), "{flow}");
    }
    assert_eq!(report["totals"][0]["flows"], 2);
    let text = lan.daemon.ctl(&["shadow", "report"])?;
    assert!(text.contains("allow (default)") && text.contains("drop (no-guest)"), "{text}");
    // What was recorded tells the same of flows that have ended.
    drop((standing, begun));
    lan.daemon.ctl(&["flow", "kill", "--port", "guest"])?;
    let replayed = wait_for("the flows are recorded", Duration::from_secs(10), || {
        let report = lan.daemon.ctl_json(&["shadow", "replay"]).ok()?;
        (report["changed"] == 2).then_some(report)
    })?;
    assert_eq!(replayed["flows"][0]["candidate"]["rule"], "no-guest");
    let promoted = lan.daemon.ctl(&["shadow", "promote", "--confirm-within", "60"])?;
    assert!(promoted.contains("+ rule no-guest"), "{promoted}");
    lan.daemon.ctl(&["confirm"])?;
    assert!(converse(&guest.namespace, &web.namespace, web.at(5435)).is_err());
    assert_eq!(spared.say(b"after", PATIENCE)?, Said::Heard);
    let gone = lan.daemon.try_ctl(&["shadow", "report"])?;
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no candidate policy is loaded"));
    Ok(())
}

#[test]
fn a_candidate_and_the_flows_of_the_day_outlive_a_restart() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let candidate = "[[shadow.rule]]\nname = \"no-guest\"\naction = \"drop\"\nprotocol = \"tcp\"\n\
                     from = { ports = \"guest\" }\n";
    let mut lan =
        Lan::start(&format!("{}{candidate}", switch_with_rules("")), &[tap("web"), tap("guest"), tap("other")])?;
    let [web, guest, other] = &lan.hosts[..] else { unreachable!() };
    for (host, port) in [(guest, 5432), (other, 5433)] {
        let mut talk = converse(&host.namespace, &web.namespace, web.at(port))?;
        assert_eq!(talk.say(b"a word", PATIENCE)?, Said::Heard);
    }
    let report = lan.daemon.ctl_json(&["shadow", "report"])?;
    assert_eq!((report["changed"].as_u64(), &report["flows"][0]["in_port"]), (Some(1), &"guest".into()), "{report}");
    lan.daemon.stop()?;
    lan.daemon.run()?;
    let again = lan.daemon.ctl_json(&["shadow", "report"])?;
    assert_eq!(again["changed"].as_u64().unwrap_or(0), 0, "what it has found begins anew: {again}");
    let replayed = lan.daemon.ctl_json(&["shadow", "replay"])?;
    assert_eq!(replayed["changed"], 1, "the flows before the restart: {replayed}");
    assert_eq!(replayed["flows"][0]["in_port"], "guest");
    assert!(!lan.daemon.path("flows").exists(), "what was read is not read again");
    // A change that the candidate does not fit is not held up by it.
    let told = lan.daemon.ctl(&["port", "del", "guest"])?;
    assert!(told.contains("- port guest") && told.contains("- shadow"), "{told}");
    assert!(!lan.daemon.try_ctl(&["shadow", "report"])?.status.success());
    Ok(())
}
