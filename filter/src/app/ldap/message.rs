//! Messages (RFC 4511, 4): the operation and what it says.
//!
//! Limits: [`ITEMS`] members of a list, [`VALUE`] bytes of a value; the rest is not kept.

use crate::app::asn1::{self, BOOLEAN, ENUMERATED, INTEGER, OCTETS, SEQUENCE, SET};
use crate::app::read::Reader;

/// Members of a list that are kept.
pub const ITEMS: usize = 256;
/// Bytes of a value that are kept.
pub const VALUE: usize = 4096;

/// Operations by their tag's number.
pub mod operation {
    #![allow(missing_docs)]
    pub const BIND: u8 = 0;
    pub const UNBIND: u8 = 2;
    pub const SEARCH: u8 = 3;
    pub const SEARCH_ENTRY: u8 = 4;
    pub const MODIFY: u8 = 6;
    pub const ADD: u8 = 8;
    pub const DELETE: u8 = 10;
    pub const MODIFY_DN: u8 = 12;
    pub const COMPARE: u8 = 14;
    pub const ABANDON: u8 = 16;
    pub const SEARCH_REFERENCE: u8 = 19;
    pub const EXTENDED: u8 = 23;
    pub const EXTENDED_RESPONSE: u8 = 24;
    pub const INTERMEDIATE: u8 = 25;

    /// Whether there is one of this number.
    pub fn is_known(number: u8) -> bool {
        matches!(number, BIND..=ABANDON | SEARCH_REFERENCE | EXTENDED..=INTERMEDIATE)
    }

    /// Whether clients send it.
    pub fn is_request(number: u8) -> bool {
        matches!(number, BIND | UNBIND | SEARCH | MODIFY | ADD | DELETE | MODIFY_DN | COMPARE | ABANDON | EXTENDED)
    }

    /// Whether it ends what a request asked for.
    pub fn is_last_response(number: u8) -> bool {
        matches!(number, 1 | 5 | 7 | 9 | 11 | 13 | 15 | 24)
    }

    /// Its name.
    pub fn name(number: u8) -> &'static str {
        match number {
            0 => "bind_request",
            1 => "bind_response",
            2 => "unbind_request",
            3 => "search_request",
            4 => "search_result_entry",
            5 => "search_result_done",
            6 => "modify_request",
            7 => "modify_response",
            8 => "add_request",
            9 => "add_response",
            10 => "del_request",
            11 => "del_response",
            12 => "mod_dn_request",
            13 => "mod_dn_response",
            14 => "compare_request",
            15 => "compare_response",
            16 => "abandon_request",
            19 => "search_result_reference",
            23 => "extended_request",
            24 => "extended_response",
            25 => "intermediate_response",
            _ => "unknown",
        }
    }
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A message with this operation.
    Operation(u8),
    /// Something else.
    Other,
    /// More bytes are needed.
    More,
}

/// Looks at the first bytes of a message.
pub fn head(bytes: &[u8]) -> Head {
    let inner = match bytes {
        [SEQUENCE, 0..=0x7f, inner @ ..] => inner,
        [SEQUENCE, long @ 0x81..=0x84, rest @ ..] => match rest.get(usize::from(long & 0x7f)..) {
            Some(inner) => inner,
            None => return Head::More,
        },
        [] | [SEQUENCE] => return Head::More,
        _ => return Head::Other,
    };
    match inner {
        [INTEGER, length @ 1..=4, rest @ ..] => match rest.get(usize::from(*length)) {
            Some(tag) if tag & 0xc0 == 0x40 => Head::Operation(tag & 0x1f),
            Some(_) => Head::Other,
            None => Head::More,
        },
        [] | [INTEGER] => Head::More,
        _ => Head::Other,
    }
}

type Bytes = Vec<u8>;

/// A type with its values.
#[derive(Debug, Default)]
pub struct Attribute {
    /// Its name.
    pub name: Bytes,
    /// Its values.
    pub values: Vec<Bytes>,
}

/// How an operation ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its code.
    pub code: u64,
    /// The name as far as it was found.
    pub matched: Bytes,
    /// Text for people.
    pub message: Bytes,
}

