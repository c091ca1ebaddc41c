use super::*;

fn parse_error(text: &str) -> String {
    Config::parse(text).expect_err("the text is wrong").to_string()
}

fn check_errors(text: &str) -> Vec<String> {
    Config::parse(text).expect("the form is right").check().expect_err("the meaning is wrong")
}

const FULL: &str = r#"
[settings]
midstream_grace_s = 5
[settings.timeouts]
tcp_established_s = 3600
[[switch]]
name = "lan"
default = "drop"
inspect = "starter"
ageing_s = 60
unknown_unicast = "drop"
static_macs = [{ mac = "52:54:00:00:00:01", vlan = 0, port = "vm1" }]
[[port]]
name = "vm1"
switch = "lan"
groups = ["web"]
vhost_user = { path = "/run/weir/vm1.sock", role = "client", queues = 2, socket_mode = 0o660 }
vlan = { access = 10 }
[[port]]
name = "uplink"
switch = "lan"
groups = "edge"
xdp = { interface = "eth1", mode = "zero-copy" }
vlan = { trunk = [10, "20-30"], native = 1 }
isolated = true
[[rule_set]]
name = "starter"
builtin = "starter"
[[rule]]
name = "web-to-db"
action = "allow"
from = { groups = ["web"], addresses = ["10.0.0.0/24", "2001:db8::/32"] }
to = { groups = "db" }
protocol = "tcp"
destination_ports = [5432, "8000-8080"]
inspect = "none"
log = true
[[rule]]
name = "ping"
action = "reject"
protocol = ["icmp", 58]
icmp = ["echo-request", "3/4", 11]
ether_types = 0x0800
"#;

#[test]
fn a_full_state_survives_printing_and_parsing() {
    let config = Config::parse(FULL).expect("parses");
    config.check().expect("makes sense");
    let printed = config.to_toml().expect("prints");
    assert_eq!(Config::parse(&printed).expect("parses again"), config);
    assert_eq!(config.rules[1].icmp[0].kinds, [8, 128]);
    assert_eq!(config.rules[1].protocol, [Protocol(1), Protocol(58)]);
    assert_eq!(config.port("uplink").expect("is there").groups, ["edge"]);
}

#[test]
fn an_empty_text_is_an_empty_state() {
    let config = Config::parse("").expect("parses");
    assert_eq!(config, Config::default());
    assert_eq!(config.to_toml().expect("prints"), "");
}

macro_rules! refused_form {
    ($($name:ident: $text:expr => [$($part:expr),+];)+) => {
        $(
            #[test]
            fn $name() {
                let error = parse_error($text);
                $( assert!(error.contains($part), "{error:?} lacks {:?}", $part); )+
            }
        )+
    };
}

refused_form! {
    no_toml_is_told_with_its_place: "[[switch]\n" => ["line 1"];
    an_unknown_field_is_told_with_its_line: "[[switch]]\nname = \"lan\"\nagein_s = 3\n"
        => ["line 3, column 1", "unknown field `agein_s`", "ageing_s"];
    a_missing_name_is_told: "[[port]]\nswitch = \"lan\"\n" => ["missing field `name`", "line 1"];
    an_unknown_action_is_told: "[[rule]]\nname = \"a\"\naction = \"permit\"\n"
        => ["line 3", "unknown variant `permit`", "`drop`, `reject`, `next`"];
    a_wrong_port_range_is_told: "[[rule]]\nname = \"a\"\naction = \"drop\"\ndestination_ports = [80, \"90-8o\"]\n"
        => ["line 4", "\"90-8o\" is not a number or range"];
    an_empty_range_is_told: "[[rule]]\nname = \"a\"\naction = \"drop\"\nsource_ports = \"90-80\"\n"
        => ["line 4", "is empty"];
    an_unknown_protocol_is_told: "[[rule]]\nname = \"a\"\naction = \"drop\"\nprotocol = \"tpc\"\n"
        => ["line 4", "\"tpc\" is not an IP protocol", "sctp"];
    an_unknown_icmp_type_is_told: "[[rule]]\nname = \"a\"\naction = \"drop\"\nicmp = \"ping\"\n"
        => ["line 4", "\"ping\" is not an ICMP type", "echo-request"];
    a_wrong_address_is_told: "[[rule]]\nname = \"a\"\naction = \"drop\"\nfrom = { addresses = [\"10.0.0.300\"] }\n"
        => ["line 4", "10.0.0.300"];
    a_wrong_mac_is_told: "[[switch]]\nname = \"a\"\nstatic_macs = [{ mac = \"52:54\", port = \"p\" }]\n"
        => ["line 3", "\"52:54\" is not a MAC address"];
    a_number_for_a_list_of_names_is_told: "[[port]]\nname = \"p\"\nswitch = \"s\"\ngroups = 1\n" => ["line 4"];
    a_wrong_mode_is_told: "[[port]]\nname = \"p\"\nswitch = \"s\"\nxdp = { interface = \"e\", mode = \"fast\" }\n"
        => ["line 4", "unknown variant `fast`", "`zero-copy`"];
}

