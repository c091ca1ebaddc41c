//! The XDP program that hands frames to our sockets, and its attachment.
//!
//! The program asks the map for the socket of the receiving queue and redirects to it; where there is none, the frame
//! goes on to the kernel (XDP_PASS). It goes when the process goes, also when that crashes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::PortError;
use crate::bpf::{self, Assembler, Function, Map, MapKind, ProgramKind, R, Width};

const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: i32 = 2;

/// Offsets in `struct xdp_md`.
pub(super) mod context {
    pub const DATA: i16 = 0;
    pub const DATA_END: i16 = 4;
    pub const RX_QUEUE_INDEX: i16 = 16;
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// Behind the driver, on every device.
    Generic,
}

/// Whether frames may come in several pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// One chunk a frame.
    One,
    /// Frames longer than a chunk come as several descriptors (Linux 6.6).
    Several,
}

/// The map from a queue to its socket.
#[derive(Debug)]
pub(super) struct SocketMap(Map<4, 4>);

/// A program that is attached for as long as this lives.
#[derive(Debug)]
pub(super) struct Attached {
    _link: OwnedFd,
}

impl SocketMap {
    /// Room for queues below `queues`.
    pub(super) fn new(queues: u32) -> io::Result<SocketMap> {
        Map::new(MapKind::Sockets, queues).map(SocketMap)
    }

    /// Frames of `queue` go to `socket` from here on.
    pub(super) fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.0.set(queue.to_ne_bytes(), socket.as_raw_fd().to_ne_bytes())
    }
}

/// Loads the program for `map`. The error carries what the kernel's verifier said.
pub(super) fn load(map: &SocketMap, pieces: Pieces) -> Result<OwnedFd, PortError> {
    bpf::load(&bpf::Program {
        kind: ProgramKind::Xdp,
        code: &instructions(map.0.as_fd()),
        flags: if pieces == Pieces::Several { BPF_F_XDP_HAS_FRAGS } else { 0 },
        name: *b"weir_redirect\0\0\0",
        hook: bpf::Hook::Xdp,
    })
}

/// Attaches the program to a device of the calling thread's namespace.
pub(super) fn attach(program: BorrowedFd<'_>, index: u32, hook: Hook) -> io::Result<Attached> {
    let flags = match hook {
        Hook::Native => XDP_FLAGS_DRV_MODE,
        Hook::Generic => XDP_FLAGS_SKB_MODE,
    };
    bpf::attach(program, index, bpf::Hook::Xdp, flags).map(|link| Attached { _link: link })
}

/// `return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS)`: the lower bits of the flags are what is returned
/// where the map has no socket for the queue.
fn instructions(map: BorrowedFd<'_>) -> Vec<u64> {
    let mut assembler = Assembler::default();
    redirect(&mut assembler, map);
    assembler.code()
}

/// The same at the end of another program; the context is in R1.
pub(super) fn hand_up(assembler: &mut Assembler, sockets: &SocketMap) {
    redirect(assembler, sockets.0.as_fd());
}

fn redirect(assembler: &mut Assembler, map: BorrowedFd<'_>) {
    assembler.load(Width::Word, R::R2, R::R1, context::RX_QUEUE_INDEX).map(R::R1, map).set(R::R3, XDP_PASS);
    assembler.call(Function::RedirectMap).exit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_program_is_what_the_assembler_would_make_of_it() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let [a, b, c, d] = file.as_raw_fd().to_le_bytes();
        let bytes: Vec<[u8; 8]> = instructions(file.as_fd()).iter().map(|i| i.to_le_bytes()).collect();
        assert_eq!(
            bytes,
            [
                [0x61, 0x12, 16, 0, 0, 0, 0, 0],
                [0x18, 0x11, 0, 0, a, b, c, d],
                [0; 8],
                [0xb7, 0x03, 0, 0, 2, 0, 0, 0],
                [0x85, 0, 0, 0, 51, 0, 0, 0],
                [0x95, 0, 0, 0, 0, 0, 0, 0],
            ]
        );
    }
}
