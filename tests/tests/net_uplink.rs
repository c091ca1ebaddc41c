//! A host with one network card, shared with the guests: whatever happens to the daemon, the operator's session stays.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weir_tests::lab::{
    Daemon, Failure, HttpServer, Namespace, http_get, ping, skip_unless_root, trace_route, transfer, wait_for,
};

const HOST: &str = "192.0.2.1";
const GATEWAY: &str = "192.0.2.2";
const GUEST: &str = "192.0.2.10";
/// The router of guests in a network of their own.
const EDGE: &str = "192.0.2.3";

/// The daemon's namespace is the host; its card leads to the gateway, from where an operator is logged in.
struct Site {
    daemon: Daemon,
    gateway: Namespace,
    guest: Namespace,
    session: Session,
}

/// An operator's connection to the host, with somebody who answers.
struct Session {
    operator: TcpStream,
    host: TcpStream,
}

impl Session {
    fn answers(&mut self) -> Result<(), Failure> {
        let mut heard = [0; 6];
        self.operator.write_all(b"uptime")?;
        self.host.read_exact(&mut heard)?;
        self.host.write_all(&heard)?;
        Ok(self.operator.read_exact(&mut heard)?)
    }
}

impl Site {
    fn new() -> Result<Site, Failure> {
        let guest = Namespace::new("guest")?;
        let config = format!(
            "[[switch]]\nname = \"lan\"\n\n[[port]]\nname = \"vm\"\nswitch = \"lan\"\n\
             tap = {{ name = \"eth0\", netns = \"{}\" }}\n\n\
             [[rule]]\nname = \"host-is-closed\"\naction = \"drop\"\nprotocol = \"tcp\"\n\
             to = {{ addresses = [\"{HOST}/32\"] }}\ndestination_ports = [9]\n",
            guest.name()
        );
        let site = Site::with(&config, guest)?;
        site.guest.address("eth0", &format!("{GUEST}/24"))?;
        Ok(site)
    }

    /// Guests in a network of their own, behind a router that has an address in the host's network.
    fn routed() -> Result<Site, Failure> {
        let guest = Namespace::new("guest")?;
        let config = format!(
            "[[switch]]\nname = \"lan\"\n\n[[switch]]\nname = \"wan\"\n\n[[port]]\nname = \"vm\"\nswitch = \"lan\"\n\
             tap = {{ name = \"eth0\", netns = \"{}\" }}\n\n[[router]]\nname = \"edge\"\n\
             route = [{{ to = \"0.0.0.0/0\", via = \"{GATEWAY}\" }}]\nmasquerade = [{{ interface = \"wan\" }}]\n\
             forward = [{{ protocol = \"tcp\", address = \"{EDGE}\", ports = 8080, to = \"10.1.0.2\", to_port = 80 }}]\n\
             interface = [{{ name = \"lan\", switch = \"lan\", addresses = \"10.1.0.1/24\" }}, \
             {{ name = \"wan\", switch = \"wan\", addresses = \"{EDGE}/24\" }}]\n",
            guest.name()
        );
        let site = Site::with(&config, guest)?;
        site.guest.address("eth0", "10.1.0.2/24")?;
        site.guest.ip(&["route", "add", "default", "via", "10.1.0.1"])?;
        Ok(site)
    }

    fn with(config: &str, guest: Namespace) -> Result<Site, Failure> {
        let (mut daemon, gateway) = (Daemon::prepare(config)?, Namespace::new("gateway")?);
        let host = daemon.namespace();
        host.veth("eth0", &gateway, "eth0")?;
        host.address("eth0", &format!("{HOST}/24"))?;
        gateway.address("eth0", &format!("{GATEWAY}/24"))?;
        host.ip(&["route", "add", "default", "via", GATEWAY])?;
        let listener = host.inside(|| Ok(TcpListener::bind((HOST, 22))?))?;
        let operator = gateway.inside(|| Ok(TcpStream::connect((HOST, 22))?))?;
        let (served, _) = listener.accept()?;
        for stream in [&operator, &served] {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        }
        daemon.run()?;
        Ok(Site { daemon, gateway, guest, session: Session { operator, host: served } })
    }

    fn attach(&self, seconds: &str) -> Result<String, Failure> {
        self.attach_to("lan", seconds)
    }

    fn attach_to(&self, switch: &str, seconds: &str) -> Result<String, Failure> {
        self.daemon.ctl(&["uplink", "attach", "eth0", "--switch", switch, "--confirm-within", seconds])
    }

    fn has_uplink(&self) -> Result<bool, Failure> {
        Ok(!self.daemon.ctl(&["uplink", "show"])?.starts_with("no uplinks"))
    }

    fn at(address: &str, port: u16) -> Result<SocketAddr, Failure> {
        Ok(SocketAddr::new(address.parse().map_err(|e| Failure::of(address, e))?, port))
    }
}

