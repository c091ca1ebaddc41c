//! vhost-user with a hostile driver or front end: what it breaks is its own.
//!
//! Each test does one thing that a driver or a front end must not do and says what comes of it: a counted drop, a
//! stopped ring, a refused request or a closed connection; and that everything works again afterwards where it should.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use guest::{Guest, ID, frame, serve};
use weir_ports::event::{Epoll, EventFd};
use weir_ports::vhost_user::features;
use weir_ports::vhost_user::frontend::queue::Place;
use weir_ports::vhost_user::frontend::{
    Backing, FrontendConfig, GUEST_BASE, USER_BASE, memory_table, pair, ring_address,
};
use weir_ports::vhost_user::message::number as n;
use weir_ports::vhost_user::shared::{memory_file, memory_file_unsealed, set_len};
use weir_ports::{Armed, Port};
use weir_wire::{Checksum, DropReason, Offload, Segmentation};

const PLAIN: Offload = Offload { checksum: Checksum::Complete, segmentation: Segmentation::None };
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

fn descriptor(address: u64, len: u32, flags: u16, next: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    bytes
}

impl Guest {
    fn place(&mut self, ring: usize) -> Place {
        self.frontend.queue(ring).unwrap().place()
    }

    /// Writes descriptors from number `first` on.
    fn describe(&mut self, ring: usize, first: u16, descriptors: &[[u8; 16]]) {
        let at = self.place(ring).descriptors + 16 * u64::from(first);
        self.frontend.memory().write(at, descriptors.concat().as_slice()).unwrap();
    }

    /// Makes chains available on a ring and shows them.
    fn offer(&mut self, ring: usize, heads: &[u16]) {
        let queue = self.frontend.queue(ring).unwrap();
        heads.iter().for_each(|head| queue.offer(*head));
        queue.flush();
    }

    /// Offers one chain of these descriptors on the ring from the guest and receives.
    fn sends_chain(&mut self, descriptors: &[[u8; 16]]) -> Vec<(Vec<u8>, Offload)> {
        self.describe(1, 0, descriptors);
        self.offer(1, &[0]);
        self.received()
    }

    fn tell(&mut self, number: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let Guest { frontend, port, .. } = self;
        frontend.tell(number, payload, fds, &mut || port.on_event())
    }

    /// Sets the ring up again, from where it stands.
    fn restart(&mut self, ring: u32) {
        let Guest { frontend, port, .. } = self;
        frontend.start_ring(ring, &mut || port.on_event()).unwrap();
    }

    fn assert_stopped(&mut self, ring: usize, why: &str) {
        assert!(!self.port.link());
        assert!(self.problem().contains(why), "{}", self.problem());
        assert_eq!(self.frontend.queue(ring).unwrap().error().drain(), 1, "the error descriptor");
        // Nothing moves any more, and nothing hangs or keeps the worker awake.
        assert!(self.received().is_empty());
        self.tx(&[(&frame(60, 1), PLAIN)]);
        assert_eq!(self.port.arm(), Armed::Idle);
        assert_eq!(self.pool.outstanding(), 0);
    }
}

fn hostile() -> Guest {
    Guest::new(FrontendConfig::default())
}

/// The guest's memory ends here.
fn end(guest: &Guest) -> u64 {
    GUEST_BASE + guest.frontend.memory().len() as u64
}

// -- frames that are held

#[test]
fn a_header_that_changes_after_it_was_taken_does_not_reach_the_receiver() {
    let (mut a, mut b) = (hostile(), hostile());
    let bytes = frame(1200, 9);
    assert!(a.frontend.send(0, &[0; 12], &bytes));
    a.frontend.flush(0);
    let mut packets = Vec::new();
    assert_eq!(a.port.rx_parts(ID, &mut a.pool, &mut packets, 64), 1);
    let buffer = a.place(1).buffers;
    a.frontend.memory().write(buffer, &[0xee; 12 + 128]).unwrap();
    b.port.tx_from(&a.port, &mut a.pool, &mut packets);
    b.port.flush();
    a.port.release();
    let got = b.guest_received();
    assert_eq!(got[0].1, bytes);
}

