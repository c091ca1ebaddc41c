//! DNS messages in EVE, format version 3.

use super::message::{Data, Message, Record, Text};
use super::types::{code_name, type_name};
use crate::json::Json;
use std::fmt::Write;

/// Members that DNS and multicast DNS have in common: header flags, questions and records.
pub fn body(message: &Message, json: &mut Json<'_>) {
    if !message.questions.is_empty() {
        json.array("queries", |queries| {
            for question in &message.questions {
                queries.item(|item| {
                    name(message, question.name, item);
                    item.text("rrtype", &type_name(question.rrtype));
                });
            }
        });
    }
    let names = ["answers", "authorities", "additionals"];
    for (nth, (records, name)) in message.sections.iter().zip(names).enumerate() {
        if records.is_empty() {
            continue;
        }
        json.array(name, |list| {
            records.iter().for_each(|one| {
                list.item(|item| record(message, one, item));
            });
        });
        if nth == 0 {
            grouped(message, records, json);
        }
    }
}

/// Flags of the header; those not set are left out.
pub fn flags(message: &Message, json: &mut Json<'_>) {
    let flags = message.header.flags;
    json.text("flags", &format!("{flags:x}"));
    for (bit, name) in [(0x8000, "qr"), (0x400, "aa"), (0x200, "tc"), (0x100, "rd"), (0x80, "ra"), (0x40, "z")] {
        if flags & bit != 0 {
            json.flag(name, true);
        }
    }
    json.number("opcode", message.header.opcode());
    json.text("rcode", &code_name(message.header.rcode()));
}

fn name(message: &Message, name: Text, json: &mut Json<'_>) {
    json.bytes("rrname", message.text(name));
    if name.cut {
        json.flag("rrname_truncated", true);
    }
}

fn record(message: &Message, record: &Record, json: &mut Json<'_>) {
    name(message, record.name, json);
    json.text("rrtype", &type_name(record.rrtype));
    json.number("ttl", record.ttl);
    match record.data {
        Data::Address(text) => {
            json.text("rdata", &address(message.text(text)));
        }
        Data::Name(text) => {
            json.bytes("rdata", message.text(text));
            if text.cut {
                json.flag("rdata_truncated", true);
            }
        }
        Data::Bytes(text) => {
            json.bytes("rdata", message.text(text));
        }
        Data::Soa { .. } => {
            json.nested("soa", |json| object(message, &record.data, json));
        }
        Data::Srv { .. } => {
            json.nested("srv", |json| object(message, &record.data, json));
        }
        Data::Sshfp { .. } => {
            json.nested("sshfp", |json| object(message, &record.data, json));
        }
        Data::Options(text) => options(message.text(text), json),
        Data::Other => {}
    }
}

/// Members of the data that EVE shows as an object.
fn object(message: &Message, data: &Data, json: &mut Json<'_>) {
    match data {
        Data::Soa { mname, rname, numbers } => {
            json.bytes("mname", message.text(*mname)).bytes("rname", message.text(*rname));
            let names = ["serial", "refresh", "retry", "expire", "minimum"];
            for (name, number) in names.into_iter().zip(numbers) {
                json.number(name, *number);
            }
        }
        Data::Srv { numbers, target } => {
            for (name, number) in ["priority", "weight", "port"].into_iter().zip(numbers) {
                json.number(name, *number);
            }
            json.bytes("name", message.text(*target));
        }
        Data::Sshfp { algorithm, kind, fingerprint } => {
            json.hex("fingerprint", message.text(*fingerprint), ":");
            json.number("algo", *algorithm).number("type", *kind);
        }
        Data::Address(_) | Data::Name(_) | Data::Bytes(_) | Data::Options(_) | Data::Other => {}
    }
}

fn options(bytes: &[u8], json: &mut Json<'_>) {
    json.array("opt", |list| {
        let mut reader = super::super::read::Reader::new(bytes);
        while let (Some(code), Some(length)) = (reader.be16(), reader.be16()) {
            let data = reader.take_up_to(usize::from(length));
            list.item(|item| {
                item.number("code", code).hex("data", data, "");
            });
        }
    });
}

/// Answers by type, in the order of the types' first answer.
fn grouped(message: &Message, records: &[Record], json: &mut Json<'_>) {
    let mut kinds: Vec<u16> = Vec::new();
    for record in records {
        let shown = !matches!(record.data, Data::Other | Data::Options(_));
        if shown && !kinds.contains(&record.rrtype) && kinds.len() < 32 {
            kinds.push(record.rrtype);
        }
    }
    if kinds.is_empty() {
        return;
    }
    json.nested("grouped", |json| {
        for kind in kinds {
            json.array(&type_name(kind), |list| {
                for record in records.iter().filter(|record| record.rrtype == kind) {
                    item(message, &record.data, list);
                }
            });
        }
    });
}

fn item(message: &Message, data: &Data, list: &mut Json<'_>) {
    match data {
        Data::Address(text) => {
            list.item_bytes(address(message.text(*text)).as_bytes());
        }
        Data::Name(text) | Data::Bytes(text) => {
            list.item_bytes(message.text(*text));
        }
        Data::Soa { .. } | Data::Srv { .. } | Data::Sshfp { .. } => {
            list.item(|json| object(message, data, json));
        }
        Data::Options(_) | Data::Other => {}
    }
}

/// An address as EVE writes it in DNS: IPv6 in full.
fn address(bytes: &[u8]) -> String {
    let mut text = String::new();
    match bytes.len() {
        4 => bytes.iter().enumerate().for_each(|(nth, byte)| {
            let dot = if nth > 0 { "." } else { "" };
            // Writing into a String does not fail.
            let _ = write!(text, "{dot}{byte}");
        }),
        16 => bytes.iter().enumerate().for_each(|(nth, byte)| {
            let colon = if nth > 0 && nth % 2 == 0 { ":" } else { "" };
            let _ = write!(text, "{colon}{byte:02x}");
        }),
        _ => {}
    }
    text
}
