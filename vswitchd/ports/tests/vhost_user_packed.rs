//! Packed rings: around the wrap in rings of all sizes, stopped and started again, logged for migration, and with a driver
//! that breaks the rules, whose harm is its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use guest::{Guest, ID, frame};
use weir_ports::vhost_user::features::{self, IN_ORDER, RING_PACKED};
use weir_ports::vhost_user::frontend::queue::{Layout, Place};
use weir_ports::vhost_user::frontend::{FrontendConfig, GUEST_BASE, RING_KINDS, pair, ring_address};
use weir_ports::vhost_user::message::number as n;
use weir_ports::vhost_user::shared::memory_file;
use weir_ports::{Armed, Port};
use weir_wire::{DropReason, Offload};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

fn config(kinds: u64) -> FrontendConfig {
    let base = FrontendConfig::default();
    FrontendConfig { features: base.features & !IN_ORDER | kinds, ..base }
}

fn packed() -> Guest {
    Guest::new(config(RING_PACKED))
}

/// A descriptor as it stands in memory.
fn descriptor(address: u64, len: u32, id: u16, flags: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&id.to_le_bytes());
    bytes[14..].copy_from_slice(&flags.to_le_bytes());
    bytes
}

/// A small generator of numbers (xorshift64*, Marsaglia and Vigna).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % n
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

impl Guest {
    fn place(&mut self, ring: usize) -> Place {
        self.frontend.queue(ring).unwrap().place()
    }

    fn put(&mut self, ring: usize, slot: u16, descriptors: &[[u8; 16]]) {
        let at = self.place(ring).descriptors + 16 * u64::from(slot);
        self.frontend.memory().write(at, descriptors.concat().as_slice()).unwrap();
    }

    /// Length, id and flags of a descriptor.
    fn look(&mut self, ring: usize, slot: u16) -> (u32, u16, u16) {
        let at = self.place(ring).descriptors + 16 * u64::from(slot);
        let bytes: [u8; 16] = self.frontend.memory().read(at).unwrap();
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (u32::from_le_bytes(bytes[8..12].try_into().unwrap()), short(12), short(14))
    }

    /// Puts a chain at the ring's start, the first time around, and receives.
    fn sends_chain(&mut self, descriptors: &[[u8; 16]]) -> Vec<(Vec<u8>, Offload)> {
        self.put(1, 0, descriptors);
        self.received()
    }

    fn assert_stopped(&mut self, ring: usize, why: &str) {
        assert!(!self.port.link());
        assert!(self.problem().contains(why), "{}", self.problem());
        assert_eq!(self.frontend.queue(ring).unwrap().error().drain(), 1, "the error descriptor");
        assert!(self.received().is_empty());
        self.tx(&[(&frame(60, 1), Offload::default())]);
        assert_eq!(self.port.arm(), Armed::Idle);
        assert_eq!(self.pool.outstanding(), 0);
    }
}

fn end(guest: &Guest) -> u64 {
    GUEST_BASE + guest.frontend.memory().len() as u64
}

// -- frames

