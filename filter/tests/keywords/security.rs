//! TLS, SSH, SMB, DCERPC, Kerberos, IKE.

use crate::Row::{Has, Is, Rule};
use crate::Table;
use crate::story::{ANSWER, ASK, Said, tcp, udp_between};

pub const TABLES: &[&Table] = &[&TLS, &SSH, &SMB, &DCERPC, &KERBEROS, &IKE];

const TLS: Table = Table {
    name: "tls",
    header: "alert tls any any -> any any",
    frames: tls,
    rows: &[
        Has("tls.sni", "www.example.org"),
        Has("tls_sni", "www.example.org"),
        Has("tls.alpn", "h2"),
        Is("tls.alpn_count", "2", "3"),
        Has("tls.cert_subject", "CN=subject"),
        Has("tls_cert_subject", "CN=subject"),
        Has("tls.cert_issuer", "CN=issuer"),
        Has("tls_cert_issuer", "CN=issuer"),
        Has("tls.cert_serial", "0A:BC"),
        Has("tls_cert_serial", "0A:BC"),
        Rule(
            "tls.cert_fingerprint",
            "$; pcre:\"/^([0-9a-f]{2}:){19}[0-9a-f]{2}/\"",
            "$; content:\"00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00\"",
        ),
        Rule(
            "tls_cert_fingerprint",
            "$; pcre:\"/^([0-9a-f]{2}:){19}[0-9a-f]{2}/\"",
            "$; content:\"00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00\"",
        ),
        Has("tls.certs", "|30 82|"),
        Has("tls.random", "|07 07 07 07|"),
        Rule("tls.random_time", "$; content:\"|07 07 07 07|\"; bsize:4", "$; content:\"zq\""),
        Rule("tls.random_bytes", "$; content:\"|07 07|\"; bsize:28", "$; content:\"zq\""),
        Has("tls.subjectaltname", "a.example"),
        Is("tls.cert_chain_len", "2", "3"),
        Rule("ja3.hash", "$; bsize:32", "$; content:\"00000000000000000000000000000000\""),
        Rule("ja3_hash", "$; bsize:32", "$; content:\"00000000000000000000000000000000\""),
        Has("ja3.string", "771,4865-49195,0-10-11-16,29,0"),
        Has("ja3_string", "771,4865-49195"),
        Rule("ja3s.hash", "$; bsize:32", "$; content:\"00000000000000000000000000000000\""),
        Has("ja3s.string", "771,49195,65281"),
        Rule("ja4.hash", "$; content:\"t12d0204h2_\"", "$; content:\"zq\""),
        Rule("ssl_version", "$:tls1.2", "$:sslv3"),
        Rule("ssl_state", "$:server_hello", "$:client_keyx"),
        Rule("tls.version", "$:1.2", "$:1.0"),
        Rule("tls.subject", "$:\"CN=subject\"", "$:\"CN=other\""),
        Rule("tls.issuerdn", "$:\"CN=issuer\"", "$:\"CN=other\""),
        Rule("tls.fingerprint", "$:!\"00:11\"", "$:\"00:11\""),
        Is("tls_cert_notbefore", "<2023-01-01", ">2023-01-01"),
        Is("tls.cert_notbefore", "<2023-01-01", ">2023-01-01"),
        Is("tls_cert_notafter", "<2024-01-01", ">2024-01-01"),
        Is("tls.cert_notafter", "<2024-01-01", ">2024-01-01"),
        Rule("tls_cert_expired", "$", "$; tls.sni; content:\"none\""),
        Rule("tls.cert_expired", "$", "$; tls.sni; content:\"none\""),
        Rule("tls_cert_valid", "tls.sni; content:\"www.example.org\"", "$"),
        Rule("tls.cert_valid", "tls.sni; content:\"www.example.org\"", "$"),
        Rule("frame", "$:tls.pdu; content:\"www.example.org\"", "$:tls.pdu; content:\"none\""),
    ],
};

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

fn record(body: &[u8]) -> Vec<u8> {
    [&[22, 3, 3][..], &prefixed(body)].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(body)].concat()
}

/// A DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = match body.len() {
        short @ 0..=127 => vec![short as u8],
        long => vec![0x82, (long >> 8) as u8, long as u8],
    };
    [&[tag][..], &length, &body].concat()
}

fn named(common: &str) -> Vec<u8> {
    let attribute = der(0x30, &[&der(6, &[&[0x55, 4, 3]]), &der(0x0c, &[common.as_bytes()])]);
    der(0x30, &[&der(0x31, &[&attribute])])
}

