//! vhost-user with a well-behaved front end: frames, marks, notifications, restarts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use guest::{Guest, ID, Socket, frame, serve};
use weir_ports::event::Epoll;
use weir_ports::vhost_user::features;
use weir_ports::vhost_user::frontend::queue::Layout;
use weir_ports::vhost_user::frontend::{Backing, Dialect, Frontend, FrontendConfig, RING_KINDS, pair};
use weir_ports::vhost_user::message::number as n;
use weir_ports::vhost_user::{Profile, Role, VhostUserConfig, VhostUserPort};
use weir_ports::{Armed, Port};
use weir_wire::{Checksum, DropReason, Offload, Packet, Pool, Segmentation};

const PLAIN: Offload = Offload { checksum: Checksum::Complete, segmentation: Segmentation::None };

/// Every way in which a front end may differ, one at a time.
fn variants() -> Vec<(&'static str, FrontendConfig)> {
    let base = FrontendConfig::default();
    let without = |bits: u64| FrontendConfig { features: base.features & !bits, ..base };
    vec![
        ("as QEMU", base),
        ("as User Mode Linux", FrontendConfig { dialect: Dialect::Uml, ..base }),
        ("header apart", FrontendConfig { layout: Layout::Apart, ..base }),
        ("indirect", FrontendConfig { layout: Layout::Indirect, ..base }),
        ("without EVENT_IDX", without(features::EVENT_IDX)),
        ("without MRG_RXBUF, long chains", FrontendConfig { receive_chain: 34, ..without(features::MRG_RXBUF) }),
        ("legacy", FrontendConfig { receive_chain: 34, ..without(features::MRG_RXBUF | features::VERSION_1) }),
        ("without PROTOCOL_FEATURES", without(features::PROTOCOL_FEATURES)),
        ("tiny buffers", FrontendConfig { buffer_len: 128, ..base }),
        ("small ring", FrontendConfig { ring_size: 16, ..base }),
        ("large ring", FrontendConfig { ring_size: 4096, ..base }),
        ("in order", with(features::IN_ORDER)),
        ("packed", with(features::RING_PACKED)),
        ("packed, in order", with(RING_KINDS)),
        ("packed, header apart", FrontendConfig { layout: Layout::Apart, ..with(features::RING_PACKED) }),
        ("packed, indirect, in order", FrontendConfig { layout: Layout::Indirect, ..with(RING_KINDS) }),
        ("packed, without EVENT_IDX", FrontendConfig { features: !(features::EVENT_IDX | features::IN_ORDER), ..base }),
        (
            "packed, without MRG_RXBUF, long chains",
            FrontendConfig { receive_chain: 34, features: !(features::MRG_RXBUF | features::IN_ORDER), ..base },
        ),
        ("packed, tiny buffers", FrontendConfig { buffer_len: 128, ..with(RING_KINDS) }),
        ("packed, odd ring", FrontendConfig { ring_size: 107, ..with(features::RING_PACKED) }),
    ]
}

fn with(kinds: u64) -> FrontendConfig {
    let base = FrontendConfig::default();
    FrontendConfig { features: base.features | kinds, ..base }
}

/// What says how a ring is driven: each kind of ring, with and without indices to say when to wake.
fn kinds() -> Vec<FrontendConfig> {
    let kinds = [0, features::IN_ORDER, features::RING_PACKED, RING_KINDS].map(with);
    let without =
        |config: FrontendConfig| FrontendConfig { features: config.features & !features::EVENT_IDX, ..config };
    kinds.into_iter().flat_map(|config| [config, without(config)]).collect()
}

#[test]
fn frames_of_all_sizes_pass_both_ways_with_every_kind_of_front_end() {
    for (name, config) in variants() {
        let mut guest = Guest::new(config);
        assert_eq!(guest.frontend.agreed.has(features::RING_PACKED), name.starts_with("packed"));
        for (round, len) in [14, 60, 64, 128, 500, 1500, 1514, 1518].into_iter().cycle().take(200).enumerate() {
            let bytes = frame(len, round as u8);
            assert!(guest.guest_sends(&bytes), "{name}");
            assert_eq!(guest.received(), [(bytes.clone(), PLAIN)], "{name}, {len} bytes from the guest");
            guest.tx(&[(&bytes, PLAIN)]);
            let got = guest.guest_received();
            assert_eq!(got.len(), 1, "{name}, {len} bytes to the guest, {:?}", guest.port.counters());
            assert_eq!(got[0].1, bytes, "{name}, {len} bytes to the guest");
        }
        assert_eq!(guest.port.counters().rx_packets, 200, "{name}");
        assert_eq!(guest.port.counters().tx_packets, 200, "{name}");
        assert_eq!(guest.pool.outstanding(), 0, "{name}");
        assert_eq!(guest.problem(), "", "{name}");
    }
}

