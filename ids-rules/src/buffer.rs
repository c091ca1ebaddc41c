//! The sticky buffers: parts of traffic that `content`, `pcre` and the like can be told to look at.

use crate::AppProtocol;
use crate::rule::FlowDirection;

macro_rules! buffers {
    ($($variant:ident $name:literal $(| $alias:literal)*),+ $(,)?) => {
        /// A part of traffic that a rule looks at. The names are those of the rule language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Buffer { $(#[doc = concat!("`", $name, "`")] $variant),+ }

        impl Buffer {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Buffer] = &[$(Buffer::$variant),+];

            /// The keywords that select one of them.
            pub(crate) const KEYWORDS: &'static [&'static str] = &[$($name $(, $alias)*),+];

            /// The keyword that selects it.
            pub const fn name(self) -> &'static str {
                match self { $(Buffer::$variant => $name),+ }
            }

            /// The buffer that a sticky keyword selects. Keywords that modify the content before them (`http_uri`) are
            /// not among these.
            pub fn from_keyword(keyword: &str) -> Option<Buffer> {
                match keyword { $($name $(| $alias)* => Some(Buffer::$variant),)+ _ => None }
            }
        }
    };
}

buffers! {
    // The payload: a stream's bytes or a packet's, as the rule's protocol says.
    Payload "payload", PacketData "pkt_data", Base64Data "base64_data", Frame "frame",
    // Headers of packets.
    Ipv4Header "ipv4.hdr", Ipv6Header "ipv6.hdr", TcpHeader "tcp.hdr", UdpHeader "udp.hdr", EtherHeader "ether.hdr",
    Icmpv4Header "icmpv4.hdr", Icmpv6Header "icmpv6.hdr", IgmpHeader "igmp.hdr", SourceIp "ip.src", DestinationIp "ip.dst",
    // Files of any protocol.
    FileData "file.data" | "file_data", FileName "file.name", FileMagic "file.magic",
    // HTTP.
    HttpUri "http.uri", HttpUriRaw "http.uri.raw", HttpMethod "http.method", HttpUserAgent "http.user_agent",
    HttpHost "http.host", HttpHostRaw "http.host.raw", HttpHeader "http.header", HttpHeaderRaw "http.header.raw",
    HttpHeaderNames "http.header_names", HttpCookie "http.cookie", HttpReferer "http.referer", HttpAccept "http.accept",
    HttpAcceptLanguage "http.accept_lang", HttpAcceptEncoding "http.accept_enc", HttpConnection "http.connection",
    HttpContentType "http.content_type", HttpContentLength "http.content_len", HttpProtocol "http.protocol",
    HttpStart "http.start", HttpRequestLine "http.request_line", HttpResponseLine "http.response_line",
    HttpRequestBody "http.request_body", HttpResponseBody "http.response_body", HttpStatCode "http.stat_code",
    HttpStatMessage "http.stat_msg", HttpLocation "http.location", HttpServer "http.server",
    HttpRequestHeader "http.request_header", HttpResponseHeader "http.response_header",
    Http2HeaderName "http2.header_name",
    // DNS.
    DnsQuery "dns.query" | "dns_query", DnsQueriesName "dns.queries.rrname", DnsAnswersName "dns.answers.rrname",
    DnsAuthoritiesName "dns.authorities.rrname", DnsAdditionalsName "dns.additionals.rrname",
    DnsResponseName "dns.response.rrname",
    MdnsQueriesName "mdns.queries.rrname", MdnsAnswersName "mdns.answers.rrname",
    MdnsAuthoritiesName "mdns.authorities.rrname", MdnsAdditionalsName "mdns.additionals.rrname",
    MdnsResponseName "mdns.response.rrname",
    // TLS.
    TlsSni "tls.sni" | "tls_sni", TlsCertSubject "tls.cert_subject" | "tls_cert_subject",
    TlsCertIssuer "tls.cert_issuer" | "tls_cert_issuer", TlsCertSerial "tls.cert_serial" | "tls_cert_serial",
    TlsCertFingerprint "tls.cert_fingerprint" | "tls_cert_fingerprint", TlsCerts "tls.certs", TlsRandom "tls.random",
    TlsRandomTime "tls.random_time", TlsRandomBytes "tls.random_bytes", TlsSubjectAltName "tls.subjectaltname",
    TlsAlpn "tls.alpn", Ja3Hash "ja3.hash" | "ja3_hash", Ja3String "ja3.string" | "ja3_string", Ja3sHash "ja3s.hash",
    Ja3sString "ja3s.string", Ja4Hash "ja4.hash",
    // QUIC.
    QuicVersion "quic.version", QuicSni "quic.sni", QuicUserAgent "quic.ua", QuicCyuHash "quic.cyu.hash",
    QuicCyuString "quic.cyu.string",
    // SSH.
    SshProto "ssh.proto" | "ssh_proto", SshSoftware "ssh.software" | "ssh_software", SshHassh "ssh.hassh",
    SshHasshString "ssh.hassh.string", SshHasshServer "ssh.hassh.server", SshHasshServerString "ssh.hassh.server.string",
    // SMB, DCERPC, Kerberos.
    SmbNamedPipe "smb.named_pipe" | "smb_named_pipe", SmbShare "smb.share" | "smb_share",
    SmbNtlmsspUser "smb.ntlmssp_user", SmbNtlmsspDomain "smb.ntlmssp_domain",
    DcerpcStubData "dcerpc.stub_data" | "dce_stub_data", Krb5Cname "krb5.cname" | "krb5_cname",
    Krb5Sname "krb5.sname" | "krb5_sname",
    // SIP and SDP.
    SipMethod "sip.method", SipUri "sip.uri", SipProtocol "sip.protocol", SipStatCode "sip.stat_code",
    SipStatMessage "sip.stat_msg", SipRequestLine "sip.request_line", SipResponseLine "sip.response_line",
    SipFrom "sip.from", SipTo "sip.to", SipVia "sip.via", SipUserAgent "sip.user_agent",
    SipContentType "sip.content_type", SipContentLength "sip.content_length", SdpOrigin "sdp.origin",
    SdpSessionName "sdp.session_name", SdpSessionInfo "sdp.session_info", SdpUri "sdp.uri", SdpEmail "sdp.email",
    SdpPhoneNumber "sdp.phone_number", SdpConnectionData "sdp.connection_data", SdpBandwidth "sdp.bandwidth",
    SdpTime "sdp.time", SdpRepeatTime "sdp.repeat_time", SdpTimezone "sdp.timezone",
    SdpEncryptionKey "sdp.encryption_key", SdpAttribute "sdp.attribute", SdpMediaMedia "sdp.media.media",
    SdpMediaInfo "sdp.media.media_info", SdpMediaConnectionData "sdp.media.connection_data",
    SdpMediaEncryptionKey "sdp.media.encryption_key",
    // IKE.
    IkeInitSpi "ike.init_spi", IkeRespSpi "ike.resp_spi", IkeVendor "ike.vendor",
    IkeKeyExchangePayload "ike.key_exchange_payload", IkeNoncePayload "ike.nonce_payload",
    // MQTT.
    MqttConnectClientId "mqtt.connect.clientid", MqttConnectUsername "mqtt.connect.username",
    MqttConnectPassword "mqtt.connect.password", MqttConnectWillTopic "mqtt.connect.willtopic",
    MqttConnectWillMessage "mqtt.connect.willmessage", MqttConnectProtocolString "mqtt.connect.protocol_string",
    MqttPublishTopic "mqtt.publish.topic", MqttPublishMessage "mqtt.publish.message",
    MqttSubscribeTopic "mqtt.subscribe.topic", MqttUnsubscribeTopic "mqtt.unsubscribe.topic",
    // Others.
    RfbName "rfb.name", SnmpCommunity "snmp.community", SnmpUsm "snmp.usm", PgsqlQuery "pgsql.query",
    WebSocketPayload "websocket.payload", LdapRequestDn "ldap.request.dn", LdapResponsesDn "ldap.responses.dn",
    LdapResponsesMessage "ldap.responses.message", LdapRequestAttributeType "ldap.request.attribute_type",
    LdapResponsesAttributeType "ldap.responses.attribute_type", EnipProductName "enip.product_name",
    EnipServiceName "enip.service_name", Dnp3Data "dnp3.data" | "dnp3_data",
    NtpReferenceId "ntp.reference_id",
    // FTP.
    FtpCommand "ftp.command", FtpCommandData "ftp.command_data", FtpReply "ftp.reply",
    FtpCompletionCode "ftp.completion_code",
    // Mail.
    SmtpHelo "smtp.helo", SmtpMailFrom "smtp.mail_from", SmtpRcptTo "smtp.rcpt_to", EmailFrom "email.from",
    EmailSubject "email.subject", EmailTo "email.to", EmailCc "email.cc", EmailDate "email.date",
    EmailMessageId "email.message_id", EmailXMailer "email.x_mailer", EmailUrl "email.url",
    EmailReceived "email.received", EmailBodyMd5 "email.body_md5",
}

