//! Headers: name and value, parameters (RFC 2045, 5.1; RFC 2231, 3), lists of addresses.

/// Parts of one parameter (RFC 2231) that are joined.
const SECTIONS: usize = 64;

/// Name and value of a line of headers. `None`: it has no colon.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at(at);
    Some((name, value.get(1..)?.trim_ascii_start()))
}

/// The value of a parameter of a header; parts that RFC 2231 numbers ("name*0") are joined.
pub fn parameter(header: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    if let Some(value) = tokens(header).filter(|(token, _)| token.eq_ignore_ascii_case(name)).last() {
        return Some(value.1.to_vec());
    }
    let mut sections: Vec<Option<&[u8]>> = Vec::new();
    for (token, value) in tokens(header) {
        let Some(number) = token.split_at_checked(name.len()).filter(|(head, _)| head.eq_ignore_ascii_case(name))
        else {
            continue;
        };
        let Some(number) = number.1.strip_prefix(b"*") else { continue };
        let number = number.strip_suffix(b"*").unwrap_or(number);
        let Some((number, [])) = crate::app::read::decimal(number) else { continue };
        let Some(number) = usize::try_from(number).ok().filter(|&number| number < SECTIONS) else { continue };
        if sections.len() <= number {
            sections.resize(number + 1, None);
        }
        if let Some(section) = sections.get_mut(number) {
            *section = Some(value);
        }
    }
    let joined: Vec<u8> = sections.iter().map_while(|section| *section).flatten().copied().collect();
    if joined.is_empty() { None } else { Some(joined) }
}

/// The parameters behind a header's value: names and values, quotes taken off.
fn tokens(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = match memchr::memchr(b';', header) {
        Some(at) => header.get(at + 1..).unwrap_or_default(),
        None => &[],
    };
    std::iter::from_fn(move || {
        let (name, behind) = rest.split_at(memchr::memchr(b'=', rest)?);
        let behind = behind.get(1..)?;
        let (value, after) = match behind.strip_prefix(b"\"") {
            Some(quoted) => quoted_value(quoted),
            None => until_semicolon(behind),
        };
        let after = after.trim_ascii_start();
        rest = after.strip_prefix(b";").unwrap_or(after);
        Some((name.trim_ascii(), value))
    })
}

fn until_semicolon(text: &[u8]) -> (&[u8], &[u8]) {
    let (value, rest) = text.split_at(memchr::memchr(b';', text).unwrap_or(text.len()));
    (value.trim_ascii_end(), rest)
}

/// Up to the closing quote, or all when there is none; a backslash guards the letter after it.
fn quoted_value(text: &[u8]) -> (&[u8], &[u8]) {
    let mut guarded = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'"' if !guarded => {
                return (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
            }
            b'\\' => guarded = !guarded,
            _ => guarded = false,
        }
    }
    until_semicolon(text)
}

/// The addresses of a list; a comma in quotes divides nothing.
pub fn split_addresses(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    value
        .split(move |&byte| {
            if byte == b'"' {
                quoted = !quoted;
            }
            byte == b',' && !quoted
        })
        .map(|address| address.trim_ascii())
        .filter(|address| !address.is_empty())
}
