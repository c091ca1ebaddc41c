//! What a rule asks of a packet and its flow, apart from bytes.

use std::net::IpAddr;

use weir_ids_rules::AppProtocol;
use weir_ids_rules::rule::{Bounds, Condition, Directed, HostSide, Protocol, Reputation, Rule, StreamSide, TcpWay};

use super::compiled::is_flow_event;
use super::nets::Between;
use super::sets::Sets;
use super::{Direction, Step, condition};
use crate::app::core::Found;
use crate::app::{Anomaly, Identity};
use crate::decode::Event;
use crate::event::Tuple;
use weir_ids_rules::rule::AppTest;
use weir_wire::Instant;

/// Bytes that a flow must have carried each second, and seconds it must have lasted, to be called an elephant.
const ELEPHANT_RATE: u64 = 10 << 20;

/// One condition.
#[derive(Debug)]
pub enum Ask {
    /// On the packet's headers.
    Header(Condition),
    /// Something odd was decoded; `None` for a name that no decoder raises.
    Event(Option<Event>),
    /// Protocol detection met something odd.
    FlowEvent(Box<str>),
    /// What the flow speaks.
    Protocol(ProtocolAsk),
    /// Numbers of the flow.
    Flow(Condition),
    /// The reputation of an address.
    Reputation(Reputation),
    /// The country of an address.
    Place(Place),
}

/// `geoip`
#[derive(Debug)]
pub struct Place {
    side: HostSide,
    /// Sorted.
    countries: Box<[[u8; 2]]>,
    negated: bool,
}

/// `app-layer-protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolAsk {
    wanted: Wanted,
    negated: bool,
    way: TcpWay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Protocol(Protocol),
    Failed,
    Unknown,
}

/// What is known when a rule is judged.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    pub step: &'f Step<'f>,
    /// Of a packet that goes the step's way.
    pub tuple: &'f Tuple,
    /// From which net to which it goes: which tables of rules concern it.
    pub between: Between,
    pub identity: &'f Identity,
    /// The step has made known what its direction speaks.
    pub found: bool,
    /// What protocol detection met in the flow.
    pub events: &'f [Anomaly],
}

/// Compiles the conditions of a rule.
pub fn compile(rule: &Rule) -> Box<[Ask]> {
    let conditions = rule.conditions.iter().map(of_condition);
    let events = rule.app.iter().filter_map(|test| match test {
        AppTest::Event(name) if is_flow_event(name) => Some(Ask::FlowEvent(name.as_str().into())),
        AppTest::Event(_) | AppTest::State { .. } | AppTest::Named { .. } => None,
    });
    conditions.chain(events).collect()
}

fn of_condition(condition: &Condition) -> Ask {
    match condition {
        Condition::DecodeEvent(name) | Condition::EngineEvent(name) => Ask::Event(Event::from_name(name)),
        Condition::StreamEvent(name) => Ask::Event(Event::from_name(&format!("stream.{name}"))),
        &Condition::AppProtocol { protocol, any_http, unknown, negated, way } => {
            let wanted = match (protocol, any_http, unknown) {
                (_, true, _) => Wanted::Protocol(Protocol::Http),
                (_, _, true) => Wanted::Unknown,
                (Some(protocol), _, _) => Wanted::Protocol(Protocol::App(protocol)),
                (None, _, _) => Wanted::Failed,
            };
            Ask::Protocol(ProtocolAsk { wanted, negated, way })
        }
        Condition::FlowAge(_)
        | Condition::FlowPackets(..)
        | Condition::FlowBytes(..)
        | Condition::FlowElephant(_)
        | Condition::StreamSize(..) => Ask::Flow(condition.clone()),
        Condition::Reputation(reputation) => Ask::Reputation(reputation.clone()),
        Condition::GeoIp { side, countries, negated } => {
            let codes = countries.iter().filter_map(|code| code.as_bytes().first_chunk().copied());
            let mut countries: Vec<[u8; 2]> = codes.collect();
            countries.sort_unstable();
            Ask::Place(Place { side: *side, countries: countries.into(), negated: *negated })
        }
        _ => Ask::Header(condition.clone()),
    }
}

