//! Several workers: networks that share nothing, that move while traffic flows, and that become one when something joins
//! them, with their connections.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::{
    Daemon, Failure, Lan, Namespace, Said, converse, ping, skip_unless_root, switch_with_rules, tap, transfer,
    vhost_user, wait_for, xdp,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Two switches that nothing joins: "blue", and "lan" with "wan" behind a router that translates.
const APART: &str = r#"
[settings]
workers = 2
rebalance = false
midstream_grace_s = 0
[[switch]]
name = "blue"
[[switch]]
name = "lan"
[[switch]]
name = "wan"
[[router]]
name = "edge"
interface = [
    { name = "lan", switch = "lan", addresses = ["10.1.0.1/24"] },
    { name = "wan", switch = "wan", addresses = ["198.51.100.1/24"] },
]
masquerade = [{ interface = "wan" }]
"#;

/// Hosts with their switches and addresses.
const HOSTS: [(&str, &str, &str); 4] = [
    ("blue1", "blue", "10.9.0.1/24"),
    ("blue2", "blue", "10.9.0.2/24"),
    ("inside", "lan", "10.1.0.2/24"),
    ("outside", "wan", "198.51.100.9/24"),
];

fn start() -> Result<(Daemon, String, Vec<Namespace>), Failure> {
    let (mut config, mut hosts) = (APART.to_owned(), Vec::new());
    for (name, switch, _) in HOSTS {
        let host = Namespace::new(name)?;
        let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", host.name());
        config += &format!("\n[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{tap}\n");
        hosts.push(host);
    }
    let daemon = Daemon::start(&config)?;
    for (host, (.., address)) in hosts.iter().zip(HOSTS) {
        host.address("eth0", address)?;
    }
    hosts[2].ip(&["route", "add", "default", "via", "10.1.0.1"])?;
    Ok((daemon, config, hosts))
}

fn socket(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|e| Failure::of(text, e))
}

/// Which worker has which network.
fn places(daemon: &Daemon) -> Result<Vec<(String, u64)>, Failure> {
    let shown = daemon.ctl_json(&["worker", "show", "--look", "50"])?;
    let mut places = Vec::new();
    for worker in shown["workers"].as_array().into_iter().flatten() {
        for network in worker["networks"].as_array().into_iter().flatten() {
            let name = network["name"].as_str().unwrap_or_default().to_owned();
            places.push((name, worker["worker"].as_u64().unwrap_or(u64::MAX)));
        }
    }
    places.sort();
    Ok(places)
}

/// Everything that came in was sent, delivered, dropped, or waits.
fn nothing_has_vanished(daemon: &Daemon) -> Result<Value, Failure> {
    let stats = daemon.ctl_json(&["stats"])?;
    let of = |names: &[&str]| names.iter().filter_map(|name| stats["totals"][name].as_u64()).sum::<u64>();
    let (came, went) =
        (of(&["received", "originated", "copied"]), of(&["sent", "delivered", "held", "merged", "dropped"]));
    assert_eq!(came, went, "{}", stats["totals"]);
    Ok(stats)
}

fn flow_ids(daemon: &Daemon, port: u16) -> Result<Vec<u64>, Failure> {
    let flows = daemon.ctl_json(&["flow", "show", "--protocol", "tcp"])?;
    let flows = flows["flows"].as_array().cloned().unwrap_or_default();
    let wanted = flows.iter().filter(|flow| flow["destination_port"] == port);
    Ok(wanted.filter_map(|flow| flow["id"].as_u64()).collect())
}

