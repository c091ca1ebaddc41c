//! Packets that leave one after the other: those at the front of a burst whose flows are settled, begin, or are read by
//! inspection, and which go out by the same port. They pass stops 4 to 6 in one step each and are handed to the port together.
//!
//! A run decides what the long way would. It ends before the first packet that it is not sure of, which then takes the
//! long way, or is dropped where the guard has said why; so packets keep their order, and each is finished before the
//! next one is looked up.

use weir_filter::{Carried, FlowName, Leaves, Why};
use weir_wire::{DropReason, Origin, Packet, PortId, SwitchId};

use crate::path::Paths;
use crate::router::short::Zone;
use crate::stages::{Lane, Onward, Walk};
use crate::vlan::Tagging;

/// So many bursts after one with packets that were read are looked at for more of them.
const READING: u32 = 16;

/// Packets of at most so many bytes are frames, longer ones super-segments.
const FRAME: usize = 2048;

/// Packets that leave one after the other by the same port.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub to: PortId,
    pub leaves: Leaves,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Some of them were the first of their flows, or were read: the guard may have something to send.
    pub began: bool,
    /// They are routed: what is changed in them stands among the edits.
    pub routed: bool,
    /// Why the packet behind them ends, where that is known.
    pub refused: Option<Why>,
}

