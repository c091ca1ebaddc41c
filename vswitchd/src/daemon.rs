//! The daemon's life: start, serve, stop.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use weir_fabric::mirror::Handed;

use crate::commit::{Controller, Terms};
use crate::config::{Config, Router};
use crate::eve::{self, EveFile, Feed};
use crate::keeper;
use crate::listen::{self, Access, BoundSocket, Listen};
use crate::mirror::Outlets;
use crate::notify::{Notice, notify};
use crate::open::HostOpener;
use crate::published::Board;
use crate::readers::Readers;
use crate::server::{self, Bound, Tls};
use crate::services::{self, Services};
use crate::store::{self, Store};
use crate::worker::{self, WorkerStats};
use crate::{bindings, kept_flows, kept_holds};

/// How long requests that are under way at the end may take.
const GRACE: Duration = Duration::from_secs(2);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The state to begin with; changes are not kept.
    pub config: Option<PathBuf>,
    /// The state to begin with, written after each change.
    pub state: Option<PathBuf>,
    /// Where the leases of guests are kept; absent: beside the state, where that is kept.
    pub leases: Option<PathBuf>,
    /// Where bindings of address translation are kept over an orderly end; absent: beside the state, where that is kept.
    pub bindings: Option<PathBuf>,
    /// Where it is kept, likewise, whose the addresses of guests are.
    pub addresses: Option<PathBuf>,
    /// Where the flows of the last day are kept, likewise.
    pub flows: Option<PathBuf>,
    /// Where requests come in.
    pub listen: Vec<Listen>,
    /// Who may use unix sockets.
    pub access: Access,
    /// Certificates for TCP.
    pub tls: Option<TlsFiles>,
    /// Serve plain TCP on loopback addresses.
    pub insecure_loopback: bool,
    /// The file that events are written to.
    pub eve: Option<PathBuf>,
    /// Never sleep.
    pub always_poll: bool,
    /// The longest time spent polling after the last packet.
    pub poll_window: Duration,
    /// The worker's CPU.
    pub cpu: Option<usize>,
}

/// Files in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority of the clients.
    pub client_ca: PathBuf,
}

/// Why the daemon could not start or had to stop, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

fn failure(what: impl std::fmt::Display) -> Failure {
    Failure(what.to_string())
}

/// Runs the daemon until it is asked to stop (SIGTERM, SIGINT).
///
/// # Errors
/// Why it could not start.
pub fn run(options: &Options) -> Result<(), Failure> {
    // Everything that can be refused at once is tried first; sockets are bound before there are threads.
    let config = first_state(options)?;
    config.check().map_err(|problems| Failure(problems.join("\n")))?;
    let services = open_services(options)?;
    let (bound, sockets) = bind(options)?;
    let reopen = Arc::new(AtomicBool::new(false));
    let eve = options.eve.as_ref().map(|path| open_eve(path, &reopen)).transpose()?;
    raise_limits();
    let settings = worker_settings(options, &config)?;
    let opener = Box::new(HostOpener { fast_path: Arc::clone(&settings.fast_path) });
    let feed = Feed::new(settings.readers.clone());
    let started = worker::start(settings).map_err(|e| Failure(format!("the worker cannot be started: {e}")))?;
    let board = Board::default();
    let events = spawn_pump(started.events, board.clone(), feed.clone(), eve)?;
    let serving = services::server::start(started.handle.clone(), board.clone(), services.clone(), started.punts)
        .map_err(|e| Failure(format!("the thread of the services cannot be started: {e}")))?;
    let store = options.state.as_deref().map(Store::new);
    let limits = config.settings.limits;
    let controller = Controller::new(started.handle.clone(), board, opener, store, limits);
    let controller = Arc::new(controller.serving(services));
    let mirrors = spawn_mirrors(started.mirrored, controller.outlets().clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|e| Failure(format!("the control threads cannot be started: {e}")))?;
    let kept = Kept::of(options);
    let (log, board) = (feed.flow_log().clone(), controller.board().clone());
    let serving_now = Serving { config, feed, bound, reopen, crashed: started.crashed };
    let served = runtime.block_on(serve(Arc::clone(&controller), serving_now, &kept));
    runtime.shutdown_timeout(GRACE);
    started.handle.stop();
    drop(controller);
    let last = join(started.threads, events);
    // The flows that were open have ended with the worker.
    if let Some(path) = &kept.flows {
        kept_flows::save(&log, &board, path);
    }
    if serving.join().is_err() {
        tracing::error!("the thread of the services ended by a panic; please report this");
    }
    if mirrors.join().is_err() {
        tracing::error!("the mirrors' thread ended by a panic; please report this");
    }
    drop(sockets);
    tracing::info!(packets = last.packets, events_lost = last.events_lost, "vswitchd has ended");
    served
}

