//! Which hosts do what: a choice for each network, the longest prefix counts.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// A choice for all hosts, and others for those of some networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts<C> {
    usual: C,
    /// The longest prefixes first.
    networks: Vec<(IpNetwork, C)>,
}

impl<C: Copy> Hosts<C> {
    /// One choice for all hosts.
    pub fn all(usual: C) -> Hosts<C> {
        Hosts { usual, networks: Vec::new() }
    }

    /// Another one for a network. The network of all IPv4 hosts stands for all hosts.
    pub fn set(&mut self, network: IpNetwork, choice: C) {
        if network.prefix() == 0 && network.is_ipv4() {
            self.usual = choice;
            return;
        }
        let at = self.networks.partition_point(|(known, _)| known.prefix() >= network.prefix());
        self.networks.insert(at, (network, choice));
    }

    /// The choice for a host.
    pub fn of(&self, host: IpAddr) -> C {
        self.networks.iter().find(|(network, _)| network.contains(host)).map_or(self.usual, |&(_, choice)| choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts_whatever_the_order() {
        let set = [("10.0.0.0/8", 1), ("10.1.2.3", 3), ("0.0.0.0/0", 9), ("10.1.0.0/16", 2), ("fd00::/8", 4)];
        for turn in 0..set.len() {
            let mut hosts = Hosts::all(0);
            let mut order = set;
            order.rotate_left(turn);
            order.iter().for_each(|&(network, choice)| hosts.set(network.parse().unwrap(), choice));
            let of = |host: &str| hosts.of(host.parse().unwrap());
            assert_eq!([of("10.9.9.9"), of("10.1.9.9"), of("10.1.2.3"), of("fd00::1")], [1, 2, 3, 4]);
            assert_eq!([of("192.0.2.1"), of("2001:db8::1")], [9, 9]);
        }
    }
}
