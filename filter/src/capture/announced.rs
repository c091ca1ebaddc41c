//! Flows that others have announced: the data connections of FTP and the like.
//!
//! Bounded: the oldest is forgotten where there is no room, and all after a minute.

use std::collections::VecDeque;

use weir_wire::Instant;

use crate::app::Expectation;
use crate::event::Tuple;

/// Announcements kept.
const ROOM: usize = 1024;
/// Seconds for which one is kept.
const SECONDS: u64 = 60;

/// Flows that are expected.
#[derive(Debug, Default)]
pub struct Announced {
    waiting: VecDeque<(Instant, Expectation)>,
}

impl Announced {
    /// Adds what parsers have announced.
    pub fn add(&mut self, expectations: impl Iterator<Item = Expectation>, now: Instant) {
        for expectation in expectations {
            if self.waiting.len() >= ROOM {
                self.waiting.pop_front();
            }
            self.waiting.push_back((now, expectation));
        }
    }

    /// Takes over what waits in another one, as far as there is room.
    pub fn adopt(&mut self, other: &mut Announced) {
        let room = ROOM.saturating_sub(self.waiting.len());
        self.waiting.extend(other.waiting.drain(..).take(room));
        self.waiting.make_contiguous().sort_by_key(|(since, _)| *since);
    }

    /// Nothing is announced.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What was announced of a flow that begins, in either direction.
    #[inline]
    pub fn take(&mut self, tuple: &Tuple, now: Instant) -> Option<Expectation> {
        if self.waiting.is_empty() {
            return None;
        }
        self.waiting.retain(|(since, _)| now.since(*since).as_secs() <= SECONDS);
        let at = self.waiting.iter().position(|(_, expectation)| fits(&expectation.tuple, tuple))?;
        self.waiting.remove(at).map(|(_, expectation)| expectation)
    }
}

/// Whether the tuple is the announced one; port 0 stands for any.
fn fits(announced: &Tuple, tuple: &Tuple) -> bool {
    let port = |wanted: u16, is: u16| wanted == 0 || wanted == is;
    let there = announced.source == tuple.source
        && announced.destination == tuple.destination
        && port(announced.source_port, tuple.source_port)
        && port(announced.destination_port, tuple.destination_port);
    announced.protocol == tuple.protocol && there
}
