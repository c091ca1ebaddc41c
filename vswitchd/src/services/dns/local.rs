//! The names that are known here: those of guests, in both directions, and those the state gives.
//!
//! A name in the guests' domain is, in this order: a record of the state, a host with an address of its own, a port
//! (the guests behind it), or the name that a guest gave itself. The domain and the networks served are ours: what is
//! not known in them does not exist. Names of one label are ours too, so that nobody outside hears of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnetwork::IpNetwork;

use super::super::leases::{Leases, Place};
use super::super::served::{fully_qualified, place};
use super::message::{Answer, Question};
use crate::config::{Dns, Router};

/// Seconds that names of guests may be remembered by whoever asked, and names of the state.
const GUEST_TTL: u32 = 30;
const RECORD_TTL: u32 = 300;
/// Aliases that are followed.
const ALIASES_MAX: usize = 8;

/// What a name of the state stands for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    addresses: Vec<IpAddr>,
    texts: Vec<String>,
    alias: Option<Name>,
}

/// The names of a router.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The router.
    pub router: String,
    /// What is wanted.
    pub config: Dns,
    domain: Option<Name>,
    records: BTreeMap<Name, Entry>,
    reverse: BTreeMap<IpAddr, Name>,
    ports: BTreeMap<String, String>,
    places: Vec<Place>,
    networks: Vec<IpNetwork>,
}

/// What is known of a name here.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// The answer.
    Here(Answer),
    /// Others are to be asked, for this name; what is known already comes before their answer.
    Elsewhere(Name, Vec<Record>),
}

