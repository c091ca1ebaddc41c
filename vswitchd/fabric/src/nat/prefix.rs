//! Prefixes that stand for others: whole IPv6 networks under another name (NPTv6, RFC 6296), and IPv4 addresses within
//! an IPv6 prefix (RFC 6052). Both are computed from the address alone; nothing is remembered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::InterfaceId;

use crate::router::Prefix;

/// An IPv6 network that is known outside by another prefix of the same length, 64 bits at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nptv6 {
    /// The network inside.
    pub inside: Prefix,
    /// The prefix it has outside.
    pub outside: Prefix,
    /// The interface by which the outside is reached.
    pub interface: InterfaceId,
}

impl Nptv6 {
    /// The outside name of an inside address; `None` where it is not in the network, or has none (RFC 6296, 3.5).
    pub fn outward(&self, address: IpAddr) -> Option<IpAddr> {
        map(address, self.inside, self.outside)
    }

    /// The inside address of an outside name.
    pub fn inward(&self, address: IpAddr) -> Option<IpAddr> {
        map(address, self.outside, self.inside)
    }
}

/// Sum in one's complement.
fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

fn words(address: u128) -> [u16; 8] {
    Ipv6Addr::from(address).segments()
}

/// Puts another prefix in place of one, and changes one more word so that checksums over the address stay right
/// (RFC 6296, 3.1, 3.4 and 3.5).
fn map(address: IpAddr, from: Prefix, to: Prefix) -> Option<IpAddr> {
    let (IpAddr::V6(v6), IpAddr::V6(old), IpAddr::V6(new)) = (address, from.address, to.address) else { return None };
    if !from.contains(address) {
        return None;
    }
    let mask = mask(from.length);
    let (old, new) = (u128::from(old) & mask, u128::from(new) & mask);
    let sum = |network: u128| words(network).into_iter().fold(0, add);
    let adjustment = add(sum(old), !sum(new));
    let mut mapped = words((u128::from(v6) & !mask) | new);
    // A network of 48 bits or less has room in its subnet; others change the first word behind that can be changed.
    let candidates = if from.length <= 48 { 3..4 } else { 4..8 };
    let word = mapped.get_mut(candidates)?.iter_mut().find(|word| **word != 0xffff)?;
    let changed = add(*word, adjustment);
    *word = if changed == 0xffff { 0 } else { changed };
    let [a, b, c, d, e, f, g, h] = mapped;
    Some(Ipv6Addr::new(a, b, c, d, e, f, g, h).into())
}

/// Where the bytes of an IPv4 address stand behind a prefix (RFC 6052, 2.2): byte 8 is left out.
fn places(length: u8) -> Option<[usize; 4]> {
    Some(match length {
        32 => [4, 5, 6, 7],
        40 => [5, 6, 7, 9],
        48 => [6, 7, 9, 10],
        56 => [7, 9, 10, 11],
        64 => [9, 10, 11, 12],
        96 => [12, 13, 14, 15],
        _ => return None,
    })
}

/// An IPv4 address behind a prefix of 32, 40, 48, 56, 64 or 96 bits.
pub fn embed(prefix: Prefix, address: Ipv4Addr) -> Option<Ipv6Addr> {
    let IpAddr::V6(network) = prefix.address else { return None };
    let mut bytes = (u128::from(network) & mask(prefix.length)).to_be_bytes();
    for (at, byte) in places(prefix.length)?.into_iter().zip(address.octets()) {
        *bytes.get_mut(at)? = byte;
    }
    Some(bytes.into())
}

/// The IPv4 address behind a prefix; `None` where the address is not in it.
pub fn extract(prefix: Prefix, address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    if !prefix.contains(address) {
        return None;
    }
    let bytes = v6.octets();
    let [a, b, c, d] = places(prefix.length)?.map(|at| bytes.get(at).copied().unwrap_or(0));
    Some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    #[test]
    fn addresses_have_the_outside_names_of_the_standard() {
        // The examples of RFC 6296: section 3.1 and appendix B.
        let npt =
            |inside, outside| Nptv6 { inside: prefix(inside), outside: prefix(outside), interface: InterfaceId(0) };
        for (inside, outside, address, name) in [
            ("fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:1::1234", "2001:db8:1:d550::1234"),
            ("fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:ffff::1", "none"),
            ("fd01::/64", "2001:db8:0:7::/64", "fd01:1::1", "none"),
        ] {
            let found = npt(inside, outside).outward(address.parse().unwrap());
            assert_eq!(found.map_or("none".into(), |a| a.to_string()), name, "{address}");
        }
        for (inside, outside, address) in [
            ("fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:7::99"),
            ("fd01::/64", "2001:db8:0:7::/64", "fd01::1"),
            ("fd01::/64", "2001:db8:0:7::/64", "fd01::ffff:1:2:3"),
            ("fd01::/60", "2001:db8:0:70::/60", "fd01:0:0:b::8"),
        ] {
            let npt = npt(inside, outside);
            let address: IpAddr = address.parse().unwrap();
            let name = npt.outward(address).unwrap();
            assert!(npt.outside.contains(name));
            assert_eq!(npt.inward(name), Some(address), "and back");
            let sum = |address: IpAddr| match address {
                IpAddr::V6(v6) => v6.segments().into_iter().fold(0, add) % 0xffff,
                IpAddr::V4(_) => 0,
            };
            assert_eq!(sum(name), sum(address), "checksums stay right");
        }
    }

    #[test]
    fn ipv4_addresses_stand_where_the_standard_puts_them() {
        // RFC 6052, 2.4.
        for (network, expected) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ] {
            let address = Ipv4Addr::new(192, 0, 2, 33);
            let found = embed(prefix(network), address).unwrap();
            assert_eq!(found, expected.parse::<Ipv6Addr>().unwrap(), "{network}");
            assert_eq!(extract(prefix(network), found.into()), Some(address));
        }
        assert_eq!(extract(prefix("64:ff9b::/96"), "64:ff9c::1".parse().unwrap()), None);
        assert_eq!(embed(prefix("64:ff9b::/95"), Ipv4Addr::LOCALHOST), None);
    }
}
