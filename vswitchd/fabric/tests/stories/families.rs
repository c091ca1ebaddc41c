//! Address translation beyond addresses and ports of one family: NPTv6, NAT64, and what FTP says of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_fabric::nat::{Forward, Nat64, NatConfig, Nptv6};
use weir_wire::build::{self, EchoKind, Ends, IcmpError, fragments, icmp_echo, icmp_error, tcp, udp};
use weir_wire::numbers::*;
use weir_wire::{DropReason, InterfaceId, Packet, Pool, PortId, TcpFields};

use crate::lab::Lab;
use crate::routing::{across6, only, prefix};
use crate::translation::{OUTSIDE, back, edge, from_outside, inside, masquerade};

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn nptv6() -> Lab {
    let network =
        Nptv6 { inside: prefix("fd00::/64"), outside: prefix("2001:db8:7:8::/64"), interface: InterfaceId(1) };
    edge(NatConfig { nptv6: vec![network], ..NatConfig::default() })
}

#[test]
fn a_network_is_known_outside_by_another_prefix() {
    let mut lab = nptv6();
    let (port, out) = only(&lab.send(1, &udp(across6(), (5000, 53), b"ask")));
    let (source, _) = out.addresses().unwrap();
    assert!(port == 3 && prefix("2001:db8:7:8::/64").contains(source), "{source}");
    let answer = udp(back(&out), (53, 5000), b"answer");
    for _ in 0..3 {
        let (port, home) = only(&lab.send(3, &answer));
        assert_eq!((port, home.addresses().unwrap().1), (1, across6().source));
        let (port, again) = only(&lab.send(1, &udp(across6(), (5000, 53), b"more")));
        assert_eq!((port, again.addresses().unwrap().0), (3, source), "always the same name");
    }
    let flows = lab.fabric.engine().flows(9, |flow| flow.tuple.destination_port == 53);
    assert_eq!((flows.len(), flows[0].tuple.source), (1, across6().source), "the guard sees the true ends");
    assert_eq!(lab.fabric.nat(lab.now, 9).1, 0, "nothing is remembered");
    let mut pool = Pool::default();
    let error = icmp_error(&out, out.addresses().unwrap().1, IcmpError::PortUnreachable, &mut pool).unwrap();
    let (port, told) = only(&lab.send(3, error.bytes()));
    let quote = build::packet(&[&told.bytes()[..14], &told.transport()[8..]].concat(), PortId(0), &mut pool).unwrap();
    assert_eq!((port, quote.addresses().unwrap().0), (1, across6().source), "errors speak of the inside address");
}

fn nat64() -> Lab {
    let nat64 = Nat64 {
        prefix: prefix("64:ff9b::/96"),
        interface: InterfaceId(1),
        address: OUTSIDE.into(),
        ports: 1024..=65535,
        limit_each: 0,
    };
    edge(NatConfig { nat64: vec![nat64], masquerades: vec![masquerade()], ..NatConfig::default() })
}

/// From host 1, by IPv6, to host 3, 10.0.1.3.
fn to_server() -> Ends {
    Ends { destination: v6("64:ff9b::10.0.1.3").into(), ..across6() }
}

