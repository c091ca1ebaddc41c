//! `vswitchctl apply`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::print_applied;

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
}

/// Runs the command.
pub async fn run(apply: Apply, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let Apply { file, dry_run, if_revision } = apply;
    let request =
        v1::ApplyConfigRequest { toml: read_text(&file)?, dry_run, if_revision: if_revision.unwrap_or_default() };
    let applied = daemon.config().await?.apply(request).await?;
    print_applied(applied.get_ref(), format == Format::Json, dry_run)
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
