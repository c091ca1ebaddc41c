//! Conversations as frames, for what is told of captures: Ethernet, IPv4, TCP or UDP between one client and one server.
//!
//! IPv4 headers have their checksum; those of TCP and UDP are zero, and whoever reads the frames is told not to look at
//! them.

use weir_filter::inspect::Direction;

/// Flags of TCP.
pub const SYN: u8 = 0x02;
/// Acknowledges.
pub const ACK: u8 = 0x10;
/// Nothing follows.
pub const FIN: u8 = 0x01;

/// A conversation between 10.0.0.1 and 10.0.0.2.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// The client's port.
    pub client: u16,
    /// The server's port.
    pub server: u16,
    /// The next sequence number of each side.
    pub next: [u32; 2],
}

impl Conversation {
    /// With the server at this port; nothing is sent yet.
    pub fn new(client: u16, server: u16) -> Conversation {
        Conversation { client, server, next: [1000, 5000] }
    }

    /// The three frames that open a TCP connection.
    pub fn open(&mut self) -> [Vec<u8>; 3] {
        let [client, server] = self.next;
        let syn = self.segment(Direction::Original, SYN, client, 0, b"");
        let answer = self.segment(Direction::Reply, SYN | ACK, server, client + 1, b"");
        self.next = [client + 1, server + 1];
        [syn, answer, self.segment(Direction::Original, ACK, client + 1, server + 1, b"")]
    }

    /// The next bytes of one side, and the other side's acknowledgment of them.
    pub fn say(&mut self, way: Direction, data: &[u8]) -> [Vec<u8>; 2] {
        let (own, other) = (way as usize, 1 - way as usize);
        let frame = self.segment(way, ACK | 8, self.next[own], self.next[other], data);
        self.next[own] = self.next[own].wrapping_add(data.len() as u32);
        [frame, self.acknowledge(back(way))]
    }

    /// This side acknowledges all that the other has said.
    pub fn acknowledge(&self, way: Direction) -> Vec<u8> {
        let (own, other) = (way as usize, 1 - way as usize);
        self.segment(way, ACK, self.next[own], self.next[other], b"")
    }

    /// Both sides end.
    pub fn close(&mut self) -> [Vec<u8>; 3] {
        let [client, server] = self.next;
        let first = self.segment(Direction::Original, FIN | ACK, client, server, b"");
        let second = self.segment(Direction::Reply, FIN | ACK, server, client.wrapping_add(1), b"");
        self.next = [client.wrapping_add(1), server.wrapping_add(1)];
        [first, second, self.acknowledge(Direction::Original)]
    }

    /// Any segment.
    pub fn segment(&self, way: Direction, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
        let mut tcp = self.ports(way);
        tcp.extend_from_slice(&seq.to_be_bytes());
        tcp.extend_from_slice(&ack.to_be_bytes());
        tcp.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(data);
        packet(way, 6, [0, 0], 0, &tcp)
    }

    /// A datagram.
    pub fn datagram(&self, way: Direction, data: &[u8]) -> Vec<u8> {
        packet(way, 17, [0, 0], 0, &self.datagram_payload(way, data))
    }

    /// A datagram without its IP header.
    pub fn datagram_payload(&self, way: Direction, data: &[u8]) -> Vec<u8> {
        let mut udp = self.ports(way);
        udp.extend_from_slice(&((data.len() + 8).min(0xffff) as u16).to_be_bytes());
        udp.extend_from_slice(&[0, 0]);
        udp.extend_from_slice(data);
        udp
    }

    fn ports(&self, way: Direction) -> Vec<u8> {
        let (from, to) =
            if way == Direction::Original { (self.client, self.server) } else { (self.server, self.client) };
        [from.to_be_bytes(), to.to_be_bytes()].concat()
    }
}

/// The other way.
pub fn back(way: Direction) -> Direction {
    match way {
        Direction::Original => Direction::Reply,
        Direction::Reply => Direction::Original,
    }
}

/// A frame with an IPv4 packet, or a fragment of one: its identification, and flags with the offset.
pub fn packet(way: Direction, protocol: u8, identification: [u8; 2], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let (from, to) = if way == Direction::Original { (1, 2) } else { (2, 1) };
    let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0, 0x45, 0];
    frame.extend_from_slice(&((payload.len() + 20).min(0xffff) as u16).to_be_bytes());
    frame.extend_from_slice(&identification);
    frame.extend_from_slice(&fragment.to_be_bytes());
    frame.extend_from_slice(&[64, protocol, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    let sum = !weir_wire::checksum::sum(&frame[14..34]).fold();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
