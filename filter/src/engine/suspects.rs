//! Scans and floods as the engine sees them: flows that begin, are answered, come to nothing.

use std::net::IpAddr;
use std::time::Duration;

use weir_wire::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use weir_wire::{Instant, PortId, SwitchId};

use super::Engine;
use crate::event::{Notice, Tuple};
use crate::flow::Flow;
use crate::flow::tcp::Phase;
use crate::suspects::{Class, Finding, Kind, Suspects, Who};

/// How often the ports are looked over for floods toward them.
const LOOK: Duration = Duration::from_secs(1);
/// How long a flood toward a port is not told again.
const QUIET: Duration = Duration::from_secs(30);

/// What the engine remembers beside the table of sources.
#[derive(Debug)]
pub(super) struct Prowlers {
    pub table: Suspects,
    looked: Instant,
    /// By port: until when a flood toward it is not told again.
    quiet: Vec<Instant>,
}

impl Prowlers {
    pub fn new(seed: u64) -> Prowlers {
        Prowlers { table: Suspects::new(seed), looked: Instant::ZERO, quiet: Vec::new() }
    }
}

fn class(protocol: u8) -> Option<Class> {
    match protocol {
        PROTOCOL_TCP => Some(Class::Tcp),
        PROTOCOL_UDP => Some(Class::Udp),
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => Some(Class::Icmp),
        _ => None,
    }
}

/// The port that a flow tries, 0 for what has none.
fn tried(tuple: &Tuple) -> (IpAddr, u16) {
    let has_ports = matches!(tuple.protocol, PROTOCOL_TCP | PROTOCOL_UDP);
    (tuple.destination, if has_ports { tuple.destination_port } else { 0 })
}

impl Flow {
    /// Who opened it.
    fn who(&self) -> (Who, Tuple) {
        let tuple = self.key.tuple(self.initiator_is_low);
        (Who { switch: self.key.switch(), port: self.owner, address: tuple.source }, tuple)
    }
}

impl Engine {
    /// A source may open nothing, because it was found scanning or flooding.
    #[inline]
    pub(super) fn is_blocked(&self, now: Instant, switch: SwitchId, port: PortId, address: IpAddr) -> bool {
        self.prowlers.table.is_blocked(now, &Who { switch, port, address })
    }

    /// A flow begins.
    #[inline]
    pub(super) fn suspect_begins(&mut self, now: Instant, who: Who, protocol: u8) {
        let Some(class) = class(protocol) else { return };
        let found = self.prowlers.table.begun(now, who, class, &self.policy.settings().detection);
        self.tell_finding(now, found);
    }

    /// The responder of a flow was heard for the first time, or a handshake became more or less than half.
    #[cold]
    pub(super) fn suspect_heard(&mut self, now: Instant, slot: u32) {
        let flow = self.table.at(slot);
        let (who, tuple) = flow.who();
        let Some(class) = class(tuple.protocol) else { return };
        if !flow.key.is_tcp() || flow.tcp.phase() == Phase::Established {
            self.prowlers.table.answered(&who, class);
        } else {
            self.came_to_nothing(now, who, &tuple);
        }
    }

    /// A flow that nobody had answered came to nothing: refused, reset, unreachable, forgotten.
    pub(super) fn came_to_nothing(&mut self, now: Instant, who: Who, tuple: &Tuple) {
        let found = self.prowlers.table.failed(now, who, tried(tuple), &self.policy.settings().detection);
        self.tell_finding(now, found);
    }

    /// The end of a flow.
    pub(super) fn suspect_ends(&mut self, flow: &Flow) {
        if flow.answered || flow.blocked || flow.midstream || class(flow.key.protocol()).is_none() {
            return;
        }
        let (who, tuple) = flow.who();
        if !is_group(tuple.destination) {
            self.came_to_nothing(self.last_tick.max(flow.last), who, &tuple);
        }
    }

    /// An ICMP error speaks of a flow.
    pub(super) fn suspect_errs(&mut self, now: Instant, slot: u32) {
        let flow = self.table.at(slot);
        if !flow.answered {
            let (who, tuple) = flow.who();
            self.came_to_nothing(now, who, &tuple);
        }
    }

    /// A flow is asked whether it may stay: one that pours without an answer is a flood.
    pub(super) fn suspect_stays(&mut self, now: Instant, slot: u32) {
        let flow = self.table.at(slot);
        let (packets, seconds) = (flow.packets[0], flow.last.since(flow.start).as_secs());
        if flow.answered || flow.key.is_tcp() || seconds == 0 {
            return;
        }
        let (who, tuple) = flow.who();
        let Some(class) = class(tuple.protocol).filter(|_| !is_group(tuple.destination)) else { return };
        let detection = &self.policy.settings().detection;
        let found = self.prowlers.table.pours(now, who, class, packets / seconds, detection);
        self.tell_finding(now, found);
    }

    /// Looks the ports over for floods toward them, once in [`LOOK`].
    pub(super) fn look_over(&mut self, now: Instant) {
        let limit = self.policy.settings().detection.half_open;
        if limit == 0 || now.since(self.prowlers.looked) < LOOK {
            return;
        }
        self.prowlers.looked = now;
        let quiet = &mut self.prowlers.quiet;
        for (port, half_open) in self.quotas.toward() {
            if half_open < limit {
                continue;
            }
            let index = usize::from(port.0);
            if index >= quiet.len() {
                quiet.resize(index + 1, Instant::ZERO);
            }
            let Some(until) = quiet.get_mut(index).filter(|until| now >= **until) else { continue };
            *until = now.after(QUIET);
            let text = format!("{half_open} connections toward it wait half-open: a SYN flood");
            let kind = Kind::SynFlood.name();
            let number = Some(u64::from(half_open));
            self.teller.notice(Notice { number, ..Notice::new(now, kind, SwitchId::default(), port, text) });
        }
    }

    /// The sources that may open nothing for a while, each with the time until when.
    pub fn blocked_sources(&self, now: Instant) -> Vec<(Who, Instant)> {
        self.prowlers.table.blocked(now)
    }

    #[inline]
    fn tell_finding(&mut self, now: Instant, found: Option<Finding>) {
        if let Some(found) = found {
            self.tell_found(now, found);
        }
    }

    #[cold]
    fn tell_found(&mut self, now: Instant, found: Finding) {
        let Finding { who, kind, number, within, blocked_until } = found;
        let seconds = within.as_secs().max(1);
        let did = match kind {
            Kind::PortScan => format!("tried about {number} ports in {seconds} s without success"),
            Kind::HostScan => format!("tried about {number} hosts in {seconds} s without success"),
            Kind::SynFlood => format!("opens {number} connections a second that nobody answers"),
            Kind::UdpFlood => format!("sends UDP {number} times a second that nobody answers"),
            Kind::IcmpFlood => format!("sends ICMP {number} times a second that nobody answers"),
        };
        let act = match blocked_until {
            Some(until) => format!("; it may open nothing for {} s", until.since(now).as_secs()),
            None => String::new(),
        };
        let text = format!("{} {did}{act}", who.address);
        let (source, number) = (Some(who.address), Some(u64::from(number)));
        self.teller.notice(Notice { source, number, ..Notice::new(now, kind.name(), who.switch, who.port, text) });
    }
}

/// Groups and everybody: nobody answers for them.
fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.octets()[3] == 255)
}
