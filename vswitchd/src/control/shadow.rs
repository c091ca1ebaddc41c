//! `weir.v1.Shadow`.

use std::time::Duration;

use tonic::{Request, Response, Status};
use weir_filter::Policy;
use weir_filter::shadow::{Changed, Differences, Limits, Said};
use weir_filter::spec::Action;
use weir_ports::clock;
use weir_proto::v1;
use weir_proto::v1::shadow_server::Shadow;
use weir_wire::{Instant, SwitchId};

use super::Service;
use crate::commit::Terms;
use crate::config::{self, Config, Protocol, SHADOW_FLOWS_MAX, default_flows};
use crate::published::Snapshot;
use crate::recorded::{self, Place};
use crate::refusal::Refusal;

#[tonic::async_trait]
impl Shadow for Service {
    async fn load(&self, request: Request<v1::LoadShadowRequest>) -> Result<Response<v1::LoadShadowResponse>, Status> {
        let v1::LoadShadowRequest { toml, flows } = request.into_inner();
        let rules = Config::parse_rules(&toml).map_err(Refusal::from)?;
        let flows = if flows > 0 { flows } else { default_flows() };
        let count = rules.len();
        self.controller.load_shadow(config::Shadow { flows, rules }).await?;
        Ok(Response::new(v1::LoadShadowResponse { rules: u32::try_from(count).unwrap_or(u32::MAX) }))
    }

    async fn report(&self, _: Request<v1::ShadowReportRequest>) -> Result<Response<v1::ShadowReport>, Status> {
        // Refuses where there is none.
        self.controller.shadow_policy().await?;
        let asked = self.controller.worker().ask_all(|view| (view.now, view.fabric.engine().shadow()));
        let (mut now, mut shadow) = (Instant::ZERO, None);
        for (here, of_network) in asked.await.map_err(Refusal::from)? {
            now = now.max(here);
            match (&mut shadow, of_network) {
                (None, first) => shadow = first,
                (Some(all), Some(more)) => all.merge(&more),
                (Some(_), None) => {}
            }
        }
        let shadow = shadow.ok_or_else(|| Refusal::state("the candidate has just been dropped"))?;
        let snapshot = self.controller.snapshot();
        let mut report = report(shadow.differences(), [&snapshot.policy, shadow.policy()], &snapshot, Some(now));
        report.loaded_ms = ms(now.since(shadow.since()));
        report.walking = !shadow.is_walked();
        Ok(Response::new(report))
    }

    async fn replay(&self, request: Request<v1::ReplayShadowRequest>) -> Result<Response<v1::ShadowReport>, Status> {
        let request = request.into_inner();
        if !request.events.is_empty() && !request.pcap.is_empty() {
            return Err(Refusal::invalid("the request has events and pcap; give one of them").into());
        }
        let candidate = self.controller.shadow_policy().await?;
        let snapshot = self.controller.snapshot();
        let place = self.place(&request, &snapshot).await?;
        let (board, log) = (self.controller.board().clone(), self.feed.flow_log().clone());
        let task = tokio::task::spawn_blocking(move || {
            let limits = Limits { flows: SHADOW_FLOWS_MAX as usize, ..Limits::default() };
            let live = &snapshot.policy;
            let mut now = None;
            let compared = if !request.pcap.is_empty() {
                recorded::of_capture(&request.pcap, &place, live, &candidate, limits)?
            } else if !request.events.is_empty() {
                recorded::of_events(&request.events, &place, &snapshot, &candidate, limits)?
            } else {
                let at = clock::monotonic();
                let last = Instant::from_secs(u64::from(request.last_s)).0;
                let from = if last == 0 { Instant::ZERO } else { Instant(at.0.saturating_sub(last)) };
                now = Some(at);
                recorded::of_log(&log.since(from), &board, &candidate, limits)
            };
            let mut report = report(&compared.differences, [live, &candidate], &snapshot, now);
            report.passed_over = compared.passed_over;
            Ok::<_, Refusal>(report)
        });
        let report =
            task.await.map_err(|e| Refusal::internal(format!("the comparison failed: {e}; please report this")))?;
        Ok(Response::new(report?))
    }

