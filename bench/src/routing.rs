//! A router between two switches, with and without address translation, timed from parsing to egress.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weir_fabric::nat::{Masquerade, NatConfig};
use weir_fabric::router::{InterfaceConfig, NextHop, Prefix, Route, RouteTable, RouterConfig, Target};
use weir_fabric::{Egress, Fabric, PortConfig, Step, SwitchConfig};
use weir_filter::{Limits, Policy, spec};
use weir_wire::build::frames::{Ends, udp};
use weir_wire::{Epoch, Instant, InterfaceId, MacAddr, Offload, Packet, Pool, PortId, RouterId, SwitchId, Vid};

use crate::fabric::BURST;
use crate::measure::{Figure, Rounds, Step as Cost, timed};
use crate::opening::Openings;
use crate::traffic::{Between, FRAME, HOSTS};

const ZONE: SwitchId = SwitchId(SwitchId::FIRST_ZONE);

/// What the router does with what leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It leaves as it is.
    Plain,
    /// It leaves under the router's own address.
    Masquerade,
}

struct Bench {
    fabric: Fabric,
    pool: Pool,
    out: Egress,
    burst: Vec<Packet>,
    now: Instant,
}

fn mac(side: u8, host: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, side, host])
}

fn address(side: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, side, 0, host)
}

fn interface(side: u8) -> InterfaceConfig {
    let hosts = (1..=HOSTS as u8).map(|host| (IpAddr::V4(address(side, host)), mac(side, host)));
    InterfaceConfig {
        switch: SwitchId(u16::from(side) - 1),
        vid: Vid(0),
        mac: mac(side, 254),
        addresses: vec![Prefix { address: address(side, 254).into(), length: 24 }],
        neighbors: hosts.collect(),
        ..InterfaceConfig::default()
    }
}

impl Bench {
    fn new(edge: Edge) -> Result<Bench, String> {
        let mut fabric = Fabric::new(Limits { flows: 1 << 21, flows_per_port: 1 << 21, ..Limits::default() }, 1);
        for side in [1, 2] {
            fabric.apply(Instant::ZERO, Step::SetSwitch(SwitchId(side - 1), SwitchConfig::default()));
            let config = PortConfig { switch: SwitchId(side - 1), ..PortConfig::default() };
            fabric.apply(Instant::ZERO, Step::SetPort(PortId(side), config));
        }
        let interfaces: Vec<_> = [1, 2].map(|side| (InterfaceId(u16::from(side) - 1), interface(side))).into();
        let table = RouteTable::build(interfaces.iter().map(|(id, config)| (*id, config)), [])
            .map_err(|full| format!("{full:?}"))?;
        let masquerade = Masquerade { interface: InterfaceId(1), ..Masquerade::default() };
        let masquerades = if edge == Edge::Masquerade { vec![masquerade] } else { Vec::new() };
        let nat = NatConfig { masquerades, ..NatConfig::default() };
        let config = RouterConfig { zone: ZONE, interfaces, table: Arc::new(table), nat, ..RouterConfig::default() };
        fabric.apply(Instant::ZERO, Step::SetRouter(RouterId(0), config));
        let policy = spec::Spec {
            switches: vec![spec::Switch { id: ZONE, name: "edge".into(), default: spec::Action::Drop, inspect: None }],
            rules: vec![spec::Rule { name: "udp".into(), protocols: vec![17], ..spec::Rule::default() }],
            ..spec::Spec::default()
        };
        fabric.install(Arc::new(Policy::compile(&policy, Epoch(1)).map_err(|errors| errors.0.join("; "))?));
        let (pool, out, burst) = (Pool::default(), Egress::default(), Vec::with_capacity(BURST));
        let mut bench = Bench { fabric, pool, out, burst, now: Instant::from_secs(1) };
        for side in [1, 2] {
            // Switches learn where the hosts are.
            for host in 1..=HOSTS as u8 {
                let frame = [&mac(side, 253).0[..], &mac(side, host).0, &[0x88, 0xb5], &[0; 46]].concat();
                bench.send(&frame, u16::from(side));
            }
        }
        Ok(bench)
    }

    fn add(&mut self, frame: &[u8], port: u16) {
        if let Some(buffer) = self.pool.copy(frame) {
            self.burst.push(Packet::new(buffer, PortId(port), Offload::default()));
        }
    }

