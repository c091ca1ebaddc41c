//! Address translation between hosts with kernels of their own: out by masquerade, in by forwarded ports.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use weir_tests::lab::{
    Daemon, Failure, HttpServer, Namespace, Said, converse, http_get, ping, skip_unless_root, skip_without,
    trace_route, transfer, wait_for,
};

const EDGE: &str = r#"
[[switch]]
name = "lan"
[[switch]]
name = "wan"
[[router]]
name = "edge"
interface = [
    { name = "lan", switch = "lan", addresses = ["10.1.0.1/24", "fd01::1/64"] },
    { name = "wan", switch = "wan", addresses = ["198.51.100.1/24", "2001:db8:5::1/64"], mtu = 1400 },
]
masquerade = [{ interface = "wan" }]
forward = [
    { protocol = "tcp", address = "198.51.100.1", ports = 8080, to = "10.1.0.2", to_port = 80 },
    { protocol = "tcp", address = "2001:db8:5::1", ports = 8080, to = "fd01::2", to_port = 80 },
]
"#;

/// A client and a server inside, and a host outside that knows nothing of the inside.
fn start() -> Result<(Daemon, [Namespace; 3]), Failure> {
    let hosts = [Namespace::new("server")?, Namespace::new("client")?, Namespace::new("outside")?];
    let mut config = EDGE.to_owned();
    for (host, (name, switch)) in hosts.iter().zip([("server", "lan"), ("client", "lan"), ("outside", "wan")]) {
        let tap = format!("tap = {{ name = \"eth0\", netns = \"{}\" }}", host.name());
        config += &format!("\n[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\n{tap}\n");
    }
    let daemon = Daemon::start(&config)?;
    for (host, last) in hosts.iter().zip([2, 3]) {
        host.address("eth0", &format!("10.1.0.{last}/24"))?;
        host.address("eth0", &format!("fd01::{last}/64"))?;
        host.ip(&["route", "add", "default", "via", "10.1.0.1"])?;
        host.ip(&["route", "add", "default", "via", "fd01::1"])?;
    }
    let [_, _, outside] = &hosts;
    outside.address("eth0", "198.51.100.9/24")?;
    outside.address("eth0", "2001:db8:5::9/64")?;
    Ok((daemon, hosts))
}

fn socket(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|e| Failure::of(text, e))
}

#[test]
fn hosts_inside_reach_the_outside_by_the_routers_address() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, [_, client, outside]) = start()?;
    for address in ["198.51.100.9", "2001:db8:5::9"] {
        assert_eq!(ping(&client, address, 3)?.lost(), 0, "{address}");
    }
    let _server = HttpServer::start(&outside, socket("198.51.100.9:80")?, "the wide world")?;
    assert!(http_get(&client, socket("198.51.100.9:80")?, "/")?.is_page_with("the wide world"));
    // What the outside sees is the router, also where the way is narrower than the hosts think.
    let sent = transfer(&client, &outside, socket("198.51.100.9:7000")?, 32 << 20)?;
    println!("masqueraded: {:.2} Gbit/s", sent.bits_per_second() / 1e9);
    transfer(&client, &outside, socket("[2001:db8:5::9]:7000")?, 8 << 20)?;
    let way = trace_route(&client, "198.51.100.9")?;
    assert_eq!(way, ["10.1.0.1", "198.51.100.9"].map(|address| address.parse().ok()));

    let bindings = daemon.ctl(&["nat", "bindings"])?;
    assert!(bindings.contains("10.1.0.3") && bindings.contains("198.51.100.1"), "{bindings}");
    let flows = daemon.ctl(&["flow", "show", "--protocol", "tcp"])?;
    assert!(flows.contains("10.1.0.3") && !flows.contains("198.51.100.1:"), "flows have true ends:\n{flows}");
    Ok(())
}

