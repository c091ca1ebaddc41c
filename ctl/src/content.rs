//! `vswitchctl content`.

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with the content filter.
#[derive(Subcommand)]
pub enum Command {
    /// Lists of sites.
    #[command(subcommand)]
    List(List),
    /// Rules that say who may visit which sites.
    #[command(subcommand)]
    Rule(Rule),
    /// Lists and rules, with how often each matched.
    Show,
    /// Ask what the rules say of a site; nothing is sent or counted.
    Test {
        /// A URL, or a host name.
        url: String,
        /// Who asks: a port by name.
        #[arg(long, value_name = "PORT")]
        from: Option<String>,
        /// Where the name is met: http, tls, quic, dns.
        #[arg(long)]
        kind: Option<String>,
        /// The server's address.
        #[arg(long)]
        address: Option<String>,
    },
}

/// What can be done with lists.
#[derive(Subcommand)]
pub enum List {
    /// Add a list, or replace the one of that name. Lines are names, hosts files, URLs, addresses, or
    /// "name,category,score".
    Add {
        /// Its name.
        name: String,
        /// A file on the daemon's host, absolute; may be given several times.
        #[arg(long = "file", value_name = "PATH")]
        files: Vec<String>,
        /// An entry; may be given several times.
        #[arg(long = "entry", value_name = "SITE")]
        entries: Vec<String>,
    },
    /// Remove a list that no rule asks.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        name: String,
    },
    /// Let the daemon read the files of all lists again and take what has changed in them.
    Reload,
    /// Show the lists.
    Show,
}

/// What can be done with rules.
#[derive(Subcommand)]
pub enum Rule {
    /// Add a rule at the end, or replace the one of that name.
    Add(Box<New>),
    /// Remove a rule.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        name: String,
    },
    /// Show the rules.
    Show,
}

