//! What is written behind keywords that a protocol's transaction answers: forms that it would never say yes to are
//! refused when the rule is read.

/// Whether a text is a number of at most `max`, decimal or hexadecimal.
fn is_number(text: &str, max: u64) -> bool {
    let text = text.trim();
    let read = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse::<u64>(),
    };
    read.is_ok_and(|number| number <= max)
}

/// `7`, `>7`, `<=7`, `3<>7`, `3-7`
fn is_range(text: &str, max: u64) -> bool {
    let text = text.trim();
    let bare = text.trim_start_matches(['<', '>', '=', '!']);
    if bare.len() != text.len() {
        return is_number(bare, max);
    }
    match text.split_once("<>").or_else(|| text.split_once('-')) {
        Some((low, high)) => is_number(low, max) && is_number(high, max),
        None => is_number(text, max),
    }
}

/// `function N|[!]CATEGORY[, subfunction N]`, `access read|write [KIND][, address N[, value N]]`, `unit N[, …]`
pub(super) fn is_modbus(text: &str) -> bool {
    let mut names = Vec::new();
    for part in text.split(',') {
        let (name, value) = part.trim().split_once(char::is_whitespace).unwrap_or((part.trim(), ""));
        let value = value.trim();
        let fits = match name {
            "unit" => is_range(value, 255),
            "function" => {
                let word = value.trim_start_matches('!').trim();
                ["assigned", "unassigned", "public", "user", "reserved", "all"].contains(&word) || is_number(word, 255)
            }
            "subfunction" => names.contains(&"function") && is_number(value, 65_535),
            "access" => {
                let words: Vec<&str> = value.split_whitespace().collect();
                match words.as_slice() {
                    ["read" | "write"] => true,
                    ["read", kind] => ["discretes", "coils", "input", "holding"].contains(kind),
                    ["write", kind] => ["coils", "holding"].contains(kind),
                    _ => false,
                }
            }
            "address" => names.contains(&"access") && is_range(value, 65_535),
            "value" => names.contains(&"address") && is_range(value, 65_535),
            _ => false,
        };
        if !fits || names.contains(&name) {
            return false;
        }
        names.push(name);
    }
    true
}

/// A setting's name or number (RFC 9113, 6.5.2), and a comparison with its value.
pub(super) fn is_http2_setting(text: &str) -> bool {
    const NAMES: [&str; 6] = [
        "HEADERTABLESIZE",
        "ENABLEPUSH",
        "MAXCONCURRENTSTREAMS",
        "INITIALWINDOWSIZE",
        "MAXFRAMESIZE",
        "MAXHEADERLISTSIZE",
    ];
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, compared) = text.split_at(end);
    let plain = name.to_ascii_uppercase().replace("SETTINGS", "").replace('_', "");
    let known = NAMES.contains(&plain.as_str()) || is_number(&plain, 65_535);
    known && (compared.trim().is_empty() || is_range(compared, u32::MAX.into()))
}

/// `GROUP,VARIATION`
pub(super) fn is_dnp3_object(text: &str) -> bool {
    text.split_once(',').is_some_and(|(group, variation)| is_number(group, 255) && is_number(variation, 255))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_protocols_understand_is_told_from_what_they_do_not() {
        for good in [
            "function 21",
            "function 4, subfunction 4",
            "function !assigned",
            "access write holding, address 500, value >200",
            "access read, address 100<>200",
            "unit 10, function 3",
            "unit >5, access write coils",
        ] {
            assert!(is_modbus(good), "{good}");
        }
        for bad in ["", "foo", "function 300", "subfunction 4", "access write input", "value 3", "unit 1, unit 2"] {
            assert!(!is_modbus(bad), "{bad}");
        }
        assert!(is_http2_setting("SETTINGS_MAX_HEADER_LIST_SIZE >1024") && is_http2_setting("enable_push"));
        assert!(!is_http2_setting("FOO > 3") && !is_http2_setting("ENABLE_PUSH ~ 3"));
        assert!(is_dnp3_object("12,1") && !is_dnp3_object("300,1") && !is_dnp3_object("12"));
    }
}
