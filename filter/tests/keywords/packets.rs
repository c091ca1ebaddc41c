//! Packets, their headers, payloads and flows.

use crate::Row::{Has, Is, Rule};
use crate::story::{ANSWER, ASK, ethernet, ipv4, ipv6, segment, tcp, tcp_segment, udp, udp_datagram};
use crate::{Row, Table};

pub const TABLES: &[&Table] = &[&TCP, &IP, &BROKEN, &ICMP, &ICMP6, &TCP6, &UDP6, &UDP, &TAGGED, &RPC];

const TCP: Table = Table { name: "tcp", header: "alert tcp any any -> any any", frames: stream, rows: TCP_ROWS };

fn stream() -> Vec<Vec<u8>> {
    tcp(9999, &[(ASK, b"one hello\n".to_vec()), (ANSWER, b"two\n".to_vec()), (ASK, b"three\n".to_vec())])
}

const TCP_ROWS: &[Row] = &[
    Is("flags", "S", "FPU"),
    Is("tcp.flags", "S", "FPU"),
    Is("seq", "1000", "7"),
    Is("tcp.seq", "1000", "7"),
    Is("ack", "1001", "7"),
    Is("tcp.ack", "1001", "7"),
    Is("window", "5000", "7"),
    Is("tcp.window", "5000", "7"),
    Is("tcp.mss", "1460", "9"),
    Is("tcp.wscale", "7", "3"),
    Has("tcp.hdr", "|13 88|"),
    Is("tcpv4-csum", "valid", "invalid"),
    Is("flow", "established,to_server", "established,only_frag"),
    Is("flow.age", "<60", ">60"),
    Is("flow.pkts", "toserver,>1", "toserver,>900"),
    Is("flow.bytes", "toserver,>100", "toserver,>90000"),
    Is("flow.pkts_toserver", ">1", ">900"),
    Is("flow.pkts_toclient", ">1", ">900"),
    Is("flow.bytes_toserver", ">100", ">90000"),
    Is("flow.bytes_toclient", ">100", ">90000"),
    Is("stream_size", "client,>,5", "client,>,50000"),
    Rule("flowbits", "content:\"hello\"; $:isnotset,none", "content:\"hello\"; $:isset,none"),
    Rule("flowint", "content:\"hello\"; $:none,notset", "content:\"hello\"; $:none,isset"),
    Rule("xbits", "content:\"hello\"; $:isnotset,none,track ip_src", "content:\"hello\"; $:isset,none,track ip_src"),
    Rule("hostbits", "content:\"hello\"; $:isnotset,none,src", "content:\"hello\"; $:isset,none,src"),
    Rule(
        "threshold",
        "flags:A+; $:type threshold, track by_src, count 2, seconds 60",
        "flags:A+; $:type threshold, track by_src, count 900, seconds 60",
    ),
    Rule(
        "detection_filter",
        "flags:A+; $:track by_src, count 2, seconds 60",
        "flags:A+; $:track by_src, count 900, seconds 60",
    ),
    Rule("tag", "content:\"hello\"; $:session,5,packets", "content:\"none\"; $:session,5,packets"),
    Rule("iprep", "content:\"hello\"; $:src,bad,>,50", "content:\"hello\"; $:dst,bad,>,50"),
    Rule("geoip", "content:\"hello\"; $:src,DE", "content:\"hello\"; $:src,FR"),
    Rule("target", "content:\"hello\"; $:src_ip", "content:\"none\"; $:src_ip"),
    Rule("nfq_set_mark", "content:\"hello\"; $:1/1", "content:\"none\"; $:1/1"),
    Rule("msg", "$:\"a\"; content:\"hello\"", "$:\"a\"; content:\"none\""),
    Rule("sid", "content:\"hello\"", "content:\"none\""),
    Rule("gid", "content:\"hello\"; $:2", "content:\"none\"; $:2"),
    Rule("rev", "content:\"hello\"; $:2", "content:\"none\"; $:2"),
    Rule("gname", "content:\"hello\"; $:\"n\"", "content:\"none\"; $:\"n\""),
    Rule("classtype", "content:\"hello\"; $:misc-activity", "content:\"none\"; $:misc-activity"),
    Rule("priority", "content:\"hello\"; $:2", "content:\"none\"; $:2"),
    Rule("reference", "content:\"hello\"; $:url,a.example", "content:\"none\"; $:url,a.example"),
    Rule("metadata", "content:\"hello\"; $:a b", "content:\"none\"; $:a b"),
    Rule("requires", "$:version >= 7; content:\"hello\"", "$:version >= 7; content:\"none\""),
    Rule("noalert", "content:\"hello\"", "content:\"hello\"; $"),
    Rule("alert", "content:\"hello\"; noalert; $", "content:\"none\"; $"),
    Rule("prefilter", "flags:S; $", "flags:FPU; $"),
];

