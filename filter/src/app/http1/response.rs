//! The state machine of responses.

use weir_ids_rules::AppProtocol;

use super::body::Plan;
use super::exchange::Exchange;
use super::framing::After;
use super::head::{self, Next, Reader};
use super::line::{self, ChunkLength, Version};
use super::message::{Added, Progress, oddities};
use super::range;
use super::{HEAD, Http1, Step};
use crate::app::{Anomaly, Context, Settings};
use crate::inspect::Direction;

/// What is read next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing, until a byte comes.
    #[default]
    Idle,
    /// A response line.
    Line,
    /// Fields.
    Headers,
    /// The length of a chunk.
    ChunkLength,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of a chunk's line.
    ChunkEnd,
    /// So many bytes of a body.
    Body(u64),
    /// A body that ends with the stream.
    UntilEnd,
    /// Bytes that no response begins with belong to the body.
    Finish,
    /// The rest of a line that belongs to the body beyond its announced length.
    Extra,
}

impl Http1 {
    /// Reads what stands at the start of a response's bytes.
    pub(super) fn answer(&mut self, bytes: &[u8], end: bool, context: &mut Context<'_>) -> Step {
        match self.answering {
            State::Idle => self.answer_idle(bytes, context),
            State::Line => self.answer_line(bytes, end, context.settings),
            State::Headers => self.answer_headers(bytes, end, context),
            State::ChunkLength => self.answer_chunk_length(bytes, end),
            State::Chunk(0) | State::ChunkEnd => self.answer_chunk_end(bytes, end),
            State::Chunk(left) => {
                let used = self.answer_body(bytes, left, context.settings);
                self.answering = State::Chunk(left - used as u64);
                if used == 0 { self.answer_cut(end) } else { Step::On(used) }
            }
            State::Body(0) => {
                self.answering = State::Finish;
                Step::On(0)
            }
            State::Body(left) => {
                let used = self.answer_body(bytes, left, context.settings);
                self.answering = State::Body(left - used as u64);
                if used == 0 { self.answer_cut(end) } else { Step::On(used) }
            }
            State::UntilEnd => {
                let used = self.answer_body(bytes, u64::MAX, context.settings);
                if let Some(exchange) = self.answered_mut() {
                    exchange.response.body.set_open_ended();
                }
                if used == 0 { self.answer_cut(end) } else { Step::On(used) }
            }
            State::Finish => self.answer_finish(bytes, end, context.settings),
            State::Extra => self.answer_extra_line(bytes, end, context.settings),
        }
    }

    /// The transaction whose response is read.
    fn answered_mut(&mut self) -> Option<&mut Exchange> {
        self.list.numbered_mut(self.answered).map(|(_, exchange)| exchange)
    }

    fn answer_idle(&mut self, bytes: &[u8], context: &Context<'_>) -> Step {
        if bytes.is_empty() {
            return Step::Wait(0);
        }
        if self.answered >= self.list.next_number() {
            if self.list.count() >= context.settings.transactions_of(AppProtocol::Http1) {
                return Step::Fail;
            }
            self.answered = self.list.next_number();
            self.invent_request();
            self.note(self.answered, "http.unable_to_match_response_to_request");
        }
        let Some(exchange) = self.answered_mut() else { return Step::Fail };
        if exchange.is_09 {
            exchange.response.progress = Progress::Body;
            self.answering = State::UntilEnd;
            return Step::On(0);
        }
        let unfinished = exchange.request.progress == Progress::Line;
        exchange.response.progress = Progress::Line;
        self.answering = State::Line;
        if unfinished {
            self.note(self.answered, "http.request_line_incomplete");
        }
        Step::On(0)
    }

