//! The state machine of requests.

use weir_ids_rules::AppProtocol;

use super::body::Plan;
use super::exchange::{Exchange, UNSEEN};
use super::head::{self, Next, Reader};
use super::line::{self, ChunkLength, Method, Version, contains_nocase, starts_with_nocase};
use super::message::{Added, Progress, oddities};
use super::multipart::parameter;
use super::uri::Reading;
use super::{HEAD, Http1, Step};
use crate::app::{Anomaly, Context, Settings};
use crate::inspect::Direction;

/// What is read next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing, until a byte comes.
    #[default]
    Idle,
    /// A request line.
    Line,
    /// Whatever follows a request line: fields, unless it is HTTP/0.9.
    AfterLine,
    /// Fields.
    Headers,
    /// Nothing, until the answer to CONNECT is known.
    Connect,
    /// The length of a chunk.
    ChunkLength,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of a chunk's line.
    ChunkEnd,
    /// So many bytes of a body.
    Body(u64),
    /// Bytes that no request begins with belong to the body.
    Finish,
    /// Nothing that matters.
    Ignore,
    /// Nothing: where the request ends cannot be known.
    Lost,
}

/// White space that may follow a request of HTTP/0.9.
const JUNK_09: usize = 16;

impl Http1 {
    /// Reads what stands at the start of a request's bytes.
    pub(super) fn ask(&mut self, bytes: &[u8], end: bool, context: &mut Context<'_>) -> Step {
        match self.asking {
            State::Idle => self.ask_idle(bytes, context),
            State::Line => self.ask_line(bytes, end),
            State::AfterLine => self.ask_after_line(bytes),
            State::Headers => self.ask_headers(bytes, end, context),
            State::Connect => self.ask_connect(),
            State::ChunkLength => self.ask_chunk_length(bytes, end),
            State::Chunk(0) | State::ChunkEnd => self.ask_chunk_end(bytes),
            State::Chunk(left) => {
                let used = self.ask_body(bytes, left, context.settings);
                self.asking = State::Chunk(left - used as u64);
                if used == 0 { self.ask_cut(end) } else { Step::On(used) }
            }
            State::Body(0) => {
                self.asking = State::Finish;
                Step::On(0)
            }
            State::Body(left) => {
                let used = self.ask_body(bytes, left, context.settings);
                self.asking = State::Body(left - used as u64);
                if used == 0 { self.ask_cut(end) } else { Step::On(used) }
            }
            State::Finish => self.ask_finish(bytes, end, context.settings),
            State::Ignore => Step::Wait(bytes.len()),
            State::Lost => Step::Fail,
        }
    }

    /// The transaction whose request is read.
    fn asked_mut(&mut self) -> Option<&mut Exchange> {
        self.list.numbered_mut(self.asked).map(|(_, exchange)| exchange)
    }

    fn ask_idle(&mut self, bytes: &[u8], context: &Context<'_>) -> Step {
        // Empty lines between requests belong to none.
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank == bytes.len() {
            return Step::Wait(blank);
        }
        if self.list.count() >= context.settings.transactions_of(AppProtocol::Http1) {
            return Step::Fail;
        }
        self.asked = self.list.next_number();
        let mut exchange = Exchange::default();
        exchange.request.progress = Progress::Line;
        self.list.push(exchange);
        self.asking = State::Line;
        Step::On(blank)
    }

    fn ask_line(&mut self, bytes: &[u8], end: bool) -> Step {
        let used = match memchr::memchr(b'\n', bytes) {
            Some(at) => at + 1,
            None if bytes.len() > self.options.field_limit => return self.ask_too_long(),
            None if !end => return Step::Wait(0),
            None if bytes.is_empty() => return self.ask_cut(end),
            None => bytes.len(),
        };
        let whole = bytes.get(..used).unwrap_or_default();
        if used > self.options.field_limit {
            return self.ask_too_long();
        }
        if line::is_ignorable(whole) {
            return Step::On(used);
        }
        self.set_request_line(line::chomp(whole));
        self.asking = State::AfterLine;
        Step::On(used)
    }

    fn ask_too_long(&mut self) -> Step {
        self.note(self.asked, "http.request_field_too_long");
        Step::Fail
    }

