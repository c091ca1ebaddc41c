//! Payloads of messages, as a front end writes them.

use super::queue::Place;
use super::{GUEST_BASE, USER_BASE};

/// The payload of SET_MEM_TABLE: guest address, size, user address and offset of each region.
pub fn memory_table(regions: &[(u64, u64, u64, u64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((regions.len() as u32).to_ne_bytes());
    bytes.extend([0; 4]);
    for (guest, size, user, offset) in regions {
        for field in [guest, size, user, offset] {
            bytes.extend(field.to_ne_bytes());
        }
    }
    bytes
}

/// The payload of SET_VRING_ADDR for a ring at `place`.
pub fn ring_address(index: u32, place: Place, logged: bool) -> Vec<u8> {
    let user = |guest: u64| guest - GUEST_BASE + USER_BASE;
    let mut bytes = pair(index, u32::from(logged)).to_vec();
    for field in [user(place.descriptors), user(place.used), user(place.available), place.used] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes
}

/// Two numbers, as most ring messages have them.
pub fn pair(index: u32, value: u32) -> [u8; 8] {
    let [a, b, c, d] = index.to_ne_bytes();
    let [e, f, g, h] = value.to_ne_bytes();
    [a, b, c, d, e, f, g, h]
}
