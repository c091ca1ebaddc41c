use Direction::{Original, Reply};
use State::*;

use super::segment::window_scale;
use super::*;

const S: u8 = TCP_SYN;
const A: u8 = TCP_ACK;
const F: u8 = TCP_FIN;
const R: u8 = TCP_RST;
const SA: u8 = TCP_SYN | TCP_ACK;
const FA: u8 = TCP_FIN | TCP_ACK;
const RA: u8 = TCP_RST | TCP_ACK;

/// One segment of a story: who, flags, seq, ack, bytes; and what becomes of it.
type Step = (Direction, u8, u32, u32, u32, Result<State, DropReason>);

fn seg(flags: u8, seq: u32, ack: u32, data: u32) -> Segment {
    Segment { seq, ack, flags, window: 1000, data, scale: NO_SCALE }
}

/// Plays a story after the initiator's SYN with sequence number 100; returns the connection.
#[track_caller]
fn play(steps: &[Step]) -> Tcp {
    let mut tcp = Tcp::open(&seg(S, 100, 0, 0));
    for (number, &(direction, flags, seq, ack, data, expected)) in steps.iter().enumerate() {
        let found = match tcp.advance(direction, &seg(flags, seq, ack, data)) {
            Ok(Advance::To(next) | Advance::Beside(next)) => {
                tcp = next;
                Ok(tcp.state())
            }
            Ok(other) => panic!("step {number}: {other:?}"),
            Err(reason) => Err(reason),
        };
        assert_eq!(found, expected, "step {number}");
    }
    tcp
}

const OPEN: [Step; 2] = [(Reply, SA, 500, 101, 0, Ok(SynReceived)), (Original, A, 101, 501, 0, Ok(Established))];

/// The same after the handshake.
#[track_caller]
fn play_open(steps: &[Step]) -> Tcp {
    play(&[&OPEN, steps].concat())
}

const STATE: Result<State, DropReason> = Err(DropReason::TcpState);
const WINDOW: Result<State, DropReason> = Err(DropReason::TcpWindow);

#[test]
fn a_connection_from_syn_to_time_wait() {
    play_open(&[
        (Original, A, 101, 501, 10, Ok(Established)),
        (Reply, A, 501, 111, 20, Ok(Established)),
        (Original, FA, 111, 521, 0, Ok(Closing)),
        (Reply, A, 521, 112, 5, Ok(Closing)),
        (Original, A, 112, 526, 0, Ok(Closing)),
        (Reply, FA, 526, 112, 0, Ok(Closing)),
        (Original, A, 112, 527, 0, Ok(TimeWait)),
        // The last acknowledgment was lost.
        (Reply, FA, 526, 112, 0, Ok(TimeWait)),
    ]);
    // Both at once.
    play_open(&[
        (Original, FA, 101, 501, 0, Ok(Closing)),
        (Reply, FA, 501, 101, 0, Ok(Closing)),
        (Original, A, 102, 502, 0, Ok(Closing)),
        (Reply, A, 502, 102, 0, Ok(TimeWait)),
    ]);
}

#[test]
fn handshake_segments_that_come_again_change_nothing() {
    play(&[
        (Original, S, 100, 0, 0, Ok(SynSent)),
        (Reply, SA, 500, 101, 0, Ok(SynReceived)),
        (Original, S, 100, 0, 0, Ok(SynReceived)),
        (Reply, SA, 500, 101, 0, Ok(SynReceived)),
        (Original, A, 101, 501, 0, Ok(Established)),
        (Reply, SA, 500, 101, 0, Ok(Established)),
    ]);
}

#[test]
fn flags_that_no_host_sends_are_refused() {
    for flags in [0, F, S | F, S | R, S | F | A, F | R, S | A | R, F | A | R] {
        play(&[(Original, flags, 100, 0, 0, STATE)]);
        play_open(&[(Original, flags, 101, 501, 0, STATE)]);
    }
}

#[test]
fn nothing_but_an_answer_follows_a_syn() {
    play(&[
        (Original, A, 101, 0, 10, STATE),
        (Original, FA, 101, 0, 0, STATE),
        (Reply, A, 500, 101, 10, STATE),
        (Reply, FA, 500, 101, 0, STATE),
        (Reply, SA, 500, 99, 0, STATE),
        (Reply, SA, 500, 102, 0, STATE),
        (Original, SA, 100, 501, 0, STATE),
        (Reply, R, 0, 0, 0, STATE),
        (Reply, RA, 0, 77, 0, WINDOW),
        (Reply, RA, 0, 101, 0, Ok(Closed)),
    ]);
}

