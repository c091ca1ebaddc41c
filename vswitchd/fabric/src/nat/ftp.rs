//! FTP through address translation (RFC 959, RFC 2428): hosts tell each other in PORT and EPRT, and in the answers to
//! PASV and EPSV, where the other one is to connect to. What a host inside says of itself is given its outside name, and
//! the connection that will come there has a binding before it comes.
//!
//! Only what stands whole in one segment is read, as clients and servers send it. A name of another length moves all
//! that follows in the stream: the numbers of later segments, and of what acknowledges them, are changed accordingly.
//! The binding of an expected connection lets in nobody but the other end of the conversation. Limit: one name at a time
//! for each conversation, and as many of these as there are bindings.

use std::net::{IpAddr, Ipv4Addr};

use weir_filter::spec::Timeouts;
use weir_wire::numbers::*;
use weir_wire::{Checksum, Instant, L3, Packet, Segmentation, SwitchId, checksum};

use super::bindings::{ANYBODY, Names, Way};
use super::ends::{End, Ends};
use super::{Nat, TRIES};

/// The port of conversations.
const FTP: u16 = 21;
/// Longer lines are not looked at.
const LINE_MAX: usize = 256;

/// What is remembered of a conversation: the last line whose length was changed.
#[derive(Debug, Default)]
pub(super) struct Ftp {
    /// Its place in the stream of the host inside.
    seq: u32,
    /// What stands there, and what is sent for it.
    said: Vec<u8>,
    sent: Vec<u8>,
    /// By how much what comes before it was moved, and what comes after it.
    before: i32,
    after: i32,
}

impl Ftp {
    /// Numbers of the stream are moved.
    pub fn moves(&self) -> bool {
        (self.before, self.after) != (0, 0)
    }

    /// A sequence number of the host inside, as the outside knows it.
    fn outward(&self, seq: u32) -> u32 {
        let behind = (seq.wrapping_sub(self.seq) as i32) > 0;
        seq.wrapping_add_signed(if behind { self.after } else { self.before })
    }

    /// An acknowledgement from outside, as the host inside knows it.
    fn inward(&self, ack: u32) -> u32 {
        let start = self.seq.wrapping_add_signed(self.before);
        let behind = (ack.wrapping_sub(start) as i32) > 0;
        ack.wrapping_sub(if behind { self.after } else { self.before } as u32)
    }
}

/// What a line says: where the other one is to connect to, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `PORT h1,h2,h3,h4,p1,p2`.
    Port,
    /// `EPRT |1|address|port|`.
    Eprt,
    /// `227 ... (h1,h2,h3,h4,p1,p2)`.
    Passive,
    /// `229 ... (|||port|)`.
    Extended,
}

/// Reads a line; the address is `None` where it is that of the connection.
fn read_line(line: &str) -> Option<(Form, Option<IpAddr>, u16)> {
    let upper = line.get(..5)?.to_ascii_uppercase();
    if let "PORT " = upper.as_str() {
        let (address, port) = six_numbers(line.get(5..)?)?;
        return Some((Form::Port, Some(address), port));
    }
    if let "EPRT " = upper.as_str() {
        let (address, port) = between_bars(line.get(5..)?)?;
        return Some((Form::Eprt, Some(address?), port));
    }
    let inside = line.split_once('(')?.1.split_once(')')?.0;
    match upper.get(..3)? {
        "227" => six_numbers(inside).map(|(address, port)| (Form::Passive, Some(address), port)),
        "229" => between_bars(inside).map(|(_, port)| (Form::Extended, None, port)),
        _ => None,
    }
}

