use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, RecordType};
use weir_wire::MacAddr;

use super::super::leases::{Lease, Standing};
use super::*;
use crate::config::Config;

const STATE: &str = r#"
switch = [{ name = "lan" }]
port = [{ name = "vm1", switch = "lan", mem = {} }, { name = "vm2", switch = "lan", mem = {} }]
[[router]]
name = "r"
interface = [{ name = "lan", switch = "lan", addresses = ["10.0.0.1/24", "fd00::1/64"], dhcp = {} }]
[router.dns]
domain = "guests.test"
forward = ["192.0.2.53", "192.0.2.54:5353"]
rate = 1000
record = [
    { name = "gw", addresses = ["10.0.0.1", "fd00::1"] },
    { name = "www", alias_of = "gw" },
    { name = "out", alias_of = "web.example.org" },
    { name = "note.example.org", text = "hello" },
]
"#;

struct Lab {
    desk: Desk<u32>,
    names: Names,
    leases: Leases,
    asked: u32,
}

impl Lab {
    fn new() -> Lab {
        let config = Config::parse(STATE).expect("parses");
        config.check().expect("makes sense");
        let ports = config.ports.iter().map(|port| port.name.as_str());
        let names = Names::of(&config.routers[0], ports).expect("names are served");
        let mut leases = Leases::default();
        for (last, port, name) in [(5, "vm1", Some("web")), (6, "vm2", None)] {
            let lease = Lease {
                place: "r/lan".into(),
                address: IpAddr::from([10, 0, 0, last]),
                client: vec![last],
                mac: MacAddr([2, 0, 0, 0, 0, last]),
                port: port.into(),
                name: name.map(str::to_owned),
                until_s: 2000,
                standing: Standing::Bound,
            };
            leases.put(0, lease).expect("room");
        }
        Lab { desk: Desk::default(), names, leases, asked: 0 }
    }

    fn ask_raw(&mut self, port: &str, bytes: &[u8], transport: Transport) -> Said {
        self.asked += 1;
        let asked = Asked { bytes, port, transport, back: self.asked };
        self.desk.ask(&self.names, &self.leases, 1000, asked)
    }

    fn ask(&mut self, name: &str, kind: RecordType) -> Said {
        self.ask_raw("vm1", &question(7, name, kind), Transport::Udp)
    }

