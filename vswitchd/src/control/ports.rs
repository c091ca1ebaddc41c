//! `weir.v1.Ports`.

use std::net::IpAddr;
use std::time::Duration;

use tonic::{Request, Response, Status};
use weir_fabric::loops::Blocked;
use weir_proto::v1;
use weir_proto::v1::ports_server::Ports;
use weir_wire::PortId;

use super::Service;
use super::convert::{drops, required, unknown_field};
use super::convert_port::{port_of, port_to_proto};
use crate::commit::Terms;
use crate::config::{Config, Port};
use crate::published::Snapshot;
use crate::reach;
use crate::refusal::Refusal;
use crate::worker::View;

/// What [`set_field`] knows.
const FIELDS: [&str; 16] = [
    "switch",
    "groups",
    "attachment",
    "vlan",
    "isolated",
    "down",
    "no_learning",
    "no_gro",
    "fdb_limit",
    "rate",
    "share",
    "storm",
    "bpdu_guard",
    "lldp",
    "multicast_router",
    "dscp",
];

/// How long hosts have to answer that are to be watched.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Ports that are asked about in one go: traffic waits meanwhile.
const PORTS_AT_ONCE: usize = 64;

#[tonic::async_trait]
impl Ports for Service {
    async fn add(&self, request: Request<v1::AddPortRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::AddPortRequest { port, confirm_within_s, watch } = request.into_inner();
        let port = port_of(&required(port, "port")?)?;
        let trial = super::config::trial(confirm_within_s)?;
        let watched = match trial {
            Some(_) => Watched::of(&port, &watch).await?,
            None if watch.is_empty() => Watched::default(),
            None => return Err(Refusal::invalid("watch: it needs confirm_within_s").into()),
        };
        let change = self.controller.change(Terms { trial, ..Terms::default() }, move |config| {
            if config.port(&port.name).is_some() {
                return Err(Refusal::exists("port", &port.name));
            }
            config.ports.push(port);
            Ok(())
        });
        let mut outcome = change.await?;
        if !watched.hosts.is_empty() {
            self.controller.watch_over(outcome.revision, watched.hosts, watched.netns);
        }
        outcome.warnings.extend(
            watched
                .silent
                .iter()
                .map(|host| format!("{host} did not answer pings before the change, so it is not watched")),
        );
        Ok(Response::new(outcome.into()))
    }

