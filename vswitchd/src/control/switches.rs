//! `weir.v1.Switches`.

use tonic::{Request, Response, Status};
use weir_fabric::suppress::SuppressCounters;
use weir_fabric::{FdbStats, Step};
use weir_proto::v1;
use weir_proto::v1::switches_server::Switches;
use weir_wire::SwitchId;

use super::Service;
use super::convert::{required, switch_of, switch_to_proto, unknown_field};
use crate::commit::Terms;
use crate::config::{Config, Switch};
use crate::refusal::Refusal;

/// What [`set_field`] knows.
const FIELDS: [&str; 11] = [
    "default_action",
    "inspect",
    "ageing_s",
    "fdb_limit",
    "unknown_unicast",
    "broadcast",
    "multicast",
    "static_macs",
    "snooping",
    "loop_guard",
    "suppress_arp",
];

/// What was counted of a switch.
type Counts = (Option<FdbStats>, Option<SuppressCounters>);

#[tonic::async_trait]
impl Switches for Service {
    async fn add(&self, request: Request<v1::AddSwitchRequest>) -> Result<Response<v1::Applied>, Status> {
        let switch = switch_of(&required(request.into_inner().switch, "switch")?)?;
        let outcome = self.controller.change(Terms::default(), move |config| {
            if config.switch(&switch.name).is_some() {
                return Err(Refusal::exists("switch", &switch.name));
            }
            config.switches.push(switch);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn set(&self, request: Request<v1::SetSwitchRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetSwitchRequest { switch, fields } = request.into_inner();
        let wanted = switch_of(&required(switch, "switch")?)?;
        let outcome = self.controller.change(Terms::default(), move |config| {
            let switch = find(config, &wanted.name)?;
            if fields.is_empty() {
                *switch = wanted;
                return Ok(());
            }
            fields.iter().try_for_each(|field| set_field(switch, &wanted, field))
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn delete(&self, request: Request<v1::DeleteSwitchRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::DeleteSwitchRequest { name, with_ports } = request.into_inner();
        let outcome = self.controller.change(Terms::default(), move |config| {
            find(config, &name)?;
            let ports: Vec<&str> = config.ports.iter().filter(|p| p.switch == name).map(|p| p.name.as_str()).collect();
            if !ports.is_empty() && !with_ports {
                return Err(Refusal::state(format!(
                    "switch {name}: it has ports ({}); delete them first or ask for it (--with-ports)",
                    ports.join(", ")
                )));
            }
            config.ports.retain(|p| p.switch != name);
            config.switches.retain(|s| s.name != name);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn list(
        &self,
        request: Request<v1::ListSwitchesRequest>,
    ) -> Result<Response<v1::ListSwitchesResponse>, Status> {
        let name = request.into_inner().name;
        let snapshot = self.controller.snapshot();
        let ids = super::select(&name, "switch", snapshot.ids.switches())?;
        let asked: Vec<_> = ids.iter().map(|(_, id)| *id).collect();
        let counts = self
            .controller
            .worker()
            .ask_each(&asked, |view, id: SwitchId| (view.fabric.fdb_stats(id), view.fabric.suppression(id)))
            .await
            .map_err(Refusal::from)?;
        let status = |((name, _), (stats, suppression)): (&(String, _), Counts)| {
            let spec = snapshot.config.switch(name);
            let fixed = spec.map_or(0, |s| s.static_macs.len());
            v1::SwitchStatus {
                spec: spec.map(switch_to_proto),
                ports: snapshot.config.ports.iter().filter(|p| p.switch == *name).map(|p| p.name.clone()).collect(),
                fdb_entries: (stats.map_or(0, |s| s.learned) + fixed) as u64,
                fdb_moves: stats.map_or(0, |s| s.moves),
                fdb_evicted: stats.map_or(0, |s| s.evicted),
                fdb_aged: stats.map_or(0, |s| s.aged),
                suppression: suppression.map(suppression_to_proto),
            }
        };
        let switches = ids.iter().zip(counts).map(status).collect();
        Ok(Response::new(v1::ListSwitchesResponse { switches }))
    }

    async fn list_fdb(&self, request: Request<v1::ListFdbRequest>) -> Result<Response<v1::ListFdbResponse>, Status> {
        let name = request.into_inner().switch;
        let snapshot = self.controller.snapshot();
        let mut entries = Vec::new();
        for (switch, id) in super::select(&name, "switch", snapshot.ids.switches())? {
            let known = self
                .controller
                .worker()
                .ask_of(id, move |view| view.fabric.fdb(view.now, id))
                .await
                .map_err(Refusal::from)?;
            entries.extend(known.into_iter().map(|entry| v1::FdbEntry {
                switch: switch.clone(),
                vlan: u32::from(entry.vid.0),
                mac: entry.mac.to_string(),
                port: snapshot.names.port(entry.port),
                is_static: entry.is_static,
                age_s: entry.age_s,
            }));
        }
        Ok(Response::new(v1::ListFdbResponse { entries }))
    }

    async fn flush_fdb(&self, request: Request<v1::FlushFdbRequest>) -> Result<Response<v1::FlushFdbResponse>, Status> {
        let name = request.into_inner().switch;
        let snapshot = self.controller.snapshot();
        let ids = super::select(&name, "switch", snapshot.ids.switches())?;
        let switches = ids.len() as u32;
        let asked: Vec<SwitchId> = ids.iter().map(|(_, id)| *id).collect();
        self.controller
            .worker()
            .ask_each(&asked, |view, id| view.fabric.apply(view.now, Step::FlushFdb(id)))
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(v1::FlushFdbResponse { switches }))
    }
}

fn find<'a>(config: &'a mut Config, name: &str) -> Result<&'a mut Switch, Refusal> {
    match config.switches.iter().position(|s| s.name == name) {
        Some(index) => Ok(&mut config.switches[index]),
        None => Err(Refusal::not_found("switch", name, config.switches.iter().map(|s| s.name.as_str()))),
    }
}

fn set_field(switch: &mut Switch, wanted: &Switch, field: &str) -> Result<(), Refusal> {
    match field {
        "default_action" => switch.default = wanted.default,
        "inspect" => switch.inspect.clone_from(&wanted.inspect),
        "ageing_s" => switch.ageing_s = wanted.ageing_s,
        "fdb_limit" => switch.fdb_limit = wanted.fdb_limit,
        "unknown_unicast" => switch.unknown_unicast = wanted.unknown_unicast,
        "broadcast" => switch.broadcast = wanted.broadcast,
        "multicast" => switch.multicast = wanted.multicast,
        "static_macs" => switch.static_macs.clone_from(&wanted.static_macs),
        "snooping" => switch.snooping = wanted.snooping,
        "loop_guard" => switch.loop_guard = wanted.loop_guard,
        "suppress_arp" => switch.suppress_arp = wanted.suppress_arp,
        other => return Err(unknown_field(&format!("switch {}", wanted.name), other, &FIELDS)),
    }
    Ok(())
}

fn suppression_to_proto(counters: SuppressCounters) -> v1::Suppression {
    let SuppressCounters { known, answered, to_router, flooded, contested, full } = counters;
    v1::Suppression { known, answered, to_router, flooded, contested, full }
}
