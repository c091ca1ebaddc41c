//! The switches that are measured: ours, and peers from the distribution's packages, each on one core.

mod ovs;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Failure;
use super::configs::{RULE, RULE_FILES, Version, weir_config};
use super::hosts::{self, Hosts};
use super::scenario::{Changed, Kind as Measured, Ports, Scenario};

/// The core of the switch; the guests have the next one.
pub const SWITCH_CORE: usize = 0;
/// The core of the guests.
pub const GUEST_CORE: usize = 1;
/// Of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// What links carry that are not told otherwise.
pub(super) const MTU: usize = 1500;
/// How long a switch may take to start.
const START_WITHIN: Duration = Duration::from_secs(60);

/// A switch to be measured, with its profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Weir,
    /// DPDK's testpmd as a patch cable (`io`): the least a switch can do.
    Testpmd,
    /// Open vSwitch with DPDK.
    Ovs(OvsProfile),
    /// Ours without inspection.
    Plain,
    /// Ours with segments left as they come.
    NoGro,
    /// The kernel's bridge, stateful by nftables.
    Bridge,
    /// An engine that inspects captures.
    Suricata,
    /// A patch cable: by AF_XDP one that only moves descriptors, else our rings without a switch.
    Patch(Cable),
}

/// What a patch cable of ours is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// AF_XDP sockets.
    Xdp,
    /// vhost-user rings.
    Rings,
}

impl Cable {
    /// The program, beside the bench itself.
    fn program(self) -> PathBuf {
        let own = std::env::current_exe().unwrap_or_default();
        own.parent().unwrap_or(Path::new(".")).join(match self {
            Cable::Xdp => "xdp_patch",
            Cable::Rings => "ring_patch",
        })
    }
}

/// What Open vSwitch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OvsProfile {
    /// A learning switch.
    L2,
    /// The same, allowed to sleep for up to 100 µs between two looks at its ports.
    Sleepy,
    /// Connection tracking with the scenario's number of rules.
    Conntrack,
}

impl Kind {
    /// By the name that options and goals use.
    pub fn from_name(name: &str) -> Option<Kind> {
        match name {
            "weir" => Some(Kind::Weir),
            "weir:plain" => Some(Kind::Plain),
            "weir:no-gro" => Some(Kind::NoGro),
            "bridge:nft" => Some(Kind::Bridge),
            "xdp-patch" => Some(Kind::Patch(Cable::Xdp)),
            "ring-patch" => Some(Kind::Patch(Cable::Rings)),
            "suricata" => Some(Kind::Suricata),
            "testpmd" => Some(Kind::Testpmd),
            "ovs-dpdk" | "ovs-dpdk:l2" => Some(Kind::Ovs(OvsProfile::L2)),
            "ovs-dpdk:sleep" => Some(Kind::Ovs(OvsProfile::Sleepy)),
            "ovs-dpdk:ct" => Some(Kind::Ovs(OvsProfile::Conntrack)),
            _ => None,
        }
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Weir => "weir",
            Kind::Plain => "weir:plain",
            Kind::NoGro => "weir:no-gro",
            Kind::Bridge => "bridge:nft",
            Kind::Patch(Cable::Xdp) => "xdp-patch",
            Kind::Patch(Cable::Rings) => "ring-patch",
            Kind::Suricata => "suricata",
            Kind::Testpmd => "testpmd",
            Kind::Ovs(OvsProfile::L2) => "ovs-dpdk:l2",
            Kind::Ovs(OvsProfile::Sleepy) => "ovs-dpdk:sleep",
            Kind::Ovs(OvsProfile::Conntrack) => "ovs-dpdk:ct",
        }
    }

    /// Whether it is our switch, whatever it is told.
    fn is_ours(&self) -> bool {
        matches!(self, Kind::Weir | Kind::Plain | Kind::NoGro)
    }

    /// Whether it uses nothing while nobody sends, so that others can be measured meanwhile.
    pub fn sleeps(&self, scenario: &Scenario) -> bool {
        (self.is_ours() || *self == Kind::Bridge) && !scenario.poll
    }

    /// Why it cannot be measured here; `None` where it can.
    pub fn missing(&self) -> Option<String> {
        let (program, package) = match self {
            Kind::Weir | Kind::Plain | Kind::NoGro => return None,
            Kind::Patch(cable) => {
                let program = cable.program();
                return (!program.exists()).then(|| format!("{} is not built (bench/run does it)", program.display()));
            }
            Kind::Bridge => ("nft", "nftables"),
            Kind::Suricata => ("suricata", "suricata"),
            Kind::Testpmd => ("dpdk-testpmd", "dpdk"),
            Kind::Ovs(_) => (ovs::PROGRAM, "openvswitch-switch-dpdk"),
        };
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let there = std::env::split_paths(&paths).any(|folder| folder.join(program).exists());
        (!there).then(|| format!("{program} is not installed (Debian: apt-get install {package})"))
    }
}

