//! Room for all bindings there may be, so that none has to wait until many are moved.
//!
//! It is large: where pages are cleared when memory is taken, whoever may take his time makes it and hands it over.

use super::{BINDINGS_MAX, Binding, Bindings};

/// Room for all bindings there may be, for a fabric that has none yet.
#[derive(Debug)]
pub struct Room {
    all: Vec<Binding>,
    hashes: Vec<[u64; 2]>,
}

impl Room {
    /// Takes it.
    pub fn take() -> Room {
        Room { all: Vec::with_capacity(BINDINGS_MAX), hashes: Vec::with_capacity(BINDINGS_MAX) }
    }
}

impl Bindings {
    /// There is room for all.
    pub fn has_room(&self) -> bool {
        self.all.capacity() >= BINDINGS_MAX && self.hashes.capacity() >= BINDINGS_MAX
    }

    /// Takes room for all, where there is none; what is not used is not touched.
    pub fn reserve(&mut self) {
        if !self.has_room() {
            self.use_room(Room::take());
        }
    }

    /// Uses room that was made elsewhere, unless there is room by now. What is not needed is returned, for its owner to
    /// free.
    pub fn use_room(&mut self, mut room: Room) -> Room {
        if self.has_room() {
            return room;
        }
        room.all.append(&mut self.all);
        room.hashes.append(&mut self.hashes);
        std::mem::swap(&mut self.all, &mut room.all);
        std::mem::swap(&mut self.hashes, &mut room.hashes);
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_once_and_what_was_there_is_kept() {
        let mut bindings = Bindings::new(1);
        assert!(!bindings.has_room());
        bindings.all.push(Binding::default());
        bindings.hashes.push([3, 5]);
        let room = Room::take();
        let place = room.all.as_ptr();
        let old = bindings.use_room(room);
        assert!(old.all.is_empty() && old.hashes.is_empty());
        assert!(bindings.has_room());
        assert_eq!((bindings.all.len(), bindings.hashes.as_slice()), (1, &[[3, 5]][..]));
        bindings.reserve();
        bindings.use_room(Room::take());
        assert_eq!(bindings.all.as_ptr(), place, "what is there is enough");
    }
}
