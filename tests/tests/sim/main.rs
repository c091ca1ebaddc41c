//! Seeded simulation of a whole network: real TCP stacks over cables that lose, repeat, reorder and cut, through the
//! fabric, in virtual time. No port, no thread, no clock.
//!
//! Each run prints its seed; `WEIR_SEED=<seed>` repeats that run alone, `WEIR_RUNS=<n>` runs n times as many. After
//! each run the fabric is held to its promises: the sum of its counters, every buffer returned, and the same bytes for
//! the same seed.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, reason = "all of this crate is a test")]

mod chance;
mod conversation;
mod host;
mod link;
mod policy;
mod world;

use std::sync::Arc;
use std::time::Duration;

use chance::Chance;
use conversation::Conversation;
use host::Family;
use link::{Faults, Forger, Link};
use weir_fabric::{PortConfig, VlanMode};
use weir_filter::policy::RuleSetProgram;
use weir_wire::{Capabilities, DropReason, Vid};
use world::World;

/// The seeds to run: the one asked for, or so many.
fn seeds(count: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("WEIR_SEED") {
        Some(seed) => vec![seed],
        None => (1..=count * number("WEIR_RUNS").unwrap_or(1)).collect(),
    }
}

/// Says which seed repeats what follows.
fn announce(seed: u64) {
    println!("seed {seed}: WEIR_SEED={seed} repeats this run");
}

/// A cable as bad as they come.
fn bad_cable(chance: &mut Chance) -> Faults {
    Faults {
        loss: chance.below(40),
        duplication: chance.below(40),
        reorder: chance.below(100),
        replay: chance.below(10),
        forgery: 0,
    }
}

/// A link with chance's choice of card, cable and port.
fn any_link(chance: &mut Chance) -> Link {
    let all = Capabilities::ALL;
    Link {
        offload: chance.one_of(&[None, Some(1400), Some(536)]),
        recut: chance.one_of(&[None, None, Some(700), Some(20)]),
        capabilities: chance.one_of(&[Capabilities::default(), all, Capabilities { tso4: false, tso6: false, ..all }]),
        faults: bad_cable(chance),
        ..Link::default()
    }
}

/// VLANs 10 and 20, and hosts of both on access ports and behind trunks.
fn any_vlan(chance: &mut Chance) -> (u16, PortConfig, Option<u16>) {
    let vid = chance.one_of(&[10, 20]);
    if chance.per_mille(500) {
        return (vid, PortConfig { vlan: VlanMode::Access(Vid(vid)), ..PortConfig::default() }, None);
    }
    let vlan = VlanMode::Trunk { allowed: vec![(Vid(10), Vid(20))], native: None };
    (vid, PortConfig { vlan, ..PortConfig::default() }, Some(vid))
}

/// Runs until all conversations are over or the time is; returns whether they are.
fn talk(
    world: &mut World,
    conversations: &mut [Conversation],
    seconds: u64,
    mut now_and_then: impl FnMut(&mut World),
) -> bool {
    let end = world.now.after(Duration::from_secs(seconds));
    loop {
        let mut over = true;
        for conversation in conversations.iter_mut() {
            over &= conversation.go_on(world);
        }
        now_and_then(world);
        if over || !world.step(end) {
            return over;
        }
    }
}

/// Four hosts in two VLANs; who shares one transfers texts, who does not hears nothing.
fn vlans_and_bad_cables(seed: u64) -> u64 {
    let mut world = World::new(seed);
    let mut chance = Chance::new(seed ^ 0xcab1e);
    let mut vlans = Vec::new();
    for _ in 0..4 {
        let (vid, config, tag) = any_vlan(&mut chance);
        let link = Link { tag, ..any_link(&mut chance) };
        let mtu = if link.offload.is_some() { 9000 } else { 1500 };
        world.add(mtu, link, config);
        vlans.push(vid);
    }
    let mut friends = Vec::new();
    let mut strangers = Vec::new();
    for (from, to) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
        let family = chance.one_of(&[Family::V4, Family::V6]);
        let text = {
            let length = 1 + chance.below(60_000) as usize;
            chance.letters(length)
        };
        let most = chance.one_of(&[1, 100, 5000]).min(text.len() as u64);
        // Single bytes are slow over a cable that loses one frame in thirty.
        let text = if most == 1 { text[..text.len().min(300)].to_vec() } else { text };
        let conversation = Conversation::start(&mut world, from, to, family, text, most);
        if vlans[from] == vlans[to] { friends.push(conversation) } else { strangers.push(conversation) }
    }
    let over = talk(&mut world, &mut friends, 600, |_| {});
    let standing: Vec<String> = friends.iter().map(|friend| friend.standing(&mut world)).collect();
    assert!(over, "a transfer did not end: {standing:#?} {:?}", world.dropped());
    for friend in &friends {
        assert!(friend.read == friend.text, "{} of {} bytes arrived", friend.read.len(), friend.text.len());
    }
    for stranger in &mut strangers {
        stranger.go_on(&mut world);
        assert!(stranger.read.is_empty(), "a text crossed from one VLAN to another");
    }
    friends.iter().chain(&strangers).for_each(|conversation| conversation.abandon(&mut world));
    world.end();
    world.trace
}