macro_rules! refused_meaning {
    ($($name:ident: $text:expr => $message:expr;)+) => {
        $(
            #[test]
            fn $name() {
                let errors = check_errors($text);
                assert!(errors.iter().any(|e| e.contains($message)), "{errors:?} lack {:?}", $message);
            }
        )+
    };
}

refused_meaning! {
    two_switches_of_one_name: "[[switch]]\nname = \"lan\"\n[[switch]]\nname = \"lan\"\n"
        => "switch lan is there twice";
    a_name_with_a_space: "[[switch]]\nname = \"my lan\"\n" => "switch \"my lan\": a name is 1 to 63 letters";
    a_port_without_its_switch: "[[port]]\nname = \"p\"\nswitch = \"lan\"\nmem = {}\n"
        => "port p: there is no switch \"lan\"";
    a_port_without_attachment: "[[switch]]\nname = \"lan\"\n[[port]]\nname = \"p\"\nswitch = \"lan\"\n"
        => "port p: nothing is attached";
    a_port_with_two_attachments:
        "[[switch]]\nname = \"lan\"\n[[port]]\nname = \"p\"\nswitch = \"lan\"\nmem = {}\ntap = { name = \"t\" }\n"
        => "port p: tap and mem are given";
    two_ports_on_one_tap: "[[switch]]\nname = \"l\"\n[[port]]\nname = \"p\"\nswitch = \"l\"\ntap = { name = \"t\" }\n\
         [[port]]\nname = \"q\"\nswitch = \"l\"\ntap = { name = \"t\" }\n"
        => "port q: interface t belongs to port p";
    a_relative_socket: "[[port]]\nname = \"p\"\nswitch = \"l\"\nvhost_user = { path = \"vm1.sock\" }\n"
        => "must be absolute";
    a_long_interface_name: "[[port]]\nname = \"p\"\nswitch = \"l\"\ntap = { name = \"sixteen-letters-\" }\n"
        => "is no interface name";
    too_many_queues: "[[port]]\nname = \"p\"\nswitch = \"l\"\ntap = { name = \"t\", queues = 17 }\n"
        => "tap.queues = 17 is outside 1 to 16";
    a_vlan_out_of_range: "[[port]]\nname = \"p\"\nswitch = \"l\"\nmem = {}\nvlan = { access = 4095 }\n"
        => "VLAN 4095 is outside";
    access_and_trunk_at_once: "[[port]]\nname = \"p\"\nswitch = \"l\"\nmem = {}\nvlan = { access = 1, trunk = 2 }\n"
        => "both access and trunk";
    an_unknown_rule_set: "[[switch]]\nname = \"lan\"\ninspect = \"all\"\n" => "there is no such rule set";
    a_rule_with_an_unknown_port: "[[rule]]\nname = \"r\"\naction = \"drop\"\nto = { ports = \"vm9\" }\n"
        => "rule r: there is no port \"vm9\"";
    a_rule_with_an_unknown_switch: "[[rule]]\nname = \"r\"\naction = \"drop\"\nswitches = \"lan\"\n"
        => "rule r: there is no switch, router or appliance \"lan\"";
    a_rule_set_without_source: "[[rule_set]]\nname = \"x\"\n" => "give one of builtin, files and text";
    a_static_mac_on_a_missing_port:
        "[[switch]]\nname = \"l\"\nstatic_macs = [{ mac = \"52:54:00:00:00:01\", port = \"p\" }]\n"
        => "points to port p, which does not exist";
    ageing_of_a_second: "[[switch]]\nname = \"l\"\nageing_s = 1\n" => "ageing_s = 1 is outside";
    no_flows: "[settings.limits]\nflows = 0\n" => "settings.limits: flows = 0 is outside";
}

