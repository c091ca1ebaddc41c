//! `vswitchctl dns`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with the names that routers serve.
#[derive(Subcommand)]
pub enum Command {
    /// Serve names to the networks of a router, or change which.
    ///
    /// All settings are set; those that are not named are as usual. Records stay.
    Set(Set),
    /// Stop serving names.
    Off {
        /// The router.
        router: String,
    },
    /// Names beside those of guests.
    #[command(subcommand)]
    Record(Record),
    /// Show what names are served, and what was counted.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        router: Option<String>,
    },
    /// Forget the answers of other name servers.
    Flush,
}

/// The names of a router.
#[derive(Args)]
pub struct Set {
    /// The router.
    router: String,
    /// Interface whose network may ask; may be given again [usually: those that give addresses].
    #[arg(long = "interface", value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// The guests' domain: they are found there by the names they give, and as their port is called.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    domain: String,
    /// Name server that is asked for all other names, by the host's own network; may be given again.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    forward: Vec<String>,
    /// Answers that are remembered [usually: 10000].
    #[arg(long, value_name = "NUMBER")]
    cache: Option<u32>,
    /// Questions a second that one port may ask [usually: 100].
    #[arg(long, value_name = "NUMBER")]
    rate: Option<u32>,
}

/// What can be done with names.
#[derive(Subcommand)]
pub enum Record {
    /// Add a name, or replace what it stands for.
    #[command(visible_alias = "set")]
    Add {
        /// The router.
        router: String,
        /// The name; without a dot it is one of the guests' domain.
        name: String,
        /// An address of it; may be given again.
        #[arg(long = "address", value_name = "ADDRESS")]
        addresses: Vec<String>,
        /// The name it is another name of.
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, conflicts_with_all = ["addresses", "text"])]
        alias_of: String,
        /// A text; may be given again.
        #[arg(long, value_name = "TEXT")]
        text: Vec<String>,
    },
    /// Remove a name.
    #[command(visible_alias = "delete")]
    Del {
        /// The router.
        router: String,
        /// The name.
        name: String,
    },
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.services().await?;
    let applied = match command {
        Command::Set(Set { router, interfaces, domain, forward, cache, rate }) => {
            let dns = Some(v1::DnsSpec { interfaces, domain, forward, cache, rate, records: Vec::new() });
            client.set_dns(v1::SetDnsRequest { router, dns }).await?
        }
        Command::Off { router } => client.delete_dns(v1::DeleteDnsRequest { router }).await?,
        Command::Record(Record::Add { router, name, addresses, alias_of, text }) => {
            let record = Some(v1::NameRecord { name, addresses, alias_of, text });
            client.set_record(v1::SetRecordRequest { router, record }).await?
        }
        Command::Record(Record::Del { router, name }) => {
            client.delete_record(v1::DeleteRecordRequest { router, name }).await?
        }
        Command::Show { router } => {
            let request = v1::ListServicesRequest { router: router.unwrap_or_default() };
            let answer = client.list(request).await?.into_inner();
            return match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&text(&answer)),
            };
        }
        Command::Flush => {
            let answer = client.flush_names(v1::FlushNamesRequest {}).await?.into_inner();
            return match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&format!("forgot {} answers\n", answer.forgotten)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn text(answer: &v1::ListServicesResponse) -> String {
    let mut table = Table::new(&["ROUTER", "INTERFACES", "DOMAIN", "PASSED ON TO", ">RECORDS"]);
    for names in &answer.names {
        let Some(dns) = &names.dns else { continue };
        let served = answer.interfaces.iter().filter(|i| i.dns && i.router == names.router);
        let interfaces: Vec<&str> = served.map(|i| i.interface.as_str()).collect();
        let forward = if dns.forward.is_empty() { "nobody".to_owned() } else { dns.forward.join(",") };
        let records = dns.records.len().to_string();
        table.row(vec![names.router.clone(), interfaces.join(","), dns.domain.clone(), forward, records]);
    }
    if table.is_empty() {
        return "no names are served; see vswitchctl dns set --help\n".into();
    }
    let mut records = Table::new(&["ROUTER", "NAME", "STANDS FOR"]);
    for names in &answer.names {
        for record in names.dns.iter().flat_map(|dns| &dns.records) {
            let alias = (!record.alias_of.is_empty()).then(|| record.alias_of.clone());
            let texts = record.text.iter().map(|text| format!("\"{text}\""));
            let all: Vec<String> = record.addresses.iter().cloned().chain(alias).chain(texts).collect();
            records.row(vec![names.router.clone(), record.name.clone(), all.join(", ")]);
        }
    }
    let records = if records.is_empty() { String::new() } else { records.text() };
    let c = answer.dns.unwrap_or_default();
    let counts = format!(
        "{} questions: {} known here, {} remembered, {} passed on ({} in vain), {} refused, {} malformed, {} too many; \
         {} answers are remembered, {} questions wait\n",
        c.questions,
        c.local,
        c.cached,
        c.forwarded,
        c.failed,
        c.refused,
        c.malformed,
        c.limited,
        c.remembered,
        c.waiting
    );
    table.text() + &records + &counts
}
