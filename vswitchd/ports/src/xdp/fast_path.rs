//! Flows that the kernel forwards for us: from one AF_XDP port's device to another's, without coming up.
//!
//! Three maps, shared by the programs of all ports: the name of a flow's one direction to the number of a *place*, the
//! places, and the devices that frames can be sent by. The first map is a hint only. The place is the truth: it holds
//! the whole name, what the frames must look like, where they go, and a gate. A frame passes where its name is the
//! place's, the gate is open and its addresses are the expected ones; anything else comes up as ever. So a flow is
//! revoked by one store into mapped memory, without a system call, and what the map still says of it does no harm. What
//! passed is counted in the place, and read there, also without a call.
//!
//! Bounds: [`PLACES`] directions, [`PORTS`] devices.
//!
//! **Safety.** The places are memory of the kernel's that programs change at any time: they are seen as atomics only,
//! and lie in a mapping that lives as long as they are seen. One worker opens and closes places (the caller's duty;
//! if two did, flows would be refused or miscounted, never memory). The programs trust nothing a packet says.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::mapping::Mapping;
use crate::bpf::{Map, MapKind};
use crate::fd::check_long;

/// Directions of flows that can be in the kernel at a time.
pub const PLACES: u32 = 1 << 14;
/// Devices that take part.
pub(super) const PORTS: u32 = 256;

/// The name of one direction: port, both addresses (16 bytes each), both ports, protocol, family, and zeros.
pub(super) const NAME: usize = 48;
/// Bytes of a place.
pub(super) const PLACE: usize = 128;
const WORDS: usize = PLACE / 8;

/// Offsets in a name.
pub(super) mod name {
    pub const PORT: i16 = 0;
    pub const SOURCE: i16 = 4;
    pub const DESTINATION: i16 = 20;
    pub const PORTS: i16 = 36;
    pub const PROTOCOL: i16 = 40;
    pub const FAMILY: i16 = 41;
}

/// Offsets in a place.
pub(super) mod place {
    /// 1 where frames may pass; 32 bits.
    pub const GATE: i16 = 0;
    /// The number of the device they leave by; 32 bits.
    pub const TO: i16 = 4;
    /// Destination and source MAC as they stand in the frame.
    pub const ADDRESSES: i16 = 8;
    /// Bytes of the longest frame that may pass; 32 bits.
    pub const LONGEST: i16 = 20;
    /// The sum over the pseudo-header but for its length, folded; 32 bits.
    pub const PSEUDO: i16 = 24;
    pub const NAME: i16 = 32;
    pub const PACKETS: i16 = 80;
    pub const BYTES: i16 = 88;
    /// Time of the last frame on the monotonic clock, in nanoseconds.
    pub const LAST: i16 = 96;
}

/// One direction of a flow, to be handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The device its frames come in by ([`Lane::device`]).
    pub from: u32,
    /// The device they leave by.
    pub to: u32,
    /// Destination and source MAC as they stand in the frame.
    pub addresses: [u8; 12],
    /// IP addresses of sender and receiver, of one family.
    pub ends: (IpAddr, IpAddr),
    /// Ports of sender and receiver.
    pub ports: (u16, u16),
    /// TCP or UDP.
    pub protocol: u8,
    /// Bytes of the longest frame that may pass.
    pub longest: u32,
}

/// What a port offers to the fast path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The number of its device.
    pub device: u32,
    /// Bytes of the longest frame that can be sent.
    pub longest: u32,
    /// The device takes frames that programs in drivers send.
    pub takes: bool,
    /// Its own program runs in the driver.
    pub native: bool,
}

impl Lane {
    /// Frames that come in here can be sent by `to`.
    pub fn reaches(&self, to: &Lane) -> bool {
        self.device != to.device && (to.takes || !self.native)
    }
}

/// What passed a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Time of the last one on the monotonic clock, in nanoseconds, exact to some milliseconds; 0 before the first.
    pub last_ns: u64,
}

/// What the programs share.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) names: Map<NAME, 4>,
    pub(super) places: Map<4, PLACE>,
    pub(super) devices: Map<4, 4>,
    memory: Mapping,
    taken: Mutex<Vec<bool>>,
}

/// The flows that the kernel forwards, of one daemon. Makes its maps when the first port joins.
#[derive(Debug, Default)]
pub struct FastPath {
    maps: OnceLock<Result<Maps, String>>,
}

impl FastPath {
    /// The maps; made by the first call.
    ///
    /// # Errors
    /// Why the kernel makes none.
    pub(super) fn maps(&self) -> Result<&Maps, String> {
        self.maps.get_or_init(|| Maps::new().map_err(|e| e.to_string())).as_ref().map_err(Clone::clone)
    }

