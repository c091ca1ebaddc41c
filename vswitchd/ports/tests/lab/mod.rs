//! A small lab for tests with real kernels on both sides: namespaces, a patch cable of two ports, TCP across it.
//!
//! Everything is cleaned up when it goes out of scope, also when a test fails.
#![allow(dead_code, reason = "each test program uses its own part of the lab")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_ports::event::{Epoll, EventFd};
use weir_ports::netns::NetNs;
use weir_ports::{Armed, Port};
use weir_wire::{Packet, Pool, PortId};

/// CAP_NET_ADMIN and CAP_SYS_ADMIN (linux/capability.h).
const NEEDED: u64 = 1 << 12 | 1 << 21;

/// Whether the test can run; where not, it says so past the test harness's capture.
pub fn privileged(test: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caps = status.lines().find_map(|l| l.strip_prefix("CapEff:")).map(str::trim).unwrap_or("0");
    let have = u64::from_str_radix(caps, 16).unwrap_or(0) & NEEDED == NEEDED;
    if !have {
        let line = format!("{test}: skipped: needs CAP_NET_ADMIN and CAP_SYS_ADMIN\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    have
}

/// Runs a command line that must succeed, and returns what it printed.
pub fn sh(line: &str) -> String {
    let out = Command::new("sh").arg("-c").arg(line).output().unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(out.status.success(), "{line}: {}\n{}{}", out.status, text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// A network namespace that goes when it is dropped.
pub struct Space {
    pub name: String,
}

impl Space {
    pub fn new() -> Space {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wt-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        sh(&format!("ip netns add {name}"));
        let space = Space { name };
        space.sh("ip link set lo up");
        space
    }

    /// Runs a command line in it.
    pub fn sh(&self, line: &str) -> String {
        sh(&format!("ip netns exec {} {line}", self.name))
    }

    /// Runs code in it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        NetNs::open(Some(&self.name)).unwrap().run(work).unwrap()
    }

    /// Gives a device addresses of the test network, `10.77.0.n` and `fd77::n`.
    pub fn address(&self, device: &str, n: u8) {
        self.sh(&format!("sysctl -qw net.ipv6.conf.{device}.accept_dad=0"));
        self.sh(&format!("ip address add 10.77.0.{n}/24 dev {device}"));
        self.sh(&format!("ip address add fd77::{n}/64 dev {device} nodad"));
        self.sh(&format!("ip link set {device} up"));
    }

    /// A counter of the kernel's (`nstat`), such as `TcpInCsumErrors`.
    pub fn snmp(&self, name: &str) -> u64 {
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
        let (group, field) = (&name[..3], &name[3..]);
        let mut lines = text.lines().filter(|l| l.starts_with(group));
        let names = lines.next().unwrap().split_whitespace();
        let values = lines.next().unwrap().split_whitespace();
        names.zip(values).find(|(n, _)| *n == field).unwrap().1.parse().unwrap()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

pub type Question = Box<dyn FnOnce(&mut [Box<dyn Port>; 2]) + Send>;

/// A patch cable: a thread that sends out of each port what comes in by the other.
pub struct Cable {
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    questions: Sender<Question>,
    thread: Option<JoinHandle<usize>>,
}

impl Cable {
    pub fn new(a: impl Port + 'static, b: impl Port + 'static) -> Cable {
        let stop = Arc::new(AtomicBool::new(false));
        let wake = Arc::new(EventFd::new().unwrap());
        let (questions, inbox) = channel();
        let ports: [Box<dyn Port>; 2] = [Box::new(a), Box::new(b)];
        let (s, w) = (Arc::clone(&stop), Arc::clone(&wake));
        let thread = Some(std::thread::spawn(move || carry(ports, &s, &w, &inbox)));
        Cable { stop, wake, questions, thread }
    }

    /// Asks about the ports between two turns.
    pub fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut [Box<dyn Port>; 2]) -> T + Send + 'static) -> T {
        let (reply, answer) = channel();
        self.questions.send(Box::new(move |ports| reply.send(question(ports)).unwrap())).unwrap();
        self.wake.signal();
        answer.recv_timeout(Duration::from_secs(20)).expect("the cable's thread answers")
    }

    /// Waits until something holds of the ports.
    pub fn until(&self, what: &str, holds: impl Fn(&mut [Box<dyn Port>; 2]) -> bool + Send + Sync + Clone + 'static) {
        eventually(what, || self.ask(holds.clone()));
    }

    /// Ends the thread; no buffer may be lost.
    pub fn cut(mut self) {
        assert_eq!(self.end(), 0, "all buffers are back in the pool");
    }

    fn end(&mut self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.wake.signal();
        self.thread.take().map_or(0, |t| t.join().expect("the cable's thread does not panic"))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.end();
        }
        self.stop.store(true, Ordering::SeqCst);
        self.wake.signal();
    }
}

fn carry(mut ports: [Box<dyn Port>; 2], stop: &AtomicBool, wake: &EventFd, inbox: &Receiver<Question>) -> usize {
    let (mut pool, mut burst, mut tokens) = (Pool::default(), Vec::<Packet>::new(), Vec::new());
    let epoll = Epoll::new().unwrap();
    epoll.add(wake.as_fd(), 2).unwrap();
    for (token, port) in ports.iter().enumerate() {
        epoll.add(port.event_fd(), token as u64).unwrap();
    }
    let mut empty = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut moved = 0;
        let [a, b] = &mut ports;
        moved += pass(a, b, &mut pool, &mut burst);
        moved += pass(b, a, &mut pool, &mut burst);
        empty = if moved > 0 { 0 } else { empty + 1 };
        if empty < 8 {
            continue;
        }
        let armed = [ports[0].arm(), ports[1].arm()];
        let ready = armed.contains(&Armed::Ready);
        tokens.clear();
        if !ready {
            epoll.wait(&mut tokens, Some(Duration::from_secs(5))).unwrap();
        }
        for &token in &tokens {
            match token {
                2 => drop(wake.drain()),
                n => ports[n as usize].on_event(),
            }
        }
        ports.iter_mut().for_each(|port| port.disarm());
        while let Ok(question) = inbox.try_recv() {
            question(&mut ports);
        }
        empty = 0;
    }
    pool.outstanding()
}

fn pass(from: &mut Box<dyn Port>, to: &mut Box<dyn Port>, pool: &mut Pool, burst: &mut Vec<Packet>) -> usize {
    let n = from.rx(PortId(0), pool, burst, 64);
    if n > 0 {
        for packet in &mut *burst {
            packet.parse().unwrap_or_else(|reason| panic!("{reason:?}: {packet:?}"));
        }
        to.tx(pool, burst);
        to.flush();
    }
    n
}

/// Asks again and again until it is so; fails after 20 seconds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    let pause = Epoll::new().unwrap();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        pause.wait(&mut Vec::new(), Some(Duration::from_millis(5))).unwrap();
    }
}

