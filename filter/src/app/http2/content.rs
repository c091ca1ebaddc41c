//! What streams carry: headers, bodies, and DNS messages in either.

use weir_ids_rules::Buffer;

use super::frame::{self, Head, kind};
use super::hpack;
use super::stream::{Half, Stream, progress};
use super::{DNS, Http2};
use crate::app::decompress::{Coding, Decompressor, Limits as Bombs, Status};
use crate::app::file::Limits;
use crate::app::http1::{CODED, UNDONE_ELSEWHERE};
use crate::app::{Anomaly, Settings, dns};
use crate::inspect::Direction;

impl Http2 {
    /// The request of stream 1 came by HTTP/1, with the client's settings in a header (RFC 7540, 3.2).
    pub(super) fn upgraded(&mut self, said: &[(Buffer, Vec<u8>)]) {
        let mut stream = Stream::new(1, self.list.next_number());
        let mut settings = None;
        for (buffer, value) in said {
            let (name, value): (&[u8], &[u8]) = match buffer {
                Buffer::HttpMethod => (b":method", value),
                Buffer::HttpUriRaw => (b":path", value),
                Buffer::HttpHostRaw => (b":authority", value),
                _ => {
                    let Some(colon) = memchr::memmem::find(value, b": ") else { continue };
                    (value.get(..colon).unwrap_or_default(), value.get(colon + 2..).unwrap_or_default())
                }
            };
            if name.eq_ignore_ascii_case(b"http2-settings") {
                settings = Some(base64url(value));
            } else if !name.eq_ignore_ascii_case(b"host") {
                stream.client.headers.push(hpack::Header { name: name.into(), value: value.into() });
            }
        }
        stream.client.progress = progress::COMPLETE;
        self.highest[1] = 1;
        self.list.push(stream);
        let Some(settings) = settings else { return };
        let head = Head::of(kind::SETTINGS, settings.len());
        let stream = self.stream(Direction::Original, head);
        let intact = stream.is_none_or(|stream| frame::note(head, &settings, &mut stream.client));
        if !intact {
            self.list.anomaly(Anomaly("http2.invalid_http1_settings"));
        }
    }

    /// Headers of a direction of a stream.
    pub(super) fn headers(&mut self, way: Direction, id: u32, block: hpack::Block, _settings: &Settings) {
        let Some((mark, stream)) = self.list.marked_mut().rev().find(|(_, stream)| stream.id == id) else { return };
        let number = stream.number;
        let half = stream.half_mut(way);
        let room = 4096usize.saturating_sub(half.headers.len());
        half.headers.extend(block.headers.into_iter().take(room));
        block.sizes.into_iter().for_each(|size| Half::add(&mut half.sizes, size));
        half.progress = half.progress.max(progress::HEADERS);
        half.decompressor = codings(half).map(|coding| Decompressor::new(&coding, Bombs::default()));
        if half.value("content-type") == Some(b"application/dns-message") {
            half.carried.get_or_insert_default();
        }
        if way == Direction::Reply {
            return;
        }
        for name in oddities(half) {
            mark.note(Anomaly(name));
        }
        if let Some(message) = half.value(":path").and_then(asked_by_path) {
            half.dns = dns::carried(&message, way, number).map(Box::new);
            let found = half.dns.is_some();
            self.found_dns(found);
        }
    }