    /// The answer to a question that is answered here: its code, and what its records say.
    fn told(&mut self, name: &str, kind: RecordType) -> (u16, Vec<String>) {
        match self.ask(name, kind) {
            Said::Now(bytes) => read(&bytes),
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn read(bytes: &[u8]) -> (u16, Vec<String>) {
    let message = Message::from_vec(bytes).expect("a message");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    let data = message.answers.iter().map(|record| record.data.to_string());
    (u16::from(message.metadata.response_code), data.collect())
}

fn question(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.to_vec().expect("is written")
}

fn reply(count: u8, ttl: u32) -> Answer {
    let name = Name::from_ascii("web.example.org.").expect("a name");
    let record = |last| Record::from_rdata(name.clone(), ttl, RData::A(A([192, 0, 2, last].into())));
    Answer { answers: (0..count).map(record).collect(), ..Answer::default() }
}

macro_rules! known_here {
    ($($test:ident: $name:literal $kind:ident => $code:literal [$($told:literal),*];)+) => {
        $(
            #[test]
            fn $test() {
                let told: Vec<String> = vec![$($told.to_owned()),*];
                assert_eq!(Lab::new().told($name, RecordType::$kind), ($code, told));
            }
        )+
    };
}

known_here! {
    a_guest_is_found_by_its_name: "web.guests.test." A => 0 ["10.0.0.5"];
    and_in_any_case: "WEB.Guests.TEST." A => 0 ["10.0.0.5"];
    and_by_its_port: "vm2.guests.test." A => 0 ["10.0.0.6"];
    and_by_one_label: "vm2." A => 0 ["10.0.0.6"];
    a_name_without_such_an_address_exists: "web.guests.test." AAAA => 0 [];
    a_record_is_found: "gw.guests.test." AAAA => 0 ["fd00::1"];
    an_alias_is_followed: "www.guests.test." A => 0 ["gw.guests.test.", "10.0.0.1"];
    a_text_is_told: "note.example.org." TXT => 0 ["hello"];
    what_is_not_known_in_our_domain_does_not_exist: "nobody.guests.test." A => 3 [];
    nor_deeper: "a.b.guests.test." A => 3 [];
    nor_outside_of_it_by_one_label: "intranet." A => 3 [];
    our_domain_exists: "guests.test." A => 0 [];
    an_address_has_a_name: "5.0.0.10.in-addr.arpa." PTR => 0 ["web.guests.test."];
    or_that_of_its_port: "6.0.0.10.in-addr.arpa." PTR => 0 ["vm2.guests.test."];
    or_that_of_a_record: "1.0.0.10.in-addr.arpa." PTR => 0 ["gw.guests.test."];
    nobodys_address_of_our_networks_has_none: "77.0.0.10.in-addr.arpa." PTR => 3 [];
}

#[test]
fn others_are_asked_once_for_equal_questions_and_remembered() {
    let mut lab = Lab::new();
    let Said::Ask(key, servers) = lab.ask("Web.Example.org.", RecordType::A) else { panic!("others are asked") };
    assert_eq!(servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.53:53", "192.0.2.54:5353"]);
    assert_eq!(lab.ask_raw("vm2", &question(9, "web.example.org.", RecordType::A), Transport::Udp), Said::Nothing);
    assert_eq!(lab.desk.waiting(), 2);
    let answers = lab.desk.answered(key, Some(reply(1, 60)), 10, 1000);
    assert_eq!(answers.iter().map(|(back, _)| *back).collect::<Vec<_>>(), [1, 2]);
    let first = Message::from_vec(&answers[0].1).expect("a message");
    assert_eq!((first.metadata.id, first.queries[0].name.to_ascii().as_str()), (7, "Web.Example.org."));
    assert_eq!(lab.desk.waiting(), 0);
    assert_eq!(lab.told("web.example.org.", RecordType::A), (0, vec!["192.0.2.0".into()]));
    assert_eq!((lab.desk.cache.hits, lab.desk.counters.forwarded), (1, 1));
    let asked = Asked {
        bytes: &question(1, "web.example.org.", RecordType::A),
        port: "vm1",
        transport: Transport::Udp,
        back: 9,
    };
    assert!(matches!(lab.desk.ask(&lab.names, &lab.leases, 1060, asked), Said::Ask(..)), "it has run out");
}

#[test]
fn what_nobody_answers_fails_and_is_asked_again() {
    let mut lab = Lab::new();
    let Said::Ask(key, _) = lab.ask("web.example.org.", RecordType::A) else { panic!("others are asked") };
    let answers = lab.desk.answered(key, None, 10, 1000);
    assert_eq!(read(&answers[0].1), (2, Vec::new()));
    assert!(matches!(lab.ask("web.example.org.", RecordType::A), Said::Ask(..)));
}

#[test]
fn an_alias_that_leads_out_is_answered_with_what_it_leads_to() {
    let mut lab = Lab::new();
    let Said::Ask(key, _) = lab.ask("out.guests.test.", RecordType::A) else { panic!("others are asked") };
    assert_eq!(key.name.to_ascii(), "web.example.org.");
    let answers = lab.desk.answered(key, Some(reply(1, 60)), 10, 1000);
    assert_eq!(read(&answers[0].1), (0, vec!["web.example.org.".into(), "192.0.2.0".into()]));
}

#[test]
fn long_answers_are_cut_for_udp_to_what_the_asker_takes() {
    let mut lab = Lab::new();
    let asks = |payload: Option<u16>| {
        let mut message = Message::from_vec(&question(7, "web.example.org.", RecordType::A)).expect("a message");
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message.to_vec().expect("is written")
    };
    let Said::Ask(key, _) = lab.ask_raw("vm1", &asks(None), Transport::Udp) else { panic!("others are asked") };
    lab.desk.answered(key, Some(reply(60, 60)), 10, 1000);
    for (payload, transport, cut) in
        [(None, Transport::Udp, true), (Some(1232), Transport::Udp, false), (None, Transport::Tcp, false)]
    {
        let Said::Now(bytes) = lab.ask_raw("vm1", &asks(payload), transport) else { panic!("it is remembered") };
        let message = Message::from_vec(&bytes).expect("a message");
        assert_eq!((message.metadata.truncation, message.answers.is_empty()), (cut, cut), "{payload:?}");
        assert_eq!(message.edns.is_some(), payload.is_some());
    }
}

#[test]
fn nobody_is_asked_where_nobody_is_given_or_it_is_not_wanted() {
    let mut lab = Lab::new();
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("web.example.org.").expect("a name"), RecordType::A));
    let plain = message.to_vec().expect("is written");
    let Said::Now(bytes) = lab.ask_raw("vm1", &plain, Transport::Udp) else { panic!("it is refused") };
    assert_eq!(read(&bytes).0, 5);
    lab.names.config.forward.clear();
    assert_eq!(lab.told("web.example.org.", RecordType::A).0, 5);
    assert_eq!(lab.desk.counters.refused, 2);
}

#[test]
fn a_port_asks_so_often_waits_for_so_much_and_no_more() {
    let mut lab = Lab::new();
    for n in 0..WAITING_OF_PORT {
        assert!(matches!(lab.ask(&format!("n{n}.example.org."), RecordType::A), Said::Ask(..)));
    }
    assert_eq!(lab.told("other.example.org.", RecordType::A).0, 2);
    let other = lab.ask_raw("vm2", &question(1, "other.example.org.", RecordType::A), Transport::Udp);
    assert!(matches!(other, Said::Ask(..)), "others still get theirs");
    let silent = (0..5000).filter(|_| lab.ask("gw.guests.test.", RecordType::A) == Said::Nothing).count();
    assert!(silent > 2500, "{silent}");
}

#[test]
fn what_is_remembered_is_bounded_and_what_does_not_exist_too() {
    let mut lab = Lab::new();
    for n in 0..20 {
        let Said::Ask(key, _) = lab.ask(&format!("n{n}.example.org."), RecordType::A) else {
            panic!("others are asked")
        };
        let missing = Answer { code: ResponseCode::NXDomain, ..Answer::default() };
        lab.desk.answered(key, Some(missing), 8, 1000);
    }
    assert_eq!((lab.desk.cache.len(), lab.desk.cache.evicted), (8, 12));
    assert_eq!(lab.told("n19.example.org.", RecordType::A).0, 3);
    assert_eq!(lab.desk.cache.flush(), 8);
}

#[test]
fn what_is_no_question_is_refused_and_an_answer_is_not_answered() {
    let mut lab = Lab::new();
    let good = question(7, "web.guests.test.", RecordType::A);
    let mut answer = good.clone();
    answer[2] |= 0x80;
    assert_eq!(lab.ask_raw("vm1", &answer, Transport::Udp), Said::Nothing);
    let Said::Now(bytes) = lab.ask_raw("vm1", &good[..20], Transport::Udp) else { panic!("it is refused") };
    assert_eq!(read(&bytes).0, 1);
    let mut update = good.clone();
    update[2] = 0x28;
    let Said::Now(bytes) = lab.ask_raw("vm1", &update, Transport::Udp) else { panic!("it is refused") };
    assert_eq!(read(&bytes).0, 4);
    assert_eq!(lab.ask_raw("vm1", &good[..7], Transport::Udp), Said::Nothing);
    let mut dice = 5u64;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (dice >> 33) as usize % bytes.len();
            bytes[at] = (dice >> 20) as u8;
        }
        lab.ask_raw("vm3", &bytes, Transport::Udp);
    }
}

