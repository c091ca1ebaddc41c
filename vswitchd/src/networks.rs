//! Which switches, routers, appliances and ports form a network: whatever shares state while packets pass.
//!
//! Frames pass between switches by routers and by appliances; ports of a group with a rate or a quota draw on one account;
//! a mirror copies from its ports to another. What is joined by any of these is one network, and is wholly one worker's
//! ([`crate::worker`]). Pure: networks before and a desired state in, networks after out.
//!
//! What was one network stays one as long as the daemon runs, also where what joined it goes: its flows are together.
//! Limit: a number of networks; what comes beyond it becomes part of the network with the fewest ports.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::state::{Ids, Zones};
use crate::worker::{Membership, NetworkId};

/// What is in a network, by kind and name. What is kept together is told from what may change sides: ports and groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Member {
    Switch(String),
    Appliance(String),
    Router(String),
    Port(String),
    Group(String),
    Mirror(String),
}

impl Member {
    /// It stays with those that it was with.
    fn stays(&self) -> bool {
        match self {
            Member::Switch(_) | Member::Appliance(_) | Member::Router(_) => true,
            Member::Port(_) | Member::Group(_) | Member::Mirror(_) => false,
        }
    }
}

/// The networks of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    of: BTreeMap<Member, NetworkId>,
    /// Those that workers have, also without anything in them.
    made: BTreeSet<NetworkId>,
}

/// How networks change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regrouped {
    /// The networks after it.
    pub networks: Networks,
    /// Networks that are to be made.
    pub fresh: Vec<NetworkId>,
    /// Networks that become part of others: each with the one that it becomes part of.
    pub joined: Vec<(NetworkId, NetworkId)>,
}

impl Default for Networks {
    /// The first network alone, without anything in it.
    fn default() -> Networks {
        Networks { of: BTreeMap::new(), made: BTreeSet::from([NetworkId::FIRST]) }
    }
}

impl Networks {
    /// The networks of `desired`, `limit` at most.
    pub fn after(&self, desired: &Config, limit: usize) -> Regrouped {
        let mut sets = Sets::of(desired);
        // What was together stays together.
        let mut first_of: BTreeMap<NetworkId, &Member> = BTreeMap::new();
        for (member, network) in self.of.iter().filter(|(member, _)| member.stays()) {
            if !sets.has(member) {
                continue;
            }
            match first_of.get(network) {
                Some(first) => sets.join(first, member),
                None => drop(first_of.insert(*network, member)),
            }
        }
        let mut change =
            Regrouped { networks: Networks { of: BTreeMap::new(), made: self.made.clone() }, ..Default::default() };
        let mut groups = sets.groups();
        // Those that were there first, so that what comes takes what they leave.
        let known =
            |group: &Vec<Member>| group.iter().filter(|m| m.stays()).filter_map(|m| self.of.get(m).copied()).min();
        groups.sort_by_key(|group| (known(group).is_none(), known(group), group.iter().min().cloned()));
        for group in groups {
            let network = change.place(self, &group, limit);
            change.networks.of.extend(group.into_iter().map(|member| (member, network)));
        }
        for (from, _) in &change.joined {
            change.networks.made.remove(from);
        }
        change
    }

    /// A port's network.
    pub fn of_port(&self, name: &str) -> Option<NetworkId> {
        self.of.get(&Member::Port(name.to_owned())).copied()
    }

    /// The network of a switch, an appliance, a router or a port, whichever has the name.
    pub fn of_any(&self, name: &str) -> Option<NetworkId> {
        let name = || name.to_owned();
        let kinds = [Member::Switch(name()), Member::Appliance(name()), Member::Router(name()), Member::Port(name())];
        kinds.iter().find_map(|member| self.of.get(member).copied())
    }

