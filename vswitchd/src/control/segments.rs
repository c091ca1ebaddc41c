//! `weir.v1.Segments`.

use std::collections::BTreeSet;
use std::str::FromStr;

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::segments_server::Segments;

use super::Service;
use super::convert::{strings, texts};
use crate::commit::Terms;
use crate::config::{self, Action, Config, Group, Schedule, ServiceEntry, Tier, Zone};
use crate::refusal::Refusal;

#[tonic::async_trait]
impl Segments for Service {
    async fn set(&self, request: Request<v1::SetSegmentRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetSegmentRequest { service, schedule, tier, before, group } = request.into_inner();
        let service = service.as_ref().map(service_of).transpose()?;
        let schedule = schedule.as_ref().map(schedule_of).transpose()?;
        let tier = tier.as_ref().map(tier_of).transpose()?;
        let group = group.as_ref().map(group_of).transpose()?;
        let given = [service.is_some(), schedule.is_some(), tier.is_some(), group.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(Refusal::invalid("the request needs one of service, schedule, tier and group").into());
        }
        let outcome = self.controller.change(Terms::default(), move |config| {
            if let Some(service) = service {
                put(&mut config.services, service, |known| &known.name);
            }
            if let Some(schedule) = schedule {
                put(&mut config.schedules, schedule, |known| &known.name);
            }
            if let Some(tier) = tier {
                put_tier(&mut config.tiers, tier, &before)?;
            }
            if let Some(group) = group {
                let known = config.group(&group.name).cloned().unwrap_or_default();
                let (rate, share, quota) = (known.rate, known.share, known.quota);
                put(&mut config.groups, Group { rate, share, quota, ..group }, |known| &known.name);
                config.groups.retain(|group| *group != Group { name: group.name.clone(), ..Group::default() });
            }
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn remove(&self, request: Request<v1::RemoveSegmentRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::RemoveSegmentRequest { kind, name } = request.into_inner();
        let outcome = self.controller.change(Terms::default(), move |config| {
            let users = users(config, &kind, &name);
            if !users.is_empty() {
                let text = format!("{kind} {name}: rules name it: {}; change these first", users.join(", "));
                return Err(Refusal::state(text));
            }
            match kind.as_str() {
                "service" => take(&mut config.services, ("service", &name), |known| &known.name),
                "schedule" => take(&mut config.schedules, ("schedule", &name), |known| &known.name),
                "tier" => take(&mut config.tiers, ("tier", &name), |known| &known.name),
                other => Err(Refusal::invalid(format!("\"{other}\" is none of service, schedule and tier"))),
            }
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn list(&self, _: Request<v1::ListSegmentsRequest>) -> Result<Response<v1::ListSegmentsResponse>, Status> {
        let snapshot = self.controller.snapshot();
        let config = &snapshot.config;
        let open = self.controller.open_schedules(config);
        let schedule = |schedule: &Schedule| v1::ScheduleSpec {
            name: schedule.name.clone(),
            times: strings(&schedule.times),
            local: schedule.zone == Zone::Local,
            open: open.contains(&schedule.name),
        };
        let tier = |tier: &Tier| v1::TierSpec {
            name: tier.name.clone(),
            default_action: tier.default.map_or("", label).to_owned(),
        };
        Ok(Response::new(v1::ListSegmentsResponse {
            services: config.services.iter().map(service_to_proto).collect(),
            schedules: config.schedules.iter().map(schedule).collect(),
            tiers: config.tiers.iter().map(tier).collect(),
            groups: groups(config),
        }))
    }
}

fn put<T>(list: &mut Vec<T>, wanted: T, name: impl Fn(&T) -> &String) {
    match list.iter_mut().find(|known| name(known) == name(&wanted)) {
        Some(known) => *known = wanted,
        None => list.push(wanted),
    }
}

/// Puts a tier before another, or leaves it where it stands; a new one comes last.
fn put_tier(tiers: &mut Vec<Tier>, wanted: Tier, before: &str) -> Result<(), Refusal> {
    if before.is_empty() {
        put(tiers, wanted, |known| &known.name);
        return Ok(());
    }
    if before == wanted.name {
        return Err(Refusal::invalid(format!("tier {before}: it cannot stand before itself")));
    }
    tiers.retain(|known| known.name != wanted.name);
    let Some(at) = tiers.iter().position(|known| known.name == before) else {
        return Err(Refusal::not_found("tier", before, tiers.iter().map(|known| known.name.as_str())));
    };
    tiers.insert(at, wanted);
    Ok(())
}

fn take<T>(list: &mut Vec<T>, (kind, name): (&str, &str), named: impl Fn(&T) -> &String) -> Result<(), Refusal> {
    let Some(at) = list.iter().position(|known| named(known) == name) else {
        return Err(Refusal::not_found(kind, name, list.iter().map(|known| named(known).as_str())));
    };
    list.remove(at);
    Ok(())
}

/// Rules that name a service, schedule or tier.
fn users(config: &Config, kind: &str, name: &str) -> Vec<String> {
    let names = |rule: &&config::Rule| match kind {
        "service" => rule.services.iter().any(|known| known == name),
        "schedule" => rule.schedule.as_deref() == Some(name),
        _ => rule.tier.as_deref() == Some(name),
    };
    config.rules.iter().filter(names).map(|rule| rule.name.clone()).collect()
}

fn service_of(spec: &v1::ServiceSpec) -> Result<config::Service, Refusal> {
    let object = format!("service {}", spec.name);
    let entry = |entry: &v1::ServiceEntry| {
        Ok(ServiceEntry {
            protocol: texts(&object, "protocols", &entry.protocols)?,
            source_ports: texts(&object, "source_ports", &entry.source_ports)?,
            destination_ports: texts(&object, "destination_ports", &entry.destination_ports)?,
            icmp: texts(&object, "icmp", &entry.icmp)?,
        })
    };
    let entries = spec.entries.iter().map(entry).collect::<Result<_, Refusal>>()?;
    Ok(config::Service { name: spec.name.clone(), entries })
}

fn service_to_proto(service: &config::Service) -> v1::ServiceSpec {
    let entry = |entry: &ServiceEntry| v1::ServiceEntry {
        protocols: strings(&entry.protocol),
        source_ports: strings(&entry.source_ports),
        destination_ports: strings(&entry.destination_ports),
        icmp: strings(&entry.icmp),
    };
    v1::ServiceSpec { name: service.name.clone(), entries: service.entries.iter().map(entry).collect() }
}

fn schedule_of(spec: &v1::ScheduleSpec) -> Result<Schedule, Refusal> {
    let times = texts(&format!("schedule {}", spec.name), "times", &spec.times)?;
    Ok(Schedule { name: spec.name.clone(), times, zone: if spec.local { Zone::Local } else { Zone::Utc } })
}

const ACTIONS: [Action; 3] = [Action::Allow, Action::Drop, Action::Reject];

fn label(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Drop => "drop",
        Action::Reject => "reject",
    }
}

fn tier_of(spec: &v1::TierSpec) -> Result<Tier, Refusal> {
    let text = spec.default_action.as_str();
    let default = ACTIONS.into_iter().find(|action| label(*action) == text);
    if default.is_none() && !text.is_empty() {
        let name = &spec.name;
        return Err(Refusal::invalid(format!("tier {name}: default \"{text}\" is none of allow, drop and reject")));
    }
    Ok(Tier { name: spec.name.clone(), default })
}

fn group_of(members: &v1::GroupMembers) -> Result<Group, Refusal> {
    let object = format!("group {}", members.group);
    Ok(Group {
        name: members.group.clone(),
        rate: None,
        share: None,
        quota: None,
        addresses: members.addresses.iter().map(|text| network(&object, text)).collect::<Result<_, _>>()?,
        macs: texts(&object, "macs", &members.macs)?,
        dhcp_hosts: members.dhcp_hosts.clone(),
        isolated: members.isolated,
    })
}

fn network(object: &str, text: &str) -> Result<ipnetwork::IpNetwork, Refusal> {
    let read = ipnetwork::IpNetwork::from_str(text);
    read.map_err(|e| Refusal::invalid(format!("{object}: addresses: \"{text}\": {e}; write 10.0.0.0/24 or 10.0.0.1")))
}

/// All groups, with their members of every kind.
fn groups(config: &Config) -> Vec<v1::GroupMembers> {
    let labels = config.ports.iter().flat_map(|port| &port.groups);
    let names: BTreeSet<&String> = labels.chain(config.groups.iter().map(|group| &group.name)).collect();
    let members = |name: &String| {
        let stated = config.group(name).cloned().unwrap_or_default();
        let carries = |port: &&config::Port| port.groups.contains(name);
        v1::GroupMembers {
            group: name.clone(),
            addresses: strings(&stated.addresses),
            macs: strings(&stated.macs),
            dhcp_hosts: stated.dhcp_hosts,
            isolated: stated.isolated,
            ports: config.ports.iter().filter(carries).map(|port| port.name.clone()).collect(),
        }
    };
    names.into_iter().map(members).collect()
}
