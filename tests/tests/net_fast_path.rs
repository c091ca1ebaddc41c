//! Settled flows between AF_XDP ports pass in the kernel: counted, revoked at once, ended as they should be.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::{
    Attach, Failure, Host, Lan, Wanted, ping, skip_unless_root, switch_with_rules, transfer, wait_for,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Two hosts behind AF_XDP whose frames are complete when they leave, and that take what XDP programs send.
fn two_hosts() -> Result<Option<Lan>, Failure> {
    if skip_unless_root() {
        return Ok(None);
    }
    if Command::new("ethtool").arg("--version").output().is_err() {
        println!("skipped: needs ethtool");
        return Ok(None);
    }
    let lan =
        Lan::start(&switch_with_rules(""), &["a", "b"].map(|name| Wanted { name, attach: Attach::FastXdp, more: "" }))?;
    for host in &lan.hosts {
        finish_frames(host)?;
    }
    let [a, b] = &lan.hosts[..] else { unreachable!() };
    assert_eq!(ping(&a.namespace, &b.address.to_string(), 2)?.lost(), 0);
    // The other sides of the veths take redirected frames from now on; with traffic the daemon looks once a second.
    let (client, server) = (socket(a, 3000)?, socket(b, 3001)?);
    wait_for("the fast path", PATIENCE, || {
        converse(&client, &server, b.at(3001), 40).ok()?;
        let flows = lan.daemon.ctl_json(&["flow", "show", "--protocol", "udp"]).ok()?;
        flows.to_string().contains("\"in_xdp\":true").then_some(())
    })?;
    Ok(Some(lan))
}

fn finish_frames(host: &Host) -> Result<(), Failure> {
    let mut ethtool = Command::new("ethtool");
    let mut child = host.namespace.spawn(ethtool.args(["-K", "eth0", "tx", "off", "gro", "on"]))?;
    if child.wait()?.success() { Ok(()) } else { Err(Failure::new("ethtool -K fails")) }
}

fn socket(host: &Host, port: u16) -> Result<UdpSocket, Failure> {
    let socket = host.namespace.inside(|| UdpSocket::bind(host.at(port)).map_err(|e| Failure::of("bind", e)))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    Ok(socket)
}

/// Sends datagrams one by one and has each answered.
fn converse(client: &UdpSocket, server: &UdpSocket, to: SocketAddr, times: usize) -> Result<(), Failure> {
    let mut room = [0; 64];
    for _ in 0..times {
        client.send_to(b"question", to)?;
        let (_, from) = server.recv_from(&mut room)?;
        server.send_to(b"answer", from)?;
        client.recv_from(&mut room)?;
    }
    Ok(())
}

fn flow(lan: &Lan, protocol: &str) -> Result<Option<Value>, Failure> {
    let answer = lan.daemon.ctl_json(&["flow", "show", "--protocol", protocol])?;
    let is_it = |flow: &&Value| number(&flow["destination_port"]) / 1000 == 5;
    Ok(answer["flows"].as_array().and_then(|flows| flows.iter().find(is_it)).cloned())
}

/// Packets that all ports received and sent, and those that the worker was shown.
struct Counts {
    received: u64,
    sent: u64,
    by_worker: u64,
}

fn counts(lan: &Lan) -> Result<Counts, Failure> {
    let stats = lan.daemon.ctl_json(&["stats"])?;
    let (totals, worker) = (&stats["totals"], &stats["worker"]);
    Ok(Counts {
        received: number(&totals["received"]),
        sent: number(&totals["sent"]),
        by_worker: number(&worker["packets"]),
    })
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).unwrap_or(0)
}

#[test]
fn a_settled_flow_passes_in_the_kernel_and_every_packet_is_counted() -> Result<(), Failure> {
    let Some(lan) = two_hosts()? else { return Ok(()) };
    let [a, b] = &lan.hosts[..] else { unreachable!() };
    let (client, server) = (socket(a, 4000)?, socket(b, 5000)?);
    let before = counts(&lan)?;
    converse(&client, &server, b.at(5000), 1000)?;
    let seen = flow(&lan, "udp")?.ok_or_else(|| Failure::new("there is no flow"))?;
    assert_eq!(seen["in_xdp"], true, "{seen}");
    assert_eq!([number(&seen["packets_to_server"]), number(&seen["packets_to_client"])], [1000, 1000], "{seen}");
    // Eight bytes of question, six of answer, behind 42 bytes of headers, without padding.
    assert_eq!([number(&seen["bytes_to_server"]), number(&seen["bytes_to_client"])], [50_000, 48_000], "{seen}");
    let after = counts(&lan)?;
    // Hosts also ask for each other, and for routers, when they like.
    let (received, sent) = (after.received - before.received, after.sent - before.sent);
    assert!((2000..2016).contains(&received) && (2000..2016).contains(&sent), "{received} received, {sent} sent");
    let shown = after.by_worker - before.by_worker;
    assert!(shown < 400, "the worker was shown {shown} of 2000 packets");
    Ok(())
}

