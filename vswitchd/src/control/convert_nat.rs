//! Translations between address families and prefixes, between messages and the desired state.

use weir_proto::v1;

use super::convert::{filled, text};
use crate::config::{Helper, Nat64, Nptv6, well_known_prefix};
use crate::refusal::Refusal;

pub(super) fn nptv6_of(object: &str, spec: &v1::Nptv6) -> Result<Nptv6, Refusal> {
    Ok(Nptv6 { inside: text(object, "inside", &spec.inside)?, outside: text(object, "outside", &spec.outside)? })
}

pub(super) fn nptv6_to_proto(wanted: &Nptv6) -> v1::Nptv6 {
    v1::Nptv6 { inside: wanted.inside.to_string(), outside: wanted.outside.to_string() }
}

pub(super) fn nat64_of(object: &str, spec: &v1::Nat64) -> Result<Nat64, Refusal> {
    let prefix = if spec.prefix.is_empty() { well_known_prefix() } else { text(object, "prefix", &spec.prefix)? };
    let ports = if spec.ports.is_empty() { "1024-65535" } else { &spec.ports };
    Ok(Nat64 {
        prefix,
        interface: spec.interface.clone(),
        address: filled(&spec.address).map(|address| text(object, "address", &address)).transpose()?,
        ports: text(object, "ports", ports)?,
        limit_each: spec.limit_each,
    })
}

pub(super) fn nat64_to_proto(wanted: &Nat64) -> v1::Nat64 {
    v1::Nat64 {
        prefix: wanted.prefix.to_string(),
        interface: wanted.interface.clone(),
        address: wanted.address.map(|address| address.to_string()).unwrap_or_default(),
        ports: wanted.ports.to_string(),
        limit_each: wanted.limit_each,
    }
}

pub(super) fn helper_of(object: &str, name: &str) -> Result<Helper, Refusal> {
    match name {
        "ftp" => Ok(Helper::Ftp),
        "tftp" => Ok(Helper::Tftp),
        other => Err(Refusal::invalid(format!("{object}: there is no helper \"{other}\"; there is \"ftp\""))),
    }
}

pub(super) fn helper_to_proto(helper: &Helper) -> String {
    match helper {
        Helper::Ftp => "ftp".to_owned(),
        Helper::Tftp => "tftp".to_owned(),
    }
}
