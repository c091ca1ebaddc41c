//! Conversations as guests have them, as frames: names are asked, pages fetched, secrets told, files moved.
//!
//! The client's port and the lower half of its address are zero in these frames; whoever plays them puts in the
//! client's number with [`Step::write`], so that a conversation can be had any number of times at once.

use super::captures::Said;

const IPV4: usize = 20;
const TCP: usize = 32;
const UDP: usize = 8;
/// Payload of a full segment with time stamps.
const SEGMENT: usize = 1448;
/// A receiver acknowledges every second full segment (RFC 5681, 4.2).
const ACKNOWLEDGED: usize = 2;
/// The client's network and the server.
const CLIENT: [u8; 4] = [10, 4, 0, 0];
const SERVER: [u8; 4] = [10, 5, 0, 1];
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x0a], [2, 0, 0, 0, 0, 0x0b]];
/// Clients of one address; a multiple of the conversations at a time.
const PORTS: u32 = 49_152;
const FIRST_PORT: u32 = 1024;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// One frame of a conversation.
#[derive(Clone, Debug)]
pub struct Step {
    /// Who sends it: the client is 0.
    pub side: usize,
    /// The frame.
    pub frame: Vec<u8>,
}

impl Step {
    /// The frame as client `number` sends or gets it, in `room`.
    pub fn write<'r>(&self, number: u32, room: &'r mut Vec<u8>) -> &'r [u8] {
        room.clear();
        room.extend_from_slice(&self.frame);
        let (address, port) = ((number / PORTS) as u16 + 1, (FIRST_PORT + number % PORTS) as u16);
        let (address_at, port_at) = if self.side == 0 { (28, 34) } else { (32, 36) };
        put16(room, address_at, address);
        put16(room, port_at, port);
        // What was summed up had zeros there (RFC 1624).
        add_to_sum(room, 24, u32::from(address));
        if self.frame.get(23) == Some(&6) {
            add_to_sum(room, 50, u32::from(address) + u32::from(port));
        }
        room
    }
}

/// The client's number by a frame's place among so many at a time.
pub fn slot_of(side: usize, frame: &[u8], slots: u32) -> Option<usize> {
    let at = if side == 0 { 34 } else { 36 };
    let port = u32::from(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    Some((port.checked_sub(FIRST_PORT)? % slots) as usize)
}

fn put16(frame: &mut [u8], at: usize, value: u16) {
    if let Some(to) = frame.get_mut(at..at + 2) {
        to.copy_from_slice(&value.to_be_bytes());
    }
}

fn add_to_sum(frame: &mut [u8], at: usize, value: u32) {
    if let Some(&[a, b]) = frame.get(at..).and_then(<[u8]>::first_chunk) {
        put16(frame, at, !folded(u32::from(!u16::from_be_bytes([a, b])) + value));
    }
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn sum_of(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let sum: u32 = words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    sum + rest.first().map_or(0, |&last| u32::from(last) << 8)
}

/// Conversations of a kind, of which those of a capture are made.
pub fn of(said: Said) -> Vec<Vec<Step>> {
    match said {
        Said::Mix => day(),
        Said::Web => (0..3).map(web).collect(),
        Said::Secrets => (0..3).map(secret).collect(),
        Said::Names => (0..6).map(name).collect(),
        Said::Small => vec![(0..64).map(|number| datagram(number % 2, 40_000, &noise(18, number as u64))).collect()],
        Said::Large => vec![(0..64).map(|number| datagram(number % 2, 40_000, &noise(1472, number as u64))).collect()],
    }
}

/// A page is asked for whose name a rule of the bench knows.
pub fn marked() -> Vec<Step> {
    let mut talk = Talk::open(80);
    talk.say(0, b"GET /marked-by-the-bench HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\n\r\n");
    talk.say(1, b"HTTP/1.1 204 No Content\r\n\r\n");
    talk.close()
}

/// A day's work in small: each kind as often as it is had. By bytes about a third is web, a third encrypted, the rest
/// bulk and datagrams.
pub fn day() -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    for turn in 0..3 {
        all.extend([name(turn * 2), name(turn * 2 + 1), web(turn), secret(turn)]);
    }
    all.extend([bulk(), datagrams()]);
    all
}

/// A connection in the making.
struct Talk {
    service: u16,
    next: [u32; 2],
    steps: Vec<Step>,
}

impl Talk {
    fn open(service: u16) -> Talk {
        let mut talk = Talk { service, next: [1_000_000, 2_000_000], steps: Vec::new() };
        talk.segment(0, SYN, &[]);
        talk.segment(1, SYN | ACK, &[]);
        talk.segment(0, ACK, &[]);
        talk
    }

    fn say(&mut self, side: usize, bytes: &[u8]) {
        for part in bytes.chunks(SEGMENT * ACKNOWLEDGED) {
            for piece in part.chunks(SEGMENT) {
                self.segment(side, PSH | ACK, piece);
            }
            self.segment(1 - side, ACK, &[]);
        }
    }

    fn close(mut self) -> Vec<Step> {
        self.segment(0, FIN | ACK, &[]);
        self.segment(1, FIN | ACK, &[]);
        self.segment(0, ACK, &[]);
        self.steps
    }

    fn segment(&mut self, side: usize, flags: u8, payload: &[u8]) {
        let [mine, theirs] = if side == 0 { self.next } else { [self.next[1], self.next[0]] };
        let acknowledged = if flags & ACK == 0 { 0 } else { theirs };
        let ports = if side == 0 { [0, self.service] } else { [self.service, 0] };
        let mut tcp = Vec::with_capacity(TCP + payload.len());
        ports.iter().for_each(|port| tcp.extend(port.to_be_bytes()));
        tcp.extend(mine.to_be_bytes());
        tcp.extend(acknowledged.to_be_bytes());
        tcp.extend([((TCP / 4) << 4) as u8, flags, 0xff, 0xff, 0, 0, 0, 0]);
        // Time stamps, as every host sends them (RFC 7323).
        tcp.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, u8::from(flags != SYN)]);
        tcp.extend(payload);
        let pseudo = sum_of(&CLIENT) + sum_of(&SERVER) + 6 + tcp.len() as u32;
        let sum = !folded(pseudo + sum_of(&tcp));
        put16(&mut tcp, 16, sum);
        self.steps.push(Step { side, frame: packet(side, 6, &tcp) });
        let length = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.next[side.min(1)] = mine.wrapping_add(length);
    }
}