    /// The networks that workers have, in order of their numbers.
    pub fn made(&self) -> impl Iterator<Item = NetworkId> + '_ {
        self.made.iter().copied()
    }

    /// The switches, appliances and routers of a network, and its ports, by name.
    pub fn members(&self, network: NetworkId) -> (Vec<&str>, Vec<&str>) {
        let (mut stays, mut ports) = (Vec::new(), Vec::new());
        for (member, _) in self.of.iter().filter(|(_, of)| **of == network) {
            match member {
                Member::Switch(name) | Member::Appliance(name) | Member::Router(name) => stays.push(name.as_str()),
                Member::Port(name) => ports.push(name.as_str()),
                Member::Group(_) | Member::Mirror(_) => {}
            }
        }
        (stays, ports)
    }

    /// What a network is called: the first of its switches, appliances or routers. `None` where it has nothing.
    pub fn name(&self, network: NetworkId) -> Option<&str> {
        self.members(network).0.first().copied()
    }

    /// The same by the numbers of `ids`, for whoever asks workers.
    pub fn membership(&self, config: &Config, ids: &Ids) -> Membership {
        let mut membership = Membership::of_networks(self.made());
        let zones = Zones::of(config, ids);
        for (member, &network) in &self.of {
            match member {
                Member::Switch(name) => ids.switch(name).into_iter().for_each(|id| membership.put(id, network)),
                Member::Appliance(name) => ids.appliance(name).into_iter().for_each(|id| membership.put(id, network)),
                Member::Port(name) => ids.port(name).into_iter().for_each(|id| membership.put(id, network)),
                Member::Router(name) => {
                    ids.router(name).into_iter().for_each(|id| membership.put(id, network));
                    zones.zone(name).into_iter().for_each(|id| membership.put(id, network));
                    let interfaces = ids.interfaces().filter(|(router, _, _)| router == name);
                    interfaces.for_each(|(_, _, id)| membership.put(id, network));
                }
                Member::Group(_) | Member::Mirror(_) => {}
            }
        }
        membership
    }
}

impl Regrouped {
    /// The network of a group of members that belong together.
    fn place(&mut self, before: &Networks, group: &[Member], limit: usize) -> NetworkId {
        let was: BTreeSet<NetworkId> =
            group.iter().filter(|member| member.stays()).filter_map(|member| before.of.get(member).copied()).collect();
        let ports = |network: &NetworkId| before.members(*network).1.len();
        let Some(keeps) = was.iter().copied().max_by_key(|network| (ports(network), std::cmp::Reverse(*network)))
        else {
            return self.fresh_place(before, limit);
        };
        self.joined.extend(was.into_iter().filter(|network| *network != keeps).map(|from| (from, keeps)));
        keeps
    }

    fn fresh_place(&mut self, before: &Networks, limit: usize) -> NetworkId {
        let taken = |network: &NetworkId| {
            before.of.values().any(|used| used == network) || self.networks.of.values().any(|used| used == network)
        };
        if let Some(&empty) = self.networks.made.iter().find(|network| !taken(network)) {
            return empty;
        }
        let mut numbers = (0..limit).filter_map(|number| u16::try_from(number).ok()).map(NetworkId);
        if let Some(free) = numbers.find(|number| !self.networks.made.contains(number)) {
            self.networks.made.insert(free);
            self.fresh.push(free);
            return free;
        }
        let gone = |network: &NetworkId| self.joined.iter().any(|(from, _)| from == network);
        let standing = self.networks.made.iter().filter(|network| !gone(network));
        let fewest = standing.min_by_key(|network| self.networks.members(**network).1.len());
        fewest.copied().unwrap_or(NetworkId::FIRST)
    }
}

/// Members that belong together, found by joining them two by two.
struct Sets {
    numbers: BTreeMap<Member, usize>,
    /// By number: another one of the same set, or itself.
    leads: Vec<usize>,
}

