//! What can only be said of a rule as a whole: options that contradict each other.

use crate::diagnostic::{Fault, Kind};
use crate::parser::Draft;
use crate::rule::{
    Absent, Action, Arrow, Condition, Content, FastPattern, FlowDirection, Match, Position, Protocol, Section,
};
use crate::{AppProtocol, Buffer};

mod buffers;
mod length;
mod packet;

pub(crate) use buffers::normalise;

/// Refuses a rule that is complete but cannot work.
pub(crate) fn check(draft: &mut Draft) -> Result<(), Fault> {
    if draft.rule.sid == 0 {
        return Err(Fault::new(Kind::MissingSid, 0..1, "the rule has no sid").remedy("add sid:NUMBER; to its options"));
    }
    let mut fast_patterns = 0;
    for (section, places) in draft.rule.sections.iter().zip(&draft.places) {
        for (m, place) in section.matches.iter().zip(places) {
            let Match::Content(content) = m else { continue };
            check_fast_pattern(content, place)?;
            check_case(section, content, place)?;
            buffers::check(section, content, place)?;
            fast_patterns += usize::from(content.fast_pattern != FastPattern::Unsaid);
            if fast_patterns > 1 {
                return Err(
                    Draft::conflict(place.clone(), "a rule has one 'fast_pattern'").remedy("take one of them away")
                );
            }
        }
        check_order(section, places)?;
        if section.absent == Some(Absent::Must)
            && let Some(place) = places.first()
        {
            let message = "the buffer is to be absent, and cannot have this in it";
            return Err(Draft::conflict(place.clone(), message).remedy("write 'absent: or_else'"));
        }
        length::check_sizes(section, places)?;
    }
    length::check_payload(draft)?;
    check_protocol(draft)?;
    check_layers(draft)?;
    packet::check(&draft.rule)?;
    check_direction(draft)?;
    check_mail(draft)?;
    if draft.rule.action == Action::Config && draft.rule.config.is_none() {
        return Err(Draft::conflict(0..1, "a rule with the action 'config' needs the keyword 'config'"));
    }
    Ok(())
}

fn check_fast_pattern(content: &Content, place: &std::ops::Range<usize>) -> Result<(), Fault> {
    let anywhere = content.position == Position::ANYWHERE && !content.ends_with;
    match content.fast_pattern {
        FastPattern::Unsaid => Ok(()),
        FastPattern::Only if content.negated || !anywhere => Err(Draft::conflict(
            place.clone(),
            "'fast_pattern:only' is for a content that may be anywhere and is not negated",
        )),
        FastPattern::Whole | FastPattern::Part { .. } if content.negated && !anywhere => Err(Draft::conflict(
            place.clone(),
            "'fast_pattern' on a negated content needs it to be looked for everywhere",
        )),
        FastPattern::Whole | FastPattern::Only | FastPattern::Part { .. } => Ok(()),
    }
}

/// A content that what makes the buffer's bytes rules out.
fn check_case(section: &Section, content: &Content, place: &std::ops::Range<usize>) -> Result<(), Fault> {
    use crate::rule::Transform;
    let impossible = |message: &str| Err(Draft::conflict(place.clone(), message).remedy("it could never match"));
    let has_upper = content.bytes.iter().any(u8::is_ascii_uppercase);
    let has_lower = content.bytes.iter().any(u8::is_ascii_lowercase);
    if section.buffer == Buffer::HttpHost && section.transforms.is_empty() {
        if content.nocase {
            return Err(Draft::conflict(place.clone(), "'http.host' is in lower case: 'nocase' has no place here")
                .remedy("leave 'nocase' out, or use http.host.raw"));
        }
        if has_upper {
            return impossible("'http.host' is in lower case, the content is not");
        }
    }
    for transform in &section.transforms {
        match transform {
            Transform::Lowercase if has_upper => return impossible("the buffer is in lower case, the content is not"),
            Transform::Uppercase if has_lower => return impossible("the buffer is in upper case, the content is not"),
            Transform::StripWhitespace if content.bytes.iter().any(u8::is_ascii_whitespace) => {
                return impossible("the buffer has no white space, the content has");
            }
            Transform::CompressWhitespace if has_run_of_spaces(&content.bytes) => {
                return impossible("the buffer has no two white spaces in a row, the content has");
            }
            Transform::Md5 | Transform::Sha1 | Transform::Sha256 if content.bytes.len() > digest_length(transform) => {
                return impossible("the content is longer than the digest");
            }
            _ => {}
        }
    }
    Ok(())
}