impl Buffer {
    /// Whether it is the payload of a stream or a packet.
    pub const fn is_payload(self) -> bool {
        matches!(self, Buffer::Payload | Buffer::PacketData)
    }
}

impl Buffer {
    /// Whether a transaction can have several values of it, each of which is matched on its own.
    pub const fn has_several_values(self) -> bool {
        use Buffer::*;
        matches!(
            self,
            FileData
                | FileName
                | FileMagic
                | Frame
                | HttpRequestHeader
                | HttpResponseHeader
                | Http2HeaderName
                | DnsQuery
                | DnsQueriesName
                | DnsAnswersName
                | DnsAuthoritiesName
                | DnsAdditionalsName
                | DnsResponseName
                | MdnsQueriesName
                | MdnsAnswersName
                | MdnsAuthoritiesName
                | MdnsAdditionalsName
                | MdnsResponseName
                | TlsCerts
                | TlsSubjectAltName
                | TlsAlpn
                | QuicCyuHash
                | QuicCyuString
                | Krb5Cname
                | Krb5Sname
                | IkeVendor
                | MqttSubscribeTopic
                | MqttUnsubscribeTopic
                | LdapResponsesDn
                | LdapResponsesMessage
                | LdapRequestAttributeType
                | LdapResponsesAttributeType
                | SipFrom
                | SipTo
                | SipVia
                | SipUserAgent
                | SipContentType
                | SipContentLength
                | SdpEmail
                | SdpPhoneNumber
                | SdpBandwidth
                | SdpTime
                | SdpRepeatTime
                | SdpAttribute
                | SdpMediaMedia
                | SdpMediaInfo
                | SdpMediaConnectionData
                | SdpMediaEncryptionKey
                | SmtpRcptTo
                | EmailUrl
                | EmailReceived
                | FtpReply
                | FtpCompletionCode
                | Dnp3Data
        )
    }
}

