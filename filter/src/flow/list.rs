//! Doubly linked lists through what they hold: adding and taking out cost the same at any length, and lists hold no
//! memory of their own. A flow stands in two of them: one of its initiator's port, one of the timer wheel.

/// No flow.
pub const NONE: u32 = u32::MAX;

/// A flow's neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    prev: u32,
    next: u32,
}

impl Link {
    /// The one behind.
    #[inline]
    pub fn next(&self) -> Option<u32> {
        (self.next != NONE).then_some(self.next)
    }
}

impl Default for Link {
    fn default() -> Link {
        Link { prev: NONE, next: NONE }
    }
}

/// Something that stands in lists; the number says in which of its lists.
pub trait Linked {
    /// The neighbours in list `which`.
    fn link(&mut self, which: Which) -> &mut Link;
}

/// Which of a flow's two lists is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That of the port which opened it.
    Owner,
    /// That of its slot in the timer wheel.
    Timer,
}

/// A list's ends.
#[derive(Clone, Copy, Debug)]
pub struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for List {
    fn default() -> List {
        List { head: NONE, tail: NONE, len: 0 }
    }
}

impl List {
    /// Flows in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The flow that came first.
    #[inline]
    pub fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Adds a flow at the end.
    pub fn push<T: Linked>(&mut self, items: &mut [T], which: Which, slot: u32) {
        *items[slot as usize].link(which) = Link { prev: self.tail, next: NONE };
        match self.tail {
            NONE => self.head = slot,
            tail => items[tail as usize].link(which).next = slot,
        }
        self.tail = slot;
        self.len += 1;
    }

    /// Takes a flow out, which must be in this list.
    pub fn remove<T: Linked>(&mut self, items: &mut [T], which: Which, slot: u32) {
        let Link { prev, next } = std::mem::take(items[slot as usize].link(which));
        match prev {
            NONE => self.head = next,
            prev => items[prev as usize].link(which).next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => items[next as usize].link(which).prev = prev,
        }
        self.len -= 1;
    }
}
