//! The memory whose chunks carry frames between an AF_XDP socket and us.
//!
//! **Safety.** A chunk belongs to the kernel from the moment its address is put into the fill or the transmit ring until
//! the address comes back in the receive or the completion ring; in between its bytes are not touched. The first half
//! of the chunks goes round between fill and receive, the second between our free list and the transmit ring, so no
//! address is ever in two places. Addresses and lengths from the kernel are checked against the memory's bounds.

use std::io;

use super::mapping::Mapping;

/// Bytes a chunk: the largest that needs no hugepages.
pub(super) const CHUNK: u32 = 4096;
/// What the kernel leaves free at a chunk's start on arrival (XDP_PACKET_HEADROOM).
const KERNEL_HEADROOM: u32 = 256;
/// The longest frame that fits one chunk on arrival.
pub(super) const FRAME_IN_CHUNK: u32 = CHUNK - KERNEL_HEADROOM;

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

    /// A copy of `part` in a free chunk; none where there is no chunk or it is too small.
    pub(super) fn place(&mut self, part: &[u8]) -> Option<u64> {
        let len = u32::try_from(part.len()).ok().filter(|&len| len <= CHUNK)?;
        let address = self.free.pop()?;
        let to = self.map.at::<u8>(usize::try_from(address).ok()?, len as usize)?;
        // SAFETY: `len` bytes at `to` lie in the mapping, and the chunk is ours: it was in the free list.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), to.as_ptr(), part.len()) };
        Some(address)
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
        let sent: Vec<_> = (0..4).map(|_| umem.place(&[0xa5; 60]).unwrap()).collect();
        assert!(sent.iter().all(|a| a % 4096 == 0 && (4..8).contains(&(a / 4096))));
        assert_eq!(umem.place(&[1]), None);
        umem.give(sent[0] + 7);
        umem.give(0);
        umem.give(1 << 40);
        assert_eq!(umem.free(), 1);
        sent.iter().for_each(|&a| umem.give(a));
        assert_eq!(umem.free(), 4, "an address given twice does not make the list grow");
    }

    #[test]
    fn what_is_longer_than_a_chunk_is_not_placed() {
        let mut umem = Umem::new(1).unwrap();
        assert_eq!(umem.place(&[0; 4097]), None);
        assert!(umem.place(&[0; 4096]).is_some());
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
    }
}
