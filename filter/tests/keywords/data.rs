//! Names, directories, databases and what networks run on: DNS, mDNS, LDAP, PostgreSQL, SNMP, DHCP, NTP, NFS.

use crate::Row::{Has, Is};
use crate::Table;
use crate::story::{ANSWER, ASK, tcp, udp, udp_between};

pub const TABLES: &[&Table] = &[&DNS, &MDNS, &LDAP, &PGSQL, &SNMP, &SNMP_TRAP, &SNMP3, &DHCP, &NTP, &NFS];

const DNS: Table = Table {
    name: "dns",
    header: "alert dns any any -> any any",
    frames: || udp(53, &[(ASK, question()), (ANSWER, answer())]),
    rows: &[
        Has("dns.query", "asked.example"),
        Has("dns_query", "asked.example"),
        Has("dns.query.name", "asked.example"),
        Has("dns.queries.rrname", "asked.example"),
        Has("dns.answers.rrname", "answer.example"),
        Has("dns.answer.name", "answer.example"),
        Has("dns.authorities.rrname", "authority.example"),
        Has("dns.additionals.rrname", "additional.example"),
        Has("dns.response.rrname", "authority.example"),
        Is("dns.opcode", "0", "4"),
        Is("dns.rcode", "3", "5"),
        Is("dns.rrtype", "A", "TXT"),
    ],
};

fn name(text: &str) -> Vec<u8> {
    let mut out: Vec<u8> =
        text.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat()).collect();
    out.push(0);
    out
}

fn question() -> Vec<u8> {
    [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name("asked.example"), &[0, 1, 0, 1]].concat()
}

fn answer() -> Vec<u8> {
    let record = |owner: &str| [&name(owner)[..], &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]].concat();
    [
        &[0x12, 0x34, 0x81, 0x83, 0, 1, 0, 1, 0, 1, 0, 1][..],
        &name("asked.example"),
        &[0, 1, 0, 1],
        &record("answer.example"),
        &record("authority.example"),
        &record("additional.example"),
    ]
    .concat()
}

const MDNS: Table = Table {
    name: "mdns",
    header: "alert mdns any any -> any any",
    frames: || {
        let mut told = answer();
        told[..4].copy_from_slice(&[0, 0, 0x84, 0]);
        let mut asked = question();
        asked[..4].fill(0);
        udp_between((5353, 5353), &[(ASK, asked), (ANSWER, told)])
    },
    rows: &[
        Has("mdns.queries.rrname", "asked.example"),
        Has("mdns.answers.rrname", "answer.example"),
        Has("mdns.authorities.rrname", "authority.example"),
        Has("mdns.additionals.rrname", "additional.example"),
        Has("mdns.response.rrname", "authority.example"),
    ],
};

const LDAP: Table = Table {
    name: "ldap",
    header: "alert ldap any any -> any any",
    frames: ldap,
    rows: &[
        Has("ldap.request.dn", "dc=x"),
        Has("ldap.responses.dn", "cn=me,dc=x"),
        Has("ldap.responses.message", "text"),
        Has("ldap.request.attribute_type", "objectSid"),
        Has("ldap.responses.attribute_type", "cn"),
        Is("ldap.request.operation", "search_request", "bind_request"),
        Is("ldap.responses.operation", "search_result_done", "bind_response"),
        Is("ldap.responses.count", "2", "7"),
        Is("ldap.responses.result_code", "size_limit_exceeded", "busy"),
    ],
};

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[tag, content.len() as u8][..], &content].concat()
}

fn ldap() -> Vec<Vec<u8>> {
    let message = |operation: &[u8]| tlv(0x30, &[&[2, 1, 2], operation]);
    let list = tlv(0x30, &[&tlv(4, &[b"objectSid"])]);
    let numbers = [10, 1, 2, 10, 1, 0, 2, 1, 5, 2, 1, 0, 1, 1, 0];
    let search = message(&tlv(0x63, &[&tlv(4, &[b"dc=x"]), &numbers, &tlv(0x87, &[b"objectClass"]), &list]));
    let attribute = tlv(0x30, &[&tlv(4, &[b"cn"]), &tlv(0x31, &[&tlv(4, &[b"me"])])]);
    let entry = message(&tlv(0x64, &[&tlv(4, &[b"cn=me,dc=x"]), &tlv(0x30, &[&attribute])]));
    let done = message(&tlv(0x65, &[&[10, 1, 4], &tlv(4, &[b""]), &tlv(4, &[b"text"])]));
    tcp(389, &[(ASK, search), (ANSWER, entry), (ANSWER, done)])
}

