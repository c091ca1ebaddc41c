//! `threshold.config`: what an operator changes of rules without touching their text.
//!
//! ```text
//! suppress gen_id 1, sig_id 2000328, track by_src, ip [10.0.0.0/8,!10.1.0.0/16]
//! threshold gen_id 1, sig_id 2002087, type both, track by_src, count 3, seconds 5
//! rate_filter gen_id 1, sig_id 2002087, track by_dst, count 10, seconds 60, new_action drop, timeout 30
//! ```
//!
//! A `sig_id` of 0 speaks of all rules of the `gen_id`, a `gen_id` of 0 of all rules.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Excerpt, Fault, Kind, Severity};
use crate::header::HeaderParser;
use crate::keywords::{number, threshold};
use crate::lexer::{Piece, logical_lines};
use crate::rule::{Action, RejectTo, Threshold, Track};
use crate::{AddressSet, Source, Variables, limits};

/// A change to the rules of a `gid` and `sid`; 0 stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// `gen_id`
    pub gid: u32,
    /// `sig_id`
    pub sid: u32,
    /// What is changed.
    pub change: Change,
}

/// What is changed of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `suppress`: its matches are not told.
    Suppress {
        /// Whose address is looked at: `Source`, `Destination`, `Both` for either; `Rule` for none, all are suppressed.
        track: Track,
        /// The addresses.
        addresses: Arc<AddressSet>,
    },
    /// `threshold`, `event_filter`
    Threshold(Threshold),
    /// `rate_filter`: another action when there are many matches.
    Rate {
        /// What is counted together.
        track: Track,
        /// Matches that are allowed in the time.
        count: u32,
        /// The time.
        seconds: u32,
        /// The action taken beyond that.
        action: Action,
        /// Seconds for which it is taken.
        timeout: u32,
    },
}

/// Reads a `threshold.config`. A line that cannot be used is left out and has a diagnostic.
pub fn parse(source: &Source<'_>, variables: &Variables) -> (Vec<Adjustment>, Vec<Diagnostic>) {
    let mut headers = HeaderParser::new(variables);
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for logical in logical_lines(source.text) {
        let line = Piece::new(&logical.text, 0).trim();
        let fault = match parse_line(line, &mut headers) {
            Ok(adjustment) if found.len() < limits::RULES => {
                found.push(adjustment);
                continue;
            }
            Ok(_) => Fault::new(Kind::Limit, line.range(), format!("more than {} lines", limits::RULES)),
            Err(fault) => fault,
        };
        if problems.len() < limits::DIAGNOSTICS {
            problems.push(diagnostic(&fault, source.name, logical.line, &logical.text));
        }
    }
    (found, problems)
}

fn diagnostic(fault: &Fault, source: &str, line: u32, text: &str) -> Diagnostic {
    let excerpt = Excerpt::around(text, fault.at.clone());
    Diagnostic {
        severity: Severity::Error,
        kind: fault.kind,
        subject: fault.subject.clone(),
        message: fault.message.clone(),
        remedy: fault.remedy.clone(),
        source: source.to_owned(),
        line,
        column: excerpt.column,
        width: excerpt.width,
        sid: None,
        excerpt: excerpt.text,
        caret: excerpt.caret,
    }
}

/// Words of one line, each taken by the first who asks for it.
struct Words<'t> {
    words: Vec<(&'t str, Piece<'t>)>,
    line: Piece<'t>,
}

impl<'t> Words<'t> {
    fn take(&mut self, key: &str) -> Option<Piece<'t>> {
        let at = self.words.iter().position(|(known, _)| *known == key)?;
        Some(self.words.remove(at).1)
    }

    fn need(&mut self, key: &str) -> Result<Piece<'t>, Fault> {
        let line = self.line;
        self.take(key).ok_or_else(|| Fault::new(Kind::Value, line.range(), format!("'{key}' is missing")))
    }

    fn number(&mut self, key: &str, min: i64) -> Result<u32, Fault> {
        Ok(number(self.need(key)?, min, u32::MAX.into())? as u32)
    }

    fn track(&mut self) -> Result<Track, Fault> {
        let word = self.need("track")?;
        threshold::track(word.text)
            .ok_or_else(|| Fault::new(Kind::Value, word.range(), "one of by_src, by_dst, by_both, by_rule, by_flow"))
    }
}

