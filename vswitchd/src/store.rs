//! The desired state in a file, so that it outlives the daemon.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::refusal::Refusal;

/// The longest text that is read and written: a million routes take some hundred megabytes.
const TEXT_MAX: u64 = 512 << 20;

/// A state file.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The file at `path`, which may not exist yet.
    pub fn new(path: &Path) -> Store {
        Store { path: path.to_owned() }
    }

    /// What was kept; an empty state where there is no file.
    ///
    /// # Errors
    /// Where the file cannot be read or is no state.
    pub fn load(&self) -> Result<Config, Refusal> {
        if self.path.exists() { read(&self.path) } else { Ok(Config::default()) }
    }

    /// Keeps a state: after a crash the file holds either the old one or this one.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, config: &Config) -> Result<(), Refusal> {
        let text = config.to_toml()?;
        if text.len() as u64 > TEXT_MAX {
            let name = self.path.display();
            return Err(Refusal::state(format!("state file {name}: the state would be larger than 512 MiB")));
        }
        self.write(text.as_bytes())
            .map_err(|e| Refusal::internal(format!("state file {}: cannot be written: {e}", self.path.display())))
    }

    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(b"# The state of vswitchd, written by it after each change.\n\n")?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        match self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// Reads a state from a file.
///
/// # Errors
/// Where it cannot be read or is no state; names the file.
pub fn read(path: &Path) -> Result<Config, Refusal> {
    let named = |what: String| format!("{}: {what}", path.display());
    let length = fs::metadata(path).map(|m| m.len());
    let text = match length {
        Ok(length) if length > TEXT_MAX => return Err(Refusal::invalid(named("is larger than 512 MiB".into()))),
        Ok(_) => fs::read_to_string(path),
        Err(error) => Err(error),
    };
    let text = text.map_err(|e| match e.kind() {
        ErrorKind::InvalidData => Refusal::invalid(named("is not UTF-8 text".into())),
        _ => Refusal::state(named(e.to_string())),
    })?;
    Config::parse(&text).map_err(|e| Refusal::invalid(named(e.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Switch;

    #[test]
    fn a_saved_state_is_loaded_again() {
        let directory = std::env::temp_dir().join(format!("weir-store-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("made");
        let store = Store::new(&directory.join("state.toml"));
        assert_eq!(store.load().expect("no file is an empty state"), Config::default());
        let config = Config { switches: vec![Switch::named("lan")], ..Config::default() };
        store.save(&config).expect("saved");
        assert_eq!(store.load().expect("loaded"), config);
        fs::write(directory.join("state.toml"), "switch = 3").expect("written");
        let error = store.load().expect_err("is no state").message;
        assert!(error.contains("state.toml") && error.contains("line 1"), "{error}");
        fs::remove_dir_all(&directory).expect("removed");
    }
}
