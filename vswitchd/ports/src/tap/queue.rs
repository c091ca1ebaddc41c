//! One queue of a TAP device: a descriptor that gives and takes one frame a call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use weir_wire::buffer::{FRAME_MAX, SUPER_MAX};
use weir_wire::{Buffer, DropReason, Offload, Packet, Pool};

use crate::fd::check_long;
use crate::vnet_header;

/// One descriptor of the device.
#[derive(Debug)]
pub(super) struct Queue {
    fd: OwnedFd,
    /// Turns to leave the queue alone.
    rest: u8,
    /// How long the next rest is.
    backoff: u8,
}

/// What one read brought.
#[derive(Debug)]
pub(super) enum Received {
    /// A frame and its marks.
    Frame(Buffer, Offload),
    /// A frame that cannot be taken; it is gone.
    Refused(DropReason),
    /// No frame waits.
    Nothing,
    /// The device was deleted.
    Deleted,
}

impl Queue {
    pub(super) fn new(fd: OwnedFd) -> Queue {
        Queue { fd, rest: 0, backoff: 0 }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether to leave the queue alone this turn.
    pub(super) fn is_resting(&mut self) -> bool {
        let resting = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        resting
    }

    /// The queue was empty: leave it alone for a while, twice as long as last time, at most `max` turns.
    pub(super) fn rest(&mut self, max: u8) {
        self.backoff = self.backoff.saturating_mul(2).saturating_add(1).min(max);
        self.rest = self.backoff;
    }

    /// Looks again at once.
    pub(super) fn wake(&mut self) {
        self.rest = 0;
        self.backoff = 0;
    }

    /// Reads one frame.
    pub(super) fn receive(&mut self, pool: &mut Pool) -> Received {
        let Some(mut frame) = pool.take(FRAME_MAX) else { return self.refuse() };
        let mut large = pool.take(SUPER_MAX);
        let mut header = [0u8; vnet_header::LEN];
        let mut spill = [0u8; 1];
        // Without a large buffer one byte stands for it, so that a frame that was cut can be told.
        let tail = match &mut large {
            Some(large) => large.room().get_mut(FRAME_MAX..).unwrap_or(&mut []),
            None => &mut spill[..],
        };
        let len = match read_parts(self.fd.as_fd(), &mut header, frame.room(), tail) {
            Ok(n) => n.checked_sub(vnet_header::LEN).ok_or(Received::Refused(DropReason::BadOffload)),
            Err(e) => Err(failed(&e)),
        };
        let (kept, spare) = match &len {
            &Ok(len) => place(frame, large, len),
            Err(_) => (None, [Some(frame), large]),
        };
        spare.into_iter().flatten().for_each(|buffer| pool.give(buffer));
        match (len, kept) {
            (Err(other), _) => other,
            (Ok(_), None) => Received::Refused(DropReason::NoBuffer),
            (Ok(_), Some(buffer)) => {
                self.backoff = 0;
                finish(pool, buffer, &header)
            }
        }
    }

    /// Takes one frame off the queue without a place for it.
    fn refuse(&mut self) -> Received {
        let mut header = [0u8; vnet_header::LEN];
        match read_parts(self.fd.as_fd(), &mut header, &mut [], &mut []) {
            Ok(_) => Received::Refused(DropReason::NoBuffer),
            Err(e) => failed(&e),
        }
    }

    /// Writes one frame with its marks.
    pub(super) fn send(&self, packet: &Packet) -> Result<(), DropReason> {
        let header = vnet_header::encode(packet.offload, packet.headers.payload);
        let parts = [
            libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: header.len() },
            libc::iovec { iov_base: packet.bytes().as_ptr().cast_mut().cast(), iov_len: packet.len() },
        ];
        // SAFETY: both parts are readable for their lengths; writev does not write to them.
        let sent = unsafe { libc::writev(self.fd.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) };
        match check_long(sent).map_err(|e| e.raw_os_error()) {
            Ok(_) => Ok(()),
            Err(Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)) => Err(DropReason::TxFull),
            // Down, deleted, detached.
            Err(Some(libc::EIO | libc::ENETDOWN | libc::EBADFD | libc::ENODEV | libc::EFAULT)) => {
                Err(DropReason::LinkDown)
            }
            Err(_) => Err(DropReason::TxError),
        }
    }
}

/// The buffer that holds a frame of `len` bytes which was read into `frame` and, behind it, into `large`; none where
/// it was cut. The others come back as spare.
fn place(mut frame: Buffer, large: Option<Buffer>, len: usize) -> (Option<Buffer>, [Option<Buffer>; 2]) {
    if len <= FRAME_MAX {
        frame.set_len(len);
        return (Some(frame), [large, None]);
    }
    let Some(mut large) = large else { return (None, [Some(frame), None]) };
    frame.set_len(FRAME_MAX);
    large.set_len(len);
    if let Some(to) = large.bytes_mut().get_mut(..FRAME_MAX) {
        to.copy_from_slice(frame.bytes());
    }
    (Some(large), [Some(frame), None])
}

