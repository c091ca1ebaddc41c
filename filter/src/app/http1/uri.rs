//! A request's target: its parts (RFC 3986), and its path and query as a server would read them.

use super::best_fit;

/// Parts of a target, as they stand there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts<'b> {
    /// "http" and the like; only where a whole URI stands.
    pub scheme: Option<&'b [u8]>,
    /// The host, without brackets removed.
    pub host: Option<&'b [u8]>,
    /// The port.
    pub port: Option<&'b [u8]>,
    /// The path.
    pub path: Option<&'b [u8]>,
    /// What follows "?".
    pub query: Option<&'b [u8]>,
    /// What follows "#".
    pub fragment: Option<&'b [u8]>,
}

/// How a path and a query are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The path is decoded twice.
    pub double_path: bool,
    /// The query is decoded twice.
    pub double_query: bool,
    /// "+" is a space in the query.
    pub plus: bool,
}

fn split_at_any<'b>(bytes: &'b [u8], ends: &[u8]) -> (&'b [u8], &'b [u8]) {
    let at = bytes.iter().position(|byte| ends.contains(byte)).unwrap_or(bytes.len());
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

/// Takes a target apart. Nothing is checked.
pub fn parts(target: &[u8]) -> Parts<'_> {
    let mut parts = Parts::default();
    let mut rest = target;
    if !target.starts_with(b"/")
        && let Some(colon) = memchr::memchr(b':', target)
        && let Some((scheme, after)) = target.split_at_checked(colon)
    {
        parts.scheme = Some(scheme);
        rest = authority(after.get(1..).unwrap_or_default(), &mut parts);
    }
    let (path, after) = split_at_any(rest, b"?#");
    parts.path = (!path.is_empty()).then_some(path);
    let mut rest = after;
    if let Some(query) = rest.strip_prefix(b"?") {
        let (query, after) = split_at_any(query, b"#");
        parts.query = Some(query);
        rest = after;
    }
    parts.fragment = rest.strip_prefix(b"#");
    parts
}

/// Takes off user, host and port; returns what follows.
fn authority<'b>(bytes: &'b [u8], parts: &mut Parts<'b>) -> &'b [u8] {
    let Some(inside) = bytes.strip_prefix(b"//") else { return bytes };
    if inside.starts_with(b"/") {
        return bytes;
    }
    let (whole, _) = split_at_any(inside, b"/?#");
    let user = memchr::memrchr(b'@', whole).map_or(0, |at| at + 1);
    let rest = inside.get(user..).unwrap_or_default();
    let (host, after) = host(rest);
    if host.is_empty() {
        return rest;
    }
    parts.host = Some(host);
    match after.strip_prefix(b":") {
        Some(port) => {
            let (port, after) = split_at_any(port, b"/?#");
            parts.port = Some(port.trim_ascii()).filter(|port| !port.is_empty());
            after
        }
        None => after,
    }
}

/// The host at the start of bytes, and what follows.
fn host(bytes: &[u8]) -> (&[u8], &[u8]) {
    let bytes = bytes.get(bytes.iter().take_while(|byte| **byte == b' ').count()..).unwrap_or_default();
    let (name, after) = if bytes.starts_with(b"[") {
        let (name, after) = split_at_any(bytes, b"]/?#");
        let closed = usize::from(after.starts_with(b"]"));
        let length = name.len() + closed;
        bytes.split_at_checked(length).unwrap_or((bytes, &[]))
    } else {
        split_at_any(bytes, b"/?#:")
    };
    (name.trim_ascii_end(), after)
}

/// A host with its port, as they stand in a Host field or behind CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPort<'b> {
    /// The host.
    pub host: &'b [u8],
    /// The port as it stands there.
    pub port: Option<&'b [u8]>,
    /// The port's number, where it is one.
    pub number: Option<u16>,
    /// Both can be what they claim to be.
    pub valid: bool,
}

/// Takes host and port apart.
pub fn host_port(bytes: &[u8]) -> HostPort<'_> {
    let (host, after) = host(bytes);
    let mut valid = is_host(host);
    let port =
        after.strip_prefix(b":").map(|port| split_at_any(port, b"/?#").0.trim_ascii()).filter(|port| !port.is_empty());
    let number = port.and_then(number);
    valid &= match port {
        Some(_) => number.is_some(),
        None => after.is_empty(),
    };
    HostPort { host, port, number, valid }
}

