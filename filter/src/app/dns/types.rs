//! Numbers of record types and response codes (IANA, Domain Name System Parameters), and their names in EVE.

/// Host address.
pub const A: u16 = 1;
/// Name server.
pub const NS: u16 = 2;
/// Alias.
pub const CNAME: u16 = 5;
/// Start of authority.
pub const SOA: u16 = 6;
/// Anything.
pub const NULL: u16 = 10;
/// Pointer.
pub const PTR: u16 = 12;
/// Mail exchange.
pub const MX: u16 = 15;
/// Strings.
pub const TXT: u16 = 16;
/// IPv6 address.
pub const AAAA: u16 = 28;
/// Location of a service.
pub const SRV: u16 = 33;
/// EDNS options.
pub const OPT: u16 = 41;
/// Fingerprint of an SSH key.
pub const SSHFP: u16 = 44;

const NAMES: &[(u16, &str)] = &[
    (A, "A"),
    (NS, "NS"),
    (3, "MD"),
    (4, "MF"),
    (CNAME, "CNAME"),
    (SOA, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (NULL, "NULL"),
    (11, "WKS"),
    (PTR, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (MX, "MX"),
    (TXT, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (22, "NSAP"),
    (23, "NSAPPTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (AAAA, "AAAA"),
    (29, "LOC"),
    (30, "NXT"),
    (31, "EID"),
    (32, "NIMLOC"),
    (SRV, "SRV"),
    (34, "ATMA"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (38, "A6"),
    (39, "DNAME"),
    (40, "SINK"),
    (OPT, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (SSHFP, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (56, "NINFO"),
    (57, "RKEY"),
    (58, "TALINK"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (100, "UINFO"),
    (101, "UID"),
    (102, "GID"),
    (103, "UNSPEC"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
    (258, "AVC"),
    (259, "DOA"),
    (260, "AMTRELAY"),
    (32768, "TA"),
    (32769, "DLV"),
];

/// The name of a record type; its number where it has none.
pub fn type_name(rrtype: u16) -> std::borrow::Cow<'static, str> {
    match NAMES.binary_search_by_key(&rrtype, |&(number, _)| number) {
        Ok(at) => NAMES.get(at).map_or_else(|| rrtype.to_string().into(), |&(_, name)| name.into()),
        Err(_) => rrtype.to_string().into(),
    }
}

const CODES: &[&str] = &[
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    "NOTZONE",
];

/// The name of a response code; its number where it has none.
pub fn code_name(rcode: u16) -> std::borrow::Cow<'static, str> {
    CODES.get(usize::from(rcode)).map_or_else(|| rcode.to_string().into(), |&name| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        assert!(NAMES.is_sorted_by_key(|&(number, _)| number));
        assert_eq!(type_name(65), "HTTPS");
        assert_eq!(type_name(65000), "65000");
        assert_eq!((code_name(3), code_name(13)), ("NXDOMAIN".into(), "13".into()));
    }
}
