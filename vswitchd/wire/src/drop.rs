//! Every reason for which a frame can end its way here, once. A drop without a name does not exist.

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])+ $name:ident = $label:literal, )+) => {
        /// Why a frame was not forwarded. Counted where it happens, by port.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $( $(#[doc = $doc])+ $name, )+ }

        impl DropReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [DropReason] = &[ $( DropReason::$name, )+ ];

            /// The short name that counters, events and the command line use.
            pub const fn label(self) -> &'static str {
                match self { $( DropReason::$name => $label, )+ }
            }

            /// One line for a person: what it means and what to look at.
            pub const fn meaning(self) -> &'static str {
                match self { $( DropReason::$name => concat!($( $doc, )+).trim_ascii(), )+ }
            }
        }
    };
}

reasons! {
    // -- arrival
    /// No free buffer: the pool's limit is reached.
    NoBuffer = "no-buffer",
    /// The frame is longer than a buffer or the port's MTU allows.
    TooLong = "too-long",
    /// The guest's descriptor ring broke the rules (a bad address, length, loop or index).
    BadDescriptor = "bad-descriptor",
    /// The virtio-net header asks for an offload that was not agreed on or does not fit the frame.
    BadOffload = "bad-offload",
    // -- parsing
    /// Shorter than an Ethernet header.
    TruncatedEthernet = "truncated-ethernet",
    /// A VLAN tag is cut off, its VID is 4095, or more than three tags stand before the network header.
    BadVlanTag = "bad-vlan-tag",
    /// The IPv4 header is cut off or its lengths do not agree with the frame.
    BadIpv4 = "bad-ipv4",
    /// The IPv6 header or an extension header is cut off or its lengths do not agree.
    BadIpv6 = "bad-ipv6",
    /// The IPv4 header checksum is wrong.
    BadIpv4Checksum = "bad-ipv4-checksum",
    /// The TCP header is cut off or its data offset is wrong.
    BadTcp = "bad-tcp",
    /// The UDP header is cut off or its length is wrong.
    BadUdp = "bad-udp",
    /// The ICMP header is cut off.
    BadIcmp = "bad-icmp",
    /// The TCP, UDP or ICMP checksum is wrong; the receiver would ignore the packet, so it is not inspected.
    BadL4Checksum = "bad-l4-checksum",
    /// The ARP packet is cut off or not Ethernet/IPv4.
    BadArp = "bad-arp",
    // -- switch
    /// The port is on no switch.
    PortUnbound = "port-unbound",
    /// The port is administratively down.
    PortDown = "port-down",
    /// The source MAC is a group address or zero.
    BadSourceMac = "bad-source-mac",
    /// The source MAC is configured on another port.
    SourceMacElsewhere = "source-mac-elsewhere",
    /// The source MAC is another port's, or the DHCP client that the frame names is another's.
    SpoofedMac = "spoofed-mac",
    /// The source address is another port's, a router's, or none that the port may use.
    SpoofedAddress = "spoofed-address",
    /// ARP that speaks for somebody else.
    SpoofedArp = "spoofed-arp",
    /// Neighbour discovery that speaks for somebody else.
    SpoofedNeighbor = "spoofed-neighbor",
    /// A router advertisement or redirect from a port that is not trusted.
    RogueRouter = "rogue-router",
    /// A DHCP server's message from a port that is not trusted.
    RogueDhcp = "rogue-dhcp",
    /// The port uses more addresses than it may.
    BindingLimit = "binding-limit",
    /// The frame's VLAN is not allowed on the port it came in by.
    VlanNotAllowed = "vlan-not-allowed",
    /// A link-local group address (802.1D reserved) that a bridge must not forward.
    ReservedAddress = "reserved-address",
    /// The destination is behind the port the frame came in by.
    SamePort = "same-port",
    /// No port takes this frame: nobody else in the VLAN, or flooding is off for this kind.
    NoDestination = "no-destination",
    /// Source and destination port are isolated from each other.
    Isolated = "isolated",
    /// The port sends more broadcast than its storm control lets in.
    StormBroadcast = "storm-broadcast",
    /// The port sends more multicast than its storm control lets in.
    StormMulticast = "storm-multicast",
    /// The port sends more frames to unknown addresses than its storm control lets in.
    StormUnknown = "storm-unknown",
    /// A bridge speaks (spanning tree) behind a port where only hosts may be; the port is blocked.
    BpduGuard = "bpdu-guard",
    /// The loop guard has blocked the port; "vswitchctl port clear" opens it.
    PortBlocked = "port-blocked",
    /// Nobody has joined the multicast group, and the switch drops what nobody asked for.
    MulticastUnregistered = "multicast-unregistered",
    /// A mirror's copy found its queue full.
    MirrorLimit = "mirror-limit",
    // -- router
    /// A frame to a router that is no IPv4 or IPv6 packet, or carries a second VLAN tag.
    NotRouted = "not-routed",
    /// A source or destination address that no router passes on (RFC 1812, 5.3.7; RFC 4291, 2.5 and 2.7).
    Martian = "martian",
    /// A source-routed packet, or one with a routing header that would let it choose its way.
    SourceRoute = "source-route",
    /// The TTL or hop limit is used up.
    HopLimit = "hop-limit",
    /// The router has no route to the destination.
    NoRoute = "no-route",
    /// A blackhole, unreachable or prohibit route.
    RouteRefused = "route-refused",
    /// The destination, or the next router, did not answer when asked for its MAC address.
    NeighborUnresolved = "neighbor-unresolved",
    /// Too many packets or addresses wait for neighbours that do not answer.
    NeighborLimit = "neighbor-limit",
    /// The packet is longer than the MTU of the interface it leaves by and must not be fragmented.
    PathMtu = "path-mtu",
    /// A packet to the router itself, where nobody listens for it.
    NotServed = "not-served",
    /// More packets for the routers' services (DHCP, DNS) than they take, or than one port may send them.
    ServiceLimit = "service-limit",
    /// No outside port was free for the flow, or there is no room for another binding.
    NatExhausted = "nat-exhausted",
    /// The inside address has as many bindings as it may have.
    NatLimit = "nat-limit",
    // -- flows
    /// The flow table is full and nothing could be evicted.
    FlowTableFull = "flow-table-full",
    /// The port has used up its share of the flow table.
    FlowQuota = "flow-quota",
    /// The guest, or its group, opens more flows a second than it may.
    FlowRate = "flow-rate",
    /// The guest, or its group, has as many connections waiting for an answer as it may.
    HalfOpenLimit = "half-open-limit",
    /// The source was found scanning or flooding, and may open no flows for a while.
    SourceBlocked = "source-blocked",
    /// A segment of a handshake that the SYN proxy answered in the guest's place.
    SynProxied = "syn-proxied",
    /// A TCP segment that does not fit its connection's state.
    TcpState = "tcp-state",
    /// A TCP segment outside the window its connection allows.
    TcpWindow = "tcp-window",
    /// A TCP segment of a connection whose start was not seen.
    TcpMidstream = "tcp-midstream",
    /// An ICMP error that speaks of no known flow, or an ICMP reply that nobody asked for.
    IcmpUnrelated = "icmp-unrelated",
    /// The flow was ended by a verdict; its later packets are dropped too.
    FlowBlocked = "flow-blocked",
    /// The budget of processor time for inspection is used up, and the flow may not pass uninspected.
    InspectionBudget = "inspection-budget",
    /// A fragment overlaps another, or does not fit its datagram.
    FragmentOverlap = "fragment-overlap",
    /// Fragments of a datagram that did not become whole in time.
    FragmentTimeout = "fragment-timeout",
    /// Too many fragments are waiting.
    FragmentLimit = "fragment-limit",
    // -- guard
    /// A policy rule says drop.
    Policy = "policy",
    /// A policy rule says reject.
    PolicyReject = "policy-reject",
    /// An inspection rule's drop matched.
    Inspection = "inspection",
    /// The content filter does not allow the site, or could not read which it is.
    Content = "content",
    /// A file in it is infected, or could not be checked.
    Virus = "virus",
    /// A copy of a segment that is held back until a file is judged, or one that finds no room to be held: its sender
    /// repeats it.
    AwaitsVerdict = "awaits-verdict",
    /// Data that contradicts what was already inspected at the same place of the stream.
    StreamConflict = "stream-conflict",
    /// The stream's memory limit is reached, so the data cannot be inspected.
    StreamLimit = "stream-limit",
    // -- departure
    /// The receiver's ring or queue is full.
    TxFull = "tx-full",
    /// The port has no link or no guest attached.
    LinkDown = "link-down",
    /// The frame could not be finished (checksum, segmentation) for this port.
    TxOffload = "tx-offload",
    /// The frame is longer than the port's MTU and is no super-segment.
    TxTooLong = "tx-too-long",
    /// The kernel refused the frame.
    TxError = "tx-error",
    /// The egress queue of the turn is full.
    EgressLimit = "egress-limit",
    /// The port's rate is used up and the sender's queue for it is full.
    RateLimit = "rate-limit",
}

/// One counter a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> DropCounters {
        DropCounters([0; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Counts one frame.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `n` frames.
    #[inline]
    pub fn add(&mut self, reason: DropReason, n: u64) {
        self.0[reason as usize] += n;
    }

    /// How often this reason was counted.
    #[inline]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All drops.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that were counted at least once.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&r| (r, self.get(r))).filter(|&(_, n)| n > 0)
    }

    /// Adds another set of counters to this one.
    pub fn merge(&mut self, other: &DropCounters) {
        for (a, b) in self.0.iter_mut().zip(other.0.iter()) {
            *a += b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own_and_a_meaning() {
        let mut labels: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::ALL.len());
        assert!(DropReason::ALL.iter().all(|reason| reason.meaning().ends_with('.')));
    }

    #[test]
    fn counters_add_up() {
        let mut a = DropCounters::default();
        a.count(DropReason::TxFull);
        let mut b = a.clone();
        b.add(DropReason::EgressLimit, 4);
        a.merge(&b);
        assert_eq!((a.total(), a.get(DropReason::TxFull)), (6, 2));
        assert_eq!(a.nonzero().collect::<Vec<_>>(), [(DropReason::TxFull, 2), (DropReason::EgressLimit, 4)]);
    }
}
