//! Rule text of strangers: deep, long, and much of it.

use weir_filter::detect::{Program, ProgramSettings};
use weir_ids_rules::{RuleSet, Source, Variables, adjustment};

use super::measure::Verdicts;

/// Reads and compiles a text, whatever is in it.
fn read(text: &String) {
    let mut variables = Variables::default();
    let mut name = String::from("any");
    // Each variable names the one before twice.
    for nth in 0..30 {
        variables.addresses.insert(format!("V{nth}"), format!("[{name},{name}]"));
        name = format!("$V{nth}");
    }
    let (rules, problems) = RuleSet::parse(&[Source { name: "test", text }], &variables);
    problems.iter().for_each(|problem| drop(problem.to_string()));
    let (_, problems) = Program::compile(&rules, &ProgramSettings::default());
    problems.iter().for_each(|problem| drop(problem.to_string()));
}

fn rule(options: &str) -> String {
    format!("alert tcp any any -> any any (msg:\"x\"; {options} sid:1;)")
}

/// Texts of about a size.
type Text = fn(usize) -> String;

const ONE_RULE: &[(&str, Text)] = &[
    ("deep lists of addresses", |n| {
        format!("alert ip {}1.2.3.4{} any -> any any (sid:1;)", "[".repeat(n), "]".repeat(n))
    }),
    ("deep negated lists", |n| format!("alert ip {}1.2.3.4{} any -> any any (sid:1;)", "![".repeat(n), "]".repeat(n))),
    ("lists never closed", |n| format!("alert ip {} any -> any any (sid:1;)", "[1.2.3.4,".repeat(n / 8))),
    ("many addresses", |n| {
        let list: Vec<String> =
            (0..n / 10).map(|i| format!("10.{}.{}.{}", i >> 14 & 255, i >> 6 & 255, i << 2 & 255)).collect();
        format!("alert ip [{}] any -> any any (sid:1;)", list.join(","))
    }),
    ("many negated addresses", |n| {
        let list: Vec<String> =
            (0..n / 10).map(|i| format!("!10.{}.{}.{}", i >> 14 & 255, i >> 6 & 255, i << 2 & 255)).collect();
        format!("alert ip [10.0.0.0/8,{}] any -> any any (sid:1;)", list.join(","))
    }),
    ("many ports", |n| {
        let list: Vec<String> = (0..n / 5).map(|i| (i * 2 % 65_536).to_string()).collect();
        format!("alert tcp any [{}] -> any any (sid:1;)", list.join(","))
    }),
    ("many port ranges over one another", |n| {
        let list: Vec<String> = (0..n / 10).map(|i| format!("{}:{}", i % 30_000, 60_000 - i % 30_000)).collect();
        format!("alert tcp any [{}] -> any any (sid:1;)", list.join(","))
    }),
    ("variables that name others twice", |n| {
        format!("alert ip [{}$V29] any -> any any (sid:1;)", "$V3,".repeat(n / 4))
    }),
    ("a long content", |n| rule(&format!("content:\"{}\";", "a".repeat(n)))),
    ("a long content of bytes", |n| rule(&format!("content:\"|{}|\";", "41 ".repeat(n / 3)))),
    ("many contents", |n| rule(&"content:\"abc\"; distance:0; ".repeat(n / 25))),
    ("many negated contents", |n| rule(&"content:!\"abc\"; within:9; ".repeat(n / 25))),
    ("many modifiers", |n| rule(&format!("content:\"a\"; {}", "nocase; ".repeat(n / 8)))),
    ("many flowbits", |n| rule(&(0..n / 16).map(|i| format!("flowbits:set,b{i};")).collect::<String>())),
    ("many buffers", |n| rule(&"http.uri; content:\"a\"; http.method; content:\"b\"; ".repeat(n / 45))),
    ("many transforms", |n| rule(&format!("http.uri; {} content:\"a\";", "to_lowercase; ".repeat(n / 14)))),
    ("many options that are not known", |n| rule(&"whatever:1; ".repeat(n / 12))),
    ("a long message", |n| rule(&format!("msg:\"{}\";", "\\\"".repeat(n / 2)))),
    ("much metadata", |n| rule(&format!("metadata:{};", "a b, ".repeat(n / 5)))),
    ("many references", |n| rule(&"reference:url,a.b; ".repeat(n / 19))),
    ("a long expression", |n| rule(&format!("pcre:\"/{}/\";", "a?".repeat(n / 2)))),
    ("a deep expression", |n| rule(&format!("pcre:\"/{}a{}/\";", "(".repeat(n), ")".repeat(n)))),
    ("an expression of repeats", |n| rule(&format!("pcre:\"/{}/\";", "(a{1,9})".repeat(n / 8)))),
    ("many variables of bytes", |n| {
        rule(&(0..n / 24).map(|i| format!("byte_extract:1,{i},v{i};")).collect::<String>())
    }),
    ("a line without end", |n| format!("alert tcp any any -> any any ({}", "a".repeat(n))),
    ("many lines joined", |n| "\\\n".repeat(n / 2)),
    ("quotes never closed", |n| rule(&"content:\"".repeat(n / 9))),
];

