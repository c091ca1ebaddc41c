//! Questions to transactions and files.

use super::condition::Bounds;
use crate::{AppProtocol, Field};

/// A number of a transaction, compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberTest {
    /// The number.
    pub field: Field,
    /// The comparison.
    pub comparison: Comparison,
    /// Which of several values must satisfy it.
    pub nth: Nth,
}

/// How a number is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It lies within bounds.
    Within(Bounds),
    /// The bits of `mask` are those of `bits`.
    Bits {
        /// Bits looked at.
        mask: u64,
        /// How they must be.
        bits: u64,
        /// They must be other.
        negated: bool,
    },
    /// `&`: some of these bits are set.
    AnyBit {
        /// The bits.
        mask: u64,
        /// None of them may be set.
        negated: bool,
    },
    /// It lies within one of these bounds.
    OneOf(Vec<Bounds>),
}

impl Comparison {
    /// Whether `value` satisfies it.
    pub fn holds(&self, value: u64) -> bool {
        match *self {
            Comparison::Within(bounds) => bounds.contains(value),
            Comparison::Bits { mask, bits, negated } => (value & mask == bits) != negated,
            Comparison::AnyBit { mask, negated } => (value & mask != 0) != negated,
            Comparison::OneOf(ref all) => all.iter().any(|bounds| bounds.contains(value)),
        }
    }
}

/// Which of several values must satisfy a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nth {
    /// One of them.
    #[default]
    Any,
    /// All of them, and none is fine too.
    All,
    /// `all1`: all of them, and there is at least one.
    AllOfSome,
    /// The one at this index; negative from the end.
    At(i32),
    /// The one at this index, which may be missing.
    AtOrMissing(i32),
    /// So many of them.
    Count(Bounds),
}

/// A question to a transaction that no buffer and no number answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppTest {
    /// `app-layer-event`, by name (`http.request_field_missing_colon`).
    Event(String),
    /// `app-layer-state`: the transaction has come to a state, or beyond.
    State {
        /// The state's name.
        name: String,
        /// How it is compared: the progress must lie within the bounds given by the name.
        comparison: std::cmp::Ordering,
    },
    /// A keyword that the protocol's transaction answers itself (`dcerpc.iface`, `ssl_version`), with its argument as
    /// the rule has it.
    Named {
        /// Protocols that answer it; empty for any.
        protocols: &'static [AppProtocol],
        /// The keyword, in its modern form.
        keyword: &'static str,
        /// The argument, trimmed; empty without one.
        argument: String,
        /// It must not hold.
        negated: bool,
    },
}

/// Which digest of a file a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileHash {
    /// `filemd5`
    Md5,
    /// `filesha1`
    Sha1,
    /// `filesha256`
    Sha256,
}

/// A question to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileTest {
    /// `fileext`: the name ends in a dot and this.
    Extension {
        /// Without the dot.
        text: String,
        /// It must not.
        negated: bool,
    },
    /// `filename`: the name has this in it, in either case.
    Name {
        /// The text.
        text: String,
        /// It must not.
        negated: bool,
    },
    /// `filemagic`: what the first bytes show has this in it.
    Magic {
        /// The text.
        text: String,
        /// It must not.
        negated: bool,
    },
    /// `filesize`
    Size(Bounds),
    /// `filemd5`, `filesha1`, `filesha256`: the digest stands in a list.
    Hash {
        /// Which digest.
        hash: FileHash,
        /// The list's file, as the rule names it.
        list: String,
        /// It must not stand there.
        negated: bool,
    },
}
