//! What is searched for: digests and body signatures, read from ClamAV's text files and from plain digest lists.
//!
//! | File | Read | Refused by name and counted |
//! |---|---|---|
//! | `.hdb`, `.hsb` | MD5, SHA-1, SHA-256 with size or `*` | other digests |
//! | `.ndb` | targets 0 (any), 1 (PE), 2 (OLE2), 6 (ELF), 10 (PDF); offsets `*`, `n`, `n,shift` | other targets and offsets |
//! | `.ldb` | conditions of `&`, `|`, `=n`, `>n`, `<n`; `Engine`, `Target`, `FileSize`; parts with offset; `::i` | PCRE, macros, comparisons, other attributes and modifiers |
//! | others | one digest a line | |
//!
//! What a body signature may consist of is [`super::pattern`]'s. All parts are searched for at once by the ends of their
//! pieces (aho-corasick), so a stream is read once however many signatures there are.
//!
//! Limits: [`SIGNATURES_MAX`] signatures, [`PIECES_MAX`] pieces.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aho_corasick::nfa::contiguous::{Builder, NFA};

use super::logic::Logic;
use super::pattern::{self, Piece};

/// Signatures and digests of a database.
pub const SIGNATURES_MAX: usize = 8 << 20;
/// Pieces that are searched for.
pub const PIECES_MAX: usize = 1 << 20;
/// Bytes of a signature's name that are kept.
const NAME_MAX: usize = 128;

/// The kind of file that a signature is about, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any.
    Any,
    /// Windows programs.
    Pe,
    /// OLE2 containers.
    Ole2,
    /// ELF.
    Elf,
    /// PDF.
    Pdf,
}

impl Target {
    fn of(number: &str) -> Result<Target, &'static str> {
        match number {
            "0" => Ok(Target::Any),
            "1" => Ok(Target::Pe),
            "2" => Ok(Target::Ole2),
            "6" => Ok(Target::Elf),
            "10" => Ok(Target::Pdf),
            "3" | "4" | "7" => Err("a target that is searched after normalisation"),
            _ => Err("a target that is not known"),
        }
    }

    /// Whether a file that begins so is of it.
    pub fn takes(self, head: &[u8]) -> bool {
        match self {
            Target::Any => true,
            Target::Pe => head.starts_with(b"MZ"),
            Target::Ole2 => head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]),
            Target::Elf => head.starts_with(b"\x7fELF"),
            Target::Pdf => head.starts_with(b"%PDF"),
        }
    }
}

/// Where a part may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The first place.
    pub least: u64,
    /// The last.
    pub most: u64,
}

/// A part of a signature: pieces with any gaps between.
#[derive(Debug)]
pub struct Part {
    /// The signature, by its place in the database.
    pub signature: u32,
    /// Its number in the signature.
    pub number: u32,
    /// Where it may begin.
    pub offset: Offset,
    /// How many pieces it has.
    pub pieces: u32,
}

/// A signature.
#[derive(Debug)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// The kind of file it is about.
    pub target: Target,
    /// Sizes of the file, from and to.
    pub size: (u64, u64),
    /// Its condition over its parts.
    pub logic: Logic,
}

/// A file of a digest: its size, where it is known, and its name.
type Listed = (Option<u64>, Box<str>);

/// A database, ready to be searched.
#[derive(Debug, Default)]
pub struct Database {
    /// By digest: the file's size where it is known, and the name.
    digests: HashMap<Box<[u8]>, Listed>,
    pub(super) kinds: [bool; 3],
    pub(super) signatures: Vec<Signature>,
    pub(super) parts: Vec<Part>,
    /// Pieces with their part and their place in it, in the order of the automaton's patterns.
    pub(super) pieces: Vec<(Piece, u32, u32)>,
    pub(super) search: Option<Arc<NFA>>,
    /// Bytes that some tail begins with: others leave the automaton where it begins.
    pub(super) firsts: Box<[bool]>,
    /// Lines refused, by why.
    pub refused: BTreeMap<&'static str, u64>,
}

impl Database {
    /// The built-in database: the test file of anti-virus programs (EICAR), wherever it stands in a file.
    pub fn builtin() -> Database {
        let mut database = Database::default();
        database.add_builtin();
        database.finish();
        database
    }