/// Bursts of frames of all lengths, chained in every way, in rings so small that most chains go around the wrap.
#[test]
fn chains_go_around_rings_of_every_size() {
    let mut random = Random(0x5eed_0003);
    let mut total = 0;
    for ring_size in [1u16, 2, 3, 5, 7, 8, 13, 64, 100, 256] {
        for (kinds, layout) in [Layout::Together, Layout::Apart, Layout::Indirect]
            .into_iter()
            .flat_map(|l| [(RING_PACKED, l), (RING_KINDS, l)])
        {
            let buffer_len = random.of(&[128, 256, 2048]);
            let base = FrontendConfig { ring_size, layout, buffer_len, ..config(kinds) };
            let config = FrontendConfig { features: base.features & !random.of(&[0, features::EVENT_IDX]), ..base };
            let (mut a, mut b) = (Guest::new(config), Guest::new(config));
            assert_eq!(a.frontend.agreed.0 & RING_KINDS, kinds);
            let (mut sent, mut out) = (0u32, 0);
            for round in 0..300u32 {
                let mut burst = Vec::new();
                for _ in 0..=random.below(6) {
                    let bytes = frame(14 + random.below(1500) as usize, (round + sent) as u8);
                    if a.frontend.send(0, &[0; 12], &bytes) {
                        sent += 1;
                        burst.push(bytes);
                    }
                }
                a.frontend.flush(0);
                let mut packets = Vec::new();
                let hold = random.below(2) == 0;
                match hold {
                    true => a.port.rx_parts(ID, &mut a.pool, &mut packets, 64),
                    false => a.port.rx(ID, &mut a.pool, &mut packets, 64),
                };
                assert_eq!(packets.len(), burst.len(), "{ring_size} {layout:?} {:?}", a.port.counters());
                b.port.tx_from(&a.port, &mut a.pool, &mut packets);
                b.port.flush();
                a.port.release();
                a.port.flush();
                let mut expected = burst.into_iter();
                for (_, got) in b.guest_received() {
                    // Too few buffers for one: it was dropped and counted, and those behind it may fit.
                    assert!(expected.by_ref().any(|bytes| bytes == got), "{ring_size} {layout:?} round {round}");
                    out += 1;
                }
                assert_eq!(a.pool.outstanding(), 0);
            }
            let counters = b.port.counters();
            assert_eq!(counters.tx_packets, out);
            assert_eq!(out + counters.tx_dropped.total(), u64::from(sent), "{ring_size} {layout:?}");
            let wanted = if ring_size < 16 { 0 } else { 200 };
            assert!(out >= wanted, "{ring_size} {layout:?} {buffer_len}: {sent}, {out}");
            total += out;
            assert_eq!((a.problem(), b.problem()), (String::new(), String::new()));
        }
    }
    assert!(total > 30_000, "{total}");
}

#[test]
fn in_order_one_used_descriptor_stands_for_a_burst() {
    for (kinds, used) in [(RING_KINDS, [true, false, false]), (RING_PACKED, [true; 3])] {
        let mut guest = Guest::new(config(kinds));
        for seed in 0..3 {
            assert!(guest.frontend.send(0, &[0; 12], &frame(60, seed)));
        }
        guest.frontend.flush(0);
        let last = guest.look(1, 2).1;
        assert_eq!(guest.received().len(), 3);
        for (slot, used) in (0..3).zip(used) {
            let (_, _, flags) = guest.look(1, slot);
            assert_eq!(flags & (AVAILABLE | USED) == AVAILABLE | USED, used, "{kinds:#x} slot {slot}");
        }
        if kinds == RING_KINDS {
            assert_eq!(guest.look(1, 0).1, last);
        }
        assert_eq!(guest.frontend.queue(1).unwrap().reap(), 3, "the driver has all of them back");
        guest.assert_works();
    }
}

#[test]
fn behind_a_frame_that_is_held_nothing_is_given_back() {
    for kinds in [RING_PACKED, RING_KINDS, IN_ORDER] {
        let mut guest = Guest::new(config(kinds));
        for len in [60, 1200, 60] {
            assert!(guest.frontend.send(0, &[0; 12], &frame(len, 1)));
        }
        guest.frontend.flush(0);
        let mut packets = Vec::new();
        assert_eq!(guest.port.rx_parts(ID, &mut guest.pool, &mut packets, 64), 3);
        let queue = guest.frontend.queue(1).unwrap();
        assert_eq!((queue.reap(), queue.reap()), (1, 0), "{kinds:#x}");
        guest.port.release();
        assert_eq!(guest.frontend.queue(1).unwrap().reap(), 2, "{kinds:#x}");
        packets.drain(..).for_each(|packet| guest.pool.give(packet.buffer));
        guest.assert_works();
    }
}

