//! Sets of values that rules ask and fill: `dataset`, `datarep`, the lists of `filemd5` and its like, `iprep`.
//!
//! Nothing here opens a file: whoever makes the sets hands over what the files hold, and is told at the end what is to
//! be written. All sets together hold at most [`BYTES`], one of them at most its `memcap`; a value beyond that is not
//! taken up and counted. What files hold is shared by all copies, so that a copy costs only what rules have changed.

pub(crate) mod geo;
mod json;
mod load;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weir_ids_rules::rule::{
    Bounds, DataSet, DataSetCommand, DataSetKind, FileHash, FileTest, HostSide, Match, Reputation, Reputations,
};
use weir_ids_rules::{Diagnostic, Kind, Rule};

use values::Set;

/// Bytes of all values, with what is known of them.
const BYTES: usize = 256 << 20;
/// The digests of a list.
type Digests = BTreeSet<Box<[u8]>>;

/// All sets, by name.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    sets: BTreeMap<Box<str>, Set>,
    /// Digests by the name of their list.
    lists: BTreeMap<Box<str>, Arc<Digests>>,
    /// Scores of addresses by category.
    reputations: Arc<BTreeMap<Box<str>, load::Repute>>,
    /// Where addresses are.
    geo: Option<Arc<geo::Database>>,
    bytes: usize,
    /// Values that were not taken up for want of room.
    pub refused: u64,
}

/// What is known of a value.
#[derive(Clone, Debug, Default)]
struct Entry {
    score: u64,
    /// The JSON object that it stood in.
    context: Option<Box<str>>,
}

/// A place to read files from: the name as the rule has it, and the name of the rule's source.
pub type Read<'r> = dyn FnMut(&str, &str) -> Option<Vec<u8>> + 'r;

/// Whether a rule names a set or a list.
pub fn are_named_by(rule: &Rule) -> bool {
    let mut matches = rule.matches().map(|(_, m)| m);
    matches.any(|m| matches!(m, Match::DataSet(_) | Match::Reputation(_)))
        || rule.files.iter().any(|test| matches!(test, FileTest::Hash { .. }))
}