    fn add_builtin(&mut self) {
        // Put together here, so that no scanner takes this program for the test file.
        let test: Vec<u8> =
            [&b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD"[..], b"-ANTIVIRUS-", b"TEST-FILE!$H+H*"].concat();
        let any = Offset { least: 0, most: u64::MAX };
        let signature = Signature {
            name: "Eicar-Test-Signature".into(),
            target: Target::Any,
            size: (0, u64::MAX),
            logic: Logic::Part(0, super::logic::Count::Some),
        };
        self.push(signature, vec![(any, vec![Piece::literal(&test)])]);
    }

    /// Reads texts, each with the name of its file, whose ending tells what it is. The built-in signature is always in.
    pub fn read<'t>(files: impl Iterator<Item = (&'t str, &'t str)>) -> Database {
        let mut database = Database::default();
        database.add_builtin();
        for (file, text) in files {
            let kind = file.rsplit('.').next().unwrap_or_default();
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let taken = match kind {
                    "hdb" | "hsb" => database.digest_line(line),
                    "ndb" => database.body_line(line),
                    "ldb" => database.logical_line(line),
                    _ => database.plain_line(line),
                };
                if let Err(why) = taken {
                    *database.refused.entry(why).or_default() += 1;
                }
            }
        }
        database.finish();
        database
    }

    fn finish(&mut self) {
        self.firsts = vec![false; 256].into();
        for first in self.pieces.iter().filter_map(|(piece, ..)| piece.tail.first()) {
            for byte in [first.to_ascii_lowercase(), first.to_ascii_uppercase()] {
                if let Some(is_first) = self.firsts.get_mut(usize::from(byte)) {
                    *is_first = true;
                }
            }
        }
        let tails = self.pieces.iter().map(|(piece, ..)| &piece.tail);
        // Refusing a database that no automaton can be made of would leave nothing in force: the digests still are.
        match Builder::new().ascii_case_insensitive(true).build(tails) {
            Ok(search) => self.search = Some(Arc::new(search)),
            Err(_) => *self.refused.entry("body signatures too large together").or_default() += 1,
        }
    }

    /// Digests and body signatures.
    pub fn len(&self) -> (usize, usize) {
        (self.digests.len(), self.signatures.len())
    }

    /// Nothing is searched for.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// The name of a file of this digest and size.
    pub fn digest(&self, digest: &[u8], size: u64) -> Option<&str> {
        let (wanted, name) = self.digests.get(digest)?;
        wanted.is_none_or(|wanted| wanted == size).then_some(name)
    }

    fn digest_line(&mut self, line: &str) -> Result<(), &'static str> {
        let mut fields = line.split(':');
        let (digest, size) = (fields.next().unwrap_or_default(), fields.next().ok_or("too few fields")?);
        let name = fields.next().ok_or("too few fields")?;
        let size = if size == "*" { None } else { Some(size.parse().map_err(|_| "an ill-formed size")?) };
        self.add_digest(digest, size, name)
    }

    /// One digest, and whatever follows it as its name.
    fn plain_line(&mut self, line: &str) -> Result<(), &'static str> {
        let mut words = line.split([' ', '\t', ',', ';']).filter(|word| !word.is_empty());
        let digest = words.next().unwrap_or_default();
        self.add_digest(digest, None, words.next().unwrap_or("Listed-Digest"))
    }

    fn add_digest(&mut self, digest: &str, size: Option<u64>, name: &str) -> Result<(), &'static str> {
        let bytes = hex(digest.as_bytes()).ok_or("digests that are no hexadecimal digits")?;
        let kind = match bytes.len() {
            16 => 0,
            20 => 1,
            32 => 2,
            _ => return Err("digests of an unknown kind"),
        };
        if self.digests.len() >= SIGNATURES_MAX {
            return Err("more than 8388608 digests");
        }
        self.kinds[kind] = true;
        self.digests.insert(bytes.into(), (size, cut(name).into()));
        Ok(())
    }

    /// `name:target:offset:hex[:min:max]`
    fn body_line(&mut self, line: &str) -> Result<(), &'static str> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, target, at, body, ..] = fields.as_slice() else { return Err("too few fields") };
        let target = Target::of(target)?;
        let parts = vec![(offset(at)?, pattern::parse(body, false)?)];
        let logic = Logic::Part(0, super::logic::Count::Some);
        self.add(Signature { name: cut(name).into(), target, size: (0, u64::MAX), logic }, parts)
    }

    /// `name;attributes;condition;part;part...`
    fn logical_line(&mut self, line: &str) -> Result<(), &'static str> {
        let mut fields = line.split(';');
        let (Some(name), Some(attributes), Some(condition)) = (fields.next(), fields.next(), fields.next()) else {
            return Err("too few fields");
        };
        let (mut target, mut size) = (Target::Any, (0, u64::MAX));
        for attribute in attributes.split(',').filter(|attribute| !attribute.is_empty()) {
            match attribute.split_once(':').ok_or("an ill-formed attribute")? {
                ("Engine", _) => {}
                ("Target", number) => target = Target::of(number)?,
                ("FileSize", range) => {
                    let (least, most) = range.split_once('-').ok_or("an ill-formed size")?;
                    let number = |text: &str| text.parse::<u64>().map_err(|_| "an ill-formed size");
                    size = (number(least)?, number(most)?);
                }
                _ => return Err("attributes beyond Engine, Target and FileSize"),
            }
        }
        let parts: Vec<(Offset, Vec<Piece>)> = fields.map(part).collect::<Result<_, _>>()?;
        let logic = Logic::parse(condition, parts.len())?;
        self.add(Signature { name: cut(name).into(), target, size, logic }, parts)
    }

    fn add(&mut self, signature: Signature, parts: Vec<(Offset, Vec<Piece>)>) -> Result<(), &'static str> {
        let pieces: usize = parts.iter().map(|(_, pieces)| pieces.len()).sum();
        if self.signatures.len() >= SIGNATURES_MAX || self.pieces.len() + pieces > PIECES_MAX {
            return Err("more than 1048576 parts");
        }
        self.push(signature, parts);
        Ok(())
    }

    fn push(&mut self, signature: Signature, parts: Vec<(Offset, Vec<Piece>)>) {
        let signature_number = self.signatures.len() as u32;
        self.signatures.push(signature);
        for (number, (offset, pieces)) in (0u32..).zip(parts) {
            let part = self.parts.len() as u32;
            self.parts.push(Part { signature: signature_number, number, offset, pieces: pieces.len() as u32 });
            self.pieces.extend((0u32..).zip(pieces).map(|(place, piece)| (piece, part, place)));
        }
    }
}