#[test]
fn an_ipv6_host_reaches_an_ipv4_server() {
    let mut lab = nat64();
    let server = Ipv4Addr::new(10, 0, 1, 3);
    for round in 0..3 {
        let (port, out) = only(&lab.send(1, &udp(to_server(), (5000, 53), b"ask")));
        assert_eq!((port, out.addresses().unwrap(), out.payload()), (3, (OUTSIDE.into(), server.into()), &b"ask"[..]));
        assert_eq!(out.ipv4().unwrap()[8], 63, "round {round}");
        let (port, home) = only(&lab.send(3, &udp(back(&out), (53, out.ports().unwrap().0), b"answer")));
        assert_eq!((port, home.addresses().unwrap()), (1, (to_server().destination, to_server().source)));
        assert_eq!((home.ports(), home.payload()), (Some((53, 5000)), &b"answer"[..]));
    }
    let flows = lab.fabric.engine().flows(9, |flow| flow.tuple.destination_port == 53);
    assert_eq!((flows.len(), flows[0].tuple.source), (1, to_server().source), "the guard sees one flow of IPv6");

    // An IPv4 host with the same port gets another one.
    let (_, other) = only(&lab.send(2, &udp(inside(2), (5000, 53), b"four")));
    assert_ne!(other.ports().unwrap().0, 5000);

    let syn = TcpFields { source_port: 6000, destination_port: 80, flags: TCP_SYN, ..TcpFields::default() };
    let (_, out) = only(&lab.send(1, &tcp(to_server(), syn, &[2, 4, 5, 0xa0], &[])));
    let accept = TcpFields { source_port: 80, destination_port: 6000, flags: TCP_SYN | TCP_ACK, ack: 1, ..syn };
    let (port, home) = only(&lab.send(3, &tcp(back(&out), accept, &[], &[])));
    assert_eq!((port, home.addresses().unwrap().1), (1, to_server().source));

    let (_, out) = only(&lab.send(1, &icmp_echo(to_server(), EchoKind::Request, 7, 1, b"ping")));
    assert_eq!(out.icmp(), Some((ICMP_ECHO_REQUEST, 0)));
    let id = u16::from_be_bytes([out.transport()[4], out.transport()[5]]);
    let (port, reply) = only(&lab.send(3, &icmp_echo(back(&out), EchoKind::Reply, id, 1, b"ping")));
    assert_eq!((port, reply.icmp(), reply.transport()[5]), (1, Some((ICMPV6_ECHO_REPLY, 0)), 7));
}

#[test]
fn fragments_and_errors_cross_between_the_versions() {
    let mut lab = nat64();
    let before = lab.fabric.totals().dropped;
    let (port, out) = only(&lab.burst(1, &fragments(&udp(to_server(), (5000, 53), &[7; 4000]), 1500, 5)));
    assert_eq!((port, out.payload().len(), out.addresses().unwrap().0), (3, 4000, OUTSIDE.into()));
    let answer = fragments(&udp(back(&out), (53, out.ports().unwrap().0), &[8; 4000]), 1500, 6);
    let (port, home) = only(&lab.burst(3, &answer));
    assert_eq!((port, home.payload().len(), home.addresses().unwrap().1), (1, 4000, to_server().source));

    // A router far away says that the packet was too long.
    let (_, out) = only(&lab.send(1, &udp(to_server(), (5001, 53), &[7; 1300])));
    let mut pool = Pool::default();
    let error = icmp_error(&out, Ipv4Addr::new(10, 0, 1, 3).into(), IcmpError::TooBig(1300), &mut pool).unwrap();
    let (port, told) = only(&lab.send(3, error.bytes()));
    assert_eq!((port, told.icmp(), &told.transport()[4..8]), (1, Some((2, 0)), &1320u32.to_be_bytes()[..]));
    let quote = &told.transport()[8..];
    assert_eq!((quote[0] >> 4, &quote[8..24]), (6, &v6("fd00::1").octets()[..]));
    assert_eq!(&quote[40..44], [5001u16.to_be_bytes(), 53u16.to_be_bytes()].concat(), "with its true port");

    // A host says that nobody listens.
    let (_, home) = only(&lab.send(3, &udp(back(&out), (53, out.ports().unwrap().0), b"late")));
    let error = icmp_error(&home, to_server().source, IcmpError::PortUnreachable, &mut pool).unwrap();
    let (port, told) = only(&lab.send(1, error.bytes()));
    assert_eq!((port, told.icmp(), told.addresses().unwrap().0), (3, Some((3, 3)), OUTSIDE.into()));
    let quote = build::packet(&[&told.bytes()[..14], &told.transport()[8..]].concat(), PortId(0), &mut pool);
    let quoted = quote.map(|quote| quote.addresses().unwrap());
    assert_eq!(quoted.map(|(_, to)| to), Some(OUTSIDE.into()));
    assert_eq!(lab.fabric.totals().dropped, before);
}

#[test]
fn nobody_outside_reaches_an_ipv6_host_uncalled() {
    let mut lab = nat64();
    lab.send(3, &udp(from_outside(OUTSIDE), (53, 5000), b"uncalled"));
    assert_eq!(lab.dropped(3, DropReason::NotServed), 1, "it is for the router itself");
}

