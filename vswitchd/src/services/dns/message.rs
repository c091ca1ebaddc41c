//! Questions read, answers written (RFC 1035, 6891).

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};

use super::super::decode::decoded;
use super::super::served::fully_qualified;

/// Bytes of an answer over UDP to whoever does not say that it takes more (RFC 1035, 4.2.1).
const UDP_PLAIN: u16 = 512;
/// Bytes of an answer over UDP at most: what passes everywhere without fragments.
pub const UDP_MOST: u16 = 1232;
/// Bytes of a header.
const HEADER: usize = 12;

/// A question as it came.
#[derive(Clone, Debug)]
pub struct Question {
    /// The number it bears.
    pub id: u16,
    /// What is asked, as it was written.
    pub query: Query,
    /// The name from the root on, in lower case.
    pub name: Name,
    /// The asker wants others to be asked.
    pub recursion: bool,
    /// It wants signatures.
    pub dnssec_ok: bool,
    /// It checks signatures itself.
    pub checking_disabled: bool,
    /// Bytes of an answer over UDP that it takes; `None`: it does not speak EDNS.
    pub payload: Option<u16>,
}

impl Question {
    /// Reads a question.
    ///
    /// # Errors
    /// The answer that says what is wrong; `None` where nothing is to be said.
    pub fn read(bytes: &[u8]) -> Result<Question, Option<Vec<u8>>> {
        let Some(mut message) = decoded(|| Message::from_vec(bytes).ok()) else { return Err(not_understood(bytes)) };
        let metadata = message.metadata;
        if metadata.message_type != MessageType::Query {
            return Err(None);
        }
        let refuse = |code| Err(Message::error_msg(metadata.id, metadata.op_code, code).to_vec().ok());
        if metadata.op_code != OpCode::Query {
            return refuse(ResponseCode::NotImp);
        }
        let (Some(query), true) = (message.queries.pop(), message.queries.is_empty()) else {
            return refuse(ResponseCode::FormErr);
        };
        if query.query_class != DNSClass::IN || matches!(query.query_type, RecordType::AXFR | RecordType::IXFR) {
            return refuse(ResponseCode::Refused);
        }
        if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            // The code is one of those that need the option themselves.
            let mut refusal = Message::error_msg(metadata.id, metadata.op_code, ResponseCode::BADVERS);
            refusal.set_edns(Edns::new());
            return Err(refusal.to_vec().ok());
        }
        Ok(Question {
            id: metadata.id,
            name: fully_qualified(query.name.to_lowercase()),
            query,
            recursion: metadata.recursion_desired,
            dnssec_ok: message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: metadata.checking_disabled,
            payload: message.edns.map(|edns| edns.max_payload().clamp(UDP_PLAIN, UDP_MOST)),
        })
    }

    /// An answer without records.
    pub fn failed(&self, code: ResponseCode) -> Answer {
        Answer { code, ..Answer::default() }
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Whether it is known.
    pub code: ResponseCode,
    /// We are who knows.
    pub authoritative: bool,
    /// Whoever was asked has checked signatures.
    pub authentic: bool,
    /// The answer.
    pub answers: Vec<Record>,
    /// Who knows.
    pub authorities: Vec<Record>,
    /// What helps.
    pub additionals: Vec<Record>,
}

impl Default for Answer {
    fn default() -> Answer {
        Answer {
            code: ResponseCode::NoError,
            authoritative: false,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }
}

/// How an answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By UDP; what is too long is asked for again by TCP.
    Udp,
    /// By TCP.
    Tcp,
}

impl Answer {
    /// Writes it for whoever asked.
    pub fn write(&self, question: &Question, transport: Transport) -> Vec<u8> {
        let mut message = Message::response(question.id, OpCode::Query);
        message.metadata.response_code = self.code;
        message.metadata.authoritative = self.authoritative;
        message.metadata.authentic_data = self.authentic;
        message.metadata.recursion_desired = question.recursion;
        message.metadata.recursion_available = true;
        message.metadata.checking_disabled = question.checking_disabled;
        message.add_query(question.query.clone());
        message.insert_answers(self.answers.clone());
        message.insert_authorities(self.authorities.clone());
        message.insert_additionals(self.additionals.clone());
        if question.payload.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MOST).set_dnssec_ok(question.dnssec_ok);
            message.set_edns(edns);
        }
        let most = match transport {
            Transport::Udp => question.payload.unwrap_or(UDP_PLAIN),
            Transport::Tcp => u16::MAX,
        };
        match message.to_vec() {
            Ok(bytes) if bytes.len() <= usize::from(most) => bytes,
            Ok(_) | Err(_) => message.truncate().to_vec().unwrap_or_default(),
        }
    }
}

/// What is said to bytes that are no message but might have been a question.
fn not_understood(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = bytes.get(..HEADER)?;
    let id = u16::from_be_bytes([*header.first()?, *header.get(1)?]);
    // An answer to an answer would go on for ever.
    let is_query = header.get(2)? & 0x80 == 0;
    is_query.then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()).flatten()
}
