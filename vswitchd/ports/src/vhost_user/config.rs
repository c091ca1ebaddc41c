//! The settings of a vhost-user port.

use std::path::PathBuf;

use weir_wire::MacAddr;

use super::endpoint::Role;
use super::features::Profile;

/// A vhost-user port's settings.
#[derive(Clone, Debug)]
pub struct VhostUserConfig {
    /// The unix socket.
    pub path: PathBuf,
    /// Which side listens.
    pub role: Role,
    /// Queue pairs the guest may use, 1 to [`QUEUE_PAIRS_MAX`](super::QUEUE_PAIRS_MAX).
    pub queue_pairs_max: u16,
    /// Which front end to expect.
    pub profile: Profile,
    /// virtio features that may be offered; all bits for no restriction, all but [`RING_PACKED`](super::features::RING_PACKED)
    /// unless said otherwise: where a ring stands that is packed only its device knows, so that a guest under QEMU would
    /// not be served any more after a restart of ours.
    pub feature_mask: u64,
    /// Largest L3 packet that is sent to the guest.
    pub mtu: u16,
    /// MAC told to drivers that read the configuration space from us (User Mode Linux).
    pub mac: Option<MacAddr>,
    /// Mode of the socket file (server).
    pub socket_mode: Option<u32>,
    /// Numeric owner of the socket file (server).
    pub socket_owner: Option<u32>,
    /// Numeric group of the socket file (server).
    pub socket_group: Option<u32>,
}

impl VhostUserConfig {
    /// A server at `path` with one queue pair and an MTU of 1500.
    pub fn new(path: impl Into<PathBuf>) -> VhostUserConfig {
        VhostUserConfig {
            path: path.into(),
            role: Role::Server,
            queue_pairs_max: 1,
            profile: Profile::Auto,
            feature_mask: !super::features::RING_PACKED,
            mtu: 1500,
            mac: None,
            socket_mode: None,
            socket_owner: None,
            socket_group: None,
        }
    }
}
