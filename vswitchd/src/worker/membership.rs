//! Which network has what: how questions find the one they are about.

use std::collections::HashMap;

use weir_wire::{InterfaceId, PortId, RouterId, SwitchId};

use super::NetworkId;

/// What a question can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A port.
    Port(PortId),
    /// A switch, an appliance or a zone of routers.
    Switch(SwitchId),
    /// A router.
    Router(RouterId),
    /// A router's interface.
    Interface(InterfaceId),
}

impl From<PortId> for Object {
    fn from(id: PortId) -> Object {
        Object::Port(id)
    }
}

impl From<SwitchId> for Object {
    fn from(id: SwitchId) -> Object {
        Object::Switch(id)
    }
}

impl From<RouterId> for Object {
    fn from(id: RouterId) -> Object {
        Object::Router(id)
    }
}

impl From<InterfaceId> for Object {
    fn from(id: InterfaceId) -> Object {
        Object::Interface(id)
    }
}

/// The networks there are and what each has. What is in none is looked for in the one with the lowest number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// In order of their numbers.
    networks: Vec<NetworkId>,
    of: HashMap<Object, NetworkId>,
}

impl Default for Membership {
    /// The network that is there from the start, without anything.
    fn default() -> Membership {
        Membership::of_networks([NetworkId::FIRST])
    }
}

impl Membership {
    /// These networks, without anything.
    pub fn of_networks(networks: impl IntoIterator<Item = NetworkId>) -> Membership {
        let mut membership = Membership { networks: Vec::new(), of: HashMap::new() };
        networks.into_iter().for_each(|network| membership.add(network));
        membership
    }

    /// The networks there are, in order of their numbers.
    pub fn networks(&self) -> impl Iterator<Item = NetworkId> + '_ {
        self.networks.iter().copied()
    }

    /// The network that has something.
    pub fn of(&self, object: impl Into<Object>) -> NetworkId {
        let first = || self.networks.first().copied().unwrap_or(NetworkId::FIRST);
        self.of.get(&object.into()).copied().unwrap_or_else(first)
    }

    /// There is this network, without anything yet.
    pub fn add(&mut self, network: NetworkId) {
        if let Err(at) = self.networks.binary_search(&network) {
            self.networks.insert(at, network);
        }
    }

    /// A network has something.
    pub fn put(&mut self, object: impl Into<Object>, network: NetworkId) {
        self.add(network);
        self.of.insert(object.into(), network);
    }
}