    /// Lets the frames of `passage` pass at place `number`, which must be shut and rested.
    ///
    /// # Errors
    /// What the kernel says; nothing passes then.
    pub fn open(&self, number: u32, passage: &Passage) -> io::Result<()> {
        let Some(Ok(maps)) = self.maps.get() else { return Err(io::ErrorKind::NotFound.into()) };
        let name = passage.name().ok_or(io::ErrorKind::InvalidInput)?;
        let words = maps.place(number).ok_or(io::ErrorKind::InvalidInput)?;
        for (to, from) in words.iter().zip(passage.words(&name)).skip(1) {
            to.store(from, Ordering::Relaxed);
        }
        // The gate stands in the first word: who sees it open sees the rest.
        fence(Ordering::Release);
        if let Some(first) = words.first() {
            first.store(1 | shifted(passage.to), Ordering::Release);
        }
        maps.names.set(name, number.to_ne_bytes()).inspect_err(|_| self.shut(number))
    }

    /// Nothing passes there any more, but for frames that programs are at this moment about to send; see [`settle`].
    #[inline]
    pub fn shut(&self, number: u32) {
        if let Some(Ok(maps)) = self.maps.get()
            && let Some(first) = maps.place(number).and_then(|words| words.first())
        {
            first.store(0, Ordering::SeqCst);
        }
    }

    /// Forgets the name of a direction that was handed over; what is not there is no matter.
    pub fn forget(&self, number: u32, passage: &Passage) {
        let (Some(Ok(maps)), Some(name)) = (self.maps.get(), passage.name()) else { return };
        // The same direction may have been handed over again, to another place.
        if maps.names.get(name).is_ok_and(|at| at == Some(number.to_ne_bytes())) {
            // Left there it would be a hint that leads nowhere.
            drop(maps.names.remove(name));
        }
    }

    /// What passed at a place since it was opened.
    #[inline]
    pub fn passed(&self, number: u32) -> Passed {
        let words = match self.maps.get() {
            Some(Ok(maps)) => maps.place(number).unwrap_or(&[]),
            Some(Err(_)) | None => &[],
        };
        let at = |offset: i16| words.get(offset as usize / 8).map_or(0, |word| word.load(Ordering::Relaxed));
        Passed { packets: at(place::PACKETS), bytes: at(place::BYTES), last_ns: at(place::LAST) }
    }
}

/// Waits until no program is at work that began before: what was shut before has sent its last frame by then. Takes
/// some milliseconds.
///
/// # Errors
/// `ENOSYS` where the kernel has no membarrier(2).
pub fn settle() -> io::Result<()> {
    const GLOBAL: libc::c_int = 1 << 0;
    // Programs run inside of a read-side section, and this call waits for all of these (synchronize_rcu).
    // SAFETY: membarrier takes no pointers.
    check_long(unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) } as isize).map(drop)
}

impl Maps {
    fn new() -> io::Result<Maps> {
        let places: Map<4, PLACE> = Map::mappable(PLACES)?;
        let memory = Mapping::of(places.as_fd(), PLACE * PLACES as usize, 0)?;
        Ok(Maps {
            names: Map::new(MapKind::Hash, PLACES)?,
            places,
            devices: Map::new(MapKind::Devices, PORTS)?,
            memory,
            taken: Mutex::new(vec![false; PORTS as usize]),
        })
    }

    /// The words of a place.
    #[inline]
    fn place(&self, number: u32) -> Option<&[AtomicU64]> {
        let start = self.memory.at::<AtomicU64>(number as usize * PLACE, PLACE)?;
        // SAFETY: `start` is aligned and its `PLACE` bytes lie in the mapping, which lives as long as we are borrowed;
        // whoever else changes them (the programs) does so by whole words, as with atomics.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), WORDS) })
    }
}

/// A device's number among those that take part, given back when dropped.
#[derive(Debug)]
pub(super) struct Membership {
    shared: std::sync::Arc<FastPath>,
    pub(super) device: u32,
}

impl Membership {
    /// A number for a device of the calling thread's namespace. Others can send to it from here on.
    pub(super) fn join(shared: &std::sync::Arc<FastPath>, index: u32) -> Result<Membership, String> {
        let maps = shared.maps()?;
        let mut taken = maps.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = taken.iter_mut().zip(0u32..).find(|(taken, _)| !**taken);
        let (taken, device) = free.ok_or_else(|| format!("{PORTS} devices take part already"))?;
        maps.devices.set(device.to_ne_bytes(), index.to_ne_bytes()).map_err(|e| e.to_string())?;
        *taken = true;
        Ok(Membership { shared: std::sync::Arc::clone(shared), device })
    }

