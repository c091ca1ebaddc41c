//! A candidate policy beside the live one, as it is wanted.

use serde::{Deserialize, Serialize};

use super::check::Problems;
use super::{Config, Rule};

/// Flows that a report lists at most.
pub const SHADOW_FLOWS_MAX: u32 = 65_536;

/// Rules that are asked wherever the live ones are, without effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// Flows that its report lists at most.
    #[serde(default = "default_flows")]
    pub flows: u32,
    /// All rules of the candidate, in the place of all live ones.
    #[serde(default, rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// Flows that a report lists where nobody says how many.
pub fn default_flows() -> u32 {
    4096
}

impl Config {
    /// The state as it were with the candidate's rules for its own.
    pub fn as_shadowed(&self, shadow: &Shadow) -> Config {
        // Large lists that rules do not ask for are left out.
        let content = super::Content::default();
        Config { rules: shadow.rules.clone(), shadow: None, content, ..self.clone() }
    }

    /// What is wrong with the candidate, and with nothing else.
    pub fn check_shadow(&self) -> Vec<String> {
        let Some(shadow) = &self.shadow else { return Vec::new() };
        let mut found = Vec::new();
        if !(1..=SHADOW_FLOWS_MAX).contains(&shadow.flows) {
            found.push(format!("shadow: flows = {} is outside 1 to {SHADOW_FLOWS_MAX}", shadow.flows));
        }
        let problems = |state: Config| state.check().err().unwrap_or_default();
        let candidate = problems(self.as_shadowed(shadow));
        if !candidate.is_empty() {
            let others = problems(self.as_shadowed(&Shadow { flows: shadow.flows, rules: Vec::new() }));
            let own = candidate.into_iter().filter(|problem| !others.contains(problem));
            found.extend(own.map(|problem| format!("shadow: {problem}")));
        }
        found
    }

    pub(super) fn add_shadow_problems(&self, problems: &mut Problems) {
        self.check_shadow().into_iter().for_each(|problem| problems.add(problem));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "switch = [{ name = \"lan\" }]\nport = [{ name = \"a\", switch = \"lan\", mem = {} }]\n";

    fn problems(text: &str) -> Vec<String> {
        Config::parse(&format!("{STATE}{text}")).expect("parses").check().err().unwrap_or_default()
    }

    #[test]
    fn a_candidate_is_checked_as_the_policy_is_and_told_apart() {
        let rule =
            |port: &str| format!("[[shadow.rule]]\nname = \"x\"\naction = \"drop\"\nfrom = {{ ports = \"{port}\" }}\n");
        assert_eq!(problems(&rule("a")), [""; 0]);
        let wrong = problems(&rule("b"));
        assert!(wrong.len() == 1 && wrong[0].starts_with("shadow: rule x: there is no port"), "{wrong:?}");
        let both = problems(&format!("{}[[rule]]\nname = \"x\"\naction = \"drop\"\ntier = \"none\"\n", rule("b")));
        assert_eq!(both.len(), 2, "{both:?}");
        assert!(problems("[shadow]\nflows = 0\n")[0].contains("outside 1 to"));
    }

    #[test]
    fn a_candidate_is_written_as_it_is_read() {
        let text = format!("{STATE}[shadow]\n[[shadow.rule]]\nname = \"x\"\naction = \"drop\"\n");
        let state = Config::parse(&text).expect("parses");
        assert_eq!(state.shadow.as_ref().map(|shadow| (shadow.flows, shadow.rules.len())), Some((4096, 1)));
        assert_eq!(Config::parse(&state.to_toml().expect("prints")).expect("parses"), state);
    }
}
