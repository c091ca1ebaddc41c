//! `weir.v1.Flows`.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use tonic::{Request, Response, Status};
use weir_filter::event::{FlowRecord, Tuple};
use weir_proto::v1;
use weir_proto::v1::flows_server::Flows;
use weir_wire::{Epoch, Instant, PortId, RuleId, SwitchId};

use super::Service;
use super::convert::{filled, narrow, text};
use crate::config::Protocol;
use crate::published::{Names, Snapshot};
use crate::refusal::Refusal;

/// Flows of an answer where the request names no number.
const LIMIT_USUAL: usize = 1000;
/// Flows of an answer at most: traffic waits while they are collected.
const LIMIT_MAX: usize = 100_000;
/// States that a filter can ask for.
const STATES: [&str; 4] = ["new", "established", "closed", "blocked"];

#[tonic::async_trait]
impl Flows for Service {
    async fn list(&self, request: Request<v1::ListFlowsRequest>) -> Result<Response<v1::ListFlowsResponse>, Status> {
        let v1::ListFlowsRequest { filter, limit } = request.into_inner();
        let snapshot = self.controller.snapshot();
        let filter = self.filter(&filter.unwrap_or_default(), &snapshot)?;
        let limit = if limit == 0 { LIMIT_USUAL } else { (limit as usize).min(LIMIT_MAX) };
        let asked = self.controller.worker().ask_all(move |view| {
            let engine = view.fabric.engine();
            // One more than asked for tells whether there are more.
            (view.now, engine.flows(limit + 1, |record| filter.accepts(record)), engine.flow_count() as u64)
        });
        let (mut now, mut records, mut total) = (Instant::ZERO, Vec::new(), 0);
        for (here, some, count) in asked.await.map_err(Refusal::from)? {
            now = now.max(here);
            records.extend(some);
            total += count;
        }
        let more = records.len() > limit;
        records.truncate(limit);
        let board = self.controller.board();
        let flow = |record: &FlowRecord| flow(record, now, &snapshot.names, &board.names(record.epoch));
        let flows = records.iter().map(flow).collect();
        Ok(Response::new(v1::ListFlowsResponse { flows, total, more }))
    }

    async fn kill(&self, request: Request<v1::KillFlowsRequest>) -> Result<Response<v1::KillFlowsResponse>, Status> {
        let asked = request.into_inner().filter.unwrap_or_default();
        if asked == v1::FlowFilter::default() {
            return Err(Refusal::invalid(
                "the filter is empty and would end every flow; say which (--port, --address, --id, ...)",
            )
            .into());
        }
        let filter = self.filter(&asked, &self.controller.snapshot())?;
        let killed = self
            .controller
            .worker()
            .ask_all(move |view| view.fabric.kill_flows(view.now, |record| filter.accepts(record)))
            .await
            .map_err(Refusal::from)?
            .iter()
            .sum::<usize>();
        Ok(Response::new(v1::KillFlowsResponse { killed: u32::try_from(killed).unwrap_or(u32::MAX) }))
    }
}

/// A filter in the guard's terms.
#[derive(Clone)]
struct Filter {
    port: Option<PortId>,
    switch: Option<SwitchId>,
    address: Option<IpNetwork>,
    l4_port: Option<u16>,
    protocol: Option<u8>,
    /// The rule's number in each policy that had it.
    rule: Option<Vec<(Epoch, RuleId)>>,
    state: Option<String>,
    id: Option<u64>,
    alerted: bool,
}

impl Service {
    fn filter(&self, filter: &v1::FlowFilter, snapshot: &Snapshot) -> Result<Filter, Refusal> {
        let ids = &snapshot.ids;
        let port = filled(&filter.port)
            .map(|name| ids.port(&name).ok_or_else(|| Refusal::not_found("port", &name, ids.ports().map(|(n, _)| n))));
        let switch = filled(&filter.switch).map(|name| {
            ids.switch(&name).ok_or_else(|| Refusal::not_found("switch", &name, ids.switches().map(|(n, _)| n)))
        });
        let rule = filled(&filter.rule).map(|name| self.rule_numbers(snapshot, &name));
        let state = filled(&filter.state).map(|state| match STATES.contains(&state.as_str()) {
            true => Ok(state),
            false => Err(Refusal::invalid(format!("no flow has state \"{state}\"; there are: {}", STATES.join(", ")))),
        });
        Ok(Filter {
            port: port.transpose()?,
            switch: switch.transpose()?,
            address: filled(&filter.address).map(|a| text("filter", "address", &a)).transpose()?,
            l4_port: filter.l4_port.map(|p| narrow("filter", "l4_port", p)).transpose()?,
            protocol: filled(&filter.protocol)
                .map(|p| text::<Protocol>("filter", "protocol", &p))
                .transpose()?
                .map(|p| p.0),
            rule: rule.transpose()?,
            state: state.transpose()?,
            id: filter.id,
            alerted: filter.alerted,
        })
    }

    /// A rule's number in each policy that is remembered; flows that were judged by an older one still carry it.
    fn rule_numbers(&self, snapshot: &Snapshot, name: &str) -> Result<Vec<(Epoch, RuleId)>, Refusal> {
        let all = self.controller.board().all_names();
        let numbers: Vec<_> = all.iter().filter_map(|names| Some((names.epoch, names.rule_id(name)?))).collect();
        if numbers.is_empty() {
            return Err(Refusal::not_found("rule", name, snapshot.config.rules.iter().map(|r| r.name.as_str())));
        }
        Ok(numbers)
    }
}

impl Filter {
    fn accepts(&self, record: &FlowRecord) -> bool {
        let Tuple { source, destination, source_port, destination_port, protocol } = record.tuple;
        let within = |net: &IpNetwork| net.contains(source) || net.contains(destination);
        self.id.is_none_or(|id| record.flow == id)
            && self.port.is_none_or(|p| record.in_port == p || record.out_port == Some(p))
            && self.switch.is_none_or(|s| record.switch == s)
            && self.protocol.is_none_or(|p| protocol == p)
            && self.l4_port.is_none_or(|p| source_port == p || destination_port == p)
            && self.address.as_ref().is_none_or(within)
            && self.rule.as_ref().is_none_or(|numbers| numbers.contains(&(record.epoch, record.rule)))
            && self.state.as_deref().is_none_or(|s| record.state == s)
            && (!self.alerted || record.alerted)
    }
}

fn flow(record: &FlowRecord, now: Instant, names: &Names, judged_by: &Names) -> v1::Flow {
    let address = |address: IpAddr| address.to_string();
    let ms = |since: Instant| u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
    let [packets_to_server, packets_to_client] = record.packets;
    let [bytes_to_server, bytes_to_client] = record.bytes;
    v1::Flow {
        id: record.flow,
        switch: names.switch(record.switch),
        vlan: u32::from(record.vid.0),
        protocol: u32::from(record.tuple.protocol),
        protocol_name: Protocol(record.tuple.protocol).to_string(),
        source: address(record.tuple.source),
        source_port: u32::from(record.tuple.source_port),
        in_port: names.port(record.in_port),
        destination: address(record.tuple.destination),
        destination_port: u32::from(record.tuple.destination_port),
        out_port: record.out_port.map(|p| names.port(p)).unwrap_or_default(),
        packets_to_server,
        packets_to_client,
        bytes_to_server,
        bytes_to_client,
        age_ms: ms(record.start),
        idle_ms: ms(record.last),
        state: record.state.into(),
        rule: judged_by.rule(record.rule),
        alerted: record.alerted,
        in_xdp: record.away,
        inspection: record.inspection.label().into(),
    }
}
