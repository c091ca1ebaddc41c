//! The short way of datagrams that nobody hears.
//!
//! Most datagrams of a flow whose protocol nobody follows bring nothing: they are not odd, and no pattern of a rule stands
//! in them. What must be known of the flow to say so is noted with it, and such a datagram is found, asked and counted; its
//! flow's inspection is not touched. Any other packet of the flow takes the long way, and what was noted is found out anew
//! behind it. Flows in which each datagram is a message of its own have no inspection as long as no rule may take one of
//! them ([`Brief`]).

use weir_wire::Instant;

use super::Core;
use super::flow::{Action, Flow, Reason, State};
use super::key::Key;
use crate::decode::datagram::Datagram;
use crate::detect::{Brief, Unheard};
use crate::inspect::Direction;

impl Core {
    /// A datagram that came in no tunnel.
    #[inline]
    pub fn datagram(&mut self, datagram: &Datagram<'_>, frame: &[u8], time: Instant) {
        let key = Key::of_datagram(datagram);
        if !self.passes_by(datagram, &key, (frame, time)) {
            self.packet(&datagram.view(frame, time), Some(key));
        }
    }

    /// Lets it pass. `false` where it takes the long way; then nothing has changed.
    #[inline]
    fn passes_by(
        &mut self,
        datagram: &Datagram<'_>,
        &(key, from_low): &(Key, bool),
        (frame, time): (&[u8], Instant),
    ) -> bool {
        let Some(slot) = self.flows.find_anew(&key) else {
            return self.begins_briefly(datagram, &(key, from_low), (frame, time));
        };
        if self.flows.deadline(slot) < time || self.shared.tags_hosts() {
            return false;
        }
        let Some(flow) = self.flows.get_mut(slot) else { return false };
        let way = flow.way(from_low);
        if let Some(brief) = &mut flow.brief {
            let end = (&flow.tuple, way);
            if !brief.passes(&self.program, end, datagram.payload, &mut self.shared) {
                self.asked = true;
                return false;
            }
            flow.transactions += u64::from(brief.has_transactions());
        } else if !flow.settled {
            let Some(unheard) = unheard(flow, way) else { return false };
            if unheard.may_take(datagram.payload, &mut self.shared, &self.program) {
                self.asked = true;
                return false;
            }
        } else if !is_going(flow, way) {
            return false;
        }
        flow.count(way, frame.len(), time);
        flow.settle_state();
        self.counters.packets += 1;
        self.teller.passes_by(flow);
        let deadline = flow.deadline(&self.settings.timeouts);
        self.flows.postpone(slot, deadline);
        true
    }

    /// Begins a flow that needs no inspection yet. `false`: it takes the long way.
    #[inline(never)]
    fn begins_briefly(
        &mut self,
        datagram: &Datagram<'_>,
        &(key, from_low): &(Key, bool),
        (frame, time): (&[u8], Instant),
    ) -> bool {
        if self.watch.unasked || self.shared.tags_hosts() || !self.announced.is_empty() {
            return false;
        }
        let view = datagram.view(frame, time);
        let Some(tuple) = view.tuple else { return false };
        let Some(brief) = Brief::start(&self.program, &tuple, datagram.payload, &mut self.shared) else { return false };
        let mut flow = self.new_flow(key, &tuple, from_low, &view);
        (flow.brief, flow.rests) = (Some(brief), true);
        flow.transactions = u64::from(brief.has_transactions());
        flow.count(Direction::Original, frame.len(), time);
        self.counters.packets += 1;
        self.teller.passes_by(&flow);
        let deadline = flow.deadline(&self.settings.timeouts);
        let (_, gone) = self.flows.insert(flow, deadline);
        if let Some(mut gone) = gone {
            self.end(&mut gone, Reason::Forced, time);
        }
        true
    }
}

/// Nothing was decided on the flow, and a packet that goes this way does not establish it.
fn is_going(flow: &Flow, way: Direction) -> bool {
    let answers = flow.facts.packets.get(1 - way as usize).is_some_and(|&count| count > 0);
    flow.action != Action::Drop && (flow.state == State::Established || flow.state == State::New && !answers)
}

/// What is noted of the flow's datagrams that go this way, found out where it was not.
#[inline]
fn unheard(flow: &mut Flow, way: Direction) -> Option<Unheard> {
    let known = flow.unheard.get(way as usize).copied().flatten();
    if known.is_some() { known } else { find_out(flow, way) }
}

#[inline(never)]
fn find_out(flow: &mut Flow, way: Direction) -> Option<Unheard> {
    let seen = flow.inspection.as_ref().filter(|_| is_going(flow, way))?;
    let known = seen.unheard(way, flow.state == State::Established);
    flow.unheard.get_mut(way as usize).into_iter().for_each(|place| *place = known);
    known
}
