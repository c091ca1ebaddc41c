//! The cases, each with the answer it must give.

use std::net::{IpAddr, Ipv4Addr};

use weir_filter::spec::{self, Action, Rule, Side, Spec};
use weir_wire::build::frames::{Ends, tagged, udp};
use weir_wire::{DropReason, Offload, Packet, Pool, PortId, SwitchId};

use crate::fabric::{BURST, Bench};
use crate::inspection::{self, Inspected, Text};
use crate::joining;
use crate::lists::{self, Asked};
use crate::measure::{Figure, Rounds, timed};
use crate::opening;
use crate::routing::{self, Edge};
use crate::talking::{self, Rules};
use crate::traffic::Between::{self, Many, Two};
use crate::traffic::Flows;

/// Runs the case with the name `wanted`, or every case whose name contains it, and hands its figure on.
///
/// # Errors
/// The first case whose answer was wrong.
pub fn run(rounds: &Rounds, wanted: &str, mut each: impl FnMut(Figure)) -> Result<(), String> {
    type Case = fn(&Rounds, &str) -> Result<Figure, String>;
    let cases: &[(&str, Case)] = &[
        ("copy in, give back 60 B", |r, n| copy(r, n, 60)),
        ("copy in, give back 1514 B", |r, n| copy(r, n, 1514)),
        ("parse IPv4 UDP", |r, n| parse(r, n, &udp(Ends::ipv4(1, 2), (1, 2), &[0; 18]))),
        ("parse IPv6 UDP tagged", |r, n| parse(r, n, &tagged(&udp(Ends::ipv6(1, 2), (1, 2), &[0; 18]), 7, 0))),
        ("bridge without IP", |r, n| bridge(r, n)),
        ("forward 1 flow", |r, n| forward(r, n, 1, (Many, &few_rules()))),
        ("forward 1k flows", |r, n| forward(r, n, 1_000, (Many, &few_rules()))),
        ("forward 10k flows", |r, n| forward(r, n, 10_000, (Many, &few_rules()))),
        ("forward 100k flows", |r, n| forward(r, n, 100_000, (Many, &few_rules()))),
        ("forward 1M flows", |r, n| forward(r, n, 1_000_000, (Many, &few_rules()))),
        ("forward 10k flows of two hosts", |r, n| forward(r, n, 10_000, (Two, &few_rules()))),
        ("forward 100k flows of two hosts", |r, n| forward(r, n, 100_000, (Two, &few_rules()))),
        ("forward 1M flows of two hosts", |r, n| forward(r, n, 1_000_000, (Two, &few_rules()))),
        ("forward 10k flows, 10k rules", |r, n| forward(r, n, 10_000, (Many, &many_rules(10_000)))),
        ("open flows", |r, n| opening::open(r, n, opening::ROOMY, &few_rules())),
        ("open flows, 10k rules", |r, n| opening::open(r, n, opening::ROOMY, &many_rules(10_000))),
        ("open flows in a full table", |r, n| opening::open(r, n, opening::CROWDED, &few_rules())),
        ("open flows in a full table of 1M", |r, n| opening::open(r, n, opening::VAST, &few_rules())),
        ("route 1 flow", |r, n| routing::forward(r, n, 1, (Many, Edge::Plain))),
        ("route 10k flows", |r, n| routing::forward(r, n, 10_000, (Many, Edge::Plain))),
        ("route 100k flows", |r, n| routing::forward(r, n, 100_000, (Many, Edge::Plain))),
        ("route 1M flows", |r, n| routing::forward(r, n, 1_000_000, (Many, Edge::Plain))),
        ("NAT 1 flow", |r, n| routing::forward(r, n, 1, (Many, Edge::Masquerade))),
        ("NAT 10k flows", |r, n| routing::forward(r, n, 10_000, (Many, Edge::Masquerade))),
        ("NAT 100k flows", |r, n| routing::forward(r, n, 100_000, (Many, Edge::Masquerade))),
        ("NAT 1M flows", |r, n| routing::forward(r, n, 1_000_000, (Many, Edge::Masquerade))),
        ("NAT 10k flows of two hosts", |r, n| routing::forward(r, n, 10_000, (Two, Edge::Masquerade))),
        ("NAT 100k flows of two hosts", |r, n| routing::forward(r, n, 100_000, (Two, Edge::Masquerade))),
        ("NAT 1M flows of two hosts", |r, n| routing::forward(r, n, 1_000_000, (Two, Edge::Masquerade))),
        ("NAT open flows", |r, n| routing::open(r, n)),
        ("change a route of 1M, 100k bindings", |r, n| routing::change_route(r, n, 1_000_000, 100_000)),
        ("drop by policy", |r, n| refuse(r, n)),
        ("drop by the switch", |r, n| reserved(r, n)),
        ("flood to 8 ports", |r, n| flood(r, n)),
        ("TCP 64 B, not inspected", |r, n| inspection::stream(r, n, 64, (Inspected::No, Text::Plain))),
        ("TCP 64 B, starter rules", |r, n| inspection::stream(r, n, 64, (Inspected::Starter, Text::Plain))),
        ("TCP 64 B, settled", |r, n| inspection::stream(r, n, 64, (Inspected::Settled, Text::Plain))),
        ("TCP 1448 B, not inspected", |r, n| inspection::stream(r, n, 1448, (Inspected::No, Text::Plain))),
        ("TCP 1448 B, starter rules", |r, n| inspection::stream(r, n, 1448, (Inspected::Starter, Text::Plain))),
        ("TCP 1448 B, settled", |r, n| inspection::stream(r, n, 1448, (Inspected::Settled, Text::Plain))),
        ("TCP 8948 B, not inspected", |r, n| inspection::stream(r, n, 8948, (Inspected::No, Text::Plain))),
        ("TCP 8948 B, starter rules", |r, n| inspection::stream(r, n, 8948, (Inspected::Starter, Text::Plain))),
        ("TCP 8948 B, settled", |r, n| inspection::stream(r, n, 8948, (Inspected::Settled, Text::Plain))),
        ("TCP 32 KiB, not inspected", |r, n| inspection::stream(r, n, 32 << 10, (Inspected::No, Text::Plain))),
        ("TCP 32 KiB, starter rules", |r, n| inspection::stream(r, n, 32 << 10, (Inspected::Starter, Text::Plain))),
        ("TCP 32 KiB, settled", |r, n| inspection::stream(r, n, 32 << 10, (Inspected::Settled, Text::Plain))),
        ("TCP 62 KiB, not inspected", |r, n| inspection::stream(r, n, 62 << 10, (Inspected::No, Text::Plain))),
        ("TCP 62 KiB, starter rules", |r, n| inspection::stream(r, n, 62 << 10, (Inspected::Starter, Text::Plain))),
        ("TCP 62 KiB, settled", |r, n| inspection::stream(r, n, 62 << 10, (Inspected::Settled, Text::Plain))),
        ("conversations, not inspected", |r, n| talking::day(r, n, Rules::None)),
        ("conversations, starter rules", |r, n| talking::day(r, n, Rules::Starter)),
        ("conversations, rules of others", |r, n| talking::day(r, n, Rules::Foreign)),
        ("GRO, datagrams", |r, n| joining::run(r, n, joining::Burst::Datagrams, 18)),
        ("GRO, 64 connections, 100 B", |r, n| joining::run(r, n, joining::Burst::Strangers, 100)),
        ("GRO, 1 connection, 100 B", |r, n| joining::run(r, n, joining::Burst::Train, 100)),
        ("GRO, 1 connection, 1448 B", |r, n| joining::run(r, n, joining::Burst::Train, 1448)),
        ("content list of 500k names, one of them", |r, n| lists::look_up(r, n, Asked::Listed)),
        ("content list of 500k names, another", |r, n| lists::look_up(r, n, Asked::Other)),
        ("TCP 1448 B, starter rules, bait", |r, n| inspection::stream(r, n, 1448, (Inspected::Starter, Text::Baiting))),
    ];
    let one = cases.iter().any(|(name, _)| *name == wanted);
    let is_wanted = |name: &str| if one { name == wanted } else { name.contains(wanted) };
    for (name, case) in cases.iter().filter(|(name, _)| is_wanted(name)) {
        each(case(rounds, name)?);
    }
    Ok(())
}

