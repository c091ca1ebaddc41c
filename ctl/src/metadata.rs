//! `vswitchctl metadata`.

use clap::{Args, Subcommand, ValueEnum};
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{Table, print, print_applied, print_json};

/// What can be done with what guests are told of themselves.
#[derive(Subcommand)]
pub enum Command {
    /// Tell the guests of a network of themselves, or stop that.
    ///
    /// All settings are set; those that are not named are as usual. User data and keys of one guest are those of
    /// vswitchctl dhcp host add; what is given here is for guests that have none.
    Set(Set),
    /// Show where guests are told of themselves, and what was counted.
    #[command(visible_alias = "list")]
    Show {
        /// One router; all where absent.
        router: Option<String>,
    },
}

/// What an interface tells.
#[derive(Args)]
pub struct Set {
    /// The router.
    router: String,
    /// The interface.
    interface: String,
    /// Whether it tells anything.
    switch: Switch,
    /// The file that guests are given as their user data.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    user_data: String,
    /// Key that guests are to let in by SSH; may be given again.
    #[arg(long = "ssh-key", value_name = "KEY")]
    ssh_keys: Vec<String>,
    /// Answer those only that have asked for a token first.
    #[arg(long)]
    require_token: bool,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.services().await?;
    match command {
        Command::Set(Set { router, interface, switch, user_data, ssh_keys, require_token }) => {
            let metadata = v1::MetadataSpec { user_data, ssh_keys, require_token };
            let metadata = (switch == Switch::On).then_some(metadata);
            let applied = client.set_metadata(v1::SetMetadataRequest { router, interface, metadata }).await?;
            print_applied(applied.get_ref(), format == Format::Json, false)
        }
        Command::Show { router } => {
            let request = v1::ListServicesRequest { router: router.unwrap_or_default() };
            let answer = client.list(request).await?.into_inner();
            match format {
                Format::Json => print_json(&answer),
                Format::Table => print(&text(&answer)),
            }
        }
    }
}

fn text(answer: &v1::ListServicesResponse) -> String {
    let mut table = Table::new(&["ROUTER", "INTERFACE", "USER DATA", ">KEYS", "TOKEN", ">GUESTS OF THEIR OWN"]);
    for interface in &answer.interfaces {
        let Some(metadata) = &interface.metadata else { continue };
        let hosts = interface.dhcp.iter().flat_map(|dhcp| &dhcp.hosts);
        let hosts = hosts.chain(interface.dhcp6.iter().flat_map(|dhcp6| &dhcp6.hosts));
        let own = hosts.filter(|host| !host.user_data.is_empty() || !host.ssh_keys.is_empty()).count();
        let file = if metadata.user_data.is_empty() { "none".to_owned() } else { metadata.user_data.clone() };
        let token = if metadata.require_token { "required" } else { "optional" };
        let keys = metadata.ssh_keys.len().to_string();
        let names = [interface.router.clone(), interface.interface.clone(), file];
        table.row([&names[..], &[keys, token.into(), own.to_string()]].concat());
    }
    if table.is_empty() {
        return "no guests are told of themselves; see vswitchctl metadata set --help\n".into();
    }
    let c = answer.metadata.unwrap_or_default();
    let counts = format!(
        "{} requests: {} answered, {} for what there is not, {} refused, {} malformed, {} for user data that could not be \
         read; {} connections found no room\n",
        c.requests, c.answered, c.unknown, c.refused, c.malformed, c.unreadable, c.limited
    );
    table.text() + &counts
}
