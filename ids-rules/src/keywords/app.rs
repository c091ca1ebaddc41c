//! Keywords about the application layer: protocols, events, states, and those that only the protocol's parser answers.

use super::{no_value, required};
use crate::AppProtocol;
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{AppTest, Condition, Config, ConfigScope, Protocol, TcpWay};

/// Protocols that a header naming `protocol` takes: one protocol may come in the clothes of another.
pub(super) fn fitting(protocol: AppProtocol) -> &'static [AppProtocol] {
    use AppProtocol::{Dcerpc, Dns, Doh2, Http1, Http2, Smb};
    match protocol {
        Dns => &[Dns, Doh2],
        Http2 => &[Http2, Doh2],
        Dcerpc => &[Dcerpc, Smb],
        Http1 => &[Http1],
        other => AppProtocol::ALL.get(other as usize..=other as usize).unwrap_or(&[]),
    }
}

/// The application protocols that a header takes; none for others.
pub(crate) fn of_header(protocol: Protocol) -> Vec<AppProtocol> {
    match protocol {
        Protocol::Http => vec![AppProtocol::Http1, AppProtocol::Http2, AppProtocol::Doh2],
        Protocol::App(protocol) => fitting(protocol).to_vec(),
        _ => Vec::new(),
    }
}

/// The rule can only match in one of `protocols`; all where that is empty.
pub(crate) fn needs_protocol(
    draft: &mut Draft,
    protocols: &[AppProtocol],
    option: RuleOption<'_>,
) -> Result<(), Fault> {
    if protocols.is_empty() {
        return Ok(());
    }
    let rule = &mut draft.rule;
    if rule.apps.is_empty() {
        let without =
            [Protocol::Icmp, Protocol::Icmpv4, Protocol::Icmpv6, Protocol::Igmp, Protocol::Ether, Protocol::Arp];
        if without.contains(&rule.protocol) {
            let message = format!("'{}' speaks of an application protocol, the header of none", option.name.text);
            return Err(Draft::conflict(option.name.range(), message));
        }
        rule.apps = protocols.to_vec();
        return Ok(());
    }
    rule.apps.retain(|app| protocols.contains(app));
    if rule.apps.is_empty() {
        let message =
            format!("'{}' speaks of another application protocol than the rest of the rule", option.name.text);
        return Err(Draft::conflict(option.name.range(), message));
    }
    Ok(())
}

/// `app-layer-protocol:[!]NAME[,WAY]`
pub(super) fn app_layer_protocol(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let (name, way) = match whole.split_once(',') {
        Some((name, way)) => (name.trim(), Some(way.trim())),
        None => (whole, None),
    };
    let (negated, name) = match name.strip_prefix("!") {
        Some(rest) => (true, rest.trim()),
        None => (false, name),
    };
    let way = match way.map(|way| (way.text, way)) {
        None | Some(("direction", _)) => TcpWay::Direction,
        Some(("either", _)) => TcpWay::Either,
        Some(("to_server" | "toserver", _)) => TcpWay::ToServer,
        Some(("to_client" | "toclient", _)) => TcpWay::ToClient,
        Some(("final", _)) => TcpWay::Final,
        Some(("original", _)) => TcpWay::Original,
        Some((_, way)) => {
            return Err(Fault::new(Kind::Value, way.range(), "one of either, to_server, to_client, final, original"));
        }
    };
    if draft.rule.protocol.is_app() {
        return Err(Draft::conflict(option.name.range(), "the header names the protocol already"));
    }
    // Files come with many protocols.
    if !draft.rule.apps.is_empty() && draft.rule.apps != crate::buffer::WITH_FILES {
        return Err(Draft::conflict(option.name.range(), "a keyword before it names the protocol already"));
    }
    let (any_http, unknown, failed) = (name.text == "http", name.text == "unknown", name.text == "failed");
    let protocol = AppProtocol::from_name(name.text);
    if protocol.is_none() && !unknown && !failed {
        return Err(Fault::new(
            Kind::UnsupportedProtocol,
            name.range(),
            format!("the protocol '{}' is not known", name.text),
        )
        .subject(name.text));
    }
    for known in &draft.rule.conditions {
        if let Condition::AppProtocol { negated: other, way: other_way, .. } = known
            && *other_way == way
            && (*other != negated || !negated)
        {
            return Err(Draft::conflict(option.name.range(), "'app-layer-protocol' contradicts the one before it"));
        }
    }
    draft.rule.conditions.push(Condition::AppProtocol { protocol, any_http, unknown, negated, way });
    Ok(())
}

