//! One AF_XDP socket: one queue of one device, with its own memory and rings.
//!
//! **Safety.** See [`ring`](super::ring) and [`umem`](super::umem). The socket is closed before its memory is unmapped
//! (fields drop in order), so the kernel never holds pages that we have given away.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use weir_wire::{Buffer, DropReason, Pool};

use super::ring::{self, Consumer, Producer};
use super::umem::{CHUNK, Umem};
use crate::fd::{check, check_long, owned};
use crate::no_buffer;
use crate::vhost_user::chain::Segment;
use crate::vhost_user::copy::bring_near;
use crate::vhost_user::held::HEAD;

/// The longest frame that is sent in one piece.
pub(super) const FRAME_MAX: usize = CHUNK as usize;
/// Pieces one frame may come in: the kernel's bound is 17 fragments and the head.
const PIECES_MAX: usize = 32;
/// So many frames ahead of the one that is read, the first bytes are asked for.
const AHEAD: u32 = 12;
/// Send calls in one kick, each for a batch of the kernel's: [`SEND_BATCH`], or 32 frames where it cannot be told.
const SENDS_MAX: u32 = 64;
/// Bytes in flight that the kernel allows the socket: the default holds about 90 frames.
const SEND_BUFFER: libc::c_int = 8 << 20;
/// Frames that the kernel takes in one call, so that a burst needs one.
const SEND_BATCH: u32 = 64;
/// The option that says so (linux/if_xdp.h, Linux 6.17).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// How the socket moves frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// The device works on our memory.
    Zero,
    /// The kernel copies.
    Copy,
}

/// A bound socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    fill: Producer<u64>,
    completion: Consumer<u64>,
    rx: Consumer<libc::xdp_desc>,
    tx: Producer<libc::xdp_desc>,
    umem: Umem,
    /// Written to the transmit ring since the last kick.
    unsent: bool,
    several_pieces: bool,
}

/// What was taken from the receive ring.
#[derive(Debug)]
pub(super) enum Received {
    /// A frame.
    Frame(Buffer),
    /// The first bytes of a frame, where the others stand, and in which chunk, which is to be given back
    /// ([`Socket::give_chunk`]).
    Head(Buffer, Segment, u16),
    /// A frame that cannot be taken; it is gone.
    Refused(DropReason),
    /// No frame waits.
    Nothing,
}

/// What is left after a kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kicked {
    /// The kernel has taken all frames, or goes on by itself.
    Done,
    /// The kernel could not take all; another kick is needed.
    Stuck,
    /// The device is down or gone.
    NoDevice,
}

