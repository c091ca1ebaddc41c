//! Appliances as they are wanted.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_fabric::appliance::Probing;
use weir_fabric::appliance::probe::INTERVAL_MIN;

use super::check::{Problems, VID_MAX, unique};
use super::rule::Action;
use super::settings::OnFailure;
use super::values::one_or_many;
use super::{Attachment, Config, is_default};

/// Appliances at most.
pub const APPLIANCES_MAX: usize = weir_fabric::appliance::APPLIANCES_MAX;

/// The guard as a device between ports or switches. Exactly one of `wire`, `inline`, `hairpin` and `listen` is given.
/// Ports of an appliance name it as their switch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appliance {
    /// Its name; no switch and no router has it.
    pub name: String,
    /// Two ports between which it is a piece of cable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wire: Vec<String>,
    /// Two switches that it joins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inline: Vec<String>,
    /// A port that frames leave by the way they came, with another VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<Hairpin>,
    /// Ports that copies come in by. Nothing leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub listen: Vec<String>,
    /// What happens to flows no rule names.
    #[serde(default)]
    pub default: Action,
    /// Rule set for flows whose rule names none; absent: nothing is inspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect: Option<String>,
    /// What cannot be judged for want of room: dropped (closed) or let pass (open).
    #[serde(default, skip_serializing_if = "is_default")]
    pub fail: OnFailure,
    /// Everything passes unseen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bypass: bool,
    /// Nothing passes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub down: bool,
    /// Probes that pass it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probe: Probe,
}

/// Probes of an appliance: packets of our own that come in by one end and are to come out by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// Milliseconds between two, 10 at least; 0: none.
    pub interval_ms: u32,
    /// Those that the guard comes to later than so many milliseconds are missed.
    pub within_ms: u32,
    /// So many missed in a row are a failure, and so many answered in a row its end.
    pub misses: u32,
}

impl Default for Probe {
    fn default() -> Probe {
        let Probing { interval, within, misses } = Probing::default();
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Probe { interval_ms: ms(interval), within_ms: ms(within), misses }
    }
}

/// A port and its pairs of VLANs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hairpin {
    /// The port.
    pub port: String,
    /// What comes with the first of a pair leaves with the second, and back.
    pub vlans: Vec<[u16; 2]>,
}

impl Probe {
    fn check(&self, object: &str, problems: &mut Problems) {
        let least = INTERVAL_MIN.as_millis();
        let is_often = self.interval_ms != 0 && u128::from(self.interval_ms) < least;
        problems.unless(!is_often, || {
            format!("{object}: probe.interval_ms = {} is below {least}; 0 is for none", self.interval_ms)
        });
        problems.unless(self.within_ms > 0, || format!("{object}: probe.within_ms = 0 would be missed always"));
        problems.unless(self.misses > 0, || format!("{object}: probe.misses = 0; one miss is the least"));
    }
}

impl Appliance {
    /// The ports that belong to it.
    pub fn ports(&self) -> impl Iterator<Item = &str> {
        let hairpin = self.hairpin.iter().map(|hairpin| &hairpin.port);
        self.wire.iter().chain(hairpin).chain(&self.listen).map(String::as_str)
    }
}

impl Config {
    /// An appliance by name.
    pub fn appliance(&self, name: &str) -> Option<&Appliance> {
        self.appliances.iter().find(|a| a.name == name)
    }

    pub(super) fn check_appliances(&self, problems: &mut Problems) {
        problems.unless(self.appliances.len() <= APPLIANCES_MAX, || {
            format!("{} appliances are more than the {APPLIANCES_MAX} a daemon takes", self.appliances.len())
        });
        unique("appliance", self.appliances.iter().map(|a| a.name.as_str()), problems);
        for appliance in &self.appliances {
            let object = format!("appliance {}", appliance.name);
            let taken = self.switch(&appliance.name).is_some() || self.router(&appliance.name).is_some();
            problems.unless(!taken, || {
                format!("{object}: a switch or router has this name; rules could not tell them apart")
            });
            self.check_inspect(&object, appliance.inspect.as_deref(), problems);
            appliance.probe.check(&object, problems);
            let kinds = [
                !appliance.wire.is_empty(),
                !appliance.inline.is_empty(),
                appliance.hairpin.is_some(),
                !appliance.listen.is_empty(),
            ];
            let given = kinds.iter().filter(|given| **given).count();
            problems.unless(given == 1, || format!("{object}: give one of wire, inline, hairpin and listen"));
            self.check_arms(appliance, &object, problems);
        }
        self.check_rings(problems);
        for port in &self.ports {
            let Some(appliance) = self.appliance(&port.switch) else { continue };
            problems.unless(appliance.ports().any(|name| name == port.name), || {
                format!(
                    "port {}: it is on appliance {}, which does not name it; put it on a switch",
                    port.name, appliance.name
                )
            });
        }
    }

