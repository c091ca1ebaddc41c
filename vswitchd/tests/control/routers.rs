//! The calls that make routers, their routes and their translations.

use tonic::Code;
use weir_proto::v1;

use crate::rig::Rig;

const SWITCHES: &str = "switch = [{ name = \"lan\" }, { name = \"dmz\", default = \"drop\" }]";

fn interface(name: &str, address: &str) -> v1::SetInterfaceRequest {
    let interface = v1::InterfaceSpec {
        name: name.into(),
        switch: name.into(),
        addresses: vec![address.into()],
        ..v1::InterfaceSpec::default()
    };
    v1::SetInterfaceRequest { router: "edge".into(), interface: Some(interface), only_new: true }
}

async fn with_router() -> Rig {
    let rig = Rig::with(SWITCHES).await;
    let mut routers = rig.routers();
    let spec = v1::RouterSpec { name: "edge".into(), ..v1::RouterSpec::default() };
    routers.add(v1::AddRouterRequest { router: Some(spec) }).await.expect("is added");
    for (name, address) in [("lan", "10.0.0.1/24"), ("dmz", "10.0.1.1/24")] {
        routers.set_interface(interface(name, address)).await.expect("is added");
    }
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_are_made_interface_by_interface_and_told() {
    let rig = with_router().await;
    let listed = rig.routers().list(v1::ListRoutersRequest::default()).await.expect("lists").into_inner().routers;
    let status = &listed[0];
    assert_eq!((listed.len(), status.interfaces.len(), status.zone.as_str()), (1, 2, "edge"));
    assert_eq!(status.applied_default, i32::from(v1::Action::Drop), "as the strictest of its switches");
    // Each network has its route, its edges and its address.
    assert_eq!(status.routes, 8);
    assert!(status.interfaces.iter().all(|i| i.mtu == 1500 && i.mac.starts_with("02:57:")), "{status:?}");

    let again = rig.routers().set_interface(interface("lan", "10.0.9.1/24")).await.expect_err("is there");
    assert_eq!(again.code(), Code::AlreadyExists);
    let overlap = v1::SetInterfaceRequest { only_new: false, ..interface("lan", "10.0.1.9/16") };
    let refused = rig.routers().set_interface(overlap).await.expect_err("overlaps");
    assert!(refused.message().contains("would be on both"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_set_looked_up_and_removed() {
    let rig = with_router().await;
    let mut routers = rig.routers();
    let route =
        |to: &str, via: &str| v1::RouteSpec { to: to.into(), via: vec![via.into()], ..v1::RouteSpec::default() };
    let routes = vec![route("0.0.0.0/0", "10.0.1.254"), route("10.9.0.0/16", "10.0.0.9")];
    let set = v1::SetRoutesRequest { router: "edge".into(), routes, only_new: true };
    routers.set_routes(set.clone()).await.expect("are added");
    assert_eq!(routers.set_routes(set).await.expect_err("are there").code(), Code::AlreadyExists);
    let mut found = Vec::new();
    for address in ["192.0.2.1", "10.9.1.1", "10.0.0.7", "10.0.0.1", "10.0.0.255", "fd00::1"] {
        let request = v1::LookUpRouteRequest { router: "edge".into(), address: address.into() };
        let answer = routers.look_up(request).await.expect("is looked up").into_inner();
        let way = answer.ways.first().map(|way| format!("{} {}", way.interface, way.gateway)).unwrap_or_default();
        found.push(format!("{} {way}", answer.kind));
    }
    let expected = ["via edge/dmz 10.0.1.254", "via edge/lan 10.0.0.9", "direct edge/lan ", "local ", "edge ", "none "];
    assert_eq!(found, expected);

    let delete =
        v1::DeleteRoutesRequest { router: "edge".into(), to: vec!["10.9.0.0/16".into()], table: String::new() };
    routers.delete_routes(delete.clone()).await.expect("is removed");
    assert_eq!(routers.delete_routes(delete).await.expect_err("is gone").code(), Code::NotFound);
    let far =
        v1::SetRoutesRequest { router: "edge".into(), routes: vec![route("10.8.0.0/16", "192.0.2.9")], only_new: true };
    assert!(routers.set_routes(far).await.expect_err("is far").message().contains("none of the router's networks"));
}

#[tokio::test(flavor = "multi_thread")]
async fn translations_come_and_go() {
    let rig = with_router().await;
    let mut routers = rig.routers();
    let masquerade = v1::Masquerade { interface: "dmz".into(), ..v1::Masquerade::default() };
    let forward = v1::Forward {
        protocol: "tcp".into(),
        address: "10.0.1.1".into(),
        ports: "80".into(),
        to: "10.0.0.5".into(),
        to_port: 8080,
    };
    let nat = v1::NatSpec { masquerades: vec![masquerade], forwards: vec![forward], ..v1::NatSpec::default() };
    let add = v1::AddNatRequest { router: "edge".into(), nat: Some(nat.clone()) };
    routers.add_nat(add.clone()).await.expect("is added");
    let refused = routers.add_nat(add).await.expect_err("is there");
    assert!(refused.message().contains("forwarded already"), "{}", refused.message());
    let listed = routers.list(v1::ListRoutersRequest::default()).await.expect("lists").into_inner().routers;
    let told = listed[0].spec.as_ref().and_then(|spec| spec.nat.clone()).expect("is told");
    assert_eq!((told.masquerades[0].ports.as_str(), told.forwards[0].to_port), ("1024-65535", 8080));
    let bindings = routers.list_bindings(v1::ListBindingsRequest::default()).await.expect("lists").into_inner();
    assert_eq!((bindings.total, bindings.made), (0, 0));
    let delete = v1::DeleteNatRequest { router: "edge".into(), nat: Some(nat) };
    routers.delete_nat(delete.clone()).await.expect("is removed");
    assert_eq!(routers.delete_nat(delete).await.expect_err("is gone").code(), Code::FailedPrecondition);
    routers.delete(v1::DeleteRouterRequest { name: "edge".into() }).await.expect("is removed");
    assert!(routers.list(v1::ListRoutersRequest::default()).await.expect("lists").into_inner().routers.is_empty());
}
