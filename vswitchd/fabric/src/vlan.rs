//! Which VLAN a frame belongs to on arrival, and whether it leaves with a tag (IEEE 802.1Q-2022, 6.9).
//!
//! A priority tag (VID 0) counts as no tag. VLANs are told apart by the outermost tag alone; [`rewrite`] refuses to
//! take it off where another one would then come to the front, for the next switch would read that one as its VLAN.
//!
//! [`rewrite`]: crate::rewrite

use weir_wire::{Tag, Vid};

use crate::config::VlanMode;

/// How a packet of a VLAN leaves by a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tagging {
    /// Without a tag.
    Untagged,
    /// With the VLAN's tag.
    Tagged,
    /// With the VLAN's tag, of this EtherType.
    TaggedAs(u16),
    /// As the customer sent it: without the VLAN's tag, with all tags behind it.
    Inner,
    /// Not at all: the port is no member.
    NoMember,
    /// With the tags that it came with, whatever they are.
    AsItIs,
    /// With this VLAN in its outermost tag.
    Retagged(Vid),
    /// By no port: through the appliance that stands there.
    Through,
}

/// A port's VLANs, ready to be asked for every packet.
#[derive(Debug)]
pub(crate) enum Vlans {
    Access(Vid),
    /// All frames belong to the VLAN, with whatever tags of their own they carry (IEEE 802.1ad, a customer's port).
    Tunnel(Vid),
    /// One bit for each VID; bit 0 is never set.
    Trunk {
        members: Box<[u64; 64]>,
        native: Option<Vid>,
    },
}

impl Vlans {
    pub fn new(mode: &VlanMode) -> Vlans {
        match mode {
            VlanMode::Access(vid) => Vlans::Access(*vid),
            VlanMode::Tunnel(vid) => Vlans::Tunnel(*vid),
            VlanMode::Trunk { allowed, native } => {
                let mut members = Box::new([0u64; 64]);
                for vid in allowed.iter().flat_map(|&(first, last)| first.0.max(1)..=last.0.min(4094)) {
                    if let Some(word) = members.get_mut(usize::from(vid >> 6)) {
                        *word |= 1 << (vid & 63);
                    }
                }
                Vlans::Trunk { members, native: *native }
            }
        }
    }

    /// The VLAN of a frame with this outermost tag; `None` where the port does not take it.
    #[inline]
    pub fn classify(&self, tag: Option<&Tag>) -> Option<Vid> {
        match (tag, self) {
            (_, Vlans::Tunnel(own)) => Some(*own),
            (None | Some(Tag { vid: Vid(0), .. }), Vlans::Access(own)) => Some(*own),
            (None | Some(Tag { vid: Vid(0), .. }), Vlans::Trunk { native, .. }) => *native,
            (Some(tag), _) => (self.tagging(tag.vid) != Tagging::NoMember).then_some(tag.vid),
        }
    }

    /// The VLAN of untagged frames.
    pub fn own(&self) -> Option<Vid> {
        match self {
            Vlans::Access(own) | Vlans::Tunnel(own) => Some(*own),
            Vlans::Trunk { native, .. } => *native,
        }
    }

    /// How a packet of `vid` leaves.
    #[inline]
    pub fn tagging(&self, vid: Vid) -> Tagging {
        match self {
            Vlans::Access(own) if *own == vid => Tagging::Untagged,
            Vlans::Tunnel(own) if *own == vid => Tagging::Inner,
            Vlans::Access(_) | Vlans::Tunnel(_) => Tagging::NoMember,
            Vlans::Trunk { native, .. } if *native == Some(vid) => Tagging::Untagged,
            Vlans::Trunk { members, .. } => {
                let word = members.get(usize::from(vid.0 >> 6)).copied().unwrap_or(0);
                if word >> (vid.0 & 63) & 1 == 1 { Tagging::Tagged } else { Tagging::NoMember }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(vid: u16) -> Option<Tag> {
        Some(Tag { vid: Vid(vid), pcp_dei: 0 })
    }

    fn trunk(allowed: &[(u16, u16)], native: Option<u16>) -> Vlans {
        let allowed = allowed.iter().map(|&(a, b)| (Vid(a), Vid(b))).collect();
        Vlans::new(&VlanMode::Trunk { allowed, native: native.map(Vid) })
    }

    #[test]
    fn arrival_follows_the_table_of_modes_and_tags() {
        let access = Vlans::new(&VlanMode::Access(Vid(10)));
        let plain = Vlans::new(&VlanMode::Access(Vid(0)));
        let native = trunk(&[(10, 19), (30, 30)], Some(7));
        let strict = trunk(&[(10, 19)], None);
        let table: &[(&str, &Vlans, Option<Tag>, Option<u16>)] = &[
            ("access, untagged", &access, None, Some(10)),
            ("access, priority", &access, tag(0), Some(10)),
            ("access, its own", &access, tag(10), Some(10)),
            ("tunnel, untagged", &Vlans::Tunnel(Vid(10)), None, Some(10)),
            ("tunnel, whatever tag", &Vlans::Tunnel(Vid(10)), tag(11), Some(10)),
            ("access, another", &access, tag(11), None),
            ("plain, untagged", &plain, None, Some(0)),
            ("plain, priority", &plain, tag(0), Some(0)),
            ("plain, tagged", &plain, tag(1), None),
            ("native, untagged", &native, None, Some(7)),
            ("native, priority", &native, tag(0), Some(7)),
            ("native, its native tagged", &native, tag(7), Some(7)),
            ("native, allowed", &native, tag(19), Some(19)),
            ("native, single", &native, tag(30), Some(30)),
            ("native, beside the range", &native, tag(20), None),
            ("strict, untagged", &strict, None, None),
            ("strict, priority", &strict, tag(0), None),
            ("strict, allowed", &strict, tag(10), Some(10)),
            ("strict, beyond all VIDs", &strict, tag(0xffff), None),
        ];
        for (what, vlans, tag, expected) in table {
            assert_eq!(vlans.classify(tag.as_ref()), expected.map(Vid), "{what}");
        }
    }

    #[test]
    fn departure_follows_the_table_of_modes_and_vlans() {
        let native = trunk(&[(0, 4095)], Some(7));
        let table: &[(&str, Vlans, u16, Tagging)] = &[
            ("tunnel, its own", Vlans::Tunnel(Vid(10)), 10, Tagging::Inner),
            ("tunnel, another", Vlans::Tunnel(Vid(10)), 11, Tagging::NoMember),
            ("access, its own", Vlans::Access(Vid(10)), 10, Tagging::Untagged),
            ("access, another", Vlans::Access(Vid(10)), 11, Tagging::NoMember),
            ("plain", Vlans::Access(Vid(0)), 0, Tagging::Untagged),
            ("trunk, native", trunk(&[], Some(7)), 7, Tagging::Untagged),
            ("trunk, native 0 joins the untagged LAN", trunk(&[(5, 5)], Some(0)), 0, Tagging::Untagged),
            ("trunk, all: the first", trunk(&[(0, 4095)], None), 1, Tagging::Tagged),
            ("trunk, all: the last", trunk(&[(0, 4095)], None), 4094, Tagging::Tagged),
            ("trunk, all: 0 is no VLAN to be tagged", native, 0, Tagging::NoMember),
            ("trunk, all: 4095 is reserved", trunk(&[(0, 4095)], None), 4095, Tagging::NoMember),
        ];
        for (what, vlans, vid, expected) in table {
            assert_eq!(vlans.tagging(Vid(*vid)), *expected, "{what}");
        }
    }
}