impl Sets {
    fn of(config: &Config) -> Sets {
        let mut sets = Sets { numbers: BTreeMap::new(), leads: Vec::new() };
        let on = |name: &str| match config.appliance(name) {
            Some(_) => Member::Appliance(name.to_owned()),
            None => Member::Switch(name.to_owned()),
        };
        config.switches.iter().for_each(|switch| sets.add(&Member::Switch(switch.name.clone())));
        for port in &config.ports {
            let member = Member::Port(port.name.clone());
            sets.join(&on(&port.switch), &member);
            let shares =
                |name: &&String| config.group(name).is_some_and(|group| group.rate.is_some() || group.quota.is_some());
            port.groups.iter().filter(shares).for_each(|name| sets.join(&member, &Member::Group(name.clone())));
        }
        for appliance in &config.appliances {
            let member = Member::Appliance(appliance.name.clone());
            sets.add(&member);
            appliance.inline.iter().for_each(|switch| sets.join(&member, &Member::Switch(switch.clone())));
            appliance.ports().for_each(|port| sets.join(&member, &Member::Port(port.to_owned())));
        }
        for router in &config.routers {
            let member = Member::Router(router.name.clone());
            sets.add(&member);
            router.interfaces.iter().for_each(|i| sets.join(&member, &Member::Switch(i.switch.clone())));
        }
        for mirror in &config.mirrors {
            let member = Member::Mirror(mirror.name.clone());
            let ports = mirror.ports.iter().chain(&mirror.port).map(|name| Member::Port(name.clone()));
            let switches = mirror.switches.iter().map(|name| on(name));
            let router = mirror.erspan.iter().filter_map(|to| to.router.clone()).map(Member::Router);
            ports.chain(switches).chain(router).for_each(|looked_at| sets.join(&member, &looked_at));
        }
        sets
    }

    fn has(&self, member: &Member) -> bool {
        self.numbers.contains_key(member)
    }

    fn add(&mut self, member: &Member) {
        self.number(member);
    }

    fn number(&mut self, member: &Member) -> usize {
        let fresh = self.leads.len();
        let number = *self.numbers.entry(member.clone()).or_insert(fresh);
        if number == fresh {
            self.leads.push(fresh);
        }
        number
    }

    /// The number that all of a set lead to.
    fn lead(&mut self, mut number: usize) -> usize {
        while self.leads[number] != number {
            self.leads[number] = self.leads[self.leads[number]];
            number = self.leads[number];
        }
        number
    }

    fn join(&mut self, a: &Member, b: &Member) {
        let (a, b) = (self.number(a), self.number(b));
        let (a, b) = (self.lead(a), self.lead(b));
        self.leads[a.max(b)] = a.min(b);
    }

    fn groups(mut self) -> Vec<Vec<Member>> {
        let mut groups: BTreeMap<usize, Vec<Member>> = BTreeMap::new();
        for (member, number) in std::mem::take(&mut self.numbers) {
            groups.entry(self.lead(number)).or_default().push(member);
        }
        // Groups and mirrors alone are nothing that a worker could have.
        groups.into_values().filter(|group| group.iter().any(Member::stays)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text).expect("parses")
    }

    fn of(networks: &Networks, names: &[&str]) -> Vec<Option<u16>> {
        names.iter().map(|name| networks.of_any(name).map(|network| network.0)).collect()
    }

    const TWO: &str = r#"
        switch = [{ name = "blue" }, { name = "red" }]
        port = [
            { name = "b1", switch = "blue", groups = ["all"], mem = {} },
            { name = "b2", switch = "blue", mem = {} },
            { name = "r1", switch = "red", groups = ["all"], mem = {} },
        ]
    "#;

    #[test]
    fn switches_that_nothing_joins_are_networks_of_their_own() {
        let change = Networks::default().after(&config(TWO), 16);
        assert_eq!(
            of(&change.networks, &["blue", "b1", "b2", "red", "r1"]),
            [Some(0), Some(0), Some(0), Some(1), Some(1)]
        );
        assert_eq!((change.fresh, change.joined), (vec![NetworkId(1)], vec![]));
        assert_eq!(change.networks.members(NetworkId(0)), (vec!["blue"], vec!["b1", "b2"]));
    }

    #[test]
    fn one_network_is_enough_where_there_is_one_worker() {
        let change = Networks::default().after(&config(TWO), 1);
        assert_eq!(of(&change.networks, &["blue", "red", "r1"]), [Some(0); 3]);
        assert_eq!(change.fresh, []);
    }