/// A rule.
#[derive(Args)]
pub struct New {
    /// Its name.
    name: String,
    /// allow, deny or log.
    action: String,
    /// The sites of a list; may be given several times. Without: every site.
    #[arg(long = "list", value_name = "LIST")]
    lists: Vec<String>,
    /// For a group's ports; may be given several times.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// For a port; may be given several times.
    #[arg(long = "from", value_name = "PORT")]
    ports: Vec<String>,
    /// For an address or network; may be given several times.
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// On a switch; may be given several times.
    #[arg(long = "switch", value_name = "SWITCH")]
    switches: Vec<String>,
    /// Where names are met: http, tls, quic, dns, address; may be given several times.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// A category of the lists' entries; may be given several times.
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// The least score of an entry that counts.
    #[arg(long, value_name = "0-127", default_value_t = 0)]
    min_score: u8,
    /// A country of servers, two letters (DE); may be given several times. Needs content.geoip.
    #[arg(long = "country", value_name = "CODE")]
    countries: Vec<String>,
    /// Only what has no readable name: no server name, or an encrypted one.
    #[arg(long)]
    hidden: bool,
    /// How the guest is told: page, reset, nxdomain, sinkhole, silence.
    #[arg(long)]
    answer: Option<String>,
    /// Put it before this rule.
    #[arg(long, value_name = "RULE")]
    before: Option<String>,
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.content().await?;
    let applied = match command {
        Command::List(List::Add { name, files, entries }) => {
            if files.is_empty() && entries.is_empty() {
                return Err(Failure::usage("give the list files or entries: --file PATH, --entry SITE"));
            }
            let list = Some(v1::ContentListSpec { name, files, entries });
            client.put_list(v1::PutContentListRequest { list }).await?
        }
        Command::List(List::Del { name }) => client.delete_list(v1::DeleteContentListRequest { name }).await?,
        Command::List(List::Reload) => client.reload(v1::ReloadContentRequest {}).await?,
        Command::Rule(Rule::Add(new)) => client.put_rule(new.request()).await?,
        Command::Rule(Rule::Del { name }) => client.delete_rule(v1::DeleteContentRuleRequest { name }).await?,
        command @ (Command::List(List::Show) | Command::Rule(Rule::Show) | Command::Show) => {
            let shown = client.show(v1::ShowContentRequest {}).await?.into_inner();
            return match (command, format) {
                (Command::List(_), Format::Json) => print_json(&shown.lists),
                (Command::Rule(_), Format::Json) => print_json(&shown.rules),
                (_, Format::Json) => print_json(&shown),
                (Command::List(_), Format::Table) => print(&lists(&shown)),
                (Command::Rule(_), Format::Table) => print(&rules(&shown)),
                (_, Format::Table) => print(&(lists(&shown) + "\n" + &rules(&shown))),
            };
        }
        Command::Test { url, from, kind, address } => {
            let request = v1::TestContentRequest {
                url,
                port: from.unwrap_or_default(),
                kind: kind.unwrap_or_default(),
                address: address.unwrap_or_default(),
            };
            let answer = client.test(request).await?.into_inner();
            return match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&verdict(&answer)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

impl New {
    fn request(self) -> v1::PutContentRuleRequest {
        let rule = v1::ContentRuleSpec {
            name: self.name,
            action: self.action,
            from_ports: self.ports,
            from_groups: self.groups,
            from_addresses: self.addresses,
            switches: self.switches,
            kinds: self.kinds,
            lists: self.lists,
            categories: self.categories,
            min_score: self.min_score.into(),
            hidden: self.hidden,
            countries: self.countries,
            answer: self.answer.unwrap_or_default(),
        };
        v1::PutContentRuleRequest { rule: Some(rule), before: self.before.unwrap_or_default() }
    }
}

fn lists(shown: &v1::ShowContentResponse) -> String {
    let mut table = Table::new(&["LIST", ">ENTRIES", ">REFUSED", ">KIB", ">HITS", "USED BY", "FILES"]);
    for status in &shown.lists {
        let spec = status.spec.clone().unwrap_or_default();
        table.row(vec![
            spec.name,
            status.entries.to_string(),
            status.refused.to_string(),
            status.memory.div_ceil(1024).to_string(),
            status.hits.to_string(),
            status.used_by.join(", "),
            spec.files.join(", "),
        ]);
    }
    if table.is_empty() {
        return "no content lists; add one with: vswitchctl content list add NAME --file PATH\n".into();
    }
    table.text()
}

fn rules(shown: &v1::ShowContentResponse) -> String {
    let mut table = Table::new(&["RULE", "ACTION", "LISTS", "FROM", "KINDS", "ANSWER", ">HITS"]);
    for status in &shown.rules {
        let spec = status.spec.clone().unwrap_or_default();
        let from = [spec.from_ports, spec.from_groups, spec.from_addresses, spec.switches].concat();
        let or = |text: String, usual: &str| if text.is_empty() { usual.to_owned() } else { text };
        let sites = match (spec.hidden, spec.countries.join(", ")) {
            (true, _) => "(hidden)".to_owned(),
            (false, countries) if countries.is_empty() => "(all)".to_owned(),
            (false, countries) => format!("({countries})"),
        };
        table.row(vec![
            spec.name,
            spec.action,
            or(spec.lists.join(", "), &sites),
            or(from.join(", "), "(all)"),
            or(spec.kinds.join(", "), "(all)"),
            or(spec.answer, "(usual)"),
            status.hits.to_string(),
        ]);
    }
    let denied = shown.denied;
    format!("{}default {}; {} sites judged, {denied} denied\n", table.text(), shown.default_action, shown.judged)
}

fn verdict(answer: &v1::TestContentResponse) -> String {
    let mut text = format!("{}{}: {} by rule {}", answer.host, answer.path, answer.action, answer.rule);
    for (word, value) in [("list", &answer.list), ("category", &answer.category), ("answer", &answer.answer)] {
        if !value.is_empty() {
            text.push_str(&format!(", {word} {value}"));
        }
    }
    if !answer.logged.is_empty() {
        text.push_str(&format!("; logged by {}", answer.logged.join(", ")));
    }
    text + "\n"
}
