//! `weir.v1`: the gRPC messages and services, and nothing else.
//!
//! The messages are generated from `proto/weir/v1/*.proto`, where each is described. They serialise (serde) with their
//! proto field names and enums as short lower-case labels; that is what `vswitchctl --json` prints.
#![forbid(unsafe_code)]

mod labels;

/// Version 1 of the interface.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]
pub mod v1 {
    tonic::include_proto!("weir.v1");
}

/// The descriptors of all messages and services, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("weir_descriptor");

/// The largest message either side takes, in bytes: room for large rule sets.
pub const MESSAGE_MAX: usize = 64 << 20;
