//! Neighbours come, answer, fall silent and make room, in virtual time.

use weir_wire::{Offload, Pool, PortId};

use super::*;

const LAN: InterfaceId = InterfaceId(0);

fn address(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from(0x0a00_0000 + n).into()
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

struct Bench {
    neighbors: Neighbors,
    pool: Pool,
    now: Instant,
    said: Vec<Emission>,
    given_up: Vec<Packet>,
}

impl Bench {
    fn new() -> Bench {
        let (said, given_up) = (Vec::new(), Vec::new());
        Bench { neighbors: Neighbors::new(1), pool: Pool::default(), now: Instant::from_secs(100), said, given_up }
    }

    fn find(&mut self, n: u32) -> Found {
        self.neighbors.find(self.now, (LAN, address(n)), &mut self.said)
    }

    fn hold(&mut self, n: u32) -> bool {
        let packet = Packet::new(self.pool.copy(&[0; 60]).unwrap(), PortId(1), Offload::default());
        self.neighbors.hold((LAN, address(n)), packet).is_ok()
    }

    fn hear(&mut self, n: u32, mac: MacAddr, how: Heard) -> usize {
        self.neighbors.hear(self.now, (LAN, address(n)), mac, how).len()
    }

    /// Lets a second pass; returns what was asked meanwhile.
    fn second(&mut self) -> Vec<Emission> {
        self.now = self.now.after(Duration::from_secs(1));
        self.said.clear();
        self.neighbors.tick(self.now, &mut self.said, &mut self.given_up);
        self.said.clone()
    }

    fn state(&self, n: u32) -> &'static str {
        let entries = self.neighbors.list(self.now);
        entries.iter().find(|entry| entry.address == address(n)).map_or("unknown", |entry| entry.state)
    }
}

#[test]
fn packets_wait_until_the_neighbour_answers() {
    let mut bench = Bench::new();
    assert_eq!(bench.find(1), Found::Asked);
    assert_eq!(bench.said, [Emission::Ask(LAN, address(1), None)]);
    assert!(bench.hold(1) && bench.hold(1));
    assert_eq!(bench.find(1), Found::Asked);
    assert_eq!(bench.said.len(), 1, "asked once");
    assert_eq!(bench.neighbors.held(), 2);
    assert_eq!(bench.hear(1, mac(1), Heard::Directly), 2);
    assert_eq!((bench.find(1), bench.neighbors.held()), (Found::At(mac(1)), 0));
}

#[test]
fn one_that_does_not_answer_is_given_up_after_three_questions_and_asked_again_later() {
    let mut bench = Bench::new();
    bench.find(1);
    bench.hold(1);
    assert_eq!(bench.second().len(), 1);
    assert_eq!(bench.second().len(), 1);
    assert!(bench.given_up.is_empty());
    assert_eq!(bench.second(), []);
    assert_eq!((bench.given_up.len(), bench.neighbors.held()), (1, 0));
    assert_eq!(bench.find(1), Found::Unreachable);
    bench.now = bench.now.after(FAILED_FOR);
    assert_eq!(bench.find(1), Found::Asked);
}

#[test]
fn one_in_use_is_asked_by_its_mac_while_packets_go_on() {
    let mut bench = Bench::new();
    bench.hear(1, mac(1), Heard::Directly);
    bench.now = bench.now.after(REACHABLE_FOR);
    assert_eq!(bench.state(1), "stale");
    assert_eq!(bench.second(), [], "nobody needs it");
    assert_eq!(bench.find(1), Found::At(mac(1)));
    assert_eq!(bench.said, [Emission::Ask(LAN, address(1), Some(mac(1)))]);
    assert_eq!(bench.second(), [Emission::Ask(LAN, address(1), Some(mac(1)))]);
    bench.hear(1, mac(1), Heard::Directly);
    assert_eq!((bench.state(1), bench.second()), ("reachable", vec![]));
    // It falls silent.
    bench.now = bench.now.after(REACHABLE_FOR);
    bench.find(1);
    let asked: usize = (0..3).map(|_| bench.second().len()).sum();
    assert_eq!((asked, bench.state(1)), (2, "failed"));
    assert_eq!(bench.find(1), Found::Asked, "it is looked for anew at once");
}

#[test]
fn what_is_said_in_passing_corrects_but_adds_nothing() {
    let mut bench = Bench::new();
    bench.hear(1, mac(1), Heard::InPassing);
    assert_eq!(bench.state(1), "unknown");
    bench.hear(1, mac(1), Heard::Directly);
    bench.hear(1, mac(9), Heard::InPassing);
    assert_eq!(bench.find(1), Found::At(mac(9)));
}

#[test]
fn configured_neighbours_are_not_moved_by_what_is_heard() {
    let mut bench = Bench::new();
    bench.find(1);
    bench.hold(1);
    assert_eq!(bench.neighbors.set_static(bench.now, LAN, &[(address(1), mac(7))]).len(), 1);
    bench.hear(1, mac(1), Heard::Directly);
    bench.now = bench.now.after(Duration::from_secs(10_000));
    assert_eq!((bench.find(1), bench.state(1)), (Found::At(mac(7)), "static"));
    bench.neighbors.flush(None);
    assert_eq!(bench.state(1), "static");
    bench.neighbors.set_static(bench.now, LAN, &[]);
    assert_eq!(bench.state(1), "unknown");
}

#[test]
fn waiting_packets_are_bounded_for_each_and_in_all() {
    let mut bench = Bench::new();
    let mut held = 0;
    for n in 0..200 {
        bench.find(n);
        let taken = (0..HELD_EACH + 1).filter(|_| bench.hold(n)).count();
        assert!(taken <= HELD_EACH);
        held += taken;
    }
    assert_eq!((held, bench.neighbors.held()), (HELD_MAX, HELD_MAX));
}

#[test]
fn at_the_limit_those_that_never_answered_make_room_for_others() {
    let mut bench = Bench::new();
    for n in 0..64 {
        bench.hear(n, mac(n as u8), Heard::Directly);
        bench.find(n);
    }
    // A sweep over addresses that nobody has.
    for n in 0..3 * NEIGHBORS_EACH as u32 {
        bench.find(1000 + n);
    }
    assert_eq!(bench.neighbors.places.len(), NEIGHBORS_EACH);
    assert!(bench.said.len() <= ASKS_A_SECOND as usize, "questions are limited");
    let known = (0..64).filter(|&n| bench.find(n) == Found::At(mac(n as u8))).count();
    assert_eq!(known, 64, "those in use have stayed");
}

#[test]
fn one_network_cannot_take_the_room_of_another() {
    let mut bench = Bench::new();
    for n in 0..2 * NEIGHBORS_MAX as u32 {
        bench.hear(n, mac(n as u8), Heard::Directly);
    }
    assert_eq!(bench.neighbors.places.len(), NEIGHBORS_EACH);
    let key = (InterfaceId(1), address(1));
    assert_eq!(bench.neighbors.find(bench.now, key, &mut bench.said), Found::Asked);
    // What was only heard of makes room for what is needed.
    assert_eq!(bench.find(2 * NEIGHBORS_MAX as u32 + 1), Found::Asked);
}
