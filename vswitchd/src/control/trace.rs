//! `weir.v1.Trace`.

use tonic::{Request, Response, Status};
use weir_fabric::LastDrop;
use weir_proto::v1;
use weir_proto::v1::trace_server::Trace;
use weir_wire::{Instant, PortId, SwitchId};

use super::{Service, explain};
use crate::published::{Names, Snapshot};
use crate::refusal::Refusal;
use crate::worker::View;

/// The longest frame that can be traced: a super-segment.
const FRAME_MAX: usize = 65_550;

#[tonic::async_trait]
impl Trace for Service {
    async fn why(&self, request: Request<v1::WhyRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        let name = request.into_inner().port;
        let snapshot = self.controller.snapshot();
        let port = if name.is_empty() { None } else { Some(port_number(&snapshot, &name)?) };
        let last = move |view: &mut View<'_>| (view.now, view.fabric.last_drops(port));
        let asked = match port {
            Some(port) => self.controller.worker().ask_of(port, last).await.map(|one| vec![one]),
            None => self.controller.worker().ask_all(last).await,
        };
        let mut now = Instant::ZERO;
        let mut drops = Vec::new();
        for (here, some) in asked.map_err(Refusal::from)? {
            now = now.max(here);
            drops.extend(some);
        }
        // Of one network they are in order already, also where they share a time.
        drops.sort_by_key(|drop| drop.time);
        let board = self.controller.board();
        let packets = drops.iter().map(|drop| dropped(drop, now, &board.names_at(drop.time))).collect();
        Ok(Response::new(v1::WhyResponse { packets }))
    }

    async fn frame(&self, request: Request<v1::TraceFrameRequest>) -> Result<Response<v1::TraceFrameResponse>, Status> {
        let v1::TraceFrameRequest { port, mut frame, find_link } = request.into_inner();
        let snapshot = self.controller.snapshot();
        let id = port_number(&snapshot, &port)?;
        if !(14..=FRAME_MAX).contains(&frame.len()) {
            let message = format!("the frame has {} bytes; 14 to {FRAME_MAX} can be traced", frame.len());
            return Err(Refusal::invalid(message).into());
        }
        let asked = self.controller.worker().ask_of(id, move |view| {
            let mut lines = if find_link { view.fabric.find_link(view.now, id, &mut frame) } else { Vec::new() };
            lines.extend(view.fabric.trace(view.now, id, &frame));
            (lines, frame)
        });
        let (lines, frame) = asked.await.map_err(Refusal::from)?;
        let config = &snapshot.config;
        let mut steps: Vec<String> =
            lines.iter().map(|line| explain::with_rule(config, named(line, &snapshot.names))).collect();
        // Who both ends are stands before what is decided about them.
        if let Some(at) = steps.iter().position(|line| line.starts_with('6')) {
            let to = steps.get(at).and_then(|line| line.strip_prefix("6 to port ")?.split_once(": "));
            let ends = explain::ends(config, &frame, &port, to.map(|(to, _)| to));
            steps.splice(at..at, ends);
        }
        Ok(Response::new(v1::TraceFrameResponse { steps }))
    }
}

fn port_number(snapshot: &Snapshot, name: &str) -> Result<PortId, Refusal> {
    let ids = &snapshot.ids;
    ids.port(name).ok_or_else(|| Refusal::not_found("port", name, ids.ports().map(|(n, _)| n)))
}

fn dropped(drop: &LastDrop, now: Instant, names: &Names) -> v1::DroppedPacket {
    let signature = drop.why.signature.as_ref();
    v1::DroppedPacket {
        ago_ms: u64::try_from(now.since(drop.time).as_millis()).unwrap_or(u64::MAX),
        port: names.port(drop.port),
        reason: drop.why.reason.label().into(),
        meaning: drop.why.reason.meaning().into(),
        rule: drop.why.rule.map(|r| names.rule(r)).unwrap_or_default(),
        signature: signature.map(|s| format!("[{}:{}:{}] {}", s.gid, s.sid, s.rev, s.msg)).unwrap_or_default(),
        head: drop.head.to_vec(),
        length: drop.length,
        summary: super::summary::of(&drop.head),
    }
}

/// Puts names in for numbers: "port 2" becomes "port vm1".
fn named(line: &str, names: &Names) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
        let (number, rest) = word.split_at(end);
        let name = match (words.last().map(String::as_str), number.parse::<u16>()) {
            (Some("port"), Ok(id)) => Some(names.port(PortId(id))),
            (Some("switch"), Ok(id)) => Some(names.switch(SwitchId(id))),
            _ => None,
        };
        words.push(name.map_or_else(|| word.to_owned(), |name| format!("{name}{rest}")));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::state::Ids;

    #[test]
    fn numbers_of_ports_and_switches_become_names() {
        let config =
            Config::parse("switch = [{ name = \"lan\" }]\nport = [{ name = \"vm1\", switch = \"lan\", mem = {} }]")
                .expect("parses");
        let ids = Ids::default().after(&config);
        let names = Names::of(&config, &ids, weir_wire::Epoch(1), Instant::ZERO);
        assert_eq!(
            named("in by port 0, switch 0: to port 7, vlan 0", &names),
            "in by port vm1, switch lan: to port #7, vlan 0"
        );
    }
}
