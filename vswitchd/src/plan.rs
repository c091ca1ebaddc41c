//! What has to change to make one desired state into another. Pure: two states in, a list out, in the order in which the
//! changes are told and made.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::config::{Config, Port, Router};

/// A field that has another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Its name, with dots into tables.
    pub field: String,
    /// What it was; "-" where it was absent.
    pub before: String,
    /// What it will be; "-" where it is taken out.
    pub after: String,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.field, self.before, self.after)
    }
}

/// One difference between two states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A port goes.
    RemovePort(String),
    /// A switch goes.
    RemoveSwitch(String),
    /// A router goes.
    RemoveRouter(String),
    /// An appliance goes.
    RemoveAppliance(String),
    /// A rule set goes.
    RemoveRuleSet(String),
    /// A rule goes.
    RemoveRule(String),
    /// The guard's settings change.
    SetSettings(Vec<FieldChange>),
    /// A rule set comes.
    AddRuleSet(String),
    /// A rule set's source changes.
    SetRuleSet(String, Vec<FieldChange>),
    /// A rule set's files have another text. Found when they are read, not by [`plan`].
    ReloadRuleSet(String),
    /// The content filter's settings, lists or rules change.
    SetContent(Vec<FieldChange>),
    /// A content list's files have another text. Found when they are read, not by [`plan`].
    ReloadContent(String),
    /// The virus check's settings change.
    SetVirus(Vec<FieldChange>),
    /// The signature files have another text. Found when they are read, not by [`plan`].
    ReloadVirus,
    /// A switch comes.
    AddSwitch(String),
    /// A switch's settings change.
    SetSwitch(String, Vec<FieldChange>),
    /// A port comes.
    AddPort(String),
    /// A port's settings change, its attachment stays.
    SetPort(String, Vec<FieldChange>),
    /// A port is attached elsewhere: the old attachment is closed when the new one is open.
    ReplacePort(String, Vec<FieldChange>),
    /// A router comes.
    AddRouter(String),
    /// A router's settings, interfaces or routes change.
    SetRouter(String, Vec<FieldChange>),
    /// A group gets something to share.
    AddGroup(String),
    /// What a group shares changes.
    SetGroup(String, Vec<FieldChange>),
    /// A group shares nothing any more.
    RemoveGroup(String),
    /// A mirror comes.
    AddMirror(String),
    /// A mirror changes.
    SetMirror(String, Vec<FieldChange>),
    /// A mirror goes.
    RemoveMirror(String),
    /// An appliance comes.
    AddAppliance(String),
    /// An appliance's settings change.
    SetAppliance(String, Vec<FieldChange>),
    /// A service, schedule or tier comes: its kind and name.
    AddSegment(&'static str, String),
    /// One changes.
    SetSegment(&'static str, String, Vec<FieldChange>),
    /// One goes.
    RemoveSegment(&'static str, String),
    /// The tiers that stay have another order.
    OrderTiers,
    /// A rule comes.
    AddRule(String),
    /// A rule changes.
    SetRule(String, Vec<FieldChange>),
    /// The rules that stay have another order.
    OrderRules,
    /// A candidate of so many rules comes beside the policy, or in place of another.
    LoadShadow(usize),
    /// The candidate goes.
    DropShadow,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, object, fields): (char, String, &[FieldChange]) = match self {
            Change::RemovePort(name) => ('-', format!("port {name}"), &[]),
            Change::RemoveSwitch(name) => ('-', format!("switch {name}"), &[]),
            Change::RemoveRouter(name) => ('-', format!("router {name}"), &[]),
            Change::RemoveAppliance(name) => ('-', format!("appliance {name}"), &[]),
            Change::RemoveRuleSet(name) => ('-', format!("rule_set {name}"), &[]),
            Change::RemoveRule(name) => ('-', format!("rule {name}"), &[]),
            Change::SetSettings(fields) => ('~', "settings".into(), fields),
            Change::AddRuleSet(name) => ('+', format!("rule_set {name}"), &[]),
            Change::SetRuleSet(name, fields) => ('~', format!("rule_set {name}"), fields),
            Change::ReloadRuleSet(name) => ('~', format!("rule_set {name} (its files have changed)"), &[]),
            Change::SetContent(fields) => ('~', "content".into(), fields),
            Change::ReloadContent(name) => ('~', format!("content list {name} (its files have changed)"), &[]),
            Change::SetVirus(fields) => ('~', "virus".into(), fields),
            Change::ReloadVirus => ('~', "virus (its signature files have changed)".into(), &[]),
            Change::AddSwitch(name) => ('+', format!("switch {name}"), &[]),
            Change::SetSwitch(name, fields) => ('~', format!("switch {name}"), fields),
            Change::AddPort(name) => ('+', format!("port {name}"), &[]),
            Change::SetPort(name, fields) => ('~', format!("port {name}"), fields),
            Change::ReplacePort(name, fields) => ('!', format!("port {name} (attached anew)"), fields),
            Change::AddRouter(name) => ('+', format!("router {name}"), &[]),
            Change::SetRouter(name, fields) => ('~', format!("router {name}"), fields),
            Change::AddGroup(name) => ('+', format!("group {name}"), &[]),
            Change::SetGroup(name, fields) => ('~', format!("group {name}"), fields),
            Change::RemoveGroup(name) => ('-', format!("group {name}"), &[]),
            Change::AddMirror(name) => ('+', format!("mirror {name}"), &[]),
            Change::SetMirror(name, fields) => ('~', format!("mirror {name}"), fields),
            Change::RemoveMirror(name) => ('-', format!("mirror {name}"), &[]),
            Change::AddAppliance(name) => ('+', format!("appliance {name}"), &[]),
            Change::SetAppliance(name, fields) => ('~', format!("appliance {name}"), fields),
            Change::AddSegment(kind, name) => ('+', format!("{kind} {name}"), &[]),
            Change::SetSegment(kind, name, fields) => ('~', format!("{kind} {name}"), fields),
            Change::RemoveSegment(kind, name) => ('-', format!("{kind} {name}"), &[]),
            Change::OrderTiers => ('~', "the order of the tiers".into(), &[]),
            Change::AddRule(name) => ('+', format!("rule {name}"), &[]),
            Change::SetRule(name, fields) => ('~', format!("rule {name}"), fields),
            Change::OrderRules => ('~', "the order of the rules".into(), &[]),
            Change::LoadShadow(rules) => ('+', format!("shadow ({rules} rules)"), &[]),
            Change::DropShadow => ('-', "shadow".into(), &[]),
        };
        write!(f, "{sign} {object}")?;
        for (index, field) in fields.iter().enumerate() {
            write!(f, "{} {field}", if index == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// What makes `current` into `desired`. Empty where they mean the same.
pub fn plan(current: &Config, desired: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let names = |rules: &[crate::config::Rule]| rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
    let ports = Difference::of(&current.ports, &desired.ports);
    let switches = Difference::of(&current.switches, &desired.switches);
    let routers = Difference::of(&current.routers, &desired.routers);
    let groups = Difference::of(&current.groups, &desired.groups);
    let mirrors = Difference::of(&current.mirrors, &desired.mirrors);
    let appliances = Difference::of(&current.appliances, &desired.appliances);
    let sets = Difference::of(&current.rule_sets, &desired.rule_sets);
    let rules = Difference::of(&current.rules, &desired.rules);
    changes.extend(routers.removed.into_iter().map(Change::RemoveRouter));
    changes.extend(appliances.removed.into_iter().map(Change::RemoveAppliance));
    changes.extend(ports.removed.into_iter().map(Change::RemovePort));
    changes.extend(switches.removed.into_iter().map(Change::RemoveSwitch));
    changes.extend(sets.removed.into_iter().map(Change::RemoveRuleSet));
    changes.extend(rules.removed.into_iter().map(Change::RemoveRule));
    let settings = current.settings.changed_fields(&desired.settings);
    if !settings.is_empty() {
        changes.push(Change::SetSettings(settings));
    }
    let content = current.content.changed_fields(&desired.content);
    if !content.is_empty() {
        changes.push(Change::SetContent(content));
    }
    let virus = current.virus.changed_fields(&desired.virus);
    if !virus.is_empty() {
        changes.push(Change::SetVirus(virus));
    }
    changes.extend(sets.added.into_iter().map(Change::AddRuleSet));
    changes.extend(sets.changed.into_iter().map(|(name, fields)| Change::SetRuleSet(name, fields)));
    changes.extend(switches.added.into_iter().map(Change::AddSwitch));
    changes.extend(switches.changed.into_iter().map(|(name, fields)| Change::SetSwitch(name, fields)));
    changes.extend(ports.added.into_iter().map(Change::AddPort));
    changes.extend(ports.changed.into_iter().map(|(name, fields)| {
        let same = same_attachment(current.port(&name), desired.port(&name));
        if same { Change::SetPort(name, fields) } else { Change::ReplacePort(name, fields) }
    }));
    changes.extend(groups.removed.into_iter().map(Change::RemoveGroup));
    changes.extend(groups.added.into_iter().map(Change::AddGroup));
    changes.extend(groups.changed.into_iter().map(|(name, fields)| Change::SetGroup(name, fields)));
    changes.extend(routers.added.into_iter().map(Change::AddRouter));
    changes.extend(routers.changed.into_iter().map(|(name, fields)| Change::SetRouter(name, fields)));
    changes.extend(mirrors.removed.into_iter().map(Change::RemoveMirror));
    changes.extend(mirrors.added.into_iter().map(Change::AddMirror));
    changes.extend(mirrors.changed.into_iter().map(|(name, fields)| Change::SetMirror(name, fields)));
    changes.extend(appliances.added.into_iter().map(Change::AddAppliance));
    changes.extend(appliances.changed.into_iter().map(|(name, fields)| Change::SetAppliance(name, fields)));
    segments(current, desired, &mut changes);
    changes.extend(rules.added.into_iter().map(Change::AddRule));
    changes.extend(rules.changed.into_iter().map(|(name, fields)| Change::SetRule(name, fields)));
    if reordered(&names(&current.rules), &names(&desired.rules)) {
        changes.push(Change::OrderRules);
    }
    match &desired.shadow {
        shadow if *shadow == current.shadow => {}
        Some(shadow) => changes.push(Change::LoadShadow(shadow.rules.len())),
        None => changes.push(Change::DropShadow),
    }
    changes
}

fn segments(current: &Config, desired: &Config, changes: &mut Vec<Change>) {
    for (kind, found) in [
        ("service", Difference::of(&current.services, &desired.services)),
        ("schedule", Difference::of(&current.schedules, &desired.schedules)),
        ("tier", Difference::of(&current.tiers, &desired.tiers)),
    ] {
        changes.extend(found.removed.into_iter().map(|name| Change::RemoveSegment(kind, name)));
        changes.extend(found.added.into_iter().map(|name| Change::AddSegment(kind, name)));
        changes.extend(found.changed.into_iter().map(|(name, fields)| Change::SetSegment(kind, name, fields)));
    }
    let names = |tiers: &[crate::config::Tier]| tiers.iter().map(|tier| tier.name.clone()).collect::<Vec<_>>();
    if reordered(&names(&current.tiers), &names(&desired.tiers)) {
        changes.push(Change::OrderTiers);
    }
}

fn same_attachment(current: Option<&Port>, desired: Option<&Port>) -> bool {
    match (current, desired) {
        (Some(a), Some(b)) => a.attachment() == b.attachment(),
        _ => false,
    }
}

/// Whether the names that are in both lists stand in another order.
fn reordered(before: &[String], after: &[String]) -> bool {
    let old: HashSet<&String> = before.iter().collect();
    let new: HashSet<&String> = after.iter().collect();
    before.iter().filter(|n| new.contains(n)).ne(after.iter().filter(|n| old.contains(n)))
}

/// Routes above which a change is told by their number.
const ROUTES_TOLD: usize = 64;

/// Something with a name that can be compared field by field.
trait Object: Serialize + PartialEq + Sized {
    fn name(&self) -> &str;

    /// The fields in which `after` differs.
    fn differences(&self, after: &Self) -> Vec<FieldChange> {
        Fields::changed_fields(self, after)
    }
}

macro_rules! object {
    ($($kind:ident),+) => { $( impl Object for crate::config::$kind { fn name(&self) -> &str { &self.name } } )+ };
}

object!(Switch, Port, Group, Mirror, Appliance, RuleSet, Service, Schedule, Tier, Rule);

impl Object for Router {
    fn name(&self) -> &str {
        &self.name
    }

    /// A million routes are not printed to see that one has changed.
    fn differences(&self, after: &Router) -> Vec<FieldChange> {
        if self.routes.len().max(after.routes.len()) <= ROUTES_TOLD {
            return self.changed_fields(after);
        }
        let mut changes = without_routes(self).changed_fields(&without_routes(after));
        if self.routes != after.routes {
            let count = |routes: usize| format!("({routes} routes)");
            let (before, after) = (count(self.routes.len()), count(after.routes.len()));
            changes.push(FieldChange { field: "route".into(), before, after });
        }
        changes
    }
}

fn without_routes(router: &Router) -> Router {
    let Router { name, default, inspect, interfaces, routes: _, policies, .. } = router;
    let Router { masquerades, forwards, one_to_one, nptv6, nat64, helpers, dns, .. } = router;
    Router {
        name: name.clone(),
        default: *default,
        inspect: inspect.clone(),
        interfaces: interfaces.clone(),
        routes: Vec::new(),
        policies: policies.clone(),
        masquerades: masquerades.clone(),
        forwards: forwards.clone(),
        one_to_one: one_to_one.clone(),
        nptv6: nptv6.clone(),
        nat64: nat64.clone(),
        helpers: helpers.clone(),
        dns: dns.clone(),
    }
}

#[derive(Default)]
struct Difference {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<(String, Vec<FieldChange>)>,
}

impl Difference {
    fn of<T: Object>(current: &[T], desired: &[T]) -> Difference {
        let before: HashMap<&str, &T> = current.iter().map(|item| (item.name(), item)).collect();
        let after: HashSet<&str> = desired.iter().map(Object::name).collect();
        let mut difference = Difference::default();
        let gone = current.iter().map(Object::name).filter(|name| !after.contains(name));
        difference.removed.extend(gone.map(str::to_owned));
        for item in desired {
            match before.get(item.name()) {
                None => difference.added.push(item.name().to_owned()),
                Some(old) if *old == item => {}
                Some(old) => {
                    let fields = old.differences(item);
                    if !fields.is_empty() {
                        difference.changed.push((item.name().to_owned(), fields));
                    }
                }
            }
        }
        difference
    }
}

/// A value as a TOML table, the form in which people know it.
trait Fields {
    fn table(&self) -> toml::Table;

    fn changed_fields(&self, after: &Self) -> Vec<FieldChange> {
        compare(&self.table(), &after.table())
    }
}

impl<T: Serialize> Fields for T {
    fn table(&self) -> toml::Table {
        // Numbers beyond 63 bits are the only thing TOML refuses, and no checked state has them.
        toml::Table::try_from(self).unwrap_or_default()
    }
}

fn compare(before: &toml::Table, after: &toml::Table) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        match (before.get(key), after.get(key)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(toml::Value::Table(a)), Some(toml::Value::Table(b))) => {
                changes.extend(
                    compare(a, b).into_iter().map(|c| FieldChange { field: format!("{key}.{}", c.field), ..c }),
                );
            }
            (a, b) => changes.push(FieldChange { field: key.clone(), before: show(a), after: show(b) }),
        }
    }
    changes
}

/// A value on one line, cut where it is long.
fn show(value: Option<&toml::Value>) -> String {
    const LONG: usize = 60;
    let Some(value) = value else { return "-".into() };
    let text = value.to_string();
    if text.chars().count() <= LONG && !text.contains('\n') {
        return text;
    }
    format!("({} bytes)", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
        switch = [{ name = "lan" }, { name = "dmz" }]
        port = [{ name = "vm1", switch = "lan", mem = {} }, { name = "vm2", switch = "lan", mem = {} }]
        rule_set = [{ name = "starter", builtin = "starter" }]
        rule = [{ name = "a", action = "allow" }, { name = "b", action = "drop" }]
    "#;

    fn lines(before: &str, after: &str) -> Vec<String> {
        let (before, after) = (Config::parse(before).expect("parses"), Config::parse(after).expect("parses"));
        plan(&before, &after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_states_need_no_change_whatever_their_order() {
        assert_eq!(lines(BASE, BASE), [""; 0]);
        let turned = BASE.replace(r#"{ name = "lan" }, { name = "dmz" }"#, r#"{ name = "dmz" }, { name = "lan" }"#);
        assert_eq!(lines(BASE, &turned), [""; 0]);
    }

    #[test]
    fn from_nothing_everything_is_added_switches_before_ports() {
        assert_eq!(
            lines("", BASE),
            ["+ rule_set starter", "+ switch lan", "+ switch dmz", "+ port vm1", "+ port vm2", "+ rule a", "+ rule b"]
        );
    }

    #[test]
    fn to_nothing_everything_is_removed_ports_before_switches() {
        assert_eq!(
            lines(BASE, ""),
            ["- port vm1", "- port vm2", "- switch lan", "- switch dmz", "- rule_set starter", "- rule a", "- rule b"]
        );
    }

    #[test]
    fn changed_fields_are_told_with_both_values() {
        let after = BASE
            .replace(r#"{ name = "dmz" }"#, r#"{ name = "dmz", ageing_s = 60, default = "drop" }"#)
            .replace(r#""vm2", switch = "lan""#, r#""vm2", switch = "dmz", vlan = { access = 3 }"#)
            .replace(r#""b", action = "drop""#, r#""b", action = "reject""#);
        assert_eq!(
            lines(BASE, &after),
            [
                "~ switch dmz: ageing_s 300 -> 60, default \"allow\" -> \"drop\"",
                "~ port vm2: switch \"lan\" -> \"dmz\", vlan - -> { access = 3 }",
                "~ rule b: action \"drop\" -> \"reject\"",
            ]
        );
    }

    #[test]
    fn one_route_among_very_many_is_told_by_their_number() {
        let routes = |count: u32| {
            let route = |n: u32| {
                let address = std::net::Ipv4Addr::from(0x0b00_0000 + n);
                format!("{{ to = \"{address}/32\", via = \"10.0.0.9\" }}")
            };
            let routes: Vec<String> = (0..count).map(route).collect();
            format!("router = [{{ name = \"edge\", route = [{}] }}]", routes.join(", "))
        };
        assert_eq!(lines(&routes(100), &routes(100)), [""; 0]);
        assert_eq!(lines(&routes(100), &routes(101)), ["~ router edge: route (100 routes) -> (101 routes)"]);
        assert!(!lines(&routes(1), &routes(2))[0].contains("(1 routes)"), "few are told as they are");
    }

    #[test]
    fn another_attachment_is_a_replacement() {
        let after =
            BASE.replace(r#""vm2", switch = "lan", mem = {}"#, r#""vm2", switch = "lan", tap = { name = "t" }"#);
        let lines = lines(BASE, &after);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("! port vm2 (attached anew): mem "), "{lines:?}");
    }

    #[test]
    fn another_order_of_the_rules_is_a_change_of_its_own() {
        let turned = BASE.replace(
            r#"{ name = "a", action = "allow" }, { name = "b", action = "drop" }"#,
            r#"{ name = "b", action = "drop" }, { name = "c", action = "drop" }, { name = "a", action = "allow" }"#,
        );
        assert_eq!(lines(BASE, &turned), ["+ rule c", "~ the order of the rules"]);
    }

    #[test]
    fn a_candidate_comes_changes_and_goes() {
        let with = |action: &str| format!("{BASE}\n[[shadow.rule]]\nname = \"c\"\naction = \"{action}\"\n");
        assert_eq!(lines(BASE, &with("drop")), ["+ shadow (1 rules)"]);
        assert_eq!(lines(&with("drop"), &with("allow")), ["+ shadow (1 rules)"]);
        assert_eq!(lines(&with("drop"), &with("drop")), [""; 0]);
        assert_eq!(lines(&with("drop"), BASE), ["- shadow"]);
    }

    #[test]
    fn settings_are_compared_field_by_field() {
        let after = format!("{BASE}\n[settings]\nmidstream_grace_s = 1\n[settings.timeouts]\nicmp_s = 5\n");
        assert_eq!(lines(BASE, &after), ["~ settings: midstream_grace_s 60 -> 1, timeouts.icmp_s 30 -> 5"]);
    }
}
