//! Numbers that specifications assign: EtherTypes (IEEE 802), IP protocols and ICMP types (IANA), TCP flags (RFC 9293).

/// IPv4 (RFC 894).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Reverse ARP (RFC 903); hypervisors announce a moved guest with it.
pub const ETHERTYPE_RARP: u16 = 0x8035;
/// IPv6 (RFC 2464).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Customer VLAN tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// Service VLAN tag (IEEE 802.1ad).
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// Outer VLAN tag of equipment older than IEEE 802.1ad.
pub const ETHERTYPE_STACKED_VLAN: u16 = 0x9100;
/// LLDP (IEEE 802.1AB).
pub const ETHERTYPE_LLDP: u16 = 0x88cc;

/// IPv6 hop-by-hop options (RFC 8200, 4.3).
pub const PROTOCOL_HOP_BY_HOP: u8 = 0;
/// ICMP for IPv4 (RFC 792).
pub const PROTOCOL_ICMP: u8 = 1;
/// IGMP (RFC 3376).
pub const PROTOCOL_IGMP: u8 = 2;
/// TCP (RFC 9293).
pub const PROTOCOL_TCP: u8 = 6;
/// UDP (RFC 768).
pub const PROTOCOL_UDP: u8 = 17;
/// IPv6 routing header (RFC 8200, 4.4).
pub const PROTOCOL_ROUTING: u8 = 43;
/// IPv6 fragment header (RFC 8200, 4.5).
pub const PROTOCOL_FRAGMENT: u8 = 44;
/// Generic routing encapsulation (RFC 2784).
pub const PROTOCOL_GRE: u8 = 47;
/// Authentication header (RFC 4302).
pub const PROTOCOL_AH: u8 = 51;
/// ICMP for IPv6 (RFC 4443).
pub const PROTOCOL_ICMPV6: u8 = 58;
/// Nothing follows (RFC 8200, 4.7).
pub const PROTOCOL_NO_NEXT: u8 = 59;
/// IPv6 destination options (RFC 8200, 4.6).
pub const PROTOCOL_DESTINATION_OPTIONS: u8 = 60;
/// Protocol independent multicast (RFC 7761).
pub const PROTOCOL_PIM: u8 = 103;

/// ICMP: destination unreachable (RFC 792).
pub const ICMP_UNREACHABLE: u8 = 3;
/// ICMP: echo request.
pub const ICMP_ECHO_REQUEST: u8 = 8;
/// ICMP: echo reply.
pub const ICMP_ECHO_REPLY: u8 = 0;
/// ICMPv6: echo request (RFC 4443).
pub const ICMPV6_ECHO_REQUEST: u8 = 128;
/// ICMPv6: echo reply.
pub const ICMPV6_ECHO_REPLY: u8 = 129;
/// ICMPv6: multicast listener query (RFC 3810).
pub const MLD_QUERY: u8 = 130;
/// ICMPv6: multicast listener report, version 1 (RFC 2710).
pub const MLD_REPORT: u8 = 131;
/// ICMPv6: multicast listener done, version 1 (RFC 2710).
pub const MLD_DONE: u8 = 132;
/// ICMPv6: multicast listener report, version 2 (RFC 3810).
pub const MLD_REPORT_V2: u8 = 143;
/// ICMPv6: router solicitation (RFC 4861).
pub const ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6: router advertisement (RFC 4861).
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// ICMPv6: neighbour solicitation (RFC 4861).
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// ICMPv6: neighbour advertisement (RFC 4861).
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// TCP: no more data from the sender.
pub const TCP_FIN: u8 = 0x01;
/// TCP: synchronise sequence numbers.
pub const TCP_SYN: u8 = 0x02;
/// TCP: reset the connection.
pub const TCP_RST: u8 = 0x04;
/// TCP: push.
pub const TCP_PSH: u8 = 0x08;
/// TCP: the acknowledgment number counts.
pub const TCP_ACK: u8 = 0x10;
/// TCP: the urgent pointer counts.
pub const TCP_URG: u8 = 0x20;
/// TCP: ECN echo (RFC 3168).
pub const TCP_ECE: u8 = 0x40;
/// TCP: congestion window reduced (RFC 3168).
pub const TCP_CWR: u8 = 0x80;

/// Offset of the checksum field in a TCP header.
pub const TCP_CHECKSUM_AT: u16 = 16;
/// Offset of the checksum field in a UDP header.
pub const UDP_CHECKSUM_AT: u16 = 6;