/// Protocols that carry files.
pub(crate) const WITH_FILES: &[AppProtocol] = &[
    AppProtocol::Http1,
    AppProtocol::Http2,
    AppProtocol::Doh2,
    AppProtocol::Smtp,
    AppProtocol::FtpData,
    AppProtocol::Ftp,
    AppProtocol::Nfs,
    AppProtocol::Smb,
];

impl Buffer {
    /// The protocols that have it; empty for any, and for buffers of packets.
    pub fn protocols(self) -> &'static [AppProtocol] {
        match self {
            Buffer::FileData | Buffer::FileName | Buffer::FileMagic => WITH_FILES,
            _ => crate::field::by_prefix(self.name()),
        }
    }

    /// Whether it is a header of a packet, or an address: looked at packet by packet.
    pub const fn is_packet_header(self) -> bool {
        use Buffer::*;
        matches!(
            self,
            Ipv4Header
                | Ipv6Header
                | TcpHeader
                | UdpHeader
                | EtherHeader
                | Icmpv4Header
                | Icmpv6Header
                | IgmpHeader
                | SourceIp
                | DestinationIp
        )
    }

    /// The direction that alone has it; `None` where both may.
    pub const fn direction(self) -> Option<FlowDirection> {
        if self.is_of_requests() {
            return Some(FlowDirection::ToServer);
        }
        if self.is_of_answers() { Some(FlowDirection::ToClient) } else { None }
    }

    #[rustfmt::skip] // One name a line would hide what belongs together.
    const fn is_of_requests(self) -> bool {
        use Buffer::*;
        matches!(
            self,
            HttpUri | HttpUriRaw | HttpMethod | HttpUserAgent | HttpHost | HttpHostRaw | HttpReferer | HttpAccept
                | HttpAcceptLanguage | HttpAcceptEncoding | HttpRequestLine | HttpRequestBody | HttpRequestHeader
                | DnsQuery | TlsSni | Ja3Hash | Ja3String | Ja4Hash | QuicSni | QuicUserAgent | QuicCyuHash
                | QuicCyuString | SshHassh | SshHasshString | SipMethod | SipUri | SipRequestLine | SnmpUsm | PgsqlQuery
                | MqttConnectClientId | MqttConnectUsername | MqttConnectPassword | MqttConnectWillTopic
                | MqttConnectWillMessage | MqttConnectProtocolString | LdapRequestDn | LdapRequestAttributeType
                | FtpCommand | FtpCommandData | SmtpHelo | SmtpMailFrom | SmtpRcptTo | EmailFrom | EmailSubject | EmailTo
                | EmailCc | EmailDate | EmailMessageId | EmailXMailer | EmailUrl | EmailReceived | EmailBodyMd5
        )
    }

    #[rustfmt::skip] // As above.
    const fn is_of_answers(self) -> bool {
        use Buffer::*;
        matches!(
            self,
            HttpStatCode | HttpStatMessage | HttpLocation | HttpServer | HttpResponseLine | HttpResponseBody
                | HttpResponseHeader | DnsResponseName | Ja3sHash | Ja3sString | SshHasshServer | SshHasshServerString
                | SipStatCode | SipStatMessage | SipResponseLine | RfbName | LdapResponsesDn | LdapResponsesMessage
                | LdapResponsesAttributeType | FtpReply | FtpCompletionCode | Krb5Cname | Krb5Sname
        )
    }
}
