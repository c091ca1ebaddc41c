//! Files beside the rules: sets of values, lists, thresholds, classtypes, reputations, places.
//!
//! What a rule names is looked for in the set's data folder, then beside the file that the rule stands in; a path from
//! the root is taken as it is. Sets are saved in the data folder alone, under a name without `..`: rule text must not
//! decide what the daemon overwrites. All files of a set together have at most [`BYTES`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ring::digest;
use weir_filter::detect::sets::Sets;
use weir_ids_rules::classification::{self, Classes};
use weir_ids_rules::{Diagnostic, Rule};

use super::hexadecimal;
use crate::config;
use crate::refusal::Refusal;

/// Bytes of all files of a set.
pub const BYTES: u64 = 512 << 20;

/// What the settings of a set name.
#[derive(Debug)]
pub struct Files {
    /// Text of the `threshold.config`.
    pub thresholds: Option<String>,
    /// Classtypes beyond the customary ones.
    pub classes: Arc<Classes>,
    categories: Vec<u8>,
    reputations: Vec<Vec<u8>>,
    places: Option<Vec<u8>>,
    /// Of all of it.
    pub digest: digest::Digest,
    room: u64,
}

/// Reads a file of a set, as long as there is room for it.
fn bytes(set: &str, path: &str, room: &mut u64) -> Result<Vec<u8>, Refusal> {
    let wrong = |e: std::io::Error| Refusal::invalid(format!("rule_set {set}: {path}: {e}"));
    let length = fs::metadata(path).map_err(wrong)?.len();
    *room = room
        .checked_sub(length)
        .ok_or_else(|| Refusal::invalid(format!("rule_set {set}: its files are larger than {} MiB", BYTES >> 20)))?;
    fs::read(path).map_err(wrong)
}

/// The same as text.
pub fn text(set: &str, path: &str, room: &mut u64) -> Result<String, Refusal> {
    bytes(set, path, room).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

impl Files {
    /// Reads what the settings of a set name.
    ///
    /// # Errors
    /// Where a file cannot be read, or is not what it should be.
    pub fn read(set: &config::RuleSet) -> Result<Files, Refusal> {
        let (name, mut room) = (&set.name, BYTES);
        let mut context = digest::Context::new(&digest::SHA256);
        let mut read = |path: &String| {
            let bytes = bytes(name, path, &mut room)?;
            context.update(&(bytes.len() as u64).to_le_bytes());
            context.update(&bytes);
            Ok::<Vec<u8>, Refusal>(bytes)
        };
        let as_text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let thresholds = set.thresholds.as_ref().map(&mut read).transpose()?.map(as_text);
        let classes = set.classifications.as_ref().map(&mut read).transpose()?.map(as_text);
        let (categories, reputations) = match &set.reputation {
            None => (Vec::new(), Vec::new()),
            Some(named) => (read(&named.categories)?, named.addresses.iter().map(&mut read).collect::<Result<_, _>>()?),
        };
        let places = set.geoip.as_ref().map(&mut read).transpose()?;
        let classes = match classes {
            None => Classes::default(),
            Some(text) => {
                let (classes, wrong) = classification::parse(&text);
                if let Some(line) = wrong.first() {
                    let file = set.classifications.as_deref().unwrap_or_default();
                    return Err(Refusal::invalid(format!(
                        "rule_set {name}: {file}:{line}: not of the form \"config classification: name,meaning,priority\""
                    )));
                }
                classes
            }
        };
        let digest = context.finish();
        Ok(Files { thresholds, classes: Arc::new(classes), categories, reputations, places, digest, room })
    }

    /// The sets that the rules name, from their files; `named` remembers these.
    ///
    /// # Errors
    /// Where the database of places is none.
    pub fn sets(
        &self,
        set: &config::RuleSet,
        rules: &[Rule],
        named: &mut Seen,
    ) -> Result<(Sets, Vec<Diagnostic>), Refusal> {
        let mut room = self.room;
        let (mut sets, problems) = Sets::new(rules, &mut |file, source| {
            let candidates = [set.data.as_ref().map(|data| Path::new(data).join(file)), beside(file, source)];
            candidates.into_iter().flatten().find_map(|path| {
                let read = bytes(&set.name, path.to_str()?, &mut room).ok()?;
                named.note(path, &read);
                Some(read)
            })
        });
        for file in &self.reputations {
            sets.add_reputation(&self.categories, file);
        }
        if let Some(places) = &self.places {
            let file = set.geoip.as_deref().unwrap_or_default();
            sets.add_places(places.clone())
                .map_err(|error| Refusal::invalid(format!("rule_set {}: {file}: {error}", set.name)))?;
        }
        let refused = sets.place_saves(|file| place_to_save(set.data.as_deref()?, file));
        if let Some(file) = refused.first() {
            tracing::warn!(
                "rule_set {}: the set in {file} is not saved: give the rule set a data folder, and the rule a name in it",
                set.name
            );
        }
        Ok((sets, problems))
    }
}

/// The file beside the one that the rule stands in.
fn beside(file: &str, source: &str) -> Option<PathBuf> {
    Path::new(source).parent().map(|folder| folder.join(file))
}

/// Where a set is saved: in the data folder, whatever the rule says.
fn place_to_save(data: &str, file: &str) -> Option<String> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let inside = !file.is_empty() && Path::new(file).components().all(plain);
    inside.then(|| Path::new(data).join(file).to_str().map(str::to_owned)).flatten()
}