#[test]
fn a_forwarded_port_is_reached_from_outside_and_from_inside() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, [server, client, outside]) = start()?;
    let (v4, v6) = (socket("10.1.0.2:80")?, socket("[fd01::2]:80")?);
    let _servers = [HttpServer::start(&server, v4, "from inside")?, HttpServer::start(&server, v6, "from inside")?];
    for address in ["198.51.100.1:8080", "[2001:db8:5::1]:8080"] {
        for from in [&outside, &client] {
            assert!(http_get(from, socket(address)?, "/")?.is_page_with("from inside"), "{address}");
        }
    }
    // A rule speaks of the true ends: who calls, and who is called.
    let state = daemon.ctl(&["show", "--config"])?;
    let rule = "[[rule]]\nname = \"no-web\"\naction = \"reject\"\nprotocol = \"tcp\"\ndestination_ports = 80\n\
                from = { addresses = \"198.51.100.0/24\" }\nto = { ports = \"server\", addresses = \"10.1.0.2\" }\n";
    daemon.apply(&format!("{state}\n{rule}"))?;
    assert!(http_get(&outside, socket("198.51.100.1:8080")?, "/").is_ok_and(|e| !e.is_page_with("from inside")));
    assert!(http_get(&client, socket("198.51.100.1:8080")?, "/")?.is_page_with("from inside"));

    daemon.apply(&state)?;
    daemon.ctl(&["nat", "del", "edge", "--forward", "tcp/198.51.100.1/8080"])?;
    daemon.ctl(&["nat", "flush"])?;
    assert!(http_get(&outside, socket("198.51.100.1:8080")?, "/").is_ok_and(|e| !e.is_page_with("from inside")));
    daemon.ctl(&["nat", "forward", "edge", "tcp", "198.51.100.1", "9090", "10.1.0.2", "80"])?;
    assert!(http_get(&outside, socket("198.51.100.1:9090")?, "/")?.is_page_with("from inside"));
    Ok(())
}

/// Waits until the kernel of a host has taken its IPv6 address.
fn settle(host: &Namespace) -> Result<(), Failure> {
    wait_for("an IPv6 address", Duration::from_secs(10), || {
        (!host.ip(&["-6", "addr", "show", "dev", "eth0"]).ok()?.contains("tentative")).then_some(())
    })
}

#[test]
fn hosts_with_ipv6_alone_reach_servers_with_ipv4_alone() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, [_, client, outside]) = start()?;
    daemon.ctl(&["nat", "nat64", "edge", "wan"])?;
    client.ip(&["addr", "flush", "dev", "eth0", "scope", "global"])?;
    client.address("eth0", "fd01::3/64")?;
    client.ip(&["route", "replace", "default", "via", "fd01::1"])?;
    settle(&client)?;
    let server = "64:ff9b::198.51.100.9";
    assert_eq!(ping(&client, server, 3)?.lost(), 0);
    let _server = HttpServer::start(&outside, socket("198.51.100.9:80")?, "the old world")?;
    let address = socket("[64:ff9b::c633:6409]:80")?;
    assert!(http_get(&client, address, "/")?.is_page_with("the old world"));
    // The way is narrower than the hosts think, in both directions.
    for number in [7000, 7001] {
        let accept = outside.inside(|| Ok(std::net::TcpListener::bind(("198.51.100.9", number))?))?;
        let receiver = std::thread::spawn(move || -> std::io::Result<usize> {
            let (mut connection, _) = accept.accept()?;
            std::io::copy(&mut connection, &mut std::io::sink()).map(|read| read as usize)
        });
        client.inside(|| {
            let mut connection = std::net::TcpStream::connect((address.ip(), number))?;
            std::io::Write::write_all(&mut connection, &vec![0xa5; 4 << 20])?;
            Ok(())
        })?;
        let read = receiver.join().map_err(|_| Failure::new("the receiver ended badly"))??;
        assert_eq!(read, 4 << 20);
    }
    let way = trace_route(&client, "64:ff9b::c633:6409")?;
    assert_eq!(way, ["fd01::1", "64:ff9b::c633:6409"].map(|address| address.parse().ok()));
    let flows = daemon.ctl(&["flow", "show", "--protocol", "tcp"])?;
    assert!(flows.contains("64:ff9b::"), "flows have true ends:\n{flows}");
    Ok(())
}

#[test]
fn a_network_has_another_prefix_outside() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, [server, client, outside]) = start()?;
    daemon.ctl(&["nat", "del", "edge", "--masquerade", "wan", "--forward", "tcp/2001:db8:5::1/8080"])?;
    daemon.ctl(&["route", "add", "edge", "::/0", "--via", "2001:db8:5::9"])?;
    daemon.ctl(&["nat", "nptv6", "edge", "fd01::/64", "2001:db8:6::/64"])?;
    for host in [&client, &server, &outside] {
        settle(host)?;
    }
    // The outside knows the prefix by a route, as it would from a provider.
    outside.ip(&["route", "add", "2001:db8:6::/64", "via", "2001:db8:5::1"])?;
    assert_eq!(ping(&client, "2001:db8:5::9", 3)?.lost(), 0);
    let _server = HttpServer::start(&outside, socket("[2001:db8:5::9]:80")?, "seen by a prefix")?;
    assert!(http_get(&client, socket("[2001:db8:5::9]:80")?, "/")?.is_page_with("seen by a prefix"));
    let bindings = daemon.ctl(&["nat", "bindings"])?;
    assert!(!bindings.contains("fd01::3"), "nothing is remembered: {bindings}");
    Ok(())
}

