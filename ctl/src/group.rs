//! `vswitchctl group`.

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::port::{rate, rates, share};
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with groups of ports.
#[derive(Subcommand)]
pub enum Command {
    /// Say what the ports of a group may carry together. Ports are in a group by "port set --group".
    Set {
        /// Its name.
        name: String,
        /// From all its ports, bits a second; "none" for no limit.
        #[arg(long, value_name = "BITS")]
        rate_in: Option<String>,
        /// To all its ports, bits a second; "none" for no limit.
        #[arg(long, value_name = "BITS")]
        rate_out: Option<String>,
        /// Bytes that may pass at once after a pause [usually: what passes in 10 ms].
        #[arg(long, value_name = "BYTES")]
        burst: Option<u64>,
        /// All its ports together get this much of a port with a rate, however many others want it; "none" for nothing
        /// promised.
        #[arg(long, value_name = "BITS")]
        guarantee: Option<String>,
        /// All of them together get at most this much of a port with a rate; "none" for no limit.
        #[arg(long, value_name = "BITS")]
        peak: Option<String>,
        /// The group's part of what is left, in relation to that of others, 1 to 1000.
        #[arg(long, value_name = "NUMBER")]
        weight: Option<u32>,
        /// Let each of its ports have its own share alone.
        #[arg(long, conflicts_with_all = ["guarantee", "peak", "weight"])]
        no_share: bool,
    },
    /// Show groups, their ports and what these may carry together.
    #[command(visible_alias = "list")]
    Show {
        /// One group; all where absent.
        name: Option<String>,
    },
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.switching().await?;
    match command {
        Command::Set { name, rate_in, rate_out, burst, guarantee, peak, weight, no_share } => {
            let mut fields = Vec::new();
            if rate_in.is_some() || rate_out.is_some() || burst.is_some() {
                fields.push("rate".to_owned());
            }
            let shares = guarantee.is_some() || peak.is_some() || weight.is_some();
            if shares || no_share {
                fields.push("share".to_owned());
            }
            if fields.is_empty() {
                return Err(Failure::usage("nothing to set; see vswitchctl group set --help"));
            }
            let (guarantee_bits, peak_bits) = (rate("--guarantee", guarantee)?, rate("--peak", peak)?);
            let share = v1::Share { guarantee_bits, peak_bits, weight: weight.unwrap_or(1) };
            let share = shares.then_some(share);
            let (in_bits, out_bits) = (rate("--rate-in", rate_in)?, rate("--rate-out", rate_out)?);
            let burst = burst.unwrap_or_default();
            let wanted = v1::Rate { in_bits, out_bits, burst, ..v1::Rate::default() };
            let rate = (in_bits.is_some() || out_bits.is_some()).then_some(wanted);
            let applied = client.set_group_rate(v1::SetGroupRateRequest { group: name, rate, share, fields }).await?;
            print_applied(applied.get_ref(), format == Format::Json, false)
        }
        Command::Show { name } => {
            let request = v1::ListGroupRatesRequest { group: name.unwrap_or_default() };
            let groups = client.list_group_rates(request).await?.into_inner().groups;
            match format {
                Format::Json => print_json(&groups),
                Format::Table => print(&text(&groups)),
            }
        }
    }
}

fn text(groups: &[v1::GroupRateStatus]) -> String {
    let mut table = Table::new(&["GROUP", "RATE", "SHARE", "PORTS"]);
    for group in groups {
        let rate = group.rate.as_ref().map(rates).unwrap_or_default();
        let part = group.share.as_ref().map(share).unwrap_or_default();
        table.row(vec![group.group.clone(), rate, part, group.ports.join(", ")]);
    }
    if table.is_empty() {
        "no groups; put a port into one with: vswitchctl port set vm1 --group web\n".into()
    } else {
        table.text()
    }
}
