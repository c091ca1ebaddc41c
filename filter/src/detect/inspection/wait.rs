//! Bytes of a stream that wait for more before rules on payloads look at them, of a passive observer.

use weir_ids_rules::AppProtocol;

use super::{Direction, Inspection, opposite};
use crate::app::core::Found;

/// So many bytes do not wait.
const LOOK_AT: usize = 2560;
/// No transaction has so many steps.
const STEPS: u64 = 256;

impl Inspection {
    /// Whether rules on payloads look now at so many bytes of a direction that wait for it. A passive observer lets them
    /// wait, as the parts of one message are rarely sent together: until there are many, or until the application
    /// layer has come to the end of something.
    pub fn looks(&self, way: Direction, waiting: usize) -> bool {
        waiting >= LOOK_AT || self.sides[way as usize].concluded
    }

    /// Takes note of transactions that have come to their end in a direction whose bytes wait. The bytes of one direction
    /// may be understood only with those of the other: an answer tells what an odd request speaks.
    #[inline(never)]
    pub(super) fn conclude(&mut self, way: Direction) {
        self.sides[way as usize].waits = true;
        // Commands of FTP are too short to be looked at one by one.
        if self.app.identity().flow == Found::Protocol(AppProtocol::Ftp) {
            return;
        }
        for way in [way, opposite(way)] {
            let newest = self.newest_complete(way);
            let side = &mut self.sides[way as usize];
            if side.waits && newest > side.transactions {
                (side.transactions, side.concluded) = (newest, true);
            }
        }
    }

    /// How far the newest transaction is that is complete in a direction, as a number that grows; 0 where none is. The
    /// handshake of TLS is one transaction of many messages, each of which counts.
    fn newest_complete(&self, way: Direction) -> u64 {
        let mut newest = 0;
        for nth in 0..self.app.parsers() {
            let Some(parser) = self.app.parser(nth) else { continue };
            let list = parser.transactions();
            let stepwise = parser.protocol() == AppProtocol::Tls;
            for (mark, transaction) in (0..list.len()).rev().filter_map(|index| list.get(index)) {
                let its = transaction.only().is_none_or(|only| only == way);
                let progress = transaction.progress(way);
                let complete = progress >= transaction.complete(way);
                let steps = if complete { STEPS } else { u64::from(progress) };
                if its && steps > 0 && (complete || stepwise) {
                    newest = newest.max(mark.number * STEPS + steps);
                }
            }
        }
        newest
    }
}
