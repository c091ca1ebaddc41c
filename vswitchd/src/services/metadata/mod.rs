//! What guests are told of themselves by HTTP at 169.254.169.254 and fd00:ec2::254, by the paths that EC2 and cloud-init's
//! NoCloud have made customary.
//!
//! Whom a request is from is known by the port it came in by: names, addresses, keys and user data are those of that
//! port's guest, whatever the request says. Requests that somebody has passed on (`X-Forwarded-For`) are refused, so that
//! a proxy inside a guest does not tell the world. Who wants a token gets one, which holds for its port and its time; it
//! is asked for where the state says so. [`http`] reads and writes. Pure: time and files are the caller's.
//!
//! Limits: requests of [`http::REQUEST_MAX`] bytes, user data of [`USER_DATA_MAX`].

use std::net::IpAddr;

use ring::hmac;

use super::guest_name::guest_name;
use super::leases::{Lease, Leases};
use super::served::{Guest, Host, Served};

pub mod http;
#[cfg(test)]
mod tests;

use http::{Answer, Code, Method, Request};

/// Bytes of user data; longer files are not told.
pub const USER_DATA_MAX: usize = 64 << 10;
/// Seconds that a token holds at most (EC2).
const TTL_MAX_S: u64 = 21_600;
/// Versions by which clients ask; all are the same.
const VERSIONS: [&str; 6] = ["1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"];

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests taken.
    pub requests: u64,
    /// Answered.
    pub answered: u64,
    /// There is no such thing.
    pub unknown: u64,
    /// Passed on by others, or without a token that holds.
    pub refused: u64,
    /// Without sense, or too long.
    pub malformed: u64,
    /// User data that could not be read.
    pub unreadable: u64,
    /// Connections for which there was no room.
    pub limited: u64,
}

/// What is known of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its port.
    pub port: String,
    /// Its name, with the domain where there is one.
    pub name: String,
    /// Its MAC.
    pub mac: String,
    /// Its addresses: of each family the one that it was given.
    pub addresses: (Option<IpAddr>, Option<IpAddr>),
    /// Keys that it lets in.
    pub keys: Vec<String>,
    /// The file of its user data.
    pub user_data: Option<String>,
    /// It is to show a token.
    pub requires_token: bool,
}

impl Facts {
    /// What is known of the guest with `guest.mac` behind a port; `None` where the interface tells nothing.
    pub fn of(served: &Served, leases: &Leases, guest: Guest<'_>, now_s: u64) -> Option<Facts> {
        let wanted = served.metadata.as_ref()?;
        let (v4, v6) = [true, false].map(|v4| lease_of(leases, served, &guest, v4, now_s)).into();
        let hosts4 = served.dhcp.iter().flat_map(|dhcp| hosts_of(&dhcp.hosts, &guest, v4));
        let hosts6 = served.dhcp6.iter().flat_map(|dhcp6| hosts_of(&dhcp6.hosts, &guest, v6));
        let hosts: Vec<&Host> = hosts4.chain(hosts6).collect();
        let address = |lease: Option<&Lease>, v4: bool| {
            let own = hosts.iter().filter_map(|host| host.address).find(|address| address.is_ipv4() == v4);
            lease.map(|lease| lease.address).or(own)
        };
        let given = hosts.iter().find_map(|host| host.name.clone());
        let leased = [v4, v6].into_iter().flatten().find_map(|lease| lease.name.clone());
        let name = given.or(leased).or_else(|| guest_name(guest.port)).unwrap_or_else(|| guest.port.to_owned());
        let domain = served.dhcp.as_ref().and_then(|dhcp| dhcp.domain.as_deref()).filter(|_| !name.contains('.'));
        let own_keys = hosts.iter().find(|host| !host.ssh_keys.is_empty()).map(|host| &host.ssh_keys);
        Some(Facts {
            port: guest.port.to_owned(),
            name: domain.map_or(name.clone(), |domain| format!("{name}.{}", domain.trim_end_matches('.'))),
            mac: guest.mac.to_string(),
            addresses: (address(v4, true), address(v6, false)),
            keys: own_keys.unwrap_or(&wanted.ssh_keys).clone(),
            user_data: hosts.iter().find_map(|host| host.user_data.clone()).or_else(|| wanted.user_data.clone()),
            requires_token: wanted.require_token,
        })
    }