const PGSQL: Table = Table {
    name: "pgsql",
    header: "alert pgsql any any -> any any",
    frames: || {
        let message = |kind: u8, body: &[u8]| [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        let body = b"\0\x03\0\0user\0me\0database\0db\0\0";
        let startup = [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat();
        tcp(
            5432,
            &[
                (ASK, startup),
                (ANSWER, [message(b'R', &[0; 4]), message(b'Z', b"I")].concat()),
                (ASK, message(b'Q', b"SELECT * FROM t;\0")),
                (ANSWER, [message(b'C', b"SELECT 0\0"), message(b'Z', b"I")].concat()),
            ],
        )
    },
    rows: &[Has("pgsql.query", "SELECT * FROM t")],
};

const SNMP: Table = Table {
    name: "snmp",
    header: "alert snmp any any -> any any",
    frames: || {
        let get = b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x01\x05\x02\x01\x00\x02\x01\x00\
            \x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00\x05\x00";
        udp(161, &[(ASK, get.to_vec())])
    },
    rows: &[Has("snmp.community", "public"), Is("snmp.version", "2", "1"), Is("snmp.pdu_type", "0", "3")],
};

const SNMP_TRAP: Table = Table {
    name: "snmp trap",
    header: "alert snmp any any -> any any",
    frames: || {
        let trap = b"\x30\x23\x02\x01\x00\x04\x06public\xa4\x16\x06\x03\x2b\x06\x01\x40\x04\x7f\x00\x00\x01\
            \x02\x01\x02\x02\x01\x00\x43\x01\x00\x30\x00";
        udp(161, &[(ASK, trap.to_vec())])
    },
    rows: &[Is("snmp.trap_type", "linkdown", "3")],
};

const SNMP3: Table = Table {
    name: "snmp 3",
    header: "alert snmp any any -> any any",
    frames: || {
        let head = tlv(0x30, &[&[2, 1, 9], &[2, 2, 4, 0], &[4, 1, 4], &[2, 1, 3]]);
        let usm = tlv(0x30, &[&tlv(4, &[b"eng"]), &[2, 1, 1], &[2, 1, 1], &tlv(4, &[b"someuser"]), &[4, 0], &[4, 0]]);
        let pdu = tlv(0xa0, &[&[2, 1, 5], &[2, 1, 0], &[2, 1, 0], &[0x30, 0]]);
        let scoped = tlv(0x30, &[&tlv(4, &[b"eng"]), &[4, 0], &pdu]);
        udp(161, &[(ASK, tlv(0x30, &[&[2, 1, 3], &head, &tlv(4, &[&usm]), &scoped]))])
    },
    rows: &[Has("snmp.usm", "someuser")],
};

const DHCP: Table = Table {
    name: "dhcp",
    header: "alert dhcp any any -> any any",
    frames: || {
        let mut bytes = vec![2, 1, 6, 0, 0, 0, 0, 9];
        bytes.extend([0; 8]);
        bytes.extend([10, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]);
        bytes.extend([0; 202]);
        bytes.extend([
            0x63, 0x82, 0x53, 0x63, 53, 1, 5, 51, 4, 0, 0, 14, 16, 58, 4, 0, 0, 7, 8, 59, 4, 0, 0, 12, 78, 255,
        ]);
        udp_between((68, 67), &[(ANSWER, bytes)])
    },
    rows: &[
        Is("dhcp.leasetime", "3600", "5"),
        Is("dhcp.renewal_time", "1800", "5"),
        Is("dhcp.rebinding_time", "3150", "5"),
    ],
};

const NTP: Table = Table {
    name: "ntp",
    header: "alert ntp any any -> any any",
    frames: || {
        let mut bytes = vec![0x23, 2];
        bytes.resize(48, 0);
        bytes[12..16].copy_from_slice(b"GPS\0");
        udp(123, &[(ASK, bytes)])
    },
    rows: &[
        Is("ntp.mode", "client", "server"),
        Is("ntp.stratum", "2", "3"),
        Is("ntp.version", "4", "3"),
        Has("ntp.reference_id", "GPS"),
    ],
};

const NFS: Table = Table {
    name: "nfs",
    header: "alert nfs any any -> any any",
    frames: || {
        let xdr = |bytes: &[u8]| {
            let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
            out.extend(bytes);
            out.resize(out.len().div_ceil(4) * 4, 0);
            out
        };
        let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
        let marked = |record: Vec<u8>| [&(record.len() as u32 | 0x8000_0000).to_be_bytes()[..], &record].concat();
        let unix = [words(&[9]), xdr(b"host"), words(&[1000, 100, 0])].concat();
        let head = words(&[1, 0, 2, 100_003, 3, 3, 1]);
        let lookup = [head, xdr(&unix), words(&[0, 0]), xdr(b"root"), xdr(b"f.txt")].concat();
        let found = [words(&[1, 1, 0, 0, 0, 0, 0]), xdr(b"file"), words(&[0, 0])].concat();
        tcp(2049, &[(ASK, marked(lookup)), (ANSWER, marked(found))])
    },
    rows: &[Is("nfs_procedure", "3", "6"), Is("nfs.version", "3", "4"), Is("nfs_version", "3", "4")],
};
