//! Every keyword of the rule language: a rule that fires on traffic made here, and one that does not.
//!
//! A table has a conversation and rows; a row has a keyword and what stands in two rules beside the header, `$` for the
//! keyword. A keyword that is accepted and has no row, nor a reason in [`WITHOUT`], fails the test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod binary;
mod data;
mod mail;
mod packets;
mod security;
mod story;
mod web;

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_filter::app;
use weir_filter::capture::{Capture, Options, Settings};
use weir_filter::decode::Link;
use weir_filter::detect::sets::Sets;
use weir_filter::detect::{Program, ProgramSettings, Shared};
use weir_ids_rules::{Diagnostic, RuleSet, Severity, Source, Variables};
use weir_wire::Instant;

/// A keyword with a rule that fires and one that does not.
enum Row {
    /// A buffer, and a text in it.
    Has(&'static str, &'static str),
    /// A number: what is asked of it.
    Is(&'static str, &'static str, &'static str),
    /// Any options, `$` for the keyword.
    Rule(&'static str, &'static str, &'static str),
}

/// A conversation and what is asked of it.
struct Table {
    name: &'static str,
    header: &'static str,
    frames: fn() -> Vec<Vec<u8>>,
    rows: &'static [Row],
}

/// Keywords that have no row, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("lua", "always refused"),
    ("luajit", "always refused"),
    ("luaxform", "always refused"),
    ("flow.elephant", "asks for more bytes a second than a test should make"),
    ("bypass", "changes what follows, not whether it fires; see the engine's tests"),
    ("tls.store", "stores, and always holds"),
    ("tls_store", "stores, and always holds"),
    ("config", "changes what is told, not whether it fires"),
    ("strip_pseudo_headers", "see the transforms' own tests"),
];

impl Row {
    fn keyword(&self) -> &'static str {
        match self {
            Row::Has(keyword, _) | Row::Is(keyword, ..) | Row::Rule(keyword, ..) => keyword,
        }
    }

    /// The options of the rule that fires, and of the one that does not.
    fn options(&self) -> [String; 2] {
        match self {
            Row::Has(keyword, text) => {
                [format!("{keyword}; content:\"{text}\""), format!("{keyword}; content:\"zq-none{text}\"")]
            }
            Row::Is(keyword, yes, no) => [format!("{keyword}:{yes}"), format!("{keyword}:{no}")],
            Row::Rule(keyword, yes, no) => [yes.replace('$', keyword), no.replace('$', keyword)],
        }
    }
}

/// Files that rules name.
fn file(name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "md5.list" => b"081bd2d725cf355d922739bdba78dbb0\n".to_vec(),
        "sha1.list" => b"f95950b1e9891dcc58832878627e126a666e85cd\n".to_vec(),
        "sha256.list" => b"ab0be50d83a386be69a751a6c8316ec0cf97ebc8bc18d1d0d68b34fbc3351127\n".to_vec(),
        "none.list" => Vec::new(),
        // "POST" in base64.
        "methods.list" => b"UE9TVA==\n".to_vec(),
        "methods.rep" => b"UE9TVA==,50\n".to_vec(),
        _ => return None,
    })
}

/// What is wrong with rules.
fn told(table: &Table, problems: &[Diagnostic]) -> Vec<String> {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| format!("{}: {problem}", table.name)).collect()
}

/// The rules that fire on frames.
fn fired(table: &Table, text: &str, problems: &mut Vec<String>) -> BTreeSet<u32> {
    let (set, refused) = RuleSet::parse(&[Source { name: "t", text }], &Variables::default());
    problems.extend(told(table, &refused));
    let (program, refused) = Program::compile(&set, &ProgramSettings::default());
    problems.extend(told(table, &refused));
    let options = Options([("vlan.use-for-tracking".to_owned(), "no".to_owned())].into());
    let mut shared = Shared::new(app::Settings::default(), false);
    shared.alerts_per_packet = 1000;
    let (mut sets, refused) = Sets::new(set.rules(), &mut |name, _| file(name));
    problems.extend(told(table, &refused));
    sets.add_places(story::places("DE")).unwrap();
    sets.add_reputation(b"1,bad,", b"10.0.0.1,1,90\n");
    *shared.sets() = sets;
    let mut capture = Capture::new(Settings::from_options(&options, false), Arc::new(program), shared);
    let mut lines = String::new();
    for (nth, frame) in (table.frames)().iter().enumerate() {
        capture.frame(Link::Ethernet, frame, Instant::from_millis(1_700_000_000_000 + nth as u64), &mut lines);
    }
    capture.finish(&mut lines);
    let sid = |line: &str| line.split("\"signature_id\":").nth(1)?.split(',').next()?.parse().ok();
    lines.lines().filter_map(sid).collect()
}

fn all() -> Vec<&'static Table> {
    let groups = [web::TABLES, packets::TABLES, security::TABLES, mail::TABLES, binary::TABLES, data::TABLES];
    groups.into_iter().flatten().copied().collect()
}

#[test]
fn every_keyword_fires_where_it_should_and_only_there() {
    let mut problems = Vec::new();
    for table in all() {
        let rules: Vec<String> = (table.rows.iter().enumerate())
            .flat_map(|(nth, row)| row.options().into_iter().zip([2 * nth + 1, 2 * nth + 2]))
            .map(|(options, sid)| format!("{} ({options}; sid:{sid};)\n", table.header))
            .collect();
        let fired = fired(table, &rules.concat(), &mut problems);
        for (nth, row) in table.rows.iter().enumerate() {
            for (place, expected) in [(0, true), (1, false)] {
                let sid = 2 * nth as u32 + 1 + place as u32;
                if fired.contains(&sid) != expected {
                    let said = if expected { "does not fire" } else { "fires" };
                    problems.push(format!("{}: {} {said}: {}", table.name, row.keyword(), row.options()[place]));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_keyword_has_a_row() {
    let known: BTreeSet<&str> = weir_ids_rules::keywords().into_iter().collect();
    let rows: BTreeSet<&str> = all().iter().flat_map(|table| table.rows.iter().map(Row::keyword)).collect();
    let without: BTreeSet<&str> = WITHOUT.iter().map(|(keyword, _)| *keyword).collect();
    let missing: Vec<_> = known.iter().filter(|one| !rows.contains(*one) && !without.contains(*one)).collect();
    assert!(missing.is_empty(), "{} keywords have no row: {missing:?}", missing.len());
    let strange: Vec<_> = rows.union(&without).filter(|one| !known.contains(*one)).collect();
    assert!(strange.is_empty(), "these are no keywords: {strange:?}");
}