    fn answer_line(&mut self, bytes: &[u8], end: bool, settings: &Settings) -> Step {
        let used = match memchr::memchr2(b'\n', b'\r', bytes) {
            // CRLF and LFCR are one end; the byte after the first decides.
            Some(at) => match (bytes.get(at), bytes.get(at + 1)) {
                (Some(first), Some(second)) if matches!(second, b'\r' | b'\n') && first != second => at + 2,
                (_, Some(_)) => at + 1,
                (_, None) if end => at + 1,
                (_, None) => return Step::Wait(0),
            },
            None if bytes.len() > self.options.field_limit => return self.answer_too_long(),
            None if !end => return Step::Wait(0),
            None if bytes.is_empty() => return self.answer_complete(true),
            None => bytes.len(),
        };
        let (whole, rest) = bytes.split_at_checked(used).unwrap_or((bytes, &[]));
        if line::is_ignorable(whole) {
            return Step::On(used);
        }
        let text = line::chomp(whole);
        if line::is_body(whole) {
            return self.answer_without_line(whole, rest, settings);
        }
        self.set_response_line(text);
        self.answering = State::Headers;
        Step::On(used)
    }

    /// A line that is no response line: browsers show it.
    fn answer_without_line(&mut self, whole: &[u8], rest: &[u8], settings: &Settings) -> Step {
        let skip = rest.len() > 1 && (rest.first() == Some(&b'H') || line::chomp(whole).len() <= 2);
        if skip {
            return Step::On(whole.len());
        }
        if let Some(exchange) = self.answered_mut() {
            exchange.response.body.set_plain();
        }
        self.store_response(whole, settings);
        if rest.is_empty() {
            if let Some(exchange) = self.answered_mut() {
                exchange.response.progress = Progress::Body;
            }
            self.answering = State::Finish;
        }
        Step::On(whole.len())
    }

    fn answer_too_long(&mut self) -> Step {
        self.note(self.answered, "http.response_field_too_long");
        Step::Fail
    }

    fn set_response_line(&mut self, text: &[u8]) {
        let number = self.answered;
        let Some(exchange) = self.answered_mut() else { return };
        let parsed = line::response_line(text);
        let response = &mut exchange.response;
        response.set_line(text);
        exchange.response_protocol = response.part_of_line(text, parsed.protocol);
        exchange.status_text = response.part_of_line(text, parsed.status);
        exchange.status = line::status(parsed.status);
        let message = response.part_of_line(text, parsed.message);
        exchange.status_message = (!parsed.status.is_empty()).then_some(message);
        response.progress = Progress::Headers;
        let bad_status = exchange.status.is_none();
        if line::version(parsed.protocol) == Version::Invalid {
            self.note(number, "http.response_invalid_protocol");
        }
        if bad_status {
            self.note(number, "http.response_invalid_status");
        }
    }

    fn answer_headers(&mut self, bytes: &[u8], end: bool, context: &mut Context<'_>) -> Step {
        let limit = self.options.fields;
        match head::next(bytes, Reader::Browser, end) {
            Next::More if bytes.len() > self.options.field_limit => self.answer_too_long(),
            Next::More if end => self.answer_complete(true),
            Next::More => Step::Wait(0),
            Next::End(used) => {
                if let Some(exchange) = self.answered_mut() {
                    exchange.response.keep(bytes.get(..used).unwrap_or_default());
                }
                self.answer_fields_end(used, context)
            }
            Next::Field { name, value, folded, flags, used, last } => {
                let number = self.answered;
                let Some(exchange) = self.answered_mut() else { return Step::Fail };
                let raw = bytes.get(..used).unwrap_or_default();
                let too_much = exchange.response.kept() > HEAD;
                let added = exchange.response.add(raw, name, value, folded.as_deref(), limit);
                oddities(flags).for_each(|[_, event]| self.note(number, event));
                match added {
                    Added::First | Added::Again => {}
                    Added::Second => self.note(number, "http.response_header_repetition"),
                    Added::OtherLength => {
                        self.note(number, "http.response_header_repetition");
                        self.note(number, "http.duplicate_content_length_field_in_response");
                    }
                    Added::TooMany => {
                        self.note(number, "http.response_too_many_headers");
                        return Step::Fail;
                    }
                }
                if too_much {
                    return self.answer_too_long();
                }
                if last { self.answer_fields_end(used, context) } else { Step::On(used) }
            }
        }
    }

