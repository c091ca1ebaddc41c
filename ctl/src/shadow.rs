//! `vswitchctl shadow`.

use std::path::PathBuf;

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::apply::read_text;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, count, duration_ms, print, print_applied, print_json};

/// What can be done with a candidate.
#[derive(Subcommand)]
pub enum Command {
    /// Put a candidate beside the live policy, in place of another: [[rule]] tables, as "policy apply" takes them. It
    /// judges all traffic, and nothing is done of what it says. It is part of the state, as [shadow]: a restart keeps it,
    /// and "apply" of a file without it takes it away.
    Load {
        /// The file, TOML; "-" for standard input.
        #[arg(required_unless_present = "text", conflicts_with = "text")]
        file: Option<PathBuf>,
        /// The rules themselves, TOML.
        #[arg(long)]
        text: Option<String>,
        /// Flows that the report lists at most, up to 65536.
        #[arg(long, value_name = "NUMBER", default_value_t = 4096)]
        flows: u32,
    },
    /// The flows that would change verdict since the candidate was loaded, and by which rules.
    #[command(visible_alias = "show")]
    Report {
        /// Show at most so many flows; --json shows all.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
    },
    /// The flows of the last day that would change verdict; or those of a file.
    Replay {
        /// EVE JSON lines on the daemon's host, instead of what the daemon remembers: its "flow" events.
        #[arg(long, value_name = "FILE", conflicts_with = "pcap")]
        flows: Option<PathBuf>,
        /// A capture on the daemon's host.
        #[arg(long, value_name = "FILE")]
        pcap: Option<PathBuf>,
        /// The switch that a file's flows are taken for where it does not say.
        #[arg(long, value_name = "NAME")]
        switch: Option<String>,
        /// Of what the daemon remembers, the last so many seconds.
        #[arg(long, value_name = "SECONDS", conflicts_with_all = ["flows", "pcap"])]
        last: Option<u32>,
        /// Show at most so many flows; --json shows all.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
    },
    /// Make the candidate the live policy.
    Promote {
        /// Check only and say what would change.
        #[arg(long)]
        dry_run: bool,
        /// Undo the change unless "vswitchctl confirm" comes within so many seconds.
        #[arg(long, value_name = "SECONDS", conflicts_with = "dry_run")]
        confirm_within: Option<u32>,
    },
    /// Take the candidate away.
    #[command(visible_alias = "delete")]
    Drop,
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.shadow().await?;
    match command {
        Command::Load { file, text, flows } => {
            let toml = match (file, text) {
                (Some(file), _) => read_text(&file)?,
                (None, text) => text.unwrap_or_default(),
            };
            let loaded = client.load(v1::LoadShadowRequest { toml, flows }).await?.into_inner();
            match format {
                Format::Json => print_json(&loaded),
                Format::Table => print(&format!(
                    "a candidate of {} rules judges beside the policy; see: vswitchctl shadow report\n",
                    loaded.rules
                )),
            }
        }
        Command::Report { limit } => {
            let report = client.report(v1::ShadowReportRequest {}).await?.into_inner();
            show(&report, limit, format)
        }
        Command::Replay { flows, pcap, switch, last, limit } => {
            let path = |path: Option<PathBuf>| path.map(|path| absolute(&path)).transpose();
            let request = v1::ReplayShadowRequest {
                events: path(flows)?.unwrap_or_default(),
                pcap: path(pcap)?.unwrap_or_default(),
                switch: switch.unwrap_or_default(),
                last_s: last.unwrap_or_default(),
            };
            let report = client.replay(request).await?.into_inner();
            show(&report, limit, format)
        }
        Command::Promote { dry_run, confirm_within } => {
            let confirm_within_s = confirm_within.unwrap_or_default();
            let request = v1::PromoteShadowRequest { dry_run, confirm_within_s };
            let applied = client.promote(request).await?.into_inner();
            print_applied(&applied, format == Format::Json, dry_run)?;
            if let Some(seconds) = confirm_within.filter(|_| format == Format::Table && !applied.changes.is_empty()) {
                let revision = applied.revision;
                print(&format!("undone in {seconds} s unless confirmed: vswitchctl confirm {revision}\n"))?;
            }
            Ok(())
        }
        Command::Drop => {
            let answer = client.discard(v1::DiscardShadowRequest {}).await?.into_inner();
            match format {
                Format::Json => print_json(&answer),
                Format::Table if answer.dropped => print("the candidate is gone\n"),
                Format::Table => print("there was no candidate\n"),
            }
        }
    }
}

