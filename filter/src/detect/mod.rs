//! Detection: which rules match a packet, a stream, a transaction.

/// What detection remembers of one direction of a transaction.
#[derive(Debug, Default)]
pub struct TxMemory {}
