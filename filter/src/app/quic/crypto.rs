//! Keys of Initial packets, which anybody can derive (RFC 9001, 5.2; RFC 9369, 3.3).

use ring::{aead, hkdf};

use super::packet::{VERSION_1, VERSION_2};
use crate::inspect::Direction;

/// Salt of QUIC 1.
const SALT_1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];
/// Salt of QUIC 2.
const SALT_2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e,
    0xd9,
];
/// Salt of the drafts from 29 on.
const SALT_29: [u8; 20] = [
    0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8,
    0x99,
];
/// Salt of the drafts 23 to 28.
const SALT_23: [u8; 20] = [
    0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe, 0xf9, 0xf5,
    0x02,
];

/// Keys of one direction.
struct Side {
    packet: aead::LessSafeKey,
    header: aead::quic::HeaderProtectionKey,
    iv: [u8; 12],
}

/// Keys of a connection's Initial packets.
pub struct Keys {
    client: Side,
    server: Side,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// A length for HKDF.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label (RFC 8446, 7.1) without context.
fn expand<const N: usize>(secret: &hkdf::Prk, label: &str) -> Option<[u8; N]> {
    let label = [b"tls13 ", label.as_bytes()].concat();
    let size = u16::try_from(N).ok()?.to_be_bytes();
    let length = [u8::try_from(label.len()).ok()?];
    let info: [&[u8]; 4] = [&size, &length, &label, &[0]];
    let mut out = [0; N];
    secret.expand(&info, Length(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

impl Side {
    fn new(initial: &hkdf::Prk, name: &str, version: u32) -> Option<Side> {
        let secret: [u8; 32] = expand(initial, name)?;
        let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
        let [key, iv, header] = match version {
            VERSION_2 => ["quicv2 key", "quicv2 iv", "quicv2 hp"],
            _ => ["quic key", "quic iv", "quic hp"],
        };
        let key: [u8; 16] = expand(&secret, key)?;
        let header: [u8; 16] = expand(&secret, header)?;
        Some(Side {
            packet: aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).ok()?),
            header: aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &header).ok()?,
            iv: expand(&secret, iv)?,
        })
    }
}

impl Keys {
    /// Derives the keys from the client's first destination identifier. `None`: the version has none.
    pub fn new(version: u32, destination: &[u8]) -> Option<Keys> {
        let salt = match version {
            VERSION_1 => SALT_1,
            VERSION_2 => SALT_2,
            0xff00_001d..=0xff00_0022 => SALT_29,
            0xff00_0017..=0xff00_001c => SALT_23,
            _ => return None,
        };
        let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(destination);
        let client = Side::new(&initial, "client in", version)?;
        let server = Side::new(&initial, "server in", version)?;
        Some(Keys { client, server })
    }

    /// Opens a packet: `head` is all before the packet number, `body` the rest. `None`: it is not what it seems.
    pub fn open(&self, way: Direction, head: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        let side = match way {
            Direction::Original => &self.client,
            Direction::Reply => &self.server,
        };
        // The sample stands four bytes behind the start of the packet number (RFC 9001, 5.4.2).
        let sample = body.get(4..20)?;
        let [first_mask, mask @ ..] = side.header.new_mask(sample).ok()?;
        let mut bytes = [head, body].concat();
        let first = bytes.first_mut()?;
        *first ^= first_mask & 0x0f;
        let length = usize::from(*first & 3) + 1;
        let mut number = 0u32;
        for (byte, mask) in bytes.get_mut(head.len()..head.len() + length)?.iter_mut().zip(mask) {
            *byte ^= mask;
            number = number << 8 | u32::from(*byte);
        }
        let mut nonce = side.iv;
        for (byte, part) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte ^= part;
        }
        let (associated, sealed) = bytes.split_at_mut_checked(head.len() + length)?;
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let plain = side.packet.open_in_place(nonce, aead::Aad::from(&*associated), sealed).ok()?;
        Some(plain.to_vec())
    }

    /// Seals a packet as a peer would, for tests.
    #[cfg(test)]
    pub fn seal(&self, way: Direction, head: &[u8], number: u8, plain: &[u8]) -> Vec<u8> {
        let side = match way {
            Direction::Original => &self.client,
            Direction::Reply => &self.server,
        };
        let mut nonce = side.iv;
        nonce[11] ^= number;
        let associated = [head, &[number]].concat();
        let mut sealed = plain.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        side.packet.seal_in_place_append_tag(nonce, aead::Aad::from(&associated), &mut sealed).unwrap();
        let mut packet = [associated, sealed].concat();
        let sample = &packet[head.len() + 4..head.len() + 20];
        let mask = side.header.new_mask(sample).unwrap();
        packet[0] ^= mask[0] & 0x0f;
        packet[head.len()] ^= mask[1];
        packet
    }
}
