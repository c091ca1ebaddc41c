//! The SYN proxy: what a flood makes of it, and what a client and a guest see of each other through it.

use weir_wire::{TcpFields, TcpOptions};

use super::*;
use crate::policy::SynProxy;

fn proxied(half_open: u32) -> Spec {
    Spec { syn_proxies: vec![(PortId(B), SynProxy { half_open })], ..spec(Action::Allow, vec![]) }
}

const PROXIED: Fate = Err(DropReason::SynProxied);

/// Sends what must be absorbed; returns what the engine says instead, by port.
fn absorbed(world: &mut World, frame: &Frame, from: u16, to: u16) -> Vec<(u16, Packet)> {
    assert_eq!(world.send(frame, from, to), PROXIED);
    let said = world.replies();
    assert!(said.iter().all(|(_, packet)| weir_wire::checksum::verify_l4(packet)));
    said
}

/// A client's handshake up to its acknowledgment; returns the cookie.
fn cookie(world: &mut World, port: u16) -> u32 {
    let options = [2, 4, 5, 180, 4, 2, 3, 3, 7, 0, 0, 0];
    let syn = crate::testing::Seg { flags: TCP_SYN, seq: 1000, options: &options, ..Default::default() };
    let said = absorbed(world, &Frame::segment(A4, port, B4, 80, syn), A, B);
    let [(A, packet)] = said.as_slice() else { panic!("{said:?}") };
    let tcp = packet.tcp().unwrap();
    assert_eq!((tcp.flags, tcp.ack, tcp.window), (TCP_SYN | TCP_ACK, 1001, 0));
    assert_eq!((tcp.source_port, tcp.destination_port), (80, port));
    assert_eq!(packet.tcp_options(), [2, 4, 5, 180]);
    tcp.seq
}

/// A whole connection: what the client counts more than the guest.
fn connect(world: &mut World, port: u16) -> u32 {
    let cookie = cookie(world, port);
    let said = absorbed(world, &seg(A4, port, B4, 80, TCP_ACK, 1001, cookie + 1, b""), A, B);
    let [(B, syn)] = said.as_slice() else { panic!("{said:?}") };
    let tcp = syn.tcp().unwrap();
    assert_eq!((tcp.flags, tcp.seq, tcp.source_port, tcp.destination_port), (TCP_SYN, 1000, port, 80));
    assert_eq!(syn.tcp_options(), [2, 4, 5, 180]);
    let said = absorbed(world, &seg(B4, 80, A4, port, TCP_SYN | TCP_ACK, 77, 1001, b""), B, A);
    let [(A, window), (B, ack)] = said.as_slice() else { panic!("{said:?}") };
    let [window, ack] = [window, ack].map(|packet| packet.tcp().unwrap());
    assert_eq!((window.flags, window.seq, window.ack), (TCP_ACK, cookie + 1, 1001));
    assert!(window.window > 0);
    assert_eq!((ack.flags, ack.seq, ack.ack), (TCP_ACK, 1001, 78));
    cookie.wrapping_sub(77)
}

/// Sends a frame and returns the numbers with which it leaves.
fn through(world: &mut World, frame: &Frame, from: u16, to: u16) -> TcpFields {
    sent_on(world, frame, from, to).tcp().unwrap()
}

/// Sends a frame and returns it as it leaves.
fn sent_on(world: &mut World, frame: &Frame, from: u16, to: u16) -> Packet {
    let mut packet = frame.packet_in(from, &mut world.pool);
    assert!(!world.carry(&mut packet, to), "the short way knows no numbers");
    packet.parse().unwrap();
    let Entered::Go(packet, ticket) = world.engine.enter(world.now, packet, SWITCH, &mut world.pool) else { panic!() };
    match world.engine.inspect(world.now, packet, ticket, PortId(to), &mut world.pool) {
        Inspected::Forward(cleared) => {
            assert!(weir_wire::checksum::verify_l4(cleared.packet()));
            cleared.into_packet()
        }
        Inspected::Dropped(_, why) => panic!("{why:?}"),
        Inspected::Wait(..) => panic!("it waits"),
    }
}

#[test]
fn a_client_that_completes_its_handshake_talks_to_the_guest() {
    let mut world = World::new(&proxied(0));
    let offset = connect(&mut world, 4000);
    for n in 0..3u32 {
        let asks = seg(A4, 4000, B4, 80, TCP_ACK, 1001 + n, 78u32.wrapping_add(offset + n), b"?");
        assert_eq!(through(&mut world, &asks, A, B).ack, 78 + n);
        let answers = seg(B4, 80, A4, 4000, TCP_ACK, 78 + n, 1002 + n, b"!");
        assert_eq!(through(&mut world, &answers, B, A).seq, 78u32.wrapping_add(offset + n));
    }
    let ends = seg(B4, 80, A4, 4000, TCP_FIN | TCP_ACK, 81, 1004, b"");
    assert_eq!(through(&mut world, &ends, B, A).seq, 81u32.wrapping_add(offset));
    assert_eq!(world.engine.syn_proxy_counters().completed, 1);
}

