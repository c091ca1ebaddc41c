//! Scenarios with a router between the guests: who has which address, and what the switches are told.

use serde::Deserialize;

/// What stands between the guests in place of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// A router.
    Route,
    /// A router under whose address the first guest speaks to the second.
    Nat,
}

/// The router's addresses and MACs, on the side of the first guest and of the second.
pub const ROUTER: [[u8; 4]; 2] = [[10, 1, 0, 254], [10, 2, 0, 254]];
/// The guests' addresses.
pub const GUESTS: [[u8; 4]; 2] = [[10, 1, 0, 1], [10, 2, 0, 1]];

/// The router's MAC on the side of a guest.
pub fn router_mac(side: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, side as u8]
}

/// The MAC of a guest.
pub fn guest_mac(side: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, 0x0a + side as u8]
}

/// Source and destination of what a guest sends. The first port that a translation tries is the guest's own, and one
/// guest has no rival for it, so answers go to the port that it has inside.
pub fn sent(edge: Option<Edge>, side: usize) -> ([u8; 4], [u8; 4]) {
    let [first, second] = GUESTS;
    match (edge, side) {
        (_, 0) => (first, second),
        (Some(Edge::Nat), _) => (second, ROUTER[1]),
        (Some(Edge::Route) | None, _) => (second, first),
    }
}

/// Whether a frame that a guest gets is one of the other's, as it must be after its way.
pub fn is_right(edge: Option<Edge>, side: usize, frame: &[u8]) -> bool {
    let mac = if edge.is_some() { router_mac(side) } else { guest_mac(1 - side) };
    let source = match (edge, side) {
        (Some(Edge::Nat), 1) => ROUTER[1],
        _ => GUESTS[1 - side.min(1)],
    };
    frame.get(6..12) == Some(&mac) && frame.get(26..30) == Some(&source) && frame.get(30..34) == Some(&GUESTS[side])
}

fn text_of(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn dotted(address: [u8; 4]) -> String {
    address.map(|byte| byte.to_string()).join(".")
}

/// Our router, with what it is told of the guests.
pub fn weir_router(edge: Edge) -> String {
    let mut text = "\n[[router]]\nname = \"edge\"\n".to_owned();
    if edge == Edge::Nat {
        text += "masquerade = [{ interface = \"lan1\" }]\n";
    }
    for side in 0..2 {
        text += &format!(
            "\n[[router.interface]]\nname = \"lan{side}\"\nswitch = \"lan{side}\"\naddresses = \"{}/24\"\n\
             mac = \"{}\"\nneighbor = [{{ address = \"{}\", mac = \"{}\" }}]\n",
            dotted(ROUTER[side]),
            text_of(router_mac(side)),
            dotted(GUESTS[side]),
            text_of(guest_mac(side)),
        );
    }
    text
}

/// So many routes for addresses that nobody sends to; once `changed`, one of ten goes the other way.
pub fn weir_routes(count: u32, changed: bool) -> String {
    let route = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        let side = usize::from(changed && number.is_multiple_of(10));
        format!("\n[[router.route]]\nto = \"100.{a}.{b}.{c}/32\"\nvia = \"{}\"\n", dotted(GUESTS[side]))
    };
    (0..count).map(route).collect()
}

/// The same of Open vSwitch: connections are tracked, and translated where that is asked for.
pub fn ovs_flows(edge: Edge) -> String {
    let leave = |side: usize| {
        let [from, to] = [router_mac(side), guest_mac(side)].map(text_of);
        format!("set_field:{from}->eth_src,set_field:{to}->eth_dst,dec_ttl,output:v{side}")
    };
    let (look, name) = match edge {
        Edge::Route => ("", String::new()),
        Edge::Nat => ("nat,", format!(",nat(src={})", dotted(ROUTER[1]))),
    };
    format!(
        "table=0,priority=10,ip,in_port=v0,actions=ct({look}table=1)\n\
         table=0,priority=10,ip,in_port=v1,actions=ct({look}table=2)\ntable=0,priority=1,actions=drop\n\
         table=1,priority=10,ct_state=+trk+new,ip,actions=ct(commit{name}),{}\n\
         table=1,priority=10,ct_state=+trk+est,ip,actions={}\n\
         table=2,priority=10,ct_state=+trk+est,ip,actions={}\n\
         table=1,priority=1,actions=drop\ntable=2,priority=1,actions=drop\n",
        leave(1),
        leave(1),
        leave(0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_translated_is_expected_so() {
        let frame = |mac: [u8; 6], source: [u8; 4], to: [u8; 4]| {
            [&[0; 6][..], &mac, &[8, 0], &[0; 12], &source, &to, &[0; 26]].concat()
        };
        let translated = frame(router_mac(1), ROUTER[1], GUESTS[1]);
        assert!(is_right(Some(Edge::Nat), 1, &translated));
        assert!(!is_right(Some(Edge::Route), 1, &translated));
        assert!(is_right(Some(Edge::Nat), 0, &frame(router_mac(0), GUESTS[1], GUESTS[0])));
        assert!(is_right(None, 0, &frame(guest_mac(1), GUESTS[1], GUESTS[0])));
        assert!(!is_right(None, 0, &frame(guest_mac(0), GUESTS[1], GUESTS[0])));
    }
}
