//! Address translation for packets of settled flows: what is known is applied, what is not is left to
//! [`Nat::inward`] and [`Nat::outward`], which would decide the same.

use weir_filter::Memo;
use weir_filter::spec::Timeouts;
use weir_wire::numbers::{ETHERTYPE_IPV4, TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Instant, Packet, SwitchId};

use super::bindings::{At, Way};
use super::ends::{End, Ends, Side};
use super::{Exit, Nat, Rename, Renaming};
use crate::path::Bound;

/// Remembered of packets that keep their source.
const KEEPS: u32 = 1;
/// Remembered of packets with a binding: its place, and this.
const BOUND: u32 = 2;

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
    /// A binding between two ends decides about all packets between them until it goes or is attended to. That there is
    /// none holds until any comes or goes, or something else is configured.
    #[inline]
    pub fn recall(&self, memo: &mut Memo, exit: &Exit, packet: &Packet) -> Renaming {
        match memo.what.checked_sub(BOUND) {
            Some(place) if self.bindings.mark(place) == Some(memo.as_of) => return Renaming::Bound(place),
            None if memo.what == KEEPS && memo.as_of == self.changes() => return Renaming::None,
            Some(_) | None => {}
        }
        self.look_and_remember(memo, exit, packet)
    }

    #[inline(never)]
    fn look_and_remember(&self, memo: &mut Memo, exit: &Exit, packet: &Packet) -> Renaming {
        let renaming = self.outward_known(exit, packet, self.outward_hash(exit.zone, packet));
        *memo = match renaming {
            Renaming::None => Memo { what: KEEPS, as_of: self.changes() },
            Renaming::Bound(place) => {
                self.bindings.mark(place).map_or(Memo::default(), |as_of| Memo { what: place + BOUND, as_of })
            }
            Renaming::Joined(_) | Renaming::Unknown => Memo::default(),
        };
        renaming
    }

    /// Changes of bindings and of what is configured.
    #[inline]
    fn changes(&self) -> u32 {
        self.bindings.changes().wrapping_add(self.edits)
    }

    /// Reads what look-ups under these hashes will need.
    pub fn touch(&self, packets: &[Bound]) {
        self.bindings.touch(packets.iter().filter(|bound| !bound.again).map(|bound| bound.hash));
    }

    /// Reads the bindings that flows remember, of which packets are about to leave.
    #[inline]
    pub fn touch_remembered<'a>(&self, memos: impl Iterator<Item = &'a [Memo; 2]>) {
        self.bindings.touch_places(memos.flatten().filter_map(|memo| memo.what.checked_sub(BOUND)));
    }

    /// Gives a packet for an outside address its inside destination, if that is known, and returns what to do with the next
    /// one of its flow. `None` leaves the packet as it was.
    #[inline]
    pub fn inward_known(&mut self, now: Instant, zone: SwitchId, packet: &mut Packet, hash: u64) -> Option<Inward> {
        let ends = ends(packet)?;
        let (place, inside) = match self.bindings.place(Way::In, ends.inward(zone), hash) {
            Some(place) => {
                let names = self.bindings.names(place)?;
                let other_family = names.inside.0.is_ipv4() != ends.destination.0.is_ipv4();
                if other_family || self.is_outside(zone, names.inside.0) || self.bindings.is_attended(place) {
                    return None;
                }
                (Some(place), names.inside)
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

    /// The name of the first packet of a flow when it leaves: what [`Nat::outward`] gives it where [`Nat::names_plainly`].
    ///
    /// # Errors
    /// Why it has none and must not leave.
    pub fn outward_first(
        &mut self,
        now: Instant,
        exit: &Exit,
        packet: &Packet,
        timeouts: &Timeouts,
    ) -> Result<Option<End>, DropReason> {
        let Some(ends) = ends(packet) else { return Err(DropReason::NotRouted) };
        match self.bindings.pass(now, Way::Out, ends.outward(exit.zone), packet.headers.tcp_flags) {
            Some(names) => Ok(Some(names.outside)),
            None => self.named_anew(now, exit, &ends, timeouts),
        }
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
            Renaming::Bound(place) => self.bindings.pass_at(now, Way::Out, place, flags).map(|names| names.outside),
            Renaming::Joined(outside) => Some(outside),
        }
    }
}
