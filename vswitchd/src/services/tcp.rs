//! Questions over TCP: a TCP of our own by `smoltcp`, for each interface that serves names, and for each port that asks
//! for metadata. A [`Manner`] says how a service speaks.
//!
//! Segments come from the datapath as packets and go back as packets. The stack has one address of each family; those
//! that guests speak to are put in their place and back, so that one stack serves all addresses of a router.
//!
//! Limits: connections, those of one host, and bytes of a question as the manner has them; one question at a time; a
//! connection that is silent for [`IDLE`] ends.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration as SmolDuration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use weir_wire::build::{Ends, ip};
use weir_wire::numbers::{PROTOCOL_TCP, TCP_ACK, TCP_SYN};

/// Bytes of an answer in flight.
const SEND_BUFFER: usize = 16 << 10;
/// A connection on which nothing happens for so long ends.
const IDLE: Duration = Duration::from_secs(10);
/// The same while others are asked for the answer. A question that nobody answers ends its connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// So much later it is looked at.
const TICK: Duration = Duration::from_millis(10);
/// Ends of connections that are remembered; those of connections that are gone make room.
const WAYS_MAX: usize = 128;
/// The addresses of the stack: for documentation, so nobody's.
const OWN4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// How a service speaks.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Where it listens.
    pub port: u16,
    /// Connections of one stack.
    pub connections: usize,
    /// The same of one host.
    pub connections_of_host: usize,
    /// Bytes of a question, with what stands around it.
    pub question_max: usize,
    /// Finds the question that begins here.
    pub split: fn(&[u8]) -> Split,
}

/// Where a question stands in what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Not there yet.
    More,
    /// Behind `from` bytes, up to `to`.
    Whole {
        /// Bytes before it.
        from: usize,
        /// Where it ends.
        to: usize,
    },
    /// It will not be read: the connection ends.
    TooLong,
}

/// What becomes of a connection once an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It waits for the next question.
    Listen,
    /// It is closed.
    Close,
}

/// Packets on their way in and out.
#[derive(Debug, Default)]
struct Pipe {
    inward: VecDeque<Vec<u8>>,
    outward: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Room<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Pipe {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Room<'_>)> {
        let packet = self.inward.pop_front()?;
        Some((Received(packet), Room(&mut self.outward)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        Some(Room(&mut self.outward))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1280;
        // The datapath has checked what comes, and completes what goes.
        let mut checksum = ChecksumCapabilities::ignored();
        checksum.ipv4 = Checksum::None;
        capabilities.checksum = checksum;
        capabilities
    }
}

/// A connection, or the wait for one.
#[derive(Debug)]
struct Connection {
    handle: SocketHandle,
    serial: u64,
    inward: Vec<u8>,
    outward: VecDeque<u8>,
    is_asking: bool,
    /// It takes no more questions.
    ends: bool,
    /// When something last happened.
    touched: Duration,
}

impl Connection {
    /// How long nothing may happen.
    fn patience(&self) -> Duration {
        if self.is_asking { ANSWER_WITHIN } else { IDLE }
    }
}

/// Which connection a question came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    index: usize,
    serial: u64,
}

/// A stack. `W` says where segments of a connection go.
pub struct Stack<W> {
    manner: Manner,
    pipe: Pipe,
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    ways: HashMap<(IpAddr, u16), (Ends, W)>,
    serial: u64,
}

impl<W: Clone> Stack<W> {
    /// A stack that listens. `seed` makes its numbers hard to guess.
    pub fn new(manner: Manner, seed: u64, now: Duration) -> Stack<W> {
        let mut pipe = Pipe::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut pipe, instant(now));
        interface.update_ip_addrs(|addresses| {
            // There is room for two.
            let own = [IpCidr::new(IpAddress::Ipv4(OWN4), 32), IpCidr::new(IpAddress::Ipv6(OWN6), 128)];
            addresses.extend(own);
        });
        // There is room for these two.
        let _ = interface.routes_mut().add_default_ipv4_route(OWN4);
        let _ = interface.routes_mut().add_default_ipv6_route(OWN6);
        let mut stack = Stack {
            manner,
            pipe,
            interface,
            sockets: SocketSet::new(Vec::new()),
            connections: Vec::new(),
            ways: HashMap::new(),
            serial: 0,
        };
        for _ in 0..manner.connections {
            let [receive, send] = [manner.question_max, SEND_BUFFER].map(|size| SocketBuffer::new(vec![0; size]));
            let mut socket = Socket::new(receive, send);
            socket.set_timeout(Some(SmolDuration::from_micros(IDLE.as_micros() as u64)));
            let handle = stack.sockets.add(socket);
            let connection = Connection {
                handle,
                serial: 0,
                inward: Vec::new(),
                outward: VecDeque::new(),
                is_asking: false,
                ends: false,
                touched: now,
            };
            stack.connections.push(connection);
        }
        stack.listen();
        stack
    }

