//! Settings of the guard as a whole, and the bounds of its tables.

use serde::{Deserialize, Serialize};
use weir_filter::event::Tells;
use weir_filter::policy::spec;
use weir_wire::buffer::PoolLimits;

use crate::eve::kinds;

use super::file_store::FileStore;
use super::inspection::Inspection;
use super::quota::Detection;
use super::workers::{WorkerOf, Workers};

/// What to do when something cannot be inspected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Drop, count and log.
    #[default]
    Closed,
    /// Forward uninspected, count and log.
    Open,
}

impl From<OnFailure> for spec::OnFailure {
    fn from(on_failure: OnFailure) -> spec::OnFailure {
        match on_failure {
            OnFailure::Closed => spec::OnFailure::Closed,
            OnFailure::Open => spec::OnFailure::Open,
        }
    }
}

/// Settings of the guard as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long after its start the guard takes up TCP connections whose handshake it did not see, in seconds.
    pub midstream_grace_s: u32,
    /// Bytes of each direction of a TCP stream that are inspected.
    pub stream_depth: u64,
    /// When the memory for streams is used up.
    pub on_stream_limit: OnFailure,
    /// What inspection may cost.
    pub inspection: Inspection,
    /// What counts as a scan or a flood.
    pub detection: Detection,
    /// Idle times after which a flow is forgotten.
    pub timeouts: Timeouts,
    /// What is told to people.
    pub eve: Eve,
    /// Where files are stored that rules want.
    pub file_store: FileStore,
    /// Seconds between two times the sets that rules fill are saved; 0: at the end only.
    pub save_sets_s: u32,
    /// Threads that forward. Taken at the daemon's start, as are their CPUs.
    pub workers: Workers,
    /// The CPUs that they run on, by worker; those beyond the list run on any.
    pub worker_cpus: Vec<usize>,
    /// Networks go to other workers by themselves where that evens out what these have to do.
    pub rebalance: bool,
    /// Networks that stay with a worker, by the name of a switch, router or appliance in them.
    pub worker_of: WorkerOf,
    /// Bounds of tables. They are taken at the daemon's start and cannot change while it runs.
    pub limits: Limits,
}

/// What is told to people, as events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eve {
    /// Types of events; empty for all.
    pub types: Vec<String>,
    /// Seconds between two events of the daemon's counters; 0 for none.
    pub stats_s: u32,
    /// Show the bytes in which a rule matched.
    pub payload: bool,
    /// Show digests of files.
    pub digests: bool,
}

impl Default for Eve {
    fn default() -> Eve {
        Eve { types: Vec::new(), stats_s: 30, payload: true, digests: false }
    }
}

impl Eve {
    /// Whether events of this type are told.
    pub fn tells(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind)
    }

    /// As the guard takes it.
    fn spec(&self) -> Tells {
        let of_transactions = |kind: &String| kinds::is_record(kind) && kind != "fileinfo";
        Tells {
            transactions: self.types.is_empty() || self.types.iter().any(of_transactions),
            files: self.tells("fileinfo"),
            digests: self.digests,
            anomalies: self.tells("anomaly"),
            payloads: self.payload,
            stored_bytes: 0,
        }
    }
}

/// Idle times after which a flow is forgotten, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_handshake_s: u32,
    /// TCP established.
    pub tcp_established_s: u32,
    /// TCP after FIN or RST.
    pub tcp_closing_s: u32,
    /// UDP with traffic one way only.
    pub udp_single_s: u32,
    /// UDP with traffic both ways.
    pub udp_stream_s: u32,
    /// ICMP echo and the like.
    pub icmp_s: u32,
    /// Other IP protocols.
    pub other_s: u32,
    /// Flows ended by a verdict: how long their packets go on being dropped.
    pub blocked_s: u32,
}

/// Bounds of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Flows in all.
    pub flows: u32,
    /// Flows that one port may open; 0 for a fair share.
    pub flows_per_port: u32,
    /// Bytes of stream data held, in all.
    pub stream_bytes: u64,
    /// The same for one direction of one flow.
    pub stream_bytes_per_flow: u64,
    /// Fragments waiting.
    pub fragments: u32,
    /// Events of one turn.
    pub events: u32,
    /// Buffers of 2 KiB.
    pub frame_buffers: u32,
    /// Buffers of 64 KiB.
    pub super_buffers: u32,
}

fn seconds(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Default for Settings {
    fn default() -> Settings {
        let of = spec::Settings::default();
        Settings {
            midstream_grace_s: seconds(of.midstream_grace),
            stream_depth: of.stream_depth,
            on_stream_limit: OnFailure::Closed,
            inspection: Inspection::default(),
            detection: Detection::default(),
            timeouts: Timeouts::default(),
            eve: Eve::default(),
            file_store: FileStore::default(),
            save_sets_s: 300,
            workers: Workers::default(),
            worker_cpus: Vec::new(),
            rebalance: true,
            worker_of: WorkerOf::new(),
            limits: Limits::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let of = spec::Timeouts::default();
        Timeouts {
            tcp_handshake_s: seconds(of.tcp_handshake),
            tcp_established_s: seconds(of.tcp_established),
            tcp_closing_s: seconds(of.tcp_closing),
            udp_single_s: seconds(of.udp_single),
            udp_stream_s: seconds(of.udp_stream),
            icmp_s: seconds(of.icmp),
            other_s: seconds(of.other),
            blocked_s: seconds(of.blocked),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        let (of, pool) = (weir_filter::Limits::default(), PoolLimits::default());
        Limits {
            flows: count(of.flows),
            flows_per_port: count(of.flows_per_port),
            stream_bytes: of.stream_bytes as u64,
            stream_bytes_per_flow: of.stream_bytes_per_flow as u64,
            fragments: count(of.fragments),
            events: count(of.events),
            frame_buffers: count(pool.frames),
            super_buffers: count(pool.supers),
        }
    }
}

impl Limits {
    /// The engine's part.
    pub fn engine(&self) -> weir_filter::Limits {
        weir_filter::Limits {
            flows: self.flows as usize,
            flows_per_port: self.flows_per_port as usize,
            stream_bytes: self.stream_bytes as usize,
            stream_bytes_per_flow: self.stream_bytes_per_flow as usize,
            fragments: self.fragments as usize,
            events: self.events as usize,
        }
    }

    /// The pool's part.
    pub fn pool(&self) -> PoolLimits {
        PoolLimits { frames: self.frame_buffers as usize, supers: self.super_buffers as usize }
    }
}

impl Settings {
    /// As the policy compiler takes them.
    pub fn spec(&self) -> spec::Settings {
        let s = |seconds: u32| std::time::Duration::from_secs(u64::from(seconds));
        let t = &self.timeouts;
        spec::Settings {
            timeouts: spec::Timeouts {
                tcp_handshake: s(t.tcp_handshake_s),
                tcp_established: s(t.tcp_established_s),
                tcp_closing: s(t.tcp_closing_s),
                udp_single: s(t.udp_single_s),
                udp_stream: s(t.udp_stream_s),
                icmp: s(t.icmp_s),
                other: s(t.other_s),
                blocked: s(t.blocked_s),
            },
            midstream_grace: s(self.midstream_grace_s),
            stream_depth: self.stream_depth,
            on_stream_limit: self.on_stream_limit.into(),
            tells: Tells { stored_bytes: self.file_store.kept(), ..self.eve.spec() },
            detection: self.detection.spec(),
            cpu_budget: self.inspection.spec(std::thread::available_parallelism().map_or(1, usize::from)),
        }
    }
}
