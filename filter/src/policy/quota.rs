//! What guests may open: limits of ports and of groups of ports, and which guests a SYN proxy stands before.

use weir_wire::PortId;

/// What one port, or the ports of a group together, may open. 0 stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Flows at a time.
    pub flows: u32,
    /// New flows a second; a second's worth may come at once.
    pub new_flows: u32,
    /// TCP connections that wait for an answer or for its acknowledgment.
    pub half_open: u32,
}

/// Whose flows are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// "port NAME" or "group NAME", for people; unique.
    pub name: String,
    /// The ports.
    pub ports: Vec<PortId>,
    /// What they may open.
    pub quota: Quota,
}

/// When the SYN proxy answers in a guest's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynProxy {
    /// From so many half-open connections toward the guest on; 0: always.
    pub half_open: u32,
}

/// The accounts and proxies of a policy, by port.
#[derive(Debug, Default)]
pub struct Accounts {
    list: Vec<Account>,
    /// Places in the list.
    of: Vec<Vec<u16>>,
    proxies: Vec<Option<SynProxy>>,
}

impl Accounts {
    /// Those of a stated policy.
    pub(super) fn new(accounts: &[Account], proxies: &[(PortId, SynProxy)]) -> Accounts {
        let mut of: Vec<Vec<u16>> = Vec::new();
        for (place, account) in accounts.iter().enumerate() {
            for port in &account.ports {
                let index = usize::from(port.0);
                if index >= of.len() {
                    of.resize_with(index + 1, Vec::new);
                }
                if let (Some(places), Ok(place)) = (of.get_mut(index), u16::try_from(place)) {
                    places.push(place);
                }
            }
        }
        let mut by_port = Vec::new();
        for (port, proxy) in proxies {
            let index = usize::from(port.0);
            if index >= by_port.len() {
                by_port.resize(index + 1, None);
            }
            if let Some(place) = by_port.get_mut(index) {
                *place = Some(*proxy);
            }
        }
        Accounts { list: accounts.to_vec(), of, proxies: by_port }
    }

    /// All accounts.
    pub fn list(&self) -> &[Account] {
        &self.list
    }

    /// The places, in [`Accounts::list`], of the accounts that a port's flows count in.
    #[inline]
    pub fn of(&self, port: PortId) -> &[u16] {
        self.of.get(usize::from(port.0)).map_or(&[], Vec::as_slice)
    }

    /// The SYN proxy before a port.
    #[inline]
    pub fn proxy(&self, port: PortId) -> Option<SynProxy> {
        self.proxies.get(usize::from(port.0)).copied().flatten()
    }

    /// Some port has a SYN proxy.
    #[inline]
    pub fn has_proxies(&self) -> bool {
        !self.proxies.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_counts_in_its_own_account_and_in_those_of_its_groups() {
        let account = |name: &str, ports: &[u16]| Account {
            name: name.into(),
            ports: ports.iter().map(|&port| PortId(port)).collect(),
            quota: Quota::default(),
        };
        let accounts = [account("port a", &[3]), account("group web", &[3, 9])];
        let accounts = Accounts::new(&accounts, &[(PortId(9), SynProxy { half_open: 5 })]);
        assert_eq!((accounts.of(PortId(3)), accounts.of(PortId(9))), (&[0, 1][..], &[1][..]));
        assert!(accounts.of(PortId(4)).is_empty() && accounts.of(PortId(4000)).is_empty());
        assert_eq!((accounts.proxy(PortId(9)), accounts.proxy(PortId(3))), (Some(SynProxy { half_open: 5 }), None));
        assert!(accounts.has_proxies());
    }
}