#[test]
fn long_frames_pass_from_guest_to_guest_without_a_buffer_for_their_rest() {
    for (name, config) in variants() {
        let (mut a, mut b) = (Guest::new(config), Guest::new(config));
        for (round, len) in [60, 384, 385, 1000, 1514, 61].into_iter().cycle().take(100).enumerate() {
            let bytes = frame(len, round as u8);
            assert!(a.frontend.send(0, &[0; 12], &bytes), "{name}");
            a.frontend.flush(0);
            let mut packets = Vec::new();
            assert_eq!(a.port.rx_parts(ID, &mut a.pool, &mut packets, 64), 1, "{name}");
            assert_eq!((packets[0].len(), packets[0].is_whole()), (len, len <= 384), "{name}");
            assert!(packets[0].bytes().len() <= 384);
            b.port.tx_from(&a.port, &mut a.pool, &mut packets);
            b.port.flush();
            a.port.release();
            a.port.flush();
            let got = b.guest_received();
            assert_eq!(got.len(), 1, "{name} {:?}", b.port.counters());
            assert_eq!(got[0].1, bytes, "{name}, {len} bytes");
            assert_eq!(a.pool.outstanding(), 0);
        }
        assert_eq!((a.port.counters().rx_packets, b.port.counters().tx_packets), (100, 100), "{name}");
    }
}

#[test]
fn a_packet_is_made_whole_until_its_chain_is_given_back() {
    for (name, config) in variants() {
        let mut guest = Guest::new(config);
        for (len, supers) in [(1514, false), (9000, true)] {
            if supers && (name.contains("tiny buffers") || name == "small ring") {
                continue;
            }
            let bytes = frame(len, 3);
            assert!(guest.frontend.send(0, &[0; 12], &bytes) && guest.frontend.send(0, &[0; 12], &bytes), "{name}");
            guest.frontend.flush(0);
            let mut packets = Vec::new();
            let got = guest.port.rx_parts(ID, &mut guest.pool, &mut packets, 64);
            assert_eq!(got, 2, "{name}, {len} bytes, {:?}", guest.port.counters());
            let mut late = packets.pop().unwrap();
            let mut early = packets.pop().unwrap();
            assert!(guest.port.fill(&mut early, &mut guest.pool) && early.is_whole(), "{name}");
            assert_eq!(early.bytes(), bytes, "{name}");
            guest.port.release();
            assert!(!guest.port.fill(&mut late, &mut guest.pool) && !late.is_whole(), "{name}");
            assert_eq!(late.bytes(), &bytes[..late.bytes().len()]);
            // Nobody sends half a packet.
            let mut packets = vec![late];
            let drops = guest.port.counters().tx_dropped.total();
            guest.port.tx(&mut guest.pool, &mut packets);
            assert_eq!(guest.port.counters().tx_dropped.total(), drops + 1, "{name}");
            assert_eq!(guest.port.counters().tx_packets, 0, "{name}");
            guest.pool.give(early.buffer);
            assert_eq!(guest.pool.outstanding(), 0);
        }
    }
}

#[test]
fn bursts_keep_their_order_and_stop_at_the_room() {
    for config in kinds() {
        let mut guest = Guest::new(config);
        for i in 0..100 {
            assert!(guest.frontend.send(0, &[0; 12], &frame(60, i)));
        }
        guest.frontend.flush(0);
        let mut burst = Vec::new();
        for expected in [64, 36, 0] {
            assert_eq!(guest.port.rx(ID, &mut guest.pool, &mut burst, 64), expected);
        }
        for (i, packet) in burst.iter().enumerate() {
            assert_eq!(packet.bytes(), frame(60, i as u8));
        }
    }
}

