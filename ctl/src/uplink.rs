//! `vswitchctl uplink`: the host's own network card, shared with it.

use clap::Subcommand;
use weir_proto::v1;
use weir_proto::v1::port_spec::Attachment;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::port;
use crate::table::{print, print_applied, print_json};

/// What can be done with uplinks.
#[derive(Subcommand)]
pub enum Command {
    /// Share a network card of the host with a switch.
    ///
    /// The host keeps its addresses, routes and connections; guests reach the network and the host by the same card.
    /// When the daemon ends, however it ends, the card is as it was before.
    ///
    /// Unless "vswitchctl confirm" comes in time, the uplink is taken off again; at once when the default gateway, or
    /// the machine this session comes from (SSH_CONNECTION), answered pings before and does not any more.
    ///
    /// Example:
    ///   vswitchctl uplink attach eth0 --switch lan
    ///   vswitchctl confirm
    #[command(verbatim_doc_comment)]
    Attach {
        /// The card.
        interface: String,
        /// The switch.
        #[arg(long)]
        switch: String,
        /// The port's name [usually: the card's].
        #[arg(long)]
        name: Option<String>,
        /// The network namespace it is in, by name or path.
        #[arg(long, value_name = "NAMESPACE")]
        netns: Option<String>,
        /// Take it off again unless confirmed within so many seconds; 0: keep it unasked.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        confirm_within: u32,
        /// Take it off at once when this address does not answer pings any more; may be given several times.
        #[arg(long, value_name = "ADDRESS")]
        watch: Vec<String>,
    },
    /// Take the switch off a card; the host's traffic does not notice.
    #[command(visible_alias = "del")]
    Detach {
        /// The port's name, or the card's.
        name: String,
    },
    /// Show uplinks: the hooks in use, what the kernel keeps, the guests that are known.
    #[command(visible_alias = "list")]
    Show {
        /// One uplink; all where absent.
        name: Option<String>,
    },
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.ports().await?;
    let json = format == Format::Json;
    match command {
        Command::Attach { interface, switch, name, netns, confirm_within, watch } => {
            let name = name.unwrap_or_else(|| interface.clone());
            let uplink = v1::Uplink { interface, netns: netns.unwrap_or_default() };
            let spec =
                v1::PortSpec { name, switch, attachment: Some(Attachment::Uplink(uplink)), ..v1::PortSpec::default() };
            let watch = if confirm_within == 0 { watch } else { with_our_peer(watch) };
            let request = v1::AddPortRequest { port: Some(spec), confirm_within_s: confirm_within, watch };
            let applied = client.add(request).await?.into_inner();
            print_applied(&applied, json, false)?;
            if confirm_within > 0 && !json {
                print(&format!(
                    "taken off again in {confirm_within} s unless confirmed: vswitchctl confirm {}\n",
                    applied.revision
                ))?;
            }
            Ok(())
        }
        Command::Detach { name } => {
            let uplinks = list(daemon).await?;
            let of = |p: &&v1::PortStatus| spec_name(p) == name || card(p) == Some(name.as_str());
            let found = uplinks.iter().find(of).map(|p| spec_name(p).to_owned());
            let name = found
                .ok_or_else(|| Failure::refused(format!("there is no uplink {name}; see vswitchctl uplink show")))?;
            let applied = client.delete(v1::DeletePortRequest { name }).await?;
            print_applied(applied.get_ref(), json, false)
        }
        Command::Show { name } => {
            let mut uplinks = list(daemon).await?;
            if let Some(name) = name {
                uplinks.retain(|p| spec_name(p) == name || card(p) == Some(name.as_str()));
                if uplinks.is_empty() {
                    return Err(Failure::refused(format!("there is no uplink {name}; see vswitchctl uplink show")));
                }
            }
            if json {
                return print_json(&uplinks);
            }
            if uplinks.is_empty() {
                return print("no uplinks; add one with: vswitchctl uplink attach eth0 --switch lan\n");
            }
            print(&uplinks.iter().map(port::detail).collect::<Vec<_>>().join("\n"))
        }
    }
}

async fn list(daemon: &Connection) -> Result<Vec<v1::PortStatus>, Failure> {
    let mut ports = daemon.ports().await?.list(v1::ListPortsRequest::default()).await?.into_inner().ports;
    ports.retain(|port| card(port).is_some());
    Ok(ports)
}

fn spec_name(port: &v1::PortStatus) -> &str {
    port.spec.as_ref().map_or("", |spec| spec.name.as_str())
}

/// The card of an uplink; `None` for other ports.
fn card(port: &v1::PortStatus) -> Option<&str> {
    match port.spec.as_ref()?.attachment.as_ref()? {
        Attachment::Uplink(uplink) => Some(&uplink.interface),
        _ => None,
    }
}

/// Adds the machine that this session comes from (sshd(8), SSH_CONNECTION).
fn with_our_peer(mut watch: Vec<String>) -> Vec<String> {
    let session = std::env::var("SSH_CONNECTION").unwrap_or_default();
    let peer = session.split_whitespace().next().filter(|peer| peer.parse::<std::net::IpAddr>().is_ok());
    watch.extend(peer.map(str::to_owned).filter(|peer| !watch.contains(peer)));
    watch
}