#[test]
fn texts_arrive_whole_over_bad_cables_and_stay_in_their_vlan() {
    for seed in seeds(20) {
        announce(seed);
        let trace = vlans_and_bad_cables(seed);
        assert_eq!(trace, vlans_and_bad_cables(seed), "the same seed gave other bytes");
    }
}

#[test]
fn datagrams_in_fragments_arrive_whole() {
    for seed in seeds(20) {
        announce(seed);
        let mut world = World::new(seed);
        let mut chance = Chance::new(seed ^ 0xf4a6);
        for _ in 0..2 {
            let fragment = Some(chance.one_of(&[400, 576, 1280]));
            let faults = Faults { reorder: 300, duplication: 50, ..Faults::default() };
            world.add(1500, Link { fragment, faults, ..Link::default() }, PortConfig::default());
        }
        let (from, to) = (world.places[0].host.bind(5000), world.places[1].host.bind(5001));
        let mut sent = Vec::new();
        for _ in 0..20 {
            let length = chance.below(1400) as usize;
            let text = chance.letters(length);
            let destination = (host::address(2, Family::V4), 5001);
            world.places[0].host.udp(from).send_slice(&text, destination).expect("room for a datagram");
            sent.push(text);
            world.wake(0);
            let end = world.now.after(Duration::from_secs(3));
            while world.step(end) {}
        }
        let mut arrived = Vec::new();
        while let Ok((text, _)) = world.places[1].host.udp(to).recv() {
            arrived.push(text.to_vec());
        }
        // A repeated datagram is a second datagram; none is lost and none is made up.
        arrived.dedup();
        assert_eq!(arrived, sent);
        world.end();
    }
}

/// A writer's text, what a forger sends in its place, and where the attack is parted between the two.
struct Hidden {
    text: Vec<u8>,
    forger: Forger,
    parted_at: usize,
}

/// A text with the attack at `at`. Often its head is in the text and its tail with the forger or the other way round,
/// so that neither holds it but a mixture of both does.
fn hide_attack(at: usize, chance: &mut Chance) -> Hidden {
    let whole = policy::ATTACK.len();
    let end = at + whole + 200;
    let [mut text, mut lies] = [chance.letters(end), chance.letters(end)];
    if chance.per_mille(400) {
        text[at..at + whole].copy_from_slice(policy::ATTACK);
        return Hidden { text, forger: Forger::new(lies, 0..end), parted_at: 0 };
    }
    let parted = 1 + chance.below(whole as u64 - 1) as usize;
    let (head, tail) = policy::ATTACK.split_at(parted);
    let parted_at = at + parted;
    let is_head_forged = chance.per_mille(500);
    let (first, second) = if is_head_forged { (&mut lies, &mut text) } else { (&mut text, &mut lies) };
    first[at..parted_at].copy_from_slice(head);
    second[parted_at..at + whole].copy_from_slice(tail);
    let places = if is_head_forged { 0..parted_at } else { parted_at..end };
    Hidden { text, forger: Forger::new(lies, places), parted_at }
}

/// What came of an attack.
struct Outcome {
    read: Vec<u8>,
    trace: u64,
    /// Segments refused because they contradict what was let through before.
    conflicts: u64,
}

