//! The control plane as its callers see it: a server with a real worker and memory ports, asked over a unix socket or
//! TLS by the generated clients.

// The rig is of tests alone, where a failed expectation is the answer.
#![allow(clippy::expect_used)]

mod calls;
mod rig;
mod routers;
mod segments;
mod services;
mod streams;
mod tls;
mod transactions;
