//! LLDP (IEEE 802.1AB-2016): what this switch says of itself on its links, and what its neighbours there say.
//!
//! A port that speaks sends its announcement when it comes and every [`EVERY`]; a port that listens keeps what it
//! hears until its time is over. Announcements are made by the control side ([`Announcement::frame`]), which knows the
//! names. What neighbours say is outside data: texts are cut at [`TEXT`] bytes and carry no control characters, a port
//! keeps [`NEIGHBORS`] neighbours, and one more is refused and counted.

use std::net::IpAddr;
use std::time::Duration;

use weir_wire::numbers::ETHERTYPE_LLDP;
use weir_wire::{Instant, MacAddr, Packet, Vid};

/// Time between two announcements (802.1AB, table 9-1: msgTxInterval).
pub const EVERY: Duration = Duration::from_secs(30);
/// Seconds for which an announcement holds: four of them and one.
pub const HOLDS_S: u16 = 121;
/// Neighbours of one port.
pub const NEIGHBORS: usize = 8;
/// Bytes of a text that are kept.
pub const TEXT: usize = 255;
/// Addresses of a neighbour that are kept.
const ADDRESSES: usize = 4;
/// TLVs of one frame that are read.
const TLVS: usize = 64;
/// The group that the nearest bridge listens to.
const NEAREST_BRIDGE: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
/// IEEE 802.1's organization: its subtype 1 is the port's VLAN.
const ORGANIZATION_8021: [u8; 4] = [0x00, 0x80, 0xc2, 1];

/// What a port does about LLDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LldpConfig {
    /// The frame that it sends; `None`: it is silent.
    pub send: Option<Box<[u8]>>,
    /// It listens.
    pub receive: bool,
}

/// What a port says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// The chassis: a MAC address that stays the same.
    pub chassis: MacAddr,
    /// The port's name.
    pub port: String,
    /// What the port is.
    pub description: String,
    /// The host's name.
    pub system: String,
    /// What the host is.
    pub system_description: String,
    /// The host routes between its switches, too.
    pub routes: bool,
    /// VLAN of untagged frames; 0 for none.
    pub vid: Vid,
}

impl Announcement {
    /// The frame that says so.
    pub fn frame(&self) -> Box<[u8]> {
        let mut frame = [&NEAREST_BRIDGE.0[..], &self.chassis.0, &ETHERTYPE_LLDP.to_be_bytes()].concat();
        let mut tlv = |kind: u8, parts: &[&[u8]]| {
            let length = parts.iter().map(|part| part.len()).sum::<usize>().min(511) as u16;
            frame.extend((u16::from(kind) << 9 | length).to_be_bytes());
            frame.extend(parts.concat().into_iter().take(usize::from(length)));
        };
        let text = |text: &str| text.bytes().take(TEXT).collect::<Vec<u8>>();
        // Chassis by MAC address, port by interface name, the time it holds.
        tlv(1, &[&[4], &self.chassis.0]);
        tlv(2, &[&[5], &text(&self.port)]);
        tlv(3, &[&HOLDS_S.to_be_bytes()]);
        tlv(4, &[&text(&self.description)]);
        tlv(5, &[&text(&self.system)]);
        tlv(6, &[&text(&self.system_description)]);
        // Bridge, and router where it routes: what it could do, what it does.
        let does = if self.routes { [0, 0x14] } else { [0, 0x04] };
        tlv(7, &[&does, &does]);
        tlv(127, &[&ORGANIZATION_8021, &self.vid.0.to_be_bytes()]);
        tlv(0, &[]);
        frame.resize(frame.len().max(60), 0);
        frame.into_boxed_slice()
    }
}

/// A neighbour, as it says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbor {
    /// Its chassis: an address or a name.
    pub chassis: String,
    /// Its port: a name or an address.
    pub port: String,
    /// What its port is.
    pub description: String,
    /// Its name.
    pub system: String,
    /// What it is.
    pub system_description: String,
    /// What it does, one bit each (802.1AB, table 8-4): 2 bridge, 3 wireless, 4 router, 7 station.
    pub capabilities: u16,
    /// Addresses to manage it by.
    pub addresses: Vec<IpAddr>,
    /// VLAN of untagged frames, where it says one.
    pub vid: Option<Vid>,
    /// Seconds for which what it says holds; 0: it takes leave.
    pub holds_s: u16,
}

