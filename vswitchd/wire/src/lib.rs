//! Bytes to values and back: what a frame is, where its headers stand, what is left to finish on it.
//!
//! This crate knows nothing of ports, flows or policy. It reads no clock, opens no socket, and no frame can make it
//! panic: every accessor that could meet a short frame answers with an `Option` or works on lengths that
//! [`Packet::parse`] has proven.
#![forbid(unsafe_code)]

pub mod buffer;
pub mod build;
pub mod checksum;
pub mod drop;
pub mod fields;
pub mod ids;
pub mod join;
pub mod mac;
pub mod numbers;
pub mod offload;
pub mod packet;
mod parse;
mod plain;
pub mod segment;
pub mod tcp_options;
pub mod time;

pub use buffer::{Buffer, Pool};
pub use drop::{DropCounters, DropReason};
pub use fields::{FragmentFields, TcpFields};
pub use ids::{Epoch, InterfaceId, PortId, RouterId, RuleId, SwitchId, Vid};
pub use mac::MacAddr;
pub use offload::{Capabilities, Checksum, Offload, Segmentation};
pub use packet::{Fragment, Headers, L3, Nowhere, Origin, Packet, Rest, Tag};
pub use plain::Template;
pub use tcp_options::TcpOptions;
pub use time::Instant;