    /// Takes an IP packet with a segment from `ends`; what is to be answered goes by `way`.
    pub fn take(&mut self, mut packet: Vec<u8>, ends: Ends, (port, flags): (u16, u8), way: W) {
        let opens = flags & (TCP_SYN | TCP_ACK) == TCP_SYN;
        let of_host = |connection: &&Connection| {
            let socket = self.sockets.get::<Socket<'_>>(connection.handle);
            socket.remote_endpoint().is_some_and(|remote| IpAddr::from(remote.addr) == ends.source)
        };
        if opens && self.connections.iter().filter(of_host).count() >= self.manner.connections_of_host {
            return;
        }
        let own = match ends.destination {
            IpAddr::V4(_) => packet.get_mut(16..20).map(|place| place.copy_from_slice(&OWN4.octets())),
            IpAddr::V6(_) => packet.get_mut(24..40).map(|place| place.copy_from_slice(&OWN6.octets())),
        };
        if own.is_none() {
            return;
        }
        if self.ways.len() >= WAYS_MAX {
            let remotes: Vec<_> = self
                .connections
                .iter()
                .filter_map(|c| {
                    let remote = self.sockets.get::<Socket<'_>>(c.handle).remote_endpoint()?;
                    Some((IpAddr::from(remote.addr), remote.port))
                })
                .collect();
            self.ways.retain(|end, _| remotes.contains(end));
        }
        self.ways.insert((ends.source, port), (ends, way));
        self.pipe.inward.push_back(packet);
    }

    /// Moves what waits; returns the questions that are whole.
    pub fn poll(&mut self, now: Duration) -> Vec<(Line, Vec<u8>, W)> {
        self.interface.poll(instant(now), &mut self.pipe, &mut self.sockets);
        let mut questions = Vec::new();
        for index in 0..self.connections.len() {
            questions.extend(self.serve(index, now));
        }
        // What was written, and what ended, goes out.
        self.interface.poll(instant(now), &mut self.pipe, &mut self.sockets);
        self.listen();
        questions
    }

    /// When it wants to be polled again.
    pub fn due(&mut self, now: Duration) -> Option<Duration> {
        let can_write = |c: &Connection| !c.outward.is_empty() && self.sockets.get::<Socket<'_>>(c.handle).can_send();
        if self.connections.iter().any(can_write) {
            return Some(now);
        }
        let is_open = |c: &Connection| !self.sockets.get::<Socket<'_>>(c.handle).is_listening();
        let idle = self.connections.iter().filter(|c| is_open(c)).map(|c| c.touched + c.patience() + TICK).min();
        let delay = self.interface.poll_delay(instant(now), &self.sockets);
        let due = delay.map(|delay| now + Duration::from_micros(delay.total_micros()));
        [idle, due].into_iter().flatten().min()
    }