#[test]
fn every_problem_is_told_at_once() {
    let errors =
        check_errors("[[port]]\nname = \"p\"\nswitch = \"a\"\n[[port]]\nname = \"q\"\nswitch = \"b\"\nmem = {}\n");
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[test]
fn the_example_names_every_setting_and_the_usual_values() {
    let text = include_str!("../../weir.toml");
    let config = Config::parse(text).expect("parses");
    config.check().expect("makes sense");
    assert_eq!(config.settings, Settings::default());
    let kinds: Vec<_> = config.ports.iter().filter_map(|p| p.attachment().ok()).collect();
    assert!(matches!(
        kinds[..],
        [
            Attachment::VhostUser(_),
            Attachment::Tap(_),
            Attachment::Xdp(_),
            Attachment::Pcap(_),
            Attachment::Uplink(_),
            Attachment::Pcap(_),
            ..
        ]
    ));
}

const ROUTED: &str = r#"
switch = [{ name = "lan" }, { name = "dmz" }]
[[router]]
name = "edge"
interface = [
    { name = "lan", switch = "lan", addresses = ["10.0.0.1/24", "fd00::1/64"], advertise = { dns = "fd00::53" } },
    { name = "dmz", switch = "dmz", vlan = 7, addresses = "10.0.1.1/24", mtu = 9000, clamp_mss = true },
]
route = [
    { to = "0.0.0.0/0", via = ["10.0.1.254", "10.0.1.253"] },
    { to = "fd99::/16", via = "fe80::1", interface = "lan" },
    { to = "10.66.0.0/16", action = "blackhole" },
]
masquerade = [{ interface = "dmz", from = "10.0.0.0/24", ports = "2000-3000" }]
forward = [{ protocol = "tcp", address = "10.0.1.1", ports = "80-81", to = "10.0.0.5", to_port = 8080 }]
one_to_one = [{ outside = "10.0.0.1", inside = "10.0.1.9" }]
"#;

#[test]
fn routers_survive_printing_and_parsing() {
    let config = Config::parse(ROUTED).expect("parses");
    config.check().expect("makes sense");
    assert_eq!(Config::parse(&config.to_toml().expect("prints")).expect("parses"), config);
    let router = config.router("edge").expect("is there");
    let near = router.interface_towards("10.0.1.254".parse().expect("an address")).expect("is near");
    assert_eq!((near.name.as_str(), router.interfaces[0].mtu), ("dmz", 1500));
    let macs: Vec<_> = router.interfaces.iter().map(|i| router.mac_of(i)).collect();
    assert!(macs[0] != macs[1] && !macs[0].is_multicast(), "{macs:?}");
}

#[test]
fn what_is_wrong_with_a_router_is_told() {
    let with = |from: &str, to: &str| check_errors(&ROUTED.replacen(from, to, 1)).join("\n");
    for (from, to, told) in [
        ("name = \"edge\"", "name = \"lan\"", "a switch has this name"),
        ("switch = \"dmz\"", "switch = \"wan\"", "there is no switch \"wan\""),
        ("vlan = 7", "vlan = 4095", "above 4094"),
        ("fd00::1/64", "fd00::1/48", "networks of 64 bits"),
        ("dns = \"fd00::53\"", "lifetime_s = 100", "neither 0 nor"),
        ("mtu = 9000", "mtu = 500", "outside 576"),
        ("10.0.1.1/24", "10.0.1.255/24", "first or last address"),
        ("10.0.1.1/24", "10.0.0.7/25", "would be on both"),
        ("10.0.1.1/24", "224.0.0.1/24", "cannot be the address"),
        ("10.0.1.254", "192.0.2.1", "none of the router's networks"),
        ("10.0.1.254", "10.0.1.1", "the router itself"),
        ("10.0.1.254", "fd00::2", "other address family"),
        ("interface = \"lan\" }", "interface = \"wan\" }", "there is no interface \"wan\""),
        (", action = \"blackhole\"", "", "leads nowhere"),
        ("action = \"blackhole\"", "action = \"blackhole\", via = \"10.0.1.9\"", "both a way and an action"),
        ("10.66.0.0/16", "0.0.0.0/0", "two routes to 0.0.0.0/0"),
        ("vlan = 7", "vlan = 7, mac = \"01:00:00:00:00:01\"", "cannot be the MAC"),
        ("name = \"dmz\", switch", "name = \"lan\", switch", "is there twice"),
        ("interface = \"dmz\", from", "interface = \"wan\", from", "there is no interface \"wan\""),
        ("from = \"10.0.0.0/24\"", "addresses = \"10.0.0.1\"", "no address of the interface"),
        ("protocol = \"tcp\"", "protocol = \"icmp\"", "protocol is tcp or udp"),
        ("address = \"10.0.1.1\"", "address = \"10.0.1.2\"", "no address of the router"),
        ("to_port = 8080", "to_port = 65535", "no such ports"),
        ("to = \"10.0.0.5\"", "to = \"10.0.0.1\"", "the router itself"),
        ("inside = \"10.0.1.9\"", "inside = \"fd00::9\"", "other address family"),
    ] {
        let errors = with(from, to);
        assert!(errors.contains(told), "{told}: {errors}");
    }
}