fn six_numbers(text: &str) -> Option<(IpAddr, u16)> {
    let mut numbers = text.trim().split(',').map(|number| number.trim().parse::<u8>().ok());
    let mut next = || numbers.next().flatten();
    let (a, b, c, d, high, low) = (next()?, next()?, next()?, next()?, next()?, next()?);
    numbers.next().is_none().then_some((Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
}

/// Family, address and port between bars; the first two may be absent.
fn between_bars(text: &str) -> Option<(Option<IpAddr>, u16)> {
    let bar = text.trim().chars().next().filter(|bar| bar.is_ascii_punctuation())?;
    let mut parts = text.trim().get(1..)?.split(bar);
    let (_, address, port) = (parts.next()?, parts.next()?, parts.next()?);
    let address = if address.is_empty() { None } else { Some(address.parse().ok()?) };
    Some((address, port.parse().ok()?))
}

/// Writes a line with another end.
fn write_line(form: Form, (address, port): End) -> Option<String> {
    let [high, low] = port.to_be_bytes();
    let numbers = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        format!("{a},{b},{c},{d},{high},{low}")
    };
    Some(match (form, address) {
        (Form::Port, IpAddr::V4(v4)) => format!("PORT {}\r\n", numbers(v4)),
        (Form::Passive, IpAddr::V4(v4)) => format!("227 Entering Passive Mode ({})\r\n", numbers(v4)),
        (Form::Eprt, address) => format!("EPRT |{}|{address}|{port}|\r\n", if address.is_ipv4() { 1 } else { 2 }),
        (Form::Extended, _) => format!("229 Entering Extended Passive Mode (|||{port}|)\r\n"),
        (Form::Port | Form::Passive, IpAddr::V6(_)) => return None,
    })
}

impl Nat {
    /// Attends to a conversation whose binding was made, if it is one of FTP.
    pub(super) fn attend(&mut self, names: &Names) {
        let control = names.protocol == PROTOCOL_TCP && (names.remote.1 == FTP || names.inside.1 == FTP);
        if control && self.ftp_zones.contains(&names.zone) {
            self.bindings.attend(names);
        }
    }

    /// What comes from outside acknowledges what the host inside has sent.
    pub(super) fn ftp_inward(&mut self, zone: SwitchId, ends: &Ends, packet: &mut Packet) {
        let at = (zone.0, ends.protocol, ends.destination, ends.source);
        let Some(ftp) = self.bindings.ftp(Way::In, at).filter(|ftp| (ftp.before, ftp.after) != (0, 0)) else { return };
        let moved = |number| ftp.inward(number);
        renumber(packet, 8, moved);
    }

    /// What the host inside says of itself is given its outside name.
    pub(super) fn ftp_outward(
        &mut self,
        now: Instant,
        names: &Names,
        ends: &Ends,
        packet: &mut Packet,
        timeouts: &Timeouts,
    ) {
        let at = (names.zone, names.protocol, ends.source, ends.destination);
        let Some(fields) = packet.tcp().filter(|_| self.bindings.ftp(Way::Out, at).is_some()) else { return };
        let line = packet.payload();
        let known = self.bindings.ftp(Way::Out, at).filter(|ftp| ftp.seq == fields.seq && ftp.said == line);
        let sent = match known {
            Some(ftp) => Some(ftp.sent.clone()),
            None => self.rename_line(now, names, ends, packet, timeouts),
        };
        let said = packet.payload().to_vec();
        let Some(ftp) = self.bindings.ftp(Way::Out, at) else { return };
        if let Some(sent) = &sent
            && (ftp.seq != fields.seq || ftp.said != said)
        {
            let longer = sent.len() as i32 - said.len() as i32;
            let before = ftp.after;
            *ftp = Ftp { seq: fields.seq, said, sent: sent.clone(), before, after: before.wrapping_add(longer) };
        }
        let moved = ftp.outward(fields.seq);
        if let Some(sent) = sent {
            replace_payload(packet, &sent);
        }
        renumber(packet, 4, |_| moved);
    }

    /// The line that is sent for what a segment says, where that is to be changed; makes the binding that it promises.
    fn rename_line(
        &mut self,
        now: Instant,
        names: &Names,
        ends: &Ends,
        packet: &Packet,
        timeouts: &Timeouts,
    ) -> Option<Vec<u8>> {
        let whole = packet.payload();
        if whole.len() > LINE_MAX || packet.offload.segmentation != Segmentation::None {
            return None;
        }
        let text = std::str::from_utf8(whole).ok()?.strip_suffix("\r\n").filter(|line| !line.contains('\n'))?;
        let (form, address, port) = read_line(text)?;
        // Only a client gives orders, and only a server answers them.
        let client = names.remote.1 == FTP || ends.destination.1 == FTP;
        if client != matches!(form, Form::Port | Form::Eprt) {
            return None;
        }
        // A host speaks for itself alone (RFC 2577, 3).
        let own = ends.source.0;
        if address.is_some_and(|address| address != own) || port < 1024 {
            return None;
        }
        let outside = self.expect(now, names, ((own, port), ends.destination.0), timeouts)?;
        write_line(form, outside).map(String::into_bytes)
    }

    /// A binding for the connection that the other end will make to an end inside: its outside name.
    fn expect(
        &mut self,
        now: Instant,
        names: &Names,
        (inside, from): (End, IpAddr),
        timeouts: &Timeouts,
    ) -> Option<End> {
        let known = self.bindings.find(Way::Out, (names.zone, PROTOCOL_TCP, inside, ANYBODY));
        if let Some(known) = known {
            return Some(known.outside);
        }
        let first = inside.1.max(1024);
        let ports = (0..TRIES as u16).map(|n| first.checked_add(n).unwrap_or(1024 + n));
        for port in ports {
            let outside = (names.outside.0, port);
            let wanted = Names { zone: names.zone, protocol: PROTOCOL_TCP, inside, outside, remote: ANYBODY };
            if self.bindings.is_free(now, &wanted, timeouts) {
                return self.bindings.expect(now, wanted, from, timeouts).then(|| {
                    self.counters.made += 1;
                    outside
                });
            }
        }
        self.counters.exhausted += 1;
        None
    }
}

/// Gives one of the numbers in a TCP header another value.
fn renumber(packet: &mut Packet, at: usize, moved: impl Fn(u32) -> u32) {
    let l4 = usize::from(packet.headers.l4);
    let partial = matches!(packet.offload.checksum, Checksum::Partial { .. });
    let Some(header) = packet.buffer.bytes_mut().get_mut(l4..).and_then(<[u8]>::first_chunk_mut::<20>) else { return };
    let Some(field) = header.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) else { return };
    let old = u32::from_be_bytes(*field);
    let new = moved(old);
    *field = new.to_be_bytes();
    if !partial {
        let sum = checksum::update_u32(u16::from_be_bytes([header[16], header[17]]), old, new);
        header[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Puts another payload into a TCP segment, whose checksum is complete then. A segment without room stays as it was.
fn replace_payload(packet: &mut Packet, payload: &[u8]) -> Option<()> {
    let headers = packet.headers;
    let (l3, l4, at) = (usize::from(headers.l3), usize::from(headers.l4), usize::from(headers.payload));
    let end = at + payload.len();
    packet.buffer.set_len(end);
    let frame = packet.buffer.bytes_mut();
    frame.get_mut(at..end)?.copy_from_slice(payload);
    let length = end.checked_sub(l4)?;
    let pseudo = match headers.l3_kind {
        L3::Ipv4 => {
            let header = frame.get_mut(l3..)?.first_chunk_mut::<20>()?;
            header[2..4].copy_from_slice(&u16::try_from(end - l3).ok()?.to_be_bytes());
            header[10..12].fill(0);
            let options = l4 - l3;
            let sum = !checksum::sum(frame.get(l3..l3 + options)?).fold();
            let header = frame.get_mut(l3..)?.first_chunk_mut::<20>()?;
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            let [.., a, b, c, d, e, f, g, h] = *header;
            checksum::pseudo_ipv4([a, b, c, d], [e, f, g, h], PROTOCOL_TCP, length as u32)
        }
        L3::Ipv6 => {
            let header = frame.get_mut(l3..)?.first_chunk_mut::<40>()?;
            header[4..6].copy_from_slice(&u16::try_from(end - l3 - 40).ok()?.to_be_bytes());
            let (source, destination) = (header.get(8..)?.first_chunk()?, header.get(24..)?.first_chunk()?);
            checksum::pseudo_ipv6(source, destination, PROTOCOL_TCP, length as u32)
        }
        L3::Arp | L3::Other => return None,
    };
    let segment = frame.get_mut(l4..end)?;
    segment.get_mut(16..18)?.fill(0);
    let sum = !pseudo.and(checksum::sum(segment)).fold();
    segment.get_mut(16..18)?.copy_from_slice(&sum.to_be_bytes());
    packet.offload.checksum = Checksum::Complete;
    packet.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(address: &str, port: u16) -> (Option<IpAddr>, u16) {
        (Some(address.parse().unwrap()), port)
    }

    #[test]
    fn lines_are_read_as_clients_and_servers_write_them() {
        for (line, expected) in [
            ("PORT 10,1,0,2,4,210", Some((Form::Port, end("10.1.0.2", 1234)))),
            ("port 10,1,0,2,4,210", Some((Form::Port, end("10.1.0.2", 1234)))),
            ("EPRT |1|10.1.0.2|1234|", Some((Form::Eprt, end("10.1.0.2", 1234)))),
            ("EPRT |2|fd01::2|1234|", Some((Form::Eprt, end("fd01::2", 1234)))),
            ("227 Entering Passive Mode (10,1,0,2,4,210).", Some((Form::Passive, end("10.1.0.2", 1234)))),
            ("229 Entering Extended Passive Mode (|||1234|)", Some((Form::Extended, (None, 1234)))),
            ("PORT 10,1,0,256,4,210", None),
            ("PORT 10,1,0,2,4", None),
            ("EPRT |1||1234|", None),
            ("229 no", None),
            ("USER anonymous", None),
            ("227", None),
        ] {
            let found = read_line(line).map(|(form, address, port)| (form, (address, port)));
            assert_eq!(found, expected, "{line}");
            if let Some((form, (address, port))) = expected {
                let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                let written = write_line(form, (address, port)).unwrap();
                let again = read_line(written.trim_end()).unwrap();
                assert_eq!((again.0, again.2), (form, port), "what is written can be read");
            }
        }
    }

    #[test]
    fn what_follows_a_longer_line_is_moved_and_what_came_before_is_not() {
        let ftp = Ftp { seq: 1000, said: vec![0; 20], sent: vec![0; 24], before: 1, after: 5 };
        assert_eq!([990, 1000, 1020].map(|seq| ftp.outward(seq)), [991, 1001, 1025]);
        assert_eq!([991, 1001, 1025].map(|ack| ftp.inward(ack)), [990, 1000, 1020]);
        let wrapped = Ftp { seq: u32::MAX - 5, before: 0, after: -3, ..Ftp::default() };
        assert_eq!(wrapped.inward(wrapped.outward(20)), 20);
    }
}
