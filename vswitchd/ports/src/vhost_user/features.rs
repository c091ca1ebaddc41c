//! Feature bits: what a back end may offer, what this one offers to which front end, and what was agreed on.
//!
//! Bits are those of virtio 1.2, 5.1.3 (network device) and 6 (reserved bits), and of the vhost-user protocol. Front
//! ends differ in what they bear: QEMU has the control queue to itself and takes `MQ` and `GUEST_ANNOUNCE` only if we
//! offer them; User Mode Linux is a driver on a bare device and refuses both without a control queue, which we do not
//! have. So the offer is a setting, and [`Profile::Auto`] tells them apart by the first message.

use weir_wire::Capabilities;

/// The driver may leave checksums to us.
pub const CSUM: u64 = 1 << 0;
/// The driver takes frames with partial checksums.
pub const GUEST_CSUM: u64 = 1 << 1;
/// The MTU is known to the driver.
pub const MTU: u64 = 1 << 3;
/// The MAC is in the configuration space.
pub const MAC: u64 = 1 << 5;
/// The driver takes TCP over IPv4 super-segments.
pub const GUEST_TSO4: u64 = 1 << 7;
/// The driver takes TCP over IPv6 super-segments.
pub const GUEST_TSO6: u64 = 1 << 8;
/// The driver takes super-segments with ECN.
pub const GUEST_ECN: u64 = 1 << 9;
/// The driver may send TCP over IPv4 super-segments.
pub const HOST_TSO4: u64 = 1 << 11;
/// The driver may send TCP over IPv6 super-segments.
pub const HOST_TSO6: u64 = 1 << 12;
/// The driver may send super-segments with ECN.
pub const HOST_ECN: u64 = 1 << 13;
/// A received frame may span several of the driver's buffers.
pub const MRG_RXBUF: u64 = 1 << 15;
/// The link's state is in the configuration space.
pub const STATUS: u64 = 1 << 16;
/// A control queue; never offered.
pub const CTRL_VQ: u64 = 1 << 17;
/// The driver can announce itself after migration.
pub const GUEST_ANNOUNCE: u64 = 1 << 21;
/// Several queue pairs.
pub const MQ: u64 = 1 << 22;
/// Writes to guest memory are logged.
pub const LOG_ALL: u64 = 1 << 26;
/// Header and frame may stand in the descriptors in any way.
pub const ANY_LAYOUT: u64 = 1 << 27;
/// Descriptors may stand in a table of their own.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// Notifications are suppressed by index.
pub const EVENT_IDX: u64 = 1 << 29;
/// The vhost-user protocol has features of its own, and rings start disabled.
pub const PROTOCOL_FEATURES: u64 = 1 << 30;
/// virtio 1.0 or later.
pub const VERSION_1: u64 = 1 << 32;
/// Rings are packed ([`super::packed`]).
pub const RING_PACKED: u64 = 1 << 34;
/// Buffers are used in the order in which they were made available.
pub const IN_ORDER: u64 = 1 << 35;
/// The driver takes UDP over IPv4 super-segments.
pub const GUEST_USO4: u64 = 1 << 54;
/// The driver takes UDP over IPv6 super-segments.
pub const GUEST_USO6: u64 = 1 << 55;
/// The driver may send UDP super-segments.
pub const HOST_USO: u64 = 1 << 56;

/// Protocol feature bits of vhost-user.
pub mod protocol {
    /// Several queues; GET_QUEUE_NUM.
    pub const MQ: u64 = 1 << 0;
    /// The dirty log is shared by descriptor.
    pub const LOG_SHMFD: u64 = 1 << 1;
    /// SEND_RARP.
    pub const RARP: u64 = 1 << 2;
    /// Replies on demand.
    pub const REPLY_ACK: u64 = 1 << 3;
    /// NET_SET_MTU.
    pub const NET_MTU: u64 = 1 << 4;
    /// SET_BACKEND_REQ_FD: a channel for requests of ours.
    pub const BACKEND_REQ: u64 = 1 << 5;
    /// GET_CONFIG.
    pub const CONFIG: u64 = 1 << 9;
    /// GET_INFLIGHT_FD and SET_INFLIGHT_FD.
    pub const INFLIGHT_SHMFD: u64 = 1 << 12;
    /// GET_MAX_MEM_SLOTS, ADD_MEM_REG and REM_MEM_REG.
    pub const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    /// GET_STATUS and SET_STATUS.
    pub const STATUS: u64 = 1 << 16;
}

/// Which front end to expect, and so what to offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Told by the first message: SET_OWNER before GET_FEATURES is a bare driver ([`Profile::Uml`]), else QEMU.
    #[default]
    Auto,
    /// QEMU, cloud-hypervisor and others that answer the control queue themselves.
    Qemu,
    /// User Mode Linux and others that drive the device themselves.
    Uml,
    /// DPDK's virtio-user, which answers the control queue itself.
    Dpdk,
}

const COMMON: u64 = CSUM
    | GUEST_CSUM
    | GUEST_TSO4
    | GUEST_TSO6
    | GUEST_ECN
    | HOST_TSO4
    | HOST_TSO6
    | HOST_ECN
    | MRG_RXBUF
    | LOG_ALL
    | ANY_LAYOUT
    | INDIRECT_DESC
    | EVENT_IDX
    | PROTOCOL_FEATURES
    | VERSION_1
    | GUEST_USO4
    | GUEST_USO6
    | HOST_USO;

/// What kind the rings may be. User Mode Linux takes both, but starts a packed ring with wrap counters of 0, so that no frame
/// would pass.
const KINDS: u64 = RING_PACKED | IN_ORDER;

