//! What the switches that are measured are told to do.

use std::path::Path;

use super::edge;
use super::hosts::{self, Hosts};
use super::scenario::{Kind as Measured, Ports, Scenario};
use super::switches::{ETHERNET, MTU, SWITCH_CORE};

/// The change: one rule more, for somebody else.
pub(super) const CHANGE: &str = "\n[[rule]]\nname = \"change\"\naction = \"drop\"\nprotocol = \"udp\"\n\
                      from = { addresses = [\"172.31.255.0/24\"] }\n";

/// Our own configuration.
pub(super) fn weir_config(scenario: &Scenario, folder: &Path, hosts: Option<&Hosts>) -> String {
    let mut text = String::new();
    if scenario.workers > 1 {
        let cpus: Vec<usize> = (SWITCH_CORE..SWITCH_CORE + scenario.workers).collect();
        text += &format!("[settings]\nworkers = {}\nworker_cpus = {cpus:?}\nrebalance = false\n", scenario.workers);
    }
    let inspect = scenario.inspect.as_ref().map(|set| format!("inspect = \"{set}\"\n")).unwrap_or_default();
    let pairs = scenario.kind == Measured::Bursts;
    let switches: &[&str] = if scenario.edge.is_some() || pairs { &["lan0", "lan1"] } else { &["lan"] };
    for name in switches {
        text += &format!("[[switch]]\nname = \"{name}\"\ndefault = \"allow\"\n{inspect}");
    }
    text += &scenario.edge.map(edge::weir_router).unwrap_or_default();
    if let Some(set) = &scenario.inspect {
        let source = match &scenario.rule_file {
            Some(path) => format!("files = [\"{}\"]", path.display()),
            None => format!("builtin = \"{set}\""),
        };
        text += &format!("\n[[rule_set]]\nname = \"{set}\"\n{source}\n");
    }
    // The generators stand for many hosts each, with addresses of all of them.
    for number in 0..scenario.guests {
        let port = format!("v{number}");
        let attachment = attachment(scenario, folder, hosts, number);
        text += &format!(
            "\n[[port]]\nname = \"{port}\"\nswitch = \"{}\"\ngroups = [\"g{number}\"]\n\
             guard = {{ on = false }}\n{attachment}\n",
            switches.get(if pairs { number / 2 } else { number }).or(switches.first()).unwrap_or(&"lan"),
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
    text
}

/// What joins a port of ours to its guest.
fn attachment(scenario: &Scenario, folder: &Path, hosts: Option<&Hosts>, number: usize) -> String {
    match (scenario.ports, hosts) {
        (Ports::Tap, Some(hosts)) => format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", hosts.name(number)),
        (Ports::Veth, Some(hosts)) => {
            let end = hosts::ENDS[number.min(1)];
            let fast = scenario.fast_path;
            format!("xdp = {{ interface = \"{end}\", netns = \"{}\", fast_path = {fast} }}", hosts.middle())
        }
        (Ports::VhostUser, _) | (_, None) => {
            let mtu = if scenario.frame > ETHERNET + MTU {
                format!(", mtu = {}", scenario.frame - ETHERNET)
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