#[test]
fn a_super_segment_passes_from_guest_to_guest_whole() {
    for (name, config) in
        variants().into_iter().filter(|(name, _)| !name.contains("tiny buffers") && *name != "small ring")
    {
        let (mut a, mut b) = (Guest::new(config), Guest::new(config));
        let bytes = frame(65000, 7);
        let mut header = [0; 12];
        header[0] = 1;
        header[1] = 1;
        header[4..6].copy_from_slice(&1448u16.to_le_bytes());
        header[6..8].copy_from_slice(&34u16.to_le_bytes());
        header[8..10].copy_from_slice(&16u16.to_le_bytes());
        assert!(a.frontend.send(0, &header, &bytes), "{name}");
        a.frontend.flush(0);
        let mut packets = Vec::new();
        a.port.rx_parts(ID, &mut a.pool, &mut packets, 64);
        assert_eq!(packets.len(), 1, "{name} {:?}", a.port.counters());
        let offload = Offload {
            checksum: Checksum::Partial { start: 34, offset: 16 },
            segmentation: Segmentation::Tcp4 { size: 1448, ecn: false },
        };
        assert_eq!(packets[0].offload, offload);
        assert!(b.port.capabilities().accepts(offload), "{name}");
        b.port.tx_from(&a.port, &mut a.pool, &mut packets);
        b.port.flush();
        let got = b.guest_received();
        assert_eq!(got.len(), 1, "{name} {:?}", b.port.counters());
        assert_eq!(got[0].1, bytes, "{name}");
        assert_eq!(got[0].0[..2], header[..2], "{name}");
        assert_eq!(got[0].0[4..10], header[4..10], "{name}");
        assert_eq!(b.port.counters().tx_cut, 0);
        assert_eq!(a.pool.outstanding(), 0);
    }
}

#[test]
fn capabilities_are_what_the_guest_took() {
    let mut guest = Guest::new(FrontendConfig { features: !features::GUEST_TSO4, ..FrontendConfig::default() });
    let caps = guest.port.capabilities();
    assert!(caps.checksum && caps.tso6 && !caps.tso4);
    guest.reconnect(FrontendConfig { features: !features::GUEST_CSUM, ..FrontendConfig::default() });
    assert_eq!(guest.port.capabilities(), weir_wire::Capabilities::default());
}

#[test]
fn a_full_ring_drops_what_does_not_fit_and_counts_it() {
    let mut guest = Guest::new(FrontendConfig { ring_size: 16, ..FrontendConfig::default() });
    let bytes = frame(60, 1);
    guest.tx(&[(bytes.as_slice(), PLAIN); 20]);
    assert_eq!(guest.port.counters().tx_packets, 16);
    assert_eq!(guest.tx_dropped(DropReason::TxFull), 4);
    assert_eq!(guest.guest_received().len(), 16);
    guest.assert_works();
}

#[test]
fn a_frame_that_finds_too_few_buffers_takes_none() {
    let config = FrontendConfig { ring_size: 16, buffer_len: 128, ..FrontendConfig::default() };
    let mut guest = Guest::new(config);
    let (long, short) = (frame(1500, 1), frame(60, 2));
    // The first takes 12 buffers of 16, the second finds 4, the third takes one of them.
    guest.tx(&[(&long, PLAIN), (&long, PLAIN), (&short, PLAIN)]);
    assert_eq!(guest.tx_dropped(DropReason::TxFull), 1);
    let got: Vec<_> = guest.guest_received().into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(got, [long, short]);
}

#[test]
fn without_mergeable_buffers_a_long_frame_is_dropped_as_too_long() {
    let config = FrontendConfig { features: !features::MRG_RXBUF, buffer_len: 128, ..FrontendConfig::default() };
    let mut guest = Guest::new(config);
    guest.tx(&[(&frame(500, 1), PLAIN), (&frame(60, 2), PLAIN)]);
    assert_eq!(guest.tx_dropped(DropReason::TxTooLong), 1);
    assert_eq!(guest.guest_received().len(), 1);
}

#[test]
fn a_frame_beyond_the_mtu_is_dropped() {
    let mut guest = Guest::with(FrontendConfig::default(), |config| config.mtu = 1400);
    guest.tx(&[(&frame(1400 + 14 + 8 + 1, 1), PLAIN), (&frame(1414, 2), PLAIN)]);
    assert_eq!(guest.tx_dropped(DropReason::TxTooLong), 1);
    assert_eq!(guest.guest_received().len(), 1);
    assert_eq!(guest.port.status().mtu, 1400);
}

