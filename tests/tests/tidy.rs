//! The manners of the source that a machine can check. Each failure prints the place and the reason.
//!
//! Reads the source tree; needs no root, no network and no build. Rust is read with its comments
//! and literals blanked, so that a word in a text is not taken for code.
#![forbid(unsafe_code)]

mod source;

use source::{File, Tree};

/// A production file has at most this many lines; a longer one hides a second noun.
const FILE_LINES: usize = 500;
/// A function has at most this many lines: a screen.
const FUNCTION_LINES: usize = 70;

/// Which crates of ours a crate may use: the border table of ARCHITECTURE.md.
const BORDERS: &[(&str, &[&str])] = &[
    ("weir-wire", &[]),
    ("weir-ids-rules", &[]),
    ("weir-proto", &[]),
    ("weir-filter", &["weir-wire", "weir-ids-rules"]),
    ("weir-fabric", &["weir-wire", "weir-filter"]),
    ("weir-ports", &["weir-wire"]),
    ("weir-replay", &["weir-wire", "weir-filter", "weir-ports", "weir-ids-rules"]),
    ("vswitchd", &["weir-wire", "weir-filter", "weir-fabric", "weir-ports", "weir-ids-rules", "weir-proto"]),
    ("vswitchctl", &["weir-proto", "weir-ids-rules"]),
    ("weir-bench", ANYTHING),
    ("weir-tests", ANYTHING),
    ("weir-fuzz", ANYTHING),
];

/// All but `bench`, which nothing uses. Of `tests` the bench uses the lab: its guests live in such namespaces.
const ANYTHING: &[&str] = &[
    "weir-wire",
    "weir-filter",
    "weir-fabric",
    "weir-ports",
    "weir-ids-rules",
    "weir-proto",
    "weir-replay",
    "vswitchd",
    "vswitchctl",
    "weir-tests",
];

/// The crates where everything is plain computation.
const CORE: &[&str] = &["vswitchd/wire/", "filter/", "vswitchd/fabric/", "ids-rules/"];

/// Fails with all complaints at once, and the reason for the rule.
fn report(reason: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{reason}\n  {}\n", complaints.join("\n  "));
}

/// The crates of ours that a manifest names under `[…dependencies]`, and its own name.
fn manifest(text: &str) -> (String, Vec<String>) {
    let mut section = "";
    let mut name = String::new();
    let mut used = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            // `[dependencies.weir-wire]` names its crate in the header.
            used.extend(line.trim_matches(['[', ']']).split_once("dependencies.").map(|(_, name)| name.to_owned()));
        } else if section == "[package]" && line.starts_with("name") {
            name = line.split('"').nth(1).unwrap_or_default().to_owned();
        } else if section.ends_with("dependencies]") {
            let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
            used.push(key.to_owned());
        }
    }
    used.retain(|name| BORDERS.iter().any(|(ours, _)| ours == name) || name.starts_with("weir-"));
    (name, used)
}

#[test]
fn crates_use_only_what_the_border_table_allows() {
    let tree = Tree::read();
    let mut complaints = Vec::new();
    for file in tree.named("Cargo.toml").filter(|file| file.path != "Cargo.toml") {
        let (name, used) = manifest(&file.text);
        match BORDERS.iter().find(|(crate_name, _)| *crate_name == name) {
            None => complaints.push(format!("{}: crate `{name}` is not in the table", file.path)),
            Some((_, allowed)) => {
                let refused = used.iter().filter(|name| !allowed.contains(&name.as_str()));
                complaints.extend(refused.map(|used| format!("{}: `{name}` must not use `{used}`", file.path)));
            }
        }
    }
    report("ARCHITECTURE.md, \"The house\": a border that the compiler holds needs no discipline.", &complaints);
}

#[test]
fn unsafe_code_lives_in_ports_alone() {
    let tree = Tree::read();
    let mut complaints = Vec::new();
    for file in tree.rust().filter(|file| !file.path.starts_with("vswitchd/ports/")) {
        let is_root = ["/src/lib.rs", "/src/main.rs"].iter().any(|root| file.path.ends_with(root))
            || (file.path.contains("/src/bin/")
                && (file.path.ends_with("/main.rs") || file.path.matches('/').count() == 3));
        if is_root && !file.text.contains("#![forbid(unsafe_code)]") {
            complaints.push(format!("{}: begins without #![forbid(unsafe_code)]", file.path));
        }
        complaints.extend(file.code_lines_with_word("unsafe").map(|line| format!("{}:{line}: unsafe", file.path)));
    }
    report("Unsafe has one address: vswitchd/ports.", &complaints);
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    let tree = Tree::read();
    let mut complaints = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("vswitchd/ports/")) {
        let lines: Vec<&str> = file.text.lines().collect();
        for line in file.code_lines_with_word("unsafe") {
            let code = file.code.lines().nth(line - 1).unwrap_or_default();
            let wanted = if code.contains("unsafe fn") { "# Safety" } else { "SAFETY:" };
            // The comment stands above the statement, which may begin some lines before the block.
            let above = lines.get(line.saturating_sub(16)..line).unwrap_or_default();
            let declares = code.contains("unsafe extern") || code.contains("unsafe_op_in_unsafe_fn");
            if !declares && !above.iter().any(|text| text.contains(wanted) || text.contains("SAFETY:")) {
                complaints.push(format!("{}:{line}: unsafe without `{wanted}` above it", file.path));
            }
        }
    }
    report("Each unsafe block names the invariant it rests on, and who keeps it.", &complaints);
}

