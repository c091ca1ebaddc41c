//! What the engine tells people. Written as EVE JSON by the daemon.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_wire::{DropReason, Epoch, Instant, InterfaceId, MacAddr, PortId, RuleId, SwitchId, Vid};

/// Bytes of a packet that an event carries along at most.
pub const SNAP: usize = 256;

/// A five-tuple as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port; ICMP type for ICMP.
    pub source_port: u16,
    /// Destination port; ICMP code for ICMP.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// Where something was seen.
#[derive(Clone, Debug)]
pub struct Scene {
    /// When.
    pub time: Instant,
    /// The switch.
    pub switch: SwitchId,
    /// VLAN on the switch.
    pub vid: Vid,
    /// The port the packet came in by.
    pub in_port: PortId,
    /// The port it was going to, where known.
    pub out_port: Option<PortId>,
    /// Source MAC of the packet.
    pub source_mac: MacAddr,
    /// Destination MAC of the packet.
    pub destination_mac: MacAddr,
    /// Five-tuple of the packet; `None` for frames without IP.
    pub tuple: Option<Tuple>,
    /// Number of the flow, unique for the engine's life; 0 without a flow.
    pub flow: u64,
    /// The packet's first [`SNAP`] bytes.
    pub packet: Box<[u8]>,
    /// The packet's whole length.
    pub length: u32,
}

/// What an inspection rule says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// `gid`
    pub gid: u32,
    /// `sid`
    pub sid: u32,
    /// `rev`
    pub rev: u32,
    /// `msg`
    pub msg: String,
    /// `classtype`'s long description, or the classtype itself; empty without one.
    pub category: String,
    /// `priority`, 1 (highest) to 255.
    pub severity: u8,
    /// "allowed" or "blocked", as EVE says it.
    pub blocked: bool,
    /// The rule's action.
    pub action: Option<weir_ids_rules::rule::Action>,
    /// `metadata`: keys and values.
    pub metadata: Box<[(String, String)]>,
    /// `reference`: system and id.
    pub references: Box<[(String, String)]>,
    /// `target`
    pub target: Option<weir_ids_rules::rule::Target>,
}

/// Who looks into a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inspection {
    /// Nobody: its rule and its switch name no rule set, and nothing else is on.
    #[default]
    No,
    /// Rules, the content filter or the virus check.
    Inspected,
    /// Nothing is left to be looked for.
    Settled,
    /// Nobody is to, as its rule says.
    Trusted,
}

impl Inspection {
    /// A word for people.
    pub const fn label(self) -> &'static str {
        match self {
            Inspection::No => "no",
            Inspection::Inspected => "inspected",
            Inspection::Settled => "settled",
            Inspection::Trusted => "trusted",
        }
    }
}

/// A flow at its end.
#[derive(Clone, Debug)]
pub struct FlowRecord {
    /// Number of the flow.
    pub flow: u64,
    /// The switch.
    pub switch: SwitchId,
    /// VLAN on the switch.
    pub vid: Vid,
    /// The initiator's tuple.
    pub tuple: Tuple,
    /// The initiator's port.
    pub in_port: PortId,
    /// The responder's port, where it is known.
    pub out_port: Option<PortId>,
    /// First packet.
    pub start: Instant,
    /// Last packet.
    pub last: Instant,
    /// Packets from initiator and from responder.
    pub packets: [u64; 2],
    /// Bytes from initiator and from responder.
    pub bytes: [u64; 2],
    /// State at the end: "new", "established", "closed", "blocked".
    pub state: &'static str,
    /// Why it ended: "timeout", "closed", "evicted", "port-removed", "forgotten" (its appliance was bypassed), "shutdown",
    /// "killed".
    pub reason: &'static str,
    /// The rule that let it in or refused it, of the policy `epoch`.
    pub rule: RuleId,
    /// The policy that judged it last.
    pub epoch: Epoch,
    /// An inspection rule has fired on it.
    pub alerted: bool,
    /// Its packets, of one direction at least, pass without being shown to the engine.
    pub away: bool,
    /// Who looks into it.
    pub inspection: Inspection,
    /// What it spoke, where that was found out.
    pub app: Option<weir_ids_rules::AppProtocol>,
}

/// A file that a rule wants stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// SHA-256 of the whole file, which is its name.
    pub sha256: [u8; 32],
    /// Its first bytes, as many as are kept of a file.
    pub bytes: Box<[u8]>,
    /// The length of the whole file.
    pub size: u64,
}

impl StoredFile {
    /// The file, where it is to be stored and is complete.
    pub fn of(file: &crate::app::file::File) -> Option<StoredFile> {
        let sha256 = *file.sha256()?.first_chunk()?;
        file.stored.and(file.kept()).map(|bytes| StoredFile { sha256, bytes: bytes.into(), size: file.size() })
    }

    /// Where it is stored: the first byte of its name, and its name.
    pub fn path(&self) -> String {
        let name: String = self.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}/{name}", name.get(..2).unwrap_or_default())
    }
}

/// A stored file on its way out of the engine. Its bytes count as kept until it is dropped.
#[derive(Debug)]
pub struct HandedFile {
    file: StoredFile,
    kept: std::sync::Arc<AtomicUsize>,
}

