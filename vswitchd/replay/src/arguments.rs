//! The command line.

use std::ffi::OsString;
use std::iter::Peekable;
use std::path::PathBuf;

/// What `--help` says.
pub const HELP: &str = "\
usage: weir-replay --rules FILE... --pcap FILE --out DIRECTORY [options]
       weir-replay check --rules FILE... [--limit N] [--json] [options]
       weir-replay explain SID --rules FILE... [--json]
       weir-replay profile --rules FILE... --pcap FILE [--limit N] [--json] [options]

check tells which rules would be refused, and why; exit status 1 where there are such.
explain tells when a rule is judged, where it stands, what is searched for first and why, and what it may cost.
profile tells what the rules cost on a capture: checks, matches, steps of 64 bytes and time of each, dearest first.

  --rules FILE...      rule files; the option may be repeated
  --pcap FILE          capture: pcap or pcapng
  --out DIRECTORY      where eve.json is written; made when it is not there
  --mode ids|ips       ids (default): passive; ips: inline, packets can be dropped
  --conf FILE          options as JSON: an object \"options\" of names and values
  --set NAME=VALUE     one option; stands above those of --conf
  --lenient            go on without the rules that cannot be used
  --stats              print time, packets, bytes and memory at the end
  --repeat N           inspect the capture N times over (for measurements)
  --limit N            of profile: so many rules (20); of check: so many problems (100)
  --json               of check, explain and profile: JSON";

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Inspect a capture and write events.
    Replay,
    /// Say what is wrong with rules.
    Check,
    /// Explain the rule with this `sid`.
    Explain(u32),
    /// Measure what rules cost.
    Profile,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What is to be done.
    pub task: Task,
    /// Rules that a profile shows, or problems that a check does.
    pub limit: usize,
    /// Answers are JSON.
    pub json: bool,
    /// Rule files.
    pub rules: Vec<PathBuf>,
    /// The capture.
    pub pcap: PathBuf,
    /// Where eve.json goes.
    pub out: PathBuf,
    /// Packets can be dropped.
    pub ips: bool,
    /// Options in a file.
    pub conf: Option<PathBuf>,
    /// Options by name.
    pub set: Vec<(String, String)>,
    /// Rules that cannot be used are left out.
    pub lenient: bool,
    /// Print figures at the end.
    pub stats: bool,
    /// How often the capture is inspected.
    pub repeat: u32,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To inspect a capture.
    Run(Arguments),
    /// To say how it is used.
    Help,
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// Where they cannot be understood; the text says why.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, String> {
    let mut rules = Vec::new();
    let (mut pcap, mut out, mut conf) = (None, None, None);
    let (mut set, mut ips, mut stats, mut lenient, mut repeat) = (Vec::new(), false, false, false, 1);
    let mut arguments = arguments.peekable();
    let task = task(&mut arguments)?;
    let (mut limit, mut json) = (if task == Task::Check { 100 } else { 20 }, false);
    while let Some(argument) = arguments.next() {
        let name = argument.to_string_lossy().into_owned();
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--help" | "-h" => return Ok(Parsed::Help),
            "--rules" => {
                rules.push(PathBuf::from(value()?));
                while let Some(more) = arguments.next_if(|next| !next.to_string_lossy().starts_with("--")) {
                    rules.push(PathBuf::from(more));
                }
            }
            "--pcap" => pcap = Some(PathBuf::from(value()?)),
            "--out" => out = Some(PathBuf::from(value()?)),
            "--conf" => conf = Some(PathBuf::from(value()?)),
            "--mode" => {
                ips = match value()?.to_string_lossy().as_ref() {
                    "ids" => false,
                    "ips" => true,
                    other => return Err(format!("--mode is ids or ips, not `{other}`")),
                }
            }
            "--set" => {
                let text = value()?.to_string_lossy().into_owned();
                let (key, value) = text.split_once('=').ok_or_else(|| format!("--set {text}: no `=` in it"))?;
                set.push((key.to_owned(), value.to_owned()));
            }
            "--repeat" => {
                let text = value()?.to_string_lossy().into_owned();
                repeat = text.parse().map_err(|_| format!("--repeat {text}: not a number"))?;
            }
            "--limit" => {
                let text = value()?.to_string_lossy().into_owned();
                limit = text.parse().map_err(|_| format!("--limit {text}: not a number"))?;
            }
            "--json" => json = true,
            "--stats" => stats = true,
            "--lenient" => lenient = true,
            other => return Err(format!("`{other}` is not an option")),
        }
    }
    let needed = |path: Option<PathBuf>, name: &str, is: bool| match path {
        None if is => Err(format!("{name} is missing")),
        path => Ok(path.unwrap_or_default()),
    };
    let pcap = needed(pcap, "--pcap", !matches!(task, Task::Explain(_) | Task::Check))?;
    let out = needed(out, "--out", task == Task::Replay)?;
    // What cannot be used says nothing about the others.
    let lenient = lenient || task != Task::Replay;
    Ok(Parsed::Run(Arguments { task, limit, json, rules, pcap, out, ips, conf, set, lenient, stats, repeat }))
}

/// The task, where the first word names one.
fn task(arguments: &mut Peekable<impl Iterator<Item = OsString>>) -> Result<Task, String> {
    if arguments.next_if(|word| word == "profile").is_some() {
        return Ok(Task::Profile);
    }
    if arguments.next_if(|word| word == "check").is_some() {
        return Ok(Task::Check);
    }
    if arguments.next_if(|word| word == "explain").is_none() {
        return Ok(Task::Replay);
    }
    let sid = arguments.next().ok_or("explain needs the sid of a rule")?.to_string_lossy().into_owned();
    sid.parse().map(Task::Explain).map_err(|_| format!("explain {sid}: the sid of a rule is a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Parsed, String> {
        parse(text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_whole_command_line_is_understood() {
        let text = "--rules a b --pcap c --out d --mode ips --set x.y=1 --set z=a=b --rules e --stats";
        let Ok(Parsed::Run(arguments)) = parsed(text) else { panic!() };
        assert_eq!(arguments.rules, ["a", "b", "e"].map(PathBuf::from));
        assert_eq!(arguments.set[1], ("z".to_owned(), "a=b".to_owned()));
        assert!(arguments.ips && arguments.stats && arguments.conf.is_none());
        assert_eq!(arguments.task, Task::Replay);
    }

    #[test]
    fn check_explain_and_profile_need_less() {
        let Ok(Parsed::Run(arguments)) = parsed("check --rules a --json") else { panic!() };
        assert_eq!((arguments.task, arguments.limit, arguments.json), (Task::Check, 100, true));
        let Ok(Parsed::Run(arguments)) = parsed("explain 7 --rules a --json") else { panic!() };
        assert_eq!((arguments.task, arguments.json, arguments.lenient), (Task::Explain(7), true, true));
        let Ok(Parsed::Run(arguments)) = parsed("profile --rules a --pcap c --limit 3") else { panic!() };
        assert_eq!((arguments.task, arguments.limit), (Task::Profile, 3));
        assert_eq!(parsed("explain x"), Err("explain x: the sid of a rule is a number".to_owned()));
        assert_eq!(parsed("profile --rules a"), Err("--pcap is missing".to_owned()));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        for (text, wanted) in [
            ("--out d", "--pcap is missing"),
            ("--pcap c --out d --mode x", "--mode is ids or ips, not `x`"),
            ("--pcap", "--pcap needs a value"),
            ("--set x", "--set x: no `=` in it"),
            ("--nonsense", "`--nonsense` is not an option"),
        ] {
            assert_eq!(parsed(text), Err(wanted.to_owned()));
        }
    }
}
