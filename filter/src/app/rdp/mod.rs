//! RDP's opening in the clear (MS-RDPBCGR, 2.2.1): what the client asks for, what it is, what the server answers.
//!
//! Each message is a transaction of its own. Behind a handshake that chose TLS, and behind the connection of the channels,
//! nothing is looked at.

use weir_ids_rules::{AppProtocol, Buffer};

use super::read::Reader;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Settings, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

mod client;

use client::Client;

/// What a message says.
#[derive(Debug)]
enum Item {
    Request { cookie: Option<Vec<u8>>, flags: u8 },
    Confirm(Option<Negotiation>),
    Connect(Box<Client>),
    Connected,
}

/// What the server answers to the client's wish for security.
#[derive(Debug)]
enum Negotiation {
    Chosen { flags: u8, protocol: u32 },
    Refused(u32),
}

/// A message.
#[derive(Debug)]
pub struct Message {
    way: Direction,
    number: u64,
    item: Item,
}

#[derive(Debug, Default)]
struct Rdp {
    list: List<Message>,
    over: bool,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Rdp::default())
}

/// The message in a TPKT's body; `None` for what is not told of.
fn item(way: Direction, body: &[u8]) -> Option<Item> {
    let mut reader = Reader::new(body);
    let length = reader.u8()?;
    let kind = reader.u8()?;
    match (way, kind & 0xf0) {
        (Direction::Original, 0xe0) => {
            reader.take(5)?;
            let rest = reader.take_up_to(usize::from(length).saturating_sub(6));
            Some(request(rest))
        }
        (Direction::Reply, 0xd0) => {
            reader.take(5)?;
            Some(Item::Confirm(negotiation(&mut reader)))
        }
        (_, 0xf0) => {
            reader.u8()?;
            match (way, reader.be16()?) {
                (Direction::Original, 0x7f65) => Some(Item::Connect(Box::new(Client::read(reader.rest())))),
                (Direction::Reply, 0x7f66) => Some(Item::Connected),
                _ => None,
            }
        }
        _ => None,
    }
}

fn request(bytes: &[u8]) -> Item {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n");
    let cookie = end.and_then(|end| bytes.get(..end)).and_then(|line| line.strip_prefix(b"Cookie: mstshash="));
    let rest = end.and_then(|end| bytes.get(end + 2..)).unwrap_or(bytes);
    let flags = match rest {
        [1, flags, 8, 0, ..] => *flags,
        _ => 0,
    };
    Item::Request { cookie: cookie.map(<[u8]>::to_vec), flags }
}

fn negotiation(reader: &mut Reader<'_>) -> Option<Negotiation> {
    let (kind, flags, _, value) = (reader.u8()?, reader.u8()?, reader.le16()?, reader.le32()?);
    match kind {
        2 => Some(Negotiation::Chosen { flags, protocol: value }),
        3 => Some(Negotiation::Refused(value)),
        _ => None,
    }
}

impl Parser for Rdp {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Rdp
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        let mut reader = Reader::new(input.bytes);
        while !reader.is_empty() {
            let used = input.bytes.len() - reader.len();
            let mut ahead = reader;
            let (Some(version), Some(_), Some(length)) = (ahead.u8(), ahead.u8(), ahead.be16()) else {
                return Fed::Wait { used, need: 4 };
            };
            if version != 3 || self.over {
                // TLS, or the fast path of an open session.
                return Fed::Finished;
            }
            let Some(body) = usize::from(length).checked_sub(4) else {
                self.list.anomaly(Anomaly("rdp.malformed_data"));
                return Fed::Failed;
            };
            let Some(body) = ahead.take(body) else { return Fed::Wait { used, need: usize::from(length) } };
            reader = ahead;
            let Some(item) = item(way, body) else { continue };
            if self.list.count() >= context.settings.transactions_of(AppProtocol::Rdp) {
                return Fed::Failed;
            }
            let last = matches!(item, Item::Connected);
            // The first one is number one.
            let number = self.list.next_number() + 1;
            self.list.push(Message { way, number, item });
            self.over |= last;
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

impl Transaction for Message {
    fn progress(&self, _way: Direction) -> u8 {
        1
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn only(&self) -> Option<Direction> {
        Some(self.way)
    }

    fn shown_with_packet(&self) -> bool {
        true
    }

    fn buffer<'t>(&'t self, _: Buffer, _: Direction, _: usize, _: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn log(&self, json: &mut Json<'_>) {
        json.number("tx_id", self.number);
        match &self.item {
            Item::Request { cookie, flags } => {
                json.text("event_type", "initial_request");
                if let Some(cookie) = cookie {
                    json.bytes("cookie", cookie);
                }
                let names = [
                    (1, "restricted_admin_mode_required"),
                    (2, "redirected_authentication_mode_required"),
                    (8, "correlation_info_present"),
                ];
                flag_names("flags", *flags, &names, json);
            }
            Item::Confirm(answer) => {
                json.text("event_type", "initial_response");
                match answer {
                    Some(Negotiation::Chosen { flags, protocol }) => chosen(*flags, *protocol, json),
                    Some(Negotiation::Refused(0)) | None => {}
                    Some(Negotiation::Refused(code)) => {
                        json.number("error_code", *code).text("reason", reason(*code));
                    }
                }
            }
            Item::Connect(client) => {
                json.text("event_type", "connect_request");
                json.nested("client", |json| client.log(json));
                if !client.channels.is_empty() {
                    json.array("channels", |list| {
                        client.channels.iter().for_each(|name| {
                            list.item_bytes(name);
                        });
                    });
                }
            }
            Item::Connected => {
                json.text("event_type", "connect_response");
            }
        }
    }
}

fn flag_names(key: &str, flags: u8, names: &[(u8, &str)], json: &mut Json<'_>) {
    if flags == 0 {
        return;
    }
    json.array(key, |list| {
        for (bit, name) in names {
            if flags & bit != 0 {
                list.item_bytes(name.as_bytes());
            }
        }
    });
}

fn chosen(flags: u8, protocol: u32, json: &mut Json<'_>) {
    let names =
        [(1, "extended_client_data"), (2, "dynvc_gfx"), (8, "restricted_admin"), (16, "redirected_authentication")];
    flag_names("server_supports", flags, &names, json);
    let name = match protocol {
        0 => "rdp",
        1 => "ssl",
        2 => "hybrid",
        4 => "rds_tls",
        8 => "hybrid_ex",
        _ => return,
    };
    json.text("protocol", name);
}

fn reason(code: u32) -> &'static str {
    match code {
        1 => "ssl required by server",
        2 => "ssl not allowed by server",
        3 => "ssl cert not on server",
        4 => "inconsistent flags",
        5 => "hybrid required by server",
        6 => "ssl with user auth required by server",
        _ => "unknown",
    }
}

fn probe(way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    let kind = match way {
        Direction::Original => 0xe0,
        Direction::Reply => 0xd0,
    };
    match bytes {
        [3, 0, _, _, _, found, ..] if *found == kind => Probe::Yes,
        [3, 0, ..] if bytes.len() < 6 => Probe::More,
        [3] => Probe::More,
        _ => Probe::No,
    }
}

/// RDP.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Rdp,
    tcp: true,
    udp: false,
    ports: &[3389],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[],
    hooks: &[],
};

#[cfg(test)]
mod tests;
