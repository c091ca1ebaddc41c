//! Rules that others wrote and that do not come along, as those of Emerging Threats: who has some says where.

use std::path::PathBuf;

/// The environment variable that names them: a file, or a folder of files `*.rules`.
pub const RULES: &str = "BENCH_RULES";

/// The files that [`RULES`] names; none where it is not set.
///
/// # Errors
/// Where what it names cannot be read, or has no rules.
pub fn files() -> Result<Vec<PathBuf>, String> {
    let Some(path) = std::env::var_os(RULES).map(PathBuf::from) else { return Ok(Vec::new()) };
    let at = |e: std::io::Error| format!("{RULES}={}: {e}", path.display());
    let path = path.canonicalize().map_err(at)?;
    if !path.is_dir() {
        return Ok(vec![path]);
    }
    let entries = path.read_dir().map_err(at)?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rules"));
    files.sort();
    if files.is_empty() { Err(format!("{RULES}={}: no file *.rules", path.display())) } else { Ok(files) }
}
