//! Bindings of address translation in a file, from an orderly end of the daemon to its next start.
//!
//! The file is one line that says what it is and when it was written, then one line of JSON for each binding, and a last
//! one with their number. It is written whole or not at all, and taken away once it was read, so that no later start
//! finds bindings of long ago. A file of another version, that is cut, or that makes no sense is not used: the reason is
//! logged. Routers are named, since their numbers may change. Limit: as many bindings as the daemon has.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weir_fabric::nat::bindings::{BINDINGS_MAX, Names as BindingNames};
use weir_fabric::nat::kept::KeptBinding;
use weir_wire::SwitchId;

use crate::commit::Controller;
use crate::published::Names;
use crate::worker::Gone;

/// The form of the file.
const VERSION: u32 = 1;
/// The longest line that is read.
const LINE_MAX: u64 = 1024;
/// Bindings put back at a time: traffic waits meanwhile.
const CHUNK: usize = 8192;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    weir_bindings: u32,
    /// Seconds since 1970.
    written_s: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    zone: String,
    protocol: u8,
    inside: (IpAddr, u16),
    outside: (IpAddr, u16),
    remote: (IpAddr, u16),
    idle_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expects: Option<IpAddr>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    bindings: usize,
}

/// Keeps the bindings that stand; logs what becomes of them.
pub async fn save(controller: &Controller, path: &Path) {
    let Ok(kept) = controller.worker().ask_all(|view| view.fabric.keep_bindings(view.now)).await else { return };
    let kept = kept.concat();
    let names = std::sync::Arc::clone(&controller.snapshot().names);
    if kept.is_empty() {
        return;
    }
    match write(path, &kept, &names, seconds_now()) {
        Ok(()) => tracing::info!("{} bindings of address translation are kept in {}", kept.len(), path.display()),
        Err(error) => tracing::warn!("{}: bindings of address translation cannot be kept: {error}", path.display()),
    }
}

/// Takes up what was kept, if anything was.
pub async fn restore(controller: &Controller, path: &Path) {
    if !path.exists() {
        return;
    }
    let names = std::sync::Arc::clone(&controller.snapshot().names);
    let read = read(path, &names, seconds_now());
    // Whatever it was, it is of no use a second time.
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!("{}: cannot be removed: {error}; remove it before the next start", path.display());
    }
    match read {
        Ok(kept) => match put_back(controller, kept).await {
            Ok((stand, all)) => tracing::info!("{stand} of {all} bindings of address translation stand again"),
            Err(gone) => tracing::warn!("bindings of address translation are lost: {gone}"),
        },
        Err(reason) => tracing::warn!("{}: bindings of address translation are lost: {reason}", path.display()),
    }
}

