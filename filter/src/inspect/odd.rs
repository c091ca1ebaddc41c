//! What is odd about packets, for rules on it (`decode-event`, `stream-event`, `engine-event`) on live traffic.
//!
//! The datapath refuses what it cannot parse, and what contradicts a connection, before rules see it. Such a packet is
//! taken apart once more here, as captures are, and judged by the rules on oddities alone; what they say is told, the
//! packet is refused already. Nothing of this is done where no rule asks for it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use weir_wire::numbers::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet};

use super::told::{Beside, Told};
use super::{Direction, Findings, RuleSetProgram, StreamMemory, conclude};
use crate::decode::{Decoder, Event, Events, LAYERS, Link, Settings, Taken, View, defrag};
use crate::detect::{self, FlowFacts, Inspection, Step};
use crate::event::Tuple;

/// What the TCP engine, or the wait for fragments, found where it refused the packet for this reason.
fn refused_for(reason: DropReason, packet: &Packet) -> Option<Event> {
    let flags = packet.tcp().map(|tcp| tcp.flags).unwrap_or_default();
    let has = |wanted: u8| flags & wanted == wanted;
    let version_6 = packet.bytes().get(14).is_some_and(|byte| byte >> 4 == 6);
    Some(match reason {
        DropReason::StreamConflict => Event::StreamReassemblyOverlapDifferentData,
        DropReason::StreamLimit => Event::StreamReassemblyInsertLimit,
        DropReason::FragmentOverlap if version_6 => Event::Ipv6FragmentOverlap,
        DropReason::FragmentOverlap => Event::Ipv4FragmentOverlap,
        DropReason::FragmentLimit if version_6 => Event::Ipv6FragmentIgnored,
        DropReason::FragmentLimit => Event::Ipv4FragmentIgnored,
        DropReason::TcpWindow => Event::StreamEstablishedPacketOutOfWindow,
        DropReason::TcpState | DropReason::TcpMidstream if has(TCP_SYN | TCP_FIN) => Event::StreamFinSyn,
        DropReason::TcpMidstream if has(TCP_RST) => Event::StreamRstButNoSession,
        DropReason::TcpMidstream if has(TCP_FIN) => Event::StreamFinButNoSession,
        DropReason::TcpState if has(TCP_RST) => Event::StreamRstInvalidAck,
        DropReason::TcpState if has(TCP_SYN | TCP_ACK) => Event::StreamHandshakeSynAckWithWrongAck,
        DropReason::TcpState if has(TCP_SYN) => Event::StreamEstablishedSynResendDiffSeq,
        DropReason::TcpState => Event::StreamPacketInvalidAck,
        _ => return None,
    })
}

/// Whether packets refused for this reason may be odd.
pub fn may_be_odd(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::TruncatedEthernet
            | DropReason::BadVlanTag
            | DropReason::BadIpv4
            | DropReason::BadIpv6
            | DropReason::BadTcp
            | DropReason::BadUdp
            | DropReason::BadIcmp
            | DropReason::BadArp
            | DropReason::TcpState
            | DropReason::TcpWindow
            | DropReason::TcpMidstream
            | DropReason::FragmentOverlap
            | DropReason::FragmentLimit
            | DropReason::StreamConflict
            | DropReason::StreamLimit
    )
}

/// A decoder that follows no tunnels, computes no checksums (they may be left to the receiving port) and holds nothing.
pub fn decoder() -> Box<Decoder> {
    let defrag = defrag::Settings { trackers: 0, memory: 0, ..defrag::Settings::default() };
    let (vxlan, geneve, teredo) = Default::default();
    Box::new(Decoder::new(Settings { checksums: false, vxlan, geneve, teredo, defrag, layers: LAYERS }))
}

impl StreamMemory {
    /// What is odd about a frame by itself.
    pub(super) fn oddities(&mut self, now: Instant, frame: &[u8]) -> (Events, Option<Tuple>) {
        let (mut events, mut tuple) = (Events::default(), None);
        let decoder = self.decoder.get_or_insert_with(decoder);
        decoder.decode(Link::Ethernet, frame, now, &mut |view| {
            // The outermost packet comes last, and is the one that was refused.
            (events, tuple) = (view.events, view.tuple);
            Taken::Passed
        });
        (events, tuple)
    }

    /// Judges a packet that was refused for `reason` by the rules on oddities; fills `findings`, which the caller has
    /// cleared. The refusal stands whatever they say.
    pub fn judge_refused(
        &mut self,
        program: &Arc<RuleSetProgram>,
        now: Instant,
        (packet, reason): (&Packet, DropReason),
        findings: &mut Findings,
    ) {
        if !program.program().watches_oddities() {
            return;
        }
        let (mut events, tuple) = self.oddities(now, packet.bytes());
        refused_for(reason, packet).into_iter().for_each(|event| events.set(event));
        if events.is_empty() {
            return;
        }
        let nobody: std::net::IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let nobody = Tuple { source: nobody, destination: nobody, source_port: 0, destination_port: 0, protocol: 0 };
        let tuple = tuple.unwrap_or(nobody);
        let frame = packet.bytes();
        let ethernet = frame.get(..14).unwrap_or_default();
        let view = View { time: now, tuple: Some(tuple), ethernet, frame, events, ..View::default() };
        let (facts, way) = (FlowFacts::default(), Direction::Original);
        let step = Step { view: &view, way, packet: true, established: false, stream: None, flow: &facts, end: false };
        let (tells, mut found) = (self.tells(), detect::Findings::default());
        let mut told = Told { store: None, findings, tells, beside: Beside::default() };
        Inspection::of_oddity(program.program(), &tuple).step(&step, &mut self.shared, &mut found, &mut told);
        conclude(&found, findings);
    }
}
