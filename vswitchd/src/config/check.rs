//! Whether a desired state makes sense as a whole: names, references, bounds. Every problem is found, each is told with
//! its object and what to do about it.

use std::collections::{HashMap, HashSet};

use super::{Attachment, Config, Port, Rate, RuleSet, Share, Switch, Verb, Vlan, check_switching};

/// Switches at most.
pub const SWITCHES_MAX: usize = 1024;
/// Ports at most.
pub const PORTS_MAX: usize = 4096;
/// Rules at most.
pub const RULES_MAX: usize = 65536;
/// A name has at most this many characters.
const NAME_MAX: usize = 63;
/// Linux `IFNAMSIZ` without the ending zero.
const INTERFACE_MAX: usize = 15;
/// Linux `sun_path` without the ending zero.
const SOCKET_PATH_MAX: usize = 107;
/// Queue pairs of one port at most.
const QUEUES_MAX: u16 = 16;
/// The largest VLAN identifier that is not reserved (IEEE 802.1Q-2022, 9.6).
pub(super) const VID_MAX: u16 = 4094;

/// What is wrong, as it is found.
pub(super) struct Problems(Vec<String>);

impl Problems {
    pub(super) fn add(&mut self, text: String) {
        self.0.push(text);
    }

    pub(super) fn unless(&mut self, fine: bool, text: impl FnOnce() -> String) {
        if !fine {
            self.0.push(text());
        }
    }
}

