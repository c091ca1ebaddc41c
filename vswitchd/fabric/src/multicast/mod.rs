//! Multicast snooping: frames to a group go to the ports behind which somebody has joined it (RFC 4541).
//!
//! A switch that snoops reads what hosts and routers say about groups ([`message`]), remembers for each VLAN and group
//! the ports with members, and the ports with multicast routers, which get every group. Reports are passed on to routers
//! only, so that no host keeps its own back because it heard another's.
//!
//! It never comes between neighbours: groups of the link itself (224.0.0.0/24, ff02::/16 with neighbour discovery) are
//! flooded whatever is known, and so is everything while nobody asks hosts for their groups: without a querier
//! memberships would fade, so none is trusted. The switch can ask by itself ([`query`]); of several queriers the one
//! with the lowest address asks.
//!
//! Limits: groups of a switch and of a port ([`SnoopingConfig`]); at the limit a join is refused and counted, and its
//! group counts as joined by nobody new. [`ROUTERS`] router ports, [`QUERIERS`] VLANs with a querier.

pub(crate) mod message;
mod query;
mod state;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::{Instant, L3, MacAddr, Packet, PortId, Vid};

pub use state::{Group, Member, Querier, RouterPort, SnoopingConfig, SnoopingState, SnoopingStats};

use crate::coarse;
use message::Message;
use query::{Asking, ROBUSTNESS};

/// Router ports that are remembered, over all VLANs.
pub const ROUTERS: usize = 1024;
/// Queriers that are remembered: one a VLAN and IP version.
pub const QUERIERS: usize = 512;
/// Questions about one group that wait to be asked again.
const QUESTIONS: usize = 64;
/// A router that says no more is one for so long (RFC 7761, 4.11: 3.5 times 30 s).
const HELLO_S: u32 = 105;
/// After a host has left, others on its port have so long to object.
const LAST_MEMBER_S: u32 = 2;

/// Where a frame to a group goes.
#[derive(Debug)]
pub(crate) enum Reach<'a> {
    /// To everybody.
    All,
    /// To the members, if any, and to the routers of its VLAN.
    Some(&'a [(PortId, u32)]),
    /// To the routers of its VLAN; the switch has heard it itself.
    Routers,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    address: IpAddr,
    port: PortId,
    until_s: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V4,
    V6,
}

impl Version {
    fn of(address: IpAddr) -> Version {
        if address.is_ipv4() { Version::V4 } else { Version::V6 }
    }
}

/// A question about one group that is to be asked again.
#[derive(Clone, Copy, Debug)]
struct Question {
    vid: Vid,
    port: PortId,
    group: IpAddr,
    at_s: u32,
}

/// A frame of the switch's own: into a VLAN, or by one port of it.
pub(crate) type Asked = (Vid, Option<PortId>, Vec<u8>);

/// What one switch has heard about groups.
#[derive(Debug)]
pub(crate) struct Snooping {
    config: SnoopingConfig,
    mac: MacAddr,
    /// By VLAN and group: ports, in order, and the second at which each is forgotten.
    groups: BTreeMap<(Vid, IpAddr), Vec<(PortId, u32)>>,
    /// How many groups a port is in.
    counts: BTreeMap<PortId, usize>,
    /// In order; `u32::MAX` for those that are configured.
    routers: Vec<(Vid, PortId, u32)>,
    always: Vec<PortId>,
    never: Vec<PortId>,
    queriers: BTreeMap<(Vid, Version), Heard>,
    /// From when on what is known can be trusted.
    trusted_s: BTreeMap<(Vid, Version), u32>,
    questions: Vec<Question>,
    next_general_s: u32,
    general_sent: u32,
    next_age_s: u32,
    stats: SnoopingStats,
}

impl Snooping {
    pub fn new(config: SnoopingConfig, mac: MacAddr, now: Instant) -> Snooping {
        Snooping {
            config,
            mac,
            groups: BTreeMap::new(),
            counts: BTreeMap::new(),
            routers: Vec::new(),
            always: Vec::new(),
            never: Vec::new(),
            queriers: BTreeMap::new(),
            trusted_s: BTreeMap::new(),
            questions: Vec::new(),
            next_general_s: coarse(now),
            general_sent: 0,
            next_age_s: 0,
            stats: SnoopingStats::default(),
        }
    }

    /// Takes other settings; what is known stays.
    pub fn set(&mut self, config: SnoopingConfig, now: Instant) {
        if self.config.querier != config.querier {
            (self.next_general_s, self.general_sent) = (coarse(now), 0);
            self.trusted_s.clear();
        }
        self.config = config;
    }

