//! The outermost VLAN tag of a packet, changed in place; headers and a partial checksum's mark move along.

use crate::numbers::{ETHERTYPE_SERVICE_VLAN, ETHERTYPE_STACKED_VLAN, ETHERTYPE_VLAN};
use crate::{Checksum, Packet, Tag, Vid};

/// Length of a tag.
const TAG_LEN: usize = 4;

/// Puts an 802.1Q tag before the EtherType (and before tags that stand there); `false` where the headroom is used up.
/// The packet must be parsed.
#[inline]
pub fn push_tag(packet: &mut Packet, tag: Tag) -> bool {
    push_tag_of(packet, ETHERTYPE_VLAN, tag)
}

/// The same with a tag of this EtherType, which must be one that announces tags.
#[inline]
pub fn push_tag_of(packet: &mut Packet, ether_type: u16, tag: Tag) -> bool {
    if packet.len() < 14 || !packet.buffer.grow_front(TAG_LEN) {
        return false;
    }
    let frame = packet.buffer.bytes_mut();
    let [protocol_high, protocol_low] = ether_type.to_be_bytes();
    let [high, low] = control(tag);
    if let Some(head) = frame.first_chunk_mut::<16>() {
        head.copy_within(TAG_LEN..16, 0);
        [head[12], head[13], head[14], head[15]] = [protocol_high, protocol_low, high, low];
    }
    move_offsets(packet, i32::from(TAG_LEN as u8));
    refresh(packet);
    true
}

/// Takes the outermost tag off; `false` where there is none. The packet must be parsed.
#[inline]
pub fn pop_tag(packet: &mut Packet) -> bool {
    if packet.headers.tag.is_none() {
        return false;
    }
    let Some(head) = packet.buffer.bytes_mut().first_chunk_mut::<16>() else { return false };
    head.copy_within(..12, TAG_LEN);
    packet.buffer.shrink_front(TAG_LEN);
    move_offsets(packet, -i32::from(TAG_LEN as u8));
    refresh(packet);
    true
}

/// Gives the outermost tag another VLAN and keeps its priority; `false` where there is none.
#[inline]
pub fn set_vid(packet: &mut Packet, vid: Vid) -> bool {
    let Some(tag) = &mut packet.headers.tag else { return false };
    tag.vid = Vid(vid.0 & 0xfff);
    let bytes = control(*tag);
    match packet.buffer.bytes_mut().get_mut(14..16) {
        Some(tci) => {
            tci.copy_from_slice(&bytes);
            true
        }
        None => false,
    }
}

/// Gives the outermost tag another EtherType; `false` where there is no tag.
#[inline]
pub fn set_tag_type(packet: &mut Packet, ether_type: u16) -> bool {
    if packet.headers.tag.is_none() {
        return false;
    }
    match packet.buffer.bytes_mut().get_mut(12..14) {
        Some(place) => {
            place.copy_from_slice(&ether_type.to_be_bytes());
            true
        }
        None => false,
    }
}

/// The EtherType of the outermost tag, where the frame has one.
#[inline]
pub fn tag_type(packet: &Packet) -> Option<u16> {
    packet.headers.tag?;
    packet.bytes().get(12..).and_then(<[u8]>::first_chunk).map(|&word| u16::from_be_bytes(word))
}

/// The tag control information.
#[inline]
fn control(tag: Tag) -> [u8; 2] {
    (u16::from(tag.pcp_dei) << 12 | (tag.vid.0 & 0xfff)).to_be_bytes()
}

#[inline]
fn move_offsets(packet: &mut Packet, by: i32) {
    let headers = &mut packet.headers;
    let moved = |offset: u16| offset.saturating_add_signed(by as i16);
    headers.l3 = moved(headers.l3);
    if headers.l4 != 0 {
        headers.l4 = moved(headers.l4);
    }
    headers.payload = moved(headers.payload);
    headers.end = headers.end.saturating_add_signed(by);
    if let Checksum::Partial { start, .. } = &mut packet.offload.checksum {
        *start = moved(*start);
    }
}

