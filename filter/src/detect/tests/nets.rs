//! Which rules are looked for between which addresses.

use std::fmt::Write;
use std::net::IpAddr;

use super::harness::*;
use crate::event::Tuple;

const HOSTS: [&str; 6] = ["10.1.0.5", "10.2.0.5", "192.0.2.7", "192.0.2.9", "2001:db8::1", "2001:db9::1"];

/// Sets of addresses as headers write them, with the hosts that they hold.
const SETS: [(&str, &[&str]); 6] = [
    ("any", &HOSTS),
    ("10.0.0.0/8", &["10.1.0.5", "10.2.0.5"]),
    ("!10.0.0.0/8", &["192.0.2.7", "192.0.2.9", "2001:db8::1", "2001:db9::1"]),
    ("[10.1.0.0/16,192.0.2.7]", &["10.1.0.5", "192.0.2.7"]),
    ("2001:db8::/32", &["2001:db8::1"]),
    ("[192.0.2.0/24,!192.0.2.9]", &["192.0.2.7"]),
];

/// A rule of each kind for each pair of sets, and for either direction.
fn rules() -> (String, Vec<(usize, usize, bool)>) {
    let (mut text, mut headers) = (String::new(), Vec::new());
    for (from, (source, _)) in SETS.iter().enumerate() {
        for (to, (destination, _)) in SETS.iter().enumerate() {
            for (arrow, both) in [("->", false), ("<>", true)] {
                let sid = headers.len() * 10;
                let header = format!("{source} any {arrow} {destination} any");
                for (nth, (protocol, options)) in [
                    ("tcp", "flow:established; content:\"needle\";"),
                    ("tcp-pkt", "content:\"needle\";"),
                    ("http", "http.uri; content:\"needle\";"),
                    ("http", "http.stat_code; content:\"299\";"),
                    ("http", "flow:to_client; file.data; content:\"needle\";"),
                    ("ip", ""),
                    ("tcp", ""),
                    ("udp", ""),
                ]
                .into_iter()
                .enumerate()
                {
                    writeln!(text, "alert {protocol} {header} ({options} sid:{};)", sid + nth + 1).unwrap();
                }
                headers.push((from, to, both));
            }
        }
    }
    (text, headers)
}

/// The rules of these kinds whose header takes packets from one host to another.
fn expected(headers: &[(usize, usize, bool)], kinds: &[usize], from: &str, to: &str) -> Vec<u32> {
    let holds = |set: usize, host: &str| SETS[set].1.contains(&host);
    let takes = |&(source, destination, both): &(usize, usize, bool)| {
        holds(source, from) && holds(destination, to) || both && holds(destination, from) && holds(source, to)
    };
    let taken = headers.iter().enumerate().filter(|(_, header)| takes(header)).map(|(nth, _)| nth * 10);
    taken.flat_map(|sid| kinds.iter().map(move |kind| (sid + kind) as u32)).collect()
}

#[test]
fn rules_match_between_all_addresses_of_their_headers_and_no_others() {
    let (text, headers) = rules();
    let program = program(&text);
    assert_eq!(program.nets.pairs().count(), 9, "there are sets for three nets");
    let address = |host: &str| host.parse::<IpAddr>().unwrap();
    for from in HOSTS {
        for to in HOSTS.into_iter().filter(|to| address(to).is_ipv4() == address(from).is_ipv4()) {
            let mut flow = Conversation::between(&program, [from, to].map(address), 6, 80);
            flow.shared.alerts_per_packet = usize::MAX;
            let mut said = flow.say(CLIENT, b"GET /needle HTTP/1.1\r\nHost: a\r\n\r\n");
            said.sort_unstable();
            assert_eq!(said, expected(&headers, &[1, 2, 3, 6, 7], from, to), "asked by {from} of {to}");
            let mut said = flow.say(SERVER, b"HTTP/1.1 299 OK\r\nContent-Length: 6\r\n\r\nneedle");
            said.sort_unstable();
            assert_eq!(said, expected(&headers, &[1, 2, 4, 5, 6, 7], to, from), "answered by {to} to {from}");
        }
    }
}

#[test]
fn nothing_is_searched_for_inside_where_all_rules_are_on_what_comes_from_outside() {
    let program = program(
        "alert tcp !10.0.0.0/8 any -> 10.0.0.0/8 any (content:\"needle\"; sid:1;)\n\
         alert tcp !10.0.0.0/8 any -> 10.0.0.0/8 any (content:\"thread\"; sid:2;)",
    );
    let hosts = |source: [u8; 4]| [IpAddr::from(source), IpAddr::from([10, 0, 0, 2])];
    let mut inside = Conversation::between(&program, hosts([10, 0, 0, 1]), 6, 22);
    assert_eq!(inside.say(CLIENT, b"needle"), []);
    assert!(inside.findings.settled);
    let mut outside = Conversation::between(&program, hosts([192, 0, 2, 1]), 6, 22);
    assert_eq!(outside.say(CLIENT, b"needle"), [1]);
    assert!(!outside.findings.settled);
}

#[test]
fn pairs_of_nets_turn_with_the_packets() {
    let (text, _) = rules();
    let program = program(&text);
    let tuple = |source: &str, destination: &str| Tuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        source_port: 40000,
        destination_port: 80,
        protocol: 6,
    };
    let there = program.nets.between(&tuple("10.1.0.5", "192.0.2.9"));
    let back = program.nets.between(&tuple("192.0.2.9", "10.1.0.5"));
    assert_eq!(there.turned(), back);
    assert_ne!(there.index(), back.index());
}