/// A TCP conversation by hand, between an inside and an outside host.
struct Talk {
    lab: Lab,
    client_inside: bool,
    ends: Ends,
    seq: [u32; 2],
}

impl Talk {
    /// Host 1 is the client, or the server of port 21 that is called as the router's.
    fn new(client_inside: bool) -> Talk {
        let forward = Forward {
            protocol: PROTOCOL_TCP,
            address: OUTSIDE.into(),
            ports: 21..=21,
            to: inside(1).source,
            to_port: 21,
        };
        let nat =
            NatConfig { masquerades: vec![masquerade()], forwards: vec![forward], ftp: true, ..NatConfig::default() };
        let ends = if client_inside { inside(1) } else { from_outside(OUTSIDE) };
        let mut talk = Talk { lab: edge(nat), client_inside, ends, seq: [100, 900] };
        talk.say(0, TCP_SYN, b"");
        talk.say(1, TCP_SYN | TCP_ACK, b"");
        talk.say(0, TCP_ACK, b"");
        talk
    }

    /// The client (0) or the server (1) says something; what arrives.
    fn say(&mut self, who: usize, flags: u8, text: &[u8]) -> Packet {
        let packet = self.repeat(who, flags, text);
        self.seq[who] += text.len() as u32 + u32::from(flags & TCP_SYN != 0);
        packet
    }

    /// The same, without counting it as said.
    fn repeat(&mut self, who: usize, flags: u8, text: &[u8]) -> Packet {
        let port = if (who == 0) == self.client_inside { 1 } else { 3 };
        let (ports, ends) = match who {
            0 => ((6000, 21), self.ends),
            _ if self.client_inside => {
                let destination = OUTSIDE.into();
                ((21, 6000), Ends { destination, ..from_outside(OUTSIDE) })
            }
            _ => {
                let destination = Ipv4Addr::new(10, 0, 1, 3).into();
                ((21, 6000), Ends { destination, ..inside(1) })
            }
        };
        let ack = if flags & TCP_ACK == 0 { 0 } else { self.seq[1 - who] };
        let fields = TcpFields {
            source_port: ports.0,
            destination_port: ports.1,
            seq: self.seq[who],
            ack,
            flags,
            window: 60000,
        };
        only(&self.lab.send(port, &tcp(ends, fields, &[], text))).1
    }
}

fn text(packet: &Packet) -> String {
    String::from_utf8_lossy(packet.payload()).into_owned()
}

#[test]
fn an_active_client_is_called_back_by_its_outside_name() {
    let mut talk = Talk::new(true);
    let push = TCP_ACK | TCP_PSH;
    talk.say(0, push, b"USER me\r\n");
    let sent = talk.repeat(0, push, b"PORT 10,0,0,1,31,64\r\n");
    assert_eq!((text(&sent).as_str(), sent.tcp().unwrap().seq), ("PORT 10,0,1,254,31,64\r\n", 110));
    let again = talk.say(0, push, b"PORT 10,0,0,1,31,64\r\n");
    assert_eq!(sent.bytes(), again.bytes(), "said again it is the same");
    // The server acknowledges two bytes more than the client has sent; the client hears of its own.
    talk.seq[0] += 2;
    let heard = talk.say(1, push, b"200 fine\r\n");
    talk.seq[0] -= 2;
    assert_eq!(heard.tcp().unwrap().ack, talk.seq[0]);
    let later = talk.say(0, push, b"LIST\r\n");
    assert_eq!(later.tcp().unwrap().seq, talk.seq[0] - 6 + 2);
    // The server calls; others may not.
    let call = |source: u8| {
        let ends = Ends { source: Ipv4Addr::new(10, 0, 1, source).into(), ..from_outside(OUTSIDE) };
        let fields = TcpFields { source_port: 20, destination_port: 8000, flags: TCP_SYN, ..TcpFields::default() };
        tcp(ends, fields, &[], &[])
    };
    let (port, called) = only(&talk.lab.send(3, &call(3)));
    assert_eq!((port, called.addresses().unwrap().1, called.ports()), (1, inside(1).source, Some((20, 8000))));
    let out = talk.lab.send(3, &call(4));
    assert!(out.iter().all(|(port, _)| *port != 1), "nobody else is let in");
}

