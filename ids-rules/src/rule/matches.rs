//! What is asked of the bytes of one buffer.

use super::bytes::{Asn1, Base64Decode, ByteExtract, ByteJump, ByteMath, ByteTest, Entropy};
use super::condition::Bounds;
use super::state::{DataSet, Reputations};
use super::{FlowDirection, Rule};
use crate::Buffer;

/// One buffer and what is asked of its bytes, in the order of the text. A buffer that has several values (`file.data`,
/// `http.request_header`) stands in a section of its own each time the rule names it, and each may be satisfied by
/// another value; all mentions of any other buffer are one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The buffer.
    pub buffer: Buffer,
    /// `frame`: the protocol's unit that is looked at (`tls.pdu`), where `buffer` is [`Buffer::Frame`].
    pub frame: Option<String>,
    /// What is made of the bytes before they are looked at, in this order.
    pub transforms: Vec<Transform>,
    /// Conditions on the bytes.
    pub matches: Vec<Match>,
    /// `absent`
    pub absent: Option<Absent>,
    /// The direction whose buffer is meant, where a rule for both (`=>`) says so.
    pub direction: Option<FlowDirection>,
}

/// `absent`: a buffer that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It must not be there.
    Must,
    /// `or_else`: it is not there, or the matches hold.
    OrElse,
}

/// A condition on the bytes of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `content`
    Content(Content),
    /// `pcre`
    Pcre(Pcre),
    /// `isdataat`
    IsDataAt(IsDataAt),
    /// `bsize`, `urilen`, `bufferlen`: bytes of the buffer.
    Size(Bounds),
    /// `byte_test`
    ByteTest(ByteTest),
    /// `byte_jump`
    ByteJump(ByteJump),
    /// `byte_extract`
    ByteExtract(ByteExtract),
    /// `byte_math`
    ByteMath(ByteMath),
    /// `base64_decode`, with what `base64_data` asks of the result.
    Base64(Base64Decode),
    /// `asn1`
    Asn1(Asn1),
    /// `entropy`
    Entropy(Entropy),
    /// `dataset`: the buffer's bytes are, or are not, in a set, or get into it.
    DataSet(DataSet),
    /// `datarep`: the reputation of the buffer's bytes.
    Reputation(Reputations),
}

impl Match {
    /// Whether its place is counted from the end of the match before it.
    pub fn is_relative(&self) -> bool {
        match self {
            Match::Content(c) => matches!(c.position, Position::Relative { .. }),
            Match::Pcre(p) => p.relative,
            Match::IsDataAt(i) => i.relative,
            Match::ByteTest(b) => b.relative,
            Match::ByteJump(b) => b.relative,
            Match::ByteExtract(b) => b.relative,
            Match::ByteMath(b) => b.relative,
            Match::Base64(b) => b.relative,
            Match::Asn1(a) => a.relative,
            Match::Size(_) | Match::Entropy(_) | Match::DataSet(_) | Match::Reputation(_) => false,
        }
    }
}

impl Rule {
    /// The payload's section, where the rule has one.
    pub fn payload(&self) -> Option<&Section> {
        self.sections.iter().find(|s| s.buffer.is_payload() && s.transforms.is_empty())
    }
}

/// A number in the rule's text, or one that was read from the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// As written.
    Number(i64),
    /// Index into [`Rule::variables`].
    Variable(u8),
}

impl Value {
    /// The number, 0 where it is a variable.
    pub const fn known(self) -> i64 {
        match self {
            Value::Number(n) => n,
            Value::Variable(_) => 0,
        }
    }

    /// The number, where it is one.
    pub const fn number(self) -> Option<i64> {
        match self {
            Value::Number(n) => Some(n),
            Value::Variable(_) => None,
        }
    }
}

/// A string of bytes that must, or must not, be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The bytes, never empty.
    pub bytes: Vec<u8>,
    /// `!`: it must not be there.
    pub negated: bool,
    /// `nocase`: ASCII letters match in either case.
    pub nocase: bool,
    /// Where it must be.
    pub position: Position,
    /// `startswith`: it must stand at the buffer's start; `position` says so too.
    pub starts_with: bool,
    /// `endswith`: it must end where the buffer ends.
    pub ends_with: bool,
    /// `fast_pattern`
    pub fast_pattern: FastPattern,
    /// `rawbytes`: it is looked for in the payload as it came, and in no other buffer.
    pub raw: bool,
    /// `replace`: bytes, as many as the content has, that an inline engine may put in its place.
    pub replace: Option<Vec<u8>>,
}

