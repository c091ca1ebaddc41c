//! What rules leave for each other and for later: bits, counters, sets, thresholds, tags.

use super::condition::Bounds;
use super::{HostSide, Value};

/// A mark that rules leave on a flow for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowBit {
    /// Set them when the rule matches.
    Set(String),
    /// Take it away when the rule matches.
    Unset(String),
    /// Turn it over when the rule matches.
    Toggle(String),
    /// Match only where one of these is set (`|` between names).
    IsSet(Vec<String>),
    /// Match only where none of these is set.
    IsNotSet(Vec<String>),
}

/// What is done with a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitCommand {
    /// Set it when the rule matches.
    Set,
    /// Take it away when the rule matches.
    Unset,
    /// Turn it over when the rule matches.
    Toggle,
    /// Match only where it is set.
    IsSet,
    /// Match only where it is not set.
    IsNotSet,
}

/// What a bit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitTrack {
    /// `ip_src`: the packet's source.
    Source,
    /// `ip_dst`: its destination.
    Destination,
    /// `ip_pair`: the two, in either order.
    Pair,
    /// `tx`: the transaction.
    Transaction,
}

/// `xbits` and `hostbits`: a mark on an address, a pair of them, or a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XBit {
    /// What is done.
    pub command: BitCommand,
    /// Its name.
    pub name: String,
    /// What it belongs to.
    pub track: BitTrack,
    /// Seconds that it stays set.
    pub expire: u32,
    /// It is one of `hostbits`, whose names are apart from those of `xbits`.
    pub host: bool,
}

/// `flowint`: a counter of the flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowInt {
    /// Its name.
    pub name: String,
    /// What is done.
    pub command: FlowIntCommand,
}

/// What is done with a counter, or asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowIntCommand {
    /// `=`
    Set(FlowIntValue),
    /// `+`; one that is not set counts as 0.
    Add(FlowIntValue),
    /// `-`
    Subtract(FlowIntValue),
    /// `<`, `<=`, `==`, `>=`, `>`, `!=`: true where `(counter - value)` has the sign; one that is not set never is.
    Compare {
        /// `<` holds.
        less: bool,
        /// `==` holds.
        equal: bool,
        /// `>` holds.
        greater: bool,
        /// The right side.
        value: FlowIntValue,
    },
    /// `isset`
    IsSet,
    /// `isnotset`, `notset`
    IsNotSet,
}

/// The right side of a `flowint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowIntValue {
    /// A number.
    Number(u32),
    /// Another counter.
    Counter(String),
}

/// What values a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataSetKind {
    /// Bytes.
    Text,
    /// MD5 digests.
    Md5,
    /// SHA-256 digests.
    Sha256,
    /// IPv4 addresses.
    Ipv4,
    /// Addresses.
    Ip,
}

/// What is done with a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSetCommand {
    /// Put the value into it; true where it was not there.
    Set,
    /// Take the value out; true where it was there.
    Unset,
    /// It is there.
    IsSet,
    /// It is not there.
    IsNotSet,
}

/// How a set's file is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DataSetFormat {
    /// One value a line (text as base64), with a score behind a comma for reputations.
    #[default]
    Csv,
    /// One JSON document; `array_key` names the list in it.
    Json,
    /// One JSON object a line.
    NdJson,
}

/// `dataset`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSet {
    /// What is done.
    pub command: DataSetCommand,
    /// The set's name.
    pub name: String,
    /// What it holds; with JSON too.
    pub kind: DataSetKind,
    /// `load`: the file it starts from.
    pub load: Option<String>,
    /// `save`: the file it is written to.
    pub save: Option<String>,
    /// `state`: both.
    pub state: Option<String>,
    /// `memcap`: bytes.
    pub memcap: Option<u64>,
    /// `hashsize`
    pub hashsize: Option<u32>,
    /// How the file is written.
    pub format: DataSetFormat,
    /// `value_key`: where in a JSON object the value stands; dots go deeper.
    pub value_key: Option<String>,
    /// `array_key`: where in a JSON document the list stands.
    pub array_key: Option<String>,
    /// `context_key`: under which name an alert shows the JSON object.
    pub context_key: Option<String>,
    /// `remove_key`: the object is shown without the value itself.
    pub remove_key: bool,
}

/// `datarep`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reputations {
    /// The set's name.
    pub name: String,
    /// The score.
    pub score: Bounds,
    /// What it holds.
    pub kind: DataSetKind,
    /// `load`
    pub load: Option<String>,
    /// `state`
    pub state: Option<String>,
}

/// `threshold` and `detection_filter`: how often a match is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// How the count is used.
    pub kind: ThresholdKind,
    /// What is counted together.
    pub track: Track,
    /// How many.
    pub count: u32,
    /// In how many seconds; 0 where the kind has no time.
    pub seconds: u32,
    /// `backoff`: each next alert comes after so many times as many.
    pub multiplier: u32,
    /// `unique_on`: matches of the same port count once.
    pub unique_on: Option<UniqueOn>,
}

/// Which port tells matches apart that `unique_on` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniqueOn {
    /// `src_port`
    SourcePort,
    /// `dst_port`
    DestinationPort,
}

/// How a threshold's count is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdKind {
    /// Tell the first `count` in the time.
    Limit,
    /// Tell each `count`th in the time.
    Threshold,
    /// Tell once in the time, after `count`.
    Both,
    /// Tell the `count`th, then the `count * multiplier`th, and so on.
    Backoff,
    /// `detection_filter`: match only after `count` in the time.
    Filter,
}

/// What a threshold counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// `by_src`
    Source,
    /// `by_dst`
    Destination,
    /// `by_both`
    Both,
    /// `by_rule`
    Rule,
    /// `by_flow`
    Flow,
}

/// `tag`: packets after the match that are told too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Whose packets.
    pub of: TagOf,
    /// How many, counted in `metric`.
    pub count: u32,
    /// What is counted.
    pub metric: TagMetric,
}

/// Whose packets are tagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagOf {
    /// `session`
    Session,
    /// `host,…,src`
    Source,
    /// `host,…,dst`
    Destination,
}

/// What `tag` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagMetric {
    /// `packets`
    Packets,
    /// `bytes`
    Bytes,
    /// `seconds`
    Seconds,
}

/// `filestore`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStore {
    /// Which way: `None` for that of the match.
    pub side: Option<super::FlowDirection>,
    /// `both`
    pub both: bool,
    /// `tx`: all files of the transaction; `flow`, `ssn`: of the flow. The file alone otherwise.
    pub of_transaction: bool,
    /// All files of the flow.
    pub of_flow: bool,
}

/// `config`: what is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose logging is disabled.
    pub scope: ConfigScope,
}

/// Whose logging a `config` rule disables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigScope {
    /// The transaction's.
    Transaction,
    /// The flow's.
    Flow,
}

impl HostSide {
    /// Whether the source's address is looked up.
    pub const fn looks_at_source(self) -> bool {
        matches!(self, HostSide::Source | HostSide::Both | HostSide::Any)
    }

    /// Whether the destination's address is looked up.
    pub const fn looks_at_destination(self) -> bool {
        matches!(self, HostSide::Destination | HostSide::Both | HostSide::Any)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Number(number.into())
    }
}