impl HandedFile {
    /// `None` where all files kept, those on their way among them, would be more than `limit` bytes.
    pub(crate) fn new(file: StoredFile, kept: &std::sync::Arc<AtomicUsize>, limit: usize) -> Option<HandedFile> {
        let length = file.bytes.len();
        if kept.fetch_add(length, Ordering::Relaxed).saturating_add(length) > limit {
            kept.fetch_sub(length, Ordering::Relaxed);
            return None;
        }
        Some(HandedFile { file, kept: std::sync::Arc::clone(kept) })
    }

    /// The file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }
}

impl Drop for HandedFile {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.file.bytes.len(), Ordering::Relaxed);
    }
}

/// What inspection tells beside the bare alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tells {
    /// Finished transactions of application protocols: "http", "dns", "tls" and the like.
    pub transactions: bool,
    /// Files that ended: "fileinfo".
    pub files: bool,
    /// Digests of files, where something is told of them.
    pub digests: bool,
    /// What protocols do not allow: "anomaly".
    pub anomalies: bool,
    /// The bytes in which a rule matched.
    pub payloads: bool,
    /// So many of the first bytes of files are kept for rules with `filestore`; 0: none is stored.
    pub stored_bytes: usize,
}

impl Default for Tells {
    fn default() -> Tells {
        Tells { transactions: true, files: true, digests: false, anomalies: true, payloads: true, stored_bytes: 0 }
    }
}

/// Something a person may want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// An inspection rule matched.
    Alert {
        /// Where.
        scene: Scene,
        /// Which.
        signature: std::sync::Arc<Signature>,
        /// Members of the event that say more: the object "alert", what the flow speaks, its transaction. JSON without
        /// braces; empty where the rule is all that is known.
        members: Box<str>,
    },
    /// The application layer has something to tell: a transaction, a file, an anomaly.
    Record {
        /// Where; without the packet's bytes.
        scene: Scene,
        /// `event_type`
        kind: &'static str,
        /// Members of the event behind its head: JSON without braces.
        members: Box<str>,
    },
    /// A rule wants a file stored, and it is complete.
    File(std::sync::Arc<HandedFile>),
    /// A packet was dropped by a decision of the guard.
    Drop {
        /// Where.
        scene: Scene,
        /// Why.
        reason: DropReason,
        /// The policy rule that decided, where one did.
        rule: Option<RuleId>,
        /// The inspection rule that decided, where one did.
        signature: Option<std::sync::Arc<Signature>>,
    },
    /// A rule with `log` let a flow in.
    Allow {
        /// Where.
        scene: Scene,
        /// The rule.
        rule: RuleId,
    },
    /// Inspection of a flow was given up because the budget of processor time was used up; the flow goes on.
    Shed {
        /// Where: the packet that would have been inspected next.
        scene: Scene,
        /// The stage of the guard.
        stage: crate::engine::budget::Stage,
    },
    /// A content rule told of a site, or denied it.
    Content {
        /// Where.
        scene: Scene,
        /// Which, and by which rule.
        finding: Box<crate::content::Finding>,
    },
    /// A file is infected, or met a limit of the virus check.
    Virus {
        /// Where.
        scene: Scene,
        /// Which, and by what.
        finding: Box<crate::scan::Finding>,
    },
    /// A flow ended.
    Flow(FlowRecord),
    /// A switch has noticed something about its ports, or a router about its resources.
    Notice(Box<Notice>),
}

/// What a switch notices about its ports: loops, addresses that flap, storms. And what a router runs short of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When.
    pub time: Instant,
    /// What: a short name that does not change.
    pub kind: &'static str,
    /// The switch.
    pub switch: SwitchId,
    /// VLAN on the switch, where it has to do with one.
    pub vid: Vid,
    /// The port it is about.
    pub port: PortId,
    /// The other port that has to do with it.
    pub other_port: Option<PortId>,
    /// The address it is about.
    pub mac: Option<MacAddr>,
    /// The interface of a router that it is about.
    pub interface: Option<InterfaceId>,
    /// The flow it is about.
    pub tuple: Option<Tuple>,
    /// The IP address it is about.
    pub source: Option<std::net::IpAddr>,
    /// How many, or how many a second, as the text says.
    pub number: Option<u64>,
    /// One sentence for people.
    pub text: String,
}

impl Notice {
    /// A notice that says no more than this.
    pub fn new(time: Instant, kind: &'static str, switch: SwitchId, port: PortId, text: String) -> Notice {
        Notice {
            time,
            kind,
            switch,
            vid: Vid(0),
            port,
            other_port: None,
            mac: None,
            interface: None,
            tuple: None,
            source: None,
            number: None,
            text,
        }
    }
}

/// Events waiting for the worker to take them away; bounded.
#[derive(Debug)]
pub struct Events {
    waiting: Vec<Event>,
    limit: usize,
    lost: u64,
}

impl Events {
    /// Room for `limit` events between two turns.
    pub fn new(limit: usize) -> Events {
        Events { waiting: Vec::with_capacity(limit.min(1024)), limit, lost: 0 }
    }

    /// Keeps an event, or counts it as lost when there is no room.
    pub fn push(&mut self, event: Event) {
        if self.waiting.len() < self.limit { self.waiting.push(event) } else { self.lost += 1 }
    }

    /// Whether another event would be kept; saves the work of making one.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < self.limit
    }

    /// Counts an event that was not made for lack of room.
    pub fn count_lost(&mut self) {
        self.lost += 1;
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes what waits, oldest first.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Event> {
        self.waiting.drain(..)
    }

    /// Events lost so far for lack of room.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