/// What an operation says.
#[derive(Debug)]
pub enum Body {
    /// Who the client is.
    Bind { version: i64, name: Bytes, sasl: Option<(Bytes, Option<Bytes>)> },
    /// What it looks for.
    Search(Box<Search>),
    /// Changes: 0 adds, 1 deletes, 2 replaces.
    Modify { object: Bytes, changes: Vec<(u64, Attribute)> },
    /// A new entry, or an entry found.
    Entry { dn: Bytes, attributes: Vec<Attribute> },
    /// What is to be deleted.
    Delete(Bytes),
    /// A new name.
    ModifyDn { entry: Bytes, name: Bytes, delete_old: bool, superior: Option<Bytes> },
    /// Whether an attribute has a value.
    Compare { entry: Bytes, description: Bytes, value: Bytes },
    /// Something by its number.
    Extended { name: Bytes, value: Option<Bytes> },
    /// An answer on the way.
    Intermediate { name: Option<Bytes>, value: Option<Bytes> },
    /// The end: with what it hands back.
    Result { outcome: Outcome, credentials: Option<Bytes>, name: Option<Bytes>, value: Option<Bytes> },
    /// Nothing that is read.
    Other,
}

/// What is looked for.
#[derive(Debug, Default)]
pub struct Search {
    /// Where.
    pub base: Bytes,
    /// How deep, how aliases are treated, at most how many, how long: as numbers.
    pub numbers: [i64; 4],
    /// Without values.
    pub types_only: bool,
    /// The filter, where it asks for the presence of an attribute.
    pub present: Option<Bytes>,
    /// What is to be told of what is found.
    pub attributes: Vec<Bytes>,
}

/// A control: its number, whether it must be obeyed, its value.
#[derive(Debug)]
pub struct Control {
    /// Its number.
    pub kind: Bytes,
    /// It must be obeyed.
    pub critical: bool,
    /// Its value.
    pub value: Option<Bytes>,
}

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its number.
    pub id: i64,
    /// The number of its operation.
    pub operation: u8,
    /// What it says.
    pub body: Body,
    /// Controls; `None` where the list is missing.
    pub controls: Option<Vec<Control>>,
}

fn kept(content: &[u8]) -> Bytes {
    content.get(..VALUE).unwrap_or(content).to_vec()
}

fn octets(reader: &mut Reader<'_>) -> Option<Bytes> {
    asn1::expect(reader, OCTETS).map(kept)
}

fn number(reader: &mut Reader<'_>, tag: u8) -> Option<i64> {
    asn1::expect(reader, tag).and_then(asn1::integer)
}

fn attribute(content: &[u8]) -> Option<Attribute> {
    let mut reader = Reader::new(content);
    let name = octets(&mut reader)?;
    let values = asn1::expect(&mut reader, SET).unwrap_or_default();
    Some(Attribute { name, values: asn1::elements(values).take(ITEMS).map(|value| kept(value.content)).collect() })
}

fn attributes(content: &[u8]) -> Vec<Attribute> {
    asn1::elements(content).take(ITEMS).filter_map(|element| attribute(element.content)).collect()
}

impl Message {
    /// Reads one. `None`: it is none.
    pub fn read(bytes: &[u8]) -> Option<Message> {
        let mut reader = Reader::new(asn1::expect(&mut Reader::new(bytes), SEQUENCE)?);
        let id = number(&mut reader, INTEGER)?;
        let element = asn1::next(&mut reader).filter(|element| element.tag & 0xc0 == 0x40)?;
        let operation = element.tag & 0x1f;
        let body = body(operation, element.content)?;
        let controls = asn1::expect(&mut reader, 0xa0).map(controls);
        Some(Message { id, operation, body, controls })
    }

    /// The name that it is about.
    pub fn dn(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Bind { name: dn, .. }
            | Body::Modify { object: dn, .. }
            | Body::Entry { dn, .. }
            | Body::Delete(dn)
            | Body::ModifyDn { entry: dn, .. }
            | Body::Compare { entry: dn, .. } => Some(dn),
            Body::Search(search) => Some(&search.base),
            Body::Result { outcome, .. } => Some(&outcome.matched),
            Body::Extended { .. } | Body::Intermediate { .. } | Body::Other => None,
        }
    }

    /// How many attributes it names.
    pub fn attributes(&self) -> usize {
        match &self.body {
            Body::Search(search) => search.attributes.len(),
            Body::Modify { changes, .. } => changes.len(),
            Body::Entry { attributes, .. } => attributes.len(),
            Body::Compare { .. } => 1,
            _ => 0,
        }
    }

    /// The name of the nth attribute.
    pub fn attribute(&self, nth: usize) -> Option<&[u8]> {
        match &self.body {
            Body::Search(search) => search.attributes.get(nth).map(|name| &name[..]),
            Body::Modify { changes, .. } => changes.get(nth).map(|(_, attribute)| &attribute.name[..]),
            Body::Entry { attributes, .. } => attributes.get(nth).map(|attribute| &attribute.name[..]),
            Body::Compare { description, .. } if nth == 0 => Some(description),
            _ => None,
        }
    }

    /// The code of its result.
    pub fn code(&self) -> Option<u64> {
        match &self.body {
            Body::Result { outcome, .. } => Some(outcome.code),
            _ => None,
        }
    }

    /// The text of its result.
    pub fn diagnostic(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Result { outcome, .. } => Some(&outcome.message),
            _ => None,
        }
    }
}

