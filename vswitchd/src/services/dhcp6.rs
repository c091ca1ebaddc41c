//! DHCP for IPv6 (RFC 8415): addresses (IA_NA), and the servers that guests are to use.
//!
//! Pure, as [`dhcp4`](super::dhcp4) is. Requests that a relay passed on are not answered; temporary addresses and
//! prefixes are not given. A guest may ask for [`ASSOCIATIONS_MAX`] addresses at once. What a guest says that it has is
//! believed after a restart without a record, where nothing speaks against it.

use std::net::{IpAddr, Ipv6Addr};

use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode};
use dhcproto::{Decodable, Decoder, Encodable};
use ipnetwork::Ipv6Network;
use weir_fabric::router::link_local;
use weir_wire::MacAddr;
use weir_wire::build::{Ends, udp};

use super::book::{Asking, Book, Grant, OFFER_S};
use super::decode::decoded;
use super::leases::Standing;
use super::pool::{NoAddress, Pool};
use super::served::{Guest, Served6};

#[cfg(test)]
mod tests;

/// Where a server listens, and a client.
const PORTS: (u16, u16) = (547, 546);
/// Addresses of one request at most.
const ASSOCIATIONS_MAX: usize = 4;
/// The longest name for itself that a guest may have (RFC 8415, 11.1), and the shortest.
const DUID_MAX: usize = 130;
const DUID_LEAST: usize = 3;
/// The name that a guest gives itself (RFC 4704).
const CLIENT_FQDN: u16 = 39;

/// A request, read.
struct Request<'a> {
    message: Message,
    duid: Vec<u8>,
    asking: Asking<'a>,
}

/// Answers a request of `source`, with a frame for the port of the request.
pub fn answer(
    book: &mut Book,
    served: &Served6,
    asking: Asking<'_>,
    source: Ipv6Addr,
    payload: &[u8],
) -> Option<Vec<u8>> {
    book.v6.requests += 1;
    let message = match payload.first().map(|kind| MessageType::from(*kind)) {
        Some(MessageType::RelayForw | MessageType::RelayRepl) => {
            book.v6.foreign += 1;
            return None;
        }
        Some(_) | None => decoded(|| Message::decode(&mut Decoder::new(payload)).ok()),
    };
    let Some((message, duid)) = message.and_then(with_duid) else {
        book.v6.malformed += 1;
        return None;
    };
    if !book.may_ask(asking.guest.port, asking.now_s) {
        book.v6.limited += 1;
        return None;
    }
    let request = Request { message, duid, asking };
    let options = reply(book, served, &request)?;
    book.v6.answers += 1;
    let kind = match request.message.msg_type() {
        MessageType::Solicit if !is_rapid(&request) => MessageType::Advertise,
        _ => MessageType::Reply,
    };
    let mut message = Message::new_with_id(kind, request.message.xid());
    message.set_opts(options);
    let payload = message.to_vec().ok()?;
    let (source_mac, destination_mac) = (served.mac, request.asking.guest.mac);
    let ends = Ends { source_mac, destination_mac, source: link_local(served.mac).into(), destination: source.into() };
    Some(udp(ends, PORTS, &payload))
}

/// The name of the guest for itself; only questions that want no address may come without.
fn with_duid(message: Message) -> Option<(Message, Vec<u8>)> {
    let duid = match message.opts().get(OptionCode::ClientId) {
        Some(DhcpOption::ClientId(duid)) => duid.clone(),
        _ if message.msg_type() == MessageType::InformationRequest => return Some((message, Vec::new())),
        _ => return None,
    };
    (DUID_LEAST..=DUID_MAX).contains(&duid.len()).then_some((message, duid))
}

fn is_rapid(request: &Request<'_>) -> bool {
    request.message.opts().get(OptionCode::RapidCommit).is_some()
}

/// The options of the reply; `None` where nothing is said.
fn reply(book: &mut Book, served: &Served6, request: &Request<'_>) -> Option<DhcpOptions> {
    let ours = |id: &DhcpOption| matches!(id, DhcpOption::ServerId(id) if id == book.journal.duid());
    let addressed = request.message.opts().get(OptionCode::ServerId).map(ours);
    let mut options = DhcpOptions::new();
    options.insert(DhcpOption::ServerId(book.journal.duid().to_vec()));
    if !request.duid.is_empty() {
        options.insert(DhcpOption::ClientId(request.duid.clone()));
    }
    match (request.message.msg_type(), addressed) {
        (MessageType::Solicit, None) => {
            let rapid = is_rapid(request);
            let terms =
                if rapid { (u64::from(served.config.lease_s), Standing::Bound) } else { (OFFER_S, Standing::Offered) };
            if rapid {
                options.insert(DhcpOption::RapidCommit);
            }
            associate(book, served, request, &mut options, terms);
        }
        (MessageType::Request | MessageType::Renew, Some(true)) | (MessageType::Rebind, None) => {
            let terms = (u64::from(served.config.lease_s), Standing::Bound);
            associate(book, served, request, &mut options, terms);
        }
        (MessageType::Confirm, None) => {
            let status = confirm(served, request)?;
            options.insert(status);
        }
        (MessageType::Release, Some(true)) => {
            give_back(request, |address, guest| {
                book.release(&served.place, address, &guest.client());
            });
            options.insert(status(Status::Success, ""));
            return Some(options);
        }
        (MessageType::Decline, Some(true)) => {
            let now_s = request.asking.now_s;
            give_back(request, |address, guest| {
                if book.leases.get(&served.place, address).is_some_and(|lease| lease.client == guest.client()) {
                    book.conflict(&served.place, address, &guest, now_s);
                }
            });
            options.insert(status(Status::Success, ""));
            return Some(options);
        }
        (MessageType::InformationRequest, None | Some(true)) => {}
        // For another server, or nothing for a server.
        _ => return None,
    }
    if !served.dns.is_empty() {
        options.insert(DhcpOption::DomainNameServers(served.dns.clone()));
    }
    if !served.search.is_empty() {
        options.insert(DhcpOption::DomainSearchList(served.search.clone()));
    }
    Some(options)
}

