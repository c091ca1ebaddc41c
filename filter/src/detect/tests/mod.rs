//! Detection from end to end: rules as text, steps as the stream engines give them.

mod groups;
mod harness;
mod nets;
mod packets;
mod streams;
