//! Segments and fragments in the orders that are hard to bear.

use weir_filter::inspect::Direction;
use weir_tests::conversation::{ACK, Conversation, packet};

use super::inspect;
use super::measure::Verdicts;
use super::program;

const RULES: &str = r#"
alert tcp any any -> any any (msg:"aab"; content:"aab"; sid:1;)
drop http any any -> any any (http.uri; content:"evil"; sid:2;)
"#;

/// Pieces of a stream of this many bytes: place and length, as a sender may order them.
type Order = fn(usize) -> Vec<(usize, usize)>;

fn pieces(size: usize, step: usize) -> impl DoubleEndedIterator<Item = (usize, usize)> {
    (0..size / step).map(move |nth| (nth * step, step))
}

const ORDERS: &[(&str, Order)] = &[
    ("backwards", |size| pieces(size, 16).rev().collect()),
    ("byte by byte backwards", |size| pieces(size / 8, 1).rev().collect()),
    ("every second first", |size| {
        let odd = pieces(size, 16).filter(|(place, _)| place % 32 == 16);
        odd.chain(pieces(size, 16).filter(|(place, _)| place % 32 == 0)).collect()
    }),
    ("every second, its neighbours never", |size| pieces(size, 32).map(|(place, _)| (place + 16, 16)).collect()),
    ("each reaches over the one before", |size| pieces(size, 16).rev().map(|(place, _)| (place, 200)).collect()),
    ("each within the one before", |size| pieces(size, 16).map(|(place, _)| (place / 2 + 1, 1400)).collect()),
    ("the same again and again", |size| pieces(size, 16).map(|(place, _)| (64 + place % 64, 64)).collect()),
    ("inside out", |size| {
        let middle = size / 2;
        (0..size / 32)
            .flat_map(|nth| [(middle + nth * 16, 16), (middle - (nth + 1).min(middle / 16) * 16, 16)])
            .collect()
    }),
    ("large jumps", |size| (0..size / 16).map(|nth| ((nth * 7919 * 16) % size, 16)).collect()),
];

/// The frames of a stream whose pieces come in this order; the other side acknowledges nothing, or all at the end.
fn stream(order: Order, size: usize) -> Vec<Vec<u8>> {
    let mut talk = Conversation::new(40_000, 80);
    let mut frames = talk.open().to_vec();
    let [client, server] = talk.next;
    for (place, length) in order(size) {
        let text: Vec<u8> = (place..place + length).map(|place| if place % 97 == 0 { b'b' } else { b'a' }).collect();
        frames.push(talk.segment(Direction::Original, ACK, client.wrapping_add(place as u32), server, &text));
    }
    frames.push(talk.segment(Direction::Reply, ACK, server, client.wrapping_add(size as u32), b""));
    frames
}

#[test]
fn streams_cost_in_proportion_in_any_order() {
    let (program, mut verdicts) = (program(RULES), Verdicts::default());
    for (name, order) in ORDERS {
        for ips in [false, true] {
            let name = format!("{name}, {}", if ips { "inline" } else { "passive" });
            verdicts.linear(&name, 32 << 10, |size| stream(*order, size), |frames| inspect(&program, ips, frames));
        }
    }
    verdicts.check();
}

/// Which fragment comes as the nth, of so many.
type Turn = fn(usize, usize) -> usize;

/// Fragments of datagrams, `each` bytes long, of so many datagrams at once, in an order.
fn fragments(size: usize, each: usize, at_once: usize, order: Turn) -> Vec<Vec<u8>> {
    let talk = Conversation::new(40_000, 53);
    let data = talk.datagram_payload(Direction::Original, &vec![b'a'; 8000]);
    let pieces: Vec<&[u8]> = data.chunks(each).collect();
    let mut frames = Vec::new();
    let mut first = 0u16;
    while frames.len() * each < size {
        for nth in 0..pieces.len() {
            let place = order(nth, pieces.len());
            let more = if place + 1 < pieces.len() { 0x2000 } else { 0 };
            let offset = (place * each / 8) as u16 | more;
            for datagram in 0..at_once as u16 {
                let identification = (first + datagram).to_be_bytes();
                frames.push(packet(Direction::Original, 17, identification, offset, pieces[place]));
            }
        }
        first = first.wrapping_add(at_once as u16);
    }
    frames
}

#[test]
fn fragments_cost_in_proportion_in_any_order() {
    let (program, mut verdicts) = (program(RULES), Verdicts::default());
    let forwards = |nth, _| nth;
    let backwards = |nth, all: usize| all - 1 - nth;
    let never_whole = |nth: usize, all: usize| (nth * 2 + 1).min(all - 2);
    let same = |_, all: usize| all / 2;
    let orders: [(&str, Turn); 4] =
        [("forwards", forwards), ("backwards", backwards), ("never whole", never_whole), ("the same", same)];
    for (name, order) in orders {
        for (each, at_once) in [(8, 1), (16, 40), (400, 400)] {
            let make = |size| fragments(size, each, at_once, order);
            let name = format!("{name}, {each} bytes, {at_once} at once");
            verdicts.linear(&name, 48 << 10, make, |frames| inspect(&program, true, frames));
        }
    }
    verdicts.check();
}
