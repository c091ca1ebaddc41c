//! Files that transactions carry: their names, their bytes as far as they are still to be inspected, their hashes.

/// Files of one direction of a transaction.
#[derive(Debug, Default)]
pub struct Files {
    /// In the order in which they began.
    pub list: Vec<File>,
}

/// One file.
#[derive(Debug, Default)]
pub struct File {
    /// Its name, as the protocol says it.
    pub name: Vec<u8>,
    /// Bytes seen so far.
    pub size: u64,
    /// How it stands.
    pub state: State,
}

/// How a file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// More is expected.
    #[default]
    Open,
    /// It is complete.
    Closed,
    /// It ended early, or bytes are missing.
    Truncated,
    /// A limit ended its inspection.
    Limited,
}
