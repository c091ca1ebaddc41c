//! What people are told of real traffic: transactions, alerts with what the application said, counters; and what rules
//! remember when they are changed, and when the daemon ends.

use std::time::Duration;

use weir_tests::lab::{Failure, HttpServer, Lan, Said, converse, http_get, skip_unless_root, switch_with_rules, tap};

const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn a_request_is_told_with_its_answer_and_remembered_in_a_set() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let rules = concat!(
        "alert http any any -> any any (msg:\"a secret\"; flow:established,to_server; http.uri; content:\"/secret\"; sid:1;)\n",
        "alert http any any -> any any (http.uri; dataset:set,asked,type string,save asked.lst; sid:2;)",
    );
    let data = std::env::temp_dir().join(format!("weir-net-events-{}", std::process::id()));
    let head = switch_with_rules(rules) + &format!("data = {:?}\n\n[settings.eve]\nstats_s = 1\n", data);
    let mut lan = Lan::start(&head, &[tap("web"), tap("client")])?;
    {
        let [web, client] = &lan.hosts[..] else { unreachable!() };
        let server = HttpServer::start(&web.namespace, web.at(80), "a page")?;
        assert!(http_get(&client.namespace, server.address(), "/secret")?.is_page_with("a page"));
        let alert = lan.daemon.wait_event("the alert", |e| e["alert"]["signature_id"] == 1)?;
        assert_eq!((&alert["http"]["url"], &alert["app_proto"]), (&"/secret".into(), &"http".into()), "{alert}");
        assert_eq!((&alert["in_iface"], &alert["direction"]), (&"client".into(), &"to_server".into()), "{alert}");
        let http = lan.daemon.wait_event("the transaction", |e| e["event_type"] == "http")?;
        assert_eq!((&http["http"]["url"], &http["http"]["status"]), (&"/secret".into(), &200.into()), "{http}");
        assert_eq!(
            (&http["src_ip"], &http["in_iface"]),
            (&client.address.to_string().into(), &"client".into()),
            "{http}"
        );
        assert_eq!(http["community_id"], alert["community_id"]);
        let stats = lan.daemon.wait_event("the counters", |e| e["stats"]["detect"]["alert"].as_u64() >= Some(2))?;
        assert!(stats["stats"]["decoder"]["pkts"].as_u64() > Some(5), "{stats}");
    }
    lan.daemon.stop()?;
    // "/secret" in base64, as sets are written.
    assert_eq!(std::fs::read_to_string(data.join("asked.lst")).unwrap_or_default(), "L3NlY3JldA==\n");
    let _ = std::fs::remove_dir_all(&data);
    Ok(())
}

#[test]
fn new_rules_know_what_old_ones_left_on_an_open_connection() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let first = r#"alert tcp any any -> any 5432 (content:"one"; flowbits:set,seen; sid:1;)"#;
    let second = concat!(
        "alert tcp any any -> any 5432 (content:\"zero\"; flowbits:set,other; sid:3;)\n",
        "alert tcp any any -> any 5432 (content:\"two\"; flowbits:isset,seen; sid:2;)",
    );
    let lan = Lan::start(&switch_with_rules(first), &[tap("server"), tap("client")])?;
    let [server, client] = &lan.hosts[..] else { unreachable!() };
    let mut talk = converse(&client.namespace, &server.namespace, server.at(5432))?;
    assert_eq!(talk.say(b"one", PATIENCE)?, Said::Heard);
    lan.daemon.wait_event("the first alert", |e| e["alert"]["signature_id"] == 1)?;
    lan.daemon.apply(&lan.config.replace(first, second))?;
    assert_eq!(talk.say(b"two", PATIENCE)?, Said::Heard);
    lan.daemon.wait_event("the second alert", |e| e["alert"]["signature_id"] == 2)?;
    let alerts = lan.daemon.events()?.into_iter().filter(|e| e["event_type"] == "alert").count();
    assert_eq!(alerts, 2);
    Ok(())
}
