//! A named list of names, URLs and addresses: what a category is made of.
//!
//! Lines of a list, each of which may be of another form; `#`, `!` and `;` begin comments:
//!
//! ```text
//! bad.example                the name and everything below it
//! =only.example              the name alone
//! *.below.example            everything below it
//! 0.0.0.0 ads.example        the hosts format: the names alone
//! ||ads.example^             the form of blocker lists: the name and everything below it
//! bad.example/path           the path and everything below it, on the name and everything below it
//! http://bad.example/a?b=c   the same, with the query as it stands
//! bad.example/pic*           every path that begins so
//! 192.0.2.0/24               addresses of servers
//! 192.0.2.7,malware,90       address or name, category and score (0 to 127)
//! ```
//!
//! Limits: [`ENTRIES_MAX`] entries, [`PREFIXES_MAX`] paths ending in `*`, 255 categories; what is beyond them or not
//! understood is counted as refused and its line number kept, so that it can be told. Asking costs one look-up for each
//! label of the name, and for URLs one for each pair of the last [`LABELS`] labels and the first [`SEGMENTS`] segments.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnetwork::IpNetwork;

use super::name;
use super::table::{Digest, Mark, Table};

/// Entries of a list.
pub const ENTRIES_MAX: usize = 8 << 20;
/// Paths that end in `*`; each is compared with every URL.
pub const PREFIXES_MAX: usize = 1000;
/// Labels of a host, from its end, that URL entries may name.
const LABELS: usize = 8;
/// Segments of a path, from its start, that URL entries may name.
const SEGMENTS: usize = 16;
/// Line numbers of refused lines that are kept.
const REFUSED_KEPT: usize = 20;

/// Kinds of keys: a name with everything below it, a name alone, everything below, a URL; addresses have theirs by
/// their prefix.
const BOTH: u8 = 1;
const ALONE: u8 = 2;
const BELOW: u8 = 3;
const V4: u8 = 4;
const V6: u8 = 5;

/// A list, ready to be asked.
#[derive(Debug, Default)]
pub struct List {
    table: Table,
    /// Some entry is of this kind.
    names: bool,
    urls: bool,
    /// Prefix lengths of the IPv4 and IPv6 entries.
    prefixes: [Vec<u8>; 2],
    /// Hosts and paths of entries that end in `*`.
    begins: Vec<(String, Vec<u8>, Mark)>,
    categories: Vec<String>,
    /// Lines that are no entries.
    pub refused: u64,
    /// The first of them: line number and text.
    pub refused_lines: Vec<(usize, String)>,
    hits: AtomicU64,
}

/// A list in the making.
#[derive(Debug, Default)]
pub struct Maker {
    entries: Vec<(u64, Mark)>,
    list: List,
    numbers: HashMap<String, u8>,
}

impl Maker {
    /// Takes the lines of a text. May be called for several texts.
    pub fn add(&mut self, text: &str) {
        for (number, line) in text.lines().enumerate() {
            if self.line(line).is_none() {
                self.list.refused += 1;
                if self.list.refused_lines.len() < REFUSED_KEPT {
                    self.list.refused_lines.push((number + 1, line.chars().take(100).collect()));
                }
            }
        }
    }

    /// The list.
    pub fn finish(mut self) -> List {
        self.list.table = Table::new(self.entries);
        self.list
    }