/// `app-layer-event:PROTOCOL.EVENT`
pub(super) fn app_layer_event(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let name = value.text.to_ascii_lowercase();
    // Those of protocol detection have no dot.
    let of_detection = name.strip_prefix("applayer_").map(|event| ("applayer", event));
    let (protocol, event) = of_detection.or(name.split_once('.')).unwrap_or((&name, ""));
    if !super::events::is_known(protocol, event) {
        let message = format!("the event '{}' is not known", value.text);
        return Err(
            Fault::new(Kind::UnsupportedValue, value.range(), message).subject(format!("app-layer-event:{protocol}"))
        );
    }
    if protocol == "applayer" {
        draft.rule.app.push(AppTest::Event(format!("applayer_{event}")));
        return Ok(());
    }
    let unknown = || {
        Fault::new(Kind::UnsupportedValue, value.range(), format!("the event '{}' is not known", value.text))
            .subject(format!("app-layer-event:{protocol}"))
    };
    let known = AppProtocol::from_name(protocol).or(match protocol {
        "file" => Some(AppProtocol::Http1),
        _ => None,
    });
    let known = known.ok_or_else(unknown)?;
    if event.is_empty() {
        return Err(unknown());
    }
    match protocol {
        "http" => needs_protocol(draft, &[AppProtocol::Http1], option)?,
        "file" => {}
        _ => needs_protocol(draft, fitting(known), option)?,
    }
    // Events bear their protocol's present name.
    let name = match protocol {
        "ikev1" | "ikev2" => format!("ike.{event}"),
        _ => name.clone(),
    };
    draft.rule.app.push(AppTest::Event(name));
    Ok(())
}

/// `app-layer-state:[<|>]STATE`
pub(super) fn app_layer_state(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let (comparison, name) = match (value.strip_prefix("<"), value.strip_prefix(">")) {
        (Some(rest), _) => (std::cmp::Ordering::Less, rest.trim()),
        (_, Some(rest)) => (std::cmp::Ordering::Greater, rest.trim()),
        (None, None) => (std::cmp::Ordering::Equal, value),
    };
    if !draft.rule.protocol.is_app() {
        return Err(Draft::conflict(option.name.range(), "a state needs a header that names the protocol"));
    }
    draft.rule.app.push(AppTest::State { name: name.text.to_owned(), comparison });
    Ok(())
}

/// Keywords that the protocol's transaction answers: keyword as written, its modern form, protocols, whether it has a
/// value, and whether `!` before the value turns it round.
type Named = (&'static str, &'static str, &'static [AppProtocol], Value);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// It has none.
    None,
    /// It has one.
    Some,
    /// It has one, and `!` before it negates.
    Negatable,
}

const NAMED: &[Named] = &[
    ("dcerpc.iface", "dcerpc.iface", &[AppProtocol::Dcerpc, AppProtocol::Smb], Value::Some),
    ("dce_iface", "dcerpc.iface", &[AppProtocol::Dcerpc, AppProtocol::Smb], Value::Some),
    ("ssl_version", "ssl_version", &[AppProtocol::Tls], Value::Some),
    ("ssl_state", "ssl_state", &[AppProtocol::Tls], Value::Some),
    ("tls.version", "tls.version", &[AppProtocol::Tls], Value::Negatable),
    ("tls.subject", "tls.subject", &[AppProtocol::Tls], Value::Negatable),
    ("tls.issuerdn", "tls.issuerdn", &[AppProtocol::Tls], Value::Negatable),
    ("tls.fingerprint", "tls.fingerprint", &[AppProtocol::Tls], Value::Negatable),
    ("tls.store", "tls.store", &[AppProtocol::Tls], Value::None),
    ("tls_store", "tls.store", &[AppProtocol::Tls], Value::None),
    ("tls_cert_notbefore", "tls_cert_notbefore", &[AppProtocol::Tls], Value::Some),
    ("tls.cert_notbefore", "tls_cert_notbefore", &[AppProtocol::Tls], Value::Some),
    ("tls_cert_notafter", "tls_cert_notafter", &[AppProtocol::Tls], Value::Some),
    ("tls.cert_notafter", "tls_cert_notafter", &[AppProtocol::Tls], Value::Some),
    ("tls_cert_expired", "tls_cert_expired", &[AppProtocol::Tls], Value::None),
    ("tls.cert_expired", "tls_cert_expired", &[AppProtocol::Tls], Value::None),
    ("tls_cert_valid", "tls_cert_valid", &[AppProtocol::Tls], Value::None),
    ("tls.cert_valid", "tls_cert_valid", &[AppProtocol::Tls], Value::None),
    ("ssh.protoversion", "ssh.protoversion", &[AppProtocol::Ssh], Value::Some),
    ("ssh.softwareversion", "ssh.softwareversion", &[AppProtocol::Ssh], Value::Some),
    ("krb5.ticket_encryption", "krb5.ticket_encryption", &[AppProtocol::Krb5], Value::Some),
    ("modbus", "modbus", &[AppProtocol::Modbus], Value::Some),
    ("dnp3_obj", "dnp3.obj", &[AppProtocol::Dnp3], Value::Some),
    ("dnp3.obj", "dnp3.obj", &[AppProtocol::Dnp3], Value::Some),
    ("ftpbounce", "ftpbounce", &[AppProtocol::Ftp], Value::None),
    ("ike.chosen_sa_attribute", "ike.chosen_sa_attribute", &[AppProtocol::Ike], Value::Some),
    ("http2.settings", "http2.settings", &[AppProtocol::Http2], Value::Some),
];

