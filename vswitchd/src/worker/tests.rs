//! The worker with real threads and memory ports.

use weir_fabric::nat::{Masquerade, NatConfig};
use weir_fabric::router::RouterConfig;
use weir_fabric::shape::Limit;
use weir_fabric::{PortConfig, Step, SwitchConfig};
use weir_filter::Policy;
use weir_filter::spec::Spec;
use weir_ports::mem::{MemPeer, MemPort};
use weir_wire::{Capabilities, DropReason, Epoch, Offload, RouterId, SwitchId};

use super::window::SHORTEST_WINDOW;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn window_grows_while_packets_are_close_and_shrinks_when_they_are_not() {
    let mut window = Window::new(Duration::from_micros(50));
    assert_eq!(window.length, SHORTEST_WINDOW);
    for _ in 0..10 {
        window.adapt(false, Instant(10_000));
    }
    assert_eq!(window.length, Duration::from_micros(50));
    for _ in 0..10 {
        window.adapt(false, Instant(1_000_000));
    }
    assert_eq!(window.length, SHORTEST_WINDOW);
}

#[test]
fn a_worker_may_be_told_never_to_poll() {
    let mut window = Window::new(Duration::ZERO);
    window.adapt(true, Instant(0));
    assert_eq!(window.length, Duration::ZERO);
}

fn settings() -> Settings {
    Settings {
        limits: Limits { flows: 1024, ..Limits::default() },
        pool: PoolLimits { frames: 1024, supers: 16 },
        seed: 1,
        poll_window: Duration::from_micros(50),
        always_poll: false,
        workers: 1,
        cpus: Vec::new(),
        fast_path: Arc::default(),
        readers: Readers::default(),
        translates: false,
    }
}

fn policy(epoch: u64) -> Arc<Policy> {
    Arc::new(Policy::compile(&Spec::default(), Epoch(epoch)).expect("an empty policy compiles"))
}

/// A broadcast frame whose payload is `tag`.
fn frame(tag: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend([tag; 50]);
    frame
}

fn two_ports() -> (Transaction, MemPeer, MemPeer) {
    let (a, peer_a) = MemPort::pair(Capabilities::ALL).expect("a memory port");
    let (b, peer_b) = MemPort::pair(Capabilities::ALL).expect("a memory port");
    let on_lan = || PortConfig { learning: true, ..PortConfig::default() };
    let transaction = Transaction {
        steps: vec![
            Step::SetSwitch(SwitchId(0), SwitchConfig::default()),
            Step::SetPort(PortId(0), on_lan()),
            Step::SetPort(PortId(1), on_lan()),
        ],
        add_ports: vec![(PortId(0), Box::new(a)), (PortId(1), Box::new(b))],
        ..Transaction::of(policy(1))
    };
    (transaction, peer_a, peer_b)
}

/// What comes out at `peer` next.
fn next(peer: &MemPeer) -> Vec<u8> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(frame) = peer.take() {
            return frame.bytes;
        }
        assert!(std::time::Instant::now() < deadline, "no frame came out");
        peer.wait(Duration::from_millis(100)).expect("waiting for a frame");
    }
}