#[test]
fn a_passive_server_inside_is_called_by_its_outside_name() {
    let mut talk = Talk::new(false);
    let push = TCP_ACK | TCP_PSH;
    talk.say(0, push, b"PASV\r\n");
    let told = talk.say(1, push, b"227 Entering Passive Mode (10,0,0,1,31,64).\r\n");
    assert_eq!(text(&told), "227 Entering Passive Mode (10,0,1,254,31,64)\r\n");
    let fields = TcpFields { source_port: 7000, destination_port: 8000, flags: TCP_SYN, ..TcpFields::default() };
    let (port, called) = only(&talk.lab.send(3, &tcp(from_outside(OUTSIDE), fields, &[], &[])));
    assert_eq!((port, called.addresses().unwrap().1), (1, inside(1).source));
    let told = talk.lab.fabric.nat(talk.lab.now, 9).0;
    assert!(told.iter().any(|entry| entry.names.outside == (IpAddr::V4(OUTSIDE), 8000)));
}

/// A router at which TFTP is attended to; hosts 1 and 2 are inside.
fn with_tftp(forwards: Vec<Forward>, tftp: bool) -> Lab {
    edge(NatConfig { masquerades: vec![masquerade()], forwards, tftp, ..NatConfig::default() })
}

#[test]
fn a_server_of_tftp_answers_by_another_port() {
    for helped in [true, false] {
        let mut lab = with_tftp(vec![], helped);
        let (_, asked) = only(&lab.send(1, &udp(inside(1), (5000, 69), b"\0\x01file\0octet\0")));
        let (name, _) = asked.ports().unwrap();
        let data = udp(back(&asked), (3333, name), b"\0\x03\0\x01data");
        let out = lab.send(3, &data);
        if !helped {
            assert!(out.iter().all(|(port, _)| *port != 1), "it belongs to nobody inside");
            continue;
        }
        let (port, packet) = only(&out);
        assert_eq!((port, packet.addresses().unwrap().1, packet.ports()), (1, inside(1).source, Some((3333, 5000))));
        let (port, more) = only(&lab.send(1, &udp(inside(1), (5000, 3333), b"\0\x04\0\x01")));
        assert_eq!((port, more.addresses().unwrap().0, more.ports()), (3, IpAddr::V4(OUTSIDE), Some((name, 3333))));
        // Another host than the server that was asked is not let in.
        let other = Ends { source: Ipv4Addr::new(10, 0, 1, 4).into(), ..from_outside(OUTSIDE) };
        let out = lab.send(3, &udp(other, (3333, name), b"\0\x03\0\x01evil"));
        assert!(out.iter().all(|(port, _)| *port != 1));
    }
}

#[test]
fn a_server_of_tftp_inside_answers_by_its_outside_name() {
    let to = inside(1).source;
    let forward = Forward { protocol: PROTOCOL_UDP, address: OUTSIDE.into(), ports: 69..=69, to, to_port: 69 };
    let mut lab = with_tftp(vec![forward], true);
    let (port, asked) = only(&lab.send(3, &udp(from_outside(OUTSIDE), (6000, 69), b"\0\x01file\0octet\0")));
    assert_eq!((port, asked.ports()), (1, Some((6000, 69))));
    let client = Ends { destination: Ipv4Addr::new(10, 0, 1, 3).into(), ..inside(1) };
    let (port, data) = only(&lab.send(1, &udp(client, (3333, 6000), b"\0\x03\0\x01data")));
    assert_eq!((port, data.addresses().unwrap().0, data.ports()), (3, IpAddr::V4(OUTSIDE), Some((3333, 6000))));
    let (port, ack) = only(&lab.send(3, &udp(from_outside(OUTSIDE), (6000, 3333), b"\0\x04\0\x01")));
    assert_eq!((port, ack.ports()), (1, Some((6000, 3333))));
}

#[test]
fn a_host_cannot_speak_for_another() {
    let mut talk = Talk::new(true);
    let sent = talk.say(0, TCP_ACK | TCP_PSH, b"PORT 10,0,0,2,31,64\r\n");
    assert_eq!(text(&sent), "PORT 10,0,0,2,31,64\r\n");
    assert_eq!(talk.lab.fabric.nat(talk.lab.now, 9).1, 1, "no binding for it");
}
