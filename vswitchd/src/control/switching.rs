//! `weir.v1.Switching`.

use std::collections::BTreeSet;

use tonic::{Request, Response, Status};
use weir_fabric::lldp::{Heard, LldpStats};
use weir_fabric::multicast::SnoopingState;
use weir_proto::v1;
use weir_proto::v1::switching_server::Switching;
use weir_wire::Instant;

use super::Service;
use super::convert::unknown_field;
use super::convert_port::{rate_of, rate_to_proto, share_of, share_to_proto};
use crate::commit::Terms;
use crate::config::Group;
use crate::published::Names;
use crate::refusal::Refusal;

/// Names of the bits of LLDP's capabilities (802.1AB, table 8-4).
const CAPABILITIES: [&str; 8] = ["other", "repeater", "bridge", "wlan-ap", "router", "telephone", "docsis", "station"];

#[tonic::async_trait]
impl Switching for Service {
    async fn list_multicast(
        &self,
        request: Request<v1::ListMulticastRequest>,
    ) -> Result<Response<v1::ListMulticastResponse>, Status> {
        let name = request.into_inner().switch;
        let snapshot = self.controller.snapshot();
        let mut switches = Vec::new();
        for (switch, id) in super::select(&name, "switch", snapshot.ids.switches())? {
            let asked = self.controller.worker().ask_of(id, move |view| view.fabric.snooping(view.now, id));
            match asked.await.map_err(Refusal::from)? {
                Some(state) => switches.push(multicast(switch, state, &snapshot.names)),
                None if !name.is_empty() => {
                    let remedy =
                        format!("switch {name}: it does not snoop; vswitchctl switch set {name} --snooping on");
                    return Err(Refusal::state(remedy).into());
                }
                None => {}
            }
        }
        Ok(Response::new(v1::ListMulticastResponse { switches }))
    }

    async fn list_lldp(&self, request: Request<v1::ListLldpRequest>) -> Result<Response<v1::ListLldpResponse>, Status> {
        let name = request.into_inner().port;
        let snapshot = self.controller.snapshot();
        let (mut neighbors, mut counters) = (Vec::new(), Vec::new());
        for (port, id) in super::select(&name, "port", snapshot.ids.ports())? {
            let asked = self.controller.worker().ask_of(id, move |view| (view.now, view.fabric.lldp(id)));
            let (now, Some((heard, stats))) = asked.await.map_err(Refusal::from)? else { continue };
            if heard.is_empty() && stats == LldpStats::default() {
                continue;
            }
            neighbors.extend(heard.iter().map(|heard| neighbor(&port, heard, now)));
            let LldpStats { sent, received, broken, refused } = stats;
            counters.push(v1::LldpCounters { port, sent, received, broken, refused });
        }
        Ok(Response::new(v1::ListLldpResponse { neighbors, counters }))
    }

    async fn clear_port(
        &self,
        request: Request<v1::ClearPortRequest>,
    ) -> Result<Response<v1::ClearPortResponse>, Status> {
        let name = request.into_inner().name;
        let snapshot = self.controller.snapshot();
        let ids = &snapshot.ids;
        let id = ids.port(&name).ok_or_else(|| Refusal::not_found("port", &name, ids.ports().map(|(n, _)| n)))?;
        let was =
            self.controller.worker().ask_of(id, move |view| view.fabric.clear_port(id)).await.map_err(Refusal::from)?;
        let cause = was.map(|blocked| blocked.cause.meaning().to_owned()).unwrap_or_default();
        Ok(Response::new(v1::ClearPortResponse { cause }))
    }

