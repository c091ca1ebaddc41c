//! The demo's host: four network namespaces and the switch between them, each behind a port of its own kind.

use std::net::SocketAddr;

use weir_tests::lab::{Cable, Daemon, Failure, HttpServer, Namespace};

pub const WEB: &str = "10.77.0.10";
pub const DB: &str = "10.77.0.20";
pub const INFECTED: &str = "10.77.0.66";
pub const OUTSIDE: &str = "10.77.0.1";
pub const PAGE: &str = "the shop is open";

/// What the operator writes for it, and what `vswitchctl apply` would take too.
fn desired_state(web: &Namespace, infected: &Namespace) -> String {
    let tap = |name: &str, group: &str, host: &Namespace| {
        let netns = host.name();
        format!(
            "\n[[port]]\nname = \"{name}\"\nswitch = \"lan\"\ngroups = [\"{group}\"]\n\
             tap = {{ name = \"eth0\", netns = \"{netns}\" }}\n"
        )
    };
    let mut text = String::from(
        "[[switch]]\nname = \"lan\"\ndefault = \"allow\"\ninspect = \"starter\"\n\
         \n[[rule_set]]\nname = \"starter\"\nbuiltin = \"starter\"\n",
    );
    text += &tap("web", "shop", web);
    text += &tap("infected", "guests", infected);
    text += "\n[[port]]\nname = \"db\"\nswitch = \"lan\"\ngroups = [\"shop\"]\n";
    text += "vhost_user = { path = \"{dir}/db.sock\" }\n";
    text += "\n[[port]]\nname = \"uplink\"\nswitch = \"lan\"\nxdp = { interface = \"uplink0\" }\n";
    text
}

/// Everything that runs.
pub struct World {
    /// Serves the shop's page.
    pub server: HttpServer,
    /// The switch.
    pub daemon: Daemon,
    // A vhost-user front end in place of a virtual machine: it carries the frames of the database's kernel.
    _cable: Cable,
    /// The web server's host.
    pub web: Namespace,
    /// The database's host.
    pub db: Namespace,
    /// The guest that somebody else has taken over.
    pub infected: Namespace,
    /// What is beyond the uplink.
    pub outside: Namespace,
}

impl World {
    /// Makes the namespaces, starts the switch, gives everybody an address and opens the shop. `show` gets the desired
    /// state to show it.
    pub fn build(show: impl FnOnce(&str)) -> Result<World, Failure> {
        let [web, db, infected, outside] = ["web", "db", "infected", "outside"].map(Namespace::new);
        let (web, db, infected, outside) = (web?, db?, infected?, outside?);
        let state = desired_state(&web, &infected);
        let mut daemon = Daemon::prepare(&state)?;
        show(&daemon.config()?);
        daemon.quiet();
        // A cable from the switch to the world outside; the switch takes its end by AF_XDP.
        daemon.namespace().veth("uplink0", &outside, "eth0")?;
        daemon.run()?;
        let cable = Cable::plug(&db, "eth0", &daemon.path("db.sock"))?;
        for (host, address) in [(&web, WEB), (&db, DB), (&infected, INFECTED), (&outside, OUTSIDE)] {
            host.address("eth0", &format!("{address}/24"))?;
        }
        let server = HttpServer::start(&web, at(WEB, 80)?, PAGE)?;
        Ok(World { server, daemon, _cable: cable, web, db, infected, outside })
    }

    /// Commands for another terminal while the host stays.
    pub fn how_to_reach(&self) -> String {
        format!(
            "  vswitchctl --socket {} port show\n  ip netns exec {} ping {WEB}\n",
            self.daemon.path("control.sock").display(),
            self.infected.name()
        )
    }
}

/// A socket address of ours.
pub fn at(address: &str, port: u16) -> Result<SocketAddr, Failure> {
    let address = address.parse().map_err(|e| Failure::of(address, e))?;
    Ok(SocketAddr::new(address, port))
}
