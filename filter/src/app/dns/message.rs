//! One DNS message (RFC 1035, 4) as values: header, questions, records with their data.
//!
//! A message is read through once when it comes ([`Outline`]), which tells whether it can be read and what is odd in it.
//! Its parts are put together when somebody asks for them ([`Message`]), which is seldom.
//!
//! All names and texts of a message lie in one buffer. Limits: a name is cut at [`NAME`] bytes and [`LABELS`] steps, all
//! texts of a message together at [`TEXTS`]; the [`Oddities`] say so. Compression pointers are followed within these
//! steps, so that a loop ends.

use smallvec::SmallVec;

use super::super::read::Reader;

/// Bytes of a name in its written form.
pub const NAME: usize = 1025;

/// Bytes of a name that is surely not cut, whatever its labels.
const PLAIN: usize = LABELS - 64;

/// Labels and pointers of a name.
pub const LABELS: usize = 255;

/// A pointer to what follows the header: the name of the first question.
const FIRST_NAME: [u8; 2] = [0xc0, 12];

/// Questions or records that room is made for before they are read.
const FEW: usize = 8;

/// Bytes that the names and texts of a message may have together.
pub const TEXTS: usize = 256 << 10;

/// The fixed part of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Identifier chosen by the asker.
    pub id: u16,
    /// QR, opcode, AA, TC, RD, RA, Z, AD, CD, RCODE.
    pub flags: u16,
    /// How many questions, answers, authorities and additional records are announced.
    pub counts: [u16; 4],
}

impl Header {
    /// Reads a header of a message of `length` bytes. `None`: too short for a header or for so many records.
    pub fn read(reader: &mut Reader<'_>, length: usize) -> Option<Header> {
        let (id, flags) = (reader.be16()?, reader.be16()?);
        let counts = [reader.be16()?, reader.be16()?, reader.be16()?, reader.be16()?];
        let records: usize = counts.iter().map(|&count| usize::from(count)).sum();
        (records * 2 <= length).then_some(Header { id, flags, counts })
    }

    /// The message is an answer.
    pub const fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// What kind of question.
    pub const fn opcode(&self) -> u16 {
        self.flags >> 11 & 0xf
    }

    /// How the question was answered.
    pub const fn rcode(&self) -> u16 {
        self.flags & 0xf
    }
}

/// A place in a message's texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    from: u32,
    to: u32,
    /// It was cut.
    pub cut: bool,
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Whose records are asked for.
    pub name: Text,
    /// Type asked for.
    pub rrtype: u16,
}

/// A resource record.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Whose it is.
    pub name: Text,
    /// Its type.
    pub rrtype: u16,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub enum Data {
    /// An address, of four or sixteen bytes as a rule.
    Address(Text),
    /// A name: CNAME, NS, PTR, MX.
    Name(Text),
    /// Bytes: TXT (one string), NULL.
    Bytes(Text),
    /// Start of authority.
    Soa {
        /// Name server.
        mname: Text,
        /// Mailbox.
        rname: Text,
        /// Serial, refresh, retry, expire, minimum.
        numbers: [u32; 5],
    },
    /// Location of a service.
    Srv {
        /// Priority, weight, port.
        numbers: [u16; 3],
        /// Host.
        target: Text,
    },
    /// Fingerprint of an SSH key.
    Sshfp {
        /// Algorithm.
        algorithm: u8,
        /// Type of fingerprint.
        kind: u8,
        /// The fingerprint.
        fingerprint: Text,
    },
    /// EDNS options, as they stand: code, length, data.
    Options(Text),
    /// Not looked into.
    Other,
}

/// What was odd in a message that could be read nevertheless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// A name was cut.
    pub name_too_long: bool,
    /// A name's pointers go round.
    pub infinite_loop: bool,
    /// A name has too many labels.
    pub too_many_labels: bool,
    /// The authorities could not be read.
    pub invalid_authorities: bool,
    /// The additional records could not be read.
    pub invalid_additionals: bool,
}

/// A message that can be read, without its parts.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    /// Its fixed part.
    pub header: Header,
    /// What was odd.
    pub odd: Oddities,
}

impl Outline {
    /// Reads through what follows the header; `whole` is the message with it. `None`: malformed.
    pub fn read<'b>(header: Header, body: Reader<'b>, whole: &'b [u8]) -> Option<Outline> {
        let mut walk = Walk::new(whole, Length(0));
        walk.message(&header, body, &mut |_| {})?;
        Some(Outline { header, odd: walk.odd })
    }
}

