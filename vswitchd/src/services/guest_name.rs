//! Names that guests give themselves, made harmless.

/// A host name of one label as RFC 1123 has it, in lower case; the first label of a longer one. `None` where nothing
/// of it can be a name.
pub fn guest_name(text: &str) -> Option<String> {
    let label = text.split('.').next().unwrap_or_default();
    let fine = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let edges = !label.starts_with('-') && !label.ends_with('-');
    (fine && edges && (1..=63).contains(&label.len())).then(|| label.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_label_in_lower_case_or_none() {
        for (said, kept) in [
            ("web", Some("web")),
            ("Web-1.example.org", Some("web-1")),
            ("", None),
            ("-x", None),
            ("a b", None),
            ("b\u{e4}r", None),
            ("..", None),
        ] {
            assert_eq!(guest_name(said).as_deref(), kept, "{said}");
        }
        assert_eq!(guest_name(&"a".repeat(64)), None);
    }
}
