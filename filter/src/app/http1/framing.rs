//! What follows a response's fields: whether there is a body, and how it ends.

use weir_ids_rules::AppProtocol;

use super::exchange::Exchange;
use super::line::{self, Method, Version, contains_nocase, starts_with_nocase};
use super::message::Message;
use super::response::State;

/// What follows a response's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// A body, or its end.
    State(State),
    /// The real response: this one was interim.
    Interim,
    /// Another protocol.
    Tunnel(Option<AppProtocol>),
    /// It cannot be told.
    Invalid,
}

impl Exchange {
    /// Decides whether a body follows, and how it ends (RFC 9112, 6.3, as browsers read it).
    pub fn response_body_state(&mut self, note: &mut dyn FnMut(&'static str)) -> After {
        let response = &self.response;
        let length = response.lenient_field(b"content-length").map(line::content_length);
        let coding = response.lenient_field(b"transfer-encoding");
        let framed = length.is_some() || coding.is_some();
        match self.status {
            Some(200..=299) if self.method == Method::Connect => return After::Tunnel(None),
            Some(101) if !framed => return After::Tunnel(upgrade(response)),
            Some(100) if coding.is_none() && !matches!(length, Some(Some(1..))) => {
                if std::mem::replace(&mut self.continued, true) {
                    note("http.100_continue_already_seen");
                }
                return After::Interim;
            }
            _ => {}
        }
        if self.method == Method::Head {
            return After::State(State::Finish);
        }
        if matches!(self.status, Some(100..=199 | 204 | 304)) {
            if !framed {
                return After::State(State::Finish);
            }
            note("http.response_body_unexpected");
        }
        if let Some(coding) = coding.filter(|coding| contains_nocase(coding, b"chunked")) {
            if !coding.eq_ignore_ascii_case(b"chunked") {
                note("http.response_abnormal_transfer_encoding");
            }
            if line::version(response.get(self.response_protocol)) < Version::V11 {
                note("http.response_chunked_old_proto");
            }
            return After::State(State::ChunkLength);
        }
        match length {
            Some(Some(0)) => After::State(State::Finish),
            Some(Some(length)) => After::State(State::Body(length)),
            Some(None) => {
                note("http.invalid_content_length_field_in_response");
                After::Invalid
            }
            None => {
                let kind = response.field(b"content-type").unwrap_or_default();
                if starts_with_nocase(kind, b"multipart/byteranges") {
                    note("http.response_multipart_byteranges");
                    return After::Invalid;
                }
                After::State(State::UntilEnd)
            }
        }
    }
}

/// The protocol that a response with status 101 names.
fn upgrade(response: &Message) -> Option<AppProtocol> {
    let named = response.field(b"upgrade").unwrap_or_default();
    if contains_nocase(named, b"h2c") {
        Some(AppProtocol::Http2)
    } else if contains_nocase(named, b"websocket") {
        Some(AppProtocol::WebSocket)
    } else {
        None
    }
}
