//! The memory whose chunks carry frames between an AF_XDP socket and us.
//!
//! **Safety.** A chunk belongs to the kernel from the moment its address is put into the fill or the transmit ring until
//! the address comes back in the receive or the completion ring; in between its bytes are not touched. The first half
//! of the chunks goes round between fill and receive, the second between our free list and the transmit ring, so no
//! address is ever in two places. Addresses and lengths from the kernel are checked against the memory's bounds.

use std::io;

use super::mapping::Mapping;
use crate::vhost_user::chain::Segment;
use crate::vhost_user::copy::{bring_near, copy};
use crate::vhost_user::held::HEAD;
use crate::vhost_user::receive::gather;

/// Bytes a chunk: the largest that needs no hugepages.
pub(super) const CHUNK: u32 = 4096;
/// What the kernel leaves free at a chunk's start on arrival (XDP_PACKET_HEADROOM).
const KERNEL_HEADROOM: u32 = 256;
/// The longest frame that fits one chunk on arrival.
pub(super) const FRAME_IN_CHUNK: u32 = CHUNK - KERNEL_HEADROOM;

/// Frames to be sent begin so far apart in their chunks, in turns: chunks that all began at the start of a page would have
/// few places in the processor's first cache.
const STAGGER: u64 = 128;
const STAGGERS: u64 = 16;

/// The chunks of one socket.
#[derive(Debug)]
pub(super) struct Umem {
    map: Mapping,
    chunks: u32,
    free: Vec<u64>,
}

impl Umem {
    /// `each` chunks to receive and as many to send.
    pub(super) fn new(each: u32) -> io::Result<Umem> {
        let chunks = each.checked_mul(2).ok_or(io::ErrorKind::InvalidInput)?;
        let map = Mapping::anonymous(chunks as usize * CHUNK as usize)?;
        let free = (each..chunks).map(address).collect();
        Ok(Umem { map, chunks, free })
    }

    /// What XDP_UMEM_REG is told. Valid as long as the memory is.
    pub(super) fn registration(&self) -> libc::xdp_umem_reg {
        let start = self.map.at::<u8>(0, self.map.len()).map_or(0, |p| p.as_ptr().addr() as u64);
        libc::xdp_umem_reg {
            addr: start,
            len: self.map.len() as u64,
            chunk_size: CHUNK,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        }
    }

    /// The addresses of the chunks to receive into.
    pub(super) fn to_receive(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.chunks / 2).map(address)
    }

    /// How many chunks there are to send.
    pub(super) fn sending(&self) -> u32 {
        self.chunks / 2
    }

    /// How many chunks are free to send.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// A copy of `part`, and of `rest` behind it, in a free chunk: where, and how many bytes. None where there is no chunk
    /// or it is too small. The chunk that came back last is used first, since it is still at hand.
    #[inline]
    pub(super) fn place(&mut self, part: &[u8], rest: &[Segment]) -> Option<(u64, u32)> {
        let len = rest.iter().fold(part.len(), |sum, piece| sum.saturating_add(piece.len));
        let len32 = u32::try_from(len).ok().filter(|&len| len <= CHUNK)?;
        let chunk = *self.free.last()?;
        let stagger = chunk / u64::from(CHUNK) % STAGGERS * STAGGER;
        let address = if stagger + u64::from(len32) <= u64::from(CHUNK) { chunk + stagger } else { chunk };
        let to = self.map.at::<u8>(usize::try_from(address).ok()?, len)?;
        // SAFETY: `len` bytes at `to` lie in the mapping, and the chunk is ours: it is in the free list. `part` is shorter.
        unsafe { copy(part.as_ptr(), to.as_ptr(), part.len()) };
        if !rest.is_empty() {
            // SAFETY: as above; behind `part` there are as many bytes as the pieces have.
            let left = unsafe { std::slice::from_raw_parts_mut(to.as_ptr().add(part.len()), len - part.len()) };
            gather(rest, left);
        }
        self.free.pop();
        Some((address, len32))
    }

    /// Takes a chunk back that was sent. What is no chunk for sending is ignored.
    pub(super) fn give(&mut self, address: u64) {
        let chunk = address / u64::from(CHUNK);
        let sends = u64::from(self.chunks / 2)..u64::from(self.chunks);
        if sends.contains(&chunk) && self.free.len() < self.chunks as usize / 2 {
            self.free.push(chunk * u64::from(CHUNK));
        }
    }

    /// The bytes that a descriptor speaks of, which the kernel has just handed over; none where they do not lie in one
    /// chunk for receiving.
    pub(super) fn received(&self, descriptor: &libc::xdp_desc) -> Option<&[u8]> {
        let within = descriptor.addr % u64::from(CHUNK) + u64::from(descriptor.len);
        let chunk = descriptor.addr / u64::from(CHUNK);
        if within > u64::from(CHUNK) || chunk >= u64::from(self.chunks / 2) {
            return None;
        }
        let len = descriptor.len as usize;
        let from = self.map.at::<u8>(usize::try_from(descriptor.addr).ok()?, len)?;
        // SAFETY: the bytes lie in the mapping. The chunk is ours from its coming out of the receive ring until its
        // address goes into the fill ring, which takes `&mut` of the socket that owns this memory.
        Some(unsafe { std::slice::from_raw_parts(from.as_ptr(), len) })
    }

    /// The address of a chunk to receive into, by its number; none where it is none.
    pub(super) fn receiving(&self, chunk: u16) -> Option<u64> {
        (u32::from(chunk) < self.chunks / 2).then(|| address(u32::from(chunk)))
    }

    /// Asks for the first bytes that a descriptor speaks of: another processor wrote them.
    #[inline]
    pub(super) fn bring_near(&self, descriptor: &libc::xdp_desc) {
        if let Some(from) = usize::try_from(descriptor.addr).ok().and_then(|at| self.map.at::<u8>(at, 1)) {
            bring_near(from.as_ptr(), (descriptor.len as usize).min(HEAD));
        }
    }

    /// The chunk to refill after a received descriptor; none where it names none of ours.
    pub(super) fn chunk_of(&self, descriptor: &libc::xdp_desc) -> Option<u64> {
        let chunk = descriptor.addr / u64::from(CHUNK);
        (chunk < u64::from(self.chunks / 2)).then_some(chunk * u64::from(CHUNK))
    }
}

