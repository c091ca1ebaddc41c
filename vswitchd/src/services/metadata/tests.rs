use std::time::Duration;

use weir_wire::build::{Ends, tcp as segment};
use weir_wire::numbers::{TCP_ACK, TCP_SYN};
use weir_wire::{MacAddr, Packet, Pool, PortId, TcpFields};

use super::http::{MANNER, REQUEST_MAX, read};
use super::*;
use crate::config::Config;
use crate::services::leases::Standing;
use crate::services::served::Catalogue;
use crate::services::tcp::{After, Split, Stack};
use crate::state::Ids;

const STATE: &str = r#"
switch = [{ name = "lan" }]
port = [{ name = "vm1", switch = "lan", mem = {} }, { name = "vm2", switch = "lan", mem = {} }]
[[router]]
name = "r"
dns = { domain = "guests.test" }
[[router.interface]]
name = "lan"
switch = "lan"
addresses = "10.0.0.1/24"
metadata = { user_data = "/all" }
[router.interface.dhcp]
host = [{ port = "vm1", name = "web", address = "10.0.0.9", user_data = "/own", ssh_keys = ["ssh-ed25519 AAAA a@b"] }]
"#;

fn facts_of(state: &str, port: &str) -> Option<Facts> {
    let config = Config::parse(state).expect("parses");
    config.check().expect("makes sense");
    let ids = Ids::default().after(&config);
    let catalogue = Catalogue::of(&config, &ids, 1);
    let served = catalogue.interfaces.values().next()?;
    let mut leases = Leases::default();
    let lease = Lease {
        place: "r/lan".into(),
        address: [10, 0, 0, 77].into(),
        client: b"vm2\0\x07".to_vec(),
        mac: MacAddr([2, 0, 0, 0, 0, 7]),
        port: "vm2".into(),
        name: Some("db".into()),
        until_s: 2000,
        standing: Standing::Bound,
    };
    leases.put(0, lease).expect("room");
    Facts::of(served, &leases, Guest { port, mac: MacAddr([2, 0, 0, 0, 0, 7]), id: &[] }, 1000)
}

fn facts(port: &str) -> Facts {
    facts_of(STATE, port).expect("metadata is served")
}

fn desk() -> Desk {
    Desk::new(Some(hmac::Key::new(hmac::HMAC_SHA256, b"a key of the test")))
}

fn ask(desk: &mut Desk, facts: &Facts, request: &str, now_s: u64) -> (u16, String) {
    let file = |path: &str| (path != "/gone").then(|| format!("of {path}").into_bytes());
    let answer = desk.answer(facts, &read(request.as_bytes()), now_s, file);
    (answer.code as u16, String::from_utf8(answer.content).expect("text"))
}

fn get(port: &str, path: &str) -> (u16, String) {
    ask(&mut desk(), &facts(port), &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), 1000)
}

#[test]
fn a_guest_is_told_what_is_known_of_its_port() {
    for (path, own) in [
        ("/latest/meta-data/", "hostname\ninstance-id\nlocal-hostname\nmac\nlocal-ipv4\npublic-keys/"),
        ("/latest/meta-data/instance-id", "vm1"),
        ("/2009-04-04/meta-data/local-hostname", "web.guests.test"),
        ("/latest/meta-data/hostname?x=1", "web.guests.test"),
        ("/latest/meta-data/local-ipv4", "10.0.0.9"),
        ("/latest/meta-data/mac", "02:00:00:00:00:07"),
        ("/latest/meta-data/public-keys/", "0=key-0"),
        ("/latest/meta-data/public-keys/0/", "openssh-key"),
        ("/latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA a@b"),
        ("/latest/user-data", "of /own"),
        ("http://169.254.169.254/user-data", "of /own"),
        ("/vendor-data", ""),
        (
            "/meta-data",
            "instance-id: \"vm1\"\nlocal-hostname: \"web.guests.test\"\npublic-keys:\n  - \"ssh-ed25519 AAAA a@b\"\n",
        ),
        ("/latest/", "meta-data\nuser-data"),
    ] {
        assert_eq!(get("vm1", path), (200, own.to_owned()), "{path}");
    }
    for path in ["/latest/meta-data/public-keys/1/openssh-key", "/latest/meta-data/x", "/nothing", "/latest/dynamic"] {
        assert_eq!(get("vm1", path).0, 404, "{path}");
    }
}