    /// Takes the request line apart and reads its target.
    fn set_request_line(&mut self, text: &[u8]) {
        let reading = Reading {
            double_path: self.options.double_path,
            double_query: self.options.double_query,
            plus: self.options.plus,
        };
        let number = self.asked;
        let Some(exchange) = self.asked_mut() else { return };
        let parsed = line::request_line(text);
        exchange.request.set_line(text);
        exchange.method = line::method(parsed.method);
        exchange.method_name = exchange.request.part_of_line(text, parsed.method);
        exchange.uri = exchange.request.part_of_line(text, parsed.uri);
        exchange.request_protocol = exchange.request.part_of_line(text, parsed.protocol);
        exchange.has_uri = !parsed.uri.is_empty();
        exchange.is_09 = parsed.protocol.is_empty();
        exchange.request_version = if exchange.is_09 { Version::V09 } else { line::version(parsed.protocol) };
        let normal = exchange.set_target(parsed.uri, reading);
        let events = [
            (parsed.leading_space, "http.request_line_leading_whitespace"),
            (parsed.odd_method_end, "http.method_delim_non_compliant"),
            (parsed.odd_uri_end, "http.uri_delim_non_compliant"),
            (normal.double, "http.double_encoded_uri"),
            (!normal.valid_host, "http.request_uri_host_invalid"),
        ];
        for (_, name) in events.into_iter().filter(|(is, _)| *is) {
            self.note(number, name);
        }
    }

    fn ask_after_line(&mut self, bytes: &[u8]) -> Step {
        let Some(exchange) = self.asked_mut() else { return Step::Fail };
        if exchange.is_09 {
            let blank = bytes.iter().take_while(|&&byte| head::is_space(byte)).count();
            if blank == bytes.len() && blank <= JUNK_09 {
                self.asking = State::Finish;
                return Step::On(0);
            }
            // More than white space follows: it has fields, the version is only missing.
            exchange.is_09 = false;
            self.note(self.asked, "http.request_line_missing_protocol");
        }
        let Some(exchange) = self.asked_mut() else { return Step::Fail };
        exchange.request.progress = Progress::Headers;
        self.asking = State::Headers;
        Step::On(0)
    }

    fn ask_headers(&mut self, bytes: &[u8], end: bool, context: &mut Context<'_>) -> Step {
        let limit = self.options.fields;
        match head::next(bytes, Reader::Server, end) {
            Next::More if bytes.len() > self.options.field_limit => self.ask_too_long(),
            Next::More if end => {
                self.ask_fields_end(context);
                self.ask_complete();
                Step::Wait(bytes.len())
            }
            Next::More => Step::Wait(0),
            Next::End(used) => {
                if let Some(exchange) = self.asked_mut() {
                    exchange.request.keep(bytes.get(..used).unwrap_or_default());
                }
                self.ask_fields_end(context);
                Step::On(used)
            }
            Next::Field { name, value, folded, flags, used, last } => {
                let number = self.asked;
                let Some(exchange) = self.asked_mut() else { return Step::Fail };
                let raw = bytes.get(..used).unwrap_or_default();
                let too_much = exchange.request.kept() > HEAD;
                let added = exchange.request.add(raw, name, value, folded.as_deref(), limit);
                oddities(flags).for_each(|[event, _]| self.note(number, event));
                match added {
                    Added::First | Added::Again => {}
                    Added::Second => self.note(number, "http.request_header_repetition"),
                    Added::OtherLength => {
                        self.note(number, "http.request_header_repetition");
                        self.note(number, "http.duplicate_content_length_field_in_request");
                    }
                    Added::TooMany => {
                        self.note(number, "http.request_too_many_headers");
                        return Step::Fail;
                    }
                }
                if too_much {
                    return self.ask_too_long();
                }
                if last {
                    self.ask_fields_end(context);
                }
                Step::On(used)
            }
        }
    }

    /// All fields are there: the target's host, and whether a body follows.
    fn ask_fields_end(&mut self, context: &Context<'_>) {
        let (number, own_layers) = (self.asked, self.options.layers);
        let Some(exchange) = self.asked_mut() else { return };
        if exchange.request.progress > Progress::Headers {
            self.asking = State::Finish;
            return;
        }
        let mut events = Vec::new();
        exchange.settle_host(&mut |name| events.push(name));
        if exchange.request.field(b"authorization").is_some_and(is_unknown_scheme) {
            events.push("http.request_auth_unrecognized");
        }
        exchange.request.progress = Progress::Body;
        let layers = own_layers.unwrap_or(context.settings.decompression_layers);
        exchange.request.set_codings(layers, &mut |name| events.push(name));
        self.asking = exchange.request_body_state(&mut |name| events.push(name));
        events.into_iter().for_each(|name| self.note(number, name));
    }