// -- states

#[test]
fn a_ring_goes_on_where_it_stopped_with_its_wrap_counters() {
    for rounds in [10u32, 16, 20, 40] {
        let mut guest = Guest::new(FrontendConfig { ring_size: 16, ..config(RING_PACKED) });
        (0..rounds).for_each(|_| guest.assert_works());
        let Guest { frontend, port, .. } = &mut guest;
        let wrap = if (rounds / 16).is_multiple_of(2) { 0x8000 } else { 0 };
        let half = (rounds % 16) | wrap;
        for ring in 0..2 {
            assert_eq!(frontend.stop_ring(ring, &mut || port.on_event()).unwrap(), half | half << 16);
        }
        assert!(frontend.send(0, &[0; 12], &frame(60, 3)));
        frontend.flush(0);
        frontend.start_rings(&mut || port.on_event()).unwrap();
        assert_eq!(guest.received().len(), 1);
        guest.assert_works();
        // DPDK has room for half of it.
        let Guest { frontend, port, .. } = &mut guest;
        for ring in 0..2u32 {
            let base = frontend.stop_ring(ring, &mut || port.on_event()).unwrap() & 0xffff;
            let kick = frontend.queue(ring as usize).unwrap().kick().as_fd().try_clone_to_owned().unwrap();
            frontend.tell(n::SET_VRING_BASE, &pair(ring, base), &[], &mut || port.on_event()).unwrap();
            let idle = &mut || port.on_event();
            frontend.tell(n::SET_VRING_KICK, &u64::from(ring).to_ne_bytes(), &[kick.as_fd()], idle).unwrap();
        }
        guest.assert_works();
    }
}

/// The front end knows only where the rings were when they were started; the memory for descriptors in flight says more.
#[test]
fn another_back_end_goes_on_where_the_last_one_came_to() {
    for rounds in [0, 5, 16, 23, 32] {
        let mut guest = Guest::new(FrontendConfig { ring_size: 16, ..config(RING_KINDS) });
        let Guest { frontend, port, .. } = &mut guest;
        let idle = &mut || port.on_event();
        let mut payload = [0u8; 24];
        payload[16..18].copy_from_slice(&2u16.to_ne_bytes());
        payload[18..20].copy_from_slice(&16u16.to_ne_bytes());
        let reply = frontend.ask(n::GET_INFLIGHT_FD, &payload, idle).unwrap();
        frontend.tell(n::SET_INFLIGHT_FD, &reply.payload, &[reply.fds[0].as_fd()], idle).unwrap();
        (0..rounds).for_each(|_| guest.assert_works());
        // Taken by nobody yet.
        assert!(guest.frontend.send(0, &[0; 12], &frame(60, 9)));
        guest.frontend.flush(0);

        let stream = std::os::unix::net::UnixStream::connect(guest.socket.path()).unwrap();
        guest.frontend.hang_up();
        guest.frontend.replace_stream(stream).unwrap();
        let Guest { frontend, port, .. } = &mut guest;
        let idle = &mut || port.on_event();
        frontend.agree(idle).unwrap();
        frontend.share_memory(idle).unwrap();
        frontend.tell(n::SET_INFLIGHT_FD, &reply.payload, &[reply.fds[0].as_fd()], idle).unwrap();
        for ring in 0..2u32 {
            let place = frontend.queue(ring as usize).unwrap().place();
            let [call, kick] = {
                let queue = frontend.queue(ring as usize).unwrap();
                [queue.call(), queue.kick()].map(|event| event.as_fd().try_clone_to_owned().unwrap())
            };
            let number = u64::from(ring).to_ne_bytes();
            frontend.tell(n::SET_VRING_NUM, &pair(ring, 16), &[], idle).unwrap();
            frontend.tell(n::SET_VRING_BASE, &pair(ring, 0x8000_8000), &[], idle).unwrap();
            frontend.tell(n::SET_VRING_ADDR, &ring_address(ring, place, false), &[], idle).unwrap();
            frontend.tell(n::SET_VRING_CALL, &number, &[call.as_fd()], idle).unwrap();
            frontend.tell(n::SET_VRING_KICK, &number, &[kick.as_fd()], idle).unwrap();
            frontend.tell(n::SET_VRING_ENABLE, &pair(ring, 1), &[], idle).unwrap();
        }
        assert_eq!(guest.received(), [(frame(60, 9), Offload::default())], "after {rounds}");
        (0..20).for_each(|_| guest.assert_works());
    }
}

