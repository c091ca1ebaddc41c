//! Whole flows through [`FlowInspect`](super::FlowInspect).

mod complexity;
mod harness;
mod rules;
mod segmentation;
mod starter;
mod stream;