    /// The things that are told, one by one.
    fn fact(&self, path: &[&str]) -> Option<String> {
        let keys = || self.keys.iter().enumerate();
        let number = |text: &str| keys().find(|(index, _)| index.to_string() == text).map(|(_, key)| key.clone());
        let address = |address: Option<IpAddr>| address.map(|address| address.to_string());
        match path {
            [] => {
                let v4 = self.addresses.0.is_some().then_some("local-ipv4");
                let v6 = self.addresses.1.is_some().then_some("ipv6");
                let keys = (!self.keys.is_empty()).then_some("public-keys/");
                let always = ["hostname", "instance-id", "local-hostname", "mac"].map(Some);
                let all = always.into_iter().chain([v4, v6, keys]).flatten();
                Some(all.collect::<Vec<_>>().join("\n"))
            }
            ["instance-id"] => Some(self.port.clone()),
            ["hostname" | "local-hostname"] => Some(self.name.clone()),
            ["mac"] => Some(self.mac.clone()),
            ["local-ipv4"] => address(self.addresses.0),
            ["ipv6"] => address(self.addresses.1),
            ["public-keys"] if !self.keys.is_empty() => {
                Some(keys().map(|(index, _)| format!("{index}=key-{index}")).collect::<Vec<_>>().join("\n"))
            }
            ["public-keys", index] => number(index).map(|_| "openssh-key".to_owned()),
            ["public-keys", index, "openssh-key"] => number(index),
            _ => None,
        }
    }

    /// All of it as NoCloud wants it: YAML, whose texts are written as those of JSON.
    fn document(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let mut lines = format!("instance-id: {}\nlocal-hostname: {}\n", text(&self.port), text(&self.name));
        if !self.keys.is_empty() {
            lines += "public-keys:\n";
            self.keys.iter().for_each(|key| lines += &format!("  - {}\n", text(key)));
        }
        lines
    }
}

/// The lease of a guest: that of its own MAC, else one of its port.
fn lease_of<'a>(leases: &'a Leases, served: &Served, guest: &Guest<'_>, v4: bool, now_s: u64) -> Option<&'a Lease> {
    let bound = || {
        let all = leases.of_port(&served.place, guest.port, v4, now_s);
        all.filter(|lease| lease.standing == super::leases::Standing::Bound)
    };
    bound().find(|lease| lease.mac == guest.mac).or_else(|| bound().next())
}

/// The entries of the state for a guest, known by its port: by the name that it gave itself only as it was given a lease.
fn hosts_of<'a>(hosts: &'a [Host], guest: &Guest<'a>, lease: Option<&'a Lease>) -> impl Iterator<Item = &'a Host> {
    let id = lease.and_then(|lease| lease.client.get(guest.port.len() + 1..)).unwrap_or(&[]);
    let guest = Guest { id, ..*guest };
    hosts.iter().filter(move |host| host.port.is_some() && host.is(&guest))
}

/// What tells guests of themselves.
#[derive(Debug)]
pub struct Desk {
    key: Option<hmac::Key>,
    /// What was counted.
    pub counters: Counters,
}

impl Desk {
    /// A desk whose tokens are made by `key`; without one there are none.
    pub fn new(key: Option<hmac::Key>) -> Desk {
        Desk { key, counters: Counters::default() }
    }