#[test]
fn a_ring_that_moves_or_changes_its_memory_keeps_its_place() {
    let mut guest = Guest::new(FrontendConfig { ring_size: 16, ..config(RING_KINDS) });
    for _ in 0..50 {
        let place = guest.place(1);
        let Guest { frontend, port, .. } = &mut guest;
        frontend.tell(n::SET_VRING_ADDR, &ring_address(1, place, false), &[], &mut || port.on_event()).unwrap();
        frontend.share_memory(&mut || port.on_event()).unwrap();
        guest.assert_works();
    }
}

#[test]
fn positions_sizes_and_addresses_that_do_not_fit_are_refused() {
    let mut guest = packed();
    let place = guest.place(1);
    let Guest { frontend, port, .. } = &mut guest;
    let idle = &mut || port.on_event();
    for size in [0, 32769, u32::MAX] {
        assert!(frontend.tell(n::SET_VRING_NUM, &pair(1, size), &[], idle).is_err(), "{size}");
    }
    for base in [256, 0x7fff, 0x0100_0000, 0xffff_ffff] {
        // Refused at once while the ring runs; one without an address is looked at when that comes.
        let ran = base == 256;
        assert_eq!(frontend.tell(n::SET_VRING_BASE, &pair(1, base), &[], idle).is_err(), ran, "{base:#x}");
        let again = ring_address(1, place, false);
        assert!(frontend.tell(n::SET_VRING_ADDR, &again, &[], idle).is_err(), "still at {base:#x}");
    }
    frontend.start_ring(1, idle).unwrap();
    for (descriptors, events) in [(8, 0), (0, 2), (1 << 50, 0), (0, 1 << 50)] {
        let mut bad = place;
        (bad.descriptors, bad.used) = (bad.descriptors + descriptors, bad.used + events);
        assert!(frontend.tell(n::SET_VRING_ADDR, &ring_address(1, bad, false), &[], idle).is_err());
        frontend.start_ring(1, idle).unwrap();
    }
    guest.assert_works();
}

#[test]
fn writes_are_logged_for_migration() {
    let mut guest = Guest::new(FrontendConfig { ring_size: 512, ..config(RING_PACKED) });
    let place = guest.place(0);
    let Guest { frontend, port, .. } = &mut guest;
    let log = memory_file(1 << 20).unwrap();
    let payload = [(1u64 << 20).to_ne_bytes(), 0u64.to_ne_bytes()].concat();
    frontend.request(n::SET_LOG_BASE, &payload, &[log.as_fd()], false).unwrap();
    frontend.reply(&mut || port.on_event()).unwrap();
    let features = frontend.agreed.0 | features::LOG_ALL;
    frontend.tell(n::SET_FEATURES, &features.to_ne_bytes(), &[], &mut || port.on_event()).unwrap();
    frontend.tell(n::SET_VRING_ADDR, &ring_address(0, place, true), &[], &mut || port.on_event()).unwrap();
    guest.tx(&[(&frame(1500, 1), Offload::default())]);
    let bitmap = std::fs::read(format!("/proc/self/fd/{}", log.as_raw_fd())).unwrap();
    let marked = |guest: u64| bitmap[(guest / 4096 / 8) as usize] & (1 << (guest / 4096 % 8)) != 0;
    assert!(marked(place.buffer(0)), "the buffer");
    assert!(marked(place.descriptors), "the used descriptor");
    assert!(!marked(place.descriptors + 4096), "a page of descriptors that none was used of");
    assert!(!marked(place.buffer(8)) && !marked(place.available));
    guest.assert_works();
}

