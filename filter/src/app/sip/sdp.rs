//! Descriptions of sessions (RFC 8866): lines of one letter, "=", and a value.

use weir_ids_rules::Buffer;

use crate::app::read::line;
use crate::json::Json;

/// Lines of a kind, and media, that are kept.
const LINES: usize = 128;

type Text = Box<[u8]>;

/// A description.
#[derive(Debug, Default)]
pub(super) struct Sdp {
    origin: Option<Text>,
    name: Option<Text>,
    info: Option<Text>,
    uri: Option<Text>,
    email: Option<Text>,
    phone: Option<Text>,
    connection: Option<Text>,
    bandwidths: Vec<Text>,
    times: Vec<(Text, Option<Text>)>,
    timezone: Option<Text>,
    key: Option<Text>,
    attributes: Vec<Text>,
    media: Vec<Media>,
}

/// One medium of a session.
#[derive(Debug, Default)]
struct Media {
    media: Text,
    info: Option<Text>,
    connection: Option<Text>,
    bandwidths: Vec<Text>,
    key: Option<Text>,
    attributes: Vec<Text>,
}

fn push(list: &mut Vec<Text>, value: &[u8]) {
    if list.len() < LINES {
        list.push(value.into());
    }
}

impl Sdp {
    /// Reads one. `None`: it does not begin as one.
    pub(super) fn read(body: &[u8]) -> Option<Sdp> {
        let mut sdp = Sdp::default();
        let mut rest = body;
        let mut first = true;
        while !rest.is_empty() {
            let (text, length) = line(rest).unwrap_or((rest, rest.len()));
            rest = rest.get(length..).unwrap_or_default();
            let [kind, b'=', value @ ..] = text else { continue };
            if std::mem::take(&mut first) && *kind != b'v' {
                return None;
            }
            sdp.take(*kind, value);
        }
        (!first).then_some(sdp)
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        let text = || Some(Text::from(value));
        if kind == b'm' {
            if self.media.len() < LINES {
                self.media.push(Media { media: value.into(), ..Media::default() });
            }
            return;
        }
        if let Some(media) = self.media.last_mut() {
            match kind {
                b'i' => media.info = text(),
                b'c' => media.connection = text(),
                b'b' => push(&mut media.bandwidths, value),
                b'k' => media.key = text(),
                b'a' => push(&mut media.attributes, value),
                _ => {}
            }
            return;
        }
        match kind {
            b'o' => self.origin = text(),
            b's' => self.name = text(),
            b'i' => self.info = text(),
            b'u' => self.uri = text(),
            b'e' => self.email = text(),
            b'p' => self.phone = text(),
            b'c' => self.connection = text(),
            b'b' => push(&mut self.bandwidths, value),
            b't' if self.times.len() < LINES => self.times.push((value.into(), None)),
            b'r' => {
                if let Some((_, repeat)) = self.times.last_mut() {
                    *repeat = text();
                }
            }
            b'z' => self.timezone = text(),
            b'k' => self.key = text(),
            b'a' => push(&mut self.attributes, value),
            _ => {}
        }
    }

    /// The nth value of a buffer.
    pub(super) fn value(&self, buffer: Buffer, nth: usize) -> Option<&[u8]> {
        fn once(value: &Option<Text>, nth: usize) -> Option<&[u8]> {
            value.as_deref().filter(|_| nth == 0)
        }
        let media =
            |part: fn(&Media) -> Option<&Text>| self.media.iter().filter_map(part).nth(nth).map(|text| &text[..]);
        match buffer {
            Buffer::SdpOrigin => once(&self.origin, nth),
            Buffer::SdpSessionName => once(&self.name, nth),
            Buffer::SdpSessionInfo => once(&self.info, nth),
            Buffer::SdpUri => once(&self.uri, nth),
            Buffer::SdpEmail => once(&self.email, nth),
            Buffer::SdpPhoneNumber => once(&self.phone, nth),
            Buffer::SdpConnectionData => once(&self.connection, nth),
            Buffer::SdpBandwidth => self.bandwidths.get(nth).map(|text| &text[..]),
            Buffer::SdpTime => self.times.get(nth).map(|(time, _)| &time[..]),
            Buffer::SdpRepeatTime => self.times.iter().filter_map(|(_, repeat)| repeat.as_deref()).nth(nth),
            Buffer::SdpTimezone => once(&self.timezone, nth),
            Buffer::SdpEncryptionKey => once(&self.key, nth),
            Buffer::SdpAttribute => self.attributes.get(nth).map(|text| &text[..]),
            Buffer::SdpMediaMedia => media(|media| Some(&media.media)),
            Buffer::SdpMediaInfo => media(|media| media.info.as_ref()),
            Buffer::SdpMediaConnectionData => media(|media| media.connection.as_ref()),
            Buffer::SdpMediaEncryptionKey => media(|media| media.key.as_ref()),
            _ => None,
        }
    }

    /// Writes the members that EVE shows.
    pub(super) fn log(&self, json: &mut Json<'_>) {
        let texts = [
            ("origin", &self.origin),
            ("session_name", &self.name),
            ("session_info", &self.info),
            ("uri", &self.uri),
            ("email", &self.email),
            ("phone_number", &self.phone),
            ("connection_data", &self.connection),
        ];
        for (key, value) in texts {
            text(json, key, value);
        }
        list(json, "bandwidths", &self.bandwidths);
        if !self.times.is_empty() {
            json.array("time_descriptions", |json| {
                for (time, repeat) in &self.times {
                    json.item(|json| {
                        json.bytes("time", time);
                        text(json, "repeat_time", repeat);
                    });
                }
            });
        }
        text(json, "timezone", &self.timezone);
        text(json, "encryption_key", &self.key);
        list(json, "attributes", &self.attributes);
        if !self.media.is_empty() {
            json.array("media_descriptions", |json| {
                for media in &self.media {
                    json.item(|json| media.log(json));
                }
            });
        }
    }
}

impl Media {
    fn log(&self, json: &mut Json<'_>) {
        json.bytes("media", &self.media);
        text(json, "media_info", &self.info);
        list(json, "bandwidths", &self.bandwidths);
        text(json, "connection_data", &self.connection);
        text(json, "encryption_key", &self.key);
        list(json, "attributes", &self.attributes);
    }
}

fn text(json: &mut Json<'_>, key: &str, value: &Option<Text>) {
    if let Some(value) = value {
        json.bytes(key, value);
    }
}

fn list(json: &mut Json<'_>, key: &str, values: &[Text]) {
    if !values.is_empty() {
        json.array(key, |json| {
            for value in values {
                json.item_bytes(value);
            }
        });
    }
}
