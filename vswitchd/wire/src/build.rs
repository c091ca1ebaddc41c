//! Frames of our own making, and VLAN tags put on and taken off in place.
//!
//! [`frames`] makes whole frames for announcements and tests, [`replies`] the answers a guard gives (resets and ICMP
//! errors), [`errors`] and [`neighbor`] what a router says (ICMP errors, neighbour discovery), [`tags`] changes the VLAN tag of a packet that is on its way. Headers are written by `etherparse`; the
//! checksums are ours ([`crate::checksum`]). Nothing here runs per forwarded packet but the tags.

pub mod dscp;
pub mod errors;
pub mod frames;
pub mod neighbor;
pub mod replies;
pub mod shift;
pub mod tags;

pub use dscp::set_dscp;
pub use errors::{IcmpError, icmp_error};
pub use frames::{ArpKind, EchoKind, Ends, arp, fragments, icmp_echo, ip, packet, rarp, tagged, tcp, udp};
pub use replies::{
    Reset, Toward, Unreachable, bare_segment, datagram_back, datagram_instead, last_segment, reset, reset_numbers,
    unreachable,
};
pub use shift::{Stamp, scale_window, shift_ack, shift_quoted_seq, shift_sack, shift_seq, shift_stamp};
pub use tags::{pop_tag, push_tag, push_tag_of, set_tag_type, set_vid, tag_type};
