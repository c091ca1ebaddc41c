//! Scenarios: what is sent, through what, and what must come out. Data, one TOML file each.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Failure;
use super::captures::Said;
use super::edge::Edge;
use super::guests::{FLOWS_MAX, FRAME_MAX, IMIX};
use crate::foreign;

/// The longest super-segment: 64 KiB of IP.
const SUPER_MAX: usize = 65_535 + 14;

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// How many frames arrive when as many as possible are sent.
    #[default]
    Rate,
    /// The highest rate at which none is lost (RFC 2544, 26.1), or no more than [`Scenario::loss`].
    NoLoss,
    /// The longest burst of which none is lost, sent as fast as rings take it (RFC 2544, 26.4).
    BackToBack,
    /// How many of so many addresses (`flows`), shown at a rate, the switch knows afterwards: frames to those that it does not
    /// know reach a third guest too (RFC 2889, 5.7 and 5.8).
    Addresses,
    /// How long frames take at a given rate.
    Latency,
    /// How many new flows a second: each frame opens one, and none comes twice.
    NewFlows,
    /// How many bits a second the hosts' own TCP carries, with as large segments as it likes.
    Stream,
    /// How much of the host's CPU time the switch takes for a gigabit a second of conversations.
    Mix,
    /// What the switch uses of its core when nobody sends.
    Idle,
    /// How many frames workers forward in the time that they have packets: two pairs of guests on two switches send bursts.
    Bursts,
    /// How many bits an engine inspects in a second of CPU time, of a capture.
    Capture,
    /// How long a change of the configuration keeps packets waiting, at a given rate.
    Change,
}

/// What is changed while frames pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// The policy: one rule more.
    #[default]
    Policy,
    /// The rule set of the inspection: one rule more.
    RuleSet,
    /// A tenth of the router's routes go to another gateway.
    Routes,
}

/// What joins the guests to the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ports {
    /// vhost-user sockets.
    #[default]
    VhostUser,
    /// TAP devices in the namespaces of two hosts.
    Tap,
    /// Pairs of virtual Ethernet devices, whose far ends two hosts have.
    Veth,
    /// The first host has the far end of a pair of virtual Ethernet devices, the second a TAP device.
    VethTap,
    /// As of `veth`, but between the two devices stands a guest with two vhost-user cards, each on a switch with one device
    /// ("PVP"), which forwards what one card gets by the other.
    VethGuest,
}

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: the file's.
    #[serde(skip)]
    pub name: String,
    /// One line for people.
    pub about: String,
    /// What is measured.
    #[serde(default)]
    pub kind: Kind,
    /// What joins the guests to the switch.
    #[serde(default)]
    pub ports: Ports,
    /// Bytes of a frame, without the frame check sequence; of a stream: of the largest that a link carries. More than 9014: of
    /// a super-segment.
    pub frame: usize,
    /// Frames of several lengths, as on the Internet: 7 of 60 bytes to 4 of 590 and one of 1514.
    #[serde(default)]
    pub imix: bool,
    /// Flows; frames go round them. Of new flows: so many that no trial comes round. Of streams: connections; of a mix:
    /// conversations at a time.
    pub flows: u32,
    /// Both guests send.
    #[serde(default)]
    pub both_ways: bool,
    /// Rules of the policy before the one that lets the traffic through.
    #[serde(default)]
    pub rules: u32,
    /// A router between the guests; absent: a switch.
    #[serde(default)]
    pub edge: Option<Edge>,
    /// Routes of the router, for addresses that nobody sends to.
    #[serde(default)]
    pub routes: u32,
    /// What a change changes.
    #[serde(default)]
    pub change: Changed,
    /// What is said in the capture, for `capture`.
    #[serde(default)]
    pub capture: Option<Said>,
    /// Rule set for inspection: "starter".
    #[serde(default)]
    pub inspect: Option<String>,
    /// Inspect with rules of others, as a site that has the guests' nets: none come along ([`crate::foreign`]).
    #[serde(default)]
    pub foreign: bool,
    /// Files of rules to inspect with instead.
    #[serde(skip)]
    pub rule_files: Vec<PathBuf>,
    /// Guests on rings that are packed.
    #[serde(default)]
    pub packed: bool,
    /// Percent of the frames that may be lost, for `no-loss`.
    #[serde(default)]
    pub loss: f64,
    /// Frames a second and direction, for `latency`.
    #[serde(default)]
    pub rate: u64,
    /// For `latency`, in place of a rate: percent of the highest rate that this switch carries.
    #[serde(default)]
    pub load: u32,
    /// Let settled flows between our AF_XDP ports pass in the kernel.
    #[serde(default)]
    pub fast_path: bool,
    /// Our switch joins segments toward guests that take super-segments.
    #[serde(skip, default = "yes")]
    pub gro: bool,
    /// Never let the switch sleep.
    #[serde(default)]
    pub poll: bool,
    /// Guests; all but the first two are connected and silent.
    #[serde(default = "two")]
    pub guests: usize,
    /// Our switch's workers.
    #[serde(default = "one")]
    pub workers: usize,
    /// The most that our own figure may be: percent for `idle`, nanoseconds for `latency` and `change`; for `mix` the
    /// percent that inspection adds.
    #[serde(default)]
    pub limit: Option<f64>,
    /// How many times the peers' figure is wanted.
    #[serde(default)]
    pub goals: Vec<Goal>,
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

