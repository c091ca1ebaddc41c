//! A TLS connection as rules see it: hellos, certificates, and how far the handshake is.

use weir_ids_rules::{Buffer, Field};
use weir_wire::Instant;

use super::certificate::Certificate;
use super::fingerprint::{Carrier, ja3, ja3s, ja4, md5_hex};
use super::handshake::kind;
use super::hello::Hello;
use super::log;
use crate::app::read::Reader;
use crate::app::{Anomaly, Provides, Transaction};
use crate::inspect::Direction;
use crate::json::Json;

/// Certificates of a chain that are kept.
const CHAIN: usize = 64;

/// How far the client is.
mod client {
    pub const HELLO_DONE: u8 = 1;
    pub const CERT_DONE: u8 = 2;
    pub const HANDSHAKE_DONE: u8 = 3;
    pub const FINISHED: u8 = 4;
}

/// How far the server is.
mod server {
    pub const HELLO: u8 = 1;
    pub const CERT_DONE: u8 = 2;
    pub const HELLO_DONE: u8 = 3;
    pub const HANDSHAKE_DONE: u8 = 4;
    pub const FINISHED: u8 = 5;
}

pub(super) const HOOKS: &[(&str, Direction, u8)] = &[
    ("client_in_progress", Direction::Original, 0),
    ("client_hello_done", Direction::Original, client::HELLO_DONE),
    ("client_cert_done", Direction::Original, client::CERT_DONE),
    ("client_handshake_done", Direction::Original, client::HANDSHAKE_DONE),
    ("client_finished", Direction::Original, client::FINISHED),
    ("server_in_progress", Direction::Reply, 0),
    ("server_hello", Direction::Reply, server::HELLO),
    ("server_cert_done", Direction::Reply, server::CERT_DONE),
    ("server_hello_done", Direction::Reply, server::HELLO_DONE),
    ("server_handshake_done", Direction::Reply, server::HANDSHAKE_DONE),
    ("server_finished", Direction::Reply, server::FINISHED),
];

const fn client(buffer: Buffer) -> Provides {
    Provides::new(buffer, Direction::Original, client::HELLO_DONE)
}

const fn client_cert(buffer: Buffer) -> Provides {
    Provides::new(buffer, Direction::Original, client::CERT_DONE)
}

const fn server_cert(buffer: Buffer) -> Provides {
    Provides::new(buffer, Direction::Reply, server::CERT_DONE)
}

const fn server(buffer: Buffer) -> Provides {
    Provides::new(buffer, Direction::Reply, server::HELLO)
}

pub(super) const BUFFERS: &[Provides] = &[
    client(Buffer::TlsSni),
    client(Buffer::Ja3Hash),
    client(Buffer::Ja3String),
    client(Buffer::Ja4Hash),
    client(Buffer::TlsAlpn),
    client(Buffer::TlsRandom),
    client(Buffer::TlsRandomTime),
    client(Buffer::TlsRandomBytes),
    server(Buffer::Ja3sHash),
    server(Buffer::Ja3sString),
    server(Buffer::TlsAlpn),
    server(Buffer::TlsRandom),
    server(Buffer::TlsRandomTime),
    server(Buffer::TlsRandomBytes),
    server_cert(Buffer::TlsCertSubject),
    server_cert(Buffer::TlsCertIssuer),
    server_cert(Buffer::TlsCertSerial),
    server_cert(Buffer::TlsCertFingerprint),
    server_cert(Buffer::TlsSubjectAltName),
    server_cert(Buffer::TlsCerts),
    client_cert(Buffer::TlsCertSubject),
    client_cert(Buffer::TlsCertIssuer),
    client_cert(Buffer::TlsCertSerial),
    client_cert(Buffer::TlsCertFingerprint),
    client_cert(Buffer::TlsCerts),
];

/// One side of a connection.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub hello: Option<Hello>,
    /// JA3 or JA3S.
    pub fingerprint: String,
    pub certificate: Option<Certificate>,
    chain: Vec<Box<[u8]>>,
    version: u16,
    progress: u8,
    cipher_changed: bool,
    encrypts: bool,
}

/// The newest message that `ssl_state` can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Newest {
    #[default]
    Unknown,
    ClientHello,
    ServerHello,
    ServerKeys,
    ClientKeys,
}

/// A connection.
#[derive(Debug, Default)]
pub struct Connection {
    pub(super) client: Side,
    pub(super) server: Side,
    newest: Newest,
    now: Instant,
}

