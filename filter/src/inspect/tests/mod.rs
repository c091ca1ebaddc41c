//! Whole flows through [`FlowInspect`](super::FlowInspect).

mod complexity;
mod evasion;
mod harness;
mod joined;
mod names;
mod rules;
mod segmentation;
mod starter;
mod starter_paths;
mod starter_services;
mod stream;
