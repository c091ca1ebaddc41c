use weir_wire::build::{Ends, fragments, packet, tcp, udp};
use weir_wire::checksum::{make_partial, verify_l4};
use weir_wire::{Capabilities, DropReason, Pool, PortId, TcpFields, segment};

use super::*;

const HOP: Hop = Hop {
    switch: SwitchId(1),
    vid: Vid(7),
    source: MacAddr([2, 0, 0, 0, 1, 1]),
    destination: MacAddr([2, 0, 0, 0, 1, 2]),
    hops: 1,
    mtu: 1400,
    clamp: Some(1400),
};

fn may_be_cut(mut frame: Vec<u8>) -> Vec<u8> {
    frame[20] &= !0x40;
    frame[24..26].fill(0);
    let sum = !checksum::sum(&frame[14..34]).fold();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn macs_and_ttl_change_and_the_checksums_stay_right() {
    for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
        let mut pool = Pool::default();
        let mut routed = packet(&udp(ends, (1, 2), b"hello"), PortId(1), &mut pool).unwrap();
        HOP.rewrite(&mut routed);
        assert_eq!((routed.src_mac(), routed.dst_mac(), routed.vid), (HOP.source, HOP.destination, HOP.vid));
        routed.parse().expect("its header checksum is right");
        assert!(verify_l4(&routed));
        let ttl = routed.ipv4().map(|h| h[8]).or(routed.ipv6().map(|h| h[7]));
        assert_eq!(ttl, Some(63));
    }
}

#[test]
fn a_syn_is_told_of_the_mtu_wherever_its_option_stands() {
    for (ends, most) in [(Ends::ipv4(1, 2), 1360u16), (Ends::ipv6(1, 2), 1340)] {
        for (options, at) in [(vec![2, 4, 5, 0xb4], 2), (vec![1, 2, 4, 5, 0xb4, 0, 0, 0], 3)] {
            for partial in [false, true] {
                let mut pool = Pool::default();
                let fields = TcpFields { flags: TCP_SYN, ..TcpFields::default() };
                let mut syn = packet(&tcp(ends, fields, &options, b"early"), PortId(1), &mut pool).unwrap();
                if partial {
                    assert!(make_partial(&mut syn));
                }
                HOP.rewrite(&mut syn);
                assert_eq!(syn.tcp_options()[at..at + 2], most.to_be_bytes());
                if partial {
                    assert!(checksum::finish_partial(&mut syn));
                    syn.offload.checksum = Checksum::Complete;
                }
                assert!(verify_l4(&syn));
            }
        }
    }
}

#[test]
fn a_smaller_segment_size_stays() {
    let mut pool = Pool::default();
    let fields = TcpFields { flags: TCP_SYN, ..TcpFields::default() };
    let mut syn = packet(&tcp(Ends::ipv4(1, 2), fields, &[2, 4, 2, 0], &[]), PortId(1), &mut pool).unwrap();
    HOP.rewrite(&mut syn);
    assert_eq!(syn.tcp_options(), [2, 4, 2, 0]);
}

fn sent(packet: Packet, pool: &mut Pool) -> Result<Vec<usize>, DropReason> {
    let mut out = Vec::new();
    segment::complete(packet, Capabilities::default(), 9000, pool, &mut out)?;
    Ok(out.iter().map(|p| p.network().len()).collect())
}

#[test]
fn a_long_packet_is_cut_where_it_may_be_and_refused_where_not() {
    let mut pool = Pool::default();
    let long = udp(Ends::ipv4(1, 2), (1, 2), &[5; 1472]);
    let mut refused = packet(&long, PortId(1), &mut pool).unwrap();
    assert_eq!(HOP.fit(&mut refused), Fit::TooBig);
    let mut cut = packet(&may_be_cut(long), PortId(1), &mut pool).unwrap();
    assert_eq!(HOP.fit(&mut cut), Fit::Fits);
    assert_eq!(sent(cut, &mut pool), Ok(vec![1396, 124]));
    let mut six = packet(&udp(Ends::ipv6(1, 2), (1, 2), &[5; 1452]), PortId(1), &mut pool).unwrap();
    assert_eq!(HOP.fit(&mut six), Fit::TooBig);
    let mut short = packet(&udp(Ends::ipv6(1, 2), (1, 2), &[5; 1352]), PortId(1), &mut pool).unwrap();
    assert_eq!(HOP.fit(&mut short), Fit::Fits);
    assert_eq!(sent(short, &mut pool), Ok(vec![1400]));
}

#[test]
fn a_super_segment_passes_where_its_segments_do() {
    for (size, df, expected) in
        [(1348, true, Some(1400)), (1460, true, None), (1460, false, Some(1400)), (1460, true, None)]
    {
        let mut pool = Pool::default();
        let frame = tcp(
            Ends::ipv4(1, 2),
            TcpFields { flags: 0x10, ..TcpFields::default() },
            &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
            &[6; 6000],
        );
        let frame = if df { frame } else { may_be_cut(frame) };
        let mut packet = packet(&frame, PortId(1), &mut pool).unwrap();
        assert!(make_partial(&mut packet));
        packet.offload.segmentation = Segmentation::Tcp4 { size, ecn: false };
        match expected {
            None => assert_eq!(HOP.fit(&mut packet), Fit::TooBig),
            Some(longest) => {
                assert_eq!(HOP.fit(&mut packet), Fit::Fits);
                let lengths = sent(packet, &mut pool).unwrap();
                assert_eq!(lengths.iter().max(), Some(&longest));
            }
        }
    }
}

#[test]
fn a_datagram_that_was_cut_before_is_cut_no_longer_than_the_mtu() {
    let mut pool = Pool::default();
    let frame = may_be_cut(udp(Ends::ipv4(1, 2), (1, 2), &[5; 4000]));
    assert!(fragments(&frame, 1500, 9).len() == 3);
    let mut whole = packet(&frame, PortId(1), &mut pool).unwrap();
    whole.offload.segmentation = Segmentation::Fragments { size: 1500, id: 9 };
    assert_eq!(HOP.fit(&mut whole), Fit::Fits);
    assert!(sent(whole, &mut pool).unwrap().iter().all(|&length| length <= 1400));
}