#[test]
fn a_ring_that_is_stopped_while_a_frame_is_held_takes_the_rest_with_it() {
    let mut a = hostile();
    assert!(a.frontend.send(0, &[0; 12], &frame(1200, 9)));
    a.frontend.flush(0);
    let mut packets = Vec::new();
    assert_eq!(a.port.rx_parts(ID, &mut a.pool, &mut packets, 64), 1);
    a.frontend.hang_up();
    a.port.on_event();
    let mut packet = packets.remove(0);
    assert!(!a.port.fill(&mut packet, &mut a.pool) && !packet.is_whole());
    assert!(a.port.rest(&packet).is_none());
    a.pool.give(packet.buffer);
    assert_eq!(a.pool.outstanding(), 0);
}

// -- descriptors

#[test]
fn an_address_outside_memory_costs_the_frame_and_no_more() {
    let mut guest = hostile();
    let end = end(&guest);
    let bad = [(0, 100), (GUEST_BASE - 1, 100), (end, 100), (end - 99, 100), (u64::MAX, 100), (u64::MAX - 50, 100)];
    for (round, (address, len)) in bad.into_iter().enumerate() {
        assert!(guest.sends_chain(&[descriptor(address, len, 0, 0)]).is_empty(), "{address:#x}");
        assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), round as u64 + 1);
        assert!(guest.frontend.queue(1).unwrap().next_done().is_some(), "the chain comes back");
    }
    guest.assert_works();
}

#[test]
fn a_length_that_overflows_costs_the_frame_and_no_more() {
    let mut guest = hostile();
    for len in [u32::MAX, u32::MAX - 11, 0x8000_0000, 70_000_000] {
        assert!(guest.sends_chain(&[descriptor(GUEST_BASE, len, 0, 0)]).is_empty());
    }
    let chain: Vec<_> = (0..64).map(|i| descriptor(GUEST_BASE, u32::MAX, NEXT, i + 1)).collect();
    assert!(guest.sends_chain(&chain).is_empty());
    assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), 5);
    guest.assert_works();
}

#[test]
fn a_frame_longer_than_any_is_dropped_as_too_long() {
    let mut guest = Guest::new(FrontendConfig { buffer_len: 1024, ..FrontendConfig::default() });
    let start = guest.place(1).buffers;
    assert!(guest.sends_chain(&[descriptor(start, 200_000, 0, 0)]).is_empty());
    assert_eq!(guest.rx_dropped(DropReason::TooLong), 1);
    guest.assert_works();
}

#[test]
fn a_chain_shorter_than_the_header_is_dropped() {
    let mut guest = hostile();
    let buffer = guest.place(1).buffers;
    for len in [0, 1, 11] {
        assert!(guest.sends_chain(&[descriptor(buffer, len, 0, 0)]).is_empty());
    }
    assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), 3);
    // A header alone is an empty frame; the parser has the say.
    assert_eq!(guest.sends_chain(&[descriptor(buffer, 12, 0, 0)]), [(Vec::new(), PLAIN)]);
}

#[test]
fn a_header_in_many_pieces_is_put_together() {
    let mut guest = hostile();
    let buffer = guest.place(1).buffers;
    let bytes = frame(30, 3);
    guest.frontend.memory().write(buffer, &[0; 12]).unwrap();
    guest.frontend.memory().write(buffer + 12, &bytes).unwrap();
    let chain: Vec<_> =
        (0..42u16).map(|i| descriptor(buffer + u64::from(i), 1, if i < 41 { NEXT } else { 0 }, i + 1)).collect();
    assert_eq!(guest.sends_chain(&chain), [(bytes, PLAIN)]);
}

#[test]
fn a_buffer_over_two_regions_is_split_where_they_meet_and_refused_at_a_hole() {
    let mut guest = hostile();
    let len = guest.frontend.memory().len() as u64;
    let half = (len / 2).next_multiple_of(4096);
    let buffer = guest.place(1).buffers;
    // The second half of the memory follows the first one directly, then with a hole of a page.
    for (hole, frames) in [(0u64, 1), (4096, 0)] {
        let table = memory_table(&[
            (GUEST_BASE, half, USER_BASE, 0),
            (GUEST_BASE + half + hole, len - half, USER_BASE + half, half),
        ]);
        let file = guest.frontend.memory().file().try_clone().unwrap();
        guest.tell(n::SET_MEM_TABLE, &table, &[file.as_fd(), file.as_fd()]).unwrap();
        guest.frontend.memory().write(buffer, &[0; 12]).unwrap();
        let border = GUEST_BASE + half - 50;
        let got = guest.sends_chain(&[descriptor(buffer, 12, NEXT, 1), descriptor(border, 100, 0, 0)]);
        assert_eq!(got.len(), frames, "with a hole of {hole}");
    }
    assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), 1);
}