fn certificate() -> Vec<u8> {
    let algorithm = der(0x30, &[&der(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]])]);
    let validity = der(0x30, &[&der(0x17, &[b"221201064731Z"]), &der(0x17, &[b"230301064730Z"])]);
    let key = der(0x30, &[&algorithm, &der(3, &[&[0, 0x30, 0]])]);
    let names = der(0x30, &[&der(0x82, &[b"a.example"])]);
    let alternative = der(0x30, &[&der(6, &[&[0x55, 0x1d, 17]]), &der(4, &[&names])]);
    let signed = der(
        0x30,
        &[
            &der(0xa0, &[&der(2, &[&[2]])]),
            &der(2, &[&[0x0a, 0xbc]]),
            &algorithm,
            &named("issuer"),
            &validity,
            &named("subject"),
            &key,
            &der(0xa3, &[&der(0x30, &[&alternative])]),
        ],
    );
    der(0x30, &[&signed, &algorithm, &der(3, &[&[0, 1]])])
}

fn tls() -> Vec<Vec<u8>> {
    let name = prefixed(&[&[0][..], &prefixed(b"www.example.org")].concat());
    let extensions = [
        extension(0, &name),
        extension(10, &prefixed(&[0, 29])),
        extension(11, &[1, 0]),
        extension(16, &prefixed(b"\x02h2\x08http/1.1")),
    ];
    let ciphers = prefixed(&[0x13, 0x01, 0xc0, 0x2b]);
    let client = [&[3, 3][..], &[7; 32], &[0], &ciphers, &[1, 0], &prefixed(&extensions.concat())].concat();
    let server = [&[3, 3][..], &[9; 32], &[0, 0xc0, 0x2b, 0], &prefixed(&extension(0xff01, &[0]))].concat();
    let one = certificate();
    let entry = [&(one.len() as u32).to_be_bytes()[1..], &one].concat();
    let list = [entry.clone(), entry].concat();
    let list = [&(list.len() as u32).to_be_bytes()[1..], &list].concat();
    let answer = [message(2, &server), message(11, &list), message(14, &[])].concat();
    tcp(443, &[(ASK, record(&message(1, &client))), (ANSWER, record(&answer))])
}

const SSH: Table = Table {
    name: "ssh",
    header: "alert ssh any any -> any any",
    frames: ssh,
    rows: &[
        Has("ssh.proto", "2.0"),
        Has("ssh_proto", "2.0"),
        Has("ssh.software", "Client_1"),
        Has("ssh_software", "Server_2"),
        Rule("ssh.hassh", "$; bsize:32", "$; content:\"00000000000000000000000000000000\""),
        Has("ssh.hassh.string", "k1,k2|3b|ec|3b|mc|3b|zc"),
        Rule("ssh.hassh.server", "$; bsize:32", "$; content:\"00000000000000000000000000000000\""),
        Has("ssh.hassh.server.string", "k1,k2|3b|es|3b|ms|3b|zs"),
        Is("ssh.protoversion", "2_compat", "1.5"),
        Is("ssh.softwareversion", "\"Client_1\"", "\"none\""),
    ],
};

fn ssh() -> Vec<Vec<u8>> {
    let mut body = vec![0xa5; 16];
    for list in ["k1,k2", "host", "ec", "es", "mc", "ms", "zc", "zs", "", ""] {
        body.extend((list.len() as u32).to_be_bytes());
        body.extend(list.as_bytes());
    }
    body.extend([0; 5]);
    let offers = [&(body.len() as u32 + 6).to_be_bytes()[..], &[4, 20], &body, &[0; 4]].concat();
    tcp(
        22,
        &[
            (ANSWER, [&b"SSH-2.0-Server_2\r\n"[..], &offers].concat()),
            (ASK, [&b"SSH-2.0-Client_1\r\n"[..], &offers].concat()),
        ],
    )
}

const SMB: Table = Table {
    name: "smb",
    header: "alert smb any any -> any any",
    frames: smb,
    rows: &[
        Has("smb.share", "PUB"),
        Has("smb_share", "PUB"),
        Has("smb.named_pipe", "svcctl"),
        Has("smb_named_pipe", "svcctl"),
        Has("smb.named.pipe", "svcctl"),
        Has("smb.ntlmssp_user", "me"),
        Has("smb.ntlmssp_domain", "DOM"),
        Is("smb.version", "2", "1"),
    ],
};

fn framed(record: &[u8]) -> Vec<u8> {
    [&(record.len() as u32).to_be_bytes()[..], record].concat()
}