impl Socket {
    /// A socket in the calling thread's namespace, bound to one queue. `size` is the number of entries of each ring,
    /// a power of two.
    pub(super) fn bind(index: u32, queue: u32, size: u32, copying: Copying, several: bool) -> io::Result<Socket> {
        // SAFETY: socket takes no pointers.
        let fd = owned(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        let umem = Umem::new(size)?;
        set_option(fd.as_fd(), libc::XDP_UMEM_REG, &umem.registration())?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING] {
            set_option(fd.as_fd(), ring, &size)?;
        }
        // SAFETY: all-zero is a valid xdp_mmap_offsets.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
        get_option(fd.as_fd(), libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        let (fill_page, completion_page) =
            (libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t, libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t);
        let of = fd.as_fd();
        let mut socket = Socket {
            fill: Producer::new(ring::map::<u64>(of, &offsets.fr, size, fill_page)?, &offsets.fr, size)?,
            completion: Consumer::new(ring::map::<u64>(of, &offsets.cr, size, completion_page)?, &offsets.cr, size)?,
            rx: Consumer::new(
                ring::map::<libc::xdp_desc>(of, &offsets.rx, size, libc::XDP_PGOFF_RX_RING)?,
                &offsets.rx,
                size,
            )?,
            tx: Producer::new(
                ring::map::<libc::xdp_desc>(of, &offsets.tx, size, libc::XDP_PGOFF_TX_RING)?,
                &offsets.tx,
                size,
            )?,
            fd,
            umem,
            unsent: false,
            several_pieces: several,
        };
        for address in socket.umem.to_receive() {
            socket.fill.push(address);
        }
        socket.fill.publish();
        allow_in_flight(socket.fd.as_fd());
        socket.attach(index, queue, copying)?;
        Ok(socket)
    }

    fn attach(&self, index: u32, queue: u32, copying: Copying) -> io::Result<()> {
        let copying = match copying {
            Copying::Zero => libc::XDP_ZEROCOPY,
            Copying::Copy => libc::XDP_COPY,
        };
        let pieces = if self.several_pieces { libc::XDP_USE_SG } else { 0 };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_USE_NEED_WAKEUP | copying | pieces,
            sxdp_ifindex: index,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_xdp of `len` bytes.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), len) }).map(drop)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether frames wait.
    pub(super) fn has_received(&self) -> bool {
        !self.rx.is_empty()
    }

    /// Begins a burst: asks for the first frames' first bytes.
    #[inline]
    pub(super) fn begin_receive(&mut self) {
        self.rx.look();
        (0..AHEAD).map_while(|ahead| self.rx.peek(ahead)).for_each(|coming| self.umem.bring_near(&coming));
    }

    /// Takes one frame of at most `longest` bytes off the receive ring, copied into a buffer of `pool`; of one that is longer
    /// than `hold_over` the first bytes only, where it is in one piece.
    pub(super) fn receive(&mut self, pool: &mut Pool, longest: usize, hold_over: usize) -> Received {
        let Some(first) = self.rx.pop() else { return Received::Nothing };
        if let Some(coming) = self.rx.peek(AHEAD) {
            self.umem.bring_near(&coming);
        }
        if first.options & libc::XDP_PKT_CONTD != 0 {
            return self.receive_pieces(pool, longest, first);
        }
        if first.len as usize > hold_over.max(HEAD) {
            return self.receive_head(pool, longest, &first);
        }
        let received = self.copy_out(pool, longest, std::slice::from_ref(&first));
        self.refill(&first);
        received
    }

    /// The first bytes of a frame in one piece. The kernel leaves the chunk alone until it is given back.
    fn receive_head(&mut self, pool: &mut Pool, longest: usize, first: &libc::xdp_desc) -> Received {
        let taken = (|| {
            if first.len as usize > longest {
                return Err(DropReason::TooLong);
            }
            let parts = self.umem.received(first).and_then(<[u8]>::split_first_chunk::<HEAD>);
            let (head, rest) = parts.ok_or(DropReason::BadDescriptor)?;
            let chunk = u16::try_from(first.addr / u64::from(CHUNK)).map_err(|_| DropReason::BadDescriptor)?;
            let mut buffer = pool.take(HEAD).ok_or(DropReason::NoBuffer)?;
            buffer.fill(head);
            bring_near(rest.as_ptr(), rest.len());
            Ok(Received::Head(buffer, Segment { host: rest.as_ptr().cast_mut(), len: rest.len(), guest: 0 }, chunk))
        })();
        taken.unwrap_or_else(|reason| {
            self.refill(first);
            Received::Refused(reason)
        })
    }

    /// Takes a chunk back whose frame is not needed any more; the kernel gets it with [`Socket::end_receive`].
    pub(super) fn give_chunk(&mut self, chunk: u16) {
        if let Some(address) = self.umem.receiving(chunk) {
            self.fill.push(address);
        }
    }

    /// A frame in several descriptors. All of them are consumed, also where there are too many.
    fn receive_pieces(&mut self, pool: &mut Pool, longest: usize, first: libc::xdp_desc) -> Received {
        let mut pieces = [first; PIECES_MAX];
        let (mut count, mut last) = (1, first);
        while last.options & libc::XDP_PKT_CONTD != 0 {
            // The kernel publishes a frame's descriptors together.
            let Some(next) = self.rx.pop() else { break };
            last = next;
            match pieces.get_mut(count) {
                Some(piece) => *piece = next,
                None => self.refill(&next),
            }
            count += 1;
        }
        let received = match pieces.get(..count) {
            Some(all) if last.options & libc::XDP_PKT_CONTD == 0 => self.copy_out(pool, longest, all),
            Some(_) => Received::Refused(DropReason::BadDescriptor),
            None => Received::Refused(DropReason::TooLong),
        };
        for piece in pieces.iter().take(count) {
            self.refill(piece);
        }
        received
    }

    fn copy_out(&self, pool: &mut Pool, longest: usize, pieces: &[libc::xdp_desc]) -> Received {
        let len = pieces.iter().map(|piece| piece.len as usize).sum();
        if len > longest {
            return Received::Refused(DropReason::TooLong);
        }
        let Some(mut buffer) = pool.take(len) else { return Received::Refused(no_buffer(len)) };
        let mut room = buffer.room();
        for piece in pieces {
            let Some(from) = self.umem.received(piece) else {
                pool.give(buffer);
                return Received::Refused(DropReason::BadDescriptor);
            };
            let Some((to, rest)) = room.split_at_mut_checked(from.len()) else {
                pool.give(buffer);
                return Received::Refused(DropReason::TooLong);
            };
            to.copy_from_slice(from);
            room = rest;
        }
        buffer.set_len(len);
        Received::Frame(buffer)
    }

    fn refill(&mut self, descriptor: &libc::xdp_desc) {
        if let Some(chunk) = self.umem.chunk_of(descriptor) {
            // There are as many places as chunks, so there is room.
            self.fill.push(chunk);
        }
    }

    /// Ends a burst: the kernel gets the chunks back.
    pub(super) fn end_receive(&mut self) {
        self.rx.release();
        self.fill.publish();
        if self.fill.needs_wakeup() {
            let none = std::ptr::null_mut();
            // SAFETY: no memory is handed over. That there is nothing to read is the usual answer; the call only wakes
            // the driver.
            unsafe { libc::recvfrom(self.fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, none.cast(), none.cast()) };
        }
    }

    /// Writes a frame to the transmit ring, `frame` and what stands in `rest`; [`Socket::kick`] sends it. What is longer
    /// than a chunk must be whole.
    #[inline]
    pub(super) fn send(&mut self, frame: &[u8], rest: &[Segment]) -> Result<(), DropReason> {
        if frame.len() > CHUNK as usize {
            return self.send_pieces(frame);
        }
        if self.umem.free() == 0 {
            self.reclaim();
        }
        if self.umem.free() == 0 || !self.tx.has_room(1) {
            return Err(DropReason::TxFull);
        }
        let (addr, len) = self.umem.place(frame, rest).ok_or(DropReason::TxTooLong)?;
        self.tx.push(libc::xdp_desc { addr, len, options: 0 });
        self.unsent = true;
        Ok(())
    }

    fn send_pieces(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let pieces = frame.len().div_ceil(CHUNK as usize);
        if pieces == 0 || pieces > 1 && !self.several_pieces || pieces > PIECES_MAX {
            return Err(DropReason::TxTooLong);
        }
        if self.umem.free() < pieces {
            self.reclaim();
        }
        if self.umem.free() < pieces || !self.tx.has_room(pieces as u32) {
            return Err(DropReason::TxFull);
        }
        for (number, part) in frame.chunks(CHUNK as usize).enumerate() {
            let Some((addr, len)) = self.umem.place(part, &[]) else { return Err(DropReason::TxFull) };
            let options = if number + 1 < pieces { libc::XDP_PKT_CONTD } else { 0 };
            self.tx.push(libc::xdp_desc { addr, len, options });
        }
        self.unsent = true;
        Ok(())
    }

    /// Takes chunks back that were sent.
    fn reclaim(&mut self) {
        for _ in 0..self.umem.sending() {
            let Some(address) = self.completion.pop() else { break };
            self.umem.give(address);
        }
        self.completion.release();
    }

    /// Frames wait that the kernel has not been told of, or has not taken.
    pub(super) fn is_unsent(&self) -> bool {
        self.unsent
    }

    /// Has the kernel send what was written. `kicks` counts the system calls. What was sent is taken back at once, so that few
    /// chunks are in use, which stay at hand.
    pub(super) fn kick(&mut self, kicks: &mut u64) -> Kicked {
        let kicked = self.send_all(kicks);
        self.reclaim();
        kicked
    }

    fn send_all(&mut self, kicks: &mut u64) -> Kicked {
        self.tx.publish();
        let mut pending = self.tx.pending();
        for _ in 0..SENDS_MAX {
            if pending == 0 || !self.tx.needs_wakeup() {
                self.unsent = false;
                return Kicked::Done;
            }
            *kicks += 1;
            let none = std::ptr::null();
            // SAFETY: no memory is handed over.
            let sent = unsafe { libc::sendto(self.fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, none.cast(), 0) };
            let error = check_long(sent).err().and_then(|e| e.raw_os_error());
            let left = self.tx.pending();
            match error {
                None | Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) if left < pending => {}
                None | Some(libc::EINTR) if left == 0 => {}
                Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV | libc::EBADF) => return Kicked::NoDevice,
                // Not one frame went: the device or the receiver is busy. Completions free what it waits for.
                _ => return Kicked::Stuck,
            }
            pending = left;
        }
        Kicked::Stuck
    }

    /// What the kernel has counted.
    pub(super) fn statistics(&self) -> io::Result<libc::xdp_statistics> {
        // SAFETY: all-zero is a valid xdp_statistics.
        let mut statistics: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        get_option(self.fd.as_fd(), libc::XDP_STATISTICS, &mut statistics)?;
        Ok(statistics)
    }
}

/// Raises how much may be in flight, and how much is sent in a call. Without CAP_NET_ADMIN, or of an older kernel, the host's
/// limits hold, which is only slower.
pub(super) fn allow_in_flight(fd: BorrowedFd<'_>) {
    // A kernel that does not know the option says so.
    drop(set_option(fd, XDP_MAX_TX_SKB_BUDGET, &SEND_BATCH));
    let (value, len) = (SEND_BUFFER, size_of::<libc::c_int>() as libc::socklen_t);
    let place = std::ptr::from_ref(&value).cast();
    // SAFETY: the option's value is an int, valid for the call.
    unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, place, len) };
}

pub(super) fn set_option<T>(fd: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is what the option takes and valid for the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, std::ptr::from_ref(value).cast(), len) })
        .map(drop)
}

pub(super) fn get_option<T>(fd: BorrowedFd<'_>, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let place = std::ptr::from_mut(value).cast();
    // SAFETY: `value` is writable for `len` bytes; any bytes are valid for the structures asked for.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, place, &mut len) }).map(drop)
}