    /// An answer refuses what was announced before it was sent: no body follows.
    pub(super) fn spare_request_body(&mut self, status: Option<u16>) {
        let State::Body(_) = self.asking else { return };
        if self.asked != self.answered || !matches!(status, Some(400..=499)) {
            return;
        }
        let Some(exchange) = self.asked_mut() else { return };
        let request = &exchange.request;
        if request.body.length == 0 && request.field(b"expect") == Some(b"100-continue") {
            self.asking = State::Finish;
        }
    }

    /// Goes on once it is known that CONNECT opened no tunnel.
    fn ask_connect(&mut self) -> Step {
        let Some(exchange) = self.asked_mut() else {
            self.asking = State::Idle;
            return Step::On(0);
        };
        if exchange.response.progress <= Progress::Line
            || exchange.status.is_some_and(|status| (200..300).contains(&status))
        {
            return Step::Wait(0);
        }
        self.asking = State::Finish;
        Step::On(0)
    }

    fn ask_chunk_length(&mut self, bytes: &[u8], end: bool) -> Step {
        let Some(at) = memchr::memchr(b'\n', bytes) else {
            if bytes.len() > self.options.field_limit || !line::may_be_chunk_length(bytes) {
                self.note(self.asked, "http.invalid_request_chunk_len");
                return Step::Fail;
            }
            return self.ask_cut(end);
        };
        let used = at + 1;
        let text = bytes.get(..used).unwrap_or_default();
        let Some(exchange) = self.asked_mut() else { return Step::Fail };
        exchange.request.body.length = exchange.request.body.length.saturating_add(used as u64);
        if line::is_chunk_blank_line(text) {
            return Step::On(used);
        }
        match line::chunk_length(text) {
            ChunkLength::Length { length: 0, .. } => {
                exchange.request.progress = Progress::Trailer;
                self.asking = State::Headers;
            }
            ChunkLength::Length { length, extension } => {
                self.asking = State::Chunk(length);
                if extension {
                    self.note(self.asked, "http.request_chunk_extension");
                }
            }
            ChunkLength::Empty | ChunkLength::Invalid => {
                self.note(self.asked, "http.invalid_request_chunk_len");
                return Step::Fail;
            }
        }
        Step::On(used)
    }

    fn ask_chunk_end(&mut self, bytes: &[u8]) -> Step {
        let (used, step) = match memchr::memchr(b'\n', bytes) {
            Some(at) => {
                self.asking = State::ChunkLength;
                (at + 1, Step::On(at + 1))
            }
            None => {
                self.asking = State::ChunkEnd;
                (bytes.len(), Step::Wait(bytes.len()))
            }
        };
        if let Some(exchange) = self.asked_mut() {
            exchange.request.body.length = exchange.request.body.length.saturating_add(used as u64);
        }
        step
    }

    /// Takes up to so many bytes of the body.
    fn ask_body(&mut self, bytes: &[u8], left: u64, settings: &Settings) -> usize {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.store_request(bytes.get(..used).unwrap_or_default(), settings);
        used
    }

    fn store_request(&mut self, bytes: &[u8], settings: &Settings) {
        let keep = self.keep(Direction::Original, settings);
        let Some((mark, exchange)) = self.list.numbered_mut(self.asked) else { return };
        if bytes.is_empty() {
            return;
        }
        if !exchange.request.body.has_begun() {
            let path = exchange.path().to_vec();
            let kind = exchange.request.field(b"content-type").unwrap_or_default().to_vec();
            let is_file = matches!(exchange.method, Method::Post | Method::Put) && exchange.has_path;
            let plan = Plan {
                keep,
                name: is_file.then_some(&path[..]),
                // Servers read parts where a boundary is named, whatever they are said to be.
                boundary: if exchange.method == Method::Post {
                    parameter(&kind, b"boundary").filter(|boundary| !boundary.is_empty())
                } else {
                    None
                },
                range: None,
            };
            exchange.request.body.begin(&plan, &mut |event| mark.note(event));
        }
        exchange.request.body.take(bytes, &mut |event| mark.note(event));
    }