#[test]
fn descriptors_in_the_wrong_direction_are_refused() {
    let mut guest = hostile();
    let buffer = guest.place(1).buffers;
    assert!(guest.sends_chain(&[descriptor(buffer, 100, WRITE, 0)]).is_empty());
    assert!(guest.sends_chain(&[descriptor(buffer, 100, NEXT, 1), descriptor(buffer, 100, WRITE, 0)]).is_empty());
    assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), 2);
    guest.assert_works();
    // To the guest: a buffer that is not for us to write.
    let buffer = guest.place(0).buffers;
    guest.describe(0, 1, &[descriptor(buffer, 2048, 0, 0)]);
    guest.tx(&[(&frame(60, 1), PLAIN), (&frame(60, 2), PLAIN)]);
    assert_eq!(guest.tx_dropped(DropReason::BadDescriptor), 1);
    assert_eq!(guest.port.counters().tx_packets, 2);
}

#[test]
fn buffers_to_the_guest_outside_its_memory_are_given_back_unwritten() {
    let mut guest = hostile();
    let end = end(&guest);
    let bad = [
        descriptor(0, 2048, WRITE, 0),
        descriptor(end - 20, 2048, WRITE, 0),
        descriptor(u64::MAX - 20, 2048, WRITE, 0),
        descriptor(GUEST_BASE, 2048, WRITE | NEXT, 4),
        descriptor(end, u32::MAX, WRITE, 0),
    ];
    guest.describe(0, 0, &bad[..3]);
    guest.tx(&[(frame(1000, 1).as_slice(), PLAIN); 4]);
    assert_eq!(guest.tx_dropped(DropReason::BadDescriptor), 3);
    assert_eq!(guest.port.counters().tx_packets, 1);
    guest.assert_works();
    let _ = bad;
}

#[test]
fn buffers_without_bytes_do_not_keep_the_switch_busy() {
    let mut guest = hostile();
    let empty: Vec<_> = (0..256).map(|_| descriptor(GUEST_BASE, 0, WRITE, 0)).collect();
    guest.describe(0, 0, &empty);
    guest.tx(&[(frame(60, 1).as_slice(), PLAIN); 3]);
    assert_eq!(guest.tx_dropped(DropReason::TxTooLong) + guest.tx_dropped(DropReason::TxFull), 3);
    assert!(guest.port.link());
}

#[test]
fn a_chain_that_loops_stops_the_ring_until_it_is_set_up_again() {
    let mut guest = hostile();
    let buffer = guest.place(1).buffers;
    let looped = [descriptor(buffer, 100, NEXT, 1), descriptor(buffer, 100, NEXT, 0)];
    assert!(guest.sends_chain(&looped).is_empty());
    guest.assert_stopped(1, "ring 1 is stopped: a descriptor chain loops");
    guest.describe(1, 0, &[descriptor(buffer, 100, 0, 0)]);
    guest.restart(1);
    assert_eq!(guest.received().len(), 1);
    guest.assert_works();
}

#[test]
fn a_chain_to_the_guest_that_loops_stops_that_ring() {
    let mut guest = hostile();
    let buffer = guest.place(0).buffers;
    guest.describe(0, 0, &[descriptor(buffer, 1, WRITE | NEXT, 0)]);
    guest.tx(&[(&frame(60, 1), PLAIN)]);
    assert_eq!(guest.tx_dropped(DropReason::BadDescriptor), 1);
    guest.assert_stopped(0, "ring 0 is stopped: a descriptor chain loops");
}

#[test]
fn a_descriptor_index_outside_the_table_stops_the_ring() {
    for index in [256, 257, 32768, 65535] {
        let mut guest = hostile();
        guest.offer(1, &[index]);
        assert!(guest.received().is_empty());
        guest.assert_stopped(1, &format!("descriptor index {index} on a ring of 256"));
        let mut guest = hostile();
        assert!(guest.sends_chain(&[descriptor(GUEST_BASE, 100, NEXT, index)]).is_empty());
        guest.assert_stopped(1, &format!("descriptor index {index} on a ring of 256"));
    }
}

