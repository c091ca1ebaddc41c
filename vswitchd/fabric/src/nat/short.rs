//! Address translation for packets of settled flows: what is known is applied, what is not is left to
//! [`Nat::inward`] and [`Nat::outward`], which would decide the same.

use weir_filter::Memo;
use weir_filter::spec::Timeouts;
use weir_wire::numbers::{ETHERTYPE_IPV4, TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet, SwitchId};

use super::bindings::{At, Bindings, Way};
use super::ends::{End, Ends, Side};
use super::{Exit, Nat, Rename, Renaming};
use crate::path::Bound;

/// Remembered of packets that keep their source: this, the interface that they leave by in the lower half, and above it
/// in which part of the bindings that come may be one that changes it.
const KEEPS: u32 = 1 << 31;
/// The same of those that leave by the interface they came by, where any binding that comes may change it.
const TURNS: u32 = 1 << 30;
/// Remembered of packets with a binding: its place, and this.
const BOUND: u32 = 1;

/// The bits in which the part stands.
const SECTION: u32 = 0x03ff << 16;

/// What is remembered of packets that keep their source when they leave by this exit, without the part.
#[inline]
fn keeps(exit: &Exit) -> u32 {
    let turns = if exit.from == exit.to { TURNS } else { 0 };
    KEEPS | turns | u32::from(exit.to.0)
}

/// What gives packets of a flow for an outside address their inside destination, for as long as a burst lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inward {
    /// The binding; `None` where addresses are joined one to one.
    place: Option<u32>,
    rename: Rename,
}

/// The ends of a packet that [`Packet::parse_common`] has parsed: of TCP or UDP, with its headers at hand.
#[inline]
fn ends(packet: &Packet) -> Option<Ends> {
    let frame = packet.bytes();
    let (source, destination, ports) = if packet.headers.ether_type == ETHERTYPE_IPV4 {
        let header: &[u8; 42] = frame.first_chunk()?;
        let [.., a, b, c, d, e, f, g, h, s, t, u, v, _, _, _, _] = *header;
        ([a, b, c, d].into(), [e, f, g, h].into(), [s, t, u, v])
    } else {
        let (source, rest) = frame.get(22..)?.split_first_chunk::<16>()?;
        let (destination, rest) = rest.split_first_chunk::<16>()?;
        ((*source).into(), (*destination).into(), *rest.first_chunk()?)
    };
    let [s, t, u, v] = ports;
    let (from, to) = (u16::from_be_bytes([s, t]), u16::from_be_bytes([u, v]));
    Some(Ends { protocol: packet.headers.protocol, source: (source, from), destination: (destination, to) })
}

impl Ends {
    /// Where the binding is looked for that gives it an inside destination.
    fn inward(&self, zone: SwitchId) -> At {
        (zone.0, self.protocol, self.destination, self.source)
    }

    /// Where the binding is looked for that gives it an outside source.
    fn outward(&self, zone: SwitchId) -> At {
        (zone.0, self.protocol, self.source, self.destination)
    }
}

impl Nat {
    /// The hash under which the binding of a packet that comes in is looked for; 0 where it is not for an outside
    /// address.
    #[inline]
    pub fn inward_hash(&self, zone: SwitchId, packet: &Packet) -> u64 {
        match ends(packet) {
            Some(ends) if self.is_outside(zone, ends.destination.0) => self.bindings.hash(Way::In, ends.inward(zone)),
            _ => 0,
        }
    }

    /// The hash under which the binding of a packet that goes out is looked for. Never 0.
    #[inline]
    fn outward_hash(&self, zone: SwitchId, packet: &Packet) -> u64 {
        ends(packet).map_or(1, |ends| self.bindings.hash(Way::Out, ends.outward(zone)))
    }

    /// As [`Nat::outward_known`], for a packet of a flow of which is remembered what was found for the one before.
    ///
    /// A binding between two ends decides about all packets between them as long as it stands there and nobody attends to it. That there is
    /// none holds, by the same interface, until one comes that may be theirs or something else is configured. A
    /// masquerade's is not: what it covers is never remembered as keeping its source.
    #[inline]
    pub fn recall(&self, memo: &mut Memo, exit: &Exit, packet: &Packet) -> Renaming {
        let Memo { what, as_of } = *memo;
        if what & KEEPS != 0 {
            if what & !SECTION == keeps(exit) && as_of == self.keeps_as_of(what) {
                return Renaming::None;
            }
        } else if let Some(place) = what.checked_sub(BOUND)
            && let Some(ends) = ends(packet)
            && self.bindings.decides(place, Way::Out, &ends.outward(exit.zone))
        {
            return Renaming::Bound(place);
        }
        self.look_and_remember(memo, exit, packet)
    }

    #[inline(never)]
    fn look_and_remember(&self, memo: &mut Memo, exit: &Exit, packet: &Packet) -> Renaming {
        let hash = self.outward_hash(exit.zone, packet);
        let renaming = self.outward_known(exit, packet, hash);
        *memo = match renaming {
            Renaming::None => {
                let what = keeps(exit) | Bindings::section(hash) << 16 & SECTION;
                Memo { what, as_of: self.keeps_as_of(what) }
            }
            Renaming::Bound(place) => Memo { what: place + BOUND, as_of: 0 },
            Renaming::Joined(_) | Renaming::Unknown => Memo::default(),
        };
        renaming
    }

    /// Changes of what is configured, and of bindings that may give packets another source of which `what` is remembered.
    #[inline]
    fn keeps_as_of(&self, what: u32) -> u32 {
        let comes = if what & TURNS == 0 { self.bindings.unforeseen(what >> 16) } else { self.bindings.made() };
        comes.wrapping_add(self.edits)
    }

