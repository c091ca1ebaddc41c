//! The types of events.

/// Those that are told whether anybody reads them or not.
pub const ALWAYS: [&str; 11] =
    ["alert", "drop", "allow", "flow", "stats", "anomaly", "filestore", "content", "virus", "inspection", "notice"];

/// Records: what flows speak, transactions and files. They are many, and nothing of them is wrong; they are made only while
/// somebody reads them ([`crate::readers`]).
pub const RECORDS: [&str; 32] = [
    "fileinfo",
    "http",
    "dns",
    "mdns",
    "tls",
    "quic",
    "ssh",
    "smtp",
    "smb",
    "dcerpc",
    "nfs",
    "ftp",
    "ftp_data",
    "tftp",
    "imap",
    "pop3",
    "sip",
    "rdp",
    "rfb",
    "krb5",
    "ldap",
    "mqtt",
    "pgsql",
    "snmp",
    "dhcp",
    "ike",
    "modbus",
    "dnp3",
    "enip",
    "websocket",
    "telnet",
    "bittorrent_dht",
];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static str> {
    ALWAYS.into_iter().chain(RECORDS)
}

/// Whether events of this type are records.
pub fn is_record(kind: &str) -> bool {
    RECORDS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_is_there_twice() {
        let mut names: Vec<_> = all().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALWAYS.len() + RECORDS.len());
    }
}