fn copy(rounds: &Rounds, name: &str, length: usize) -> Result<Figure, String> {
    let (mut pool, frame) = (Pool::default(), vec![0xa5; length]);
    let mut burst = Vec::with_capacity(BURST);
    Ok(rounds.measure(name, || {
        let ((), cost) = timed(BURST as u64, || {
            burst.extend((0..BURST).filter_map(|_| pool.copy(&frame)));
            burst.drain(..).for_each(|buffer| pool.give(buffer));
        });
        cost
    }))
}

fn parse(rounds: &Rounds, name: &str, frame: &[u8]) -> Result<Figure, String> {
    let mut pool = Pool::default();
    let packet = |_| Some(Packet::new(pool.copy(frame)?, PortId(1), Offload::default()));
    let mut burst: Vec<Packet> = (0..BURST).filter_map(packet).collect();
    let mut good = 0;
    let figure = rounds.measure(name, || {
        let parse = || burst.iter_mut().map(|packet| packet.parse()).filter(Result::is_ok).count();
        let (parsed, cost) = timed(BURST as u64, parse);
        good += parsed;
        cost
    });
    expect(name, good as u64 >= figure.count && good % BURST == 0, || format!("{good} were parsed"))?;
    Ok(figure)
}

/// Frames without IP between two known hosts.
fn bridge(rounds: &Rounds, name: &str) -> Result<Figure, String> {
    let mut bench = Bench::new(2, &few_rules())?;
    let frame = |to: u8, from: u8| [&[2, 0, 0, 0, 0, to][..], &[2, 0, 0, 0, 0, from], &[0x88, 0xb5], &[0; 46]].concat();
    let frames = [frame(2, 1), frame(1, 2)];
    for (way, frame) in frames.iter().enumerate() {
        bench.add(frame, 1 + way as u16);
    }
    bench.run();
    let figure = rounds.measure(name, || {
        for n in 0..BURST {
            let way = n & 1;
            bench.add(frames.get(way).map_or(&[], Vec::as_slice), 1 + way as u16);
        }
        bench.run()
    });
    all_sent(name, &bench)?;
    Ok(figure)
}

