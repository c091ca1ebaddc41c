//! Who reads records ([`kinds::RECORDS`](crate::eve::kinds::RECORDS)). Workers have them written only while somebody does.
//!
//! A file reads all the time, whoever follows reads until he goes, and for [`LINGERS`] after that and after each question for
//! what happened lately: who asks twice learns what was in between. Alerts, drops, anomalies, ends of flows and the like do
//! not ask here; they are always told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For so long after the last reader has gone records are written for the next.
pub const LINGERS: Duration = Duration::from_secs(600);

/// The readers of records. Shared by the feed, which knows them, and the workers, who ask once a turn.
#[derive(Clone, Debug, Default)]
pub struct Readers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Written where the answer changes only, so that the workers find it in their own caches.
    any: AtomicBool,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    count: usize,
    /// Until when there is one that has gone.
    lingers: Option<Instant>,
}

impl Readers {
    /// Somebody reads, or has read lately.
    pub fn any(&self) -> bool {
        self.0.any.load(Ordering::Relaxed)
    }

    /// Somebody begins to read, until what is returned is dropped.
    #[must_use]
    pub fn begin(&self) -> Reader {
        self.change(|present| present.count += 1);
        Reader(self.clone())
    }

    /// Forgets those who have been gone for long. Called now and then, as time alone wakes nobody.
    pub fn review(&self, now: Instant) {
        self.change(|present| present.lingers = present.lingers.filter(|&until| now < until));
    }

    fn change(&self, change: impl FnOnce(&mut Present)) {
        let mut present = self.0.present.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut present);
        let any = present.count > 0 || present.lingers.is_some();
        if self.any() != any {
            self.0.any.store(any, Ordering::Relaxed);
        }
    }
}

/// Somebody who reads.
#[derive(Debug)]
pub struct Reader(Readers);

impl Drop for Reader {
    fn drop(&mut self) {
        let until = Instant::now() + LINGERS;
        self.0.change(|present| {
            present.count -= 1;
            present.lingers = Some(until);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_while_somebody_is_there_and_for_a_while_after_the_last_has_gone() {
        let readers = Readers::default();
        assert!(!readers.any());
        let (first, second) = (readers.begin(), readers.begin());
        drop(first);
        let long_after = Instant::now() + LINGERS * 2;
        readers.review(long_after);
        assert!(readers.any(), "the second reads on");
        drop(second);
        readers.review(Instant::now());
        assert!(readers.any(), "the next may come back soon");
        readers.review(long_after);
        assert!(!readers.any());
    }
}
