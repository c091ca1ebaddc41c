//! Fragments on their way through the engine.

use super::*;
use crate::inspect::Direction;

fn pieces(id: u16) -> [Frame; 2] {
    let whole = Frame::udp(A4, 1000, B4, 53, &[b'x'; 40]);
    let payload = &whole.bytes[34..];
    [
        Frame::fragment4(A4, B4, PROTOCOL_UDP, id, 0, true, &payload[..24]),
        Frame::fragment4(A4, B4, PROTOCOL_UDP, id, 24, false, &payload[24..]),
    ]
}

#[test]
fn fragments_wait_and_go_on_as_one_packet_of_their_flow() {
    let mut world = World::new(&spec(Action::Drop, vec![web_to_db(Action::Allow, PROTOCOL_UDP, 53)]));
    let [first, last] = pieces(1);
    let first = first.packet_in(A, &mut world.pool);
    assert!(matches!(world.engine.enter(world.now, first, SWITCH, &mut world.pool), Entered::Held));
    assert_eq!((world.engine.held(), world.pool.outstanding()), (1, 1));
    assert_eq!(world.send(&last, A, B), Ok(()));
    assert_eq!((world.engine.held(), world.pool.outstanding()), (0, 0));
    let flow = world.engine.flows(1, |_| true).remove(0);
    assert_eq!((flow.tuple.destination_port, flow.packets[Direction::Original as usize]), (53, 1));
}

#[test]
fn a_datagram_that_stays_incomplete_is_counted_in_time() {
    let mut world = World::new(&spec(Action::Allow, vec![]));
    let [first, _] = pieces(1);
    let first = first.packet_in(A, &mut world.pool);
    assert!(matches!(world.engine.enter(world.now, first, SWITCH, &mut world.pool), Entered::Held));
    world.pass_time(29);
    assert_eq!(world.tick(), []);
    world.pass_time(1);
    assert_eq!(world.tick(), [DropReason::FragmentTimeout]);
    assert_eq!((world.engine.held(), world.pool.outstanding()), (0, 0));
}