/// The keywords that the protocol answers.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    NAMED.iter().map(|(name, ..)| *name)
}

/// Whether a keyword is one that the protocol answers.
pub(super) fn is_named(keyword: &str) -> bool {
    NAMED.iter().any(|(name, ..)| *name == keyword)
}

pub(super) fn named(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let Some((_, keyword, protocols, value)) = NAMED.iter().find(|(name, ..)| *name == option.name.text) else {
        return Ok(());
    };
    let argument = match value {
        Value::None => {
            no_value(option)?;
            None
        }
        Value::Some | Value::Negatable => Some(required(option)?),
    };
    let (negated, argument) = match argument {
        Some(text) if *value == Value::Negatable => match text.strip_prefix("!") {
            Some(rest) => (true, Some(rest.trim())),
            None => (false, Some(text)),
        },
        other => (false, other),
    };
    needs_protocol(draft, protocols, option)?;
    check_argument(keyword, argument)?;
    let argument = argument.map(|text| text.unquote()).transpose()?.map_or("", |text| text.text).to_owned();
    draft.rule.app.push(AppTest::Named { protocols, keyword, argument, negated });
    Ok(())
}

/// Refuses arguments that the keyword does not know.
fn check_argument(keyword: &str, argument: Option<Piece<'_>>) -> Result<(), Fault> {
    let Some(text) = argument else { return Ok(()) };
    let words = |separators: &'static [char]| {
        text.text.split(separators).map(|word| word.trim().trim_start_matches('!').trim().trim_matches('"'))
    };
    let known = match keyword {
        "ssl_version" => words(&[',', '|']).all(|word| VERSIONS.iter().any(|v| v.eq_ignore_ascii_case(word))),
        "tls_cert_notbefore" | "tls_cert_notafter" => is_time_span(text.text.trim_matches('"').trim()),
        "ike.chosen_sa_attribute" => text.text.split_once('=').is_some_and(|(attribute, value)| {
            SA_ATTRIBUTES.contains(&attribute.trim()) && value.trim().parse::<u32>().is_ok()
        }),
        "ssl_state" => words(&[',', '|']).all(|word| SSL_STATES.contains(&word)),
        "tls.version" => words(&[]).all(|word| matches!(word, "1.0" | "1.1" | "1.2" | "1.3") || word.starts_with("0x")),
        "modbus" => super::named::is_modbus(text.text),
        "http2.settings" => super::named::is_http2_setting(text.text),
        "dnp3.obj" => super::named::is_dnp3_object(text.text),
        "dcerpc.iface" => is_interface(text.text),
        _ => true,
    };
    if known {
        return Ok(());
    }
    Err(Fault::new(Kind::Value, text.range(), format!("'{}' is not known to '{keyword}'", text.text)))
}

const VERSIONS: &[&str] = &["sslv2", "sslv3", "tls1.0", "tls1.1", "tls1.2", "tls1.3"];
const SSL_STATES: &[&str] = &["client_hello", "server_hello", "client_keyx", "server_keyx", "unknown"];