#[test]
fn an_empty_pool_drops_frames_and_counts_them() {
    let mut guest = Guest::new(FrontendConfig::default());
    guest.pool = Pool::new(weir_wire::buffer::PoolLimits { frames: 1, supers: 0 });
    for _ in 0..3 {
        assert!(guest.frontend.send(0, &[0; 12], &frame(60, 1)));
    }
    guest.frontend.flush(0);
    assert_eq!(guest.rx().len(), 1);
    assert_eq!(guest.rx_dropped(DropReason::NoBuffer), 2);
}

#[test]
fn nobody_is_notified_who_does_not_want_it() {
    for config in kinds() {
        let mut guest = Guest::new(config);
        let queue = guest.frontend.queue(0).unwrap();
        queue.call().drain();
        queue.request_call(false);
        guest.tx(&[(&frame(60, 1), PLAIN)]);
        let queue = guest.frontend.queue(0).unwrap();
        let spurious = queue.call().drain();
        guest.guest_received();
        let queue = guest.frontend.queue(0).unwrap();
        assert!(!queue.request_call(true));
        let kicks = guest.port.counters().kicks;
        guest.tx(&[(&frame(60, 1), PLAIN), (&frame(60, 2), PLAIN)]);
        let queue = guest.frontend.queue(0).unwrap();
        assert_eq!(queue.call().drain(), 1, "one call for a burst");
        assert_eq!(guest.port.counters().kicks, kicks + 1);
        // The first decision after a start may be a call too many.
        assert!(spurious <= 1);
        guest.guest_received();
        let queue = guest.frontend.queue(0).unwrap();
        queue.request_call(false);
        guest.tx(&[(&frame(60, 1), PLAIN)]);
        assert_eq!(guest.frontend.queue(0).unwrap().call().drain(), 0);
    }
}

#[test]
fn a_driver_whose_call_descriptor_is_replaced_is_woken_to_look() {
    let mut guest = Guest::new(FrontendConfig::default());
    guest.assert_works();
    let call = weir_ports::event::EventFd::new().unwrap();
    let Guest { frontend, port, .. } = &mut guest;
    frontend.tell(n::SET_VRING_CALL, &0u64.to_ne_bytes(), &[call.as_fd()], &mut || port.on_event()).unwrap();
    assert_eq!(call.drain(), 1);
    guest.frontend.queue(0).unwrap().request_call(true);
    guest.tx(&[(&frame(60, 1), PLAIN)]);
    assert_eq!(call.drain(), 1);
}

#[test]
fn a_sleeping_port_is_woken_by_a_frame_and_a_polling_one_is_not() {
    for config in kinds() {
        let mut guest = Guest::new(config);
        let epoll = Epoll::new().unwrap();
        epoll.add(guest.port.event_fd(), 1).unwrap();
        let mut tokens = Vec::new();
        for round in 0..300 {
            assert_eq!(guest.port.arm(), Armed::Idle, "round {round}");
            epoll.wait(&mut tokens, Some(Duration::ZERO)).unwrap();
            assert!(tokens.is_empty(), "round {round}: woken by nothing");
            assert!(guest.guest_sends(&frame(60, 1)));
            epoll.wait(&mut tokens, Some(Duration::ZERO)).unwrap();
            assert_eq!(tokens, [1], "round {round}: not woken");
            guest.port.on_event();
            guest.port.disarm();
            assert_eq!(guest.received().len(), 1);
            let kick = guest.frontend.queue(1).unwrap().kick();
            kick.drain();
            assert!(guest.guest_sends(&frame(60, 2)));
            assert_eq!(guest.frontend.queue(1).unwrap().kick().drain(), 0, "round {round}: kicked while polling");
            assert_eq!(guest.received().len(), 1);
        }
    }
}

#[test]
fn arming_sees_what_came_just_before() {
    let mut guest = Guest::new(FrontendConfig::default());
    assert_eq!(guest.port.arm(), Armed::Idle);
    assert!(guest.guest_sends(&frame(60, 1)));
    assert_eq!(guest.port.arm(), Armed::Ready);
    guest.received();
    assert_eq!(guest.port.arm(), Armed::Idle);
}

