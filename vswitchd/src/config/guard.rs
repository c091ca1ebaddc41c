//! First-hop security of ports as it is wanted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::values::one_or_many;
use super::{Port, is_default};

/// Learned addresses of a port at most, where nothing else is said.
const LIMIT: u32 = 64;

/// What a port's guard does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Guarded; absent: trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// Learn addresses on first use.
    pub learn: bool,
    /// Learned addresses at most.
    pub limit: u32,
    /// Addresses that are the port's.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub addresses: Vec<IpAddr>,
    /// Addresses that it may use whoever else does.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "one_or_many")]
    pub shared: Vec<IpAddr>,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard { on: None, learn: true, limit: LIMIT, addresses: Vec::new(), shared: Vec::new() }
    }
}

impl Port {
    /// What its guard does; `None` where it is trusted.
    pub fn effective_guard(&self) -> Option<Guard> {
        let guard = self.guard.clone().unwrap_or_default();
        guard.on.unwrap_or(false).then_some(guard)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn ports_are_guarded_where_it_is_said() {
        let text = r#"
            switch = [{ name = "lan" }]
            port = [
                { name = "vm", switch = "lan", tap = { name = "t0" }, guard = { on = true } },
                { name = "router", switch = "lan", tap = { name = "t1" }, guard = { on = false } },
                { name = "strict", switch = "lan", mem = {}, guard = { on = true, learn = false, addresses = "10.0.0.5" } },
                { name = "up", switch = "lan", xdp = { interface = "eth1" } },
            ]
        "#;
        let config = Config::parse(text).expect("parses");
        config.check().expect("makes sense");
        let on = |name: &str| config.port(name).and_then(|port| port.effective_guard());
        assert!(on("vm").is_some_and(|guard| guard.learn && guard.limit == 64));
        assert_eq!((on("router"), on("up")), (None, None));
        assert!(on("strict").is_some_and(|guard| !guard.learn && guard.addresses.len() == 1));
        assert_eq!(Config::parse(&config.to_toml().expect("prints")).expect("parses"), config);
    }
}
