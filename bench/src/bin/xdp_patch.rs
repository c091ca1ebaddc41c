//! A patch cable between two network devices by AF_XDP, uninspected and never asleep.
//!
//!     cargo run --release -p weir-bench --bin xdp_patch -- veth0 veth1
//!
//! The least a program can do with them, to compare switches with.
#![forbid(unsafe_code)]

use weir_ports::netns::NetNs;
use weir_ports::xdp::patch::Patch;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let devices: Vec<String> = std::env::args().skip(1).collect();
    let [a, b] = devices.as_slice() else { return Err("usage: xdp_patch DEVICE DEVICE".into()) };
    let mut patch = Patch::new(&NetNs::own(), [a, b])?;
    loop {
        patch.turn()?;
    }
}