/// A TCP of a guest, on the same bench as ours.
mod connections {
    use weir_wire::build::{Ends, tcp as segment};
    use weir_wire::numbers::{TCP_ACK, TCP_SYN};
    use weir_wire::{Packet, Pool, PortId, TcpFields};

    use super::*;
    use crate::services::dns::tcp::{MANNER, framed};
    use crate::services::tcp::{After, Stack};

    fn parse(frame: &[u8]) -> Packet {
        weir_wire::build::packet(frame, PortId(1), &mut Pool::default()).expect("a frame")
    }

    /// Sends a segment of a guest; returns what comes back.
    fn say(stack: &mut Stack<u8>, port: u16, fields: (u32, u32, u8), data: &[u8]) -> Vec<Packet> {
        let (seq, ack, flags) = fields;
        let ends = Ends::ipv4(1, 2);
        let fields = TcpFields { source_port: port, destination_port: 53, seq, ack, flags, window: 60_000 };
        let packet = parse(&segment(ends, fields, &[], data));
        stack.take(packet.network().to_vec(), ends, (port, flags), 9);
        stack.poll(Duration::from_millis(1));
        std::iter::from_fn(|| stack.next_segment()).map(|(frame, _)| parse(&frame)).collect()
    }

    #[test]
    fn a_question_over_tcp_is_heard_and_its_answer_sent() {
        let mut stack: Stack<u8> = Stack::new(MANNER, 7, Duration::ZERO);
        let accepted = say(&mut stack, 4000, (100, 0, TCP_SYN), b"");
        let fields = accepted[0].tcp().expect("a segment");
        assert_eq!((fields.flags, fields.ack), (TCP_SYN | TCP_ACK, 101));
        assert_eq!(accepted[0].addresses(), Some((Ends::ipv4(1, 2).destination, Ends::ipv4(1, 2).source)));
        assert!(weir_wire::checksum::verify_l4(&accepted[0]));
        let seq = fields.seq.wrapping_add(1);
        say(&mut stack, 4000, (101, seq, TCP_ACK), b"");
        let ends = Ends::ipv4(1, 2);
        let fields =
            TcpFields { source_port: 4000, destination_port: 53, seq: 101, ack: seq, flags: TCP_ACK, window: 60_000 };
        let packet = parse(&segment(ends, fields, &[], b"\0\x03who"));
        stack.take(packet.network().to_vec(), ends, (4000, TCP_ACK), 9);
        let mut questions = stack.poll(Duration::from_millis(2));
        let (line, question, way) = questions.pop().expect("a question");
        assert_eq!((&question[..], way), (&b"who"[..], 9));
        stack.answer(line, &framed(b"me"), After::Listen);
        stack.poll(Duration::from_millis(3));
        let said: Vec<Packet> = std::iter::from_fn(|| stack.next_segment()).map(|(frame, _)| parse(&frame)).collect();
        assert!(said.iter().any(|packet| packet.payload() == b"\0\x02me"), "{}", said.len());
    }

