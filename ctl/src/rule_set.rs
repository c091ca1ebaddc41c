//! `vswitchctl ruleset`.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_proto::v1;

use crate::Format;
use crate::apply::read_text;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with rule sets.
#[derive(Subcommand)]
pub enum Command {
    /// Add a rule set, or replace the one of that name.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        source: Source,
    },
    /// Let the daemon read the files of all rule sets again and take what has changed in them.
    Reload,
    /// Remove a rule set that nothing uses.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        name: String,
    },
    /// Show rule sets; with a name, what is wrong with its rules too.
    #[command(visible_alias = "list")]
    Show {
        /// One rule set; all where absent.
        name: Option<String>,
    },
    /// Let the daemon read a rule set and say what is wrong with it; nothing is changed.
    Check {
        #[command(flatten)]
        source: Source,
    },
}

/// Where a rule set's text comes from.
#[derive(Args)]
pub struct Source {
    /// A set that comes with the daemon: starter.
    #[arg(long, value_name = "NAME", group = "source", required = true)]
    builtin: Option<String>,
    /// A file on the daemon's host, absolute; may be given several times.
    #[arg(long = "file", value_name = "PATH", group = "source", required = true)]
    files: Vec<String>,
    /// A file of ours whose text is sent; "-" for standard input.
    #[arg(long, value_name = "FILE", group = "source", required = true)]
    upload: Option<PathBuf>,
    /// Refuse the whole set when one rule is refused.
    #[arg(long)]
    strict: bool,
    /// A variable's definition, as in HOME_NET=[10.0.0.0/8]; may be given several times.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
    /// Folder on the daemon's host with the sets of values (dataset) that rules load and save.
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<String>,
    /// A threshold.config on the daemon's host.
    #[arg(long, value_name = "PATH")]
    thresholds: Option<String>,
    /// A classification.config on the daemon's host.
    #[arg(long, value_name = "PATH")]
    classifications: Option<String>,
    /// Categories of the reputation of addresses, a file on the daemon's host.
    #[arg(long, value_name = "PATH", requires = "reputation")]
    reputation_categories: Option<String>,
    /// Reputation of addresses, a file on the daemon's host; may be given several times.
    #[arg(long, value_name = "PATH", requires = "reputation_categories")]
    reputation: Vec<String>,
    /// A database of places (MaxMind's format) on the daemon's host.
    #[arg(long, value_name = "PATH")]
    geoip: Option<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim_start_matches('$').to_owned(), value.to_owned()))
}

impl Source {
    fn spec(self, name: String) -> Result<v1::RuleSetSpec, Failure> {
        Ok(v1::RuleSetSpec {
            name,
            builtin: self.builtin.unwrap_or_default(),
            files: self.files,
            text: self.upload.as_deref().map(read_text).transpose()?.unwrap_or_default(),
            strict: self.strict,
            variables: self.variables.into_iter().collect::<HashMap<_, _>>(),
            data: self.data.unwrap_or_default(),
            thresholds: self.thresholds.unwrap_or_default(),
            classifications: self.classifications.unwrap_or_default(),
            reputation_categories: self.reputation_categories.unwrap_or_default(),
            reputation_addresses: self.reputation,
            geoip: self.geoip.unwrap_or_default(),
        })
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.rule_sets().await?;
    let applied = match command {
        Command::Add { name, source } => {
            let rule_set = Some(source.spec(name)?);
            client.put(v1::PutRuleSetRequest { rule_set, create_only: false }).await?
        }
        Command::Reload => client.reload(v1::ReloadRuleSetsRequest {}).await?,
        Command::Del { name } => client.delete(v1::DeleteRuleSetRequest { name }).await?,
        Command::Show { name } => {
            let one = name.is_some();
            let request = v1::ListRuleSetsRequest { name: name.unwrap_or_default() };
            let sets = client.list(request).await?.into_inner().rule_sets;
            if format == Format::Json {
                return print_json(&sets);
            }
            let problems: String = if one { sets.iter().map(diagnostics).collect() } else { String::new() };
            return print(&(text(&sets) + &problems));
        }
        Command::Check { source } => {
            let rule_set = Some(source.spec("check".into())?);
            let answer = client.check(v1::CheckRuleSetRequest { rule_set }).await?.into_inner();
            let status = answer.status.unwrap_or_default();
            match format {
                Format::Json => print_json(&status)?,
                Format::Table => print(&format!(
                    "{}{} rules in force, {} refused\n",
                    diagnostics(&status),
                    status.rules,
                    status.refused
                ))?,
            }
            return match status.refused {
                0 => Ok(()),
                _ => Err(Failure::refused("some rules were refused")),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn text(sets: &[v1::RuleSetStatus]) -> String {
    let mut table = Table::new(&["RULESET", ">RULES", ">REFUSED", "SOURCE", "USED BY", "DIGEST"]);
    for status in sets {
        let spec = status.spec.clone().unwrap_or_default();
        let source = if !spec.builtin.is_empty() {
            format!("builtin {}", spec.builtin)
        } else if !spec.files.is_empty() {
            spec.files.join(", ")
        } else {
            format!("{} bytes of text", spec.text.len())
        };
        table.row(vec![
            spec.name,
            status.rules.to_string(),
            status.refused.to_string(),
            source,
            status.used_by.join(", "),
            status.digest.clone(),
        ]);
    }
    if table.is_empty() {
        return "no rule sets; add one with: vswitchctl ruleset add starter --builtin starter\n".into();
    }
    table.text()
}

fn diagnostics(status: &v1::RuleSetStatus) -> String {
    status.diagnostics.iter().map(|d| format!("\n{}\n", d.trim_end())).collect()
}