#[test]
fn an_available_index_that_jumps_stops_the_ring() {
    for ahead in [257, 300, 0x8000, 0xffff] {
        let mut guest = hostile();
        let at = guest.place(1).available + 2;
        guest.frontend.memory().write(at, &u16::to_le_bytes(ahead)).unwrap();
        assert!(guest.received().is_empty());
        guest.assert_stopped(1, &format!("{ahead} ahead of ours on a ring of 256"));
        let mut guest = hostile();
        let at = guest.place(0).available + 2;
        guest.frontend.memory().write(at, &u16::to_le_bytes(ahead)).unwrap();
        guest.tx(&[(&frame(60, 1), PLAIN)]);
        guest.assert_stopped(0, &format!("{ahead} ahead of ours on a ring of 256"));
    }
}

#[test]
fn a_full_ring_of_the_same_chain_is_served_and_ends() {
    let mut guest = hostile();
    let buffer = guest.place(1).buffers;
    guest.describe(1, 0, &[descriptor(buffer, 72, 0, 0)]);
    guest.offer(1, &[0; 256]);
    assert_eq!(guest.received().len(), 256);
}

// -- indirect tables

#[test]
fn bad_indirect_tables_cost_the_frame_and_no_more() {
    let mut guest = hostile();
    let Place { tables, buffers, .. } = guest.place(1);
    let end = end(&guest);
    let entry = |flags, next| descriptor(buffers, 100, flags, next);
    let cases = [
        ("empty", descriptor(tables, 0, INDIRECT, 0), vec![entry(0, 0)]),
        ("not a multiple of 16", descriptor(tables, 17, INDIRECT, 0), vec![entry(0, 0)]),
        ("half an entry", descriptor(tables, 8, INDIRECT, 0), vec![entry(0, 0)]),
        ("oversized", descriptor(tables, 16 * 1025, INDIRECT, 0), vec![entry(0, 0)]),
        ("of all lengths the longest", descriptor(tables, !15, INDIRECT, 0), vec![entry(0, 0)]),
        ("misaligned", descriptor(tables + 4, 16, INDIRECT, 0), vec![entry(0, 0), entry(0, 0)]),
        ("outside memory", descriptor(end, 16, INDIRECT, 0), vec![]),
        ("beyond the end of memory", descriptor(end - 16, 32, INDIRECT, 0), vec![]),
        ("wrapping", descriptor(u64::MAX - 15, 32, INDIRECT, 0), vec![]),
        ("nested", descriptor(tables, 16, INDIRECT, 0), vec![descriptor(tables, 16, INDIRECT, 0)]),
        ("nested in itself", descriptor(tables, 16, INDIRECT, 0), vec![descriptor(tables, 16, INDIRECT | NEXT, 0)]),
        ("followed by another", descriptor(tables, 16, INDIRECT | NEXT, 1), vec![entry(0, 0)]),
        ("looping", descriptor(tables, 32, INDIRECT, 0), vec![entry(NEXT, 1), entry(NEXT, 0)]),
        ("pointing outside itself", descriptor(tables, 32, INDIRECT, 0), vec![entry(NEXT, 2), entry(0, 0)]),
        ("writable", descriptor(tables, 16, INDIRECT, 0), vec![entry(WRITE, 0)]),
    ];
    for (round, (name, head, table)) in cases.iter().enumerate() {
        let address = u64::from_le_bytes(head[..8].try_into().unwrap());
        if !table.is_empty() {
            guest.frontend.memory().write(address, &table.concat()).unwrap();
        }
        assert!(guest.sends_chain(&[*head]).is_empty(), "{name}");
        assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), round as u64 + 1, "{name}");
    }
    guest.assert_works();
}

#[test]
fn an_indirect_table_that_was_not_agreed_on_is_refused() {
    let config = FrontendConfig { features: !features::INDIRECT_DESC, ..FrontendConfig::default() };
    let mut guest = Guest::new(config);
    let Place { tables, buffers, .. } = guest.place(1);
    guest.frontend.memory().write(tables, &descriptor(buffers, 100, 0, 0)).unwrap();
    assert!(guest.sends_chain(&[descriptor(tables, 16, INDIRECT, 0)]).is_empty());
    assert_eq!(guest.rx_dropped(DropReason::BadDescriptor), 1);
}

// -- offloads