    fn check_arms(&self, appliance: &Appliance, object: &str, problems: &mut Problems) {
        let two = |list: &[String]| matches!(list, [a, b] if a != b);
        if !appliance.wire.is_empty() {
            problems.unless(two(&appliance.wire), || format!("{object}: a wire has two ports"));
        }
        if !appliance.inline.is_empty() {
            problems.unless(two(&appliance.inline), || format!("{object}: inline names two switches"));
            for name in appliance.inline.iter().filter(|name| self.switch(name).is_none()) {
                problems.add(format!("{object}: there is no switch \"{name}\""));
            }
        }
        for name in appliance.ports() {
            match self.port(name) {
                None => problems.add(format!("{object}: there is no port \"{name}\"; add it first")),
                Some(port) if port.switch != appliance.name => problems.add(format!(
                    "{object}: port {name} is on {}; set its switch to \"{}\"",
                    port.switch, appliance.name
                )),
                Some(port) => problems.unless(!matches!(port.attachment(), Ok(Attachment::Uplink(_))), || {
                    format!("{object}: port {name} is an uplink, which host and guests share; use xdp")
                }),
            }
        }
        if let Some(hairpin) = &appliance.hairpin {
            problems.unless(!hairpin.vlans.is_empty(), || format!("{object}: hairpin.vlans is empty; give pairs"));
            let mut seen = HashSet::new();
            for vid in hairpin.vlans.iter().flatten() {
                problems.unless((1..=VID_MAX).contains(vid), || {
                    format!("{object}: hairpin: VLAN {vid} is outside 1 to {VID_MAX}")
                });
                problems.unless(seen.insert(vid), || format!("{object}: hairpin: VLAN {vid} is there twice"));
            }
        }
    }

    /// Switches that appliances join must be no ring: what is sent to everybody would go round for ever.
    fn check_rings(&self, problems: &mut Problems) {
        let mut group: BTreeMap<&str, usize> =
            self.switches.iter().enumerate().map(|(number, switch)| (switch.name.as_str(), number)).collect();
        for appliance in &self.appliances {
            let [a, b] = appliance.inline.as_slice() else { continue };
            let (Some(&a), Some(&b)) = (group.get(a.as_str()), group.get(b.as_str())) else { continue };
            problems.unless(a != b || appliance.inline[0] == appliance.inline[1], || {
                format!(
                    "appliance {}: switches {} are joined already by other appliances; a ring of switches would carry \
                     broadcasts round for ever",
                    appliance.name,
                    appliance.inline.join(" and ")
                )
            });
            group.values_mut().filter(|number| **number == b).for_each(|number| *number = a);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
        switch = [{ name = "a" }, { name = "b" }, { name = "c" }]
        port = [{ name = "left", switch = "guard", mem = {} }, { name = "right", switch = "guard", mem = {} }]
    "#;

    fn check(more: &str) -> Vec<String> {
        let config = Config::parse(&format!("{BASE}\n{more}")).expect("parses");
        config.check().err().unwrap_or_default()
    }

    #[test]
    fn each_kind_of_appliance_is_accepted() {
        for arms in ["wire = [\"left\", \"right\"]", "listen = [\"left\", \"right\"]"] {
            assert_eq!(
                check(&format!("[[appliance]]\nname = \"guard\"\n{arms}\nfail = \"open\"\n")),
                [""; 0],
                "{arms}"
            );
        }
        let hairpin = "[[appliance]]\nname = \"guard\"\nhairpin = { port = \"left\", vlans = [[10, 20], [11, 21]] }\n";
        let text = BASE.replace(", { name = \"right\", switch = \"guard\", mem = {} }", "") + hairpin;
        Config::parse(&text).expect("parses").check().expect("makes sense");
        let chain = "[[appliance]]\nname = \"guard\"\nwire = [\"left\", \"right\"]\n\
                     [[appliance]]\nname = \"one\"\ninline = [\"a\", \"b\"]\n\
                     [[appliance]]\nname = \"two\"\ninline = [\"b\", \"c\"]\n";
        assert_eq!(check(chain), [""; 0]);
        let ring = format!("{chain}[[appliance]]\nname = \"three\"\ninline = [\"c\", \"a\"]\n");
        assert!(check(&ring)[0].contains("round for ever"), "{:?}", check(&ring));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for (text, part) in [
            ("name = \"guard\"", "give one of"),
            ("name = \"guard\"\nwire = [\"left\", \"left\"]", "two ports"),
            ("name = \"guard\"\nwire = [\"left\", \"nobody\"]", "there is no port"),
            ("name = \"a\"\nwire = [\"left\", \"right\"]", "has this name"),
            ("name = \"guard\"\ninline = [\"a\", \"d\"]", "there is no switch"),
            ("name = \"guard\"\nlisten = \"left\"", "which does not name it"),
            ("name = \"guard\"\nwire = [\"left\", \"right\"]\nprobe = { interval_ms = 5 }", "below 10"),
            ("name = \"guard\"\nwire = [\"left\", \"right\"]\nprobe = { misses = 0 }", "one miss is the least"),
            ("name = \"guard\"\nhairpin = { port = \"left\", vlans = [[10, 10]] }", "there twice"),
        ] {
            let problems = check(&format!("[[appliance]]\n{text}\n"));
            assert!(problems.iter().any(|problem| problem.contains(part)), "{text}: {problems:?}");
        }
    }
}