impl Walk<'_> {
    /// What the guard has to send because of flows that began.
    #[inline]
    pub(crate) fn send_what_began(&mut self, began: bool) {
        if began {
            self.send_originated();
        }
    }

    /// Sends the packets of a run, the next ones of `rest`.
    pub(crate) fn send_run(&mut self, run: Run, rest: &mut impl Iterator<Item = Packet>, paths: &mut Paths) {
        let Run { to, leaves, bytes, .. } = run;
        let (mut count, mut bytes) = (leaves.len() as u64, bytes);
        if count == 0 {
            return;
        }
        let mut edits = paths.edits.iter().flat_map(|edit| std::iter::repeat_n(edit, edit.packets as usize));
        let hops = &paths.hops;
        let carried = rest.take(leaves.len()).map(|mut packet| {
            if let Some(edit) = edits.next() {
                hops.edit(edit, &mut packet);
            }
            packet
        });
        for packet in self.out.push_run(to, carried, leaves) {
            count -= 1;
            bytes -= packet.len() as u64;
            self.end(packet, Why::reason(DropReason::EgressLimit));
        }
        paths.edits.clear();
        self.count_sent(to, count, bytes);
    }

    /// The packets at the front whose flows are settled, begin or are read, and which leave by the same port: stops 4 to 6 for them,
    /// and their leave. Those that are bridged leave as they are, those that are routed with their edits.
    pub(crate) fn run(&mut self, packets: &[Packet], lanes: &[Lane], paths: &mut Paths) -> Run {
        let (mut run, mut at) = (Run::default(), 0);
        while let (Some([packet, behind @ ..]), Some(lane)) = (packets.get(at..), lanes.get(at)) {
            let carried = match lane.onward {
                Onward::Edge => self.carry_routed((packet, behind), (lane, Zone::Edge), paths, &mut run),
                Onward::Common if lane.switch.is_zone() => {
                    self.carry_routed((packet, behind), (lane, Zone::Plain), paths, &mut run)
                }
                Onward::Common => self.carry_bridged(packet, lane, paths, &mut run),
                Onward::Long | Onward::Refused(_) | Onward::Taken => false,
            };
            if !carried {
                break;
            }
            run.bytes += packet.len() as u64;
            at += 1;
            if lanes.get(at).is_some_and(|next| next.follows(lane)) {
                at += self.carry_train((behind, lanes.get(at..).unwrap_or(&[])), (packet.port, lane), paths, &mut run);
            }
        }
        run
    }

    /// The packets of one flow that follow the one which has just joined the run: how many of them join it too.
    #[inline]
    fn carry_train(
        &mut self,
        (packets, lanes): (&[Packet], &[Lane]),
        (from, lane): (PortId, &Lane),
        paths: &mut Paths,
        run: &mut Run,
    ) -> usize {
        let both = packets.iter().zip(lanes);
        let train = both.take_while(|(_, next)| next.follows(lane)).map(|(packet, _)| packet);
        let Some(name) = paths.names.get(lane.name as usize) else { return 0 };
        let (ends, leaves) = ((from, run.to), &mut run.leaves);
        let (count, bytes) = if run.routed {
            let Some((edit, next)) = paths.hops.last_of(&mut paths.edits) else { return 0 };
            let train = train.take_while(|packet| next.lets(packet));
            let carried = self.engine.carry_train(self.now, train, name, ends, leaves);
            next.passed += u64::from(carried.0);
            edit.packets += carried.0;
            carried
        } else if paths.is_fast(lane.path as usize) {
            // Each of them may be the one that is offered.
            return 0;
        } else {
            self.engine.carry_train(self.now, train, name, ends, leaves)
        };
        run.bytes += bytes;
        count as usize
    }

    /// Stops 4 to 6 for a packet of a settled flow on a switch: adds its leave to the run.
    #[inline]
    fn carry_bridged(&mut self, packet: &Packet, lane: &Lane, paths: &mut Paths, run: &mut Run) -> bool {
        let path = lane.path as usize;
        let destination = paths.destination(path, packet, self.now_s, self.bridge, self.to);
        let Some((to, Tagging::Untagged)) = destination else { return false };
        if !(run.leaves.is_empty() || run.to == to && !run.routed) {
            return false;
        }
        let Some(name) = paths.names.get(lane.name as usize) else { return false };
        match self.engine.carry(self.now, packet, name, to, &mut run.leaves) {
            Carried::On => {
                if paths.is_fast(path) {
                    self.engine.offer(packet, name, to);
                }
            }
            Carried::Answer => {
                if !self.carry_answer(packet, name, run) {
                    return false;
                }
            }
            Carried::First => {
                if !self.begin_bridged(packet, (lane.switch, name), to, run) {
                    return false;
                }
            }
            Carried::Read => {
                paths.reading = READING;
                if !self.carry_read(packet, (lane.switch, name), to, run) {
                    return false;
                }
            }
            Carried::Unsettled => return false,
        }
        run.to = to;
        true
    }

    /// Stops 4 to 6 for the first answer in a flow that is settled but for that: adds its leave to the run.
    #[inline(never)]
    pub(crate) fn carry_answer(&mut self, packet: &Packet, name: &FlowName, run: &mut Run) -> bool {
        // Whose address the responder speaks by is looked at once, as for those who open flows.
        packet.is_whole()
            && self.check_first_hop(packet).is_ok()
            && self.engine.carry_answer(self.now, packet, name, &mut run.leaves)
    }

    /// The same for a packet that inspection reads.
    fn carry_read(&mut self, packet: &Packet, name: (SwitchId, &FlowName), to: PortId, run: &mut Run) -> bool {
        // What appliances cannot judge is counted on the long way.
        if !packet.is_whole() || name.0.is_appliance() {
            return false;
        }
        run.began = true;
        match self.engine.carry_read(self.now, packet, name, to, self.pool, &mut run.leaves) {
            Ok(()) => true,
            Err(why) => {
                run.refused = Some(why);
                false
            }
        }
    }

    /// Has what inspection will read on its short way brought near, all of it together: the state of its flows, and the rest of
    /// packets that are not whole.
    pub(crate) fn bring_read(
        &mut self,
        burst: &mut [Packet],
        lanes: &mut [Lane],
        paths: &mut Paths,
        origin: &dyn Origin,
    ) {
        let Some(left) = paths.reading.checked_sub(1) else { return };
        paths.reading = left;
        let mut last = (u32::MAX, false);
        for lane in lanes.iter_mut().filter(|lane| lane.onward == Onward::Common) {
            if last.0 != lane.name {
                last =
                    (lane.name, paths.names.get(lane.name as usize).is_some_and(|name| self.engine.touch_read(name)));
            }
            lane.is_read = last.1;
        }
        for (packet, lane) in burst.iter_mut().zip(lanes) {
            // A super-segment is brought when its turn comes: all of a burst would not stay in the caches. Where no buffer is
            // free the packet takes the long way, which says so.
            if lane.is_read && !packet.is_whole() && packet.len() <= FRAME {
                origin.fill(packet, self.pool);
            }
        }
    }

    /// The same for the first packet of a flow.
    fn begin_bridged(&mut self, packet: &Packet, name: (SwitchId, &FlowName), to: PortId, run: &mut Run) -> bool {
        // What is not whole cannot be inspected, what an appliance is told of goes its own way, and what the first hop
        // refuses is told of elsewhere.
        if !packet.is_whole() || name.0.is_appliance() || self.check_first_hop(packet).is_err() {
            return false;
        }
        match self.engine.begin_flow(self.now, packet, name, to, self.pool, &mut run.leaves) {
            Ok(_) => {
                run.began = true;
                true
            }
            Err(why) => {
                run.refused = Some(why);
                false
            }
        }
    }
}
