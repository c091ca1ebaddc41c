//! What went wrong in the laboratory, as one text for a person.

use std::fmt;

/// Why a step could not be done or did not show what it should: what was tried and what happened.
pub struct Failure(String);

impl Failure {
    /// A failure told in one line.
    pub fn new(what: impl Into<String>) -> Failure {
        Failure(what.into())
    }

    /// The same failure, said of a larger undertaking.
    pub fn of(what: impl fmt::Display, cause: impl fmt::Display) -> Failure {
        Failure(format!("{what}: {cause}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// A test that returns `Err` is reported by its debug form: the text is what a person wants there too.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(cause: std::io::Error) -> Failure {
        Failure(cause.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(cause: rustix::io::Errno) -> Failure {
        Failure(std::io::Error::from(cause).to_string())
    }
}