    fn run(&mut self) {
        self.now = Instant(self.now.0 + 10_000);
        self.fabric.process(self.now, &mut self.burst, &mut self.pool, &mut self.out);
    }

    /// Takes what came out; returns the last frame by each port.
    fn collect(&mut self) -> [Option<Vec<u8>>; 2] {
        self.fabric.drain_events(|_| {});
        [1, 2].map(|port| {
            let queue = self.out.queue(PortId(port))?;
            let last = queue.last().map(|packet| packet.bytes().to_vec());
            queue.drain(..).for_each(|packet| self.pool.give(packet.buffer));
            last
        })
    }

    /// Moves the burst; the cost is that from parsing to egress.
    fn timed(&mut self) -> Cost {
        let Bench { fabric, burst, pool, out, now } = self;
        *now = Instant(now.0 + 10_000);
        let ((), step) = timed(burst.len() as u64, || fabric.process(*now, burst, pool, out));
        for port in [1, 2] {
            if let Some(queue) = out.queue(PortId(port)) {
                queue.drain(..).for_each(|packet| pool.give(packet.buffer));
            }
        }
        step
    }

    fn send(&mut self, frame: &[u8], port: u16) -> [Option<Vec<u8>>; 2] {
        self.add(frame, port);
        self.run();
        self.collect()
    }

    /// Opens a flow both ways; returns its frames, there and back.
    fn open(&mut self, flow: u32, between: Between) -> Result<[Vec<u8>; 2], String> {
        let host = between.host(flow) + 1;
        let ports = match between {
            Between::Many => (1024 + (flow / HOSTS) as u16, 53),
            Between::Two => (1024 + (flow % 60_000) as u16, 5000 + (flow / 60_000) as u16),
        };
        let ends = Ends {
            source_mac: mac(1, host),
            destination_mac: mac(1, 254),
            source: address(1, host).into(),
            destination: address(2, host).into(),
        };
        let out = udp(ends, ports, &[0xa5; 18]);
        let [_, Some(left)] = self.send(&out, 1) else { return Err(format!("flow {flow} did not pass")) };
        let left = weir_wire::build::packet(&left, PortId(2), &mut self.pool).ok_or("what left cannot be read")?;
        let (Some((source, destination)), Some((from, to))) = (left.addresses(), left.ports()) else {
            return Err("what left is no datagram".into());
        };
        let ends =
            Ends { source_mac: mac(2, host), destination_mac: mac(2, 254), source: destination, destination: source };
        let back = udp(ends, (to, from), &[0xa5; 18]);
        self.pool.give(left.buffer);
        match self.send(&back, 2) {
            [Some(_), _] => Ok([out, back]),
            [None, _] => Err(format!("the answer of flow {flow} did not pass")),
        }
    }
}

/// Bursts of established flows, there and back in turns.
///
/// # Errors
/// Where a packet did not arrive, or not under the name that it should have.
pub fn forward(rounds: &Rounds, name: &str, count: u32, (between, edge): (Between, Edge)) -> Result<Figure, String> {
    let mut bench = Bench::new(edge)?;
    let mut frames = Vec::with_capacity(count as usize * 2 * FRAME);
    for flow in 0..count {
        let opened = bench.open(flow, between).map_err(|error| format!("\"{name}\": {error}"))?;
        opened.iter().for_each(|frame| frames.extend_from_slice(frame));
    }
    let order = between.order(count);
    let frame = |flow: u32, way: usize| {
        let at = (flow as usize * 2 + way) * FRAME;
        frames.get(at..at + FRAME).unwrap_or(&[])
    };
    let before = bench.fabric.totals();
    let (mut next, mut way) = (0, 0);
    let figure = rounds.measure(name, || {
        way ^= 1;
        for _ in 0..BURST {
            next = if next + 1 < order.len() { next + 1 } else { 0 };
            let flow = order.get(next).copied().unwrap_or(0);
            bench.add(frame(flow, way), 1 + way as u16);
        }
        bench.timed()
    });
    let after = bench.fabric.totals();
    let [received, sent] = [after.received - before.received, after.sent - before.sent];
    if received != sent {
        return Err(format!("\"{name}\" gave a wrong answer: {received} received, {sent} sent"));
    }
    let out = Some(bench.send(frame(0, 0), 1)).and_then(|[_, out]| out).ok_or("nothing came out")?;
    let source = out.get(26..30).unwrap_or(&[]);
    let wanted = if edge == Edge::Plain { address(1, 1) } else { address(2, 254) };
    if source != wanted.octets() {
        return Err(format!("\"{name}\" gave a wrong answer: it left as {source:?}, not as {wanted}"));
    }
    Ok(figure)
}