async fn put_back(controller: &Controller, kept: Vec<KeptBinding>) -> Result<(usize, usize), Gone> {
    let (all, mut stand) = (kept.len(), 0);
    for chunk in kept.chunks(CHUNK) {
        let chunk = chunk.to_vec();
        // Each network takes up those of its own routers.
        let stood = controller.worker().ask_all(move |view| view.fabric.restore_bindings(view.now, &chunk)).await?;
        stand += stood.iter().sum::<usize>();
    }
    Ok((stand, all))
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn write(path: &Path, kept: &[KeptBinding], names: &Names, now_s: u64) -> io::Result<()> {
    let beside = path.with_extension("bindings.new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut out = BufWriter::new(file);
    let mut line = |value: String| writeln!(out, "{value}");
    line(serde_json::to_string(&Head { weir_bindings: VERSION, written_s: now_s })?)?;
    for KeptBinding { names: binding, idle_s, expects } in kept {
        let BindingNames { zone, protocol, inside, outside, remote } = *binding;
        let zone = names.switch(SwitchId(zone));
        line(serde_json::to_string(&Line {
            zone,
            protocol,
            inside,
            outside,
            remote,
            idle_s: *idle_s,
            expects: *expects,
        })?)?;
    }
    line(serde_json::to_string(&Tail { bindings: kept.len() })?)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)
}

/// Reads what was kept, as old as it is now.
///
/// # Errors
/// Why it is of no use.
fn read(path: &Path, names: &Names, now_s: u64) -> Result<Vec<KeptBinding>, String> {
    let mut lines = Lines { from: BufReader::new(File::open(path).map_err(|e| e.to_string())?), number: 0 };
    let head: Head = lines.next()?;
    if head.weir_bindings != VERSION {
        return Err(format!("it has form {}, this version reads {VERSION}", head.weir_bindings));
    }
    let passed_s = now_s.saturating_sub(head.written_s);
    let zones: HashMap<&str, u16> = names.zones().collect();
    let mut kept = Vec::new();
    for count in 0..=BINDINGS_MAX {
        let text = lines.text()?;
        if let Ok(Tail { bindings }) = serde_json::from_str(&text) {
            return if bindings == count {
                Ok(kept)
            } else {
                Err(format!("it has {count} bindings where it says {bindings}"))
            };
        }
        let Line { zone, protocol, inside, outside, remote, idle_s, expects } = lines.parse(&text)?;
        // A router that is gone has taken its bindings with it.
        let Some(&zone) = zones.get(zone.as_str()) else { continue };
        let names = BindingNames { zone, protocol, inside, outside, remote };
        kept.push(KeptBinding { names, idle_s: idle_s.saturating_add(passed_s), expects });
    }
    Err(format!("it has more than {BINDINGS_MAX} bindings"))
}

/// The lines of a file, each of bounded length.
struct Lines<R> {
    from: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    fn text(&mut self) -> Result<String, String> {
        self.number += 1;
        let mut text = String::new();
        let read = self.from.by_ref().take(LINE_MAX).read_line(&mut text);
        read.map_err(|e| format!("line {}: {e}", self.number))?;
        if text.ends_with('\n') { Ok(text) } else { Err(format!("line {}: it is cut or too long", self.number)) }
    }

    fn parse<T: for<'a> Deserialize<'a>>(&self, text: &str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|e| format!("line {}: {e}", self.number))
    }

    fn next<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T, String> {
        let text = self.text()?;
        self.parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::state::Ids;

    fn names() -> Names {
        let config =
            Config::parse("switch = [{ name = \"lan\" }]\nrouter = [{ name = \"edge\" }, { name = \"other\" }]");
        let config = config.expect("parses");
        let ids = Ids::default().after(&config);
        Names::of(&config, &ids, Default::default(), Default::default())
    }

    fn kept(names: &Names) -> Vec<KeptBinding> {
        let zone = names.zones().find(|(name, _)| *name == "other").expect("a zone").1;
        let end = |text: &str, port| (text.parse().expect("an address"), port);
        let names = BindingNames {
            zone,
            protocol: 17,
            inside: end("10.0.0.1", 5000),
            outside: end("198.51.100.1", 5001),
            remote: end("192.0.2.1", 53),
        };
        let second = BindingNames { inside: end("fd00::1", 1), outside: end("2001:db8::1", 2), ..names };
        let expects = Some(end("2001:db8::9", 0).0);
        vec![
            KeptBinding { names, idle_s: 7, expects: None },
            KeptBinding { names: BindingNames { remote: end("0.0.0.0", 0), ..second }, idle_s: 0, expects },
        ]
    }

    /// A file of its own for each test.
    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("weir-bindings-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_is_written_is_read_and_has_grown_older() {
        let (names, path) = (names(), path("whole"));
        let before = kept(&names);
        write(&path, &before, &names, 1000).expect("written");
        let after = read(&path, &names, 1030).expect("read");
        let idle: Vec<u64> = after.iter().map(|kept| kept.idle_s).collect();
        assert_eq!(idle, [37, 30]);
        assert!(before.iter().zip(&after).all(|(a, b)| (a.names, a.expects) == (b.names, b.expects)));
        // A clock that was set back makes nothing younger.
        assert_eq!(read(&path, &names, 10).expect("read")[0].idle_s, 7);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn what_is_broken_is_not_used() {
        let (names, path) = (names(), path("broken"));
        write(&path, &kept(&names), &names, 1000).expect("written");
        let whole = fs::read_to_string(&path).expect("read");
        let tried = |text: &str| {
            fs::write(&path, text).expect("written");
            read(&path, &names, 1000)
        };
        for cut in 0..whole.len() {
            assert!(tried(&whole[..cut]).is_err(), "cut after {cut} bytes");
        }
        assert!(tried(&whole).is_ok());
        let newer = whole.replacen("\"weir_bindings\":1", "\"weir_bindings\":2", 1);
        assert!(tried(&newer).is_err_and(|reason| reason.contains("form 2")));
        let lines: Vec<&str> = whole.lines().collect();
        let fewer = format!("{}\n{}\n{}\n", lines[0], lines[1], lines[3]);
        assert!(tried(&fewer).is_err_and(|reason| reason.contains("says 2")));
        let other = whole.replace("\"other\"", "\"gone\"");
        assert_eq!(tried(&other).map(|kept| kept.len()), Ok(0), "its router is gone");
        assert!(tried(&"x".repeat(4000)).is_err_and(|reason| reason.contains("too long")));
        fs::remove_file(&path).expect("removed");
    }
}
