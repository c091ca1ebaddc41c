//! What looks at a flow besides the rules, and how it is taken up and given up.

use weir_wire::Instant;

use super::Followed;
use crate::content::Watch;
use crate::scan::Scan;

/// What looks at a flow besides the rules: the content filter, and the virus check.
pub type Watched = (Option<Box<Watch>>, Option<Box<Scan>>);

impl Followed {
    /// The content filter waits for the names of sites, or the virus check for files.
    pub fn is_watched(&self) -> bool {
        self.watch.is_some() || self.scan.is_some()
    }

    /// The content filter waits for the names of sites.
    pub fn names_sites(&self) -> bool {
        self.watch.is_some()
    }

    /// Takes the content filter of a new policy; what the flow named before stays judged. `None`: nothing of its sites
    /// is asked any more.
    pub fn set_watch(&mut self, watched: Watched) {
        self.take_watched(watched);
        self.wants_stream |= self.is_watched();
        if self.is_watched() {
            self.take_up();
        }
    }

    pub(super) fn take_watched(&mut self, (watch, scan): Watched) {
        let old = self.scan.take();
        (self.watch, self.scan) = (watch, scan);
        match (self.scan.as_deref_mut(), old) {
            (Some(scan), Some(mut old)) => scan.take_over(&mut old),
            // Nobody takes the bytes of open files any more.
            (None, Some(_)) => Scan::forget(self.inspection.layer_mut()),
            (_, None) => {}
        }
    }

    /// What is held back of the flow may be asked about again.
    pub fn has_news(&self, now: Instant) -> bool {
        self.scan.as_ref().is_none_or(|scan| scan.has_news(now))
    }
}
