//! vhost-user under storms from a seed: random messages, random descriptors, and descriptors of files that must not
//! pile up. `WEIR_SEED` repeats a storm, `WEIR_ROUNDS` makes it longer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard};

use guest::{Guest, frame, serve};
use weir_ports::event::EventFd;
use weir_ports::vhost_user::frontend::{FrontendConfig, GUEST_BASE, USER_BASE, memory_table, pair, ring_address};
use weir_ports::vhost_user::message::{FDS_MAX, Outgoing, number as n};
use weir_ports::vhost_user::shared::memory_file;
use weir_ports::{Armed, Port};
use weir_wire::Offload;

/// Open descriptors are counted for the whole process, so the tests of this program run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| line.contains("memfd:weir")).count()
}

/// A small generator of numbers (xorshift64*, Marsaglia and Vigna).
struct Random(u64);

impl Random {
    fn new(salt: u64) -> Random {
        let seed = std::env::var("WEIR_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed_0001);
        println!("WEIR_SEED={seed}");
        Random((seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn rounds(default: u64) -> u64 {
    std::env::var("WEIR_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Descriptors to send along.
struct Toolbox(Vec<OwnedFd>);

impl Toolbox {
    fn new() -> Toolbox {
        let event = EventFd::new().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        Toolbox(vec![
            memory_file(1 << 20).unwrap(),
            event.as_fd().try_clone_to_owned().unwrap(),
            reader.into(),
            writer.into(),
            std::fs::File::open("/dev/null").unwrap().into(),
        ])
    }

    fn pick(&self, random: &mut Random, count: u64) -> Vec<RawFd> {
        (0..count).map(|_| self.0[random.below(self.0.len() as u64) as usize].as_raw_fd()).collect()
    }
}

/// A message that is right, or nearly so, or not at all.
fn message(random: &mut Random, guest: &mut Guest) -> (u32, Vec<u8>, u64) {
    let index = random.of(&[0u32, 1, 1, 0, 2, 255, 256, u32::MAX]);
    let place = guest.frontend.queue(random.below(2) as usize).unwrap().place();
    let size = random.of(&[0x1000u64, 0x10_0000, 0, 0x10_0001, u64::MAX]);
    let region = (random.of(&[GUEST_BASE, 0, u64::MAX - 0x1000]), size, USER_BASE, random.of(&[0, 0x1000, u64::MAX]));
    match random.below(24) {
        0 => (n::GET_FEATURES, vec![], 0),
        1 => (n::SET_FEATURES, (guest.frontend.agreed.0 ^ 1 << random.below(64)).to_ne_bytes().to_vec(), 0),
        2 => (n::SET_PROTOCOL_FEATURES, (guest.frontend.protocol ^ 1 << random.below(20)).to_ne_bytes().to_vec(), 0),
        3 => (n::SET_MEM_TABLE, memory_table(&[region]), 1),
        4 => (n::SET_LOG_BASE, [size.to_ne_bytes(), region.3.to_ne_bytes()].concat(), 1),
        5 => (n::SET_VRING_NUM, pair(index, random.of(&[256, 512, 0, 3, 32768, u32::MAX])).to_vec(), 0),
        6 => (n::SET_VRING_BASE, pair(index, random.of(&[0, 1, 300, 65535, 65536])).to_vec(), 0),
        7 => (n::SET_VRING_ADDR, ring_address(index, place, random.one_in(2)), 0),
        8 => (n::GET_VRING_BASE, pair(index, 0).to_vec(), 0),
        9..=11 => {
            let number = random.of(&[n::SET_VRING_KICK, n::SET_VRING_CALL, n::SET_VRING_ERR]);
            let none = random.one_in(3);
            let value = u64::from(index & 0xff) | if none { 1 << 8 } else { 0 };
            (number, value.to_ne_bytes().to_vec(), u64::from(!none))
        }
        12 => (n::SET_VRING_ENABLE, pair(index, random.of(&[0, 1, 1, 2])).to_vec(), 0),
        13 => (n::SEND_RARP, random.next().to_ne_bytes().to_vec(), 0),
        14 => (n::GET_INFLIGHT_FD, inflight(random), 0),
        15 => (n::SET_INFLIGHT_FD, inflight(random), 1),
        16 | 17 => {
            let fields = [0, region.0, region.1, region.2, region.3];
            let bytes = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
            if random.one_in(2) { (n::ADD_MEM_REG, bytes, 1) } else { (n::REM_MEM_REG, bytes, random.below(2)) }
        }
        18 => (n::SET_STATUS, random.of(&[0u64, 8, 15]).to_ne_bytes().to_vec(), 0),
        19 => (n::NET_SET_MTU, random.of(&[1500u64, 0, 67, 65536]).to_ne_bytes().to_vec(), 0),
        20 => (n::GET_CONFIG, (0..12).map(|_| random.of(&[0, 0, 0, 8, 255])).collect(), 0),
        21 => (random.of(&[n::GET_STATUS, n::GET_QUEUE_NUM, n::GET_MAX_MEM_SLOTS, n::RESET_OWNER]), vec![], 0),
        _ => {
            let payload = (0..random.below(64)).map(|_| random.next() as u8).collect();
            (random.below(45) as u32, payload, random.below(3))
        }
    }
}

fn inflight(random: &mut Random) -> Vec<u8> {
    let mut bytes = random.of(&[0u64, 0x1000, 0x10000, u64::MAX]).to_ne_bytes().to_vec();
    bytes.extend(random.of(&[0u64, 0x1000, u64::MAX]).to_ne_bytes());
    bytes.extend(random.of(&[0u16, 1, 2, 3, 65535]).to_ne_bytes());
    bytes.extend(random.of(&[0u16, 128, 256, 65535]).to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// A turn of the worker, as far as the port is concerned.
fn turn(guest: &mut Guest) {
    serve(&mut guest.port);
    guest.guest_sends(&frame(60, 1));
    guest.received();
    guest.tx(&[(&frame(60, 1), Offload::default())]);
    guest.guest_received();
    guest.port.arm();
    guest.port.disarm();
    guest.port.status();
}

#[test]
fn random_messages_end_in_an_answer_or_a_closed_connection_and_leave_nothing_behind() {
    let _alone = alone();
    let mut random = Random::new(1);
    let tools = Toolbox::new();
    let mut guest = Guest::new(FrontendConfig::default());
    guest.assert_works();
    let (files, maps) = (open_descriptors(), mappings());
    for round in 0..rounds(400) {
        for _ in 0..random.below(40) {
            let (number, mut payload, mut fds) = message(&mut random, &mut guest);
            if random.one_in(20) && !payload.is_empty() {
                let at = random.below(payload.len() as u64) as usize;
                payload[at] ^= 1 << random.below(8);
            }
            if random.one_in(20) {
                fds = random.below(FDS_MAX as u64 + 1);
            }
            let mut bytes = Outgoing::request(number, random.one_in(2)).with(&payload).bytes().to_vec();
            if random.one_in(50) {
                let at = random.below(12) as usize;
                bytes[at] ^= 1 << random.below(8);
            }
            if guest.frontend.send_raw(&bytes, &tools.pick(&mut random, fds)).is_err() {
                break;
            }
            turn(&mut guest);
        }
        guest.reconnect(FrontendConfig::default());
        guest.assert_works();
        assert_eq!((open_descriptors(), mappings()), (files, maps), "after round {round}");
    }
}

#[test]
fn random_descriptors_harm_nothing_but_their_ring() {
    let _alone = alone();
    let mut random = Random::new(2);
    let mut guest = Guest::new(FrontendConfig::default());
    for _ in 0..rounds(3000) {
        for ring in 0..2 {
            let place = guest.frontend.queue(ring).unwrap().place();
            let addresses = [
                place.buffers,
                place.tables,
                place.tables + 16,
                place.descriptors,
                place.used,
                GUEST_BASE,
                0,
                u64::MAX,
            ];
            for _ in 0..random.below(12) {
                let to = random.of(&[place.descriptors, place.tables]) + 16 * random.below(8);
                let mut bytes = random.of(&addresses).to_le_bytes().to_vec();
                bytes.extend(random.of(&[72u32, 60, 2048, 16, 32, 128, 11, 0, u32::MAX]).to_le_bytes());
                bytes.extend(random.of(&[0u16, 0, 1, 2, 2, 3, 4, 5, 7, 0xffff]).to_le_bytes());
                bytes.extend(random.of(&[0u16, 1, 2, 3, 4, 5, 6, 7, 255, 256]).to_le_bytes());
                guest.frontend.memory().write(to, &bytes).unwrap();
            }
            let queue = guest.frontend.queue(ring).unwrap();
            for _ in 0..random.below(6) {
                queue.offer(random.of(&[0, 1, 2, 3, 4, 5, 6, 7, 255]));
            }
            if random.one_in(100) {
                queue.offer(random.of(&[256, 0x8000]));
            }
            queue.flush();
        }
        guest.received();
        let frames = [frame(60, 1), frame(1500, 2)];
        guest.tx(&[(&frames[0], Offload::default()), (&frames[1], Offload::default())]);
        while guest.frontend.queue(0).unwrap().next_done().is_some() {}
        while guest.frontend.queue(1).unwrap().next_done().is_some() {}
        guest.port.arm();
        assert_eq!(guest.pool.outstanding(), 0);
        let faults = guest.port.status().details.iter().filter(|(_, value)| value.contains("stopped:")).count();
        if faults > 0 || random.one_in(200) {
            guest.reconnect(FrontendConfig::default());
            guest.assert_works();
        }
    }
}

#[test]
fn unexpected_descriptors_are_closed() {
    let _alone = alone();
    let tools = Toolbox::new();
    let mut guest = Guest::new(FrontendConfig::default());
    let files = open_descriptors();
    let bytes = Outgoing::request(n::GET_FEATURES, false);
    for round in 0..10_000 {
        let count = round % FDS_MAX + 1;
        let fds: Vec<_> = tools.0.iter().cycle().take(count).map(|fd| fd.as_raw_fd()).collect();
        guest.frontend.send_raw(bytes.bytes(), &fds).unwrap();
        serve(&mut guest.port);
        assert!(!guest.port.link(), "closed for breaking the protocol");
        if round % 500 == 0 {
            guest.reconnect(FrontendConfig::default());
            assert_eq!(open_descriptors(), files, "round {round}");
        } else {
            let stream = std::os::unix::net::UnixStream::connect(guest.socket.path()).unwrap();
            guest.frontend.replace_stream(stream).unwrap();
            serve(&mut guest.port);
        }
    }
    guest.reconnect(FrontendConfig::default());
    assert_eq!(open_descriptors(), files);
}

#[test]
fn what_is_replaced_again_and_again_does_not_pile_up() {
    let _alone = alone();
    let mut guest = Guest::new(FrontendConfig::default());
    let log = memory_file(1 << 20).unwrap();
    let log_payload = [(1u64 << 20).to_ne_bytes(), 0u64.to_ne_bytes()].concat();
    let mut count = None;
    for round in 0..300 {
        let Guest { frontend, port, .. } = &mut guest;
        let idle = &mut || port.on_event();
        frontend.share_memory(idle).unwrap();
        frontend.request(n::SET_LOG_BASE, &log_payload, &[log.as_fd()], false).unwrap();
        frontend.reply(idle).unwrap();
        let mut payload = [0u8; 24];
        payload[16..18].copy_from_slice(&2u16.to_ne_bytes());
        payload[18..20].copy_from_slice(&256u16.to_ne_bytes());
        let reply = frontend.ask(n::GET_INFLIGHT_FD, &payload, idle).unwrap();
        frontend.tell(n::SET_INFLIGHT_FD, &reply.payload, &[reply.fds[0].as_fd()], idle).unwrap();
        drop(reply);
        for ring in 0..2 {
            frontend.start_ring(ring, idle).unwrap();
        }
        let now = (open_descriptors(), mappings());
        assert_eq!(*count.get_or_insert(now), now, "round {round}");
        guest.assert_works();
    }
    assert_eq!(guest.port.arm(), Armed::Idle);
}
