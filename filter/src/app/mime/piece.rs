//! What comes out while a message is read, and how the files of a transaction are made of it.

use crate::app::file::{Files, Hashed, Limits};

/// What a message breaks of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A part said to be base64 is not.
    InvalidBase64,
    /// A part said to be quoted-printable is not.
    InvalidQuotedPrintable,
    /// A line is too long.
    LongLine,
    /// A coded line is too long.
    LongCodedLine,
    /// The name of a header is too long.
    LongHeaderName,
    /// The value of a header is too long.
    LongHeaderValue,
    /// A boundary between parts is too long.
    LongBoundary,
    /// The name of an attachment is too long.
    LongFileName,
    /// The message ended before its last part did.
    OpenParts,
    /// A boundary cannot divide parts: it is too long, or ends parts that never began.
    UnusableBoundary,
}

/// What comes out while a message is read.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'p> {
    /// An attachment of this name begins.
    Open(&'p [u8]),
    /// Its next bytes, decoded.
    Data(&'p [u8]),
    /// It is complete.
    Close,
    /// Bytes that belong to no attachment, decoded, under a name of [`loose`].
    Loose(&'static [u8], &'p [u8]),
    /// No more of them follow.
    LooseEnd(&'static [u8]),
    /// The message breaks a rule of its format.
    Warn(Warning),
}

/// Puts a piece of an attachment to the files of a transaction.
pub fn keep(files: &mut Files, piece: Piece<'_>, limits: Limits, hashed: Hashed) {
    match piece {
        Piece::Open(name) => {
            files.open(name, limits, hashed);
        }
        Piece::Data(bytes) => {
            if let Some(file) = files.current() {
                file.append(bytes);
            }
        }
        Piece::Close => {
            if let Some(file) = files.current() {
                file.close();
            }
        }
        Piece::Loose(name, bytes) => {
            if let Some(file) = files.silent(name, hashed) {
                file.append(bytes);
            }
        }
        Piece::LooseEnd(name) => files.close_silent(name),
        Piece::Warn(_) => {}
    }
}

/// Takes the pieces.
pub type Sink<'s> = &'s mut dyn FnMut(Piece<'_>);
