use std::collections::BTreeSet;
use std::sync::Arc;

use dhcproto::v4::Flags;
use weir_wire::{Pool, PortId};

use super::super::journal::Journal;
use super::super::leases::Leases;
use super::super::served::Catalogue;
use super::*;
use crate::config::Config;
use crate::state::Ids;

const STATE: &str = r#"
switch = [{ name = "lan" }]
port = [{ name = "vm1", switch = "lan", mem = {} }, { name = "vm2", switch = "lan", mem = {} }]
[[router]]
name = "r"
dns = { domain = "guests.test" }
[[router.interface]]
name = "lan"
switch = "lan"
addresses = "10.0.0.1/24"
mtu = 1400
[router.interface.dhcp]
ranges = "10.0.0.100-10.0.0.103"
lease_s = 600
per_port = 2
ntp = "10.0.0.5"
boot_file = "pxe.0"
next_server = "10.0.0.6"
route = [{ to = "10.9.0.0/16", via = "10.0.0.2" }]
option = [{ code = 43, hex = "01:02" }]
host = [{ port = "vm2", name = "two", address = "10.0.0.50" }]
"#;

/// A server, who asks by which port, and the time.
struct Lab {
    book: Book,
    served: Arc<Served4>,
    now_s: u64,
    xid: u32,
}

impl Lab {
    fn new() -> Lab {
        let config = Config::parse(STATE).expect("parses");
        config.check().expect("makes sense");
        let catalogue = Catalogue::of(&config, &Ids::default().after(&config), 1);
        let served = catalogue.interfaces[&0].dhcp.clone().expect("is served");
        Lab { book: Book::new(Journal::none(Vec::new()), Leases::default()), served, now_s: 1000, xid: 7 }
    }

    fn raw(&mut self, port: &str, last: u8, payload: &[u8], probed: bool) -> Answer {
        let guest = Guest { port, mac: MacAddr([2, 0, 0, 0, 0, last]), id: &[] };
        let reserved = BTreeSet::new();
        let asking = Asking { guest, reserved: &reserved, now_s: self.now_s, probed };
        answer(&mut self.book, &self.served, asking, payload)
    }

    /// Says something as the guest with this MAC; the reply, where there is one.
    fn say(&mut self, port: &str, last: u8, kind: MessageType, with: &[DhcpOption], had: Ipv4Addr) -> Option<Message> {
        let payload = self.message(last, kind, with, had);
        let answer = match self.raw(port, last, &payload, false) {
            Answer::Probe(_) => self.raw(port, last, &payload, true),
            other => other,
        };
        let Answer::Frame(frame) = answer else { return None };
        let packet = weir_wire::build::packet(&frame, PortId(1), &mut Pool::default()).expect("a frame");
        assert!(weir_wire::checksum::verify_l4(&packet));
        let reply = Message::decode(&mut Decoder::new(packet.payload())).expect("a message");
        assert_eq!((reply.xid(), reply.opcode()), (self.xid, Opcode::BootReply));
        Some(reply)
    }

    fn message(&mut self, last: u8, kind: MessageType, with: &[DhcpOption], had: Ipv4Addr) -> Vec<u8> {
        self.xid += 1;
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(self.xid, had, none, none, none, &[2, 0, 0, 0, 0, last]);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        with.iter().for_each(|option| drop(message.opts_mut().insert(option.clone())));
        message.to_vec().expect("is written")
    }

    fn discover(&mut self, port: &str, last: u8) -> Option<Ipv4Addr> {
        self.say(port, last, MessageType::Discover, &[], Ipv4Addr::UNSPECIFIED).map(|offer| offer.yiaddr())
    }

    fn request(&mut self, port: &str, last: u8, address: Ipv4Addr) -> Option<MessageType> {
        let with = [DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 1))];
        let reply = self.say(port, last, MessageType::Request, &with, Ipv4Addr::UNSPECIFIED)?;
        reply.opts().msg_type()
    }

    /// The whole exchange.
    fn get(&mut self, port: &str, last: u8) -> Option<Ipv4Addr> {
        let offered = self.discover(port, last)?;
        assert_eq!(self.request(port, last, offered), Some(MessageType::Ack));
        Some(offered)
    }
}