impl Connection {
    fn side(&self, way: Direction) -> &Side {
        match way {
            Direction::Original => &self.client,
            Direction::Reply => &self.server,
        }
    }

    fn side_mut(&mut self, way: Direction) -> &mut Side {
        match way {
            Direction::Original => &mut self.client,
            Direction::Reply => &mut self.server,
        }
    }

    /// When the newest bytes were seen.
    pub(super) fn seen_at(&mut self, now: Instant) {
        self.now = now;
    }

    fn advance(&mut self, way: Direction, progress: u8) {
        let side = self.side_mut(way);
        side.progress = side.progress.max(progress);
    }

    /// The version in a record's header, until a hello tells better.
    pub(super) fn record_version(&mut self, way: Direction, version: u16) {
        let side = self.side_mut(way);
        if side.hello.is_none() {
            side.version = version;
        }
    }

    /// Takes a handshake message.
    pub(super) fn message(&mut self, way: Direction, kind: u8, body: &[u8], odd: &mut Vec<Anomaly>) {
        match (way, kind) {
            (Direction::Original, kind::CLIENT_HELLO) => self.client_hello(body, odd),
            (Direction::Reply, kind::SERVER_HELLO) => self.server_hello(body, odd),
            (_, kind::CERTIFICATE) => self.certificates(way, body, odd),
            (Direction::Reply, kind::SERVER_KEY_EXCHANGE) => {
                self.newest = Newest::ServerKeys;
                self.advance(way, server::CERT_DONE);
            }
            (Direction::Reply, kind::SERVER_HELLO_DONE) => self.advance(way, server::HELLO_DONE),
            (Direction::Original, kind::CLIENT_KEY_EXCHANGE) => {
                self.newest = Newest::ClientKeys;
                self.advance(way, client::CERT_DONE);
            }
            (_, 0..=34 | 67 | 254) => {}
            _ => odd.push(Anomaly("tls.invalid_handshake_message")),
        }
    }

    fn client_hello(&mut self, body: &[u8], odd: &mut Vec<Anomaly>) {
        if self.client.hello.is_some() {
            // After HelloRetryRequest the client says the same once more.
            return;
        }
        let Some(mut hello) = Hello::client(body) else {
            odd.push(Anomaly("tls.handshake_invalid_length"));
            return;
        };
        odd.append(&mut hello.odd);
        self.client.fingerprint = ja3(&hello);
        self.client.version = hello.version;
        self.client.hello = Some(hello);
        self.newest = Newest::ClientHello;
        self.advance(Direction::Original, client::HELLO_DONE);
    }

    fn server_hello(&mut self, body: &[u8], odd: &mut Vec<Anomaly>) {
        let Some(mut hello) = Hello::server(body) else {
            odd.push(Anomaly("tls.handshake_invalid_length"));
            return;
        };
        odd.append(&mut hello.odd);
        self.server.fingerprint = ja3s(&hello);
        self.server.version = hello.version;
        self.server.hello = Some(hello);
        self.newest = Newest::ServerHello;
        self.advance(Direction::Reply, server::HELLO);
    }

    pub(super) fn client_v2(&mut self, hello: Hello) {
        self.client.version = hello.legacy_version;
        self.client.hello = Some(hello);
        self.newest = Newest::ClientHello;
        self.advance(Direction::Original, client::HELLO_DONE);
    }

    /// SSL 2's ServerHello: session hit, certificate type, version, lengths, certificate.
    pub(super) fn server_v2(&mut self, body: &[u8]) {
        let mut reader = Reader::new(body);
        let version = reader.be16().and_then(|_| reader.be16()).unwrap_or(2);
        self.server.version = version;
        self.server.hello = Some(Hello { legacy_version: version, version, ..Hello::default() });
        self.newest = Newest::ServerHello;
        self.advance(Direction::Reply, server::HELLO_DONE);
    }

