//! The laboratory itself, on a plain pair of virtual Ethernet devices in place of the switch: what it calls a success
//! is one, and what it calls a failure is one.

use std::net::TcpStream;
use std::time::Duration;

use weir_ports::vhost_user::{VhostUserConfig, VhostUserPort};
use weir_tests::lab::{
    Cable, Exchange, Failure, HttpServer, Namespace, Said, Scratch, converse, http_get, http_pieces, ping,
    skip_unless_root, transfer,
};

fn two_hosts() -> Result<(Namespace, Namespace), Failure> {
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    a.veth("eth0", &b, "eth0")?;
    a.address("eth0", "10.0.0.1/24")?;
    b.address("eth0", "10.0.0.2/24")?;
    a.address("eth0", "fd00::1/64")?;
    b.address("eth0", "fd00::2/64")?;
    Ok((a, b))
}

fn at(port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::from(([10, 0, 0, 2], port))
}

#[test]
fn traffic_between_two_namespaces_is_seen_as_it_is() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (a, b) = two_hosts()?;
    assert_eq!(ping(&a, "10.0.0.2", 3)?.lost(), 0);
    assert_eq!(ping(&b, "fd00::1", 3)?.lost(), 0);
    assert_eq!(transfer(&a, &b, at(5001), 20 << 20)?.bytes, 20 << 20);

    let server = HttpServer::start(&b, at(80), "a page")?;
    assert!(http_get(&a, server.address(), "/")?.is_page_with("a page"));
    let pieces: [&[u8]; 3] = [b"GET /sec", b"ret HTTP/1.1\r\n", b"\r\n"];
    assert!(http_pieces(&a, server.address(), &pieces, Duration::from_secs(5))?.is_page_with("a page"));
    assert!(server.has_read(b"GET /secret"));
    assert!(!server.has_read(b"GET /other"));

    let mut conversation = converse(&a, &b, at(7))?;
    assert_eq!(conversation.say(b"hello", Duration::from_secs(5))?, Said::Heard);
    Ok(())
}

#[test]
fn what_does_not_come_through_is_seen_too() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (a, b) = two_hosts()?;
    assert_eq!(ping(&a, "10.0.0.3", 1)?.lost(), 1);
    assert!(matches!(http_get(&a, at(80), "/")?, Exchange::NoConnection(_)));

    let mut conversation = converse(&a, &b, at(7))?;
    b.ip(&["link", "set", "eth0", "down"])?;
    assert_eq!(conversation.say(b"hello", Duration::from_millis(200))?, Said::Silence);
    Ok(())
}

#[test]
fn a_namespace_ends_with_all_that_runs_in_it() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let namespace = Namespace::new("end")?;
    let path = format!("/run/netns/{}", namespace.name());
    let mut child = namespace.spawn(std::process::Command::new("sleep").arg("1000"))?;
    assert!(std::fs::exists(&path)?);
    drop(namespace);
    assert!(!std::fs::exists(&path)?);
    assert!(!child.wait()?.success(), "ended by the namespace's end");
    Ok(())
}

#[test]
fn the_tests_own_thread_never_leaves_its_namespace() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let here = std::fs::read_link("/proc/thread-self/ns/net")?;
    let namespace = Namespace::new("in")?;
    let inside = namespace.inside(|| Ok(std::fs::read_link("/proc/thread-self/ns/net")?))?;
    assert_ne!(inside, here);
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net")?, here);
    assert!(namespace.inside(|| Ok(TcpStream::connect("10.0.0.1:9").is_err()))?);
    Ok(())
}

#[test]
fn a_cable_between_two_taps_carries_tcp_whole() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let _cable = Cable::between((&a, "eth0"), (&b, "eth0"))?;
    a.address("eth0", "10.0.0.1/24")?;
    b.address("eth0", "10.0.0.2/24")?;
    assert_eq!(ping(&a, "10.0.0.2", 3)?.lost(), 0);
    let done = transfer(&a, &b, at(5001), 200 << 20)?;
    println!("{:.2} Gbit/s", done.bits_per_second() * 1e-9);
    assert_eq!(done.bytes, 200 << 20);
    Ok(())
}

#[test]
fn a_front_end_and_a_tap_make_a_guest() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    // In place of the switch: the vhost-user port itself, joined to another guest's TAP.
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let scratch = Scratch::new("front")?;
    let socket = scratch.path().join("a.sock");
    let config = VhostUserConfig::new(&socket);
    let port = VhostUserPort::new(config).map_err(|e| Failure::of("vhost-user port", e))?;
    let _switch = Cable::join([Box::new(port), Box::new(Cable::tap(&b, "eth0")?)])?;
    let _guest = Cable::plug(&a, "eth0", &socket)?;
    a.address("eth0", "10.0.0.1/24")?;
    b.address("eth0", "10.0.0.2/24")?;
    assert_eq!(ping(&a, "10.0.0.2", 3)?.lost(), 0);
    for (from, to, address) in [(&a, &b, "10.0.0.2:5001"), (&b, &a, "10.0.0.1:5001")] {
        let address = address.parse().map_err(|e| Failure::of(address, e))?;
        println!("{:.2} Gbit/s", transfer(from, to, address, 200 << 20)?.bits_per_second() * 1e-9);
    }
    Ok(())
}