    async fn promote(&self, request: Request<v1::PromoteShadowRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::PromoteShadowRequest { dry_run, confirm_within_s } = request.into_inner();
        let trial = super::config::trial(confirm_within_s)?;
        let outcome = self.controller.promote_shadow(Terms { dry_run, trial, ..Terms::default() }).await?;
        Ok(Response::new(outcome.into()))
    }

    async fn discard(
        &self,
        _: Request<v1::DiscardShadowRequest>,
    ) -> Result<Response<v1::DiscardShadowResponse>, Status> {
        let dropped = self.controller.drop_shadow().await?;
        Ok(Response::new(v1::DiscardShadowResponse { dropped }))
    }
}

impl Service {
    /// What a file's flows are taken for: the switch that was named, or the only one.
    async fn place(&self, request: &v1::ReplayShadowRequest, snapshot: &Snapshot) -> Result<Place, Refusal> {
        if request.events.is_empty() && request.pcap.is_empty() {
            return Ok(Place::default());
        }
        let ids = &snapshot.ids;
        let switches: Vec<(&str, SwitchId)> = ids.switches().collect();
        let switch = match (request.switch.as_str(), switches.as_slice()) {
            ("", [(_, only)]) => *only,
            ("", _) => return Err(Refusal::invalid("there are several switches, or none: name one (--switch NAME)")),
            (name, _) => {
                ids.switch(name).ok_or_else(|| Refusal::not_found("switch", name, ids.switches().map(|(n, _)| n)))?
            }
        };
        let asked = self.controller.worker().ask_of(switch, move |view| view.fabric.fdb(view.now, switch)).await?;
        Ok(Place { switch, ports: asked.into_iter().map(|entry| (entry.mac, entry.port)).collect() })
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Puts names in for numbers. `now`: where times are of the worker's clock.
fn report(
    differences: &Differences,
    policies: [&Policy; 2],
    snapshot: &Snapshot,
    now: Option<Instant>,
) -> v1::ShadowReport {
    let totals = differences.pairs().map(|(live, candidate, flows)| v1::ShadowTotal {
        live: Some(verdict(live, policies[0])),
        candidate: Some(verdict(candidate, policies[1])),
        flows,
    });
    v1::ShadowReport {
        flows: differences.flows().iter().map(|changed| flow(changed, policies, snapshot, now)).collect(),
        totals: totals.collect(),
        judged: differences.judged(),
        changed: differences.changed(),
        overflowed: differences.overflowed(),
        unjudged: differences.unjudged(),
        ..Default::default()
    }
}

fn verdict(said: Said, policy: &Policy) -> v1::Verdict {
    let action = match said.action {
        Action::Allow => "allow",
        Action::Drop => "drop",
        Action::Reject => "reject",
    };
    v1::Verdict {
        action: action.into(),
        rule: policy.rule_name(said.rule).into(),
        inspect: said.rule_set(policy).unwrap_or_default().into(),
    }
}

fn flow(
    changed: &Changed,
    [live, candidate]: [&Policy; 2],
    snapshot: &Snapshot,
    now: Option<Instant>,
) -> v1::ShadowFlow {
    let name = &changed.name;
    let known = |port| if port == weir_filter::flow::UNKNOWN_PORT { String::new() } else { snapshot.names.port(port) };
    let (first_ms, last_ms) = now.map_or((0, 0), |now| (ms(now.since(changed.first)), ms(now.since(changed.last))));
    let mut flow = v1::ShadowFlow {
        switch: snapshot.names.switch(name.switch),
        vlan: u32::from(name.vid.0),
        in_port: known(changed.ports[0]),
        out_port: known(changed.ports[1]),
        live: Some(verdict(changed.live, live)),
        candidate: Some(verdict(changed.candidate, candidate)),
        first_ms,
        last_ms,
        times: changed.times,
        packets: changed.packets,
        ..Default::default()
    };
    match (&name.tuple, &name.frame) {
        (Some(tuple), _) => {
            flow.protocol = Protocol(tuple.protocol).to_string();
            (flow.source, flow.source_port) = (tuple.source.to_string(), u32::from(tuple.source_port));
            (flow.destination, flow.destination_port) =
                (tuple.destination.to_string(), u32::from(tuple.destination_port));
        }
        (None, Some((kind, source, destination))) => {
            flow.protocol = format!("0x{kind:04x}");
            (flow.source, flow.destination) = (source.to_string(), destination.to_string());
        }
        (None, None) => {}
    }
    flow
}
