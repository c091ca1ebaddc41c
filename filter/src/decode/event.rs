//! What can be odd about a packet, by the names that rules use: `decode-event`, `stream-event`.

/// Makes the enumeration and its names from one table.
macro_rules! events {
    ($($variant:ident $name:literal,)*) => {
        /// What a decoder or the TCP engine can find odd. The names of decoder events stand as they are; those of the
        /// TCP engine begin with `stream.`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Event {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Event {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Event] = &[$(Event::$variant,)*];

            /// The name, `ipv4.pkt_too_small` or `stream.fin_syn`.
            pub fn name(self) -> &'static str {
                match self { $(Event::$variant => $name,)* }
            }

            /// The event of this name: that of `decode-event` as it stands, that of `stream-event` with `stream.`
            /// before it.
            pub fn from_name(name: &str) -> Option<Event> {
                match name {
                    $($name => Some(Event::$variant),)*
                    // As rules name it.
                    "stream.est_synack_resend_with_different_ack" => {
                        Some(Event::StreamEstablishedSynAckResendWithDifferentAck)
                    }
                    _ => None,
                }
            }
        }
    };
}

events! {
    Ipv4PacketTooSmall "ipv4.pkt_too_small",
    Ipv4HeaderLenTooSmall "ipv4.hlen_too_small",
    Ipv4LenSmallerThanHeaderLen "ipv4.iplen_smaller_than_hlen",
    Ipv4TruncPacket "ipv4.trunc_pkt",
    Ipv4OptionInvalid "ipv4.opt_invalid",
    Ipv4OptionInvalidLen "ipv4.opt_invalid_len",
    Ipv4OptionMalformed "ipv4.opt_malformed",
    Ipv4OptionPadRequired "ipv4.opt_pad_required",
    Ipv4OptionEolRequired "ipv4.opt_eol_required",
    Ipv4OptionDuplicate "ipv4.opt_duplicate",
    Ipv4OptionUnknown "ipv4.opt_unknown",
    Ipv4WrongIpVersion "ipv4.wrong_ip_version",
    Ipv4Icmpv6 "ipv4.icmpv6",
    Icmpv4PacketTooSmall "icmpv4.pkt_too_small",
    Icmpv4UnknownType "icmpv4.unknown_type",
    Icmpv4UnknownCode "icmpv4.unknown_code",
    Icmpv4Ipv4TruncPacket "icmpv4.ipv4_trunc_pkt",
    Icmpv4Ipv4UnknownVersion "icmpv4.ipv4_unknown_ver",
    Icmpv6UnknownType "icmpv6.unknown_type",
    Icmpv6UnknownCode "icmpv6.unknown_code",
    Icmpv6PacketTooSmall "icmpv6.pkt_too_small",
    Icmpv6Ipv6UnknownVersion "icmpv6.ipv6_unknown_version",
    Icmpv6Ipv6TruncPacket "icmpv6.ipv6_trunc_pkt",
    Icmpv6MldMessageWithInvalidHl "icmpv6.mld_message_with_invalid_hl",
    Icmpv6UnassignedType "icmpv6.unassigned_type",
    Icmpv6ExperimentationType "icmpv6.experimentation_type",
    Ipv6PacketTooSmall "ipv6.pkt_too_small",
    Ipv6TruncPacket "ipv6.trunc_pkt",
    Ipv6TruncExt "ipv6.trunc_exthdr",
    Ipv6ExtDupFragmentHeader "ipv6.exthdr_dupl_fh",
    Ipv6ExtUselessFragmentHeader "ipv6.exthdr_useless_fh",
    Ipv6ExtDupRoutingHeader "ipv6.exthdr_dupl_rh",
    Ipv6ExtDupHopByHop "ipv6.exthdr_dupl_hh",
    Ipv6ExtDupDestination "ipv6.exthdr_dupl_dh",
    Ipv6ExtDupAuth "ipv6.exthdr_dupl_ah",
    Ipv6ExtDupEsp "ipv6.exthdr_dupl_eh",
    Ipv6ExtInvalidOptionLen "ipv6.exthdr_invalid_optlen",
    Ipv6WrongIpVersion "ipv6.wrong_ip_version",
    Ipv6ExtAuthReservedNotNull "ipv6.exthdr_ah_res_not_null",
    Ipv6HopOptionsUnknownOption "ipv6.hopopts_unknown_opt",
    Ipv6HopOptionsOnlyPadding "ipv6.hopopts_only_padding",
    Ipv6DestinationOptionsUnknownOption "ipv6.dstopts_unknown_opt",
    Ipv6DestinationOptionsOnlyPadding "ipv6.dstopts_only_padding",
    Ipv6RoutingHeaderType0 "ipv6.rh_type_0",
    Ipv6ZeroLenPadn "ipv6.zero_len_padn",
    Ipv6FragmentHeaderNonZeroReservedField "ipv6.fh_non_zero_reserved_field",
    Ipv6DataAfterNoneHeader "ipv6.data_after_none_header",
    Ipv6UnknownNextHeader "ipv6.unknown_next_header",
    Ipv6Icmpv4 "ipv6.icmpv4",
    TcpPacketTooSmall "tcp.pkt_too_small",
    TcpHeaderLenTooSmall "tcp.hlen_too_small",
    TcpInvalidOptionLen "tcp.invalid_optlen",
    TcpOptionInvalidLen "tcp.opt_invalid_len",
    TcpOptionDuplicate "tcp.opt_duplicate",
    UdpPacketTooSmall "udp.pkt_too_small",
    UdpHeaderLenTooSmall "udp.hlen_too_small",
    UdpHeaderLenInvalid "udp.hlen_invalid",
    UdpLenInvalid "udp.len_invalid",
    SllPacketTooSmall "sll.pkt_too_small",
    Sll2PacketTooSmall "sll2.pkt_too_small",
    EthernetPacketTooSmall "ethernet.pkt_too_small",
    EthernetUnknownEthertype "ethernet.unknown_ethertype",
    PppPacketTooSmall "ppp.pkt_too_small",
    PppVjuPacketTooSmall "ppp.vju_pkt_too_small",
    PppIpv4PacketTooSmall "ppp.ip4_pkt_too_small",
    PppIpv6PacketTooSmall "ppp.ip6_pkt_too_small",
    PppWrongType "ppp.wrong_type",
    PppUnsupportedProtocol "ppp.unsup_proto",
    PppoePacketTooSmall "pppoe.pkt_too_small",
    PppoeWrongCode "pppoe.wrong_code",
    PppoeMalformedTags "pppoe.malformed_tags",
    GrePacketTooSmall "gre.pkt_too_small",
    GreWrongVersion "gre.wrong_version",
    GreVersion0Recursion "gre.version0_recur",
    GreVersion0Flags "gre.version0_flags",
    GreVersion0HeaderTooBig "gre.version0_hdr_too_big",
    GreVersion0MalformedSreHeader "gre.version0_malformed_sre_hdr",
    GreVersion1Checksum "gre.version1_chksum",
    GreVersion1Route "gre.version1_route",
    GreVersion1Ssr "gre.version1_ssr",
    GreVersion1Recursion "gre.version1_recur",
    GreVersion1Flags "gre.version1_flags",
    GreVersion1NoKey "gre.version1_no_key",
    GreVersion1WrongProtocol "gre.version1_wrong_protocol",
    GreVersion1MalformedSreHeader "gre.version1_malformed_sre_hdr",
    GreVersion1HeaderTooBig "gre.version1_hdr_too_big",
    VlanHeaderTooSmall "vlan.header_too_small",
    VlanUnknownType "vlan.unknown_type",
    VlanTooManyLayers "vlan.too_many_layers",
    BackboneTagHeaderTooSmall "ieee8021ah.header_too_small",
    VntagHeaderTooSmall "vntag.header_too_small",
    VntagUnknownType "vntag.unknown_type",
    EtagHeaderTooSmall "etag.header_too_small",
    EtagUnknownType "etag.unknown_type",
    IprawInvalidIpVersion "ipraw.invalid_ip_version",
    LtnullPacketTooSmall "ltnull.pkt_too_small",
    LtnullUnsupportedType "ltnull.unsupported_type",
    SctpPacketTooSmall "sctp.pkt_too_small",
    EspPacketTooSmall "esp.pkt_too_small",
    IgmpPacketTooSmall "igmp.pkt_too_small",
    Ipv4FragmentPacketTooLarge "ipv4.frag_pkt_too_large",
    Ipv6FragmentPacketTooLarge "ipv6.frag_pkt_too_large",
    Ipv4FragmentOverlap "ipv4.frag_overlap",
    Ipv6FragmentOverlap "ipv6.frag_overlap",
    Ipv6FragmentInvalidLength "ipv6.frag_invalid_length",
    Ipv4FragmentIgnored "ipv4.frag_ignored",
    Ipv6FragmentIgnored "ipv6.frag_ignored",
    Ipv6Ipv4InIpv6TooSmall "ipv6.ipv4_in_ipv6_too_small",
    Ipv6Ipv4InIpv6WrongVersion "ipv6.ipv4_in_ipv6_wrong_version",
    Ipv6Ipv6InIpv6TooSmall "ipv6.ipv6_in_ipv6_too_small",
    Ipv6Ipv6InIpv6WrongVersion "ipv6.ipv6_in_ipv6_wrong_version",
    MplsHeaderTooSmall "mpls.header_too_small",
    MplsPacketTooSmall "mpls.pkt_too_small",
    MplsBadLabelRouterAlert "mpls.bad_label_router_alert",
    MplsBadLabelImplicitNull "mpls.bad_label_implicit_null",
    MplsBadLabelReserved "mpls.bad_label_reserved",
    MplsUnknownPayloadType "mpls.unknown_payload_type",
    VxlanUnknownPayloadType "vxlan.unknown_payload_type",
    GeneveUnknownPayloadType "geneve.unknown_payload_type",
    ErspanHeaderTooSmall "erspan.header_too_small",
    ErspanUnsupportedVersion "erspan.unsupported_version",
    ErspanTooManyVlanLayers "erspan.too_many_vlan_layers",
    DcePacketTooSmall "dce.pkt_too_small",
    ChdlcPacketTooSmall "chdlc.pkt_too_small",
    NshHeaderTooSmall "nsh.header_too_small",
    NshUnsupportedVersion "nsh.unsupported_version",
    NshBadHeaderLength "nsh.bad_header_length",
    NshReservedType "nsh.reserved_type",
    NshUnsupportedType "nsh.unsupported_type",
    NshUnknownPayload "nsh.unknown_payload",
    ArpPacketTooSmall "arp.pkt_too_small",
    ArpUnsupportedHardware "arp.unsupported_hardware",
    ArpUnsupportedProtocol "arp.unsupported_protocol",
    ArpUnsupportedPacket "arp.unsupported_pkt",
    ArpInvalidHardwareSize "arp.invalid_hardware_size",
    ArpInvalidProtocolSize "arp.invalid_protocol_size",
    ArpUnsupportedOpcode "arp.unsupported_opcode",
    TooManyLayers "too_many_layers",
    AfpTruncPacket "afp.trunc_pkt",
    StreamHandshakeAckInWrongDir "stream.3whs_ack_in_wrong_dir",
    StreamHandshakeAsyncWrongSeq "stream.3whs_async_wrong_seq",
    StreamHandshakeRightSeqWrongAckEvasion "stream.3whs_right_seq_wrong_ack_evasion",
    StreamHandshakeSynAckInWrongDirection "stream.3whs_synack_in_wrong_direction",
    StreamHandshakeSynAckResendWithDifferentAck "stream.3whs_synack_resend_with_different_ack",
    StreamHandshakeSynAckResendWithDiffSeq "stream.3whs_synack_resend_with_diff_seq",
    StreamHandshakeSynAckToserverOnSynRecv "stream.3whs_synack_toserver_on_syn_recv",
    StreamHandshakeSynAckWithWrongAck "stream.3whs_synack_with_wrong_ack",
    StreamHandshakeSynAckFlood "stream.3whs_synack_flood",
    StreamHandshakeSynAckTfoDataIgnored "stream.3whs_synack_tfo_data_ignored",
    StreamHandshakeSynResendDiffSeqOnSynRecv "stream.3whs_syn_resend_diff_seq_on_syn_recv",
    StreamHandshakeSynToclientOnSynRecv "stream.3whs_syn_toclient_on_syn_recv",
    StreamHandshakeSynFlood "stream.3whs_syn_flood",
    StreamHandshakeWrongSeqWrongAck "stream.3whs_wrong_seq_wrong_ack",
    StreamHandshakeAckDataInject "stream.3whs_ack_data_inject",
    StreamCrossedSynAckWithWrongAck "stream.4whs_synack_with_wrong_ack",
    StreamCrossedSynAckWithWrongSyn "stream.4whs_synack_with_wrong_syn",
    StreamCrossedWrongSeq "stream.4whs_wrong_seq",
    StreamCrossedInvalidAck "stream.4whs_invalid_ack",
    StreamClosewaitAckOutOfWindow "stream.closewait_ack_out_of_window",
    StreamClosewaitFinOutOfWindow "stream.closewait_fin_out_of_window",
    StreamClosewaitPacketBeforeLastAck "stream.closewait_pkt_before_last_ack",
    StreamClosewaitInvalidAck "stream.closewait_invalid_ack",
    StreamClosingAckWrongSeq "stream.closing_ack_wrong_seq",
    StreamClosingInvalidAck "stream.closing_invalid_ack",
    StreamEstablishedPacketOutOfWindow "stream.est_packet_out_of_window",
    StreamEstablishedPacketBeforeLastAck "stream.est_pkt_before_last_ack",
    StreamEstablishedSynAckResend "stream.est_synack_resend",
    StreamEstablishedSynAckResendWithDifferentAck "stream.est_synack_resend_with_diff_ack",
    StreamEstablishedSynAckResendWithDiffSeq "stream.est_synack_resend_with_diff_seq",
    StreamEstablishedSynAckToserver "stream.est_synack_toserver",
    StreamEstablishedSynResend "stream.est_syn_resend",
    StreamEstablishedSynResendDiffSeq "stream.est_syn_resend_diff_seq",
    StreamEstablishedSynToclient "stream.est_syn_toclient",
    StreamEstablishedInvalidAck "stream.est_invalid_ack",
    StreamFinInvalidAck "stream.fin_invalid_ack",
    StreamFin1AckWrongSeq "stream.fin1_ack_wrong_seq",
    StreamFin1FinWrongSeq "stream.fin1_fin_wrong_seq",
    StreamFin1InvalidAck "stream.fin1_invalid_ack",
    StreamFin2AckWrongSeq "stream.fin2_ack_wrong_seq",
    StreamFin2FinWrongSeq "stream.fin2_fin_wrong_seq",
    StreamFin2InvalidAck "stream.fin2_invalid_ack",
    StreamFinButNoSession "stream.fin_but_no_session",
    StreamFinOutOfWindow "stream.fin_out_of_window",
    StreamFinSyn "stream.fin_syn",
    StreamLastackAckWrongSeq "stream.lastack_ack_wrong_seq",
    StreamLastackInvalidAck "stream.lastack_invalid_ack",
    StreamRstButNoSession "stream.rst_but_no_session",
    StreamTimewaitAckWrongSeq "stream.timewait_ack_wrong_seq",
    StreamTimewaitInvalidAck "stream.timewait_invalid_ack",
    StreamShutdownSynResend "stream.shutdown_syn_resend",
    StreamPacketInvalidTimestamp "stream.pkt_invalid_timestamp",
    StreamPacketInvalidAck "stream.pkt_invalid_ack",
    StreamPacketBrokenAck "stream.pkt_broken_ack",
    StreamRstInvalidAck "stream.rst_invalid_ack",
    StreamPacketRetransmission "stream.pkt_retransmission",
    StreamPacketSpuriousRetransmission "stream.pkt_spurious_retransmission",
    StreamPacketBadWindowUpdate "stream.pkt_bad_window_update",
    StreamSuspectedRstInject "stream.suspected_rst_inject",
    StreamWrongThread "stream.wrong_thread",
    StreamReassemblySegmentBeforeBaseSeq "stream.reassembly_segment_before_base_seq",
    StreamReassemblyNoSegment "stream.reassembly_no_segment",
    StreamReassemblySeqGap "stream.reassembly_seq_gap",
    StreamReassemblyOverlapDifferentData "stream.reassembly_overlap_different_data",
    StreamReassemblyDepthReached "stream.reassembly_depth_reached",
    StreamReassemblyInsertMemcap "stream.reassembly_insert_memcap",
    StreamReassemblyInsertLimit "stream.reassembly_insert_limit",
    StreamReassemblyInsertInvalid "stream.reassembly_insert_invalid",
    StreamReassemblyUrgentOutOfBandLimitReached "stream.reassembly_urgent_oob_limit_reached",
}