/// Reads the outermost tag and the EtherType behind it again.
#[inline]
fn refresh(packet: &mut Packet) {
    let word =
        |at: usize| packet.buffer.bytes().get(at..).and_then(<[u8]>::first_chunk).map(|&w| u16::from_be_bytes(w));
    let (Some(outermost), tci, inner) = (word(12), word(14), word(16)) else { return };
    let (tag, ether_type) = match (outermost, tci, inner) {
        (ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN | ETHERTYPE_STACKED_VLAN, Some(tci), Some(inner)) => {
            (Some(Tag { vid: Vid(tci & 0xfff), pcp_dei: (tci >> 12) as u8 }), inner)
        }
        _ => (None, outermost),
    };
    packet.headers.tag = tag;
    packet.headers.ether_type = ether_type;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Ends, packet, tagged, tcp, udp};
    use crate::{DropReason, Headers, Pool, PortId, TcpFields, checksum};

    /// The headers as a fresh parse finds them.
    fn parsed_again(packet: &mut Packet) -> Result<Headers, DropReason> {
        let before = packet.headers;
        packet.parse()?;
        Ok(std::mem::replace(&mut packet.headers, before))
    }

    #[test]
    fn a_pushed_tag_reads_back_and_popping_restores_the_frame() {
        let mut pool = Pool::default();
        let plain = tcp(Ends::ipv6(1, 2), TcpFields::default(), &[], b"data");
        let mut subject = packet(&plain, PortId(1), &mut pool).unwrap();
        assert!(checksum::make_partial(&mut subject));
        let marked = subject.bytes().to_vec();
        let before = subject.offload;
        for (vid, pcp_dei) in [(5, 6), (6, 0)] {
            assert!(push_tag(&mut subject, Tag { vid: Vid(vid), pcp_dei }));
            assert_eq!(subject.headers.tag, Some(Tag { vid: Vid(vid), pcp_dei }));
            assert_eq!(parsed_again(&mut subject), Ok(subject.headers));
        }
        assert_eq!(subject.bytes(), tagged(&tagged(&marked, 5, 6), 6, 0));
        assert!(pop_tag(&mut subject) && pop_tag(&mut subject));
        assert_eq!((subject.bytes(), subject.offload), (&marked[..], before));
        assert_eq!(parsed_again(&mut subject), Ok(subject.headers));
        assert!(!pop_tag(&mut subject));
        pool.give(subject.buffer);
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn set_vid_keeps_the_priority() {
        let mut pool = Pool::default();
        let mut subject = packet(&tagged(&udp(Ends::ipv4(1, 2), (1, 2), b""), 9, 0xb), PortId(1), &mut pool).unwrap();
        assert!(set_vid(&mut subject, Vid(4094)));
        assert_eq!(subject.bytes(), tagged(&udp(Ends::ipv4(1, 2), (1, 2), b""), 4094, 0xb));
        assert_eq!(parsed_again(&mut subject), Ok(subject.headers));
    }

    #[test]
    fn a_tag_of_another_type_is_pushed_read_and_changed() {
        let mut pool = Pool::default();
        let customer = tagged(&udp(Ends::ipv4(1, 2), (1, 2), b"x"), 7, 0);
        let mut subject = packet(&customer, PortId(1), &mut pool).unwrap();
        assert!(push_tag_of(&mut subject, ETHERTYPE_SERVICE_VLAN, Tag { vid: Vid(100), pcp_dei: 2 }));
        assert_eq!((subject.headers.tag.unwrap().vid, tag_type(&subject)), (Vid(100), Some(0x88a8)));
        assert!(set_tag_type(&mut subject, ETHERTYPE_STACKED_VLAN));
        assert_eq!(parsed_again(&mut subject), Ok(subject.headers), "also of 0x9100 the datagram is found");
        assert_eq!(subject.headers.protocol, 17);
        assert!(pop_tag(&mut subject));
        assert_eq!((subject.bytes(), tag_type(&subject)), (&customer[..], Some(0x8100)));
    }

    #[test]
    fn a_frame_of_an_ethernet_header_alone_is_tagged_and_untagged() {
        let mut pool = Pool::default();
        let mut subject = packet(&[0; 14], PortId(1), &mut pool).unwrap();
        assert!(!set_vid(&mut subject, Vid(1)));
        assert!(push_tag(&mut subject, Tag { vid: Vid(1), pcp_dei: 0 }));
        assert!(pop_tag(&mut subject));
        assert_eq!((subject.bytes(), subject.headers.tag), (&[0; 14][..], None));
    }

    #[test]
    fn tags_are_refused_when_the_headroom_is_used_up() {
        let mut pool = Pool::default();
        let mut subject = packet(&[0; 60], PortId(1), &mut pool).unwrap();
        let pushed = (0..100).take_while(|_| push_tag(&mut subject, Tag::default())).count();
        assert_eq!(pushed, crate::buffer::HEADROOM / TAG_LEN);
    }
}
