//! The registered part of a host name, and its public suffix.
//!
//! The suffix is the last label, or the last two where registries sell names below a second level. These are known by
//! a list of countries and of the labels that they use; the full list of public suffixes is not here.

/// Second levels below which many countries register names.
const SECOND_LEVELS: &[&str] = &[
    "ac", "co", "com", "edu", "gob", "gov", "go", "gouv", "id", "info", "ltd", "me", "mil", "ne", "net", "nom", "or",
    "org", "plc", "sch",
];

/// Countries that register names below a second level.
const COUNTRIES: &[&str] = &[
    "ae", "ar", "at", "au", "bd", "bo", "br", "ci", "cn", "co", "cr", "cy", "do", "ec", "eg", "fj", "gh", "gt", "hk",
    "hn", "hu", "id", "il", "in", "iq", "ir", "jm", "jo", "jp", "ke", "kr", "kw", "lb", "lk", "ma", "mm", "mo", "mt",
    "mx", "my", "na", "ng", "ni", "np", "nz", "om", "pa", "pe", "ph", "pk", "pl", "pr", "pt", "py", "qa", "ro", "rs",
    "ru", "sa", "sg", "sv", "th", "tn", "tr", "tt", "tw", "tz", "ua", "ug", "uk", "uy", "uz", "ve", "vn", "ye", "za",
    "zm", "zw",
];

/// Where the public suffix of a name starts; `None` for a name of one label or an empty one.
fn suffix_start(name: &[u8]) -> Option<usize> {
    let last = name.iter().rposition(|byte| *byte == b'.')?;
    let top = name.get(last + 1..)?;
    let second_start = name.get(..last)?.iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
    let second = name.get(second_start..last)?;
    let is_one_of = |list: &[&str], label: &[u8]| list.iter().any(|known| label.eq_ignore_ascii_case(known.as_bytes()));
    let below = is_one_of(COUNTRIES, top) && is_one_of(SECOND_LEVELS, second);
    Some(if below { second_start } else { last + 1 })
}

/// The public suffix.
pub fn tld(name: &[u8]) -> Option<&[u8]> {
    name.get(suffix_start(name)?..)
}

/// The public suffix with the label before it; `None` where there is none.
pub fn domain(name: &[u8]) -> Option<&[u8]> {
    let before = suffix_start(name)?.checked_sub(1)?;
    let start = name.get(..before)?.iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
    name.get(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_what_was_registered() {
        assert_eq!(domain(b"www.shop.example.co.uk"), Some(&b"example.co.uk"[..]));
        assert_eq!(domain(b"a.b.example.com"), Some(&b"example.com"[..]));
        assert_eq!(domain(b"example.com"), Some(&b"example.com"[..]));
        assert_eq!(domain(b"localhost"), None);
        assert_eq!(domain(b"co.uk"), None);
        assert_eq!(tld(b"www.example.org"), Some(&b"org"[..]));
        assert_eq!(tld(b""), None);
    }
}
