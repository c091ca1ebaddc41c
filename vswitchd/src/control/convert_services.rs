//! What routers serve between messages and the desired state.

use weir_proto::v1;

use super::convert::{filled, text, texts};
use crate::config::{Dhcp, Dhcp6, Dns, GuestHost, GuestOption, GuestRoute, Mac, Metadata, NameRecord};
use crate::refusal::Refusal;

fn strings<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
    object: &str,
    field: &str,
    value: &str,
) -> Result<Option<T>, Refusal> {
    filled(value).map(|value| text(object, field, &value)).transpose()
}

pub(super) fn dhcp_of(object: &str, spec: &v1::DhcpSpec) -> Result<Dhcp, Refusal> {
    let usual = Dhcp::default();
    let route = |route: &v1::GuestRoute| {
        Ok(GuestRoute { to: text(object, "routes", &route.to)?, via: text(object, "routes", &route.via)? })
    };
    let option = |option: &v1::GuestOption| {
        Ok(GuestOption {
            code: u8::try_from(option.code)
                .map_err(|_| Refusal::invalid(format!("{object}: option {} is above 255", option.code)))?,
            text: filled(&option.text),
            hex: filled(&option.hex),
            addresses: texts(object, "options", &option.addresses)?,
        })
    };
    Ok(Dhcp {
        ranges: texts(object, "ranges", &spec.ranges)?,
        lease_s: spec.lease_s.unwrap_or(usual.lease_s),
        gateway: optional(object, "gateway", &spec.gateway)?,
        dns: texts(object, "dns", &spec.dns)?,
        domain: filled(&spec.domain),
        search: spec.search.clone(),
        ntp: texts(object, "ntp", &spec.ntp)?,
        routes: spec.routes.iter().map(route).collect::<Result<_, Refusal>>()?,
        next_server: optional(object, "next_server", &spec.next_server)?,
        boot_file: filled(&spec.boot_file),
        options: spec.options.iter().map(option).collect::<Result<_, Refusal>>()?,
        per_port: spec.per_port.unwrap_or(usual.per_port),
        probe: spec.probe.unwrap_or(usual.probe),
        hosts: spec.hosts.iter().map(|host| host_of(object, host)).collect::<Result<_, _>>()?,
    })
}

pub(super) fn dhcp_to_proto(dhcp: &Dhcp) -> v1::DhcpSpec {
    let option = |option: &GuestOption| v1::GuestOption {
        code: u32::from(option.code),
        text: option.text.clone().unwrap_or_default(),
        hex: option.hex.clone().unwrap_or_default(),
        addresses: strings(&option.addresses),
    };
    let route = |route: &GuestRoute| v1::GuestRoute { to: route.to.to_string(), via: route.via.to_string() };
    v1::DhcpSpec {
        ranges: strings(&dhcp.ranges),
        lease_s: Some(dhcp.lease_s),
        gateway: dhcp.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        dns: strings(&dhcp.dns),
        domain: dhcp.domain.clone().unwrap_or_default(),
        search: dhcp.search.clone(),
        ntp: strings(&dhcp.ntp),
        routes: dhcp.routes.iter().map(route).collect(),
        next_server: dhcp.next_server.map(|server| server.to_string()).unwrap_or_default(),
        boot_file: dhcp.boot_file.clone().unwrap_or_default(),
        options: dhcp.options.iter().map(option).collect(),
        per_port: Some(dhcp.per_port),
        probe: Some(dhcp.probe),
        hosts: dhcp.hosts.iter().map(host_to_proto).collect(),
    }
}

pub(super) fn dhcp6_of(object: &str, spec: &v1::Dhcp6Spec) -> Result<Dhcp6, Refusal> {
    let usual = Dhcp6::default();
    Ok(Dhcp6 {
        ranges: texts(object, "ranges", &spec.ranges)?,
        lease_s: spec.lease_s.unwrap_or(usual.lease_s),
        dns: texts(object, "dns", &spec.dns)?,
        search: spec.search.clone(),
        per_port: spec.per_port.unwrap_or(usual.per_port),
        hosts: spec.hosts.iter().map(|host| host_of(object, host)).collect::<Result<_, _>>()?,
    })
}

pub(super) fn dhcp6_to_proto(dhcp6: &Dhcp6) -> v1::Dhcp6Spec {
    v1::Dhcp6Spec {
        ranges: strings(&dhcp6.ranges),
        lease_s: Some(dhcp6.lease_s),
        dns: strings(&dhcp6.dns),
        search: dhcp6.search.clone(),
        per_port: Some(dhcp6.per_port),
        hosts: dhcp6.hosts.iter().map(host_to_proto).collect(),
    }
}

pub(super) fn host_of(object: &str, host: &v1::GuestHost) -> Result<GuestHost, Refusal> {
    Ok(GuestHost {
        name: filled(&host.name),
        port: filled(&host.port),
        mac: optional::<Mac>(object, "mac", &host.mac)?,
        id: filled(&host.id),
        address: optional(object, "address", &host.address)?,
        user_data: filled(&host.user_data),
        ssh_keys: host.ssh_keys.clone(),
    })
}

fn host_to_proto(host: &GuestHost) -> v1::GuestHost {
    v1::GuestHost {
        name: host.name.clone().unwrap_or_default(),
        port: host.port.clone().unwrap_or_default(),
        mac: host.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        id: host.id.clone().unwrap_or_default(),
        address: host.address.map(|address| address.to_string()).unwrap_or_default(),
        user_data: host.user_data.clone().unwrap_or_default(),
        ssh_keys: host.ssh_keys.clone(),
    }
}

pub(super) fn metadata_of(spec: &v1::MetadataSpec) -> Metadata {
    let v1::MetadataSpec { user_data, ssh_keys, require_token } = spec.clone();
    Metadata { user_data: filled(&user_data), ssh_keys, require_token }
}

pub(super) fn metadata_to_proto(metadata: &Metadata) -> v1::MetadataSpec {
    let Metadata { user_data, ssh_keys, require_token } = metadata.clone();
    v1::MetadataSpec { user_data: user_data.unwrap_or_default(), ssh_keys, require_token }
}

pub(super) fn dns_of(object: &str, spec: &v1::DnsSpec) -> Result<Dns, Refusal> {
    let usual = Dns::default();
    Ok(Dns {
        interfaces: spec.interfaces.clone(),
        domain: filled(&spec.domain),
        forward: texts(object, "forward", &spec.forward)?,
        records: spec.records.iter().map(|record| record_of(object, record)).collect::<Result<_, _>>()?,
        cache: spec.cache.unwrap_or(usual.cache),
        rate: spec.rate.unwrap_or(usual.rate),
    })
}

pub(super) fn dns_to_proto(dns: &Dns) -> v1::DnsSpec {
    let record = |record: &NameRecord| v1::NameRecord {
        name: record.name.clone(),
        addresses: strings(&record.addresses),
        alias_of: record.alias_of.clone().unwrap_or_default(),
        text: record.text.clone(),
    };
    v1::DnsSpec {
        interfaces: dns.interfaces.clone(),
        domain: dns.domain.clone().unwrap_or_default(),
        forward: strings(&dns.forward),
        cache: Some(dns.cache),
        rate: Some(dns.rate),
        records: dns.records.iter().map(record).collect(),
    }
}

pub(super) fn record_of(object: &str, record: &v1::NameRecord) -> Result<NameRecord, Refusal> {
    Ok(NameRecord {
        name: record.name.clone(),
        addresses: texts(object, "addresses", &record.addresses)?,
        alias_of: filled(&record.alias_of),
        text: record.text.clone(),
    })
}

/// A number of leases as a message has it.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