#[test]
fn simultaneous_open() {
    play(&[
        (Reply, S, 500, 0, 0, Ok(SynSentBoth)),
        (Original, SA, 100, 501, 0, Ok(SynSentBoth)),
        (Reply, SA, 500, 101, 0, Ok(Established)),
        (Original, A, 101, 501, 10, Ok(Established)),
    ]);
    play(&[
        (Reply, S, 500, 0, 0, Ok(SynSentBoth)),
        (Reply, SA, 500, 99, 0, WINDOW),
        (Original, S, 100, 0, 0, Ok(SynSentBoth)),
        (Reply, RA, 501, 101, 0, Ok(Closed)),
    ]);
}

#[test]
fn half_open_connection_is_challenged_and_reset() {
    // The responder remembers an older connection: it challenges, is reset, and then accepts.
    play(&[
        (Reply, A, 7000, 3000, 0, Ok(SynSent)),
        (Original, R, 2999, 0, 0, WINDOW),
        (Original, R, 3000, 0, 0, Ok(SynSent)),
        (Original, S, 100, 0, 0, Ok(SynSent)),
        (Reply, SA, 500, 101, 0, Ok(SynReceived)),
        (Original, A, 101, 501, 0, Ok(Established)),
    ]);
}

#[test]
fn the_window_bounds_what_passes() {
    play_open(&[
        // 1000 bytes were offered, from 101 and from 501 on.
        (Original, A, 1101, 501, 10, Ok(Established)),
        (Original, A, 1102, 501, 10, WINDOW),
        (Reply, A, 501, 101, 10, Ok(Established)),
        // What was never sent cannot be acknowledged.
        (Reply, A, 511, 1112, 0, WINDOW),
        (Reply, A, 511, 1111, 0, Ok(Established)),
        // One window back is a retransmission, further is nothing that the receiver could use.
        (Original, A, 111, 511, 0, Ok(Established)),
        (Original, A, 110, 511, 0, WINDOW),
        // Old acknowledgments pass, very old ones do not.
        (Original, A, 1111, 501, 0, Ok(Established)),
        (Original, A, 1111, 511u32.wrapping_sub(OLD_ACK + 1), 0, WINDOW),
    ]);
}

#[test]
fn the_final_acknowledgment_must_be_of_the_syn() {
    play(&[
        (Reply, SA, 500, 101, 0, Ok(SynReceived)),
        (Original, A, 101, 499, 0, WINDOW),
        (Original, A, 101, 502, 0, WINDOW),
        (Original, A, 101, 501, 0, Ok(Established)),
    ]);
}

#[test]
fn window_scale_counts_only_when_both_offer_it() {
    let open = |theirs: u8| {
        let syn = Segment { scale: 7, ..seg(S, 100, 0, 0) };
        let accept = Segment { scale: theirs, ..seg(SA, 500, 101, 0) };
        let mut tcp = Tcp::open(&syn);
        for (direction, segment) in [(Reply, accept), (Original, seg(A, 101, 501, 0))] {
            let Ok(Advance::To(next)) = tcp.advance(direction, &segment) else { panic!() };
            tcp = next;
        }
        // The initiator's window is 1000 or 1000 << 7.
        tcp.advance(Reply, &seg(A, 501 + 1001, 101, 0)).is_ok()
    };
    assert!(open(2));
    assert!(!open(NO_SCALE));
    assert_eq!(window_scale(&[2, 4, 5, 180, 1, 3, 3, 7]), 7);
    assert_eq!(window_scale(&[3, 3, 99]), SCALE_MAX);
    for cut in [&[3, 3][..], &[8, 0, 3, 3, 7], &[8, 99, 3, 3, 7], &[0, 3, 3, 7], &[3]] {
        assert_eq!(window_scale(cut), NO_SCALE, "{cut:?}");
    }
}

#[test]
fn a_reset_counts_only_where_the_receiver_believes_it() {
    let talk: Step = (Original, A, 101, 501, 10, Ok(Established));
    let answer: Step = (Reply, A, 501, 106, 10, Ok(Established));
    play_open(&[talk, answer, (Original, R, 5000, 0, 0, WINDOW)]);
    // Anywhere in the window: it goes through to be challenged, and ends nothing.
    let doubtful = play_open(&[talk, answer, (Original, R, 200, 0, 0, Ok(Established))]);
    assert_eq!(doubtful.phase(), Phase::Closing);
    let goes_on =
        play_open(&[talk, answer, (Original, R, 200, 0, 0, Ok(Established)), (Reply, A, 511, 111, 0, Ok(Established))]);
    assert_eq!(goes_on.phase(), Phase::Established);
    // What was acknowledged last, and what was sent last.
    play_open(&[talk, answer, (Original, R, 106, 0, 0, Ok(Closed))]);
    play_open(&[talk, answer, (Original, RA, 111, 511, 0, Ok(Closed))]);
}

