//! A rule's header: action, protocol, both sides and the arrow between them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::diagnostic::{Fault, Kind};
use crate::lexer::Piece;
use crate::rule::{Action, Arrow, Endpoint, Hook, Protocol, RejectTo};
use crate::variables::Variables;
use crate::{AddressSet, AppProtocol, PortSet, limits};

/// What stands before the options.
pub(crate) struct Header {
    pub action: Action,
    pub protocol: Protocol,
    pub hook: Option<Hook>,
    pub source: Endpoint,
    pub arrow: Arrow,
    pub destination: Endpoint,
    /// It has no addresses, as Snort 3 writes rules about a service.
    pub snort: bool,
}

/// Reads headers. Sides that were met before are shared, so that 20,000 rules about `$HOME_NET` hold it once.
pub(crate) struct HeaderParser<'v> {
    variables: &'v Variables,
    addresses: HashMap<String, Arc<AddressSet>>,
    ports: HashMap<String, Arc<PortSet>>,
}

impl<'v> HeaderParser<'v> {
    pub(crate) fn new(variables: &'v Variables) -> HeaderParser<'v> {
        HeaderParser { variables, addresses: HashMap::new(), ports: HashMap::new() }
    }

    pub(crate) fn parse(&mut self, header: Piece<'_>) -> Result<Header, Fault> {
        let words = words_outside_brackets(header);
        if let &[action, protocol] = words.as_slice() {
            return self.without_addresses(action, protocol);
        }
        let &[action, protocol, source, source_port, arrow, destination, destination_port] = words.as_slice() else {
            return Err(Fault::new(
                Kind::Syntax,
                header.range(),
                format!("the header has {} parts, not 7", words.len()),
            )
            .remedy("a header reads: action protocol source port -> destination port"));
        };
        let (protocol_word, protocol) = (protocol, parse_protocol(protocol)?);
        let header = Header {
            action: parse_action(action)?,
            protocol: protocol.0,
            hook: protocol.1,
            source: Endpoint { addresses: self.addresses(source)?, ports: self.ports(source_port)? },
            arrow: parse_arrow(arrow)?,
            destination: Endpoint { addresses: self.addresses(destination)?, ports: self.ports(destination_port)? },
            snort: false,
        };
        let has_ports = !header.source.ports.is_any() || !header.destination.ports.is_any();
        if has_ports && matches!(header.protocol, Protocol::Icmp | Protocol::Icmpv4 | Protocol::Icmpv6) {
            return Err(Fault::new(Kind::Header, protocol_word.range(), "ICMP has no ports")
                .remedy("write 'any' for both ports"));
        }
        Ok(header)
    }

    /// `alert http (...)`: any address, any port.
    fn without_addresses(&mut self, action: Piece<'_>, protocol: Piece<'_>) -> Result<Header, Fault> {
        let action = parse_action(action)?;
        let (protocol, hook) = match protocol.text {
            // A file of any protocol.
            "file" => (Protocol::Ip, None),
            _ => parse_protocol(protocol)?,
        };
        let any = Piece::new("any", 0);
        let end = Endpoint { addresses: self.addresses(any)?, ports: self.ports(any)? };
        let (source, destination) = (end.clone(), end);
        Ok(Header { action, protocol, hook, source, arrow: Arrow::Forward, destination, snort: true })
    }

    /// Classtypes beyond the customary ones.
    pub(crate) fn classes(&self) -> Arc<crate::classification::Classes> {
        Arc::clone(&self.variables.classes)
    }

    pub(crate) fn addresses(&mut self, text: Piece<'_>) -> Result<Arc<AddressSet>, Fault> {
        if let Some(known) = self.addresses.get(text.text) {
            return Ok(Arc::clone(known));
        }
        let mut budget = limits::LIST_MEMBERS;
        let set = address_item(text, self.variables, 0, &mut budget)?;
        if set.is_empty() {
            return Err(Fault::new(Kind::Header, text.range(), "this matches no address")
                .remedy("a negation has taken everything away"));
        }
        let set = Arc::new(set);
        self.addresses.insert(text.text.to_owned(), Arc::clone(&set));
        Ok(set)
    }

    fn ports(&mut self, text: Piece<'_>) -> Result<Arc<PortSet>, Fault> {
        if let Some(known) = self.ports.get(text.text) {
            return Ok(Arc::clone(known));
        }
        let mut budget = limits::LIST_MEMBERS;
        let set = port_item(text, self.variables, 0, &mut budget)?;
        if set.is_empty() {
            return Err(Fault::new(Kind::Header, text.range(), "this matches no port")
                .remedy("a negation has taken everything away"));
        }
        let set = Arc::new(set);
        self.ports.insert(text.text.to_owned(), Arc::clone(&set));
        Ok(set)
    }
}

/// The header's words; white space within brackets belongs to the word.
fn words_outside_brackets(header: Piece<'_>) -> Vec<Piece<'_>> {
    let (mut words, mut depth, mut start) = (Vec::new(), 0usize, None);
    for (i, byte) in header.text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let inside = depth > 0 || !byte.is_ascii_whitespace();
        match (inside, start) {
            (true, None) => start = Some(i),
            (false, Some(from)) => {
                words.push(Piece::new(header.text.get(from..i).unwrap_or(""), header.at + from));
                start = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    if let Some(from) = start {
        words.push(Piece::new(header.text.get(from..).unwrap_or(""), header.at + from));
    }
    words
}

fn parse_action(word: Piece<'_>) -> Result<Action, Fault> {
    match word.text {
        "alert" => Ok(Action::Alert),
        "drop" => Ok(Action::Drop),
        "pass" => Ok(Action::Pass),
        "config" => Ok(Action::Config),
        "reject" | "rejectsrc" => Ok(Action::Reject(RejectTo::Source)),
        "rejectdst" => Ok(Action::Reject(RejectTo::Destination)),
        "rejectboth" => Ok(Action::Reject(RejectTo::Both)),
        other => {
            Err(Fault::new(Kind::UnsupportedAction, word.range(), format!("the action '{other}' is not supported"))
                .subject(other)
                .remedy("one of alert, drop, pass, reject, rejectsrc, rejectdst, rejectboth, config"))
        }
    }
}

/// The protocol, and the state behind its colon.
fn parse_protocol(word: Piece<'_>) -> Result<(Protocol, Option<Hook>), Fault> {
    if let Some((protocol, name)) = word.split_once(':') {
        let (known, _) = parse_protocol(protocol)?;
        let packet_hooks = ["all", "flow_start", "pre_flow", "pre_stream"];
        let fits = known.is_app() || packet_hooks.contains(&name.text);
        if name.text.is_empty() || !fits {
            return Err(Fault::new(
                Kind::Header,
                name.range(),
                format!("'{}' has no state '{}'", protocol.text, name.text),
            ));
        }
        return Ok((known, Some(Hook { name: name.text.to_owned() })));
    }
    let protocol = match word.text.to_ascii_lowercase().as_str() {
        "ip" => Protocol::Ip,
        "ipv4" | "ip4" => Protocol::Ipv4,
        "ipv6" | "ip6" => Protocol::Ipv6,
        "tcp" => Protocol::Tcp,
        "tcp-pkt" => Protocol::TcpPacket,
        "tcp-stream" => Protocol::TcpStream,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        "icmpv4" => Protocol::Icmpv4,
        "icmpv6" => Protocol::Icmpv6,
        "sctp" => Protocol::Sctp,
        "igmp" => Protocol::Igmp,
        "gre" => Protocol::Gre,
        "esp" => Protocol::Esp,
        "ah" => Protocol::Ah,
        "pkthdr" => Protocol::PacketHeader,
        "ether" => Protocol::Ether,
        "arp" => Protocol::Arp,
        "http" => Protocol::Http,
        other => match AppProtocol::from_name(other) {
            Some(protocol) => Protocol::App(protocol),
            None => {
                let message = format!("the protocol '{other}' is not supported");
                return Err(Fault::new(Kind::UnsupportedProtocol, word.range(), message)
                    .subject(other)
                    .remedy("one of ip, tcp, tcp-pkt, tcp-stream, udp, icmp, pkthdr ... or an application protocol"));
            }
        },
    };
    Ok((protocol, None))
}

fn parse_arrow(word: Piece<'_>) -> Result<Arrow, Fault> {
    match word.text {
        "->" => Ok(Arrow::Forward),
        "<>" => Ok(Arrow::Both),
        "=>" => Ok(Arrow::Transaction),
        _ => Err(Fault::new(Kind::Syntax, word.range(), "the direction is none of '->', '<>' and '=>'")
            .remedy("swap the two sides for '<-'")),
    }
}

/// The members of a bracketed list.
fn list_members(list: Piece<'_>) -> Result<Vec<Piece<'_>>, Fault> {
    let inner = list.strip_prefix("[").and_then(|p| Some(Piece::new(p.text.strip_suffix(']')?, p.at)));
    let Some(inner) = inner else {
        return Err(Fault::new(Kind::Header, list.range(), "the list's closing bracket is missing"));
    };
    members_of(inner)
}

/// The members of a list without its brackets.
fn members_of(inner: Piece<'_>) -> Result<Vec<Piece<'_>>, Fault> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (i, byte) in inner.text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => {
                depth = depth.checked_sub(1).ok_or_else(|| {
                    Fault::new(Kind::Header, inner.at + i..inner.at + i + 1, "this bracket closes nothing")
                })?;
            }
            b',' if depth == 0 => {
                members.push(Piece::new(inner.text.get(start..i).unwrap_or(""), inner.at + start).trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(Fault::new(Kind::Header, inner.range(), "a list within this list is not closed"));
    }
    members.push(Piece::new(inner.text.get(start..).unwrap_or(""), inner.at + start).trim());
    Ok(members)
}

fn check_bounds(word: Piece<'_>, depth: usize, budget: &mut usize) -> Result<(), Fault> {
    if depth > limits::LIST_DEPTH {
        let message = format!("lists and variables nest deeper than {}", limits::LIST_DEPTH);
        return Err(Fault::new(Kind::Limit, word.range(), message).remedy("does a variable name itself?"));
    }
    *budget = budget.checked_sub(1).ok_or_else(|| {
        Fault::new(Kind::Limit, word.range(), format!("more than {} members in all", limits::LIST_MEMBERS))
    })?;
    Ok(())
}

fn unknown_variable(word: Piece<'_>, name: &str, sort: &str) -> Fault {
    Fault::new(Kind::Variable, word.range(), format!("the {sort} variable '${name}' is not defined"))
        .subject(name)
        .remedy(format!("define {name} among the {sort} variables of the rule set"))
}

/// Resolves a variable's value; places within it are shown as the place of its name.
fn at_name(word: Piece<'_>) -> impl Fn(Fault) -> Fault + '_ {
    move |mut fault| {
        fault.at = word.range();
        fault.message = format!("in the value of '{}': {}", word.text, fault.message);
        fault
    }
}

fn address_item(word: Piece<'_>, vars: &Variables, depth: usize, budget: &mut usize) -> Result<AddressSet, Fault> {
    check_bounds(word, depth, budget)?;
    if let Some(negated) = word.strip_prefix("!") {
        return Ok(AddressSet::any().without(&address_item(negated.trim(), vars, depth + 1, budget)?));
    }
    if let Some(name) = word.strip_prefix("$") {
        let Some(value) = vars.addresses.get(name.text) else {
            return Err(unknown_variable(word, name.text, "address"));
        };
        return address_item(Piece::new(value, 0).trim(), vars, depth + 1, budget).map_err(at_name(word));
    }
    if !word.text.starts_with('[') {
        return address_word(word);
    }
    let (mut wanted, mut unwanted) = (AddressSet::default(), AddressSet::default());
    let mut has_positive = false;
    for member in list_members(word)? {
        if let Some(negated) = member.strip_prefix("!") {
            unwanted.extend(&address_item(negated.trim(), vars, depth + 1, budget)?);
        } else {
            has_positive = true;
            wanted.extend(&address_item(member, vars, depth + 1, budget)?);
        }
    }
    wanted.normalise();
    unwanted.normalise();
    let base = if has_positive { wanted } else { AddressSet::any() };
    Ok(base.without(&unwanted))
}

fn address_word(word: Piece<'_>) -> Result<AddressSet, Fault> {
    let bad = || {
        Fault::new(Kind::Header, word.range(), format!("'{}' is not an address", word.text)).remedy(
            "write any, an address, a network (10.0.0.0/8), a range (10.0.0.1-10.0.0.9), a $VARIABLE or a [list,of,these]",
        )
    };
    if word.text == "any" {
        return Ok(AddressSet::any());
    }
    if let Some((address, prefix)) = word.text.split_once('/') {
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix = match (prefix.parse::<u32>(), prefix.parse::<std::net::Ipv4Addr>()) {
            (Ok(prefix), _) => prefix,
            (_, Ok(mask)) if mask.to_bits().leading_ones() + mask.to_bits().trailing_zeros() >= 32 => {
                mask.to_bits().leading_ones()
            }
            _ => return Err(bad()),
        };
        return AddressSet::network(address, prefix).ok_or_else(bad);
    }
    let (first, last) = word.text.split_once('-').unwrap_or((word.text, word.text));
    let first: IpAddr = first.trim().parse().map_err(|_| bad())?;
    let last: IpAddr = last.trim().parse().map_err(|_| bad())?;
    AddressSet::range(first, last).ok_or_else(bad)
}

fn port_item(word: Piece<'_>, vars: &Variables, depth: usize, budget: &mut usize) -> Result<PortSet, Fault> {
    check_bounds(word, depth, budget)?;
    // Rules are about whose lists have no brackets (`!80,!443`).
    if word.text.contains(',')
        && let Some(members) = members_of(word).ok().filter(|members| members.len() > 1)
    {
        return port_list(members, vars, depth, budget);
    }
    if let Some(negated) = word.strip_prefix("!") {
        return Ok(PortSet::any().without(&port_item(negated.trim(), vars, depth + 1, budget)?));
    }
    if let Some(name) = word.strip_prefix("$") {
        let Some(value) = vars.ports.get(name.text) else {
            return Err(unknown_variable(word, name.text, "port"));
        };
        return port_item(Piece::new(value, 0).trim(), vars, depth + 1, budget).map_err(at_name(word));
    }
    if !word.text.starts_with('[') {
        return port_word(word);
    }
    port_list(list_members(word)?, vars, depth, budget)
}

fn port_list(members: Vec<Piece<'_>>, vars: &Variables, depth: usize, budget: &mut usize) -> Result<PortSet, Fault> {
    let (mut wanted, mut unwanted) = (PortSet::default(), PortSet::default());
    let mut has_positive = false;
    for member in members {
        if let Some(negated) = member.strip_prefix("!") {
            unwanted.extend(&port_item(negated.trim(), vars, depth + 1, budget)?);
        } else {
            has_positive = true;
            wanted.extend(&port_item(member, vars, depth + 1, budget)?);
        }
    }
    wanted.normalise();
    unwanted.normalise();
    let base = if has_positive { wanted } else { PortSet::any() };
    Ok(base.without(&unwanted))
}

fn port_word(word: Piece<'_>) -> Result<PortSet, Fault> {
    let bad = || {
        Fault::new(Kind::Header, word.range(), format!("'{}' is not a port", word.text))
            .remedy("write any, a port, a range (1024:, :1023, 80:88), a $VARIABLE or a [list,of,these]")
    };
    if word.text == "any" {
        return Ok(PortSet::any());
    }
    let number = |text: &str, absent: Option<u16>| match (text.trim(), absent) {
        ("", Some(port)) => Ok(port),
        (text, _) => text.parse::<u16>().map_err(|_| bad()),
    };
    let (first, last) = match word.text.split_once(':') {
        Some(("", "")) => return Err(bad()),
        Some((first, last)) => (number(first, Some(0))?, number(last, Some(u16::MAX))?),
        None => (number(word.text, None)?, number(word.text, None)?),
    };
    if first > last {
        return Err(bad());
    }
    Ok(PortSet::range(first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Result<Arc<AddressSet>, Fault> {
        HeaderParser::new(&Variables::default()).addresses(Piece::new(text, 0))
    }

    fn ports(text: &str) -> Result<Arc<PortSet>, Fault> {
        HeaderParser::new(&Variables::default()).ports(Piece::new(text, 0))
    }

    #[track_caller]
    fn check(text: &str, inside: &[&str], outside: &[&str]) {
        let set = addresses(text).unwrap();
        for address in inside {
            assert!(set.contains(address.parse().unwrap()), "{address} in {text}");
        }
        for address in outside {
            assert!(!set.contains(address.parse().unwrap()), "{address} not in {text}");
        }
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        check("any", &["1.2.3.4", "::1"], &[]);
        check("10.0.0.0/255.255.0.0", &["10.0.9.9"], &["10.1.0.0"]);
        check("1.1.1.1-1.1.1.3", &["1.1.1.3"], &["1.1.1.4", "1.1.1.0"]);
        check("[10.0.0.0/8, !10.1.0.0/16,fe80::/10]", &["10.2.0.0", "fe80::1"], &["10.1.2.3", "::1"]);
        check("[![10.0.0.0/8,!10.1.0.0/16]]", &["10.1.2.3", "1.1.1.1"], &["10.2.0.0"]);
        check("!$HOME_NET", &["8.8.8.8", "::1"], &["192.168.3.4"]);
        check("[$HOME_NET,!192.168.0.0/16]", &["10.2.3.4"], &["192.168.3.4"]);
    }

    #[test]
    fn addresses_that_make_no_sense_are_refused() {
        for text in [
            "",
            "!any",
            "[]",
            "[10.0.0.0/8",
            "10.0.0.0/33",
            "x",
            "1.1.1.9-1.1.1.1",
            "[1.1.1.1,!1.1.1.1]",
            "$NO",
            "1.1.1.1-::1",
            "10.0.0.0/255.0.255.0",
            "[1.1.1.1]]",
        ] {
            assert!(addresses(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_read_in_every_form() {
        assert_eq!(ports("[80,81:83,!82]").unwrap().ranges(), [(80, 81), (83, 83)]);
        assert_eq!(ports("1024:").unwrap().ranges(), [(1024, 65535)]);
        assert_eq!(ports("!1,!3:65535").unwrap().ranges(), [(0, 0), (2, 2)]);
        assert_eq!(ports("80,[443,8080],!8080").unwrap().ranges(), [(80, 80), (443, 443)]);
        assert_eq!(ports(":7").unwrap().ranges(), [(0, 7)]);
        assert_eq!(ports("!$HTTP_PORTS").unwrap().ranges(), [(0, 79), (81, 65535)]);
        for text in ["", ":", "70000", "9:8", "!any", "[80", "x", "-1"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_that_names_itself_is_refused() {
        let mut variables = Variables::default();
        variables.addresses.insert("A".into(), "[$B,$B]".into());
        variables.addresses.insert("B".into(), "[$A,$A]".into());
        let fault = HeaderParser::new(&variables).addresses(Piece::new("$A", 0)).unwrap_err();
        assert_eq!(fault.kind, Kind::Limit);
    }
}