#[test]
fn one_rule_costs_in_proportion_to_its_text() {
    let mut verdicts = Verdicts::default();
    for (name, text) in ONE_RULE {
        verdicts.linear(name, 16 << 10, text, read);
    }
    verdicts.check();
}

const MANY_RULES: &[(&str, Text)] = &[
    ("the same rule", |n| "alert tcp any any -> any any (content:\"abcdef\"; sid:1;)\n".repeat(n)),
    ("rules of one port each", |n| {
        (0..n)
            .map(|i| format!("alert tcp any any -> any {} (content:\"a{i}\"; sid:{};)\n", i * 7 % 65_535 + 1, i + 1))
            .collect()
    }),
    ("rules of many ports each", |n| {
        (0..n)
            .map(|i| format!("alert tcp any any -> any [{i}:,!{}] (content:\"a{i}\"; sid:{};)\n", i + 9, i + 1))
            .collect()
    }),
    ("rules of one address each", |n| {
        let address = |i: usize| format!("10.{}.{}.{}", i >> 16 & 255, i >> 8 & 255, i & 255);
        (0..n).map(|i| format!("alert ip {} any -> any any (sid:{};)\n", address(i), i + 1)).collect()
    }),
    ("contents that begin alike", |n| {
        (0..n)
            .map(|i| format!("alert http any any -> any any (http.uri; content:\"/aaaaaaaa{i}\"; sid:{};)\n", i + 1))
            .collect()
    }),
    ("contents that are parts of others", |n| {
        (0..n)
            .map(|i| {
                format!("alert tcp any any -> any any (content:\"{}\"; sid:{};)\n", "a".repeat(i % 200 + 1), i + 1)
            })
            .collect()
    }),
    ("flow bits of one another", |n| {
        (0..n)
            .map(|i| {
                format!("alert tcp any any -> any any (flowbits:isset,b{i}; flowbits:set,b{}; sid:{};)\n", i + 1, i + 1)
            })
            .collect()
    }),
    ("rules that are refused", |n| "alert tcp any any -> any any (nothing:1; sid:1;)\n".repeat(n)),
    ("rules without anything to search for", |n| {
        (0..n).map(|i| format!("alert tcp any any -> any any (dsize:{}; sid:{};)\n", i % 1000, i + 1)).collect()
    }),
    ("expressions", |n| {
        (0..n / 8).map(|i| format!("alert tcp any any -> any any (pcre:\"/(a|b{i})+c/\"; sid:{};)\n", i + 1)).collect()
    }),
];

#[test]
fn many_rules_cost_in_proportion_to_their_number() {
    let mut verdicts = Verdicts::default();
    for (name, text) in MANY_RULES {
        verdicts.linear(name, 300, text, read);
    }
    verdicts.check();
}

#[test]
fn settings_of_thresholds_cost_in_proportion() {
    let mut verdicts = Verdicts::default();
    let lines: [(&str, &str); 3] = [
        ("suppressions", "suppress gen_id 1, sig_id 7, track by_src, ip [10.0.0.0/8,!10.1.0.0/16]\n"),
        ("thresholds", "threshold gen_id 1, sig_id 7, type limit, track by_src, count 1, seconds 60\n"),
        ("nonsense", "suppress suppress , , ,, \\\n"),
    ];
    for (name, line) in lines {
        let read = |text: &String| drop(adjustment::parse(&Source { name: "test", text }, &Variables::default()));
        verdicts.linear(name, 1000, |n| line.repeat(n), read);
    }
    verdicts.check();
}
