//! Signature files of the virus check, read and compiled once for each text, and the check in the guard's terms.

use std::fs;
use std::sync::Arc;

use ring::digest;
use weir_filter::scan::{self, Database};
use weir_wire::SwitchId;

use crate::clamd::{Clamd, Wake};
use crate::config::{self, Config};
use crate::refusal::Refusal;
use crate::state::{Ids, Zones};
use crate::worker::Handle;

/// Bytes of all signature files at most.
const TEXT_MAX: u64 = 1 << 30;

/// The signatures in force.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// For the policy; `None` where the check is off.
    pub database: Option<Arc<Database>>,
    /// SHA-256 of the files' texts and names.
    pub digest: String,
    /// Who is asked beside.
    pub clamd: Option<Arc<Clamd>>,
}

impl Loaded {
    /// The same with clamd asked beside, where that is wanted; a clamd that is asked already in that way goes on.
    ///
    /// # Errors
    /// Where no thread can be started for it.
    pub fn asking(self, wanted: &config::Virus, known: &Loaded, worker: &Handle) -> Result<Loaded, Refusal> {
        let Some(settings) = wanted.clamd_settings().filter(|_| wanted.enabled) else {
            return Ok(Loaded { clamd: None, ..self });
        };
        if let Some(known) = known.clamd.as_ref().filter(|known| *known.settings() == settings) {
            return Ok(Loaded { clamd: Some(Arc::clone(known)), ..self });
        }
        let worker = worker.clone();
        let wake: Wake = Arc::new(move || worker.verdict_came());
        let started = Clamd::start(settings, &wake);
        let clamd =
            started.map_err(|e| Refusal::internal(format!("virus: no thread can be started for clamd: {e}")))?;
        Ok(Loaded { clamd: Some(Arc::new(clamd)), ..self })
    }

    /// What an operator should know of signatures that were refused.
    pub fn warning(&self) -> Option<String> {
        let database = self.database.as_ref().filter(|database| !database.refused.is_empty())?;
        let refused: Vec<String> = database.refused.iter().map(|(why, count)| format!("{count}: {why}")).collect();
        let (digests, bodies) = database.len();
        Some(format!(
            "virus: {digests} digests and {bodies} body signatures are in force; refused were {}",
            refused.join(", ")
        ))
    }
}

/// Reads the signature files of a state; takes `known` over where they are the same.
///
/// # Errors
/// Where a file cannot be read.
pub async fn load(wanted: &config::Virus, known: &Loaded) -> Result<Loaded, Refusal> {
    if !wanted.enabled {
        return Ok(Loaded::default());
    }
    let (wanted, known) = (wanted.clone(), known.clone());
    let task = tokio::task::spawn_blocking(move || read(&wanted, &known));
    task.await.map_err(|e| Refusal::internal(format!("reading signatures failed: {e}; please report this")))?
}

fn read(wanted: &config::Virus, known: &Loaded) -> Result<Loaded, Refusal> {
    let mut texts = Vec::new();
    let mut total = 0;
    let mut context = digest::Context::new(&digest::SHA256);
    for file in &wanted.signatures {
        let wrong = |e: std::io::Error| Refusal::invalid(format!("virus: signatures: {file}: {e}"));
        total += fs::metadata(file).map_err(wrong)?.len();
        if total > TEXT_MAX {
            return Err(Refusal::invalid("virus: the signature files are larger than 1 GiB"));
        }
        let text = String::from_utf8_lossy(&fs::read(file).map_err(wrong)?).into_owned();
        for part in [file, &text] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        texts.push((file.clone(), text));
    }
    let digest: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if known.database.is_some() && known.digest == digest {
        return Ok(known.clone());
    }
    let database = Database::read(texts.iter().map(|(file, text)| (file.as_str(), text.as_str())));
    Ok(Loaded { database: Some(Arc::new(database)), digest, clamd: None })
}

/// The virus check as the guard takes it.
pub fn policy(desired: &Config, ids: &Ids, loaded: &Loaded) -> scan::Policy {
    let virus = &desired.virus;
    let zones = Zones::of(desired, ids);
    let number = |name: &String| -> Option<SwitchId> {
        match zones.name_of(name) {
            Some(zone) => {
                zones.switches(desired).into_iter().find(|switch| switch.name == *zone).map(|switch| switch.id)
            }
            None => ids.switch(name),
        }
    };
    let in_group = |port: &&config::Port| port.groups.iter().any(|group| virus.groups.contains(group));
    let ports = desired.ports.iter().filter(in_group).filter_map(|port| ids.port(&port.name));
    // A group without ports matches nobody, not everybody.
    let nobody = (!virus.groups.is_empty()).then_some(weir_wire::PortId(u16::MAX));
    scan::Policy {
        database: loaded.database.clone(),
        remote: loaded.clamd.as_ref().map(|clamd| Arc::clone(clamd.remote())),
        limits: virus.limits(),
        overload: virus.on_overload.into(),
        switches: virus.switches.iter().filter_map(number).collect(),
        ports: ports.chain(nobody).collect(),
        ..scan::Policy::default()
    }
}
