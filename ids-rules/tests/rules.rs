//! Rule sets as people write them: what loads, what is refused, and how that is said.

use weir_ids_rules::rule::{Action, FlowState, Match, Position, RejectTo, Value};
use weir_ids_rules::{Kind, RuleSet, Severity, Source, Variables};

fn parse(text: &str) -> (RuleSet, Vec<weir_ids_rules::Diagnostic>) {
    RuleSet::parse(&[Source { name: "t.rules", text }], &Variables::default())
}

/// A rule with these options is refused with this kind, at the first place of `place`.
#[track_caller]
fn refused(options: &str, kind: Kind, place: &str) {
    let text = format!("alert tcp any any -> any any ({options} sid:1;)");
    let (set, problems) = parse(&text);
    assert!(set.rules().is_empty(), "{options} is loaded");
    assert_eq!(problems[0].kind, kind, "{}", problems[0]);
    let column = text.find(place).map_or(0, |at| at + 1);
    assert_eq!(problems[0].column as usize, column, "{}", problems[0]);
}

#[track_caller]
fn loaded(options: &str) {
    let (set, problems) = parse(&format!("alert tcp any any -> any any ({options} sid:1;)"));
    assert_eq!(set.rules().len(), 1, "{}", problems[0]);
}

#[test]
fn a_whole_rule_becomes_what_it_says() {
    let text = r#"rejectboth tcp [10.0.0.0/8,!10.1.0.0/16] 1024: -> $HOME_NET $HTTP_PORTS (msg:"a\; \"b\""; flow:to_server,established; content:"|41|b"; nocase; offset:2; depth:8; content:!"x"; distance:-3; within:9; pcre:"/a\/b/Ri"; reference:cve,2020-1; metadata:a b, c d e; classtype:web-application-attack; target:dest_ip; sid:7; gid:3; rev:2;)"#;
    let (set, problems) = parse(text);
    assert!(problems.is_empty(), "{}", problems[0]);
    let rule = &set.rules()[0];
    assert_eq!((rule.gid, rule.sid, rule.rev, rule.priority), (3, 7, 2, 1));
    assert_eq!(rule.action, Action::Reject(RejectTo::Both));
    assert_eq!(rule.msg, "a; \"b\"");
    assert_eq!(rule.flow.state, FlowState::Established);
    assert_eq!(rule.metadata, [("a".into(), "b".into()), ("c".into(), "d e".into())]);
    let Match::Content(first) = &rule.sections[0].matches[0] else { panic!() };
    assert_eq!((first.bytes.as_slice(), first.nocase), (b"Ab".as_slice(), true));
    assert_eq!(first.position, Position::Absolute { offset: Value::Number(2), depth: Some(Value::Number(8)) });
    let Match::Content(second) = &rule.sections[0].matches[1] else { panic!() };
    assert!(second.negated);
    assert_eq!(second.position, Position::Relative { distance: Value::Number(-3), within: Some(Value::Number(9)) });
    let Match::Pcre(third) = &rule.sections[0].matches[2] else { panic!() };
    assert!(third.relative && third.flags.caseless);
    assert!(rule.source.addresses.contains("10.2.0.1".parse().unwrap()));
    assert!(!rule.source.addresses.contains("10.1.0.1".parse().unwrap()));
}

