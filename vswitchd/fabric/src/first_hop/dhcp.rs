//! What a DHCP or DHCPv6 server grants, read on its way to the client (RFC 2131; RFC 8415). Bounded: [`OPTIONS_MAX`]
//! options of a message are looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::{MacAddr, Packet};

/// Options that are looked at.
const OPTIONS_MAX: usize = 128;
/// RFC 2131, 3: what follows the fixed fields.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const DHCP_SERVER: u16 = 67;
const DHCP6_SERVER: u16 = 547;
const REPLY: u8 = 7;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;

/// An address that a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub mac: MacAddr,
    pub address: IpAddr,
    /// Seconds; 0 where it is taken back.
    pub seconds: u32,
}

/// The addresses that a message grants.
pub(super) fn grants(packet: &Packet) -> Vec<Grant> {
    match packet.ports() {
        Some((DHCP_SERVER, _)) => acknowledged(packet.payload()).into_iter().collect(),
        Some((DHCP6_SERVER, _)) => replied(packet.payload(), packet.dst_mac()),
        Some(_) | None => Vec::new(),
    }
}

/// A DHCPACK with a lease.
fn acknowledged(message: &[u8]) -> Option<Grant> {
    if message.first() != Some(&2) || message.get(236..240) != Some(&COOKIE[..]) {
        return None;
    }
    let address = Ipv4Addr::from(*message.get(16..)?.first_chunk::<4>()?);
    let mac = MacAddr(*message.get(28..)?.first_chunk::<6>()?);
    let (mut is_ack, mut seconds, mut rest) = (false, None, message.get(240..)?);
    for _ in 0..OPTIONS_MAX {
        match *rest.first()? {
            0 => rest = rest.get(1..)?,
            255 => break,
            code => {
                let value = rest.get(2..2 + usize::from(*rest.get(1)?))?;
                match (code, value) {
                    (53, [5]) => is_ack = true,
                    (51, value) => seconds = Some(u32::from_be_bytes(*value.first_chunk::<4>()?)),
                    _ => {}
                }
                rest = rest.get(2 + value.len()..)?;
            }
        }
    }
    // An answer to DHCPINFORM is an ACK without a lease.
    let seconds = seconds.filter(|_| is_ack && !address.is_unspecified())?;
    Some(Grant { mac, address: address.into(), seconds })
}

/// A Reply with addresses.
fn replied(message: &[u8], mac: MacAddr) -> Vec<Grant> {
    let mut grants = Vec::new();
    if message.first() != Some(&REPLY) {
        return grants;
    }
    for (code, association) in options(message.get(4..).unwrap_or(&[])) {
        if code != IA_NA {
            continue;
        }
        for (code, value) in options(association.get(12..).unwrap_or(&[])) {
            let (Some(address), Some(valid)) = (value.first_chunk::<16>(), value.get(20..24)) else { continue };
            if code == IA_ADDRESS {
                let seconds = valid.first_chunk::<4>().map_or(0, |four| u32::from_be_bytes(*four));
                grants.push(Grant { mac, address: Ipv6Addr::from(*address).into(), seconds });
            }
        }
    }
    grants
}

/// The options of DHCPv6 (RFC 8415, 21.1), up to the first that is cut off.
fn options(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let next = move || {
        let &[a, b, c, d] = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([c, d]));
        let value = rest.get(4..4 + length)?;
        rest = rest.get(4 + length..)?;
        Some((u16::from_be_bytes([a, b]), value))
    };
    std::iter::from_fn(next).take(OPTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(kind: u8, lease: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 240];
        message[0] = 2;
        message[16..20].copy_from_slice(&[10, 0, 0, 7]);
        message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        message[236..240].copy_from_slice(&COOKIE);
        message.extend([0, 53, 1, kind]);
        message.extend(lease);
        message.push(255);
        message
    }

    #[test]
    fn an_acknowledged_lease_is_read() {
        let lease = [51, 4, 0, 0, 14, 16];
        let grant = Grant { mac: MacAddr([2, 0, 0, 0, 0, 7]), address: [10, 0, 0, 7].into(), seconds: 3600 };
        assert_eq!(acknowledged(&ack(5, &lease)), Some(grant));
        assert_eq!(acknowledged(&ack(2, &lease)), None, "an offer grants nothing");
        assert_eq!(acknowledged(&ack(5, &[])), None, "an answer to an inform grants nothing");
        for length in 0..ack(5, &lease).len() {
            assert_eq!(acknowledged(&ack(5, &lease)[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn the_addresses_of_a_reply_are_read() {
        let mut address = vec![0, 5, 0, 24];
        address.extend("fd00::7".parse::<Ipv6Addr>().unwrap().octets());
        address.extend([0, 0, 0, 10, 0, 0, 0, 60]);
        let mut association = vec![0, 3, 0, 40];
        association.extend([0; 12]);
        association.extend(&address);
        let message = [&[REPLY, 1, 2, 3, 0, 1, 0, 2, 9, 9][..], &association].concat();
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let grant = Grant { mac, address: "fd00::7".parse().unwrap(), seconds: 60 };
        assert_eq!(replied(&message, mac), [grant]);
        for length in 0..message.len() {
            assert_eq!(replied(&message[..length], mac), [], "{length} bytes");
        }
        assert_eq!(replied(&[&[2], &message[1..]].concat(), mac), [], "an Advertise grants nothing");
    }
}
