//! What EVE shows of a message: the object `email`.

use md5::{Digest, Md5};

use super::{Message, split_addresses};
use crate::json::Json;

/// Headers shown as they are: name in EVE, name in the message.
const TEXTS: &[(&str, &[u8])] = &[
    ("reply_to", b"reply-to"),
    ("message_id", b"message-id"),
    ("subject", b"subject"),
    ("x_mailer", b"x-mailer"),
    ("user_agent", b"user-agent"),
    ("x_originating_ip", b"x-originating-ip"),
    ("in_reply_to", b"in-reply-to"),
    ("references", b"references"),
    ("importance", b"importance"),
    ("priority", b"priority"),
    ("sensitivity", b"sensitivity"),
    ("organization", b"organization"),
    ("content_md5", b"content-md5"),
    ("date", b"date"),
];

/// Writes the members of the object.
pub fn write(message: &Message, json: &mut Json<'_>) {
    if let Some(from) = message.value(b"from", 0) {
        json.bytes("from", from);
    }
    for name in ["to", "cc", "bcc"] {
        if let Some(value) = message.value(name.as_bytes(), 0) {
            json.array(name, |json| {
                for address in split_addresses(value) {
                    json.item_bytes(address);
                }
            });
        }
    }
    json.text("status", "PARSE_DONE");
    list(json, "attachment", message.attachments().iter().map(|name| &name[..]));
    list(json, "url", message.urls().iter().map(|url| &url[..]));
    for (name, header) in TEXTS {
        if let Some(value) = message.value(header, 0) {
            json.bytes(name, value);
        }
    }
    list(json, "received", message.values(b"received"));
    if let Some(hash) = message.body_md5() {
        json.hex("body_md5", &hash, "");
    }
    if let Some(subject) = message.value(b"subject", 0) {
        json.hex("subject_md5", &Md5::digest(subject), "");
    }
}

fn list<'v>(json: &mut Json<'_>, name: &str, values: impl Iterator<Item = &'v [u8]>) {
    let mut values = values.peekable();
    if values.peek().is_some() {
        json.array(name, |json| {
            for value in values {
                json.item_bytes(value);
            }
        });
    }
}