#[test]
fn several_queue_pairs_are_all_served() {
    let config = FrontendConfig { queue_pairs: 4, ..FrontendConfig::default() };
    let mut guest = Guest::with(config, |config| config.profile = Profile::Dpdk);
    for pair in 0..4 {
        assert!(guest.frontend.send(pair, &[0; 12], &frame(60, pair as u8)));
        guest.frontend.flush(pair);
    }
    assert_eq!(guest.received().len(), 4);
    let mut packets: Vec<_> = (0..40)
        .map(|hash| Packet { hash, ..Packet::new(guest.pool.copy(&frame(60, 1)).unwrap(), ID, PLAIN) })
        .collect();
    guest.port.tx(&mut guest.pool, &mut packets);
    guest.port.flush();
    for pair in 0..4 {
        assert_eq!(guest.frontend.receive(pair, |_, _| {}), 10, "pair {pair}");
    }
    assert!(guest.port.status().mode.contains("4 queue pairs"));
}

#[test]
fn a_disabled_ring_is_drained_and_takes_nothing() {
    let mut guest = Guest::new(FrontendConfig::default());
    for ring in 0..2 {
        let Guest { frontend, port, .. } = &mut guest;
        frontend.tell(n::SET_VRING_ENABLE, &pair(ring, 0), &[], &mut || port.on_event()).unwrap();
    }
    assert!(!guest.port.link());
    assert!(guest.guest_sends(&frame(60, 1)));
    assert!(guest.received().is_empty());
    assert_eq!(guest.rx_dropped(DropReason::LinkDown), 1);
    assert_eq!(guest.frontend.queue(1).unwrap().reap(), 1);
    guest.tx(&[(&frame(60, 1), PLAIN)]);
    assert_eq!(guest.tx_dropped(DropReason::LinkDown), 1);
    for ring in 0..2 {
        let Guest { frontend, port, .. } = &mut guest;
        frontend.tell(n::SET_VRING_ENABLE, &pair(ring, 1), &[], &mut || port.on_event()).unwrap();
    }
    guest.assert_works();
}

#[test]
fn a_stopped_ring_goes_on_where_it_stopped() {
    let mut guest = Guest::new(FrontendConfig::default());
    for _ in 0..10 {
        guest.assert_works();
    }
    let Guest { frontend, port, .. } = &mut guest;
    for ring in 0..2 {
        assert_eq!(frontend.stop_ring(ring, &mut || port.on_event()).unwrap(), 10);
    }
    assert!(!port.link());
    // Posted while the rings stand still.
    assert!(frontend.send(0, &[0; 12], &frame(60, 3)));
    frontend.flush(0);
    frontend.start_rings(&mut || port.on_event()).unwrap();
    assert_eq!(guest.received(), [(frame(60, 3), PLAIN)]);
    guest.assert_works();
}

#[test]
fn memory_is_replaced_while_traffic_runs() {
    let mut guest = Guest::new(FrontendConfig::default());
    for round in 0..50 {
        assert!(guest.frontend.send(0, &[0; 12], &frame(60, round)));
        guest.frontend.flush(0);
        let Guest { frontend, port, .. } = &mut guest;
        frontend.share_memory(&mut || port.on_event()).unwrap();
        assert_eq!(guest.received().len(), 1);
        guest.assert_works();
    }
}

#[test]
fn a_front_end_that_comes_again_is_served_again() {
    let mut guest = Guest::new(FrontendConfig::default());
    for round in 0..20 {
        guest.assert_works();
        guest.reconnect(FrontendConfig::default());
        let sessions = guest.port.status().details.into_iter().find(|(name, _)| name == "sessions").unwrap().1;
        assert_eq!(sessions, (round + 2).to_string());
    }
}

