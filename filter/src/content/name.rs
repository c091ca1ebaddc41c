//! Host names and paths in one form, so that a name cannot be written past a list.
//!
//! A host: without port and trailing dots, percent-escapes undone, letters small, labels beyond ASCII as Punycode (RFC
//! 3492; letters are made small by Unicode's simple mapping, which is all of IDNA that names on lists need). A path:
//! escapes undone once, `.` and `..` resolved, `//` and `\` as one `/`.
//!
//! Limits: a host has at most [`HOST_MAX`] bytes, a path [`PATH_MAX`]; what is longer is cut, and a host that is cut is
//! no name.

use std::net::IpAddr;

/// The longest host name (RFC 1035, 2.3.4, as text with its dots).
pub const HOST_MAX: usize = 253;
/// Bytes of a path and query that are looked at.
pub const PATH_MAX: usize = 4096;

/// The host in its one form; `None` where nothing of it can be a name or an address.
pub fn host(raw: &[u8]) -> Option<String> {
    let raw = raw.trim_ascii();
    let raw = without_port(raw);
    let bytes = unescape(raw.get(..raw.len().min(4 * HOST_MAX))?);
    let text = String::from_utf8_lossy(&bytes);
    let mut name = String::with_capacity(text.len());
    // Dots that IDNA takes for dots (RFC 3490, 3.1).
    for (nth, label) in text.split(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']).enumerate() {
        if nth > 0 {
            name.push('.');
        }
        if label.is_ascii() {
            name.extend(label.chars().map(|c| c.to_ascii_lowercase()));
        } else {
            let small: Vec<char> = label.chars().flat_map(char::to_lowercase).take(HOST_MAX).collect();
            name.push_str(&punycode(&small)?);
        }
    }
    let name = name.trim_end_matches('.').trim_start_matches('.');
    let fine = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\');
    (!name.is_empty() && name.len() <= HOST_MAX && name.bytes().all(fine)).then(|| name.to_owned())
}

/// The address that a host is, where it is one.
pub fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The host of `host:port`, `[v6]:port`, `user@host`.
fn without_port(raw: &[u8]) -> &[u8] {
    let raw = raw.iter().rposition(|&b| b == b'@').and_then(|at| raw.get(at + 1..)).unwrap_or(raw);
    if raw.first() == Some(&b'[') {
        let end = raw.iter().position(|&b| b == b']').map_or(raw.len(), |at| at + 1);
        return raw.get(..end).unwrap_or(raw);
    }
    let colon = raw.iter().position(|&b| b == b':').unwrap_or(raw.len());
    raw.get(..colon).unwrap_or(raw)
}

/// Undoes percent-escapes, once.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&b| char::from(b).to_digit(16));
        rest = match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                after.get(2..).unwrap_or_default()
            }
            _ => {
                out.push(byte);
                after
            }
        };
    }
    out
}