    #[test]
    fn a_host_has_so_many_connections_and_silent_ones_end() {
        let mut stack: Stack<u8> = Stack::new(MANNER, 7, Duration::ZERO);
        let accepted = (0..10).filter(|n| !say(&mut stack, 4000 + n, (100, 0, TCP_SYN), b"").is_empty());
        assert_eq!(accepted.count(), 4);
        for seconds in 1..=60 {
            stack.poll(Duration::from_secs(seconds));
        }
        while stack.next_segment().is_some() {}
        assert!(!say(&mut stack, 5000, (100, 0, TCP_SYN), b"").is_empty(), "there is room again");
    }

    #[test]
    fn a_question_that_nobody_answers_ends_its_connection() {
        let mut stack: Stack<u8> = Stack::new(MANNER, 7, Duration::ZERO);
        let accepted = say(&mut stack, 4000, (100, 0, TCP_SYN), b"");
        let seq = accepted[0].tcp().expect("a segment").seq.wrapping_add(1);
        let ends = Ends::ipv4(1, 2);
        let fields =
            TcpFields { source_port: 4000, destination_port: 53, seq: 101, ack: seq, flags: TCP_ACK, window: 60_000 };
        let packet = parse(&segment(ends, fields, &[], b"\0\x03who"));
        stack.take(packet.network().to_vec(), ends, (4000, TCP_ACK), 9);
        let (line, ..) = stack.poll(Duration::from_millis(2)).pop().expect("a question");
        for seconds in 1..=40 {
            stack.poll(Duration::from_secs(seconds));
        }
        while stack.next_segment().is_some() {}
        stack.answer(line, &framed(b"too late"), After::Listen);
        stack.poll(Duration::from_secs(41));
        assert!(stack.next_segment().is_none());
        assert!(!say(&mut stack, 5000, (100, 0, TCP_SYN), b"").is_empty());
    }
}