    /// No more bytes are there: waits for them, or ends the request as it is.
    fn ask_cut(&mut self, end: bool) -> Step {
        if end {
            let number = self.asked;
            if let Some((mark, exchange)) = self.list.numbered_mut(number) {
                exchange.request.body.truncate(&mut |event| mark.note(event));
            }
            self.ask_complete();
        }
        Step::Wait(0)
    }

    fn ask_finish(&mut self, bytes: &[u8], end: bool, settings: &Settings) -> Step {
        if bytes.is_empty() {
            self.ask_complete();
            return Step::On(0);
        }
        let (used, has_end) = match memchr::memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None if end || bytes.len() > self.options.field_limit => (bytes.len(), false),
            None => {
                // What begins like a method is the next request, whatever follows.
                let word = bytes.iter().take_while(|&&byte| !head::is_space(byte)).count();
                if line::method(bytes.get(..word).unwrap_or_default()) != Method::Unknown {
                    self.ask_complete();
                    return Step::On(0);
                }
                return Step::Wait(0);
            }
        };
        let whole = bytes.get(..used).unwrap_or_default();
        let text = if has_end { whole.get(..used - 1).unwrap_or_default() } else { whole };
        if text.is_empty() {
            self.ask_complete();
            return Step::On(0);
        }
        let method = line::request_line(text).method;
        if method.is_empty() {
            self.store_request(whole, settings);
            return Step::On(used);
        }
        if line::method(method) == Method::Unknown {
            self.note(self.asked, "http.request_body_unexpected");
            self.store_request(whole, settings);
            return Step::On(used);
        }
        self.ask_complete();
        Step::On(0)
    }

    /// The request is complete.
    fn ask_complete(&mut self) {
        self.asking = State::Idle;
        let Some((mark, exchange)) = self.list.numbered_mut(self.asked) else { return };
        exchange.request.body.close(&mut |event: Anomaly| mark.note(event));
        exchange.request.progress = Progress::Complete;
        if exchange.is_09 {
            self.asking = State::Ignore;
        }
    }

    /// Bytes of a request are missing.
    pub(super) fn ask_gap(&mut self, bytes: u64) -> bool {
        let number = self.asked;
        let State::Body(left) = self.asking else {
            // Before the first request nothing can be made of what follows; elsewhere the next line may be one.
            return self.asking != State::Idle || self.list.next_number() > 0;
        };
        let lost = left.min(bytes);
        if let Some((mark, exchange)) = self.list.numbered_mut(number) {
            exchange.request.body.gap(lost, &mut |event| mark.note(event));
        }
        self.asking = State::Body(left - lost);
        if lost == left {
            self.ask_complete();
        }
        true
    }

    /// Makes a transaction for a response whose request was not seen.
    pub(super) fn invent_request(&mut self) {
        let mut exchange = Exchange::default();
        exchange.uri = exchange.request.build(UNSEEN);
        exchange.normal_uri = exchange.uri;
        exchange.path_length = UNSEEN.len();
        exchange.has_path = true;
        exchange.has_uri = true;
        exchange.request.progress = Progress::Complete;
        self.list.push(exchange);
    }
}

impl Exchange {
    /// What follows the fields.
    fn request_body_state(&mut self, note: &mut dyn FnMut(&'static str)) -> State {
        if self.method == Method::Connect {
            return State::Connect;
        }
        let length = self.request.lenient_field(b"content-length").map(line::content_length);
        if let Some(coding) = self.request.lenient_field(b"transfer-encoding") {
            let is_chunked = contains_nocase(coding, b"chunked");
            if !is_chunked || self.request_version < Version::V11 {
                note("http.invalid_transfer_encoding_value_in_request");
            }
            return if is_chunked { State::ChunkLength } else { State::Lost };
        }
        match length {
            Some(None) => {
                note("http.invalid_content_length_field_in_request");
                State::Lost
            }
            Some(Some(length)) if length > 0 => State::Body(length),
            Some(Some(_)) | None => State::Finish,
        }
    }
}

/// Whether credentials are of a scheme that is not known.
fn is_unknown_scheme(credentials: &[u8]) -> bool {
    ![&b"basic"[..], b"digest", b"bearer"].iter().any(|scheme| starts_with_nocase(credentials, scheme))
}
