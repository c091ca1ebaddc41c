//! What becomes of a rule: when it is judged, what is searched for first and why, where it stands, what it may cost.

use std::fmt::Write;

use weir_ids_rules::rule::{FastPattern, Match};
use weir_ids_rules::{AppProtocol, Rule};

use super::compiled::{Compiled, Kind, Part};
use super::fast::{self, Place};
use super::{Direction, Program};
use crate::app::PROTOCOLS;

/// Steps that an expression may take for one byte, against one for a content.
const EXPRESSION: u64 = 16;

/// A rule explained, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// When it is judged.
    pub judged: &'static str,
    /// What it needs besides bytes.
    pub needs: Vec<String>,
    /// What is searched for first; empty where the rule is judged without a search.
    pub fast_pattern: String,
    /// Where that is searched for.
    pub place: String,
    /// Why it was chosen.
    pub why: String,
    /// Groups and tables that it stands in.
    pub groups: Vec<String>,
    /// Times it is expected to be checked in a MiB of the bytes it looks at, were they text without its pattern in mind.
    pub checks_per_mib: u64,
    /// Steps of one check, roughly.
    pub steps_per_check: u64,
}

impl Program {
    /// Explains a rule of the set that the program was compiled of; `None` where it is not in the program.
    pub fn explain(&self, rule: &Rule) -> Option<Explanation> {
        let number = self.number_of_sid(rule.gid, rule.sid)?;
        let compiled = self.rule(number)?;
        let fast = fast::choose(rule);
        let mut explanation = Explanation { judged: judged(compiled.kind), ..Explanation::default() };
        explanation.needs = needs(rule, compiled);
        if let Some(fast) = &fast {
            explanation.fast_pattern = printable(&fast.bytes);
            explanation.place = match &fast.place {
                Place::Payload => "payload".to_owned(),
                Place::Text { buffer, transforms, .. } if transforms.is_empty() => buffer.name().to_owned(),
                Place::Text { buffer, transforms, .. } => {
                    format!("{}, after {} transforms", buffer.name(), transforms.len())
                }
            };
        }
        explanation.why = why(rule, fast.as_ref().map(|fast| fast.bytes.as_slice()));
        explanation.groups = self.places(number, compiled);
        explanation.checks_per_mib = fast.as_ref().map_or(1 << 20, |fast| expected(&fast.bytes));
        if fast.is_none() {
            // Without a pattern it is checked on every packet; a thousand make about a MiB.
            explanation.checks_per_mib = 1024;
        }
        explanation.steps_per_check = steps(rule);
        Some(explanation)
    }

    /// The groups and tables that a rule stands in, with how many rules share them.
    fn places(&self, number: u32, rule: &Compiled) -> Vec<String> {
        let mut places = Vec::new();
        for (index, group) in self.groups.all().enumerate() {
            if group.rules.contains(&number) {
                places.push(format!("group {index} of packets and streams, with {} rules", group.rules.len()));
            }
        }
        for description in PROTOCOLS {
            for way in [Direction::Original, Direction::Reply] {
                let all = self.nets.pairs().filter_map(|nets| self.transactions.get(description.protocol, way, nets));
                // Between different nets it often stands alike.
                for place in all.filter_map(|table| table.place_of(number)) {
                    let place = format!("{} {}: {place}", description.protocol.name(), way_name(way));
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
            }
        }
        let asked_alone = match rule.kind {
            Kind::Ends => Some(("rules on addresses alone", self.ends.len())),
            Kind::Oddities => Some(("rules on oddities of decoding", self.oddities.len())),
            Kind::Frame => Some(("rules on frames", self.frames.len())),
            Kind::ProtocolOnly
            | Kind::Packet
            | Kind::PacketAndStream
            | Kind::Stream
            | Kind::App
            | Kind::Transaction => None,
        };
        places.extend(asked_alone.map(|(name, rules)| format!("the list of {name}, with {rules} rules")));
        places
    }
}

fn way_name(way: Direction) -> &'static str {
    match way {
        Direction::Original => "to server",
        Direction::Reply => "to client",
    }
}

fn judged(kind: Kind) -> &'static str {
    match kind {
        Kind::Ends => "once, on the first packet of each direction of a flow",
        Kind::ProtocolOnly => "once in each direction, on the packet that makes its application protocol known",
        Kind::Oddities => "on packets in which the decoder or the stream engine found something odd",
        Kind::Packet => "on each packet by itself",
        Kind::PacketAndStream => "on each packet by itself, and on the reassembled stream",
        Kind::Stream => "on the reassembled stream",
        Kind::App => "on packets of flows that speak its application protocol",
        Kind::Frame => "on each frame of its name, once it is complete",
        Kind::Transaction => "on each transaction of its application protocol, as its buffers become complete",
    }
}

fn needs(rule: &Rule, compiled: &Compiled) -> Vec<String> {
    let mut needs = Vec::new();
    let apps: Vec<&str> = AppProtocol::ALL
        .iter()
        .filter(|&&app| rule.protocol.is_app() && rule.protocol.takes_app(app))
        .map(|app| app.name())
        .collect();
    if !apps.is_empty() {
        needs.push(format!("a flow that speaks {}", apps.join(" or ")));
    }
    match compiled.flow.state {
        weir_ids_rules::rule::FlowState::Established => needs.push("an established flow".to_owned()),
        weir_ids_rules::rule::FlowState::NotEstablished => needs.push("a flow that is not established".to_owned()),
        weir_ids_rules::rule::FlowState::Any | weir_ids_rules::rule::FlowState::Stateless => {}
    }
    if let Some(direction) = compiled.flow.direction {
        needs.push(format!("the direction {}", way_name(super::compiled::way_of(direction))));
    }
    if !compiled.asks.is_empty() {
        needs.push(format!("{} conditions on packet and flow", compiled.asks.len()));
    }
    if !compiled.wants.is_empty() {
        needs.push(format!("{} flow bits, counters or bits of hosts", compiled.wants.len()));
    }
    for part in &compiled.parts {
        needs.push(match part {
            Part::Text(text) => format!("the buffer {}", text.buffer.name()),
            Part::Number(test) => format!("the number {}", test.field.name()),
            Part::Event(name) => format!("the event {name}"),
            Part::State(name, _) => format!("the state {name}"),
            Part::Hook(name) => format!("the hook {name}"),
            Part::Named { keyword, .. } => format!("the condition {keyword}"),
            Part::Files(_) => "a file".to_owned(),
            Part::Payload => "a match in the payload".to_owned(),
        });
    }
    needs
}

