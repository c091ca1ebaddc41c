//! The README's table of figures, made from the records.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::Failure;
use super::scenario::{Kind, Scenario};

/// The lines between which the table stands in the README.
const MARKS: [&str; 2] = ["<!-- figures: made by bench/run --readme -->", "<!-- end of figures -->"];
/// The columns: a switch's name in the records, and its heading.
const PEERS: [(&str, &str); 10] = [
    ("testpmd", "testpmd io"),
    ("ovs-dpdk:l2", "OVS-DPDK"),
    ("ovs-dpdk:ct", "OVS-DPDK ct"),
    ("ovs-dpdk:sleep", "OVS-DPDK asleep"),
    ("bridge:nft", "bridge + nftables"),
    ("suricata", "Suricata"),
    ("xdp-patch", "AF_XDP patch"),
    ("ring-patch", "our rings alone"),
    ("weir:plain", "Weir without inspection"),
    ("weir:no-gro", "Weir without GRO"),
];

/// The last record of a scenario and switch.
#[derive(Clone, Debug)]
struct Last {
    commit: String,
    date: String,
    machine: String,
    median: f64,
    /// The switch's core and the guests' shared no cache.
    far: bool,
}

/// Writes the table into the README's text, from the records below `folder`.
///
/// # Errors
/// Where there are no records, or no place for the table.
pub fn put(readme: &str, folder: &Path, scenarios: &[Scenario]) -> Result<String, Failure> {
    let [begin, end] = MARKS;
    let (before, rest) = readme.split_once(begin).ok_or_else(|| format!("README.md has no line {begin}"))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| format!("README.md has no line {end}"))?;
    Ok(format!("{before}{begin}\n\n{}\n{end}{after}", table(folder, scenarios)?))
}

/// The table, with a line that says where the figures are from.
fn table(folder: &Path, scenarios: &[Scenario]) -> Result<String, Failure> {
    let records = records(folder)?;
    // A column for each peer that was measured beside one of them.
    let measured = |peer: &str| scenarios.iter().any(|s| records.contains_key(&(s.name.clone(), peer.to_owned())));
    let peers: Vec<_> = PEERS.into_iter().filter(|(peer, _)| measured(peer)).collect();
    let mut text = "| | Weir |".to_owned();
    peers.iter().for_each(|(_, heading)| text += &format!(" {heading} |"));
    text += "\n|---|--:|";
    peers.iter().for_each(|_| text += "--:|");
    text.push('\n');
    let mut sources = BTreeMap::new();
    for scenario in scenarios {
        let last = |switch: &str| records.get(&(scenario.name.clone(), switch.to_owned()));
        let Some(ours) = last("weir") else { continue };
        sources.insert((ours.date.clone(), ours.commit.clone()), ours.machine.clone());
        let far = if ours.far { "; cores far apart" } else { "" };
        let _ = write!(text, "| {}{far} | **{}** |", scenario.about, figure(scenario.kind, ours.median));
        for (peer, _) in &peers {
            match last(peer).filter(|theirs| (&theirs.date, &theirs.commit) == (&ours.date, &ours.commit)) {
                Some(theirs) => {
                    let ratio = super::run::better(scenario.kind, ours.median, theirs.median);
                    let ratio = if ratio.is_finite() { format!(" ({ratio:.2} ×)") } else { String::new() };
                    let _ = write!(text, " {}{ratio} |", figure(scenario.kind, theirs.median));
                }
                None => text += " |",
            }
        }
        text.push('\n');
    }
    let Some(machine) = sources.values().next_back() else { return Err("there is no record of ours".to_owned()) };
    let days: Vec<String> = sources.keys().map(|(date, commit)| format!("{date} at {commit}")).collect();
    let _ = write!(
        text,
        "\nOne switch core; in brackets how much better than the peer Weir is. Cores are far apart where the switch's and the \
         guests' share no cache (`bench/README.md`). {machine}; {}.\n",
        days.join(", ")
    );
    Ok(text)
}

fn figure(kind: Kind, median: f64) -> String {
    match kind {
        Kind::BackToBack => format!("{median:.0} frames"),
        Kind::Addresses => format!("{median:.0} addresses"),
        Kind::Rate | Kind::NoLoss | Kind::NewFlows | Kind::Bursts => format!("{:.2} Mpps", median / 1e6),
        Kind::Latency | Kind::Change => format!("{:.1} µs", median / 1e3),
        Kind::Stream | Kind::Capture => format!("{:.2} Gbit/s", median / 1e9),
        Kind::Mix => format!("{median:.2} % of the host"),
        Kind::Idle => format!("{median:.2} % of a core"),
    }
}

/// The last record of each scenario and switch.
fn records(folder: &Path) -> Result<BTreeMap<(String, String), Last>, Failure> {
    let at = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for host in fs::read_dir(folder).map_err(|e| at(folder, e))?.flatten() {
        let inside = fs::read_dir(host.path()).into_iter().flatten().flatten();
        files.extend(inside.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with("-switch.csv")));
    }
    // Their names begin with the day.
    files.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let mut records = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(|e| at(&path, e))?;
        for line in text.lines().skip(1) {
            let fields = fields(line);
            let [date, commit, machine, _, scenario, switch, median, more @ ..] = fields.as_slice() else { continue };
            let median = median.parse().map_err(|_| format!("{}: \"{median}\" is no number", path.display()))?;
            // Behind the extremes, the CPU time and two percentiles.
            let far = more.get(5).is_some_and(|cores| cores == "far");
            let last = Last { commit: commit.clone(), date: date.clone(), machine: machine.clone(), median, far };
            records.insert((scenario.clone(), switch.clone()), last);
        }
    }
    Ok(records)
}

/// The fields of a line, of which some stand in quotation marks.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match (c, fields.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => fields.push(String::new()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
    }

    #[test]
    fn the_readme_says_what_the_records_say() {
        let readme = fs::read_to_string(home().join("../README.md")).unwrap();
        let scenarios = Scenario::all(&home().join("scenarios")).unwrap();
        let made = put(&readme, &home().join("records"), &scenarios).unwrap();
        assert!(made == readme, "README.md is behind the records; run: bench/run --readme");
    }

    #[test]
    fn fields_in_quotation_marks_keep_their_commas() {
        assert_eq!(fields("a,\"b, c\",d"), ["a", "b, c", "d"]);
    }

    #[test]
    fn a_readme_without_a_place_for_the_table_is_refused() {
        assert!(put("# Weir\n", &home().join("records"), &[]).is_err());
    }
}
