//! `vswitchctl appliance`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::switch::{Action, action_name};
use crate::table::{Table, count, print, print_applied, print_json};

/// What can be done with appliances.
#[derive(Subcommand)]
pub enum Command {
    /// Put the guard between two ports, between two switches, into one port, or behind a mirror. Ports that are named
    /// leave their switches for it.
    #[command(group(ArgGroup::new("arms").required(true).args(["wire", "inline", "hairpin", "listen"])))]
    Add {
        /// Its name, which rules use among those of switches.
        name: String,
        /// A piece of cable between two ports: tags, MACs, BPDUs pass as they are.
        #[arg(long, num_args = 2, value_names = ["PORT", "PORT"])]
        wire: Vec<String>,
        /// The only way between two switches.
        #[arg(long, num_args = 2, value_names = ["SWITCH", "SWITCH"])]
        inline: Vec<String>,
        /// A port that frames leave by the way they came, with another VLAN.
        #[arg(long, value_name = "PORT", requires = "vlans")]
        hairpin: Option<String>,
        /// Pairs of VLANs of the hairpin, as 10:20,11:21.
        #[arg(long, value_name = "A:B,...", requires = "hairpin", value_parser = pair, value_delimiter = ',')]
        vlans: Vec<(u32, u32)>,
        /// Ports that copies come in by: inspect and tell, never send.
        #[arg(long, num_args = 1.., value_name = "PORT")]
        listen: Vec<String>,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Change settings of an appliance; what is not given stays.
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Let everything pass unseen, or guard again. Connections that begin meanwhile are taken up in their midst.
    Bypass {
        /// Its name.
        name: String,
        /// Whether everything passes.
        #[arg(value_enum)]
        switch: Switch,
    },
    /// Remove an appliance.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        name: String,
        /// Remove its ports with it.
        #[arg(long)]
        with_ports: bool,
        /// Put its ports on this switch.
        #[arg(long, value_name = "SWITCH", conflicts_with = "with_ports")]
        to_switch: Option<String>,
    },
    /// Show appliances.
    #[command(visible_alias = "list")]
    Show {
        /// One appliance; all where absent.
        name: Option<String>,
    },
}

/// An appliance's settings.
#[derive(Args)]
pub struct Settings {
    /// What happens to flows no rule names [usually: allow].
    #[arg(long, value_enum)]
    default: Option<Action>,
    /// Inspect flows by this rule set; "none" for no inspection [usually: none].
    #[arg(long, value_name = "RULESET")]
    inspect: Option<String>,
    /// What cannot be judged for want of room in a table: dropped, or let pass [usually: closed].
    #[arg(long, value_enum)]
    fail: Option<Fail>,
    /// Let nothing pass.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    down: Option<bool>,
    /// Probes through it: milliseconds between two (0 for none), how late one may be, and how many missed in a row are
    /// a failure [usually: 1000,250,3].
    #[arg(long, value_name = "INTERVAL,WITHIN,MISSES", value_parser = probe)]
    probe: Option<v1::ApplianceProbe>,
}

/// What becomes of what cannot be judged.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fail {
    /// It passes.
    Open,
    /// It is dropped.
    Closed,
}

/// On or off.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

fn pair(text: &str) -> Result<(u32, u32), String> {
    let (a, b) = text.split_once(':').ok_or("a pair is two VLANs with a colon, 10:20")?;
    let vid = |text: &str| text.parse().map_err(|_| format!("\"{text}\" is no VLAN"));
    Ok((vid(a)?, vid(b)?))
}

fn probe(text: &str) -> Result<v1::ApplianceProbe, String> {
    let number = |text: &str| text.parse().map_err(|_| format!("\"{text}\" is no number"));
    match text.split(',').collect::<Vec<_>>().as_slice() {
        ["off"] => Ok(v1::ApplianceProbe { interval_ms: 0, within_ms: 250, misses: 3 }),
        [interval, within, misses] => Ok(v1::ApplianceProbe {
            interval_ms: number(interval)?,
            within_ms: number(within)?,
            misses: number(misses)?,
        }),
        _ => Err("three numbers with commas, as 1000,250,3, or \"off\"".into()),
    }
}