fn controls(content: &[u8]) -> Vec<Control> {
    let control = |content: &[u8]| {
        let mut reader = Reader::new(content);
        let kind = octets(&mut reader)?;
        let critical = asn1::expect(&mut reader, BOOLEAN).is_some_and(|value| value != [0]);
        Some(Control { kind, critical, value: octets(&mut reader) })
    };
    asn1::elements(content).take(ITEMS).filter_map(|element| control(element.content)).collect()
}

fn body(number_of: u8, content: &[u8]) -> Option<Body> {
    let mut reader = Reader::new(content);
    let r = &mut reader;
    Some(match number_of {
        operation::BIND => {
            let (version, name) = (number(r, INTEGER)?, octets(r)?);
            let sasl = asn1::expect(r, 0xa3).and_then(|content| {
                let mut sasl = Reader::new(content);
                Some((octets(&mut sasl)?, octets(&mut sasl)))
            });
            Body::Bind { version, name, sasl }
        }
        operation::SEARCH => Body::Search(Box::new(search(r)?)),
        operation::MODIFY => {
            let object = octets(r)?;
            let change = |content: &[u8]| {
                let mut reader = Reader::new(content);
                let kind = number(&mut reader, ENUMERATED).and_then(|kind| u64::try_from(kind).ok())?;
                Some((kind, attribute(asn1::expect(&mut reader, SEQUENCE)?)?))
            };
            let list = asn1::expect(r, SEQUENCE)?;
            let changes = asn1::elements(list).take(ITEMS).filter_map(|element| change(element.content)).collect();
            Body::Modify { object, changes }
        }
        operation::ADD | operation::SEARCH_ENTRY => {
            let dn = octets(r)?;
            Body::Entry { dn, attributes: attributes(asn1::expect(r, SEQUENCE)?) }
        }
        operation::DELETE => Body::Delete(kept(content)),
        operation::MODIFY_DN => {
            let (entry, name) = (octets(r)?, octets(r)?);
            let delete_old = asn1::expect(r, BOOLEAN)? != [0];
            Body::ModifyDn { entry, name, delete_old, superior: asn1::expect(r, 0x80).map(kept) }
        }
        operation::COMPARE => {
            let entry = octets(r)?;
            let mut assertion = Reader::new(asn1::expect(r, SEQUENCE)?);
            Body::Compare { entry, description: octets(&mut assertion)?, value: octets(&mut assertion)? }
        }
        operation::EXTENDED => {
            let name = asn1::expect(r, 0x80).map(kept)?;
            Body::Extended { name, value: asn1::expect(r, 0x81).map(kept) }
        }
        operation::INTERMEDIATE => {
            let name = asn1::expect(r, 0x80).map(kept);
            Body::Intermediate { name, value: asn1::expect(r, 0x81).map(kept) }
        }
        1 | 5 | 7 | 9 | 11 | 13 | 15 | 24 => result(r)?,
        _ => Body::Other,
    })
}

fn search(r: &mut Reader<'_>) -> Option<Search> {
    let base = octets(r)?;
    let numbers = [number(r, ENUMERATED)?, number(r, ENUMERATED)?, number(r, INTEGER)?, number(r, INTEGER)?];
    let types_only = asn1::expect(r, BOOLEAN)? != [0];
    let filter = asn1::next(r)?;
    let present = (filter.tag == 0x87).then(|| kept(filter.content));
    let list = asn1::expect(r, SEQUENCE).unwrap_or_default();
    let attributes = asn1::elements(list).take(ITEMS).map(|element| kept(element.content)).collect();
    Some(Search { base, numbers, types_only, present, attributes })
}

fn result(r: &mut Reader<'_>) -> Option<Body> {
    let code = number(r, ENUMERATED).and_then(|code| u64::try_from(code).ok())?;
    let outcome = Outcome { code, matched: octets(r)?, message: octets(r)? };
    let (mut credentials, mut name, mut value) = (None, None, None);
    while let Some(element) = asn1::next(r) {
        match element.tag {
            0x87 => credentials = Some(kept(element.content)),
            0x8a => name = Some(kept(element.content)),
            0x8b => value = Some(kept(element.content)),
            _ => {}
        }
    }
    Some(Body::Result { outcome, credentials, name, value })
}