#[test]
fn networks_move_between_workers_under_load_and_lose_nothing() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, config, hosts) = start()?;
    let [blue1, blue2, inside, outside] = &hosts[..] else { unreachable!() };
    assert_eq!(ping(blue1, "10.9.0.2", 2)?.lost(), 0);
    assert_eq!(ping(inside, "198.51.100.9", 2)?.lost(), 0);
    let apart = places(&daemon)?;
    assert_eq!(apart.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["blue", "lan"], "{apart:?}");
    assert_ne!(apart[0].1, apart[1].1, "each has a worker of its own: {apart:?}");

    let mut plain = converse(blue1, blue2, socket("10.9.0.2:5000")?)?;
    let mut translated = converse(inside, outside, socket("198.51.100.9:5000")?)?;
    std::thread::scope(|scope| -> Result<(), Failure> {
        let of_blue = scope.spawn(|| transfer(blue1, blue2, socket("10.9.0.2:7000")?, 96 << 20));
        let of_edge = scope.spawn(|| transfer(inside, outside, socket("198.51.100.9:7000")?, 96 << 20));
        for round in 0..12 {
            daemon.ctl(&["worker", "move", "blue", if round % 2 == 0 { "1" } else { "0" }])?;
            daemon.ctl(&["worker", "move", "edge", if round % 3 == 0 { "1" } else { "0" }])?;
            // A change of the policy while both run, and one that takes it back.
            let rule =
                "\n[[rule]]\nname = \"closed\"\naction = \"reject\"\nprotocol = \"tcp\"\ndestination_ports = [7100]\n";
            let held = daemon.ctl(&["show", "--config"])?;
            assert!(held.contains("worker_of"), "where a network stays is part of the state");
            daemon.apply(&format!("{config}{rule}"))?;
            for (from, to, address) in [(blue1, blue2, "10.9.0.2:7100"), (inside, outside, "198.51.100.9:7100")] {
                let address = socket(address)?;
                let _listener = to.inside(|| Ok(TcpListener::bind(address)?))?;
                let refused = from.inside(|| Ok(TcpStream::connect_timeout(&address, PATIENCE).is_err()))?;
                assert!(refused, "{address}: the rule holds in every network");
            }
            daemon.apply(&config)?;
            assert_eq!(plain.say(b"still there?", PATIENCE)?, Said::Heard);
            assert_eq!(translated.say(b"still there?", PATIENCE)?, Said::Heard);
        }
        for sent in [of_blue, of_edge] {
            let sent = sent.join().map_err(|_| Failure::new("a transfer panicked"))??;
            println!("while it moved: {:.2} Gbit/s", sent.bits_per_second() / 1e9);
        }
        Ok(())
    })?;
    let stats = nothing_has_vanished(&daemon)?;
    let flows = daemon.ctl(&["flow", "show", "--protocol", "tcp"])?;
    assert!(flows.contains("10.9.0.1") && flows.contains("10.1.0.2"), "flows of all networks are shown:\n{flows}");
    let table = daemon.ctl(&["fdb", "show"])?;
    assert!(table.contains("blue1") && table.contains("inside"), "{table}");
    assert!(stats["flows"].as_u64() >= Some(2), "{stats}");
    Ok(())
}

#[test]
fn what_a_router_joins_becomes_one_network_with_its_connections() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, config, hosts) = start()?;
    let [blue1, blue2, inside, outside] = &hosts[..] else { unreachable!() };
    let mut plain = converse(blue1, blue2, socket("10.9.0.2:5000")?)?;
    let mut translated = converse(inside, outside, socket("198.51.100.9:5000")?)?;
    for session in [&mut plain, &mut translated] {
        assert_eq!(session.say(b"before", PATIENCE)?, Said::Heard);
    }
    let before = flow_ids(&daemon, 5000)?;
    assert_eq!(before.len(), 2);
    let door = "{ name = \"blue\", switch = \"blue\", addresses = [\"10.9.0.254/24\"] },\n";
    let joined = config.replace("interface = [\n", &format!("interface = [\n{door}"));
    daemon.apply(&joined)?;
    let one = places(&daemon)?;
    assert_eq!(one.len(), 1, "{one:?}");
    // Nothing is taken up in its midst, so only connections that are known go on.
    for session in [&mut plain, &mut translated] {
        assert_eq!(session.say(b"after", PATIENCE)?, Said::Heard);
    }
    let mut after = flow_ids(&daemon, 5000)?;
    let mut sorted = before.clone();
    after.sort_unstable();
    sorted.sort_unstable();
    assert_eq!(after, sorted, "the flows are the same ones");
    blue1.ip(&["route", "add", "default", "via", "10.9.0.254"])?;
    assert_eq!(ping(blue1, "10.1.0.2", 3)?.lost(), 0, "the router joins them");
    assert_eq!(ping(blue1, "198.51.100.9", 3)?.lost(), 0);
    nothing_has_vanished(&daemon)?;
    // What was one stays one.
    daemon.apply(&config)?;
    assert_eq!(places(&daemon)?.len(), 1);
    assert_eq!(plain.say(b"still", PATIENCE)?, Said::Heard);
    Ok(())
}