/// What a guest asks addresses for, each with what it is known by there.
fn associations<'a>(request: &'a Request<'_>) -> impl Iterator<Item = (&'a IANA, Vec<u8>)> {
    let wanted = request.message.opts().iter().filter_map(|option| match option {
        DhcpOption::IANA(wanted) => Some(wanted),
        _ => None,
    });
    wanted.take(ASSOCIATIONS_MAX).map(|wanted| (wanted, [&request.duid[..], &wanted.id.to_be_bytes()].concat()))
}

fn addresses(wanted: &IANA) -> impl Iterator<Item = Ipv6Addr> {
    wanted.opts.iter().filter_map(|option| match option {
        DhcpOption::IAAddr(address) => Some(address.addr),
        _ => None,
    })
}

fn status(status: Status, text: &str) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode { status, msg: text.into() })
}

/// An address for each association, or why there is none.
fn associate(
    book: &mut Book,
    served: &Served6,
    request: &Request<'_>,
    options: &mut DhcpOptions,
    (for_s, standing): (u64, Standing),
) {
    let lease_s = served.config.lease_s;
    for (wanted, id) in associations(request) {
        let guest = Guest { id: &id, ..request.asking.guest };
        let asking = Asking { guest, ..request.asking };
        let mut inner = DhcpOptions::new();
        match address_for(book, served, &asking, wanted) {
            Some(address) if give(book, served, request, &asking, (address, for_s, standing)) => {
                // What it had before and may not have any more.
                let gone = addresses(wanted).filter(|had| *had != address).take(ASSOCIATIONS_MAX);
                let gone = gone.map(|addr| IAAddr { addr, preferred_life: 0, valid_life: 0, opts: DhcpOptions::new() });
                let own =
                    IAAddr { addr: address, preferred_life: lease_s, valid_life: lease_s, opts: DhcpOptions::new() };
                [own].into_iter().chain(gone).for_each(|address| inner.insert(DhcpOption::IAAddr(address)));
            }
            Some(_) | None => inner.insert(status(Status::NoAddrsAvail, "there is no address for you")),
        }
        let (t1, t2) = (lease_s / 2, (u64::from(lease_s) * 4 / 5) as u32);
        options.insert(DhcpOption::IANA(IANA { id: wanted.id, t1, t2, opts: inner }));
    }
}

fn address_for(book: &mut Book, served: &Served6, asking: &Asking<'_>, wanted: &IANA) -> Option<Ipv6Addr> {
    let pool = Pool {
        place: &served.place,
        ranges: &served.config.ranges,
        taken: &served.taken,
        hosts: &served.hosts,
        per_port: served.config.per_port,
        v4: false,
    };
    let hint = addresses(wanted).next().map(IpAddr::V6);
    match pool.choose(&book.leases, asking.now_s, &asking.guest, hint, book.turn) {
        Ok(IpAddr::V6(address)) => return Some(address),
        Ok(IpAddr::V4(_)) => {}
        Err(NoAddress::PortLimit) => book.v6.port_limit += 1,
        Err(NoAddress::Exhausted) => {
            book.turn += 1;
            book.v6.exhausted += 1;
        }
    }
    None
}

fn give(
    book: &mut Book,
    served: &Served6,
    request: &Request<'_>,
    asking: &Asking<'_>,
    (address, for_s, standing): (Ipv6Addr, u64, Standing),
) -> bool {
    let address = IpAddr::V6(address);
    let client = asking.guest.client();
    let known = book.leases.get(&served.place, address).filter(|lease| lease.client == client);
    // An advertisement does not shorten what the guest has.
    if standing == Standing::Offered && known.is_some_and(|l| l.standing == Standing::Bound && l.is_live(asking.now_s))
    {
        return true;
    }
    let name = host_name(request.message.opts());
    book.give(asking, Grant { place: &served.place, address, for_s, standing, name, hosts: &served.hosts })
}

/// Whether the addresses a guest has are of this network; `None` where that cannot be said.
fn confirm(served: &Served6, request: &Request<'_>) -> Option<DhcpOption> {
    let mut had = associations(request).flat_map(|(wanted, _)| addresses(wanted)).peekable();
    had.peek()?;
    let near = |address: Ipv6Addr| served.networks.iter().any(|network: &Ipv6Network| network.contains(address));
    Some(match had.all(near) {
        true => status(Status::Success, ""),
        false => status(Status::NotOnLink, "this address is of another network"),
    })
}

fn give_back(request: &Request<'_>, mut each: impl FnMut(IpAddr, Guest<'_>)) {
    for (wanted, id) in associations(request) {
        let guest = Guest { id: &id, ..request.asking.guest };
        addresses(wanted).take(ASSOCIATIONS_MAX).for_each(|address| each(address.into(), guest));
    }
}

/// The first label of the name that a guest gives itself: flags, then a name as DNS writes it.
fn host_name(options: &DhcpOptions) -> Option<String> {
    let DhcpOption::Unknown(option) = options.get(OptionCode::from(CLIENT_FQDN))? else { return None };
    let (length, rest) = option.data().get(1..)?.split_first()?;
    String::from_utf8(rest.get(..usize::from(*length))?.to_vec()).ok()
}

/// What the daemon calls itself (DUID-LL, RFC 8415, 11.4).
pub fn duid(mac: MacAddr) -> Vec<u8> {
    [&[0, 3, 0, 1][..], &mac.0].concat()
}