// -- drivers that break the rules

#[test]
fn a_descriptor_is_taken_only_when_its_flags_say_so() {
    for flags in [0, USED, USED | AVAILABLE, AVAILABLE] {
        let mut guest = packed();
        let buffer = guest.place(1).buffers;
        let got = guest.sends_chain(&[descriptor(buffer, 72, 0, flags)]);
        assert_eq!(got.len(), usize::from(flags == AVAILABLE), "{flags:#x}");
    }
}

#[test]
fn bad_addresses_lengths_and_directions_cost_the_frame_and_no_more() {
    let cases = |end: u64, buffer: u64| {
        vec![
            (GUEST_BASE - 1, 100, 0),
            (end - 99, 100, 0),
            (u64::MAX - 50, 100, 0),
            (GUEST_BASE, u32::MAX, 0),
            (buffer, 11, 0),
            (buffer, 0, 0),
            (buffer, 100, WRITE),
        ]
    };
    let mut guest = packed();
    let (end, buffer) = (end(&guest), guest.place(1).buffers);
    let bad = cases(end, buffer);
    for (slot, &(address, len, flags)) in bad.iter().enumerate() {
        guest.put(1, slot as u16, &[descriptor(address, len, 7, flags | AVAILABLE)]);
        assert!(guest.received().is_empty(), "{address:#x} {len}");
        assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), slot as u64 + 1);
        assert_eq!(guest.look(1, slot as u16), (0, 7, USED | AVAILABLE), "it comes back");
    }
    // A chain of which the second buffer is bad comes back as one.
    let slot = bad.len() as u16;
    let chain = [descriptor(buffer, 72, 0, NEXT | AVAILABLE), descriptor(end, 72, 9, AVAILABLE)];
    guest.put(1, slot, &chain);
    assert!(guest.received().is_empty());
    assert_eq!(guest.look(1, slot), (0, 9, USED | AVAILABLE));
    guest.put(1, slot + 2, &[descriptor(buffer, 72, 3, AVAILABLE)]);
    assert_eq!(guest.received().len(), 1, "the next chain stands behind both");
}

#[test]
fn bad_buffers_to_the_guest_are_given_back_unwritten() {
    let mut guest = packed();
    let end = end(&guest);
    let bad = [(0, 2048, WRITE), (end - 20, 2048, WRITE), (GUEST_BASE, 2048, 0)];
    for (slot, (address, len, flags)) in bad.into_iter().enumerate() {
        guest.put(0, slot as u16, &[descriptor(address, len, slot as u16, flags | AVAILABLE)]);
    }
    guest.tx(&[(frame(1000, 1).as_slice(), Offload::default()); 4]);
    assert_eq!(guest.tx_dropped(DropReason::BadDescriptor), 3);
    assert_eq!(guest.port.counters().tx_packets, 1);
    for slot in 0..3 {
        assert_eq!(guest.look(0, slot), (0, slot, USED | AVAILABLE));
    }
    guest.assert_works();
}

#[test]
fn a_chain_without_end_stops_the_ring_until_it_is_set_up_again() {
    let mut guest = packed();
    let buffer = guest.place(1).buffers;
    let endless: Vec<_> = (0..256).map(|id| descriptor(buffer, 1, id, NEXT | AVAILABLE)).collect();
    assert!(guest.sends_chain(&endless).is_empty());
    guest.assert_stopped(1, "ring 1 is stopped: a descriptor chain loops");
    guest.put(1, 0, &[descriptor(buffer, 72, 0, AVAILABLE), descriptor(0, 0, 0, 0)]);
    let Guest { frontend, port, .. } = &mut guest;
    frontend.start_ring(1, &mut || port.on_event()).unwrap();
    assert_eq!(guest.received().len(), 1);
    let mut guest = packed();
    let endless: Vec<_> = (0..256).map(|id| descriptor(buffer, 0, id, WRITE | NEXT | AVAILABLE)).collect();
    guest.put(0, 0, &endless);
    guest.tx(&[(&frame(60, 1), Offload::default())]);
    guest.assert_stopped(0, "ring 0 is stopped: a descriptor chain loops");
}