impl Settings {
    /// Puts what is given into the message; the names of the fields.
    fn fill(self, spec: &mut v1::ApplianceSpec) -> Vec<String> {
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
        if let Some(fail) = self.fail {
            given("fail_open");
            spec.fail_open = fail == Fail::Open;
        }
        if let Some(down) = self.down {
            given("down");
            spec.down = down;
        }
        if let Some(probe) = self.probe {
            given("probe");
            spec.probe = Some(probe);
        }
        fields
    }
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.appliances().await?;
    let named = |name: String| v1::ApplianceSpec { name, ..v1::ApplianceSpec::default() };
    let applied = match command {
        Command::Add { name, wire, inline, hairpin, vlans, listen, settings } => {
            let vlans = vlans.into_iter().map(|(a, b)| v1::VlanPair { a, b }).collect();
            let hairpin = hairpin.map(|port| v1::Hairpin { port, vlans });
            let mut spec = v1::ApplianceSpec { wire, inline, hairpin, listen, ..named(name) };
            settings.fill(&mut spec);
            client.add(v1::AddApplianceRequest { appliance: Some(spec) }).await?
        }
        Command::Set { name, settings } => {
            let mut spec = named(name);
            let fields = settings.fill(&mut spec);
            if fields.is_empty() {
                return Err(Failure::usage("nothing to set; see vswitchctl appliance set --help"));
            }
            client.set(v1::SetApplianceRequest { appliance: Some(spec), fields }).await?
        }
        Command::Bypass { name, switch } => {
            let spec = v1::ApplianceSpec { bypass: switch == Switch::On, ..named(name) };
            let fields = vec!["bypass".to_owned()];
            client.set(v1::SetApplianceRequest { appliance: Some(spec), fields }).await?
        }
        Command::Del { name, with_ports, to_switch } => {
            let to_switch = to_switch.unwrap_or_default();
            client.delete(v1::DeleteApplianceRequest { name, with_ports, to_switch }).await?
        }
        Command::Show { name } => {
            let request = v1::ListAppliancesRequest { name: name.unwrap_or_default() };
            let appliances = client.list(request).await?.into_inner().appliances;
            return match format {
                Format::Json => print_json(&appliances),
                Format::Table => print(&text(&appliances)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

/// Appliances as a table.
pub fn text(appliances: &[v1::ApplianceStatus]) -> String {
    let columns =
        ["APPLIANCE", "BETWEEN", "STANDING", "PROBES", "DEFAULT", "INSPECT", "FAILS", ">PASSED", ">REFUSED", ">UNSEEN"];
    let mut table = Table::new(&columns);
    for status in appliances {
        let spec = status.spec.clone().unwrap_or_default();
        table.row(vec![
            spec.name.clone(),
            between(&spec),
            status.standing.clone(),
            pulse(status),
            action_name(spec.default_action).into(),
            spec.inspect.clone(),
            if spec.fail_open { "open".into() } else { "closed".into() },
            count(status.passed),
            count(status.refused + status.failed_closed),
            count(status.bypassed + status.failed_open),
        ]);
    }
    if table.is_empty() {
        return "no appliances; add one with: vswitchctl appliance add guard --wire PORT PORT\n".into();
    }
    table.text()
}

/// What the probes say, and why where they say something bad.
fn pulse(status: &v1::ApplianceStatus) -> String {
    match status.pulse.as_str() {
        "degraded" | "failed" => format!("{} ({})", status.pulse, status.pulse_reason),
        _ => status.pulse.clone(),
    }
}

fn between(spec: &v1::ApplianceSpec) -> String {
    if !spec.wire.is_empty() {
        return format!("ports {}", spec.wire.join(" and "));
    }
    if !spec.inline.is_empty() {
        return format!("switches {}", spec.inline.join(" and "));
    }
    match &spec.hairpin {
        Some(hairpin) => {
            let pairs: Vec<String> = hairpin.vlans.iter().map(|pair| format!("{}:{}", pair.a, pair.b)).collect();
            format!("port {}, VLANs {}", hairpin.port, pairs.join(","))
        }
        None => format!("listens on {}", spec.listen.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_vlans_are_read() {
        assert_eq!(pair("10:20"), Ok((10, 20)));
        assert!(pair("10").is_err() && pair("a:b").is_err());
    }

    #[test]
    fn settings_of_probes_are_read() {
        assert_eq!(probe("500,100,2").map(|p| (p.interval_ms, p.within_ms, p.misses)), Ok((500, 100, 2)));
        assert_eq!(probe("off").map(|p| p.interval_ms), Ok(0));
        assert!(probe("500").is_err() && probe("a,b,c").is_err());
    }
}
