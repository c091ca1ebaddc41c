//! A flow, one step at a time.

use std::net::IpAddr;
use std::sync::Arc;

use weir_ids_rules::{RuleSet, Source, Variables};
use weir_wire::Instant;

use crate::app::Settings;
use crate::decode::View;
use crate::detect::{
    Alert, Direction, Findings, FlowFacts, Inspection, Look, Program, ProgramSettings, Scene, Shared, Sink, Step,
    StreamBytes,
};
use crate::event::Tuple;

pub const CLIENT: Direction = Direction::Original;
pub const SERVER: Direction = Direction::Reply;

pub fn program(text: &str) -> Arc<Program> {
    let (set, problems) = RuleSet::parse(&[Source { name: "test", text }], &Variables::default());
    assert!(problems.is_empty(), "{}", problems[0]);
    let (program, problems) = Program::compile(&set, &ProgramSettings::default());
    assert!(problems.is_empty(), "{}", problems[0]);
    Arc::new(program)
}

/// Rules that were told of, by `sid`.
#[derive(Default)]
struct Heard(Vec<u32>);

impl Sink for Heard {
    fn alert(&mut self, _scene: &Scene<'_>, alert: &Alert<'_>) {
        self.0.push(alert.signature.sid);
    }
}

/// One flow with its inspection.
pub struct Conversation {
    inspection: Box<Inspection>,
    pub shared: Shared,
    pub findings: Findings,
    tuple: Tuple,
    pub seconds: u64,
    /// All bytes of the two streams.
    streams: [Vec<u8>; 2],
}

impl Conversation {
    pub fn new(program: &Arc<Program>, protocol: u8, port: u16) -> Conversation {
        let hosts = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        Conversation::between(program, hosts, protocol, port)
    }

    /// The same between other hosts.
    pub fn between(
        program: &Arc<Program>,
        [source, destination]: [IpAddr; 2],
        protocol: u8,
        port: u16,
    ) -> Conversation {
        let tuple = Tuple { source, destination, source_port: 40000, destination_port: port, protocol };
        let shared = Shared::new(Settings::default(), true);
        let inspection = Inspection::start(program, &tuple, false);
        let streams = [Vec::new(), Vec::new()];
        Conversation { inspection, shared, findings: Findings::default(), tuple, seconds: 0, streams }
    }

    /// A packet with this payload, and the same bytes on the stream where it is TCP.
    pub fn say(&mut self, way: Direction, payload: &[u8]) -> Vec<u32> {
        let at = self.streams[way as usize].len();
        self.streams[way as usize].extend_from_slice(payload);
        let text = self.streams[way as usize].clone();
        let from = at.saturating_sub(self.inspection.lookback());
        let stream =
            StreamBytes { text: &text[from..], at: from as u64, fresh: at - from, gap: 0, end: false, look: Look::Now };
        let stream = (self.tuple.protocol == 6 && !payload.is_empty()).then_some(stream);
        self.step(way, payload, stream)
    }

    /// A packet of TCP without payload would bring nothing.
    pub fn passes_over(&mut self, way: Direction) -> bool {
        self.passes_over_with(way, b"")
    }

    /// A packet with this payload would bring nothing.
    pub fn passes_over_with(&mut self, way: Direction, payload: &[u8]) -> bool {
        let tcp = Some(crate::decode::Tcp::default()).filter(|_| self.tuple.protocol == 6);
        let view = View { tcp, payload, ..View::default() };
        self.inspection.passes_over(&view, (way, true), &mut self.shared)
    }

    pub fn step(&mut self, way: Direction, payload: &[u8], stream: Option<StreamBytes<'_>>) -> Vec<u32> {
        let mut tuple = self.tuple;
        if way == SERVER {
            std::mem::swap(&mut tuple.source, &mut tuple.destination);
            std::mem::swap(&mut tuple.source_port, &mut tuple.destination_port);
        }
        let view = View { time: Instant::from_secs(self.seconds), tuple: Some(tuple), payload, ..View::default() };
        let facts = FlowFacts::default();
        let step = Step { view: &view, way, packet: true, established: true, stream, flow: &facts, end: false };
        let mut heard = Heard::default();
        self.inspection.step(&step, &mut self.shared, &mut self.findings, &mut heard);
        heard.0
    }
}
