//! DHCP for IPv4 (RFC 2131, RFC 2132): each message is a transaction.
//!
//! At most [`OPTIONS`] options of a message are looked at.

use std::net::Ipv4Addr;

use weir_ids_rules::{AppProtocol, Buffer, Field};

use super::read::Reader;
use super::{Anomaly, Context, Description, Fed, Input, List, Parser, Probe, Settings, Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// Options of a message.
const OPTIONS: usize = 128;

/// What stands before the options, and where.
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const COOKIE_AT: usize = 236;

/// Numbers of options.
mod option {
    pub const ROUTERS: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOSTNAME: u8 = 12;
    pub const MASK: u8 = 1;
    pub const REQUESTED: u8 = 50;
    pub const LEASE: u8 = 51;
    pub const KIND: u8 = 53;
    pub const PARAMETERS: u8 = 55;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const VENDOR: u8 = 60;
    pub const CLIENT: u8 = 61;
    pub const END: u8 = 255;
}

/// A message.
#[derive(Debug, Default)]
pub struct Message {
    way: Direction,
    op: u8,
    id: u32,
    addresses: [[u8; 4]; 4],
    hardware: [u8; 16],
    /// How much of it counts.
    hardware_length: u8,
    options: Vec<(u8, Vec<u8>)>,
    broken: bool,
}

#[derive(Debug, Default)]
struct Dhcp {
    list: List<Message>,
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(Dhcp::default())
}

fn read(bytes: &[u8], way: Direction) -> Option<Message> {
    let mut reader = Reader::new(bytes);
    let [op, _, hardware_length, _]: [u8; 4] = reader.array()?;
    let id = reader.be32()?;
    reader.take(4)?;
    let addresses = [reader.array()?, reader.array()?, reader.array()?, reader.array()?];
    let hardware = reader.array()?;
    reader.take(64 + 128 + COOKIE.len())?;
    let mut message = Message { way, op, id, addresses, hardware, hardware_length, ..Message::default() };
    loop {
        let Some(number) = reader.u8() else {
            message.broken = true;
            break;
        };
        match number {
            0 => continue,
            option::END => break,
            _ => {}
        }
        let value = reader.u8().and_then(|length| reader.take(usize::from(length)));
        let Some(value) = value.filter(|_| message.options.len() < OPTIONS) else {
            message.broken = true;
            break;
        };
        message.options.push((number, value.to_vec()));
    }
    Some(message)
}

impl Message {
    fn option(&self, number: u8) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == number).map(|(_, value)| value.as_slice())
    }

    fn seconds(&self, number: u8) -> Option<u32> {
        self.option(number)?.first_chunk().map(|&bytes| u32::from_be_bytes(bytes))
    }
}

impl Parser for Dhcp {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::Dhcp
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if input.bytes.is_empty() {
            return Fed::Used(0);
        }
        let Some(message) = read(input.bytes, way) else { return Fed::Failed };
        if self.list.count() >= context.settings.transactions_of(AppProtocol::Dhcp) {
            return Fed::Failed;
        }
        let broken = message.broken;
        self.list.push(message);
        if broken {
            self.list.anomaly(Anomaly("dhcp.truncated_options"));
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

const KINDS: [&str; 8] = ["discover", "offer", "request", "decline", "ack", "nak", "release", "inform"];

fn addresses(name: &str, value: &[u8], json: &mut Json<'_>) {
    json.array(name, |list| {
        for four in value.chunks_exact(4).filter_map(|four| four.first_chunk::<4>()) {
            list.item_bytes(Ipv4Addr::from(*four).to_string().as_bytes());
        }
    });
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

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        let number = match field {
            _ if nth > 0 || way != self.way => return None,
            Field::DhcpLeaseTime => option::LEASE,
            Field::DhcpRebindingTime => option::REBINDING,
            Field::DhcpRenewalTime => option::RENEWAL,
            _ => return None,
        };
        self.seconds(number).map(u64::from)
    }

    fn log(&self, json: &mut Json<'_>) {
        json.text("type", if self.op == 1 { "request" } else { "reply" }).number("id", self.id);
        let length = usize::from(self.hardware_length).min(self.hardware.len());
        json.hex("client_mac", self.hardware.get(..length).unwrap_or_default(), ":");
        let [client, assigned, next, relay] = self.addresses.map(Ipv4Addr::from);
        json.text("assigned_ip", &assigned.to_string());
        if self.op == 1 {
            json.text("client_ip", &client.to_string());
        } else {
            json.text("client_ip", &client.to_string()).text("relay_ip", &relay.to_string());
            json.text("next_server_ip", &next.to_string());
        }
        if let Some(&[kind]) = self.option(option::KIND) {
            let name = usize::from(kind).checked_sub(1).and_then(|at| KINDS.get(at)).copied();
            json.text("dhcp_type", name.unwrap_or("unknown"));
        }
        if let Some([_, id @ ..]) = self.option(option::CLIENT) {
            json.hex("client_id", id, ":");
        }
        for (number, name) in [(option::HOSTNAME, "hostname"), (option::VENDOR, "vendor_class_identifier")] {
            if let Some(value) = self.option(number) {
                json.bytes(name, value.strip_suffix(&[0]).unwrap_or(value));
            }
        }
        for (number, name) in
            [(option::LEASE, "lease_time"), (option::RENEWAL, "renewal_time"), (option::REBINDING, "rebinding_time")]
        {
            if let Some(seconds) = self.seconds(number) {
                json.number(name, seconds);
            }
        }
        for (number, name) in [(option::MASK, "subnet_mask"), (option::REQUESTED, "requested_ip")] {
            if let Some(four) = self.option(number).and_then(|value| value.first_chunk::<4>()) {
                json.text(name, &Ipv4Addr::from(*four).to_string());
            }
        }
        for (number, name) in [(option::ROUTERS, "routers"), (option::DNS, "dns_servers")] {
            if let Some(value) = self.option(number) {
                addresses(name, value, json);
            }
        }
        if let Some(list) = self.option(option::PARAMETERS) {
            json.array("params", |json| {
                for name in list.iter().filter_map(|&number| parameter(number)) {
                    json.item_bytes(name.as_bytes());
                }
            });
        }
    }
}

/// The name of an option that a client asks for; those without are not shown.
fn parameter(number: u8) -> Option<&'static str> {
    Some(match number {
        option::MASK => "subnet_mask",
        option::ROUTERS => "router",
        option::DNS => "dns_server",
        15 => "domain",
        35 => "arp_timeout",
        42 => "ntp_server",
        66 => "tftp_server_name",
        67 => "boot_file_name",
        120 => "sip_server",
        _ => return None,
    })
}

