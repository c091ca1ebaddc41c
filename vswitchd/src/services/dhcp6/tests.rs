use std::collections::BTreeSet;
use std::sync::Arc;

use weir_wire::{Pool, PortId};

use super::super::journal::Journal;
use super::super::leases::Leases;
use super::super::served::Catalogue;
use super::*;
use crate::config::Config;
use crate::state::Ids;

const STATE: &str = r#"
switch = [{ name = "lan" }]
[[router]]
name = "r"
dns = { domain = "guests.test" }
[[router.interface]]
name = "lan"
switch = "lan"
addresses = "fd00::1/64"
dhcp6 = { ranges = "fd00::100-fd00::103", lease_s = 600, per_port = 2, host = [{ port = "vm2", address = "fd00::50" }] }
"#;
const OURS: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 99];

struct Lab {
    book: Book,
    served: Arc<Served6>,
    now_s: u64,
}

impl Lab {
    fn new(state: &str) -> Lab {
        let config = Config::parse(state).expect("parses");
        config.check().expect("makes sense");
        let catalogue = Catalogue::of(&config, &Ids::default().after(&config), 1);
        let served = catalogue.interfaces[&0].dhcp6.clone().expect("is served");
        Lab { book: Book::new(Journal::none(OURS.into()), Leases::default()), served, now_s: 1000 }
    }

    fn raw(&mut self, port: &str, payload: &[u8]) -> Option<Vec<u8>> {
        let guest = Guest { port, mac: MacAddr([2, 0, 0, 0, 0, 1]), id: &[] };
        let reserved = BTreeSet::new();
        let asking = Asking { guest, reserved: &reserved, now_s: self.now_s, probed: true };
        answer(&mut self.book, &self.served, asking, "fe80::1".parse().expect("an address"), payload)
    }

    fn say(&mut self, port: &str, kind: MessageType, duid: &[u8], with: Vec<DhcpOption>) -> Option<Message> {
        let mut message = Message::new_with_id(kind, [1, 2, 3]);
        if !duid.is_empty() {
            message.opts_mut().insert(DhcpOption::ClientId(duid.to_vec()));
        }
        with.into_iter().for_each(|option| message.opts_mut().insert(option));
        let frame = self.raw(port, &message.to_vec().expect("is written"))?;
        let packet = weir_wire::build::packet(&frame, PortId(1), &mut Pool::default()).expect("a frame");
        assert!(weir_wire::checksum::verify_l4(&packet));
        let reply = Message::decode(&mut Decoder::new(packet.payload())).expect("a message");
        assert_eq!(reply.xid(), [1, 2, 3]);
        assert!(matches!(reply.opts().get(OptionCode::ServerId), Some(DhcpOption::ServerId(id)) if *id == OURS));
        Some(reply)
    }
}

fn wants(addresses: &[&str]) -> DhcpOption {
    let mut opts = DhcpOptions::new();
    for address in addresses {
        let addr = address.parse().expect("an address");
        opts.insert(DhcpOption::IAAddr(IAAddr { addr, preferred_life: 0, valid_life: 0, opts: DhcpOptions::new() }));
    }
    DhcpOption::IANA(IANA { id: 5, t1: 0, t2: 0, opts })
}

fn given(reply: &Message) -> Vec<(String, u32)> {
    let Some(DhcpOption::IANA(given)) = reply.opts().get(OptionCode::IANA) else { return Vec::new() };
    let addresses = given.opts.iter().filter_map(|option| match option {
        DhcpOption::IAAddr(address) => Some((address.addr.to_string(), address.valid_life)),
        _ => None,
    });
    addresses.collect()
}

const GUEST: [u8; 4] = [0, 4, 1, 1];