impl Config {
    /// Checks the state as a whole.
    ///
    /// # Errors
    /// Every problem, one line each.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut problems = Problems(Vec::new());
        self.check_counts(&mut problems);
        unique("switch", self.switches.iter().map(|s| s.name.as_str()), &mut problems);
        unique("port", self.ports.iter().map(|p| p.name.as_str()), &mut problems);
        unique("rule_set", self.rule_sets.iter().map(|s| s.name.as_str()), &mut problems);
        unique("rule", self.rules.iter().map(|r| r.name.as_str()), &mut problems);
        self.switches.iter().for_each(|s| self.check_switch(s, &mut problems));
        self.ports.iter().for_each(|p| self.check_port(p, &mut problems));
        self.check_groups(&mut problems);
        self.settings.detection.check(&mut problems);
        self.check_mirrors(&mut problems);
        self.check_routers(&mut problems);
        self.check_appliances(&mut problems);
        self.check_resources(&mut problems);
        self.rule_sets.iter().for_each(|s| check_rule_set(s, &mut problems));
        self.check_rules(&mut problems);
        self.check_segments(&mut problems);
        self.check_settings(&mut problems);
        self.check_content(&mut problems);
        self.check_virus(&mut problems);
        self.add_shadow_problems(&mut problems);
        self.check_workers(&mut problems);
        if problems.0.is_empty() { Ok(()) } else { Err(problems.0) }
    }

    fn check_counts(&self, problems: &mut Problems) {
        for (kind, count, max) in [
            ("switches", self.switches.len(), SWITCHES_MAX),
            ("ports", self.ports.len(), PORTS_MAX),
            ("rules", self.rules.len(), RULES_MAX),
        ] {
            problems.unless(count <= max, || format!("{count} {kind} are more than the {max} a daemon takes"));
        }
    }

    fn check_switch(&self, switch: &Switch, problems: &mut Problems) {
        let name = &switch.name;
        self.check_inspect(&format!("switch {name}"), switch.inspect.as_deref(), problems);
        problems.unless((10..=1_000_000).contains(&switch.ageing_s), || {
            format!("switch {name}: ageing_s = {} is outside 10 to 1000000 seconds", switch.ageing_s)
        });
        problems.unless((1..=1 << 20).contains(&switch.fdb_limit), || {
            format!("switch {name}: fdb_limit = {} is outside 1 to 1048576 addresses", switch.fdb_limit)
        });
        check_switching::check_switch(switch, problems);
        for entry in &switch.static_macs {
            match self.port(&entry.port) {
                Some(port) if port.switch == *name => {}
                Some(port) => problems.add(format!(
                    "switch {name}: static_macs: {} points to port {}, which is on switch {}",
                    entry.mac, entry.port, port.switch
                )),
                None => problems.add(format!(
                    "switch {name}: static_macs: {} points to port {}, which does not exist; add the port or take the \
                     address out",
                    entry.mac, entry.port
                )),
            }
            problems.unless(!entry.mac.0.is_multicast(), || {
                format!("switch {name}: static_macs: {} is a group address", entry.mac)
            });
            problems.unless(entry.vlan <= VID_MAX, || {
                format!("switch {name}: static_macs: VLAN {} is above {VID_MAX}", entry.vlan)
            });
        }
    }

    pub(super) fn check_inspect(&self, object: &str, rule_set: Option<&str>, problems: &mut Problems) {
        let Some(name) = rule_set.filter(|name| *name != "none") else { return };
        problems.unless(self.rule_set(name).is_some(), || {
            format!("{object}: inspect = \"{name}\": there is no such rule set; add a [[rule_set]] of that name")
        });
    }

    fn check_port(&self, port: &Port, problems: &mut Problems) {
        let name = &port.name;
        let on = self.switch(&port.switch).is_some() || self.appliance(&port.switch).is_some();
        problems.unless(on, || {
            format!("port {name}: there is no switch \"{}\"; add it first (vswitchctl switch add)", port.switch)
        });
        for group in &port.groups {
            check_name(&format!("port {name}: group"), group, problems);
        }
        check_switching::check_port(port, problems);
        if let Some(vlan) = &port.vlan {
            check_vlan(name, vlan, problems);
        }
        port.check_guard(problems);
        if let Some(rate) = &port.rate {
            check_rate(&format!("port {name}"), rate, problems);
        }
        if let Some(share) = &port.share {
            check_share(&format!("port {name}"), share, problems);
        }
        match port.attachment() {
            Ok(attachment) => check_attachment(name, attachment, problems),
            Err(given) if given.is_empty() => {
                problems.add(format!("port {name}: nothing is attached; give one of vhost_user, tap, xdp, pcap, mem"))
            }
            Err(given) => {
                problems.add(format!("port {name}: {} are given; a port has one attachment", given.join(" and ")));
            }
        }
    }

    fn check_resources(&self, problems: &mut Problems) {
        let mut taken: HashMap<String, &str> = HashMap::new();
        for port in &self.ports {
            let Some(resource) = port.attachment().ok().and_then(|a| a.resource()) else { continue };
            match taken.get(&resource) {
                Some(owner) => problems.add(format!("port {}: {resource} belongs to port {owner}", port.name)),
                None => drop(taken.insert(resource, &port.name)),
            }
        }
    }

    fn check_rules(&self, problems: &mut Problems) {
        let ports: HashSet<&str> = self.ports.iter().map(|p| p.name.as_str()).collect();
        for rule in &self.rules {
            let object = format!("rule {}", rule.name);
            self.check_inspect(&object, rule.inspect.as_deref(), problems);
            let trusts = !rule.trusted || rule.action == Verb::Allow && rule.inspect.is_none();
            problems.unless(trusts, || {
                format!("{object}: trusted is for what is allowed without inspection; allow, and leave inspect out")
            });
            let marks = rule.dscp.is_none_or(|_| rule.action == Verb::Allow);
            problems.unless(marks, || format!("{object}: dscp marks what is allowed; take it off, or allow"));
            for port in rule.from.ports.iter().chain(&rule.to.ports) {
                problems.unless(ports.contains(port.as_str()), || {
                    format!("{object}: there is no port \"{port}\"; rules may name groups before any port has them")
                });
            }
            for switch in &rule.switches {
                let known =
                    self.switch(switch).is_some() || self.router(switch).is_some() || self.appliance(switch).is_some();
                problems.unless(known, || format!("{object}: there is no switch, router or appliance \"{switch}\""));
            }
            for vlan in &rule.vlans {
                problems.unless(vlan.last <= VID_MAX, || format!("{object}: VLAN {vlan} is above {VID_MAX}"));
            }
        }
    }

    fn check_settings(&self, problems: &mut Problems) {
        self.settings.file_store.check(problems);
        let limits = &self.settings.limits;
        for (field, value, least, most) in [
            ("flows", u64::from(limits.flows), 1024, 1 << 26),
            ("stream_bytes", limits.stream_bytes, 1 << 20, 1 << 40),
            ("stream_bytes_per_flow", limits.stream_bytes_per_flow, 1 << 12, 1 << 32),
            ("fragments", u64::from(limits.fragments), 16, 1 << 20),
            ("events", u64::from(limits.events), 16, 1 << 20),
            ("frame_buffers", u64::from(limits.frame_buffers), 256, 1 << 24),
            ("super_buffers", u64::from(limits.super_buffers), 64, 1 << 20),
        ] {
            problems.unless((least..=most).contains(&value), || {
                format!("settings.limits: {field} = {value} is outside {least} to {most}")
            });
        }
    }
}

fn check_name(object: &str, name: &str, problems: &mut Problems) {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    problems.unless(starts && name.len() <= NAME_MAX && name.chars().all(fine), || {
        format!(
            "{object} \"{}\": a name is 1 to {NAME_MAX} letters, digits, '-', '_' and '.', and begins with a letter or \
             digit",
            name.escape_default()
        )
    });
}

pub(super) fn unique<'a>(kind: &str, names: impl Iterator<Item = &'a str>, problems: &mut Problems) {
    let mut seen = HashSet::new();
    for name in names {
        check_name(kind, name, problems);
        problems.unless(seen.insert(name), || format!("{kind} {name} is there twice; names are unique"));
    }
}

