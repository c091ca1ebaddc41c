//! What rules wait for: the end of a message, a packet that goes its way, the bytes of a body.

use super::*;
use crate::app::http2::tests::{frame, literal};
use crate::app::tls::tests::{client_hello, record, server_hello};

const ASK: &[u8] = b"GET /a HTTP/1.1\r\nHost: secret\r\n\r\n";

fn opened(lab: &mut Lab) {
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 501, b""));
}

#[test]
fn rules_on_payloads_look_once_a_request_is_complete_with_a_packet_that_goes_its_way() {
    let mut lab = Lab::ruled("alert tcp any any -> any any (flow:to_server; content:\"secret\"; sid:1;)");
    opened(&mut lab);
    let (head, rest) = ASK.split_at(30);
    lab.packet(&tcp(true, PSH | ACK, 101, 501, head));
    lab.packet(&tcp(false, ACK, 501, 131, b""));
    lab.packet(&tcp(true, PSH | ACK, 131, 501, rest));
    assert_eq!(lab.alerts(), [], "the request is not complete");
    let after = 101 + ASK.len() as u32;
    lab.packet(&tcp(false, PSH | ACK, 501, after, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(lab.alerts(), [], "the packet goes the other way");
    lab.packet(&tcp(true, ACK, after, 539, b""));
    assert_eq!(lab.alerts(), [1]);
    lab.end();
    assert_eq!(lab.alerts(), []);
}

#[test]
fn a_request_of_an_unknown_method_is_looked_at_once_its_answer_tells_what_it_is() {
    let mut lab = Lab::ruled(
        "alert tcp any any -> any any (flow:established,to_server; content:\"secret\"; content:\"GeT\"; http_method; sid:1;)\n\
         alert tcp any any -> any any (flow:established,to_server; content:\"secret\"; content:\"PuT\"; http_method; sid:2;)\n\
         alert http any any -> any any (flow:established,to_server; content:\"secret\"; http.uri; content:\"/a\"; sid:3;)",
    );
    opened(&mut lab);
    let asked = b"GeT /a HTTP/1.1\r\nHost: secret\r\n\r\n";
    let answered = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (after, end) = (101 + asked.len() as u32, 501 + answered.len() as u32);
    lab.packet(&tcp(true, PSH | ACK, 101, 501, asked));
    lab.packet(&tcp(false, PSH | ACK, 501, after, answered));
    assert_eq!(lab.alerts(), [], "nothing is known of it");
    lab.packet(&tcp(true, ACK, after, end, b""));
    assert_eq!(lab.alerts(), [1, 3]);
    lab.end();
    assert_eq!(lab.alerts(), []);
}

#[test]
fn a_request_that_comes_with_the_opening_is_judged_once_the_connection_stands() {
    let mut lab = Lab::ruled(
        "alert http any any -> any any (flow:established,to_server; http.uri; content:\"/secret\"; sid:1;)\n\
         alert http any any -> any any (flow:established,to_server; http.uri; content:\"/other\"; sid:2;)",
    );
    let asked = b"GET /secret HTTP/1.0\r\nAccept: a\r\n\r\n";
    let answered = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    // The opening has a cookie (RFC 7413, 4.1.1), and the server takes what comes with it.
    let mut opening = [&4000u16.to_be_bytes()[..], &80u16.to_be_bytes(), &100u32.to_be_bytes(), &[0; 4]].concat();
    opening.extend([0x80, SYN, 0xff, 0xff, 0, 0, 0, 0, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1]);
    opening.extend(asked);
    let pseudo = weir_wire::checksum::pseudo_ipv4(CLIENT, SERVER, 6, opening.len() as u32);
    let sum = !pseudo.and(weir_wire::checksum::sum(&opening)).fold();
    opening[16..18].copy_from_slice(&sum.to_be_bytes());
    lab.packet(&ipv4(CLIENT, SERVER, 6, &opening));
    let (after, end) = (101 + asked.len() as u32, 501 + answered.len() as u32);
    lab.packet(&tcp(false, SYN | ACK, 500, after, b""));
    lab.packet(&tcp(true, ACK, after, 501, b""));
    lab.packet(&tcp(false, PSH | ACK, 501, after, answered));
    lab.packet(&tcp(true, ACK, after, end, b""));
    lab.end();
    assert_eq!(lab.alerts(), [1]);
}

#[test]
fn what_waits_is_looked_at_when_there_is_much_of_it_and_at_the_end() {
    for (sent, told) in [(300, &[][..]), (3000, &[1])] {
        let mut lab = Lab::ruled("alert tcp any any -> any any (flow:to_server; content:\"secret\"; sid:1;)");
        opened(&mut lab);
        let said = [b"GET /secret".as_slice(), &vec![b'a'; sent]].concat();
        lab.packet(&tcp(true, PSH | ACK, 101, 501, &said));
        let after = 101 + said.len() as u32;
        lab.packet(&tcp(false, ACK, 501, after, b""));
        lab.packet(&tcp(true, PSH | ACK, after, 501, b"b"));
        assert_eq!(lab.alerts(), told, "{sent}");
        lab.end();
        assert_eq!(lab.alerts(), if told.is_empty() { &[1][..] } else { &[] }, "{sent}");
    }
}

#[test]
fn what_no_protocol_is_known_of_is_looked_at_when_there_is_much_of_it() {
    let mut lab = Lab::ruled("alert tcp any any -> any any (flow:to_server; content:\"secret\"; sid:1;)");
    opened(&mut lab);
    let (mut client, mut server, mut told) = (101, 501, Vec::new());
    for _ in 0..12 {
        let (said, answered) = ([b"zz secret ".as_slice(), &[b'z'; 390]].concat(), [b'y'; 400]);
        lab.packet(&tcp(true, PSH | ACK, client, server, &said));
        client += 400;
        lab.packet(&tcp(false, PSH | ACK, server, client, &answered));
        server += 400;
        told.push(lab.alerts().len());
    }
    assert_eq!(told, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], "after 2,560 bytes that were acknowledged");
    lab.end();
    assert_eq!(lab.alerts(), [1]);
}

#[test]
fn each_direction_tells_once_what_it_speaks() {
    let mut lab = Lab::ruled(
        "alert tcp any any -> any any (app-layer-protocol:http; sid:1;)\n\
         alert tcp any any -> any any (app-layer-protocol:http,final; sid:2;)",
    );
    opened(&mut lab);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (after, end) = (101 + ASK.len() as u32, 501 + answer.len() as u32);
    let again = after + ASK.len() as u32;
    let mut told = Vec::new();
    for packet in [
        tcp(true, PSH | ACK, 101, 501, ASK),
        tcp(false, PSH | ACK, 501, after, answer),
        tcp(true, ACK, after, end, b""),
        tcp(true, PSH | ACK, after, end, ASK),
        tcp(false, ACK, end, again, b""),
        tcp(false, PSH | ACK, end, again, answer),
        tcp(true, ACK, again, end + answer.len() as u32, b""),
    ] {
        lab.packet(&packet);
        told.push(lab.alerts());
    }
    lab.end();
    told.push(lab.alerts());
    assert_eq!(told, [&[][..], &[], &[1, 2], &[], &[1], &[], &[], &[]]);
}

#[test]
fn bodies_of_http_2_are_files() {
    let mut lab = Lab::ruled(
        "alert http any any -> any any (file.data; content:\"secret\"; sid:1;)\n\
         alert http any any -> any any (file.name; content:\"/page\"; sid:2;)\n\
         alert http any any -> any any (file.data; content:\"nothing\"; sid:3;)",
    );
    opened(&mut lab);
    let asked = [literal(":method", "GET"), literal(":path", "/page"), literal(":authority", "h")].concat();
    let asked = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b""), frame(1, 5, 1, &asked)].concat();
    let answered = [frame(4, 0, 0, b""), frame(1, 4, 1, &literal(":status", "200")), frame(0, 1, 1, b"a secret page")];
    let answered = answered.concat();
    lab.packet(&tcp(true, PSH | ACK, 101, 501, &asked));
    let (after, end) = (101 + asked.len() as u32, 501 + answered.len() as u32);
    lab.packet(&tcp(false, PSH | ACK, 501, after, &answered));
    lab.packet(&tcp(true, ACK, after, end, b""));
    lab.packet(&tcp(false, ACK, end, after, b""));
    assert_eq!(
        lab.count(&["\"event_type\":\"fileinfo\"", "\"filename\":\"/page\"", "\"size\":13"]),
        1,
        "{}",
        lab.lines
    );
    lab.end();
    assert_eq!(lab.alerts(), [1, 2]);
}

