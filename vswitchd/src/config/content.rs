//! The content filter as it is wanted: lists of sites, and rules over them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::check::{Problems, unique};
use super::is_default;
use super::rule::Side;
use super::settings::OnFailure;
use super::values::one_or_many;

/// Lists at most.
pub const LISTS_MAX: usize = 256;
/// Content rules at most: each is asked for each name.
pub const CONTENT_RULES_MAX: usize = 1000;

/// The content filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Content {
    /// What happens to sites that no rule takes.
    #[serde(skip_serializing_if = "is_default")]
    pub default: Judgement,
    /// What cannot be read of protocols that name sites.
    #[serde(skip_serializing_if = "is_default")]
    pub on_unreadable: OnFailure,
    /// What the block page says; empty: the usual text.
    #[serde(skip_serializing_if = "is_default")]
    pub page: String,
    /// Addresses that denied names are resolved to where a rule answers "sinkhole", one of a family.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub sinkhole: Vec<IpAddr>,
    /// A database of places in MaxMind's format, for the countries of rules: an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geoip: Option<String>,
    /// The lists.
    #[serde(rename = "list", skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<ContentList>,
    /// The rules; the first that allows or denies a site decides.
    #[serde(rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ContentRule>,
}

/// A list of sites.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentList {
    /// Its name.
    pub name: String,
    /// Files on this host, read at every change.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub files: Vec<String>,
    /// Entries that stand here.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub entries: Vec<String>,
}

/// What a content rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// Let the site pass.
    #[default]
    Allow,
    /// Refuse it.
    Deny,
    /// Tell of it, and ask the next rule.
    Log,
}

/// Where a name was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Met {
    /// Requests of HTTP/1 and HTTP/2.
    Http,
    /// Server names of TLS.
    Tls,
    /// Server names of QUIC.
    Quic,
    /// Questions to the DNS.
    Dns,
    /// Addresses of servers, at a flow's first packet.
    Address,
}

/// How a denied initiator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// A page with status 403.
    Page,
    /// Resets.
    Reset,
    /// No such name.
    Nxdomain,
    /// The sinkhole's address.
    Sinkhole,
    /// Nothing.
    Silence,
}

/// A content rule. Empty lists match everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentRule {
    /// Unique name.
    pub name: String,
    /// What it does.
    pub action: Judgement,
    /// The initiator's side; no MAC addresses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: Side,
    /// Switches by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub switches: Vec<String>,
    /// Where names are met.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub kinds: Vec<Met>,
    /// Lists by name, one of which has the site.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub lists: Vec<String>,
    /// Categories of the lists' entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub categories: Vec<String>,
    /// The least score of an entry that counts, 0 to 127.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_score: u8,
    /// Countries of servers: two letters each (ISO 3166).
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub countries: Vec<String>,
    /// Only what has no readable name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hidden: bool,
    /// How the initiator is told of a denial; absent: as its protocol wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Reply>,
}

/// A country as databases name it.
pub fn country_code(text: &str) -> Option<[u8; 2]> {
    let code: [u8; 2] = text.as_bytes().try_into().ok()?;
    code.iter().all(u8::is_ascii_alphabetic).then(|| code.map(|letter| letter.to_ascii_uppercase()))
}

impl super::Config {
    /// Names of the content rules that ask a list.
    pub fn users_of_content_list(&self, name: &str) -> Vec<String> {
        let asks = |rule: &&ContentRule| rule.lists.iter().any(|list| list == name);
        self.content.rules.iter().filter(asks).map(|rule| format!("content rule {}", rule.name)).collect()
    }

    pub(super) fn check_content(&self, problems: &mut Problems) {
        let content = &self.content;
        unique("content list", content.lists.iter().map(|list| list.name.as_str()), problems);
        unique("content rule", content.rules.iter().map(|rule| rule.name.as_str()), problems);
        problems.unless(content.lists.len() <= LISTS_MAX && content.rules.len() <= CONTENT_RULES_MAX, || {
            format!("content: more than {LISTS_MAX} lists or {CONTENT_RULES_MAX} rules")
        });
        problems.unless(content.page.len() <= 300, || "content: page is longer than 300 bytes".into());
        for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            problems.unless(content.sinkhole.iter().filter(|address| family(address)).count() <= 1, || {
                "content: sinkhole has two addresses of one family; give one of each at most".into()
            });
        }
        if let Some(file) = content.geoip.as_ref().filter(|file| !file.starts_with('/')) {
            problems.add(format!("content: geoip = \"{file}\" must be absolute"));
        }
        for list in &content.lists {
            let name = &list.name;
            problems.unless(!list.files.is_empty() || !list.entries.is_empty(), || {
                format!("content list {name}: it has neither files nor entries")
            });
            for file in list.files.iter().filter(|file| !file.starts_with('/')) {
                problems.add(format!("content list {name}: file \"{file}\" must be absolute"));
            }
        }
        for rule in &content.rules {
            self.check_content_rule(rule, problems);
        }
    }

    fn check_content_rule(&self, rule: &ContentRule, problems: &mut Problems) {
        let object = format!("content rule {}", rule.name);
        problems
            .unless(rule.from.macs.is_empty(), || format!("{object}: from.macs is not asked; name ports or groups"));
        problems.unless(rule.min_score <= 127, || format!("{object}: min_score = {} is above 127", rule.min_score));
        for list in rule.lists.iter().filter(|name| !self.content.lists.iter().any(|list| list.name == **name)) {
            problems.add(format!("{object}: there is no content list \"{list}\"; add a [[content.list]] of that name"));
        }
        for country in rule.countries.iter().filter(|country| country_code(country).is_none()) {
            problems.add(format!("{object}: country \"{country}\" is not of two letters, such as DE"));
        }
        problems.unless(rule.countries.is_empty() || self.content.geoip.is_some(), || {
            format!("{object}: countries need a database of places; set content.geoip to its path")
        });
        for port in rule.from.ports.iter().filter(|name| self.port(name).is_none()) {
            problems.add(format!("{object}: there is no port \"{port}\""));
        }
        for switch in &rule.switches {
            let known = self.switch(switch).is_some() || self.router(switch).is_some();
            problems.unless(known, || format!("{object}: there is no switch or router \"{switch}\""));
        }
        problems.unless(rule.answer != Some(Reply::Sinkhole) || !self.content.sinkhole.is_empty(), || {
            format!("{object}: it answers \"sinkhole\", and content.sinkhole is not set")
        });
        problems.unless(!rule.lists.is_empty() || (rule.categories.is_empty() && rule.min_score == 0), || {
            format!("{object}: categories and min_score are those of lists; name lists")
        });
    }
}
