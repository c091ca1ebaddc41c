//! DHCP for IPv4 (RFC 2131), as a server that knows its network: it refuses addresses that are not of it.
//!
//! Pure: a request, the book and the time go in, a frame comes out. Requests are read by `dhcproto`; those that a relay
//! passed on, and those whose hardware address is not that of the frame, are not answered. An address that a guest has
//! not held before is asked after in the network first ([`Answer::Probe`]).

use std::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::{DhcpOption, DhcpOptions, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use weir_wire::MacAddr;
use weir_wire::build::{Ends, udp};

use super::book::{Asking, Book, Grant, OFFER_S};
use super::decode::decoded;
use super::leases::Standing;
use super::pool::{NoAddress, Pool};
use super::served::{Guest, Served4};

mod options;

#[cfg(test)]
mod tests;

/// Where a client listens, and a server.
const PORTS: (u16, u16) = (67, 68);
/// Where the hardware address stands in a message.
const CHADDR: usize = 28;
/// The shortest message that old clients and relays take (RFC 1542, 2.1).
const LENGTH_LEAST: usize = 300;

/// What a request leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is said.
    Nothing,
    /// A frame for the port of the request.
    Frame(Vec<u8>),
    /// Ask the network after this address, then look at the request again.
    Probe(IpAddr),
}

/// A request, read.
struct Request<'a> {
    message: Message,
    kind: MessageType,
    asking: Asking<'a>,
}

/// Answers a request. `guest.id` of `asking` is taken from the request.
pub fn answer(book: &mut Book, served: &Served4, asking: Asking<'_>, payload: &[u8]) -> Answer {
    book.v4.requests += 1;
    let Some((message, kind)) = read(payload) else {
        book.v4.malformed += 1;
        return Answer::Nothing;
    };
    let hardware = payload.get(CHADDR..).and_then(<[u8]>::first_chunk).map(|mac| MacAddr(*mac));
    if !message.giaddr().is_unspecified() || hardware != Some(asking.guest.mac) {
        book.v4.foreign += 1;
        return Answer::Nothing;
    }
    let id = match message.opts().get(OptionCode::ClientIdentifier) {
        Some(DhcpOption::ClientIdentifier(id)) => id.clone(),
        _ => Vec::new(),
    };
    let asking = Asking { guest: Guest { id: &id, ..asking.guest }, ..asking };
    if !asking.probed && !book.may_ask(asking.guest.port, asking.now_s) {
        book.v4.limited += 1;
        return Answer::Nothing;
    }
    let request = Request { message, kind, asking };
    match request.kind {
        MessageType::Discover => discover(book, served, &request),
        MessageType::Request => take(book, served, &request),
        MessageType::Decline => decline(book, served, &request),
        MessageType::Release => {
            let address = IpAddr::V4(request.message.ciaddr());
            book.release(&served.place, address, &request.asking.guest.client());
            Answer::Nothing
        }
        MessageType::Inform => inform(book, served, &request),
        _ => Answer::Nothing,
    }
}

/// A message of a client on Ethernet, and its type.
fn read(payload: &[u8]) -> Option<(Message, MessageType)> {
    let distilled = options::distilled(payload)?;
    let message = decoded(|| Message::decode(&mut Decoder::new(&distilled)).ok())?;
    let fine = message.opcode() == Opcode::BootRequest && message.htype() == HType::Eth && message.hlen() == 6;
    let kind = message.opts().msg_type()?;
    fine.then_some((message, kind))
}

fn pool(served: &Served4) -> Pool<'_> {
    Pool {
        place: &served.place,
        ranges: &served.ranges,
        taken: &served.taken,
        hosts: &served.hosts,
        per_port: served.config.per_port,
        v4: true,
    }
}

fn requested(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    }
}

fn discover(book: &mut Book, served: &Served4, request: &Request<'_>) -> Answer {
    let Request { message, asking, .. } = request;
    let wanted = requested(message).map(IpAddr::V4);
    let chosen = pool(served).choose(&book.leases, asking.now_s, &asking.guest, wanted, book.turn);
    let address = match chosen {
        Ok(address) => address,
        Err(NoAddress::PortLimit) => {
            book.v4.port_limit += 1;
            return Answer::Nothing;
        }
        Err(NoAddress::Exhausted) => {
            book.turn += 1;
            book.v4.exhausted += 1;
            return Answer::Nothing;
        }
    };
    let client = asking.guest.client();
    let holds = book.leases.get(&served.place, address).is_some_and(|lease| lease.client == client);
    // What is bound stays so: a guest that starts again may not come as far as to take the offer.
    let live = holds
        && book
            .leases
            .get(&served.place, address)
            .is_some_and(|lease| lease.standing == Standing::Bound && lease.is_live(asking.now_s));
    if !live && !give(book, served, request, address, (OFFER_S, Standing::Offered)) {
        return Answer::Nothing;
    }
    if served.config.probe && !holds && !asking.probed {
        return Answer::Probe(address);
    }
    reply(book, served, request, MessageType::Offer, address)
}

