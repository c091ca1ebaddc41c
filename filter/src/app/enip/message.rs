//! Messages of the encapsulation layer (ODVA, volume 2, chapter 2).

use weir_ids_rules::Field;

use super::cip::{Depth, Service};
use crate::app::read::Reader;
use crate::json::Json;

/// Bytes of the header.
const HEADER: usize = 24;

/// A message.
#[derive(Debug)]
pub struct Message {
    /// What is asked.
    pub command: u16,
    session: u32,
    /// How it went.
    pub status: u32,
    context: u64,
    /// What it carries.
    pub payload: Payload,
    /// Its payload could not be read.
    pub invalid: bool,
}

/// What a message carries.
#[derive(Debug, Default)]
pub enum Payload {
    /// Nothing that is looked into.
    #[default]
    Other,
    /// The protocol version of a session.
    Session(u16),
    /// Who a device is.
    Identity(Box<Identity>),
    /// What a device can do.
    Services(Services),
    /// CIP.
    Cip(Service),
}

/// Who a device is.
#[derive(Debug, Default)]
pub struct Identity {
    version: u16,
    vendor: u16,
    device: u16,
    product: u16,
    revision: u16,
    status: u16,
    serial: u32,
    /// Name of the product.
    pub name: Vec<u8>,
    state: u8,
}

/// What a device can do.
#[derive(Debug, Default)]
pub struct Services {
    version: u16,
    capabilities: u16,
    /// Name of the service.
    pub name: Vec<u8>,
}

/// Types of items.
mod item {
    pub const IDENTITY: u16 = 0x0c;
    pub const CONNECTED: u16 = 0xb1;
    pub const UNCONNECTED: u16 = 0xb2;
    pub const SERVICES: u16 = 0x100;
}

impl Message {
    /// Takes a message. An error says how many bytes are needed.
    pub fn read(reader: &mut Reader<'_>) -> Result<Message, usize> {
        let mut ahead = *reader;
        let message = (|| {
            let (command, length, session) = (ahead.le16()?, ahead.le16()?, ahead.le32()?);
            let (status, context, _) = (ahead.le32()?, ahead.le64()?, ahead.le32()?);
            let payload = Payload::Other;
            Some((Message { command, session, status, context, payload, invalid: false }, usize::from(length)))
        })();
        let (mut message, length) = message.ok_or(HEADER)?;
        let body = ahead.take(length).ok_or(HEADER + length)?;
        *reader = ahead;
        match payload(message.command, body) {
            Some(payload) => message.payload = payload,
            None => message.invalid = true,
        }
        Ok(message)
    }

    /// Whether a response answers this request.
    pub fn fits(&self, response: &Message) -> bool {
        let session = self.session == response.session || self.session == 0;
        self.command == response.command && self.context == response.context && session
    }

    /// Writes what EVE shows of it.
    pub fn log(&self, json: &mut Json<'_>) {
        let command = command_name(self.command).map_or_else(|| format!("unknown-{}", self.command), str::to_owned);
        let status = status_name(self.status).map_or_else(|| format!("unknown-{}", self.status), str::to_owned);
        json.text("command", &command).text("status", &status);
        match &self.payload {
            Payload::Other => {}
            Payload::Session(version) => {
                json.nested("register_session", |json| {
                    json.number("protocol_version", *version);
                });
            }
            Payload::Identity(identity) => {
                json.nested("identity", |json| identity.log(json));
            }
            Payload::Services(services) => {
                json.nested("list_services", |json| {
                    json.number("protocol_version", services.version);
                    json.number("capabilities", services.capabilities).bytes("service_name", &services.name);
                });
            }
            Payload::Cip(service) => {
                json.nested("cip", |json| service.log(json));
            }
        }
    }
}

impl Payload {
    /// Numbers of identities, sessions and services.
    pub fn number(&self, field: Field) -> Option<u64> {
        match (field, self) {
            (Field::EnipProtocolVersion, Payload::Session(version)) => Some((*version).into()),
            (Field::EnipProtocolVersion, Payload::Services(services)) => Some(services.version.into()),
            (Field::EnipCapabilities, Payload::Services(services)) => Some(services.capabilities.into()),
            (_, Payload::Identity(identity)) => identity.number(field),
            _ => None,
        }
    }
}

