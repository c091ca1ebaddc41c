//! The Weir switch daemon: threads, the control plane, files. `main.rs` reads the command line and calls [`daemon::run`].
//!
//! The worker thread (`worker`) owns the fabric and its ports. Everything else here runs on threads of its own, on tokio,
//! and talks to the worker by messages only: no lock is shared with it.
#![forbid(unsafe_code)]

pub mod balance;
pub mod bindings;
pub mod clamd;
pub mod commit;
pub mod config;
pub mod content;
pub mod control;
pub mod daemon;
pub mod eve;
pub mod file_store;
pub mod flow_log;
pub mod keeper;
pub mod kept_file;
pub mod kept_flows;
pub mod kept_holds;
pub mod listen;
pub mod mirror;
pub mod networks;
pub mod notify;
pub mod open;
pub mod plan;
pub mod published;
pub mod reach;
pub mod readers;
pub mod recorded;
pub mod refusal;
pub mod rule_sets;
pub mod server;
pub mod services;
pub mod state;
pub mod store;
pub mod virus;
pub mod wall_clock;
pub mod worker;