impl Ask {
    /// Whether it holds.
    pub fn holds(&self, facts: &Facts<'_>, sets: &Sets) -> bool {
        match self {
            Ask::Reputation(asked) => sets.repute(asked, facts.tuple.source, facts.tuple.destination),
            Ask::Header(condition) => condition::holds(condition, facts.step.view),
            Ask::Event(event) => event.is_some_and(|event| facts.step.view.events.has(event)),
            Ask::FlowEvent(name) => facts.events.iter().any(|anomaly| anomaly.0.eq_ignore_ascii_case(name)),
            Ask::Protocol(ask) => ask.holds(facts),
            Ask::Flow(condition) => of_flow(condition, facts.step),
            Ask::Place(place) => place.holds(facts.tuple, sets),
        }
    }
}

/// Whether something is asked of what the direction at hand speaks, rather than of the flow.
pub fn of_direction(asks: &[Ask]) -> bool {
    asks.iter().any(|ask| matches!(ask, Ask::Protocol(asked) if asked.way == TcpWay::Direction))
}

impl Place {
    /// An address whose country is not known is nowhere, and not elsewhere either.
    fn holds(&self, tuple: &Tuple, sets: &Sets) -> bool {
        let fits = |address: IpAddr| {
            sets.country(address).is_some_and(|code| self.countries.binary_search(&code).is_ok() != self.negated)
        };
        match self.side {
            HostSide::Source => fits(tuple.source),
            HostSide::Destination => fits(tuple.destination),
            HostSide::Both => fits(tuple.source) && fits(tuple.destination),
            HostSide::Any => fits(tuple.source) || fits(tuple.destination),
        }
    }
}

impl ProtocolAsk {
    fn holds(self, facts: &Facts<'_>) -> bool {
        let identity = facts.identity;
        let sides = [identity.to_server, identity.to_client];
        let original = identity.original.map_or(Found::Unknown, Found::Protocol);
        let asked: &[Found] = match self.way {
            TcpWay::Direction => match facts.step.way {
                Direction::Original => &sides[..1],
                Direction::Reply => &sides[1..],
            },
            TcpWay::Either => &sides,
            TcpWay::ToServer => &sides[..1],
            TcpWay::ToClient => &sides[1..],
            TcpWay::Final => &[identity.flow],
            TcpWay::Original => &[original],
        };
        // What is not known yet is no other protocol either.
        if self.negated && asked.iter().all(|&found| found == Found::Unknown) {
            return false;
        }
        asked.iter().any(|&found| self.is(found)) != self.negated
    }

    fn is(self, found: Found) -> bool {
        match (self.wanted, found) {
            (Wanted::Failed, Found::Failed) | (Wanted::Unknown, Found::Unknown) => true,
            (Wanted::Protocol(Protocol::App(AppProtocol::Dns)), Found::Protocol(spoken)) => spoken == AppProtocol::Dns,
            (Wanted::Protocol(wanted), Found::Protocol(spoken)) => wanted.takes_app(spoken),
            (Wanted::Failed | Wanted::Unknown | Wanted::Protocol(_), _) => false,
        }
    }
}

fn of_flow(condition: &Condition, step: &Step<'_>) -> bool {
    let flow = step.flow;
    let directed = |which: Directed, [to_server, to_client]: [u64; 2], bounds: Bounds| match which {
        Directed::ToServer => bounds.contains(to_server),
        Directed::ToClient => bounds.contains(to_client),
        Directed::Either => bounds.contains(to_server) || bounds.contains(to_client),
        Directed::Both => bounds.contains(to_server.saturating_add(to_client)),
    };
    match *condition {
        Condition::FlowAge(bounds) => {
            // Whole seconds are compared, as events show them: what began just before a full one is a second old at it.
            let [now, start] = [step.view.time, flow.start].map(|time| time.since(Instant::ZERO).as_secs());
            bounds.contains(now.saturating_sub(start))
        }
        Condition::FlowPackets(which, bounds) => directed(which, flow.packets, bounds),
        Condition::FlowBytes(which, bounds) => directed(which, flow.bytes, bounds),
        Condition::FlowElephant(which) => {
            let seconds = step.view.time.since(flow.start).as_secs().max(1);
            directed(
                which,
                flow.bytes.map(|bytes| bytes / seconds),
                Bounds { min: ELEPHANT_RATE, max: u64::MAX, negated: false },
            )
        }
        Condition::StreamSize(side, bounds) => {
            let [client, server] = flow.stream_bytes;
            match side {
                StreamSide::Client => bounds.contains(client),
                StreamSide::Server => bounds.contains(server),
                StreamSide::Both => bounds.contains(client) && bounds.contains(server),
                StreamSide::Either => bounds.contains(client) || bounds.contains(server),
            }
        }
        _ => false,
    }
}
