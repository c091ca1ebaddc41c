//! Content lists from their files, and the content policy in the guard's terms.
//!
//! The files of all lists are read at every change; a list whose text is the same as before is not made again. Whatever
//! is wrong with a file leaves the lists that are in force as they are.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use ring::digest;
use weir_filter::content::list::Maker;
use weir_filter::content::{self, List, Places};

use crate::config::{self, Judgement, Met, OnFailure, Reply};
use crate::refusal::Refusal;
use crate::state::{Ids, Zones};

/// Bytes of a list's files at most.
const TEXT_MAX: u64 = 512 << 20;

/// Bytes of a database of places at most.
const PLACES_MAX: u64 = 256 << 20;

/// What the files of the content filter said.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The lists by name.
    pub lists: Vec<(String, Loaded)>,
    /// The database of places, and the SHA-256 of its file.
    places: Option<(String, Arc<Places>)>,
}

/// A list, read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// For the policy.
    pub list: Arc<List>,
    /// SHA-256 of its text, in hexadecimal digits.
    pub digest: String,
}

impl Loaded {
    /// What an operator should know of a list with lines that are no entries.
    pub fn warning(&self, name: &str) -> Option<String> {
        let (line, text) = self.list.refused_lines.first()?;
        let (entries, refused) = (self.list.len(), self.list.refused);
        Some(format!(
            "content list {name}: {entries} entries are in force, {refused} lines were refused; the first is line {line}: {text}"
        ))
    }
}

/// Reads the files of a state; those in `known` that are the same are taken over.
///
/// # Errors
/// Where a file cannot be read, or the database of places is none.
pub async fn load(wanted: &config::Content, known: &Files) -> Result<Files, Refusal> {
    let (wanted, known) = (wanted.clone(), known.clone());
    let task = tokio::task::spawn_blocking(move || {
        let list = |list: &config::ContentList| Ok((list.name.clone(), read(list, &known.lists)?));
        let lists = wanted.lists.iter().map(list).collect::<Result<_, Refusal>>()?;
        let places = wanted.geoip.as_ref().map(|file| places(file, known.places.as_ref())).transpose()?;
        Ok(Files { lists, places })
    });
    task.await.map_err(|e| Refusal::internal(format!("reading content lists failed: {e}; please report this")))?
}

fn places(file: &str, known: Option<&(String, Arc<Places>)>) -> Result<(String, Arc<Places>), Refusal> {
    let wrong = |e: &dyn std::fmt::Display| Refusal::invalid(format!("content: geoip: {file}: {e}"));
    if fs::metadata(file).map_err(|e| wrong(&e))?.len() > PLACES_MAX {
        return Err(wrong(&"it is larger than 256 MiB"));
    }
    let bytes = fs::read(file).map_err(|e| wrong(&e))?;
    let digest = hex(&digest::digest(&digest::SHA256, &bytes));
    match known.filter(|(known, _)| *known == digest) {
        Some(same) => Ok(same.clone()),
        None => Ok((digest, Arc::new(Places::new(bytes).map_err(|e| wrong(&e))?))),
    }
}

fn hex(digest: &digest::Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(wanted: &config::ContentList, known: &[(String, Loaded)]) -> Result<Loaded, Refusal> {
    let name = &wanted.name;
    let mut texts = vec![wanted.entries.join("\n")];
    let mut total = 0;
    for file in &wanted.files {
        let wrong = |e: std::io::Error| Refusal::invalid(format!("content list {name}: {file}: {e}"));
        total += fs::metadata(file).map_err(wrong)?.len();
        if total > TEXT_MAX {
            return Err(Refusal::invalid(format!("content list {name}: its files are larger than 512 MiB")));
        }
        texts.push(String::from_utf8_lossy(&fs::read(file).map_err(wrong)?).into_owned());
    }
    let mut context = digest::Context::new(&digest::SHA256);
    for text in &texts {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text.as_bytes());
    }
    let digest = hex(&context.finish());
    if let Some((_, same)) = known.iter().find(|(known, loaded)| known == name && loaded.digest == digest) {
        return Ok(same.clone());
    }
    let mut maker = Maker::default();
    texts.iter().for_each(|text| maker.add(text));
    Ok(Loaded { list: Arc::new(maker.finish()), digest })
}