fn probe(_way: Direction, bytes: &[u8], _tuple: &Tuple) -> Probe {
    // What has no cookie is BOOTP's; later messages of a flow are read all the same.
    if bytes.get(COOKIE_AT..).is_some_and(|rest| rest.starts_with(&COOKIE)) { Probe::Yes } else { Probe::No }
}

/// DHCP.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::Dhcp,
    tcp: false,
    udp: true,
    ports: &[67, 68],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[],
    hooks: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::exercise::{run, storm};

    fn message() -> Vec<u8> {
        let mut bytes = vec![2, 1, 6, 0, 0, 0, 0, 9];
        bytes.extend([0; 8]);
        bytes.extend([10, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]);
        bytes.extend([0; 202]);
        bytes.extend(COOKIE);
        bytes.extend([53, 1, 5, 51, 4, 0, 0, 14, 16, 3, 4, 10, 0, 0, 1, 55, 2, 1, 6, 255]);
        bytes
    }

    #[test]
    fn an_answer_is_told() {
        let bytes = message();
        let talk = run(start, &Settings::default(), &[(Direction::Reply, &bytes)], 0);
        let shown = talk.shown();
        assert!(shown.contains("\"client_mac\":\"02:00:00:00:00:01\",\"assigned_ip\":\"10.0.0.5\""), "{shown}");
        assert!(shown.contains("\"dhcp_type\":\"ack\",\"lease_time\":3600,\"routers\":[\"10.0.0.1\"]"), "{shown}");
        assert!(shown.contains("\"params\":[\"subnet_mask\",\"dns_server\"]"), "{shown}");
        assert_eq!(talk.number(0, Field::DhcpLeaseTime, Direction::Reply, 0), Some(3600));
    }

    #[test]
    fn options_without_an_end_are_noted() {
        let shown = |bytes: &[u8]| run(start, &Settings::default(), &[(Direction::Reply, bytes)], 0).shown();
        let whole = message();
        assert!(!shown(&whole).contains("dhcp.truncated_options"), "{}", shown(&whole));
        for left in [1, 3] {
            let cut = shown(&whole[..whole.len() - left]);
            assert!(cut.contains("dhcp.truncated_options") && cut.contains("\"dhcp_type\":\"ack\""), "{cut}");
        }
        let mut long = whole.clone();
        long[2] = 8;
        assert!(shown(&long).contains("\"client_mac\":\"02:00:00:00:00:01:00:00\""), "{}", shown(&long));
        let tuple = crate::app::exercise::tuple(17);
        assert_eq!(probe(Direction::Original, &whole, &tuple), Probe::Yes);
        long[COOKIE_AT] = 0;
        assert_eq!(probe(Direction::Original, &long, &tuple), Probe::No);
        assert!(shown(&long).contains("\"lease_time\":3600"));
    }

    #[test]
    fn storms_break_nothing() {
        storm(start, &Settings::default(), &[(Direction::Reply, &message())], 1000);
    }
}
