//! MQTT 3.1, 3.1.1 and 5.0.
//!
//! A transaction is a message with those that answer it (CONNECT and CONNACK, PUBLISH and what acknowledges it, …).
//! Messages are waited for up to [`MESSAGE`] bytes; longer ones are noted as truncated and passed over.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::{
    Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Provides, Settings, Transaction, Transactions,
};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod log;
mod message;
#[cfg(test)]
mod tests;

use message::{Message, kind};

/// Bytes of a message that are waited for.
const MESSAGE: usize = 100 << 10;

/// Messages of a transaction.
const MESSAGES: usize = 16;

/// A message with its answers.
#[derive(Debug)]
pub struct Exchange {
    way: Direction,
    /// What its answer names.
    id: Option<u32>,
    version: u8,
    complete: bool,
    messages: Vec<Message>,
}

#[derive(Debug)]
struct Mqtt {
    list: List<Exchange>,
    version: u8,
    connected: bool,
    skip: [usize; 2],
}

/// Stands for the identifier of CONNECT, which has none.
const CONNECT_ID: u32 = u32::MAX;

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Mqtt { list: List::default(), version: 0, connected: false, skip: [0; 2] })
}

impl Mqtt {
    fn push(&mut self, way: Direction, message: Message, id: Option<u32>, limit: usize) {
        if self.list.count() >= limit {
            // The oldest has waited longest for its answer.
            if let Some((mark, oldest)) = self.list.marked_mut().find(|(_, exchange)| !exchange.complete) {
                mark.note(Anomaly("mqtt.too_many_transactions"));
                oldest.complete = true;
            }
            if self.list.count() >= limit * 2 {
                return;
            }
        }
        let complete = id.is_none();
        self.list.push(Exchange { way, id, version: self.version, complete, messages: vec![message] });
    }

    /// Adds an answer to what it answers; `false` where that was not seen.
    fn answer(&mut self, message: Message, id: u32, last: bool) -> Option<Message> {
        let asked = self.list.iter_mut().find(|exchange| exchange.id == Some(id) && !exchange.complete);
        let Some(asked) = asked else { return Some(message) };
        if asked.messages.len() < MESSAGES {
            asked.messages.push(message);
        }
        asked.complete |= last;
        None
    }

    fn take(&mut self, way: Direction, message: Message, limit: usize) {
        let greeted = self.connected;
        let id = message.id.map(u32::from);
        match message.kind {
            _ if message.skipped.is_some() => self.push(way, message, None, limit),
            kind::CONNECT => {
                self.version = message.connect.as_ref().map_or(0, |connect| connect.version);
                self.push(way, message, Some(CONNECT_ID), limit);
                self.note(greeted, "mqtt.double_connect");
            }
            kind::CONNACK => {
                // Whatever it says: what may follow is for the client to judge.
                self.connected |= self.answered(way, message, CONNECT_ID, true, "mqtt.missing_connect", limit);
            }
            kind::PUBLISH => {
                let (lacks, invalid) = (message.qos() > 0 && id.is_none(), message.qos() > 2);
                let wanted = if (1..=2).contains(&message.qos()) { id } else { None };
                self.push(way, message, wanted, limit);
                self.note(lacks, "mqtt.missing_msg_id");
                self.note(invalid, "mqtt.invalid_qos_level");
                self.note(!greeted, "mqtt.unintroduced_message");
            }
            kind::SUBSCRIBE | kind::UNSUBSCRIBE => {
                self.push(way, message, id, limit);
                self.note(!greeted, "mqtt.unintroduced_message");
            }
            kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => {
                let last = matches!(message.kind, kind::PUBACK | kind::PUBCOMP);
                self.answered(way, message, id.unwrap_or(0), last, "mqtt.missing_publish", limit);
                self.note(!greeted, "mqtt.unintroduced_message");
            }
            kind::SUBACK => {
                self.answered(way, message, id.unwrap_or(0), true, "mqtt.missing_subscribe", limit);
            }
            kind::UNSUBACK => {
                self.answered(way, message, id.unwrap_or(0), true, "mqtt.missing_unsubscribe", limit);
            }
            kind::UNASSIGNED => {
                self.push(way, message, None, limit);
                self.note(true, "mqtt.unassigned_msg_type");
            }
            _ => {
                self.push(way, message, None, limit);
                self.note(!greeted, "mqtt.unintroduced_message");
            }
        }
    }

    /// Adds an answer to what it answers, or notes that this is missing. Whether it was there.
    fn answered(
        &mut self,
        way: Direction,
        message: Message,
        id: u32,
        last: bool,
        missing: &'static str,
        limit: usize,
    ) -> bool {
        let Some(message) = self.answer(message, id, last) else { return true };
        self.push(way, message, None, limit);
        self.note(true, missing);
        false
    }

    fn note(&mut self, is: bool, name: &'static str) {
        if is {
            self.list.anomaly(Anomaly(name));
        }
    }
}

