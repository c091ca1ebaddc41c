//! The guard in the path of real TCP: an attack is stopped however it is sent, everything else goes on, and the
//! operator sees what was stopped and why; a policy that is changed takes hold of connections that are open.

use std::time::Duration;

use weir_tests::lab::{
    Exchange, Failure, Lan, Said, converse, http_get, http_pieces, ping, skip_unless_root, switch_with_rules, tap,
    vhost_user, xdp,
};

const EXPLOIT: &[u8] = b"the-exploit-in-the-request";
const RULES: &str =
    r#"drop tcp any any -> any 80 (msg:"an exploit"; content:"the-exploit-in-the-request"; sid:7; rev:3;)"#;
const PATIENCE: Duration = Duration::from_secs(2);

fn lan(rules: &str) -> Result<Lan, Failure> {
    Lan::start(&switch_with_rules(rules), &[tap("web"), tap("attacker"), xdp("visitor"), vhost_user("guest")])
}

#[test]
fn an_exploit_never_reaches_the_server_and_is_told_of() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = lan(RULES)?;
    let [web, attacker, visitor, guest] = &lan.hosts[..] else { unreachable!() };
    let server = weir_tests::lab::HttpServer::start(&web.namespace, web.at(80), "a page")?;
    let request = [b"GET /?", EXPLOIT, b" HTTP/1.1\r\nHost: web\r\n\r\n"].concat();
    for size in [request.len(), 1, 2, 7, 16] {
        for host in [attacker, visitor, guest] {
            assert!(http_get(&host.namespace, server.address(), "/")?.is_page_with("a page"), "{}", host.name);
            let pieces: Vec<&[u8]> = request.chunks(size).collect();
            let exchange = http_pieces(&host.namespace, server.address(), &pieces, PATIENCE)?;
            assert!(!matches!(exchange, Exchange::Answered(..)), "pieces of {size} from {}: {exchange:?}", host.name);
            assert!(!server.has_read(EXPLOIT), "pieces of {size} from {}", host.name);
        }
    }
    let alert = lan.daemon.wait_event("the alert", |e| e["event_type"] == "alert")?;
    assert_eq!(alert["alert"]["signature_id"], 7);
    assert_eq!(alert["alert"]["rev"], 3);
    assert_eq!(alert["alert"]["signature"], "an exploit");
    assert_eq!(alert["alert"]["action"], "blocked");
    assert_eq!(alert["src_ip"], attacker.address.to_string());
    assert_eq!(alert["dest_ip"], web.address.to_string());
    assert_eq!(alert["dest_port"], 80);
    assert_eq!(alert["in_iface"], "attacker");
    assert!(alert["packet"].as_str().is_some_and(|packet| packet.len() > 60), "the packet is in the event: {alert}");
    let drop = lan.daemon.wait_event("the drop", |e| e["event_type"] == "drop")?;
    assert_eq!(drop["src_ip"], attacker.address.to_string());
    let why = lan.daemon.ctl(&["why", "--port", "attacker", "--last", "1000"])?;
    assert!(why.contains("an exploit"), "{why}");
    Ok(())
}

#[test]
fn a_policy_change_stops_an_open_connection_and_no_other() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = lan("")?;
    let [web, attacker, visitor, _] = &lan.hosts[..] else { unreachable!() };
    let mut bad = converse(&attacker.namespace, &web.namespace, web.at(5432))?;
    let mut good = converse(&visitor.namespace, &web.namespace, web.at(5433))?;
    assert_eq!(bad.say(b"before", PATIENCE)?, Said::Heard);
    assert_eq!(good.say(b"before", PATIENCE)?, Said::Heard);

    let policy = lan.daemon.path("policy.toml");
    std::fs::write(&policy, "[[rule]]\nname = \"no-more\"\naction = \"drop\"\nfrom = { ports = [\"attacker\"] }\n")?;
    lan.daemon.ctl(&["policy", "apply", &policy.display().to_string()])?;
    assert_eq!(bad.say(b"after", PATIENCE)?, Said::Silence);
    assert_eq!(good.say(b"after", PATIENCE)?, Said::Heard);
    assert_eq!(ping(&attacker.namespace, &web.address.to_string(), 1)?.lost(), 1);

    std::fs::write(&policy, "[[rule]]\nname = \"never-mind\"\naction = \"allow\"\n")?;
    lan.daemon.ctl(&["policy", "apply", &policy.display().to_string()])?;
    assert_eq!(ping(&attacker.namespace, &web.address.to_string(), 3)?.lost(), 0);
    Ok(())
}

#[test]
fn a_refused_connection_is_told_so_at_once() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let rule = "\n[[rule]]\nname = \"no-web\"\naction = \"reject\"\nprotocol = \"tcp\"\ndestination_ports = [80]\n";
    let lan = Lan::start(&(switch_with_rules("") + rule), &[tap("web"), tap("client")])?;
    let [web, client] = &lan.hosts[..] else { unreachable!() };
    let server = weir_tests::lab::HttpServer::start(&web.namespace, web.at(80), "a page")?;
    let exchange = http_get(&client.namespace, server.address(), "/")?;
    assert!(matches!(&exchange, Exchange::NoConnection(why) if why.contains("refused")), "{exchange:?}");
    Ok(())
}

#[test]
fn a_policy_with_an_error_changes_nothing_and_says_where() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = Lan::start(&switch_with_rules(""), &[tap("a"), tap("b")])?;
    let [a, b] = &lan.hosts[..] else { unreachable!() };
    let policy = lan.daemon.path("policy.toml");
    std::fs::write(
        &policy,
        "[[rule]]\nname = \"x\"\naction = \"drop\"\n\n[[rule]]\nname = \"y\"\naction = \"drop\"\nfrom = { ports = [\"nobody\"] }\n",
    )?;
    let output = lan.daemon.try_ctl(&["policy", "apply", &policy.display().to_string()])?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nobody"), "the object is named: {said}");
    assert_eq!(ping(&a.namespace, &b.address.to_string(), 2)?.lost(), 0);
    Ok(())
}