#[test]
fn a_second_front_end_waits_and_is_refused_without_harm_to_the_first() {
    let mut guest = Guest::new(FrontendConfig::default());
    let second = std::os::unix::net::UnixStream::connect(guest.socket.path()).unwrap();
    second.set_nonblocking(true).unwrap();
    serve(&mut guest.port);
    guest.assert_works();
    // Nothing yet; then, after a second, closed.
    let mut byte = [0];
    assert_eq!(std::io::Read::read(&mut &second, &mut byte).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let epoll = Epoll::new().unwrap();
    epoll.add(guest.port.event_fd(), 1).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while std::io::Read::read(&mut &second, &mut byte).is_err() && Instant::now() < end {
        epoll.wait(&mut Vec::new(), Some(Duration::from_secs(2))).unwrap();
        guest.port.on_event();
    }
    assert_eq!(std::io::Read::read(&mut &second, &mut byte).unwrap(), 0);
    assert!(guest.port.status().details.contains(&("refused".to_string(), "1".to_string())));
    guest.assert_works();
}

#[test]
fn a_front_end_that_waited_is_served_when_the_first_one_goes() {
    let mut guest = Guest::new(FrontendConfig::default());
    let second = std::os::unix::net::UnixStream::connect(guest.socket.path()).unwrap();
    serve(&mut guest.port);
    let Guest { frontend, port, .. } = &mut guest;
    let fresh = Frontend::unstarted(second, FrontendConfig::default()).unwrap();
    *frontend = fresh;
    serve(port);
    frontend.agree(&mut || port.on_event()).unwrap();
    frontend.share_memory(&mut || port.on_event()).unwrap();
    frontend.start_rings(&mut || port.on_event()).unwrap();
    guest.assert_works();
}

#[test]
fn as_a_client_it_finds_its_front_end_when_that_appears_and_again_after_it_went() {
    let socket = Socket::new();
    let config = VhostUserConfig { role: Role::Client, ..VhostUserConfig::new(socket.path()) };
    let mut port = VhostUserPort::new(config).unwrap();
    serve(&mut port);
    assert!(port.status().problem.contains("cannot connect"), "{:?}", port.status());
    for _ in 0..3 {
        let frontend = Frontend::listen(socket.path(), FrontendConfig::default(), &mut || port.on_event()).unwrap();
        serve(&mut port);
        let mut guest = Guest { frontend, port, pool: Pool::default(), socket: Socket::new() };
        guest.assert_works();
        port = guest.port;
        drop(guest.frontend);
        std::fs::remove_file(socket.path()).unwrap();
        serve(&mut port);
        assert!(!port.link());
    }
}

#[test]
fn a_client_without_front_end_costs_next_to_nothing() {
    let socket = Socket::new();
    let config = VhostUserConfig { role: Role::Client, ..VhostUserConfig::new(socket.path()) };
    let mut port = VhostUserPort::new(config).unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(port.event_fd(), 1).unwrap();
    let (mut wakes, end) = (0, Instant::now() + Duration::from_millis(900));
    let mut tokens = Vec::new();
    while Instant::now() < end {
        epoll.wait(&mut tokens, Some(end.saturating_duration_since(Instant::now()))).unwrap();
        wakes += tokens.len();
        assert_eq!(port.arm(), Armed::Idle);
    }
    assert!((2..=6).contains(&wakes), "{wakes} wake-ups in 0.9 s");
}

#[test]
fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
    let socket = Socket::new();
    drop(std::os::unix::net::UnixListener::bind(socket.path()).unwrap());
    let port = VhostUserPort::new(VhostUserConfig::new(socket.path())).unwrap();
    let error = VhostUserPort::new(VhostUserConfig::new(socket.path())).unwrap_err();
    assert!(error.to_string().contains("somebody else listens there"), "{error}");
    drop(port);
    assert!(!socket.path().exists());
    std::fs::write(socket.path(), "precious").unwrap();
    let error = VhostUserPort::new(VhostUserConfig::new(socket.path())).unwrap_err();
    assert!(error.to_string().contains("not a socket"), "{error}");
    assert_eq!(std::fs::read(socket.path()).unwrap(), b"precious");
}

#[test]
fn the_socket_has_the_mode_it_was_given() {
    use std::os::unix::fs::PermissionsExt;
    let socket = Socket::new();
    let config = VhostUserConfig { socket_mode: Some(0o620), ..VhostUserConfig::new(socket.path()) };
    let _port = VhostUserPort::new(config).unwrap();
    assert_eq!(std::fs::metadata(socket.path()).unwrap().permissions().mode() & 0o777, 0o620);
}

#[test]
fn an_announcement_asked_for_comes_out_as_a_frame() {
    let mut guest = Guest::new(FrontendConfig::default());
    let mac = [0x52, 0x54, 0, 0, 0, 0x0a];
    let mut payload = [0; 8];
    payload[..6].copy_from_slice(&mac);
    let Guest { frontend, port, .. } = &mut guest;
    frontend.tell(n::SEND_RARP, &payload, &[], &mut || port.on_event()).unwrap();
    assert_eq!(guest.port.arm(), Armed::Ready);
    let got = guest.received();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].0[..14], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 0x0a, 0x80, 0x35]);
    assert!(guest.received().is_empty());
}

