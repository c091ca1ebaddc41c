//! MQTT in EVE.

use super::message::{Connect, Message, kind, variable};
use crate::app::read::Reader;
use crate::json::Json;

/// Names of the message types, in the order of their numbers.
const NAMES: [&str; 16] = [
    "unassigned",
    "connect",
    "connack",
    "publish",
    "puback",
    "pubrec",
    "pubrel",
    "pubcomp",
    "subscribe",
    "suback",
    "unsubscribe",
    "unsuback",
    "pingreq",
    "pingresp",
    "disconnect",
    "auth",
];

/// Writes one message as a member.
pub fn message(message: &Message, json: &mut Json<'_>) {
    let Some(name) = NAMES.get(usize::from(message.kind)).filter(|_| message.kind != kind::UNASSIGNED) else { return };
    json.nested(name, |json| {
        json.number("qos", message.qos()).flag("retain", message.flags & 1 != 0).flag("dup", message.flags & 8 != 0);
        if let Some(skipped) = message.skipped {
            json.flag("truncated", true).number("skipped_length", skipped);
            return;
        }
        body(message, json);
        let shown = !matches!(message.kind, kind::SUBACK | kind::UNSUBSCRIBE | kind::UNSUBACK);
        if let Some(list) = message.properties.as_ref().filter(|_| shown) {
            json.nested("properties", |json| properties(list, json));
        }
    });
}

fn body(message: &Message, json: &mut Json<'_>) {
    if let Some(connect) = &message.connect {
        return self::connect(connect, json);
    }
    match message.kind {
        kind::CONNACK => {
            json.flag("session_present", message.session_present).number("return_code", message.reason.unwrap_or(0));
            return;
        }
        kind::PUBLISH => {
            if let Some((topic, _)) = message.topics.first() {
                json.bytes("topic", topic);
            }
        }
        _ => {}
    }
    if let Some(id) = message.id {
        json.number("message_id", id);
    }
    match message.kind {
        kind::PUBLISH => {
            json.bytes("message", &message.text);
        }
        kind::SUBSCRIBE => {
            json.array("topics", |list| {
                for (topic, qos) in &message.topics {
                    list.item(|json| {
                        json.bytes("topic", topic).number("qos", *qos);
                    });
                }
            });
        }
        kind::UNSUBSCRIBE => {
            json.array("topics", |list| {
                message.topics.iter().for_each(|(topic, _)| {
                    list.item_bytes(topic);
                });
            });
        }
        kind::SUBACK => codes("qos_granted", message, json),
        kind::UNSUBACK if !message.codes.is_empty() => codes("reason_codes", message, json),
        _ => {}
    }
    if let Some(reason) = message.reason {
        json.number("reason_code", reason);
    }
}

fn codes(name: &str, message: &Message, json: &mut Json<'_>) {
    json.array(name, |list| {
        message.codes.iter().for_each(|&code| {
            list.item_number(code);
        });
    });
}

fn connect(connect: &Connect, json: &mut Json<'_>) {
    json.bytes("protocol_string", &connect.protocol).number("protocol_version", connect.version);
    json.bytes("client_id", &connect.client_id);
    json.nested("flags", |json| {
        let bits = [("username", 0x80), ("password", 0x40), ("will_retain", 0x20), ("will", 4), ("clean_session", 2)];
        for (name, bit) in bits {
            json.flag(name, connect.flags & bit != 0);
        }
    });
    for (name, value) in [("username", &connect.username), ("password", &connect.password)] {
        if let Some(value) = value {
            json.bytes(name, value);
        }
    }
    if connect.flags & 4 != 0 {
        json.nested("will", |json| {
            for (name, value) in [("topic", &connect.will_topic), ("message", &connect.will_message)] {
                if let Some(value) = value {
                    json.bytes(name, value);
                }
            }
            if let Some(list) = &connect.will_properties {
                json.nested("properties", |json| properties(list, json));
            }
        });
    }
}

/// What a property's value is.
enum Shape {
    One,
    Two,
    Four,
    Variable,
    Text,
    Pair,
}

/// Properties (MQTT 5.0, 2.2.2.2): number, name, shape.
const PROPERTIES: &[(u8, &str, Shape)] = &[
    (0x01, "payload_format_indicator", Shape::One),
    (0x02, "message_expiry_interval", Shape::Four),
    (0x03, "content_type", Shape::Text),
    (0x08, "response_topic", Shape::Text),
    (0x09, "correlation_data", Shape::Text),
    (0x0b, "subscription_identifier", Shape::Variable),
    (0x11, "session_expiry_interval", Shape::Four),
    (0x12, "assigned_client_identifier", Shape::Text),
    (0x13, "server_keep_alive", Shape::Two),
    (0x15, "authentication_method", Shape::Text),
    (0x16, "authentication_data", Shape::Text),
    (0x17, "request_problem_information", Shape::One),
    (0x18, "will_delay_interval", Shape::Four),
    (0x19, "request_response_information", Shape::One),
    (0x1a, "response_information", Shape::Text),
    (0x1c, "server_reference", Shape::Text),
    (0x1f, "reason_string", Shape::Text),
    (0x21, "receive_maximum", Shape::Two),
    (0x22, "topic_alias_maximum", Shape::Two),
    (0x23, "topic_alias", Shape::Two),
    (0x24, "maximum_qos", Shape::One),
    (0x25, "retain_available", Shape::One),
    (0x26, "user_property", Shape::Pair),
    (0x27, "maximum_packet_size", Shape::Four),
    (0x28, "wildcard_subscription_available", Shape::One),
    (0x29, "subscription_identifier_available", Shape::One),
    (0x2a, "shared_subscription_available", Shape::One),
];

fn properties(bytes: &[u8], json: &mut Json<'_>) {
    let mut reader = Reader::new(bytes);
    while let Some(number) = reader.u8() {
        let Some((_, name, shape)) = PROPERTIES.iter().find(|(known, _, _)| *known == number) else { return };
        if property(name, shape, &mut reader, json).is_none() {
            return;
        }
    }
}

fn property(name: &str, shape: &Shape, reader: &mut Reader<'_>, json: &mut Json<'_>) -> Option<()> {
    let text = |reader: &mut Reader<'_>| {
        let length = reader.be16()?;
        reader.take(usize::from(length)).map(<[u8]>::to_vec)
    };
    match shape {
        Shape::One => json.number(name, reader.u8()?),
        Shape::Two => json.number(name, reader.be16()?),
        Shape::Four => json.number(name, reader.be32()?),
        Shape::Variable => json.number(name, variable(reader).ok()? as u64),
        Shape::Text => json.bytes(name, &text(reader)?),
        Shape::Pair => {
            let key = text(reader)?;
            json.bytes(&String::from_utf8_lossy(&key), &text(reader)?)
        }
    };
    Some(())
}