fn parse_line(line: Piece<'_>, headers: &mut HeaderParser<'_>) -> Result<Adjustment, Fault> {
    let (keyword, rest) = line.text.split_once(char::is_whitespace).unwrap_or((line.text, ""));
    let rest = Piece::new(rest, line.at + line.text.len() - rest.len()).trim();
    let mut words = Words { words: split(rest), line };
    let gid = words.number("gen_id", 0)?;
    let sid = words.number("sig_id", 0)?;
    let change = match keyword {
        "suppress" => match words.take("track") {
            None => Change::Suppress { track: Track::Rule, addresses: headers.addresses(Piece::new("any", 0))? },
            Some(word) => {
                let track = match word.text {
                    "by_src" => Track::Source,
                    "by_dst" => Track::Destination,
                    "by_either" => Track::Both,
                    _ => return Err(Fault::new(Kind::Value, word.range(), "one of by_src, by_dst, by_either")),
                };
                Change::Suppress { track, addresses: headers.addresses(words.need("ip")?)? }
            }
        },
        "threshold" | "event_filter" => {
            words.words.clear();
            let own = own_words(rest);
            Change::Threshold(threshold::parse(own, keyword, None)?)
        }
        "rate_filter" => Change::Rate {
            track: words.track()?,
            count: words.number("count", 1)?,
            seconds: words.number("seconds", 0)?,
            action: action(words.need("new_action")?)?,
            timeout: words.number("timeout", 0)?,
        },
        _ => {
            let at = Piece::new(keyword, line.at);
            return Err(Fault::new(Kind::Syntax, at.range(), format!("'{keyword}' is not known here"))
                .remedy("one of suppress, threshold, event_filter, rate_filter"));
        }
    };
    match words.words.first() {
        Some((key, value)) => Err(Fault::new(Kind::Value, value.range(), format!("'{key}' has no place here"))),
        None => Ok(Adjustment { gid, sid, change }),
    }
}

/// Pairs of key and value between commas; commas within brackets belong to the value.
fn split(text: Piece<'_>) -> Vec<(&str, Piece<'_>)> {
    let (mut words, mut depth, mut start) = (Vec::new(), 0usize, 0);
    let mut add = |from: usize, to: usize| {
        let word = Piece::new(text.text.get(from..to).unwrap_or(""), text.at + from).trim();
        let (key, rest) = word.text.split_once(char::is_whitespace).unwrap_or((word.text, ""));
        words.push((key, Piece::new(rest, word.at + word.text.len() - rest.len()).trim()));
    };
    for (i, byte) in text.text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                add(start, i);
                start = i + 1;
            }
            _ => {}
        }
    }
    add(start, text.text.len());
    words
}

/// What stands behind `gen_id` and `sig_id`, which come first.
fn own_words(text: Piece<'_>) -> Piece<'_> {
    let mut rest = text;
    while rest.text.starts_with("gen_id") || rest.text.starts_with("sig_id") {
        match rest.split_once(',') {
            Some((_, after)) => rest = after.trim(),
            None => return Piece::new("", rest.at),
        }
    }
    rest
}

fn action(word: Piece<'_>) -> Result<Action, Fault> {
    Ok(match word.text {
        "drop" => Action::Drop,
        "alert" => Action::Alert,
        "pass" => Action::Pass,
        "reject" => Action::Reject(RejectTo::Source),
        _ => return Err(Fault::new(Kind::Value, word.range(), "one of alert, drop, pass, reject")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Adjustment>, Vec<Diagnostic>) {
        parse(&Source { name: "threshold.config", text }, &Variables::default())
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let (found, problems) = read(
            "# comment\nsuppress gen_id 1, sig_id 7\nsuppress gen_id 1, sig_id 7, track by_src, ip [10.0.0.0/8,!10.1.0.0/16]\n\
             threshold gen_id 1, sig_id 0, type limit, track by_flow, count 5, seconds 60\n\
             rate_filter gen_id 1, sig_id 8, track by_both, count 1, seconds 60, new_action reject, timeout 1000\n",
        );
        assert!(problems.is_empty(), "{}", problems[0]);
        assert_eq!(found.len(), 4);
        assert!(matches!(found[0].change, Change::Suppress { track: Track::Rule, .. }));
        let Change::Suppress { addresses, .. } = &found[1].change else { panic!() };
        assert!(addresses.contains("10.2.0.1".parse().unwrap()) && !addresses.contains("10.1.0.1".parse().unwrap()));
        assert_eq!(
            (found[2].sid, matches!(found[2].change, Change::Threshold(t) if t.track == Track::Flow)),
            (0, true)
        );
        assert!(matches!(found[3].change, Change::Rate { timeout: 1000, action: Action::Reject(_), .. }));
    }

    #[test]
    fn lines_that_cannot_be_used_are_told_with_their_place() {
        let (found, problems) =
            read("\nfrob gen_id 1, sig_id 1\nsuppress gen_id x, sig_id 1\nsuppress gen_id 1, sig_id 1, track by_src\n");
        assert!(found.is_empty());
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 3, 4]);
    }
}
