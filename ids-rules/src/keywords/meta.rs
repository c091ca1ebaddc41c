//! What a rule says of itself: `msg`, `sid`, `gid`, `rev`, `classtype`, `priority`, `reference`, `metadata`, `target`,
//! `noalert`.

use super::{no_value, number, required};
use crate::classification;
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::Target;

pub(super) fn msg(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    if !draft.rule.msg.is_empty() {
        return Err(Draft::conflict(option.name.range(), "'msg' is given twice"));
    }
    let value = required(option)?;
    if !value.text.starts_with('"') {
        return Err(Fault::new(Kind::Value, value.range(), "the message is not in quotes"));
    }
    draft.rule.msg = unescape(value.unquote()?);
    if draft.rule.msg.is_empty() {
        return Err(Fault::new(Kind::Value, value.range(), "the message is empty"));
    }
    Ok(())
}

/// A message without the backslashes that protect semicolons, colons, quotes and backslashes.
fn unescape(text: Piece<'_>) -> String {
    let mut plain = String::with_capacity(text.text.len());
    let mut chars = text.text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next @ (';' | ':' | '"' | '\\')) if c == '\\' => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    plain
}

pub(super) fn sid(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    if draft.rule.sid != 0 {
        return Err(Draft::conflict(option.name.range(), "'sid' is given twice"));
    }
    draft.rule.sid = number(required(option)?, 1, u32::MAX.into())? as u32;
    Ok(())
}

pub(super) fn gid(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    draft.rule.gid = number(required(option)?, 0, u32::MAX.into())? as u32;
    Ok(())
}

pub(super) fn rev(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    if draft.rev_given {
        return Err(Draft::conflict(option.name.range(), "'rev' is given twice"));
    }
    draft.rule.rev = number(required(option)?, 1, u32::MAX.into())? as u32;
    draft.rev_given = true;
    Ok(())
}

pub(super) fn classtype(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if !is_name(value.text) {
        return Err(Fault::new(Kind::Value, value.range(), "a classtype is one word, without quotes"));
    }
    let own =
        draft.classes.get(&value.text.to_ascii_lowercase()).map(|(meaning, priority)| (meaning.clone(), *priority));
    let customary = || classification::find(value.text).map(|known| (known.meaning.to_owned(), known.priority));
    value.text.clone_into(&mut draft.rule.category);
    match own.or_else(customary) {
        Some((meaning, priority)) => {
            draft.rule.category = meaning;
            if !draft.priority_given {
                draft.rule.priority = priority;
            }
        }
        None => draft.warnings.push(
            Fault::new(Kind::Value, value.range(), format!("the classtype '{}' is not known", value.text))
                .subject(value.text)
                .remedy(format!("its priority is taken as {}", classification::DEFAULT_PRIORITY)),
        ),
    }
    draft.rule.classtype = value.text.to_owned();
    Ok(())
}

pub(super) fn priority(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    if draft.priority_given {
        return Err(Draft::conflict(option.name.range(), "'priority' is given twice"));
    }
    draft.rule.priority = number(required(option)?, 1, 255)? as u8;
    draft.priority_given = true;
    Ok(())
}

pub(super) fn reference(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let parts = value.split_once(',').map(|(system, id)| (system.trim().text, id.trim().text));
    let Some((system, id)) = parts.filter(|&(system, id)| is_name(system) && !id.is_empty()) else {
        return Err(Fault::new(Kind::Value, value.range(), "a reference reads: system,id").subject("reference"));
    };
    draft.rule.references.push((system.to_owned(), id.to_owned()));
    Ok(())
}

pub(super) fn metadata(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    if value.text.starts_with('"') {
        return Err(Fault::new(Kind::Value, value.range(), "metadata is written without quotes"));
    }
    for item in value.split(',').map(Piece::trim).filter(|item| !item.text.is_empty()) {
        let (key, rest) = item.text.split_once(char::is_whitespace).unwrap_or((item.text, ""));
        draft.rule.metadata.push((key.to_owned(), rest.trim().to_owned()));
    }
    Ok(())
}

pub(super) fn target(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let target = match value.text {
        "src_ip" => Target::Source,
        "dest_ip" => Target::Destination,
        _ => return Err(Fault::new(Kind::Value, value.range(), "the target is neither src_ip nor dest_ip")),
    };
    if draft.rule.target.is_some_and(|known| known != target) {
        return Err(Draft::conflict(option.name.range(), "'target' names the other side than the one before it"));
    }
    draft.rule.target = Some(target);
    Ok(())
}

pub(super) fn noalert(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    draft.rule.noalert = true;
    Ok(())
}

/// `alert`: takes back a `noalert`, and makes other actions tell people too.
pub(super) fn alert(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    draft.rule.noalert = false;
    draft.rule.alert = true;
    Ok(())
}
