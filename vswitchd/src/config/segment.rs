//! What rules speak in: services, schedules, tiers.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use super::check::{Problems, unique};
use super::values::{Icmp, Protocol, Range, one_or_many};
use super::{Action, Config, is_default};

/// Services at most.
pub const SERVICES_MAX: usize = 4096;
/// Schedules at most.
pub const SCHEDULES_MAX: usize = 1024;
/// Tiers at most.
pub const TIERS_MAX: usize = 16;
/// Entries of a service, or times of a schedule, at most.
const ENTRIES_MAX: usize = 256;

/// What a service is spoken by: one of its entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its alternatives.
    pub entries: Vec<ServiceEntry>,
}

/// A protocol with its ports or types. Empty lists match everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    /// IP protocols.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub protocol: Vec<Protocol>,
    /// TCP and UDP source ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub source_ports: Vec<Range>,
    /// TCP and UDP destination ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub destination_ports: Vec<Range>,
    /// ICMP and ICMPv6 types.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub icmp: Vec<Icmp>,
}

/// Which clock a schedule goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zone {
    /// Universal time.
    #[default]
    Utc,
    /// The host's time zone.
    Local,
}

/// When rules are in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Weekly times, as in `"mon-fri 08:00-18:00"`.
    #[serde(deserialize_with = "one_or_many")]
    pub times: Vec<Times>,
    /// The clock that they are read from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub zone: Zone,
}

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// A time of some days: `"mon-fri 08:00-18:00"`, `"sat,sun 00:00-24:00"`. One whose end is not behind its beginning
/// lasts into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Days on which it begins, Monday in the lowest bit.
    days: u8,
    /// Minutes after midnight.
    from: u16,
    /// Minutes after midnight, up to 24:00, which it does not hold.
    to: u16,
}

impl Times {
    /// Whether it holds a minute of a day, counted from Monday.
    pub fn holds(&self, weekday: u8, minute: u16) -> bool {
        let begins = |day: u8| self.days & 1 << (day % 7) != 0;
        if self.from < self.to {
            return begins(weekday) && (self.from..self.to).contains(&minute);
        }
        begins(weekday) && minute >= self.from || begins(weekday + 6) && minute < self.to
    }
}

impl Schedule {
    /// Whether it holds a second since 1970 of its own clock.
    pub fn holds(&self, second: i64) -> bool {
        let (day, second) = (second.div_euclid(86_400), second.rem_euclid(86_400));
        // The first of 1970 was a Thursday. Both remainders are small and not negative.
        let (weekday, minute) = ((day + 3).rem_euclid(7) as u8, (second / 60) as u16);
        self.times.iter().any(|times| times.holds(weekday, minute))
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl FromStr for Times {
    type Err = String;

    fn from_str(text: &str) -> Result<Times, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no time of days: write \"mon-fri 08:00-18:00\", \"sat,sun 00:00-24:00\" or \"daily 22:00-06:00\""
            )
        };
        let (days, times) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let (from, to) = times.trim().split_once('-').ok_or_else(wrong)?;
        let (from, to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)?);
        let mut bits = 0u8;
        for part in days.split(',') {
            bits |= days_of(part).ok_or_else(wrong)?;
        }
        if from == DAY || from == to {
            return Err(format!("\"{text}\" holds nothing: a whole day is 00:00-24:00"));
        }
        Ok(Times { days: bits, from, to })
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}

fn days_of(text: &str) -> Option<u8> {
    if text == "daily" {
        return Some(0x7f);
    }
    let day = |name: &str| DAYS.iter().position(|known| *known == name);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first)?, day(last)?);
    let length = (last + 7 - first) % 7;
    Some((0..=length).fold(0, |bits, step| bits | 1 << ((first + step) % 7)))
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |day: &usize| self.days & 1 << *day != 0;
        let days: Vec<&str> = (0..7).filter(named).filter_map(|day| DAYS.get(day).copied()).collect();
        let days = if days.len() == 7 { "daily".to_owned() } else { days.join(",") };
        let (from, to) = (self.from, self.to);
        write!(f, "{days} {:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Times, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Rules that are asked before those of the tiers below, and before those without a tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// What happens to flows that none of its rules names; absent: the next tier is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Action>,
}

impl Config {
    /// The names of the rules that settings of tiers and groups stand for; they count behind those that are stated.
    pub fn implied_rules(&self) -> Vec<String> {
        let tiers = self.tiers.iter().filter(|tier| tier.default.is_some());
        let groups = self.groups.iter().filter(|group| group.isolated);
        let tiers = tiers.map(|tier| format!("tier {} default", tier.name));
        tiers.chain(groups.map(|group| format!("group {} isolated", group.name))).collect()
    }