const IP: Table = Table { name: "ip", header: "alert ip any any -> any any", frames: odd, rows: IP_ROWS };

fn odd() -> Vec<Vec<u8>> {
    let mut same = ipv4(ASK, 47, 0x4000, &[], &[0; 20]);
    let source: Vec<u8> = same[26..30].to_vec();
    same[30..34].copy_from_slice(&source);
    same[24..26].fill(0);
    let sum = !weir_wire::checksum::sum(&same[14..34]).fold();
    same[24..26].copy_from_slice(&sum.to_be_bytes());
    let igmp = [0x16, 0, 0x09, 0xff, 0xe0, 0, 0, 0];
    let mut cut = ipv4(ASK, 17, 0, &[], &[0; 40]);
    cut.truncate(40);
    // A lone end of a connection that nobody saw.
    let fin = segment(ANSWER, 7777, (1, 1), 17, b"", b"");
    vec![
        same,
        ipv4(ASK, 17, 10, &[], &[7; 16]),
        ipv4(ASK, 2, 0, &[0x94, 4, 0, 0], &igmp),
        ipv4(ASK, 132, 0, &[], &[1; 20]),
        cut,
        fin,
    ]
}

const IP_ROWS: &[Row] = &[
    Is("ttl", "64", "9"),
    Is("tos", "16", "1"),
    Is("id", "4660", "1"),
    Is("ip_proto", "132", "133"),
    Rule("sameip", "ip_proto:47; $", "ip_proto:132; $"),
    Is("l3_proto", "ipv4", "ipv6"),
    Has("ipv4.hdr", "|12 34|"),
    Has("ip.src", "|0a 00 00 01|"),
    Has("ip.dst", "|0a 00 00 02|"),
    Has("ether.hdr", "|02 00 00 00 00 02|"),
    Is("ipv4-csum", "valid", "invalid"),
    Is("fragbits", "D", "R"),
    Is("fragoffset", "10", "77"),
    Is("ipopts", "rtralt", "lsrr"),
    Is("igmp.type", "22", "17"),
    Has("igmp.hdr", "|16 00|"),
    Is("stream-event", "fin_but_no_session", "rst_but_no_session"),
];

const BROKEN: Table = Table {
    name: "broken",
    header: "alert pkthdr any any -> any any",
    frames: odd,
    rows: &[
        Is("decode-event", "ipv4.trunc_pkt", "ipv4.hlen_too_small"),
        Is("engine-event", "ipv4.trunc_pkt", "ipv4.hlen_too_small"),
    ],
};

const ICMP: Table = Table {
    name: "icmp",
    header: "alert icmp any any -> any any",
    frames: echo,
    rows: &[
        Is("itype", "8", "3"),
        Is("icode", "0", "4"),
        Is("icmp_id", "7", "8"),
        Is("icmp_seq", "3", "9"),
        Has("icmpv4.hdr", "|08 00|"),
        Is("icmpv4-csum", "valid", "invalid"),
    ],
};

fn echo() -> Vec<Vec<u8>> {
    let mut message = vec![8, 0, 0, 0, 0, 7, 0, 3, 1, 2, 3, 4];
    let sum = !weir_wire::checksum::sum(&message).fold();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    vec![ipv4(ASK, 1, 0, &[], &message)]
}

const ICMP6: Table = Table {
    name: "icmpv6",
    header: "alert ip any any -> any any",
    frames: too_big,
    rows: &[
        Is("icmpv6.mtu", "1280", "7"),
        Has("icmpv6.hdr", "|02 00|"),
        Is("icmpv6-csum", "valid", "invalid"),
        Has("ipv6.hdr", "|60 00 00 00|"),
    ],
};

fn too_big() -> Vec<Vec<u8>> {
    let quoted = ipv6(ANSWER, 17, 6, udp_datagram(ANSWER, (1, 2), b"quoted"));
    vec![ipv6(ASK, 58, 2, [&[2, 0, 0, 0, 0, 0, 5, 0][..], &quoted[14..]].concat())]
}

const TCP6: Table = Table {
    name: "tcp over ipv6",
    header: "alert tcp any any -> any any",
    frames: || vec![ipv6(ASK, 6, 16, tcp_segment(ASK, 80, (1, 0), 2, b"", b""))],
    rows: &[Is("tcpv6-csum", "valid", "invalid")],
};