#[test]
fn ports_are_used_again_after_the_end() {
    let tcp = play_open(&[(Original, RA, 101, 501, 0, Ok(Closed))]);
    assert!(matches!(tcp.advance(Original, &seg(S, 9000, 0, 0)), Ok(Advance::Reopen)));
    assert!(matches!(tcp.advance(Reply, &seg(S, 9000, 0, 0)), Ok(Advance::Reopen)));
    let waiting = play(&[]);
    assert!(matches!(waiting.advance(Original, &seg(S, 9000, 0, 0)), Ok(Advance::Reopen)));
}

#[test]
fn a_syn_while_the_connection_stands_is_left_to_the_receiver() {
    let challenged = play_open(&[
        (Original, S, 9000, 0, 0, Ok(Established)),
        (Original, S, 9000, 0, 4, STATE),
        (Reply, A, 501, 101, 0, Ok(Established)),
        (Reply, SA, 700, 8000, 0, STATE),
    ]);
    // The receiver has forgotten the connection and accepts.
    let Ok(Advance::Reaccept(tcp)) = challenged.advance(Reply, &seg(SA, 700, 9001, 0)) else { panic!() };
    assert_eq!(tcp.state(), SynReceived);
    assert!(matches!(tcp.advance(Original, &seg(A, 9001, 701, 0)), Ok(Advance::To(t)) if t.state() == Established));
}

#[test]
fn what_is_none_of_the_connection_is_said_to_be_so() {
    let beside = |tcp: &Tcp, direction, flags, seq, ack| {
        matches!(tcp.advance(direction, &seg(flags, seq, ack, 0)), Ok(Advance::Beside(_)))
    };
    let tcp = play_open(&[(Original, A, 101, 501, 10, Ok(Established))]);
    assert!(beside(&tcp, Original, S, 9000, 0) && beside(&tcp, Reply, S, 9000, 0));
    assert!(beside(&tcp, Reply, R, 600, 0) && !beside(&tcp, Reply, R, 501, 0));
    // The SYN itself, late; and an acceptance with another sequence number.
    assert!(!beside(&tcp, Original, S, 100, 0));
    assert!(matches!(tcp.advance(Original, &seg(S, 100, 0, 0)), Ok(Advance::To(_))));
    for seq in [499, 501, 450] {
        assert_eq!(tcp.advance(Reply, &seg(SA, seq, 101, 0)).err(), Some(DropReason::TcpState), "{seq}");
    }
    assert!(beside(&Tcp::open(&seg(S, 100, 0, 0)), Reply, A, 7000, 3000));
}

#[test]
fn a_syn_whose_data_are_left_out_the_second_time_is_the_same() {
    let tcp = Tcp::open(&seg(S, 100, 0, 50));
    let Ok(Advance::To(tcp)) = tcp.advance(Original, &seg(S, 100, 0, 0)) else { panic!() };
    assert!(matches!(tcp.advance(Reply, &seg(SA, 500, 151, 0)), Ok(Advance::To(_))));
}

#[test]
fn data_in_the_syn() {
    let mut tcp = Tcp::open(&seg(S, 100, 0, 50));
    assert!(tcp.advance(Reply, &seg(SA, 500, 152, 0)).is_err());
    for ack in [101, 120, 151] {
        let Ok(Advance::To(next)) = Tcp::open(&seg(S, 100, 0, 50)).advance(Reply, &seg(SA, 500, ack, 0)) else {
            panic!("{ack}")
        };
        assert_eq!(next.state(), SynReceived);
        tcp = next;
    }
    // The responder may send before the handshake is complete.
    assert!(matches!(tcp.advance(Reply, &seg(A, 501, 151, 30)), Ok(Advance::To(_))));
}

