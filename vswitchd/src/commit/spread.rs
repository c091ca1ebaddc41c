//! A change shared out among the networks that it is about. Every network hears of every change, since all of them judge
//! by the same policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_fabric::Step;
use weir_fabric::mirror::{MirrorConfig, Sink};
use weir_filter::Policy;
use weir_wire::PortId;

use crate::worker::{Membership, NetworkId, Object, Transaction};

/// Where things were and where they will be.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub before: &'a Membership,
    pub after: &'a Membership,
    /// Networks that have just become part of others.
    pub joined: &'a [(NetworkId, NetworkId)],
}

impl Places<'_> {
    fn was(&self, object: impl Into<Object>) -> NetworkId {
        let network = self.before.of(object);
        self.joined.iter().find(|(from, _)| *from == network).map_or(network, |(_, into)| *into)
    }
}

/// A change of each network, and the ports that are to go from one to another: port, from, to.
pub(super) struct Spread {
    pub parts: BTreeMap<NetworkId, Transaction>,
    pub moving: Vec<(PortId, NetworkId, NetworkId)>,
}

/// Shares `whole` out. `staying`: the ports that are neither added nor removed.
pub(super) fn spread(whole: Transaction, staying: &[PortId], places: Places<'_>) -> Spread {
    let policy = Arc::clone(&whole.policy);
    let every = places.after.networks().map(|network| (network, Transaction::of(Arc::clone(&policy))));
    let mut parts = Parts { all: every.collect(), policy: Arc::clone(&policy) };
    let mut moving = Vec::new();
    for &port in staying {
        let (from, to) = (places.was(port), places.after.of(port));
        if from != to {
            moving.push((port, from, to));
        }
    }
    for step in whole.steps {
        match owner(&step, places) {
            Owner::One(network) => parts.at(network).steps.push(step),
            Owner::Each => places.after.networks().for_each(|network| {
                parts.at(network).steps.extend(part_of(&step, network, places.after));
            }),
        }
    }
    whole.add_ports.into_iter().for_each(|(id, port)| parts.at(places.after.of(id)).add_ports.push((id, port)));
    whole.remove_ports.into_iter().for_each(|id| parts.at(places.was(id)).remove_ports.push(id));
    whole.carriages.into_iter().for_each(|(id, rate)| parts.at(places.after.of(id)).carriages.push((id, rate)));
    whole.wires.into_iter().for_each(|wire| parts.at(places.after.of(wire[0])).wires.push(wire));
    whole.no_gro.into_iter().for_each(|id| parts.at(places.after.of(id)).no_gro.push(id));
    Spread { parts: parts.all, moving }
}

struct Parts {
    all: BTreeMap<NetworkId, Transaction>,
    policy: Arc<Policy>,
}

impl Parts {
    fn at(&mut self, network: NetworkId) -> &mut Transaction {
        let policy = &self.policy;
        self.all.entry(network).or_insert_with(|| Transaction::of(Arc::clone(policy)))
    }
}

enum Owner {
    One(NetworkId),
    /// Each has its part.
    Each,
}

fn owner(step: &Step, places: Places<'_>) -> Owner {
    Owner::One(match step {
        Step::SetSwitch(id, _) | Step::FlushFdb(id) | Step::SetAppliance(id, _) => places.after.of(*id),
        Step::RemoveSwitch(id) | Step::RemoveAppliance(id) => places.was(*id),
        Step::SetPort(id, _) => places.after.of(*id),
        Step::RemovePort(id) => places.was(*id),
        Step::SetRouter(id, _) => places.after.of(*id),
        Step::RemoveRouter(id) => places.was(*id),
        Step::FlushNeighbors(id) => places.after.of(*id),
        Step::SetMirrors(_) | Step::FlushNat | Step::SetServed(_) => return Owner::Each,
    })
}