    #[test]
    fn whatever_lets_packets_or_accounts_pass_joins() {
        let joins = [
            "router = [{ name = \"x\", interface = [{ name = \"b\", switch = \"blue\" }, { name = \"r\", switch = \"red\" }] }]",
            "appliance = [{ name = \"x\", inline = [\"blue\", \"red\"] }]",
            "group = [{ name = \"all\", rate = { in = \"1g\" } }]",
            "group = [{ name = \"all\", quota = { flows = 5 } }]",
            "mirror = [{ name = \"x\", switches = [\"blue\"], to_port = \"r1\" }]",
        ];
        for join in joins {
            let change = Networks::default().after(&config(&format!("{TWO}\n{join}")), 16);
            assert_eq!(of(&change.networks, &["blue", "b1", "r1", "red"]), [Some(0); 4], "{join}");
        }
        let apart = "group = [{ name = \"all\", share = { weight = 2 } }]";
        let change = Networks::default().after(&config(&format!("{TWO}\n{apart}")), 16);
        assert_eq!(of(&change.networks, &["blue", "red"]), [Some(0), Some(1)], "a share is of each port by itself");
    }

    #[test]
    fn a_join_keeps_the_larger_network_and_outlives_what_joined() {
        let before = Networks::default().after(&config(TWO), 16).networks;
        let joined = config(&format!("{TWO}\nappliance = [{{ name = \"x\", inline = [\"red\", \"blue\"] }}]"));
        let change = before.after(&joined, 16);
        assert_eq!(change.joined, [(NetworkId(1), NetworkId(0))], "blue has more ports");
        assert_eq!(change.networks.made().collect::<Vec<_>>(), [NetworkId(0)]);
        let after = change.networks.after(&config(TWO), 16);
        assert_eq!(of(&after.networks, &["blue", "red"]), [Some(0), Some(0)]);
        assert_eq!((after.fresh.len(), after.joined.len()), (0, 0));
    }

    #[test]
    fn the_first_network_may_go_like_others() {
        let more = TWO.replace("name = \"b2\", switch = \"blue\"", "name = \"b2\", switch = \"red\"");
        let before = Networks::default().after(&config(&more), 16).networks;
        let joined = config(&format!("{more}\nappliance = [{{ name = \"x\", inline = [\"red\", \"blue\"] }}]"));
        let change = before.after(&joined, 16);
        assert_eq!(change.joined, [(NetworkId(0), NetworkId(1))], "red has more ports");
        let ids = Ids::default().after(&joined);
        let membership = change.networks.membership(&joined, &ids);
        assert_eq!(membership.networks().collect::<Vec<_>>(), [NetworkId(1)]);
        assert_eq!(membership.of(ids.port("b1").expect("known")), NetworkId(1));
    }

    #[test]
    fn a_port_changes_networks_and_joins_nothing() {
        let before = Networks::default().after(&config(TWO), 16).networks;
        let moved = TWO.replace("name = \"b2\", switch = \"blue\"", "name = \"b2\", switch = \"red\"");
        let change = before.after(&config(&moved), 16);
        assert_eq!(of(&change.networks, &["blue", "b1", "b2", "red"]), [Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!(change.joined, []);
    }

    #[test]
    fn a_network_that_is_left_empty_serves_the_next_that_comes() {
        let before = Networks::default().after(&config(TWO), 16).networks;
        let without = before.after(&config("switch = [{ name = \"red\" }]"), 16).networks;
        assert_eq!((of(&without, &["red"]), without.name(NetworkId(0))), (vec![Some(1)], None));
        let change = without.after(&config("switch = [{ name = \"red\" }, { name = \"green\" }]"), 16);
        assert_eq!((of(&change.networks, &["green"]), change.fresh.len()), (vec![Some(0)], 0));
    }

    #[test]
    fn beyond_the_limit_networks_are_shared() {
        let many: Vec<String> = (0..10).map(|n| format!("{{ name = \"s{n}\" }}")).collect();
        let change = Networks::default().after(&config(&format!("switch = [{}]", many.join(", "))), 3);
        let numbers: BTreeSet<u16> = change.networks.of.values().map(|network| network.0).collect();
        assert_eq!(numbers, BTreeSet::from([0, 1, 2]));
    }
}
