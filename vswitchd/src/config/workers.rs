//! How many threads forward, where they run, and which networks stay with which of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Config;
use super::check::Problems;
use crate::worker::WORKERS_MAX;

/// Workers that "auto" makes at most.
const AUTO_MAX: usize = 16;

/// How many workers: a number, or "auto" for one for each CPU that the daemon may use, 16 at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// So many.
    Number(u16),
    /// As many as there are CPUs.
    Auto,
}

impl Default for Workers {
    fn default() -> Workers {
        Workers::Number(1)
    }
}

impl Workers {
    /// How many they are on this host.
    pub fn count(self) -> usize {
        match self {
            Workers::Number(number) => usize::from(number),
            Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from).min(AUTO_MAX),
        }
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Workers::Number(number) => serializer.serialize_u16(*number),
            Workers::Auto => serializer.serialize_str("auto"),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Workers, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Workers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a number from 1 to {WORKERS_MAX}, or \"auto\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Workers, E> {
                let fits = |number: &u16| (1..=WORKERS_MAX).contains(&usize::from(*number));
                let number = u16::try_from(number).ok().filter(fits);
                number
                    .map(Workers::Number)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Other("another number"), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Workers, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                match text {
                    "auto" => Ok(Workers::Auto),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Config {
    pub(super) fn check_workers(&self, problems: &mut Problems) {
        let settings = &self.settings;
        let count = settings.workers.count();
        problems.unless(settings.worker_cpus.len() <= WORKERS_MAX, || {
            format!("settings.worker_cpus: {} are more than {WORKERS_MAX}", settings.worker_cpus.len())
        });
        for (name, &worker) in &settings.worker_of {
            let known = self.switch(name).is_some() || self.router(name).is_some() || self.appliance(name).is_some();
            problems.unless(known, || {
                format!("settings.worker_of: there is no switch, router or appliance \"{name}\"; take it out")
            });
            problems.unless(usize::from(worker) < count, || {
                format!("settings.worker_of: {name} = {worker}: there are {count} workers, numbered from 0")
            });
        }
    }
}

/// The workers that networks are held to, by the name of something in them.
pub type WorkerOf = BTreeMap<String, u16>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_number_or_auto() {
        let of = |text: &str| Config::parse(text).map(|config| config.settings.workers);
        assert_eq!(of(""), Ok(Workers::Number(1)));
        assert_eq!(of("[settings]\nworkers = 4"), Ok(Workers::Number(4)));
        assert_eq!(of("[settings]\nworkers = \"auto\""), Ok(Workers::Auto));
        for wrong in ["0", "65", "-1", "\"all\"", "1.5"] {
            assert!(of(&format!("[settings]\nworkers = {wrong}")).is_err(), "{wrong}");
        }
        let config = Config::parse("[settings]\nworkers = \"auto\"\nworker_cpus = [1, 3]").expect("parses");
        assert_eq!(Config::parse(&config.to_toml().expect("prints")), Ok(config));
        assert!(Workers::Auto.count() >= 1);
    }

    #[test]
    fn only_what_is_there_can_be_held_to_a_worker_that_is_there() {
        let problems = |text: &str| Config::parse(text).expect("parses").check();
        let base = "switch = [{ name = \"lan\" }]\n[settings]\nworkers = 2\n";
        assert_eq!(problems(&format!("{base}worker_of = {{ lan = 1 }}")), Ok(()));
        assert!(problems(&format!("{base}worker_of = {{ lan = 2 }}")).is_err());
        assert!(problems(&format!("{base}worker_of = {{ wan = 1 }}")).is_err());
    }
}
