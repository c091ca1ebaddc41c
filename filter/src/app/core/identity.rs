//! What a flow speaks, as far as it is known.

use weir_ids_rules::AppProtocol;

use crate::inspect::Direction;

/// What is known of a direction's protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It cannot be found out.
    Failed,
    /// This one.
    Protocol(AppProtocol),
}

impl Found {
    /// The protocol, where it is known.
    pub fn protocol(self) -> Option<AppProtocol> {
        match self {
            Found::Protocol(protocol) => Some(protocol),
            Found::Unknown | Found::Failed => None,
        }
    }
}

/// What a flow speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The flow's protocol (EVE's `app_proto`).
    pub flow: Found,
    /// What the initiator's bytes look like.
    pub to_server: Found,
    /// What the responder's bytes look like.
    pub to_client: Found,
    /// What it spoke before it was handed over.
    pub original: Option<AppProtocol>,
    /// What it was to speak after that.
    pub expected: Option<AppProtocol>,
}

impl Identity {
    /// What a direction looks like.
    pub fn side(&self, way: Direction) -> Found {
        match way {
            Direction::Original => self.to_server,
            Direction::Reply => self.to_client,
        }
    }

    pub(super) fn side_mut(&mut self, way: Direction) -> &mut Found {
        match way {
            Direction::Original => &mut self.to_server,
            Direction::Reply => &mut self.to_client,
        }
    }
}