    /// Bytes of a body.
    pub(super) fn body(&mut self, way: Direction, id: u32, bytes: &[u8], settings: &Settings) {
        let Some((mark, stream)) = self.list.marked_mut().rev().find(|(_, stream)| stream.id == id) else { return };
        let name = match stream.half(way).body_begun {
            true => Vec::new(),
            false => stream.client.value(":path").unwrap_or_default().to_vec(),
        };
        let half = stream.half_mut(way);
        if bytes.is_empty() || half.progress >= progress::COMPLETE {
            return;
        }
        if let Some(carried) = &mut half.carried {
            carried.extend_from_slice(bytes);
            if carried.len() > DNS {
                half.carried = None;
                mark.note(Anomaly(match way {
                    Direction::Original => "http2.dns_request_too_long",
                    Direction::Reply => "http2.dns_response_too_long",
                }));
            }
        }
        if !half.body_begun {
            half.body_begun = true;
            let opaque = half.value("content-encoding").is_some_and(is_unknown).then_some(CODED);
            let file = half.files.open(&name, Limits { at_once: true, ..Limits::default() }, settings.hashed());
            if let Some(file) = file {
                file.opaque = opaque;
            }
        }
        let Some(file) = half.files.current() else { return };
        match &mut half.decompressor {
            None => file.append(bytes),
            Some(decompressor) => {
                if decompressor.write(bytes, &mut |out| file.append(out)) == Status::Bomb {
                    mark.note(Anomaly("http2.failed_decompression"));
                    file.opaque = Some("a body that unfolds to too much");
                }
            }
        }
    }

    /// A direction of a stream is complete.
    pub(super) fn end_stream(&mut self, way: Direction, id: u32) {
        let Some(stream) = self.list.iter_mut().rev().find(|stream| stream.id == id) else { return };
        let number = stream.number;
        let half = stream.half_mut(way);
        if let Some(file) = half.files.current() {
            if let Some(decompressor) = &mut half.decompressor {
                decompressor.finish(&mut |out| file.append(out));
            }
            file.close();
        }
        if let Some(message) = half.carried.take() {
            half.dns = dns::carried(&message, way, number).map(Box::new);
        }
        half.progress = progress::COMPLETE;
        let found = half.dns.is_some();
        self.found_dns(found);
    }

    /// DNS was found, or not: from the first message on the connection counts as DNS over HTTPS.
    fn found_dns(&mut self, found: bool) {
        if found && !std::mem::replace(&mut self.dns, true) {
            self.list.iter_mut().for_each(|stream| stream.shows_dns = true);
        }
    }
}

/// Codings on top of each other that are undone.
const LAYERS: usize = 3;

/// The codings that a body's headers name.
fn codings(half: &Half) -> Option<Vec<Coding>> {
    let named = half.value("content-encoding")?;
    let codings: Vec<Coding> = named
        .split(|&byte| byte == b',')
        .filter_map(|name| match name.trim_ascii() {
            b"gzip" | b"x-gzip" => Some(Coding::Gzip),
            b"deflate" => Some(Coding::Deflate),
            b"br" => Some(Coding::Brotli),
            _ => None,
        })
        .take(LAYERS)
        .collect();
    (!codings.is_empty()).then_some(codings)
}

/// Whether some coding of these is not undone.
fn is_unknown(named: &[u8]) -> bool {
    let words = || named.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    words().count() > LAYERS
        || words().any(|word| UNDONE_ELSEWHERE.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// What is odd in a request's headers.
fn oddities(half: &Half) -> impl Iterator<Item = &'static str> {
    let (authority, host) = (half.value(":authority"), half.value("host"));
    let differ = matches!((authority, host), (Some(one), Some(other)) if !one.eq_ignore_ascii_case(other));
    let user = authority.is_some_and(|name| name.contains(&b'@'));
    let found = [(differ, "http2.authority_host_mismatch"), (user, "http2.userinfo_in_uri")];
    found.into_iter().filter_map(|(is, name)| is.then_some(name))
}

/// The DNS message that a path carries in its query ("?dns=", base64url without padding).
fn asked_by_path(path: &[u8]) -> Option<Vec<u8>> {
    let query = path.split(|&byte| byte == b'?').nth(1)?;
    let coded = query.split(|&byte| byte == b'&').find_map(|part| part.strip_prefix(b"dns="))?;
    Some(base64url(coded))
}

/// Bytes in base64 with the alphabet for URLs, up to what is not of it.
fn base64url(coded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(coded.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in coded.iter().take(DNS * 4 / 3) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => break,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    out
}