/// What is wanted beside a peer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// The peer, with its profile: "ovs-dpdk:l2".
    pub peer: String,
    /// Our figure by its own, at least; for latency the other way round.
    pub ratio: f64,
}

impl Scenario {
    /// Reads one.
    ///
    /// # Errors
    /// Where the file cannot be read or says something impossible.
    pub fn read(path: &Path) -> Result<Scenario, Failure> {
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| at(&e))?;
        let mut scenario: Scenario = toml::from_str(&text).map_err(|e| at(&e))?;
        scenario.name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        scenario.check().map_err(|e| at(&e))?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), Failure> {
        let between_rings = self.ports == Ports::VhostUser && self.kind == Kind::Rate && self.edge.is_none();
        if !(60..=if between_rings { SUPER_MAX } else { FRAME_MAX }).contains(&self.frame) {
            return Err(format!("frame = {}: use 60 to 9014 bytes; rates of guests on rings: {SUPER_MAX}", self.frame));
        }
        let most = if self.kind == Kind::NewFlows { FLOWS_MAX } else { 4_000_000 };
        if !(1..=most).contains(&self.flows) {
            return Err(format!("flows = {}: use 1 to {most}", self.flows));
        }
        let measures_at = match self.kind {
            Kind::Latency => self.rate > 0 || (1..=100).contains(&self.load),
            Kind::Change => self.rate > 0,
            Kind::Rate
            | Kind::NoLoss
            | Kind::BackToBack
            | Kind::Addresses
            | Kind::NewFlows
            | Kind::Stream
            | Kind::Mix
            | Kind::Idle
            | Kind::Capture
            | Kind::Bursts => true,
        };
        if self.imix && (self.frame != 1514 || self.ports != Ports::VhostUser) {
            return Err("an imix has frames of up to 1514 bytes, between guests on rings".to_owned());
        }
        if !measures_at {
            return Err("latency and changes are measured at a rate: give one".to_owned());
        }
        if self.kind == Kind::Stream && (self.ports == Ports::VhostUser || self.flows > 64) {
            return Err("streams are of hosts behind a tap or veth, at most 64".to_owned());
        }
        if self.kind != Kind::Stream && matches!(self.ports, Ports::Tap | Ports::VethTap) {
            return Err("behind a tap streams are measured: kind = \"stream\"".to_owned());
        }
        if (self.kind == Kind::Capture) != self.capture.is_some() {
            return Err("kind = \"capture\" goes with capture = what is said in it".to_owned());
        }
        if self.foreign && self.inspect.is_none() {
            return Err("foreign rules inspect: give the set a name, inspect = \"site\"".to_owned());
        }
        self.check_change()?;
        let known = matches!(self.kind, Kind::Rate | Kind::Stream);
        if matches!(self.ports, Ports::Veth | Ports::VethGuest)
            && (!known || self.flows > 50_000 || self.edge.is_some())
        {
            return Err("between veths the rate or streams of at most 50000 flows are measured, on a switch".to_owned());
        }
        if self.kind == Kind::Bursts && self.guests != 4 {
            return Err("bursts are sent by two pairs of guests: write guests = 4".to_owned());
        }
        if self.kind == Kind::Addresses && (self.guests != 3 || self.rate == 0 || self.edge.is_some()) {
            return Err("addresses are shown at a rate to a switch with guests = 3".to_owned());
        }
        if !(0.0..=5.0).contains(&self.loss) {
            return Err(format!("loss = {}: use 0 to 5 percent", self.loss));
        }
        if self.packed && self.ports != Ports::VhostUser {
            return Err("packed rings are of guests on vhost-user".to_owned());
        }
        if !(2..=64).contains(&self.guests) {
            return Err(format!("guests = {}: use 2 to 64", self.guests));
        }
        Ok(())
    }

    /// What is changed must be there.
    fn check_change(&self) -> Result<(), Failure> {
        let there = match self.change {
            Changed::Policy => true,
            Changed::RuleSet => self.inspect.is_some(),
            Changed::Routes => self.routes > 0,
        };
        if !there || self.change != Changed::Policy && self.kind != Kind::Change {
            return Err("a change of rule sets needs one, of routes some, and kind = \"change\"".to_owned());
        }
        if self.routes > 100_000 || self.routes > 0 && self.edge.is_none() {
            return Err(format!("routes = {}: use up to 100000, with a router", self.routes));
        }
        Ok(())
    }

    /// Why it cannot be measured here; `None` where it can.
    pub fn missing(&self) -> Option<String> {
        let lacks = self.foreign && self.rule_files.is_empty();
        lacks.then(|| format!("skipped: name a file or folder of rules, {}=PATH", foreign::RULES))
    }

    /// Bytes of the largest frame that links carry: super-segments are cut to the usual ones.
    pub fn link(&self) -> usize {
        if self.frame > FRAME_MAX { 1514 } else { self.frame }
    }

    /// Bytes of a frame, in the mean.
    pub fn mean_frame(&self) -> f64 {
        if self.imix { IMIX.iter().sum::<usize>() as f64 / IMIX.len() as f64 } else { self.frame as f64 }
    }

    /// All in a folder, by name.
    ///
    /// # Errors
    /// As for [`Scenario::read`].
    pub fn all(folder: &Path) -> Result<Vec<Scenario>, Failure> {
        let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        paths.iter().map(|path| Scenario::read(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_that_come_along_can_be_read() {
        let all = Scenario::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap();
        assert!(all.len() >= 8, "{}", all.len());
        assert!(all.iter().all(|scenario| !scenario.about.is_empty()));
    }

    #[test]
    fn impossible_scenarios_are_refused() {
        let read = |text: &str| toml::from_str::<Scenario>(text).unwrap().check();
        assert!(read("about = \"x\"\nframe = 20\nflows = 1").is_err());
        assert!(read("about = \"x\"\nframe = 64\nflows = 0").is_err());
        assert!(read("about = \"x\"\nframe = 64\nflows = 5000000").is_err());
        assert!(read("about = \"x\"\nframe = 64\nflows = 5000000\nkind = \"new-flows\"").is_ok());
        assert!(read("about = \"x\"\nframe = 64\nflows = 1\nkind = \"latency\"").is_err());
        assert!(read("about = \"x\"\nframe = 64\nflows = 1\nkind = \"latency\"\nload = 101").is_err());
        assert!(read("about = \"x\"\nframe = 64\nflows = 1\nkind = \"latency\"\nload = 50").is_ok());
        assert!(read("about = \"x\"\nframe = 64\nflows = 1\nimix = true").is_err());
        assert!(read("about = \"x\"\nframe = 64\nflows = 1").is_ok());
        assert!(read("about = \"x\"\nframe = 64\nflows = 1\nforeign = true").is_err());
        assert!(read("about = \"x\"\nframe = 64\nflows = 1\nforeign = true\ninspect = \"site\"").is_ok());
        let change = "about = \"x\"\nframe = 60\nflows = 1\nkind = \"change\"\nrate = 1\n";
        assert!(read(change).is_ok());
        assert!(read(&format!("{change}change = \"rule-set\"")).is_err());
        assert!(read(&format!("{change}change = \"rule-set\"\ninspect = \"starter\"")).is_ok());
        assert!(read(&format!("{change}change = \"routes\"\nroutes = 5")).is_err());
        assert!(read(&format!("{change}change = \"routes\"\nroutes = 5\nedge = \"route\"")).is_ok());
        assert!(read("about = \"x\"\nframe = 1514\nflows = 1\nkind = \"capture\"").is_err());
        assert!(read("about = \"x\"\nframe = 1514\nflows = 1\nkind = \"capture\"\ncapture = \"web\"").is_ok());
        assert!(read("about = \"x\"\nframe = 1514\nflows = 1\nkind = \"stream\"").is_err());
        assert!(read("about = \"x\"\nframe = 1514\nflows = 1\nports = \"veth-tap\"").is_err());
        assert!(read("about = \"x\"\nframe = 1514\nflows = 1\nkind = \"stream\"\nports = \"tap\"").is_ok());
    }
}
