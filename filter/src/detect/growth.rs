//! Rules that wait for more of a buffer that grows, and how often they look at it.
//!
//! A sender may cut a body into the smallest pieces, and each look goes back over some bytes before the new ones, since
//! a match may cross them. So that small pieces cost no more than large ones, a rule that only tells looks again once
//! [`PIECE`] bytes have come, or the end; one that refuses packets must answer to each, and looks where the new bytes
//! hold one of its contents, or where it asks for more than contents.

use std::cell::Cell;

use super::check::Check;
use crate::app::file::Content;

/// Bytes that a growing buffer gains before a rule that waits and refuses nothing looks at it again.
const PIECE: u64 = 1024;

/// How far a rule that waits has looked at a buffer that grows.
#[derive(Clone, Copy)]
pub struct Growth<'a> {
    /// When it was judged last.
    pub before: Option<u64>,
    /// And now; of several buffers the least.
    pub now: &'a Cell<Option<u64>>,
    /// The rule refuses packets: it cannot wait for more than the packet at hand.
    pub blocks: bool,
}

impl Growth<'_> {
    /// Whether the buffer need not be searched through once more, `bytes` being those at hand: too little has come since
    /// for a rule that only tells, or nothing that could change the answer.
    pub fn may_wait(self, content: &Content, check: &Check, bytes: &[u8]) -> bool {
        let Some(before) = self.before.filter(|_| !content.is_closed()) else {
            self.note(content.end());
            return false;
        };
        let fresh = content.end().saturating_sub(before);
        if fresh < PIECE && !self.blocks {
            self.note(before);
            return true;
        }
        self.note(content.end());
        !check.may_gain(bytes, bytes.len().saturating_sub(usize::try_from(fresh).unwrap_or(usize::MAX)))
    }

    fn note(self, place: u64) {
        self.now.set(Some(self.now.get().map_or(place, |known| known.min(place))));
    }
}