/// A record of SMB 2, in tree 5 or 6.
fn two(command: u16, reply: bool, id: (u64, u8), body: &[u8]) -> Vec<u8> {
    let mut out = b"\xfeSMB\x40\0\x01\0\0\0\0\0".to_vec();
    out.extend(command.to_le_bytes());
    out.extend([1, 0, u8::from(reply), 0, 0, 0, 0, 0, 0, 0]);
    out.extend(id.0.to_le_bytes());
    out.extend([0, 0, 0, 0, id.1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([0; 16]);
    out.extend(body);
    framed(&out)
}

fn wide(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| [byte, 0]).collect()
}

fn smb() -> Vec<Vec<u8>> {
    let mut blob = b"NTLMSSP\0\x03\0\0\0".to_vec();
    blob.extend([0; 16]);
    for (length, at) in [(6u8, 72u8), (4, 78), (4, 82)] {
        blob.extend([length, 0, length, 0, at, 0, 0, 0]);
    }
    blob.extend([0; 8]);
    blob.extend([0, 0, 0, 2, 10, 0, 0x63, 0x45, 0, 0, 0, 15]);
    blob.extend(wide("DOMmePC"));
    let setup = [&[25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0, blob.len() as u8, 0][..], &[0; 8], &blob].concat();
    let connect = |path: &str| {
        let path = wide(path);
        [&[9, 0, 0, 0, 72, 0, path.len() as u8, 0][..], &path].concat()
    };
    let connected = |kind: u8| [&[16, 0, kind][..], &[0; 13]].concat();
    let pipe = wide("svcctl");
    let create =
        [&[57, 0][..], &[0; 34], &[1, 0, 0, 0, 0, 0, 0, 0, 120, 0, pipe.len() as u8, 0], &[0; 8], &pipe].concat();
    let created = [&[89, 0][..], &[0; 62], &[3; 16]].concat();
    let said: Said = vec![
        (ASK, two(1, false, (1, 0), &setup)),
        (ANSWER, two(1, true, (1, 0), &[9, 0, 0, 0, 72, 0, 0, 0])),
        (ASK, two(3, false, (2, 0), &connect("\\\\host\\PUB"))),
        (ANSWER, two(3, true, (2, 5), &connected(1))),
        (ASK, two(3, false, (3, 0), &connect("\\\\host\\svcctl"))),
        (ANSWER, two(3, true, (3, 6), &connected(2))),
        (ASK, two(5, false, (4, 6), &create)),
        (ANSWER, two(5, true, (4, 6), &created)),
    ];
    tcp(445, &said)
}

const DCERPC: Table = Table {
    name: "dcerpc",
    header: "alert dcerpc any any -> any any",
    frames: dcerpc,
    rows: &[
        Rule("dcerpc.iface", "$:12345678-1234-abcd-ef00-01234567cffb", "$:99999999-1234-abcd-ef00-01234567cffb"),
        Rule("dce_iface", "$:12345678-1234-abcd-ef00-01234567cffb", "$:99999999-1234-abcd-ef00-01234567cffb"),
        Is("dcerpc.opnum", "26", "27"),
        Is("dce_opnum", "20-30", "27"),
        Has("dcerpc.stub_data", "stub"),
        Has("dce_stub_data", "stub"),
    ],
};

fn call(kind: u8, number: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![5, 0, kind, 3, 0x10, 0, 0, 0];
    out.extend((16 + body.len() as u16).to_le_bytes());
    out.extend([0, 0]);
    out.extend(number.to_le_bytes());
    out.extend(body);
    out
}

fn dcerpc() -> Vec<Vec<u8>> {
    let mut bind = vec![0; 8];
    bind.extend([1, 0, 0, 0, 1, 0, 1, 0, 0x78, 0x56, 0x34, 0x12, 0x34, 0x12, 0xcd, 0xab]);
    bind.extend([0xef, 0, 1, 0x23, 0x45, 0x67, 0xcf, 0xfb, 1, 0, 0, 0]);
    bind.extend([0; 20]);
    let mut bound = vec![0; 8];
    bound.extend([4, 0, b'1', b'3', b'5', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    bound.extend([0; 20]);
    let request = [&[0, 0, 0, 0, 1, 0, 26, 0][..], b"stub"].concat();
    tcp(
        135,
        &[
            (ASK, call(11, 1, &bind)),
            (ANSWER, call(12, 1, &bound)),
            (ASK, call(0, 2, &request)),
            (ANSWER, call(2, 2, &[&[0; 8][..], b"answer"].concat())),
        ],
    )
}

const KERBEROS: Table = Table {
    name: "krb5",
    header: "alert krb5 any any -> any any",
    frames: kerberos,
    rows: &[
        Is("krb5_msg_type", "10", "12"),
        Is("krb5_err_code", "25", "6"),
        Has("krb5.cname", "me"),
        Has("krb5_cname", "me"),
        Has("krb5.sname", "cifs"),
        Has("krb5_sname", "cifs"),
        Is("krb5.ticket_encryption", "rc4-hmac", "aes256-cts-hmac-sha1-96"),
    ],
};

fn kerberos() -> Vec<Vec<u8>> {
    let int = |value: u8| der(2, &[&[value]]);
    let text = |text: &str| der(0x1b, &[text.as_bytes()]);
    let names = |parts: &[&str]| {
        let all: Vec<u8> = parts.iter().flat_map(|part| text(part)).collect();
        der(0x30, &[&der(0xa0, &[&int(1)]), &der(0xa1, &[&der(0x30, &[&all])])])
    };
    let sealed = |kind: u8| der(0x30, &[&der(0xa0, &[&int(kind)]), &der(0xa2, &[&der(4, &[b"secret"])])]);
    let body = der(
        0x30,
        &[
            &der(0xa1, &[&names(&["me"])]),
            &der(0xa2, &[&text("REALM")]),
            &der(0xa3, &[&names(&["krbtgt", "REALM"])]),
            &der(0xa8, &[&der(0x30, &[&int(18), &int(23)])]),
        ],
    );
    let request = der(0x6a, &[&der(0x30, &[&der(0xa1, &[&int(5)]), &der(0xa2, &[&int(10)]), &der(0xa4, &[&body])])]);
    let ticket = der(
        0x61,
        &[&der(
            0x30,
            &[
                &der(0xa0, &[&int(5)]),
                &der(0xa1, &[&text("REALM")]),
                &der(0xa2, &[&names(&["cifs", "host"])]),
                &der(0xa3, &[&sealed(23)]),
            ],
        )],
    );
    let reply = der(
        0x6b,
        &[&der(
            0x30,
            &[
                &der(0xa0, &[&int(5)]),
                &der(0xa1, &[&int(11)]),
                &der(0xa3, &[&text("REALM")]),
                &der(0xa4, &[&names(&["me"])]),
                &der(0xa5, &[&ticket]),
                &der(0xa6, &[&sealed(18)]),
            ],
        )],
    );
    let error = der(0x7e, &[&der(0x30, &[&der(0xa0, &[&int(5)]), &der(0xa6, &[&int(25)])])]);
    tcp(88, &[(ASK, framed(&request)), (ANSWER, framed(&error)), (ASK, framed(&request)), (ANSWER, framed(&reply))])
}

const IKE: Table = Table {
    name: "ike",
    header: "alert ike any any -> any any",
    frames: ike,
    rows: &[
        Has("ike.init_spi", "0707070707070707"),
        Has("ike.resp_spi", "0000000000000000"),
        Has("ike.vendor", "abcd"),
        Has("ike.key_exchange_payload", "key"),
        Has("ike.nonce_payload", "nonce"),
        Is("ike.exchtype", "2", "34"),
        Is("ike.key_exchange_payload_length", "3", "9"),
        Is("ike.nonce_payload_length", "5", "9"),
        Is("ike.chosen_sa_attribute", "alg_hash=2", "alg_hash=1"),
    ],
};

fn ike() -> Vec<Vec<u8>> {
    let payload = |next: u8, body: &[u8]| [&[next, 0][..], &(body.len() as u16 + 4).to_be_bytes(), body].concat();
    let attributes = [0x80, 1, 0, 7, 0x80, 2, 0, 2];
    let transform = [&[0, 0][..], &(attributes.len() as u16 + 8).to_be_bytes(), &[1, 1, 0, 0], &attributes].concat();
    let proposal = [&[0, 0][..], &(transform.len() as u16 + 8).to_be_bytes(), &[1, 1, 0, 1], &transform].concat();
    let association = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &proposal].concat();
    let payloads =
        [payload(4, &association), payload(10, b"key"), payload(13, b"nonce"), payload(0, &[0xab, 0xcd])].concat();
    let length = (payloads.len() as u32 + 28).to_be_bytes();
    let message = [&[7; 8][..], &[0; 8], &[1, 0x10, 2, 0, 0, 0, 0, 0], &length, &payloads].concat();
    udp_between((500, 500), &[(ASK, message.clone()), (ANSWER, message)])
}