#[test]
fn a_chain_as_long_as_the_ring_is_taken() {
    let mut guest = packed();
    let buffer = guest.place(1).buffers;
    guest.frontend.memory().write(buffer, &[0; 300]).unwrap();
    let whole: Vec<_> = (0..256u16)
        .map(|id| descriptor(buffer + u64::from(id), 1, 5, AVAILABLE | if id < 255 { NEXT } else { 0 }))
        .collect();
    assert_eq!(guest.sends_chain(&whole), [(vec![0; 244], Offload::default())]);
    assert_eq!(guest.look(1, 0), (0, 5, USED | AVAILABLE));
}

#[test]
fn a_buffer_id_that_the_ring_has_not_stops_it() {
    for id in [256, 0x8000, 0xffff] {
        let mut guest = packed();
        let buffer = guest.place(1).buffers;
        assert!(guest.sends_chain(&[descriptor(buffer, 72, id, AVAILABLE)]).is_empty());
        guest.assert_stopped(1, &format!("descriptor index {id} on a ring of 256"));
        let mut guest = packed();
        let chain = [descriptor(buffer, 72, 0, NEXT | AVAILABLE), descriptor(buffer, 72, id, AVAILABLE)];
        assert!(guest.sends_chain(&chain).is_empty());
        guest.assert_stopped(1, &format!("descriptor index {id} on a ring of 256"));
        // In the first descriptors of a chain the id means nothing.
        let mut guest = packed();
        let chain = [descriptor(buffer, 72, id, NEXT | AVAILABLE), descriptor(buffer, 72, 1, AVAILABLE)];
        assert_eq!(guest.sends_chain(&chain).len(), 1);
    }
}

#[test]
fn bad_indirect_tables_cost_the_frame_and_no_more() {
    let mut guest = packed();
    let Place { tables, buffers, .. } = guest.place(1);
    let end = end(&guest);
    let entry = |flags| descriptor(buffers, 100, 0, flags);
    let cases = [
        ("empty", tables, 0, INDIRECT, entry(0)),
        ("not a multiple of 16", tables, 17, INDIRECT, entry(0)),
        ("oversized", tables, 16 * 1025, INDIRECT, entry(0)),
        ("misaligned", tables + 4, 16, INDIRECT, entry(0)),
        ("outside memory", end, 16, INDIRECT, entry(0)),
        ("beyond the end of memory", end - 16, 32, INDIRECT, entry(0)),
        ("writable", tables, 16, INDIRECT, entry(WRITE)),
        ("empty buffers", tables, 16, INDIRECT, descriptor(buffers, 0, 0, 0)),
    ];
    for (slot, (name, address, len, flags, table)) in cases.into_iter().enumerate() {
        if address <= tables + 16 {
            guest.frontend.memory().write(address, &table).unwrap();
        }
        guest.put(1, slot as u16, &[descriptor(address, len, 4, flags | AVAILABLE)]);
        assert!(guest.received().is_empty(), "{name}");
        assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), slot as u64 + 1, "{name}");
        assert_eq!(guest.look(1, slot as u16), (0, 4, USED | AVAILABLE), "{name}");
    }
    // Flags of a table's entries but the direction mean nothing (2.8.7).
    let table = [descriptor(buffers, 12, 77, NEXT | INDIRECT), descriptor(buffers, 60, 0xffff, NEXT)];
    guest.frontend.memory().write(tables, &table.concat()).unwrap();
    guest.frontend.memory().write(buffers, &[0; 72]).unwrap();
    guest.put(1, 8, &[descriptor(tables, 32, 4, INDIRECT | AVAILABLE)]);
    assert_eq!(guest.received(), [(vec![0; 60], Offload::default())]);
}