/// The daemon has another directory than we.
fn absolute(path: &std::path::Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    Ok(path.display().to_string())
}

fn show(report: &v1::ShadowReport, limit: usize, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print_json(report),
        Format::Table => print(&text(report, limit)),
    }
}

fn text(report: &v1::ShadowReport, limit: usize) -> String {
    let mut text = String::new();
    let mut totals = Table::new(&["LIVE", "CANDIDATE", ">FLOWS"]);
    for total in &report.totals {
        totals.row(vec![verdict(total.live.as_ref()), verdict(total.candidate.as_ref()), count(total.flows)]);
    }
    let mut flows =
        Table::new(&["PROTO", "SOURCE", "DESTINATION", "PORTS", "LIVE", "CANDIDATE", ">PACKETS", ">FIRST", ">LAST"]);
    for flow in report.flows.iter().take(limit) {
        let port = |name: &str| if name.is_empty() { "?".to_owned() } else { name.to_owned() };
        let ago = |ms: u64| if ms == 0 { String::new() } else { duration_ms(ms) };
        flows.row(vec![
            flow.protocol.clone(),
            end(flow, &flow.source, flow.source_port),
            end(flow, &flow.destination, flow.destination_port),
            format!("{} > {}", port(&flow.in_port), port(&flow.out_port)),
            verdict(flow.live.as_ref()),
            verdict(flow.candidate.as_ref()),
            count(flow.packets),
            ago(flow.first_ms),
            ago(flow.last_ms),
        ]);
    }
    for table in [totals, flows] {
        if !table.is_empty() {
            text += &table.text();
            text.push('\n');
        }
    }
    let hidden = report.flows.len().saturating_sub(limit);
    text += &format!("{} of {} judged would change verdict", count(report.changed), count(report.judged));
    for (number, what) in [
        (hidden as u64, "not shown (--limit)"),
        (report.overflowed, "found no room in the list"),
        (report.unjudged, "not judged: a policy names MAC addresses, theirs are not known"),
        (report.passed_over, "lines or frames without a flow"),
    ] {
        if number > 0 {
            text += &format!("; {} {what}", count(number));
        }
    }
    if report.walking {
        text += "; flows that stood before are still being looked at";
    }
    text.push('\n');
    text
}

fn verdict(verdict: Option<&v1::Verdict>) -> String {
    let Some(verdict) = verdict else { return String::new() };
    let inspect = if verdict.inspect.is_empty() { String::new() } else { format!(", {}", verdict.inspect) };
    format!("{} ({}{inspect})", verdict.action, verdict.rule)
}

fn end(flow: &v1::ShadowFlow, address: &str, port: u32) -> String {
    match (flow.protocol.as_str(), address.contains(':')) {
        ("tcp" | "udp", true) => format!("[{address}]:{port}"),
        ("tcp" | "udp", false) => format!("{address}:{port}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_it_leaves_out() {
        let said = |action: &str, rule: &str| {
            Some(v1::Verdict { action: action.into(), rule: rule.into(), ..Default::default() })
        };
        let flow = v1::ShadowFlow {
            protocol: "tcp".into(),
            source: "10.0.0.1".into(),
            source_port: 4000,
            destination: "2001:db8::1".into(),
            destination_port: 80,
            in_port: "vm1".into(),
            live: said("allow", "default"),
            candidate: said("drop", "no-web"),
            ..Default::default()
        };
        let report = v1::ShadowReport {
            flows: vec![flow.clone(), flow],
            judged: 9,
            changed: 5,
            overflowed: 3,
            ..Default::default()
        };
        let text = text(&report, 1);
        assert!(
            text.contains("10.0.0.1:4000") && text.contains("[2001:db8::1]:80") && text.contains("vm1 > ?"),
            "{text}"
        );
        assert!(text.contains("allow (default)") && text.contains("drop (no-web)"), "{text}");
        assert!(
            text.ends_with("5 of 9 judged would change verdict; 1 not shown (--limit); 3 found no room in the list\n"),
            "{text}"
        );
    }
}