impl Names {
    /// The names that a router serves; `None` where it serves none. `ports` are the names of all ports.
    pub fn of<'a>(router: &Router, ports: impl Iterator<Item = &'a str>) -> Option<Names> {
        let config = router.dns.clone()?;
        let domain = config.domain.as_ref().and_then(|domain| Name::from_ascii(domain).ok());
        let domain = domain.map(|domain| fully_qualified(domain.to_lowercase()));
        let mut names = Names { router: router.name.clone(), config, domain, ..Names::default() };
        for record in names.config.records.clone() {
            let Some(name) = names.whole(&record.name) else { continue };
            record.addresses.iter().for_each(|address| drop(names.reverse.insert(*address, name.clone())));
            let alias = record.alias_of.as_ref().and_then(|alias| names.whole(alias));
            let entry = names.records.entry(name).or_default();
            entry.addresses.extend(record.addresses);
            entry.texts.extend(record.text);
            entry.alias = entry.alias.take().or(alias);
        }
        for interface in &router.interfaces {
            names.places.push(place(&router.name, &interface.name));
            if router.serves_names(interface) {
                names.networks.extend(&interface.addresses);
            }
            let hosts =
                interface.dhcp.iter().flat_map(|d| &d.hosts).chain(interface.dhcp6.iter().flat_map(|d| &d.hosts));
            for (name, address) in hosts.filter_map(|host| Some((host.name.as_ref()?, host.address?))) {
                let Some(name) = names.whole(name) else { continue };
                names.reverse.entry(address).or_insert(name.clone());
                names.records.entry(name).or_default().addresses.push(address);
            }
        }
        names.ports = ports.map(|port| (port.to_ascii_lowercase(), port.to_owned())).collect();
        Some(names)
    }

    /// Names that guests may not take for themselves.
    pub fn reserved(&self) -> BTreeSet<String> {
        let first = |name: &Name| name.iter().next().map(|label| String::from_utf8_lossy(label).into_owned());
        let local = self.records.keys().filter(|name| self.domain.as_ref().is_some_and(|domain| domain.zone_of(name)));
        local.filter_map(first).chain(self.ports.keys().cloned()).collect()
    }

    /// A name as people write it, from the root on: without a dot it is of the guests' domain.
    fn whole(&self, text: &str) -> Option<Name> {
        let name = Name::from_ascii(text).ok()?.to_lowercase();
        match &self.domain {
            Some(domain) if name.num_labels() == 1 && !text.ends_with('.') => name.append_domain(domain).ok(),
            _ => Some(fully_qualified(name)),
        }
    }

    /// What is known here of what is asked.
    pub fn look_up(&self, question: &Question, leases: &Leases, now_s: u64) -> Known {
        let (mut name, kind) = (question.name.clone(), question.query.query_type);
        let mut found = Vec::new();
        for _ in 0..ALIASES_MAX {
            let Some(entry) = self.records.get(&name) else { break };
            let Some(alias) = entry.alias.clone().filter(|_| kind != RecordType::CNAME) else {
                found.extend(entry.records(&name, kind));
                return self.here(found);
            };
            found.push(Record::from_rdata(name, RECORD_TTL, RData::CNAME(CNAME(alias.clone()))));
            name = alias;
        }
        if let Some(address) = address_of(&name) {
            return self.backwards(name, address, kind, leases, now_s);
        }
        let Some(label) = self.label(&name, kind) else {
            return match self.domain.as_ref().is_some_and(|domain| domain.zone_of(&name)) {
                true if self.domain.as_ref() == Some(&name) => self.apex(kind),
                true => self.unknown(),
                false => Known::Elsewhere(name, found),
            };
        };
        let held: Vec<IpAddr> = match self.ports.get(&label) {
            Some(port) => {
                let at = |place: &'_ Place| {
                    let families = [true, false].into_iter();
                    let held = families.flat_map(|v4| leases.of_port(place, port, v4, now_s));
                    held.map(|lease| lease.address).collect::<Vec<_>>()
                };
                self.places.iter().flat_map(at).collect()
            }
            None => leases.named(&self.router, &label, now_s).map(|lease| lease.address).collect(),
        };
        if held.is_empty() {
            return if found.is_empty() { self.unknown() } else { self.here(found) };
        }
        let owner = Entry { addresses: held, ..Entry::default() };
        found.extend(owner.records(&name, kind).map(|mut record| {
            record.ttl = GUEST_TTL;
            record
        }));
        self.here(found)
    }

    /// The label of a name that can only be a guest's: one label below the domain, or an address of one label alone.
    fn label(&self, name: &Name, kind: RecordType) -> Option<String> {
        let below = self
            .domain
            .as_ref()
            .is_some_and(|domain| domain.zone_of(name) && name.num_labels() == domain.num_labels() + 1);
        let alone = name.num_labels() == 1 && matches!(kind, RecordType::A | RecordType::AAAA);
        let label = name.iter().next().filter(|_| below || alone)?;
        Some(String::from_utf8_lossy(label).into_owned())
    }

    /// The name of an address, where the address is ours.
    fn backwards(&self, name: Name, address: IpAddr, kind: RecordType, leases: &Leases, now_s: u64) -> Known {
        let held = || self.places.iter().filter_map(|place| leases.get(place, address)).find(|l| l.is_live(now_s));
        let guest = || {
            let lease = held()?;
            let port = || self.whole(&lease.port.to_ascii_lowercase());
            lease.name.as_ref().and_then(|name| self.whole(name)).or_else(port)
        };
        match self.reverse.get(&address).cloned().or_else(guest) {
            Some(owner) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
                self.here(vec![Record::from_rdata(name, GUEST_TTL, RData::PTR(PTR(owner)))])
            }
            Some(_) => self.here(Vec::new()),
            None if self.networks.iter().any(|network| network.contains(address)) => self.unknown(),
            None => Known::Elsewhere(name, Vec::new()),
        }
    }

    fn apex(&self, kind: RecordType) -> Known {
        let soa = (kind == RecordType::SOA).then(|| self.authority()).flatten();
        self.here(soa.into_iter().collect())
    }

    fn here(&self, answers: Vec<Record>) -> Known {
        let authorities = if answers.is_empty() { self.authority().into_iter().collect() } else { Vec::new() };
        Known::Here(Answer { authoritative: true, answers, authorities, ..Answer::default() })
    }

    fn unknown(&self) -> Known {
        let authorities = self.authority().into_iter().collect();
        let code = ResponseCode::NXDomain;
        Known::Here(Answer { code, authoritative: true, authorities, ..Answer::default() })
    }

    /// Who speaks for the guests' domain: how long nobody needs to ask again for what does not exist.
    fn authority(&self) -> Option<Record> {
        let domain = self.domain.clone()?;
        let master = domain.prepend_label("hostmaster").ok()?;
        let soa = SOA::new(domain.clone(), master, 1, 3600, 600, 86_400, GUEST_TTL);
        Some(Record::from_rdata(domain, GUEST_TTL, RData::SOA(soa)))
    }
}

impl Entry {
    fn records<'a>(&'a self, name: &'a Name, kind: RecordType) -> impl Iterator<Item = Record> + 'a {
        let wants = move |own: RecordType| kind == own || kind == RecordType::ANY;
        let addresses = self.addresses.iter().filter_map(move |address| match address {
            IpAddr::V4(v4) if wants(RecordType::A) => Some(RData::A(A(*v4))),
            IpAddr::V6(v6) if wants(RecordType::AAAA) => Some(RData::AAAA(AAAA(*v6))),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        let texts = self.texts.iter().filter(move |_| wants(RecordType::TXT));
        let texts = texts.map(|text| RData::TXT(TXT::new(vec![text.clone()])));
        let alias = self.alias.iter().filter(move |_| wants(RecordType::CNAME));
        let alias = alias.map(|alias| RData::CNAME(CNAME(alias.clone())));
        addresses.chain(texts).chain(alias).map(|data| Record::from_rdata(name.clone(), RECORD_TTL, data))
    }
}

/// The address that a name of the reverse tree stands for.
fn address_of(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}
