//! What reads and writes may ask for and leave waiting (`app-layer.protocols.smb.max-…`), and what is told beyond it.

use super::{Direction, Settings, Smb};
use crate::app::Anomaly;
use crate::app::parts::{Excess, Room};

/// Bytes of one read or write.
const SIZE: u32 = 16 << 20;

/// Bounds of one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of one read or write; 0: any.
    size: u32,
    /// What the server said that it takes at once; 0: nothing.
    pub(super) agreed: u32,
    /// Parts of a file that wait for others.
    pub(super) room: Room,
}

impl Bounds {
    /// Of reads or of writes, as `kind` says.
    pub(super) fn new(settings: &Settings, kind: &str) -> Bounds {
        let setting = |name: &str| {
            let text = settings.named.get(&format!("app-layer.protocols.smb.max-{kind}-{name}"))?;
            crate::app::read::size(text)
        };
        let most = Room::default();
        let room = |name: &str, most: usize| setting(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(most);
        Bounds {
            size: setting("size").map_or(SIZE, |size| u32::try_from(size).unwrap_or(u32::MAX)),
            agreed: 0,
            room: Room { parts: room("queue-cnt", most.parts), bytes: room("queue-size", most.bytes) },
        }
    }

    /// Whether so many bytes at once are more than was agreed on or is allowed.
    pub(super) fn are_exceeded(&self, length: u32) -> bool {
        [self.agreed, self.size].iter().any(|&limit| limit != 0 && length > limit)
    }

    /// The server takes more at once than is allowed.
    fn are_agreed_beyond(&self) -> bool {
        self.size != 0 && self.agreed > self.size
    }
}

impl Smb {
    /// The bounds of the direction in which a file's bytes go.
    pub(super) fn bounds(&self, way: Direction) -> &Bounds {
        if way == Direction::Original { &self.state.writes } else { &self.state.reads }
    }

    /// Takes what the server says that it takes at once.
    pub(super) fn agree(&mut self, read: u32, write: u32) {
        (self.state.reads.agreed, self.state.writes.agreed) = (read, write);
    }

    /// Tells of a server that takes more at once than is allowed.
    pub(super) fn note_agreed(&mut self) {
        if self.state.reads.are_agreed_beyond() {
            self.list.anomaly(Anomaly("smb.negotiate_max_read_size_too_large"));
        }
        if self.state.writes.are_agreed_beyond() {
            self.list.anomaly(Anomaly("smb.negotiate_max_write_size_too_large"));
        }
    }

    /// Tells that too much of a file waited.
    pub(super) fn note_excess(&mut self, way: Direction, excess: Option<Excess>) {
        self.list.anomaly(Anomaly(match (way, excess) {
            (_, None) => return,
            (Direction::Original, Some(Excess::Parts)) => "smb.write_queue_cnt_exceeded",
            (Direction::Original, Some(Excess::Bytes)) => "smb.write_queue_size_exceeded",
            (Direction::Reply, Some(Excess::Parts)) => "smb.read_queue_cnt_exceeded",
            (Direction::Reply, Some(Excess::Bytes)) => "smb.read_queue_size_exceeded",
        }));
    }
}