    pub(super) fn check_segments(&self, problems: &mut Problems) {
        for (kind, count, max) in [
            ("services", self.services.len(), SERVICES_MAX),
            ("schedules", self.schedules.len(), SCHEDULES_MAX),
            ("tiers", self.tiers.len(), TIERS_MAX),
        ] {
            problems.unless(count <= max, || format!("{count} {kind} are more than the {max} a daemon takes"));
        }
        unique("service", self.services.iter().map(|service| service.name.as_str()), problems);
        unique("schedule", self.schedules.iter().map(|schedule| schedule.name.as_str()), problems);
        unique("tier", self.tiers.iter().map(|tier| tier.name.as_str()), problems);
        let counted = |count: usize| (1..=ENTRIES_MAX).contains(&count);
        for service in &self.services {
            problems.unless(counted(service.entries.len()), || {
                format!(
                    "service {}: it needs 1 to {ENTRIES_MAX} entries, each a protocol with ports or types",
                    service.name
                )
            });
        }
        for schedule in &self.schedules {
            problems.unless(counted(schedule.times.len()), || {
                format!("schedule {}: it needs 1 to {ENTRIES_MAX} times, as in \"mon-fri 08:00-18:00\"", schedule.name)
            });
        }
        self.check_segments_of_rules(problems);
    }

    fn check_segments_of_rules(&self, problems: &mut Problems) {
        let services: HashSet<&str> = self.services.iter().map(|service| service.name.as_str()).collect();
        let schedules: HashSet<&str> = self.schedules.iter().map(|schedule| schedule.name.as_str()).collect();
        let tiers: HashSet<&str> = self.tiers.iter().map(|tier| tier.name.as_str()).collect();
        for rule in &self.rules {
            let object = format!("rule {}", rule.name);
            for service in rule.services.iter().filter(|name| !services.contains(name.as_str())) {
                problems.add(format!("{object}: there is no service \"{service}\"; add a [[service]] of that name"));
            }
            for (kind, named, known) in [("schedule", &rule.schedule, &schedules), ("tier", &rule.tier, &tiers)] {
                let unknown = named.as_ref().filter(|name| !known.contains(name.as_str()));
                if let Some(name) = unknown {
                    problems.add(format!("{object}: there is no {kind} \"{name}\"; add a [[{kind}]] of that name"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, weekday: u8, hour: u16, minute: u16) -> bool {
        text.parse::<Times>().expect("parses").holds(weekday, hour * 60 + minute)
    }

    #[test]
    fn times_hold_their_days_up_to_the_minute() {
        let office = "mon-fri 08:00-18:00";
        assert!(holds(office, 0, 8, 0) && holds(office, 4, 17, 59));
        assert!(!holds(office, 0, 7, 59) && !holds(office, 4, 18, 0) && !holds(office, 5, 12, 0));
        let weekend = "sat,sun 00:00-24:00";
        assert!(holds(weekend, 5, 0, 0) && holds(weekend, 6, 23, 59) && !holds(weekend, 0, 0, 0));
        // Into the next day, also over the end of the week.
        let night = "sun 22:00-06:00";
        assert!(holds(night, 6, 22, 0) && holds(night, 0, 5, 59));
        assert!(!holds(night, 6, 5, 0) && !holds(night, 0, 6, 0) && !holds(night, 0, 22, 0));
        assert!(holds("fri-mon 00:00-24:00", 6, 1, 0) && !holds("fri-mon 00:00-24:00", 2, 1, 0));
    }

    #[test]
    fn times_are_printed_as_they_are_read() {
        for text in ["mon,tue,wed 08:00-18:30", "daily 00:00-24:00", "sun 22:00-06:00"] {
            assert_eq!(text.parse::<Times>().expect("parses").to_string(), text);
        }
        for wrong in
            ["", "mon", "mon 8:00-9:00", "mon 08:00-25:00", "mun 08:00-09:00", "mon 08:00-08:00", "mon 24:00-01:00"]
        {
            assert!(wrong.parse::<Times>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_schedule_reads_the_weekday_from_the_date() {
        // 2026-11-22 was a Sunday.
        let schedule = |text: &str| Schedule { times: vec![text.parse().expect("parses")], ..Schedule::default() };
        let noon = 1_795_348_800;
        assert!(schedule("sun 12:00-12:01").holds(noon));
        assert!(!schedule("sun 12:01-24:00").holds(noon) && schedule("sun 12:01-24:00").holds(noon + 60));
        assert!(schedule("thu 00:00-00:01").holds(0) && schedule("wed 23:59-24:00").holds(-1));
    }

    #[test]
    fn unknown_names_and_empty_objects_are_told() {
        let text = r#"
            service = [{ name = "web", entries = [] }]
            schedule = [{ name = "never", times = [] }]
            tier = [{ name = "site" }, { name = "site" }]
            rule = [{ name = "r", action = "next", services = "dns", schedule = "lunch", tier = "tenant" }]
        "#;
        let problems = Config::parse(text).expect("parses").check().expect_err("makes no sense");
        for wanted in [
            "service web: it needs 1 to 256 entries",
            "schedule never: it needs 1 to 256 times",
            "tier site is there twice",
            "rule r: there is no service \"dns\"",
            "rule r: there is no schedule \"lunch\"",
            "rule r: there is no tier \"tenant\"",
        ] {
            assert!(problems.iter().any(|problem| problem.contains(wanted)), "{wanted}: {problems:#?}");
        }
        assert_eq!(problems.len(), 6);
        let wrong = Config::parse("schedule = [{ name = \"x\", times = \"someday\" }]").expect_err("no time");
        assert!(wrong.0.contains("mon-fri 08:00-18:00"), "{wrong}");
    }
}
