//! UDP (RFC 768), and the protocols that are looked at no further than their header: SCTP, ESP, IGMP.

use super::{Event, View, Walk, half, pseudo, set_ports, tunnel};

/// A UDP datagram.
#[inline]
pub(super) fn decode<'p>(walk: &mut Walk<'_>, view: &mut View<'p>, bytes: &'p [u8]) {
    view.transport = bytes;
    view.payload = &[];
    let Some((header, _)) = bytes.split_at_checked(8) else {
        view.events.set(Event::UdpHeaderLenTooSmall);
        return;
    };
    let length = usize::from(half(header, 4));
    if length < 8 {
        view.events.set(Event::UdpLenInvalid);
        return;
    }
    let Some(datagram) = bytes.get(..length) else {
        view.events.set(Event::UdpPacketTooSmall);
        return;
    };
    let (source, destination) = (half(header, 0), half(header, 2));
    set_ports(view, source, destination);
    (view.transport, view.payload, view.sound) = (header, datagram.get(8..).unwrap_or_default(), true);
    // Zero says that there is none, which IPv6 does not allow (RFC 8200, 8.1).
    if walk.settings.checksums && (half(header, 6) != 0 || view.tuple.is_some_and(|t| t.source.is_ipv6())) {
        let whole = pseudo(view, length).map(|sum| sum.and(weir_wire::checksum::sum(datagram)));
        view.checksums.bad_transport = !whole.is_some_and(|sum| sum.is_valid());
    }
    let settings = walk.settings;
    // The lists are short: a loop over each is less than the call that searches a long one.
    let is_one = |ports: &[u16], port: u16| ports.iter().fold(false, |found, &known| found | (known == port));
    let of_one = |ports: &[u16]| is_one(ports, destination) || is_one(ports, source);
    if of_one(&settings.vxlan) {
        tunnel::vxlan(walk, view);
    } else if of_one(&settings.geneve) {
        tunnel::geneve(walk, view);
    } else if of_one(&settings.teredo) {
        tunnel::teredo(walk, view);
    }
    // Anybody may send from such a port: who listens at the other one reads the payload as his own all the same.
    view.opened &= [&settings.vxlan, &settings.geneve, &settings.teredo].iter().any(|ports| is_one(ports, destination));
}

/// SCTP (RFC 9260): its ports.
pub(super) fn sctp<'p>(view: &mut View<'p>, bytes: &'p [u8]) {
    fixed(view, bytes, 12, Event::SctpPacketTooSmall);
    if view.sound {
        set_ports(view, half(bytes, 0), half(bytes, 2));
    }
}

/// A header of known length.
pub(super) fn fixed<'p>(view: &mut View<'p>, bytes: &'p [u8], length: usize, short: Event) {
    match bytes.split_at_checked(length) {
        Some((header, rest)) => (view.transport, view.payload, view.sound) = (header, rest, true),
        None => view.events.set(short),
    }
}