fn check_vlan(port: &str, vlan: &Vlan, problems: &mut Problems) {
    let vids = vlan.access.iter().chain(&vlan.native).copied();
    let ranges = vlan.trunk.iter().flat_map(|r| [r.first, r.last]);
    for vid in vids.chain(ranges) {
        problems.unless((1..=VID_MAX).contains(&vid), || format!("port {port}: VLAN {vid} is outside 1 to {VID_MAX}"));
    }
    match (vlan.access, vlan.trunk.is_empty()) {
        (Some(_), false) => problems.add(format!("port {port}: vlan has both access and trunk; give one")),
        (None, true) if vlan.tunnel.is_some() => {}
        (None, true) => {
            problems.add(format!("port {port}: vlan is empty; give access, trunk or tunnel, or leave vlan out"))
        }
        (Some(_), true) => problems.unless(vlan.native.is_none(), || {
            format!("port {port}: native belongs to a trunk; on an access port all frames are of VLAN access")
        }),
        (None, false) => {}
    }
}

/// The least rate that is one, in bits a second.
const RATE_MIN: u64 = 8000;

pub(super) fn check_rate(object: &str, rate: &Rate, problems: &mut Problems) {
    for (field, bits) in [("in", rate.inward), ("out", rate.outward)] {
        problems.unless(bits.is_none_or(|bits| bits.0 >= RATE_MIN), || {
            format!("{object}: rate.{field} is below {RATE_MIN} bits a second; use \"down\" to close a port")
        });
    }
    let largest = rate.in_packets.max(rate.out_packets).max(rate.burst);
    problems.unless(largest <= 1 << 40, || format!("{object}: rate: {largest} is above 2^40"));
}

pub(super) fn check_share(object: &str, share: &Share, problems: &mut Problems) {
    problems.unless((1..=1000).contains(&share.weight), || {
        format!("{object}: share.weight = {} is outside 1 to 1000", share.weight)
    });
    if let (Some(guarantee), Some(peak)) = (share.guarantee, share.peak) {
        problems.unless(guarantee.0 <= peak.0, || {
            format!("{object}: share.guarantee {guarantee} is above share.peak {peak}")
        });
    }
}

fn check_attachment(port: &str, attachment: Attachment<'_>, problems: &mut Problems) {
    match attachment {
        Attachment::VhostUser(v) => {
            problems.unless(v.path.starts_with('/') && v.path.len() <= SOCKET_PATH_MAX, || {
                format!(
                    "port {port}: vhost_user.path \"{}\" must be absolute and at most {SOCKET_PATH_MAX} bytes long",
                    v.path
                )
            });
            check_queues(port, "vhost_user", v.queues, problems);
            check_mtu(port, "vhost_user", v.mtu, problems);
            problems.unless(v.socket_mode.is_none_or(|mode| mode <= 0o777), || {
                format!("port {port}: vhost_user.socket_mode is above 0o777; write it as octal, 0o660")
            });
        }
        Attachment::Tap(t) => {
            check_interface(port, "tap.name", &t.name, problems);
            check_queues(port, "tap", t.queues, problems);
            check_mtu(port, "tap", t.mtu, problems);
        }
        Attachment::Xdp(x) => {
            check_interface(port, "xdp.interface", &x.interface, problems);
            problems.unless(x.queues.is_none_or(|n| n > 0), || format!("port {port}: xdp.queues is 0"));
        }
        Attachment::Uplink(u) => check_interface(port, "uplink.interface", &u.interface, problems),
        Attachment::Pcap(p) => {
            let paths = [&p.read, &p.write];
            problems.unless(paths.iter().any(|path| path.is_some()), || {
                format!("port {port}: pcap needs read, write or both")
            });
            for path in paths.into_iter().flatten() {
                problems
                    .unless(path.starts_with('/'), || format!("port {port}: pcap file \"{path}\" must be absolute"));
            }
        }
        Attachment::Mem(_) => {}
    }
}

fn check_interface(port: &str, field: &str, name: &str, problems: &mut Problems) {
    let fine = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '%' | ':');
    problems.unless((1..=INTERFACE_MAX).contains(&name.len()) && name.chars().all(fine), || {
        format!("port {port}: {field} \"{name}\" is no interface name: 1 to {INTERFACE_MAX} characters without / : %")
    });
}

fn check_queues(port: &str, field: &str, queues: u16, problems: &mut Problems) {
    problems.unless((1..=QUEUES_MAX).contains(&queues), || {
        format!("port {port}: {field}.queues = {queues} is outside 1 to {QUEUES_MAX}")
    });
}

fn check_mtu(port: &str, field: &str, mtu: Option<u16>, problems: &mut Problems) {
    // RFC 791: every link carries 68 bytes.
    problems.unless(mtu.is_none_or(|mtu| mtu >= 68), || format!("port {port}: {field}.mtu is below 68"));
}

fn check_rule_set(set: &RuleSet, problems: &mut Problems) {
    let name = &set.name;
    problems.unless(name != "none", || "rule_set none: the name stands for \"no inspection\"; choose another".into());
    let sources =
        usize::from(set.builtin.is_some()) + usize::from(!set.files.is_empty()) + usize::from(set.text.is_some());
    problems.unless(sources == 1, || format!("rule_set {name}: give one of builtin, files and text"));
    for file in &set.files {
        problems.unless(file.starts_with('/'), || format!("rule_set {name}: file \"{file}\" must be absolute"));
    }
}