impl Identity {
    fn read(bytes: &[u8]) -> Option<Identity> {
        let mut reader = Reader::new(bytes);
        let version = reader.le16()?;
        // The device's address as a socket has it.
        reader.take(16)?;
        let (vendor, device, product) = (reader.le16()?, reader.le16()?, reader.le16()?);
        let (revision, status, serial) = (reader.be16()?, reader.le16()?, reader.le32()?);
        let length = reader.u8()?;
        let name = reader.take(usize::from(length))?.to_vec();
        let state = reader.u8()?;
        Some(Identity { version, vendor, device, product, revision, status, serial, name, state })
    }

    fn number(&self, field: Field) -> Option<u64> {
        Some(match field {
            Field::EnipProtocolVersion => self.version.into(),
            Field::EnipVendorId => self.vendor.into(),
            Field::EnipDeviceType => self.device.into(),
            Field::EnipProductCode => self.product.into(),
            Field::EnipRevision => self.revision.into(),
            Field::EnipIdentityStatus => self.status.into(),
            Field::EnipSerial => self.serial.into(),
            Field::EnipState => self.state.into(),
            _ => return None,
        })
    }

    fn log(&self, json: &mut Json<'_>) {
        json.number("protocol_version", self.version);
        json.text("revision", &format!("{}.{}", self.revision >> 8, self.revision & 0xff));
        json.number("vendor_id", self.vendor).number("device_type", self.device);
        json.number("product_code", self.product).number("status", self.status).number("serial", self.serial);
        json.bytes("product_name", &self.name).number("state", self.state);
    }
}

fn payload(command: u16, body: &[u8]) -> Option<Payload> {
    let mut reader = Reader::new(body);
    match command {
        0x65 => Some(Payload::Session(reader.le16()?)),
        0x63 | 0x04 if body.is_empty() => Some(Payload::Other),
        0x63 => {
            let (_, kind, length) = (reader.le16()?, reader.le16()?, reader.le16()?);
            let bytes = reader.take(usize::from(length)).filter(|_| kind == item::IDENTITY)?;
            Some(Payload::Identity(Box::new(Identity::read(bytes)?)))
        }
        0x04 => {
            let (_, kind, _) = (reader.le16()?, reader.le16()?, reader.le16()?);
            let (version, capabilities) = (reader.le16()?, reader.le16()?);
            let name = reader.take_up_to(16);
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
            (kind == item::SERVICES).then_some(Payload::Services(Services { version, capabilities, name }))
        }
        0x6f | 0x70 => {
            reader.take(6)?;
            let count = reader.le16()?;
            for _ in 0..count {
                let (kind, length) = (reader.le16()?, reader.le16()?);
                let bytes = reader.take(usize::from(length))?;
                let bytes = match kind {
                    item::CONNECTED => bytes.get(2..)?,
                    item::UNCONNECTED => bytes,
                    _ => continue,
                };
                return Some(Payload::Cip(Service::read(bytes, Depth::Outer)?));
            }
            Some(Payload::Other)
        }
        _ => Some(Payload::Other),
    }
}

/// The name of a command.
pub fn command_name(command: u16) -> Option<&'static str> {
    Some(match command {
        0x00 => "Nop",
        0x04 => "ListServices",
        0x63 => "ListIdentity",
        0x64 => "ListInterfaces",
        0x65 => "RegisterSession",
        0x66 => "UnregisterSession",
        0x6f => "SendRRData",
        0x70 => "SendUnitData",
        0x72 => "IndicateStatus",
        0x73 => "Cancel",
        _ => return None,
    })
}

/// The name of a status.
pub fn status_name(status: u32) -> Option<&'static str> {
    Some(match status {
        0x00 => "Success",
        0x01 => "InvalidCmd",
        0x02 => "NoResources",
        0x03 => "IncorrectData",
        0x64 => "InvalidSession",
        0x65 => "InvalidLength",
        0x69 => "UnsupportedProtRev",
        0x6a => "EncapHeaderError",
        _ => return None,
    })
}
