//! What a service reads of a frame that the fabric has parsed.

use std::net::IpAddr;

use weir_fabric::serve::Punt;
use weir_wire::build::Ends;
use weir_wire::{L3, MacAddr};

/// A frame's ends, and what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its ends.
    pub ends: Ends,
    /// Source port and destination port.
    pub ports: (u16, u16),
    /// The IP packet, without padding.
    pub network: &'a [u8],
    /// What its datagram or segment carries.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Reads a frame; `None` where it is no IP packet with ports, which the fabric does not hand over.
    pub fn read(punt: &Punt) -> Option<Frame<'_>> {
        let (frame, headers) = (&punt.frame[..], &punt.headers);
        let mac = |at: usize| frame.get(at..)?.first_chunk().map(|mac| MacAddr(*mac));
        let network = frame.get(usize::from(headers.l3)..headers.end as usize)?;
        let (source, destination): (IpAddr, IpAddr) = match headers.l3_kind {
            L3::Ipv4 => {
                let at = |at: usize| network.get(at..)?.first_chunk::<4>().map(|a| IpAddr::from(*a));
                (at(12)?, at(16)?)
            }
            L3::Ipv6 => {
                let at = |at: usize| network.get(at..)?.first_chunk::<16>().map(|a| IpAddr::from(*a));
                (at(8)?, at(24)?)
            }
            L3::Arp | L3::Other => return None,
        };
        let port = |at: usize| {
            let bytes = frame.get(usize::from(headers.l4) + at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*bytes))
        };
        Some(Frame {
            ends: Ends { source_mac: mac(6)?, destination_mac: mac(0)?, source, destination },
            ports: (port(0)?, port(2)?),
            network,
            payload: frame.get(usize::from(headers.payload)..headers.end as usize)?,
        })
    }
}
