//! Decoding by other people's libraries of what guests and name servers send.
//!
//! They are well kept, but not ours: a panic in one would end the thread that serves all guests. It is contained here, and
//! the message counts as one that cannot be read. Decoders work on bytes of their own, so nothing is left half done.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a decoder reads; `None` where it reads nothing or panics.
pub fn decoded<T>(decoder: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(decoder)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_has_read_nothing() {
        let short: &[u8] = &[1];
        let missing = short.len();
        assert_eq!(decoded(|| Some(short[missing])), None);
        assert_eq!(decoded(|| short.get(missing).copied()), None);
        assert_eq!(decoded(|| short.first().copied()), Some(1));
    }
}
