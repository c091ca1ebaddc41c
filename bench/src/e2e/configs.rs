//! What the switches that are measured are told to do.

use std::path::Path;

use super::edge;
use super::hosts::{self, Hosts};
use super::scenario::{Changed, Kind as Measured, Ports, Scenario};
use super::switches::{ETHERNET, MTU, SWITCH_CORE};

/// A configuration before a change and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Before,
    After,
}

/// Files of rules in a switch's folder: those of a set that comes along, and one rule more.
pub(super) const RULE_FILES: [&str; 2] = ["set.rules", "more.rules"];
/// The rule more.
pub(super) const RULE: &str = "alert tcp any any -> any any (msg:\"a change of the rules\"; \
                               content:\"what no conversation of ours has\"; sid:9990001;)\n";

/// What rules of others take for inside and outside, where the guests are the site ([`super::talk`]).
const SITE: &str = "variables = { HOME_NET = \"[10.0.0.0/8]\", EXTERNAL_NET = \"!$HOME_NET\" }\n";

/// One rule more in the policy, for somebody else.
const CHANGE: &str = "\n[[rule]]\nname = \"change\"\naction = \"drop\"\nprotocol = \"udp\"\n\
                      from = { addresses = [\"172.31.255.0/24\"] }\n";

/// Our own configuration.
pub(super) fn weir_config(scenario: &Scenario, folder: &Path, hosts: Option<&Hosts>, version: Version) -> String {
    let mut text = String::new();
    if scenario.workers > 1 {
        let cpus: Vec<usize> = (SWITCH_CORE..SWITCH_CORE + scenario.workers).collect();
        text += &format!("[settings]\nworkers = {}\nworker_cpus = {cpus:?}\nrebalance = false\n", scenario.workers);
    }
    let inspect = scenario.inspect.as_ref().map(|set| format!("inspect = \"{set}\"\n")).unwrap_or_default();
    let (pairs, through) = (scenario.kind == Measured::Bursts, scenario.ports == Ports::VethGuest);
    let two = scenario.edge.is_some() || pairs || through;
    let switches: &[&str] = if two { &["lan0", "lan1"] } else { &["lan"] };
    for name in switches {
        text += &format!("[[switch]]\nname = \"{name}\"\ndefault = \"allow\"\n{inspect}");
    }
    let changed = |what: Changed| version == Version::After && scenario.change == what;
    text += &scenario.edge.map(edge::weir_router).unwrap_or_default();
    text += &edge::weir_routes(scenario.routes, changed(Changed::Routes));
    if let Some(set) = &scenario.inspect {
        text += &format!("\n[[rule_set]]\nname = \"{set}\"\n{}\n", rules(scenario, folder, set, version));
    }
    // The generators stand for many hosts each, with addresses of all of them.
    for number in 0..if through { 4 } else { scenario.guests } {
        let port = format!("v{number}");
        let on = if pairs { number / 2 } else { number % if through { 2 } else { scenario.guests } };
        let attachment = attachment(scenario, folder, hosts, number);
        text += &format!(
            "\n[[port]]\nname = \"{port}\"\nswitch = \"{}\"\ngroups = [\"g{number}\"]\n\
             guard = {{ on = false }}\ngro = {}\n{attachment}\n",
            switches.get(on).or(switches.first()).unwrap_or(&"lan"),
            scenario.gro,
        );
    }
    // Rules that the traffic has to be compared with and that do not decide it.
    for number in 0..scenario.rules {
        text += &format!(
            "\n[[rule]]\nname = \"r{number}\"\naction = \"drop\"\nprotocol = \"udp\"\n\
             from = {{ addresses = [\"172.{}.{}.0/24\"] }}\ndestination_ports = [{}]\n",
            16 + number / 256 % 16,
            number % 256,
            1 + number * 7 % 4000
        );
    }
    if version == Version::After && scenario.change == Changed::Policy { text + CHANGE } else { text }
}

/// Where the rules of the inspection come from.
fn rules(scenario: &Scenario, folder: &Path, set: &str, version: Version) -> String {
    let [all, more] = RULE_FILES.map(|name| folder.join(name));
    let mut files = scenario.rule_files.clone();
    if files.is_empty() {
        match scenario.change {
            Changed::RuleSet => files.push(all),
            Changed::Policy | Changed::Routes => return format!("builtin = \"{set}\""),
        }
    }
    if version == Version::After && scenario.change == Changed::RuleSet {
        files.push(more);
    }
    let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let site = if scenario.foreign { SITE } else { "" };
    format!("files = {files:?}\n{site}")
}

/// What joins a port of ours to its guest.
fn attachment(scenario: &Scenario, folder: &Path, hosts: Option<&Hosts>, number: usize) -> String {
    let ports = match scenario.ports {
        Ports::VethTap => [Ports::Veth, Ports::Tap][number.min(1)],
        // The guest's cards come first.
        Ports::VethGuest => [Ports::VhostUser, Ports::Veth][usize::from(number > 1)],
        same => same,
    };
    match (ports, hosts) {
        (Ports::Tap, Some(hosts)) => format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", hosts.name(number)),
        (Ports::Veth, Some(hosts)) => {
            let end = hosts::ENDS[if number > 1 { number - 2 } else { number }.min(1)];
            let fast = scenario.fast_path;
            format!("xdp = {{ interface = \"{end}\", netns = \"{}\", fast_path = {fast} }}", hosts.middle())
        }
        (Ports::VhostUser | Ports::VethTap | Ports::VethGuest, _) | (_, None) => {
            let mtu = if scenario.link() > ETHERNET + MTU {
                format!(", mtu = {}", scenario.link() - ETHERNET)
            } else {
                String::new()
            };
            // Ours offers packed rings where it is told to; peers always do.
            let packed = if scenario.packed { ", packed = true" } else { "" };
            let path = folder.join(format!("v{number}"));
            format!("vhost_user = {{ path = \"{}\", queues = 1{mtu}{packed} }}", path.display())
        }
    }
}