/// A segment with options and a window.
fn told(way: u16, fields: (u8, u32, u32, u16), options: &TcpOptions) -> Frame {
    let (flags, seq, ack, window) = fields;
    let options = options.bytes();
    let seg = crate::testing::Seg { flags, seq, ack, window, options: &options, ..Default::default() };
    if way == A { Frame::segment(A4, 4000, B4, 80, seg) } else { Frame::segment(B4, 80, A4, 4000, seg) }
}

fn stamped(value: u32, echo: u32) -> TcpOptions {
    TcpOptions { timestamps: Some((value, echo)), ..TcpOptions::default() }
}

/// A client with everything, and a guest that answers as told; what the client is told, and what the guest is.
fn agree(world: &mut World, guest: TcpOptions) -> [(TcpFields, TcpOptions); 4] {
    let options = TcpOptions { mss: Some(1400), scale: Some(9), sack_permitted: true, timestamps: Some((500, 0)) };
    let of = |said: &[(u16, Packet)], at: usize, to: u16| {
        assert_eq!(said[at].0, to);
        (said[at].1.tcp().unwrap(), TcpOptions::of(said[at].1.tcp_options()))
    };
    let said = absorbed(world, &told(A, (TCP_SYN, 1000, 0, 64_000), &options), A, B);
    let answer = of(&said, 0, A);
    let (cookie, ours) = (answer.0.seq, answer.1.timestamps.unwrap().0);
    let forgetful = told(A, (TCP_ACK, 1001, cookie.wrapping_add(1), 200), &TcpOptions::default());
    assert_eq!(world.send(&forgetful, A, B), Err(DropReason::TcpMidstream), "it had timestamps");
    let ack = told(A, (TCP_ACK, 1001, cookie.wrapping_add(1), 200), &stamped(510, ours));
    let said = absorbed(world, &ack, A, B);
    let syn = of(&said, 0, B);
    let said = absorbed(world, &told(B, (TCP_SYN | TCP_ACK, 77, 1001, 60_000), &guest), B, A);
    [answer, syn, of(&said, 0, A), of(&said, 1, B)]
}

#[test]
fn a_client_with_timestamps_keeps_its_window_scale_and_its_selective_acknowledgments() {
    let mut spec = proxied(0);
    spec.settings.midstream_grace = std::time::Duration::ZERO;
    let mut world = World::new(&spec);
    let guest =
        TcpOptions { mss: Some(1300), scale: Some(7), sack_permitted: true, timestamps: Some((9_000_000, 510)) };
    let [answer, syn, opening, ack] = agree(&mut world, guest);
    let (cookie, (ours, _)) = (answer.0.seq, answer.1.timestamps.unwrap());
    assert_eq!((answer.1.mss, answer.1.scale, answer.1.sack_permitted), (Some(1460), Some(7), true));
    let asked = TcpOptions { mss: Some(1380), scale: Some(9), sack_permitted: true, timestamps: Some((510, 0)) };
    assert_eq!((syn.1, syn.0.window), (asked, u16::MAX), "200 times 512");
    assert_eq!((opening.0.window, opening.1), (60_000 >> 7, stamped(ours, 510)));
    assert_eq!((ack.0.window, ack.1), (200, stamped(510, 9_000_000)));
    // The guest's time goes on from where ours stood, and the client's echo of it comes back in the guest's.
    let data = told(B, (TCP_ACK, 78, 1001, 500), &stamped(9_000_030, 510));
    let packet = sent_on(&mut world, &data, B, A);
    assert_eq!(TcpOptions::of(packet.tcp_options()), stamped(ours.wrapping_add(30), 510));
    assert_eq!(packet.tcp().map(|tcp| (tcp.seq, tcp.window)), Some((cookie.wrapping_add(1), 500)));
    let mut options = stamped(540, ours.wrapping_add(30)).bytes();
    let edges = [cookie.wrapping_add(11), cookie.wrapping_add(21)].map(u32::to_be_bytes).concat();
    options.extend([&[1, 1, 5, 10][..], &edges].concat());
    let seg = crate::testing::Seg {
        flags: TCP_ACK,
        seq: 1001,
        ack: cookie.wrapping_add(1),
        options: &options,
        ..Default::default()
    };
    let packet = sent_on(&mut world, &Frame::segment(A4, 4000, B4, 80, seg), A, B);
    assert_eq!(TcpOptions::of(packet.tcp_options()), stamped(540, 9_000_030));
    assert_eq!(packet.tcp_options()[16..24], [88u32, 98].map(u32::to_be_bytes).concat());
    // The next client is told what this guest has agreed to.
    world.replies();
    let said = absorbed(
        &mut world,
        &Frame::segment(A4, 4001, B4, 80, crate::testing::Seg { flags: TCP_SYN, ..Default::default() }),
        A,
        B,
    );
    assert_eq!(TcpOptions::of(said[0].1.tcp_options()).mss, Some(1300));
}