#[test]
fn offloads_outside_the_frame_or_not_agreed_on_are_dropped() {
    let config = FrontendConfig { features: !features::HOST_TSO6, ..FrontendConfig::default() };
    let mut guest = Guest::new(config);
    let header = |flags: u8, gso: u8, size: u16, start: u16, offset: u16| {
        let mut bytes = [0; 12];
        bytes[0] = flags;
        bytes[1] = gso;
        bytes[4..6].copy_from_slice(&size.to_le_bytes());
        bytes[6..8].copy_from_slice(&start.to_le_bytes());
        bytes[8..10].copy_from_slice(&offset.to_le_bytes());
        bytes
    };
    let bad = [
        header(1, 0, 0, 0xffff, 0xffff),
        header(1, 0, 0, 99, 0),
        header(1, 0, 0, 34, 65),
        header(0, 1, 1448, 0, 0),
        header(1, 1, 0, 34, 16),
        header(1, 4, 1448, 34, 16),
        header(1, 3, 1448, 34, 16),
        header(1, 0xff, 1448, 34, 16),
    ];
    for (round, header) in bad.iter().enumerate() {
        assert!(guest.frontend.send(0, header, &frame(100, 1)));
        guest.frontend.flush(0);
        assert!(guest.received().is_empty(), "{header:?}");
        assert_eq!(guest.rx_dropped(DropReason::BadOffload), round as u64 + 1);
    }
    guest.assert_works();
}

// -- setup

#[test]
fn ring_sizes_that_do_not_exist_are_refused() {
    let mut guest = hostile();
    for size in [0, 3, 255, 257, 32769, 65536, 0x8000_0000, u32::MAX] {
        assert!(guest.tell(n::SET_VRING_NUM, &pair(1, size), &[]).is_err(), "{size}");
    }
    assert!(guest.problem().contains("not a power of two"), "{}", guest.problem());
    guest.assert_works_despite_refusal();
}

#[test]
fn rings_that_do_not_exist_are_refused_in_every_message() {
    let mut guest = hostile();
    let event = EventFd::new().unwrap();
    for index in [2u64, 254, 255] {
        for number in [n::SET_VRING_KICK, n::SET_VRING_CALL, n::SET_VRING_ERR] {
            assert!(guest.tell(number, &index.to_ne_bytes(), &[event.as_fd()]).is_err());
        }
    }
    for index in [2, 255, 256, 65535, 65536, u32::MAX] {
        for number in [n::SET_VRING_NUM, n::SET_VRING_BASE, n::SET_VRING_ENABLE] {
            assert!(guest.tell(number, &pair(index, 1), &[]).is_err(), "{number} for ring {index}");
        }
        let place = guest.place(0);
        assert!(guest.tell(n::SET_VRING_ADDR, &ring_address(index, place, false), &[]).is_err());
    }
    guest.assert_works_despite_refusal();
    // The question has no way to say no, so the connection ends.
    let Guest { frontend, port, .. } = &mut guest;
    assert!(frontend.stop_ring(7, &mut || port.on_event()).is_err());
    assert!(guest.problem().contains("there is no ring 7"), "{}", guest.problem());
}

#[test]
fn ring_addresses_outside_memory_or_misaligned_are_refused() {
    for part in 0..3 {
        for shift in [1u64 << 40, 1, u64::MAX / 2, 1u64.wrapping_neg() << 12] {
            let mut guest = hostile();
            let place = guest.place(1);
            let mut address = ring_address(1, place, false);
            let at = 8 + 8 * part;
            let moved = u64::from_ne_bytes(address[at..at + 8].try_into().unwrap()).wrapping_add(shift << 12 | shift);
            address[at..at + 8].copy_from_slice(&moved.to_ne_bytes());
            if guest.tell(n::SET_VRING_ADDR, &address, &[]).is_ok() {
                continue; // It is still inside: no harm in that.
            }
            assert!(guest.problem().contains("ring 1: the ring at"), "{}", guest.problem());
            assert!(!guest.port.link());
            guest.restart(1);
            guest.assert_works_despite_refusal();
        }
    }
    let mut guest = hostile();
    let mut place = guest.place(1);
    // The last entries would lie behind the end.
    place.used = end(&guest) - 64;
    assert!(guest.tell(n::SET_VRING_ADDR, &ring_address(1, place, false), &[]).is_err());
}