/// DPDK's devices for the two ends of a pair.
const AF_XDP: [&str; 2] = ["net_af_xdp0,iface=s0", "net_af_xdp1,iface=s1"];

/// A switch that runs; stopped with its value.
#[derive(Debug)]
pub struct Switch {
    kind: Kind,
    folder: PathBuf,
    children: Vec<Child>,
    guests: usize,
    hosts: Option<Hosts>,
    binaries: PathBuf,
}

impl Switch {
    /// Starts it for a scenario and waits until its sockets are there.
    ///
    /// # Errors
    /// What it said, where it does not start.
    pub fn start(kind: &Kind, scenario: &Scenario, binaries: &Path) -> Result<Switch, Failure> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("weir-bench-{}-{number}", std::process::id()));
        // What an earlier switch left.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let hosts = if scenario.ports == Ports::VhostUser { None } else { Some(Hosts::new()?) };
        let mtu = scenario.link() - ETHERNET;
        let devices = match scenario.ports {
            Ports::VethTap => 1,
            Ports::Veth | Ports::VethGuest => 2,
            Ports::Tap if *kind == Kind::Bridge => 2,
            Ports::Tap | Ports::VhostUser => 0,
        };
        if let Some(hosts) = &hosts {
            hosts.wire(devices, mtu.max(MTU))?;
        }
        let guests = scenario.guests;
        let mut switch =
            Switch { kind: kind.clone(), folder, children: Vec::new(), guests, hosts, binaries: binaries.to_owned() };
        match kind {
            Kind::Weir => switch.start_weir(scenario, binaries)?,
            Kind::Plain => switch.start_weir(&Scenario { inspect: None, ..scenario.clone() }, binaries)?,
            Kind::NoGro => switch.start_weir(&Scenario { gro: false, ..scenario.clone() }, binaries)?,
            Kind::Bridge => {
                let hosts = switch.hosts.as_ref().ok_or("the kernel's bridge needs hosts behind devices")?;
                hosts.bridge(scenario.ports)?;
            }
            Kind::Suricata => return Err("suricata inspects captures and switches nothing".to_owned()),
            Kind::Testpmd => switch.start_testpmd(scenario)?,
            Kind::Patch(cable) => {
                let ends = match cable {
                    Cable::Xdp => hosts::ENDS.map(str::to_owned),
                    Cable::Rings => switch.sockets().map(|socket| socket.display().to_string()),
                };
                switch.spawn(&cable.program().display().to_string(), &ends)?;
            }
            Kind::Ovs(profile) => switch.start_ovs(*profile, scenario)?,
        }
        match &switch.hosts {
            Some(hosts) => {
                hosts.settle(mtu.max(MTU))?;
                if *kind != Kind::Bridge {
                    switch.wait_for_programs(devices)?;
                }
                if scenario.ports == Ports::VethGuest {
                    switch.wait_for_sockets()?;
                }
            }
            None => switch.wait_for_sockets()?,
        }
        Ok(switch)
    }

    /// Which switch it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Stops its processes where they are, so that others have its core.
    pub fn hold(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets its processes go on.
    pub fn let_go(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        for child in &self.children {
            // A process that has ended is found out by what does not come through.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// The sockets of the two guests that talk.
    pub fn sockets(&self) -> [PathBuf; 2] {
        [self.folder.join("v0"), self.folder.join("v1")]
    }

    /// The sockets of the guests that are silent.
    pub fn silent(&self) -> impl Iterator<Item = PathBuf> + use<> {
        {
            let folder = self.folder.clone();
            (2..self.guests).map(move |number| folder.join(format!("v{number}")))
        }
    }

    /// The hosts, where the ports are network devices.
    pub fn hosts(&self) -> Option<&Hosts> {
        self.hosts.as_ref()
    }

    /// Where our switch keeps its configuration and listens for commands.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// CPU time of the switch so far, all threads.
    pub fn cpu_time(&self) -> Duration {
        let Some(pid) = self.children.last().map(Child::id) else { return Duration::ZERO };
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
        let nanos = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    fn spawn(&mut self, program: &str, arguments: &[String]) -> Result<(), Failure> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.map_err(|e| format!("the log: {e}"))?;
        let error = log.try_clone().map_err(|e| e.to_string())?;
        // Peers on devices run where those are; ours is told.
        let mut command = match self.hosts.as_ref().filter(|_| !self.kind.is_ours()) {
            Some(hosts) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", hosts.middle(), "taskset"]);
                command
            }
            // Open vSwitch makes devices of fixed names: one in each namespace.
            None if matches!(self.kind, Kind::Ovs(_)) => {
                let mut command = Command::new("unshare");
                command.args(["--net", "taskset"]);
                command
            }
            None => Command::new("taskset"),
        };
        let child = command
            .args(["-c", &SWITCH_CORE.to_string(), program])
            .args(arguments)
            // Its input stays open for as long as it runs: testpmd ends at the end of it.
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(error)
            .envs(["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"].map(|name| (name, &self.folder)))
            .spawn()
            .map_err(|e| format!("{program}: {e}"))?;
        self.children.push(child);
        Ok(())
    }

    fn start_weir(&mut self, scenario: &Scenario, binaries: &Path) -> Result<(), Failure> {
        let config = |version| weir_config(scenario, &self.folder, self.hosts.as_ref(), version);
        let path = self.write("weir.toml", &config(Version::Before))?;
        if scenario.kind == Measured::Change {
            self.write("changed.toml", &config(Version::After))?;
        }
        if scenario.change == Changed::RuleSet {
            let set = scenario.inspect.as_deref().and_then(weir_ids_rules::builtin).unwrap_or_default();
            RULE_FILES.into_iter().zip([set, RULE]).try_for_each(|(name, rules)| self.write(name, rules).map(drop))?;
        }
        let mut arguments = vec![
            "run".to_owned(),
            "--config".to_owned(),
            path.display().to_string(),
            "--listen".to_owned(),
            format!("unix:{}", self.folder.join("control").display()),
            // The peers have theirs from there, too.
            "--huge-pages".to_owned(),
        ];
        if scenario.workers == 1 {
            arguments.extend(["--cpu".to_owned(), SWITCH_CORE.to_string()]);
        }
        if scenario.poll {
            arguments.push("--poll".to_owned());
        }
        self.spawn(&binaries.join("vswitchd").display().to_string(), &arguments)
    }

    /// Writes a file into its folder.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    fn start_testpmd(&mut self, scenario: &Scenario) -> Result<(), Failure> {
        let [a, b] = self.sockets().map(|socket| socket.display().to_string());
        let tso = u8::from(scenario.link() != scenario.frame);
        let rings = [format!("net_vhost0,iface={a},tso={tso}"), format!("net_vhost1,iface={b},tso={tso}")];
        let [first, second] = AF_XDP.map(str::to_owned);
        // Ports are patched two by two, in their order.
        let devices = match scenario.ports {
            Ports::VethGuest => {
                let [near, far] = rings;
                vec![first, near, far, second]
            }
            Ports::Veth | Ports::VethTap | Ports::Tap => vec![first, second],
            Ports::VhostUser => rings.to_vec(),
        };
        let devices: String = devices.iter().map(|device| format!("--vdev {device} ")).collect();
        let line = format!(
            "--lcores 0@{SWITCH_CORE},1@{SWITCH_CORE} --in-memory --no-pci --file-prefix weirbench -m 256 \
             {devices} -- --nb-cores=1 --forward-mode=io --auto-start \
             --rxd=1024 --txd=1024"
        );
        self.spawn("dpdk-testpmd", &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        let output = Command::new(program)
            .args(arguments)
            .envs(["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"].map(|name| (name, &self.folder)))
            .output()
            .map_err(|e| format!("{program}: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn shell(&self, line: &str) -> Result<(), Failure> {
        self.tool("sh", &["-c", line]).map(drop)
    }

    fn wait_for_sockets(&mut self) -> Result<(), Failure> {
        for socket in self.sockets().into_iter().chain(self.silent()) {
            self.wait_for(&socket)?;
        }
        Ok(())
    }

    /// Waits until the switch has attached its XDP programs to so many devices.
    fn wait_for_programs(&mut self, devices: usize) -> Result<(), Failure> {
        let end = Instant::now() + START_WITHIN;
        while !self.hosts.as_ref().is_some_and(|hosts| hosts.has_programs(devices)) {
            self.still_starts(end)?;
        }
        Ok(())
    }

    fn wait_for(&mut self, path: &Path) -> Result<(), Failure> {
        let end = Instant::now() + START_WITHIN;
        while !path.exists() {
            self.still_starts(end)?;
        }
        Ok(())
    }

    /// Waits a little; fails where the switch has ended, or the time has.
    fn still_starts(&mut self, end: Instant) -> Result<(), Failure> {
        let ended = self.children.iter_mut().any(|child| matches!(child.try_wait(), Ok(Some(_))));
        if ended || Instant::now() > end {
            return Err(format!("{} does not start: {}", self.kind.name(), self.log_end()));
        }
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    /// What ours has dropped and why, where it was anything and it answers.
    pub fn drops(&self) -> Option<String> {
        let control = format!("unix:{}", self.folder.join("control").display());
        let mut command = Command::new(self.binaries.join("vswitchctl"));
        let output = command.args(["--socket", &control, "--json", "stats"]).output().ok()?;
        let stats: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let drops = stats.get("drops")?.as_array()?;
        let lines = drops.iter().map(|drop| format!("{} {}", drop["count"], drop["name"]));
        Some(lines.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    }

    /// The last lines that it said.
    pub fn log_end(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(6)..].join(" | ")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.let_go();
        for child in self.children.iter_mut().rev() {
            if let Some(input) = child.stdin.as_mut() {
                // testpmd; whoever does not read it is ended below.
                let _ = input.write_all(b"quit\n");
            }
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let end = Instant::now() + Duration::from_secs(5);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
