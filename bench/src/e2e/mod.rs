//! Measurements of whole switches: two guests of our own on vhost-user sockets, or two hosts with the kernel's network
//! stack in namespaces, the switch between them on one core.
//!
//! The guests are front ends whose rings stand loaded, driven by one thread on the second core. Every peer is measured
//! by the same guests in the same run; a scenario states what must come out, so that a fast wrong answer fails.

mod addresses;
mod bursts;
pub mod captures;
pub mod change;
mod configs;
pub mod distance;
pub mod edge;
pub mod forwarder;
pub mod guests;
pub mod hosts;
pub mod injected;
pub mod mix;
pub mod offline;
pub mod plot;
pub mod report;
pub mod run;
pub mod scenario;
mod search;
pub mod streams;
pub mod switches;
pub mod table;
pub mod talk;
pub mod trial;

/// What went wrong, in words.
pub type Failure = String;