#[test]
fn writes_to_the_guest_are_logged_for_migration() {
    let mut guest = Guest::new(FrontendConfig::default());
    let Guest { frontend, port, .. } = &mut guest;
    let log = weir_ports::vhost_user::shared::memory_file(1 << 20).unwrap();
    let mut payload = (1u64 << 20).to_ne_bytes().to_vec();
    payload.extend(0u64.to_ne_bytes());
    frontend.request(n::SET_LOG_BASE, &payload, &[log.as_fd()], false).unwrap();
    assert_eq!(frontend.reply(&mut || port.on_event()).unwrap().request, n::SET_LOG_BASE);
    let features = frontend.agreed.0 | features::LOG_ALL;
    frontend.tell(n::SET_FEATURES, &features.to_ne_bytes(), &[], &mut || port.on_event()).unwrap();
    let place = frontend.queue(0).unwrap().place();
    let address = weir_ports::vhost_user::frontend::ring_address(0, place, true);
    frontend.tell(n::SET_VRING_ADDR, &address, &[], &mut || port.on_event()).unwrap();
    guest.tx(&[(&frame(1500, 1), PLAIN)]);
    let bitmap = std::fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&log))).unwrap();
    let marked = |guest: u64| bitmap[(guest / 4096 / 8) as usize] & (1 << (guest / 4096 % 8)) != 0;
    assert!(marked(place.buffer(0)), "the buffer");
    assert!(marked(place.used), "the used ring");
    assert!(!marked(place.buffer(8)), "a buffer that was not written");
    assert!(!marked(place.available));
    guest.assert_works();
}

#[test]
fn descriptors_in_flight_of_an_earlier_back_end_come_again() {
    let mut guest = Guest::new(FrontendConfig::default());
    let Guest { frontend, port, .. } = &mut guest;
    let mut payload = [0u8; 24];
    payload[16..18].copy_from_slice(&2u16.to_ne_bytes());
    payload[18..20].copy_from_slice(&256u16.to_ne_bytes());
    let reply = frontend.ask(n::GET_INFLIGHT_FD, &payload, &mut || port.on_event()).unwrap();
    assert_eq!((reply.payload.len(), reply.fds.len()), (24, 1));
    frontend.tell(n::SET_INFLIGHT_FD, &reply.payload, &[reply.fds[0].as_fd()], &mut || port.on_event()).unwrap();
    for ring in 0..2 {
        frontend.stop_ring(ring, &mut || port.on_event()).unwrap();
    }
    // Taken, as far as the front end knows, and never given back: the base says 1, the used index 0.
    assert!(frontend.send(0, &[0; 12], &frame(60, 9)));
    frontend.flush(0);
    let kick = frontend.queue(1).unwrap().kick().as_fd().try_clone_to_owned().unwrap();
    frontend.tell(n::SET_VRING_BASE, &pair(1, 1), &[], &mut || port.on_event()).unwrap();
    frontend.tell(n::SET_VRING_KICK, &1u64.to_ne_bytes(), &[kick.as_fd()], &mut || port.on_event()).unwrap();
    assert_eq!(guest.received(), [(frame(60, 9), PLAIN)]);
}

#[test]
fn the_configuration_space_tells_a_bare_driver_its_mac() {
    let mac = weir_wire::MacAddr([0x52, 0x54, 0, 1, 2, 3]);
    let config = FrontendConfig { dialect: Dialect::Uml, ..FrontendConfig::default() };
    let mut guest = Guest::with(config, |config| config.mac = Some(mac));
    assert!(guest.frontend.agreed.has(features::MAC | features::STATUS | features::MTU));
    let mut ask = |offset: u32, size: u32| {
        let mut payload = Vec::new();
        for field in [offset, size, 0] {
            payload.extend(field.to_ne_bytes());
        }
        payload.resize(12 + size.min(256) as usize, 0);
        let Guest { frontend, port, .. } = &mut guest;
        frontend.ask(n::GET_CONFIG, &payload, &mut || port.on_event()).unwrap().payload
    };
    assert_eq!(ask(0, 12)[12..], [0x52, 0x54, 0, 1, 2, 3, 1, 0, 1, 0, 0xdc, 0x05]);
    assert_eq!(ask(2, 4)[12..], [0, 1, 2, 3]);
    assert!(ask(250, 10).is_empty());
    assert!(ask(u32::MAX, u32::MAX).is_empty());
}