/// Files that rules named, as they were.
#[derive(Debug, Default)]
pub struct Seen {
    files: BTreeMap<PathBuf, (Option<(SystemTime, u64)>, String)>,
}

impl Seen {
    fn note(&mut self, path: PathBuf, read: &[u8]) {
        let digest = hexadecimal(&digest::digest(&digest::SHA256, read));
        let state = state_of(&path);
        self.files.insert(path, (state, digest));
    }

    /// Whether none of them has changed since.
    pub fn is_as_it_was(&self) -> bool {
        self.files.iter().all(|(path, (state, _))| state_of(path) == *state)
    }

    /// The digest of a set with these files.
    pub fn digest(&self, text: &str) -> String {
        if self.files.is_empty() {
            return text.to_owned();
        }
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(text.as_bytes());
        self.files.values().for_each(|(_, digest)| context.update(digest.as_bytes()));
        hexadecimal(&context.finish())
    }
}

fn state_of(path: &Path) -> Option<(SystemTime, u64)> {
    let known = fs::metadata(path).ok()?;
    Some((known.modified().ok()?, known.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_sets::load;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("made");
        folder
    }

    #[test]
    fn sets_are_saved_in_the_data_folder_only() {
        assert_eq!(place_to_save("/var/lib/weir", "seen.lst").as_deref(), Some("/var/lib/weir/seen.lst"));
        assert_eq!(place_to_save("/var/lib/weir", "a/b.lst").as_deref(), Some("/var/lib/weir/a/b.lst"));
        for file in ["/etc/passwd", "../x", "a/../../x", ""] {
            assert_eq!(place_to_save("/var/lib/weir", file), None, "{file}");
        }
    }

    #[test]
    fn files_beside_the_rules_are_read_and_their_change_is_noticed() {
        let data = folder("data");
        let write = |name: &str, text: &str| fs::write(data.join(name), text).expect("written");
        write("bad.lst", "YWJj\n");
        write("classes", "config classification: ours,Of our own,7\n");
        write("threshold", "suppress gen_id 1, sig_id 1\n");
        write("categories", "1,Bad,Bad hosts\n");
        write("addresses", "10.0.0.1,1,90\n");
        let path = |name: &str| data.join(name).display().to_string();
        let set = config::RuleSet {
            name: "s".into(),
            text: Some(
                "alert dns any any -> any any (dns.query; dataset:isset,bad,type string,load bad.lst; \
                 classtype:ours; sid:1;)\n"
                    .into(),
            ),
            data: Some(data.display().to_string()),
            classifications: Some(path("classes")),
            thresholds: Some(path("threshold")),
            reputation: Some(config::Reputation { categories: path("categories"), addresses: vec![path("addresses")] }),
            ..config::RuleSet::default()
        };
        let first = load(&set, &[]).expect("loads");
        assert_eq!((first.rules, &first.diagnostics), (1, &Vec::new()));
        assert!(Arc::ptr_eq(&first, &load(&set, &[Arc::clone(&first)]).expect("loads")));
        write("bad.lst", "YWJj\nZGVm\n");
        let second = load(&set, &[Arc::clone(&first)]).expect("loads");
        assert_ne!(first.digest, second.digest);
        write("classes", "nonsense\n");
        assert!(load(&set, &[]).expect_err("is refused").message.contains("classes:1: not of the form"));
        fs::remove_dir_all(&data).expect("removed");
    }
}