#[test]
fn another_guest_is_told_of_itself_and_not_of_the_first() {
    for (path, told) in [
        ("/latest/meta-data/instance-id", "vm2"),
        ("/latest/meta-data/hostname", "db.guests.test"),
        ("/latest/meta-data/local-ipv4", "10.0.0.77"),
        ("/latest/user-data", "of /all"),
    ] {
        assert_eq!(get("vm2", path), (200, told.to_owned()), "{path}");
    }
    assert_eq!(get("vm2", "/latest/meta-data/public-keys/0/openssh-key").0, 404);
    let quiet = STATE.replace("metadata = { user_data = \"/all\" }", "metadata = false");
    assert_eq!(facts_of(&quiet, "vm1"), None);
    let alone = STATE.replace("metadata = { user_data = \"/all\" }", "metadata = true");
    let facts = facts_of(&alone, "vm2").expect("metadata is served");
    assert_eq!(ask(&mut desk(), &facts, "GET /latest/user-data HTTP/1.1\r\n\r\n", 1).0, 404);
    assert_eq!(ask(&mut desk(), &facts, "GET /user-data HTTP/1.1\r\n\r\n", 1), (200, String::new()));
}

#[test]
fn tokens_hold_for_their_port_and_time() {
    let (mut desk, one, mut two) = (desk(), facts("vm1"), facts("vm2"));
    two.requires_token = true;
    let token =
        |ttl: &str| format!("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n\r\n");
    let (code, of_one) = ask(&mut desk, &one, &token("60"), 1000);
    assert_eq!(code, 200);
    let (_, of_two) = ask(&mut desk, &two, &token("60"), 1000);
    let with = |token: &str| format!("GET /latest/meta-data/mac HTTP/1.1\r\nX-Aws-Ec2-Metadata-Token: {token}\r\n\r\n");
    assert_eq!(ask(&mut desk, &one, &with(&of_one), 1059).0, 200);
    assert_eq!(ask(&mut desk, &one, &with(&of_one), 1060).0, 401, "it is too old");
    assert_eq!(ask(&mut desk, &two, &with(&of_two), 1001).0, 200);
    assert_eq!(ask(&mut desk, &two, &with(&of_one), 1001).0, 401, "it is another's");
    let longer = format!("{:016x}{}", 9999, &of_one[16..]);
    for made_up in ["", "x", &longer, &of_one[..20], "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}x"] {
        assert_eq!(ask(&mut desk, &one, &with(made_up), 1001).0, 401, "{made_up}");
    }
    assert_eq!(ask(&mut desk, &two, "GET /latest/meta-data/mac HTTP/1.1\r\n\r\n", 1001).0, 401, "it needs one");
    for ttl in ["0", "21601", "-1", "x"] {
        assert_eq!(ask(&mut desk, &one, &token(ttl), 1000).0, 400, "{ttl}");
    }
    assert_eq!(ask(&mut Desk::new(None), &one, &token("60"), 1000).0, 500);
}

#[test]
fn what_is_not_to_be_answered_is_refused_and_counted() {
    let (mut desk, mut facts) = (desk(), facts("vm1"));
    facts.user_data = Some("/gone".into());
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(REQUEST_MAX));
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    for (request, code) in [
        ("GET /latest/meta-data/mac HTTP/1.1\r\nX-Forwarded-For: 10.0.0.5\r\n\r\n", 403),
        (
            "PUT /latest/api/token HTTP/1.1\r\nx-forwarded-for: a\r\nX-aws-ec2-metadata-token-ttl-seconds: 9\r\n\r\n",
            403,
        ),
        ("GET /latest/api/token HTTP/1.1\r\n\r\n", 405),
        ("PUT /latest/user-data HTTP/1.1\r\n\r\n", 405),
        ("DELETE / HTTP/1.1\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET latest HTTP/1.1\r\n\r\n", 400),
        ("\r\n\r\n", 400),
        ("\x16\x03\x01\0\x01\r\n\r\n", 400),
        (&fields, 431),
        (&long, 431),
        ("GET /latest/user-data HTTP/1.1\r\n\r\n", 500),
        ("GET /latest/meta-data/none HTTP/1.1\r\n\r\n", 404),
        ("GET / HTTP/1.0\r\n\r\n", 200),
    ] {
        assert_eq!(ask(&mut desk, &facts, request, 1000).0, code, "{request}");
    }
    let Counters { requests, answered, unknown, refused, malformed, unreadable, limited } = desk.counters;
    assert_eq!((requests, answered, unknown, refused, malformed, unreadable, limited), (17, 1, 1, 2, 12, 1, 0));
}