    /// What is configured of a port.
    pub fn set_port(&mut self, port: PortId, router: RouterPort) {
        self.always.retain(|&other| other != port);
        self.never.retain(|&other| other != port);
        match router {
            RouterPort::Learn => {}
            RouterPort::Always => self.always.push(port),
            RouterPort::Never => {
                self.never.push(port);
                self.routers.retain(|&(_, other, _)| other != port);
            }
        }
        self.always.sort_unstable();
    }

    /// Asks hosts anew: somebody has come.
    pub fn ask_soon(&mut self, now: Instant) {
        (self.next_general_s, self.general_sent) = (coarse(now), 0);
    }

    /// Forgets what was heard by a port.
    pub fn forget(&mut self, port: PortId) {
        self.groups.retain(|_, members| {
            members.retain(|&(member, _)| member != port);
            !members.is_empty()
        });
        self.counts.remove(&port);
        self.routers.retain(|&(_, router, _)| router != port);
        self.queriers.retain(|_, heard| heard.port != port);
        self.questions.retain(|question| question.port != port);
    }

    /// Hears a packet that was admitted.
    pub fn hear(&mut self, now: Instant, packet: &Packet) {
        let Some(message) = message::read(packet) else { return };
        let (now_s, vid, port) = (coarse(now), packet.vid, packet.port);
        match message {
            Message::Query { source, group, response_s } => {
                self.stats.queries += 1;
                if group.is_none() && !self.never.contains(&port) {
                    self.hear_query(now_s, vid, port, source, response_s);
                }
            }
            Message::Report(changes) => {
                self.stats.reports += 1;
                for (group, joins) in changes.into_iter().filter(|&(group, _)| !is_link_local(group)) {
                    if joins { self.join(now_s, vid, port, group) } else { self.leave(now_s, vid, port, group) }
                }
            }
            Message::Hello if !self.never.contains(&port) => self.add_router(vid, port, now_s + HELLO_S),
            Message::Hello => {}
            Message::Broken => self.stats.broken += 1,
        }
    }

    fn lifetime_s(&self) -> u32 {
        self.config.interval_s * u32::from(ROBUSTNESS) + self.config.response_s
    }

    fn hear_query(&mut self, now_s: u32, vid: Vid, port: PortId, source: IpAddr, response_s: u32) {
        // A question from nowhere is a proxy's: it wants answers, but is no router (RFC 4541, 2.1.1).
        let until_s = now_s + self.lifetime_s();
        if !source.is_unspecified() {
            self.add_router(vid, port, until_s);
        }
        let key = (vid, Version::of(source));
        let known = self.queriers.get(&key).filter(|heard| heard.until_s > now_s).map(|heard| heard.address);
        let wins = known.is_none_or(|known| source <= known || known.is_unspecified());
        if wins && (self.queriers.len() < QUERIERS || self.queriers.contains_key(&key)) {
            self.next_age_s = self.next_age_s.min(until_s);
            self.queriers.insert(key, Heard { address: source, port, until_s });
        }
        self.trusted_s.entry(key).or_insert(now_s + response_s + 1);
    }

    fn add_router(&mut self, vid: Vid, port: PortId, until_s: u32) {
        self.next_age_s = self.next_age_s.min(until_s);
        match self.routers.binary_search_by_key(&(vid, port), |&(vid, port, _)| (vid, port)) {
            Ok(at) => self.routers.get_mut(at).into_iter().for_each(|router| router.2 = until_s.max(router.2)),
            Err(at) if self.routers.len() < ROUTERS => self.routers.insert(at, (vid, port, until_s)),
            Err(_) => self.stats.refused += 1,
        }
    }

    fn join(&mut self, now_s: u32, vid: Vid, port: PortId, group: IpAddr) {
        let until_s = now_s + self.lifetime_s();
        self.questions.retain(|q| (q.vid, q.port, q.group) != (vid, port, group));
        let is_full = self.groups.len() >= self.config.groups_max;
        let members = match self.groups.get_mut(&(vid, group)) {
            Some(members) => members,
            None if is_full => return self.stats.refused += 1,
            None => self.groups.entry((vid, group)).or_default(),
        };
        match members.binary_search_by_key(&port, |&(port, _)| port) {
            Ok(at) => members.get_mut(at).into_iter().for_each(|member| member.1 = until_s),
            Err(at) => {
                let count = self.counts.entry(port).or_default();
                if *count < self.config.port_groups_max {
                    *count += 1;
                    members.insert(at, (port, until_s));
                } else {
                    self.stats.refused += 1;
                    if members.is_empty() {
                        self.groups.remove(&(vid, group));
                    }
                }
            }
        }
        self.next_age_s = self.next_age_s.min(until_s);
    }

