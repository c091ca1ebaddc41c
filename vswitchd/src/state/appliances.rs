//! Appliances in the fabric's and the guard's terms.

use std::time::Duration;

use weir_fabric::Step;
use weir_fabric::appliance::{ApplianceConfig, Arms, OnFailure, Probing};
use weir_filter::policy::spec;
use weir_wire::{PortId, SwitchId, Vid};

use super::{Ids, action};
use crate::config::{self, Appliance, Config};

impl Ids {
    /// The number of an appliance, in the place of a switch's.
    pub fn appliance(&self, name: &str) -> Option<SwitchId> {
        self.appliances.get(name).map(|number| SwitchId(SwitchId::FIRST_APPLIANCE.saturating_add(*number)))
    }

    /// Appliances by name.
    pub fn appliances(&self) -> impl Iterator<Item = (&str, SwitchId)> {
        self.appliances.keys().filter_map(|name| Some((name.as_str(), self.appliance(name)?)))
    }

    /// The ends of appliances on the switches that they join, named after both.
    pub fn ends<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = (PortId, String)> + 'a {
        config.appliances.iter().flat_map(move |appliance| {
            let number = self.appliances.get(&appliance.name).copied();
            let named = |(side, switch): (u16, &String)| (side, format!("{}:{switch}", appliance.name));
            let ends = (0..).zip(&appliance.inline).map(named);
            ends.filter_map(move |(side, name)| Some((PortId(PortId::FIRST_PATCH + number? * 2 + side), name)))
        })
    }
}

pub(super) fn step(name: &str, desired: &Config, ids: &Ids) -> Option<Step> {
    let appliance = desired.appliance(name)?;
    let config = ApplianceConfig {
        arms: arms(appliance, ids)?,
        on_failure: match appliance.fail {
            config::OnFailure::Closed => OnFailure::Closed,
            config::OnFailure::Open => OnFailure::Open,
        },
        bypass: appliance.bypass,
        down: appliance.down,
        probing: Probing {
            interval: Duration::from_millis(appliance.probe.interval_ms.into()),
            within: Duration::from_millis(appliance.probe.within_ms.into()),
            misses: appliance.probe.misses,
        },
    };
    Some(Step::SetAppliance(ids.appliance(name)?, config))
}

fn arms(appliance: &Appliance, ids: &Ids) -> Option<Arms> {
    if let [a, b] = appliance.wire.as_slice() {
        return Some(Arms::Wire([ids.port(a)?, ids.port(b)?]));
    }
    if let [a, b] = appliance.inline.as_slice() {
        return Some(Arms::Inline([ids.switch(a)?, ids.switch(b)?]));
    }
    if let Some(hairpin) = &appliance.hairpin {
        let pairs = hairpin.vlans.iter().map(|&[a, b]| (Vid(a), Vid(b))).collect();
        return Some(Arms::Hairpin(ids.port(&hairpin.port)?, pairs));
    }
    Some(Arms::Listen)
}

/// What the policy knows of them.
pub(super) fn switches(desired: &Config, ids: &Ids) -> Vec<spec::Switch> {
    let known = |appliance: &Appliance| {
        Some(spec::Switch {
            id: ids.appliance(&appliance.name)?,
            name: appliance.name.clone(),
            default: action(appliance.default),
            inspect: appliance.inspect.clone().filter(|name| name != "none"),
        })
    };
    desired.appliances.iter().filter_map(known).collect()
}

/// Those that refuse nothing.
pub(super) fn listened(desired: &Config, ids: &Ids) -> Vec<SwitchId> {
    let listening = desired.appliances.iter().filter(|appliance| !appliance.listen.is_empty());
    listening.filter_map(|appliance| ids.appliance(&appliance.name)).collect()
}

/// Pairs of ports that are each other's other side: where one has no link, the other is told that it has none.
pub fn wires(desired: &Config, ids: &Ids) -> Vec<[PortId; 2]> {
    let pair = |appliance: &Appliance| match appliance.wire.as_slice() {
        [a, b] => Some([ids.port(a)?, ids.port(b)?]),
        _ => None,
    };
    desired.appliances.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appliances_stand_among_the_switches_of_the_policy() {
        let text = r#"
            switch = [{ name = "a" }, { name = "b" }]
            port = [{ name = "copy", switch = "ear", mem = {} }]
            appliance = [{ name = "guard", inline = ["a", "b"], default = "drop" }, { name = "ear", listen = "copy" }]
        "#;
        let config = Config::parse(text).expect("parses");
        config.check().expect("makes sense");
        let ids = Ids::default().after(&config);
        let spec = super::super::spec(&config, &ids, &super::super::Facts::default());
        assert_eq!(spec.switches.len(), 4);
        assert_eq!(spec.listened, [ids.appliance("ear").expect("is there")]);
        let names: Vec<String> = ids.ends(&config).map(|(_, name)| name).collect();
        assert_eq!(names, ["guard:a", "guard:b"]);
        assert!(wires(&config, &ids).is_empty());
    }
}