/// A server of FTP that keeps one file, `hello`, in the namespace's hands: control and data connections are the
/// kernel's. Python's standard library has a client only.
const FTP_SERVER: &str = r#"
import socket, sys, threading
host = sys.argv[1]
def serve(c):
    f = c.makefile("rwb", buffering=0); data = None; listener = None
    say = lambda t: f.write((t + "\r\n").encode())
    say("220 ready")
    for line in f:
        word, _, rest = line.decode().strip().partition(" "); word = word.upper()
        if word == "USER": say("230 in")
        elif word == "TYPE": say("200 fine")
        elif word == "PORT":
            n = [int(x) for x in rest.split(",")]; data = (".".join(map(str, n[:4])), n[4] * 256 + n[5]); say("200 fine")
        elif word == "EPRT":
            p = rest.split(rest[0]); data = (p[2], int(p[3])); say("200 fine")
        elif word in ("PASV", "EPSV"):
            listener = socket.create_server((host, 0)); port = listener.getsockname()[1]
            if word == "PASV": say("227 Entering Passive Mode (%s,%d,%d)." % (host.replace(".", ","), port >> 8, port & 255))
            else: say("229 Entering Extended Passive Mode (|||%d|)" % port)
        elif word == "RETR":
            say("150 comes")
            d = listener.accept()[0] if listener else socket.create_connection(data)
            d.sendall(b"hello by ftp\n" * 1000); d.close(); listener = None; say("226 done")
        elif word == "QUIT": say("221 bye"); break
        else: say("502 no")
s = socket.create_server((host, 21)); print("up", flush=True)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"#;

const FTP_CLIENT: &str = r#"
import ftplib, sys
ftp = ftplib.FTP(timeout=10); ftp.connect(sys.argv[1], 21); ftp.sendcmd("USER me"); ftp.set_pasv(sys.argv[2] == "passive")
if sys.argv[3] == "old": ftp.trust_server_pasv_ipv4_address = True
for n in range(3):
    got = []; ftp.retrbinary("RETR hello", got.append); assert b"".join(got) == b"hello by ftp\n" * 1000
ftp.quit(); print("got it")
"#;

#[test]
fn files_are_fetched_actively_and_passively_through_translation() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: needs python3");
        return Ok(());
    }
    let (daemon, [server, client, outside]) = start()?;
    daemon.ctl(&["nat", "helper", "edge", "ftp"])?;
    daemon.ctl(&["nat", "forward", "edge", "tcp", "198.51.100.1", "21", "10.1.0.2"])?;
    let serve = |host: &Namespace, address: &str| -> Result<Ended, Failure> {
        host.spawn(Command::new("python3").args(["-c", FTP_SERVER, address])).map(Ended)
    };
    let _servers = [serve(&server, "10.1.0.2")?, serve(&outside, "198.51.100.9")?];
    let fetch = |from: &Namespace, address: &str, mode: &str| -> Result<String, Failure> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", from.name(), "python3", "-c", FTP_CLIENT, address, mode, "old"]);
        let output = command.output()?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    let reached = wait_for("an FTP server", Duration::from_secs(10), || {
        fetch(&client, "198.51.100.9", "passive").ok().filter(|said| said.contains("got it"))
    });
    reached?;
    for (from, address, mode) in [
        (&client, "198.51.100.9", "active"),
        (&outside, "198.51.100.1", "passive"),
        (&outside, "198.51.100.1", "active"),
    ] {
        let said = fetch(from, address, mode)?;
        assert!(said.contains("got it"), "{address} {mode}: {said}\n{}", daemon.ctl(&["why"])?);
    }
    // Without the helper the server outside cannot call back.
    daemon.ctl(&["nat", "del", "edge", "--helper", "ftp"])?;
    daemon.ctl(&["nat", "flush"])?;
    assert!(!fetch(&client, "198.51.100.9", "active")?.contains("got it"));
    Ok(())
}

/// A server of TFTP that keeps one file of three blocks, and answers by another port than it was asked at.
const TFTP_SERVER: &str = r#"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 69))
while True:
    _, who = s.recvfrom(600)
    t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); t.bind((sys.argv[1], 0)); t.settimeout(1)
    for number, block in enumerate([b"a" * 512, b"b" * 512, b"the end"], 1):
        try:
            t.sendto(bytes([0, 3, 0, number]) + block, who); t.recvfrom(600)
        except OSError: break
"#;

