//! Stop 4: fragments wait until they are whole, and a packet finds its flow.

use weir_wire::{DropReason, Fragment, Instant, Packet, Pool, PortId, SwitchId};

use super::{Engine, Entered, FlowName, Place, Ticket, Why};
use crate::flow::Memo;
use crate::flow::key::{self, Belongs, Key};
use crate::frag::Taken;
use crate::inspect::Direction;

impl Engine {
    /// Computes a parsed packet's hash. Changes nothing else.
    #[inline]
    pub fn prepare(&self, packet: &mut Packet, switch: SwitchId) {
        if packet.headers.fragment != Fragment::No {
            return;
        }
        if let Belongs::Flow { key, .. } = key::belongs(packet, switch) {
            packet.hash = self.table.hash(&key);
        }
    }

    /// Reads what [`Engine::carry`] and [`Engine::enter`] will look up for a burst whose flows have these names, so that its
    /// cache misses overlap, and notes in the names where the flows stand; also reads what has to make room for new flows of
    /// `port`, by which the burst came. Names without a hash are passed over. Changes nothing else. Returns how many of the
    /// flows begin, as far as that can be seen.
    #[inline]
    pub fn fetch(&self, names: &mut [FlowName], port: Option<PortId>) -> usize {
        self.table.touch(names.iter().map(FlowName::hash).filter(|&hash| hash != 0));
        let missing = self.table.warm(names.iter_mut().map(FlowName::wanted).filter(|&(hash, ..)| hash != 0));
        let (true, Some(port)) = (missing > 0, port) else { return 0 };
        let too_many = missing.saturating_sub(self.room_of(port));
        if too_many > 0 {
            self.table.warm_victims(port, too_many);
        }
        missing
    }

    /// What the caller remembers of the flows with these names, which were fetched: for what it reads beforehand itself.
    #[inline]
    pub fn remembered(&self, names: &[FlowName]) -> impl Iterator<Item = &[Memo; 2]> {
        self.table.memos(names.iter().map(FlowName::hint))
    }

    /// Stop 4. `switch` and the packet's `vid` keep equal addresses on different switches and VLANs apart.
    /// Sets `packet.hash`.
    #[inline]
    pub fn enter(&mut self, now: Instant, packet: Packet, switch: SwitchId, pool: &mut Pool) -> Entered {
        if self.started.is_none() {
            self.started = Some(now);
        }
        if packet.headers.fragment == Fragment::No {
            return self.find(now, packet, switch);
        }
        match self.fragments.take(now, packet, switch, pool) {
            Taken::Whole(packet) => self.find(now, packet, switch),
            Taken::Held => Entered::Held,
            Taken::Refused(packet, reason) => self.refuse(now, packet, switch, reason),
        }
    }

    #[inline]
    fn find(&mut self, now: Instant, mut packet: Packet, switch: SwitchId) -> Entered {
        let place = match key::belongs(&packet, switch) {
            Belongs::Flow { key, from_low, .. } => {
                if packet.hash == 0 {
                    packet.hash = self.table.hash(&key);
                }
                match self.look_up(&key, packet.hash, from_low) {
                    Place::Known { slot, .. } if self.table.at(slot).blocked && !self.table.at(slot).shown_out => {
                        return Entered::Dropped(packet, Why::reason(DropReason::FlowBlocked));
                    }
                    place => place,
                }
            }
            Belongs::Error { key, quoted_from_low, .. } => {
                packet.hash = self.table.hash(&key);
                match self.look_up(&key, packet.hash, quoted_from_low) {
                    Place::Known { slot, generation, direction } => {
                        Place::Error { slot, generation, quoted: direction }
                    }
                    _ => return self.refuse(now, packet, switch, DropReason::IcmpUnrelated),
                }
            }
            Belongs::BrokenError => return self.refuse(now, packet, switch, DropReason::IcmpUnrelated),
            Belongs::None => Place::Alone,
        };
        Entered::Go(packet, Ticket { switch, place })
    }

    #[inline]
    pub(super) fn look_up(&self, key: &Key, hash: u64, from_low: bool) -> Place {
        let Some(slot) = self.table.find(key, hash) else { return Place::New };
        let flow = self.table.at(slot);
        Place::Known { slot, generation: flow.generation, direction: flow.direction(from_low) }
    }

    /// Tells people of a packet without a flow that somebody else refuses, as often as of those refused here.
    pub fn tell_refusal_without_flow(&mut self, now: Instant, packet: &Packet, switch: SwitchId, reason: DropReason) {
        self.teller.drop_without_flow(now, packet, switch, None, &Why::reason(reason));
    }

    fn refuse(&mut self, now: Instant, packet: Packet, switch: SwitchId, reason: DropReason) -> Entered {
        let why = Why::reason(reason);
        self.teller.drop_without_flow(now, &packet, switch, None, &why);
        Entered::Dropped(packet, why)
    }
}

impl Direction {
    /// The other way.
    #[inline]
    pub fn reversed(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }
}
