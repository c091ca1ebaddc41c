//! Flows of datagrams of which nothing was kept, since each was a transaction of its own and complete at once, or nothing
//! that is known.

use weir_ids_rules::AppProtocol;

use super::{App, Found, Identity};
use crate::app::Context;
use crate::app::probe::{self, Evidence, Guess};
use crate::app::{Settings, dns};
use crate::event::Tuple;
use crate::inspect::Direction;

impl App {
    /// What the first datagram of a direction tells, where each message of that protocol is a transaction of its own or
    /// nothing is told; `None` where the flow is to be followed.
    pub fn unkept(way: Direction, bytes: &[u8], tuple: &Tuple, settings: &Settings) -> Option<Found> {
        if bytes.is_empty() {
            return None;
        }
        match probe::guess(way, bytes, tuple, &mut Evidence::default(), settings, true) {
            Guess::Is(AppProtocol::Dns) => Some(Found::Protocol(AppProtocol::Dns)),
            Guess::Unknown => Some(Found::Failed),
            Guess::Is(_) | Guess::Reversed(_) => None,
        }
    }

    /// Goes on behind such datagrams: what they told, in which directions, and how many there were.
    pub fn resume(&mut self, told: Found, [asked, answered]: [bool; 2], datagrams: u64, context: &Context<'_>) {
        let found = |seen: bool| if seen { told } else { Found::Unknown };
        self.identity = Identity { flow: told, to_server: found(asked), to_client: found(answered), ..self.identity };
        self.revision = datagrams;
        self.over = told == Found::Failed && asked && answered;
        if let Some(protocol) = told.protocol() {
            self.start_parser(protocol, context);
        }
        self.parser.iter_mut().for_each(|parser| parser.passed(datagrams));
    }
}

/// A datagram that is a whole transaction of this protocol and not odd, for as long as it is at hand.
pub fn unkept(protocol: AppProtocol, way: Direction, bytes: &[u8]) -> Option<dns::Exchange<'_>> {
    if protocol == AppProtocol::Dns { dns::unkept(bytes, way) } else { None }
}
