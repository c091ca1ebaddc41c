//! `dataset`, `datarep`, `iprep`, `geoip`: values and addresses looked up in lists.

use super::numbers::size;
use super::{number, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{
    Bounds, Condition, DataSet, DataSetCommand, DataSetFormat, DataSetKind, HostSide, Match, Reputation, Reputations,
};

/// Letters of a set's name at most.
const NAME: usize = 63;

fn kind(word: Piece<'_>) -> Result<DataSetKind, Fault> {
    Ok(match word.text {
        "string" => DataSetKind::Text,
        "md5" => DataSetKind::Md5,
        "sha256" => DataSetKind::Sha256,
        "ipv4" => DataSetKind::Ipv4,
        "ip" => DataSetKind::Ip,
        _ => return Err(Fault::new(Kind::Value, word.range(), "the type is string, md5, sha256, ipv4 or ip")),
    })
}

/// A word and what stands behind it.
fn pair(word: Piece<'_>) -> (&str, Piece<'_>) {
    let (key, rest) = word.text.split_once(char::is_whitespace).unwrap_or((word.text, ""));
    (key, Piece::new(rest, word.at + word.text.len() - rest.len()).trim())
}

fn set_name(word: Piece<'_>) -> Result<String, Fault> {
    if word.text.is_empty() || word.text.len() > NAME || word.text.contains(char::is_whitespace) {
        return Err(Fault::new(Kind::Value, word.range(), "this is not the name of a set"));
    }
    Ok(word.text.to_owned())
}

pub(super) fn dataset(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    if !draft.is_sticky() {
        return Err(Draft::conflict(option.name.range(), "'dataset' needs a sticky buffer before it"));
    }
    let mut words = whole.split(',').map(Piece::trim);
    let command = words.next().unwrap_or(whole);
    let command = match command.text {
        "set" => DataSetCommand::Set,
        "unset" => DataSetCommand::Unset,
        "isset" => DataSetCommand::IsSet,
        "isnotset" => DataSetCommand::IsNotSet,
        _ => return Err(Fault::new(Kind::Value, command.range(), "one of set, unset, isset, isnotset")),
    };
    let name = set_name(words.next().ok_or_else(|| Fault::new(Kind::Value, whole.range(), "the set has no name"))?)?;
    let mut set = DataSet {
        command,
        name,
        kind: DataSetKind::Text,
        load: None,
        save: None,
        state: None,
        memcap: None,
        hashsize: None,
        format: DataSetFormat::Csv,
        value_key: None,
        array_key: None,
        context_key: None,
        remove_key: false,
    };
    let mut has_kind = false;
    for word in words {
        let (key, value) = pair(word);
        if value.text.is_empty() && key != "remove_key" {
            return Err(Fault::new(Kind::Value, word.range(), "this word needs a value"));
        }
        let text = || Some(value.text.to_owned());
        match key {
            "type" => (set.kind, has_kind) = (kind(value)?, true),
            "load" => set.load = text(),
            "save" => set.save = text(),
            "state" => set.state = text(),
            "memcap" => set.memcap = Some(size(value, i64::MAX as u64)?),
            "hashsize" => set.hashsize = Some(number(value, 1, u32::MAX.into())? as u32),
            "format" => set.format = format(value)?,
            "value_key" => set.value_key = text(),
            "array_key" => set.array_key = text(),
            "context_key" | "enrichment_key" => set.context_key = text(),
            "remove_key" => set.remove_key = true,
            _ => {
                return Err(Fault::new(Kind::Value, word.range(), format!("'{key}' is not known to 'dataset'"))
                    .subject(format!("dataset:{key}")));
            }
        }
    }
    check_set(draft, &set, has_kind, whole)?;
    draft.add_match(Match::DataSet(set), whole)
}

fn format(value: Piece<'_>) -> Result<DataSetFormat, Fault> {
    match value.text {
        "csv" => Ok(DataSetFormat::Csv),
        "json" => Ok(DataSetFormat::Json),
        "ndjson" | "jsonline" => Ok(DataSetFormat::NdJson),
        _ => Err(Fault::new(Kind::Value, value.range(), "the format is csv, json or ndjson")),
    }
}

fn check_set(_draft: &Draft, set: &DataSet, has_kind: bool, at: Piece<'_>) -> Result<(), Fault> {
    let clash = |message: &str| Err(Draft::conflict(at.range(), message));
    if set.state.is_some() && (set.load.is_some() || set.save.is_some()) {
        return clash("'state' names the file that is loaded and saved; 'load' and 'save' exclude it");
    }
    if (set.load.is_some() || set.save.is_some() || set.state.is_some()) && !has_kind {
        return clash("a set with a file needs a 'type'");
    }
    let json = set.format != DataSetFormat::Csv;
    if json && (set.value_key.is_none() || set.context_key.is_none()) {
        return clash("a set from JSON needs 'value_key' and 'context_key'");
    }
    if json && set.load.is_none() {
        return clash("a set from JSON needs 'load'");
    }
    if json && matches!(set.command, DataSetCommand::Set | DataSetCommand::Unset) {
        return clash("a set from JSON cannot be changed");
    }
    Ok(())
}

/// `datarep:NAME,OPERATOR,SCORE[,load FILE,type KIND...]`
pub(super) fn datarep(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    if !draft.is_sticky() {
        return Err(Draft::conflict(option.name.range(), "'datarep' needs a sticky buffer before it"));
    }
    let words: Vec<Piece<'_>> = whole.split(',').map(Piece::trim).collect();
    let &[name, operator, value, ref rest @ ..] = words.as_slice() else {
        return Err(Fault::new(Kind::Value, whole.range(), "datarep reads: NAME,OPERATOR,SCORE[,load FILE,type KIND]"));
    };
    let score = score(operator, value, u16::MAX.into())?;
    let mut set = Reputations { name: set_name(name)?, score, kind: DataSetKind::Text, load: None, state: None };
    for word in rest {
        let (key, value) = pair(*word);
        match key {
            "type" => set.kind = kind(value)?,
            "load" => set.load = Some(value.text.to_owned()),
            "state" => set.state = Some(value.text.to_owned()),
            "memcap" | "hashsize" => {}
            _ => return Err(Fault::new(Kind::Value, word.range(), format!("'{key}' is not known to 'datarep'"))),
        }
    }
    draft.add_match(Match::Reputation(set), whole)
}

fn score(operator: Piece<'_>, value: Piece<'_>, max: u64) -> Result<Bounds, Fault> {
    let n = number(value, 0, max as i64)? as u64;
    let impossible = || Fault::new(Kind::Value, operator.range(), "no score can be like this");
    let (min, max) = match operator.text {
        "<" => (0, n.checked_sub(1).ok_or_else(impossible)?),
        ">" => (n + 1, max),
        "=" | "==" => (n, n),
        "<=" => (0, n),
        ">=" => (n, max),
        _ => return Err(Fault::new(Kind::Value, operator.range(), "the operator is one of < > = <= >=")),
    };
    Ok(Bounds { min, max, negated: false })
}

fn side(word: Piece<'_>) -> Result<HostSide, Fault> {
    Ok(match word.text {
        "src" => HostSide::Source,
        "dst" => HostSide::Destination,
        "both" => HostSide::Both,
        "any" => HostSide::Any,
        _ => return Err(Fault::new(Kind::Value, word.range(), "the side is src, dst, both or any")),
    })
}

/// `iprep:SIDE,CATEGORY,OPERATOR,SCORE` or `iprep:SIDE,CATEGORY,isset|isnotset`
pub(super) fn iprep(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let words: Vec<Piece<'_>> = whole.split(',').map(Piece::trim).collect();
    let (at, category, score, unset) = match *words.as_slice() {
        [at, category, word] if word.text == "isset" => (at, category, None, false),
        [at, category, word] if word.text == "isnotset" => (at, category, None, true),
        [at, category, operator, value] => (at, category, Some(score(operator, value, 127)?), false),
        _ => return Err(Fault::new(Kind::Value, whole.range(), "iprep reads: SIDE,CATEGORY,OPERATOR,SCORE")),
    };
    let reputation = Reputation { side: side(at)?, category: category.text.to_owned(), score, unset };
    draft.rule.conditions.push(Condition::Reputation(reputation));
    Ok(())
}

/// `geoip:[SIDE,]CODE[,CODE...]`
pub(super) fn geoip(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let mut words: Vec<Piece<'_>> = whole.split(',').map(Piece::trim).collect();
    let at = match words.first() {
        Some(word) if side(*word).is_ok() => side(words.remove(0))?,
        Some(_) | None => HostSide::Both,
    };
    let negated = words.first().is_some_and(|word| word.text.starts_with('!'));
    let mut countries = Vec::new();
    for word in &words {
        let code = word.text.trim_start_matches('!').trim();
        if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Fault::new(Kind::Value, word.range(), "a country is a code of two letters"));
        }
        countries.push(code.to_ascii_uppercase());
    }
    if countries.is_empty() {
        return Err(Fault::new(Kind::Value, whole.range(), "no country is named"));
    }
    draft.rule.conditions.push(Condition::GeoIp { side: at, countries, negated });
    Ok(())
}