impl Event {
    /// The event that `stream-event` calls by this name.
    pub fn from_stream_name(name: &str) -> Option<Event> {
        Event::ALL.iter().copied().find(|event| event.name().strip_prefix("stream.") == Some(name))
    }

    /// The TCP engine found it.
    pub fn is_stream(self) -> bool {
        self.name().starts_with("stream.")
    }
}

/// Occurrences that are remembered in their order.
const TOLD: usize = 15;

/// Events of one packet: which there were, and the first few in their order, repetitions too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    words: [u64; 4],
    told: [u8; TOLD],
    count: u8,
}

impl Events {
    /// Notes an event.
    pub fn set(&mut self, event: Event) {
        let number = event as usize;
        if let Some(word) = self.words.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
        if let Some(place) = self.told.get_mut(usize::from(self.count)) {
            *place = number as u8;
            self.count += 1;
        }
    }

    /// Whether an event was noted.
    pub fn has(&self, event: Event) -> bool {
        self.words.get(event as usize / 64).is_some_and(|word| word >> (event as usize % 64) & 1 == 1)
    }

    /// Whether nothing was noted.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds those of another packet.
    pub fn add(&mut self, other: &Events) {
        other.told().for_each(|event| self.set(event));
        self.words.iter_mut().zip(other.words).for_each(|(word, more)| *word |= more);
    }

    /// The first few in the order in which they were met, with repetitions.
    pub fn told(&self) -> impl Iterator<Item = Event> + '_ {
        let numbers = self.told.iter().take(self.count.into());
        numbers.filter_map(|&number| Event::ALL.get(usize::from(number)).copied())
    }

    /// Those that were noted, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        Event::ALL.iter().copied().filter(|&event| self.has(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_found_by_its_name_and_fits_the_set() {
        assert!(Event::ALL.len() <= 256);
        let mut all = Events::default();
        for (i, &event) in Event::ALL.iter().enumerate() {
            assert_eq!(event as usize, i);
            assert_eq!(Event::from_name(event.name()), Some(event));
            assert!(!all.has(event));
            all.set(event);
        }
        assert_eq!(all.iter().count(), Event::ALL.len());
        assert_eq!(Event::from_stream_name("fin_syn"), Some(Event::StreamFinSyn));
        assert_eq!(Event::from_name("fin_syn"), None);
    }
}
