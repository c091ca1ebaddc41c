//! `vswitchctl worker`: the threads that forward, and which networks each of them has.

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, count, duration_ms, print, print_applied, print_json};

/// The threads that forward, and the networks that each of them has.
#[derive(Subcommand)]
pub enum Command {
    /// Show workers and networks: what they take now, packets, flows. A network is all that packets can pass between.
    #[command(visible_alias = "list")]
    Show {
        /// Milliseconds for which they are looked at.
        #[arg(long, value_name = "MILLISECONDS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(50..=10_000))]
        look: u32,
        /// Show what each network is made of.
        #[arg(long)]
        members: bool,
    },
    /// Hold a network to a worker, or let it go where the load asks for it. Nothing of it is lost or forgotten.
    Move {
        /// A switch, an appliance, a router or a port of the network.
        network: String,
        /// The worker's number, or "any".
        worker: Place,
    },
}

/// Where a network is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever it helps.
    Any,
    /// At this worker.
    Worker(u32),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        match text {
            "any" => Ok(Place::Any),
            number => number.parse().map(Place::Worker).map_err(|_| "write a worker's number, or \"any\"".into()),
        }
    }
}

/// Runs the command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.workers().await?;
    match command {
        Command::Show { look, members } => {
            let answer = client.show(v1::ShowWorkersRequest { look_ms: look }).await?.into_inner();
            match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&text(&answer, members)),
            }
        }
        Command::Move { network, worker } => {
            let worker = match worker {
                Place::Any => None,
                Place::Worker(worker) => Some(worker),
            };
            let applied = client.r#move(v1::MoveNetworkRequest { network, worker }).await?;
            print_applied(applied.get_ref(), format == Format::Json, false)
        }
    }
}

/// Thousandths as percent.
fn percent(thousandths: u32) -> String {
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

fn text(answer: &v1::ShowWorkersResponse, members: bool) -> String {
    let mut workers =
        Table::new(&["WORKER", "CPU", ">LOAD", ">PACKETS/S", ">SLEEPS/S", ">PACKETS", ">CPU TIME", ">NETWORKS"]);
    let mut networks = Table::new(&["NETWORK", "WORKER", ">LOAD", ">PACKETS/S", ">FLOWS", ">PORTS", "STAYS"]);
    let mut made_of = String::new();
    for worker in &answer.workers {
        workers.row(vec![
            worker.worker.to_string(),
            worker.cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string()),
            percent(worker.load),
            count(worker.packets_per_s),
            count(worker.sleeps_per_s),
            count(worker.packets),
            duration_ms(worker.cpu_ns / 1_000_000),
            worker.networks.len().to_string(),
        ]);
        for network in &worker.networks {
            networks.row(vec![
                network.name.clone(),
                worker.worker.to_string(),
                percent(network.load),
                count(network.packets_per_s),
                count(network.flows),
                network.ports.len().to_string(),
                if network.held {
                    "yes"
                } else if answer.rebalance {
                    ""
                } else {
                    "no rebalancing"
                }
                .to_owned(),
            ]);
            if members {
                made_of += &format!("\n{}: {}\n", network.name, network.members.join(", "));
                made_of += &format!("  ports: {}\n", network.ports.join(", "));
            }
        }
    }
    let mut text = workers.text();
    if !networks.is_empty() {
        text += &format!("\n{}", networks.text());
    }
    text + &made_of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_and_their_networks_are_told() {
        let network =
            v1::NetworkStatus { name: "lan".into(), load: 431, ports: vec!["vm1".into()], ..Default::default() };
        let worker =
            v1::WorkerStatus { worker: 1, cpu: Some(3), load: 437, networks: vec![network], ..Default::default() };
        let answer = v1::ShowWorkersResponse { workers: vec![worker], rebalance: true };
        let text = text(&answer, true);
        assert!(text.contains("43.7 %") && text.contains("43.1 %") && text.contains("ports: vm1"), "{text}");
        assert_eq!(("any".parse(), "2".parse()), (Ok(Place::Any), Ok(Place::Worker(2))));
        assert!("two".parse::<Place>().is_err());
    }
}
