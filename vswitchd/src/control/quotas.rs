//! `weir.v1.Quotas`.

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::quotas_server::Quotas;
use weir_wire::{DropReason, PortId};

use super::Service;
use crate::commit::Terms;
use crate::config::{Config, Group, Port, Quota, SynProxy};
use crate::refusal::Refusal;

/// What limits drop for.
const REASONS: [DropReason; 5] = [
    DropReason::FlowQuota,
    DropReason::FlowRate,
    DropReason::HalfOpenLimit,
    DropReason::SourceBlocked,
    DropReason::SynProxied,
];

#[tonic::async_trait]
impl Quotas for Service {
    async fn set(&self, request: Request<v1::SetQuotaRequest>) -> Result<Response<v1::Applied>, Status> {
        let wanted = request.into_inner();
        if wanted.port.is_empty() == wanted.group.is_empty() {
            return Err(Refusal::invalid("whose quota? name a port or a group").into());
        }
        let outcome = self.controller.change(Terms::default(), move |config| {
            let changed = |quota: Option<Quota>| {
                let before = quota.unwrap_or_default();
                let quota = Quota {
                    flows: wanted.flows.unwrap_or(before.flows),
                    new_flows: wanted.new_flows.unwrap_or(before.new_flows),
                    half_open: wanted.half_open.unwrap_or(before.half_open),
                };
                (quota != Quota::default()).then_some(quota)
            };
            if !wanted.port.is_empty() {
                let port = find(config, &wanted.port)?;
                port.quota = changed(port.quota);
                return Ok(());
            }
            if config.group(&wanted.group).is_none() {
                config.groups.push(Group { name: wanted.group.clone(), ..Group::default() });
            }
            for group in config.groups.iter_mut().filter(|group| group.name == wanted.group) {
                group.quota = changed(group.quota);
            }
            config.groups.retain(|group| *group != Group { name: group.name.clone(), ..Group::default() });
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn set_syn_proxy(&self, request: Request<v1::SetSynProxyRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetSynProxyRequest { port, on, half_open } = request.into_inner();
        let outcome = self.controller.change(Terms::default(), move |config| {
            find(config, &port)?.syn_proxy = on.then_some(SynProxy { half_open });
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn show(&self, request: Request<v1::ShowQuotasRequest>) -> Result<Response<v1::ShowQuotasResponse>, Status> {
        let name = request.into_inner().port;
        let snapshot = self.controller.snapshot();
        let ids = super::select(&name, "port", snapshot.ids.ports())?;
        let asked: Vec<PortId> = ids.iter().map(|(_, id)| *id).collect();
        let facts = self.controller.worker().ask_each(&asked, |view, id| {
            let dropped = view.fabric.counters(id).map(|counters| counters.dropped.clone());
            let counts = REASONS.map(|reason| dropped.as_ref().map_or(0, |dropped| dropped.get(reason)));
            (view.fabric.engine().opened(id), counts)
        });
        let facts = facts.await.map_err(Refusal::from)?;
        let proxies = self.controller.worker().ask_all(|view| view.fabric.engine().syn_proxy_counters());
        let proxies = proxies.await.map_err(Refusal::from)?;
        let mut quotas = Vec::new();
        for ((name, _), ((flows, half_open, toward), counts)) in ids.iter().zip(&facts) {
            let port = snapshot.config.port(name);
            let dropped = REASONS.iter().zip(counts).filter(|(_, count)| **count > 0);
            quotas.push(v1::QuotaStatus {
                of: format!("port {name}"),
                quota: port.and_then(|port| port.quota).map(quota),
                flows: *flows as u64,
                half_open: *half_open,
                half_open_toward: *toward,
                dropped: dropped.map(|(reason, &count)| count_of(*reason, count)).collect(),
                syn_proxy: port.and_then(|port| port.syn_proxy).map(proxy_text).unwrap_or_default(),
            });
        }
        let limited = snapshot.config.groups.iter().filter(|group| name.is_empty() && group.quota.is_some());
        for group in limited {
            let member = |port: &str| snapshot.config.port(port).is_some_and(|port| port.groups.contains(&group.name));
            let of_members = ids.iter().zip(&facts).filter(|((port, _), _)| member(port));
            let sums = of_members.fold((0, 0, 0), |sum, (_, ((flows, half_open, toward), _))| {
                (sum.0 + *flows as u64, sum.1 + half_open, sum.2 + toward)
            });
            quotas.push(v1::QuotaStatus {
                of: format!("group {}", group.name),
                quota: group.quota.map(quota),
                flows: sums.0,
                half_open: sums.1,
                half_open_toward: sums.2,
                ..Default::default()
            });
        }
        let cookies = proxies.iter().map(|proxy| proxy.cookies).sum();
        let completed = proxies.iter().map(|proxy| proxy.completed).sum();
        let refused = proxies.iter().map(|proxy| proxy.refused).sum();
        Ok(Response::new(v1::ShowQuotasResponse { quotas, cookies, completed, refused }))
    }

    async fn show_suspects(
        &self,
        _: Request<v1::ShowSuspectsRequest>,
    ) -> Result<Response<v1::ShowSuspectsResponse>, Status> {
        let asked = self.controller.worker().ask_all(|view| (view.now, view.fabric.engine().blocked_sources(view.now)));
        let asked = asked.await.map_err(Refusal::from)?;
        let now = asked.iter().map(|(now, _)| *now).max().unwrap_or_default();
        let blocked: Vec<_> = asked.into_iter().flat_map(|(_, blocked)| blocked).collect();
        let names = &self.controller.snapshot().names;
        let suspects = blocked.iter().map(|(who, until)| v1::Suspect {
            switch: names.switch(who.switch),
            port: names.port(who.port),
            address: who.address.to_string(),
            left_ms: u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX),
        });
        Ok(Response::new(v1::ShowSuspectsResponse { suspects: suspects.collect() }))
    }
}

fn find<'c>(config: &'c mut Config, name: &str) -> Result<&'c mut Port, Refusal> {
    match config.ports.iter().position(|port| port.name == name).and_then(|at| config.ports.get_mut(at)) {
        Some(port) => Ok(port),
        None => Err(Refusal::not_found("port", name, std::iter::empty())),
    }
}

fn quota(quota: Quota) -> v1::Quota {
    let Quota { flows, new_flows, half_open } = quota;
    v1::Quota { flows, new_flows, half_open }
}

fn proxy_text(proxy: SynProxy) -> String {
    match proxy.half_open {
        0 => "always".into(),
        n => format!("from {n} half-open"),
    }
}

fn count_of(reason: DropReason, count: u64) -> v1::Count {
    v1::Count { name: reason.label().into(), count, meaning: reason.meaning().into() }
}