    /// No connection is open, and nothing waits to be sent.
    pub fn is_quiet(&self) -> bool {
        let listens = |c: &Connection| self.sockets.get::<Socket<'_>>(c.handle).is_listening();
        self.pipe.inward.is_empty() && self.pipe.outward.is_empty() && self.connections.iter().all(listens)
    }

    /// Answers a question, if its connection is still there.
    pub fn answer(&mut self, line: Line, answer: &[u8], after: After) {
        let Some(connection) = self.connections.get_mut(line.index).filter(|c| c.serial == line.serial) else { return };
        connection.is_asking = false;
        connection.ends |= after == After::Close;
        // A guest that asks and never reads ends by its own silence.
        connection.outward.extend(answer);
    }

    /// A segment to be sent, as a frame, and where it goes.
    pub fn next_segment(&mut self) -> Option<(Vec<u8>, W)> {
        loop {
            let packet = self.pipe.outward.pop_front()?;
            let (remote, at) = match packet.first()? >> 4 {
                4 => (IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?), 20),
                _ => (IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?), 40),
            };
            let segment = packet.get(at..)?;
            let port = u16::from_be_bytes(*segment.get(2..)?.first_chunk()?);
            if let Some((ends, way)) = self.ways.get(&(remote, port)) {
                return Some((ip(ends.reversed(), PROTOCOL_TCP, &[segment]), way.clone()));
            }
        }
    }

    /// Reads and writes one connection.
    fn serve(&mut self, index: usize, now: Duration) -> Option<(Line, Vec<u8>, W)> {
        let connection = self.connections.get_mut(index)?;
        let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
        if socket.is_listening() {
            connection.touched = now;
        }
        if now.saturating_sub(connection.touched) > connection.patience() {
            socket.abort();
            return None;
        }
        while socket.can_send() && !connection.outward.is_empty() {
            let (piece, _) = connection.outward.as_slices();
            let sent = socket.send_slice(piece).unwrap_or(0);
            if sent == 0 {
                break;
            }
            connection.outward.drain(..sent);
            connection.touched = now;
        }
        let room = self.manner.question_max.saturating_sub(connection.inward.len());
        if socket.can_recv() && room > 0 {
            let mut buffer = vec![0; room];
            let read = socket.recv_slice(&mut buffer).unwrap_or(0);
            connection.touched = now;
            connection.inward.extend(buffer.get(..read).unwrap_or(&[]));
        }
        let may_ask = !connection.is_asking && !connection.ends && connection.outward.is_empty();
        match (self.manner.split)(&connection.inward) {
            Split::TooLong => {
                socket.abort();
                return None;
            }
            Split::Whole { from, to } if may_ask && from <= to && to <= connection.inward.len() => {
                let rest = connection.inward.split_off(to);
                let question = std::mem::replace(&mut connection.inward, rest).split_off(from);
                let remote = socket.remote_endpoint()?;
                let (_, way) = self.ways.get(&(IpAddr::from(remote.addr), remote.port))?;
                (connection.is_asking, connection.touched) = (true, now);
                return Some((Line { index, serial: connection.serial }, question, way.clone()));
            }
            Split::Whole { .. } | Split::More => {}
        }
        let is_over = connection.ends && socket.is_open() || !socket.may_recv() && socket.state() == State::CloseWait;
        if is_over && !connection.is_asking && connection.outward.is_empty() {
            socket.close();
        }
        None
    }

    /// Connections that have ended wait for others.
    fn listen(&mut self) {
        for connection in &mut self.connections {
            let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
            if matches!(socket.state(), State::Closed | State::TimeWait) {
                socket.abort();
                self.serial += 1;
                connection.serial = self.serial;
                connection.inward.clear();
                connection.outward.clear();
                (connection.is_asking, connection.ends) = (false, false);
                // It is closed and has a port to listen on: there is nothing to refuse.
                let _ = socket.listen(self.manner.port);
            }
        }
    }
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