    /// Takes a line; `None` where it is none.
    fn line(&mut self, line: &str) -> Option<()> {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!', ';']) {
            return Some(());
        }
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        if self.entries.len() >= ENTRIES_MAX {
            return None;
        }
        let mut words = line.split_whitespace();
        let (first, second) = (words.next()?, words.next());
        if second.is_none() {
            return self.scored(first);
        }
        // The hosts format: an address of this host, then names.
        first.parse::<IpAddr>().ok()?;
        for host in line.split_whitespace().skip(1).take_while(|word| !word.starts_with('#')) {
            if !matches!(host, "localhost" | "localhost.localdomain" | "broadcasthost" | "local" | "0.0.0.0") {
                self.name(ALONE, host, Mark::PLAIN)?;
            }
        }
        Some(())
    }

    /// An entry with or without category and score.
    fn scored(&mut self, entry: &str) -> Option<()> {
        let mut fields = entry.split(',').map(str::trim);
        let subject = fields.next()?;
        let Some(category) = fields.next() else { return self.entry(subject, Mark::PLAIN) };
        let score = fields.next().map_or(Some(127), |score| score.parse::<u8>().ok().filter(|&score| score <= 127))?;
        let category = self.category(category)?;
        if fields.next().is_some() { None } else { self.entry(subject, Mark { category, score }) }
    }

    fn category(&mut self, name: &str) -> Option<u8> {
        if let Some(&number) = self.numbers.get(name) {
            return Some(number);
        }
        let number = u8::try_from(self.list.categories.len() + 1).ok()?;
        self.list.categories.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Some(number)
    }

    fn entry(&mut self, entry: &str, mark: Mark) -> Option<()> {
        if let Ok(network) = entry.parse::<IpNetwork>() {
            return self.network(network, mark);
        }
        if let Some(rest) = entry.strip_prefix("||") {
            return self.name(BOTH, rest.strip_suffix('^')?, mark);
        }
        if let Some(rest) = entry.strip_prefix("*.") {
            return self.name(BELOW, rest, mark);
        }
        if let Some(rest) = entry.strip_prefix('=') {
            return self.name(ALONE, rest, mark);
        }
        if let Some((host, path)) = name::absolute(entry.as_bytes()) {
            return self.url(host, if path.is_empty() { b"/" } else { path }, mark);
        }
        match entry.find('/') {
            Some(at) => self.url(entry.get(..at)?.as_bytes(), entry.get(at..)?.as_bytes(), mark),
            None => self.name(BOTH, entry, mark),
        }
    }

    fn name(&mut self, kind: u8, host: &str, mark: Mark) -> Option<()> {
        if host.contains(['*', '/', '^', '|', '$']) {
            return None;
        }
        let host = name::host(host.as_bytes())?;
        self.entries.push((Suffixes::of(kind, &host).last()?.1.key(), mark));
        self.list.names = true;
        Some(())
    }

    fn url(&mut self, host: &[u8], path: &[u8], mark: Mark) -> Option<()> {
        let host = name::host(host)?;
        if let Some(begin) = path.strip_suffix(b"*") {
            if self.list.begins.len() >= PREFIXES_MAX {
                return None;
            }
            let plain = name::path(begin);
            self.list.begins.push((host, plain, mark));
            self.list.urls = true;
            return Some(());
        }
        let plain = name::path(path);
        if plain == b"/" {
            return self.name(BOTH, &host, mark);
        }
        if host.split('.').count() > LABELS || plain.iter().filter(|&&b| b == b'/').count() > SEGMENTS {
            return None;
        }
        // With or without a slash at its end, it is the same entry.
        let plain = plain.strip_suffix(b"/").unwrap_or(&plain);
        self.entries.push((Suffixes::of(BOTH, &host).last()?.1.push(0).extend(plain).key(), mark));
        self.list.urls = true;
        Some(())
    }

    fn network(&mut self, network: IpNetwork, mark: Mark) -> Option<()> {
        let prefix = network.prefix();
        let lengths = self.list.prefixes.get_mut(usize::from(network.is_ipv6()))?;
        if !lengths.contains(&prefix) {
            lengths.push(prefix);
            // The most exact entry is asked for first.
            lengths.sort_unstable_by(|a, b| b.cmp(a));
        }
        self.entries.push((address_key(network.network(), prefix), mark));
        Some(())
    }
}

/// The digests of a host's endings at its dots, the shortest first: read backwards, each goes on from the one before.
struct Suffixes<'h> {
    host: &'h [u8],
    /// Bytes before this place are not read yet.
    at: usize,
    digest: Digest,
}