fn packet(side: usize, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let [from, to] = if side == 0 { [CLIENT, SERVER] } else { [SERVER, CLIENT] };
    let mut frame = [&MACS[1 - side.min(1)][..], &MACS[side.min(1)], &[8, 0]].concat();
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    ip.extend(from.into_iter().chain(to));
    put16(&mut ip, 2, (IPV4 + transport.len()) as u16);
    let sum = !folded(sum_of(&ip));
    put16(&mut ip, 10, sum);
    frame.extend(ip);
    frame.extend(transport);
    frame.resize(frame.len().max(60), 0);
    frame
}

fn datagram(side: usize, service: u16, payload: &[u8]) -> Step {
    let ports = if side == 0 { [0, service] } else { [service, 0] };
    let mut udp: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
    udp.extend(((UDP + payload.len()) as u16).to_be_bytes());
    // No checksum (RFC 768).
    udp.extend([0, 0]);
    udp.extend(payload);
    Step { side, frame: packet(side, 17, &udp) }
}

/// A name is asked for and told (RFC 1035).
fn name(number: u8) -> Vec<Step> {
    let mut question = vec![0x12, number, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [format!("host{number}"), "department".to_owned(), "example".to_owned()] {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let mut answer = question.clone();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[7] = 1;
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 192, 0, 2, number]);
    vec![datagram(0, 53, &question), datagram(1, 53, &answer)]
}

/// Two pages are fetched by one connection.
fn web(number: u8) -> Vec<Step> {
    let mut talk = Talk::open(80);
    for page in 0..2_u8 {
        let ask = format!(
            "GET /section/{number}/page{page}.html?session=7f3a HTTP/1.1\r\nHost: www{number}.example\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
             Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nCookie: id=a3fWa; theme=dark\r\n\
             Connection: keep-alive\r\n\r\n"
        );
        talk.say(0, ask.as_bytes());
        let body = prose(24_000, u64::from(number) * 7 + u64::from(page));
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: max-age=60\r\n\r\n",
            body.len()
        );
        talk.say(1, &[head.as_bytes(), &body].concat());
    }
    talk.close()
}

