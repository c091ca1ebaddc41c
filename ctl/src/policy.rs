//! `vswitchctl policy`.

use std::path::PathBuf;

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::apply::read_text;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::switch::action_name;
use crate::table::{Table, bytes, count, duration_ms, print, print_applied, print_json};

/// What can be done with the policy.
#[derive(Subcommand)]
pub enum Command {
    /// Replace all rules by those of a file: [[rule]] tables, as in the state file. Connections that are no longer
    /// allowed stop.
    Apply {
        /// The file, TOML; "-" for standard input.
        file: PathBuf,
        /// Check only and say what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the rules in order, with how often each decided.
    #[command(visible_alias = "list")]
    Show,
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    match command {
        Command::Apply { file, dry_run } => {
            let request = v1::ApplyPolicyRequest { rules: Vec::new(), toml: read_text(&file)?, dry_run };
            let applied = daemon.policies().await?.apply(request).await?;
            print_applied(applied.get_ref(), format == Format::Json, dry_run)
        }
        Command::Show => {
            let policy = daemon.policies().await?.show(v1::ShowPolicyRequest {}).await?.into_inner();
            match format {
                Format::Json => print_json(&policy),
                Format::Table => print(&text(&policy)),
            }
        }
    }
}

fn text(policy: &v1::ShowPolicyResponse) -> String {
    let mut table = Table::new(&[
        ">#", "TIER", "RULE", "ACTION", "FROM", "TO", "WHAT", "INSPECT", ">HITS", ">PACKETS", ">BYTES", ">LAST",
    ]);
    for (index, status) in policy.rules.iter().enumerate() {
        let rule = status.rule.clone().unwrap_or_default();
        let allows = action_name(rule.action) == "allow";
        let inspect = match rule.inspect.as_str() {
            _ if rule.trusted => "trusted".into(),
            "" if allows => "by switch".into(),
            set => set.to_owned(),
        };
        table.row(vec![
            (index + 1).to_string(),
            rule.tier.clone(),
            rule.name.clone(),
            action(&rule, status.idle),
            side(rule.from.as_ref()),
            side(rule.to.as_ref()),
            what(&rule),
            inspect,
            count(status.hits),
            count(status.packets),
            bytes(status.bytes),
            last(status.last_hit_s),
        ]);
    }
    for implied in &policy.implied {
        let counts = [count(implied.hits), count(implied.packets), bytes(implied.bytes), last(implied.last_hit_s)];
        table.row(row_of_setting(&implied.name, "by setting", counts));
    }
    let counts =
        [count(policy.default_hits), count(policy.default_packets), bytes(policy.default_bytes), String::new()];
    table.row(row_of_setting("default", "by switch", counts));
    table.text()
}

/// What a rule does, with what it does besides.
fn action(rule: &v1::Rule, idle: bool) -> String {
    let mut more = Vec::new();
    if rule.log {
        more.push("log".to_owned());
    }
    if !rule.dscp.is_empty() {
        more.push(format!("dscp {}", rule.dscp));
    }
    if idle {
        more.push("not now".to_owned());
    }
    let name = action_name(rule.action);
    if more.is_empty() { name.into() } else { format!("{name} ({})", more.join(", ")) }
}

/// A row that no rule stands for.
fn row_of_setting(name: &str, action: &str, counts: [String; 4]) -> Vec<String> {
    let any = || "any".to_owned();
    let head = vec![String::new(), String::new(), name.into(), action.into(), any(), any(), any(), "by switch".into()];
    [head, counts.to_vec()].concat()
}

fn last(seconds: Option<u64>) -> String {
    match seconds {
        Some(0) => "now".to_owned(),
        Some(s) => duration_ms(s.saturating_mul(1000)),
        None => String::new(),
    }
}

fn side(side: Option<&v1::Side>) -> String {
    let Some(side) = side else { return "any".into() };
    let all = [&side.ports, &side.groups, &side.addresses, &side.macs];
    let parts: Vec<String> = all.iter().filter(|list| !list.is_empty()).map(|list| list.join(",")).collect();
    if parts.is_empty() { "any".into() } else { parts.join(" and ") }
}

fn what(rule: &v1::Rule) -> String {
    let mut parts = Vec::new();
    let ether: Vec<String> = rule.ether_types.iter().map(|e| format!("0x{e:04x}")).collect();
    for (name, list) in [
        ("", &rule.protocols),
        ("", &rule.services),
        ("icmp ", &rule.icmp),
        ("from port ", &rule.source_ports),
        ("to port ", &rule.destination_ports),
        ("vlan ", &rule.vlans),
        ("type ", &ether),
        ("on ", &rule.switches),
    ] {
        if !list.is_empty() {
            parts.push(format!("{name}{}", list.join(",")));
        }
    }
    if !rule.schedule.is_empty() {
        parts.push(format!("in {}", rule.schedule));
    }
    if parts.is_empty() { "any".into() } else { parts.join(" ") }
}