#[test]
fn requests_are_found_whole_and_in_pieces_and_never_beyond_their_room() {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for cut in 0..request.len() {
        assert_eq!((MANNER.split)(&request[..cut]), Split::More, "{cut}");
    }
    let two = [&request[..], &request[..]].concat();
    assert_eq!((MANNER.split)(&two), Split::Whole { from: 0, to: request.len() });
    assert_eq!((MANNER.split)(&[b'a'; REQUEST_MAX]), Split::Whole { from: 0, to: REQUEST_MAX });
    // Whatever bytes come, they are read or refused.
    let mut state = 7u32;
    for length in 0..600 {
        let mut noise = request.to_vec();
        for byte in &mut noise {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 29 == 0 {
                *byte = (state >> 8) as u8;
            }
        }
        noise.truncate(length);
        let (bytes, _) = desk().answer(&facts("vm1"), &read(&noise), 1, |_| None).write(read(&noise).as_ref().ok());
        assert!(bytes.starts_with(b"HTTP/1.1 "));
    }
}

#[test]
fn answers_say_how_long_they_are_and_whether_the_connection_stays() {
    let write = |request: &str| {
        let request = read(request.as_bytes());
        let answer = desk().answer(&facts("vm1"), &request, 1, |_| None);
        let (bytes, after) = answer.write(request.as_ref().ok());
        (String::from_utf8(bytes).expect("text"), after)
    };
    let (text, after) = write("GET /latest/meta-data/instance-id HTTP/1.1\r\n\r\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!((text.as_str(), after), (&*format!("{head}vm1"), After::Listen));
    assert_eq!(write("HEAD /latest/meta-data/instance-id HTTP/1.1\r\n\r\n").0, head);
    assert_eq!(write("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").1, After::Close);
    assert_eq!(write("GET / HTTP/1.0\r\n\r\n").1, After::Close);
    let (text, after) = write("nonsense\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && after == After::Close, "{text}");
}

#[test]
fn a_request_in_pieces_is_answered_and_a_connection_to_be_closed_is() {
    let mut stack: Stack<u8> = Stack::new(MANNER, 7, Duration::ZERO);
    let ends = Ends::ipv4(1, 2);
    let parse = |frame: &[u8]| weir_wire::build::packet(frame, PortId(1), &mut Pool::default()).expect("a frame");
    let say = |stack: &mut Stack<u8>, (seq, ack, flags): (u32, u32, u8), data: &[u8]| {
        let fields = TcpFields { source_port: 4000, destination_port: 80, seq, ack, flags, window: 60_000 };
        stack.take(parse(&segment(ends, fields, &[], data)).network().to_vec(), ends, (4000, flags), 9);
        stack.poll(Duration::from_millis(1))
    };
    assert!(stack.is_quiet());
    say(&mut stack, (100, 0, TCP_SYN), b"");
    let accepted = parse(&stack.next_segment().expect("it is accepted").0);
    let ack = accepted.tcp().expect("a segment").seq.wrapping_add(1);
    assert!(say(&mut stack, (101, ack, TCP_ACK), b"").is_empty());
    assert!(say(&mut stack, (101, ack, TCP_ACK), b"GET / HT").is_empty());
    assert!(!stack.is_quiet());
    let asked = say(&mut stack, (109, ack, TCP_ACK), b"TP/1.1\r\n\r\n").pop().expect("a request");
    assert_eq!((&asked.1[..], asked.2), (&b"GET / HTTP/1.1\r\n\r\n"[..], 9));
    stack.answer(asked.0, b"all of it", After::Close);
    assert_eq!(stack.due(Duration::from_millis(2)), Some(Duration::from_millis(2)), "there is something to write");
    stack.poll(Duration::from_millis(2));
    let said: Vec<Packet> = std::iter::from_fn(|| stack.next_segment()).map(|(frame, _)| parse(&frame)).collect();
    let last = said.iter().find(|packet| packet.payload() == b"all of it").expect("the answer");
    let closes = |packet: &Packet| packet.tcp().is_some_and(|tcp| tcp.flags & weir_wire::numbers::TCP_FIN != 0);
    assert!(closes(last) || said.iter().any(closes), "it is closed behind it");
}
