//! `vswitchctl group`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::rate::{bits, limits, share};
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with groups.
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
    /// Say who belongs to a group beside the ports that carry its label; what is not given stays.
    Members(Members),
    /// Show groups, their ports and what these may carry together.
    #[command(visible_alias = "list")]
    Show {
        /// One group; all where absent.
        name: Option<String>,
    },
}

/// Who belongs to a group.
#[derive(Args)]
pub struct Members {
    /// Its name.
    name: String,
    /// Networks and addresses, with commas; "none" for none.
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',')]
    addresses: Option<Vec<String>>,
    /// MACs, with commas; "none" for none.
    #[arg(long, value_name = "MAC,...", value_delimiter = ',')]
    macs: Option<Vec<String>>,
    /// Hosts of DHCP by the names that the operator gives them, with commas; "none" for none.
    #[arg(long, value_name = "HOST,...", value_delimiter = ',')]
    dhcp_hosts: Option<Vec<String>>,
    /// Its members may not talk to each other.
    #[arg(long, value_name = "BOOL")]
    isolated: Option<bool>,
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
            let (guarantee_bits, peak_bits) = (bits("--guarantee", guarantee)?, bits("--peak", peak)?);
            let share = v1::Share { guarantee_bits, peak_bits, weight: weight.unwrap_or(1) };
            let share = shares.then_some(share);
            let (in_bits, out_bits) = (bits("--rate-in", rate_in)?, bits("--rate-out", rate_out)?);
            let burst = burst.unwrap_or_default();
            let wanted = v1::Rate { in_bits, out_bits, burst, ..v1::Rate::default() };
            let rate = (in_bits.is_some() || out_bits.is_some()).then_some(wanted);
            let applied = client.set_group_rate(v1::SetGroupRateRequest { group: name, rate, share, fields }).await?;
            print_applied(applied.get_ref(), format == Format::Json, false)
        }
        Command::Members(wanted) => {
            let Members { name, addresses, macs, dhcp_hosts, isolated } = wanted;
            let edit = |group: &mut v1::GroupMembers| {
                let named = |list: Vec<String>| list.into_iter().filter(|member| member != "none").collect();
                for (list, wanted) in
                    [(&mut group.addresses, addresses), (&mut group.macs, macs), (&mut group.dhcp_hosts, dhcp_hosts)]
                {
                    if let Some(wanted) = wanted {
                        *list = named(wanted);
                    }
                }
                group.isolated = isolated.unwrap_or(group.isolated);
            };
            crate::segment::members(&name, edit, daemon, format).await
        }
        Command::Show { name } => {
            let request = v1::ListGroupRatesRequest { group: name.unwrap_or_default() };
            let groups = client.list_group_rates(request).await?.into_inner().groups;
            match format {
                Format::Json => print_json(&groups),
                Format::Table => print(&text(&groups, &crate::segment::list(daemon).await?.groups)),
            }
        }
    }
}

fn text(groups: &[v1::GroupRateStatus], members: &[v1::GroupMembers]) -> String {
    let mut table = Table::new(&["GROUP", "RATE", "SHARE", "PORTS", "ALSO", "AMONG THEM"]);
    for group in groups {
        let rate = group.rate.as_ref().map(limits).unwrap_or_default();
        let part = group.share.as_ref().map(share).unwrap_or_default();
        let known = members.iter().find(|known| known.group == group.group).cloned().unwrap_or_default();
        let also = [known.addresses, known.macs, known.dhcp_hosts].concat().join(", ");
        let among = if known.isolated { "nothing passes" } else { "" };
        table.row(vec![group.group.clone(), rate, part, group.ports.join(", "), also, among.into()]);
    }
    if table.is_empty() {
        "no groups; put a port into one with: vswitchctl port set vm1 --group web\n".into()
    } else {
        table.text()
    }
}