/// A port number other than 0.
pub fn number(port: &[u8]) -> Option<u16> {
    std::str::from_utf8(port).ok()?.parse().ok().filter(|&number: &u16| number != 0)
}

/// Whether bytes can be a host's name or address; "_" is let through as it is seen in practice.
pub fn is_host(host: &[u8]) -> bool {
    if host.is_empty() || host.len() > 255 {
        return false;
    }
    if let Some(address) = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        let address = std::str::from_utf8(address).ok();
        return address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    if host.starts_with(b".") || host.windows(2).any(|pair| pair == b"..") {
        return false;
    }
    let is_label = |label: &[u8]| {
        label.len() <= 63
            && label.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | 0x80..))
    };
    host.split(|&byte| byte == b'.').all(is_label)
}

/// A host as it is compared: decoded, lower case, without dots at its end.
pub fn normal_host(host: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    decode(host, Reading::default(), out);
    while out.len() > start && out.last() == Some(&b'.') {
        out.pop();
    }
    if let Some(added) = out.get_mut(start..) {
        added.make_ascii_lowercase();
    }
}

fn hex(byte: Option<&u8>) -> Option<u8> {
    byte.and_then(|&byte| (byte as char).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
}

/// Adds bytes with their escapes undone, `%41` and `%u0041`; broken escapes stay as they are. Says whether there was one.
pub fn decode(bytes: &[u8], reading: Reading, out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    let mut found = false;
    let pair = |at: usize| {
        let (high, low) = hex(bytes.get(at)).zip(hex(bytes.get(at + 1)))?;
        Some(high << 4 | low)
    };
    while let Some(&byte) = bytes.get(at) {
        let escaped = match (byte, bytes.get(at + 1)) {
            (b'%', Some(b'u' | b'U')) => pair(at + 2).zip(pair(at + 4)).map(|(high, low)| (wide(high, low), 6)),
            (b'%', _) => pair(at + 1).map(|byte| (byte, 3)),
            _ => None,
        };
        found |= escaped.is_some();
        let (plain, used) = escaped.unwrap_or((if reading.plus && byte == b'+' { b' ' } else { byte }, 1));
        out.push(plain);
        at += used;
    }
    found
}

/// The byte that a server takes for a character of two bytes.
fn wide(high: u8, low: u8) -> u8 {
    if high == 0 { low } else { best_fit::byte(u32::from(high) << 8 | u32::from(low)) }
}

/// What became of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Normal {
    /// Length of the path at the start of what was added.
    pub path: usize,
    /// It was encoded twice.
    pub double: bool,
}

/// Adds path, query and fragment as a server reads them.
pub fn normalize(parts: &Parts<'_>, reading: Reading, out: &mut Vec<u8>) -> Normal {
    let mut normal = Normal::default();
    let start = out.len();
    if let Some(raw) = parts.path {
        path(raw, out);
        normal.path = out.len() - start;
    }
    if reading.double_path && normal.path > 0 {
        let once = out.split_off(start);
        normal.double |= decode(&once, Reading::default(), out);
        normal.path = out.len() - start;
    }
    if let Some(query) = parts.query {
        out.push(b'?');
        let from = out.len();
        decode(query, reading, out);
        if reading.double_query {
            let once = out.split_off(from);
            normal.double |= decode(&once, reading, out);
        }
    }
    if let Some(fragment) = parts.fragment {
        out.push(b'#');
        decode(fragment, Reading::default(), out);
    }
    normal
}

/// Adds a path: escapes undone, backslashes turned, separators in a row made one, characters beyond ASCII taken for
/// bytes, dot segments removed.
fn path(raw: &[u8], out: &mut Vec<u8>) {
    let mut flat = Vec::with_capacity(raw.len());
    decode(raw, Reading::default(), &mut flat);
    let mut last = 0;
    flat.retain_mut(|byte| {
        if *byte == b'\\' {
            *byte = b'/';
        }
        let keep = !(*byte == b'/' && last == b'/');
        last = *byte;
        keep
    });
    if flat.is_ascii() {
        return remove_dots(&flat, out);
    }
    let mut narrow = Vec::with_capacity(flat.len());
    best_fit::narrow(&flat, &mut narrow);
    remove_dots(&narrow, out);
}