fn has_run_of_spaces(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair.iter().all(u8::is_ascii_whitespace))
}

fn digest_length(transform: &crate::rule::Transform) -> usize {
    match transform {
        crate::rule::Transform::Md5 => 16,
        crate::rule::Transform::Sha1 => 20,
        _ => 32,
    }
}

/// A match that is placed by the one before cannot follow one that has no place.
fn check_order(section: &Section, places: &[std::ops::Range<usize>]) -> Result<(), Fault> {
    let matches = &section.matches;
    for ((before, after), place) in matches.iter().zip(matches.iter().skip(1)).zip(places.iter().skip(1)) {
        let placeless = matches!(before, Match::Content(c) if c.fast_pattern == FastPattern::Only);
        if placeless && after.is_relative() {
            return Err(Draft::conflict(place.clone(), "this is placed by a content that is 'fast_pattern:only'")
                .remedy("write 'fast_pattern' without 'only'"));
        }
    }
    Ok(())
}

/// Options that speak of another protocol than the header.
fn check_protocol(draft: &Draft) -> Result<(), Fault> {
    let rule = &draft.rule;
    let ip = matches!(rule.protocol, Protocol::Ip | Protocol::Ipv4 | Protocol::Ipv6 | Protocol::PacketHeader);
    let tcp =
        matches!(rule.protocol, Protocol::Tcp | Protocol::TcpPacket | Protocol::TcpStream) || rule.protocol.is_app();
    let icmp = matches!(rule.protocol, Protocol::Icmp | Protocol::Icmpv4 | Protocol::Icmpv6);
    for condition in &rule.conditions {
        let (wanted, fits) = match condition {
            Condition::Flags { .. }
            | Condition::Window { .. }
            | Condition::Sequence(_)
            | Condition::Acknowledgment(_)
            | Condition::TcpMss(_)
            | Condition::TcpWindowScale(_) => ("TCP", tcp || ip),
            Condition::IcmpType(_)
            | Condition::IcmpCode(_)
            | Condition::IcmpId(_)
            | Condition::IcmpSequence(_)
            | Condition::Icmpv6Mtu(_) => ("ICMP", icmp || ip),
            Condition::IpProtocol(_) => ("the IP protocol", ip),
            _ => continue,
        };
        if !fits {
            return Err(Draft::conflict(0..1, format!("the rule has a condition on {wanted}, but another protocol")));
        }
    }
    let single = |c: &&Condition| matches!(c, Condition::IpProtocol(b) if !b.negated && b.min == b.max);
    if rule.conditions.iter().filter(single).count() > 1 {
        return Err(Draft::conflict(0..1, "the rule names two IP protocols, and a packet has one"));
    }
    if rule.filestore.is_some() && rule.conditions.contains(&Condition::Bypass) {
        return Err(Draft::conflict(0..1, "'bypass' looks no further at the flow whose file 'filestore' is to keep"));
    }
    Ok(())
}

/// Buffers of another layer than the header's, or of files where a protocol carries none.
fn check_layers(draft: &Draft) -> Result<(), Fault> {
    let rule = &draft.rule;
    let ip = matches!(rule.protocol, Protocol::Ip | Protocol::Ipv4 | Protocol::Ipv6 | Protocol::PacketHeader);
    let tcp = matches!(rule.protocol, Protocol::Tcp | Protocol::TcpPacket | Protocol::TcpStream);
    let carried = rule.protocol.is_app();
    for section in &rule.sections {
        let (of, fits) = match section.buffer {
            Buffer::TcpHeader => ("TCP", ip || tcp || carried),
            Buffer::UdpHeader => ("UDP", ip || rule.protocol == Protocol::Udp || carried),
            _ => continue,
        };
        if !fits {
            return Err(Draft::conflict(0..1, format!("the rule looks at a header of {of}, its own names another")));
        }
    }
    let files = |section: &Section| matches!(section.buffer, Buffer::FileData | Buffer::FileName | Buffer::FileMagic);
    let no_files = [AppProtocol::Dns, AppProtocol::Ftp, AppProtocol::Dcerpc].map(Protocol::App);
    if no_files.contains(&rule.protocol) && (rule.sections.iter().any(files) || !rule.files.is_empty()) {
        return Err(Draft::conflict(0..1, "the rule asks for files, and its protocol carries none"));
    }
    Ok(())
}

