//! A host: smoltcp as a real TCP/IP stack over a network card that is two queues.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant as StackTime;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv6Address};
use weir_wire::Instant;

/// IP version of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The address of host `number`.
pub fn address(number: u8, family: Family) -> IpAddress {
    match family {
        Family::V4 => IpAddress::Ipv4(Ipv4Address::new(10, 0, 0, number)),
        Family::V6 => IpAddress::Ipv6(Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number))),
    }
}

/// The network card.
pub struct Card {
    pub received: VecDeque<Vec<u8>>,
    pub sent: Vec<Vec<u8>>,
    mtu: usize,
}

pub struct Received(Vec<u8>);
pub struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0xa5; length];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: StackTime) -> Option<(Received, Sending<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: StackTime) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

/// A host of the network.
pub struct Host {
    pub card: Card,
    interface: Interface,
    pub sockets: SocketSet<'static>,
    number: u8,
}

fn stack_time(now: Instant) -> StackTime {
    StackTime::from_micros((now.0 / 1000) as i64)
}

/// Bytes of a socket's buffers, each way.
const SOCKET_BUFFER: usize = 65_535;

impl Host {
    /// Host `number`; its card takes IP packets of `mtu` bytes.
    pub fn new(number: u8, mtu: usize, seed: u64) -> Host {
        let mut card = Card { received: VecDeque::new(), sent: Vec::new(), mtu };
        let mac = EthernetAddress([2, 0, 0, 0, 0, number]);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = seed ^ u64::from(number);
        let mut interface = Interface::new(config, &mut card, StackTime::ZERO);
        interface.update_ip_addrs(|addresses| {
            for (family, prefix) in [(Family::V4, 24), (Family::V6, 64)] {
                addresses.push(IpCidr::new(address(number, family), prefix)).expect("room for two addresses");
            }
        });
        Host { card, interface, sockets: SocketSet::new(Vec::new()), number }
    }

    /// Lets the stack read and write; returns when it next wants to be called.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        let time = stack_time(now);
        self.interface.poll(time, &mut self.card, &mut self.sockets);
        let next = self.interface.poll_at(time, &self.sockets)?;
        Some(Instant(next.total_micros().max(0) as u64 * 1000))
    }

    fn tcp_socket(&mut self) -> (SocketHandle, &mut tcp::Socket<'static>) {
        let buffer = || tcp::SocketBuffer::new(vec![0; SOCKET_BUFFER]);
        let handle = self.sockets.add(tcp::Socket::new(buffer(), buffer()));
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        // Small writes go out at once, so that the writer decides where the segments end.
        socket.set_nagle_enabled(false);
        (handle, socket)
    }

    /// A socket that waits for one connection.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let (handle, socket) = self.tcp_socket();
        socket.listen(port).expect("a port that is not zero");
        handle
    }

    /// A socket that connects.
    pub fn connect(&mut self, to: u8, family: Family, port: u16, local_port: u16) -> SocketHandle {
        let (handle, _) = self.tcp_socket();
        let remote = IpEndpoint::new(address(to, family), port);
        let local = IpEndpoint::new(address(self.number, family), local_port);
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(self.interface.context(), remote, local).expect("a socket that was never used");
        handle
    }

    /// A UDP socket on `port`.
    pub fn bind(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; SOCKET_BUFFER]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).expect("a port that is not zero");
        self.sockets.add(socket)
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut::<tcp::Socket>(handle)
    }

    pub fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut::<udp::Socket>(handle)
    }
}
