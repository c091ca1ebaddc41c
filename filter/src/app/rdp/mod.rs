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

/// Channels of a client.
const CHANNELS: usize = 31;

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

/// What a client is.
#[derive(Debug, Default)]
struct Client {
    version: u32,
    width: u16,
    height: u16,
    depth: u16,
    layout: u32,
    build: u32,
    name: String,
    keyboard: [u32; 3],
    product: Option<u16>,
    serial: Option<u32>,
    capabilities: Option<u16>,
    id: String,
    channels: Vec<Vec<u8>>,
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

/// Text of two bytes a character, up to the first zero.
fn wide(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk().map(|&pair| u16::from_le_bytes(pair)));
    let units: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
    String::from_utf16_lossy(&units)
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

impl Client {
    /// Reads the blocks of a connect request: they stand behind the key "Duca" and a length.
    fn read(bytes: &[u8]) -> Client {
        let mut client = Client::default();
        let Some(at) = memchr::memmem::find(bytes, b"Duca") else { return client };
        let mut reader = Reader::new(bytes.get(at + 4..).unwrap_or_default());
        if reader.u8().is_some_and(|first| first & 0x80 != 0) {
            reader.u8();
        }
        while let (Some(kind), Some(length)) = (reader.le16(), reader.le16()) {
            let block = reader.take_up_to(usize::from(length).saturating_sub(4));
            match kind {
                0xc001 => {
                    client.core(block);
                }
                0xc003 => client.network(block),
                _ if length < 4 => break,
                _ => {}
            }
        }
        client
    }

    /// The client's core data (2.2.1.3.2); what stands at its end may be missing.
    fn core(&mut self, block: &[u8]) -> Option<()> {
        let mut reader = Reader::new(block);
        self.version = reader.le32()?;
        (self.width, self.height, self.depth) = (reader.le16()?, reader.le16()?, reader.le16()?);
        reader.le16()?;
        (self.layout, self.build) = (reader.le32()?, reader.le32()?);
        self.name = wide(reader.take(32)?);
        self.keyboard = [reader.le32()?, reader.le32()?, reader.le32()?];
        reader.take(64)?;
        reader.le16()?;
        self.product = Some(reader.le16()?);
        self.serial = Some(reader.le32()?);
        reader.take(4)?;
        self.capabilities = Some(reader.le16()?);
        self.id = wide(reader.take(64)?);
        Some(())
    }

    fn network(&mut self, block: &[u8]) {
        let mut reader = Reader::new(block);
        let count = reader.le32().unwrap_or(0) as usize;
        for _ in 0..count.min(CHANNELS) {
            let Some(channel) = reader.take(12) else { return };
            let name = channel.get(..8).unwrap_or_default().split(|&byte| byte == 0).next();
            self.channels.push(name.unwrap_or_default().to_vec());
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        json.text("version", version_name(self.version));
        json.number("desktop_width", self.width).number("desktop_height", self.height);
        match self.depth {
            0xca00 => json.number("color_depth", 4),
            0xca01 => json.number("color_depth", 8),
            _ => json,
        };
        json.text("keyboard_layout", &layout_name(self.layout)).text("build", build_name(self.build));
        if !self.name.is_empty() {
            json.text("client_name", &self.name);
        }
        let [kind, subtype, functions] = self.keyboard;
        let keyboards = ["xt", "ico", "at", "enhanced", "1050", "9140", "jp"];
        if let Some(name) = (kind as usize).checked_sub(1).and_then(|at| keyboards.get(at)) {
            json.text("keyboard_type", name);
        }
        for (name, number) in [("keyboard_subtype", subtype), ("function_keys", functions)] {
            if number != 0 {
                json.number(name, number);
            }
        }
        if let Some(product) = self.product {
            json.number("product_id", product);
        }
        if let Some(serial) = self.serial.filter(|&serial| serial != 0) {
            json.number("serial_number", serial);
        }
        if let Some(bits) = self.capabilities.filter(|&bits| bits != 0) {
            json.array("capabilities", |list| {
                for (bit, name) in CAPABILITIES {
                    if bits & bit != 0 {
                        list.item_bytes(name.as_bytes());
                    }
                }
            });
        }
        if !self.id.is_empty() {
            json.text("id", &self.id);
        }
    }
}

/// Early capabilities of a client.
const CAPABILITIES: &[(u16, &str)] = &[
    (0x0001, "support_errinfo_pdf"),
    (0x0002, "want_32bpp_session"),
    (0x0004, "support_statusinfo_pdu"),
    (0x0008, "strong_asymmetric_keys"),
    (0x0020, "valid_connection_type"),
    (0x0040, "support_monitor_layout_pdu"),
    (0x0080, "support_netchar_autodetect"),
    (0x0100, "support_dynvc_gfx_protocol"),
    (0x0200, "support_dynamic_time_zone"),
    (0x0400, "support_heartbeat_pdu"),
];

fn version_name(version: u32) -> &'static str {
    match version {
        0x0008_0001 => "v4",
        0x0008_0004 => "v5",
        0x0008_0005 => "v10.0",
        0x0008_0006 => "v10.1",
        0x0008_0007 => "v10.2",
        0x0008_0008 => "v10.3",
        0x0008_0009 => "v10.4",
        0x0008_000a => "v10.5",
        0x0008_000b => "v10.6",
        0x0008_000c => "v10.7",
        _ => "unknown",
    }
}

fn build_name(build: u32) -> &'static str {
    match build {
        2195 => "Windows 2000",
        2600 => "Windows XP",
        3790 => "Windows Server 2003",
        6000 => "Windows Vista",
        6001 => "Windows Vista SP1/Windows Server 2008",
        6002 => "Windows Vista SP2",
        7600 => "Windows 7/Windows Server 2008 R2",
        7601 => "Windows 7 SP1",
        9200 => "Windows 8/Windows Server 2012",
        9600 => "Windows 8.1/Windows Server 2012 R2",
        10240..=19999 => "Windows 10",
        _ => "unknown",
    }
}

fn layout_name(layout: u32) -> String {
    let name = match layout {
        0x0407 => "de-DE",
        0x0409 => "en-US",
        0x040a => "es-ES",
        0x040c => "fr-FR",
        0x0410 => "it-IT",
        0x0411 => "ja-JP",
        0x0413 => "nl-NL",
        0x0416 => "pt-BR",
        0x0419 => "ru-RU",
        0x0804 => "zh-CN",
        0x0809 => "en-GB",
        _ => "unknown",
    };
    name.to_owned()
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
            if self.list.count() >= context.settings.transactions {
                return Fed::Failed;
            }
            let last = matches!(item, Item::Connected);
            let number = self.list.next_number();
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
                    Some(Negotiation::Refused(code)) => {
                        json.number("error_code", *code).text("reason", reason(*code));
                    }
                    None => {}
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
