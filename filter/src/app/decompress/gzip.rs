//! The header of gzip (RFC 1952, 2.3), as its bytes come.

/// The header of gzip, read leniently: its checksum and its reserved bits do not matter.
#[derive(Debug, Default)]
pub struct Header {
    place: Place,
    flags: u8,
    /// Bytes met in the present part.
    count: usize,
    extra: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Fixed,
    ExtraLength,
    Extra,
    Name,
    Comment,
    Checksum,
    Over,
}

impl Header {
    /// Says how many bytes belong to the header. `None`: this is not gzip.
    pub fn skip(&mut self, bytes: &[u8]) -> Option<usize> {
        for (i, &byte) in bytes.iter().enumerate() {
            self.pass_absent();
            if self.place == Place::Over {
                return Some(i);
            }
            if !self.take(byte) {
                return None;
            }
        }
        Some(bytes.len())
    }

    /// Moves past parts that the flags say are not there.
    fn pass_absent(&mut self) {
        loop {
            let (present, next) = match self.place {
                Place::Fixed | Place::Over => return,
                Place::ExtraLength => (self.flags & 4 != 0, Place::Name),
                Place::Extra => (self.extra > 0, Place::Name),
                Place::Name => (self.flags & 8 != 0, Place::Comment),
                Place::Comment => (self.flags & 16 != 0, Place::Checksum),
                Place::Checksum => (self.flags & 2 != 0, Place::Over),
            };
            if present {
                return;
            }
            self.enter(next);
        }
    }

    fn enter(&mut self, place: Place) {
        self.place = place;
        self.count = 0;
    }

    fn take(&mut self, byte: u8) -> bool {
        self.count += 1;
        match self.place {
            Place::Fixed => {
                let expected = [Some(0x1f), Some(0x8b), Some(8)].get(self.count - 1).copied().flatten();
                if expected.is_some_and(|expected| expected != byte) {
                    return false;
                }
                if self.count == 4 {
                    self.flags = byte;
                }
                if self.count == 10 {
                    self.enter(Place::ExtraLength);
                }
            }
            Place::ExtraLength => {
                self.extra |= usize::from(byte) << (8 * (self.count - 1));
                if self.count == 2 {
                    self.enter(Place::Extra);
                }
            }
            Place::Extra => {
                if self.count == self.extra {
                    self.enter(Place::Name);
                }
            }
            Place::Name if byte == 0 => self.enter(Place::Comment),
            Place::Comment if byte == 0 => self.enter(Place::Checksum),
            Place::Checksum if self.count == 2 => self.enter(Place::Over),
            Place::Name | Place::Comment | Place::Checksum | Place::Over => {}
        }
        true
    }
}
