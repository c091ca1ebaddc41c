//! `vswitchctl`, the command line of the Weir switch: one file a noun, each turning words into one request and its answer
//! into a table for people or JSON for programs.
#![forbid(unsafe_code)]

mod appliance;
mod apply;
mod attach;
mod connect;
mod content;
mod dhcp;
mod dns;
mod events;
mod failure;
mod fdb;
mod flow;
mod frame;
mod group;
mod guard;
mod inspect;
mod lldp;
mod metadata;
mod mirror;
mod multicast;
mod nat;
mod neighbor;
mod policy;
mod policy_route;
mod port;
mod quota;
mod rate;
mod replay;
mod route;
mod router;
mod rule_set;
mod rules;
mod segment;
mod shadow;
mod show;
mod stats;
mod switch;
mod switching;
mod table;
mod trace;
mod uplink;
mod virus;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::connect::Connection;
use crate::failure::Failure;

/// Manage the Weir switch of this host.
///
/// Exit status: 0 done, 1 refused by the daemon, 2 wrong usage, 3 daemon not reachable.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Where the daemon is.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// The daemon: a socket's path, unix:PATH, or https://HOST:PORT with certificates.
    #[arg(long, global = true, value_name = "ADDRESS", env = "WEIR_SOCKET", default_value = connect::USUAL_SOCKET)]
    socket: String,
    /// Our certificate for https, PEM.
    #[arg(long, global = true, value_name = "FILE", env = "WEIR_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, global = true, value_name = "FILE", env = "WEIR_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// The authority of the daemon's certificate, PEM.
    #[arg(long, global = true, value_name = "FILE", env = "WEIR_TLS_CA")]
    tls_ca: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Switches: learning bridges inside this host.
    #[command(subcommand)]
    Switch(switch::Command),
    /// Ports: the ways in and out of a switch.
    #[command(subcommand)]
    Port(Box<port::Command>),
    /// Uplinks: network cards that host and guests share.
    #[command(subcommand)]
    Uplink(uplink::Command),
    /// Routers: what lies between switches.
    #[command(subcommand)]
    Router(router::Command),
    /// Appliances: the guard between ports or switches.
    #[command(subcommand)]
    Appliance(Box<appliance::Command>),
    /// First-hop security: whose an address is, and what guests may say.
    #[command(subcommand)]
    Guard(Box<guard::Command>),
    /// Routes of routers.
    #[command(subcommand)]
    Route(route::Command),
    /// Address translation of routers.
    #[command(subcommand)]
    Nat(nat::Command),
    /// Addresses that routers give to guests, and who holds them.
    #[command(subcommand)]
    Dhcp(dhcp::Command),
    /// Names that routers serve to guests.
    #[command(subcommand)]
    Dns(dns::Command),
    /// What routers tell guests of themselves, by HTTP at 169.254.169.254.
    #[command(subcommand)]
    Metadata(metadata::Command),
    /// Neighbours that routers know.
    #[command(subcommand)]
    Neighbor(neighbor::Command),
    /// The policy: rules that say which flows may be.
    #[command(subcommand)]
    Policy(policy::Command),
    /// A candidate policy beside the live one, and what it would change.
    #[command(subcommand)]
    Shadow(shadow::Command),
    /// What guests may open, and the SYN proxy before them.
    #[command(subcommand)]
    Quota(quota::Command),
    /// Sources that were found scanning or flooding.
    #[command(subcommand)]
    Suspect(quota::Suspects),
    /// Services: what rules call protocols with their ports.
    #[command(subcommand)]
    Service(segment::ServiceCommand),
    /// Schedules: when rules are in force.
    #[command(subcommand)]
    Schedule(segment::ScheduleCommand),
    /// Tiers: whose rules are asked first.
    #[command(subcommand)]
    Tier(segment::TierCommand),
    /// Rule sets by which flows are inspected.
    #[command(subcommand)]
    Ruleset(rule_set::Command),
    /// Rule files, without the daemon.
    #[command(subcommand)]
    Rules(rules::Command),
    /// The content filter: which sites guests may visit.
    #[command(subcommand)]
    Content(content::Command),
    /// Workers: the threads that forward, and the networks that each has.
    #[command(subcommand)]
    Worker(worker::Command),
    /// The virus check: files in flows.
    #[command(subcommand)]
    Virus(virus::Command),
    /// Flows: conversations that are going on.
    #[command(subcommand)]
    Flow(flow::Command),
    /// What inspection costs, and who uses it.
    #[command(subcommand)]
    Inspect(inspect::Command),
    /// Mirrors: copies of frames for an analyser.
    #[command(subcommand)]
    Mirror(mirror::Command),
    /// Groups: who belongs to them, and what their ports may carry together.
    #[command(subcommand)]
    Group(group::Command),
    /// Multicast groups that switches know.
    #[command(subcommand)]
    Multicast(multicast::Command),
    /// Neighbours that speak LLDP.
    #[command(subcommand)]
    Lldp(lldp::Command),
    /// Addresses that switches know.
    #[command(subcommand)]
    Fdb(fdb::Command),
    /// Counters of ports, drops and the worker.
    Stats(stats::Stats),
    /// Alerts, drops and flows as they happen, as EVE JSON lines or in short.
    Events(events::Events),
    /// Make the daemon's state what a file says, as one transaction.
    Apply(apply::Apply),
    /// Keep a state that was applied with --confirm-within.
    Confirm(apply::Confirm),
    /// The whole state in short, or as text that "apply" takes.
    Show(show::Show),
    /// The packets that were dropped lately, and why.
    Why(trace::Why),
    /// Walk one frame through the switch without sending it, and tell each stop's decision.
    Trace(Box<trace::Trace>),
    /// Inspect a capture by rules, without the daemon; "--help" says how.
    Replay(replay::Replay),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff); view it with "vswitchctl man | man -l -".
    Man,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Failure::usage(format!("cannot start: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let format = if cli.json { Format::Json } else { Format::Table };
    let daemon = Connection::new(cli.target);
    match cli.command {
        Command::Switch(command) => switch::run(command, &daemon, format).await,
        Command::Port(command) => port::run(*command, &daemon, format).await,
        Command::Uplink(command) => uplink::run(command, &daemon, format).await,
        Command::Router(command) => router::run(command, &daemon, format).await,
        Command::Appliance(command) => appliance::run(*command, &daemon, format).await,
        Command::Guard(command) => guard::run(*command, &daemon, format).await,
        Command::Route(command) => route::run(command, &daemon, format).await,
        Command::Nat(command) => nat::run(command, &daemon, format).await,
        Command::Dhcp(command) => dhcp::run(command, &daemon, format).await,
        Command::Dns(command) => dns::run(command, &daemon, format).await,
        Command::Metadata(command) => metadata::run(command, &daemon, format).await,
        Command::Neighbor(command) => neighbor::run(command, &daemon, format).await,
        Command::Policy(command) => policy::run(command, &daemon, format).await,
        Command::Shadow(command) => shadow::run(command, &daemon, format).await,
        Command::Quota(command) => quota::run(command, &daemon, format).await,
        Command::Suspect(command) => quota::suspects(command, &daemon, format).await,
        Command::Service(command) => segment::service(command, &daemon, format).await,
        Command::Schedule(command) => segment::schedule(command, &daemon, format).await,
        Command::Tier(command) => segment::tier(command, &daemon, format).await,
        Command::Ruleset(command) => rule_set::run(command, &daemon, format).await,
        Command::Rules(command) => rules::run(command, format),
        Command::Content(command) => content::run(command, &daemon, format).await,
        Command::Worker(command) => worker::run(command, &daemon, format).await,
        Command::Virus(command) => virus::run(command, &daemon, format).await,
        Command::Flow(command) => flow::run(command, &daemon, format).await,
        Command::Mirror(command) => mirror::run(command, &daemon, format).await,
        Command::Group(command) => group::run(command, &daemon, format).await,
        Command::Multicast(command) => multicast::run(command, &daemon, format).await,
        Command::Lldp(command) => lldp::run(command, &daemon, format).await,
        Command::Fdb(command) => fdb::run(command, &daemon, format).await,
        Command::Inspect(command) => inspect::run(command, &daemon, format).await,
        Command::Stats(stats) => stats::run(stats, &daemon, format).await,
        Command::Events(events) => events::run(events, &daemon, format).await,
        Command::Apply(apply) => apply::run(apply, &daemon, format).await,
        Command::Confirm(confirm) => apply::confirm(confirm, &daemon, format).await,
        Command::Show(show) => show::run(show, &daemon, format).await,
        Command::Why(why) => trace::why(why, &daemon, format).await,
        Command::Trace(trace) => trace::run(*trace, &daemon, format).await,
        Command::Replay(replay) => replay::run(replay),
        Command::Completions { shell } => {
            // Into memory first: the generator panics where the reader of a pipe has gone.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vswitchctl", &mut script);
            table::print(&String::from_utf8_lossy(&script))
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Failure::output)?;
            table::print(&String::from_utf8_lossy(&page))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_behind_the_verb() {
        let cli = Cli::try_parse_from(["vswitchctl", "port", "show", "--json", "--socket", "/x"]).expect("parses");
        assert!(cli.json);
        assert_eq!(cli.target.socket, "/x");
    }
}
