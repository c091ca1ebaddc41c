//! What the lines of a trace do not know: of which groups both ends are, and what the state says of the rules that they
//! name.

use std::net::IpAddr;

use weir_wire::buffer::PoolLimits;
use weir_wire::{MacAddr, Offload, Packet, Pool, PortId};

use crate::config::{Config, Rule, Side};

/// One end of a packet, as far as groups ask for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct End<'a> {
    /// Its port by name, where it is known.
    pub port: Option<&'a str>,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its address.
    pub address: Option<IpAddr>,
}

/// The groups that an end belongs to, in order.
fn groups(config: &Config, end: &End<'_>) -> Vec<String> {
    let mut names: Vec<String> =
        end.port.and_then(|name| config.port(name)).map_or(Vec::new(), |port| port.groups.clone());
    for group in &config.groups {
        let members = config.members(group);
        let is_one = end.address.is_some_and(|address| members.addresses.iter().any(|net| net.contains(address)))
            || members.macs.contains(&end.mac)
            || end.port.is_some_and(|port| members.ports.iter().any(|member| member == port));
        if is_one {
            names.push(group.name.clone());
        }
    }
    names.sort();
    names.dedup();
    names
}

/// A line for each end of a frame that came in by `port` and would go to `to`, where it belongs to groups.
pub fn ends(config: &Config, frame: &[u8], port: &str, to: Option<&str>) -> Vec<String> {
    let mut pool = Pool::new(PoolLimits { frames: 1, supers: 1 });
    let Some(buffer) = pool.copy(frame) else { return Vec::new() };
    let mut packet = Packet::new(buffer, PortId(0), Offload::default());
    if packet.parse().is_err() {
        return Vec::new();
    }
    let (source, destination) = packet.addresses().unzip();
    let from = End { port: Some(port), mac: packet.src_mac(), address: source };
    let to = End { port: to, mac: packet.dst_mac(), address: destination };
    let line = |(who, end): (&str, End<'_>)| {
        let names = groups(config, &end);
        (!names.is_empty()).then(|| format!("6 the {who} is of {}", named("group", &names)))
    };
    [("sender", from), ("receiver", to)].into_iter().filter_map(line).collect()
}

/// "group a" or "groups a, b".
fn named(what: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{what}{plural} {}", names.join(", "))
}

/// A line that names a rule, with what the state says of the rule.
pub fn with_rule(config: &Config, line: String) -> String {
    let Some((_, rest)) = line.split_once("policy: rule \"") else { return line };
    let Some(rule) = rest.split_once('"').and_then(|(name, _)| config.rules.iter().find(|rule| rule.name == name))
    else {
        return line;
    };
    let about = about(rule);
    if about.is_empty() { line } else { format!("{line} ({})", about.join("; ")) }
}

fn about(rule: &Rule) -> Vec<String> {
    let mut parts: Vec<String> = rule.tier.iter().map(|tier| format!("tier {tier}")).collect();
    let side = |side: &Side| (!side.groups.is_empty()).then(|| named("group", &side.groups));
    parts.extend(side(&rule.from).map(|groups| format!("from {groups}")));
    parts.extend(side(&rule.to).map(|groups| format!("to {groups}")));
    if !rule.services.is_empty() {
        parts.push(named("service", &rule.services));
    }
    parts.extend(rule.schedule.iter().map(|schedule| format!("schedule {schedule}, open at present")));
    parts
}

#[cfg(test)]
mod tests {
    use weir_wire::build::frames::{Ends, udp};

    use super::*;

    const STATE: &str = r#"
        switch = [{ name = "lan" }]
        port = [{ name = "vm1", switch = "lan", groups = ["web"], mem = {} }, { name = "vm2", switch = "lan", mem = {} }]
        group = [{ name = "db", addresses = ["10.0.0.2"] }, { name = "all", macs = ["02:00:00:00:00:01"] }]
        tier = [{ name = "site" }]
        rule = [{ name = "one", action = "allow", tier = "site", from = { groups = "web" }, to = { groups = ["db"] } }]
    "#;

    #[test]
    fn both_ends_are_told_with_all_ways_to_belong() {
        let config = Config::parse(STATE).expect("parses");
        let frame = udp(Ends::ipv4(1, 2), (5, 53), b"?");
        let lines = ends(&config, &frame, "vm1", Some("vm2"));
        assert_eq!(lines, ["6 the sender is of groups all, web", "6 the receiver is of group db"]);
        assert!(ends(&config, &frame[..20], "vm1", None).is_empty());
    }

    #[test]
    fn a_rule_is_told_with_its_tier_and_its_groups() {
        let config = Config::parse(STATE).expect("parses");
        let line = |text: &str| with_rule(&config, text.to_owned());
        assert_eq!(
            line("6 to port vm2: policy: rule \"one\" allows, not inspected"),
            "6 to port vm2: policy: rule \"one\" allows, not inspected (tier site; from group web; to group db)"
        );
        assert_eq!(line("policy: rule \"default\" drops"), "policy: rule \"default\" drops");
    }
}
