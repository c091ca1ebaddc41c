//! Guests that ask what they are, by the client and the address that the images of clouds use.

use std::process::Command;
use std::time::Duration;

use weir_tests::lab::{Daemon, DhcpClient, Failure, Namespace, missing_dhcp_client, skip_unless_root, wait_for};

const HOST: &str = r#"
switch = [{ name = "lan" }]
[[router]]
name = "edge"
dns = { domain = "guests.test" }
[[router.interface]]
name = "lan"
switch = "lan"
addresses = ["10.1.0.1/24", "fd01::1/64"]
advertise = {}
metadata = { ssh_keys = "ssh-ed25519 AAAA all@test" }
[router.interface.dhcp]
ranges = "10.1.0.100-10.1.0.199"
"#;
const LINK_LOCAL: &str = "http://169.254.169.254";

struct Host {
    daemon: Daemon,
    alpha: Namespace,
    beta: Namespace,
    gamma: Namespace,
}

/// Two guests that are guarded, and one that may say what it likes.
fn start() -> Result<Host, Failure> {
    let [alpha, beta, gamma] = [Namespace::new("alpha")?, Namespace::new("beta")?, Namespace::new("gamma")?];
    let scratch = weir_tests::lab::Scratch::new("metadata")?;
    let file = scratch.path().join("user-data");
    std::fs::write(&file, format!("#cloud-config\n# {}\n", "x".repeat(40_000)))?;
    let own = "port = \"alpha\", name = \"first\", address = \"10.1.0.10\"";
    let mut config = format!("{HOST}host = [{{ {own}, user_data = \"{}\" }}]\n", file.display());
    for (guest, name, guard) in [(&alpha, "alpha", true), (&beta, "beta", true), (&gamma, "gamma", false)] {
        let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", guest.name());
        config += &format!("[[port]]\nname = \"{name}\"\nswitch = \"lan\"\n{tap}\nguard = {{ on = {guard} }}\n");
    }
    let daemon = Daemon::start(&config)?;
    for guest in [&alpha, &beta, &gamma] {
        guest.ip(&["link", "set", "eth0", "up"])?;
    }
    DhcpClient::new(&alpha)?.udhcpc("a", &[])?;
    DhcpClient::new(&beta)?.udhcpc("second", &[])?;
    gamma.address("eth0", "10.1.0.10/24")?;
    gamma.ip(&["route", "add", "default", "via", "10.1.0.1"])?;
    // What a test reads of the file comes before the end of the folder.
    let told = curl(&alpha, &[&format!("{LINK_LOCAL}/latest/user-data")])?;
    assert_eq!((told.0, &told.1[..14], told.1.len()), (200, "#cloud-config\n", 40_017));
    Ok(Host { daemon, alpha, beta, gamma })
}

/// What curl is told: the code, 0 without any, and the content.
fn curl(guest: &Namespace, arguments: &[&str]) -> Result<(u16, String), Failure> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", guest.name(), "curl", "-s", "-g", "--max-time", "5", "-w", "\n%{http_code}"]);
    let output = command.args(arguments).output().map_err(|e| Failure::of("curl", e))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (content, code) = said.rsplit_once('\n').ok_or_else(|| Failure::new("curl said nothing"))?;
    Ok((code.parse().map_err(|e| Failure::of(code, e))?, content.to_owned()))
}

fn get(guest: &Namespace, path: &str) -> Result<(u16, String), Failure> {
    curl(guest, &[&format!("{LINK_LOCAL}{path}")])
}

fn told(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[test]
fn guests_are_told_of_themselves_and_of_nobody_else() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let curl_runs = Command::new("curl").arg("--version").output().is_ok();
    if let Some(program) = missing_dhcp_client().or((!curl_runs).then_some("curl")) {
        println!("skipped: needs {program}");
        return Ok(());
    }
    let Host { daemon, alpha, beta, gamma } = start()?;
    assert_eq!(get(&alpha, "/latest/meta-data/instance-id")?, told("alpha"));
    assert_eq!(get(&alpha, "/latest/meta-data/local-hostname")?, told("first.guests.test"));
    assert_eq!(get(&alpha, "/latest/meta-data/local-ipv4")?, told("10.1.0.10"));
    assert_eq!(get(&alpha, "/latest/meta-data/public-keys/0/openssh-key")?, told("ssh-ed25519 AAAA all@test"));
    assert_eq!(get(&beta, "/latest/meta-data/hostname")?, told("second.guests.test"));
    assert_eq!(get(&beta, "/latest/user-data")?.0, 404);
    // Two requests by one connection.
    let url = format!("{LINK_LOCAL}/latest/meta-data/instance-id");
    assert_eq!(curl(&beta, &[&url, &url])?, (200, "beta\n200beta".into()));

    // Asked on the link itself, as before there is a gateway.
    alpha.ip(&["route", "add", "169.254.169.254", "dev", "eth0"])?;
    assert_eq!(get(&alpha, "/latest/meta-data/instance-id")?, told("alpha"));
    let by_v6 = || curl(&alpha, &["http://[fd00:ec2::254]/latest/meta-data/instance-id"]).ok().filter(|a| a.0 == 200);
    assert_eq!(wait_for("an answer by IPv6", Duration::from_secs(20), by_v6)?, told("alpha"));

    tokens(&alpha, &beta)?;
    nobody_is_another(&beta, &gamma)?;
    switched(&daemon, &beta)
}

fn tokens(alpha: &Namespace, beta: &Namespace) -> Result<(), Failure> {
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60";
    let (code, token) = curl(alpha, &["-X", "PUT", "-H", ttl, &format!("{LINK_LOCAL}/latest/api/token")])?;
    assert_eq!(code, 200);
    let with = format!("X-aws-ec2-metadata-token: {token}");
    let url = format!("{LINK_LOCAL}/latest/meta-data/instance-id");
    assert_eq!(curl(alpha, &["-H", &with, &url])?, told("alpha"));
    assert_eq!(curl(beta, &["-H", &with, &url])?.0, 401, "it is another's token");
    Ok(())
}

fn nobody_is_another(beta: &Namespace, gamma: &Namespace) -> Result<(), Failure> {
    let url = format!("{LINK_LOCAL}/latest/meta-data/instance-id");
    assert_eq!(curl(beta, &["-H", "X-Forwarded-For: 10.1.0.10", &url])?.0, 403);
    beta.ip(&["addr", "add", "10.1.0.10/32", "dev", "eth0"])?;
    assert_eq!(curl(beta, &["--interface", "10.1.0.10", "--max-time", "2", &url])?.0, 0, "the guard drops it");
    // Where nobody guards it, a guest that has another's address is told of itself.
    assert_eq!(curl(gamma, &[&url])?, told("gamma"));
    assert_eq!(get(gamma, "/latest/user-data")?.0, 404);
    Ok(())
}

fn switched(daemon: &Daemon, beta: &Namespace) -> Result<(), Failure> {
    let shown = daemon.ctl(&["metadata", "show"])?;
    assert!(shown.contains("edge") && shown.contains("answered") && shown.contains("optional"), "{shown}");
    daemon.ctl(&["metadata", "set", "edge", "lan", "off"])?;
    let nothing = |path| curl(beta, &["--max-time", "1", &format!("{LINK_LOCAL}{path}")]);
    assert_eq!(nothing("/")?.0, 0);
    daemon.ctl(&["metadata", "set", "edge", "lan", "on", "--require-token"])?;
    assert_eq!(get(beta, "/latest/meta-data/mac")?.0, 401);
    Ok(())
}