#[test]
fn checksums_are_compared_though_bad_ones_are_let_pass() {
    let text = "alert udp any any -> any any (udpv4-csum:invalid; sid:1;)";
    for (setting, told) in [("checksum", &[1][..]), ("pcap-file.checksum-checks", &[])] {
        let value = if setting == "checksum" { "none" } else { "no" };
        let program = Arc::clone(&Lab::ruled(text).capture.core.program);
        let mut lab = Lab::new(&[(setting, value)], false);
        let settings = lab.capture.core.settings.clone();
        let shared = Shared::new(crate::app::Settings::default(), false);
        let options = Options([(setting.to_owned(), value.to_owned())].into());
        lab.capture = Capture::new(Settings::from_options(&options, false), program, shared);
        assert!(!settings.decode.checksums, "nothing asks for them");
        let mut bad = udp((CLIENT, 4000), (SERVER, 9), b"x");
        bad[26] = 0x12;
        lab.packet(&bad);
        assert_eq!(lab.alerts(), told, "{setting}");
    }
}

#[test]
fn what_a_handshake_says_is_looked_at_though_the_rest_is_encrypted() {
    let mut lab = Lab::ruled(
        "alert tcp any any -> any any (flow:established,to_server; content:\"www.example.org\"; sid:1;)\n\
         alert tcp any any -> any any (flow:established,to_client; content:\"|09 09 09 09|\"; sid:2;)\n\
         alert tcp any any -> any any (content:\"sealed\"; sid:3;)",
    );
    opened(&mut lab);
    let (asked, answered) = (record(22, &client_hello()), record(22, &server_hello(0x0304)));
    let (mut client, mut server) = (101 + asked.len() as u32, 501 + answered.len() as u32);
    lab.packet(&tcp(true, PSH | ACK, 101, 501, &asked));
    lab.packet(&tcp(false, PSH | ACK, 501, client, &answered));
    assert_eq!(lab.alerts(), [], "no packet has gone its way since");
    lab.packet(&tcp(true, ACK, client, server, b""));
    assert_eq!(lab.alerts(), [1], "a hello is complete by itself");
    let hidden = [record(20, &[1]), record(23, &[5; 40])].concat();
    let mut say = |lab: &mut Lab, from_client: bool, bytes: &[u8]| {
        let (seq, ack) = if from_client { (client, server) } else { (server, client) };
        lab.packet(&tcp(from_client, PSH | ACK, seq, ack, bytes));
        *if from_client { &mut client } else { &mut server } += bytes.len() as u32;
    };
    say(&mut lab, false, &hidden);
    say(&mut lab, true, &hidden);
    say(&mut lab, false, &record(23, b"a"));
    say(&mut lab, true, &record(23, b"b"));
    assert_eq!(lab.alerts(), [2]);
    for _ in 0..3 {
        say(&mut lab, true, &record(23, b"sealed"));
        say(&mut lab, false, &record(23, b"sealed"));
    }
    lab.end();
    assert_eq!(lab.alerts(), []);
}

#[test]
fn what_is_forbidden_is_looked_for_in_what_is_looked_at_at_once() {
    let mut lab = Lab::ruled(
        "alert tcp any any -> any any (flow:to_server; content:\"secret\"; content:!\"Host\"; sid:1;)\n\
         alert tcp any any -> any any (flow:to_server; content:\"secret\"; content:!\"/b\"; sid:2;)",
    );
    opened(&mut lab);
    let (mut client, mut server) = (101, 501);
    for asked in [ASK, b"GET /b HTTP/1.1\r\nX: secret\r\n\r\n"] {
        lab.packet(&tcp(true, PSH | ACK, client, server, asked));
        client += asked.len() as u32;
        let answered = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        lab.packet(&tcp(false, PSH | ACK, server, client, answered));
        server += answered.len() as u32;
        lab.packet(&tcp(true, ACK, client, server, b""));
        let told = if asked == ASK { [2] } else { [1] };
        assert_eq!(lab.alerts(), told);
    }
}
