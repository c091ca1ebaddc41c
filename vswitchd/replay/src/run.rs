//! One run: rules, capture, lines.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Instant as Clock;

use weir_filter::app;
use weir_filter::capture::{Capture, Counters, FORESEEN, Options, Settings};
use weir_filter::decode::Link;
use weir_filter::detect::sets::Sets;
use weir_filter::detect::{Program, Shared};
use weir_filter::event::StoredFile;
use weir_ports::pcap::reader::{Reader, Record};
use weir_wire::Instant;

use crate::arguments::Arguments;
use crate::stats::{self, Figures};
use crate::{known, options, rules};

/// Bytes read from the capture at a time: they stay in the second cache until they are looked at.
const READ: usize = 256 << 10;
/// Lines are written when there are so many bytes of them.
const WRITE_AT: usize = 256 << 10;

/// Why a run failed.
#[derive(Debug)]
pub enum Failure {
    /// Arguments, options or rules are wrong.
    Usage(String),
    /// Something could not be read or written.
    Io(String),
    /// Rules would be refused.
    Refused(String),
}

impl Failure {
    /// Arguments, options or rules are wrong.
    pub fn usage(text: String) -> Failure {
        Failure::Usage(text)
    }

    /// Rules would be refused.
    pub fn refused(text: String) -> Failure {
        Failure::Refused(text)
    }

    /// A file cannot be read or written.
    pub fn file(path: &Path, error: &dyn fmt::Display) -> Failure {
        Failure::Io(format!("{}: {error}", path.display()))
    }

    /// The exit status that says so.
    pub fn status(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Io(_) | Failure::Refused(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Io(text) | Failure::Refused(text) => f.write_str(text),
        }
    }
}

/// Does what the arguments ask for.
///
/// # Errors
/// As [`Failure`] says.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Clock::now();
    let options = options::read(arguments)?;
    for name in known::unknown(&options) {
        eprintln!("weir-replay: the option {name} is not known, and passed over");
    }
    let (program, sets) = rules::load(arguments, &options)?;
    let loaded = begun.elapsed();
    fs::create_dir_all(&arguments.out).map_err(|e| Failure::file(&arguments.out, &e))?;
    let path = arguments.out.join("eve.json");
    let file = File::create(&path).map_err(|e| Failure::file(&path, &e))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let before = stats::cpu_seconds();
    let mut counters = Counters::default();
    let mut last = None;
    for _ in 0..arguments.repeat {
        drop(last.take());
        let capture = inspect(arguments, &options, (&program, &sets), &mut out, |_| {});
        let capture = capture.map_err(|fault| match fault {
            Fault::Out(e) => Failure::file(&path, &e),
            Fault::In(text) => Failure::file(&arguments.pcap, &text),
        })?;
        counters = capture.counters();
        save_sets(arguments, &capture)?;
        last = Some(capture);
    }
    out.flush().map_err(|e| Failure::file(&path, &e))?;
    if arguments.stats {
        let cpu = stats::cpu_seconds() - before;
        let rounds = u64::from(arguments.repeat.max(1));
        stats::print(&Figures { cpu, load: loaded.as_secs_f64(), rules: program.rule_count(), rounds, counters });
    }
    // The program ends here, and the system takes back all that it has at once.
    std::mem::forget((last, program, sets));
    Ok(())
}

/// What went wrong with a capture.
pub enum Fault {
    /// It cannot be read.
    In(String),
    /// The events cannot be written.
    Out(io::Error),
}

/// Inspects the capture once, after `prepare` has seen what will do it, and returns that.
///
/// # Errors
/// As [`Fault`] says.
pub fn inspect(
    arguments: &Arguments,
    options: &Options,
    (program, sets): (&Arc<Program>, &Sets),
    out: &mut impl Write,
    prepare: impl FnOnce(&mut Capture),
) -> Result<Capture, Fault> {
    let file = File::open(&arguments.pcap).map_err(|e| Fault::In(e.to_string()))?;
    let mut reader = Reader::of_any_link(BufReader::with_capacity(READ, file)).map_err(|e| Fault::In(e.to_string()))?;
    let settings = Settings::from_options(options, arguments.ips);
    let hash_files = settings.kinds.files || program.compares_digests();
    let store_all = options.flag("outputs.file-store.force-filestore", false);
    let keep_files = if store_all || program.stores_files() { options::store_depth(options) } else { 0 };
    let app = app::Settings { hash_files, keep_files, ..options::app(options, arguments.ips) };
    let mut shared = Shared::new(app, arguments.ips);
    shared.alerts_per_packet = alerts_per_packet(options);
    shared.store_all = store_all;
    shared.guess_transaction = options.flag("detect.guess-applayer-tx", false);
    *shared.sets() = sets.clone();
    let mut capture = Capture::new(settings, Arc::clone(program), shared);
    prepare(&mut capture);
    let mut record = Record::default();
    let mut lines = String::new();
    loop {
        reader.glance(FORESEEN, |link, bytes| {
            if Link::from_number(link) == Some(Link::Ethernet) {
                capture.foresee(bytes);
            }
        });
        let frame = |record: &Record, bytes: &[u8]| {
            let link = Link::from_number(record.link).ok_or(record.link)?;
            let time = Instant(u64::try_from(record.time.as_nanos()).unwrap_or(u64::MAX));
            capture.frame(link, bytes, time, &mut lines);
            Ok::<(), u32>(())
        };
        match reader.lend(&mut record, frame) {
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(link))) => return Err(Fault::In(format!("link type {link} is not known"))),
            Ok(None) => break,
            // A capture that is cut off is inspected as far as it goes.
            Err(error) => {
                eprintln!("weir-replay: {}: {error}", arguments.pcap.display());
                break;
            }
        }
        if capture.has_stored() {
            store(arguments, capture.take_stored()).map_err(Fault::Out)?;
        }
        if lines.len() >= WRITE_AT {
            out.write_all(lines.as_bytes()).map_err(Fault::Out)?;
            lines.clear();
        }
    }
    capture.finish(&mut lines);
    store(arguments, capture.take_stored()).map_err(Fault::Out)?;
    out.write_all(lines.as_bytes()).map_err(Fault::Out)?;
    Ok(capture)
}

/// Writes the files that rules want stored below `filestore`, each under its SHA-256.
fn store(arguments: &Arguments, files: Vec<StoredFile>) -> io::Result<()> {
    for file in files {
        let path = arguments.out.join("filestore").join(file.path());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if !path.exists() {
            fs::write(path, &file.bytes)?;
        }
    }
    Ok(())
}

/// Writes the sets that rules want saved into the folder of the events. A name that leads elsewhere is not written to.
fn save_sets(arguments: &Arguments, capture: &Capture) -> Result<(), Failure> {
    for (name, text) in capture.shared().known_sets().saves() {
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(name).components().all(plain) {
            eprintln!("weir-replay: the set in {name} is not saved: the name leads out of --out");
            continue;
        }
        let path = arguments.out.join(name);
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder.and_then(|()| fs::write(&path, text)).map_err(|e| Failure::file(&path, &e))?;
    }
    Ok(())
}

/// Alerts of one packet; 0 and nonsense stand for the customary 15.
fn alerts_per_packet(options: &Options) -> usize {
    match options.number("packet-alert-max", 15) {
        0 => 15,
        n => n.min(255) as usize,
    }
}