/// Whether a packet is an LLDP frame. The packet must be parsed.
pub(crate) fn is_lldp(packet: &Packet) -> bool {
    packet.headers.ether_type == ETHERTYPE_LLDP && packet.headers.tag.is_none()
}

/// Reads an LLDP frame's body; `None` where it breaks the rules of 802.1AB, 9.2.7.7.
pub(crate) fn read(body: &[u8]) -> Option<Neighbor> {
    let (mut rest, mut neighbor) = (body, Neighbor::default());
    for place in 0..TLVS {
        let head = u16::from_be_bytes(*rest.first_chunk()?);
        let (kind, length) = (head >> 9, usize::from(head & 511));
        let value = rest.get(2..2 + length)?;
        rest = rest.get(2 + length..)?;
        match (place, kind) {
            (0, 1) => neighbor.chassis = identity(value, 4, 5)?,
            (1, 2) => neighbor.port = identity(value, 3, 4)?,
            (2, 3) => neighbor.holds_s = u16::from_be_bytes(*value.first_chunk()?),
            (0..=2, _) | (_, 1..=3) => return None,
            (_, 0) => return Some(neighbor),
            (_, 4) => neighbor.description = text(value),
            (_, 5) => neighbor.system = text(value),
            (_, 6) => neighbor.system_description = text(value),
            (_, 7) => neighbor.capabilities = u16::from_be_bytes(*value.get(2..)?.first_chunk()?),
            (_, 8) => neighbor.addresses.extend(address(value).filter(|_| neighbor.addresses.len() < ADDRESSES)),
            (_, 127) => {
                let vid = value.strip_prefix(&ORGANIZATION_8021).and_then(<[u8]>::first_chunk);
                neighbor.vid = vid.map(|&vid| Vid(u16::from_be_bytes(vid))).or(neighbor.vid);
            }
            // Reserved ones are passed over.
            (_, 9..) => {}
        }
    }
    None
}

/// The name of a chassis or port: one byte says what it is. `mac` and `network`: the numbers for addresses.
fn identity(value: &[u8], mac: u8, network: u8) -> Option<String> {
    let (&kind, name) = value.split_first()?;
    if name.is_empty() {
        return None;
    }
    match <[u8; 6]>::try_from(name) {
        Ok(address) if kind == mac => return Some(MacAddr(address).to_string()),
        Ok(_) | Err(_) => {}
    }
    if kind == network
        && let Some(address) = ip(name)
    {
        return Some(address.to_string());
    }
    Some(text(name))
}