#[test]
fn a_guest_that_agrees_to_less_is_told_windows_that_it_understands() {
    let mut spec = proxied(0);
    spec.settings.midstream_grace = std::time::Duration::ZERO;
    let mut world = World::new(&spec);
    let [answer, _, opening, ack] = agree(&mut world, TcpOptions::default());
    assert_eq!(answer.1.scale, Some(7), "nobody knows yet");
    assert_eq!((opening.0.window, ack.0.window), (60_000 >> 7, u16::MAX), "200 times 512 do not fit");
    let data = seg(B4, 80, A4, 4000, TCP_ACK, 78, 1001, b"x");
    assert_eq!(sent_on(&mut world, &data, B, A).tcp().map(|tcp| tcp.window), Some(u16::MAX >> 7));
    let heard = told(A, (TCP_ACK, 1001, answer.0.seq.wrapping_add(2), 3), &TcpOptions::default());
    assert_eq!(sent_on(&mut world, &heard, A, B).tcp().map(|tcp| tcp.window), Some(3 << 9));
    // It is known from here on, and clients are promised no more.
    let options = TcpOptions { mss: Some(1460), scale: Some(9), sack_permitted: true, timestamps: Some((5, 0)) };
    let seg = crate::testing::Seg { flags: TCP_SYN, options: &options.bytes(), ..Default::default() };
    let said = absorbed(&mut world, &Frame::segment(A4, 4001, B4, 80, seg), A, B);
    assert_eq!(TcpOptions::of(said[0].1.tcp_options()), TcpOptions { mss: Some(1460), ..TcpOptions::default() });
    // Another guest may be there some time later.
    world.pass_time(601);
    let seg = crate::testing::Seg { flags: TCP_SYN, options: &options.bytes(), ..Default::default() };
    let said = absorbed(&mut world, &Frame::segment(A4, 4002, B4, 80, seg), A, B);
    assert_eq!(TcpOptions::of(said[0].1.tcp_options()).scale, Some(7));
}

#[test]
fn a_client_that_asks_for_little_takes_nothing_from_those_behind_it() {
    let mut world = World::new(&proxied(0));
    connect(&mut world, 5000);
    let options = TcpOptions { mss: Some(1460), scale: Some(9), sack_permitted: true, timestamps: Some((5, 0)) };
    let seg = crate::testing::Seg { flags: TCP_SYN, options: &options.bytes(), ..Default::default() };
    let said = absorbed(&mut world, &Frame::segment(A4, 4000, B4, 80, seg), A, B);
    let answer = TcpOptions::of(said[0].1.tcp_options());
    assert_eq!((answer.scale, answer.sack_permitted, answer.timestamps.is_some()), (Some(7), true, true));
}

#[test]
fn an_error_about_what_the_guest_sent_speaks_of_its_own_number() {
    let mut world = World::new(&proxied(0));
    let offset = connect(&mut world, 4000);
    let answer = seg(B4, 80, A4, 4000, TCP_ACK, 78, 1001, b"long");
    let sent = sent_on(&mut world, &answer, B, A);
    let number = sent.tcp().unwrap().seq;
    assert_eq!(number, 78u32.wrapping_add(offset));
    // A router on the way to the client has seen the client's number.
    let error = weir_wire::build::IcmpError::TooBig(1400);
    let mut told = weir_wire::build::icmp_error(&sent, A4, error, &mut world.pool).unwrap();
    told.port = PortId(A);
    let Entered::Go(told, ticket) = world.engine.enter(world.now, told, SWITCH, &mut world.pool) else { panic!() };
    let inspected = world.engine.inspect(world.now, told, ticket, PortId(B), &mut world.pool);
    let Inspected::Forward(cleared) = inspected else { panic!("{inspected:?}") };
    assert!(weir_wire::checksum::verify_l4(cleared.packet()));
    assert_eq!(cleared.packet().transport()[32..36], 78u32.to_be_bytes());
}

