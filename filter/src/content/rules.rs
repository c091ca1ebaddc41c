//! Content rules: who may go to which sites.
//!
//! The rules are asked in order, once for each name that is met: a request's host and path, the server name of a TLS or
//! QUIC connection, a question to the DNS, a server's address. The first rule that allows or denies decides; rules that
//! log are noted and the next one is asked. A name that no rule takes is treated as the default says.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnetwork::IpNetwork;
use weir_wire::{PortId, SwitchId};

use super::Places;
use super::list::List;
use super::{Answer, Kind};

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Let it pass; no later rule is asked.
    #[default]
    Allow,
    /// Refuse it.
    Deny,
    /// Tell of it, and ask the next rule.
    Log,
}

/// A content rule as it is stated. Empty lists match everything.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Unique name.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Switches by name.
    pub switches: Vec<String>,
    /// The initiator's ports by name.
    pub ports: Vec<String>,
    /// The initiator's groups by name.
    pub groups: Vec<String>,
    /// The initiator's addresses.
    pub addresses: Vec<IpNetwork>,
    /// Where the name was met.
    pub kinds: Vec<Kind>,
    /// Lists by name: one of them has the site. A rule without lists takes every site.
    pub lists: Vec<String>,
    /// Categories of entries, where the lists have them.
    pub categories: Vec<String>,
    /// The least score of an entry that counts.
    pub min_score: u8,
    /// Countries of servers (ISO 3166, in capitals), by the database of places. A rule that names some takes no questions to
    /// the DNS, whose server is another.
    pub countries: Vec<[u8; 2]>,
    /// Takes only what has no readable name: no server name, or an encrypted one.
    pub hidden: bool,
    /// How the initiator is told of a denial.
    pub answer: Option<Answer>,
}

/// A content policy as it is stated.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// The lists by name.
    pub lists: Vec<(String, Arc<List>)>,
    /// What happens to sites that no rule takes.
    pub default: Action,
    /// A message of a protocol that names sites, which cannot be read: let it pass uninspected.
    pub unreadable_passes: bool,
    /// What the block page says besides the rule's name; empty for the usual text.
    pub page: String,
    /// What a denied name is resolved to, of either family, where the answer is a sinkhole.
    pub sinkhole: (Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>),
    /// Where addresses are.
    pub places: Option<Arc<Places>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// On this switch.
    pub switch: SwitchId,
    /// Behind this port.
    pub port: PortId,
    /// With this address.
    pub address: IpAddr,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Site<'s> {
    /// Where it was met.
    pub kind: Kind,
    /// The host, in the form of [`super::name::host`]; empty where there is none.
    pub host: &'s str,
    /// Path and query, in the form of [`super::name::path`].
    pub path: Option<&'s [u8]>,
    /// The server's address.
    pub server: IpAddr,
    /// The true name is encrypted; `host` is what is said instead.
    pub encrypted: bool,
}

/// A rule that matched, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The rule's place; `None` for the default.
    pub rule: Option<usize>,
    /// Its action.
    pub action: Action,
    /// The list that has the site.
    pub list: Option<usize>,
    /// The entry's category.
    pub category: Option<String>,
    /// The entry's score.
    pub score: Option<u8>,
    /// How the initiator is told of a denial.
    pub answer: Answer,
}

#[derive(Debug)]
struct Compiled {
    name: String,
    action: Action,
    switches: Option<Vec<SwitchId>>,
    ports: Option<Vec<PortId>>,
    addresses: Vec<IpNetwork>,
    kinds: Vec<Kind>,
    lists: Vec<usize>,
    categories: Vec<String>,
    min_score: u8,
    countries: Vec<[u8; 2]>,
    hidden: bool,
    answer: Option<Answer>,
    hits: AtomicU64,
}

/// A content policy that can be asked.
#[derive(Debug, Default)]
pub struct Content {
    rules: Vec<Compiled>,
    lists: Vec<(String, Arc<List>)>,
    default: Action,
    pub(super) unreadable_passes: bool,
    pub(super) page: String,
    sinkhole: (Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>),
    places: Option<Arc<Places>>,
    denied: AtomicU64,
    judged: AtomicU64,
}

/// Names of the policy that content rules refer to.
#[derive(Debug, Default)]
pub struct Known<'k> {
    /// Switches.
    pub switches: Vec<(&'k str, SwitchId)>,
    /// Ports with their groups.
    pub ports: Vec<(&'k str, PortId, &'k [String])>,
}

