//! How often a match is told: `threshold`, `detection_filter`.

use super::number;
use crate::diagnostic::{Fault, Kind};
use crate::lexer::RuleOption;
use crate::parser::Draft;
use crate::rule::{Threshold, ThresholdKind, Track};

pub(super) fn threshold(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    read(draft, option, None)
}

pub(super) fn detection_filter(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    read(draft, option, Some(ThresholdKind::Filter))
}

fn read(draft: &mut Draft, option: RuleOption<'_>, fixed: Option<ThresholdKind>) -> Result<(), Fault> {
    if draft.rule.threshold.is_some() {
        return Err(Draft::conflict(option.name.range(), "a rule has one 'threshold' or 'detection_filter'"));
    }
    let value = option.required()?;
    let (mut kind, mut track, mut count, mut seconds) = (fixed, None, None, None);
    for part in value.split(',').map(|p| p.trim()) {
        let (key, word) = part.text.split_once(char::is_whitespace).unwrap_or((part.text, ""));
        let word = crate::lexer::Piece::new(word, part.at + part.text.len() - word.len()).trim();
        let unknown = || {
            Err(Fault::new(Kind::UnsupportedValue, part.range(), format!("'{}' is not supported here", part.text))
                .subject(format!("{}:{}", option.name.text, part.text))
                .remedy("type limit|threshold|both, track by_src|by_dst|by_both|by_rule, count N, seconds N"))
        };
        match (key, word.text) {
            ("type", "limit") if fixed.is_none() => kind = Some(ThresholdKind::Limit),
            ("type", "threshold") if fixed.is_none() => kind = Some(ThresholdKind::Threshold),
            ("type", "both") if fixed.is_none() => kind = Some(ThresholdKind::Both),
            ("track", "by_src") => track = Some(Track::Source),
            ("track", "by_dst") => track = Some(Track::Destination),
            ("track", "by_both") => track = Some(Track::Both),
            ("track", "by_rule") => track = Some(Track::Rule),
            ("count", _) => count = Some(number(word, 1, u32::MAX.into())? as u32),
            ("seconds", _) => seconds = Some(number(word, 1, u32::MAX.into())? as u32),
            _ => return unknown(),
        }
    }
    match (kind, track, count, seconds) {
        (Some(kind), Some(track), Some(count), Some(seconds)) => {
            draft.rule.threshold = Some(Threshold { kind, track, count, seconds });
            Ok(())
        }
        _ => Err(Fault::new(Kind::Value, value.range(), format!("'{}' is not complete", option.name.text))
            .remedy("it needs type (threshold only), track, count and seconds")),
    }
}