/// Where things are kept from an orderly end to the next start; beside the state, where that is kept.
struct Kept {
    bindings: Option<PathBuf>,
    holds: Option<PathBuf>,
    flows: Option<PathBuf>,
}

impl Kept {
    fn of(options: &Options) -> Kept {
        let beside = |extension: &str| options.state.as_ref().map(|state| state.with_extension(extension));
        Kept {
            bindings: options.bindings.clone().or_else(|| beside("bindings")),
            holds: options.addresses.clone().or_else(|| beside("addresses")),
            flows: options.flows.clone().or_else(|| beside("flows")),
        }
    }
}

fn first_state(options: &Options) -> Result<Config, Failure> {
    match (&options.config, &options.state) {
        (Some(path), _) => store::read(path).map_err(failure),
        (None, Some(path)) => Store::new(path).load().map_err(failure),
        (None, None) => Ok(Config::default()),
    }
}

/// The services of routers, with the leases that were kept.
fn open_services(options: &Options) -> Result<Services, Failure> {
    let beside = || options.state.as_ref().map(|state| state.with_extension("leases"));
    match options.leases.clone().or_else(beside) {
        Some(path) => {
            if let Some(folder) = path.parent() {
                // Where it cannot be made, the file cannot, which says so.
                let _ = std::fs::create_dir_all(folder);
            }
            Services::kept_in(&path).map_err(Failure)
        }
        None => Ok(Services::default()),
    }
}

fn bind(options: &Options) -> Result<(Vec<Bound>, Vec<BoundSocket>), Failure> {
    let tls = options.tls.as_ref().map(read_tls).transpose()?;
    let (mut bound, mut sockets) = (Vec::new(), Vec::new());
    for listen in &options.listen {
        match listen {
            Listen::Unix(path) => {
                let (listener, socket) = listen::bind_unix(path, &options.access).map_err(Failure)?;
                bound.push(Bound::Unix(listener));
                sockets.push(socket);
            }
            Listen::Tcp(address) => {
                if tls.is_none() && !options.insecure_loopback {
                    return Err(Failure(format!(
                        "tcp:{address}: TCP needs mutual TLS: give --tls-cert, --tls-key and --tls-client-ca (or \
                         --insecure-loopback for tests on a loopback address)"
                    )));
                }
                let listener = listen::bind_tcp(*address, tls.is_none()).map_err(Failure)?;
                bound.push(Bound::Tcp(listener, tls.clone()));
            }
        }
    }
    Ok((bound, sockets))
}

fn read_tls(files: &TlsFiles) -> Result<Tls, Failure> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| Failure(format!("{}: {e}", path.display())));
    Ok(Tls { certificate: read(&files.certificate)?, key: read(&files.key)?, client_ca: read(&files.client_ca)? })
}

fn open_eve(path: &Path, reopen: &Arc<AtomicBool>) -> Result<EveFile, Failure> {
    EveFile::open(path, Arc::clone(reopen))
        .map_err(|e| Failure(format!("{}: the event file cannot be opened: {e}", path.display())))
}

/// Many guests mean many descriptors and locked memory.
fn raise_limits() {
    use weir_ports::limits::{Limit, raise_limit};
    for (limit, name) in [(Limit::OpenFiles, "open files"), (Limit::LockedMemory, "locked memory")] {
        if let Err(error) = raise_limit(limit) {
            tracing::warn!("the limit of {name} cannot be raised: {error}; AF_XDP and many ports may be refused");
        }
    }
}

fn worker_settings(options: &Options, config: &Config) -> Result<worker::Settings, Failure> {
    let limits = &config.settings.limits;
    Ok(worker::Settings {
        limits: limits.engine(),
        pool: limits.pool(),
        seed: seed().map_err(|e| Failure(format!("/dev/urandom: {e}")))?,
        poll_window: options.poll_window,
        always_poll: options.always_poll,
        workers: config.settings.workers.count(),
        cpus: match options.cpu {
            Some(cpu) => vec![cpu],
            None => config.settings.worker_cpus.clone(),
        },
        fast_path: Arc::default(),
        readers: Readers::default(),
        translates: config.routers.iter().any(Router::translates),
    })
}

