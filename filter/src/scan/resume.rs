//! Files that come in several transfers: the search of one that was broken off, or of which a range was asked for, goes on
//! where the next transfer goes on.
//!
//! A file is known by its server, its name and the place that was reached, so that a range that does not join what came
//! before is searched by itself. Shared by all flows; asked where a part begins and where one ends.
//!
//! Limits: [`KEPT`] files; the one that was kept first makes room.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::Scanner;

/// Files that wait for their next part.
pub const KEPT: usize = 64;

/// Searches that may go on.
#[derive(Debug, Default)]
pub struct Resumable {
    list: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Kept {
    server: IpAddr,
    name: Vec<u8>,
    next: u64,
    scanner: Box<Scanner>,
}

impl Resumable {
    /// Keeps the search of a file of which the bytes before `next` were searched.
    pub fn keep(&self, server: IpAddr, name: &[u8], next: u64, mut scanner: Box<Scanner>) {
        scanner.let_go();
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= KEPT {
            list.pop_front();
        }
        list.push_back(Kept { server, name: name.to_vec(), next, scanner });
    }

    /// The search that goes on at this place of this file.
    pub fn take(&self, server: IpAddr, name: &[u8], at: u64) -> Option<Box<Scanner>> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |kept: &Kept| kept.next == at && kept.server == server && kept.name == name;
        let nth = list.iter().rposition(is_it)?;
        list.remove(nth).map(|kept| kept.scanner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Database, Limits};
    use super::*;

    #[test]
    fn the_place_the_name_and_the_server_must_be_the_same() {
        let database = Arc::new(Database::builtin());
        let resumable = Resumable::default();
        let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        resumable.keep(here, b"/f", 5, Box::new(Scanner::new(&database, Limits::default())));
        for (server, name, at) in [(there, &b"/f"[..], 5), (here, b"/g", 5), (here, b"/f", 6)] {
            assert!(resumable.take(server, name, at).is_none());
        }
        assert!(resumable.take(here, b"/f", 5).is_some());
        assert!(resumable.take(here, b"/f", 5).is_none(), "it goes on once");
        for n in 0..1000 {
            resumable.keep(here, b"/f", n, Box::new(Scanner::new(&database, Limits::default())));
        }
        assert_eq!(resumable.list.lock().unwrap().len(), KEPT);
    }
}
