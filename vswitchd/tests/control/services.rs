//! The calls for what routers serve, and guests on memory ports that use it.

use std::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use tonic::Code;
use weir_proto::v1;
use weir_wire::build::{Ends, packet, udp};
use weir_wire::{MacAddr, Pool, PortId};

use crate::rig::{Rig, TWO};

const ROUTER: &str = r#"
[[router]]
name = "edge"
interface = [{ name = "lan", switch = "lan", addresses = "10.0.0.1/24", mac = "02:57:00:00:00:01" }]
"#;
const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

async fn with_router() -> Rig {
    Rig::with(&format!("{TWO}{ROUTER}")).await
}

fn dhcp(range: &str) -> v1::SetDhcpRequest {
    let dhcp = Some(v1::DhcpSpec { ranges: vec![range.into()], ..v1::DhcpSpec::default() });
    v1::SetDhcpRequest { router: "edge".into(), interface: "lan".into(), dhcp, dhcp6: None }
}

fn names() -> v1::SetDnsRequest {
    let dns = Some(v1::DnsSpec { domain: "guests.test".into(), ..v1::DnsSpec::default() });
    v1::SetDnsRequest { router: "edge".into(), dns }
}

fn host(port: &str, address: &str) -> v1::SetHostRequest {
    let host = Some(v1::GuestHost { port: port.into(), address: address.into(), ..v1::GuestHost::default() });
    v1::SetHostRequest { router: "edge".into(), interface: "lan".into(), host }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_set_told_and_taken_back() {
    let rig = with_router().await;
    let mut services = rig.services();
    let refused = services.set_host(host("a", "10.0.0.50")).await.expect_err("no addresses are given yet");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let refused = services.set_dhcp(dhcp("10.9.0.5-10.9.0.9")).await.expect_err("another network");
    assert!(refused.message().contains("is not in the interface's network"), "{}", refused.message());
    services.set_dhcp(dhcp("10.0.0.100-10.0.0.110")).await.expect("is set");
    services.set_host(host("a", "10.0.0.50")).await.expect("is set");
    services.set_dhcp(dhcp("10.0.0.100-10.0.0.120")).await.expect("is set again");
    services.set_dns(names()).await.expect("is set");
    let record = v1::NameRecord { name: "gw".into(), addresses: vec!["10.0.0.1".into()], ..Default::default() };
    let request = v1::SetRecordRequest { router: "edge".into(), record: Some(record) };
    services.set_record(request).await.expect("is set");
    let listed = services.list(v1::ListServicesRequest::default()).await.expect("lists").into_inner();
    let lan = &listed.interfaces[0];
    let given = lan.dhcp.as_ref().expect("is given");
    assert_eq!(
        (given.ranges.as_slice(), given.hosts.len(), lan.dns),
        (&["10.0.0.100-10.0.0.120".to_owned()][..], 1, true)
    );
    assert_eq!(listed.names[0].dns.as_ref().map(|dns| dns.records.len()), Some(1));
    // The state holds it all, and setting the interface anew leaves it.
    let (toml, _) = rig.state().await;
    assert!(toml.contains("guests.test") && toml.contains("10.0.0.50"), "{toml}");
    let spec = v1::InterfaceSpec {
        name: "lan".into(),
        switch: "lan".into(),
        addresses: vec!["10.0.0.1/24".into()],
        mtu: Some(1400),
        ..Default::default()
    };
    let request = v1::SetInterfaceRequest { router: "edge".into(), interface: Some(spec), only_new: false };
    rig.routers().set_interface(request).await.expect("is set");
    let delete = v1::DeleteHostRequest { router: "edge".into(), interface: "lan".into(), host: "a".into() };
    services.delete_host(delete.clone()).await.expect("was there");
    assert_eq!(services.delete_host(delete).await.expect_err("is gone").code(), Code::NotFound);
    let delete = v1::DeleteRecordRequest { router: "edge".into(), name: "GW".into() };
    services.delete_record(delete).await.expect("was there");
    services.delete_dns(v1::DeleteDnsRequest { router: "edge".into() }).await.expect("was there");
    let delete = v1::DeleteDhcpRequest { router: "edge".into(), interface: "lan".into(), dhcp: true, dhcp6: true };
    services.delete_dhcp(delete).await.expect("was there");
    let listed = services.list(v1::ListServicesRequest::default()).await.expect("lists").into_inner();
    assert!(listed.interfaces.is_empty() && listed.names.is_empty(), "{listed:?}");
}

fn request(kind: MessageType, with: Option<DhcpOption>) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(77, none, none, none, none, &GUEST.0);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message.opts_mut().insert(DhcpOption::Hostname("web".into()));
    with.map(|option| message.opts_mut().insert(option));
    let ends = Ends {
        source_mac: GUEST,
        destination_mac: MacAddr::BROADCAST,
        source: none.into(),
        destination: Ipv4Addr::BROADCAST.into(),
    };
    udp(ends, (68, 67), &message.to_vec().expect("is written"))
}