#[test]
fn a_guest_gets_an_address_in_four_messages_or_in_two() {
    let mut lab = Lab::new(STATE);
    let advertised = lab.say("vm1", MessageType::Solicit, &GUEST, vec![wants(&[])]).expect("an answer");
    assert_eq!(advertised.msg_type(), MessageType::Advertise);
    let server = DhcpOption::ServerId(OURS.into());
    let reply = lab.say("vm1", MessageType::Request, &GUEST, vec![wants(&[]), server.clone()]).expect("an answer");
    assert_eq!((reply.msg_type(), given(&reply)), (MessageType::Reply, given(&advertised)));
    assert!(matches!(given(&reply)[..], [(_, 600)]), "{reply}");
    assert!(matches!(reply.opts().get(OptionCode::DomainNameServers),
        Some(DhcpOption::DomainNameServers(servers)) if *servers == ["fd00::1".parse::<Ipv6Addr>().expect("an address")]));
    lab.now_s += 300;
    let renewed = lab.say("vm1", MessageType::Renew, &GUEST, vec![wants(&[]), server.clone()]).expect("an answer");
    assert_eq!(given(&renewed), given(&reply));
    assert_eq!(lab.book.leases.iter().next().map(|lease| lease.until_s), Some(1900));
    lab.say("vm1", MessageType::Release, &GUEST, vec![wants(&[&given(&reply)[0].0]), server]).expect("an answer");
    assert!(lab.book.leases.iter().all(|lease| !lease.is_live(lab.now_s)));
    let rapid = lab.say("vm2", MessageType::Solicit, &GUEST, vec![wants(&[]), DhcpOption::RapidCommit]).expect("one");
    assert_eq!((rapid.msg_type(), given(&rapid)), (MessageType::Reply, vec![("fd00::50".into(), 600)]));
}

#[test]
fn requests_to_other_servers_and_of_nobody_are_not_answered() {
    let mut lab = Lab::new(STATE);
    let other = DhcpOption::ServerId(vec![0, 3, 0, 1, 9, 9, 9, 9, 9, 9]);
    assert!(lab.say("vm1", MessageType::Request, &GUEST, vec![wants(&[]), other]).is_none());
    assert!(lab.say("vm1", MessageType::Solicit, &[], vec![wants(&[])]).is_none());
    assert!(lab.raw("vm1", &[12, 0, 0, 0, 0]).is_none());
    assert_eq!((lab.book.v6.malformed, lab.book.v6.foreign), (1, 1));
}

#[test]
fn servers_are_told_without_addresses() {
    let mut lab =
        Lab::new(&STATE.replace("ranges = \"fd00::100-fd00::103\", ", "").replace("port = \"vm2\"", "port = \"x\""));
    let told = lab.say("vm1", MessageType::InformationRequest, &[], Vec::new()).expect("an answer");
    assert!(told.opts().get(OptionCode::DomainNameServers).is_some());
    assert!(told.opts().get(OptionCode::DomainSearchList).is_some());
    let none = lab.say("vm1", MessageType::Solicit, &GUEST, vec![wants(&[])]).expect("an answer");
    assert!(given(&none).is_empty());
}

#[test]
fn an_address_of_another_network_is_not_confirmed() {
    let mut lab = Lab::new(STATE);
    let status = |lab: &mut Lab, address: &str| {
        let reply = lab.say("vm1", MessageType::Confirm, &GUEST, vec![wants(&[address])]).expect("an answer");
        match reply.opts().get(OptionCode::StatusCode) {
            Some(DhcpOption::StatusCode(code)) => code.status,
            _ => panic!("no status"),
        }
    };
    assert_eq!(status(&mut lab, "fd00::77"), Status::Success);
    assert_eq!(status(&mut lab, "fd99::77"), Status::NotOnLink);
    assert!(lab.say("vm1", MessageType::Confirm, &GUEST, vec![wants(&[])]).is_none());
}

#[test]
fn a_port_holds_so_many_addresses_and_no_more() {
    let mut lab = Lab::new(STATE);
    let server = DhcpOption::ServerId(OURS.into());
    let got = (0..10u8).filter(|last| {
        let request = vec![wants(&[]), server.clone()];
        let reply = lab.say("vm1", MessageType::Request, &[0, 4, 1, *last], request).expect("an answer");
        !given(&reply).is_empty()
    });
    assert_eq!(got.count(), 2);
    assert_eq!(lab.book.v6.port_limit, 8);
}

#[test]
fn no_bytes_make_it_panic() {
    let mut lab = Lab::new(STATE);
    let mut message = Message::new_with_id(MessageType::Solicit, [1, 2, 3]);
    message.opts_mut().insert(DhcpOption::ClientId(GUEST.into()));
    message.opts_mut().insert(wants(&["fd00::101"]));
    let good = message.to_vec().expect("is written");
    let mut dice = 77u64;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (dice >> 33) as usize % bytes.len();
            bytes[at] = (dice >> 20) as u8;
        }
        lab.now_s += 1;
        lab.raw("vm1", &bytes);
    }
    // Options within options within options end where the request does.
    let deep: Vec<u8> = [&[1, 0, 0, 0][..], &[0, 9, 255, 255].repeat(400)].concat();
    lab.raw("vm1", &deep);
    assert!(lab.book.v6.malformed > 0 && lab.book.v6.answers > 0, "{:?}", lab.book.v6);
}
