//! The options of a rule: one file a family, one function a keyword.

pub(crate) mod app;
mod buffers;
mod bytes;
mod content;
mod dataset;
mod events;
mod fields;
mod file;
mod flow;
mod meta;
mod named;
mod numbers;
mod packet;
mod pcre;
mod requires;
mod size;
mod state;
mod table;
pub(crate) mod threshold;
mod transforms;

use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::Value;

pub(crate) use numbers::{bounds, exclusive_bounds, number};
pub(crate) use requires::requires;
pub(crate) use table::is_keyword;
pub use table::keywords;

/// Whether options are in Snort 3's dialect, where it is not the header that shows it.
pub(crate) fn is_snort(options: &[RuleOption<'_>]) -> bool {
    options.iter().any(|option| match option.name.text {
        "service" | "rem" | "bufferlen" | "file_type" => true,
        "content" => option.value.is_some_and(content::has_modifiers),
        _ => false,
    })
}

/// Applies one option to the rule.
pub(crate) fn apply(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let name = option.name;
    draft.note_modifier(option)?;
    if let Some(apply) = table::find(name.text) {
        return apply(draft, option);
    }
    // Keywords may be written in any case.
    let lower = name.text.to_ascii_lowercase();
    if lower != name.text
        && let Some(apply) = table::find(&lower)
    {
        return apply(draft, RuleOption { name: Piece::new(&lower, name.at), value: option.value });
    }
    if let Some(done) = buffers::apply(draft, option) {
        return done;
    }
    if let Some(done) = fields::apply(draft, option) {
        return done;
    }
    let message = format!("the keyword '{}' is not supported", name.text);
    Err(Fault::new(Kind::UnsupportedKeyword, name.range(), message)
        .subject(name.text)
        .remedy("write the rule without it, or leave the rule out"))
}

/// The option's value; a fault where it has none.
pub(crate) fn required(option: RuleOption<'_>) -> Result<Piece<'_>, Fault> {
    option.value.filter(|v| !v.text.is_empty()).ok_or_else(|| {
        Fault::new(Kind::Value, option.name.range(), format!("'{}' needs a value", option.name.text))
            .subject(option.name.text)
    })
}

/// Makes sure that the option has no value.
pub(crate) fn no_value(option: RuleOption<'_>) -> Result<(), Fault> {
    match option.value {
        None => Ok(()),
        Some(value) if value.text.is_empty() => Ok(()),
        Some(value) => Err(Fault::new(Kind::Value, value.range(), format!("'{}' takes no value", option.name.text))
            .subject(option.name.text)),
    }
}

/// A number that must lie in `min..=max`, or the name of a variable that was taken before.
pub(crate) fn value_or_variable(draft: &Draft, value: Piece<'_>, min: i64, max: i64) -> Result<Value, Fault> {
    if value.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return draft.variable(value).map(Value::Variable);
    }
    number(value, min, max).map(Value::Number)
}
