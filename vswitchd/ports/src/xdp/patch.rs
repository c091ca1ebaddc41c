//! A patch cable between two devices by AF_XDP: the least a program can do, to compare switches with.
//!
//! Both sockets share one memory, so that a frame moves by its descriptor alone; nobody reads it. One queue each, copied
//! by the kernel, never asleep.
//!
//! **Safety.** See `ring`. A chunk is in one place at a time: in the fill ring of the side that it belongs to, received
//! there, in the other side's transmit ring, or on its way back by that one's completion ring. Nothing of the memory is
//! read or written here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::mapping::Mapping;
use super::program::{self, Attached, Hook, Pieces, SocketMap};
use super::ring::{self, Consumer, Producer};
use super::socket::{allow_in_flight, get_option, set_option};
use crate::fd::{check, owned};
use crate::netdev::Netdev;
use crate::netns::NetNs;
use crate::{PortError, PortErrorKind};

const CHUNK: u64 = 4096;
/// Entries of each ring, and chunks of each side.
const SIZE: u32 = 1024;
/// Descriptors moved at a time.
const BURST: usize = 64;
/// Send calls in one go, each for a batch of the kernel's.
const SENDS_MAX: usize = 8;

/// The cable.
#[derive(Debug)]
pub struct Patch {
    ends: [End; 2],
    _programs: Vec<(Attached, SocketMap)>,
    _memory: Mapping,
}

#[derive(Debug)]
struct End {
    fd: OwnedFd,
    fill: Producer<u64>,
    completion: Consumer<u64>,
    rx: Consumer<libc::xdp_desc>,
    tx: Producer<libc::xdp_desc>,
}

impl Patch {
    /// Takes the first queue of two devices of a namespace.
    ///
    /// # Errors
    /// `NotFound` without a device, `Busy` where another program has it, `Denied` without the rights.
    pub fn new(ns: &NetNs, devices: [&str; 2]) -> Result<Patch, PortError> {
        let mut indices = [0; 2];
        for (index, name) in indices.iter_mut().zip(devices) {
            let device = Netdev::new(ns, name)?;
            *index = device.index().map_err(|e| PortError::os(format!("patch {name}"), "cannot find the device", e))?;
        }
        ns.run(|| Patch::join(indices))?.map_err(|e| PortError::os("patch", "cannot take the devices", e))
    }

    fn join([a, b]: [u32; 2]) -> io::Result<Patch> {
        let memory = Mapping::anonymous((2 * u64::from(SIZE) * CHUNK) as usize)?;
        let first = End::new(&memory, a, 0, None)?;
        let second = End::new(&memory, b, SIZE, Some(&first))?;
        let ends = [first, second];
        let mut programs = Vec::with_capacity(2);
        for (end, index) in ends.iter().zip([a, b]) {
            let map = SocketMap::new(1)?;
            map.set(0, end.fd.as_fd())?;
            let program = program::load(&map, Pieces::One).map_err(|e| io::Error::other(e.to_string()))?;
            programs.push((program::attach(program.as_fd(), index, Hook::Native)?, map));
        }
        Ok(Patch { ends, _programs: programs, _memory: memory })
    }

    /// Moves what waits on either side; returns how many frames.
    ///
    /// # Errors
    /// `System` where a device is gone.
    pub fn turn(&mut self) -> Result<usize, PortError> {
        let [a, b] = &mut self.ends;
        let gone = |e| PortError::new(PortErrorKind::System, "patch", format!("cannot send: {e}"));
        Ok(carry(a, b).map_err(gone)? + carry(b, a).map_err(gone)?)
    }
}

/// Moves a burst from one side to the other, and chunks that were sent back again.
fn carry(from: &mut End, to: &mut End) -> io::Result<usize> {
    let mut back = false;
    while let Some(address) = to.completion.pop() {
        back |= from.fill.push(address & !(CHUNK - 1));
    }
    to.completion.release();
    let mut moved = 0;
    while moved < BURST {
        let Some(frame) = from.rx.pop() else { break };
        if !to.tx.push(libc::xdp_desc { options: 0, ..frame }) {
            back |= from.fill.push(frame.addr & !(CHUNK - 1));
        }
        moved += 1;
    }
    if moved > 0 {
        from.rx.release();
        to.tx.publish();
    }
    if back {
        from.fill.publish();
    }
    to.kick()?;
    Ok(moved)
}

impl End {
    /// A socket of one device's first queue, with the chunks from `chunk` on; the second shares the first one's memory.
    fn new(memory: &Mapping, index: u32, chunk: u32, first: Option<&End>) -> io::Result<End> {
        // SAFETY: socket takes no pointers.
        let fd = owned(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        if first.is_none() {
            let addr = memory.at::<u8>(0, memory.len()).map_or(0, |p| p.as_ptr().addr() as u64);
            let (len, chunk_size) = (memory.len() as u64, CHUNK as u32);
            let whole = libc::xdp_umem_reg { addr, len, chunk_size, headroom: 0, flags: 0, tx_metadata_len: 0 };
            set_option(fd.as_fd(), libc::XDP_UMEM_REG, &whole)?;
        }
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING] {
            set_option(fd.as_fd(), ring, &SIZE)?;
        }
        // SAFETY: all-zero is a valid xdp_mmap_offsets.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
        get_option(fd.as_fd(), libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        let of = fd.as_fd();
        let fill = ring::map::<u64>(of, &offsets.fr, SIZE, libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t)?;
        let sent = ring::map::<u64>(of, &offsets.cr, SIZE, libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t)?;
        let rx = ring::map::<libc::xdp_desc>(of, &offsets.rx, SIZE, libc::XDP_PGOFF_RX_RING)?;
        let tx = ring::map::<libc::xdp_desc>(of, &offsets.tx, SIZE, libc::XDP_PGOFF_TX_RING)?;
        let mut end = End {
            fill: Producer::new(fill, &offsets.fr, SIZE)?,
            completion: Consumer::new(sent, &offsets.cr, SIZE)?,
            rx: Consumer::new(rx, &offsets.rx, SIZE)?,
            tx: Producer::new(tx, &offsets.tx, SIZE)?,
            fd,
        };
        (chunk..chunk + SIZE).for_each(|chunk| {
            end.fill.push(u64::from(chunk) * CHUNK);
        });
        end.fill.publish();
        allow_in_flight(end.fd.as_fd());
        end.bind(index, first)?;
        Ok(end)
    }

    fn bind(&self, index: u32, first: Option<&End>) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            // Who shares a memory shares the first one's manner.
            sxdp_flags: first.map_or(libc::XDP_USE_NEED_WAKEUP | libc::XDP_COPY, |_| libc::XDP_SHARED_UMEM),
            sxdp_ifindex: index,
            sxdp_queue_id: 0,
            sxdp_shared_umem_fd: first.map_or(0, |first| first.fd.as_raw_fd() as u32),
        };
        let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_xdp of `len` bytes.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), len) }).map(drop)
    }

    fn kick(&self) -> io::Result<()> {
        for _ in 0..SENDS_MAX {
            if self.tx.pending() == 0 || !self.tx.needs_wakeup() {
                break;
            }
            let none = std::ptr::null();
            // SAFETY: no memory is handed over.
            let sent = unsafe { libc::sendto(self.fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, none.cast(), 0) };
            if sent >= 0 {
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => {}
                Some(libc::EBUSY | libc::ENOBUFS) => break,
                _ => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = Patch::new(&NetNs::own(), ["weir-none", "lo"]).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound);
        assert!(error.to_string().contains("weir-none"), "{error}");
    }
}
