//! `vswitchctl quota` and `vswitchctl suspect`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, count, duration_ms, print, print_applied, print_json};

/// What can be done with quotas.
#[derive(Subcommand)]
pub enum Command {
    /// Say what a port, or the ports of a group together, may open; what is not given stays.
    Set {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        limits: Limits,
    },
    /// Do TCP handshakes in a guest's place, so that it hears of those alone that are completed.
    SynProxy {
        /// The guest's port.
        port: String,
        /// "always", "off", or the number of half-open connections toward the guest from which on.
        when: When,
    },
    /// Show limits, what is open, and what was dropped for them.
    #[command(visible_alias = "list")]
    Show {
        /// One port; all ports and groups where absent.
        port: Option<String>,
    },
}

/// What can be done with suspects.
#[derive(Subcommand)]
pub enum Suspects {
    /// Show the sources that may open nothing for a while: [settings.detection] says what counts and how long.
    #[command(visible_alias = "list")]
    Show,
}

/// A port or a group.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// A port.
    #[arg(long)]
    port: Option<String>,
    /// A group: all its ports together.
    #[arg(long)]
    group: Option<String>,
}

/// Limits; 0 for none.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Limits {
    /// Flows at a time.
    #[arg(long, value_name = "NUMBER")]
    flows: Option<u32>,
    /// New flows a second.
    #[arg(long, value_name = "NUMBER")]
    new_flows: Option<u32>,
    /// TCP connections that wait half-open.
    #[arg(long, value_name = "NUMBER")]
    half_open: Option<u32>,
}

/// When the proxy is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Never.
    Off,
    /// From so many half-open connections on; 0: always.
    From(u32),
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        match text {
            "off" => Ok(When::Off),
            "always" => Ok(When::From(0)),
            number => number.parse().map(When::From).map_err(|_| "write \"always\", \"off\" or a number".into()),
        }
    }
}

/// Runs a command on quotas.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.quotas().await?;
    match command {
        Command::Set { whose, limits } => {
            let request = v1::SetQuotaRequest {
                port: whose.port.unwrap_or_default(),
                group: whose.group.unwrap_or_default(),
                flows: limits.flows,
                new_flows: limits.new_flows,
                half_open: limits.half_open,
            };
            print_applied(client.set(request).await?.get_ref(), format == Format::Json, false)
        }
        Command::SynProxy { port, when } => {
            let (on, half_open) = match when {
                When::Off => (false, 0),
                When::From(half_open) => (true, half_open),
            };
            let applied = client.set_syn_proxy(v1::SetSynProxyRequest { port, on, half_open }).await?;
            print_applied(applied.get_ref(), format == Format::Json, false)
        }
        Command::Show { port } => {
            let request = v1::ShowQuotasRequest { port: port.unwrap_or_default() };
            let answer = client.show(request).await?.into_inner();
            match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&text(&answer)),
            }
        }
    }
}

/// Runs a command on suspects.
pub async fn suspects(command: Suspects, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let Suspects::Show = command;
    let suspects = daemon.quotas().await?.show_suspects(v1::ShowSuspectsRequest {}).await?.into_inner().suspects;
    if format == Format::Json {
        return print_json(&suspects);
    }
    let mut table = Table::new(&["ADDRESS", "PORT", "SWITCH", ">LEFT"]);
    for suspect in &suspects {
        let left = duration_ms(suspect.left_ms);
        table.row(vec![suspect.address.clone(), suspect.port.clone(), suspect.switch.clone(), left]);
    }
    print(&if table.is_empty() { "no source is blocked\n".to_owned() } else { table.text() })
}

fn text(answer: &v1::ShowQuotasResponse) -> String {
    let mut table = Table::new(&["OF", ">FLOWS", ">NEW/S", ">HALF-OPEN", ">TOWARD IT", "SYN PROXY", "DROPPED"]);
    for status in &answer.quotas {
        let quota = status.quota.unwrap_or_default();
        let of = |used: u64, limit: u32| match limit {
            0 => used.to_string(),
            limit => format!("{used} of {limit}"),
        };
        let dropped: Vec<String> = status.dropped.iter().map(|d| format!("{} {}", count(d.count), d.name)).collect();
        table.row(vec![
            status.of.clone(),
            of(status.flows, quota.flows),
            if quota.new_flows == 0 { String::new() } else { quota.new_flows.to_string() },
            of(status.half_open.into(), quota.half_open),
            status.half_open_toward.to_string(),
            status.syn_proxy.clone(),
            dropped.join(", "),
        ]);
    }
    let mut text = if table.is_empty() { "no ports\n".to_owned() } else { table.text() };
    if answer.cookies > 0 {
        text += &format!(
            "SYN proxy: {} cookies given, {} came back, {} acknowledgments brought none\n",
            count(answer.cookies),
            count(answer.completed),
            count(answer.refused)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_stands_beside_its_limit() {
        let quota = Some(v1::Quota { flows: 100, new_flows: 0, half_open: 8 });
        let status = v1::QuotaStatus { of: "port vm1".into(), quota, flows: 7, half_open: 8, ..Default::default() };
        let answer = v1::ShowQuotasResponse { quotas: vec![status], cookies: 5, ..Default::default() };
        let text = text(&answer);
        assert!(text.contains("7 of 100") && text.contains("8 of 8") && text.contains("5 cookies given"), "{text}");
        assert_eq!(("always".parse(), "64".parse()), (Ok(When::From(0)), Ok(When::From(64))));
        assert!("sometimes".parse::<When>().is_err());
    }
}
