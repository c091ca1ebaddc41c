//! Keywords that name a buffer: sticky ones, and modifiers of the content before them.

use super::{app, no_value, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::RuleOption;
use crate::parser::Draft;
use crate::rule::{Absent, FlowDirection};
use crate::{AppProtocol, Buffer};

/// Keywords of the older style, which move the content before them.
const MODIFIERS: &[(&str, Buffer)] = &[
    ("http_uri", Buffer::HttpUri),
    ("http_raw_uri", Buffer::HttpUriRaw),
    ("http_method", Buffer::HttpMethod),
    ("http_header", Buffer::HttpHeader),
    ("http_raw_header", Buffer::HttpHeaderRaw),
    ("http_cookie", Buffer::HttpCookie),
    ("http_user_agent", Buffer::HttpUserAgent),
    ("http_host", Buffer::HttpHost),
    ("http_raw_host", Buffer::HttpHostRaw),
    ("http_stat_code", Buffer::HttpStatCode),
    ("http_stat_msg", Buffer::HttpStatMessage),
    ("http_client_body", Buffer::HttpRequestBody),
    ("http_server_body", Buffer::FileData),
];

/// Older names of sticky buffers that differ by more than the dot.
const OLDER_NAMES: &[(&str, Buffer)] = &[
    ("http_accept", Buffer::HttpAccept),
    ("http_accept_enc", Buffer::HttpAcceptEncoding),
    ("http_accept_lang", Buffer::HttpAcceptLanguage),
    ("http_connection", Buffer::HttpConnection),
    ("http_content_type", Buffer::HttpContentType),
    ("http_content_len", Buffer::HttpContentLength),
    ("http_header_names", Buffer::HttpHeaderNames),
    ("http_protocol", Buffer::HttpProtocol),
    ("http_referer", Buffer::HttpReferer),
    ("http_request_line", Buffer::HttpRequestLine),
    ("http_response_line", Buffer::HttpResponseLine),
    ("http_start", Buffer::HttpStart),
    ("dns.query.name", Buffer::DnsQueriesName),
    ("dns.answer.name", Buffer::DnsAnswersName),
    ("smb.named.pipe", Buffer::SmbNamedPipe),
    ("file.data", Buffer::FileData),
];

/// Snort 3's names of sticky buffers, where they differ.
const SNORT_NAMES: &[(&str, Buffer)] = &[
    ("raw_data", Buffer::Payload),
    ("http_client_body", Buffer::HttpRequestBody),
    ("http_raw_body", Buffer::HttpRequestBody),
    ("http_raw_request", Buffer::HttpRequestLine),
    ("http_raw_status", Buffer::HttpResponseLine),
    ("http_stat_msg", Buffer::HttpStatMessage),
    ("http_version", Buffer::HttpProtocol),
    ("http_raw_cookie", Buffer::HttpCookie),
    ("sip_header", Buffer::SipRequestLine),
];

/// Keywords that name a buffer by another name than its own.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    [MODIFIERS, OLDER_NAMES, SNORT_NAMES].into_iter().flatten().map(|(name, _)| *name)
}

/// Applies a keyword that names a buffer; `None` where it names none.
pub(super) fn apply(draft: &mut Draft, option: RuleOption<'_>) -> Option<Result<(), Fault>> {
    let name = option.name.text;
    let find = |table: &[(&str, Buffer)]| table.iter().find(|(known, _)| *known == name).map(|(_, b)| *b);
    if draft.snort
        && let Some(buffer) = find(SNORT_NAMES).or_else(|| find(MODIFIERS))
    {
        return Some(snort_buffer(draft, buffer, option));
    }
    if let Some(buffer) = find(MODIFIERS) {
        return Some(modifier(draft, buffer, option));
    }
    let buffer = Buffer::from_keyword(name).or_else(|| find(OLDER_NAMES))?;
    Some(sticky(draft, buffer, option))
}

fn modifier(draft: &mut Draft, buffer: Buffer, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    draft.move_last_content(buffer, option)?;
    app::needs_protocol(draft, &[AppProtocol::Http1, AppProtocol::Http2], option)
}

fn sticky(draft: &mut Draft, buffer: Buffer, option: RuleOption<'_>) -> Result<(), Fault> {
    if buffer == Buffer::Frame {
        return frame(draft, option);
    }
    no_value(option)?;
    match buffer {
        Buffer::Payload => {
            let message = format!("the keyword '{}' is not supported", option.name.text);
            Err(Fault::new(Kind::UnsupportedKeyword, option.name.range(), message).subject(option.name.text))
        }
        Buffer::PacketData => draft.begin_payload(),
        Buffer::Base64Data => draft.begin_base64(option),
        _ => {
            app::needs_protocol(draft, buffer.protocols(), option)?;
            draft.begin_buffer(buffer, None, option.name.range())
        }
    }
}

/// In Snort 3's dialect buffers are sticky and may be named again and again; nothing need follow.
fn snort_buffer(draft: &mut Draft, buffer: Buffer, option: RuleOption<'_>) -> Result<(), Fault> {
    if let Some(value) = option.value {
        // `http_header: field user-agent` and `request` select a part that has a buffer of its own here, or none.
        let field = value.text.strip_prefix("field").map(str::trim).map(str::to_ascii_lowercase);
        let part = match field.as_deref() {
            Some("user-agent") => Some(Buffer::HttpUserAgent),
            Some("host") => Some(Buffer::HttpHost),
            Some("referer") => Some(Buffer::HttpReferer),
            Some("content-type") => Some(Buffer::HttpContentType),
            Some("cookie") => Some(Buffer::HttpCookie),
            _ => None,
        };
        let Some(part) = part else {
            return Err(Fault::new(
                Kind::UnsupportedValue,
                value.range(),
                "this part of the buffer cannot be selected",
            )
            .subject(format!("{}:{}", option.name.text, value.text)));
        };
        app::needs_protocol(draft, part.protocols(), option)?;
        return draft.begin_buffer(part, None, option.name.range());
    }
    if buffer == Buffer::Payload {
        return draft.begin_payload();
    }
    app::needs_protocol(draft, buffer.protocols(), option)?;
    draft.begin_buffer(buffer, None, option.name.range())
}

