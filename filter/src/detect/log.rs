//! The end of transactions: what people read of them, and when they are forgotten.

use super::{Direction, Scene, Sink};
use crate::app::file::State;
use crate::app::{Mark, Transaction, Transactions};

/// When something is told of.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// No rule looks at the flow any more.
    pub judged: bool,
    /// Files wait until rules have seen the end of their transaction: one may yet want them stored.
    pub files_wait: bool,
    /// So do lines of transactions: one may yet keep them out of the log.
    pub lines_wait: bool,
}

/// Tells of anomalies, ended files and finished transactions, and forgets the latter.
pub fn transactions(all: &mut dyn Transactions, scene: &Scene<'_>, when: When, sink: &mut dyn Sink) {
    let When { judged, files_wait, lines_wait } = when;
    let mut index = 0;
    while let Some((mark, transaction)) = all.get_mut(index) {
        while let Some(&anomaly) = mark.anomalies.get(mark.told) {
            mark.told += 1;
            sink.anomaly(scene, Some(mark), anomaly);
        }
        let only = transaction.only();
        let ways = [Direction::Original, Direction::Reply].into_iter();
        let mut ways = ways.filter(move |&way| only.is_none_or(|only| only == way));
        let complete = |way| scene.step.end || transaction.progress(way) >= transaction.complete(way);
        let complete = ways.clone().all(complete);
        // What no rule looks at is forgotten with what was told of it.
        let last = scene.step.end || (complete && judged);
        for way in [Direction::Original, Direction::Reply] {
            // A file is told of with a packet that goes its way.
            if !last && (way != scene.step.way || !scene.step.packet) {
                continue;
            }
            if !files_wait || judged || last || mark.detection[way as usize].done {
                files(mark, transaction, way, scene, sink);
            }
        }
        let over = judged || ways.all(|way| mark.detection[way as usize].done);
        if complete && !mark.logged && (!lines_wait || over || scene.step.end) {
            if transaction.is_logged() {
                sink.transaction(scene, mark, transaction);
            }
            mark.logged = true;
        }
        if !complete || !over {
            index += 1;
            continue;
        }
        all.remove(index);
    }
}

/// Tells of the files that have ended.
#[inline(never)]
fn files(mark: &Mark, transaction: &mut dyn Transaction, way: Direction, scene: &Scene<'_>, sink: &mut dyn Sink) {
    let end = scene.step.end;
    let mut ended = 0;
    if let Some(files) = transaction.files_mut(way) {
        for file in files.list.iter_mut().filter(|file| !file.logged) {
            if end && file.state == State::Open {
                file.truncate();
            }
            ended += usize::from(file.state != State::Open);
        }
    }
    if ended == 0 {
        return;
    }
    let transaction_read: &dyn Transaction = transaction;
    let list = transaction_read.files(way).map_or(&[][..], |files| files.list.as_slice());
    for file in list.iter().filter(|file| !file.logged && file.state != State::Open && file.announced) {
        sink.file(scene, way, (mark, transaction_read), file);
    }
    if let Some(files) = transaction.files_mut(way) {
        files.list.iter_mut().filter(|file| file.state != State::Open).for_each(|file| file.logged = true);
    }
}