fn finish(pool: &mut Pool, buffer: Buffer, header: &[u8; vnet_header::LEN]) -> Received {
    match vnet_header::decode(header, buffer.len()) {
        Ok(offload) => Received::Frame(buffer, offload),
        Err(reason) => {
            pool.give(buffer);
            Received::Refused(reason)
        }
    }
}

fn failed(error: &io::Error) -> Received {
    match error.raw_os_error() {
        Some(libc::EBADFD | libc::EBADF | libc::ENODEV) => Received::Deleted,
        // EAGAIN and EINTR; anything else (EIO, EFAULT of a device that is down) is not worth asking again this turn.
        _ => Received::Nothing,
    }
}

/// One `readv` into three parts; empty ones are left out by the kernel.
fn read_parts(fd: BorrowedFd<'_>, header: &mut [u8], frame: &mut [u8], tail: &mut [u8]) -> io::Result<usize> {
    let part = |bytes: &mut [u8]| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let parts = [part(header), part(frame), part(tail)];
    // SAFETY: the parts are borrowed mutably for this call and writable for their lengths.
    check_long(unsafe { libc::readv(fd.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use weir_wire::buffer::PoolLimits;
    use weir_wire::{Checksum, PortId, Segmentation};

    /// A datagram socket keeps frame borders as a TAP device does.
    fn pair() -> (Queue, Queue) {
        let (a, b) = std::os::unix::net::UnixDatagram::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (Queue::new(a.into()), Queue::new(b.into()))
    }

    fn cross(len: usize, limits: PoolLimits) -> (Received, usize) {
        let (from, mut to) = pair();
        let mut pool = Pool::new(PoolLimits { frames: 2, supers: 2 });
        let mut buffer = pool.take(len).unwrap();
        let room = buffer.room();
        room[..len].iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
        buffer.set_len(len);
        let checksum = Checksum::Partial { start: 34, offset: 16 };
        let segmentation = Segmentation::Tcp4 { size: 1448, ecn: false };
        from.send(&Packet::new(buffer, PortId(0), Offload { checksum, segmentation })).unwrap();
        let mut pool = Pool::new(limits);
        let received = to.receive(&mut pool);
        assert!(matches!(to.receive(&mut pool), Received::Nothing));
        (received, pool.outstanding())
    }

    const AMPLE: PoolLimits = PoolLimits { frames: 8, supers: 8 };

    #[test]
    fn frames_of_all_lengths_arrive_whole_and_cost_one_buffer() {
        for len in [60, 1514, FRAME_MAX - 1, FRAME_MAX, FRAME_MAX + 1, 9014, 65549] {
            let (received, outstanding) = cross(len, AMPLE);
            let Received::Frame(buffer, offload) = received else { panic!("{len}: {received:?}") };
            assert_eq!((buffer.len(), outstanding), (len, 1));
            assert!(buffer.bytes().iter().enumerate().all(|(i, &b)| b == i as u8), "{len}");
            assert_eq!(offload.segmentation, Segmentation::Tcp4 { size: 1448, ecn: false });
        }
    }

    #[test]
    fn without_buffers_frames_are_counted_and_consumed() {
        let cases = [(60, PoolLimits { frames: 0, supers: 0 }), (4000, PoolLimits { frames: 8, supers: 0 })];
        for (len, limits) in cases {
            let (received, outstanding) = cross(len, limits);
            assert!(matches!(received, Received::Refused(DropReason::NoBuffer)), "{received:?}");
            assert_eq!(outstanding, 0);
        }
        let (received, _) = cross(FRAME_MAX, PoolLimits { frames: 8, supers: 0 });
        assert!(matches!(received, Received::Frame(..)), "a frame that just fits needs no large buffer");
    }

    #[test]
    fn a_read_shorter_than_the_header_is_refused() {
        let (from, mut to) = pair();
        std::fs::File::from(from.fd).write_all(&[0; 5]).unwrap();
        let mut pool = Pool::new(AMPLE);
        assert!(matches!(to.receive(&mut pool), Received::Refused(DropReason::BadOffload)));
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn what_the_kernel_does_not_take_is_told_apart() {
        let (from, to) = pair();
        let mut pool = Pool::new(AMPLE);
        let packet = Packet::new(pool.copy(&[0; 60]).unwrap(), PortId(0), Offload::default());
        let refused = (0..100_000).find_map(|_| from.send(&packet).err());
        assert_eq!(refused, Some(DropReason::TxFull), "nobody reads");
        drop(to);
        assert_eq!(from.send(&packet), Err(DropReason::TxError), "nobody is there");
    }

    #[test]
    fn an_empty_queue_rests_longer_each_time_until_it_is_woken() {
        let (_from, mut queue) = pair();
        let mut rests = Vec::new();
        for _ in 0..5 {
            queue.rest(7);
            rests.push((0..).take_while(|_| queue.is_resting()).count());
        }
        assert_eq!(rests, [1, 3, 7, 7, 7]);
        queue.rest(7);
        queue.wake();
        assert!(!queue.is_resting());
    }
}