#[test]
fn a_flood_leaves_no_trace_and_no_guess_is_believed() {
    let mut world = World::new(&proxied(0));
    for n in 0..100_000u32 {
        let source = std::net::IpAddr::V4((0x0b00_0000 + n).into());
        assert_eq!(world.send(&seg(source, 5, B4, 80, TCP_SYN, n, 0, b""), A, B), PROXIED);
        let said = world.replies();
        assert_eq!((said.len(), said[0].0), (1, A), "the guest hears nothing");
        said.into_iter().for_each(|(_, packet)| world.pool.give(packet.buffer));
    }
    assert_eq!(world.engine.flow_count(), 0);
    assert_eq!(world.engine.opened(PortId(B)).2, 0);
    connect(&mut world, 4000);
    world.pass_time(100);
    for n in 0..1000 {
        let guess = seg(A4, 5000, B4, 80, TCP_ACK, 1, n * 7919, b"");
        assert_eq!(world.send(&guess, A, B), Err(DropReason::TcpMidstream));
    }
    assert_eq!(world.engine.syn_proxy_counters().refused, 1000);
}

#[test]
fn a_guest_that_is_slow_is_asked_again_and_one_that_refuses_resets_its_client() {
    let mut world = World::new(&proxied(0));
    let number = cookie(&mut world, 4000);
    absorbed(&mut world, &seg(A4, 4000, B4, 80, TCP_ACK, 1001, number + 1, b""), A, B);
    let probe = seg(A4, 4000, B4, 80, TCP_ACK, 1000, number + 1, b"");
    assert!(absorbed(&mut world, &probe, A, B).is_empty(), "not that soon");
    world.pass_time(1);
    let said = absorbed(&mut world, &probe, A, B);
    assert_eq!(said[0].1.tcp().map(|tcp| (said[0].0, tcp.flags, tcp.seq)), Some((B, TCP_SYN, 1000)));
    let said = absorbed(&mut world, &seg(B4, 80, A4, 4000, TCP_RST | TCP_ACK, 0, 1001, b""), B, A);
    let reset = said[0].1.tcp().unwrap();
    assert_eq!((said[0].0, reset.flags, reset.seq), (A, TCP_RST | TCP_ACK, number + 1));
}

#[test]
fn the_proxy_comes_on_at_its_threshold_and_goes_off_behind_it() {
    let mut world = World::new(&proxied(20));
    for port in 1..=20 {
        assert_eq!(world.send(&seg(A4, port, B4, 80, TCP_SYN, 5, 0, b""), A, B), Ok(()));
    }
    assert_eq!(world.send(&seg(A4, 21, B4, 80, TCP_SYN, 5, 0, b""), A, B), PROXIED);
    assert!(world.events().contains(&"notice syn-proxy".to_owned()));
    assert_eq!(world.replies().len(), 1);
    connect(&mut world, 4000);
    world.pass_time(61);
    world.tick();
    assert_eq!(world.engine.opened(PortId(B)).2, 0);
    assert_eq!(world.send(&seg(A4, 22, B4, 80, TCP_SYN, 5, 0, b""), A, B), Ok(()));
}

#[test]
fn a_connection_that_the_policy_refuses_is_refused_and_not_answered() {
    let mut refusing = proxied(0);
    refusing.rules = vec![web_to_db(Action::Reject, PROTOCOL_TCP, 80)];
    let mut world = World::new(&refusing);
    assert_eq!(world.send(&seg(A4, 1, B4, 80, TCP_SYN, 5, 0, b""), A, B), Err(DropReason::PolicyReject));
    assert_eq!(world.replies()[0].1.tcp().map(|tcp| tcp.flags), Some(TCP_RST | TCP_ACK));
}

#[test]
fn a_change_of_policy_resets_a_client_in_its_own_numbers() {
    let mut world = World::new(&proxied(0));
    let offset = connect(&mut world, 4000);
    world.replies();
    let mut refusing = proxied(0);
    refusing.rules = vec![web_to_db(Action::Reject, PROTOCOL_TCP, 80)];
    world.install(&refusing);
    let asks = seg(A4, 4000, B4, 80, TCP_ACK, 1001, 78u32.wrapping_add(offset), b"?");
    assert_eq!(world.send(&asks, A, B), Err(DropReason::PolicyReject));
    let resets: Vec<_> = world.replies().iter().map(|(to, packet)| (*to, packet.tcp().unwrap().seq)).collect();
    assert!(resets.contains(&(A, 78u32.wrapping_add(offset))), "{resets:?}");
}