#[test]
fn a_ring_without_a_kick_descriptor_is_looked_at_by_a_timer() {
    let mut guest = Guest::new(FrontendConfig::default());
    let Guest { frontend, port, .. } = &mut guest;
    let polled = (1u64 | 1 << 8).to_ne_bytes();
    frontend.tell(n::SET_VRING_KICK, &polled, &[], &mut || port.on_event()).unwrap();
    assert_eq!(guest.port.arm(), Armed::Idle);
    assert!(guest.frontend.send(0, &[0; 12], &frame(60, 1)));
    guest.frontend.queue(1).unwrap().show();
    let epoll = Epoll::new().unwrap();
    epoll.add(guest.port.event_fd(), 1).unwrap();
    let mut tokens = Vec::new();
    epoll.wait(&mut tokens, Some(Duration::from_secs(10))).unwrap();
    assert_eq!(tokens, [1]);
    assert_eq!(guest.received().len(), 1);
}

#[test]
fn a_super_segment_is_cut_for_a_guest_that_does_not_take_it() {
    use weir_wire::TcpFields;
    use weir_wire::build::{Ends, packet, tcp};
    let mut guest = Guest::new(FrontendConfig { features: !features::GUEST_TSO4, ..FrontendConfig::default() });
    let data = frame(10_000, 5);
    let bytes = tcp(Ends::ipv4(1, 2), TcpFields { seq: 1000, ..TcpFields::default() }, &[], &data);
    let mut whole = Packet::new(guest.pool.copy(&bytes).unwrap(), ID, PLAIN);
    whole.offload = Offload {
        checksum: Checksum::Partial { start: 34, offset: 16 },
        segmentation: Segmentation::Tcp4 { size: 1448, ecn: false },
    };
    whole.parse().unwrap();
    guest.port.tx(&mut guest.pool, &mut vec![whole]);
    guest.port.flush();
    let counters = guest.port.counters();
    assert_eq!((counters.tx_packets, counters.tx_cut, counters.tx_dropped.total()), (1, 6, 0));
    let mut got = Vec::new();
    for (_, bytes) in guest.guest_received() {
        let segment = packet(&bytes, ID, &mut guest.pool).unwrap();
        got.extend_from_slice(segment.payload());
        guest.pool.give(segment.buffer);
    }
    assert_eq!(got, data);
    assert_eq!(guest.pool.outstanding(), 0);
}

#[test]
fn the_fabric_hears_of_a_link_before_the_worker_sleeps() {
    let mut guest = Guest::new(FrontendConfig::default());
    assert_eq!(guest.port.arm(), Armed::Idle);
    guest.frontend.hang_up();
    assert_eq!(guest.port.arm(), Armed::Ready);
    assert!(!guest.port.link());
    assert_eq!(guest.port.arm(), Armed::Idle);
}

/// Huge pages that were reserved for a test.
struct HugePages(String);

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    fn reserve(count: u32) -> std::io::Result<HugePages> {
        let before = std::fs::read_to_string(HUGE_PAGES)?.trim().to_string();
        let wanted = before.parse::<u32>().unwrap_or(0) + count;
        std::fs::write(HUGE_PAGES, wanted.to_string())?;
        Ok(HugePages(before))
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = std::fs::write(HUGE_PAGES, &self.0);
    }
}

#[test]
fn guest_memory_in_huge_pages_works() {
    let Ok(_pages) = HugePages::reserve(8) else {
        println!("skipped: needs root to reserve huge pages");
        return;
    };
    let mut guest = Guest::new(FrontendConfig { backing: Backing::Huge, ..FrontendConfig::default() });
    for _ in 0..1000 {
        guest.assert_works();
    }
    // A region that starts inside a huge page, as front ends cut them.
    let len = guest.frontend.memory().len() as u64;
    let base = weir_ports::vhost_user::frontend::GUEST_BASE;
    let user = weir_ports::vhost_user::frontend::USER_BASE;
    let cut = 0x1000;
    let table = weir_ports::vhost_user::frontend::memory_table(&[
        (base, cut, user, 0),
        (base + cut, len - cut, user + cut, cut),
    ]);
    let file = guest.frontend.memory().file().try_clone().unwrap();
    let Guest { frontend, port, .. } = &mut guest;
    frontend.tell(n::SET_MEM_TABLE, &table, &[file.as_fd(), file.as_fd()], &mut || port.on_event()).unwrap();
    guest.assert_works();
}