fn forward(rounds: &Rounds, name: &str, count: u32, (between, policy): (Between, &Spec)) -> Result<Figure, String> {
    let (mut bench, mut flows) = (Bench::new(2, policy)?, Flows::new(count, between));
    bench.open(&flows);
    let mut way = 0;
    let figure = rounds.measure(name, || {
        // A burst comes in by one port.
        way ^= 1;
        for _ in 0..BURST {
            let flow = flows.pick();
            bench.add(flows.frame(flow, way), 1 + way as u16);
        }
        bench.run()
    });
    all_sent(name, &bench)?;
    Ok(figure)
}

/// Every packet wants a flow of its own, and the policy says no.
fn refuse(rounds: &Rounds, name: &str) -> Result<Figure, String> {
    let mut policy = few_rules();
    policy.rules.clear();
    let (mut bench, mut flows) = (Bench::new(2, &policy)?, Flows::new(100_000, Between::Many));
    bench.open(&flows);
    let figure = rounds.measure(name, || {
        for _ in 0..BURST {
            let flow = flows.pick();
            bench.add(flows.frame(flow, 0), 1);
        }
        bench.run()
    });
    let [received, sent, dropped] = bench.books(DropReason::Policy);
    expect(name, received == dropped, || format!("{received} received, {sent} sent, {dropped} refused"))?;
    Ok(figure)
}

fn reserved(rounds: &Rounds, name: &str) -> Result<Figure, String> {
    let mut bench = Bench::new(2, &few_rules())?;
    let frame = [&[1, 0x80, 0xc2, 0, 0, 0][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
    let figure = rounds.measure(name, || {
        (0..BURST).for_each(|_| bench.add(&frame, 1));
        bench.run()
    });
    let [received, sent, dropped] = bench.books(DropReason::ReservedAddress);
    expect(name, received == dropped, || format!("{received} received, {sent} sent, {dropped} dropped"))?;
    Ok(figure)
}

/// One frame in, eight out; the figure is for each that came in.
fn flood(rounds: &Rounds, name: &str) -> Result<Figure, String> {
    let mut bench = Bench::new(9, &few_rules())?;
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
    let figure = rounds.measure(name, || {
        (0..BURST).for_each(|_| bench.add(&frame, 1));
        bench.run()
    });
    let [received, sent, _] = bench.books(DropReason::Policy);
    expect(name, sent == received * 8, || format!("{received} received, {sent} sent"))?;
    Ok(figure)
}

pub(crate) fn all_sent(name: &str, bench: &Bench) -> Result<(), String> {
    let [received, sent, _] = bench.books(DropReason::Policy);
    // Each address is flooded to until its host has spoken, which on two ports makes no copies.
    let drops = || bench.drops().nonzero().map(|(reason, n)| format!("{n} {}", reason.label())).collect::<Vec<_>>();
    expect(name, received == sent, || format!("{received} received, {sent} sent, dropped: {}", drops().join(", ")))
}

fn expect(name: &str, right: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if right { Ok(()) } else { Err(format!("\"{name}\" gave a wrong answer: {}", found())) }
}

/// A switch that refuses what no rule allows, and some rules before the one that allows.
pub(crate) fn few_rules() -> Spec {
    let port = |id: u16| spec::Port { id: PortId(id), name: format!("p{id}"), groups: vec!["all".into()] };
    let mut rules: Vec<Rule> = (0..8).map(other).collect();
    rules.push(Rule { name: "udp".into(), protocols: vec![17], ..Rule::default() });
    rules.push(Rule { name: "experiment".into(), ether_types: vec![0x88b5], ..Rule::default() });
    Spec {
        switches: vec![spec::Switch { id: SwitchId(0), name: "lan".into(), default: Action::Drop, inspect: None }],
        ports: (1..=9).map(port).collect(),
        rules,
        ..Spec::default()
    }
}

fn many_rules(count: u32) -> Spec {
    let mut policy = few_rules();
    policy.rules.splice(0..8, (0..count).map(other));
    policy
}

/// A rule for somebody else.
fn other(n: u32) -> Rule {
    let [_, a, b, c] = n.to_be_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(172, a, b, c)).into();
    let port = 1 + (n % 60000) as u16;
    Rule {
        name: format!("other-{n}"),
        from: Side { addresses: vec![address], ..Side::default() },
        destination_ports: vec![port..=port],
        ..Rule::default()
    }
}
