//! The rule sets that come with the product.

/// Names that [`builtin`] knows.
pub const BUILTIN_NAMES: &[&str] = &["starter"];

/// The text of a rule set that comes with the product.
pub fn builtin(name: &str) -> Option<&'static str> {
    match name {
        "starter" => Some(include_str!("../rules/starter.rules")),
        _ => None,
    }
}
