//! `vswitchctl show`.

use clap::Args;
use serde::Serialize;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{print, print_json};
use crate::{appliance, port, router, switch};

/// The whole state.
#[derive(Args)]
pub struct Show {
    /// As text that "apply" takes.
    #[arg(long)]
    config: bool,
}

/// The state for programs.
#[derive(Serialize)]
struct Whole {
    version: String,
    revision: u64,
    epoch: u64,
    switches: Vec<v1::SwitchStatus>,
    ports: Vec<v1::PortStatus>,
    routers: Vec<v1::RouterStatus>,
    appliances: Vec<v1::ApplianceStatus>,
}

/// Runs the command.
pub async fn run(show: Show, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let state = daemon.config().await?.show(v1::ShowConfigRequest {}).await?.into_inner();
    if show.config {
        return match format {
            Format::Json => print_json(&state),
            Format::Table => print(&state.toml),
        };
    }
    let switches = daemon.switches().await?.list(v1::ListSwitchesRequest::default()).await?.into_inner().switches;
    let ports = daemon.ports().await?.list(v1::ListPortsRequest::default()).await?.into_inner().ports;
    let routers = daemon.routers().await?.list(v1::ListRoutersRequest::default()).await?.into_inner().routers;
    let request = v1::ListAppliancesRequest::default();
    let appliances = daemon.appliances().await?.list(request).await?.into_inner().appliances;
    let v1::ShowConfigResponse { revision, epoch, version, .. } = state;
    match format {
        Format::Json => print_json(&Whole { version, revision, epoch, switches, ports, routers, appliances }),
        Format::Table => print(&format!(
            "vswitchd {version}, revision {revision}, epoch {epoch}\n\n{}\n{}{}{}",
            switch::text(&switches),
            port::text(&ports),
            if routers.is_empty() { String::new() } else { format!("\n{}", router::text(&routers)) },
            if appliances.is_empty() { String::new() } else { format!("\n{}", appliance::text(&appliances)) }
        )),
    }
}
