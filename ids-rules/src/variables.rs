//! What `$HOME_NET` and its like stand for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::classification::Classes;

/// Definitions of the variables that rule headers name. Values are in the language of the headers: addresses or
/// ports, lists, negations, other variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables {
    /// Address variables by name, without the dollar sign.
    pub addresses: BTreeMap<String, String>,
    /// Port variables by name, without the dollar sign.
    pub ports: BTreeMap<String, String>,
    /// Classtypes beyond the customary ones; those of the same name are replaced by them.
    pub classes: Arc<Classes>,
}

/// The customary names. Everything inside is home, and since the threat may be a neighbour, everything is external.
const ADDRESSES: &[(&str, &str)] = &[
    ("HOME_NET", "[192.168.0.0/16,10.0.0.0/8,172.16.0.0/12]"),
    ("EXTERNAL_NET", "any"),
    ("HTTP_SERVERS", "$HOME_NET"),
    ("SMTP_SERVERS", "$HOME_NET"),
    ("SQL_SERVERS", "$HOME_NET"),
    ("DNS_SERVERS", "$HOME_NET"),
    ("TELNET_SERVERS", "$HOME_NET"),
    ("AIM_SERVERS", "$EXTERNAL_NET"),
    ("DC_SERVERS", "$HOME_NET"),
    ("DNP3_SERVER", "$HOME_NET"),
    ("DNP3_CLIENT", "$HOME_NET"),
    ("MODBUS_CLIENT", "$HOME_NET"),
    ("MODBUS_SERVER", "$HOME_NET"),
    ("ENIP_CLIENT", "$HOME_NET"),
    ("ENIP_SERVER", "$HOME_NET"),
    ("SIP_SERVERS", "$HOME_NET"),
    ("SSH_SERVERS", "$HOME_NET"),
    ("FTP_SERVERS", "$HOME_NET"),
];

const PORTS: &[(&str, &str)] = &[
    ("HTTP_PORTS", "80"),
    ("SHELLCODE_PORTS", "!80"),
    ("ORACLE_PORTS", "1521"),
    ("SSH_PORTS", "22"),
    ("DNP3_PORTS", "20000"),
    ("MODBUS_PORTS", "502"),
    ("FILE_DATA_PORTS", "[$HTTP_PORTS,110,143]"),
    ("FTP_PORTS", "21"),
    ("SIP_PORTS", "[5060,5061]"),
    ("GENEVE_PORTS", "6081"),
    ("VXLAN_PORTS", "4789"),
    ("TEREDO_PORTS", "3544"),
];

impl Default for Variables {
    fn default() -> Variables {
        let own = |table: &[(&str, &str)]| table.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        Variables { addresses: own(ADDRESSES), ports: own(PORTS), classes: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use crate::{RuleSet, Source, Variables};

    #[test]
    fn every_default_resolves() {
        let variables = Variables::default();
        let mut text = String::new();
        for (i, name) in variables.addresses.keys().enumerate() {
            text += &format!("alert ip ${name} any -> any any (sid:{};)\n", i + 1);
        }
        for (i, name) in variables.ports.keys().enumerate() {
            text += &format!("alert tcp any any -> any ${name} (sid:{};)\n", i + 1000);
        }
        let (rules, problems) = RuleSet::parse(&[Source { name: "t", text: &text }], &variables);
        assert!(problems.is_empty(), "{}", problems[0]);
        assert_eq!(rules.rules().len(), variables.addresses.len() + variables.ports.len());
    }
}