impl Parser for Mqtt {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Mqtt
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let limit = context.settings.transactions_of(AppProtocol::Mqtt);
        let mut reader = Reader::new(input.bytes);
        let Some(skip) = self.skip.get_mut(way as usize) else { return Fed::Failed };
        *skip -= reader.take_up_to(*skip).len();
        while !reader.is_empty() {
            let used = input.bytes.len() - reader.len();
            let mut ahead = reader;
            let head = match message::head(&mut ahead) {
                Ok(head) => head,
                Err(message::Refusal::Short) => return Fed::Wait { used, need: reader.len() + 1 },
                Err(message::Refusal::Bad) => return Fed::Failed,
            };
            if head.length > MESSAGE {
                let skipped = ahead.take_up_to(head.length).len();
                if let Some(skip) = self.skip.get_mut(way as usize) {
                    *skip = head.length - skipped;
                }
                let message = Message { skipped: Some(head.length as u32), ..Message::empty(head) };
                self.take(way, message, limit);
                reader = ahead;
                continue;
            }
            let head_length = reader.len() - ahead.len();
            let Some(body) = ahead.take(head.length) else {
                return Fed::Wait { used, need: head_length + head.length };
            };
            let Some(message) = Message::read(head, body, self.version) else {
                self.push(way, Message::empty(head), None, limit);
                self.note(true, "mqtt.malformed_traffic");
                return Fed::Failed;
            };
            self.take(way, message, limit);
            reader = ahead;
        }
        Fed::Used(input.bytes.len())
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

impl Exchange {
    fn connect(&self) -> Option<&message::Connect> {
        self.messages.iter().find_map(|message| message.connect.as_deref())
    }

    fn topic(&self, kind: u8, nth: usize) -> Option<&[u8]> {
        let messages = self.messages.iter().filter(|message| message.kind == kind);
        messages.flat_map(|message| &message.topics).nth(nth).map(|(topic, _)| topic.as_slice())
    }
}

impl Transaction for Exchange {
    fn progress(&self, _way: Direction) -> u8 {
        u8::from(self.complete)
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn only(&self) -> Option<Direction> {
        Some(self.way)
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        if way != self.way {
            return None;
        }
        match buffer {
            Buffer::MqttSubscribeTopic => return self.topic(kind::SUBSCRIBE, nth),
            Buffer::MqttUnsubscribeTopic => return self.topic(kind::UNSUBSCRIBE, nth),
            Buffer::MqttPublishTopic => return self.topic(kind::PUBLISH, nth),
            _ if nth > 0 => return None,
            Buffer::MqttPublishMessage => {
                let published = self.messages.iter().find(|message| message.kind == kind::PUBLISH);
                return published.map(|message| message.text.as_slice());
            }
            _ => {}
        }
        let connect = self.connect()?;
        match buffer {
            Buffer::MqttConnectClientId => Some(&connect.client_id),
            Buffer::MqttConnectProtocolString => Some(&connect.protocol),
            Buffer::MqttConnectUsername => connect.username.as_deref(),
            Buffer::MqttConnectPassword => connect.password.as_deref(),
            Buffer::MqttConnectWillTopic => connect.will_topic.as_deref(),
            Buffer::MqttConnectWillMessage => connect.will_message.as_deref(),
            _ => None,
        }
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        if way != self.way {
            return None;
        }
        let message = self.messages.get(nth);
        let of_client = self.way == Direction::Original;
        match field {
            Field::MqttProtocolVersion | Field::MqttFlags | Field::MqttQos if !of_client => None,
            Field::MqttProtocolVersion if nth == 0 => Some(self.version.into()),
            Field::MqttType => message.map(|message| message.kind.into()),
            Field::MqttFlags => message.map(|message| u64::from(message.flags & 0x9)),
            Field::MqttQos => message.map(|message| message.qos().into()),
            Field::MqttConnectFlags if nth == 0 => self.connect().map(|connect| connect.flags.into()),
            Field::MqttConnackSessionPresent => {
                let mut acks = self.messages.iter().filter(|message| message.kind == kind::CONNACK);
                acks.nth(nth).map(|message| message.session_present.into())
            }
            Field::MqttReasonCode => {
                let codes = self.messages.iter().flat_map(|message| {
                    let listed =
                        if matches!(message.kind, kind::SUBACK | kind::UNSUBACK) { &message.codes[..] } else { &[] };
                    message.reason.iter().chain(listed)
                });
                codes.copied().nth(nth).map(u64::from)
            }
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        self.messages.iter().for_each(|message| log::message(message, json));
    }
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    match message::head(&mut Reader::new(bytes)) {
        Ok(head) if head.qos() > 2 => Probe::No,
        Ok(head) if head.kind == kind::UNASSIGNED => Probe::No,
        Ok(_) => Probe::Yes,
        Err(message::Refusal::Short) => Probe::More,
        Err(message::Refusal::Bad) => Probe::No,
    }
}

macro_rules! provides {
    ($($buffer:ident)*) => { &[
        $(Provides::new(Buffer::$buffer, Direction::Original, 1), Provides::new(Buffer::$buffer, Direction::Reply, 1)),*
    ] };
}

/// MQTT.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Mqtt,
    tcp: true,
    udp: false,
    ports: &[1883],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: provides!(MqttConnectClientId MqttConnectUsername MqttConnectPassword MqttConnectWillTopic
        MqttConnectWillMessage MqttConnectProtocolString MqttPublishTopic MqttPublishMessage MqttSubscribeTopic
        MqttUnsubscribeTopic),
    hooks: &[],
};