/// The next UDP datagram from this port that leaves by port "a".
fn heard(rig: &Rig, from: u16) -> Vec<u8> {
    for _ in 0..50 {
        let frame = rig.receive("a").expect("a frame");
        let packet = packet(&frame, PortId(0), &mut Pool::default()).expect("is well formed");
        let is_it = packet.headers.protocol == 17 && packet.transport().starts_with(&from.to_be_bytes());
        if is_it {
            return packet.payload().to_vec();
        }
    }
    unreachable!("nothing came from port {from}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_gets_an_address_and_is_found_by_its_name() {
    let rig = with_router().await;
    let mut services = rig.services();
    services.set_dhcp(dhcp("10.0.0.100-10.0.0.110")).await.expect("is set");
    services.set_dns(names()).await.expect("is set");
    rig.inject("a", &request(MessageType::Discover, None));
    let offer = Message::decode(&mut Decoder::new(&heard(&rig, 67))).expect("an offer");
    assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
    let address = offer.yiaddr();
    rig.inject("a", &request(MessageType::Request, Some(DhcpOption::RequestedIpAddress(address))));
    let ack = Message::decode(&mut Decoder::new(&heard(&rig, 67))).expect("an answer");
    assert_eq!((ack.opts().msg_type(), ack.yiaddr()), (Some(MessageType::Ack), address));
    assert!(ack.opts().get(OptionCode::DomainNameServer).is_some());
    let leases = services.list_leases(v1::ListLeasesRequest::default()).await.expect("lists").into_inner().leases;
    let lease = &leases[0];
    assert_eq!((lease.port.as_str(), lease.name.as_str(), lease.state.as_str()), ("a", "web", "bound"));
    assert_eq!((lease.address.as_str(), lease.mac.as_str()), (address.to_string().as_str(), "02:00:00:00:00:09"));

    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x06guests\x04test\0\0\x01\0\x01";
    let ends = Ends {
        source_mac: GUEST,
        destination_mac: MacAddr([2, 0x57, 0, 0, 0, 1]),
        source: address.into(),
        destination: IpAddr::from([10, 0, 0, 1]),
    };
    rig.inject("a", &udp(ends, (4000, 53), question));
    let answer = heard(&rig, 53);
    assert_eq!((answer[..2].to_vec(), answer[3] & 15), (b"\x12\x34".to_vec(), 0));
    assert!(answer.ends_with(&address.octets()), "{answer:x?}");

    let release = v1::ReleaseLeasesRequest { port: "a".into(), ..Default::default() };
    assert_eq!(services.release_leases(release).await.expect("are released").into_inner().released, 1);
    let refused = services.release_leases(v1::ReleaseLeasesRequest::default()).await.expect_err("names nothing");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let listed = services.list(v1::ListServicesRequest::default()).await.expect("lists").into_inner();
    assert_eq!((listed.dhcp.map(|c| c.answers), listed.dns.map(|c| c.local)), (Some(2), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_set_told_and_taken_back() {
    let rig = with_router().await;
    let mut services = rig.services();
    let wanted = v1::MetadataSpec { require_token: true, ssh_keys: vec!["ssh-rsa A".into()], ..Default::default() };
    let request = |metadata| v1::SetMetadataRequest { router: "edge".into(), interface: "lan".into(), metadata };
    let wrong = v1::MetadataSpec { user_data: "here".into(), ..Default::default() };
    let refused = services.set_metadata(request(Some(wrong))).await.expect_err("a relative path");
    assert!(refused.message().contains("no absolute path"), "{}", refused.message());
    services.set_metadata(request(Some(wanted.clone()))).await.expect("is set");
    services.set_dhcp(dhcp("10.0.0.100-10.0.0.110")).await.expect("is set");
    let own = v1::GuestHost { port: "a".into(), user_data: "/a".into(), ..Default::default() };
    let request_host = v1::SetHostRequest { router: "edge".into(), interface: "lan".into(), host: Some(own.clone()) };
    services.set_host(request_host).await.expect("is set");
    let listed = services.list(v1::ListServicesRequest::default()).await.expect("lists").into_inner();
    assert_eq!(listed.interfaces[0].metadata.as_ref(), Some(&wanted));
    assert_eq!(listed.interfaces[0].dhcp.as_ref().expect("is given").hosts, [own]);
    assert_eq!(listed.metadata, Some(v1::MetadataCounters::default()));
    services.set_metadata(request(None)).await.expect("is taken back");
    let listed = services.list(v1::ListServicesRequest::default()).await.expect("lists").into_inner();
    assert_eq!(listed.interfaces[0].metadata, None);
}