impl Suffixes<'_> {
    fn of(kind: u8, host: &str) -> Suffixes<'_> {
        Suffixes { host: host.as_bytes(), at: host.len(), digest: Digest::new(kind) }
    }
}

impl Iterator for Suffixes<'_> {
    /// Where the ending begins, and its digest.
    type Item = (usize, Digest);

    fn next(&mut self) -> Option<(usize, Digest)> {
        let unread = self.host.get(..self.at).filter(|unread| !unread.is_empty())?;
        // The dot before the last ending is read first: an ending begins behind a dot.
        for (at, &byte) in unread.iter().enumerate().rev() {
            self.digest = self.digest.push(byte);
            self.at = at;
            if at == 0 || self.host.get(at - 1) == Some(&b'.') {
                break;
            }
        }
        Some((self.at, self.digest))
    }
}

fn address_key(address: IpAddr, prefix: u8) -> u64 {
    match address {
        IpAddr::V4(v4) => {
            let bits = u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            Digest::new(V4).push(prefix).extend(&bits.to_be_bytes()).key()
        }
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            Digest::new(V6).push(prefix).extend(&bits.to_be_bytes()).key()
        }
    }
}

impl List {
    /// A list of these lines.
    pub fn parse(text: &str) -> List {
        let mut maker = Maker::default();
        maker.add(text);
        maker.finish()
    }