#[test]
fn not_a_datagram_passes_once_a_rule_that_refuses_them_is_applied() -> Result<(), Failure> {
    let Some(lan) = two_hosts()? else { return Ok(()) };
    let [a, b] = &lan.hosts[..] else { unreachable!() };
    let (client, server) = (socket(a, 4000)?, socket(b, 5000)?);
    let refuse = "\n[[rule]]\nname = \"no-udp\"\naction = \"drop\"\nprotocol = \"udp\"\n";
    for round in 0..3 {
        converse(&client, &server, b.at(5000), 100)?;
        let seen = flow(&lan, "udp")?.ok_or_else(|| Failure::new("there is no flow"))?;
        assert_eq!(seen["in_xdp"], true, "round {round}: {seen}");
        let stream = Stream::start(client.try_clone()?, b.at(5000));
        lan.daemon.apply(&format!("{}{refuse}", lan.config))?;
        // The number that goes next was not sent yet when the answer came.
        let bound = stream.next.load(Ordering::SeqCst) + 1;
        std::thread::sleep(Duration::from_millis(300));
        let sent = stream.stop()?;
        assert!(sent > bound + 100, "only {} datagrams were sent after the change", sent - bound);
        let last = drain(&server);
        assert!(last > 0 && last <= bound, "round {round}: datagram {last} arrived; the rule stood at {bound}");
        assert_eq!(flow(&lan, "udp")?.map(|flow| flow["in_xdp"].clone()), Some(Value::Bool(false)));
        lan.daemon.apply(&lan.config)?;
        // The verdict that refused it is remembered for a while; another rule is another judgement.
        wait_for("the flow after the rule is gone", PATIENCE, || converse(&client, &server, b.at(5000), 1).ok())?;
    }
    Ok(())
}

/// The highest number among the datagrams that wait.
fn drain(socket: &UdpSocket) -> u64 {
    let (mut room, mut last) = ([0; 64], 0);
    while let Ok(length) = socket.recv(&mut room) {
        if let Some(number) = room.get(..length).and_then(|bytes| bytes.first_chunk()) {
            last = last.max(u64::from_be_bytes(*number));
        }
    }
    last
}

/// Numbered datagrams, as fast as a socket takes them.
struct Stream {
    next: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Stream {
    fn start(socket: UdpSocket, to: SocketAddr) -> Stream {
        let (next, ends) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
        let (number, end) = (Arc::clone(&next), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let current = number.fetch_add(1, Ordering::SeqCst);
                // A full queue is no matter.
                drop(socket.send_to(&current.to_be_bytes(), to));
                std::thread::yield_now();
            }
        });
        Stream { next, ends, thread }
    }

    fn stop(self) -> Result<u64, Failure> {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| Failure::new("the sender failed"))?;
        Ok(self.next.load(Ordering::SeqCst))
    }
}

#[test]
fn a_connection_passes_in_the_kernel_and_its_end_is_seen() -> Result<(), Failure> {
    let Some(lan) = two_hosts()? else { return Ok(()) };
    let [a, b] = &lan.hosts[..] else { unreachable!() };
    let (bytes, before) = (64 << 20, counts(&lan)?);
    transfer(&a.namespace, &b.namespace, b.at(5001), bytes)?;
    let seen = flow(&lan, "tcp")?.ok_or_else(|| Failure::new("there is no flow"))?;
    assert_eq!(seen["state"], "closed", "{seen}");
    let carried = number(&seen["bytes_to_server"]);
    assert!(carried > bytes, "{carried} bytes of {bytes} were counted: {seen}");
    let after = counts(&lan)?;
    let (all, shown) = (after.received - before.received, after.by_worker - before.by_worker);
    assert!(shown < all / 4, "the worker was shown {shown} of {all} packets");
    Ok(())
}

#[test]
fn killed_the_daemon_leaves_nothing_that_forwards() -> Result<(), Failure> {
    let Some(mut lan) = two_hosts()? else { return Ok(()) };
    {
        let [a, b] = &lan.hosts[..] else { unreachable!() };
        let (client, server) = (socket(a, 4000)?, socket(b, 5000)?);
        converse(&client, &server, b.at(5000), 100)?;
        let stream = Stream::start(client, b.at(5000));
        lan.daemon.kill()?;
        std::thread::sleep(Duration::from_millis(50));
        drain(&server);
        let bound = stream.next.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        stream.stop()?;
        assert!(drain(&server) < bound.max(1), "the kernel forwards without us");
    }
    lan.daemon.run()?;
    let [a, b] = &lan.hosts[..] else { unreachable!() };
    assert_eq!(ping(&a.namespace, &b.address.to_string(), 3)?.lost(), 0);
    Ok(())
}
