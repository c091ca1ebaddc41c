//! The XDP program that hands frames to our sockets, assembled by hand, and its attachment.
//!
//! The program asks the map for the socket of the receiving queue and redirects to it; where there is none, the frame
//! goes on to the kernel (XDP_PASS). It is attached by a BPF link, so that it goes when the process goes, also when
//! that crashes (linux/bpf.h, BPF_LINK_CREATE).
//!
//! **Safety.** bpf(2) reads one attribute structure and what it points to; all of it outlives the call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::fd::{check_long, owned};
use crate::{PortError, PortErrorKind};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: i32 = 2;
const FUNC_REDIRECT_MAP: i32 = 51;
/// What the verifier may say about a program of six instructions.
const LOG_LEN: usize = 8192;

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
pub(super) struct SocketMap(OwnedFd);

/// A program that is attached for as long as this lives.
#[derive(Debug)]
pub(super) struct Attached {
    _link: OwnedFd,
}

impl SocketMap {
    /// Room for queues below `queues`.
    pub(super) fn new(queues: u32) -> io::Result<SocketMap> {
        #[repr(C)]
        struct Attr {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            map_flags: u32,
        }
        let attr = Attr {
            map_type: BPF_MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: queues.max(1),
            map_flags: 0,
        };
        bpf_fd(BPF_MAP_CREATE, &attr).map(SocketMap)
    }

    /// Frames of `queue` go to `socket` from here on.
    pub(super) fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        #[repr(C)]
        struct Attr {
            map_fd: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let value = socket.as_raw_fd();
        let attr = Attr {
            map_fd: self.0.as_raw_fd() as u32,
            padding: 0,
            key: std::ptr::from_ref(&queue).addr() as u64,
            value: std::ptr::from_ref(&value).addr() as u64,
            flags: 0,
        };
        bpf(BPF_MAP_UPDATE_ELEM, &attr).map(drop)
    }
}

/// Loads the program for `map`. The error carries what the kernel's verifier said.
pub(super) fn load(map: &SocketMap, pieces: Pieces) -> Result<OwnedFd, PortError> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let code = instructions(map.0.as_raw_fd());
    let mut log = vec![0u8; LOG_LEN];
    let attr = Attr {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr().addr() as u64,
        license: c"Dual MIT/GPL".as_ptr().addr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr().addr() as u64,
        kern_version: 0,
        prog_flags: if pieces == Pieces::Several { BPF_F_XDP_HAS_FRAGS } else { 0 },
        prog_name: *b"weir_redirect\0\0\0",
        prog_ifindex: 0,
        expected_attach_type: BPF_XDP,
    };
    bpf_fd(BPF_PROG_LOAD, &attr).map_err(|e| {
        let said = log.split(|&b| b == 0).next().unwrap_or_default();
        let said = String::from_utf8_lossy(said).trim().replace('\n', " | ");
        let what = if said.is_empty() { "cannot load it".to_owned() } else { format!("cannot load it ({said})") };
        let denied = PortErrorKind::of(&e) == PortErrorKind::Denied;
        let remedy = if denied { "vswitchd needs CAP_BPF and CAP_NET_ADMIN, or root" } else { "" };
        PortError::os("XDP program", what, e).with_remedy(remedy)
    })
}

/// Attaches the program to a device of the calling thread's namespace.
pub(super) fn attach(program: BorrowedFd<'_>, index: u32, hook: Hook) -> io::Result<Attached> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let flags = match hook {
        Hook::Native => XDP_FLAGS_DRV_MODE,
        Hook::Generic => XDP_FLAGS_SKB_MODE,
    };
    let attr = Attr { prog_fd: program.as_raw_fd() as u32, target_ifindex: index, attach_type: BPF_XDP, flags };
    bpf_fd(BPF_LINK_CREATE, &attr).map(|link| Attached { _link: link })
}

/// One instruction: opcode, destination and source register, offset, immediate (Documentation/bpf/standardization).
const fn instruction(opcode: u8, registers: u8, offset: i16, immediate: i32) -> u64 {
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = immediate.to_ne_bytes();
    u64::from_ne_bytes([opcode, registers, o0, o1, i0, i1, i2, i3])
}

/// `return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS)`: the lower bits of the flags are what is returned
/// where the map has no socket for the queue.
fn instructions(map: i32) -> [u64; 6] {
    /// Registers of an instruction on little-endian hosts: the source in the upper half.
    const fn registers(destination: u8, source: u8) -> u8 {
        if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source }
    }
    const LOAD_WORD: u8 = 0x61;
    const LOAD_IMMEDIATE_64: u8 = 0x18;
    const MAP_FD: u8 = 1;
    const MOVE_IMMEDIATE: u8 = 0xb7;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    /// Offset of `rx_queue_index` in `struct xdp_md`.
    const RX_QUEUE_INDEX: i16 = 16;
    [
        instruction(LOAD_WORD, registers(2, 1), RX_QUEUE_INDEX, 0),
        instruction(LOAD_IMMEDIATE_64, registers(1, MAP_FD), 0, map),
        instruction(0, 0, 0, 0),
        instruction(MOVE_IMMEDIATE, registers(3, 0), 0, XDP_PASS),
        instruction(CALL, 0, 0, FUNC_REDIRECT_MAP),
        instruction(EXIT, 0, 0, 0),
    ]
}

fn bpf<A>(command: libc::c_long, attr: &A) -> io::Result<usize> {
    // SAFETY: `attr` is a prefix of `union bpf_attr` for this command (the kernel takes the rest as zero), and what it
    // points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<A>()) };
    check_long(result as isize)
}

fn bpf_fd<A>(command: libc::c_long, attr: &A) -> io::Result<OwnedFd> {
    owned(bpf(command, attr)? as libc::c_int)
}

impl AsFd for SocketMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_program_is_what_the_assembler_would_make_of_it() {
        let bytes: Vec<[u8; 8]> = instructions(0x0102_0304).iter().map(|i| i.to_le_bytes()).collect();
        assert_eq!(
            bytes,
            [
                [0x61, 0x12, 16, 0, 0, 0, 0, 0],
                [0x18, 0x11, 0, 0, 4, 3, 2, 1],
                [0; 8],
                [0xb7, 0x03, 0, 0, 2, 0, 0, 0],
                [0x85, 0, 0, 0, 51, 0, 0, 0],
                [0x95, 0, 0, 0, 0, 0, 0, 0],
            ]
        );
    }
}