    pub(super) fn maps(&self) -> Result<&Maps, String> {
        self.shared.maps()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let Ok(maps) = self.shared.maps() else { return };
        // Of a device that is gone the kernel has taken out the entry itself.
        drop(maps.devices.remove(self.device.to_ne_bytes()));
        let mut taken = maps.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = taken.get_mut(self.device as usize) {
            *taken = false;
        }
    }
}

impl Passage {
    /// The name by which the program looks for it; `None` where the ends are of two families.
    fn name(&self) -> Option<[u8; NAME]> {
        let mut name = [0; NAME];
        let mut put = |at: i16, bytes: &[u8]| {
            if let Some(to) = name.get_mut(at as usize..at as usize + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        put(name::PORT, &self.from.to_ne_bytes());
        match self.ends {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                put(name::SOURCE, &source.octets());
                put(name::DESTINATION, &destination.octets());
                put(name::FAMILY, &[4]);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                put(name::SOURCE, &source.octets());
                put(name::DESTINATION, &destination.octets());
                put(name::FAMILY, &[6]);
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        }
        put(name::PORTS, &self.ports.0.to_be_bytes());
        put(name::PORTS + 2, &self.ports.1.to_be_bytes());
        put(name::PROTOCOL, &[self.protocol]);
        Some(name)
    }

    /// The words of its place, the gate shut.
    fn words(&self, name: &[u8; NAME]) -> [u64; WORDS] {
        let mut bytes = [0; PLACE];
        let mut put = |at: i16, what: &[u8]| {
            if let Some(to) = bytes.get_mut(at as usize..at as usize + what.len()) {
                to.copy_from_slice(what);
            }
        };
        put(place::TO, &self.to.to_ne_bytes());
        put(place::ADDRESSES, &self.addresses);
        put(place::LONGEST, &self.longest.to_ne_bytes());
        put(place::PSEUDO, &self.pseudo().to_ne_bytes());
        put(place::NAME, name);
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        words
    }

    /// The sum of the pseudo-header's words but for the length, in the order they have in memory.
    fn pseudo(&self) -> u32 {
        let sum = |bytes: &[u8]| -> u32 {
            bytes.as_chunks::<2>().0.iter().map(|&pair| u32::from(u16::from_ne_bytes(pair))).sum()
        };
        let address = |address: IpAddr| match address {
            IpAddr::V4(address) => sum(&address.octets()),
            IpAddr::V6(address) => sum(&address.octets()),
        };
        let total = address(self.ends.0) + address(self.ends.1) + sum(&[0, self.protocol]);
        (total & 0xffff) + (total >> 16)
    }
}

/// The upper half of a word as the programs read it at offset 4.
fn shifted(value: u32) -> u64 {
    if cfg!(target_endian = "little") { u64::from(value) << 32 } else { u64::from(value) }
}

/// A map's descriptors for the program's assembler.
impl Maps {
    pub(super) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.names.as_fd(), self.places.as_fd(), self.devices.as_fd()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage() -> Passage {
        Passage {
            from: 3,
            to: 5,
            addresses: *b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01",
            ends: ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()),
            ports: (4000, 53),
            protocol: 17,
            longest: 1518,
        }
    }

    #[test]
    fn a_name_is_laid_out_as_the_program_writes_it() {
        let name = passage().name().unwrap();
        assert_eq!(name[..4], 3u32.to_ne_bytes());
        assert_eq!(name[4..8], [10, 0, 0, 1]);
        assert_eq!(name[20..24], [10, 0, 0, 2]);
        assert_eq!(name[36..42], [0x0f, 0xa0, 0, 53, 17, 4]);
        assert_eq!(name[42..], [0; 6]);
        let mixed = Passage { ends: (passage().ends.0, "fd00::1".parse().unwrap()), ..passage() };
        assert_eq!(mixed.name(), None);
    }

    #[test]
    fn the_pseudo_header_sums_up_as_the_checksum_wants_it() {
        let passage = passage();
        let (IpAddr::V4(a), IpAddr::V4(b)) = passage.ends else { unreachable!() };
        let wanted = weir_wire::checksum::pseudo_ipv4(a.octets(), b.octets(), 17, 0);
        let sum = passage.pseudo();
        let folded = ((sum & 0xffff) + (sum >> 16)) as u16;
        assert_eq!(u16::from_be_bytes(folded.to_ne_bytes()), wanted.fold());
    }

    #[test]
    fn without_a_port_nothing_is_handed_over() {
        let path = FastPath::default();
        assert!(path.open(0, &passage()).is_err());
        assert_eq!(path.passed(0), Passed::default());
        path.shut(0);
        path.forget(0, &passage());
    }
}