impl Sets {
    /// The sets that `rules` name, filled from their files. A file that cannot be read or understood has a diagnostic
    /// at its rule.
    pub fn new<'r>(rules: impl IntoIterator<Item = &'r Rule>, read: &mut Read<'_>) -> (Sets, Vec<Diagnostic>) {
        let mut sets = Sets::default();
        let mut problems = Vec::new();
        for rule in rules {
            if let Err(message) = sets.declare(rule, read) {
                problems.push(rule.diagnose(Kind::Value, 0..1, message, String::new()));
            }
        }
        (sets, problems)
    }

    fn declare(&mut self, rule: &Rule, read: &mut Read<'_>) -> Result<(), String> {
        let source: &str = &rule.origin.source;
        for (_, m) in rule.matches() {
            match m {
                Match::DataSet(set) => self.declare_set(set, source, read)?,
                Match::Reputation(set) => self.declare_reputation(set, source, read)?,
                _ => {}
            }
        }
        for test in &rule.files {
            let FileTest::Hash { hash, list, .. } = test else { continue };
            if !self.lists.contains_key(list.as_str()) {
                let bytes = read(list, source).ok_or_else(|| format!("the list '{list}' cannot be read"))?;
                let digests = load::digests(&bytes, digest_length(*hash))?;
                self.lists.insert(list.as_str().into(), Arc::new(digests));
            }
        }
        Ok(())
    }

    fn declare_set(&mut self, set: &DataSet, source: &str, read: &mut Read<'_>) -> Result<(), String> {
        let known = self.sets.get(set.name.as_str());
        if let Some(known) = known.filter(|known| known.kind != set.kind) {
            return Err(format!("the set '{}' holds another type already ({:?})", set.name, known.kind));
        }
        let fresh = known.is_none();
        let entry = self.sets.entry(set.name.as_str().into()).or_insert_with(|| Set::new(set.kind));
        if let Some(memcap) = set.memcap {
            entry.limit = usize::try_from(memcap).unwrap_or(usize::MAX);
        }
        if let Some(save) = set.save.as_ref().or(set.state.as_ref()) {
            entry.save = Some(save.as_str().into());
        }
        if !fresh {
            return Ok(());
        }
        let Some(file) = set.load.as_ref().or(set.state.as_ref()) else { return Ok(()) };
        match read(file, source) {
            Some(bytes) => {
                let values = load::values(&bytes, set)?;
                self.fill(&set.name, values);
                Ok(())
            }
            // A file of state is there only once it was written.
            None if set.state.is_some() => Ok(()),
            None => Err(format!("the file '{file}' of the set '{}' cannot be read", set.name)),
        }
    }

    fn declare_reputation(&mut self, set: &Reputations, source: &str, read: &mut Read<'_>) -> Result<(), String> {
        if self.sets.contains_key(set.name.as_str()) {
            return Ok(());
        }
        let values = match set.load.as_ref().or(set.state.as_ref()) {
            None => Vec::new(),
            Some(file) => {
                let bytes = read(file, source).ok_or_else(|| format!("the file '{file}' cannot be read"))?;
                load::lines(&bytes, set.kind)?
            }
        };
        self.sets.insert(set.name.as_str().into(), Set::new(set.kind));
        self.fill(&set.name, values);
        Ok(())
    }

    /// Takes up what a file holds. A value that stands there twice is kept once, as it stands first.
    fn fill(&mut self, name: &str, values: Vec<(Vec<u8>, Entry)>) {
        let Some(set) = self.sets.get_mut(name) else { return };
        let room = BYTES.saturating_sub(self.bytes);
        let (taken, refused) = set.fill(values, room);
        self.bytes += taken;
        self.refused += refused;
    }

    /// Adds a value; `true` where it was not there.
    fn add(&mut self, name: &str, value: Vec<u8>) -> bool {
        let Some(set) = self.sets.get_mut(name) else { return false };
        if set.get(&value).is_some() {
            return false;
        }
        match set.add(value, BYTES.saturating_sub(self.bytes)) {
            Some(cost) => {
                self.bytes += cost;
                true
            }
            None => {
                self.refused += 1;
                false
            }
        }
    }

    /// Takes the place of `old` under new rules: a set that both have, by name and type, keeps what rules have put into
    /// it and taken out of it; the rest is as the files say.
    pub fn take_over(&mut self, old: Sets) {
        self.refused += old.refused;
        for (name, gone) in old.sets {
            let Some(set) = self.sets.get_mut(&name).filter(|set| set.kind == gone.kind) else { continue };
            let before = set.bytes();
            set.take_over(gone);
            self.bytes = self.bytes.saturating_sub(before) + set.bytes();
        }
    }

    /// Adds the sets of another rule set of the same worker. Of two with the same name the first stays.
    pub fn join(&mut self, other: &Sets) {
        for (name, set) in &other.sets {
            if !self.sets.contains_key(name) {
                self.bytes += set.bytes();
                self.sets.insert(name.clone(), set.clone());
            }
        }
        for (name, list) in &other.lists {
            self.lists.entry(name.clone()).or_insert_with(|| Arc::clone(list));
        }
        if self.reputations.is_empty() {
            self.reputations = Arc::clone(&other.reputations);
        }
        self.geo = self.geo.take().or_else(|| other.geo.clone());
    }

    /// Whether rules ask for digests of files.
    pub fn has_lists(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Takes up a database of places (MaxMind's format) for `geoip`.
    ///
    /// # Errors
    /// Where the bytes are no such database.
    pub fn add_places(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        self.geo = Some(Arc::new(geo::Database::new(bytes)?));
        Ok(())
    }

    /// The ISO code of the country an address is in, where there is a database that knows it.
    pub fn country(&self, address: IpAddr) -> Option<[u8; 2]> {
        self.geo.as_ref()?.country(address)
    }

    /// Asks `dataset` of a buffer's bytes. What is known of a value found is added to `context`.
    pub fn ask(&mut self, asked: &DataSet, bytes: &[u8], context: &mut String) -> bool {
        // What can be no value of the set is not in it.
        let Some(value) = normal(asked.kind, bytes) else { return asked.command == DataSetCommand::IsNotSet };
        let set = self.sets.get_mut(asked.name.as_str()).filter(|set| set.kind == asked.kind);
        let found = set.as_ref().and_then(|set| set.get(&value));
        match asked.command {
            DataSetCommand::IsSet => {
                if let (Some(entry), Some(key)) = (found, &asked.context_key) {
                    add_context(context, key, entry);
                }
                found.is_some()
            }
            DataSetCommand::IsNotSet => found.is_none(),
            DataSetCommand::Set => found.is_none() && self.add(&asked.name, value),
            DataSetCommand::Unset => {
                let Some(freed) = set.and_then(|set| set.remove(value)) else { return false };
                self.bytes = self.bytes.saturating_sub(freed);
                true
            }
        }
    }

    /// Asks `datarep`: whether a buffer's bytes have a score within the bounds.
    pub fn score(&self, asked: &Reputations, bytes: &[u8]) -> bool {
        let Some(value) = normal(asked.kind, bytes) else { return false };
        let entry = self.sets.get(asked.name.as_str()).and_then(|set| set.get(&value));
        entry.is_some_and(|entry| asked.score.contains(entry.score))
    }

    /// Whether a digest stands in a list of `filemd5` or its like.
    pub fn has_digest(&self, list: &str, digest: &[u8]) -> bool {
        self.lists.get(list).is_some_and(|list| list.contains(digest))
    }

    /// Takes up the reputation of addresses: the categories (`id,name,description` a line) and the addresses
    /// (`address,id,score` a line; a network in place of an address).
    pub fn add_reputation(&mut self, categories: &[u8], addresses: &[u8]) {
        load::reputations(categories, addresses, Arc::make_mut(&mut self.reputations));
    }

    /// Asks `iprep` of a packet from `source` to `destination`.
    pub fn repute(&self, asked: &Reputation, source: IpAddr, destination: IpAddr) -> bool {
        let category = self.reputations.get(asked.category.as_str());
        let fits = |address: IpAddr| {
            let score = category.and_then(|category| category.score(address));
            match (asked.score, asked.unset) {
                (Some(bounds), _) => score.is_some_and(|score| Bounds::contains(bounds, score.into())),
                (None, true) => score.is_none(),
                (None, false) => score.is_some(),
            }
        };
        match asked.side {
            HostSide::Source => fits(source),
            HostSide::Destination => fits(destination),
            HostSide::Both => fits(source) && fits(destination),
            HostSide::Any => fits(source) || fits(destination),
        }
    }

    /// Says where sets are written to: the path for a name in a rule, or `None` where it may not be written to; such
    /// names are returned.
    pub fn place_saves(&mut self, place: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let mut refused = Vec::new();
        for set in self.sets.values_mut() {
            let Some(name) = set.save.take() else { continue };
            match place(&name) {
                Some(path) => set.save = Some(path.into()),
                None => refused.push(name.into()),
            }
        }
        refused
    }

    /// Whether there are files to be written.
    pub fn are_saved(&self) -> bool {
        self.sets.values().any(|set| set.save.is_some())
    }

    /// The files to be written at the end, with what they hold.
    pub fn saves(&self) -> impl Iterator<Item = (&str, String)> {
        self.sets.values().filter_map(|set| Some((set.save.as_deref()?, load::write(set.kind, set.keys()))))
    }
}

fn digest_length(hash: FileHash) -> usize {
    match hash {
        FileHash::Md5 => 16,
        FileHash::Sha1 => 20,
        FileHash::Sha256 => 32,
    }
}

/// A buffer's bytes as the set holds them; `None` where they are no value of its type.
fn normal(kind: DataSetKind, bytes: &[u8]) -> Option<Vec<u8>> {
    let fits = match kind {
        DataSetKind::Text => !bytes.is_empty(),
        DataSetKind::Md5 => bytes.len() == 16,
        DataSetKind::Sha256 => bytes.len() == 32,
        DataSetKind::Ipv4 => bytes.len() == 4,
        DataSetKind::Ip => {
            return match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
                (Ok(v4), _) => Some(std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets().to_vec()),
                (_, Ok(v6)) => Some(v6.to_vec()),
                (Err(_), Err(_)) => None,
            };
        }
    };
    fits.then(|| bytes.to_vec())
}