fn why(rule: &Rule, searched: Option<&[u8]>) -> String {
    let contents = rule.matches().filter_map(|(_, m)| match m {
        Match::Content(content) if !content.negated => Some(content),
        _ => None,
    });
    let contents: Vec<_> = contents.collect();
    let Some(searched) = searched else {
        return "no content must be there that could be searched for, so it is judged each time".to_owned();
    };
    if let Some(named) = contents.iter().find(|content| content.fast_pattern != FastPattern::Unsaid) {
        let has_it = named.bytes.windows(searched.len().max(1)).any(|window| window.eq_ignore_ascii_case(searched));
        return match has_it {
            true => "the rule names it (fast_pattern)".to_owned(),
            false => "what the rule names (fast_pattern) is too short to be searched for everywhere".to_owned(),
        };
    }
    match contents.len() {
        1 => "it is the only content".to_owned(),
        n => format!("of {n} contents it tells traffic apart best: long, with rare and distinct bytes"),
    }
}

/// Places in a MiB of text at which the bytes are expected by chance: letters are common, other bytes are not.
fn expected(bytes: &[u8]) -> u64 {
    let places = bytes.iter().fold((1u64 << 20) as f64, |places, byte| {
        places
            / match byte {
                b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b' ' => 12.0,
                b'a'..=b'z' | b'0'..=b'9' => 40.0,
                b'\r' | b'\n' | b'/' | b'.' | b'=' | b'-' | 0 => 60.0,
                _ => 200.0,
            }
    });
    places.ceil() as u64
}

fn steps(rule: &Rule) -> u64 {
    let one = |m: &Match| match m {
        Match::Pcre(_) => EXPRESSION,
        Match::DataSet(_) | Match::Base64(_) | Match::Asn1(_) | Match::Entropy(_) => 4,
        Match::Content(_)
        | Match::IsDataAt(_)
        | Match::Size(_)
        | Match::ByteTest(_)
        | Match::ByteJump(_)
        | Match::ByteExtract(_)
        | Match::ByteMath(_)
        | Match::Reputation(_) => 1,
    };
    let matches: u64 = rule.matches().map(|(_, m)| one(m)).sum();
    let transforms: u64 = rule.sections.iter().map(|section| 4 * section.transforms.len() as u64).sum();
    1 + matches + transforms
}

/// Bytes as rules write them.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b' '..=b'~' if !matches!(byte, b'"' | b'|' | b';') => text.push(char::from(byte)),
            // Writing into a String does not fail.
            _ => drop(write!(text, "|{byte:02x}|")),
        }
    }
    text.replace("||", " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::ProgramSettings;
    use weir_ids_rules::{RuleSet, Source, Variables};

    fn explained(text: &str) -> Explanation {
        let (rules, problems) = RuleSet::parse(&[Source { name: "t", text }], &Variables::default());
        assert!(problems.is_empty(), "{}", problems[0]);
        let (program, _) = Program::compile(&rules, &ProgramSettings::default());
        program.explain(&rules.rules()[0]).expect("is in the program")
    }

    #[test]
    fn a_rule_on_a_buffer_is_searched_for_there() {
        let told = explained(
            "alert http any any -> any any (flow:established,to_server; http.uri; content:\"/a\"; content:\"wp-config|00|\"; sid:7;)",
        );
        assert_eq!((told.fast_pattern.as_str(), told.place.as_str()), ("wp-config|00|", "http.uri"));
        assert!(told.why.contains("of 2 contents"), "{}", told.why);
        assert!(
            told.groups.iter().any(|group| group.starts_with("http to server: the search of http.uri")),
            "{:?}",
            told.groups
        );
        assert!(told.needs.contains(&"an established flow".to_owned()) && told.checks_per_mib == 1);
    }

    #[test]
    fn a_rule_without_a_pattern_is_judged_on_each_packet() {
        let told = explained("alert tcp any any -> any 22 (flags:S; sid:7;)");
        assert_eq!((told.fast_pattern.as_str(), told.judged), ("", "on each packet by itself"));
        assert!(told.groups.iter().any(|group| group.contains("of packets and streams")), "{:?}", told.groups);
    }

    #[test]
    fn what_is_asked_beside_a_payload_tells_where_it_is_looked_at() {
        for (asked, judged) in [
            ("", "on the reassembled stream"),
            ("ip.src; content:\"|0a|\"; pkt_data;", "on the reassembled stream"),
            ("stream_size:both,>,1;", "on the reassembled stream"),
            ("flow.age:<5;", "on each packet by itself"),
            ("flow.pkts_toserver:>2;", "on each packet by itself"),
            ("tcp.hdr; content:\"|00|\"; pkt_data;", "on each packet by itself"),
        ] {
            let told = explained(&format!("alert tcp any any -> any any ({asked} content:\"a\"; sid:7;)"));
            assert_eq!(told.judged, judged, "{asked}");
        }
    }
}
