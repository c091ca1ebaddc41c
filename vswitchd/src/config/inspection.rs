//! What inspection may cost.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir_filter::spec;

use super::settings::OnFailure;

/// A share in percent: `"3%"` or `"0.5%"`, above 0 and at most 6400.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(f64);

/// Of what a share is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whole {
    /// All cores of the host.
    #[default]
    Host,
    /// One core.
    Core,
}

/// What inspection may cost, and what is given up beyond.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inspection {
    /// Processor time for inspection; absent: whatever it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_budget: Option<Percent>,
    /// Of what the budget is a share.
    pub of: Whole,
    /// Flows that have carried more bytes than this without an alert are given up first.
    pub elephant_bytes: u64,
    /// Then flows that have carried more than this.
    pub short_depth: u64,
    /// Then all but one of so many new flows.
    pub sample: u32,
    /// What becomes of what cannot be paid for, unless its rule says otherwise.
    pub beyond: OnFailure,
}

impl Default for Inspection {
    fn default() -> Inspection {
        Inspection {
            cpu_budget: None,
            of: Whole::Host,
            elephant_bytes: 1 << 20,
            short_depth: 64 << 10,
            sample: 8,
            beyond: OnFailure::Open,
        }
    }
}

impl Inspection {
    /// As the policy compiler takes it, on a host with so many cores.
    pub fn spec(&self, cores: usize) -> Option<spec::CpuBudget> {
        let Percent(percent) = self.cpu_budget?;
        let cores = if self.of == Whole::Host { cores.max(1) as f64 } else { 1.0 };
        Some(spec::CpuBudget {
            // A share of a second; the conversion saturates.
            ns_per_second: (percent * cores * 1e7) as u64,
            elephant_bytes: self.elephant_bytes,
            short_depth: self.short_depth,
            sample: self.sample.max(1),
            beyond: self.beyond.into(),
        })
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let number = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match number {
            Some(percent) if percent > 0.0 && percent <= 6400.0 => Ok(Percent(percent)),
            Some(_) | None => Err(format!("\"{text}\" is not a share above 0 % and at most 6400 %: write \"3%\"")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_of_a_core_or_of_all() {
        let of = |text: &str, cores| {
            let inspection: Inspection = toml::from_str(text).expect("settings");
            inspection.spec(cores).map(|terms| terms.ns_per_second)
        };
        assert_eq!(of("", 16), None);
        assert_eq!(of("cpu_budget = \"3%\"", 16), Some(480_000_000));
        assert_eq!(of("cpu_budget = \"3%\"\nof = \"core\"", 16), Some(30_000_000));
        assert_eq!(of("cpu_budget = \"0.5 %\"\nof = \"core\"", 1), Some(5_000_000));
    }

    #[test]
    fn what_is_no_share_is_refused_with_the_remedy() {
        for text in ["3", "0%", "-1%", "NaN%", "7000%", "three%"] {
            let error = text.parse::<Percent>().expect_err(text);
            assert!(error.contains("write \"3%\""), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let settings = Inspection { cpu_budget: Some(Percent(2.5)), of: Whole::Core, ..Inspection::default() };
        let text = toml::to_string(&settings).expect("text");
        assert_eq!(toml::from_str::<Inspection>(&text).expect("settings"), settings);
    }
}
