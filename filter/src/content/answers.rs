//! What a denied initiator is told, in its own protocol: a page, or a name server's answer.
//!
//! The bytes are made from what the initiator said and from the policy; whoever sends them puts them into packets.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a block page's body at most.
const BODY_MAX: usize = 900;
/// Seconds that a sinkhole's address may be kept by the resolver.
const SINKHOLE_TTL: u32 = 60;
/// The longest question section that is answered.
const QUESTION_MAX: usize = 300;
/// Record types (RFC 1035, RFC 3596).
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// A response with status 403 that ends the connection. One segment of every link.
pub fn page(host: &str, rule: &str, text: &str) -> Vec<u8> {
    let text = if text.is_empty() { "The policy of this network does not allow this site." } else { text };
    let mut body = String::from("<!doctype html><title>403 Forbidden</title><h1>Access denied</h1><p>");
    escape(&mut body, text);
    body.push_str("</p><p>Site: ");
    escape(&mut body, host);
    body.push_str("<br>Rule: ");
    escape(&mut body, rule);
    let mut end = body.len().min(BODY_MAX);
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    body.truncate(end);
    body.push_str("</p>\n");
    format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Text as HTML shows it; a few hundred characters of it.
fn escape(out: &mut String, text: &str) {
    for c in text.chars().take(300) {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
}

/// The answer to a query (a datagram's payload): "no such name" (RFC 1035, 4.1.1, RCODE 3), or the sinkhole's address
/// where the query asks for one of its family and it is set. `None` where the query has not one plain question.
pub fn name_answer(query: &[u8], sinkhole: Option<(Option<Ipv4Addr>, Option<Ipv6Addr>)>) -> Option<Vec<u8>> {
    let header: &[u8; 12] = query.first_chunk()?;
    let [id0, id1, flags, _, q0, q1, ..] = *header;
    if flags & 0x80 != 0 || [q0, q1] != [0, 1] {
        return None;
    }
    let rest = query.get(12..)?;
    let mut at = 0;
    loop {
        let length = usize::from(*rest.get(at)?);
        if length > 63 || at > QUESTION_MAX {
            return None;
        }
        at += 1 + length;
        if length == 0 {
            break;
        }
    }
    let question = rest.get(..at + 4)?;
    let kind = u16::from_be_bytes(*question.get(at..)?.first_chunk()?);
    let data: Option<Vec<u8>> = match (kind, sinkhole) {
        (TYPE_A, Some((Some(v4), _))) => Some(v4.octets().to_vec()),
        (TYPE_AAAA, Some((_, Some(v6)))) => Some(v6.octets().to_vec()),
        _ => None,
    };
    // Where there is a sinkhole, the name exists; what it has no record of is answered with none.
    let code = if sinkhole.is_some_and(|(v4, v6)| v4.is_some() || v6.is_some()) { 0 } else { 3 };
    let answers = u8::from(data.is_some());
    // An answer, opcode and "recursion desired" as asked, recursion available.
    let mut out = vec![id0, id1, 0x80 | (flags & 0x79), 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0];
    out.extend_from_slice(question);
    if let Some(data) = data {
        // The name is that at byte 12.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&SINKHOLE_TTL.to_be_bytes());
        out.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

/// The answer that stands in place of another (a datagram's payload), to the same question.
pub fn other_answer(answer: &[u8], sinkhole: Option<(Option<Ipv4Addr>, Option<Ipv6Addr>)>) -> Option<Vec<u8>> {
    let mut query = answer.to_vec();
    let flags = query.get_mut(2)?;
    *flags &= 0x7f;
    name_answer(&query, sinkhole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(b"\x03bad\x07example\x00\x00");
        bytes.extend_from_slice(&[kind, 0, 1]);
        bytes
    }

    #[test]
    fn a_page_says_its_length_and_shows_no_markup_of_others() {
        let text = String::from_utf8(page("<b>.example", "rule", "")).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 403 ") && head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.contains("&lt;b&gt;.example") && !body.contains("<b>"));
        assert!(page(&"x".repeat(10_000), &"y".repeat(10_000), &"\u{e9}".repeat(10_000)).len() < 1200);
    }

    #[test]
    fn a_query_is_answered_with_its_own_question() {
        let answer = name_answer(&query(1), None).unwrap();
        assert_eq!(answer[..4], [0xab, 0xcd, 0x81, 0x83]);
        assert_eq!(answer[12..], query(1)[12..]);
        let sinkhole = (Some(Ipv4Addr::new(192, 0, 2, 1)), None);
        let answer = name_answer(&query(1), Some(sinkhole)).unwrap();
        assert_eq!((answer[3] & 15, answer[7], &answer[answer.len() - 4..]), (0, 1, &[192, 0, 2, 1][..]));
        let answer = name_answer(&query(28), Some(sinkhole)).unwrap();
        assert_eq!((answer[3] & 15, answer[7], answer.len()), (0, 0, query(28).len()));
        assert_eq!(name_answer(&query(1), Some((None, None))).unwrap()[3] & 15, 3);
    }

    #[test]
    fn what_is_no_query_is_not_answered() {
        let whole = query(1);
        for cut in 0..whole.len() {
            assert_eq!(name_answer(&whole[..cut], None), None, "{cut}");
        }
        let mut answer = whole.clone();
        answer[2] |= 0x80;
        assert_eq!(name_answer(&answer, None), None);
        let mut pointer = whole;
        pointer[12] = 0xc0;
        assert_eq!(name_answer(&pointer, None), None);
    }
}