/// The content policy as the guard takes it.
pub fn spec(desired: &config::Config, ids: &Ids, files: &Files) -> content::Spec {
    let wanted = &desired.content;
    let mut rules: Vec<content::Rule> = wanted.rules.iter().map(rule).collect();
    // Routers that meet are one to the policy: what names one of them names them all.
    let zones = Zones::of(desired, ids);
    for name in rules.iter_mut().flat_map(|rule| &mut rule.switches) {
        if let Some(zone) = zones.name_of(name) {
            zone.clone_into(name);
        }
    }
    let v4 = wanted.sinkhole.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let v6 = wanted.sinkhole.iter().find_map(|address| match address {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    });
    content::Spec {
        rules,
        lists: files.lists.iter().map(|(name, loaded)| (name.clone(), Arc::clone(&loaded.list))).collect(),
        default: action(wanted.default),
        unreadable_passes: wanted.on_unreadable == OnFailure::Open,
        page: wanted.page.clone(),
        sinkhole: (v4, v6),
        places: files.places.as_ref().map(|(_, places)| Arc::clone(places)),
    }
}

fn action(judgement: Judgement) -> content::Action {
    match judgement {
        Judgement::Allow => content::Action::Allow,
        Judgement::Deny => content::Action::Deny,
        Judgement::Log => content::Action::Log,
    }
}

fn rule(rule: &config::ContentRule) -> content::Rule {
    content::Rule {
        name: rule.name.clone(),
        action: action(rule.action),
        switches: rule.switches.clone(),
        ports: rule.from.ports.clone(),
        groups: rule.from.groups.clone(),
        addresses: rule.from.addresses.clone(),
        kinds: rule.kinds.iter().copied().map(kind).collect(),
        lists: rule.lists.clone(),
        categories: rule.categories.clone(),
        min_score: rule.min_score,
        countries: rule.countries.iter().filter_map(|country| config::country_code(country)).collect(),
        hidden: rule.hidden,
        answer: rule.answer.map(|answer| match answer {
            Reply::Page => content::Answer::Page,
            Reply::Reset => content::Answer::Reset,
            Reply::Nxdomain => content::Answer::Nxdomain,
            Reply::Sinkhole => content::Answer::Sinkhole,
            Reply::Silence => content::Answer::Silence,
        }),
    }
}

/// Where a name is met, in the guard's terms.
pub fn kind(met: Met) -> content::Kind {
    match met {
        Met::Http => content::Kind::Http,
        Met::Tls => content::Kind::Tls,
        Met::Quic => content::Kind::Quic,
        Met::Dns => content::Kind::Dns,
        Met::Address => content::Kind::Address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_made_again_only_when_its_text_has_changed() {
        let path = std::env::temp_dir().join(format!("weir-content-{}", std::process::id()));
        fs::write(&path, "bad.example\nnot an entry here\n").expect("written");
        let wanted = config::ContentList {
            name: "bad".into(),
            files: vec![path.display().to_string()],
            entries: vec!["=also.example".into()],
        };
        let first = read(&wanted, &[]).expect("reads");
        assert_eq!((first.list.len(), first.list.refused), (2, 1));
        assert!(first.warning("bad").expect("has one").contains("line 2: not an entry here"));
        let again = read(&wanted, &[("bad".into(), first.clone())]).expect("reads");
        assert!(Arc::ptr_eq(&first.list, &again.list));
        fs::write(&path, "bad.example\n").expect("written");
        let other = read(&wanted, &[("bad".into(), first.clone())]).expect("reads");
        assert!(!Arc::ptr_eq(&first.list, &other.list) && other.warning("bad").is_none());
        fs::remove_file(&path).expect("removed");
        let error = read(&wanted, &[]).expect_err("is gone").message;
        assert!(error.starts_with("content list bad: ") && error.contains("No such file"), "{error}");
    }
}
