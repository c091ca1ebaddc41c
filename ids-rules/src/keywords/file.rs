//! Files that traffic carries: `filename`, `fileext`, `filemagic`, `filesize`, the digests, `filestore`.

use super::{exclusive_bounds, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{FileHash, FileStore, FileTest, FlowDirection};

/// `!` and quotes around a text.
fn text(option: RuleOption<'_>) -> Result<(String, bool), Fault> {
    let value = required(option)?;
    let (negated, rest) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    let bytes = super::content::decode(rest.unquote()?)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text.is_empty() {
        return Err(Fault::new(Kind::Value, value.range(), "the text is empty"));
    }
    Ok((text, negated))
}

fn add(draft: &mut Draft, option: RuleOption<'_>, test: FileTest) -> Result<(), Fault> {
    super::app::needs_protocol(draft, crate::buffer::WITH_FILES, option)?;
    draft.rule.files.push(test);
    Ok(())
}

pub(super) fn filename(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let (text, negated) = text(option)?;
    add(draft, option, FileTest::Name { text, negated })
}

pub(super) fn fileext(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let (text, negated) = text(option)?;
    add(draft, option, FileTest::Extension { text, negated })
}

pub(super) fn filemagic(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let (text, negated) = text(option)?;
    add(draft, option, FileTest::Magic { text, negated })
}

pub(super) fn filesize(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    // Sizes may have a unit: each number is written out before the comparison is read.
    let mut plain = String::new();
    let mut rest = value.text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        plain.push_str(before);
        let end = number.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(number.len());
        let (number, after) = number.split_at(end);
        let bytes = super::numbers::size(Piece::new(number, value.at), i64::MAX as u64)?;
        plain.push_str(&bytes.to_string());
        rest = after;
    }
    plain.push_str(rest);
    let bounds = exclusive_bounds(Piece::new(&plain, value.at), i64::MAX as u64)?;
    add(draft, option, FileTest::Size(bounds))
}

fn hash(draft: &mut Draft, option: RuleOption<'_>, hash: FileHash) -> Result<(), Fault> {
    let value = required(option)?;
    let (negated, rest) = match value.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, value),
    };
    let list = rest.unquote()?.text.to_owned();
    add(draft, option, FileTest::Hash { hash, list, negated })
}

pub(super) fn filemd5(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    hash(draft, option, FileHash::Md5)
}

pub(super) fn filesha1(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    hash(draft, option, FileHash::Sha1)
}

pub(super) fn filesha256(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    hash(draft, option, FileHash::Sha256)
}

/// `filestore[:DIRECTION[,SCOPE]]`
pub(super) fn filestore(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    super::app::needs_protocol(draft, crate::buffer::WITH_FILES, option)?;
    let mut store = FileStore::default();
    for word in option.value.iter().flat_map(|value| value.split(',')).map(Piece::trim) {
        match word.text {
            "" | "file" => {}
            "request" | "to_server" | "toserver" => store.side = Some(FlowDirection::ToServer),
            "response" | "to_client" | "toclient" => store.side = Some(FlowDirection::ToClient),
            "both" => store.both = true,
            "tx" => store.of_transaction = true,
            "ssn" | "flow" => store.of_flow = true,
            _ => {
                return Err(Fault::new(Kind::Value, word.range(), "one of request, response, both; file, tx, flow"));
            }
        }
    }
    draft.rule.filestore = Some(store);
    Ok(())
}
