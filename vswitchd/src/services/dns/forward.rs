//! Questions to the name servers that the state gives, over the host's own network.
//!
//! Each question goes out from a socket of its own, so from a port that the kernel draws, with a random number and the
//! letters of its name in random case; an answer counts only from the server asked, with all of that as it was sent
//! (RFC 5452; draft-vixie-dnsext-dns0x20). Where only the case differs the question is asked again over TCP. Servers are
//! asked in turn, [`ROUNDS`] times, each for [`PATIENCE`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::super::decode::decoded;
use super::cache::Key;
use super::message::{Answer, UDP_MOST};

/// How long a server has for its answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long to wait before all are asked again.
const PAUSE: Duration = Duration::from_millis(300);
/// How often each is asked.
const ROUNDS: usize = 2;

/// What a server said.
enum Heard {
    /// The answer.
    Answer(Box<Message>),
    /// Ask by TCP: it was too long, or the case of the name was not kept.
    Longer,
}

/// Asks for what `key` says; `None` where nobody answers.
pub async fn ask(key: &Key, servers: &[SocketAddr]) -> Option<Answer> {
    let mut failed = None;
    for (number, server) in servers.iter().cycle().take(servers.len() * ROUNDS).enumerate() {
        // A server that refuses at once, as while it starts, may be there a moment later.
        if number == servers.len() {
            tokio::time::sleep(PAUSE).await;
        }
        let Some(message) = exchange(key, *server).await else { continue };
        let answer = answer(message);
        match answer.code {
            // Another may know better.
            ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp => failed = Some(answer),
            _ => return Some(answer),
        }
    }
    failed
}

async fn exchange(key: &Key, server: SocketAddr) -> Option<Message> {
    let question = question(key)?;
    let bytes = question.to_vec().ok()?;
    match timeout(PATIENCE, by_udp(&question, &bytes, server)).await.ok()?? {
        Heard::Answer(message) => Some(*message),
        Heard::Longer => timeout(PATIENCE, by_tcp(&question, &bytes, server)).await.ok()?,
    }
}

fn question(key: &Key) -> Option<Message> {
    let mut id = [0; 2];
    SystemRandom::new().fill(&mut id).ok()?;
    let mut message = Message::new(u16::from_be_bytes(id), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = key.checking_disabled;
    let mut name = key.name.clone();
    name.randomize_label_case();
    message.add_query(Query::query(name, key.kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_MOST).set_dnssec_ok(key.dnssec_ok);
    message.set_edns(edns);
    Some(message)
}

async fn by_udp(question: &Message, bytes: &[u8], server: SocketAddr) -> Option<Heard> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    // A connected socket hears of nobody else.
    socket.connect(server).await.ok()?;
    socket.send(bytes).await.ok()?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await.ok()?;
        let Some(message) = decoded(|| Message::from_vec(buffer.get(..length)?).ok()) else { continue };
        match matches(question, &message) {
            Match::Exact if message.metadata.truncation => return Some(Heard::Longer),
            Match::Exact => return Some(Heard::Answer(Box::new(message))),
            Match::OtherCase => return Some(Heard::Longer),
            Match::Stranger => {}
        }
    }
}

async fn by_tcp(question: &Message, bytes: &[u8], server: SocketAddr) -> Option<Message> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    let length = u16::try_from(bytes.len()).ok()?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await.ok()?;
    let length = stream.read_u16().await.ok()?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.ok()?;
    let message = decoded(|| Message::from_vec(&buffer).ok())?;
    (matches(question, &message) != Match::Stranger).then_some(message)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Exact,
    OtherCase,
    Stranger,
}

/// Whether a message answers a question.
fn matches(question: &Message, message: &Message) -> Match {
    let (Some(asked), [answered]) = (question.queries.first(), &message.queries[..]) else { return Match::Stranger };
    let fits = message.metadata.message_type == MessageType::Response
        && message.metadata.id == question.metadata.id
        && (answered.query_type, answered.query_class) == (asked.query_type, asked.query_class)
        && answered.name == asked.name;
    match (fits, answered.name.eq_case(&asked.name)) {
        (true, true) => Match::Exact,
        (true, false) => Match::OtherCase,
        (false, _) => Match::Stranger,
    }
}

fn answer(message: Message) -> Answer {
    Answer {
        code: message.metadata.response_code,
        authoritative: false,
        authentic: message.metadata.authentic_data,
        answers: message.answers,
        authorities: message.authorities,
        additionals: message.additionals,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{Name, RecordType};

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let name = Name::from_ascii("wWw.ExAmple.org.").expect("a name");
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(name.clone(), RecordType::A));
        let reply = |id, name: &Name, kind| {
            let mut message = Message::response(id, OpCode::Query);
            message.add_query(Query::query(name.clone(), kind));
            matches(&question, &message)
        };
        assert_eq!(reply(7, &name, RecordType::A), Match::Exact);
        assert_eq!(reply(7, &name.to_lowercase(), RecordType::A), Match::OtherCase);
        assert_eq!(reply(8, &name, RecordType::A), Match::Stranger);
        assert_eq!(reply(7, &name, RecordType::AAAA), Match::Stranger);
        assert_eq!(reply(7, &Name::root(), RecordType::A), Match::Stranger);
        assert_eq!(matches(&question, &question), Match::Stranger, "a question is no answer");
    }
}