/// A network's part of a step that is about several.
fn part_of(step: &Step, network: NetworkId, membership: &Membership) -> Option<Step> {
    match step {
        Step::SetMirrors(all) => {
            let here = all.iter().filter(|mirror| network_of(mirror, membership) == network);
            Some(Step::SetMirrors(here.cloned().collect()))
        }
        Step::SetServed(all) => {
            let here = all.iter().filter(|(interface, _)| membership.of(*interface) == network);
            Some(Step::SetServed(here.copied().collect()))
        }
        Step::FlushNat => Some(Step::FlushNat),
        Step::SetSwitch(..)
        | Step::RemoveSwitch(_)
        | Step::SetPort(..)
        | Step::RemovePort(_)
        | Step::SetRouter(..)
        | Step::RemoveRouter(_)
        | Step::SetAppliance(..)
        | Step::RemoveAppliance(_)
        | Step::FlushFdb(_)
        | Step::FlushNeighbors(_) => None,
    }
}

/// All that a mirror names is in one network.
fn network_of(mirror: &MirrorConfig, membership: &Membership) -> NetworkId {
    match (mirror.sources.first(), &mirror.sink) {
        (Some(source), _) => membership.of(source.port),
        (None, Sink::Port(port)) => membership.of(*port),
        (None, Sink::Erspan(interface, _)) => membership.of(*interface),
        (None, Sink::Handed(_) | Sink::HandedErspan(..)) => NetworkId::FIRST,
    }
}

#[cfg(test)]
mod tests {
    use weir_fabric::{PortConfig, SwitchConfig};
    use weir_wire::SwitchId;

    use super::*;

    fn kinds(transaction: &Transaction) -> Vec<&'static str> {
        let kind = |step: &Step| match step {
            Step::SetSwitch(..) => "set-switch",
            Step::RemoveSwitch(_) => "remove-switch",
            Step::SetPort(..) => "set-port",
            Step::RemovePort(_) => "remove-port",
            Step::SetServed(_) => "set-served",
            _ => "other",
        };
        transaction.steps.iter().map(kind).collect()
    }

    #[test]
    fn each_network_gets_its_part_and_all_get_the_policy() {
        let (a, b) = (NetworkId(0), NetworkId(1));
        let (mut before, mut after) = (Membership::default(), Membership::default());
        before.put(SwitchId(0), a);
        before.put(SwitchId(1), b);
        before.put(PortId(0), a);
        before.put(PortId(1), a);
        after.put(SwitchId(1), b);
        after.put(SwitchId(2), a);
        after.put(PortId(0), b);
        after.put(PortId(2), a);
        let steps = vec![
            Step::RemovePort(PortId(1)),
            Step::RemoveSwitch(SwitchId(0)),
            Step::SetSwitch(SwitchId(2), SwitchConfig::default()),
            Step::SetPort(PortId(0), PortConfig { switch: SwitchId(1), ..PortConfig::default() }),
            Step::SetPort(PortId(2), PortConfig { switch: SwitchId(2), ..PortConfig::default() }),
            Step::SetServed(Vec::new()),
        ];
        let (remove_ports, no_gro) = (vec![PortId(1)], vec![PortId(0), PortId(2)]);
        let whole = Transaction { steps, remove_ports, no_gro, ..Transaction::of(Arc::new(Policy::default())) };
        let spread = spread(whole, &[PortId(0)], Places { before: &before, after: &after, joined: &[] });
        assert_eq!(spread.moving, [(PortId(0), a, b)]);
        let [first, second] = [&spread.parts[&a], &spread.parts[&b]];
        assert_eq!(kinds(first), ["remove-port", "remove-switch", "set-switch", "set-port", "set-served"]);
        assert_eq!(first.remove_ports, [PortId(1)]);
        assert_eq!(kinds(second), ["set-port", "set-served"]);
        assert_eq!((&first.no_gro[..], &second.no_gro[..]), (&[PortId(2)][..], &[PortId(0)][..]));
        assert!(Arc::ptr_eq(&first.policy, &second.policy));
    }

    #[test]
    fn what_has_joined_is_removed_where_it_is_by_then() {
        let (mut before, after) = (Membership::default(), Membership::default());
        before.put(SwitchId(3), NetworkId(1));
        let whole = Transaction {
            steps: vec![Step::RemoveSwitch(SwitchId(3))],
            ..Transaction::of(Arc::new(Policy::default()))
        };
        let joined = [(NetworkId(1), NetworkId::FIRST)];
        let spread = spread(whole, &[], Places { before: &before, after: &after, joined: &joined });
        assert_eq!(kinds(&spread.parts[&NetworkId::FIRST]), ["remove-switch"]);
        assert_eq!(spread.parts.len(), 1);
    }
}