/// Writes `"name":"bytes"`.
pub fn write_member(name: &str, bytes: &[u8], out: &mut String) {
    json::write_text(name, out);
    out.push(':');
    json::write_text(&String::from_utf8_lossy(bytes), out);
}

/// Adds `"key":{...}`.
fn add_context(context: &mut String, key: &str, entry: &Entry) {
    let Some(object) = &entry.context else { return };
    if context.len() > CONTEXT {
        return;
    }
    if !context.is_empty() {
        context.push(',');
    }
    json::write_text(key, context);
    context.push(':');
    context.push_str(object);
}

/// Bytes of an alert's context beyond which nothing is added.
const CONTEXT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ids_rules::{RuleSet, Source, Variables};

    fn sets(options: &str, file: &'static str) -> (Sets, Vec<DataSet>) {
        let text = format!("alert http any any -> any any ({options} sid:1;)");
        let (rules, problems) = RuleSet::parse(&[Source { name: "t", text: &text }], &Variables::default());
        assert!(problems.is_empty(), "{}", problems[0]);
        let (sets, problems) = Sets::new(rules.rules(), &mut |_, _| Some(file.as_bytes().to_vec()));
        assert!(problems.is_empty(), "{}", problems[0]);
        let asked = rules.rules()[0].matches().filter_map(|(_, m)| match m {
            Match::DataSet(set) => Some(set.clone()),
            _ => None,
        });
        let asked = asked.collect();
        (sets, asked)
    }

    fn ask(sets: &mut Sets, asked: &DataSet, bytes: &[u8]) -> (bool, String) {
        let mut context = String::new();
        let holds = sets.ask(asked, bytes, &mut context);
        (holds, context)
    }

    #[test]
    fn a_value_is_set_once_and_can_be_taken_out() {
        let (mut sets, asked) = sets(
            "http.uri; dataset:set,a,type string,save x; http.host; dataset:unset,a,type string; http.cookie; dataset:isset,a;",
            "",
        );
        assert!(ask(&mut sets, &asked[0], b"v").0);
        assert!(!ask(&mut sets, &asked[0], b"v").0);
        assert!(ask(&mut sets, &asked[2], b"v").0);
        assert_eq!(sets.saves().collect::<Vec<_>>(), [("x", "dg==\n".to_owned())]);
        assert!(ask(&mut sets, &asked[1], b"v").0);
        assert!(!ask(&mut sets, &asked[1], b"v").0);
        assert!(!ask(&mut sets, &asked[2], b"v").0);
    }

    #[test]
    fn files_of_every_form_are_read() {
        let (mut text, asked) = sets("http.uri; dataset:isset,a,type string,load f;", "# comment\nYWJj\n");
        assert!(ask(&mut text, &asked[0], b"abc").0);
        let (mut ip, asked) = sets("ip.src; dataset:isset,a,type ip,load f;", "::ffff:10.0.0.1\n2001:db8::1\n");
        assert!(ask(&mut ip, &asked[0], &[10, 0, 0, 1]).0);
        assert!(!ask(&mut ip, &asked[0], &[10, 0, 0, 2]).0);
        let (mut json, asked) = sets(
            "http.host; dataset:isset,a,type string,load f,format json,value_key host.name,array_key x.y,context_key k;",
            r#"{"x":{"y":[{"host":{"name":"n"},"year":7}]}}"#,
        );
        assert_eq!(ask(&mut json, &asked[0], b"n"), (true, r#""k":{"host":{"name":"n"},"year":7}"#.to_owned()));
    }

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let text = "alert http any any -> any any (http.uri; dataset:isset,a,type string,load f; sid:1;)";
        let (rules, _) = RuleSet::parse(&[Source { name: "t", text }], &Variables::default());
        let (_, problems) = Sets::new(rules.rules(), &mut |_, _| None);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn new_rules_take_over_what_old_ones_have_set_by_name_and_type() {
        let text = "http.uri; dataset:set,a,type string; http.host; dataset:isset,a;";
        let (mut old, asked) = sets(text, "");
        assert!(ask(&mut old, &asked[0], b"v").0);
        let (fresh, _) = sets(text, "");
        let (other, _) =
            sets("ip.src; dataset:set,a,type ip; http.host; dataset:isset,b,type string,load f;", "YWJj\n");
        let mut new = Sets::default();
        new.join(&fresh);
        new.join(&other);
        new.take_over(old.clone());
        assert!(ask(&mut new, &asked[1], b"v").0);
        let mut retyped = other;
        retyped.take_over(old);
        assert!(!ask(&mut retyped, &asked[1], b"v").0);
    }

    #[test]
    fn addresses_have_scores_by_category() {
        let mut sets = Sets::default();
        sets.add_reputation(b"1,BadHosts,Known bad\n", b"10.0.0.1,1,20\n192.0.2.0/24,1,90\n");
        let asked = |score: u64| Reputation {
            side: HostSide::Source,
            category: "BadHosts".into(),
            score: Some(Bounds { min: score, max: 127, negated: false }),
            unset: false,
        };
        let other = "10.9.9.9".parse().unwrap();
        assert!(sets.repute(&asked(20), "10.0.0.1".parse().unwrap(), other));
        assert!(!sets.repute(&asked(21), "10.0.0.1".parse().unwrap(), other));
        assert!(sets.repute(&asked(80), "192.0.2.77".parse().unwrap(), other));
        assert!(!sets.repute(&asked(1), other, other));
    }
}
