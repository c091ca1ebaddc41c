//! Handshake messages (RFC 8446, 4) out of the bytes of records.

use super::MESSAGE;

/// Type of a handshake message.
pub mod kind {
    /// ClientHello.
    pub const CLIENT_HELLO: u8 = 1;
    /// ServerHello.
    pub const SERVER_HELLO: u8 = 2;
    /// Certificate.
    pub const CERTIFICATE: u8 = 11;
    /// ServerKeyExchange.
    pub const SERVER_KEY_EXCHANGE: u8 = 12;
    /// ServerHelloDone.
    pub const SERVER_HELLO_DONE: u8 = 14;
    /// ClientKeyExchange.
    pub const CLIENT_KEY_EXCHANGE: u8 = 16;
}

/// Puts the messages of one direction together.
#[derive(Debug, Default)]
pub struct Messages {
    /// The beginning of a message that is not complete.
    held: Vec<u8>,
    /// Bytes of a message beyond the limit that are still to be passed over.
    skip: usize,
    /// A message was passed over.
    pub too_long: bool,
}

impl Messages {
    /// Takes bytes; calls `each` with type and body of every message that they complete.
    pub fn add(&mut self, bytes: &[u8], mut each: impl FnMut(u8, &[u8])) {
        let mut bytes = bytes;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            if !self.held.is_empty() {
                let Some(rest) = self.complete(bytes, &mut each) else { return };
                bytes = rest;
                continue;
            }
            let [kind, a, b, c, rest @ ..] = bytes else {
                self.held.extend_from_slice(bytes);
                return;
            };
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if length > MESSAGE {
                self.too_long = true;
                self.skip = length;
                bytes = rest;
                continue;
            }
            let Some((body, rest)) = rest.split_at_checked(length) else {
                self.held.extend_from_slice(bytes);
                return;
            };
            each(*kind, body);
            bytes = rest;
        }
    }

    /// Adds to the message that is held. `None`: it is still not complete; else what follows it.
    fn complete<'b>(&mut self, bytes: &'b [u8], each: &mut impl FnMut(u8, &[u8])) -> Option<&'b [u8]> {
        // First the four bytes of the head, then the body that they announce.
        let head = 4usize.saturating_sub(self.held.len()).min(bytes.len());
        let (head, bytes) = bytes.split_at(head);
        self.held.extend_from_slice(head);
        let &[kind, a, b, c, ..] = self.held.as_slice() else { return None };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > MESSAGE {
            self.too_long = true;
            self.skip = length;
            self.held.clear();
            return Some(bytes);
        }
        let missing = (length + 4).saturating_sub(self.held.len());
        let (more, rest) = bytes.split_at(missing.min(bytes.len()));
        self.held.extend_from_slice(more);
        if more.len() < missing {
            return None;
        }
        each(kind, self.held.get(4..).unwrap_or_default());
        self.held.clear();
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_however_records_cut_them() {
        let mut bytes = vec![1, 0, 0, 3, b'a', b'b', b'c', 14, 0, 0, 0];
        bytes.extend([99, 0xff, 0xff, 0xff]);
        bytes.extend(vec![7; 0xff_ffff]);
        bytes.extend([2, 0, 0, 1, b'z']);
        for cut in (0..20).chain(bytes.len() - 8..bytes.len()) {
            let mut messages = Messages::default();
            let mut seen = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                messages.add(part, |kind, body| seen.push((kind, body.to_vec())));
            }
            assert_eq!(seen, [(1, b"abc".to_vec()), (14, vec![]), (2, b"z".to_vec())], "cut at {cut}");
            assert!(messages.too_long);
        }
    }
}