/// Bursts of first packets, each of which gets a name of its own outside.
///
/// # Errors
/// Where a packet did not leave.
pub fn open(rounds: &Rounds, name: &str) -> Result<Figure, String> {
    let mut bench = Bench::new(Edge::Masquerade)?;
    let mut openings = Openings::between(Ends {
        source_mac: mac(1, 1),
        destination_mac: mac(1, 254),
        source: address(1, 1).into(),
        destination: address(2, 1).into(),
    });
    let before = bench.fabric.totals();
    let figure = rounds.measure(name, || {
        (0..BURST).for_each(|_| bench.add(openings.frame(), 1));
        bench.timed()
    });
    let after = bench.fabric.totals();
    let [received, sent] = [after.received - before.received, after.sent - before.sent];
    let bindings = bench.fabric.nat(bench.now, 0).1;
    if received != sent || bindings == 0 {
        return Err(format!("\"{name}\" gave a wrong answer: {received} received, {sent} sent, {bindings} bindings"));
    }
    Ok(figure)
}

/// What the worker does when one route changes among very many, which others have made a table of: nothing moves
/// meanwhile. The figure is for one change.
///
/// # Errors
/// Where the routes do not change.
pub fn change_route(rounds: &Rounds, name: &str, routes: u32, bindings: u32) -> Result<Figure, String> {
    let mut bench = Bench::new(Edge::Masquerade)?;
    for flow in 0..bindings {
        bench.open(flow, Between::Many).map_err(|error| format!("\"{name}\": {error}"))?;
    }
    let target = |last: u8| {
        let way = NextHop { interface: InterfaceId(1), gateway: Some(address(2, last).into()) };
        Target::Via(vec![way])
    };
    // A /28 each, spread over the address space.
    let prefix =
        |n: u32| Prefix { address: Ipv4Addr::from((n.wrapping_mul(0x9e37_79b1) | 1) & !15).into(), length: 28 };
    let config = |changed: u8| -> Result<RouterConfig, String> {
        let interfaces: Vec<_> = [1, 2].map(|side| (InterfaceId(u16::from(side) - 1), interface(side))).into();
        let all = (0..routes).map(|n| Route { to: prefix(n), target: target(if n == 7 { changed } else { 1 }) });
        let table = RouteTable::build(interfaces.iter().map(|(id, config)| (*id, config)), all)
            .map_err(|full| format!("{full:?}"))?;
        let masquerades = vec![Masquerade { interface: InterfaceId(1), ..Masquerade::default() }];
        let nat = NatConfig { masquerades, ..NatConfig::default() };
        Ok(RouterConfig { zone: ZONE, interfaces, table: Arc::new(table), nat, ..RouterConfig::default() })
    };
    let configs = [config(2)?, config(3)?];
    let mut turn = 0;
    let figure = rounds.measure(name, || {
        turn ^= 1;
        let step = configs.get(turn).map(|config| Step::SetRouter(RouterId(0), config.clone()));
        let Bench { fabric, now, .. } = &mut bench;
        let ((), mut cost) = timed(1, || step.into_iter().for_each(|step| fabric.apply(*now, step)));
        drop(fabric.retired_tables());
        // A change is no packet.
        cost.excused = cost.allocations;
        cost
    });
    let table = bench.fabric.routes(RouterId(0)).ok_or("there is no router")?;
    let last = configs.get(turn).map(|config| config.table.lookup(prefix(7).address).cloned());
    if table.lookup(prefix(7).address).cloned() != last.flatten()
        || bench.fabric.nat(bench.now, 0).1 != bindings as usize
    {
        return Err(format!("\"{name}\" gave a wrong answer: the route did not change, or bindings were lost"));
    }
    Ok(figure)
}
