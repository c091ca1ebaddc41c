//! ClientHello and ServerHello (RFC 5246, 7.4.1; RFC 8446, 4.1), and SSL 2's ClientHello. QUIC carries the same messages.
//!
//! Lists are as long as the message, which its reader bounds. What is cut short is refused whole.

use crate::app::Anomaly;
use crate::app::read::Reader;

/// Numbers of extensions that are looked into.
pub mod extension {
    /// Server name (RFC 6066).
    pub const SERVER_NAME: u16 = 0;
    /// Curves (RFC 8422).
    pub const GROUPS: u16 = 10;
    /// Point formats (RFC 8422).
    pub const POINT_FORMATS: u16 = 11;
    /// Signature algorithms (RFC 8446).
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    /// Application protocols (RFC 7301).
    pub const ALPN: u16 = 16;
    /// Versions (RFC 8446).
    pub const SUPPORTED_VERSIONS: u16 = 43;
}

/// Protocols of an ALPN list that are kept.
const ALPNS: usize = 64;

/// Room for the extensions of an ordinary hello, which is put aside at once.
const EXTENSIONS: usize = 24;

/// What one side says at first.
#[derive(Debug, Default)]
pub struct Hello {
    /// The version field of the message.
    pub legacy_version: u16,
    /// The version in use (server), or the highest one offered (client).
    pub version: u16,
    /// 32 random bytes.
    pub random: [u8; 32],
    /// Session identifier.
    pub session: Vec<u8>,
    /// Cipher suites: those offered, or the one chosen.
    pub ciphers: Vec<u16>,
    /// Numbers of the extensions, as they stand.
    pub extensions: Vec<u16>,
    /// Curves offered.
    pub groups: Vec<u16>,
    /// Point formats offered.
    pub point_formats: Vec<u8>,
    /// Signature algorithms offered.
    pub signatures: Vec<u16>,
    /// Versions offered by an extension, or the one chosen.
    pub versions: Vec<u16>,
    /// The name asked for.
    pub sni: Option<Vec<u8>>,
    /// Application protocols offered, or the one chosen.
    pub alpns: Vec<Vec<u8>>,
    /// What is odd in it.
    pub odd: Vec<Anomaly>,
}

/// A value that clients send to keep servers tolerant (RFC 8701).
pub const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

impl Hello {
    /// Reads the body of a ClientHello.
    pub fn client(bytes: &[u8]) -> Option<Hello> {
        let mut reader = Reader::new(bytes);
        let mut hello = Hello::start(&mut reader)?;
        let ciphers = reader.be16()?;
        hello.ciphers = words(reader.take(usize::from(ciphers))?);
        let compressions = reader.u8()?;
        reader.take(usize::from(compressions))?;
        hello.extensions(&mut reader, Side::Client)?;
        Some(hello)
    }

    /// Reads the body of a ServerHello.
    pub fn server(bytes: &[u8]) -> Option<Hello> {
        let mut reader = Reader::new(bytes);
        let mut hello = Hello::start(&mut reader)?;
        hello.ciphers.push(reader.be16()?);
        reader.u8()?;
        hello.extensions(&mut reader, Side::Server)?;
        Some(hello)
    }

    /// Reads SSL 2's ClientHello after its type.
    pub fn client_v2(bytes: &[u8]) -> Option<Hello> {
        let mut reader = Reader::new(bytes);
        let version = reader.be16()?;
        let (ciphers, session, challenge) = (reader.be16()?, reader.be16()?, reader.be16()?);
        reader.take(usize::from(ciphers))?;
        let session = reader.take(usize::from(session))?.to_vec();
        reader.take(usize::from(challenge))?;
        Some(Hello { legacy_version: version, version, session, ..Hello::default() })
    }

    fn start(reader: &mut Reader<'_>) -> Option<Hello> {
        let version = reader.be16()?;
        let random = reader.array()?;
        let session = reader.u8()?;
        let session = reader.take(usize::from(session))?.to_vec();
        Some(Hello { legacy_version: version, version, random, session, ..Hello::default() })
    }

    /// The true hello is an encrypted part of this one, or pretends to be (RFC 9849).
    pub fn is_encrypted(&self) -> bool {
        self.extensions.contains(&crate::content::watch::ENCRYPTED_HELLO_EXTENSION)
    }

    fn extensions(&mut self, reader: &mut Reader<'_>, side: Side) -> Option<()> {
        if reader.is_empty() {
            return Some(());
        }
        let length = reader.be16()?;
        let mut list = Reader::new(reader.take(usize::from(length))?);
        // Each takes four bytes at least.
        self.extensions.reserve((usize::from(length) / 4).min(EXTENSIONS));
        while !list.is_empty() {
            let kind = list.be16()?;
            let length = list.be16()?;
            let body = list.take(usize::from(length))?;
            self.extensions.push(kind);
            self.extension(kind, body, side);
        }
        Some(())
    }

    fn extension(&mut self, kind: u16, body: &[u8], side: Side) {
        match kind {
            extension::SERVER_NAME => self.server_name(body),
            extension::GROUPS => self.groups = words(body.get(2..).unwrap_or_default()),
            extension::POINT_FORMATS => self.point_formats = body.get(1..).unwrap_or_default().to_vec(),
            extension::SIGNATURE_ALGORITHMS => self.signatures = words(body.get(2..).unwrap_or_default()),
            extension::ALPN => self.alpn(body),
            extension::SUPPORTED_VERSIONS => {
                let versions = match side {
                    Side::Client => words(body.get(1..).unwrap_or_default()),
                    Side::Server => words(body),
                };
                let highest = versions.iter().copied().filter(|&version| !is_grease(version)).max();
                self.version = highest.unwrap_or(self.version);
                self.versions = versions;
            }
            _ => {}
        }
    }

    fn server_name(&mut self, body: &[u8]) {
        let mut reader = Reader::new(body);
        // A server acknowledges the name with an empty extension.
        let (Some(_), Some(kind), Some(length)) = (reader.be16(), reader.u8(), reader.be16()) else { return };
        if self.sni.is_some() {
            self.odd.push(Anomaly("tls.multiple_sni_extensions"));
        } else if kind != 0 {
            self.odd.push(Anomaly("tls.invalid_sni_type"));
        } else if let Some(name) = reader.take(usize::from(length)) {
            self.sni = Some(name.to_vec());
        } else {
            self.odd.push(Anomaly("tls.invalid_sni_length"));
        }
    }

    fn alpn(&mut self, body: &[u8]) {
        let mut reader = Reader::new(body.get(2..).unwrap_or_default());
        while let Some(length) = reader.u8() {
            let Some(name) = reader.take(usize::from(length)) else { return };
            if self.alpns.len() < ALPNS && !name.is_empty() {
                self.alpns.push(name.to_vec());
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

/// Numbers of two bytes.
fn words(bytes: &[u8]) -> Vec<u16> {
    // Its length is known before: it is put aside once.
    bytes.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect()
}
