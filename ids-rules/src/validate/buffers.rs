//! What the bytes of single buffers are like, and contents that can never be in them.

use std::ops::Range;

use crate::Buffer;
use crate::diagnostic::Fault;
use crate::parser::Draft;
use crate::rule::{Content, Match, Rule, Section};

/// Writes contents as their buffer has them: digests in lower case, serial numbers in upper case with colons.
pub(crate) fn normalise(rule: &mut Rule) {
    for section in rule.sections.iter_mut().filter(|section| section.transforms.is_empty()) {
        let buffer = section.buffer;
        for m in &mut section.matches {
            let Match::Content(content) = m else { continue };
            match buffer {
                Buffer::Ja3Hash
                | Buffer::Ja3sHash
                | Buffer::SshHassh
                | Buffer::SshHasshServer
                | Buffer::TlsCertFingerprint => {
                    content.bytes.make_ascii_lowercase();
                    content.nocase = false;
                }
                Buffer::TlsCertSerial => {
                    content.bytes.make_ascii_uppercase();
                    content.nocase = false;
                    with_colons(&mut content.bytes);
                }
                _ => {}
            }
        }
    }
}

/// `ABCD` as `AB:CD`, where no colon is written yet.
fn with_colons(bytes: &mut Vec<u8>) {
    if bytes.contains(&b':') || bytes.len() < 3 || !bytes.iter().all(u8::is_ascii_hexdigit) {
        return;
    }
    let pairs: Vec<&[u8]> = bytes.chunks(2).collect();
    *bytes = pairs.join(&b':');
}

/// Refuses a content that can never be in its buffer.
pub(super) fn check(section: &Section, content: &Content, place: &Range<usize>) -> Result<(), Fault> {
    if !section.transforms.is_empty() {
        return Ok(());
    }
    let bytes = &content.bytes;
    let blank = |byte: Option<&u8>| byte.is_some_and(|b| matches!(b, b' ' | b'\t'));
    let impossible = |message: &str| Err(Draft::conflict(place.clone(), message).remedy("it could never match"));
    match section.buffer {
        Buffer::HttpMethod if blank(bytes.first()) || blank(bytes.last()) => {
            impossible("a method has no white space before or behind it")
        }
        Buffer::Ja3Hash | Buffer::Ja3sHash | Buffer::SshHassh | Buffer::SshHasshServer | Buffer::QuicCyuHash
            if bytes.len() != 32 =>
        {
            impossible("an MD5 digest has 32 digits, and is written whole")
        }
        Buffer::TlsCertFingerprint if bytes.len() != 59 => {
            impossible("a SHA-1 digest has 20 pairs of digits with colons between them, and is written whole")
        }
        _ => Ok(()),
    }
}
