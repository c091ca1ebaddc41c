//! What stop 7 changes in a packet that is routed: MACs, TTL, and the sizes it announces or is cut into.

use weir_wire::numbers::{PROTOCOL_TCP, TCP_SYN};
use weir_wire::{Checksum, Fragment, L3, MacAddr, Packet, Segmentation, SwitchId, Vid, checksum};

/// The way out of the last router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The switch it leads to.
    pub switch: SwitchId,
    /// The VLAN there.
    pub vid: Vid,
    /// The MAC of the interface.
    pub source: MacAddr,
    /// The MAC of the neighbour.
    pub destination: MacAddr,
    /// Routers passed.
    pub hops: u8,
    /// The longest IP packet that the interface takes.
    pub mtu: u32,
    /// The largest packet that TCP connections shall send, where they are told.
    pub clamp: Option<u32>,
}

/// Whether a packet is short enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is, or has been marked to be cut.
    Fits,
    /// It is not, and its sender does not want it cut.
    TooBig,
}

impl Hop {
    /// Makes a packet fit the interface's MTU, by marks that are carried out where it leaves: IPv4 packets are cut into
    /// fragments unless they say that they must not be; IPv6 packets never are (RFC 8200, 5).
    #[inline]
    pub fn fit(&self, packet: &mut Packet) -> Fit {
        let network = (packet.headers.end as usize).saturating_sub(usize::from(packet.headers.l3));
        let mtu = self.mtu as usize;
        let whole = matches!(
            packet.offload.segmentation,
            Segmentation::None | Segmentation::Tcp4 { .. } | Segmentation::Tcp6 { .. } | Segmentation::Udp { .. }
        );
        if network <= mtu && whole {
            return Fit::Fits;
        }
        let may_be_cut = packet.ipv4().is_some_and(|header| header[6] & 0x40 == 0);
        let head = usize::from(packet.headers.payload.saturating_sub(packet.headers.l3));
        let cut = match packet.offload.segmentation {
            Segmentation::None => Segmentation::Fragments { size: narrow(self.mtu), id: identification(packet) },
            Segmentation::Tcp4 { size, .. } | Segmentation::Tcp6 { size, .. } | Segmentation::Udp { size }
                if head + usize::from(size) <= mtu =>
            {
                return Fit::Fits;
            }
            // A sender that lets its packets be cut need not hear of the smaller MTU.
            Segmentation::Tcp4 { ecn, .. } if mtu > head => {
                Segmentation::Tcp4 { size: narrow((mtu - head) as u32), ecn }
            }
            Segmentation::Fragments { size, .. } if usize::from(size) <= mtu => return Fit::Fits,
            Segmentation::Fragments { id, .. } => Segmentation::Fragments { size: narrow(self.mtu), id },
            // Its datagrams would have to be cut each by itself.
            Segmentation::Tcp4 { .. } | Segmentation::Tcp6 { .. } | Segmentation::Udp { .. } => return Fit::TooBig,
        };
        if !may_be_cut {
            return Fit::TooBig;
        }
        packet.offload.segmentation = cut;
        Fit::Fits
    }

    /// Whether a packet leaves as it is, with the marks that it has: what [`Hop::fit`] would not change.
    #[inline]
    pub fn takes(&self, packet: &Packet) -> bool {
        let network = (packet.headers.end as usize).saturating_sub(usize::from(packet.headers.l3));
        let mtu = self.mtu as usize;
        let head = usize::from(packet.headers.payload.saturating_sub(packet.headers.l3));
        match packet.offload.segmentation {
            Segmentation::None => network <= mtu,
            Segmentation::Tcp4 { size, .. } | Segmentation::Tcp6 { size, .. } | Segmentation::Udp { size } => {
                network <= mtu || head + usize::from(size) <= mtu
            }
            Segmentation::Fragments { .. } => false,
        }
    }

    /// Makes the packet one that the interface sends.
    #[inline]
    pub fn rewrite(&self, packet: &mut Packet) {
        packet.vid = self.vid;
        let (l3, kind) = (usize::from(packet.headers.l3), packet.headers.l3_kind);
        let frame = packet.buffer.bytes_mut();
        if let Some(macs) = frame.first_chunk_mut::<12>() {
            macs[..6].copy_from_slice(&self.destination.0);
            macs[6..].copy_from_slice(&self.source.0);
        }
        match (kind, frame.get_mut(l3..)) {
            (L3::Ipv4, Some(network)) => {
                if let Some(header) = network.first_chunk_mut::<20>() {
                    let before = u16::from_be_bytes([header[8], header[9]]);
                    header[8] = header[8].saturating_sub(self.hops);
                    let after = u16::from_be_bytes([header[8], header[9]]);
                    let sum = checksum::update(u16::from_be_bytes([header[10], header[11]]), before, after);
                    header[10..12].copy_from_slice(&sum.to_be_bytes());
                }
            }
            (L3::Ipv6, Some(network)) => {
                if let Some(limit) = network.get_mut(7) {
                    *limit = limit.saturating_sub(self.hops);
                }
            }
            (L3::Arp | L3::Other, _) | (_, None) => {}
        }
        if let Some(mtu) = self.clamp
            && self.clamps(packet)
        {
            clamp(packet, mtu);
        }
    }

    /// Whether it lowers what a packet announces.
    #[inline]
    pub fn clamps(&self, packet: &Packet) -> bool {
        self.clamp.is_some() && packet.headers.protocol == PROTOCOL_TCP && packet.headers.tcp_flags & TCP_SYN != 0
    }
}

fn narrow(size: u32) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

fn identification(packet: &Packet) -> u32 {
    packet.ipv4().map_or(0, |header| u32::from(u16::from_be_bytes([header[4], header[5]])))
}

/// Lowers the maximum segment size that a SYN announces to what packets of `mtu` bytes hold (RFC 9293, 3.7.1). A SYN
/// without the option announces the least there is, and stays as it is.
fn clamp(packet: &mut Packet, mtu: u32) {
    let headers = match packet.headers.l3_kind {
        L3::Ipv4 => 40,
        L3::Ipv6 => 60,
        L3::Arp | L3::Other => return,
    };
    let most = narrow(mtu.saturating_sub(headers));
    let Some(at) = mss_option(packet.tcp_options()) else { return };
    let (l4, complete) = (usize::from(packet.headers.l4), !matches!(packet.offload.checksum, Checksum::Partial { .. }));
    if packet.headers.fragment != Fragment::No {
        return;
    }
    let frame = packet.buffer.bytes_mut();
    let Some(option) = frame.get_mut(l4 + 20 + at..).and_then(<[u8]>::first_chunk_mut::<2>) else { return };
    let before = u16::from_be_bytes(*option);
    if before <= most {
        return;
    }
    *option = most.to_be_bytes();
    // A partial checksum holds the pseudo-header only, which has not changed.
    if complete && let Some(field) = frame.get_mut(l4 + 16..).and_then(<[u8]>::first_chunk_mut::<2>) {
        // In the sum the option's bytes may stand at odd places: they count in the other half of the word then.
        let swap = |value: u16| if at % 2 == 0 { value } else { value.swap_bytes() };
        *field = checksum::update(u16::from_be_bytes(*field), swap(before), swap(most)).to_be_bytes();
    }
}

/// Where the value of the maximum segment size stands among the options.
fn mss_option(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [] | [0, ..] => return None,
            [1, ..] => at += 1,
            [2, 4, _, _, ..] => return Some(at + 2),
            [_, length, ..] if *length >= 2 => at += usize::from(*length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
