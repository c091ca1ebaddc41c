//! PostgreSQL in EVE.

use super::message::{Answer, Asked};
use crate::json::Json;

/// Writes request and response.
pub fn exchange(asked: Option<&Asked>, answers: &[Answer], json: &mut Json<'_>) {
    if let Some(asked) = asked {
        json.nested("request", |json| request(asked, json));
    }
    if answers.is_empty() {
        return;
    }
    json.nested("response", |json| {
        if answers.iter().any(|answer| matches!(answer, Answer::Parameter(..))) {
            json.array("parameter_status", |list| {
                for answer in answers {
                    if let Answer::Parameter(name, value) = answer {
                        list.item(|json| {
                            json.bytes(&parameter_name(name), value);
                        });
                    }
                }
            });
        }
        answers.iter().for_each(|answer| response(answer, json));
    });
}

fn request(asked: &Asked, json: &mut Json<'_>) {
    match asked {
        Asked::Tls => json.text("message", "SSL Request"),
        Asked::Startup { version, parameters } => startup(*version, parameters, json),
        Asked::Cancel { process, secret } => {
            json.text("message", "cancel_request").number("process_id", *process).number("secret_key", *secret)
        }
        // Secrets are not for logs.
        Asked::Password => json.flag("password_redacted", true),
        Asked::SaslInitial { mechanism, parameter } => {
            let mechanism = match mechanism.as_slice() {
                b"SCRAM-SHA-256" => &b"scram_SHA256"[..],
                b"SCRAM-SHA-256-PLUS" => b"scram_SHA256_plus",
                other => other,
            };
            json.bytes("sasl_authentication_mechanism", mechanism).bytes("sasl_param", parameter)
        }
        Asked::Sasl(text) => json.bytes("sasl_response", text),
        Asked::Query(text) => json.bytes("simple_query", text),
        Asked::Terminate => json.text("message", "termination_message"),
    };
}

fn startup<'j, 't>(version: u32, parameters: &[(Vec<u8>, Vec<u8>)], json: &'j mut Json<'t>) -> &'j mut Json<'t> {
    json.text("protocol_version", &format!("{}.{}", version >> 16, version & 0xffff));
    json.nested("startup_parameters", |json| {
        let (own, others): (Vec<_>, Vec<_>) =
            parameters.iter().partition(|(name, _)| name == b"user" || name == b"database");
        for name in ["user", "database"] {
            if let Some((_, value)) = own.iter().find(|(known, _)| known == name.as_bytes()) {
                json.bytes(name, value);
            }
        }
        if !others.is_empty() {
            json.array("optional_parameters", |list| {
                for (name, value) in others {
                    list.item(|json| {
                        json.bytes(&parameter_name(name), value);
                    });
                }
            });
        }
    })
}

/// A parameter's name in small letters, with bars between its words (`DateStyle` is `date_style`).
fn parameter_name(name: &[u8]) -> String {
    let mut out = String::new();
    let mut small = false;
    for c in String::from_utf8_lossy(name).chars() {
        if c.is_ascii_uppercase() && small {
            out.push('_');
        }
        small = c.is_ascii_lowercase();
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn response(answer: &Answer, json: &mut Json<'_>) {
    match answer {
        Answer::Tls { accepted } => {
            json.flag("ssl_accepted", *accepted);
        }
        Answer::Authentication { kind, data } => authentication(*kind, data, json),
        Answer::Key { process, secret } => {
            json.number("process_id", *process).number("secret_key", *secret);
        }
        Answer::Columns(count) => {
            json.number("field_count", *count);
        }
        Answer::Rows { count, size } => {
            json.number("data_rows", *count).number("data_size", *size);
        }
        Answer::Complete(text) => {
            json.bytes("command_completed", text);
        }
        Answer::Notice(fields) => fields.iter().for_each(|(field, value)| {
            if let Some(name) = field_name(*field) {
                json.bytes(name, value);
            }
        }),
        Answer::Notification { process, channel, payload } => {
            json.number("pid", *process).bytes("channel_name", channel).bytes("payload", payload);
        }
        Answer::Parameter(..) | Answer::Ready => {}
    }
}

fn authentication(kind: u32, data: &[u8], json: &mut Json<'_>) {
    match kind {
        0 => json.text("message", "authentication_ok"),
        3 => json.text("message", "authentication_cleartext_password"),
        5 => json.bytes("authentication_md5_password", data),
        9 => json.bytes("authentication_sspi", data),
        10 => json.text("message", "authentication_sasl"),
        11 => json.text("message", "authentication_sasl_continue"),
        12 => json.bytes("authentication_sasl_final", data),
        _ => return,
    };
}

/// Fields of errors and notices.
fn field_name(field: u8) -> Option<&'static str> {
    Some(match field {
        b'S' => "severity_localizable",
        b'V' => "severity_non_localizable",
        b'C' => "code",
        b'M' => "message",
        b'D' => "detail",
        b'H' => "hint",
        b'P' => "position",
        b'p' => "internal_position",
        b'q' => "internal_query",
        b'W' => "where",
        b's' => "schema_name",
        b't' => "table_name",
        b'c' => "column_name",
        b'd' => "data_type",
        b'n' => "constraint_name",
        b'F' => "file",
        b'L' => "line",
        b'R' => "routine",
        _ => return None,
    })
}
