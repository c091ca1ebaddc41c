//! Urgent bytes of a stream, which an application may or may not find among the others (RFC 6093, 2).
//!
//! Limits: [`URGENT`] of them among the recent bytes; a direction that sends more is refused.

use weir_wire::Packet;

use super::WINDOW;
use super::stream::Stream;

const URGENT: usize = 64;

/// Places of the urgent bytes among the recent ones.
#[derive(Debug, Default)]
pub struct Urgent {
    places: Vec<u64>,
}

impl Urgent {
    /// Notes the urgent byte that a segment starting at `seq` names: the one before its urgent pointer. `false` where
    /// there are too many.
    pub fn mark(&mut self, stream: &Stream, seq: u32, packet: &Packet) -> bool {
        let pointer = packet.transport().get(18..).and_then(<[u8]>::first_chunk).map_or(0, |&b| u16::from_be_bytes(b));
        let Some(place) = stream.place(seq.wrapping_add(u32::from(pointer)).wrapping_sub(1)) else { return true };
        let oldest = stream.next().saturating_sub(WINDOW as u64);
        self.places.retain(|&known| known >= oldest);
        if pointer == 0 || place < oldest || self.places.contains(&place) {
            return true;
        }
        if self.places.len() >= URGENT {
            return false;
        }
        self.places.push(place);
        true
    }

    /// Whether one is among these places.
    pub fn is_among(&self, from: u64, to: u64) -> bool {
        self.places.iter().any(|place| (from..to).contains(place))
    }

    /// Writes `bytes`, whose first is at `from`, without the urgent ones into `text`; says how many there were.
    pub fn leave_out(&self, from: u64, bytes: &[u8], text: &mut Vec<u8>) -> u64 {
        text.clear();
        text.extend((from..).zip(bytes).filter(|(place, _)| !self.places.contains(place)).map(|(_, &byte)| byte));
        (bytes.len() - text.len()) as u64
    }
}