#[test]
fn a_guest_gets_an_address_and_all_it_needs_to_know() {
    let mut lab = Lab::new();
    let name = [DhcpOption::Hostname("Web".into()), DhcpOption::ClientIdentifier(vec![1, 2, 3])];
    let offer = lab.say("vm1", 1, MessageType::Discover, &name, Ipv4Addr::UNSPECIFIED).expect("an offer");
    let options = offer.opts();
    let has = |option: DhcpOption| assert_eq!(options.get(OptionCode::from(&option)), Some(&option));
    has(DhcpOption::MessageType(MessageType::Offer));
    has(DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 1)));
    has(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    has(DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 1)]));
    has(DhcpOption::DomainNameServer(vec![Ipv4Addr::new(10, 0, 0, 1)]));
    has(DhcpOption::DomainName("guests.test".into()));
    has(DhcpOption::NtpServers(vec![Ipv4Addr::new(10, 0, 0, 5)]));
    has(DhcpOption::InterfaceMtu(1400));
    has(DhcpOption::AddressLeaseTime(600));
    has(DhcpOption::Renewal(300));
    has(DhcpOption::Rebinding(525));
    has(DhcpOption::Hostname("web".into()));
    has(DhcpOption::ClientIdentifier(vec![1, 2, 3]));
    has(DhcpOption::VendorExtensions(vec![1, 2]));
    assert_eq!(offer.siaddr(), Ipv4Addr::new(10, 0, 0, 6));
    assert!(offer.fname().is_some_and(|file| file.starts_with(b"pxe.0")));
    let DhcpOption::ClasslessStaticRoute(routes) = options.get(OptionCode::ClasslessStaticRoute).expect("routes")
    else {
        panic!("another option");
    };
    let routes: Vec<String> = routes.iter().map(|(to, via)| format!("{to} {via}")).collect();
    assert_eq!(routes, ["10.9.0.0/16 10.0.0.2", "0.0.0.0/0 10.0.0.1"]);
    assert!((100..=103).contains(&offer.yiaddr().octets()[3]), "{}", offer.yiaddr());
}

#[test]
fn a_lease_is_kept_renewed_and_given_back() {
    let mut lab = Lab::new();
    let address = lab.get("vm1", 1).expect("an address");
    let lease = |lab: &Lab| lab.book.leases.iter().next().cloned().expect("a lease");
    assert_eq!((lease(&lab).until_s, lease(&lab).standing), (1600, Standing::Bound));
    lab.now_s = 1500;
    let renewed = lab.say("vm1", 1, MessageType::Request, &[], address).expect("an answer");
    assert_eq!((renewed.opts().msg_type(), lease(&lab).until_s), (Some(MessageType::Ack), 2100));
    assert!(lab.say("vm1", 1, MessageType::Release, &[], address).is_none());
    assert!(!lease(&lab).is_live(lab.now_s));
    assert_eq!(lab.discover("vm1", 1), Some(address), "it gets it again");
}

#[test]
fn a_guest_with_an_address_of_its_own_gets_no_other_and_nobody_else_gets_it() {
    let mut lab = Lab::new();
    let own = Ipv4Addr::new(10, 0, 0, 50);
    assert_eq!(lab.get("vm2", 2), Some(own));
    assert_eq!(lab.book.leases.iter().next().and_then(|lease| lease.name.clone()).as_deref(), Some("two"));
    assert_eq!(lab.request("vm1", 1, own), Some(MessageType::Nak));
}

#[test]
fn what_is_not_of_this_network_is_refused_and_what_is_anothers() {
    let mut lab = Lab::new();
    let address = lab.get("vm1", 1).expect("an address");
    assert_eq!(lab.request("vm1", 3, Ipv4Addr::new(192, 168, 0, 9)), Some(MessageType::Nak));
    assert_eq!(lab.request("vm1", 3, address), Some(MessageType::Nak));
    // The same client identifier on another port is another guest.
    let id = [DhcpOption::ClientIdentifier(vec![9, 9])];
    let none = Ipv4Addr::UNSPECIFIED;
    let first = lab.say("vm1", 4, MessageType::Discover, &id, none).expect("an offer").yiaddr();
    let second = lab.say("vm9", 5, MessageType::Discover, &id, none).expect("an offer").yiaddr();
    assert_ne!(first, second);
    // An offer of another server was taken: ours is free.
    let other = [
        DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 77)),
        DhcpOption::RequestedIpAddress(first),
        id[0].clone(),
    ];
    assert!(lab.say("vm1", 4, MessageType::Request, &other, none).is_none());
    assert!(lab.book.leases.get(&lab.served.place, first.into()).is_none());
}

#[test]
fn after_a_restart_without_a_record_guests_keep_what_they_have() {
    let mut lab = Lab::new();
    let had = Ipv4Addr::new(10, 0, 0, 102);
    let renewed = lab.say("vm1", 1, MessageType::Request, &[], had).expect("an answer");
    assert_eq!(renewed.opts().msg_type(), Some(MessageType::Ack));
    assert_eq!(lab.request("vm9", 2, had), Some(MessageType::Nak));
}