/// An address with its family (IANA: 1 for IPv4, 2 for IPv6).
fn ip(value: &[u8]) -> Option<IpAddr> {
    let (&family, address) = value.split_first()?;
    match family {
        1 => <[u8; 4]>::try_from(address).ok().map(IpAddr::from),
        2 => <[u8; 16]>::try_from(address).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A management address: its length, family and bytes; an interface number follows.
fn address(value: &[u8]) -> Option<IpAddr> {
    let (&length, rest) = value.split_first()?;
    ip(rest.get(..usize::from(length))?)
}

/// A text for people.
fn text(bytes: &[u8]) -> String {
    let kept = bytes.get(..bytes.len().min(TEXT)).unwrap_or(&[]);
    let text = String::from_utf8_lossy(kept);
    text.trim_end_matches('\0').chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A neighbour that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it says.
    pub neighbor: Neighbor,
    /// When it was first heard.
    pub since: Instant,
    /// When it is forgotten.
    pub until: Instant,
}

/// What LLDP has counted for a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LldpStats {
    /// Frames sent.
    pub sent: u64,
    /// Frames read.
    pub received: u64,
    /// Frames that break the rules.
    pub broken: u64,
    /// Neighbours refused because there were [`NEIGHBORS`].
    pub refused: u64,
}

/// LLDP on one port.
#[derive(Debug, Default)]
pub(crate) struct Lldp {
    next_send: Instant,
    heard: Vec<Heard>,
    pub stats: LldpStats,
}

impl Lldp {
    /// Takes a frame's body; `false` where it breaks the rules.
    pub fn hear(&mut self, now: Instant, body: &[u8]) -> bool {
        let Some(neighbor) = read(body) else {
            self.stats.broken += 1;
            return false;
        };
        self.stats.received += 1;
        let until = now.after(Duration::from_secs(u64::from(neighbor.holds_s)));
        let is_it = |heard: &Heard| heard.neighbor.chassis == neighbor.chassis && heard.neighbor.port == neighbor.port;
        match self.heard.iter().position(is_it) {
            Some(at) if neighbor.holds_s == 0 => drop(self.heard.remove(at)),
            Some(at) => {
                if let Some(heard) = self.heard.get_mut(at) {
                    (heard.neighbor, heard.until) = (neighbor, until);
                }
            }
            None if neighbor.holds_s == 0 => {}
            None if self.heard.len() < NEIGHBORS => self.heard.push(Heard { neighbor, since: now, until }),
            None => self.stats.refused += 1,
        }
        true
    }

    /// Sends at the next tick.
    pub fn announce_soon(&mut self, now: Instant) {
        self.next_send = now;
    }

    /// Whether it is time to send; it is again later then.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next_send <= now;
        if due {
            self.next_send = now.after(EVERY);
            self.stats.sent += 1;
        }
        due
    }

    /// Forgets those whose time is over; returns when the next is, or when to send next where it does.
    pub fn age(&mut self, now: Instant, sends: Option<()>) -> Option<Instant> {
        self.heard.retain(|heard| heard.until > now);
        let heard = self.heard.iter().map(|heard| heard.until).min();
        heard.into_iter().chain(sends.map(|()| self.next_send)).min()
    }

    /// Forgets all.
    pub fn forget(&mut self) {
        self.heard.clear();
    }

    /// The neighbours.
    pub fn neighbors(&self) -> &[Heard] {
        &self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Announcement {
        Announcement {
            chassis: MacAddr([2, 0, 0, 0, 0, 1]),
            port: "vm1".into(),
            description: "port vm1 of switch lan".into(),
            system: "host-7".into(),
            system_description: "a switch".into(),
            routes: true,
            vid: Vid(10),
        }
    }

    #[test]
    fn what_is_sent_reads_back() {
        let frame = own().frame();
        let heard = read(&frame[14..]).expect("it follows the rules");
        assert_eq!((heard.chassis.as_str(), heard.port.as_str(), heard.holds_s), ("02:00:00:00:00:01", "vm1", 121));
        assert_eq!((heard.system.as_str(), heard.capabilities, heard.vid), ("host-7", 0x14, Some(Vid(10))));
        assert_eq!(heard.description, "port vm1 of switch lan");
    }

    #[test]
    fn neighbours_come_stay_their_time_and_take_leave() {
        let (mut lldp, now) = (Lldp::default(), Instant::from_secs(10));
        let body = own().frame()[14..].to_vec();
        assert!(lldp.hear(now, &body) && lldp.hear(now, &body));
        assert_eq!(lldp.neighbors().len(), 1);
        assert_eq!(lldp.age(now, None), Some(Instant::from_secs(131)));
        assert_eq!(lldp.age(Instant::from_secs(131), None), None);
        assert!(lldp.neighbors().is_empty());
        lldp.hear(now, &body);
        let mut leave = body.clone();
        let at = leave.windows(4).position(|tlv| tlv == [6, 2, 0, 121]).expect("the time it holds");
        leave[at + 3] = 0;
        assert!(lldp.hear(now, &leave) && lldp.neighbors().is_empty());
    }

    #[test]
    fn a_port_keeps_a_bounded_number_of_neighbours() {
        let mut lldp = Lldp::default();
        for n in 0..20 {
            let frame = Announcement { chassis: MacAddr([2, 0, 0, 0, 0, n]), ..own() }.frame();
            lldp.hear(Instant::ZERO, &frame[14..]);
        }
        assert_eq!((lldp.neighbors().len(), lldp.stats.refused), (NEIGHBORS, 12));
    }

    #[test]
    fn frames_that_break_the_rules_are_refused_and_no_cut_or_changed_one_is_a_panic() {
        let body = own().frame()[14..].to_vec();
        let end = body.windows(2).rposition(|tlv| tlv == [0, 0]).unwrap_or(0);
        let mut broken = 0;
        for cut in 0..end.min(90) {
            broken += u32::from(read(&body[..cut]).is_none());
        }
        assert!(broken > 60, "a cut frame has no end: {broken}");
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let mut changed = body.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % changed.len();
                changed[at] = seed as u8;
            }
            let texts = read(&changed).map(|n| [n.chassis, n.port, n.description, n.system, n.system_description]);
            assert!(texts.into_iter().flatten().all(|t| t.len() <= 3 * TEXT && !t.contains(char::is_control)));
        }
    }
}