    /// All fields are there.
    fn answer_fields_end(&mut self, used: usize, context: &Context<'_>) -> Step {
        let (number, own_layers) = (self.answered, self.options.layers);
        let Some(exchange) = self.answered_mut() else { return Step::Fail };
        if exchange.response.progress > Progress::Headers {
            self.answering = State::Finish;
            return Step::On(used);
        }
        let mut events = Vec::new();
        let next = exchange.response_body_state(&mut |name| events.push(name));
        let codings = own_layers.unwrap_or(context.settings.decompression_layers);
        match next {
            After::Interim => exchange.response.progress = Progress::Line,
            After::State(_) | After::Tunnel(_) | After::Invalid => {
                exchange.response.progress = Progress::Body;
                exchange.response.set_codings(codings, &mut |name| events.push(name));
            }
        }
        let status = exchange.status;
        events.into_iter().for_each(|name| self.note(number, name));
        self.spare_request_body(status);
        match next {
            After::State(state) => {
                self.answering = state;
                Step::On(used)
            }
            After::Interim => {
                self.answering = State::Line;
                Step::On(used)
            }
            After::Tunnel(to) => {
                self.answer_complete(false);
                self.complete_tunnel_request(number);
                Step::Upgrade(used, to)
            }
            After::Invalid => Step::Fail,
        }
    }

    /// The request that opened a tunnel is complete as well.
    fn complete_tunnel_request(&mut self, number: u64) {
        if let Some((_, exchange)) = self.list.numbered_mut(number) {
            exchange.request.progress = Progress::Complete;
        }
    }

    fn answer_chunk_length(&mut self, bytes: &[u8], end: bool) -> Step {
        let Some(at) = memchr::memchr(b'\n', bytes) else {
            if bytes.is_empty() {
                return self.answer_cut(end);
            }
            if !line::may_be_chunk_length(bytes) || bytes.len() > self.options.field_limit {
                return self.answer_unchunked();
            }
            return if end { self.answer_complete(true) } else { Step::Wait(0) };
        };
        let used = at + 1;
        let text = bytes.get(..used).unwrap_or_default();
        let blank = line::is_chunk_blank_line(text);
        let length = line::chunk_length(text);
        if !blank && length == ChunkLength::Invalid {
            return self.answer_unchunked();
        }
        let number = self.answered;
        let Some(exchange) = self.answered_mut() else { return Step::Fail };
        exchange.response.body.length = exchange.response.body.length.saturating_add(used as u64);
        match length {
            _ if blank => {}
            ChunkLength::Length { length: 0, .. } => {
                exchange.response.progress = Progress::Trailer;
                self.answering = State::Headers;
            }
            ChunkLength::Length { length, extension } => {
                self.answering = State::Chunk(length);
                if extension {
                    self.note(number, "http.response_chunk_extension");
                }
            }
            ChunkLength::Empty | ChunkLength::Invalid => {}
        }
        Step::On(used)
    }

    /// What stands where a chunk should begin is none: browsers show the rest as it is.
    fn answer_unchunked(&mut self) -> Step {
        self.note(self.answered, "http.invalid_response_chunk_len");
        self.answering = State::UntilEnd;
        Step::On(0)
    }

    fn answer_chunk_end(&mut self, bytes: &[u8], end: bool) -> Step {
        self.answering = State::ChunkEnd;
        let (used, step) = match memchr::memchr(b'\n', bytes) {
            Some(at) => {
                self.answering = State::ChunkLength;
                (at + 1, Step::On(at + 1))
            }
            None if end => return self.answer_complete(true),
            None => (bytes.len(), Step::Wait(bytes.len())),
        };
        if let Some(exchange) = self.answered_mut() {
            exchange.response.body.length = exchange.response.body.length.saturating_add(used as u64);
        }
        step
    }

    fn answer_body(&mut self, bytes: &[u8], left: u64, settings: &Settings) -> usize {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.store_response(bytes.get(..used).unwrap_or_default(), settings);
        used
    }