/// Where a content must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Counted from the buffer's start.
    Absolute {
        /// First byte looked at.
        offset: Value,
        /// Bytes looked at from `offset` on; all where absent.
        depth: Option<Value>,
    },
    /// Counted from the end of the match before it.
    Relative {
        /// Bytes to go on (or back) from there.
        distance: Value,
        /// The content must end within so many bytes from that point; anywhere where absent.
        within: Option<Value>,
    },
}

impl Position {
    /// Anywhere.
    pub const ANYWHERE: Position = Position::Absolute { offset: Value::Number(0), depth: None };
}

/// What `fast_pattern` says of a content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FastPattern {
    /// Not mentioned: the engine chooses.
    #[default]
    Unsaid,
    /// Search for this content first.
    Whole,
    /// `only`: that it is there is enough, wherever it is.
    Only,
    /// Search for a part of this content first.
    Part {
        /// First byte of the part.
        offset: u16,
        /// Its length.
        length: u16,
    },
}

/// A regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcre {
    /// The expression between its slashes.
    pub pattern: String,
    /// `!`: it must not match.
    pub negated: bool,
    /// `R`: start at the end of the match before.
    pub relative: bool,
    /// `i`, `s`, `m`, `x`, `A`, `E`, `G`.
    pub flags: PcreFlags,
    /// What becomes of the groups, in their order: `pcre:"/(.*)/", flow:name`.
    pub captures: Vec<Capture>,
    /// Where in the rule's text the expression starts, in bytes.
    pub at: u32,
}

/// A group of an expression whose bytes are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Where to.
    pub into: CaptureInto,
    /// Its name.
    pub name: String,
}

/// What keeps a group's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureInto {
    /// `flow:`: the flow.
    Flow,
    /// `pkt:`: the packet.
    Packet,
    /// `alert:`: the alert.
    Alert,
}

/// The modifiers of an expression that change how it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PcreFlags {
    /// `i`
    pub caseless: bool,
    /// `s`: the dot matches a line feed.
    pub dotall: bool,
    /// `m`: `^` and `$` match at line ends.
    pub multiline: bool,
    /// `x`: white space in the expression means nothing.
    pub extended: bool,
    /// `A`: match at the start only.
    pub anchored: bool,
    /// `E`: `$` matches at the very end only.
    pub dollar_end_only: bool,
    /// `G`: quantifiers are lazy unless marked.
    pub ungreedy: bool,
}

/// `isdataat`: whether there are bytes at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsDataAt {
    /// The place.
    pub offset: Value,
    /// Counted from the end of the match before.
    pub relative: bool,
    /// `!`: there must be none.
    pub negated: bool,
}

/// What is made of a buffer's bytes before they are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transform {
    /// `to_md5`: the 16 bytes of the digest.
    Md5,
    /// `to_sha1`: 20 bytes.
    Sha1,
    /// `to_sha256`: 32 bytes.
    Sha256,
    /// `compress_whitespace`: runs of white space become one space each.
    CompressWhitespace,
    /// `strip_whitespace`
    StripWhitespace,
    /// `to_lowercase`
    Lowercase,
    /// `to_uppercase`
    Uppercase,
    /// `dotprefix`: a dot before the bytes.
    DotPrefix,
    /// `header_lowercase`: names of header lines in lower case.
    HeaderLowercase,
    /// `strip_pseudo_headers`: without the lines that start with a colon.
    StripPseudoHeaders,
    /// `url_decode`
    UrlDecode,
    /// `xor`: with these bytes, over and over.
    Xor(Vec<u8>),
    /// `pcrexform`: the first group of the expression's first match.
    Pcre {
        /// The expression.
        pattern: String,
        /// Where in the rule's text it starts, in bytes.
        at: u32,
    },
    /// `from_base64`
    FromBase64 {
        /// Bytes of the text decoded at most; all where absent.
        bytes: Option<u32>,
        /// Bytes of the text passed over.
        offset: u32,
        /// How strictly the text is read.
        mode: super::Base64Mode,
    },
    /// `gunzip`, making so many bytes at most.
    Gunzip {
        /// Bytes made at most.
        limit: u32,
    },
    /// `zlib_deflate`, making so many bytes at most.
    ZlibDeflate {
        /// Bytes made at most.
        limit: u32,
    },
    /// `domain`: the part of a host name that was registered (`a.b.example.com` gives `example.com`).
    Domain,
    /// `tld`: the public suffix of a host name.
    Tld,
    /// `subslice`
    Subslice {
        /// First byte; negative counts from the end.
        offset: i32,
        /// How many; negative leaves out so many at the end; all where absent.
        bytes: Option<i32>,
        /// Bytes beyond the end are left out instead of making the result empty.
        truncate: bool,
    },
}