#[test]
fn random_descriptors_harm_nothing_but_their_ring() {
    let mut random = Random(0x5eed_0004);
    let config = FrontendConfig { ring_size: 16, ..config(RING_KINDS) };
    let mut guest = Guest::new(config);
    for _ in 0..4000 {
        for ring in 0..2 {
            let place = guest.place(ring);
            let addresses = [place.buffers, place.tables, place.descriptors, place.used, GUEST_BASE, 0, u64::MAX];
            for _ in 0..random.below(12) {
                let flags =
                    random.of(&[0, 0, 1, 2, 2, 3, 4, 5, 7, 0xff7f]) | random.of(&[0, USED, AVAILABLE, AVAILABLE]);
                let strange = if random.below(40) == 0 { 16 } else { 7 };
                let id = random.of(&[0, 1, 2, 3, 4, 5, 15, strange]);
                let bytes = descriptor(
                    random.of(&addresses),
                    random.of(&[72, 60, 2048, 16, 32, 128, 11, 0, u32::MAX]),
                    id,
                    flags,
                );
                let at = random.of(&[place.descriptors, place.descriptors, place.tables]) + 16 * random.below(16);
                guest.frontend.memory().write(at, &bytes).unwrap();
            }
            let event = random.below(1 << 32) as u32;
            guest.frontend.memory().write(place.available, &event.to_le_bytes()).unwrap();
        }
        guest.received();
        let frames = [frame(60, 1), frame(1500, 2)];
        guest.tx(&[(&frames[0], Offload::default()), (&frames[1], Offload::default())]);
        guest.port.arm();
        guest.port.disarm();
        assert_eq!(guest.pool.outstanding(), 0);
        let faults = guest.port.status().details.iter().filter(|(_, value)| value.contains("stopped:")).count();
        if faults > 0 || random.below(100) == 0 {
            guest.reconnect(config);
            guest.assert_works();
        }
    }
}

/// What a frame is made of is read once, whatever the driver writes meanwhile.
#[test]
fn a_driver_that_rewrites_its_descriptors_meanwhile_harms_nobody() {
    let mut guest = Guest::new(FrontendConfig { ring_size: 1, buffer_len: 2048, ..config(RING_PACKED) });
    let place = guest.place(1);
    let (buffers, end) = (place.buffers, end(&guest));
    let stop = AtomicBool::new(false);
    let file = guest.frontend.memory().file().try_clone().unwrap();
    let writer = weir_ports::vhost_user::memory::Mapping::new(file.as_fd(), 0, end - GUEST_BASE).unwrap();
    let base = writer.start() as usize;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let kinds = [(72, 0), (u32::MAX, 0), (11, 0), (3000, WRITE), (72, INDIRECT), (48, 0)];
            let lies = kinds
                .iter()
                .flat_map(|&(len, flags)| [AVAILABLE, USED].map(|turn| descriptor(buffers, len, 0, flags | turn)));
            let lies: Vec<_> = lies.collect();
            let at = (base + (place.descriptors - GUEST_BASE) as usize) as *mut [u8; 16];
            for lie in lies.iter().cycle() {
                // SAFETY: the address lies in the mapping, which outlives the thread.
                unsafe { at.write_volatile(*lie) };
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut frames = 0;
        for _ in 0..20_000 {
            for (bytes, _) in guest.received() {
                assert!([60, 36].contains(&bytes.len()), "{} bytes", bytes.len());
                frames += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(frames, guest.port.counters().rx_packets);
    });
    assert_eq!(guest.pool.outstanding(), 0);
}
