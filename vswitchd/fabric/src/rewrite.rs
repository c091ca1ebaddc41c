//! Stop 7: what is changed in a packet that may leave. For a bridge that is its VLAN tag.

use weir_wire::numbers::{ETHERTYPE_SERVICE_VLAN, ETHERTYPE_STACKED_VLAN, ETHERTYPE_VLAN};
use weir_wire::{DropReason, Packet, Tag, build};

use crate::vlan::Tagging;

/// EtherTypes that announce a VLAN tag: 802.1Q, 802.1ad, and the 0x9100 of older stacked tags.
const TAGS: [u16; 3] = [ETHERTYPE_VLAN, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_STACKED_VLAN];

/// Gives a packet the tag with which its VLAN leaves, or takes it off. The priority of a tag that stays is kept.
///
/// # Errors
/// `VlanNotAllowed` where another tag would come to the front: whoever reads the frame next would take it for a
/// packet of that VLAN ("VLAN hopping by double tagging"). `TooLong` where there is no room for a tag.
#[inline]
pub(crate) fn rewrite(packet: &mut Packet, tagging: Tagging) -> Result<(), DropReason> {
    let done = match (packet.headers.tag, tagging) {
        (None, Tagging::Untagged) => true,
        (Some(tag), Tagging::Tagged) if tag.vid == packet.vid => true,
        (Some(_), Tagging::Untagged) if TAGS.contains(&packet.headers.ether_type) => {
            return Err(DropReason::VlanNotAllowed);
        }
        (Some(_), Tagging::Untagged) => build::pop_tag(packet),
        // What a customer's port sends out begins with the customer's own tags, if any.
        (Some(tag), Tagging::Inner) if tag.vid == packet.vid => build::pop_tag(packet),
        (_, Tagging::Inner) => true,
        (None, Tagging::Tagged) => build::push_tag(packet, Tag { vid: packet.vid, pcp_dei: 0 }),
        (Some(_), Tagging::Tagged) => build::set_vid(packet, packet.vid),
        (None, Tagging::TaggedAs(kind)) => build::push_tag_of(packet, kind, Tag { vid: packet.vid, pcp_dei: 0 }),
        (Some(_), Tagging::TaggedAs(kind)) => build::set_vid(packet, packet.vid) && build::set_tag_type(packet, kind),
        (_, Tagging::AsItIs) => true,
        (Some(_), Tagging::Retagged(vid)) => build::set_vid(packet, vid),
        (None, Tagging::Retagged(_)) | (_, Tagging::NoMember | Tagging::Through) => {
            return Err(DropReason::VlanNotAllowed);
        }
    };
    if done { Ok(()) } else { Err(DropReason::TooLong) }
}