#[test]
fn what_contradicts_itself_is_refused_at_its_place() {
    refused(r#"content:"abc"; depth:2;"#, Kind::Conflict, "depth");
    refused(r#"content:"abc"; within:2;"#, Kind::Conflict, "within");
    refused(r#"content:"abc"; offset:1; distance:1;"#, Kind::Conflict, "distance");
    refused(r#"content:"abc"; distance:1; depth:9;"#, Kind::Conflict, "depth");
    refused(r#"content:"abc"; startswith; offset:1; depth:9;"#, Kind::Conflict, "offset");
    refused(r#"content:"abc"; nocase; nocase;"#, Kind::Conflict, "nocase; sid");
    refused("nocase;", Kind::Conflict, "nocase");
    refused(r#"content:"abc"; fast_pattern; content:"d"; fast_pattern;"#, Kind::Conflict, "\"d\"");
    refused(r#"content:"abc"; depth:3; fast_pattern:only;"#, Kind::Conflict, "\"abc\"");
    refused(r#"content:"abc"; fast_pattern:2,2;"#, Kind::Conflict, "2,2");
    refused(r#"content:"abc"; fast_pattern:only; content:"d"; distance:0;"#, Kind::Conflict, "\"d\"");
    refused("flow:to_server,to_client;", Kind::Conflict, "to_client");
    refused("flow:established,not_established;", Kind::Conflict, "not_established");
    refused("flow:only_stream,no_stream;", Kind::Conflict, "flow");
    refused("itype:8;", Kind::Conflict, "alert");
    refused("flow:only_stream; ttl:5;", Kind::Conflict, "alert");
    refused(r#"flow:only_stream; tcp.hdr; content:"a";"#, Kind::Conflict, "alert");
    refused(r#"udp.hdr; content:"a";"#, Kind::Conflict, "alert");
    refused(r#"msg:"";"#, Kind::Value, "\"\"");
    refused("rev:0;", Kind::Value, "0;");
    refused("tls_cert_notbefore:<soon;", Kind::Value, "<soon");
    refused("tls_cert_notafter:2015-10-22<>2015-10-21;", Kind::Value, "2015-10-22");
    refused("ike.chosen_sa_attribute:frob=2;", Kind::Value, "frob");
    refused("dcerpc.iface:12345678-1234-1234-1234-123456789abc,?1;", Kind::Value, "1234");
    refused("byte_test:4,>,1,0,dce,string,dec;", Kind::Conflict, "4,>");
    loaded("ssl_version:!tls1.0,!tls1.2;");
    loaded("tls_cert_notafter:2015-10-21<>2015-10-22T10:00:00; tls_cert_notbefore:>2014;");
    loaded("dcerpc.iface:12345678-1234-1234-1234-123456789abc,=1,any_frag;");
    loaded("ike.chosen_sa_attribute:alg_hash=2;");
    refused(r#"content:"abc"; rawbytes; http_uri;"#, Kind::Conflict, "http_uri");
    refused(r#"pcre:"/abc/UU";"#, Kind::Conflict, "U\"");
    refused(r#"content:"a"; sid:2;"#, Kind::Conflict, "sid:1");
}

#[test]
fn what_the_headers_protocol_does_not_have_is_refused() {
    for (protocol, options) in [
        ("tcp-pkt", r#"http.uri; content:"a";"#),
        ("tcp-pkt", r#"app-layer-event:http.missing_host_header;"#),
        ("tcp-stream", "ttl:5;"),
        ("udp", r#"tcp.hdr; content:"a";"#),
        ("icmp", r#"udp.hdr; content:"a";"#),
        ("dns", r#"file.data; content:"a";"#),
        ("ftp", r#"filename:"a";"#),
    ] {
        let (set, problems) = parse(&format!("alert {protocol} any any -> any any ({options} sid:1;)"));
        assert!(set.rules().is_empty(), "{protocol} {options} is loaded");
        assert_eq!(problems[0].kind, Kind::Conflict, "{}", problems[0]);
    }
    for (protocol, options) in [
        ("tcp-pkt", r#"content:"a"; ttl:5;"#),
        ("ip", r#"udp.hdr; content:"a";"#),
        ("smb", r#"tcp.hdr; content:"a";"#),
        ("smb", r#"filename:"a";"#),
        ("ftp-data", r#"file.data; content:"a";"#),
    ] {
        let (set, problems) = parse(&format!("alert {protocol} any any -> any any ({options} sid:1;)"));
        assert_eq!(set.rules().len(), 1, "{protocol} {options}: {}", problems[0]);
    }
}

#[test]
fn what_is_not_supported_is_named() {
    refused("frobnicate:1;", Kind::UnsupportedKeyword, "frobnicate");
    refused("lua:x.lua;", Kind::UnsupportedKeyword, "lua");
    refused(r#"pcre:"/a/q";"#, Kind::UnsupportedValue, "q\"");
    refused(r#"content:"a"; within:length;"#, Kind::Value, "length");
    refused("flowbits:frob,x;", Kind::UnsupportedValue, "frob");
    refused("flow:sideways;", Kind::UnsupportedValue, "sideways");
    for (text, kind, subject) in [
        ("alert gopher any any -> any any (sid:1;)", Kind::UnsupportedProtocol, "gopher"),
        ("sdrop tcp any any -> any any (sid:1;)", Kind::UnsupportedAction, "sdrop"),
        ("alert tcp $NOWHERE any -> any any (sid:1;)", Kind::Variable, "NOWHERE"),
    ] {
        let (_, problems) = parse(text);
        assert_eq!((problems[0].kind, problems[0].subject.as_str()), (kind, subject));
        assert!(!problems[0].remedy.is_empty());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    refused(r#"content:"";"#, Kind::Value, "\"\"");
    refused(r#"content:"|4|";"#, Kind::Value, "|4|");
    refused("content:abc;", Kind::Value, "abc");
    refused(r#"content:"abc;"#, Kind::Syntax, "\"abc");
    refused("dsize:<0;", Kind::Value, "<0");
    refused("flags:Z;", Kind::Value, "Z");
    refused("ipv4-csum:maybe;", Kind::Value, "maybe");
    refused("l3_proto:ipv5;", Kind::Value, "ipv5");
    refused("rpc:portmap;", Kind::Value, "portmap");
    refused("asn1:foo;", Kind::Value, "foo");
    refused("asn1:relative_offset 3;", Kind::Value, "relative");
    refused("modbus:function 300;", Kind::Value, "function");
    refused("ike.exchtype:300;", Kind::Value, "300");
    refused(r#"pcre:"abc";"#, Kind::Value, "abc");
    refused("priority:0;", Kind::Value, "0;");
    refused("threshold:type limit, track by_src, count 1;", Kind::Value, "type");
    refused("detection_filter:track by_src, count 1, seconds 1, unique_on port;", Kind::UnsupportedValue, "unique_on");
    let unique = "threshold:type limit, track by_src, count 1, seconds 1, unique_on src_port;";
    refused(unique, Kind::Conflict, "unique_on");
    for text in [
        "alert",
        "alert tcp any any -> any any",
        "alert tcp any any any any (sid:1;)",
        "(sid:1;)",
        "alert tcp any any -> any any (sid:1;",
        "alert tcp any any -> any any (sid:1)",
        "alert tcp any any <- any any (sid:1;)",
    ] {
        assert_eq!(parse(text).1[0].kind, Kind::Syntax, "{text}");
    }
    assert_eq!(parse("alert tcp any any -> any any (msg:\"x\";)").1[0].kind, Kind::MissingSid);
    assert_eq!(parse("alert icmp any 80 -> any any (sid:1;)").1[0].kind, Kind::Header);
}

#[test]
fn a_buffer_that_is_to_be_absent_has_nothing_in_it() {
    refused_rule("alert http any any -> any any", r#"http.referer; absent; content:"a";"#);
    loaded_rule("alert http any any -> any any", "http.referer; absent;");
    loaded_rule("alert http any any -> any any", r#"http.referer; absent: or_else; content:!"a";"#);
}

#[test]
fn what_people_write_in_practice_loads() {
    loaded("tcpv4-csum:invalid; l3_proto:ipv4;");
    loaded("rpc:100000,*,3;");
    loaded("rpc:100003,2;");
    loaded("asn1:double_overflow, bitstring_overflow, relative_offset 27, oversize_length 2048;");

    loaded(r#"content:"a"; distance:0; content:"b"; distance:0;"#);
    loaded("metadata: former_category TROJAN; ");
    loaded("flags:S,12; threshold: type both, track by_src, count 5, seconds 60;");
    loaded("detection_filter: track by_src, count 5, seconds 60, unique_on dst_port;");
    loaded("flow:established,to_server; flowbits:isset,a|b; flowbits:set,c; flowbits:noalert;");
    loaded(r#"content: "a" ; content:! "b"; within:10;"#);
    loaded(r#"content:"a"; isdataat:!1,relative; isdataat:10,rawbytes;"#);
    loaded("dsize:10<>20; ttl:>3; window:!0;");
}

#[test]
fn a_bad_rule_is_left_out_and_shown_the_others_load() {
    let text =
        "alert tcp any any -> any any (msg:\"fine\"; sid:1;)\n\nalert tcp any any -> any any \\\n  (frob; sid:2;)\n";
    let (set, problems) = parse(text);
    assert_eq!((set.summary().loaded, set.summary().refused), (1, 1));
    let expected = "error: the keyword 'frob' is not supported (sid 2)\n --> t.rules:4:4\n  |\n4 |   (frob; sid:2;)\n  |    ^^^^\n  = help: write the rule without it, or leave the rule out";
    assert_eq!(problems[0].to_string(), expected);
    assert!(RuleSet::parse_strict(&[Source { name: "t", text }], &Variables::default()).is_err());
}

#[test]
fn of_two_revisions_the_newer_is_kept() {
    let rule = |rev: u32, msg: &str| format!("alert tcp any any -> any any (msg:\"{msg}\"; sid:5; rev:{rev};)\n");
    let (set, problems) = parse(&(rule(1, "old") + &rule(3, "new")));
    assert_eq!((set.rules().len(), set.rules()[0].msg.as_str(), set.summary().replaced), (1, "new", 1));
    assert!(problems.is_empty());
    let (set, problems) = parse(&(rule(3, "new") + &rule(3, "twin")));
    assert_eq!((set.rules()[0].msg.as_str(), problems[0].kind), ("new", Kind::Duplicate));
}

#[test]
fn unknown_classtypes_are_warned_about_and_load() {
    let (set, problems) = parse("alert tcp any any -> any any (classtype:unheard-of; sid:1;)");
    assert_eq!((set.rules()[0].priority, problems[0].severity), (3, Severity::Warning));
}

#[test]
fn rules_beyond_a_limit_are_refused() {
    let long = format!("alert tcp any any -> any any (msg:\"{}\"; sid:1;)", "x".repeat(40_000));
    assert_eq!(parse(&long).1[0].kind, Kind::Limit);
    let many = format!("alert tcp any any -> any any ({} sid:1;)", "nocase;".repeat(600));
    assert_eq!(parse(&many).1[0].kind, Kind::Limit);
    let contents = format!("alert tcp any any -> any any ({} sid:1;)", "content:\"a\";".repeat(200));
    assert_eq!(parse(&contents).1[0].kind, Kind::Limit);
    let nested = format!("alert tcp {}1.1.1.1{} any -> any any (sid:1;)", "[".repeat(30), "]".repeat(30));
    assert_eq!(parse(&nested).1[0].kind, Kind::Limit);
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn no_text_makes_it_panic_and_diagnostics_can_be_shown() {
    let starter = weir_ids_rules::builtin("starter").unwrap();
    let lines: Vec<&str> = starter.lines().filter(|l| !l.starts_with('#')).collect();
    let pieces = [
        "\"",
        "\\",
        ";",
        "(",
        ")",
        "|",
        "!",
        "[",
        "]",
        ":",
        ",",
        "$",
        "ä",
        "\u{0}",
        "-",
        "<>",
        "any",
        "content",
        "pcre",
        "/",
        "\n",
        "65536",
        "-1",
        "99999999999999999999",
        "{",
        "*",
    ];
    let mut random = Random(0x5eed);
    for _ in 0..4000 {
        let mut text = lines[random.below(lines.len())].to_owned();
        for _ in 0..=random.below(4) {
            let mut at = random.below(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match random.below(3) {
                0 => text.insert_str(at, pieces[random.below(pieces.len())]),
                1 => text.truncate(at),
                _ => {
                    let rest = text.split_off(at);
                    text.extend(rest.chars().skip(random.below(3)));
                }
            }
        }
        for problem in parse(&text).1 {
            assert!(problem.to_string().contains("t.rules:"));
            assert!(problem.excerpt.chars().count() <= 130);
        }
    }
}

#[test]
fn the_starter_set_loads_whole() {
    let (set, problems) = parse(weir_ids_rules::builtin("starter").unwrap());
    assert!(problems.is_empty(), "{}", problems[0]);
    assert!(set.rules().len() > 40);
    assert!(set.rules().iter().all(|r| (9_000_001..=9_000_999).contains(&r.sid) && r.msg.starts_with("WEIR ")));
}

/// A rule with this header and these options is refused.
#[track_caller]
fn refused_rule(header: &str, options: &str) {
    let (set, problems) = parse(&format!("{header} ({options} sid:1;)"));
    assert!(set.rules().is_empty(), "{header} {options} is loaded");
    assert!(!problems.is_empty());
}

#[test]
fn rules_that_can_never_match_are_refused() {
    let tcp = "alert tcp any any -> any any";
    let http = "alert http any any -> any any";
    refused_rule(tcp, r#"content:"a"; distance:0; distance:0;"#);
    refused_rule(tcp, r#"pcre:"/a/R";"#);
    refused_rule(tcp, "ip_proto:6;");
    refused_rule(tcp, r#"dsize:5; content:"abc"; content:"def"; distance:0;"#);
    refused_rule(http, r#"http.uri; bsize:2; content:"abc";"#);
    refused_rule(http, r#"urilen:<3; content:"/abc"; http_uri;"#);
    refused_rule(http, "http.uri;");
    refused_rule(http, r#"http.uri; http.host; content:"a";"#);
    refused_rule(http, r#"http.host; content:"Upper";"#);
    refused_rule(http, r#"http.uri; to_lowercase; content:"Upper";"#);
    refused_rule(http, r#"http.method; content:"GET ";"#);
    refused_rule(http, r#"http.uri; content:"a"; http.stat_code; content:"200";"#);
    refused_rule(http, r#"flow:to_client; http.uri; content:"a";"#);
    refused_rule(http, r#"http.uri; content:"a"; tls.sni; content:"b";"#);
    refused_rule(http, r#"http.uri; content:"a"; http_uri;"#);
    refused_rule(http, r#"http.cookie; pcre:"/a/U";"#);
    refused_rule(http, r#"http.uri; to_md5; content:"a"; to_sha1; content:"b";"#);
    refused_rule("alert ssh any any -> any any", r#"http.uri; content:"a";"#);
    refused_rule("alert http any any => any any", r#"http.uri; content:"a";"#);
    refused_rule("alert smtp any any -> any any", r#"flow:to_client; file.data; content:"a";"#);
    refused_rule("alert tls any any -> any any", "ssl_version:tls9;");
    refused_rule("alert tls any any -> any any", "ssl_state:sleeping;");
    refused_rule("alert dcerpc any any -> any any", "dcerpc.iface:no-uuid;");
    refused_rule(tcp, r#"base64_data; content:"a";"#);
    refused_rule(tcp, "byte_test:9,>,1,0;");
    refused_rule(tcp, "byte_jump:4,0,from_beginning,from_end;");
    refused_rule(tcp, "byte_math:bytes 1, offset 0, oper /, rvalue 0, result x;");
    refused_rule(tcp, "xbits:set,x;");
    refused_rule(tcp, "flow:to_server,to_server;");
    refused_rule(tcp, "dataset:set,x,type string;");
}

#[test]
fn conditions_on_packets_stand_alone() {
    let tcp = "alert tcp any any -> any any";
    let on_headers = ["dsize:>5;", "flags:S;", "ttl:5;", "tos:1;", "id:5;", "window:9;", "sameip;", "flow:no_stream;"];
    let counted = ["flow.age:>5;", "flow.pkts_toserver:>5;", "flow.bytes_toclient:>5;"];
    for packet in on_headers.into_iter().chain(counted) {
        for transaction in
            [r#"http.method; content:"GET";"#, "urilen:5;", "filestore;", "tls.version:1.2;", "filesize:>5;"]
        {
            refused_rule(tcp, &format!("{packet} {transaction}"));
        }
        loaded_rule(tcp, &format!(r#"{packet} content:"GET";"#));
        loaded_rule("alert http any any -> any any", &format!(r#"{packet} content:"GET";"#));
    }
    refused_rule(tcp, r#"http.method; content:"GET"; tcp.hdr; content:"a";"#);
    refused_rule("alert tcp-pkt any any -> any any", r#"http.method; content:"GET";"#);
    refused_rule("alert tcp-stream any any -> any any", r#"content:"a"; ttl:5;"#);
    refused_rule(tcp, r#"flow:only_stream; content:"a"; ttl:5;"#);
    loaded_rule("alert tcp-stream any any -> any any", r#"http.method; content:"GET";"#);
}

#[test]
fn what_rules_say_of_themselves_has_a_form() {
    let tcp = "alert tcp any any -> any any";
    for option in [
        "msg:\"\";",
        "rev:0;",
        "metadata;",
        "metadata:\"a b\";",
        "classtype:two words;",
        "classtype:\"trojan-activity\";",
        "reference:url;",
        "reference:,cve;",
        "reference:url,;",
        "target:src_ip; target:dest_ip;",
        "bypass; filestore;",
    ] {
        refused_rule(tcp, &format!(r#"content:"a"; {option}"#));
    }
    loaded_rule(tcp, r#"content:"a"; target:src_ip; target:src_ip; reference:url,weir.example/a; metadata:a b;"#);
    refused_rule("alert ip any any -> any any", "ip_proto:6; ip_proto:17;");
    loaded_rule("alert ip any any -> any any", "ip_proto:!6; ip_proto:!17;");
    refused_rule(tcp, "flags:S,;");
    refused_rule(tcp, "flowint:!a.b,+,1;");
    refused_rule(tcp, r#"http.method; content:"GET"; app-layer-protocol:http;"#);
    loaded_rule(tcp, r#"app-layer-protocol:http; http.method; content:"GET";"#);
    loaded_rule(tcp, r#"file.data; content:"a"; app-layer-protocol:smtp;"#);
    refused_rule("alert dcerpc any any -> any any", "dcerpc.iface:!12345678-1234-abcd-ef00-0123456789ab;");
    refused_rule("alert dcerpc any any -> any any", "dcerpc.iface:12345678-1234-abcd-ef00-0123456789ab,x;");
    loaded_rule("alert dcerpc any any -> any any", "dcerpc.iface:12345678-1234-abcd-ef00-0123456789ab,>1,any_frag;");
}

#[test]
fn modifiers_speak_of_a_content_that_takes_them() {
    let tcp = "alert tcp any any -> any any";
    refused_rule(tcp, r#"content:"a"; offset:0; startswith;"#);
    refused_rule(tcp, r#"content:"a"; content:"b"; offset:0; within:4;"#);
    refused_rule(tcp, r#"content:"a"; http_uri; rawbytes;"#);
    refused_rule(tcp, r#"content:"a"; rawbytes; rawbytes;"#);
    refused_rule(tcp, r#"isdataat:4; pcre:"/a/R";"#);
    loaded_rule(tcp, r#"content:"a"; pcre:"/a/R";"#);
    for keyword in ["pcre:\"/a/\";", "isdataat:4;", "byte_test:1,>,1,0;", "flowint:ab,+,1;"] {
        refused_rule(tcp, &format!(r#"content:"a"; {keyword} prefilter;"#));
    }
    loaded_rule(tcp, "dsize:5; prefilter;");
    loaded_rule(tcp, "ttl:5; rev:2; prefilter;");
}

#[test]
fn sizes_are_held_against_what_contents_need() {
    let tcp = "alert tcp any any -> any any";
    refused_rule(tcp, r#"dsize:5; content:!"abcdef";"#);
    refused_rule(tcp, r#"dsize:5; content:"a"; offset:5;"#);
    refused_rule(tcp, r#"dsize:10; content:"boom"; content:"loom"; distance:3;"#);
    refused_rule(tcp, r#"dsize:8; content:"boom"; content:!"a"; distance:1; within:4;"#);
    loaded_rule(tcp, r#"dsize:9; content:"boom"; content:!"a"; distance:1; within:4;"#);
    loaded_rule(tcp, r#"dsize:11; content:"boom"; content:"loom"; distance:3;"#);
    loaded_rule(tcp, r#"dsize:4; content:"boom"; content:"oom";"#);
    loaded_rule(tcp, r#"dsize:8; content:"boom"; content:!"a"; within:2; content:!"b"; distance:3; within:1;"#);
}

/// A rule with this header and these options is loaded.
#[track_caller]
fn loaded_rule(header: &str, options: &str) {
    let (set, problems) = parse(&format!("{header} ({options} sid:1;)"));
    assert_eq!(set.rules().len(), 1, "{}", problems[0]);
}

#[test]
fn events_of_protocol_detection_and_units_have_the_names_that_rules_write() {
    let ip = "alert ip any any -> any any";
    for event in ["mismatch_protocol_both_directions", "wrong_direction_first_data", "no_tls_after_starttls"] {
        loaded_rule(ip, &format!("flow:established; app-layer-event:applayer_{event};"));
    }
    refused_rule(ip, "app-layer-event:applayer_nonsense;");
    refused_rule(ip, "app-layer-event:nonsense;");
    loaded_rule("alert smb any any -> any any", r#"frame:nbss.hdr; content:"|00|"; startswith;"#);
    loaded_rule("alert nfs any any -> any any", r#"frame:rpc.pdu; content:"x";"#);
    loaded_rule("alert sip any any -> any any", r#"frame:sip.request.line; content:"x";"#);
    refused_rule("alert smb any any -> any any", r#"frame:nbss.nonsense; content:"x";"#);
    loaded_rule(ip, "vlan.id:100,all;");
    refused_rule(ip, "vlan.id:100,most;");
    loaded_rule("alert tcp any any -> any any", "entropy: value > 7;");
}

#[test]
fn numbers_of_messages_have_masks_units_and_outsides() {
    loaded("websocket.flags:&0x40=0x40;");
    loaded("websocket.flags:&0xe0!=0xc0;");
    loaded("ldap.responses.count:!3<>9;");
    loaded("flow.bytes:toserver,>3kb;");
    loaded("snmp.trap_type:linkdown;");
    loaded("snmp.trap_type:!6;");
    refused("websocket.flags:&0x40=0xc0;", Kind::Value, "&0x40");
    refused("snmp.trap_type:linkaway;", Kind::Value, "linkaway");
}

#[test]
fn the_older_and_the_newer_style_become_the_same() {
    let sections = |options: &str| {
        let (set, problems) = parse(&format!("alert http any any -> any any ({options} sid:1;)"));
        assert!(problems.is_empty(), "{}", problems[0]);
        set.rules()[0].sections.clone()
    };
    let newer = sections(r#"http.uri; content:"a"; content:"b"; distance:0; http.header; content:"c";"#);
    let older = sections(r#"content:"a"; http_uri; content:"b"; http_uri; distance:0; content:"c"; http_header;"#);
    assert_eq!(newer, older);
    assert_eq!(newer.len(), 2);
    let files = sections(r#"file.data; content:"a"; file.data; content:"b";"#);
    assert_eq!(files.len(), 2);
    let transformed = sections(r#"http.uri; content:"A"; to_lowercase; content:"a";"#);
    assert_eq!((transformed.len(), transformed[1].transforms.len()), (2, 1));
}

#[test]
fn rules_of_snort_3_load_where_they_mean_the_same() {
    let text = r#"alert http ( msg:"x"; http_uri; content:"/a",fast_pattern,nocase; content:"b",distance 2,within 9; bufferlen:3<=>200; service:http; sid:1; )"#;
    let (set, problems) = parse(text);
    assert!(problems.is_empty(), "{}", problems[0]);
    let section = &set.rules()[0].sections[0];
    assert_eq!((section.buffer.name(), section.matches.len()), ("http.uri", 3));
}

#[test]
fn rules_for_other_engines_are_passed_over() {
    let (set, problems) = parse("alert tcp any any -> any any (requires: version >= 99; frob:1; sid:1;)");
    assert!(problems.is_empty());
    assert_eq!((set.rules().len(), set.summary().passed_over), (0, 1));
}