/// A TLS connection (RFC 8446): hello, hello, then records nobody can read.
fn secret(number: u8) -> Vec<Step> {
    let mut talk = Talk::open(443);
    let mut seed = 100 + u64::from(number);
    let mut noise = |length: usize| {
        seed += 1;
        noise(length, seed)
    };
    talk.say(0, &record(22, &client_hello(&format!("secure{number}.example"), &noise(64))));
    let mut hello = vec![3, 3];
    hello.extend(noise(32));
    hello.push(0);
    hello.extend([0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
    let first = [record(22, &handshake(2, &hello)), record(20, &[1]), record(23, &noise(3200))].concat();
    talk.say(1, &first);
    talk.say(0, &[record(20, &[1]), record(23, &noise(69)), record(23, &noise(420))].concat());
    talk.say(1, &(0..4).flat_map(|_| record(23, &noise(15_000))).collect::<Vec<_>>());
    talk.close()
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &(content.len() as u16).to_be_bytes(), content].concat()
}

fn handshake(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 0][..], &(content.len() as u16).to_be_bytes(), content].concat()
}

fn client_hello(name: &str, noise: &[u8]) -> Vec<u8> {
    let extension =
        |kind: u16, content: &[u8]| [&kind.to_be_bytes()[..], &(content.len() as u16).to_be_bytes(), content].concat();
    let (length, list) = (name.len() as u16, name.len() as u16 + 3);
    let server_name = [&list.to_be_bytes()[..], &[0], &length.to_be_bytes(), name.as_bytes()].concat();
    let extensions = [
        extension(0, &server_name),
        extension(10, &[0, 4, 0, 29, 0, 23]),
        extension(13, &[0, 4, 4, 3, 8, 4]),
        extension(16, &[0, 12, 2, b'h', b'2', 8, b'h', b't', b't', b'p', b'/', b'1', b'.', b'1']),
        extension(43, &[2, 3, 4]),
    ]
    .concat();
    let mut hello = vec![3, 3];
    hello.extend(noise.iter().take(32));
    hello.push(32);
    hello.extend(noise.iter().rev().take(32));
    hello.extend([0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    handshake(1, &hello)
}

/// A file by a protocol that nobody knows.
fn bulk() -> Vec<Step> {
    let mut talk = Talk::open(5201);
    talk.say(0, b"fetch archive\n");
    talk.say(1, &noise(180_000, 3));
    talk.close()
}

/// A call: datagrams of a kilobyte both ways.
fn datagrams() -> Vec<Step> {
    (0..100).map(|number| datagram(number % 2, 40_000, &noise(1000, 50 + number as u64))).collect()
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn prose(length: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "the ",
        "of ",
        "network ",
        "<p>",
        "</p>\n",
        "router ",
        "between ",
        "guests ",
        "and ",
        "is ",
        "forwarded ",
        "<a href=\"/index.html\">",
        "</a> ",
        "packet ",
        "in ",
        "every ",
    ];
    let picks = noise(length / 3, seed);
    let mut text: Vec<u8> = picks.iter().flat_map(|&pick| WORDS[usize::from(pick % 16)].bytes()).take(length).collect();
    text.resize(length, b' ');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_right_for_every_client() {
        let mut room = Vec::new();
        for step in day().iter().flatten() {
            for number in [0, 63, 49_151, 49_152, 3_000_000] {
                let frame = step.write(number, &mut room);
                assert!(frame.len() <= 1514);
                assert_eq!(folded(sum_of(&frame[14..34])), 0xffff);
                assert_eq!(slot_of(step.side, frame, 64), Some((number % 64) as usize));
                let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
                let segment = &frame[34..14 + length];
                if frame[23] == 6 {
                    let pseudo = sum_of(&frame[26..34]) + 6 + segment.len() as u32;
                    assert_eq!(folded(pseudo + sum_of(segment)), 0xffff);
                }
            }
        }
    }

    #[test]
    fn no_kind_of_conversation_is_most_of_the_bytes() {
        let bytes = |steps: &[Step]| steps.iter().map(|step| step.frame.len()).sum::<usize>();
        let all = day();
        let total: usize = all.iter().map(|steps| bytes(steps)).sum();
        for services in [&[80_u16][..], &[443], &[5201]] {
            let of =
                |steps: &&Vec<Step>| services.contains(&u16::from_be_bytes([steps[0].frame[36], steps[0].frame[37]]));
            let part: usize = all.iter().filter(of).map(|steps| bytes(steps)).sum();
            assert!((total / 5..total / 2).contains(&part), "{services:?}: {part} of {total}");
        }
        let frames: usize = all.iter().map(Vec::len).sum();
        assert!((600..1100).contains(&(total / frames)), "{}", total / frames);
    }
}
