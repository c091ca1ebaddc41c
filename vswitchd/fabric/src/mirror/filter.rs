//! Filter expressions, as tcpdump's users write them: `tcp port 443 and not host 10.0.0.1`.
//!
//! Compiled once, evaluated for every frame that a mirror looks at. The language is a part of pcap-filter(7):
//! `host`, `net`, `port`, `portrange` with `src` and `dst` before them; `ip`, `ip6`, `arp`, `tcp`, `udp`, `icmp`,
//! `icmp6`, `igmp`, `sctp` alone or before those; `ip proto N`, `ether host`, `ether proto`, `vlan [N]`, `broadcast`,
//! `multicast`, `less N`, `greater N`; `and`, `or`, `not`, brackets. As there, `and` and `or` bind alike, from left to
//! right, and `port 80 or 443` means both ports. Unlike there, tags do not shift what follows `vlan`.
//!
//! Limits: [`TERMS`] terms, [`DEPTH`] brackets. A filter that is too long is refused; evaluation cannot fail.

use std::net::IpAddr;

use weir_wire::numbers::*;
use weir_wire::{L3, MacAddr, Packet, Vid};

/// Terms of an expression at most.
pub const TERMS: usize = 256;
/// Brackets and negations within each other at most.
pub const DEPTH: usize = 32;

/// A compiled expression. The default one takes every frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Option<Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Test(Test),
    Not(Box<Node>),
    /// All of them, or any.
    All(Vec<Node>),
    Any(Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Ip4,
    Ip6,
    Arp,
    /// One of these IP protocols; in IPv4 or IPv6 only, where it is stated.
    Protocol(u8, Option<L3>),
    EtherType(u16),
    Net(Side, IpAddr, u8),
    Ports(Side, u16, u16),
    Vlan(Option<Vid>),
    Mac(Side, MacAddr),
    Broadcast,
    Multicast,
    Less(usize),
    Greater(usize),
}

impl Filter {
    /// Compiles an expression; an empty one takes every frame.
    ///
    /// # Errors
    /// What is wrong, with the word that is.
    pub fn parse(text: &str) -> Result<Filter, String> {
        let words = words(text);
        if words.is_empty() {
            return Ok(Filter(None));
        }
        let mut parser = Parser { words: &words, at: 0, terms: 0, last: None };
        let node = parser.expression(0)?;
        match parser.peek() {
            None => Ok(Filter(Some(node))),
            Some(word) => Err(format!("\"{word}\" is not expected there; join conditions by and, or")),
        }
    }

    /// Whether it takes a frame. The packet must be parsed; one that is not IP has no addresses and ports.
    pub fn takes(&self, packet: &Packet) -> bool {
        self.0.as_ref().is_none_or(|node| node.holds(packet))
    }
}

impl Node {
    fn holds(&self, packet: &Packet) -> bool {
        match self {
            Node::Test(test) => test.holds(packet),
            Node::Not(inner) => !inner.holds(packet),
            Node::All(parts) => parts.iter().all(|part| part.holds(packet)),
            Node::Any(parts) => parts.iter().any(|part| part.holds(packet)),
        }
    }
}

impl Side {
    fn of<T>(self, (source, destination): (T, T), fits: impl Fn(T) -> bool) -> bool {
        match self {
            Side::Source => fits(source),
            Side::Destination => fits(destination),
            Side::Either => fits(source) || fits(destination),
        }
    }
}

impl Test {
    fn holds(&self, packet: &Packet) -> bool {
        let headers = &packet.headers;
        match *self {
            Test::Ip4 => headers.l3_kind == L3::Ipv4,
            Test::Ip6 => headers.l3_kind == L3::Ipv6,
            Test::Arp => headers.l3_kind == L3::Arp,
            Test::Protocol(number, version) => {
                let is_ip = matches!(headers.l3_kind, L3::Ipv4 | L3::Ipv6);
                is_ip && headers.protocol == number && version.is_none_or(|version| version == headers.l3_kind)
            }
            Test::EtherType(wanted) => inner_type(packet) == Some(wanted),
            Test::Net(side, net, length) => {
                addresses(packet).is_some_and(|both| side.of(both, |address| is_in(address, net, length)))
            }
            Test::Ports(side, first, last) => {
                packet.ports().is_some_and(|both| side.of(both, |port| (first..=last).contains(&port)))
            }
            Test::Vlan(None) => headers.tag.is_some() || packet.vid != Vid(0),
            Test::Vlan(Some(vid)) => packet.vid == vid || headers.tag.is_some_and(|tag| tag.vid == vid),
            Test::Mac(side, wanted) => side.of((packet.src_mac(), packet.dst_mac()), |mac| mac == wanted),
            Test::Broadcast => packet.dst_mac() == MacAddr::BROADCAST,
            Test::Multicast => packet.dst_mac().is_multicast(),
            Test::Less(length) => packet.len() <= length,
            Test::Greater(length) => packet.len() >= length,
        }
    }
}