    /// Reads what look-ups under these hashes will need.
    pub fn touch(&self, packets: &[Bound]) {
        self.bindings.touch(packets.iter().filter(|bound| !bound.again).map(|bound| bound.hash));
    }

    /// Reads the bindings that flows remember, of which packets are about to leave.
    #[inline]
    pub fn touch_remembered<'a>(&self, memos: impl Iterator<Item = &'a [Memo; 2]>) {
        let bound = memos.flatten().filter(|memo| memo.what & KEEPS == 0);
        self.bindings.touch_places(bound.filter_map(|memo| memo.what.checked_sub(BOUND)));
    }

    /// Gives a packet for an outside address its inside destination, if that is known, and returns what to do with the next
    /// one of its flow. `None` leaves the packet as it was.
    #[inline]
    pub fn inward_known(&mut self, now: Instant, zone: SwitchId, packet: &mut Packet, hash: u64) -> Option<Inward> {
        let ends = ends(packet)?;
        let (place, inside) = match self.bindings.place(Way::In, ends.inward(zone), hash) {
            Some(place) => {
                let inside = self.bindings.get(place)?.inside();
                let other_family = inside.0.is_ipv4() != ends.destination.0.is_ipv4();
                if other_family || self.is_outside(zone, inside.0) || self.bindings.is_attended(place) {
                    return None;
                }
                (Some(place), inside)
            }
            None => match self.joined_outside(zone, ends.destination.0) {
                Some(joined) if !self.is_outside(zone, joined.inside) => (None, (joined.inside, ends.destination.1)),
                Some(_) | None => return None,
            },
        };
        let inward = Inward { place, rename: Rename::new(packet, Side::Destination, inside) };
        if let Some(place) = place {
            self.bindings.pass_at(now, Way::In, place, packet.headers.tcp_flags);
        }
        inward.rename.apply(packet).then_some(inward)
    }

    /// The same for a packet that follows one of its flow in the same burst: of use to its binding is only that it opens or
    /// ends a connection.
    #[inline]
    pub fn inward_again(&mut self, now: Instant, packet: &mut Packet, inward: &Inward) -> bool {
        let flags = packet.headers.tcp_flags;
        if flags & (TCP_FIN | TCP_RST | TCP_SYN) != 0
            && let Some(place) = inward.place
        {
            self.bindings.pass_at(now, Way::In, place, flags);
        }
        inward.rename.apply(packet)
    }

    /// Nothing is looked at in first packets but their ends.
    #[inline]
    pub fn names_plainly(&self) -> bool {
        !self.helps
    }

    /// The name of the first packet of a flow when it leaves: what [`Nat::outward`] gives it where [`Nat::names_plainly`]; and
    /// what is to be remembered for those that follow.
    ///
    /// # Errors
    /// Why it has none and must not leave.
    pub fn outward_first(
        &mut self,
        now: Instant,
        exit: &Exit,
        packet: &Packet,
        timeouts: &Timeouts,
    ) -> Result<(Option<End>, Memo), DropReason> {
        let Some(ends) = ends(packet) else { return Err(DropReason::NotRouted) };
        if let Some(names) = self.bindings.pass(now, Way::Out, ends.outward(exit.zone), packet.headers.tcp_flags) {
            return Ok((Some(names.outside), Memo::default()));
        }
        let before = self.bindings.made();
        let named = self.named_anew(now, exit, &ends, timeouts)?;
        // Whose the binding is that has just come is looked at when it is used.
        let what = if self.bindings.made() == before { 0 } else { self.bindings.newest() + BOUND };
        Ok((named, Memo { what, as_of: 0 }))
    }

    /// Reads what naming the flows of these packets will need, should they begin and leave by this exit: the places of
    /// their names inside and, by their own ports, outside.
    #[inline(never)]
    pub fn touch_first(&self, exit: &Exit, packets: &[Packet]) {
        let Some(first) = packets.first().and_then(ends) else { return };
        let outside = self.terms(exit, &first).and_then(|terms| terms.address);
        let hashes = packets.iter().filter_map(ends).flat_map(|ends| {
            let back = outside.map(|outside| Ends { source: (outside, ends.source.1), ..ends });
            let out = self.bindings.hash(Way::Out, ends.outward(exit.zone));
            [Some(out), back.map(|back| self.bindings.hash(Way::In, back.outward(exit.zone)))]
        });
        self.bindings.touch_room(hashes.flatten(), packets.len());
    }

    /// What a packet of a settled flow is renamed to when it leaves by this exit. Changes nothing.
    #[inline]
    fn outward_known(&self, exit: &Exit, packet: &Packet, hash: u64) -> Renaming {
        let Some(ends) = ends(packet) else { return Renaming::Unknown };
        if let Some(place) = self.bindings.place(Way::Out, ends.outward(exit.zone), hash) {
            return if self.bindings.is_attended(place) { Renaming::Unknown } else { Renaming::Bound(place) };
        }
        if let Some(joined) = self.joined_inside(exit.zone, ends.source.0, Some(exit.to)) {
            return Renaming::Joined((joined.outside, ends.source.1));
        }
        // The first packet that would be masqueraded has a binding, so this flow is older than the masquerade, or it is
        // the answer of a host that was called by its own name.
        if self.is_masqueraded(exit, &ends) { Renaming::Unknown } else { Renaming::None }
    }

    /// The name that a packet which leaves is given; its binding stays in use.
    #[inline]
    pub fn rename(&mut self, now: Instant, renaming: Renaming, flags: u8) -> Option<End> {
        match renaming {
            Renaming::None | Renaming::Unknown => None,
            Renaming::Bound(place) => {
                self.bindings.pass_at(now, Way::Out, place, flags).map(|binding| binding.outside())
            }
            Renaming::Joined(outside) => Some(outside),
        }
    }
}
