//! `vswitchctl switch`.

use clap::{Args, Subcommand, ValueEnum};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::switching::SwitchOptions;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with switches.
#[derive(Subcommand)]
pub enum Command {
    /// Add a switch.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change settings of a switch; what is not given stays.
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove a switch.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        name: String,
        /// Remove its ports with it.
        #[arg(long)]
        with_ports: bool,
    },
    /// Show switches.
    #[command(visible_alias = "list")]
    Show {
        /// One switch; all where absent.
        name: Option<String>,
    },
}

/// A switch's settings.
#[derive(Args)]
pub struct Settings {
    /// What happens to flows no rule names [usually: allow].
    #[arg(long, value_enum)]
    default: Option<Action>,
    /// Inspect flows by this rule set; "none" for no inspection [usually: none].
    #[arg(long, value_name = "RULESET")]
    inspect: Option<String>,
    /// Forget learned addresses after this many seconds without a frame [usually: 300].
    #[arg(long, value_name = "SECONDS")]
    ageing: Option<u32>,
    /// Learn at most this many addresses [usually: 65536].
    #[arg(long, value_name = "NUMBER")]
    fdb_limit: Option<u32>,
    /// Frames to unknown addresses [usually: flood].
    #[arg(long, value_enum)]
    unknown_unicast: Option<Flood>,
    /// Frames to everybody [usually: flood].
    #[arg(long, value_enum)]
    broadcast: Option<Flood>,
    /// Frames to groups [usually: flood].
    #[arg(long, value_enum)]
    multicast: Option<Flood>,
    #[command(flatten)]
    switching: SwitchOptions,
}

/// What is done with a new flow.
#[derive(Clone, Copy, ValueEnum)]
pub enum Action {
    /// Forward it.
    Allow,
    /// Drop it silently.
    Drop,
    /// Drop it and tell the sender.
    Reject,
}

/// What is done with a frame without a single destination.
#[derive(Clone, Copy, ValueEnum)]
pub enum Flood {
    /// Send it to every other port of the VLAN.
    Flood,
    /// Drop it.
    Drop,
}

impl From<Action> for i32 {
    fn from(action: Action) -> i32 {
        match action {
            Action::Allow => v1::Action::Allow.into(),
            Action::Drop => v1::Action::Drop.into(),
            Action::Reject => v1::Action::Reject.into(),
        }
    }
}

impl From<Flood> for i32 {
    fn from(flood: Flood) -> i32 {
        match flood {
            Flood::Flood => v1::Flood::Flood.into(),
            Flood::Drop => v1::Flood::Drop.into(),
        }
    }
}

impl Settings {
    /// The message, and the names of the fields that were given.
    fn spec(self, name: String) -> (v1::SwitchSpec, Vec<String>) {
        let mut spec = v1::SwitchSpec { name, ..v1::SwitchSpec::default() };
        let mut fields = Vec::new();
        let mut given = |field: &str| fields.push(field.to_owned());
        if let Some(action) = self.default {
            given("default_action");
            spec.default_action = action.into();
        }
        if let Some(set) = self.inspect {
            given("inspect");
            spec.inspect = if set == "none" { String::new() } else { set };
        }
        if self.ageing.is_some() {
            given("ageing_s");
            spec.ageing_s = self.ageing;
        }
        if self.fdb_limit.is_some() {
            given("fdb_limit");
            spec.fdb_limit = self.fdb_limit;
        }
        for (flood, field, slot) in [
            (self.unknown_unicast, "unknown_unicast", &mut spec.unknown_unicast),
            (self.broadcast, "broadcast", &mut spec.broadcast),
            (self.multicast, "multicast", &mut spec.multicast),
        ] {
            if let Some(flood) = flood {
                given(field);
                *slot = flood.into();
            }
        }
        fields.extend(self.switching.put(&mut spec));
        (spec, fields)
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.switches().await?;
    let applied = match command {
        Command::Add { name, settings } => {
            let (spec, _) = settings.spec(name);
            client.add(v1::AddSwitchRequest { switch: Some(spec) }).await?
        }
        Command::Set { name, settings } => {
            let (spec, fields) = settings.spec(name);
            if fields.is_empty() {
                return Err(Failure::usage("nothing to set; see vswitchctl switch set --help"));
            }
            client.set(v1::SetSwitchRequest { switch: Some(spec), fields }).await?
        }
        Command::Del { name, with_ports } => client.delete(v1::DeleteSwitchRequest { name, with_ports }).await?,
        Command::Show { name } => {
            let request = v1::ListSwitchesRequest { name: name.unwrap_or_default() };
            let switches = client.list(request).await?.into_inner().switches;
            return match format {
                Format::Json => print_json(&switches),
                Format::Table => print(&text(&switches)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

/// Switches as a table.
pub fn text(switches: &[v1::SwitchStatus]) -> String {
    let mut table = Table::new(&["SWITCH", "DEFAULT", "INSPECT", ">PORTS", ">ADDRESSES", ">AGEING", "FLOODS"]);
    for status in switches {
        let spec = status.spec.clone().unwrap_or_default();
        let floods = [("unknown", spec.unknown_unicast), ("broadcast", spec.broadcast), ("multicast", spec.multicast)];
        let flooded: Vec<&str> =
            floods.iter().filter(|(_, f)| *f != i32::from(v1::Flood::Drop)).map(|(name, _)| *name).collect();
        table.row(vec![
            spec.name.clone(),
            action_name(spec.default_action).into(),
            spec.inspect.clone(),
            status.ports.len().to_string(),
            status.fdb_entries.to_string(),
            format!("{}s", spec.ageing_s.unwrap_or_default()),
            flooded.join(","),
        ]);
    }
    if table.is_empty() {
        return "no switches; add one with: vswitchctl switch add lan\n".into();
    }
    let mut answers =
        Table::new(&["SWITCH", ">HOSTS KNOWN", ">ANSWERED", ">TO ROUTERS", ">FLOODED", ">CONTESTED", ">FULL"]);
    for status in switches {
        let name = status.spec.as_ref().map_or(String::new(), |spec| spec.name.clone());
        if let Some(v1::Suppression { known, answered, to_router, flooded, contested, full }) = status.suppression {
            let counts = [known, answered, to_router, flooded, contested, full].map(|count| count.to_string());
            answers.row([name].into_iter().chain(counts).collect());
        }
    }
    if answers.is_empty() {
        return table.text();
    }
    format!("{}\naddress resolution answered by the switch:\n{}", table.text(), answers.text())
}

/// An action's name.
pub fn action_name(action: i32) -> &'static str {
    match v1::Action::try_from(action) {
        Ok(v1::Action::Unspecified | v1::Action::Allow) => "allow",
        Ok(v1::Action::Drop) => "drop",
        Ok(v1::Action::Reject) => "reject",
        Ok(v1::Action::Next) => "next",
        Err(_) => "?",
    }
}