#[test]
fn files_are_fetched_by_tftp_through_translation() -> Result<(), Failure> {
    if skip_unless_root() || skip_without("busybox") {
        return Ok(());
    }
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: needs python3");
        return Ok(());
    }
    let (daemon, [_, client, outside]) = start()?;
    let mut serve = Command::new("python3");
    serve.args(["-c", TFTP_SERVER, "198.51.100.9"]);
    let _server = Ended(outside.spawn(&mut serve)?);
    let fetch = || -> Result<bool, Failure> {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            client.name(),
            "timeout",
            "4",
            "busybox",
            "tftp",
            "-g",
            "-r",
            "hello",
            "-l",
            "-",
        ]);
        let output = command.arg("198.51.100.9").output()?;
        Ok(output.stdout.len() == 1031 && output.stdout.ends_with(b"the end"))
    };
    // Without the helper the answers belong to nobody inside.
    assert_eq!(ping(&client, "198.51.100.9", 3)?.lost(), 0);
    assert!(!fetch()?);
    daemon.ctl(&["nat", "helper", "edge", "tftp"])?;
    daemon.ctl(&["nat", "flush"])?;
    wait_for("the file", Duration::from_secs(20), || fetch().ok().filter(|fetched| *fetched))?;
    Ok(())
}

#[test]
fn that_ports_run_out_is_an_event_for_people() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (daemon, [_, client, _outside]) = start()?;
    daemon.ctl(&["nat", "del", "edge", "--masquerade", "wan"])?;
    daemon.ctl(&["nat", "masquerade", "edge", "wan", "--ports", "40000-40001"])?;
    let open = |count: usize| {
        client.inside(|| {
            let open = || -> std::io::Result<std::net::UdpSocket> {
                let socket = std::net::UdpSocket::bind("10.1.0.3:0")?;
                socket.send_to(b"x", "198.51.100.9:9999")?;
                Ok(socket)
            };
            Ok((0..count).map(|_| open()).collect::<std::io::Result<Vec<_>>>()?)
        })
    };
    assert_eq!(ping(&client, "198.51.100.9", 2)?.lost(), 0);
    let _sockets = open(6)?;
    let told = daemon.wait_event("the alarm", |event| event["notice"]["kind"] == "nat-exhausted")?;
    assert_eq!((&told["src_ip"], &told["proto"]), (&"10.1.0.3".into(), &"UDP".into()));
    assert_eq!((&told["in_iface"], &told["notice"]["interface"]), (&"client".into(), &"edge/wan".into()));
    let shown = daemon.ctl(&["events", "--last", "50"])?;
    assert!(shown.contains("nat-exhausted at edge/wan: no port is free"), "{shown}");
    // A guest at its share.
    daemon.ctl(&["nat", "del", "edge", "--masquerade", "wan"])?;
    daemon.ctl(&["nat", "masquerade", "edge", "wan", "--limit-each", "3"])?;
    daemon.ctl(&["nat", "flush"])?;
    let _more = open(8)?;
    let told = daemon.wait_event("the alarm", |event| event["notice"]["kind"] == "nat-limit")?;
    let text = told["notice"]["text"].as_str().unwrap_or_default();
    assert!(text.contains("10.1.0.3 has its share of 3 flows"), "{text}");
    Ok(())
}

#[test]
fn a_connection_outlives_an_orderly_restart_of_the_daemon() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (mut daemon, hosts) = start()?;
    let [_, client, outside] = &hosts;
    daemon.ctl(&["nat", "del", "edge", "--masquerade", "wan"])?;
    // No host would choose one of these by itself, and a new start would choose another.
    daemon.ctl(&["nat", "masquerade", "edge", "wan", "--ports", "2000-9999"])?;
    assert_eq!(ping(client, "198.51.100.9", 2)?.lost(), 0);
    let mut talk = converse(client, outside, socket("198.51.100.9:7777")?)?;
    assert_eq!(talk.say(b"hello", Duration::from_secs(5))?, Said::Heard);
    let bound = |daemon: &Daemon| -> Result<String, Failure> {
        let list = daemon.ctl_json(&["nat", "bindings"])?;
        let all = list["bindings"].as_array().or(list.as_array()).cloned().unwrap_or_default();
        let talk = all.iter().find(|binding| binding.to_string().contains("7777"));
        talk.map(|binding| binding["outside_port"].to_string())
            .ok_or_else(|| Failure::new(format!("no binding in {list}")))
    };
    let before = bound(&daemon)?;
    daemon.stop()?;
    daemon.run()?;
    // The devices are others; the hosts' kernels still have the connection.
    for (host, last) in hosts.iter().take(2).zip([2, 3]) {
        host.address("eth0", &format!("10.1.0.{last}/24"))?;
        host.ip(&["route", "replace", "default", "via", "10.1.0.1"])?;
    }
    outside.address("eth0", "198.51.100.9/24")?;
    assert_eq!(bound(&daemon)?, before);
    assert_eq!(talk.say(b"still there?", Duration::from_secs(20))?, Said::Heard, "{}", daemon.ctl(&["why"])?);
    assert!(!daemon.path("bindings").exists(), "what was read is not read again");
    Ok(())
}

/// A process that ends with its value.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
