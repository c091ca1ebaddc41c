//! What rules ask of files apart from their bytes: name, ending, kind, size, digests.

use weir_ids_rules::rule::{FileHash, FileTest};

use super::magic;
use super::sets::Sets;
use crate::app::file::{File, State};

/// What a file is, as long as its first bytes are at hand; not before there are enough of them.
pub fn magic_of(file: &File) -> Option<&'static str> {
    let (bytes, place) = file.content.recent();
    let enough = bytes.len() >= magic::HEAD || file.state != State::Open;
    (place == 0 && enough).then(|| magic::describe(bytes))
}

/// Whether a file is as wanted; what is not known yet does not fit.
pub fn file_fits(file: &File, test: &FileTest, sets: &Sets) -> bool {
    let has = |bytes: &[u8], text: &str| {
        let text = text.as_bytes();
        !text.is_empty() && bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text))
    };
    match test {
        FileTest::Extension { text, negated } => file.extension().eq_ignore_ascii_case(text.as_bytes()) != *negated,
        FileTest::Name { text, negated } => has(&file.name, text) != *negated,
        FileTest::Magic { text, negated } => {
            let told = magic_of(file);
            told.is_some_and(|kind| has(kind.as_bytes(), text) != *negated)
        }
        FileTest::Size(bounds) => match file.state {
            State::Open => !bounds.negated && bounds.max == u64::MAX && file.size() >= bounds.min,
            State::Closed | State::Truncated => bounds.contains(file.size()),
        },
        FileTest::Hash { hash, list, negated } => {
            let digest = match hash {
                FileHash::Md5 => file.md5(),
                FileHash::Sha1 => file.sha1(),
                FileHash::Sha256 => file.sha256(),
            };
            digest.is_some_and(|digest| sets.has_digest(list, digest) != *negated)
        }
    }
}