    fn certificates(&mut self, way: Direction, body: &[u8], odd: &mut Vec<Anomaly>) {
        let mut reader = Reader::new(body);
        let side = self.side_mut(way);
        let total = reader.be24().unwrap_or(0) as usize;
        let mut list = Reader::new(reader.take_up_to(total));
        let mut intact = true;
        while let (true, Some(length)) = (side.chain.len() < CHAIN, list.be24()) {
            let Some(der) = list.take(length as usize) else {
                intact = false;
                break;
            };
            if side.chain.is_empty() {
                match Certificate::read(der) {
                    Ok(certificate) => side.certificate = Some(certificate),
                    Err(anomaly) => {
                        odd.push(Anomaly("tls.invalid_certificate"));
                        odd.push(anomaly);
                    }
                }
            }
            side.chain.push(der.into());
        }
        if !intact {
            odd.push(Anomaly("tls.certificate_invalid_length"));
        }
        let done = match way {
            Direction::Original => client::CERT_DONE,
            Direction::Reply => server::CERT_DONE,
        };
        self.advance(way, done);
    }

    /// From here on the direction encrypts, below TLS 1.3.
    pub(super) fn change_cipher(&mut self, way: Direction) {
        self.side_mut(way).cipher_changed = true;
        let done = match way {
            Direction::Original => client::HANDSHAKE_DONE,
            Direction::Reply => server::HANDSHAKE_DONE,
        };
        self.advance(way, done);
    }

    /// The direction has sent application data.
    pub(super) fn encrypts(&mut self, way: Direction) {
        self.side_mut(way).encrypts = true;
        let done = match way {
            Direction::Original => client::HANDSHAKE_DONE,
            Direction::Reply => server::HANDSHAKE_DONE,
        };
        self.advance(way, done);
    }

    /// A fatal alert ended a direction.
    pub(super) fn alerted(&mut self, way: Direction) {
        self.finish(way);
    }

    /// The direction says nothing more that can be read.
    pub(super) fn finish(&mut self, way: Direction) {
        let done = self.complete(way);
        self.advance(way, done);
    }

    /// What follows in a direction is encrypted.
    pub(super) fn is_encrypted(&self, way: Direction) -> bool {
        self.side(way).cipher_changed || self.side(way).encrypts
    }

    /// Both directions encrypt, and so it stays. `data`: directions that sent application data.
    pub(super) fn both_encrypt(&self, data: [bool; 2]) -> bool {
        let both_changed = self.client.cipher_changed && self.server.cipher_changed;
        let modern = self.server.version >= 0x0304 && data != [false; 2];
        both_changed || data == [true; 2] || (modern && self.client.cipher_changed && data[1])
    }

    /// The client named an earlier session and the server took it up.
    pub(super) fn is_resumed(&self) -> bool {
        let (Some(client), Some(server)) = (&self.client.hello, &self.server.hello) else { return false };
        server.version < 0x0304
            && self.server.cipher_changed
            && self.server.chain.is_empty()
            && !client.session.is_empty()
            && client.session == server.session
    }

    pub(super) fn server_version(&self) -> u16 {
        self.server.version
    }

    fn certificate_text(&self, way: Direction, pick: impl Fn(&Certificate) -> &str) -> Option<&[u8]> {
        self.side(way).certificate.as_ref().map(|certificate| pick(certificate).as_bytes())
    }
}

fn owned(work: &mut Vec<u8>, text: String) -> Option<&[u8]> {
    *work = text.into_bytes();
    Some(work.as_slice())
}

impl Transaction for Connection {
    fn progress(&self, way: Direction) -> u8 {
        self.side(way).progress
    }

