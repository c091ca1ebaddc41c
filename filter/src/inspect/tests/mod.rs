//! Whole flows through [`FlowInspect`](super::FlowInspect).

mod harness;
mod rules;
mod segmentation;
mod starter;
mod stream;