/// A number that nobody outside can guess.
fn seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn spawn_mirrors(copies: std::sync::mpsc::Receiver<Handed>, outlets: Outlets) -> Result<JoinHandle<()>, Failure> {
    std::thread::Builder::new()
        .name("mirrors".into())
        .spawn(move || outlets.write(&copies))
        .map_err(|e| Failure(format!("the mirrors' thread cannot be started: {e}")))
}

fn spawn_pump(
    events: std::sync::mpsc::Receiver<worker::Batch>,
    board: Board,
    feed: Feed,
    file: Option<EveFile>,
) -> Result<JoinHandle<()>, Failure> {
    std::thread::Builder::new()
        .name("events".into())
        .spawn(move || eve::pump(&events, &board, &feed, file))
        .map_err(|e| Failure(format!("the event thread cannot be started: {e}")))
}

/// Waits for the workers' end and for the events they still had.
fn join(workers: Vec<JoinHandle<WorkerStats>>, events: JoinHandle<()>) -> WorkerStats {
    let mut last = WorkerStats::default();
    for worker in workers {
        match worker.join() {
            Ok(stats) => last.merge(&stats),
            Err(_) => tracing::error!("a worker ended by a panic; please report this"),
        }
    }
    if events.join().is_err() {
        tracing::error!("the event thread ended by a panic; please report this");
    }
    last
}

/// What the daemon serves with.
struct Serving {
    config: Config,
    feed: Feed,
    bound: Vec<Bound>,
    reopen: Arc<AtomicBool>,
    /// Names a worker that has ended by a panic.
    crashed: tokio::sync::mpsc::Receiver<usize>,
}

async fn serve(controller: Arc<Controller>, serving: Serving, kept: &Kept) -> Result<(), Failure> {
    let Serving { config, feed, bound, reopen, mut crashed } = serving;
    // The handlers stand before anything is made, so that a signal in between cleans up.
    let mut terminate = signal(SignalKind::terminate()).map_err(failure)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failure)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failure)?;
    let first = controller.change(Terms::default(), move |state| {
        *state = config;
        Ok(())
    });
    first.await.map_err(failure)?;
    if let Some(path) = &kept.bindings {
        bindings::restore(&controller, path).await;
    }
    if let Some(path) = &kept.holds {
        kept_holds::restore(&controller, path).await;
    }
    if let Some(path) = &kept.flows {
        kept_flows::restore(feed.flow_log(), &controller.snapshot(), path);
    }
    let (stop, stopped) = watch::channel(false);
    let keeping = tokio::spawn(keeper::run(Arc::clone(&controller), feed.clone()));
    let routes = server::routes(Arc::clone(&controller), feed, stopped.clone()).await.map_err(failure)?;
    let mut servers = tokio::task::JoinSet::new();
    for listener in bound {
        servers.spawn(server::serve(listener, routes.clone(), stopped.clone()));
    }
    if let Err(error) = notify(Notice::Ready) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
    tracing::info!("vswitchd is ready");
    let result = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hang_up.recv() => {
                tracing::info!("the event file is opened anew");
                reopen.store(true, Ordering::Relaxed);
            }
            Some(ended) = servers.join_next() => break Err(ended_early(ended)),
            // Its networks are gone with it: a start from the stored state has them again, half a daemon would not.
            Some(worker) = crashed.recv() => {
                break Err(Failure(format!("worker {worker} ended by a panic; please report this")));
            }
        }
    };
    drop(notify(Notice::Stopping));
    stop.send_replace(true);
    let all = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("requests that were still under way are cut");
    }
    keeping.abort();
    keeper::save(&controller).await;
    if let Some(path) = &kept.bindings {
        bindings::save(&controller, path).await;
    }
    if let Some(path) = &kept.holds {
        kept_holds::save(&controller, path).await;
    }
    result
}

fn ended_early(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => failure("a listener has ended by itself"),
        Ok(Err(error)) => Failure(format!("a listener has failed: {error}")),
        Err(error) => Failure(format!("a listener has failed: {error}")),
    }
}