/// `[offset:]hex[::modifiers]`
fn part(text: &str) -> Result<(Offset, Vec<Piece>), &'static str> {
    if text.contains('/') {
        return Err("PCRE parts");
    }
    if text.contains(['$', '#']) {
        return Err("macros and comparisons");
    }
    let (body, modifiers) = text.split_once("::").unwrap_or((text, ""));
    if modifiers.chars().any(|modifier| !matches!(modifier, 'i' | 'a')) {
        return Err("modifiers beyond ::i");
    }
    let (at, body) = body.split_once(':').unwrap_or(("*", body));
    Ok((offset(at)?, pattern::parse(body, modifiers.contains('i'))?))
}

fn offset(text: &str) -> Result<Offset, &'static str> {
    if text == "*" {
        return Ok(Offset { least: 0, most: u64::MAX });
    }
    let (at, shift) = text.split_once(',').unwrap_or((text, "0"));
    let number = |text: &str| text.parse::<u64>().map_err(|_| "offsets from the end, the entry point or sections");
    let (at, shift) = (number(at)?, number(shift)?);
    Ok(Offset { least: at, most: at.saturating_add(shift) })
}

fn cut(name: &str) -> &str {
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= NAME_MAX).last();
    name.get(..end.unwrap_or(0)).unwrap_or(name)
}

/// Bytes of hexadecimal digits.
pub fn hex(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_by_their_endings_and_refusals_are_counted_by_name() {
        let files = [
            ("a.hdb", "44d88612fea8a8f36de82e1278abb02f:68:Test.MD5\nzz:1:Bad\n"),
            ("a.hsb", "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f:*:Test.SHA256\n"),
            ("a.ndb", "Test.Body:0:*:616263646566\nTest.Html:3:*:616263\nTest.Eof:0:EOF-10:616263\n"),
            ("a.ldb", "Test.Logic;Engine:81-255,Target:0;0&1;616263;4:646566::i\nTest.Pcre;Target:0;0;0/abc/\n"),
            ("a.txt", "3395856ce81f2b7382dee72602f798b642f14140\n"),
        ];
        let database = Database::read(files.into_iter());
        assert_eq!(database.len(), (3, 3));
        let refused: Vec<(&str, u64)> = database.refused.iter().map(|(why, count)| (*why, *count)).collect();
        assert_eq!(
            refused,
            [
                ("PCRE parts", 1),
                ("a target that is searched after normalisation", 1),
                ("digests that are no hexadecimal digits", 1),
                ("offsets from the end, the entry point or sections", 1),
            ]
        );
        let md5 = hex(b"44d88612fea8a8f36de82e1278abb02f").unwrap();
        assert_eq!((database.digest(&md5, 68), database.digest(&md5, 69)), (Some("Test.MD5"), None));
    }
}