/// Puts the name of a message's first question into `name`, which is empty. `None`: there is none.
pub fn first_name(whole: &[u8], name: &mut Vec<u8>) -> Option<()> {
    let mut body = Reader::new(whole);
    Header::read(&mut body, whole.len())?;
    let mut walk = Walk::new(whole, std::mem::take(name));
    let read = walk.name(&mut body);
    *name = walk.texts;
    read.map(|_| ())
}

/// The labels of a short name that is written in one piece: the length of the first, and what follows that.
fn plain_labels(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut end = 0;
    loop {
        match *bytes.get(end)? {
            0 => return Some((*bytes.first()?, bytes.get(1..end)?)),
            length @ 1..=0x3f if end < PLAIN => end += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// A message.
#[derive(Debug, Default)]
pub struct Message {
    /// Its fixed part.
    pub header: Header,
    /// What is asked.
    pub questions: SmallVec<[Question; 1]>,
    /// Answers, authorities, additional records.
    pub sections: [Vec<Record>; 3],
    texts: Vec<u8>,
}

impl Message {
    /// Reads a message with its header. `None`: malformed.
    pub fn read(whole: &[u8]) -> Option<Message> {
        let mut body = Reader::new(whole);
        let header = Header::read(&mut body, whole.len())?;
        let mut message = Message { header, ..Message::default() };
        // So much for what most messages say; what says more grows.
        let mut walk = Walk::new(whole, Vec::with_capacity(2 * body.len()));
        let [questions, answers, ..] = header.counts;
        message.questions.reserve(usize::from(questions).min(FEW));
        message.sections[0].reserve(usize::from(answers).min(FEW));
        walk.message(&header, body, &mut |part| match part {
            Part::Question(question) => message.questions.push(question),
            Part::Record(nth, record) => message.sections.get_mut(nth).into_iter().for_each(|all| all.push(record)),
            Part::Unreadable(nth) => message.sections.get_mut(nth).into_iter().for_each(Vec::clear),
        })?;
        message.texts = walk.texts;
        Some(message)
    }

    /// The bytes of a text.
    pub fn text(&self, text: Text) -> &[u8] {
        self.texts.get(text.from as usize..text.to as usize).unwrap_or_default()
    }
}

/// Where the names and texts of a message are put one behind the other.
trait Texts {
    /// Bytes of all so far.
    fn length(&self) -> usize;
    fn add(&mut self, bytes: &[u8]);
    /// Adds labels behind the first one's length, with dots in place of the lengths of the others.
    fn add_labels(&mut self, first: u8, labels: &[u8]);
    fn cut(&mut self, length: usize);
}

impl Texts for Vec<u8> {
    fn length(&self) -> usize {
        self.len()
    }

    fn add(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn add_labels(&mut self, first: u8, labels: &[u8]) {
        let mut at = self.len() + usize::from(first);
        self.extend_from_slice(labels);
        while let Some(length) = self.get_mut(at) {
            at += 1 + usize::from(std::mem::replace(length, b'.'));
        }
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }
}

/// Texts that are counted and not kept.
struct Length(usize);

impl Texts for Length {
    fn length(&self) -> usize {
        self.0
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn add_labels(&mut self, _first: u8, labels: &[u8]) {
        self.0 += labels.len();
    }

    fn cut(&mut self, length: usize) {
        self.0 = self.0.min(length);
    }
}

/// What a message has, in its order.
enum Part {
    Question(Question),
    /// Of which section.
    Record(usize, Record),
    /// The rest of a section cannot be read, and none of it counts.
    Unreadable(usize),
}

/// On the way through a message.
struct Walk<'b, T> {
    whole: &'b [u8],
    texts: T,
    /// The name of the first question.
    first: Option<Text>,
    odd: Oddities,
}

impl<'b, T: Texts> Walk<'b, T> {
    fn new(whole: &'b [u8], texts: T) -> Walk<'b, T> {
        Walk { whole, texts, first: None, odd: Oddities::default() }
    }

    fn message(&mut self, header: &Header, body: Reader<'b>, keep: &mut impl FnMut(Part)) -> Option<()> {
        let mut body = body;
        let [questions, answers, authorities, additionals] = header.counts;
        for _ in 0..questions {
            let name = self.name(&mut body)?;
            let rrtype = body.be16()?;
            body.be16()?;
            self.first.get_or_insert(name);
            keep(Part::Question(Question { name, rrtype }));
        }
        self.section(0, answers, &mut body, keep)?;
        if self.section(1, authorities, &mut body, keep).is_none() {
            keep(Part::Unreadable(1));
            self.odd.invalid_authorities = true;
        } else if self.section(2, additionals, &mut body, keep).is_none() {
            keep(Part::Unreadable(2));
            self.odd.invalid_additionals = true;
        }
        Some(())
    }

    fn section(&mut self, nth: usize, count: u16, body: &mut Reader<'b>, keep: &mut impl FnMut(Part)) -> Option<()> {
        for _ in 0..count {
            let name = self.name(body)?;
            let rrtype = body.be16()?;
            body.be16()?;
            let ttl = body.be32()?;
            let length = body.be16()?;
            let mut data = Reader::new(body.take(usize::from(length))?);
            loop {
                let said = self.data(rrtype, &mut data)?;
                keep(Part::Record(nth, Record { name, rrtype, ttl, data: said }));
                // A TXT record has many strings; each is told as an answer of its own.
                if rrtype != super::types::TXT || data.is_empty() {
                    break;
                }
            }
        }
        Some(())
    }

    fn data(&mut self, rrtype: u16, data: &mut Reader<'b>) -> Option<Data> {
        use super::types as t;
        if data.is_empty() {
            return Some(Data::Other);
        }
        Some(match rrtype {
            t::A | t::AAAA => Data::Address(self.keep(data.rest())),
            t::CNAME | t::NS | t::PTR => Data::Name(self.name(data)?),
            t::MX => {
                data.be16()?;
                Data::Name(self.name(data)?)
            }
            t::TXT => {
                let length = data.u8()?;
                let text = data.take(usize::from(length))?;
                Data::Bytes(self.keep(text))
            }
            t::NULL => Data::Bytes(self.keep(data.rest())),
            t::SOA => {
                let (mname, rname) = (self.name(data)?, self.name(data)?);
                let numbers = [data.be32()?, data.be32()?, data.be32()?, data.be32()?, data.be32()?];
                Data::Soa { mname, rname, numbers }
            }
            t::SRV => {
                let numbers = [data.be16()?, data.be16()?, data.be16()?];
                Data::Srv { numbers, target: self.name(data)? }
            }
            t::SSHFP => {
                let (algorithm, kind) = (data.u8()?, data.u8()?);
                Data::Sshfp { algorithm, kind, fingerprint: self.keep(data.rest()) }
            }
            t::OPT => Data::Options(self.keep(data.rest())),
            _ => Data::Other,
        })
    }

    fn keep(&mut self, bytes: &[u8]) -> Text {
        let room = TEXTS.saturating_sub(self.texts.length());
        let from = self.texts.length() as u32;
        self.texts.add(bytes.get(..room).unwrap_or(bytes));
        Text { from, to: self.texts.length() as u32, cut: bytes.len() > room }
    }

    /// Reads a name and leaves `body` behind it. A name that goes on elsewhere by a pointer is followed there.
    fn name(&mut self, body: &mut Reader<'b>) -> Option<Text> {
        if let (Some(&FIRST_NAME), Some(first)) = (body.rest().first_chunk(), self.first)
            && !first.cut
        {
            // Most records are of what was asked for.
            body.take(FIRST_NAME.len())?;
            return Some(first);
        }
        let start = self.texts.length();
        let mut name = Text { from: start as u32, to: 0, cut: false };
        let limit = TEXTS.saturating_sub(start).min(NAME);
        if let Some((first, labels)) = plain_labels(body.rest()).filter(|_| limit == NAME) {
            body.take(labels.len() + 2)?;
            self.texts.add_labels(first, labels);
            return Some(Text { to: self.texts.length() as u32, ..name });
        }
        let mut reader = *body;
        let mut after = None;
        for step in 0.. {
            if step > LABELS {
                self.odd.too_many_labels = true;
                name.cut = true;
                after?;
                break;
            }
            let here = reader.rest();
            let Some(length) = reader.u8() else { break };
            match length {
                0 => break,
                1..=0x3f => {
                    let label = reader.take(usize::from(length))?;
                    self.label(label, start, limit, &mut name);
                    if name.cut && after.is_some() {
                        break;
                    }
                }
                0xc0.. => {
                    let low = reader.u8()?;
                    let target = self.whole.get(usize::from(length & 0x3f) << 8 | usize::from(low)..)?;
                    if std::ptr::eq(target.as_ptr(), here.as_ptr()) {
                        self.odd.infinite_loop = true;
                        after?;
                        break;
                    }
                    after.get_or_insert(reader);
                    reader = Reader::new(target);
                }
                _ => return None,
            }
        }
        name.to = self.texts.length() as u32;
        *body = after.unwrap_or(reader);
        self.odd.name_too_long |= name.cut;
        Some(name)
    }

    fn label(&mut self, label: &[u8], start: usize, limit: usize, name: &mut Text) {
        if name.cut {
            return;
        }
        if self.texts.length() > start {
            self.texts.add(b".");
        }
        self.texts.add(label);
        if self.texts.length() - start > limit {
            self.texts.cut(start + limit);
            name.cut = true;
        }
    }
}
