//! Names: a small name server for the outside world, and questions from a namespace.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{Failure, Namespace};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a server that is to end may go on waiting.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Types of records.
const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;
/// What a text record holds at most.
const TEXT_MAX: usize = 255;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Fact {
    /// An address.
    Address(IpAddr),
    /// Texts, so many of the longest kind.
    Texts(usize),
}

/// A name server in a namespace; ends with its value. It knows the names it was given and no others, and says over UDP
/// that an answer of more than 512 bytes is to be asked for by TCP.
#[derive(Debug)]
pub struct NameServer {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    /// Answers on `address` with what it is given.
    pub fn start(host: &Namespace, address: SocketAddr, facts: &[(&str, Fact)]) -> Result<NameServer, Failure> {
        let (udp, tcp) = host.inside(|| Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?)))?;
        udp.set_read_timeout(Some(LOOK_UP))?;
        tcp.set_nonblocking(true)?;
        let facts: Vec<(String, Fact)> = facts.iter().map(|(name, fact)| ((*name).to_owned(), fact.clone())).collect();
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ends, count) = (Arc::clone(&stop), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !ends.load(Ordering::Relaxed) {
                if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let mut said = answer(&facts, &buffer[..length]).unwrap_or_default();
                    if said.len() > 512 {
                        said.truncate(question_end(&said).unwrap_or(12));
                        said[2] |= 2;
                        said[6..12].fill(0);
                    }
                    // Who asked may have gone.
                    let _ = udp.send_to(&said, from);
                }
                if let Ok((stream, _)) = tcp.accept() {
                    // A failure shows as a question without an answer.
                    let _ = serve(stream, &facts);
                }
            }
        });
        Ok(NameServer { stop, asked })
    }

    /// Questions that came by UDP.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(mut stream: TcpStream, facts: &[(String, Fact)]) -> Result<(), Failure> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let question = read_message(&mut stream)?;
    write_message(&mut stream, &answer(facts, &question).unwrap_or_default())
}

fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>, Failure> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) -> Result<(), Failure> {
    let length = u16::try_from(message.len()).map_err(|e| Failure::of("a message", e))?;
    Ok(stream.write_all(&[&length.to_be_bytes()[..], message].concat())?)
}

/// Where the question of a message ends.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = 12;
    while *message.get(at)? != 0 {
        at += 1 + usize::from(message[at]);
    }
    Some(at + 5)
}

fn name_of(message: &[u8]) -> Option<String> {
    let (mut at, mut labels) = (12, Vec::new());
    while *message.get(at)? != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(message.get(at + 1..end)?).to_ascii_lowercase());
        at = end;
    }
    Some(labels.join("."))
}

/// The answer to a question: what is known, or that there is no such name.
fn answer(facts: &[(String, Fact)], question: &[u8]) -> Option<Vec<u8>> {
    let end = question_end(question)?;
    let name = name_of(question)?;
    let kind = u16::from_be_bytes([question[end - 4], question[end - 3]]);
    let known: Vec<&Fact> = facts.iter().filter(|(known, _)| *known == name).map(|(_, fact)| fact).collect();
    let mut records = Vec::new();
    for fact in &known {
        match fact {
            Fact::Address(IpAddr::V4(v4)) if kind == A => records.push(v4.octets().to_vec()),
            Fact::Address(IpAddr::V6(v6)) if kind == AAAA => records.push(v6.octets().to_vec()),
            Fact::Texts(count) if kind == TXT => {
                // Each is different, as the records of a name are.
                let text = |n: usize| [&[TEXT_MAX as u8][..], &[b'a' + (n % 26) as u8; TEXT_MAX]].concat();
                records.extend((0..*count).map(text));
            }
            Fact::Address(_) | Fact::Texts(_) => {}
        }
    }
    let code = if known.is_empty() { 3 } else { 0 };
    let mut said = [&question[..2], &[0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]].concat();
    said.extend(&question[12..end]);
    for record in records {
        said.extend([0xc0, 12]);
        said.extend(kind.to_be_bytes());
        said.extend([0, 1, 0, 0, 1, 0x2c]);
        said.extend((record.len() as u16).to_be_bytes());
        said.extend(record);
    }
    Some(said)
}

/// An answer: its code (3: there is no such name), whether it was cut, and how many records it has, of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The code.
    pub code: u8,
    /// More would be told over TCP.
    pub cut: bool,
    /// Records of the answer.
    pub records: u16,
    /// Its length.
    pub length: usize,
}

/// Asks `server` for a name's records of a type (1: A, 16: TXT, 28: AAAA) from a namespace, by UDP or by TCP.
pub fn ask_name(from: &Namespace, server: SocketAddr, name: &str, kind: u16, by_tcp: bool) -> Result<Told, Failure> {
    let mut question = vec![0x57, 0x77, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(label.len() as u8);
        question.extend(label.bytes());
    }
    question.extend([0, (kind >> 8) as u8, kind as u8, 0, 1]);
    let said = from.inside(|| {
        if by_tcp {
            let mut stream = TcpStream::connect_timeout(&server, ANSWER_WITHIN).map_err(|e| Failure::of(server, e))?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            write_message(&mut stream, &question)?;
            return read_message(&mut stream);
        }
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        socket.connect(server)?;
        socket.send(&question)?;
        let mut buffer = vec![0; 65536];
        let length = socket.recv(&mut buffer).map_err(|e| Failure::of(format!("{name} at {server}"), e))?;
        buffer.truncate(length);
        Ok(buffer)
    })?;
    if said.len() < 12 || said[..2] != question[..2] {
        return Err(Failure::new(format!("{name} at {server}: this is no answer: {said:x?}")));
    }
    let records = u16::from_be_bytes([said[6], said[7]]);
    Ok(Told { code: said[3] & 15, cut: said[2] & 2 != 0, records, length: said.len() })
}