/// Waits for the workers to end; what they have counted.
fn join(started: Started) -> WorkerStats {
    let mut all = WorkerStats::default();
    started.threads.into_iter().for_each(|thread| all.merge(&thread.join().expect("the worker ends")));
    all
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

#[test]
fn room_for_bindings_is_made_before_the_change_and_once() {
    let started = start(settings()).expect("a worker");
    let with = |nat: NatConfig| Transaction {
        steps: vec![Step::SetRouter(RouterId(0), RouterConfig { nat, ..RouterConfig::default() })],
        ..Transaction::of(policy(1))
    };
    let has_room =
        || block_on(started.handle.ask_network(NetworkId::FIRST, |view| view.fabric.has_room_for_bindings()));
    let rooms = |nat| block_on(started.handle.apply(with(nat))).expect("applied").old_rooms.len();
    assert_eq!((rooms(NatConfig::default()), has_room()), (0, Ok(false)), "a router that translates nothing");
    let masquerades = NatConfig { masquerades: vec![Masquerade::default()], ..NatConfig::default() };
    assert_eq!((rooms(masquerades.clone()), has_room()), (1, Ok(true)), "it was handed over");
    assert_eq!(rooms(masquerades), 0, "there is room already");
    started.handle.stop();
    join(started);
}

#[test]
fn frames_pass_between_ports_also_when_the_worker_sleeps() {
    let started = start(settings()).expect("a worker");
    let (transaction, a, b) = two_ports();
    let applied = block_on(started.handle.apply(transaction)).expect("applied");
    assert_eq!(applied.epoch, Epoch(1));
    for tag in 0..5 {
        assert!(a.inject(&frame(tag), Offload::default()));
        assert_eq!(next(&b), frame(tag));
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    let stats = || block_on(started.handle.stats()).expect("an answer");
    assert_eq!(stats().packets, 5);
    while stats().sleeps == 0 {
        assert!(std::time::Instant::now() < deadline, "the worker never sleeps: {:?}", stats());
    }
    assert!(a.inject(&frame(5), Offload::default()));
    assert_eq!(next(&b), frame(5));
    started.handle.stop();
    join(started);
}

#[test]
fn a_removed_port_comes_back_to_the_caller_and_gets_no_more_frames() {
    let started = start(settings()).expect("a worker");
    let (transaction, a, b) = two_ports();
    block_on(started.handle.apply(transaction)).expect("applied");
    let removal = Transaction {
        steps: vec![Step::RemovePort(PortId(1))],
        remove_ports: vec![PortId(1)],
        ..Transaction::of(policy(2))
    };
    let applied = block_on(started.handle.apply(removal)).expect("applied");
    assert_eq!((applied.epoch, applied.removed.len(), applied.old_policies[0].epoch()), (Epoch(2), 1, Epoch(1)));
    assert!(a.inject(&frame(9), Offload::default()));
    let deadline = std::time::Instant::now() + PATIENCE;
    let dropped = || {
        block_on(started.handle.ask_of(PortId(0), |view| view.fabric.counters(PortId(0)).map(|c| c.dropped.total())))
    };
    while dropped().expect("an answer") != Some(1) {
        assert!(std::time::Instant::now() < deadline, "the frame was not counted as dropped");
    }
    assert!(b.take().is_none());
    started.handle.stop();
    let last = join(started);
    assert_eq!(last.buffers, 0, "every buffer came back");
}

#[test]
fn a_port_without_link_is_not_flooded_to_until_it_has_one() {
    let started = start(settings()).expect("a worker");
    let (transaction, a, b) = two_ports();
    b.set_link(false);
    block_on(started.handle.apply(transaction)).expect("applied");
    assert!(a.inject(&frame(1), Offload::default()));
    let deadline = std::time::Instant::now() + PATIENCE;
    let dropped = || {
        let count = |view: &mut View<'_>| {
            view.fabric.counters(PortId(0)).map(|c| c.dropped.get(weir_wire::DropReason::NoDestination))
        };
        block_on(started.handle.ask_of(PortId(0), count)).expect("an answer")
    };
    while dropped() != Some(1) {
        assert!(std::time::Instant::now() < deadline, "the frame was not counted as without destination");
    }
    b.set_link(true);
    // The worker sees the link at its next turn, before it receives.
    while b.take().is_none() {
        assert!(std::time::Instant::now() < deadline, "nothing is flooded to the port that has a link by now");
        assert!(a.inject(&frame(2), Offload::default()));
        b.wait(Duration::from_millis(10)).expect("waiting for a frame");
    }
    started.handle.stop();
    join(started);
}

#[test]
fn a_stopped_worker_says_so() {
    let started = start(settings()).expect("a worker");
    started.handle.stop();
    let handle = started.handle.clone();
    join(started);
    assert_eq!(block_on(handle.ask_of(PortId(0), |_| ())), Err(Gone));
}

#[test]
fn what_a_rate_has_no_room_for_is_dropped_with_its_reason() {
    let pool = PoolLimits { frames: 8192, supers: 16 };
    let started = start(Settings { pool, ..settings() }).expect("a worker");
    let (mut transaction, a, b) = two_ports();
    let outward = Limit { bits: 8_000, packets: 0, burst: 0 };
    transaction.carriages = vec![(PortId(1), Carriage { outward, ..Carriage::default() })];
    block_on(started.handle.apply(transaction)).expect("applied");
    // The rate lets a burst pass, a queue holds as much again; then it is full.
    let counted =
        || block_on(started.handle.ask_of(PortId(0), |view| view.ports.counters(PortId(1)))).expect("an answer");
    let deadline = std::time::Instant::now() + PATIENCE;
    let (mut dropped, mut held) = (0, 0);
    while dropped == 0 {
        assert!(std::time::Instant::now() < deadline, "nothing is dropped, {held} packets wait");
        for tag in 0..64 {
            a.inject(&frame(tag), Offload::default());
        }
        while b.take().is_some() {}
        let (counters, waiting) = counted().expect("the port");
        (dropped, held) = (counters.tx_dropped.get(DropReason::RateLimit), waiting);
    }
    assert!(held > 500, "{held} packets wait");
    started.handle.stop();
    join(started);
}

#[test]
fn a_network_moves_to_another_worker_under_load_and_loses_nothing() {
    let started = start(Settings { workers: 2, ..settings() }).expect("workers");
    let (transaction, a, b) = two_ports();
    block_on(started.handle.apply(transaction)).expect("applied");
    let (mut sent, mut came) = (0_u32, 0_u32);
    for round in 0..200_usize {
        for _ in 0..8 {
            sent += u32::from(a.inject(&numbered(sent), Offload::default()));
        }
        assert_eq!(block_on(started.handle.move_network(NetworkId::FIRST, round % 2)), Ok(true));
        assert_eq!(started.handle.worker_of(NetworkId::FIRST), round % 2);
        while let Some(frame) = b.take() {
            assert_eq!(frame.bytes, numbered(came), "in order");
            came += 1;
        }
    }
    while came < sent {
        assert_eq!(next(&b), numbered(came));
        came += 1;
    }
    let reports = block_on(started.handle.reports()).expect("an answer");
    let at: Vec<usize> = reports.iter().map(|report| report.networks.len()).collect();
    assert_eq!(at, [0, 1], "the last move was to the second");
    assert_eq!(reports[1].stats.packets, u64::from(sent));
    started.handle.stop();
    assert_eq!(join(started).buffers, 0, "every buffer came back");
}

/// A broadcast frame with a number.
fn numbered(number: u32) -> Vec<u8> {
    let mut frame = frame(0);
    frame[20..24].copy_from_slice(&number.to_be_bytes());
    frame
}

#[test]
fn questions_find_a_network_wherever_it_is() {
    let started = start(Settings { workers: 2, ..settings() }).expect("workers");
    let handle = &started.handle;
    let (transaction, _a, _b) = two_ports();
    block_on(handle.apply(transaction)).expect("applied");
    let second = NetworkId(7);
    block_on(handle.make_network(second, 1)).expect("made");
    let mut membership = Membership::default();
    membership.add(second);
    membership.put(PortId(9), second);
    handle.set_membership(membership);
    for (first_at, second_at) in [(0, 1), (1, 1), (1, 0), (0, 0)] {
        assert_eq!(block_on(handle.move_network(NetworkId::FIRST, first_at)), Ok(true));
        assert_eq!(block_on(handle.move_network(second, second_at)), Ok(true));
        let ports = |view: &mut View<'_>| (view.network, view.ports.ids().len());
        assert_eq!(block_on(handle.ask_all(ports)), Ok(vec![(NetworkId::FIRST, 2), (second, 0)]));
        assert_eq!(block_on(handle.ask_of(PortId(0), ports)), Ok((NetworkId::FIRST, 2)));
        assert_eq!(block_on(handle.ask_of(PortId(9), ports)), Ok((second, 0)));
    }
    assert_eq!(block_on(handle.move_network(second, 2)), Ok(false), "there is no third worker");
    assert_eq!(block_on(handle.ask_of(PortId(9), |view| view.network)), Ok(second), "it stays where it is");
    handle.stop();
    join(started);
}

#[test]
fn a_worker_that_panics_is_told_of() {
    let mut started = start(Settings { workers: 2, ..settings() }).expect("workers");
    block_on(started.handle.make_network(NetworkId(1), 1)).expect("made");
    let mut membership = Membership::default();
    membership.put(PortId(1), NetworkId(1));
    started.handle.set_membership(membership);
    let fatal = started.handle.ask_of(PortId(1), |_| -> () { panic!("a test's") });
    assert_eq!(block_on(fatal), Err(Gone));
    assert_eq!(block_on(started.crashed.recv()), Some(1));
    assert!(block_on(started.handle.ask_of(PortId(0), |_| ())).is_ok(), "the other goes on until it is stopped");
    started.handle.stop();
    let ended: Vec<bool> = started.threads.into_iter().map(|thread| thread.join().is_ok()).collect();
    assert_eq!(ended, [true, false]);
}

#[test]
fn a_port_that_dozes_is_heard_while_the_worker_polls_and_while_another_is_busy() {
    let started = start(Settings { always_poll: true, ..settings() }).expect("a worker");
    let (transaction, a, b) = two_ports();
    block_on(started.handle.apply(transaction)).expect("applied");
    let deadline = std::time::Instant::now() + PATIENCE;
    let dozing = || block_on(started.handle.ask_of(PortId(0), |view| view.ports.dozing())).expect("an answer");
    for (tag, busy) in [(1, false), (2, true)] {
        // From a host of its own: one that moves about would look like a loop.
        let mut said = frame(tag);
        said[11] = 2;
        while dozing() != if busy { 1 } else { 2 } {
            assert!(std::time::Instant::now() < deadline, "the silent ports do not doze");
            if busy {
                a.inject(&frame(0), Offload::default());
                while b.take().is_some() {}
            }
        }
        assert!(b.inject(&said, Offload::default()));
        let mut got = None;
        while got.is_none() {
            assert!(std::time::Instant::now() < deadline, "the port that dozed was not heard");
            if busy {
                a.inject(&frame(0), Offload::default());
                while b.take().is_some() {}
            }
            got = a.take();
        }
        assert_eq!(got.map(|got| got.bytes), Some(said));
    }
    started.handle.stop();
    join(started);
}