    fn leave(&mut self, now_s: u32, vid: Vid, port: PortId, group: IpAddr) {
        let fast = self.config.fast_leave;
        let Some(members) = self.groups.get_mut(&(vid, group)) else { return };
        let Ok(at) = members.binary_search_by_key(&port, |&(port, _)| port) else { return };
        let until_s = if fast { now_s } else { now_s + LAST_MEMBER_S };
        members.get_mut(at).into_iter().for_each(|member| member.1 = member.1.min(until_s));
        self.next_age_s = self.next_age_s.min(until_s);
        if !fast && self.asks(now_s, vid, Version::of(group)) && self.questions.len() < QUESTIONS {
            self.questions.push(Question { vid, port, group, at_s: now_s });
        }
        if fast {
            self.age(now_s);
        }
    }

    /// The switch is the one that asks in a VLAN.
    fn asks(&self, now_s: u32, vid: Vid, version: Version) -> bool {
        let Some(own) = self.config.querier else { return false };
        let own = match version {
            Version::V4 => IpAddr::V4(own),
            Version::V6 => IpAddr::V6(query::link_local(self.mac)),
        };
        let heard = self.queriers.get(&(vid, version)).filter(|heard| heard.until_s > now_s);
        heard.is_none_or(|heard| !own.is_unspecified() && (heard.address.is_unspecified() || own < heard.address))
    }

    /// What is known of a VLAN is complete: somebody asks, and hosts have had the time to answer.
    fn is_trusted(&self, now_s: u32, vid: Vid, version: Version) -> bool {
        let asked = self.asks(now_s, vid, version)
            || self.queriers.get(&(vid, version)).is_some_and(|heard| heard.until_s > now_s);
        asked && self.trusted_s.get(&(vid, version)).is_some_and(|&from_s| from_s <= now_s)
    }

