//! How often a match is told, and what is told after it: `threshold`, `detection_filter`, `tag`.

use super::{number, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{Tag, TagMetric, TagOf, Threshold, ThresholdKind, Track, UniqueOn};

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
    draft.rule.threshold = Some(parse(required(option)?, option.name.text, fixed)?);
    Ok(())
}

/// `type limit|threshold|both|backoff, track T, count N, seconds N|multiplier N`, in any order; of a filter
/// also `unique_on src_port|dst_port`.
pub(crate) fn parse(value: Piece<'_>, keyword: &str, fixed: Option<ThresholdKind>) -> Result<Threshold, Fault> {
    let (mut kind, mut track, mut count, mut seconds, mut multiplier) = (fixed, None, None, None, None);
    let mut unique_on = None;
    for part in value.split(',').map(Piece::trim) {
        let (key, word) = part.text.split_once(char::is_whitespace).unwrap_or((part.text, ""));
        let word = Piece::new(word, part.at + part.text.len() - word.len()).trim();
        let repeated = match key {
            "type" => kind.is_some(),
            "track" => track.is_some(),
            "count" => count.is_some(),
            "seconds" => seconds.is_some(),
            "unique_on" => unique_on.is_some() || fixed != Some(ThresholdKind::Filter),
            _ => multiplier.is_some(),
        };
        if repeated {
            return Err(Draft::conflict(part.range(), format!("'{key}' is given twice or has no place here")));
        }
        match (key, word.text) {
            ("type", "limit") => kind = Some(ThresholdKind::Limit),
            ("type", "threshold") => kind = Some(ThresholdKind::Threshold),
            ("type", "both") => kind = Some(ThresholdKind::Both),
            ("type", "backoff") => kind = Some(ThresholdKind::Backoff),
            ("track", name) => {
                track = Some(self::track(name).ok_or_else(|| unknown(part, keyword))?);
            }
            ("count", _) => count = Some(number(word, 1, u32::MAX.into())? as u32),
            ("seconds", _) => seconds = Some(number(word, 1, u32::MAX.into())? as u32),
            ("unique_on", "src_port") => unique_on = Some(UniqueOn::SourcePort),
            ("unique_on", "dst_port") => unique_on = Some(UniqueOn::DestinationPort),
            ("multiplier", _) => multiplier = Some(number(word, 2, u32::MAX.into())? as u32),
            _ => return Err(unknown(part, keyword)),
        }
    }
    let incomplete = || {
        Fault::new(Kind::Value, value.range(), format!("'{keyword}' is not complete"))
            .remedy("it needs type (threshold only), track, count and seconds (backoff: multiplier)")
    };
    let (kind, track, count) =
        (kind.ok_or_else(incomplete)?, track.ok_or_else(incomplete)?, count.ok_or_else(incomplete)?);
    if kind == ThresholdKind::Backoff {
        let multiplier = multiplier.filter(|_| seconds.is_none()).ok_or_else(incomplete)?;
        if track != Track::Flow {
            return Err(Draft::conflict(value.range(), "'backoff' counts by flow only").remedy("track by_flow"));
        }
        return Ok(Threshold { kind, track, count, seconds: 0, multiplier, unique_on });
    }
    let seconds = seconds.filter(|_| multiplier.is_none()).ok_or_else(incomplete)?;
    Ok(Threshold { kind, track, count, seconds, multiplier: 0, unique_on })
}

fn unknown(part: Piece<'_>, keyword: &str) -> Fault {
    Fault::new(Kind::UnsupportedValue, part.range(), format!("'{}' is not supported here", part.text))
        .subject(format!("{keyword}:{}", part.text))
        .remedy("type limit|threshold|both|backoff, track by_src|by_dst|by_both|by_rule|by_flow, count N, seconds N")
}

/// What is counted together, by its name.
pub(crate) fn track(name: &str) -> Option<Track> {
    Some(match name {
        "by_src" => Track::Source,
        "by_dst" => Track::Destination,
        "by_both" => Track::Both,
        "by_rule" => Track::Rule,
        "by_flow" => Track::Flow,
        _ => return None,
    })
}

/// `tag:session|host[,COUNT,METRIC[,src|dst]]`
pub(super) fn tag(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let words: Vec<Piece<'_>> = value.split(',').map(Piece::trim).collect();
    let form = || Fault::new(Kind::Value, value.range(), "tag reads: session|host[,COUNT,METRIC[,src|dst]]");
    let (kind, amount, side) = match *words.as_slice() {
        [kind] => (kind, None, None),
        // Snort 3: `session,packets 5`.
        [kind, amount] => match amount.split_once(' ') {
            Some((metric, count)) => (kind, Some((count.trim(), metric)), None),
            None => return Err(form()),
        },
        [kind, count, metric] => (kind, Some((count, metric)), None),
        [kind, count, metric, side] => (kind, Some((count, metric)), Some(side)),
        _ => return Err(form()),
    };
    let of = match (kind.text, side.map(|side| side.text)) {
        ("session", None) => TagOf::Session,
        ("host", Some("src")) => TagOf::Source,
        ("host", Some("dst")) => TagOf::Destination,
        _ => return Err(form()),
    };
    let (count, metric) = match amount {
        None => (DEFAULT_TAGGED, TagMetric::Packets),
        Some((count, metric)) => {
            let count = number(count, 1, u32::MAX.into())? as u32;
            let metric = match metric.text {
                "packets" => TagMetric::Packets,
                "bytes" => TagMetric::Bytes,
                "seconds" => TagMetric::Seconds,
                _ => return Err(Fault::new(Kind::Value, metric.range(), "one of packets, bytes, seconds")),
            };
            (count, metric)
        }
    };
    draft.rule.tags.push(Tag { of, count, metric });
    Ok(())
}

/// Packets that are tagged where the rule does not say how many.
const DEFAULT_TAGGED: u32 = 256;
