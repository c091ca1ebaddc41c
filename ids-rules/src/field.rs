//! Numbers of application protocols that rules compare (`dns.opcode:4`, `krb5_msg_type:10`).

use crate::AppProtocol;

macro_rules! fields {
    ($($variant:ident $name:literal $(| $alias:literal)*),+ $(,)?) => {
        /// A number that an application protocol's message carries. The names are those of the rule language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Field { $(#[doc = concat!("`", $name, "`")] $variant),+ }

        impl Field {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Field] = &[$(Field::$variant),+];

            /// The keywords that compare one of them.
            pub(crate) const KEYWORDS: &'static [&'static str] = &[$($name $(, $alias)*),+];

            /// The keyword that compares it.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$variant => $name),+ }
            }

            /// The field that a keyword compares.
            pub fn from_keyword(keyword: &str) -> Option<Field> {
                match keyword { $($name $(| $alias)* => Some(Field::$variant),)+ _ => None }
            }
        }
    };
}

fields! {
    DnsOpcode "dns.opcode", DnsRcode "dns.rcode", DnsRrtype "dns.rrtype",
    TlsCertChainLength "tls.cert_chain_len", TlsAlpnCount "tls.alpn_count",
    Http2FrameType "http2.frametype", Http2ErrorCode "http2.errorcode", Http2Priority "http2.priority",
    Http2Window "http2.window", Http2SizeUpdate "http2.size_update",
    DcerpcOpnum "dcerpc.opnum" | "dce_opnum", SmbVersion "smb.version",
    Krb5MsgType "krb5_msg_type", Krb5ErrorCode "krb5_err_code",
    NfsProcedure "nfs_procedure", NfsVersion "nfs.version" | "nfs_version",
    IkeExchangeType "ike.exchtype", IkeKeyExchangeLength "ike.key_exchange_payload_length",
    IkeNonceLength "ike.nonce_payload_length",
    MqttProtocolVersion "mqtt.protocol_version", MqttType "mqtt.type", MqttFlags "mqtt.flags", MqttQos "mqtt.qos",
    MqttReasonCode "mqtt.reason_code", MqttConnackSessionPresent "mqtt.connack.session_present",
    MqttConnectFlags "mqtt.connect.flags",
    RfbSecType "rfb.sectype", RfbSecResult "rfb.secresult",
    SnmpVersion "snmp.version", SnmpPduType "snmp.pdu_type",
    SnmpTrapType "snmp.trap_type",
    FtpDynamicPort "ftp.dynamic_port",  FtpMode "ftp.mode", FtpReplyReceived "ftp.reply_received",
    FtpDataCommand "ftpdata_command",
    LdapRequestOperation "ldap.request.operation", LdapResponsesOperation "ldap.responses.operation",
    LdapResponsesCount "ldap.responses.count", LdapResponsesResultCode "ldap.responses.result_code",
    WebSocketOpcode "websocket.opcode", WebSocketFlags "websocket.flags", WebSocketMask "websocket.mask",
    EnipCommand "enip_command" | "enip.command", CipService "cip_service", EnipStatus "enip.status",
    EnipProtocolVersion "enip.protocol_version", EnipCipAttribute "enip.cip_attribute",
    EnipCipInstance "enip.cip_instance", EnipCipClass "enip.cip_class", EnipCipStatus "enip.cip_status",
    EnipCipExtendedStatus "enip.cip_extendedstatus", EnipRevision "enip.revision",
    EnipIdentityStatus "enip.identity_status", EnipState "enip.state", EnipSerial "enip.serial",
    EnipProductCode "enip.product_code", EnipVendorId "enip.vendor_id", EnipDeviceType "enip.device_type",
    EnipCapabilities "enip.capabilities",
    Dnp3Function "dnp3_func" | "dnp3.func", Dnp3Indicators "dnp3_ind" | "dnp3.ind",
    DhcpLeaseTime "dhcp.leasetime", DhcpRebindingTime "dhcp.rebinding_time", DhcpRenewalTime "dhcp.renewal_time",
    NtpMode "ntp.mode", NtpStratum "ntp.stratum", NtpVersion "ntp.version",
    FileSize "filesize",
}

impl Field {
    /// The protocols that have it; empty for any.
    pub fn protocols(self) -> &'static [AppProtocol] {
        use AppProtocol as P;
        match self.name() {
            "ftpdata_command" => &[P::FtpData],
            "filesize" => &[],
            name => by_prefix(name),
        }
    }

    /// The largest value that it can have.
    pub const fn max(self) -> u64 {
        match self {
            Field::DnsOpcode
            | Field::MqttProtocolVersion
            | Field::Http2FrameType
            | Field::RfbSecType
            | Field::MqttReasonCode
            | Field::IkeExchangeType
            | Field::CipService
            | Field::EnipCipStatus
            | Field::EnipState
            | Field::WebSocketOpcode
            | Field::Dnp3Function
            | Field::SnmpTrapType
            | Field::NtpMode
            | Field::NtpStratum
            | Field::NtpVersion => 255,
            Field::MqttQos | Field::SmbVersion => 2,
            Field::DnsRcode
            | Field::DnsRrtype
            | Field::DcerpcOpnum
            | Field::FtpDynamicPort
            | Field::EnipCommand
            | Field::EnipProtocolVersion
            | Field::EnipProductCode
            | Field::EnipVendorId
            | Field::EnipDeviceType => 65_535,
            _ => i64::MAX as u64,
        }
    }
}

/// The protocols that a keyword's first part names.
pub(crate) fn by_prefix(name: &str) -> &'static [AppProtocol] {
    use AppProtocol as P;
    let end = name.find(['.', '_']).unwrap_or(name.len());
    match name.get(..end).unwrap_or(name) {
        "http" => &[P::Http1, P::Http2, P::Doh2],
        "http2" => &[P::Http2, P::Doh2],
        "dns" => &[P::Dns, P::Doh2],
        "mdns" => &[P::Mdns],
        "tls" => &[P::Tls],
        "ja3" | "ja4" => &[P::Tls, P::Quic],
        "ja3s" => &[P::Tls, P::Quic],
        "quic" => &[P::Quic],
        "ssh" => &[P::Ssh],
        "smb" => &[P::Smb],
        "dcerpc" => &[P::Dcerpc, P::Smb],
        "krb5" => &[P::Krb5],
        "nfs" => &[P::Nfs],
        "ike" => &[P::Ike],
        "mqtt" => &[P::Mqtt],
        "rfb" => &[P::Rfb],
        "snmp" => &[P::Snmp],
        "ftp" => &[P::Ftp],
        "ldap" => &[P::Ldap],
        "websocket" => &[P::WebSocket],
        "enip" | "cip" => &[P::Enip],
        "dnp3" => &[P::Dnp3],
        "dhcp" => &[P::Dhcp],
        "sip" | "sdp" => &[P::Sip],
        "pgsql" => &[P::Pgsql],
        "ntp" => &[P::Ntp],
        "smtp" | "email" => &[P::Smtp],
        _ => &[],
    }
}