/// Path and query of a request's target in their one form, beginning with `/`.
pub fn path(target: &[u8]) -> Vec<u8> {
    let target = target.get(..target.len().min(PATH_MAX)).unwrap_or(target);
    let (path, query) = match target.iter().position(|&b| b == b'?') {
        Some(at) => (target.get(..at).unwrap_or_default(), target.get(at..).unwrap_or_default()),
        None => (target, &b""[..]),
    };
    let path = path.split(|&b| b == b'#').next().unwrap_or_default();
    let mut out: Vec<u8> = Vec::with_capacity(target.len() + 1);
    for segment in unescape(path).split(|&b| b == b'/' || b == b'\\') {
        match segment {
            b"" | b"." => {}
            b".." => {
                let cut = out.iter().rposition(|&b| b == b'/').unwrap_or(0);
                out.truncate(cut);
            }
            segment => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if out.is_empty() || (path.ends_with(b"/") && out.last() != Some(&b'/')) {
        out.push(b'/');
    }
    let query = query.split(|&b| b == b'#').next().unwrap_or_default();
    out.extend_from_slice(&unescape(query));
    out
}

/// The target of an absolute URI in two: host and path; `None` where it is not absolute.
pub fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = target.windows(3).take(16).position(|window| window == b"://")?;
    if !target.get(..at)?.iter().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let rest = target.get(at + 3..)?;
    let end = rest.iter().position(|&b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    Some((rest.get(..end)?, rest.get(end..)?))
}

/// `xn--` and the label's Punycode (RFC 3492, 6.3). `None` where a number would overflow.
fn punycode(label: &[char]) -> Option<String> {
    const BASE: u32 = 36;
    let mut out: String = label.iter().filter(|c| c.is_ascii()).collect();
    let basic = u32::try_from(out.len()).ok()?;
    let mut handled = basic;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias) = (0x80u32, 0u32, 72u32);
    while (handled as usize) < label.len() {
        let next = label.iter().map(|&c| c as u32).filter(|&c| c >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for &c in label {
            let c = c as u32;
            if c < n {
                delta = delta.checked_add(1)?;
            }
            if c != n {
                continue;
            }
            let mut q = delta;
            let mut k = BASE;
            loop {
                let t = k.saturating_sub(bias).clamp(1, 26);
                if q < t {
                    break;
                }
                out.push(digit(t + (q - t) % (BASE - t)));
                q = (q - t) / (BASE - t);
                k += BASE;
            }
            out.push(digit(q));
            bias = adapt(delta, handled + 1, handled == basic);
            delta = 0;
            handled += 1;
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(format!("xn--{out}"))
}

fn digit(value: u32) -> char {
    char::from(if value < 26 { b'a' + value as u8 } else { b'0' + (value as u8).saturating_sub(26) })
}

fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / 700 } else { delta / 2 };
    delta += delta / points.max(1);
    let mut k = 0;
    while delta > 455 {
        delta /= 35;
        k += 36;
    }
    k + 36 * delta / (delta + 38)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_form() {
        for raw in [
            "www.Example.ORG",
            "www.example.org.",
            "www.example.org..",
            " www.example.org:8080 ",
            "user@www.example.org",
            "www%2eexample.org",
            "%77ww.example.org",
            "www\u{3002}example.org",
        ] {
            assert_eq!(host(raw.as_bytes()).as_deref(), Some("www.example.org"), "{raw}");
        }
        assert_eq!(host("b\u{fc}cher.example".as_bytes()).as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(host("B\u{dc}CHER.example".as_bytes()).as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(
            host("\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.example".as_bytes()).as_deref(),
            Some("xn--e1afmkfd.example")
        );
        assert_eq!(host(b"[2001:DB8::1]:443").as_deref(), Some("[2001:db8::1]"));
        for no_name in [&b""[..], b"...", b"a b", &[b'a'; 300], b"a/b"] {
            assert_eq!(host(no_name), None, "{no_name:?}");
        }
    }

    #[test]
    fn one_path_has_one_form() {
        for (raw, plain) in [
            ("", "/"),
            ("/", "/"),
            ("/a/./b/../c", "/a/c"),
            ("//a//c", "/a/c"),
            ("/a\\c", "/a/c"),
            ("/%61/%63", "/a/c"),
            ("/a/c/", "/a/c/"),
            ("/../../a/c", "/a/c"),
            ("/a/c#part", "/a/c"),
            ("/a/c?x=%31", "/a/c?x=1"),
        ] {
            assert_eq!(String::from_utf8_lossy(&path(raw.as_bytes())), plain, "{raw}");
        }
        assert_eq!(path(&[b'/'; 100_000]), b"/");
    }

    #[test]
    fn an_absolute_target_has_a_host() {
        assert_eq!(absolute(b"http://a.example/x?y"), Some((&b"a.example"[..], &b"/x?y"[..])));
        assert_eq!(absolute(b"HTTP://a.example"), Some((&b"a.example"[..], &b""[..])));
        assert_eq!(absolute(b"/x?u=http://a.example/"), None);
    }
}