const PROTOCOL_COMMON: u64 = protocol::LOG_SHMFD
    | protocol::RARP
    | protocol::REPLY_ACK
    | protocol::NET_MTU
    | protocol::INFLIGHT_SHMFD
    | protocol::CONFIGURE_MEM_SLOTS
    | protocol::STATUS;

/// What is offered to one front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// virtio features.
    pub features: u64,
    /// vhost-user protocol features.
    pub protocol: u64,
}

impl Offer {
    /// The offer for a front end that is known or has been told apart (`Auto` counts as QEMU here). `has_mac` says
    /// that there is a MAC to put into the configuration space; `mask` takes virtio features away.
    pub fn new(profile: Profile, has_mac: bool, mask: u64) -> Offer {
        let (features, protocol) = match profile {
            Profile::Auto | Profile::Qemu => {
                (COMMON | KINDS | MTU | MQ | GUEST_ANNOUNCE, PROTOCOL_COMMON | protocol::MQ)
            }
            Profile::Dpdk => (COMMON | KINDS | MTU | MQ | STATUS, PROTOCOL_COMMON | protocol::MQ),
            Profile::Uml => {
                let mac = if has_mac { MAC } else { 0 };
                // We have no requests to make, but User Mode Linux (6.1) takes the interrupt line of its rings from the
                // channel for them: without it the driver asks for line 0 and fails.
                (COMMON | MTU | STATUS | mac, PROTOCOL_COMMON | protocol::CONFIG | protocol::BACKEND_REQ)
            }
        };
        Offer { features: features & mask, protocol }
    }
}

/// What was agreed on by SET_FEATURES.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed(pub u64);

impl Agreed {
    /// All of `bits` were agreed on.
    #[inline]
    pub fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// Length of the header before each frame (virtio 1.2, 5.1.6): 12 bytes, or 10 for a legacy driver without
    /// mergeable buffers.
    #[inline]
    pub fn header_len(self) -> usize {
        if self.0 & (VERSION_1 | MRG_RXBUF) != 0 { 12 } else { 10 }
    }

    /// What the guest takes unfinished.
    pub fn capabilities(self) -> Capabilities {
        let checksum = self.has(GUEST_CSUM);
        Capabilities {
            checksum,
            tso4: checksum && self.has(GUEST_TSO4),
            tso6: checksum && self.has(GUEST_TSO6),
            ecn: checksum && self.has(GUEST_ECN),
            uso: checksum && self.has(GUEST_USO4 | GUEST_USO6),
        }
    }

    /// The names of the bits, for people.
    pub fn names(self) -> String {
        let mut text = String::new();
        for &(bit, name) in NAMES {
            if self.has(bit) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(name);
            }
        }
        text
    }
}

const NAMES: &[(u64, &str)] = &[
    (CSUM, "CSUM"),
    (GUEST_CSUM, "GUEST_CSUM"),
    (MTU, "MTU"),
    (MAC, "MAC"),
    (GUEST_TSO4, "GUEST_TSO4"),
    (GUEST_TSO6, "GUEST_TSO6"),
    (GUEST_ECN, "GUEST_ECN"),
    (HOST_TSO4, "HOST_TSO4"),
    (HOST_TSO6, "HOST_TSO6"),
    (HOST_ECN, "HOST_ECN"),
    (MRG_RXBUF, "MRG_RXBUF"),
    (STATUS, "STATUS"),
    (GUEST_ANNOUNCE, "GUEST_ANNOUNCE"),
    (MQ, "MQ"),
    (LOG_ALL, "LOG_ALL"),
    (ANY_LAYOUT, "ANY_LAYOUT"),
    (INDIRECT_DESC, "INDIRECT_DESC"),
    (EVENT_IDX, "EVENT_IDX"),
    (PROTOCOL_FEATURES, "PROTOCOL_FEATURES"),
    (VERSION_1, "VERSION_1"),
    (RING_PACKED, "RING_PACKED"),
    (IN_ORDER, "IN_ORDER"),
    (GUEST_USO4, "GUEST_USO4"),
    (GUEST_USO6, "GUEST_USO6"),
    (HOST_USO, "HOST_USO"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_driver_is_offered_nothing_that_wants_a_control_queue() {
        let offer = Offer::new(Profile::Uml, true, u64::MAX);
        assert_eq!(offer.features & (CTRL_VQ | GUEST_ANNOUNCE | MQ), 0);
        assert_eq!(offer.protocol & protocol::MQ, 0);
        assert_ne!(offer.features & MAC, 0);
        assert_eq!(Offer::new(Profile::Uml, false, u64::MAX).features & MAC, 0);
    }

    #[test]
    fn the_mask_takes_features_away() {
        assert_eq!(Offer::new(Profile::Qemu, false, !MRG_RXBUF).features & MRG_RXBUF, 0);
    }

    #[test]
    fn segmentation_needs_the_checksum_too() {
        assert_eq!(Agreed(GUEST_TSO4 | GUEST_TSO6).capabilities(), Capabilities::default());
        assert!(Agreed(GUEST_CSUM | GUEST_TSO4).capabilities().tso4);
    }

    #[test]
    fn only_a_legacy_driver_has_the_short_header() {
        assert_eq!(Agreed(0).header_len(), 10);
        assert_eq!(Agreed(MRG_RXBUF).header_len(), 12);
        assert_eq!(Agreed(VERSION_1).header_len(), 12);
    }

    #[test]
    fn features_have_names() {
        assert_eq!(Agreed(CSUM | VERSION_1).names(), "CSUM VERSION_1");
    }
}