fn give(
    book: &mut Book,
    served: &Served4,
    request: &Request<'_>,
    to: IpAddr,
    (for_s, standing): (u64, Standing),
) -> bool {
    let name = options::host_name(request.message.opts());
    let grant = Grant { place: &served.place, address: to, for_s, standing, name, hosts: &served.hosts };
    let given = book.give(&request.asking, grant);
    if !given {
        book.v4.exhausted += 1;
    }
    given
}

/// A guest takes an offer, or wants to go on with what it had (RFC 2131, 4.3.2).
fn take(book: &mut Book, served: &Served4, request: &Request<'_>) -> Answer {
    let Request { message, asking, .. } = request;
    let server = match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
        _ => None,
    };
    let client = asking.guest.client();
    if server.is_some_and(|server| server != served.network.ip()) {
        // It took another's offer: ours is free again.
        let offered = book.leases.of_client(&served.place, true, &client);
        if let Some(address) = offered.filter(|l| l.standing == Standing::Offered).map(|l| l.address) {
            book.leases.remove(&served.place, address);
        }
        return Answer::Nothing;
    }
    let known = !message.ciaddr().is_unspecified();
    let wanted = if known { Some(message.ciaddr()) } else { requested(message) };
    let Some(wanted) = wanted else {
        book.v4.malformed += 1;
        return Answer::Nothing;
    };
    let (address, pool) = (IpAddr::V4(wanted), pool(served));
    let now_s = asking.now_s;
    let own = book.leases.get(&served.place, address).is_some_and(|l| l.client == client && l.is_live(now_s));
    // After a restart without a record, what a guest says that it has is believed where nothing speaks against it.
    let held = book.leases.of_port(&served.place, asking.guest.port, true, now_s).count();
    let room = own || held < served.config.per_port as usize;
    let fine = pool.suits(&book.leases, now_s, &asking.guest, address) && room;
    let lease_s = u64::from(served.config.lease_s);
    if !fine || !give(book, served, request, address, (lease_s, Standing::Bound)) {
        book.v4.refusals += 1;
        return refuse(served, request);
    }
    reply(book, served, request, MessageType::Ack, address)
}

/// A guest found its address in use.
fn decline(book: &mut Book, served: &Served4, request: &Request<'_>) -> Answer {
    let Some(address) = requested(&request.message).map(IpAddr::V4) else { return Answer::Nothing };
    let guest = &request.asking.guest;
    if book.leases.get(&served.place, address).is_some_and(|lease| lease.client == guest.client()) {
        book.conflict(&served.place, address, guest, request.asking.now_s);
    }
    Answer::Nothing
}

/// A guest with an address of its own wants to know the rest.
fn inform(book: &mut Book, served: &Served4, request: &Request<'_>) -> Answer {
    let address = request.message.ciaddr();
    if !served.network.contains(address) {
        return Answer::Nothing;
    }
    book.v4.answers += 1;
    let options = options::told(served, &request.message, None, MessageType::Ack);
    Answer::Frame(frame(served, request, Ipv4Addr::UNSPECIFIED, address, options))
}

fn reply(book: &mut Book, served: &Served4, request: &Request<'_>, kind: MessageType, address: IpAddr) -> Answer {
    let IpAddr::V4(address) = address else { return Answer::Nothing };
    book.v4.answers += 1;
    let name = book.leases.get(&served.place, IpAddr::V4(address)).and_then(|lease| lease.name.clone());
    let mut options = options::told(served, &request.message, Some(served.config.lease_s), kind);
    options.extend(name.map(DhcpOption::Hostname));
    let message = &request.message;
    let to = match (message.ciaddr(), message.flags().broadcast()) {
        (known, _) if !known.is_unspecified() => known,
        (_, true) => Ipv4Addr::BROADCAST,
        (_, false) => address,
    };
    Answer::Frame(frame(served, request, address, to, options))
}

/// The guest is to begin anew.
fn refuse(served: &Served4, request: &Request<'_>) -> Answer {
    let options = options::refusal(served, &request.message);
    Answer::Frame(frame(served, request, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, options))
}

fn frame(served: &Served4, request: &Request<'_>, given: Ipv4Addr, to: Ipv4Addr, options: Vec<DhcpOption>) -> Vec<u8> {
    let (asked, mac) = (&request.message, request.asking.guest.mac);
    let unset = Ipv4Addr::UNSPECIFIED;
    let next = if given.is_unspecified() { unset } else { served.config.next_server.unwrap_or(unset) };
    let mut message = Message::new_with_id(asked.xid(), asked.ciaddr(), given, next, unset, &mac.0);
    message.set_opcode(Opcode::BootReply).set_htype(HType::Eth).set_flags(asked.flags());
    if let Some(file) = &served.config.boot_file
        && !given.is_unspecified()
    {
        message.set_fname_str(file);
    }
    let all: DhcpOptions = options.into_iter().collect();
    message.set_opts(all);
    let mut payload = message.to_vec().unwrap_or_default();
    payload.resize(payload.len().max(LENGTH_LEAST), 0);
    let destination_mac = if to.is_broadcast() { MacAddr::BROADCAST } else { mac };
    let (source, destination) = (IpAddr::V4(served.network.ip()), IpAddr::V4(to));
    udp(Ends { source_mac: served.mac, destination_mac, source, destination }, PORTS, &payload)
}
