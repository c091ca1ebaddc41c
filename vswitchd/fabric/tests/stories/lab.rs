//! A fabric on a bench, with virtual time.

use weir_fabric::{Egress, Fabric, PortConfig, Step, SwitchConfig};
use weir_wire::buffer::PoolLimits;
use weir_wire::{DropReason, Instant, Offload, Packet, Pool, PortId, SwitchId};

/// The switch of all stories that need only one.
pub const LAN: SwitchId = SwitchId(0);
/// An EtherType for experiments (IEEE 802, clause 9.2.4): frames without IP.
pub const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

pub struct Lab {
    pub fabric: Fabric,
    pub pool: Pool,
    pub out: Egress,
    pub now: Instant,
}

/// A frame that came out, with the port it came out by.
pub type Delivery = (u16, Vec<u8>);

impl Lab {
    /// A switch with these ports, all of one kind.
    pub fn new(config: SwitchConfig, ports: &[u16]) -> Lab {
        let mut lab = Lab {
            fabric: Fabric::new(Default::default(), 7),
            pool: Pool::new(PoolLimits { frames: 4096, supers: 16 }),
            out: Egress::default(),
            now: Instant::from_secs(1000),
        };
        lab.step(Step::SetSwitch(LAN, config));
        for &port in ports {
            lab.port(port, PortConfig::default());
        }
        lab
    }

    /// A plain switch with ports 1, 2 and 3.
    pub fn plain() -> Lab {
        Lab::new(SwitchConfig::default(), &[1, 2, 3])
    }

    pub fn step(&mut self, step: Step) {
        self.fabric.apply(self.now, step);
    }

    pub fn port(&mut self, port: u16, config: PortConfig) {
        self.step(Step::SetPort(PortId(port), config));
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = Instant(self.now.0 + seconds * 1_000_000_000);
    }

    /// Sends frames as one burst of a port; returns what came out, by port.
    pub fn burst(&mut self, port: u16, frames: &[Vec<u8>]) -> Vec<Delivery> {
        let packet = |frame: &Vec<u8>| {
            Packet::new(self.pool.copy(frame).expect("the pool is large enough"), PortId(port), Offload::default())
        };
        let mut burst = frames.iter().map(packet).collect();
        self.fabric.process(self.now, &mut burst, &mut self.pool, &mut self.out);
        assert!(burst.is_empty());
        self.collect()
    }

    /// Sends one frame.
    pub fn send(&mut self, port: u16, frame: &[u8]) -> Vec<Delivery> {
        self.burst(port, &[frame.to_vec()])
    }

    /// Sends one frame; returns the ports it came out by.
    pub fn ports(&mut self, port: u16, frame: &[u8]) -> Vec<u16> {
        self.send(port, frame).into_iter().map(|(port, _)| port).collect()
    }

    /// Sends a frame that is to be dropped for this reason, and for nothing else.
    pub fn refused(&mut self, port: u16, frame: &[u8], reason: DropReason) {
        let before = self.dropped(port, reason);
        let all = self.fabric.totals().dropped;
        assert_eq!(self.ports(port, frame), [] as [u16; 0], "{reason:?}: nothing leaves");
        assert_eq!(self.dropped(port, reason), before + 1, "{reason:?} is counted for port {port}");
        assert_eq!(self.fabric.totals().dropped, all + 1, "{reason:?} is counted once");
        let last = self.fabric.last_drops(Some(PortId(port))).pop().expect("a drop is remembered");
        assert_eq!((last.why.reason, last.time, last.length as usize), (reason, self.now, frame.len()));
        assert_eq!(*last.head, frame[..frame.len().min(64)]);
    }

    pub fn dropped(&self, port: u16, reason: DropReason) -> u64 {
        let counters = self.fabric.counters(PortId(port)).unwrap_or(self.fabric.stray_counters());
        counters.dropped.get(reason)
    }

    pub fn tick(&mut self) -> Option<Instant> {
        let next = self.fabric.tick(self.now, &mut self.pool, &mut self.out);
        self.check();
        next
    }

    /// Lets the tables age; returns what came out.
    pub fn age(&mut self) -> Vec<Delivery> {
        self.fabric.tick(self.now, &mut self.pool, &mut self.out);
        self.collect()
    }

    /// Takes what waits to leave, and checks the books.
    pub fn collect(&mut self) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for port in 0..64 {
            if let Some(queue) = self.out.queue(PortId(port)) {
                for packet in queue.drain(..) {
                    deliveries.push((port, packet.bytes().to_vec()));
                    self.pool.give(packet.buffer);
                }
            }
        }
        self.check();
        deliveries
    }

    fn check(&self) {
        let totals = self.fabric.totals();
        assert_eq!(totals.arrived(), totals.accounted(), "{totals:?}");
        assert_eq!(self.pool.outstanding() as u64, totals.held, "every buffer came back");
    }
}

/// The MAC of host `n`.
pub fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, n]
}

/// A frame without IP from host `from` to host `to`.
pub fn frame(from: u8, to: u8) -> Vec<u8> {
    raw(mac(from), mac(to))
}

/// A frame to everybody.
pub fn hello(from: u8) -> Vec<u8> {
    raw(mac(from), [0xff; 6])
}

/// A frame without IP with these addresses, padded to the minimum.
pub fn raw(source: [u8; 6], destination: [u8; 6]) -> Vec<u8> {
    [&destination[..], &source, &EXPERIMENT, &[0xa5; 46]].concat()
}
