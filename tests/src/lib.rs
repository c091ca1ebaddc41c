//! What the tests and the demo are made of: hosts in network namespaces, real guests, the daemon under test, traffic.
//!
//! Nothing here is used by the product. Everything that is started or created here ends with the value that stands for
//! it, also when a test panics; what a killed run left behind is swept away by the next one.

#![forbid(unsafe_code)]

pub mod conversation;
pub mod fuzz;
pub mod lab;
