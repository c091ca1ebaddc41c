//! `vswitchctl apply`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{print, print_applied, print_json};

/// Make the daemon's state what a file says. What the file does not name is removed. All of it is done, or nothing.
#[derive(Args)]
pub struct Apply {
    /// The whole state, TOML; "-" for standard input.
    file: PathBuf,
    /// Check only and say what would change.
    #[arg(long)]
    dry_run: bool,
    /// Refuse where the state has another revision by now (see show).
    #[arg(long, value_name = "NUMBER")]
    if_revision: Option<u64>,
    /// Undo the change unless "vswitchctl confirm" comes within so many seconds: for changes that may cut us off.
    #[arg(long, value_name = "SECONDS", conflicts_with = "dry_run")]
    confirm_within: Option<u32>,
}

/// Keep a state that was applied with --confirm-within.
#[derive(Args)]
pub struct Confirm {
    /// Its revision; whichever is on trial where absent.
    revision: Option<u64>,
}

/// Runs `confirm`.
pub async fn confirm(confirm: Confirm, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let request = v1::ConfirmConfigRequest { revision: confirm.revision.unwrap_or_default() };
    let kept = daemon.config().await?.confirm(request).await?.into_inner();
    match format {
        Format::Json => print_json(&kept),
        Format::Table => print(&format!("kept: revision {}, epoch {}\n", kept.revision, kept.epoch)),
    }
}

/// Runs the command.
pub async fn run(apply: Apply, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let Apply { file, dry_run, if_revision, confirm_within } = apply;
    let request = v1::ApplyConfigRequest {
        toml: read_text(&file)?,
        dry_run,
        if_revision: if_revision.unwrap_or_default(),
        confirm_within_s: confirm_within.unwrap_or_default(),
    };
    let applied = daemon.config().await?.apply(request).await?.into_inner();
    print_applied(&applied, format == Format::Json, dry_run)?;
    if let Some(seconds) = confirm_within.filter(|_| format == Format::Table && !applied.changes.is_empty()) {
        print(&format!("undone in {seconds} s unless confirmed: vswitchctl confirm {}\n", applied.revision))?;
    }
    Ok(())
}

/// Reads a file, or standard input for "-".
pub fn read_text(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|e| Failure::refused(format!("{}: {e}", file.display())))
}
