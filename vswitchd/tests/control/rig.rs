//! A daemon in the test's process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use vswitchd::commit::{Controller, WallClock};
use vswitchd::config::{Limits, Port as PortConfig};
use vswitchd::eve::{self, Feed};
use vswitchd::listen::{Access, BoundSocket, bind_unix};
use vswitchd::open::{HostOpener, Opener};
use vswitchd::published::Board;
use vswitchd::refusal::Refusal;
use vswitchd::server::{self, Bound};
use vswitchd::services::{self, Services};
use vswitchd::store::Store;
use vswitchd::worker;
use weir_ports::{MemPeer, MemPort, Port};
use weir_proto::v1;
use weir_wire::{Capabilities, Offload};

/// Other sides of memory ports, by port.
type Peers = Arc<Mutex<HashMap<String, MemPeer>>>;

/// Opens memory ports and keeps their other sides; everything else as the daemon does.
struct RigOpener(Peers);

impl Opener for RigOpener {
    fn open(&self, port: &PortConfig) -> Result<Box<dyn Port>, Refusal> {
        if port.mem.is_none() {
            return HostOpener::default().open(port);
        }
        let (near, far) = MemPort::pair(Capabilities::ALL).map_err(|e| Refusal::internal(e.to_string()))?;
        self.0.lock().expect("not poisoned").insert(port.name.clone(), far);
        Ok(Box::new(near))
    }
}

/// A daemon that ends with its value.
pub struct Rig {
    directory: PathBuf,
    controller: Arc<Controller>,
    feed: Feed,
    peers: Peers,
    stop: watch::Sender<bool>,
    _socket: BoundSocket,
    channel: Channel,
}

impl Rig {
    /// A daemon with an empty state.
    pub async fn start() -> Rig {
        Rig::start_by(None).await
    }

    /// The same by this clock in place of the host's.
    pub async fn start_by(clock: Option<WallClock>) -> Rig {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("weir-control-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("made");
        let (board, feed, peers) = (Board::default(), Feed::default(), Peers::default());
        let started = worker::start(settings()).expect("the worker starts");
        let pump = (board.clone(), feed.clone());
        std::thread::spawn(move || eve::pump(&started.events, &pump.0, &pump.1, None));
        let store = Some(Store::new(&directory.join("state.toml")));
        let opener = Box::new(RigOpener(Arc::clone(&peers)));
        let services = Services::default();
        services::server::start(started.handle.clone(), board.clone(), services.clone(), started.punts)
            .expect("the services start");
        let controller = Controller::new(started.handle, board, opener, store, Limits::default());
        let controller = controller.serving(services);
        let controller = Arc::new(match clock {
            Some(clock) => controller.by_clock(clock),
            None => controller,
        });
        let (stop, stopped) = watch::channel(false);
        let path = directory.join("control.sock");
        let access = Access { mode: 0o600, group: None };
        let (listener, socket) = bind_unix(&path, &access).expect("binds");
        let routes =
            server::routes(Arc::clone(&controller), feed.clone(), stopped.clone()).await.expect("there are routes");
        tokio::spawn(server::serve(Bound::Unix(listener), routes, stopped));
        let channel = connect(&path).await;
        Rig { directory, controller, feed, peers, stop, _socket: socket, channel }
    }

    /// A daemon with this state.
    pub async fn with(toml: &str) -> Rig {
        let rig = Rig::start().await;
        rig.apply(toml).await.expect("the state is applied");
        rig
    }

    /// The one place where the state changes.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    pub fn policies(&self) -> v1::policies_client::PoliciesClient<Channel> {
        v1::policies_client::PoliciesClient::new(self.channel())
    }

    pub fn segments(&self) -> v1::segments_client::SegmentsClient<Channel> {
        v1::segments_client::SegmentsClient::new(self.channel())
    }

    /// A place for files.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Serves the same daemon on another listener too.
    pub async fn serve(&self, bound: Bound) {
        let stopped = self.stop.subscribe();
        let routes = server::routes(Arc::clone(&self.controller), self.feed.clone(), stopped.clone())
            .await
            .expect("there are routes");
        tokio::spawn(server::serve(bound, routes, stopped));
    }

    /// Asks the servers to end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Who reads what flows speak.
    pub fn readers(&self) -> &vswitchd::readers::Readers {
        self.feed.readers()
    }

    /// The connection.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn switches(&self) -> v1::switches_client::SwitchesClient<Channel> {
        v1::switches_client::SwitchesClient::new(self.channel())
    }

    pub fn ports(&self) -> v1::ports_client::PortsClient<Channel> {
        v1::ports_client::PortsClient::new(self.channel())
    }

    pub fn routers(&self) -> v1::routers_client::RoutersClient<Channel> {
        v1::routers_client::RoutersClient::new(self.channel())
    }

    pub fn services(&self) -> v1::services_client::ServicesClient<Channel> {
        v1::services_client::ServicesClient::new(self.channel())
    }

    pub fn config(&self) -> v1::config_client::ConfigClient<Channel> {
        v1::config_client::ConfigClient::new(self.channel())
    }

    /// Makes this the state.
    pub async fn apply(&self, toml: &str) -> Result<v1::Applied, tonic::Status> {
        let request = v1::ApplyConfigRequest { toml: toml.into(), ..Default::default() };
        Ok(self.config().apply(request).await?.into_inner())
    }

    /// The state as text and its number.
    pub async fn state(&self) -> (String, u64) {
        let shown = self.config().show(v1::ShowConfigRequest {}).await.expect("is shown").into_inner();
        (shown.toml, shown.revision)
    }

    /// Sends a frame into a memory port.
    pub fn inject(&self, port: &str, frame: &[u8]) {
        let peers = self.peers.lock().expect("not poisoned");
        assert!(peers.get(port).expect("is open").inject(frame, Offload::default()));
    }

    /// Waits for a frame that leaves by a memory port.
    pub fn receive(&self, port: &str) -> Option<Vec<u8>> {
        let peers = self.peers.lock().expect("not poisoned");
        let peer = peers.get(port).expect("is open");
        peer.wait(Duration::from_secs(5)).expect("waits");
        peer.take().map(|frame| frame.bytes)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
        self.controller.worker().stop();
        std::fs::remove_dir_all(&self.directory).expect("removed");
    }
}

fn settings() -> worker::Settings {
    worker::Settings {
        limits: weir_filter::Limits { flows: 1024, ..Default::default() },
        pool: weir_wire::buffer::PoolLimits { frames: 1024, supers: 64 },
        seed: 7,
        poll_window: Duration::ZERO,
        always_poll: false,
        workers: 1,
        cpus: Vec::new(),
        fast_path: Default::default(),
        readers: Default::default(),
        translates: false,
    }
}

async fn connect(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://rig").connect_with_connector(connector).await.expect("connects")
}

/// A switch "lan" with memory ports "a" and "b".
pub const TWO: &str = r#"
switch = [{ name = "lan" }]
port = [{ name = "a", switch = "lan", mem = {} }, { name = "b", switch = "lan", mem = {} }]
"#;

/// A broadcast frame of an experimental EtherType from a station of this number.
pub fn broadcast(station: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, station, 0x88, 0xb5]);
    frame.resize(60, 0xa5);
    frame
}