#[test]
fn a_ring_that_moves_while_it_runs_goes_on_at_its_new_place() {
    let mut guest = hostile();
    for _ in 0..5 {
        guest.assert_works();
    }
    let place = guest.place(1);
    for _ in 0..100 {
        guest.tell(n::SET_VRING_ADDR, &ring_address(1, place, false), &[]).unwrap();
        guest.assert_works();
    }
    // Onto the other ring's areas: nonsense, but inside memory.
    let other = guest.place(0);
    let _ = guest.tell(n::SET_VRING_ADDR, &ring_address(1, other, false), &[]);
    guest.received();
    guest.restart(1);
    guest.received();
}

#[test]
fn memory_regions_that_are_empty_overlap_wrap_or_exceed_their_file_are_refused() {
    let mut guest = hostile();
    let file = memory_file(0x4000).unwrap();
    let fd = file.as_fd();
    let bad: Vec<Vec<(u64, u64, u64, u64)>> = vec![
        vec![(0, 0, 0, 0)],
        vec![(0, 0x4000, 0, 0), (0x2000, 0x4000, 0x10000, 0)],
        vec![(0, 0x4000, 0, 0), (0x10000, 0x4000, 0x3fff, 0)],
        vec![(u64::MAX - 0xfff, 0x2000, 0, 0)],
        vec![(0, 0x2000, u64::MAX - 0xfff, 0)],
        vec![(0, 0x2000, 0, u64::MAX - 0xfff)],
        vec![(0, u64::MAX, 0, 0)],
        vec![(0, 1 << 46, 0, 0)],
        vec![(0, 0x4000, 0, 0x1000)],
    ];
    for regions in bad {
        let fds = vec![fd; regions.len()];
        assert!(guest.tell(n::SET_MEM_TABLE, &memory_table(&regions), &fds).is_err(), "{regions:x?}");
    }
    // The memory there was is still in force.
    guest.assert_works_despite_refusal();
}

#[test]
fn memory_slots_are_added_and_removed_up_to_a_limit() {
    let mut guest = hostile();
    let Guest { frontend, port, .. } = &mut guest;
    let slots = frontend.ask(n::GET_MAX_MEM_SLOTS, &[], &mut || port.on_event()).unwrap().value();
    let file = memory_file(0x1000).unwrap();
    let region = |i: u64| {
        let mut bytes = [0u64; 5];
        bytes[1..].copy_from_slice(&[0x1_0000_0000 + i * 0x1000, 0x1000, 0x1_0000_0000 + i * 0x1000, 0]);
        bytes.iter().flat_map(|field| field.to_ne_bytes()).collect::<Vec<u8>>()
    };
    for i in 1..slots {
        guest.tell(n::ADD_MEM_REG, &region(i), &[file.as_fd()]).unwrap();
    }
    assert!(guest.tell(n::ADD_MEM_REG, &region(slots), &[file.as_fd()]).is_err());
    for i in 1..slots {
        guest.tell(n::REM_MEM_REG, &region(i), &[]).unwrap();
    }
    guest.assert_works_despite_refusal();
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let mut guest = hostile();
    for bit in [17, 18, 33, 63] {
        let features = guest.frontend.agreed.0 | 1 << bit;
        assert!(guest.tell(n::SET_FEATURES, &features.to_ne_bytes(), &[]).is_err(), "bit {bit}");
    }
    for bit in [5, 7, 40] {
        let features = guest.frontend.protocol | 1 << bit;
        assert!(guest.tell(n::SET_PROTOCOL_FEATURES, &features.to_ne_bytes(), &[]).is_err(), "protocol bit {bit}");
    }
    guest.assert_works_despite_refusal();
}

#[test]
fn features_that_change_while_rings_run_take_effect_in_full() {
    let mut guest = hostile();
    for bits in [guest.frontend.agreed.0 & !features::INDIRECT_DESC, guest.frontend.agreed.0] {
        guest.tell(n::SET_FEATURES, &bits.to_ne_bytes(), &[]).unwrap();
        guest.assert_works();
    }
}

// -- the connection

