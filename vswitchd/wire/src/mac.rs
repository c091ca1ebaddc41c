//! Ethernet addresses.

use core::fmt;
use core::str::FromStr;

/// A 48-bit MAC address in the order of the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// 00:00:00:00:00:00
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// Group bit set: multicast or broadcast.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// 01:80:c2:00:00:00 to 0f: frames that a bridge does not forward (IEEE 802.1Q-2022, table 8-1).
    pub const fn is_reserved(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00..=0x0f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six hexadecimal bytes with colons between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMac(String);

impl fmt::Display for InvalidMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not a MAC address: write six hexadecimal bytes, as in 52:54:00:12:34:56", self.0)
    }
}

impl std::error::Error for InvalidMac {}

impl FromStr for MacAddr {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<MacAddr, InvalidMac> {
        let wrong = || InvalidMac(text.chars().take(64).collect());
        let mut bytes = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            // `from_str_radix` would take a sign.
            let is_byte = |p: &&str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(is_byte).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(MacAddr(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_match() {
        let mac: MacAddr = "52:54:00:Ab:cD:0f".parse().unwrap();
        assert_eq!((mac, mac.to_string().as_str()), (MacAddr([0x52, 0x54, 0, 0xab, 0xcd, 0x0f]), "52:54:00:ab:cd:0f"));
        for wrong in
            ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "5:54:00:12:34:56", "+5:54:00:12:34:56", "52540012345g"]
        {
            assert!(wrong.parse::<MacAddr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn groups_and_reserved_addresses_are_known() {
        assert!(MacAddr::BROADCAST.is_multicast() && !MacAddr([2, 0, 0, 0, 0, 1]).is_multicast());
        assert!(
            MacAddr([1, 0x80, 0xc2, 0, 0, 0x0f]).is_reserved() && !MacAddr([1, 0x80, 0xc2, 0, 0, 0x10]).is_reserved()
        );
    }
}