    /// Entries in force.
    pub fn len(&self) -> usize {
        self.table.len() + self.begins.len()
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory it takes.
    pub fn memory(&self) -> usize {
        self.table.memory() + self.begins.iter().map(|(host, path, _)| host.len() + path.len()).sum::<usize>()
    }

    /// Some entries are addresses.
    pub fn has_addresses(&self) -> bool {
        self.prefixes.iter().any(|lengths| !lengths.is_empty())
    }

    /// The name of an entry's category.
    pub fn category(&self, mark: Mark) -> Option<&str> {
        self.categories.get(usize::from(mark.category).checked_sub(1)?).map(String::as_str)
    }

    /// Times a rule matched by this list.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Counts a match.
    pub fn count(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// What it says of a host (in the form of [`name::host`]), with the path and query asked for, where they are known.
    pub fn site(&self, host: &str, path: Option<&[u8]>) -> Option<Mark> {
        let named = self.names.then(|| self.named(host)).flatten();
        let path = path.filter(|_| self.urls);
        let found = named.or_else(|| path.and_then(|path| self.at(host, path)));
        found.or_else(|| name::address(host).and_then(|address| self.address(address)))
    }

    fn named(&self, host: &str) -> Option<Mark> {
        if let Some((_, whole)) = Suffixes::of(ALONE, host).last()
            && let Some(mark) = self.table.get(whole.key())
        {
            return Some(mark);
        }
        let both = Suffixes::of(BOTH, host).find_map(|(_, digest)| self.table.get(digest.key()));
        let below = || Suffixes::of(BELOW, host).filter(|&(at, _)| at > 0).find_map(|(_, d)| self.table.get(d.key()));
        both.or_else(below)
    }

    fn at(&self, host: &str, path: &[u8]) -> Option<Mark> {
        for (_, digest) in Suffixes::of(BOTH, host).take(LABELS) {
            let mut so_far = digest.push(0);
            let mut segments = 0;
            for &byte in path {
                if matches!(byte, b'/' | b'?') && segments > 0 {
                    if let Some(mark) = self.table.get(so_far.key()) {
                        return Some(mark);
                    }
                    if segments >= SEGMENTS {
                        break;
                    }
                }
                segments += usize::from(byte == b'/');
                so_far = so_far.push(byte);
            }
            if segments <= SEGMENTS
                && let Some(mark) = self.table.get(so_far.key())
            {
                return Some(mark);
            }
        }
        let is_of =
            |entry: &str| host.strip_suffix(entry).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        self.begins.iter().find(|(entry, begin, _)| path.starts_with(begin) && is_of(entry)).map(|&(_, _, mark)| mark)
    }

    /// What it says of an address.
    pub fn address(&self, address: IpAddr) -> Option<Mark> {
        let address = address.to_canonical();
        let lengths = self.prefixes.get(usize::from(address.is_ipv6()))?;
        lengths.iter().find_map(|&prefix| self.table.get(address_key(address, prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(list: &List, host: &str, path: &str) -> bool {
        let host = name::host(host.as_bytes()).unwrap();
        list.site(&host, Some(&name::path(path.as_bytes()))).is_some()
    }

    #[test]
    fn names_match_by_labels() {
        let list =
            List::parse("bad.example\n=only.example\n*.below.example\n0.0.0.0 ads.example t.example # c\n||b.test^\n");
        assert_eq!((list.refused, list.len()), (0, 6));
        for host in ["bad.example", "www.bad.example", "a.b.c.bad.example", "only.example", "x.below.example"] {
            assert!(finds(&list, host, "/"), "{host}");
        }
        for host in ["ads.example", "t.example", "x.b.test", "BAD.EXAMPLE.:80"] {
            assert!(finds(&list, host, "/"), "{host}");
        }
        for host in
            ["example", "notbad.example", "www.only.example", "below.example", "x.ads.example", "bad.example.org"]
        {
            assert!(!finds(&list, host, "/"), "{host}");
        }
    }

    #[test]
    fn urls_match_at_segments() {
        let list = List::parse("site.example/bad\nhttp://q.example/a?b=c\nw.example/pic*\nroot.example/\n");
        assert_eq!((list.refused, list.len()), (0, 4));
        for (host, path) in [
            ("site.example", "/bad"),
            ("www.site.example", "/bad/"),
            ("site.example", "/bad/more?x"),
            ("site.example", "/x/../%62ad"),
            ("site.example", "/bad?x"),
            ("q.example", "/a?b=c"),
            ("w.example", "/pictures/1"),
            ("root.example", "/any"),
        ] {
            assert!(finds(&list, host, path), "{host}{path}");
        }
        for (host, path) in [
            ("site.example", "/badly"),
            ("site.example", "/"),
            ("q.example", "/a"),
            ("w.example", "/pi"),
            ("nosite.example", "/bad"),
        ] {
            assert!(!finds(&list, host, path), "{host}{path}");
        }
    }

    #[test]
    fn addresses_and_scores_are_found() {
        let list =
            List::parse("192.0.2.0/24,scanner,40\n192.0.2.7,malware,90\n2001:db8::/32\nrep.example,malware,100\n");
        assert_eq!(list.refused, 0);
        let of = |address: &str| list.address(address.parse().unwrap());
        assert_eq!(of("192.0.2.9").map(|mark| (mark.score, list.category(mark))), Some((40, Some("scanner"))));
        assert_eq!(of("192.0.2.7").map(|mark| mark.score), Some(90));
        assert_eq!(of("2001:db8:1::5"), Some(Mark::PLAIN));
        assert_eq!(of("192.0.3.1"), None);
        let mark = list.site("www.rep.example", None).unwrap();
        assert_eq!((mark.score, list.category(mark)), (100, Some("malware")));
        assert!(list.site("[2001:db8::7]", None).is_some());
    }

    #[test]
    fn what_is_no_entry_is_counted_with_its_line() {
        let list = List::parse("# comment\n\ngood.example\n/regex/\nx.example,cat,999\na b c\n");
        assert_eq!((list.len(), list.refused), (1, 3));
        assert_eq!(list.refused_lines.iter().map(|l| l.0).collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn half_a_million_names_take_little_room() {
        let text: String = (0..500_000).map(|n| format!("host-{n}.category.example\n")).collect();
        let list = List::parse(&text);
        assert_eq!(list.len(), 500_000);
        assert!(list.memory() <= 6_000_000, "{}", list.memory());
        assert!(list.site("www.host-499999.category.example", None).is_some());
        assert!(list.site("host-500000.category.example", None).is_none());
    }
}