fn address(chunk: u32) -> u64 {
    u64::from(chunk) * u64::from(CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desc(addr: u64, len: u32) -> libc::xdp_desc {
        libc::xdp_desc { addr, len, options: 0 }
    }

    #[test]
    fn chunks_to_send_run_out_and_come_back_once() {
        let mut umem = Umem::new(4).unwrap();
        let sent: Vec<_> = (0..4).map(|_| umem.place(&[0xa5; 60], &[]).unwrap()).collect();
        assert!(sent.iter().all(|&(at, len)| len == 60 && (4..8).contains(&(at / 4096)) && at % 4096 + 60 <= 4096));
        assert_eq!(umem.place(&[1], &[]), None);
        umem.give(sent[0].0 + 7);
        umem.give(0);
        umem.give(1 << 40);
        assert_eq!(umem.free(), 1);
        sent.iter().for_each(|&(at, _)| umem.give(at));
        assert_eq!(umem.free(), 4, "an address given twice does not make the list grow");
    }

    #[test]
    fn what_is_longer_than_a_chunk_is_not_placed() {
        let mut umem = Umem::new(1).unwrap();
        assert_eq!(umem.place(&[0; 4097], &[]), None);
        assert_eq!(umem.free(), 1);
        assert_eq!(umem.place(&[0; 4096], &[]), Some((4096, 4096)), "a whole chunk begins at its start");
    }

    #[test]
    fn a_frame_in_parts_is_put_together_in_its_chunk() {
        let mut umem = Umem::new(4).unwrap();
        let mut body: Vec<u8> = (0..1372u16).map(|i| i as u8).collect();
        let rest = [
            Segment { host: body.as_mut_ptr(), len: 1000, guest: 0 },
            Segment { host: body[1000..].as_mut_ptr(), len: 372, guest: 0 },
        ];
        let (at, len) = umem.place(&[0xee; 128], &rest).unwrap();
        let there = umem.map.at::<u8>(at as usize, len as usize).unwrap();
        // SAFETY: the bytes lie in the mapping, and nobody else knows of it.
        let there = unsafe { std::slice::from_raw_parts(there.as_ptr(), len as usize) };
        assert_eq!((&there[..128], &there[128..]), (&[0xee; 128][..], &body[..]));
        let long = [Segment { host: body.as_mut_ptr(), len: 1372, guest: 0 }; 3];
        assert_eq!(umem.place(&[0xee; 128], &long), None, "more than a chunk");
    }

    #[test]
    fn descriptors_outside_the_receiving_chunks_are_refused() {
        let umem = Umem::new(2).unwrap();
        assert_eq!(umem.received(&desc(256, 60)).unwrap().len(), 60);
        assert_eq!(umem.received(&desc(4096 + 256, 3840)).unwrap().len(), 3840);
        for bad in [desc(256, 3841), desc(8192, 60), desc(u64::MAX, 1), desc(0, u32::MAX), desc(1 << 50, 0)] {
            assert!(umem.received(&bad).is_none(), "{bad:?}");
        }
        assert_eq!(umem.chunk_of(&desc(4096 + 256, 1)), Some(4096));
        assert_eq!(umem.chunk_of(&desc(8192, 1)), None);
        assert_eq!((umem.receiving(1), umem.receiving(2)), (Some(4096), None));
    }
}