#[test]
fn sequence_numbers_wrap() {
    let start = u32::MAX - 4;
    let mut tcp = Tcp::open(&seg(S, start, 0, 0));
    let mut step =
        |direction, flags, seq: u32, ack: u32, data| match tcp.advance(direction, &seg(flags, seq, ack, data)) {
            Ok(Advance::To(next) | Advance::Beside(next)) => {
                tcp = next;
                Ok(tcp.state())
            }
            other => Err(other.err()),
        };
    let first = start.wrapping_add(1);
    assert_eq!(step(Reply, SA, u32::MAX, first, 0), Ok(SynReceived));
    assert_eq!(step(Original, A, first, 0, 10), Ok(Established));
    assert_eq!(step(Reply, A, 0, first.wrapping_add(10), 10), Ok(Established));
    assert_eq!(step(Original, FA, first.wrapping_add(10), 10, 0), Ok(Closing));
    assert!(step(Original, A, first.wrapping_add(2000), 10, 0).is_err());
}

#[test]
fn a_connection_picked_up_is_lenient_until_both_sides_were_seen() {
    let mut tcp = Tcp::pick_up(Original, &seg(A, 5000, 9000, 100)).unwrap();
    assert_eq!(tcp.state(), Established);
    let Ok(Advance::To(next)) = tcp.advance(Reply, &seg(A, 9500, 5100, 10)) else { panic!() };
    tcp = next;
    assert!(matches!(tcp.advance(Original, &seg(A, 5100, 9510, 10)), Ok(Advance::To(_))));
    // 1000 << 14 is what may be offered at most.
    assert_eq!(tcp.advance(Original, &seg(A, 5100 + (1001 << 14), 9510, 10)).err(), Some(DropReason::TcpWindow));
    for flags in [S, SA, R, RA, 0, F] {
        assert_eq!(Tcp::pick_up(Original, &seg(flags, 1, 1, 0)).err(), Some(DropReason::TcpMidstream));
    }
}

#[test]
fn quoted_sequence_numbers_must_be_under_way() {
    let tcp = play_open(&[(Original, A, 101, 501, 500, Ok(Established))]);
    assert!(tcp.can_be_quoted(Original, 101) && tcp.can_be_quoted(Original, 601));
    assert!(!tcp.can_be_quoted(Original, 602));
    assert!(!tcp.can_be_quoted(Original, 601u32.wrapping_sub(OLD_ACK + 1)));
}

/// What becomes of a segment.
#[track_caller]
fn goes_on(tcp: &mut Tcp, direction: Direction, segment: &Segment) {
    match tcp.advance(direction, segment) {
        Ok(Advance::To(next) | Advance::Beside(next)) => *tcp = next,
        other => panic!("{other:?}"),
    }
}

#[test]
fn while_segments_pass_unseen_windows_are_not_asked_and_afterwards_they_are_known_anew() {
    let mut tcp = play_open(&[(Original, A, 101, 501, 10, Ok(Established)), (Reply, A, 501, 111, 20, Ok(Established))]);
    let far = seg(A, 9_000_000, 8_000_000, 10);
    assert_eq!(tcp.advance(Original, &far).err(), Some(DropReason::TcpWindow));
    tcp.look_away();
    assert!(tcp.is_partly_seen());
    assert!(tcp.carry(Original, &far));
    tcp.look_again();
    assert!(!tcp.is_partly_seen() && !tcp.carry(Original, &far));
    goes_on(&mut tcp, Original, &far);
    goes_on(&mut tcp, Reply, &seg(A, 8_000_000, 9_000_010, 10));
    assert_eq!(tcp.advance(Original, &seg(A, 101, 501, 10)).err(), Some(DropReason::TcpWindow));
    assert!(tcp.carry(Original, &seg(A, 9_000_010, 8_000_010, 10)));
}

#[test]
fn a_reset_amid_segments_that_pass_unseen_is_doubted_until_traffic_refutes_it() {
    let mut tcp = play_open(&[]);
    tcp.look_away();
    goes_on(&mut tcp, Original, &seg(R, 77, 0, 0));
    assert_eq!((tcp.state(), tcp.phase()), (Established, Phase::Closing));
    goes_on(&mut tcp, Reply, &seg(A, 40_000, 50_000, 5));
    assert_eq!(tcp.phase(), Phase::Established);
}

#[test]
fn a_connection_that_passed_unseen_ends_by_its_fins() {
    let mut tcp = play_open(&[]);
    tcp.look_away();
    goes_on(&mut tcp, Original, &seg(FA, 5000, 6000, 0));
    assert_eq!(tcp.phase(), Phase::Closing);
    goes_on(&mut tcp, Reply, &seg(FA, 6000, 5001, 0));
    goes_on(&mut tcp, Original, &seg(A, 5001, 6001, 0));
    assert_eq!(tcp.state(), TimeWait);
}
