//! `vswitchd`, the daemon: reads the command line and runs.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;
use vswitchd::daemon::{self, Options, TlsFiles};
use vswitchd::listen::{Access, Listen, group_id};
use vswitchd::store;
use weir_ports::huge_pages::HugePages;

/// Large tables in huge pages, where the system gives them.
#[global_allocator]
static ALLOCATOR: HugePages = HugePages;

/// The Weir switch daemon: forwards frames between the virtual machines of this host and inspects them on the way.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or SIGINT.
    ///
    /// Without --config and --state the daemon begins empty. Add switches and ports with vswitchctl, or make everything
    /// at once with "vswitchctl apply FILE".
    ///
    /// SIGHUP opens the event file anew (for logrotate). Where NOTIFY_SOCKET is set, systemd is told when the daemon is
    /// ready. The daemon needs CAP_NET_ADMIN for TAP ports, and CAP_NET_RAW and CAP_BPF too for AF_XDP ports; vhost-user
    /// ports need no capability.
    Run(Box<RunArgs>),
    /// Read a state file and say what is wrong with it; nothing is opened or changed.
    Check {
        /// The file, TOML.
        file: PathBuf,
    },
}

#[derive(Args)]
struct RunArgs {
    /// The desired state to begin with, TOML. It is read once; changes by vswitchctl last until the daemon ends.
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The desired state to begin with, written after each change, so that it outlives the daemon. May not exist yet.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Keep the addresses that guests hold in this file, so that they outlive the daemon [usually: beside --state].
    #[arg(long, value_name = "FILE")]
    leases: Option<PathBuf>,
    /// Keep the bindings of address translation here from an orderly end to the next start [usually: beside the state].
    #[arg(long, value_name = "FILE")]
    bindings: Option<PathBuf>,
    /// Keep whose the addresses of guests are here, likewise [usually: beside the state].
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// Keep the flows of the last day here, likewise [usually: beside the state].
    #[arg(long, value_name = "FILE")]
    flows: Option<PathBuf>,
    /// Where vswitchctl reaches the daemon: unix:PATH or tcp:ADDRESS:PORT. May be given several times.
    ///
    /// TCP needs mutual TLS: --tls-cert, --tls-key and --tls-client-ca.
    #[arg(long, value_name = "ADDRESS", default_value = "unix:/run/weir/vswitchd.sock")]
    listen: Vec<Listen>,
    /// Permissions of unix sockets to listen on, octal.
    ///
    /// Who may write to the socket may change the switch, and read and write files as the daemon's user: rule sets and
    /// capture ports name files. The same holds for whoever has a certificate for TCP.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = octal)]
    socket_mode: u32,
    /// Group of unix sockets to listen on, by name or number; use it with --socket-mode 0660.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// Certificate for TCP, PEM, with those that lead to its authority.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_client_ca"])]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authority that clients' certificates must come from, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Serve TCP without TLS where the address is a loopback address. Every user of this host can then change the switch.
    #[arg(long)]
    insecure_loopback: bool,
    /// Write events (alerts, drops, flows, and what flows speak) to this file, one line of EVE JSON each. Without a file what
    /// flows speak is recorded only while somebody follows it.
    #[arg(long, value_name = "FILE")]
    eve: Option<PathBuf>,
    /// Take the large tables from huge pages that are set aside (vm.nr_hugepages), as far as they suffice. Without this they
    /// get huge pages where the system has some at hand. A network whose router translates takes 80 MiB of them at once. They
    /// are cleared before the first port is served, at a gigabyte a second; at a tenth of it where a virtual machine's host has
    /// to find the memory first.
    #[arg(long)]
    huge_pages: bool,
    /// Never sleep: lowest latency at the price of one busy CPU.
    #[arg(long)]
    poll: bool,
    /// The longest time to poll for a packet, in microseconds. Packets that follow each other more closely than this are
    /// awaited awake, which takes a whole CPU. Those up to forty times as far apart, at a steady pace, are met awake and slept
    /// for in between; where fewer come the worker sleeps.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 50, conflicts_with = "poll")]
    poll_window: u64,
    /// Run the worker on this CPU only.
    #[arg(long, value_name = "NUMBER")]
    cpu: Option<usize>,
    /// What is logged to stderr.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: Level,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("write an octal number up to 0777, as in 0660".into()),
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args),
        Command::Check { file } => check(&file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                eprintln!("vswitchd: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: RunArgs) -> Result<(), String> {
    weir_ports::heap::keep_at_hand();
    let level = match args.log {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_ansi(colour).init();
    let tls = match (args.tls_cert, args.tls_key, args.tls_client_ca) {
        (Some(certificate), Some(key), Some(client_ca)) => Some(TlsFiles { certificate, key, client_ca }),
        _ => None,
    };
    if args.huge_pages {
        weir_ports::huge_pages::use_reserved();
    }
    let group = args.socket_group.as_deref().map(group_id).transpose()?;
    let options = Options {
        config: args.config,
        state: args.state,
        leases: args.leases,
        bindings: args.bindings,
        addresses: args.addresses,
        flows: args.flows,
        listen: args.listen,
        access: Access { mode: args.socket_mode, group },
        tls,
        insecure_loopback: args.insecure_loopback,
        eve: args.eve,
        always_poll: args.poll,
        poll_window: Duration::from_micros(args.poll_window),
        cpu: args.cpu,
    };
    daemon::run(&options).map_err(|e| e.0)
}

fn check(file: &std::path::Path) -> Result<(), String> {
    let config = store::read(file).map_err(|e| e.message)?;
    config.check().map_err(|problems| problems.join("\n"))?;
    println!(
        "{}: {} switches, {} ports, {} routers, {} rules, {} rule sets; nothing is wrong",
        file.display(),
        config.switches.len(),
        config.ports.len(),
        config.routers.len(),
        config.rules.len(),
        config.rule_sets.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(octal("0660"), Ok(0o660));
        assert!(octal("0999").is_err());
        assert!(octal("1777").is_err());
    }
}