#[test]
fn a_port_goes_to_another_network() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, _, hosts) = start()?;
    let [blue1, _, inside, _] = &hosts[..] else { unreachable!() };
    daemon.ctl(&["port", "set", "blue1", "--switch", "lan"])?;
    blue1.ip(&["address", "flush", "dev", "eth0"])?;
    blue1.address("eth0", "10.1.0.7/24")?;
    assert_eq!(ping(blue1, "10.1.0.2", 3)?.lost(), 0);
    assert_eq!(ping(inside, "10.1.0.7", 3)?.lost(), 0);
    assert_eq!(places(&daemon)?.len(), 2, "that joins nothing");
    nothing_has_vanished(&daemon)?;
    Ok(())
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, config, _hosts) = start()?;
    let refused = |arguments: &[&str]| -> Result<String, Failure> {
        let output = daemon.try_ctl(arguments)?;
        assert!(!output.status.success(), "{arguments:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(refused(&["worker", "move", "blue", "2"])?.contains("there are 2"));
    assert!(refused(&["worker", "move", "green", "1"])?.contains("green"));
    daemon.ctl(&["worker", "move", "lan", "1"])?;
    assert!(daemon.ctl(&["worker", "show"])?.contains("yes"), "it is held there");
    let both = config.replace("rebalance = false", "rebalance = false\nworker_of = { lan = 0, wan = 1 }");
    let Err(said) = daemon.apply(&both) else { return Err(Failure::new("one network stays with two workers")) };
    assert!(said.to_string().contains("one network"), "{said}");
    let Err(said) = daemon.apply(&config.replace("workers = 2", "workers = 3")) else {
        return Err(Failure::new("workers are started while the daemon runs"));
    };
    assert!(said.to_string().contains("restart"), "{said}");
    Ok(())
}

/// A switch and its two hosts: its name, and the second number of their addresses.
type Island = (&'static str, [Namespace; 2], u16);

/// Three switches, of which two share a worker, with two hosts on each.
fn three_networks() -> Result<(Daemon, Vec<Island>), Failure> {
    let (mut config, mut all) = ("[settings]\nworkers = 2\n".to_owned(), Vec::new());
    for (number, name) in ["red", "green", "blue"].into_iter().enumerate() {
        let hosts = [Namespace::new(&format!("{name}1"))?, Namespace::new(&format!("{name}2"))?];
        config += &format!("[[switch]]\nname = \"{name}\"\n");
        for (at, host) in hosts.iter().enumerate() {
            let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", host.name());
            config += &format!("[[port]]\nname = \"{name}{at}\"\nswitch = \"{name}\"\n{tap}\n");
        }
        all.push((name, hosts, number as u16));
    }
    let daemon = Daemon::start(&config)?;
    for (_, hosts, number) in &all {
        for (at, host) in hosts.iter().enumerate() {
            host.address("eth0", &format!("10.{number}.0.{}/24", at + 1))?;
        }
        assert_eq!(ping(&hosts[0], &format!("10.{number}.0.2"), 2)?.lost(), 0);
    }
    Ok((daemon, all))
}

#[test]
fn a_network_of_a_worker_that_has_too_much_to_do_goes_to_the_idle_one_and_nothing_is_lost() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, all) = three_networks()?;
    let before = places(&daemon)?;
    let at = |places: &[(String, u64)], name: &str| places.iter().find(|(known, _)| known == name).map(|(_, at)| *at);
    let crowded = |worker| before.iter().filter(|(_, at)| *at == worker).count() == 2;
    let hot = [0, 1].into_iter().find(|&worker| crowded(worker)).ok_or_else(|| Failure::new(format!("{before:?}")))?;
    let busy: Vec<_> = all.iter().filter(|(name, ..)| at(&before, name) == Some(hot)).collect();
    assert_eq!(busy.len(), 2, "{before:?}");
    let ended = std::sync::atomic::AtomicBool::new(false);
    let after = std::thread::scope(|scope| -> Result<Vec<(String, u64)>, Failure> {
        let load = |hosts: &[Namespace; 2], number: u16| -> Result<u32, Failure> {
            let mut done = 0;
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                // Every byte is compared, whoever forwards it.
                transfer(&hosts[0], &hosts[1], socket(&format!("10.{number}.0.2:7000"))?, 64 << 20)?;
                done += 1;
            }
            Ok(done)
        };
        let loads: Vec<_> = busy.iter().map(|(_, hosts, number)| scope.spawn(move || load(hosts, *number))).collect();
        let moved = wait_for("a network that moves", Duration::from_secs(90), || {
            let now = places(&daemon).ok()?;
            let apart = busy.iter().any(|(name, ..)| at(&now, name) != Some(hot));
            apart.then_some(now)
        });
        // What was on its way when it moved arrives, too.
        std::thread::sleep(Duration::from_millis(500));
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        for load in loads {
            let done = load.join().map_err(|_| Failure::new("a transfer panicked"))??;
            assert!(done > 0);
        }
        moved
    })?;
    let still = busy.iter().filter(|(name, ..)| at(&after, name) == Some(hot)).count();
    assert_eq!(still, 1, "one of the two went: {before:?}, {after:?}");
    // No frame ended in the switch, none vanished.
    let stats = nothing_has_vanished(&daemon)?;
    assert_eq!(stats["totals"]["dropped"].as_u64(), Some(0), "{}", stats["drops"]);
    for (_, hosts, number) in &all {
        assert_eq!(ping(&hosts[0], &format!("10.{number}.0.2"), 3)?.lost(), 0);
    }
    Ok(())
}