impl Content {
    /// Compiles `spec`.
    ///
    /// # Errors
    /// Every name that is not known.
    pub fn compile(spec: &Spec, known: &Known<'_>) -> Result<Content, Vec<String>> {
        let mut errors = Vec::new();
        let rules = spec.rules.iter().map(|rule| compile(rule, spec, known, &mut errors)).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Content {
            rules,
            lists: spec.lists.clone(),
            default: spec.default,
            unreadable_passes: spec.unreadable_passes,
            page: spec.page.clone(),
            sinkhole: spec.sinkhole,
            places: spec.places.clone(),
            ..Content::default()
        })
    }

    /// Nothing is asked of any flow.
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.default == Action::Allow
    }

    /// Whether some rule may concern this initiator.
    pub fn concerns(&self, who: &Who) -> bool {
        self.default != Action::Allow || self.rules.iter().any(|rule| rule.is_about(who))
    }

    /// Whether some rule asks for the addresses of servers.
    pub fn asks_addresses(&self) -> bool {
        let has = |&list: &usize| self.lists.get(list).is_some_and(|(_, list)| list.has_addresses());
        let asks = |rule: &Compiled| rule.lists.iter().any(has) || !rule.countries.is_empty();
        self.rules.iter().any(|rule| rule.takes(Kind::Address) && asks(rule))
    }

    /// Judges a site: the rules that log and match, then the one that decides (the default where none does).
    pub fn judge(&self, who: &Who, site: &Site<'_>) -> (Vec<Match>, Match) {
        self.judged.fetch_add(1, Ordering::Relaxed);
        let mut noted = Vec::new();
        for (number, rule) in self.rules.iter().enumerate() {
            let Some(found) = self.matches(number, rule, who, site) else { continue };
            match rule.action {
                Action::Log => noted.push(found),
                Action::Allow | Action::Deny => return (noted, found),
            }
        }
        // Of addresses alone nothing is decided by default: the name is still to come.
        let action = if site.kind == Kind::Address { Action::Allow } else { self.default };
        let answer = Answer::usual(site.kind);
        (noted, Match { rule: None, action, list: None, category: None, score: None, answer })
    }

    fn matches(&self, number: usize, rule: &Compiled, who: &Who, site: &Site<'_>) -> Option<Match> {
        let nameless = site.host.is_empty() || site.encrypted;
        if !rule.is_about(who) || !rule.takes(site.kind) || (rule.hidden && !nameless) {
            return None;
        }
        if !rule.countries.is_empty() {
            let country = self.places.as_ref().filter(|_| site.kind != Kind::Dns)?.country(site.server)?;
            if !rule.countries.contains(&country) {
                return None;
            }
        }
        let answer = rule.answer.filter(|answer| answer.fits(site.kind)).unwrap_or(Answer::usual(site.kind));
        let found = Match { rule: Some(number), action: rule.action, list: None, category: None, score: None, answer };
        if rule.lists.is_empty() {
            // An address alone is nothing to take, unless it is its country that is asked for.
            return (site.kind != Kind::Address || !rule.countries.is_empty()).then_some(found);
        }
        rule.lists.iter().find_map(|&at| {
            let (_, list) = self.lists.get(at)?;
            let named = if site.host.is_empty() { None } else { list.site(site.host, site.path) };
            let mark = named.or_else(|| (site.kind != Kind::Dns).then(|| list.address(site.server)).flatten())?;
            let category = list.category(mark);
            let wanted = rule.categories.is_empty()
                || category.is_some_and(|category| rule.categories.iter().any(|name| name == category));
            (wanted && mark.score >= rule.min_score).then(|| Match {
                list: Some(at),
                category: category.map(str::to_owned),
                score: (mark.category != 0).then_some(mark.score),
                ..found.clone()
            })
        })
    }

    /// What a denied name is resolved to, where the answer is a sinkhole.
    pub fn sinkhole(&self) -> (Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>) {
        self.sinkhole
    }

    /// Counts a match.
    pub fn count(&self, found: &Match) {
        if let Some(rule) = found.rule.and_then(|at| self.rules.get(at)) {
            rule.hits.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((_, list)) = found.list.and_then(|at| self.lists.get(at)) {
            list.count();
        }
        if found.action == Action::Deny {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The name of the rule that matched; "default" for the default.
    pub fn rule_name(&self, found: &Match) -> &str {
        found.rule.and_then(|at| self.rules.get(at)).map_or("default", |rule| &rule.name)
    }

    /// The name of the list that has the site.
    pub fn list_name(&self, found: &Match) -> Option<&str> {
        found.list.and_then(|at| self.lists.get(at)).map(|(name, _)| name.as_str())
    }

    /// Names of the rules and how often each matched, in order.
    pub fn rule_hits(&self) -> impl Iterator<Item = (&str, u64)> {
        self.rules.iter().map(|rule| (rule.name.as_str(), rule.hits.load(Ordering::Relaxed)))
    }

    /// The lists by name.
    pub fn lists(&self) -> &[(String, Arc<List>)] {
        &self.lists
    }

    /// Sites judged and sites denied since the policy was made.
    pub fn totals(&self) -> (u64, u64) {
        (self.judged.load(Ordering::Relaxed), self.denied.load(Ordering::Relaxed))
    }
}

impl Compiled {
    fn is_about(&self, who: &Who) -> bool {
        self.switches.as_ref().is_none_or(|all| all.binary_search(&who.switch).is_ok())
            && self.ports.as_ref().is_none_or(|all| all.binary_search(&who.port).is_ok())
            && (self.addresses.is_empty() || self.addresses.iter().any(|network| network.contains(who.address)))
    }

    fn takes(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

fn compile(rule: &Rule, spec: &Spec, known: &Known<'_>, errors: &mut Vec<String>) -> Compiled {
    if !rule.countries.is_empty() && spec.places.is_none() {
        errors.push(format!("content rule {}: countries need a database of places (content.geoip)", rule.name));
    }
    let mut wrong = |what: &str, name: &str| {
        errors.push(format!("content rule {}: there is no {what} \"{name}\"", rule.name));
    };
    let mut lists = Vec::new();
    for name in &rule.lists {
        match spec.lists.iter().position(|(known, _)| known == name) {
            Some(at) => lists.push(at),
            None => wrong("content list", name),
        }
    }
    let mut switches = Vec::new();
    for name in &rule.switches {
        match known.switches.iter().find(|(known, _)| known == name) {
            Some(&(_, id)) => switches.push(id),
            None => wrong("switch", name),
        }
    }
    for name in &rule.ports {
        if !known.ports.iter().any(|(known, ..)| known == name) {
            wrong("port", name);
        }
    }
    // A port matches that is named, or is in one of the groups; a rule that names both asks for both.
    let matches = |name: &str, groups: &[String]| {
        (rule.ports.is_empty() || rule.ports.iter().any(|port| port == name))
            && (rule.groups.is_empty() || rule.groups.iter().any(|group| groups.contains(group)))
    };
    let mut ports: Vec<PortId> =
        known.ports.iter().filter(|(name, _, groups)| matches(name, groups)).map(|&(_, id, _)| id).collect();
    ports.sort_unstable();
    switches.sort_unstable();
    Compiled {
        name: rule.name.clone(),
        action: rule.action,
        switches: (!rule.switches.is_empty()).then_some(switches),
        ports: (!rule.ports.is_empty() || !rule.groups.is_empty()).then_some(ports),
        addresses: rule.addresses.clone(),
        kinds: rule.kinds.clone(),
        lists,
        categories: rule.categories.clone(),
        min_score: rule.min_score,
        countries: rule.countries.clone(),
        hidden: rule.hidden,
        answer: rule.answer,
        hits: AtomicU64::new(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Who =
        Who { switch: SwitchId(1), port: PortId(1), address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)) };

    fn site(host: &str) -> Site<'_> {
        Site { kind: Kind::Http, host, path: Some(b"/"), server: "192.0.2.1".parse().unwrap(), encrypted: false }
    }

    fn content(rules: Vec<Rule>) -> Content {
        let lists = vec![
            ("games".to_owned(), Arc::new(List::parse("games.example"))),
            ("rep".to_owned(), Arc::new(List::parse("192.0.2.1,malware,90\nlow.example,spam,10"))),
        ];
        let kids = ["kids".to_owned()];
        let known =
            Known { switches: vec![("lan", SwitchId(1))], ports: vec![("a", PortId(1), &kids), ("b", PortId(2), &[])] };
        Content::compile(&Spec { rules, lists, ..Spec::default() }, &known).unwrap()
    }

    fn rule(name: &str, action: Action, lists: &[&str]) -> Rule {
        Rule { name: name.into(), action, lists: lists.iter().map(|l| (*l).into()).collect(), ..Rule::default() }
    }

    #[test]
    fn the_first_rule_that_decides_wins_and_those_that_log_are_noted() {
        let content = content(vec![rule("see", Action::Log, &[]), rule("no", Action::Deny, &["games"])]);
        let (noted, found) = content.judge(&WHO, &site("www.games.example"));
        assert_eq!((noted.len(), content.rule_name(&noted[0])), (1, "see"));
        assert_eq!(
            (found.action, content.rule_name(&found), content.list_name(&found)),
            (Action::Deny, "no", Some("games"))
        );
        content.count(&found);
        assert_eq!(content.rule_hits().collect::<Vec<_>>(), [("see", 0), ("no", 1)]);
        assert_eq!((content.lists()[0].1.hits(), content.totals().1), (1, 1));
        assert_eq!(content.judge(&WHO, &site("other.example")).1.action, Action::Allow);
    }

    #[test]
    fn groups_bind_a_rule_to_those_behind_their_ports() {
        let content = content(vec![Rule { groups: vec!["kids".into()], ..rule("no", Action::Deny, &["games"]) }]);
        let other = Who { port: PortId(2), ..WHO };
        assert!(content.concerns(&WHO) && !content.concerns(&other));
        assert_eq!(content.judge(&other, &site("games.example")).1.action, Action::Allow);
    }

    #[test]
    fn scores_categories_and_addresses_are_conditions() {
        let rules =
            vec![Rule { min_score: 50, categories: vec!["malware".into()], ..rule("bad", Action::Deny, &["rep"]) }];
        let content = content(rules);
        assert!(content.asks_addresses());
        let found = content.judge(&WHO, &site("any.example")).1;
        assert_eq!((found.action, found.category.as_deref(), found.score), (Action::Deny, Some("malware"), Some(90)));
        let elsewhere = Site { server: "192.0.2.2".parse().unwrap(), ..site("low.example") };
        assert_eq!(content.judge(&WHO, &elsewhere).1.action, Action::Allow);
    }

    #[test]
    fn countries_of_servers_are_conditions() {
        let of = |countries: &[&[u8; 2]]| Rule {
            countries: countries.iter().map(|code| **code).collect(),
            ..rule("no", Action::Deny, &[])
        };
        // The database knows the lower half of all addresses.
        let places = Places::new(crate::detect::sets::geo::tests::database("DE")).unwrap();
        let spec = |rule, places| Spec { rules: vec![rule], places, ..Spec::default() };
        let compile = |spec: &Spec| Content::compile(spec, &Known::default());
        let content = compile(&spec(of(&[b"DE", b"FR"]), Some(Arc::new(places)))).unwrap();
        assert!(content.asks_addresses());
        let at = |address: &str, kind| {
            let site = Site { server: address.parse().unwrap(), kind, ..site("a.example") };
            content.judge(&WHO, &site).1.action
        };
        assert_eq!(at("9.1.2.3", Kind::Address), Action::Deny);
        assert_eq!(at("9.1.2.3", Kind::Http), Action::Deny);
        assert_eq!(at("9.1.2.3", Kind::Dns), Action::Allow);
        assert_eq!(at("200.1.2.3", Kind::Address), Action::Allow);
        let errors = compile(&spec(of(&[b"DE"]), None)).unwrap_err();
        assert_eq!(errors, ["content rule no: countries need a database of places (content.geoip)"]);
    }

    #[test]
    fn hidden_names_have_rules_of_their_own() {
        let content = content(vec![Rule { hidden: true, ..rule("veiled", Action::Deny, &[]) }]);
        assert_eq!(content.judge(&WHO, &site("a.example")).1.action, Action::Allow);
        assert_eq!(content.judge(&WHO, &site("")).1.action, Action::Deny);
        let veiled = Site { encrypted: true, ..site("public.example") };
        assert_eq!(content.judge(&WHO, &veiled).1.action, Action::Deny);
    }

    #[test]
    fn unknown_names_are_told_all_at_once() {
        let spec = Spec {
            rules: vec![Rule { ports: vec!["x".into()], ..rule("r", Action::Deny, &["y"]) }],
            ..Spec::default()
        };
        let errors = Content::compile(&spec, &Known::default()).unwrap_err();
        assert_eq!(
            errors,
            ["content rule r: there is no content list \"y\"", "content rule r: there is no port \"x\""]
        );
    }
}
