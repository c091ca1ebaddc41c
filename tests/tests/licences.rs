//! Every dependency has a licence that ours (Apache-2.0 or MIT) can live with, and comes from crates.io.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Licences of their own or in an `OR`; each part of an `AND` has to be one of them.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be satisfied by allowed licences alone. `/` is the old way to write `OR`.
fn acceptable(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut tokens = Vec::new();
    for part in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        tokens.push(part.to_owned());
    }
    let mut rest = tokens.as_slice();
    let answer = either(&mut rest);
    answer && rest.is_empty()
}

/// `both [OR both]...`
fn either(rest: &mut &[String]) -> bool {
    let mut answer = both(rest);
    while rest.first().is_some_and(|token| token == "OR") {
        *rest = &rest[1..];
        answer |= both(rest);
    }
    answer
}

/// `one [AND one]...`
fn both(rest: &mut &[String]) -> bool {
    let mut answer = one(rest);
    while rest.first().is_some_and(|token| token == "AND") {
        *rest = &rest[1..];
        answer &= one(rest);
    }
    answer
}

/// A licence, perhaps `WITH` an exception, or an expression in parentheses.
fn one(rest: &mut &[String]) -> bool {
    let Some((first, tail)) = rest.split_first() else { return false };
    *rest = tail;
    if first == "(" {
        let answer = either(rest);
        let closed = rest.first().is_some_and(|token| token == ")");
        *rest = rest.get(1..).unwrap_or_default();
        return answer && closed;
    }
    let mut licence = first.clone();
    if let [with, exception, tail @ ..] = *rest
        && with == "WITH"
    {
        licence = format!("{licence} WITH {exception}");
        *rest = tail;
    }
    ALLOWED.contains(&licence.as_str())
}

fn packages() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        // The target as it is built here: what other systems would pull in is neither built nor at hand.
        .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_dependency_has_an_allowed_licence_and_comes_from_crates_io() {
    let mut refused = Vec::new();
    let packages = packages();
    assert!(packages.len() > 10, "the list is whole");
    for package in &packages {
        let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let source = package["source"].as_str();
        let licence = package["license"].as_str().unwrap_or("none stated");
        if !acceptable(licence) {
            refused.push(format!("{name} {version}: licence {licence}"));
        }
        if source.is_some_and(|source| !source.starts_with("registry+https://github.com/rust-lang/crates.io-index")) {
            refused.push(format!("{name} {version}: from {source:?}"));
        }
    }
    assert!(refused.is_empty(), "dependencies we cannot ship:\n{}", refused.join("\n"));
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    assert!(acceptable("MIT OR GPL-3.0"));
    assert!(!acceptable("MIT AND GPL-3.0"));
    assert!(acceptable("MIT/Apache-2.0"));
    assert!(acceptable("(MIT OR GPL-2.0) AND BSD-3-Clause"));
    assert!(!acceptable("(MIT OR Apache-2.0) AND MPL-2.0"));
    assert!(acceptable("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
    assert!(!acceptable("none stated"));
}