/// Whether a text reads `UUID[,[<|>|!|=]VERSION][,any_frag]`.
fn is_interface(text: &str) -> bool {
    let mut words = text.split(',').map(str::trim);
    let version = |word: &str| {
        let digits = word.strip_prefix(['<', '>', '!', '=']).map(str::trim);
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    words.next().is_some_and(|word| is_uuid(word.trim_start_matches("uuid").trim()))
        && words.all(|word| word == "any_frag" || version(word))
}

const SA_ATTRIBUTES: &[&str] = &[
    "alg_enc",
    "alg_hash",
    "alg_auth",
    "alg_dh",
    "alg_prf",
    "sa_group_type",
    "sa_life_type",
    "sa_life_duration",
    "sa_key_length",
    "sa_field_size",
];

/// Whether a text names a time, one before or after it, or two in their order.
fn is_time_span(text: &str) -> bool {
    let is_time = |text: &str| {
        let text = text.trim();
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'T' | b' ' | b'Z'))
    };
    match text.split_once("<>") {
        Some((from, to)) => {
            let written_alike = from.trim().len() == to.trim().len();
            is_time(from) && is_time(to) && !(written_alike && to.trim() < from.trim())
        }
        None => is_time(text.strip_prefix(['<', '>', '=']).unwrap_or(text).trim_start_matches('=')),
    }
}

/// Whether a text has the form of a UUID (RFC 9562, 4).
fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.len() == lengths.len() && parts.iter().zip(lengths).all(|(part, length)| part.len() == length && hex(part))
}

/// `config:logging disable, type tx|flow, scope tx|flow`
pub(super) fn config(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let words: Vec<&str> = value.split(',').map(|word| word.trim().text).collect();
    let bad = || Fault::new(Kind::Value, value.range(), "config reads: logging disable, type tx|flow, scope tx|flow");
    let joined: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
    let scope = match joined.as_slice() {
        ["logging", "disable", "type", "tx", "scope", "tx"] => ConfigScope::Transaction,
        ["logging", "disable", "type", "tx" | "flow", "scope", "flow"] => ConfigScope::Flow,
        _ => return Err(bad()),
    };
    draft.rule.config = Some(Config { scope });
    Ok(())
}

/// `prefilter`: the keyword before it may be used to choose the rule.
pub(super) fn prefilter(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    let rule = &draft.rule;
    let nothing = rule.conditions.is_empty()
        && rule.sections.is_empty()
        && rule.flowbits.is_empty()
        && rule.numbers.is_empty()
        && rule.app.is_empty();
    if nothing {
        return Err(Draft::conflict(option.name.range(), "'prefilter' has no keyword before it"));
    }
    if !draft.prefilters {
        let message = "rules cannot be chosen by the keyword before 'prefilter'";
        return Err(Draft::conflict(option.name.range(), message).remedy("leave it out, or put it behind another"));
    }
    draft.rule.prefilter = true;
    Ok(())
}

/// Whether rules can be chosen by a keyword; `None` where it asks nothing.
pub(crate) fn prefilters(keyword: &str) -> Option<bool> {
    const ASK_NOTHING: &[&str] =
        &["msg", "sid", "gid", "rev", "classtype", "priority", "reference", "metadata", "target", "noalert", "alert"];
    const CANNOT: &[&str] = &[
        "pcre",
        "base64_decode",
        "bsize",
        "byte_jump",
        "byte_test",
        "byte_extract",
        "byte_math",
        "isdataat",
        "flowint",
        "tag",
        "threshold",
        "detection_filter",
        "urilen",
        "xbits",
        "app-layer-event",
        "asn1",
    ];
    (!ASK_NOTHING.contains(&keyword)).then(|| !CANNOT.contains(&keyword))
}

/// `bypass`
pub(super) fn bypass(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    no_value(option)?;
    draft.rule.conditions.push(Condition::Bypass);
    Ok(())
}

/// `lua`, `luaxform`: scripts are not run.
pub(super) fn lua(_draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let message = format!("'{}' is not supported: rules cannot run scripts", option.name.text);
    Err(Fault::new(Kind::UnsupportedKeyword, option.name.range(), message).subject(option.name.text))
}

/// Snort 3's `service`: protocols, of which the first that is known counts where the header names none.
pub(super) fn service(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    draft.rule.services = value.split(',').map(|word| word.trim().text.to_owned()).collect();
    Ok(())
}

/// Options that say nothing an engine needs.
pub(super) fn nothing(_draft: &mut Draft, _option: RuleOption<'_>) -> Result<(), Fault> {
    Ok(())
}