/// A writer that hides the attack in its text, over a cable that cuts, repeats and lies.
fn attack(seed: u64, program: Option<&Arc<RuleSetProgram>>) -> Outcome {
    let mut world = World::new(seed);
    let mut chance = Chance::new(seed ^ 0xa77ac);
    // Either end may be the attacker.
    let (from, to) = chance.one_of(&[(0, 1), (1, 0)]);
    for place in 0..2 {
        let mut link = any_link(&mut chance);
        link.fragment = chance.one_of(&[None, None, Some(256)]);
        if place == from {
            link.faults.forgery = chance.one_of(&[0, 300, 900]);
        }
        let mtu = if link.offload.is_some() { 9000 } else { 1500 };
        world.add(mtu, link, PortConfig::default());
    }
    let mut epoch = 1;
    let first = policy::policy(&world, epoch, program);
    world.install(first);
    let most = chance.one_of(&[1, 4, 40, 3000]);
    let before = chance.below(if most == 1 { 50 } else { 5000 }) as usize;
    let hidden = hide_attack(before, &mut chance);
    world.places[from].forger = hidden.forger;
    let family = chance.one_of(&[Family::V4, Family::V6]);
    let mut conversation = [Conversation::start(&mut world, from, to, family, hidden.text, most)];
    conversation[0].stop_at = hidden.parted_at;
    let swaps = chance.one_of(&[0, 5, 100]);
    talk(&mut world, &mut conversation, 60, |world| {
        if chance.per_mille(swaps) {
            epoch += 1;
            // The same rule, compiled again: what the matcher was half through is to be seen all the same.
            let again = program.filter(|_| chance.per_mille(500)).map(|_| policy::attack_rule());
            let next = policy::policy(world, epoch, again.as_ref().or(program));
            world.install(next);
        }
    });
    let [conversation] = conversation;
    conversation.abandon(&mut world);
    world.end();
    let conflicts = world.dropped_for(DropReason::StreamConflict);
    Outcome { read: conversation.read, trace: world.trace, conflicts }
}

fn holds_attack(read: &[u8]) -> bool {
    read.windows(policy::ATTACK.len()).any(|window| window == policy::ATTACK)
}

#[test]
fn no_reader_reads_the_attack_whole_however_it_is_cut() {
    let program = policy::attack_rule();
    let (mut seen_without, mut refused) = (0, 0);
    let seeds = seeds(120);
    for &seed in &seeds {
        announce(seed);
        let Outcome { read, trace, conflicts } = attack(seed, Some(&program));
        assert!(!holds_attack(&read), "the attack was read: {}", String::from_utf8_lossy(&read));
        assert_eq!(trace, attack(seed, Some(&program)).trace, "the same seed gave other bytes");
        refused += conflicts;
        seen_without += usize::from(holds_attack(&attack(seed, None).read));
    }
    // Else the cables, not the rule, keep the attack away.
    println!("{seen_without} of {} attacks are read where no rule stops them", seeds.len());
    assert!(seeds.len() == 1 || seen_without * 5 > seeds.len(), "{seen_without} of {}", seeds.len());
    assert!(seeds.len() == 1 || refused > 0, "no forged copy was refused");
}

#[test]
fn policies_change_under_traffic_without_a_loss() {
    for seed in seeds(20) {
        announce(seed);
        let mut world = World::new(seed);
        let mut chance = Chance::new(seed ^ 0x5a9);
        for _ in 0..3 {
            world.add(1500, any_link(&mut chance), PortConfig::default());
        }
        let program = policy::attack_rule();
        let mut epoch = 0;
        let mut conversations = Vec::new();
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            let text = chance.letters(30_000);
            let family = chance.one_of(&[Family::V4, Family::V6]);
            conversations.push(Conversation::start(&mut world, from, to, family, text, 3000));
        }
        let over = talk(&mut world, &mut conversations, 600, |world| {
            if chance.per_mille(30) {
                epoch += 1;
                let inspected = chance.per_mille(700).then_some(&program);
                let next = policy::policy(world, epoch, inspected);
                world.install(next);
            }
        });
        let standing: Vec<String> = conversations.iter().map(|c| c.standing(&mut world)).collect();
        assert!(over && epoch > 1, "a transfer did not end: {standing:#?} {:?}", world.dropped());
        for conversation in &conversations {
            assert!(conversation.read == conversation.text, "{standing:#?}");
            conversation.abandon(&mut world);
        }
        world.end();
    }
}