/// Mails go to the server only.
fn check_mail(draft: &Draft) -> Result<(), Fault> {
    let rule = &draft.rule;
    let files = rule.sections.iter().any(|s| s.buffer == Buffer::FileData);
    let mail = rule.protocol == Protocol::App(crate::AppProtocol::Smtp);
    if mail && files && rule.flow.direction == Some(FlowDirection::ToClient) {
        return Err(Draft::conflict(0..1, "files of SMTP go to the server, the rule's 'flow' to the client"));
    }
    Ok(())
}

/// Buffers that one direction alone has must not contradict each other, nor `flow`; alone they say the direction.
fn check_direction(draft: &mut Draft) -> Result<(), Fault> {
    let rule = &mut draft.rule;
    let mut found: Option<FlowDirection> = None;
    let transaction = rule.arrow == Arrow::Transaction;
    let at = |i: usize| draft.places.get(i).and_then(|p| p.first()).cloned().unwrap_or(0..1);
    for (i, section) in rule.sections.iter().enumerate() {
        let Some(direction) = section.buffer.direction() else {
            if transaction && section.direction.is_none() && is_ambiguous(section.buffer) {
                return Err(Draft::conflict(
                    at(i),
                    "both directions have this buffer: the rule must say which is meant",
                )
                .remedy("put to_server or to_client before it"));
            }
            continue;
        };
        if !transaction && found.is_some_and(|known| known != direction) {
            return Err(Draft::conflict(at(i), "the rule mixes buffers of requests with buffers of answers")
                .remedy("write '=>' for '->', or two rules and a flowbit"));
        }
        found = Some(direction);
    }
    if transaction {
        check_both(rule)?;
        return match rule.flow.direction {
            Some(_) => {
                Err(Draft::conflict(0..1, "a rule for both directions ('=>') cannot have one of them in 'flow'"))
            }
            None => Ok(()),
        };
    }
    match (found, rule.flow.direction) {
        (Some(direction), None) => rule.flow.direction = Some(direction),
        (Some(direction), Some(given)) if direction != given => {
            return Err(Draft::conflict(0..1, "'flow' goes the other way than the buffers of the rule"));
        }
        (Some(_), Some(_)) | (None, _) => {}
    }
    let raw = rule.sections.iter().position(|section| section.buffer == Buffer::HttpHeaderRaw);
    if let (Some(i), None) = (raw, rule.flow.direction) {
        return Err(Draft::conflict(at(i), "'http.header.raw' does not say whose headers are meant")
            .remedy("add flow:to_server or flow:to_client"));
    }
    Ok(())
}

/// A rule for both directions asks something of each, and of no payload.
fn check_both(rule: &crate::rule::Rule) -> Result<(), Fault> {
    let has = |way| rule.sections.iter().any(|s| s.direction.or(s.buffer.direction()) == Some(way));
    if rule.sections.iter().any(|s| s.buffer.is_payload()) {
        return Err(Draft::conflict(0..1, "a rule for both directions ('=>') cannot look at the payload"));
    }
    if has(FlowDirection::ToServer) && has(FlowDirection::ToClient) {
        return Ok(());
    }
    Err(Draft::conflict(0..1, "a rule for both directions ('=>') asks something of requests and of answers")
        .remedy("write '->' for '=>'"))
}

/// Buffers that requests and answers have alike.
fn is_ambiguous(buffer: Buffer) -> bool {
    !buffer.is_payload() && !buffer.is_packet_header() && !buffer.has_several_values() && buffer.direction().is_none()
}