/// The EtherType behind all tags.
fn inner_type(packet: &Packet) -> Option<u16> {
    let at = usize::from(packet.headers.l3).checked_sub(2)?;
    packet.bytes().get(at..)?.first_chunk().map(|&word| u16::from_be_bytes(word))
}

/// The addresses of an IP packet, or those an ARP packet speaks of.
fn addresses(packet: &Packet) -> Option<(IpAddr, IpAddr)> {
    if packet.headers.l3_kind != L3::Arp {
        return packet.addresses();
    }
    let body = packet.bytes().get(usize::from(packet.headers.l3)..)?;
    let at = |at: usize| body.get(at..)?.first_chunk::<4>().map(|&octets| IpAddr::from(octets));
    Some((at(14)?, at(24)?))
}

fn is_in(address: IpAddr, net: IpAddr, length: u8) -> bool {
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (u32::from(a) ^ u32::from(b)).checked_shr(32 - u32::from(length.min(32))).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (u128::from(a) ^ u128::from(b)).checked_shr(128 - u32::from(length.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// The words of an expression; brackets and signs are words of their own.
fn words(text: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if matches!(c, '(' | ')' | '!') {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    spaced.replace("&&", " and ").replace("||", " or ").split_whitespace().map(str::to_ascii_lowercase).collect()
}

/// What stands before an address or a number.
#[derive(Clone, Copy, Debug)]
struct Qualifiers {
    side: Side,
    kind: What,
    /// `tcp port 80`: and this.
    protocol: Option<(u8, Option<L3>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Host,
    Net,
    Port,
    PortRange,
}

struct Parser<'a> {
    words: &'a [String],
    at: usize,
    terms: usize,
    last: Option<Qualifiers>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<&str> {
        self.at += 1;
        self.words.get(self.at - 1).map(String::as_str)
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn expression(&mut self, depth: usize) -> Result<Node, String> {
        let mut left = self.factor(depth)?;
        loop {
            let all = if self.accept("and") {
                true
            } else if self.accept("or") {
                false
            } else {
                return Ok(left);
            };
            let right = self.factor(depth)?;
            left = match (left, all) {
                (Node::All(mut parts), true) => {
                    parts.push(right);
                    Node::All(parts)
                }
                (Node::Any(mut parts), false) => {
                    parts.push(right);
                    Node::Any(parts)
                }
                (left, true) => Node::All(vec![left, right]),
                (left, false) => Node::Any(vec![left, right]),
            };
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Node, String> {
        self.terms += 1;
        if depth >= DEPTH || self.terms > TERMS {
            return Err(format!("it has more than {TERMS} conditions, or {DEPTH} of them within each other"));
        }
        if self.accept("not") || self.accept("!") {
            return Ok(Node::Not(Box::new(self.factor(depth + 1)?)));
        }
        if self.accept("(") {
            let inner = self.expression(depth + 1)?;
            return if self.accept(")") { Ok(inner) } else { Err("a bracket is not closed".into()) };
        }
        self.primitive()
    }

    fn primitive(&mut self) -> Result<Node, String> {
        let Some(word) = self.peek().map(str::to_owned) else { return Err("a condition is missing at the end".into()) };
        let simple = match word.as_str() {
            "broadcast" => Some(Test::Broadcast),
            "multicast" => Some(Test::Multicast),
            "arp" => Some(Test::Arp),
            _ => None,
        };
        if let Some(test) = simple {
            self.at += 1;
            return Ok(Node::Test(test));
        }
        match word.as_str() {
            "less" | "greater" => {
                self.at += 1;
                let length = self.number(1 << 20)? as usize;
                Ok(Node::Test(if word == "less" { Test::Less(length) } else { Test::Greater(length) }))
            }
            "vlan" => {
                self.at += 1;
                let has = self.peek().is_some_and(|word| word.parse::<u16>().is_ok());
                let vid = if has { Some(Vid(self.number(4094)? as u16)) } else { None };
                Ok(Node::Test(Test::Vlan(vid)))
            }
            "ether" => {
                self.at += 1;
                self.ether()
            }
            _ => self.qualified(),
        }
    }

    fn number(&mut self, most: u32) -> Result<u32, String> {
        let word = self.next().unwrap_or_default().to_owned();
        let parsed = match word.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        parsed.filter(|&number| number <= most).ok_or_else(|| format!("\"{word}\" is no number up to {most}"))
    }

    fn side(&mut self) -> Side {
        if self.accept("src") {
            Side::Source
        } else if self.accept("dst") {
            Side::Destination
        } else {
            Side::Either
        }
    }

    fn ether(&mut self) -> Result<Node, String> {
        if self.accept("proto") {
            return Ok(Node::Test(Test::EtherType(self.number(0xffff)? as u16)));
        }
        if self.accept("broadcast") {
            return Ok(Node::Test(Test::Broadcast));
        }
        if self.accept("multicast") {
            return Ok(Node::Test(Test::Multicast));
        }
        let side = self.side();
        self.accept("host");
        let word = self.next().unwrap_or_default();
        let mac = word.parse().map_err(|e: weir_wire::mac::InvalidMac| e.to_string())?;
        Ok(Node::Test(Test::Mac(side, mac)))
    }

    /// `[protocol] [src|dst] [host|net|port|portrange] value`.
    fn qualified(&mut self) -> Result<Node, String> {
        let word = self.peek().unwrap_or_default();
        let protocol = match word {
            "tcp" => Some((PROTOCOL_TCP, None)),
            "udp" => Some((PROTOCOL_UDP, None)),
            "sctp" => Some((132, None)),
            "icmp" => Some((PROTOCOL_ICMP, Some(L3::Ipv4))),
            "icmp6" => Some((PROTOCOL_ICMPV6, Some(L3::Ipv6))),
            "igmp" => Some((PROTOCOL_IGMP, Some(L3::Ipv4))),
            _ => None,
        };
        let version = match word {
            "ip" => Some(L3::Ipv4),
            "ip6" => Some(L3::Ipv6),
            _ => None,
        };
        self.at += usize::from(protocol.is_some() || version.is_some());
        if version.is_some() && self.accept("proto") {
            let number = match self.peek() {
                Some("tcp") => Some(PROTOCOL_TCP),
                Some("udp") => Some(PROTOCOL_UDP),
                Some("icmp") => Some(PROTOCOL_ICMP),
                _ => None,
            };
            let number = match number {
                Some(number) => {
                    self.at += 1;
                    number
                }
                None => self.number(255)? as u8,
            };
            return Ok(Node::Test(Test::Protocol(number, version)));
        }
        let before = self.at;
        let side = self.side();
        let kind = match self.peek() {
            Some("host") => Some(What::Host),
            Some("net") => Some(What::Net),
            Some("port") => Some(What::Port),
            Some("portrange") => Some(What::PortRange),
            _ => None,
        };
        self.at += usize::from(kind.is_some());
        let stated = self.at > before;
        let own = protocol.map(|(number, version)| Test::Protocol(number, version)).or(match version {
            Some(L3::Ipv4) => Some(Test::Ip4),
            Some(_) => Some(Test::Ip6),
            None => None,
        });
        // A bare value stands behind the words that stood before the last one.
        let qualifiers = match (stated, kind, &own, self.last) {
            (true, _, _, _) => Qualifiers { side, kind: kind.unwrap_or(What::Host), protocol },
            (false, _, Some(test), _) => return Ok(Node::Test(test.clone())),
            (false, _, None, Some(last)) => last,
            (false, _, None, None) => Qualifiers { side, kind: What::Host, protocol: None },
        };
        let test = Node::Test(self.value(qualifiers)?);
        self.last = Some(qualifiers);
        let beside = own.or_else(|| qualifiers.protocol.map(|(number, version)| Test::Protocol(number, version)));
        Ok(match beside {
            Some(own) => Node::All(vec![Node::Test(own), test]),
            None => test,
        })
    }

    fn value(&mut self, Qualifiers { side, kind, .. }: Qualifiers) -> Result<Test, String> {
        if kind == What::Port {
            let port = self.number(65535).map_err(|e| format!("{e}; ports are numbers"))? as u16;
            return Ok(Test::Ports(side, port, port));
        }
        let word = self.next().unwrap_or_default().to_owned();
        if kind == What::PortRange {
            let wrong = || format!("\"{word}\" is no range of ports, as in 8000-8080");
            let (first, last) = word.split_once('-').ok_or_else(wrong)?;
            let (first, last) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
            return if first <= last { Ok(Test::Ports(side, first, last)) } else { Err(wrong()) };
        }
        let wrong = || format!("\"{word}\" is no condition and no address; see vswitchctl mirror add --help");
        let (address, length) = match word.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| wrong())?)),
            None => (word.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(most);
        if length > most || (kind == What::Host && length != most) {
            Err(wrong())
        } else {
            Ok(Test::Net(side, address, length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::build::{ArpKind, Ends, arp, icmp_echo, packet, tagged, tcp, udp};
    use weir_wire::{Pool, PortId, TcpFields};

    #[test]
    fn expressions_take_what_tcpdump_would() {
        let mut pool = Pool::default();
        let fields = TcpFields { source_port: 40000, destination_port: 443, ..TcpFields::default() };
        let host = |n: u8| (MacAddr([2, 0, 0, 0, 0, n]), [10, 0, 0, n].into());
        let frames: [(&str, Vec<u8>); 5] = [
            ("tcp4", tcp(Ends::ipv4(1, 2), fields, &[], b"hello")),
            ("udp6", udp(Ends::ipv6(1, 2), (53, 5353), b"data")),
            ("arp", arp(ArpKind::Request, host(1), host(9))),
            (
                "ping in VLAN 7",
                tagged(&icmp_echo(Ends::ipv4(3, 4), weir_wire::build::EchoKind::Request, 1, 1, b""), 7, 0),
            ),
            ("other", [&[0xff; 6][..], &[2, 0, 0, 0, 0, 5, 0x88, 0xb5], &[0; 50]].concat()),
        ];
        let sources = packet(&frames[0].1, PortId(1), &mut pool).unwrap();
        let (from, to) = {
            let mut subject = sources;
            subject.parse().unwrap();
            let both = subject.addresses().unwrap();
            pool.give(subject.buffer);
            both
        };
        let table: Vec<(String, [bool; 5])> = vec![
            (String::new(), [true; 5]),
            ("ip".into(), [true, false, false, true, false]),
            ("ip6".into(), [false, true, false, false, false]),
            ("tcp".into(), [true, false, false, false, false]),
            ("tcp port 443".into(), [true, false, false, false, false]),
            ("udp port 443".into(), [false; 5]),
            ("port 443 or 53".into(), [true, true, false, false, false]),
            ("src port 443 or dst port 443".into(), [true, false, false, false, false]),
            ("src port 443".into(), [false; 5]),
            ("portrange 50-60".into(), [false, true, false, false, false]),
            (format!("host {from}"), [true, false, true, false, false]),
            (format!("{from}"), [true, false, true, false, false]),
            (format!("dst host {from}"), [false; 5]),
            (format!("src {from} and dst {to}"), [true, false, false, false, false]),
            ("net 10.0.0.0/8".into(), [true, false, true, true, false]),
            ("net ::/0".into(), [false, true, false, false, false]),
            ("not ip and not ip6".into(), [false, false, true, false, true]),
            ("!(ip || ip6) && !arp".into(), [false, false, false, false, true]),
            ("arp".into(), [false, false, true, false, false]),
            ("vlan".into(), [false, false, false, true, false]),
            ("vlan 7 and icmp".into(), [false, false, false, true, false]),
            ("vlan 8".into(), [false; 5]),
            ("broadcast".into(), [false, false, true, false, true]),
            ("ether proto 0x88b5".into(), [false, false, false, false, true]),
            ("ether host 02:00:00:00:00:05".into(), [false, false, false, false, true]),
            ("ip proto 1".into(), [false, false, false, true, false]),
            ("ip proto tcp or arp".into(), [true, false, true, false, false]),
            (
                "greater 59 and less 60".into(),
                frames.each_ref().map(|(_, frame)| frame.len() >= 59 && frame.len() <= 60),
            ),
            // Both bind alike, from the left.
            ("arp or ip and tcp".into(), [true, false, false, false, false]),
        ];
        for (text, wanted) in table {
            let filter = Filter::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            for ((name, frame), wanted) in frames.iter().zip(wanted) {
                let mut subject = packet(frame, PortId(1), &mut pool).unwrap();
                subject.parse().unwrap();
                assert_eq!(filter.takes(&subject), wanted, "\"{text}\" on {name}");
                pool.give(subject.buffer);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_word() {
        for (text, told) in [
            ("tcp port http", "http"),
            ("host", "no address"),
            ("host 10.0.0.1 10.0.0.2", "join"),
            ("(tcp", "closed"),
            ("tcp and", "missing"),
            ("net 10.0.0.0/33", "10.0.0.0/33"),
            ("vlan 10 or colour", "colour"),
            ("portrange 9-1", "9-1"),
            ("ether host 1", "MAC"),
        ] {
            let error = Filter::parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
        assert!(Filter::parse(&"(".repeat(1000)).is_err());
        assert!(Filter::parse(&"not ".repeat(1000)).is_err());
        assert!(Filter::parse(&vec!["tcp"; 300].join(" or ")).is_err());
    }
}