    async fn set_group_rate(&self, request: Request<v1::SetGroupRateRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetGroupRateRequest { group, rate, share, fields } = request.into_inner();
        let (rate, share) = (rate.as_ref().map(rate_of), share.as_ref().map(share_of));
        let outcome = self.controller.change(Terms::default(), move |config| {
            let at = config.groups.iter().position(|known| known.name == group).unwrap_or_else(|| {
                config.groups.push(Group { name: group.clone(), ..Group::default() });
                config.groups.len() - 1
            });
            let Some(known) = config.groups.get_mut(at) else { return Ok(()) };
            for field in fields.iter().map(String::as_str).chain(fields.is_empty().then_some("rate")) {
                match field {
                    "rate" => known.rate = rate,
                    "share" => known.share = share,
                    other => return Err(unknown_field(&format!("group {group}"), other, &["rate", "share"])),
                }
            }
            config.groups.retain(|group| *group != Group { name: group.name.clone(), ..Group::default() });
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn list_group_rates(
        &self,
        request: Request<v1::ListGroupRatesRequest>,
    ) -> Result<Response<v1::ListGroupRatesResponse>, Status> {
        let wanted = request.into_inner().group;
        let snapshot = self.controller.snapshot();
        let config = &snapshot.config;
        let named = config.ports.iter().flat_map(|port| &port.groups);
        let names: BTreeSet<&String> = named.chain(config.groups.iter().map(|group| &group.name)).collect();
        if !wanted.is_empty() && !names.contains(&wanted) {
            return Err(Refusal::not_found("group", &wanted, names.into_iter().map(String::as_str)).into());
        }
        let status = |name: &String| v1::GroupRateStatus {
            group: name.clone(),
            rate: config.group(name).and_then(|group| group.rate.as_ref()).map(rate_to_proto),
            share: config.group(name).and_then(|group| group.share.as_ref()).map(share_to_proto),
            ports: config
                .ports
                .iter()
                .filter(|port| port.groups.contains(name))
                .map(|port| port.name.clone())
                .collect(),
        };
        let groups = names.into_iter().filter(|name| wanted.is_empty() || **name == wanted).map(status).collect();
        Ok(Response::new(v1::ListGroupRatesResponse { groups }))
    }
}

fn multicast(switch: String, state: SnoopingState, names: &Names) -> v1::MulticastStatus {
    let port = |vlan: u16, member: &weir_fabric::multicast::Member| v1::MulticastPort {
        port: names.port(member.port),
        left_s: (member.left_s != u32::MAX).then_some(member.left_s),
        vlan: u32::from(vlan),
    };
    let stats = state.stats;
    v1::MulticastStatus {
        switch,
        groups: state
            .groups
            .iter()
            .map(|group| v1::MulticastGroup {
                vlan: u32::from(group.vid.0),
                address: group.address.to_string(),
                members: group.members.iter().map(|member| port(group.vid.0, member)).collect(),
            })
            .collect(),
        routers: state.routers.iter().map(|(vid, member)| port(vid.0, member)).collect(),
        queriers: state
            .queriers
            .iter()
            .map(|querier| v1::MulticastQuerier {
                vlan: u32::from(querier.vid.0),
                address: querier.address.to_string(),
                port: querier.port.map(|port| names.port(port)).unwrap_or_default(),
            })
            .collect(),
        reports: stats.reports,
        queries: stats.queries,
        asked: stats.asked,
        broken: stats.broken,
        refused: stats.refused,
    }
}

fn neighbor(port: &str, heard: &Heard, now: Instant) -> v1::LldpNeighbor {
    let said = &heard.neighbor;
    let seconds = |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let does = CAPABILITIES.iter().enumerate().filter(|(bit, _)| said.capabilities >> bit & 1 == 1);
    v1::LldpNeighbor {
        port: port.to_owned(),
        chassis: said.chassis.clone(),
        remote_port: said.port.clone(),
        description: said.description.clone(),
        system: said.system.clone(),
        system_description: said.system_description.clone(),
        capabilities: does.map(|(_, name)| (*name).to_owned()).collect(),
        addresses: said.addresses.iter().map(ToString::to_string).collect(),
        vlan: said.vid.map(|vid| u32::from(vid.0)),
        age_s: seconds(now.since(heard.since)),
        left_s: seconds(heard.until.since(now)),
    }
}
