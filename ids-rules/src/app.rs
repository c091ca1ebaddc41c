//! Application protocols, as rule headers, `app-layer-protocol` and EVE name them.

macro_rules! protocols {
    ($($(#[$doc:meta])* $variant:ident $name:literal $(| $alias:literal)*),+ $(,)?) => {
        /// An application protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum AppProtocol { $($(#[$doc])* $variant),+ }

        impl AppProtocol {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [AppProtocol] = &[$(AppProtocol::$variant),+];

            /// The name in EVE and in the rule language.
            pub const fn name(self) -> &'static str {
                match self { $(AppProtocol::$variant => $name),+ }
            }

            /// The protocol of this name in the rule language.
            pub fn from_name(name: &str) -> Option<AppProtocol> {
                match name { $($name $(| $alias)* => Some(AppProtocol::$variant),)+ _ => None }
            }
        }
    };
}

protocols! {
    /// HTTP/1, and in rules any HTTP (`http`); `http1` names this one alone.
    Http1 "http" | "http1",
    /// HTTP/2.
    Http2 "http2",
    /// FTP's control connection.
    Ftp "ftp",
    /// A connection that carries a file of FTP.
    FtpData "ftp-data",
    /// SMTP.
    Smtp "smtp",
    /// TLS and SSL.
    Tls "tls" | "ssl",
    /// SSH.
    Ssh "ssh",
    /// IMAP.
    Imap "imap",
    /// POP3.
    Pop3 "pop3",
    /// SMB 1, 2 and 3.
    Smb "smb",
    /// DCE/RPC, on its own or in SMB.
    Dcerpc "dcerpc",
    /// DNS.
    Dns "dns",
    /// Multicast DNS.
    Mdns "mdns",
    /// LLMNR.
    Llmnr "llmnr",
    /// DNS over HTTP/2.
    Doh2 "doh2",
    /// NFS 2, 3 and 4.
    Nfs "nfs",
    /// NTP.
    Ntp "ntp",
    /// TFTP.
    Tftp "tftp",
    /// IKE.
    Ike "ike" | "ikev1" | "ikev2",
    /// Kerberos 5.
    Krb5 "krb5",
    /// DHCP.
    Dhcp "dhcp",
    /// SNMP.
    Snmp "snmp",
    /// SIP.
    Sip "sip",
    /// RFB (VNC).
    Rfb "rfb",
    /// MQTT.
    Mqtt "mqtt",
    /// PostgreSQL.
    Pgsql "pgsql",
    /// Telnet.
    Telnet "telnet",
    /// WebSocket.
    WebSocket "websocket",
    /// LDAP.
    Ldap "ldap",
    /// RDP.
    Rdp "rdp",
    /// QUIC.
    Quic "quic",
    /// Modbus/TCP.
    Modbus "modbus",
    /// DNP3.
    Dnp3 "dnp3",
    /// EtherNet/IP and CIP.
    Enip "enip",
    /// BitTorrent's DHT.
    BitTorrentDht "bittorrent-dht",
}