    /// Where a packet to a multicast MAC goes.
    pub fn reach(&self, now_s: u32, packet: &Packet) -> Reach<'_> {
        let Some((_, group)) = packet.addresses() else { return Reach::All };
        let version = match packet.headers.l3_kind {
            L3::Ipv4 => Version::V4,
            L3::Ipv6 => Version::V6,
            L3::Arp | L3::Other => return Reach::All,
        };
        if !group.is_multicast() || !self.is_trusted(now_s, packet.vid, version) {
            return Reach::All;
        }
        if message::is_report(packet) {
            return Reach::Routers;
        }
        if is_link_local(group) {
            return Reach::All;
        }
        match self.groups.get(&(packet.vid, group)) {
            Some(members) => Reach::Some(members),
            None if self.config.flood_unregistered => Reach::All,
            None => Reach::Some(&[]),
        }
    }

    /// The ports with routers in a VLAN.
    pub fn routers(&self, vid: Vid) -> impl Iterator<Item = PortId> {
        let heard = self.routers.iter().filter(move |router| router.0 == vid).map(|&(_, port, _)| port);
        heard.chain(self.always.iter().copied())
    }

    /// Forgets who is due, says what is to be asked in `vids`; returns when it next wants to be called.
    pub fn tick(&mut self, now: Instant, vids: &[Vid], asked: &mut Vec<Asked>) -> Option<Instant> {
        let now_s = coarse(now);
        if self.next_age_s <= now_s {
            self.age(now_s);
        }
        let mut next_s = self.next_age_s;
        if self.config.querier.is_some() {
            if self.next_general_s <= now_s {
                self.ask_all(now_s, vids, asked);
            }
            self.ask_again(now_s, asked);
            next_s = next_s.min(self.next_general_s);
            next_s = self.questions.iter().map(|question| question.at_s).fold(next_s, u32::min);
        }
        (next_s != u32::MAX).then(|| Instant::from_secs(u64::from(next_s)))
    }

    fn asking(&self, response_s: u32) -> Asking {
        Asking { mac: self.mac, response_s, interval_s: self.config.interval_s }
    }

    /// The general questions: at first in quick succession (RFC 3376, 8.6 and 8.7).
    fn ask_all(&mut self, now_s: u32, vids: &[Vid], asked: &mut Vec<Asked>) {
        let Some(source) = self.config.querier else { return };
        let asking = self.asking(self.config.response_s);
        for &vid in vids {
            for version in [Version::V4, Version::V6] {
                if !self.asks(now_s, vid, version) {
                    continue;
                }
                let frame = match version {
                    Version::V4 => query::igmp(asking, source, None),
                    Version::V6 => query::mld(asking, None),
                };
                asked.push((vid, None, frame));
                self.stats.asked += 1;
                self.trusted_s.entry((vid, version)).or_insert(now_s + self.config.response_s + 1);
            }
        }
        self.general_sent = self.general_sent.saturating_add(1);
        let early = self.general_sent < u32::from(ROBUSTNESS);
        let pause_s = if early { self.config.interval_s / 4 } else { self.config.interval_s };
        self.next_general_s = now_s + pause_s.max(1);
    }

    /// Questions about groups that somebody has left: twice, a second apart.
    fn ask_again(&mut self, now_s: u32, asked: &mut Vec<Asked>) {
        let (asking, source) = (self.asking(1), self.config.querier.unwrap_or(Ipv4Addr::UNSPECIFIED));
        let (stats, groups) = (&mut self.stats, &self.groups);
        self.questions.retain_mut(|question| {
            if question.at_s > now_s {
                return true;
            }
            let Some(members) = groups.get(&(question.vid, question.group)) else { return false };
            let left = members.iter().find(|member| member.0 == question.port);
            let Some(&(_, until_s)) = left.filter(|member| member.1 <= now_s + LAST_MEMBER_S) else { return false };
            let frame = match question.group {
                IpAddr::V4(group) => query::igmp(asking, source, Some(group)),
                IpAddr::V6(group) => query::mld(asking, Some(group)),
            };
            asked.push((question.vid, Some(question.port), frame));
            stats.asked += 1;
            question.at_s = now_s + 1;
            question.at_s < until_s
        });
    }

    fn age(&mut self, now_s: u32) {
        let counts = &mut self.counts;
        self.groups.retain(|_, members| {
            members.retain(|&(port, until_s)| {
                let stays = until_s > now_s;
                if !stays && let Some(count) = counts.get_mut(&port) {
                    *count = count.saturating_sub(1);
                }
                stays
            });
            !members.is_empty()
        });
        counts.retain(|_, count| *count > 0);
        self.routers.retain(|router| router.2 > now_s);
        let gone: Vec<(Vid, Version)> =
            self.queriers.iter().filter(|(_, heard)| heard.until_s <= now_s).map(|(key, _)| *key).collect();
        for key in gone {
            self.queriers.remove(&key);
            // The next one begins anew.
            self.trusted_s.remove(&key);
            self.next_general_s = self.next_general_s.min(now_s);
        }
        let members = self.groups.values().flatten().map(|member| member.1);
        let routers = self.routers.iter().map(|router| router.2);
        let queriers = self.queriers.values().map(|heard| heard.until_s);
        self.next_age_s = members.chain(routers).chain(queriers).min().unwrap_or(u32::MAX);
    }

    /// All that is known.
    pub fn state(&self, now_s: u32, vids: &[Vid]) -> SnoopingState {
        let left = |until_s: u32| until_s.saturating_sub(now_s);
        let member = |&(port, until_s): &(PortId, u32)| Member { port, left_s: left(until_s) };
        let groups = self.groups.iter().map(|(&(vid, address), members)| Group {
            vid,
            address,
            members: members.iter().map(member).collect(),
        });
        let heard = self.routers.iter().map(|&(vid, port, until_s)| (vid, Member { port, left_s: left(until_s) }));
        let fixed = self.always.iter().map(|&port| (Vid(0), Member { port, left_s: u32::MAX }));
        let mut queriers: Vec<Querier> = self
            .queriers
            .iter()
            .filter(|(key, heard)| heard.until_s > now_s && !self.asks(now_s, key.0, key.1))
            .map(|(key, heard)| Querier { vid: key.0, address: heard.address, port: Some(heard.port) })
            .collect();
        for &vid in vids {
            let own = [
                (Version::V4, self.config.querier.map(IpAddr::V4)),
                (Version::V6, Some(IpAddr::V6(query::link_local(self.mac)))),
            ];
            for (version, address) in own {
                if let Some(address) = address.filter(|_| self.asks(now_s, vid, version)) {
                    queriers.push(Querier { vid, address, port: None });
                }
            }
        }
        queriers.sort_unstable_by_key(|querier| (querier.vid, querier.address));
        SnoopingState { groups: groups.collect(), routers: heard.chain(fixed).collect(), queriers, stats: self.stats }
    }
}

/// A group that does not leave its link, and is never kept from anybody on it.
pub(crate) fn is_link_local(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => {
            let [a, b, c, _] = group.octets();
            [a, b, c] == [224, 0, 0]
        }
        IpAddr::V6(group) => is_link_scope(group),
    }
}

/// Scopes 0 to 2: reserved, interface and link (RFC 7346, 2).
fn is_link_scope(group: Ipv6Addr) -> bool {
    group.segments()[0] & 0xff0f <= 0xff02
}