#[test]
fn a_port_cannot_take_all_addresses_nor_ask_without_end() {
    let mut lab = Lab::new();
    let taken: Vec<_> = (1..=20).filter_map(|last| lab.get("vm1", last)).collect();
    assert_eq!((taken.len(), lab.book.v4.port_limit), (2, 18));
    assert!(lab.get("vm9", 40).is_some(), "others still get some");
    for last in 0..200 {
        lab.discover("vm1", last);
    }
    assert!(lab.book.v4.limited > 100, "{:?}", lab.book.v4);
    // What it finds in use counts too.
    let mut lab = Lab::new();
    for last in 1..=4 {
        if let Some(address) = lab.get("vm1", last) {
            let with = [DhcpOption::RequestedIpAddress(address)];
            lab.say("vm1", last, MessageType::Decline, &with, Ipv4Addr::UNSPECIFIED);
        }
    }
    assert_eq!(lab.book.v4.conflicts, 2);
    assert!(lab.get("vm9", 40).is_some());
}

#[test]
fn an_exhausted_pool_gives_what_has_run_out() {
    let mut lab = Lab::new();
    for (number, port) in ["a", "b", "c", "d"].into_iter().enumerate() {
        assert!(lab.get(port, number as u8 + 1).is_some());
    }
    assert_eq!(lab.discover("e", 9), None);
    assert_eq!(lab.book.v4.exhausted, 1);
    lab.now_s += 601;
    assert!(lab.get("e", 9).is_some());
}

#[test]
fn an_address_that_somebody_has_is_not_given() {
    let mut lab = Lab::new();
    let discover = lab.message(1, MessageType::Discover, &[], Ipv4Addr::UNSPECIFIED);
    let Answer::Probe(first) = lab.raw("vm1", 1, &discover, false) else { panic!("it is asked after first") };
    let guest = Guest { port: "vm1", mac: MacAddr([2, 0, 0, 0, 0, 1]), id: &[] };
    lab.book.conflict(&lab.served.place.clone(), first, &guest, lab.now_s);
    let Answer::Frame(_) = lab.raw("vm1", 1, &discover, true) else { panic!("another is offered") };
    let offered = lab.book.leases.of_client(&lab.served.place, true, &guest.client()).map(|lease| lease.address);
    assert!(offered.is_some_and(|offered| offered != first));
}

#[test]
fn relays_and_requests_for_others_are_not_answered() {
    let mut lab = Lab::new();
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(1, none, none, none, Ipv4Addr::new(10, 0, 0, 9), &[2, 0, 0, 0, 0, 1]);
    message.opts_mut().insert(DhcpOption::MessageType(MessageType::Discover));
    let relayed = message.to_vec().expect("is written");
    assert_eq!(lab.raw("vm1", 1, &relayed, false), Answer::Nothing);
    let other = lab.message(7, MessageType::Discover, &[], none);
    assert_eq!(lab.raw("vm1", 1, &other, false), Answer::Nothing);
    assert_eq!(lab.book.v4.foreign, 2);
}

#[test]
fn an_answer_goes_where_the_guest_can_hear_it() {
    let mut lab = Lab::new();
    let to = |lab: &mut Lab, flags: Flags, had: Ipv4Addr| {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(1, had, none, none, none, &[2, 0, 0, 0, 0, 1]);
        message.set_flags(flags);
        let kind = if had.is_unspecified() { MessageType::Discover } else { MessageType::Request };
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        let Answer::Frame(frame) = lab.raw("vm1", 1, &message.to_vec().expect("is written"), true) else { panic!() };
        let packet = weir_wire::build::packet(&frame, PortId(1), &mut Pool::default()).expect("a frame");
        (packet.dst_mac(), packet.addresses().map(|(_, to)| to))
    };
    let plain = Flags::default();
    let all = (MacAddr::BROADCAST, Some(IpAddr::V4(Ipv4Addr::BROADCAST)));
    assert_eq!(to(&mut lab, plain.set_broadcast(), Ipv4Addr::UNSPECIFIED), all);
    let (mac, address) = to(&mut lab, plain, Ipv4Addr::UNSPECIFIED);
    assert_eq!(mac, MacAddr([2, 0, 0, 0, 0, 1]));
    let Some(IpAddr::V4(given)) = address else { panic!("no address") };
    assert_eq!(to(&mut lab, plain, given), (mac, address));
    assert_eq!(to(&mut lab, plain, Ipv4Addr::new(172, 16, 0, 1)), all, "a refusal is heard by whoever has no address");
}

#[test]
fn no_bytes_make_it_panic() {
    let mut lab = Lab::new();
    let good = lab.message(1, MessageType::Discover, &[DhcpOption::Hostname("x".into())], Ipv4Addr::UNSPECIFIED);
    let mut dice = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..4 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (dice >> 33) as usize % bytes.len();
            bytes[at] = (dice >> 20) as u8;
        }
        bytes.truncate((dice >> 40) as usize % (bytes.len() + 200));
        lab.now_s += 1;
        lab.raw("vm1", 1, &bytes, true);
    }
    assert!(lab.book.v4.malformed > 0 && lab.book.v4.answers > 0, "{:?}", lab.book.v4);
}