    async fn set(&self, request: Request<v1::SetPortRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetPortRequest { port, fields } = request.into_inner();
        let wanted = port_of(&required(port, "port")?)?;
        let outcome = self.controller.change(Terms::default(), move |config| {
            let port = find(config, &wanted.name)?;
            if fields.is_empty() {
                // The guard and what it may open have calls of their own.
                let guard = port.guard.take();
                let (quota, syn_proxy) = (port.quota, port.syn_proxy);
                *port = crate::config::Port { guard, quota, syn_proxy, ..wanted };
                return Ok(());
            }
            fields.iter().try_for_each(|field| set_field(port, &wanted, field))
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn delete(&self, request: Request<v1::DeletePortRequest>) -> Result<Response<v1::Applied>, Status> {
        let name = request.into_inner().name;
        let outcome = self.controller.change(Terms::default(), move |config| {
            find(config, &name)?;
            config.ports.retain(|p| p.name != name);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn list(&self, request: Request<v1::ListPortsRequest>) -> Result<Response<v1::ListPortsResponse>, Status> {
        let v1::ListPortsRequest { name, switch } = request.into_inner();
        let snapshot = self.controller.snapshot();
        if !switch.is_empty() {
            super::select(&switch, "switch", snapshot.ids.switches())?;
        }
        let mut ids = super::select(&name, "port", snapshot.ids.ports())?;
        ids.retain(|(name, _)| switch.is_empty() || snapshot.config.port(name).is_some_and(|p| p.switch == switch));
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(PORTS_AT_ONCE) {
            let asked: Vec<PortId> = some.iter().map(|(_, id)| *id).collect();
            let facts = self.controller.worker().ask_each(&asked, |view, id| facts(view, id));
            found.extend(facts.await.map_err(Refusal::from)?);
        }
        let ports = ids.iter().zip(found).map(|((name, id), facts)| status(&snapshot, name, *id, facts)).collect();
        Ok(Response::new(v1::ListPortsResponse { ports }))
    }
}

/// Hosts that must stay reachable while a port is on trial.
#[derive(Default)]
struct Watched {
    hosts: Vec<IpAddr>,
    /// Wanted, but they do not answer pings anyway.
    silent: Vec<IpAddr>,
    netns: Option<String>,
}

impl Watched {
    /// The default gateways behind an uplink, and `wanted`.
    async fn of(port: &Port, wanted: &[String]) -> Result<Watched, Refusal> {
        let mut hosts: Vec<IpAddr> = wanted
            .iter()
            .map(|host| host.parse().map_err(|_| Refusal::invalid(format!("watch: {host} is no address"))))
            .collect::<Result<_, _>>()?;
        let netns = port.uplink.as_ref().and_then(|uplink| uplink.netns.clone());
        if let Some(uplink) = &port.uplink {
            let gateways = weir_ports::uplink::default_gateways(&uplink.interface, netns.as_deref());
            let gateways = gateways.map_err(|e| crate::refusal::from_port(&port.name, &e))?;
            hosts.extend(gateways.into_iter().filter(|gateway| !hosts.contains(gateway)).collect::<Vec<_>>());
        }
        let (asked, space) = (hosts.clone(), netns.clone());
        let answers = move || reach::answering(&asked, space.as_deref(), ANSWER_WITHIN);
        let answered = tokio::task::spawn_blocking(answers)
            .await
            .map_err(|e| Refusal::internal(format!("the hosts to be watched could not be asked: {e}")))?
            .map_err(|e| Refusal::state(format!("watch: cannot ping: {e}; vswitchd needs CAP_NET_RAW")))?;
        let (hosts, silent) = hosts.into_iter().partition(|host| answered.contains(host));
        Ok(Watched { hosts, silent, netns })
    }
}

/// What a port has counted; copied on the worker, put into words elsewhere.
pub(super) struct Counted {
    pub(super) link: bool,
    /// Packets that wait because of the port's rate.
    held: usize,
    port: weir_ports::Counters,
    fabric: weir_fabric::PortCounters,
}

/// Asks for the counters of one port, on the worker.
pub(super) fn counted(view: &View<'_>, id: PortId) -> Counted {
    let port = view.ports.get(id);
    let (counters, held) = view.ports.counters(id).unwrap_or_default();
    Counted {
        link: port.is_some_and(|port| port.link()),
        held,
        port: counters,
        fabric: view.fabric.counters(id).cloned().unwrap_or_default(),
    }
}

/// All that the worker knows of a port.
struct Facts {
    counted: Counted,
    /// Why the loop guard has blocked it.
    blocked: Option<Blocked>,
    status: weir_ports::Status,
}

/// Asks for the facts of one port, on the worker.
fn facts(view: &View<'_>, id: PortId) -> Facts {
    let missing = || weir_ports::Status { problem: "the port is being opened".into(), ..Default::default() };
    let mut status = view.ports.get(id).map_or_else(missing, |port| port.status());
    if view.ports.get(id).is_some_and(|port| port.lane().is_some()) {
        let (from, to) = view.passing(id);
        status.details.push(("in XDP".into(), format!("{from} flow directions from here, {to} to here")));
    }
    Facts { counted: counted(view, id), blocked: view.fabric.blocked(id), status }
}

/// A port's counters in one message.
pub(super) fn counters(counted: &Counted) -> v1::PortCounters {
    let Counted { port, fabric, held, .. } = counted;
    v1::PortCounters {
        rx_packets: port.rx_packets,
        rx_bytes: port.rx_bytes,
        tx_packets: port.tx_packets,
        tx_bytes: port.tx_bytes,
        tx_cut: port.tx_cut,
        tx_joined: port.tx_joined,
        tx_supers: port.tx_supers,
        kicks: port.kicks,
        rx_dropped: drops(&port.rx_dropped),
        dropped: drops(&fabric.dropped),
        tx_dropped: drops(&port.tx_dropped),
        copied: fabric.copied,
        originated: fabric.originated,
        tx_held: *held as u64,
    }
}

/// All drops that have to do with a port.
pub(super) fn all_drops(counted: &Counted) -> weir_wire::DropCounters {
    let mut all = counted.port.rx_dropped.clone();
    all.merge(&counted.fabric.dropped);
    all.merge(&counted.port.tx_dropped);
    all
}

fn status(snapshot: &Snapshot, name: &str, id: PortId, facts: Facts) -> v1::PortStatus {
    let counters = counters(&facts.counted);
    let weir_ports::Status { kind, mode, mut problem, mtu, details, .. } = facts.status;
    if let Some(blocked) = facts.blocked {
        problem = format!("blocked: {}; vswitchctl port clear {name} opens it", blocked.cause.meaning());
    }
    v1::PortStatus {
        spec: snapshot.config.port(name).map(port_to_proto),
        id: u32::from(id.0),
        link: facts.counted.link,
        kind: kind.into(),
        mode,
        problem,
        mtu,
        details: details.into_iter().map(|(name, value)| v1::Detail { name, value }).collect(),
        counters: Some(counters),
    }
}

fn find<'a>(config: &'a mut Config, name: &str) -> Result<&'a mut Port, Refusal> {
    match config.ports.iter().position(|p| p.name == name) {
        Some(index) => Ok(&mut config.ports[index]),
        None => Err(Refusal::not_found("port", name, config.ports.iter().map(|p| p.name.as_str()))),
    }
}

fn set_field(port: &mut Port, wanted: &Port, field: &str) -> Result<(), Refusal> {
    match field {
        "switch" => port.switch.clone_from(&wanted.switch),
        "groups" => port.groups.clone_from(&wanted.groups),
        "attachment" => port.take_attachment(wanted.clone()),
        "vlan" => port.vlan.clone_from(&wanted.vlan),
        "isolated" => port.isolated = wanted.isolated,
        "down" => port.down = wanted.down,
        "no_learning" => port.learning = wanted.learning,
        "no_gro" => port.gro = wanted.gro,
        "fdb_limit" => port.fdb_limit = wanted.fdb_limit,
        "rate" => port.rate = wanted.rate,
        "share" => port.share = wanted.share,
        "storm" => port.storm = wanted.storm,
        "bpdu_guard" => port.bpdu_guard = wanted.bpdu_guard,
        "lldp" => port.lldp = wanted.lldp,
        "multicast_router" => port.multicast_router = wanted.multicast_router,
        "dscp" => port.dscp = wanted.dscp,
        other => return Err(unknown_field(&format!("port {}", wanted.name), other, &FIELDS)),
    }
    Ok(())
}
