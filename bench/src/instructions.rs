//! Instructions that a packet costs, counted: the same number on any machine with the same compiler, however busy.
//!
//! Cachegrind (valgrind) runs `micro` twice with different numbers of steps; what the longer run did more is what the steps
//! cost, without what prepares them. `bench/instructions.toml` holds what they may cost, for one version of the compiler.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Steps of the shorter and of the longer run.
const STEPS: [u64; 2] = [24, 120];
/// How much more than recorded is taken for the same: memory is laid out differently from run to run.
const SLACK: f64 = 1.05;

/// What packets may cost.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The compiler's version, as "1.95.0".
    pub rustc: String,
    /// The cases.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// What a packet of one case costs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Name of the case, as `micro` has it.
    pub name: String,
    /// Instructions for each packet, copying it in included.
    pub instructions: f64,
}

impl Ledger {
    /// Reads a ledger.
    ///
    /// # Errors
    /// Where the file cannot be read or says something else.
    pub fn read(path: &Path) -> Result<Ledger, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Counts the same cases again with a `micro` that is built already.
    ///
    /// # Errors
    /// Where valgrind is missing, or a case gives a wrong answer.
    pub fn count_again(&self, micro: &Path, rustc: String) -> Result<Ledger, String> {
        let again = |case: &Case| Ok(Case { name: case.name.clone(), instructions: count(micro, &case.name)? });
        Ok(Ledger { rustc, cases: self.cases.iter().map(again).collect::<Result<_, String>>()? })
    }

    /// The cases that cost more than they may, one line each.
    pub fn exceeded_by(&self, now: &Ledger) -> Vec<String> {
        let pairs = self.cases.iter().filter_map(|case| Some((case, now.cases.iter().find(|c| c.name == case.name)?)));
        pairs
            .filter(|(may, does)| does.instructions > may.instructions * SLACK)
            .map(|(may, does)| {
                let more = 100.0 * (does.instructions / may.instructions - 1.0);
                let (name, may, does) = (&may.name, may.instructions, does.instructions);
                format!(
                    "\"{name}\" costs {does:.0} instructions a packet, {more:.0} % more than the {may:.0} of before"
                )
            })
            .collect()
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text =
            "# What a packet costs, in instructions of the test build, by the compiler named. A test compares.\n\
                        # After a change that is worth its price, or brings it down:\n\
                        #     cargo run -p weir-bench --bin instructions -- --update\n"
                .to_owned();
        text += &format!("rustc = \"{}\"\n", self.rustc);
        for Case { name, instructions } in &self.cases {
            text += &format!("\n[[case]]\nname = \"{name}\"\ninstructions = {instructions:.1}\n");
        }
        text
    }
}

/// The version of the compiler that the environment has.
///
/// # Errors
/// Where there is none.
pub fn compiler() -> Result<String, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(&rustc).arg("--version").output().map_err(|e| format!("{rustc}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split(' ').nth(1).map(str::to_owned).ok_or_else(|| format!("{rustc} --version says \"{}\"", text.trim()))
}

/// Instructions that a packet of a case costs.
fn count(micro: &Path, case: &str) -> Result<f64, String> {
    let mut runs = [(0, 0); 2];
    for (run, steps) in runs.iter_mut().zip(STEPS) {
        *run = counted(micro, case, steps)?;
    }
    let [(few, less), (many, more)] = runs;
    if many <= few {
        return Err(format!("\"{case}\" did no more in {} steps than in {}", STEPS[1], STEPS[0]));
    }
    Ok(more.saturating_sub(less) as f64 / (many - few) as f64)
}

/// Packets and instructions of a run.
fn counted(micro: &Path, case: &str, steps: u64) -> Result<(u64, u64), String> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(micro)
        .args([case, "--steps", &steps.to_string()])
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    let (said, counts) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let named = |line: &str| line.split_once('\t').filter(|(name, _)| *name == case)?.1.parse().ok();
    let packets = said.lines().find_map(named);
    // "==123== I   refs:      1,234,567", without "refs" from version 3.22 on.
    let instructions = counts.lines().find_map(|line| {
        let (_, rest) = line.split_once("== I ")?;
        rest.rsplit(' ').next()?.replace(',', "").parse().ok()
    });
    packets.zip(instructions).ok_or_else(|| format!("\"{case}\" under valgrind: {said}{counts}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(instructions: f64) -> Ledger {
        Ledger { rustc: "1.95.0".into(), cases: vec![Case { name: "x".into(), instructions }] }
    }

    #[test]
    fn what_costs_more_is_told_and_what_costs_a_little_more_is_not() {
        assert_eq!(ledger(100.0).exceeded_by(&ledger(104.0)), Vec::<String>::new());
        let told = ledger(100.0).exceeded_by(&ledger(120.0));
        assert_eq!(told, ["\"x\" costs 120 instructions a packet, 20 % more than the 100 of before"]);
    }

    #[test]
    fn a_ledger_is_read_as_it_was_written() {
        let written = ledger(123.4);
        assert_eq!(toml::from_str::<Ledger>(&written.text()).unwrap(), written);
    }
}