#[test]
fn ports_of_all_kinds_go_from_worker_to_worker_under_load() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let head = format!("[settings]\nworkers = 2\nrebalance = false\n{}", switch_with_rules(""));
    let lan = Lan::start(&head, &[xdp("xdp"), vhost_user("vhost"), tap("tap")])?;
    let [xdp, vhost, tap] = &lan.hosts[..] else { unreachable!() };
    for (from, to) in [(xdp, vhost), (vhost, tap), (tap, xdp)] {
        assert_eq!(ping(&from.namespace, &to.address.to_string(), 2)?.lost(), 0, "{} to {}", from.name, to.name);
    }
    let mut session = converse(&xdp.namespace, &vhost.namespace, vhost.at(5000))?;
    std::thread::scope(|scope| -> Result<(), Failure> {
        let pairs = [(xdp, vhost, 7000), (vhost, xdp, 7001), (tap, vhost, 7002)];
        let loads = pairs.map(|(from, to, port)| {
            (scope.spawn(move || transfer(&from.namespace, &to.namespace, to.at(port), 48 << 20)), from, to)
        });
        for round in 0..16 {
            move_lan(&lan.daemon, round % 2)?;
            assert_eq!(session.say(b"still there?", PATIENCE)?, Said::Heard, "round {round}");
        }
        for (load, from, to) in loads {
            let sent = load.join().map_err(|_| Failure::new("a transfer panicked"))??;
            println!("{} to {}: {:.2} Gbit/s", from.name, to.name, sent.bits_per_second() / 1e9);
        }
        Ok(())
    })?;
    let stats = nothing_has_vanished(&lan.daemon)?;
    assert_eq!(stats["totals"]["dropped"].as_u64(), Some(0), "{}", stats["drops"]);
    // Ports that move with nothing going on are heard where they are.
    for round in 0..4 {
        move_lan(&lan.daemon, round % 2)?;
        std::thread::sleep(Duration::from_millis(100));
        for (from, to) in [(xdp, vhost), (vhost, tap), (tap, xdp)] {
            assert_eq!(ping(&from.namespace, &to.address.to_string(), 1)?.lost(), 0, "{} to {}", from.name, to.name);
        }
    }
    Ok(())
}

/// Hands the switch's network to a worker, and sees that it is there.
fn move_lan(daemon: &Daemon, worker: u64) -> Result<(), Failure> {
    daemon.ctl(&["worker", "move", "lan", &worker.to_string()])?;
    let now = places(daemon)?;
    assert_eq!(now, [("lan".to_owned(), worker)]);
    Ok(())
}