    fn store_response(&mut self, bytes: &[u8], settings: &Settings) {
        let keep = self.keep(Direction::Reply, settings);
        let Some((mark, exchange)) = self.list.numbered_mut(self.answered) else { return };
        if bytes.is_empty() {
            return;
        }
        if !exchange.response.body.has_begun() {
            let name = exchange.response_name().map(<[u8]>::to_vec);
            let named = exchange.response.field(b"content-range");
            let range = named.and_then(range::part);
            if named.is_some_and(range::is_invalid) {
                mark.note(Anomaly("http.range_invalid"));
            }
            let plan = Plan { keep, name: name.as_deref(), boundary: None, range };
            exchange.response.body.begin(&plan, &mut |event| mark.note(event));
        }
        exchange.response.body.take(bytes, &mut |event| mark.note(event));
    }

    /// No more bytes are there: waits for them, or ends the response as it is.
    fn answer_cut(&mut self, end: bool) -> Step {
        if end { self.answer_complete(true) } else { Step::Wait(0) }
    }

    fn answer_finish(&mut self, bytes: &[u8], end: bool, settings: &Settings) -> Step {
        if bytes.is_empty() {
            return self.answer_complete(end);
        }
        let used = match memchr::memchr(b'\n', bytes) {
            // Bytes after the end of a line that ends a body are read with it.
            Some(0) => bytes.len(),
            Some(at) => at + 1,
            None if end || bytes.len() > self.options.field_limit => bytes.len(),
            None if !line::is_body(bytes) || bytes.len() < 5 => {
                if line::is_body(bytes) && !b"http".starts_with(&bytes.to_ascii_lowercase()) {
                    return self.answer_extra_begun(bytes, settings);
                }
                return self.answer_complete(false);
            }
            None => return self.answer_extra_begun(bytes, settings),
        };
        let whole = bytes.get(..used).unwrap_or_default();
        if line::is_body(whole) {
            return self.answer_extra(whole, settings);
        }
        self.answer_complete(false)
    }

    /// More body than was announced.
    fn answer_extra(&mut self, bytes: &[u8], settings: &Settings) -> Step {
        self.note(self.answered, "http.response_body_unexpected");
        self.store_response(bytes, settings);
        Step::On(bytes.len())
    }

    /// More body than was announced, whose line does not end with what is at hand.
    fn answer_extra_begun(&mut self, bytes: &[u8], settings: &Settings) -> Step {
        self.answering = State::Extra;
        self.answer_extra(bytes, settings)
    }

    /// What belongs to the body ends with the line, or where a response begins.
    fn answer_extra_line(&mut self, bytes: &[u8], end: bool, settings: &Settings) -> Step {
        if bytes.is_empty() {
            return self.answer_cut(end);
        }
        if !line::is_body(bytes) {
            return self.answer_complete(false);
        }
        let line = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        if line.is_some() {
            self.answering = State::Finish;
        }
        self.answer_extra(bytes.get(..line.unwrap_or(bytes.len())).unwrap_or_default(), settings)
    }

    /// The response is complete; the next one belongs to the next request. `end`: with it the stream.
    fn answer_complete(&mut self, end: bool) -> Step {
        self.answering = State::Idle;
        if let Some((mark, exchange)) = self.list.numbered_mut(self.answered) {
            exchange.response.body.close(&mut |event: Anomaly| mark.note(event));
            exchange.response.progress = Progress::Complete;
        }
        self.answered += 1;
        if end { Step::Wait(0) } else { Step::On(0) }
    }

    /// Bytes of a response are missing.
    pub(super) fn answer_gap(&mut self, bytes: u64) -> bool {
        let lost = match self.answering {
            State::Body(left) => left.min(bytes),
            State::UntilEnd | State::Finish | State::Extra => bytes,
            State::Idle => return self.list.next_number() > 0,
            State::Line | State::Headers | State::ChunkLength | State::Chunk(_) | State::ChunkEnd => return true,
        };
        if let Some((mark, exchange)) = self.list.numbered_mut(self.answered) {
            exchange.response.body.gap(lost, &mut |event| mark.note(event));
        }
        if let State::Body(left) = self.answering {
            self.answering = State::Body(left - lost);
            if left == lost {
                self.answer_complete(false);
            }
        }
        true
    }
}
