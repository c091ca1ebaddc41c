//! Flows of datagrams of which nothing was kept, since each was a transaction of its own and complete at once.

use weir_ids_rules::AppProtocol;

use super::{App, Found, Identity};
use crate::app::Context;
use crate::app::probe::{self, Evidence, Guess};
use crate::app::{Settings, dns};
use crate::event::Tuple;
use crate::inspect::Direction;

impl App {
    /// The protocol that the first datagram of a direction tells, where each message of that is a transaction of its own.
    pub fn unkept(way: Direction, bytes: &[u8], tuple: &Tuple, settings: &Settings) -> Option<AppProtocol> {
        match probe::guess(way, bytes, tuple, &mut Evidence::default(), settings, true) {
            Guess::Is(AppProtocol::Dns) => Some(AppProtocol::Dns),
            Guess::Is(_) | Guess::Reversed(_) | Guess::Unknown => None,
        }
    }

    /// Goes on behind such datagrams: what they spoke, in which directions, and how many transactions there were.
    pub fn resume(
        &mut self,
        protocol: AppProtocol,
        [asked, answered]: [bool; 2],
        transactions: u64,
        context: &Context<'_>,
    ) {
        let found = |seen: bool| if seen { Found::Protocol(protocol) } else { Found::Unknown };
        let flow = Found::Protocol(protocol);
        self.identity = Identity { flow, to_server: found(asked), to_client: found(answered), ..self.identity };
        self.revision = transactions;
        self.start_parser(protocol, context);
        self.parser.iter_mut().for_each(|parser| parser.passed(transactions));
    }
}

/// A datagram that is a whole transaction of this protocol and not odd, for as long as it is at hand.
pub fn unkept(protocol: AppProtocol, way: Direction, bytes: &[u8]) -> Option<dns::Exchange<'_>> {
    if protocol == AppProtocol::Dns { dns::unkept(bytes, way) } else { None }
}
