//! Frames of many flows, made once and walked in an order that no prefetcher guesses.

use std::net::{IpAddr, Ipv4Addr};

use weir_wire::MacAddr;
use weir_wire::build::frames::{Ends, udp};

/// Bytes of each frame: the shortest that Ethernet carries, without its checksum.
pub const FRAME: usize = 60;
/// Hosts on each side; flows share them.
pub(crate) const HOSTS: u32 = 64;

/// Between whom flows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// 64 hosts on each side, flows in an order drawn at random.
    Many,
    /// One on each side, flows in turn, as those of the guests of `bench/run`.
    Two,
}

impl Between {
    /// The number of a flow's host on either side.
    pub(crate) fn host(self, flow: u32) -> u8 {
        match self {
            Between::Many => (flow % HOSTS) as u8,
            Between::Two => 0,
        }
    }

    /// The flows in the order in which they have packets.
    pub(crate) fn order(self, count: u32) -> Vec<u32> {
        match self {
            Between::Many => shuffled(count),
            Between::Two => (0..count).collect(),
        }
    }
}

/// UDP frames of flows between hosts on port 1 and hosts on port 2, one there and one back for each flow.
pub struct Flows {
    bytes: Vec<u8>,
    order: Vec<u32>,
    next: usize,
}

impl Flows {
    /// `count` flows.
    pub fn new(count: u32, between: Between) -> Flows {
        let mut bytes = Vec::with_capacity(count as usize * 2 * FRAME);
        for flow in 0..count {
            let ends = ends(flow, between);
            let ports = (1024 + (flow >> 12) as u16, 1024 + (flow & 0xfff) as u16);
            bytes.extend(udp(ends, ports, &[0xa5; 18]));
            bytes.extend(udp(ends.reversed(), (ports.1, ports.0), &[0xa5; 18]));
        }
        Flows { bytes, order: between.order(count), next: 0 }
    }

    /// Flows there are.
    pub fn count(&self) -> u32 {
        self.order.len() as u32
    }

    /// The frame of a flow, there (`0`) or back (`1`).
    pub fn frame(&self, flow: u32, way: usize) -> &[u8] {
        let at = (flow as usize * 2 + way) * FRAME;
        self.bytes.get(at..at + FRAME).unwrap_or(&[])
    }

    /// The next flow in a fixed random order, around and around.
    pub fn pick(&mut self) -> u32 {
        self.next = if self.next + 1 < self.order.len() { self.next + 1 } else { 0 };
        self.order.get(self.next).copied().unwrap_or(0)
    }
}

fn ends(flow: u32, between: Between) -> Ends {
    let [_, a, b, c] = if between == Between::Two { [0; 4] } else { flow.to_be_bytes() };
    let host = between.host(flow);
    Ends {
        source_mac: MacAddr([2, 0, 0, 0, 1, host]),
        destination_mac: MacAddr([2, 0, 0, 0, 2, host]),
        source: IpAddr::V4(Ipv4Addr::new(10, a, b, c)),
        destination: IpAddr::V4(Ipv4Addr::new(10, 200, 0, host)),
    }
}

/// 0 to `count`, in an order drawn from a fixed seed (Fisher and Yates; SplitMix64).
fn shuffled(count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    let mut state = 1u64;
    for last in (1..order.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(last, ((z ^ (z >> 31)) % (last as u64 + 1)) as usize);
    }
    order
}