    fn complete(&self, way: Direction) -> u8 {
        match way {
            Direction::Original => client::FINISHED,
            Direction::Reply => server::FINISHED,
        }
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let side = self.side(way);
        match buffer {
            Buffer::TlsAlpn => return side.hello.as_ref()?.alpns.get(nth).map(Vec::as_slice),
            Buffer::TlsCerts => return side.chain.get(nth).map(|der| &der[..]),
            Buffer::TlsSubjectAltName => {
                return side.certificate.as_ref()?.names.get(nth).map(String::as_bytes);
            }
            _ if nth > 0 => return None,
            _ => {}
        }
        match buffer {
            Buffer::TlsSni => self.client.hello.as_ref()?.sni.as_deref(),
            Buffer::Ja3String if !self.client.fingerprint.is_empty() => Some(self.client.fingerprint.as_bytes()),
            Buffer::Ja3Hash if !self.client.fingerprint.is_empty() => {
                owned(work, md5_hex(self.client.fingerprint.as_bytes()))
            }
            Buffer::Ja4Hash if !self.client.fingerprint.is_empty() => {
                owned(work, ja4(self.client.hello.as_ref()?, Carrier::Tcp))
            }
            Buffer::Ja3sString if !self.server.fingerprint.is_empty() => Some(self.server.fingerprint.as_bytes()),
            Buffer::Ja3sHash if !self.server.fingerprint.is_empty() => {
                owned(work, md5_hex(self.server.fingerprint.as_bytes()))
            }
            Buffer::TlsRandom => side.hello.as_ref().map(|hello| &hello.random[..]),
            Buffer::TlsRandomTime => side.hello.as_ref().map(|hello| &hello.random[..4]),
            Buffer::TlsRandomBytes => side.hello.as_ref().map(|hello| &hello.random[4..]),
            Buffer::TlsCertSubject => self.certificate_text(way, |certificate| &certificate.subject),
            Buffer::TlsCertIssuer => self.certificate_text(way, |certificate| &certificate.issuer),
            Buffer::TlsCertSerial => self.certificate_text(way, |certificate| &certificate.serial),
            Buffer::TlsCertFingerprint => self.certificate_text(way, |certificate| &certificate.fingerprint),
            _ => None,
        }
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        let side = self.side(way);
        match field {
            _ if nth > 0 => None,
            // Where the handshake is done without certificates that can be read, there are none.
            Field::TlsCertChainLength => Some(self.server.chain.len() as u64)
                .filter(|&length| way == Direction::Reply && (length > 0 || side.progress >= server::HANDSHAKE_DONE)),
            Field::TlsAlpnCount => side.hello.as_ref().map(|hello| hello.alpns.len() as u64),
            _ => None,
        }
    }

    fn special(&self, keyword: &str, argument: &str, way: Direction) -> Option<bool> {
        let side = self.side(way);
        let certificate = side.certificate.as_ref();
        // What it is worth is asked of the server's alone.
        let server = certificate.filter(|_| way == Direction::Reply);
        match keyword {
            crate::content::watch::ENCRYPTED_HELLO => {
                Some(side.hello.as_ref().is_some_and(super::hello::Hello::is_encrypted))
            }
            "tls.version" => Some(super::log::version_is(side.version, argument)),
            "ssl_version" => Some(log::one_of_versions(side.version, argument)),
            "ssl_state" => Some(self.state(argument)),
            "tls.subject" => Some(certificate.is_some_and(|cert| contains(&cert.subject, argument))),
            "tls.issuerdn" => Some(certificate.is_some_and(|cert| contains(&cert.issuer, argument))),
            "tls.fingerprint" => {
                Some(certificate.is_some_and(|cert| contains(&cert.fingerprint, &argument.to_ascii_lowercase())))
            }
            "tls_cert_expired" | "tls_cert_valid" => {
                let now = i64::try_from(self.now.0 / 1_000_000_000).unwrap_or(i64::MAX);
                let cert = server?;
                let expired = cert.not_after < now;
                let valid = !expired && cert.not_before <= now;
                Some(if keyword == "tls_cert_valid" { valid } else { expired })
            }
            "tls_cert_notbefore" => Some(log::date_is(server?.not_before, argument)),
            "tls_cert_notafter" => Some(log::date_is(server?.not_after, argument)),
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        log::connection(self, json);
    }

    fn is_logged(&self) -> bool {
        // Without a certificate only the modern handshake, which hides it, is worth a line.
        let modern = self.server.version >= 0x0304 && self.server.hello.is_some();
        self.server.certificate.is_some() || modern
    }
}

impl Connection {
    /// `ssl_state`: which message is the newest; names separated by `,` or `|`, negated by `!`.
    fn state(&self, argument: &str) -> bool {
        argument.split(['|', ',']).map(str::trim).any(|name| {
            let (negated, name) = match name.strip_prefix('!') {
                Some(name) => (true, name.trim()),
                None => (false, name),
            };
            let named = match name {
                "client_hello" => Newest::ClientHello,
                "server_hello" => Newest::ServerHello,
                "client_keyx" => Newest::ClientKeys,
                "server_keyx" => Newest::ServerKeys,
                "unknown" => Newest::Unknown,
                _ => return false,
            };
            (self.newest == named) != negated
        })
    }
}

/// Whether a text contains what a keyword names; `!` before it asks for the contrary, quotation marks do not count.
fn contains(text: &str, argument: &str) -> bool {
    let argument = argument.trim();
    let (negated, wanted) = match argument.strip_prefix('!') {
        Some(wanted) => (true, wanted.trim()),
        None => (false, argument),
    };
    text.contains(wanted.trim_matches('"')) != negated
}