const UDP6: Table = Table {
    name: "udp over ipv6",
    header: "alert udp any any -> any any",
    frames: || vec![ipv6(ASK, 17, 6, udp_datagram(ASK, (4000, 9), b"x"))],
    rows: &[Is("udpv6-csum", "valid", "invalid")],
};

const UDP: Table = Table { name: "payload", header: "alert udp any any -> any any", frames: payload, rows: UDP_ROWS };

fn payload() -> Vec<Vec<u8>> {
    let der = b"\x30\x82\x0f\xff\x04\x82\x0f\xf0abc";
    udp(9999, &[(ASK, b"hello WORLD 12345 aGVsbG8= end".to_vec()), (ASK, der.to_vec())])
}

const UDP_ROWS: &[Row] = &[
    Is("content", "\"hello\"", "\"none\""),
    Rule("nocase", "content:\"HELLO\"; $", "content:\"NONE\"; $"),
    Rule("rawbytes", "content:\"hello\"; $", "content:\"none\"; $"),
    Rule("offset", "content:\"WORLD\"; $:6", "content:\"WORLD\"; $:7"),
    Rule("depth", "content:\"hello\"; $:5", "content:\"WORLD\"; $:5"),
    Rule("distance", "content:\"hello\"; content:\"WORLD\"; $:1", "content:\"hello\"; content:\"WORLD\"; $:2"),
    Rule("within", "content:\"hello\"; content:\"WORLD\"; $:6", "content:\"hello\"; content:\"WORLD\"; $:5"),
    Rule("startswith", "content:\"hello\"; $", "content:\"WORLD\"; $"),
    Rule("endswith", "content:\"end\"; $", "content:\"hello\"; $"),
    Rule("fast_pattern", "content:\"hello\"; content:\"end\"; $", "content:\"hello\"; content:\"none\"; $"),
    Rule("replace", "content:\"hello\"; $:\"jello\"", "content:\"none!\"; $:\"jello\""),
    Is("pcre", "\"/w[o]rld/i\"", "\"/w[o]rld/\""),
    Is("isdataat", "20", "500"),
    Is("dsize", "30", "31"),
    Rule("entropy", "content:\"hello\"; $:value > 2", "content:\"hello\"; $:value > 7"),
    Is("byte_test", "5,=,12345,12,string,dec", "5,=,12346,12,string,dec"),
    Rule(
        "byte_jump",
        "$:1,12,string,dec; content:\"345\"; distance:0",
        "$:1,12,string,dec; content:\"12345\"; distance:0",
    ),
    Rule(
        "byte_extract",
        "$:1,12,n,string,dec; content:\"ello\"; offset:n",
        "$:1,12,n,string,dec; content:\"hello\"; offset:n",
    ),
    Rule(
        "byte_math",
        "$:bytes 1, offset 12, oper +, rvalue 1, result m, string dec; content:\"llo\"; offset:m",
        "$:bytes 1, offset 12, oper +, rvalue 1, result m, string dec; content:\"ello\"; offset:m",
    ),
    Rule(
        "base64_decode",
        "content:\"12345 \"; $:bytes 8, offset 0, relative; base64_data; content:\"hello\"",
        "content:\"12345 \"; $:bytes 8, offset 0, relative; base64_data; content:\"none\"",
    ),
    Rule(
        "base64_data",
        "content:\"12345 \"; base64_decode:bytes 8, offset 0, relative; $; content:\"hello\"",
        "content:\"12345 \"; base64_decode:bytes 8, offset 0, relative; $; content:\"aGVs\"",
    ),
    Has("pkt_data", "hello"),
    Is("asn1", "oversize_length 500, absolute_offset 0", "oversize_length 5000, absolute_offset 0"),
    Has("udp.hdr", "|9c 40 27 0f|"),
    Is("udpv4-csum", "valid", "invalid"),
];

const TAGGED: Table = Table {
    name: "vlan",
    header: "alert ip any any -> any any",
    frames: || {
        let inner = ipv4(ASK, 132, 0, &[], &[1; 20]);
        vec![ethernet(ASK, 0x8100, &[&[0, 30, 0x81, 0, 0, 40][..], &inner[12..]].concat())]
    },
    rows: &[Is("vlan.id", "30", "31"), Is("vlan.layers", "2", "1")],
};

const RPC: Table = Table {
    name: "rpc",
    header: "alert udp any any -> any any",
    frames: || {
        let words: [u32; 10] = [7, 0, 2, 100_000, 2, 3, 0, 0, 0, 0];
        udp(111, &[(ASK, words.iter().flat_map(|word| word.to_be_bytes()).collect())])
    },
    rows: &[Is("rpc", "100000,2,3", "100000,2,4")],
};