/// Whether a port that is asleep would sleep on: nothing waits, and nothing keeps waking its worker.
pub fn is_quiet(port: &mut dyn Port) -> bool {
    port.on_event();
    let armed = port.arm();
    let epoll = Epoll::new().unwrap();
    epoll.add(port.event_fd(), 0).unwrap();
    let mut woken = Vec::new();
    epoll.wait(&mut woken, Some(Duration::from_millis(30))).unwrap();
    port.disarm();
    armed == Armed::Idle && woken.is_empty()
}

/// Sends `bytes` of a pattern by TCP from a client in one namespace to a server in another, and back; every byte is
/// compared. Returns how long it took.
pub fn tcp_both_ways(client: &Space, server: &Space, address: &str, bytes: usize) -> Duration {
    let address: IpAddr = address.parse().unwrap();
    let listener = server.run(|| TcpListener::bind(SocketAddr::new(address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            expect_pattern(&stream, bytes);
            send_pattern(&stream, bytes);
        });
        let stream = client.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(15)).unwrap());
        send_pattern(&stream, bytes);
        expect_pattern(&stream, bytes);
    });
    start.elapsed()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn send_pattern(mut stream: &TcpStream, bytes: usize) {
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let block = pattern(1 << 16);
    for at in (0..bytes).step_by(block.len()) {
        stream.write_all(&block[..block.len().min(bytes - at)]).unwrap();
    }
}

fn expect_pattern(mut stream: &TcpStream, bytes: usize) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let block = pattern(1 << 16);
    let mut got = vec![0; block.len()];
    for at in (0..bytes).step_by(block.len()) {
        let n = block.len().min(bytes - at);
        stream.read_exact(&mut got[..n]).unwrap();
        assert!(got[..n] == block[..n], "bytes differ in the block at {at}");
    }
}

/// Sends one datagram and expects it echoed.
pub fn udp_echo(client: &Space, server: &Space, address: &str, length: usize) {
    let address: IpAddr = address.parse().unwrap();
    let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let echo = server.run(|| UdpSocket::bind(SocketAddr::new(address, 0)).unwrap());
    let target = echo.local_addr().unwrap();
    let socket = client.run(|| UdpSocket::bind(any).unwrap());
    for socket in [&echo, &socket] {
        socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    }
    let sent = pattern(length);
    let mut got = vec![0; 1 << 16];
    socket.send_to(&sent, target).unwrap();
    let (n, from) = echo.recv_from(&mut got).unwrap();
    echo.send_to(&got[..n], from).unwrap();
    let n = socket.recv(&mut got).unwrap();
    assert!(got[..n] == sent);
}

/// Ping, UDP and TCP over IPv4 and IPv6 between two namespaces with the addresses of [`Space::address`].
pub fn everything_passes(a: &Space, b: &Space, megabytes: usize) {
    a.sh("ping -c 2 -i 0.2 -W 10 10.77.0.2");
    a.sh("ping -c 2 -i 0.2 -W 10 fd77::2");
    a.sh("ping -c 1 -s 20000 -W 10 10.77.0.2");
    for address in ["10.77.0.2", "fd77::2"] {
        udp_echo(a, b, address, 1000);
        let took = tcp_both_ways(a, b, address, megabytes << 20);
        let rate = (megabytes * 2 * 8) as f64 * 1.048_576 / took.as_secs_f64();
        println!("{address}: {megabytes} MiB each way at {rate:.0} Mbit/s");
    }
    for space in [a, b] {
        assert_eq!((space.snmp("TcpInCsumErrors"), space.snmp("UdpInCsumErrors")), (0, 0));
    }
}
