//! Headers, tags and tunnels.

use super::*;

#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub tuple: Option<Tuple>,
    pub payload: Vec<u8>,
    pub source: Source,
    pub depth: u8,
    pub vlan: Vec<u16>,
    pub events: Vec<&'static str>,
    pub outer: Option<Tuple>,
    pub fragment: bool,
    pub bad: bool,
}

pub(super) fn seen(view: &View<'_>) -> Seen {
    Seen {
        tuple: view.tuple,
        payload: view.payload.to_vec(),
        source: view.source,
        depth: view.depth,
        vlan: view.vlan.iter().copied().take(view.vlans.into()).collect(),
        events: view.events.iter().map(Event::name).collect(),
        outer: view.outer,
        fragment: view.fragment,
        bad: view.checksums != Checksums::default(),
    }
}

pub(super) fn decode(link: Link, frame: &[u8]) -> Vec<Seen> {
    decode_with(Settings::default(), link, frame)
}

fn decode_with(settings: Settings, link: Link, frame: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    Decoder::new(settings).decode(link, frame, Instant(0), &mut |view| {
        all.push(seen(view));
        Taken::Passed
    });
    all
}

/// An IPv4 packet with a right checksum.
pub(super) fn ipv4(protocol: u8, rest: &[u8]) -> Vec<u8> {
    let total = (20 + rest.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = !weir_wire::checksum::sum(&packet).fold();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(rest);
    packet
}

fn udp(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(source.to_be_bytes());
    datagram.extend(destination.to_be_bytes());
    datagram.extend((8 + data.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    datagram
}

fn ethernet(kind: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend(kind.to_be_bytes());
    frame.extend(rest);
    frame
}

#[test]
fn udp_is_found_below_every_link_and_tag() {
    let packet = ipv4(17, &udp(1000, 2000, b"hello"));
    let sll = [&[0; 14][..], &[8, 0], &packet].concat();
    let double = [&[0, 7, 0x81, 0, 0x60, 9, 8, 0][..], &packet].concat();
    let mpls = [&[0, 1, 0x01, 64][..], &packet].concat();
    let pppoe = [&[0x11, 0, 0, 1, 0, packet.len() as u8 + 2, 0, 0x21][..], &packet].concat();
    let short = [&[0x11, 0, 0, 1, 0, packet.len() as u8 + 1, 0x21][..], &packet].concat();
    let labels = [&[0, 1, 0, 64].repeat(20), &mpls[..]].concat();
    let cases: [(Link, Vec<u8>, &[u16]); 11] = [
        (Link::Raw, packet.clone(), &[]),
        (Link::Null, [&[2, 0, 0, 0][..], &packet].concat(), &[]),
        (Link::Ppp, [&[0xff, 3, 0, 0x21][..], &packet].concat(), &[]),
        (Link::Chdlc, [&[0x0f, 0, 8, 0][..], &packet].concat(), &[]),
        (Link::Sll, sll, &[]),
        (Link::Ethernet, ethernet(0x0800, &packet), &[]),
        (Link::Ethernet, ethernet(0x8100, &double), &[7, 9]),
        (Link::Ethernet, ethernet(0x8847, &mpls), &[]),
        (Link::Ethernet, ethernet(0x8847, &labels), &[]),
        (Link::Ethernet, ethernet(0x8864, &pppoe), &[]),
        // A protocol of one byte.
        (Link::Ethernet, ethernet(0x8864, &short), &[]),
    ];
    for (link, frame, vlan) in cases {
        let all = decode(link, &frame);
        let [one] = &all[..] else { panic!("{link:?}: {all:?}") };
        assert_eq!(one.payload, b"hello", "{link:?}");
        assert_eq!((one.tuple.unwrap().source_port, one.tuple.unwrap().destination_port), (1000, 2000));
        assert_eq!(one.vlan, vlan);
        assert!(one.events.is_empty() && !one.bad, "{link:?}: {one:?}");
    }
}

#[test]
fn tunnels_hand_over_what_is_inside_first() {
    let inside = ipv4(17, &udp(1, 2, b"deep"));
    let gre = ipv4(47, &[&[0, 0, 8, 0][..], &inside].concat());
    let vxlan = ipv4(17, &udp(9, 4789, &[&[8, 0, 0, 0, 0, 0, 5, 0][..], &ethernet(0x0800, &inside)].concat()));
    let geneve = ipv4(17, &udp(9, 6081, &[&[0, 0, 0x08, 0, 0, 0, 5, 0][..], &inside].concat()));
    for (packet, source) in
        [(gre, Source::Gre), (ipv4(4, &inside), Source::Ipv4), (vxlan, Source::Vxlan), (geneve, Source::Geneve)]
    {
        let all = decode(Link::Raw, &packet);
        assert_eq!(all.len(), 2, "{source:?}");
        assert_eq!((all[0].source, all[0].depth, &all[0].payload[..]), (source, 1, &b"deep"[..]));
        assert_eq!(all[0].outer, all[1].tuple);
        assert_eq!((all[1].source, all[1].depth), (Source::Wire, 0));
        // What was handed on is not the outer packet's payload as well.
        assert!(all[1].payload.is_empty(), "{source:?}");
    }
    // The tunnel's port may be that of the sender.
    for (port, header) in [(4789, [8, 0, 0, 0, 0, 0, 5, 0]), (6081, [0, 0, 0x65, 0x58, 0, 0, 5, 0])] {
        let packet = ipv4(17, &udp(port, 9, &[&header[..], &ethernet(0x0800, &inside)].concat()));
        let all = decode(Link::Raw, &packet);
        assert_eq!(all[0].payload, b"deep", "{port}");
        // Which says nothing of who reads it: the payload is the outer packet's as well.
        assert_eq!(all[1].payload.len(), packet.len() - 28, "{port}");
    }
    // What cannot be taken apart is.
    let closed = decode(Link::Raw, &ipv4(17, &udp(9, 4789, &[8, 0, 0, 0, 0, 0, 5, 0])));
    assert_eq!((closed.len(), closed[0].payload.len()), (1, 8));
}

#[test]
fn reserved_labels_carry_nothing() {
    let packet = ipv4(17, &udp(1000, 2000, b"hello"));
    for (label, event) in [(1u8, "bad_label_router_alert"), (3, "bad_label_implicit_null"), (9, "bad_label_reserved")] {
        let frame = ethernet(0x8847, &[&[0, 0, label << 4 | 1, 64][..], &packet].concat());
        let all = decode(Link::Ethernet, &frame);
        assert_eq!((all.len(), all[0].tuple), (1, None), "{label}");
        assert_eq!(all[0].events, [format!("mpls.{event}")]);
    }
}

#[test]
fn options_that_do_not_fit_end_the_packet() {
    let with = |options: [u8; 4]| {
        let mut packet = ipv4(17, &[&options[..], &udp(1000, 2000, b"hello")].concat());
        packet[0] = 0x46;
        decode(Link::Raw, &packet).remove(0)
    };
    let fitting = with([7, 3, 4, 0]);
    assert_eq!((fitting.tuple.is_some(), &fitting.payload[..]), (true, &b"hello"[..]));
    let beyond = with([7, 9, 4, 0]);
    assert!(beyond.tuple.is_none() && beyond.payload.is_empty());
    assert!(beyond.events.contains(&"ipv4.opt_invalid_len"), "{:?}", beyond.events);
}

#[test]
fn nesting_ends_at_the_bound() {
    let mut packet = ipv4(17, &udp(1, 2, b"x"));
    for _ in 0..40 {
        packet = ipv4(4, &packet);
    }
    for layers in [LAYERS, 3] {
        let all = decode_with(Settings { layers, ..Settings::default() }, Link::Raw, &packet);
        assert_eq!(all.len(), usize::from(layers) + 1);
        assert_eq!(all[0].events, ["too_many_layers"]);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let whole = ipv4(6, &[0; 20]);
    let cases: [(Link, Vec<u8>, &str); 14] = [
        (Link::Ethernet, vec![0; 13], "ethernet.pkt_too_small"),
        (Link::Ethernet, ethernet(0xfbb7, &[]), "ethernet.unknown_ethertype"),
        (Link::Ethernet, ethernet(0x8100, &[0, 5, 0xfb, 0xb7]), "vlan.unknown_type"),
        (Link::Raw, whole[..19].to_vec(), "ipv4.pkt_too_small"),
        (Link::Raw, whole[..30].to_vec(), "ipv4.trunc_pkt"),
        (Link::Raw, ipv4(6, &[0; 8]), "tcp.pkt_too_small"),
        (Link::Raw, ipv4(6, &[0; 20]), "tcp.invalid_optlen"),
        (Link::Raw, ipv4(6, &[0xf0; 20]), "tcp.hlen_too_small"),
        (Link::Raw, ipv4(17, &[0; 4]), "udp.hlen_too_small"),
        (Link::Raw, ipv4(1, &[8, 0, 0]), "icmpv4.pkt_too_small"),
        (Link::Raw, ipv4(1, &[13, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), "icmpv4.ipv4_trunc_pkt"),
        (Link::Raw, ipv4(47, &[0, 0]), "gre.pkt_too_small"),
        (Link::Raw, ipv4(47, &[0, 2, 8, 0]), "gre.wrong_version"),
        (Link::Raw, vec![0x50; 40], "ipraw.invalid_ip_version"),
    ];
    for (link, frame, event) in cases {
        assert_eq!(decode(link, &frame)[0].events, [event]);
    }
}

#[test]
fn options_of_tcp_are_read_once_and_checked() {
    let header = |options: &[u8]| {
        let mut segment = vec![0; 20];
        segment[12] = ((20 + options.len()) as u8 / 4) << 4;
        segment.extend(options);
        let mut found = None;
        Decoder::new(Settings::default()).decode(Link::Raw, &ipv4(6, &segment), Instant(0), &mut |view| {
            found = Some((view.tcp.unwrap().options, seen(view).events));
            Taken::Passed
        });
        found.unwrap()
    };
    let (options, events) = header(&[2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((options.mss, options.window_scale, options.fast_open), (Some(1460), Some(7), Some(8)));
    assert!(options.sack_permitted && events.is_empty());
    assert_eq!(header(&[1, 1, 5, 2]).1, [""; 0]);
    assert_eq!(header(&[2, 3, 5, 0]).1, ["tcp.opt_invalid_len"]);
    assert_eq!(header(&[4, 2, 4, 2]).1, ["tcp.opt_duplicate"]);
    assert_eq!(header(&[8, 40, 0, 0]).1, ["tcp.opt_invalid_len"]);
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let inside = ipv4(17, &udp(1, 2, b"deep"));
    let frame = ethernet(0x8100, &[&[0, 7, 8, 0][..], &ipv4(47, &[&[0, 0, 8, 0][..], &inside].concat())].concat());
    for at in 0..frame.len() {
        decode(Link::Ethernet, &frame[..at]);
        for value in [0, 1, 0x3b, 0x7f, 0x80, 0xff] {
            let mut changed = frame.clone();
            changed[at] = value;
            assert!(decode(Link::Ethernet, &changed).len() <= 3);
        }
    }
}
