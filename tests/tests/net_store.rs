//! Files that rules want stored, between real TCP stacks: they lie in the directory under their digest, byte for byte,
//! once, and no other file does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_tests::lab::{
    Failure, Host, HttpServer, Lan, http_get, skip_unless_root, switch_with_rules, tap, vhost_user, wait_for,
};

/// Pages of this path are stored.
const RULES: &str =
    r#"alert http any any -> any any (msg:"keep"; flow:to_client; file.name; content:"/keep"; filestore; sid:1;)"#;
const PATIENCE: Duration = Duration::from_secs(10);

fn two(lan: &Lan) -> [&Host; 2] {
    let [server, client] = &lan.hosts[..] else { unreachable!() };
    [server, client]
}

/// The files below a directory, by name.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// A page of some length that does not repeat soon.
fn page(length: usize) -> String {
    (0..length).map(|at| char::from(b'a' + (at * at / 7 % 26) as u8)).collect()
}

#[test]
fn pages_that_a_rule_wants_are_stored_whole_and_once() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let head = format!(
        "{}\n[settings.file_store]\ndirectory = \"{{dir}}/files\"\nfile_bytes = 100000\ntotal_bytes = 150000\n",
        switch_with_rules(RULES)
    );
    let lan = Lan::start(&head, &[tap("server"), vhost_user("client")])?;
    let [server, client] = two(&lan);
    let directory = lan.daemon.path("files");
    let (short, long) = (page(5000), page(120_000));
    let small = HttpServer::start(&server.namespace, server.at(80), &short)?;
    let large = HttpServer::start(&server.namespace, server.at(81), &long)?;
    for (web, path, body) in [
        (&small, "/other", &short),
        (&small, "/keep/1", &short),
        (&small, "/keep/2", &short),
        (&large, "/keep/3", &long),
    ] {
        assert!(http_get(&client.namespace, web.address(), path)?.is_page_with(body), "{path} arrives");
    }
    let told = lan
        .daemon
        .wait_event("the long file", |e| e["event_type"] == "filestore" && e["filestore"]["size"] == 120_000)?;
    assert_eq!(told["filestore"]["stored_bytes"], 100_000, "{told}");
    let stored = wait_for("both files", PATIENCE, || Some(files(&directory)).filter(|files| files.len() >= 2))?;
    let mut bodies: Vec<&[u8]> = stored.iter().map(|(_, bytes)| &bytes[..]).collect();
    bodies.sort_by_key(|body| body.len());
    assert_eq!(bodies, [short.as_bytes(), &long.as_bytes()[..100_000]], "each once, the long one as far as is stored");
    for (path, _) in &stored {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(name.len() >= 64 && path.parent().is_some_and(|shelf| shelf.ends_with(&name[..2])), "{path:?}");
    }
    Ok(())
}

#[test]
fn a_full_directory_takes_no_more_and_traffic_goes_on() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let head = format!(
        "{}\n[settings.file_store]\ndirectory = \"{{dir}}/files\"\nfile_bytes = 6000\ntotal_bytes = 6000\n",
        switch_with_rules(RULES)
    );
    let lan = Lan::start(&head, &[tap("server"), tap("client")])?;
    let [server, client] = two(&lan);
    for (port, length) in [(80, 5000), (81, 5001), (82, 5002)] {
        let body = page(length);
        let web = HttpServer::start(&server.namespace, server.at(port), &body)?;
        assert!(http_get(&client.namespace, web.address(), "/keep")?.is_page_with(&body));
    }
    let full = || lan.daemon.log_end(50).contains("file_store.total_bytes is reached").then_some(());
    wait_for("the word that there is no room", PATIENCE, full)?;
    let stored = files(&lan.daemon.path("files"));
    assert_eq!(stored.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [5000], "the first alone");
    Ok(())
}