#[test]
fn a_front_end_that_breaks_the_protocol_is_closed_with_a_reason() {
    let event = EventFd::new().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&event.as_fd());
    let header = |request: u32, flags: u32, size: u32| [request, flags, size].map(u32::to_ne_bytes).concat();
    let cases: Vec<(&str, Vec<u8>, Vec<i32>)> = vec![
        ("message 2 has a payload of 4 bytes", [header(2, 1, 4), vec![0; 4]].concat(), vec![]),
        ("announces 4294967295 bytes", header(2, 1, u32::MAX), vec![]),
        ("announces 513 bytes", header(2, 1, 513), vec![]),
        ("not those of protocol version 1", header(1, 0, 0), vec![]),
        ("marked as a reply", header(1, 5, 0), vec![]),
        ("message 1 came with 1 file descriptors", header(1, 1, 0), vec![fd]),
        ("message 12 came with 0 file descriptors", [header(12, 1, 8), vec![0; 8]].concat(), vec![]),
        ("message 12 came with 2 file descriptors", [header(12, 1, 8), vec![0; 8]].concat(), vec![fd, fd]),
        ("message 18 holds a number out of range", [header(18, 1, 8), vec![7; 8]].concat(), vec![]),
        ("request 99 is not served", header(99, 1, 0), vec![]),
    ];
    for (why, bytes, fds) in cases {
        let mut guest = hostile();
        guest.frontend.send_raw(&bytes, &fds).unwrap();
        serve(&mut guest.port);
        assert!(!guest.port.link());
        assert!(guest.problem().contains(why), "\"{}\" does not say \"{why}\"", guest.problem());
        guest.reconnect(FrontendConfig::default());
        guest.assert_works();
    }
}

#[test]
fn a_hang_up_inside_a_message_leaves_the_port_ready_for_the_next() {
    let mut guest = hostile();
    for cut in 1..20 {
        let message = [[2u32, 1, 8].map(u32::to_ne_bytes).concat(), vec![0; 8]].concat();
        guest.frontend.send_raw(&message[..cut], &[]).unwrap();
        serve(&mut guest.port);
        assert!(guest.port.link(), "half a message harms nothing");
        guest.frontend.hang_up();
        serve(&mut guest.port);
        assert!(guest.problem().contains("inside a message"), "{}", guest.problem());
        guest.reconnect(FrontendConfig::default());
        guest.assert_works();
    }
}

#[test]
fn a_flood_of_messages_does_not_keep_the_worker_from_its_turns() {
    let mut guest = hostile();
    let status = [39u32, 1, 8].map(u32::to_ne_bytes).concat();
    let status = [status, 15u64.to_ne_bytes().to_vec()].concat();
    let mut sent = 0;
    while guest.frontend.send_raw(&status, &[]).is_ok() {
        sent += 1;
    }
    assert!(sent > 200, "{sent}");
    let before = messages(&guest);
    guest.port.on_event();
    let served = messages(&guest) - before;
    assert!((1..=32).contains(&served), "{served} messages in one event");
    guest.assert_works();
}

fn messages(guest: &Guest) -> u64 {
    let details = guest.port.status().details;
    details.iter().find(|(name, _)| name == "messages").unwrap().1.parse().unwrap()
}

#[test]
fn messages_are_served_while_the_worker_polls() {
    let mut guest = hostile();
    guest.frontend.request(n::GET_FEATURES, &[], &[], false).unwrap();
    for _ in 0..100 {
        guest.received();
    }
    assert_ne!(guest.frontend.reply(&mut || {}).unwrap().value(), 0);
}

#[test]
fn a_storm_of_kicks_is_served_and_ends() {
    let mut guest = hostile();
    let epoll = Epoll::new().unwrap();
    epoll.add(guest.port.event_fd(), 1).unwrap();
    for _ in 0..1000 {
        for _ in 0..100 {
            guest.frontend.queue(1).unwrap().kick().signal();
        }
        guest.port.on_event();
        assert!(guest.received().is_empty());
        assert_eq!(guest.port.arm(), Armed::Idle);
    }
    let mut tokens = Vec::new();
    epoll.wait(&mut tokens, Some(std::time::Duration::ZERO)).unwrap();
    assert!(tokens.is_empty(), "the storm is over and nothing is left of it");
    guest.assert_works();
}