#[test]
fn production_files_and_functions_stay_readable() {
    let tree = Tree::read();
    let mut complaints = Vec::new();
    for file in tree.rust().filter(|file| file.is_production()) {
        let lines = file.production().lines().count();
        if lines > FILE_LINES {
            complaints
                .push(format!("{}: {lines} production lines, {FILE_LINES} at most: find the second noun", file.path));
        }
        for function in file.functions().filter(|function| function.lines > FUNCTION_LINES) {
            let source::Function { name, line, lines } = function;
            complaints.push(format!("{}:{line}: `{name}` has {lines} lines, {FUNCTION_LINES} at most", file.path));
        }
    }
    report("A file holds one noun, a function one screen.", &complaints);
}

#[test]
fn the_core_reads_no_clock_file_socket_or_dice() {
    let tree = Tree::read();
    let forbidden = [
        "std::time::Instant",
        "SystemTime",
        "std::thread",
        "std::net::Tcp",
        "std::net::Udp",
        "std::fs",
        "std::env",
        "std::process",
        "UnixStream",
        "RandomState",
        "thread_rng",
        "getrandom",
    ];
    let mut complaints = Vec::new();
    for file in tree.rust().filter(|file| file.is_production() && CORE.iter().any(|core| file.path.starts_with(core))) {
        for (line, code) in file.production().lines().enumerate() {
            let found = forbidden.iter().filter(|word| code.contains(**word));
            complaints.extend(found.map(|word| format!("{}:{}: {word}", file.path, line + 1)));
        }
    }
    report("Time and chance are arguments, so that the same inputs give the same outputs.", &complaints);
}

#[test]
fn modules_have_names_that_say_what_they_hold() {
    let tree = Tree::read();
    let vague = ["util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"];
    let of_path = |path: &str| -> bool { path.split('/').any(|part| vague.contains(&part.trim_end_matches(".rs"))) };
    let mut complaints: Vec<String> =
        tree.rust().filter(|file| of_path(&file.path)).map(|file| file.path.clone()).collect();
    for file in tree.rust() {
        for (line, code) in file.code.lines().enumerate() {
            let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            if words.windows(2).any(|pair| pair[0] == "mod" && vague.contains(&pair[1])) {
                complaints.push(format!("{}:{}: {}", file.path, line + 1, code.trim()));
            }
        }
    }
    report("A module is named after its noun, not after its being useful.", &complaints);
}

/// Texts that stand in no file of ours, each with the reason. Put together here, so that they do not stand in this one.
fn refused_texts() -> Vec<(String, &'static str)> {
    let joined = |parts: &[&str]| parts.concat();
    vec![
        (joined(&["/wo", "rk/"]), "a path of one machine"),
        (joined(&["/tm", "p/w/"]), "a path of one machine"),
        (joined(&["FIX", "ME"]), "fix it, or say what is known wrong"),
        (joined(&["XX", "X:"]), "fix it, or say what is known wrong"),
        (joined(&["#[ign", "ore"]), "a test that does not run proves nothing"),
        (joined(&["dbg", "!("]), "left over from debugging"),
    ]
}

#[test]
fn no_file_holds_leftovers() {
    let tree = Tree::read();
    let refused = refused_texts();
    let todo = ["TO", "DO"].concat();
    let mut complaints = Vec::new();
    for file in &tree.files {
        for (number, line) in file.text.lines().enumerate() {
            let found = refused.iter().filter(|(text, _)| line.contains(text.as_str()));
            complaints.extend(found.map(|(text, why)| format!("{}:{}: {text}: {why}", file.path, number + 1)));
            let conditional = [" when ", " once ", " as soon as ", " until "].iter().any(|word| line.contains(word));
            if line.contains(&todo) && !conditional && file.path.ends_with(".rs") {
                complaints.push(format!("{}:{}: {todo} without its condition", file.path, number + 1));
            }
        }
    }
    report("What is left to do has a condition, and the source knows no machine but the reader's.", &complaints);
}

#[test]
fn every_module_begins_with_what_it_is() {
    let tree = Tree::read();
    let silent = |file: &&File| {
        let first = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
        file.is_production() && !first.is_some_and(|line| line.starts_with("//!"))
    };
    let complaints: Vec<String> = tree.rust().filter(silent).map(|file| file.path.clone()).collect();
    report("Module heads teach: what this is, its limits, its safety.", &complaints);
}

#[test]
fn every_drop_reason_is_named_in_a_test() {
    let tree = Tree::read();
    let tests: String = tree.rust().map(File::tests).collect();
    let unnamed = |reason: &&weir_wire::DropReason| !tests.contains(&format!("DropReason::{reason:?}"));
    let complaints: Vec<String> =
        weir_wire::DropReason::ALL.iter().filter(unnamed).map(|reason| format!("{reason:?}")).collect();
    report("A counter that no test moves may as well count something else.", &complaints);
}