/// `frame:PROTOCOL.TYPE`, or `frame:TYPE` where the header names the protocol.
fn frame(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let unknown = || {
        Fault::new(Kind::UnsupportedValue, value.range(), format!("the frame '{}' is not known", value.text))
            .subject(format!("frame:{}", value.text))
    };
    let named = |(first, _): (&str, &str)| FRAMES.iter().any(|(protocol, _)| *protocol == first);
    let full = match (value.text.split_once('.').filter(|&name| named(name)), draft.rule.app_protocol()) {
        (Some(_), _) => value.text.to_owned(),
        (None, Some(protocol)) => format!("{}.{}", protocol.name(), value.text),
        (None, None) if value.text == "stream" => value.text.to_owned(),
        (None, None) => return Err(unknown()),
    };
    // The one name that is written in two ways.
    let full = match full.as_str() {
        "sip.request.line" => "sip.request_line".to_owned(),
        "sip.response.line" => "sip.response_line".to_owned(),
        _ => full,
    };
    if let Some((protocol, kind)) = full.split_once('.') {
        // The type's name itself may have a dot (`smb1.hdr`).
        let known = FRAMES.iter().find(|(p, kinds)| *p == protocol && (kinds.contains(&kind) || kind == "stream"));
        known.ok_or_else(unknown)?;
        let protocol = AppProtocol::from_name(protocol).ok_or_else(unknown)?;
        app::needs_protocol(draft, app::fitting(protocol), option)?;
    }
    draft.begin_buffer(Buffer::Frame, Some(full), option.name.range())
}

/// Units that the protocols cut their streams into, by the names that `frame` uses.
const FRAMES: &[(&str, &[&str])] = &[
    ("http", &["request", "response"]),
    ("http1", &["request", "response"]),
    ("http2", &["hdr", "data", "pdu"]),
    ("dns", &["pdu"]),
    ("dcerpc", &["hdr", "data", "pdu"]),
    ("enip", &["hdr", "data", "pdu"]),
    ("ldap", &["pdu"]),
    ("mqtt", &["pdu", "header", "data"]),
    ("modbus", &["pdu"]),
    (
        "nfs",
        &[
            "rpc.pdu",
            "rpc.hdr",
            "rpc.data",
            "rpc.creds",
            "nfs.pdu",
            "nfs.status",
            "nfs4.pdu",
            "nfs4.hdr",
            "nfs4.ops",
            "nfs4.status",
        ],
    ),
    ("pgsql", &["pdu"]),
    ("pop3", &["pdu"]),
    ("rfb", &["pdu"]),
    (
        "sip",
        &[
            "pdu",
            "request_line",
            "response_line",
            "request.headers",
            "request.body",
            "response.headers",
            "response.body",
        ],
    ),
    (
        "smb",
        &[
            "nbss.pdu",
            "nbss.hdr",
            "nbss.data",
            "smb1.pdu",
            "smb1.hdr",
            "smb1.data",
            "smb2.pdu",
            "smb2.hdr",
            "smb2.data",
            "smb3.pdu",
            "smb3.hdr",
            "smb3.data",
        ],
    ),
    ("smtp", &["command_line", "data", "response_line"]),
    ("ssh", &["record.hdr", "record.data", "record.pdu"]),
    ("telnet", &["pdu", "ctl", "data"]),
    ("tls", &["pdu", "hdr", "data", "alert_hdr", "alert_data", "heartbeat_hdr", "heartbeat_data", "ssl2.pdu"]),
    ("websocket", &["header", "pdu", "data"]),
    ("bittorrent-dht", &["packet"]),
    ("dnp3", &["pdu"]),
    ("ftp", &["request_line", "response_line"]),
];

/// `absent[:or_else]`
pub(super) fn absent(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let absent = match option.value.map(|value| value.text) {
        None | Some("") => Absent::Must,
        Some("or_else") => Absent::OrElse,
        Some(_) => return Err(Fault::new(Kind::Value, option.name.range(), "'absent' takes nothing, or or_else")),
    };
    if draft.sticky().is_none() {
        return Err(Draft::conflict(option.name.range(), "'absent' needs a sticky buffer before it"));
    }
    let section = draft.current_section();
    let Some(section) = draft.rule.sections.get_mut(section) else { return Ok(()) };
    if !section.matches.is_empty() || section.absent.is_some() {
        return Err(Draft::conflict(option.name.range(), "'absent' comes first of what is asked of a buffer"));
    }
    section.absent = Some(absent);
    Ok(())
}

/// `to_server`, `to_client`: which side's buffers are meant from here on, in a rule for both directions.
pub(super) fn force_direction(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    if draft.rule.arrow != crate::rule::Arrow::Transaction {
        return Err(Draft::conflict(option.name.range(), "a side is chosen in rules with '=>' only"));
    }
    let server = option.name.text.ends_with("server");
    draft.cursor.direction = Some(if server { FlowDirection::ToServer } else { FlowDirection::ToClient });
    Ok(())
}