#[test]
fn a_storm_of_enabling_and_disabling_during_traffic_loses_nothing_but_frames() {
    let mut guest = hostile();
    for round in 0..500 {
        let ring = round % 2;
        guest.tell(n::SET_VRING_ENABLE, &pair(ring, round / 2 % 2), &[]).unwrap();
        guest.guest_sends(&frame(60, 1));
        guest.received();
        guest.tx(&[(&frame(60, 1), PLAIN)]);
        guest.guest_received();
    }
    for ring in 0..2 {
        guest.tell(n::SET_VRING_ENABLE, &pair(ring, 1), &[]).unwrap();
    }
    guest.assert_works();
    let counters = guest.port.counters();
    assert_eq!(counters.rx_packets + counters.rx_dropped.total(), 501);
    assert_eq!(counters.tx_packets + counters.tx_dropped.total(), 501);
}

// -- memory that changes or goes

#[test]
fn memory_that_is_cut_short_ends_the_connection_and_not_the_process() {
    for touched in ["rings", "buffers"] {
        let mut guest = Guest::new(FrontendConfig { backing: Backing::Unsealed, ..FrontendConfig::default() });
        guest.assert_works();
        guest.guest_sends(&frame(60, 1));
        let left = if touched == "rings" { 0 } else { guest.place(1).buffers - GUEST_BASE };
        set_len(guest.frontend.memory().file(), left).unwrap();
        guest.received();
        guest.received();
        assert!(!guest.port.link());
        assert!(guest.problem().contains("made its shared memory shorter"), "{}", guest.problem());
        guest.reconnect(FrontendConfig::default());
        guest.assert_works();
    }
}

#[test]
fn a_log_that_is_cut_short_ends_the_connection_and_not_the_process() {
    let mut guest = hostile();
    let log = memory_file_unsealed(1 << 20).unwrap();
    let payload = [(1u64 << 20).to_ne_bytes(), 0u64.to_ne_bytes()].concat();
    guest.frontend.request(n::SET_LOG_BASE, &payload, &[log.as_fd()], false).unwrap();
    let Guest { frontend, port, .. } = &mut guest;
    frontend.reply(&mut || port.on_event()).unwrap();
    let features = guest.frontend.agreed.0 | features::LOG_ALL;
    guest.tell(n::SET_FEATURES, &features.to_ne_bytes(), &[]).unwrap();
    guest.assert_works();
    set_len(&log, 0).unwrap();
    guest.tx(&[(&frame(60, 1), PLAIN)]);
    guest.received();
    assert!(guest.problem().contains("made its shared memory shorter"), "{}", guest.problem());
}

/// What a frame is made of is read once: whatever the driver changes meanwhile, the frame is one that it could have
/// sent, and its bytes are those that were copied.
#[test]
fn a_driver_that_rewrites_its_descriptors_meanwhile_harms_nobody() {
    let mut guest = hostile();
    let place = guest.place(1);
    let (descriptors, buffers, end) = (place.descriptors, place.buffers, end(&guest));
    let stop = AtomicBool::new(false);
    let memory = std::sync::Arc::new(guest.frontend.memory().file().try_clone().unwrap());
    let writer = weir_ports::vhost_user::memory::Mapping::new(memory.as_fd(), 0, end - GUEST_BASE).unwrap();
    let base = writer.start() as usize;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lies = [
                descriptor(buffers, 72, 0, 0),
                descriptor(buffers, u32::MAX, 0, 0),
                descriptor(u64::MAX - 3, 72, 0, 0),
                descriptor(end - 60, 60, 0, 0),
                descriptor(buffers, 11, 0, 0),
                descriptor(buffers, 3000, WRITE, 0),
                descriptor(buffers, 72, INDIRECT, 0),
            ];
            let at = (base + (descriptors - GUEST_BASE) as usize) as *mut [u8; 16];
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
            guest.offer(1, &[0]);
            for (bytes, _) in guest.received() {
                assert!([60, 48].contains(&bytes.len()), "{} bytes", bytes.len());
                frames += 1;
            }
            guest.frontend.queue(1).unwrap().next_done();
        }
        stop.store(true, Ordering::Relaxed);
        let counters = guest.port.counters();
        assert_eq!(frames, counters.rx_packets);
        assert_eq!(counters.rx_packets + counters.rx_dropped.total(), 20_000);
    });
    assert_eq!(guest.pool.outstanding(), 0);
}

impl Guest {
    /// Frames pass, though a refusal is remembered.
    fn assert_works_despite_refusal(&mut self) {
        self.assert_works();
        assert!(self.problem().starts_with("refused: "), "{}", self.problem());
    }
}
