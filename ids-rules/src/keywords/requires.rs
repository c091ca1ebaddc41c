//! `requires`: a rule says what an engine must have to be given the rule.

use super::is_keyword;
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;

/// The version of Suricata's language that this is.
const VERSION: [u32; 3] = [8, 0, 6];

/// Looks at all `requires` of a rule before any other option: a rule for another engine is passed over, whatever else
/// stands in it.
pub(crate) fn requires(draft: &mut Draft, options: &[RuleOption<'_>]) -> Result<(), Fault> {
    for option in options.iter().filter(|o| o.name.text == "requires") {
        let value = super::required(*option)?;
        for part in value.split(',').map(Piece::trim) {
            if !met(part)? {
                draft.passed_over = true;
            }
        }
    }
    Ok(())
}

fn met(part: Piece<'_>) -> Result<bool, Fault> {
    let (key, rest) = part.text.split_once(char::is_whitespace).unwrap_or((part.text, ""));
    let rest = rest.trim();
    match key {
        // Nothing that is a feature there is optional here, except what is not here at all.
        "feature" => Ok(rest != "lua"),
        "keyword" => Ok(is_keyword(rest)),
        "version" => {
            // `version >= 7.0.4 < 8 | >= 8.0.3`: alternatives of bounds that all hold.
            let mut any = false;
            for alternative in rest.split('|') {
                any |= all_bounds(alternative, part)?;
            }
            Ok(any)
        }
        // A word that this engine does not know asks for something that it does not have.
        _ => Ok(false),
    }
}

fn all_bounds(text: &str, part: Piece<'_>) -> Result<bool, Fault> {
    let bad = || Fault::new(Kind::Value, part.range(), "a version is asked for like this: version >= 7.0.3");
    let mut rest = text.trim();
    let mut holds = true;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let operator = ["<=", ">=", "==", "<", ">"].into_iter().find(|o| rest.starts_with(o)).ok_or_else(bad)?;
        let after = rest.get(operator.len()..).unwrap_or("").trim_start();
        let end = after.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(after.len());
        let wanted = version(after.get(..end).unwrap_or("")).ok_or_else(bad)?;
        holds &= match operator {
            "<=" => VERSION <= wanted,
            ">=" => VERSION >= wanted,
            "==" => VERSION == wanted,
            "<" => VERSION < wanted,
            _ => VERSION > wanted,
        };
        // A suffix (`-dev`) says nothing more, and white space divides bounds.
        let tail = after.get(end..).unwrap_or("");
        rest = tail.trim_start_matches(|c: char| c == '-' || c.is_ascii_alphanumeric()).trim_start();
    }
    Ok(holds)
}

fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = [0; 3];
    for (i, part) in text.split('.').enumerate() {
        *parts.get_mut(i)? = part.parse().ok()?;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_on_versions_are_compared_with_that_of_the_language() {
        let check = |text: &str| met(Piece::new(text, 0)).unwrap();
        assert!(check("version >= 8"));
        assert!(check("version >= 7.0.4 < 9"));
        assert!(check("version >= 7.0.4 < 8 | >= 8.0.3"));
        assert!(!check("version >= 9.0.0"));
        assert!(!check("version < 8"));
        assert!(check("keyword content"));
        assert!(!check("keyword frobnicate"));
        assert!(!check("frob x"));
        assert!(met(Piece::new("version 8", 0)).is_err());
    }
}