    /// Answers a request. `read` reads the file of user data.
    pub fn answer(
        &mut self,
        facts: &Facts,
        request: &Result<Request, Code>,
        now_s: u64,
        read: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Answer {
        let told = match request {
            Ok(request) => self.tell(facts, request, now_s, read),
            Err(code) => Err(*code),
        };
        let answer = told.unwrap_or_else(|code| Answer { code, content: Vec::new(), token_ttl_s: None });
        self.counters.requests += 1;
        let counter = match answer.code {
            Code::Ok => &mut self.counters.answered,
            Code::NotFound => &mut self.counters.unknown,
            Code::Unauthorized | Code::Forbidden => &mut self.counters.refused,
            Code::BadRequest | Code::MethodNotAllowed | Code::TooLong => &mut self.counters.malformed,
            Code::Unreadable => &mut self.counters.unreadable,
        };
        *counter += 1;
        answer
    }

    fn tell(
        &self,
        facts: &Facts,
        request: &Request,
        now_s: u64,
        read: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Answer, Code> {
        if request.is_forwarded {
            return Err(Code::Forbidden);
        }
        let path: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
        let is_token = path == ["latest", "api", "token"];
        match request.method {
            Method::Put if is_token => return self.token(facts, request, now_s),
            Method::Put => return Err(Code::MethodNotAllowed),
            Method::Get | Method::Head if is_token => return Err(Code::MethodNotAllowed),
            Method::Get | Method::Head => {}
        }
        match &request.token {
            Some(token) if !self.holds(facts, token, now_s) => return Err(Code::Unauthorized),
            None if facts.requires_token => return Err(Code::Unauthorized),
            Some(_) | None => {}
        }
        let user_data = |path: &String| read(path).ok_or(Code::Unreadable);
        let content = match &path[..] {
            [] => VERSIONS.join("\n").into_bytes(),
            ["meta-data"] => facts.document().into_bytes(),
            // NoCloud wants these two to be there.
            ["user-data"] => facts.user_data.as_ref().map(user_data).transpose()?.unwrap_or_default(),
            ["vendor-data"] => Vec::new(),
            [version, rest @ ..] if VERSIONS.contains(version) => match rest {
                [] if facts.user_data.is_some() => b"meta-data\nuser-data".to_vec(),
                [] => b"meta-data".to_vec(),
                ["user-data"] => user_data(facts.user_data.as_ref().ok_or(Code::NotFound)?)?,
                ["meta-data", fact @ ..] => facts.fact(fact).ok_or(Code::NotFound)?.into_bytes(),
                _ => return Err(Code::NotFound),
            },
            _ => return Err(Code::NotFound),
        };
        Ok(Answer { code: Code::Ok, content, token_ttl_s: None })
    }

    /// A token: when it ends, and what only we can make of that and of the port.
    fn token(&self, facts: &Facts, request: &Request, now_s: u64) -> Result<Answer, Code> {
        let ttl_s = request.ttl.as_ref().and_then(|ttl| ttl.parse::<u64>().ok());
        let ttl_s = ttl_s.filter(|ttl_s| (1..=TTL_MAX_S).contains(ttl_s)).ok_or(Code::BadRequest)?;
        let key = self.key.as_ref().ok_or(Code::Unreadable)?;
        let end = format!("{:016x}", now_s.saturating_add(ttl_s));
        let tag = hmac::sign(key, &signed(facts, &end));
        let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Answer { code: Code::Ok, content: (end + &tag).into_bytes(), token_ttl_s: Some(ttl_s) })
    }

    fn holds(&self, facts: &Facts, token: &str, now_s: u64) -> bool {
        let Some((end, tag)) = token.split_at_checked(16) else { return false };
        let (Some(key), Some(tag)) = (&self.key, crate::config::unhex(tag)) else { return false };
        let is_ours = hmac::verify(key, &signed(facts, end), &tag).is_ok();
        is_ours && u64::from_str_radix(end, 16).is_ok_and(|end| end > now_s)
    }
}

fn signed(facts: &Facts, end: &str) -> Vec<u8> {
    [end.as_bytes(), facts.port.as_bytes()].concat()
}
