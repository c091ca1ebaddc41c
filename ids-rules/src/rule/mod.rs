//! A rule as a typed value: what [`RuleSet::parse`](crate::RuleSet::parse) makes of a line of text.
//!
//! [`Rule`] is the whole; [`Section`] is one buffer with what is asked of its bytes ([`Match`]); [`Condition`] asks of
//! a packet or its flow; [`NumberTest`], [`AppTest`] and [`FileTest`] ask of a transaction; the [`state`] items are what
//! rules leave for each other.

use std::sync::Arc;

use crate::AppProtocol;

mod bytes;
mod condition;
mod header;
mod matches;
pub mod state;
mod transaction;

pub use bytes::{
    Asn1, Base64Decode, Base64Mode, ByteExtract, ByteJump, ByteMath, ByteOrder, ByteTest, Entropy, Number,
};
pub use bytes::{ByteOperator, MathOperator};
pub use condition::{
    Bounds, Condition, Directed, FlagsMode, FragmentBits, FragmentMode, HostSide, Reputation, StreamSide, Summed,
    TcpWay,
};
pub use header::{Action, Arrow, Endpoint, Hook, Protocol, RejectTo};
pub use matches::{
    Absent, Capture, CaptureInto, Content, FastPattern, IsDataAt, Match, Pcre, PcreFlags, Position, Section, Transform,
    Value,
};
pub use state::{
    BitCommand, BitTrack, Config, ConfigScope, DataSet, DataSetCommand, DataSetFormat, DataSetKind, FileStore, FlowBit,
    FlowInt, FlowIntCommand, FlowIntValue, Reputations, Tag, TagMetric, TagOf, Threshold, ThresholdKind, Track,
    UniqueOn, XBit,
};
pub use transaction::{AppTest, Comparison, FileHash, FileTest, Nth, NumberTest};

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Action.
    pub action: Action,
    /// Protocol.
    pub protocol: Protocol,
    /// The application protocols of which one must be spoken, as the header, buffers and keywords say; empty for any.
    pub apps: Vec<AppProtocol>,
    /// Snort 3's `service`: names of protocols, which say where the rule is looked for there.
    pub services: Vec<String>,
    /// The state of the protocol at which the rule is judged (`tls:client_hello_done`), where it names one.
    pub hook: Option<Hook>,
    /// Left side of the arrow.
    pub source: Endpoint,
    /// The arrow.
    pub arrow: Arrow,
    /// Right side of the arrow.
    pub destination: Endpoint,
    /// `gid`; 1 where absent.
    pub gid: u32,
    /// `sid`, never 0.
    pub sid: u32,
    /// `rev`; 0 where absent.
    pub rev: u32,
    /// `msg`
    pub msg: String,
    /// `classtype`
    pub classtype: String,
    /// What the classtype means, or the classtype itself where that is not known.
    pub category: String,
    /// `priority`, or that of the classtype; 1 (highest) to 255.
    pub priority: u8,
    /// `reference`: system and id.
    pub references: Vec<(String, String)>,
    /// `metadata`: keys and values.
    pub metadata: Vec<(String, String)>,
    /// `target`
    pub target: Option<Target>,
    /// `noalert` or `flowbits:noalert`: act, but tell nobody.
    pub noalert: bool,
    /// `alert`: a rule that passes tells people too.
    pub alert: bool,
    /// `flow`
    pub flow: Flow,
    /// Conditions on a packet and its flow.
    pub conditions: Vec<Condition>,
    /// What is asked of buffers, in the order of the text; the payload is one of them.
    pub sections: Vec<Section>,
    /// Numbers of transactions.
    pub numbers: Vec<NumberTest>,
    /// Other questions to transactions.
    pub app: Vec<AppTest>,
    /// Questions to files.
    pub files: Vec<FileTest>,
    /// Names of the numbers that `byte_extract` and `byte_math` take; [`Value::Variable`] is an index here.
    pub variables: Vec<String>,
    /// `flowbits`
    pub flowbits: Vec<FlowBit>,
    /// `xbits` and `hostbits`
    pub xbits: Vec<XBit>,
    /// `flowint`
    pub flowints: Vec<FlowInt>,
    /// `threshold` or `detection_filter`
    pub threshold: Option<Threshold>,
    /// `tag`
    pub tags: Vec<Tag>,
    /// `filestore`
    pub filestore: Option<FileStore>,
    /// `config`: what a rule with that action changes.
    pub config: Option<Config>,
    /// `prefilter` on a keyword that is not a content: the engine may use that keyword to choose the rule.
    pub prefilter: bool,
    /// Where the rule stands.
    pub origin: Origin,
}

impl Rule {
    /// The application protocol that the rule asks for by its header; HTTP/1 stands for any HTTP.
    pub fn app_protocol(&self) -> Option<AppProtocol> {
        match self.protocol {
            Protocol::App(protocol) => Some(protocol),
            Protocol::Http => Some(AppProtocol::Http1),
            _ => None,
        }
    }

    /// All matches on all buffers, in the order of the text.
    pub fn matches(&self) -> impl Iterator<Item = (&Section, &Match)> {
        self.sections.iter().flat_map(|section| section.matches.iter().map(move |m| (section, m)))
    }

    /// Whether the rule looks at nothing but packets and payload: no application protocol's parser is needed.
    pub fn is_plain(&self) -> bool {
        let payload = |s: &Section| s.buffer.is_payload() && s.transforms.is_empty() && s.absent.is_none();
        self.apps.is_empty()
            && self.numbers.is_empty()
            && self.app.is_empty()
            && self.files.is_empty()
            && self.hook.is_none()
            && self.sections.iter().all(payload)
    }
}

/// Where a rule stands, so that later stages can point at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source.
    pub source: Arc<str>,
    /// Line of the rule's first character, from 1.
    pub line: u32,
    /// The rule's text, continuation lines joined.
    pub text: Arc<str>,
}

/// `target`: which side of the rule is the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `src_ip`
    Source,
    /// `dest_ip`
    Destination,
}

/// `flow`: what the packet's flow must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Which way the packet must go.
    pub direction: Option<FlowDirection>,
    /// What state the flow must be in.
    pub state: FlowState,
    /// `only_stream`: match the reassembled stream only.
    pub only_stream: bool,
    /// `no_stream`: match single packets only.
    pub no_stream: bool,
    /// `only_frag` (`Some(true)`) or `no_frag` (`Some(false)`): match reassembled datagrams only, or never.
    pub fragments: Option<bool>,
}

/// `to_server`/`from_client` or `to_client`/`from_server`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowDirection {
    /// From the initiator.
    ToServer,
    /// From the responder.
    ToClient,
}

/// The state part of `flow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowState {
    /// Not mentioned.
    #[default]
    Any,
    /// `stateless`: any state, and packets without a flow too.
    Stateless,
    /// `established`
    Established,
    /// `not_established`
    NotEstablished,
}
