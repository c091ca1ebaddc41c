//! Sections of rules, checked on texts.

use weir_ids_rules::{RuleSet, Source, Variables};

use super::{Check, Outcome, Room};

/// Whether the first section of a rule with these options holds for `text`.
fn holds(options: &str, text: &[u8]) -> bool {
    let rule = format!("alert tcp any any -> any any ({options} sid:1;)");
    let (set, problems) = RuleSet::parse(&[Source { name: "t", text: &rule }], &Variables::default());
    assert!(problems.is_empty(), "{}", problems[0]);
    let rule = &set.rules()[0];
    let check = Check::compile(rule, &rule.sections[0]).unwrap();
    check.run(text, &mut Room::default()) == Outcome::Match
}

#[track_caller]
fn check(options: &str, yes: &[&str], no: &[&str]) {
    for text in yes {
        assert!(holds(options, text.as_bytes()), "{options} does not match {text:?}");
    }
    for text in no {
        assert!(!holds(options, text.as_bytes()), "{options} matches {text:?}");
    }
}

#[test]
fn contents_are_found_where_they_must_be() {
    check(r#"content:"ab"; offset:1; depth:3;"#, &["xab", "xxab"], &["abxx", "xxxab"]);
    check(r#"content:"ab"; content:"cd"; distance:1; within:3;"#, &["abxcd", "abxab_cd"], &["abcd", "abxxxcd"]);
    check(r#"content:"ab"; startswith; content:"cd"; endswith;"#, &["abcd", "ab cd"], &["xabcd", "abcdx"]);
    check(r#"content:"AB"; nocase;"#, &["xaBx"], &["a b"]);
    check(r#"content:!"ab"; content:"c";"#, &["c"], &["abc", "x"]);
    check(r#"content:"a"; content:!"b"; within:1;"#, &["ac", "abaa"], &["ab"]);
}

#[test]
fn a_relative_match_is_tried_at_each_place_of_the_one_before() {
    check(
        r#"content:"a"; content:"b"; distance:1; within:1; content:"c"; distance:0; within:1;"#,
        &["axd a-bc"],
        &["a-bd"],
    );
    check(r#"content:"k="; pcre:"/^\d+\;/R";"#, &["k=x k=12;"], &["k=x k=12"]);
    check(r#"content:"len"; byte_test:1,>,2,0,relative,string,dec;"#, &["len1 len3"], &["len1 len2"]);
    check(r#"content:"a"; isdataat:3,relative;"#, &["abcd"], &["abc"]);
    check(r#"content:"a"; isdataat:!1,relative;"#, &["ba", "aba"], &["ab"]);
}

#[test]
fn numbers_taken_from_the_text_hold_from_there_on() {
    check(r#"byte_extract:1,0,n,string,dec; content:"x"; offset:n; depth:1;"#, &["3  x", "2 x"], &["3 x"]);
    check(
        r#"content:"L"; byte_extract:1,0,n,relative,string,dec; content:"end"; distance:n; within:3;"#,
        &["L2..end", "L9 L1.end"],
        &["L1..end"],
    );
    check(r#"byte_math:bytes 1, offset 0, oper *, rvalue 2, result n, string dec; isdataat:!n;"#, &["2xxx"], &["1xxx"]);
    check(r#"byte_jump:1,0,string,dec; content:"b"; within:1;"#, &["2xxb"], &["2xb"]);
    check(r#"byte_jump:1,0,string,dec,from_end,post_offset -4; content:"z"; within:1;"#, &["1abzcd"], &["1abczd"]);
    check(r#"byte_test:1,&,1,0;"#, &["a"], &["b"]);
    check(r#"byte_test:1,!&,1,0;"#, &["b"], &["a", ""]);
}

#[test]
fn sizes_and_decoded_text_are_asked() {
    check(r#"http.uri; bsize:3;"#, &["abc"], &["ab", "abcd"]);
    check(r#"http.uri; bsize:2<>4;"#, &["abc"], &["ab", "abcd"]);
    check(
        r#"content:"auth "; base64_decode:relative; base64_data; content:"user"; startswith;"#,
        &["auth dXNlcjpw"],
        &["auth cGFzcw==", "auth !"],
    );
    check(r#"http.uri; to_lowercase; content:"abc";"#, &["xABC"], &["ab"]);
    check(r#"http.uri; entropy: value >= 1.9;"#, &["abcd"], &["aaaa"]);
}

#[test]
fn the_work_of_a_check_is_bounded() {
    let text = vec![b'a'; 64 << 10];
    let rule = r#"alert tcp any any -> any any (content:"a"; content:"a"; distance:0; within:9000; content:"a"; distance:0; within:9000; content:"b"; distance:0; within:9000; sid:1;)"#;
    let (set, _) = RuleSet::parse(&[Source { name: "t", text: rule }], &Variables::default());
    let check = Check::compile(&set.rules()[0], &set.rules()[0].sections[0]).unwrap();
    let mut room = Room::default();
    assert_eq!(check.run(&text, &mut room), Outcome::Undecided);
    assert!(room.work <= 10_000 + 4 * text.len() as u64 + 1);
}

#[test]
fn a_check_that_failed_is_asked_again_only_of_what_may_change_it() {
    let gains = |options: &str, text: &str, seen: usize| {
        let rule = format!("alert tcp any any -> any any ({options} sid:1;)");
        let (set, problems) = RuleSet::parse(&[Source { name: "t", text: &rule }], &Variables::default());
        assert!(problems.is_empty(), "{}", problems[0]);
        let rule = &set.rules()[0];
        Check::compile(rule, &rule.sections[0]).unwrap().may_gain(text.as_bytes(), seen)
    };
    let two = r#"content:"abc"; content:"def"; distance:0;"#;
    assert!(!gains(two, "abc.......", 5));
    assert!(gains(two, "abc....def", 9), "the end of a content is among the new bytes");
    assert!(!gains(two, "abc.def...", 8), "both ends were seen");
    assert!(gains(two, "......abc", 4));
    assert!(!gains(r#"content:"abc"; content:!"x"; within:9;"#, "abc.x.......", 8));
    assert!(gains(r#"content:"abc"; pcre:"/d+/R";"#, "abc.....", 7));
    assert!(gains(r#"content:"abc"; isdataat:9,relative;"#, "abc.....", 7));
    assert!(!gains(r#"content:"abc"; isdataat:!9,relative;"#, "abc.....", 7));
    assert!(gains(r#"content:"abc"; endswith;"#, "xabc", 4));
}

/// What the check of a rule with these options comes to, and the steps it took.
fn work(options: &str, text: &[u8]) -> (Outcome, u64) {
    let rule = format!("alert tcp any any -> any any ({options} sid:1;)");
    let (set, _) = RuleSet::parse(&[Source { name: "t", text: &rule }], &Variables::default());
    let check = Check::compile(&set.rules()[0], &set.rules()[0].sections[0]).unwrap();
    let mut room = Room::default();
    (check.run(text, &mut room), room.work)
}

#[test]
fn what_is_nowhere_ahead_is_not_looked_for_from_later_places() {
    let text = b"a=b&".repeat(2000);
    let (outcome, steps) = work(r#"content:"="; pcre:"/.+?(?:onload|style)/R";"#, &text);
    assert!(outcome == Outcome::NoMatch && steps < 1000, "{outcome:?} {steps}");
    // What asks what is before it may be met from a later place.
    check(r#"content:"="; pcre:"/^b/R";"#, &["=a=b"], &["=a=a"]);
    check(r#"content:"="; pcre:"/[^a]b/R";"#, &["=ab=cb"], &["=ab=ab"]);
    check(r#"content:"="; pcre:"/(?<!a)b/R";"#, &["=ab=b"], &["=ab=ab"]);
    check(r#"content:"="; pcre:"/\bb/R";"#, &["=ab=b"], &["=ab=ab"]);
    // A jump may go less far from a later place, and so may an expression.
    check(
        r#"content:"j"; byte_jump:1,0,relative,string,dec; pcre:"/x/R";"#,
        &["j9.x......j0..x", "j6x j0x  "],
        &["j9....."],
    );
    check(r#"pcre:"/a.{6}|b/"; pcre:"/x/R";"#, &["a.b.x...."], &["a.b....."]);
}