/// RFC 3986, 5.2.4; but a path that ends with a dot segment ends before its slash, and dots behind two slashes stay.
fn remove_dots(path: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = path;
    while let Some(after) = rest.strip_prefix(b"./").or_else(|| rest.strip_prefix(b"../")) {
        rest = after;
    }
    if rest == b"." || rest == b".." {
        return;
    }
    let segment = |bytes: &[u8]| memchr::memchr(b'/', bytes).unwrap_or(bytes.len());
    let (first, mut rest) = rest.split_at_checked(segment(rest)).unwrap_or((rest, &[]));
    out.extend_from_slice(first);
    let mut after_dots = false;
    while let Some(after) = rest.strip_prefix(b"/") {
        let (name, tail) = after.split_at_checked(segment(after)).unwrap_or((after, &[]));
        rest = tail;
        let dots = name == b"." || name == b"..";
        match name {
            b"." => {}
            b".." => {
                let parent = out.get(start..).and_then(|kept| memchr::memrchr(b'/', kept)).unwrap_or(0);
                out.truncate(start + parent);
            }
            b"" if tail.is_empty() && after_dots => {}
            b"" if !tail.is_empty() => {
                let tail = tail.get(1..).unwrap_or_default();
                let (name, after) = tail.split_at_checked(segment(tail)).unwrap_or((tail, &[]));
                out.extend_from_slice(b"//");
                out.extend_from_slice(name);
                rest = after;
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
        after_dots = dots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(target: &str) -> String {
        let mut out = Vec::new();
        normalize(&parts(target.as_bytes()), Reading::default(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn paths_are_read_as_servers_do() {
        let table = [
            ("/a/b", "/a/b"),
            ("/%61%zz", "/a%zz"),
            ("//a///b", "/a/b"),
            ("\\a\\b", "/a/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/../../b", "/b"),
            ("../x", "x"),
            ("/a/.", "/a"),
            ("/a/./", "/a"),
            ("/a/..", ""),
            ("/a/b/../", "/a"),
            ("/a/", "/a/"),
            ("/", "/"),
            ("..", ""),
            ("./a/..", ""),
            ("a/../", ""),
            ("a/../../b", "/b"),
            ("/../../../images.gif", "/images.gif"),
            ("mid/content=5/../6", "mid/6"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/%u0041%U2215b%u00zz%u004", "/A/b%u00zz%u004"),
            ("/%uff41%uffff?%u0041%u0142", "/a??Al"),
            ("/%c0%af%c1%81%c0%ae.", "//A.."),
            ("/\u{e4}x\u{142}\u{20ac}", "/\u{fffd}xl?"),
            ("/..a/b..", "/..a/b.."),
            ("/a%2fb?q=%41+%2f#F%41", "/a/b?q=A+/#FA"),
            ("http://user:pw@Host:80/p?q", "/p?q"),
            ("/%2561", "/%61"),
        ];
        for (target, expected) in table {
            assert_eq!(normal(target), expected, "{target}");
        }
    }

    #[test]
    fn a_whole_uri_has_a_host() {
        let parts = parts(b"http://u:p@Example.COM:8080/x");
        assert_eq!(
            (parts.host, parts.port, parts.path),
            (Some(&b"Example.COM"[..]), Some(&b"8080"[..]), Some(&b"/x"[..]))
        );
        let mut host = Vec::new();
        normal_host(parts.host.unwrap(), &mut host);
        assert_eq!(host, b"example.com");
    }

    #[test]
    fn hosts_with_ports() {
        let of = |text: &'static str| host_port(text.as_bytes());
        assert_eq!((of("a.b:80").host, of("a.b:80").number, of("a.b:80").valid), (&b"a.b"[..], Some(80), true));
        assert!(!of("a..b").valid);
        assert!(!of("a:x").valid);
        assert!(of("[::1]:443").valid);
        assert!(!of("[::1]x").valid);
    }

    #[test]
    fn long_paths_of_dots_take_linear_time() {
        let path = "/..".repeat(50_000);
        assert_eq!(normal(&path), "");
    }
}
