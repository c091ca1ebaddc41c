//! The guard: flows, streams, policy, detection, verdicts.
//!
//! Pure computation: time comes in as an argument, packets come in as values, what is to be told to people goes out as
//! [`event::Event`]s. Every table is bounded when the engine is made, and each bound has its reason in
//! [`weir_wire::DropReason`].
#![forbid(unsafe_code)]

pub mod app;
pub mod capture;
pub mod content;
mod cookie;
pub mod decode;
pub mod detect;
pub mod engine;
pub mod eve;
pub mod event;
pub mod flow;
mod frag;
pub mod hosts;
pub mod inspect;
pub mod json;
pub mod policy;
mod prefetch;
mod reject;
pub mod scan;
pub mod shadow;
pub mod suspects;
#[cfg(test)]
mod testing;

pub use engine::{
    Begun, Carried, Cleared, Engine, Entered, FlowName, FlowPlace, Inspected, Leaves, Limits, Offer, Released, Ticket,
    Wait, Why,
};
pub use event::{Event, Events};
pub use flow::Memo;
pub use policy::{Policy, spec};
