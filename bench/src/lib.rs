//! What a packet costs, measured the same way each time, with the answer checked: a fast wrong answer fails.
//!
//! `cargo run --release -p weir-bench --bin micro` prints a table; with `--record` it also appends to
//! `bench/records/<host>/<date>.csv`.
#![forbid(unsafe_code)]

pub mod cases;
pub mod e2e;
pub mod fabric;
pub mod foreign;
pub mod inspection;
pub mod instructions;
pub mod joining;
pub mod lists;
pub mod measure;
pub mod opening;
pub mod record;
pub mod routing;
pub mod talking;
pub mod traffic;

pub use measure::Figure;
