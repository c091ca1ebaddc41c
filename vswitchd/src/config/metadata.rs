//! What guests are told of themselves by HTTP.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::Config;
use super::check::Problems;
use super::is_default;
use super::services::GuestHost;
use super::values::one_or_many;

/// Keys of one guest.
const KEYS_MAX: usize = 16;
/// Bytes of one key.
const KEY_MAX: usize = 4096;

/// Metadata for the network of an interface. What is given here is for guests that have none of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The file that guests are given as their user data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Keys that guests are to let in by SSH, as lines of `authorized_keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ssh_keys: Vec<String>,
    /// Answer those only that have asked for a token first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_token: bool,
}

/// `true` is a table without settings, `false` is none.
pub(super) fn metadata<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Metadata>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "metadata is true, false, or a table of user_data, ssh_keys and require_token")]
    enum Form {
        Switch(bool),
        Table(Metadata),
    }
    Ok(match Form::deserialize(from)? {
        Form::Switch(on) => on.then(Metadata::default),
        Form::Table(metadata) => Some(metadata),
    })
}

impl Config {
    /// One router of a network answers for the address, and what it tells can be told.
    pub(super) fn check_metadata(&self, problems: &mut Problems) {
        let mut served: HashMap<(&str, u16), String> = HashMap::new();
        for (router, interface) in self.routers.iter().flat_map(|r| r.interfaces.iter().map(move |i| (r, i))) {
            let Some(metadata) = &interface.metadata else { continue };
            let object = format!("router {}: interface {}: metadata", router.name, interface.name);
            let before = served.insert((&interface.switch, interface.vlan), object.clone());
            problems.unless(before.is_none(), || {
                format!("{object}: {} serves that network already", before.as_deref().unwrap_or_default())
            });
            check_told(&object, metadata.user_data.as_deref(), &metadata.ssh_keys, problems);
        }
    }
}

/// What a guest of its own is told. It is known by its port: anybody can call itself by another's MAC.
pub(super) fn check_host(object: &str, host: &GuestHost, problems: &mut Problems) {
    check_told(object, host.user_data.as_deref(), &host.ssh_keys, problems);
    let tells = host.user_data.is_some() || !host.ssh_keys.is_empty();
    problems.unless(!tells || host.port.is_some(), || {
        format!("{object}: user_data and ssh_keys need the port: another guest could call itself by its mac or id")
    });
}

fn check_told(object: &str, user_data: Option<&str>, keys: &[String], problems: &mut Problems) {
    problems.unless(user_data.is_none_or(|path| path.starts_with('/')), || {
        format!("{object}: user_data = \"{}\" is no absolute path", user_data.unwrap_or_default())
    });
    problems.unless(keys.len() <= KEYS_MAX, || format!("{object}: more than {KEYS_MAX} ssh_keys"));
    let fine = |key: &String| (1..=KEY_MAX).contains(&key.len()) && !key.chars().any(char::is_control);
    problems
        .unless(keys.iter().all(fine), || format!("{object}: each of ssh_keys is one line of up to {KEY_MAX} bytes"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: &str = r#"
switch = [{ name = "lan" }]
port = [{ name = "vm", switch = "lan", mem = {} }]
[[router]]
name = "r"
interface = [{ name = "lan", switch = "lan", addresses = "10.0.0.1/24", dhcp = {}, metadata = true }]
"#;

    fn metadata_of(value: &str) -> Result<Option<Metadata>, String> {
        let config = Config::parse(&LAN.replace("metadata = true", &format!("metadata = {value}")));
        let config = config.map_err(|e| e.to_string())?;
        config.check().map_err(|e| format!("{e:?}"))?;
        let printed = config.to_toml().expect("prints");
        assert_eq!(Config::parse(&printed).expect("parses again"), config);
        Ok(config.routers[0].interfaces[0].metadata.clone())
    }

    #[test]
    fn it_is_switched_or_described() {
        assert_eq!(metadata_of("true"), Ok(Some(Metadata::default())));
        assert_eq!(metadata_of("{}"), Ok(Some(Metadata::default())));
        assert_eq!(metadata_of("false"), Ok(None));
        let all = metadata_of("{ user_data = \"/all\", ssh_keys = \"ssh-rsa A\", require_token = true }");
        let keys = vec!["ssh-rsa A".to_owned()];
        let wanted = Metadata { user_data: Some("/all".into()), ssh_keys: keys, require_token: true };
        assert_eq!(all, Ok(Some(wanted)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (value, part) in [
            ("1", "metadata is true, false, or a table"),
            ("{ user_dat = \"/all\" }", "metadata is true, false, or a table"),
            ("{ user_data = \"all\" }", "no absolute path"),
            ("{ ssh_keys = \"a\\nb\" }", "one line"),
        ] {
            let told = metadata_of(value).expect_err(value);
            assert!(told.contains(part), "{value}: {told}");
        }
        let host = |host: &str| {
            let text = LAN.replace("dhcp = {}", &format!("dhcp = {{ host = [{{ {host} }}] }}"));
            Config::parse(&text).expect("parses").check().map_err(|e| format!("{e:?}"))
        };
        let told = host("mac = \"52:54:00:00:00:01\", name = \"a\", user_data = \"/a\"").expect_err("a mac alone");
        assert!(told.contains("need the port"), "{told}");
        assert_eq!(host("port = \"vm\", user_data = \"/a\""), Ok(()));
    }

    #[test]
    fn one_router_answers_in_a_network() {
        let again = LAN.replace("[[router]]\nname = \"r\"", "[[router]]\nname = \"q\"");
        let again = again.split_once("[[router]]").map(|(_, router)| router.replace("10.0.0.1/24", "10.0.0.2/24"));
        let text = format!("{LAN}[[router]]{}", again.expect("a router"));
        let told = format!("{:?}", Config::parse(&text).expect("parses").check().expect_err("both serve lan"));
        assert!(told.contains("serves that network already"), "{told}");
    }
}