#[test]
fn the_session_outlives_attach_traffic_and_the_daemons_death() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut site = Site::new()?;
    site.session.answers()?;
    let said = site.attach("60")?;
    assert!(said.contains("+ port eth0") && said.contains("vswitchctl confirm"), "{said}");
    site.session.answers()?;
    site.daemon.ctl(&["confirm"])?;
    assert_eq!(ping(&site.guest, GATEWAY, 3)?.lost(), 0);
    assert_eq!(ping(&site.guest, HOST, 3)?.lost(), 0);
    transfer(&site.guest, &site.gateway, Site::at(GATEWAY, 5001)?, 64 << 20)?;
    transfer(&site.gateway, &site.guest, Site::at(GUEST, 5001)?, 64 << 20)?;
    transfer(&site.guest, site.daemon.namespace(), Site::at(HOST, 5001)?, 64 << 20)?;
    transfer(&site.gateway, site.daemon.namespace(), Site::at(HOST, 5002)?, 64 << 20)?;
    let refused = site.guest.inside(|| Ok(TcpStream::connect_timeout(&Site::at(HOST, 9)?, Duration::from_secs(1))))?;
    assert_eq!(
        refused.map_err(|e| e.kind()).err(),
        Some(std::io::ErrorKind::TimedOut),
        "the policy stands before the host"
    );
    let shown = site.daemon.ctl(&["uplink", "show", "eth0"])?;
    assert!(shown.contains("guests known") && shown.contains("stays in the kernel"), "{shown}");
    site.session.answers()?;
    site.daemon.kill()?;
    site.session.answers()?;
    assert_eq!(ping(&site.gateway, HOST, 3)?.lost(), 0);
    transfer(&site.gateway, site.daemon.namespace(), Site::at(HOST, 5003)?, 8 << 20)?;
    let left = site.daemon.namespace().ip(&["link", "show"])?;
    assert!(!left.contains("weir-eth0"), "nothing of the daemon's is left: {left}");
    site.session.answers()
}

#[test]
fn guests_in_a_network_of_their_own_go_out_by_the_hosts_card_and_are_reached() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut site = Site::routed()?;
    site.session.answers()?;
    site.attach_to("wan", "60")?;
    site.daemon.ctl(&["confirm"])?;
    site.session.answers()?;
    for address in [GATEWAY, HOST] {
        assert_eq!(ping(&site.guest, address, 3)?.lost(), 0, "{address}");
    }
    transfer(&site.guest, &site.gateway, Site::at(GATEWAY, 5001)?, 64 << 20)?;
    transfer(&site.guest, site.daemon.namespace(), Site::at(HOST, 5001)?, 16 << 20)?;
    // The gateway knows the router alone, and reaches the guest by its forwarded port.
    let _server = HttpServer::start(&site.guest, Site::at("10.1.0.2", 80)?, "behind the card")?;
    let page = http_get(&site.gateway, Site::at(EDGE, 8080)?, "/")?;
    assert!(page.is_page_with("behind the card"));
    let bindings = site.daemon.ctl(&["nat", "bindings"])?;
    assert!(bindings.contains(EDGE) && bindings.contains("10.1.0.2"), "{bindings}");
    let way = trace_route(&site.guest, GATEWAY)?;
    assert_eq!(way, ["10.1.0.1", GATEWAY].map(|address| address.parse().ok()));
    site.session.answers()?;
    site.daemon.kill()?;
    site.session.answers()
}

#[test]
fn an_uplink_that_nobody_confirms_is_taken_off_again() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut site = Site::new()?;
    site.attach("2")?;
    assert_eq!(ping(&site.guest, GATEWAY, 2)?.lost(), 0);
    wait_for("the end of the trial", Duration::from_secs(20), || (!site.has_uplink().ok()?).then_some(()))?;
    site.session.answers()?;
    assert_eq!(ping(&site.guest, GATEWAY, 1)?.lost(), 1);
    Ok(())
}

#[test]
fn an_uplink_is_taken_off_at_once_when_the_gateway_is_lost() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let site = Site::new()?;
    site.attach("600")?;
    assert!(site.has_uplink()?);
    site.gateway.ip(&["addr", "del", &format!("{GATEWAY}/24"), "dev", "eth0"])?;
    wait_for("the gateway's loss to be seen", Duration::from_secs(30), || (!site.has_uplink().ok()?).then_some(()))?;
    let log = site.daemon.log_end(40);
    assert!(log.contains(&format!("{GATEWAY} does not answer any more")), "{log}");
    Ok(())
}

#[test]
fn an_uplink_is_taken_off_when_the_operator_is_lost_though_the_gateway_answers() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut site = Site::new()?;
    let operator = "192.0.2.99";
    site.gateway.address("eth0", &format!("{operator}/32"))?;
    let attach = ["uplink", "attach", "eth0", "--switch", "lan", "--confirm-within", "600", "--watch", operator];
    site.daemon.ctl(&attach)?;
    assert!(site.has_uplink()?);
    site.gateway.ip(&["addr", "del", &format!("{operator}/32"), "dev", "eth0"])?;
    wait_for("the operator's loss to be seen", Duration::from_secs(30), || (!site.has_uplink().ok()?).then_some(()))?;
    let log = site.daemon.log_end(40);
    assert!(log.contains(&format!("{operator} does not answer any more")), "{log}");
    site.session.answers()
}

#[test]
fn a_kill_before_the_confirmation_leaves_no_uplink_behind() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut site = Site::new()?;
    site.attach("600")?;
    site.daemon.kill()?;
    site.session.answers()?;
    site.daemon.run()?;
    assert!(!site.has_uplink()?, "what was not confirmed is not kept over a restart");
    site.session.answers()
}
