//! BPF programs and maps by bpf(2): an assembler for a few dozen instructions, loading, attaching.
//!
//! Programs are attached by links, so that they go when the process goes, also when that crashes (linux/bpf.h,
//! BPF_LINK_CREATE).
//!
//! **Safety.** bpf(2) reads one attribute structure and what it points to, and writes values of the length the map was
//! made with; all of it outlives the call.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::fd::{check_long, owned};
use crate::{PortError, PortErrorKind};

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const PROG_LOAD: libc::c_long = 5;
const PROG_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;
/// What the verifier may say about a program.
const LOG_LEN: usize = 64 << 10;

/// Kinds of maps (enum bpf_map_type).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum MapKind {
    Hash = 1,
    Array = 2,
    LruHash = 9,
    Devices = 14,
    Sockets = 17,
}

/// The values of an array lie in memory that can be mapped (BPF_F_MMAPABLE).
const MAPPABLE: u32 = 1 << 10;

/// Kinds of programs (enum bpf_prog_type).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum ProgramKind {
    Classifier = 3,
    Xdp = 6,
}

/// Hooks (enum bpf_attach_type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hook {
    Xdp = 37,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// A map with keys of `K` bytes and values of `V` bytes.
#[derive(Debug)]
pub(crate) struct Map<const K: usize, const V: usize>(OwnedFd);

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value_or_next: u64,
    flags: u64,
}

impl<const K: usize, const V: usize> Map<K, V> {
    pub(crate) fn new(kind: MapKind, entries: u32) -> io::Result<Map<K, V>> {
        Map::with_flags(kind, entries, 0)
    }

    /// An array whose values can be mapped; `V` is a multiple of eight.
    pub(crate) fn mappable(entries: u32) -> io::Result<Map<K, V>> {
        Map::with_flags(MapKind::Array, entries, MAPPABLE)
    }

    fn with_flags(kind: MapKind, entries: u32, map_flags: u32) -> io::Result<Map<K, V>> {
        #[repr(C)]
        struct Attr {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            map_flags: u32,
        }
        let attr = Attr {
            map_type: kind as u32,
            key_size: K as u32,
            value_size: V as u32,
            max_entries: entries.max(1),
            map_flags,
        };
        bpf_fd(MAP_CREATE, &attr).map(Map)
    }

    /// The value of a key from here on.
    pub(crate) fn set(&self, key: [u8; K], value: [u8; V]) -> io::Result<()> {
        let attr = self.element(&key, value.as_ptr().addr());
        bpf(MAP_UPDATE_ELEM, &attr).map(drop)
    }

    /// The value of a key; `None` where it has none.
    pub(crate) fn get(&self, key: [u8; K]) -> io::Result<Option<[u8; V]>> {
        let mut value = [0u8; V];
        let attr = self.element(&key, value.as_mut_ptr().addr());
        match bpf(MAP_LOOKUP_ELEM, &attr) {
            Ok(_) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Forgets a key that is there.
    pub(crate) fn remove(&self, key: [u8; K]) -> io::Result<()> {
        bpf(MAP_DELETE_ELEM, &self.element(&key, 0)).map(drop)
    }

    /// Up to `limit` of the keys.
    pub(crate) fn keys(&self, limit: usize) -> io::Result<Vec<[u8; K]>> {
        let mut keys: Vec<[u8; K]> = Vec::new();
        while keys.len() < limit {
            let mut next = [0u8; K];
            let place = next.as_mut_ptr().addr();
            // Without a key the kernel gives the first.
            let attr = ElementAttr {
                key: keys.last().map_or(0, |key| key.as_ptr().addr() as u64),
                ..self.element(&next, place)
            };
            match bpf(MAP_GET_NEXT_KEY, &attr) {
                Ok(_) => keys.push(next),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(keys)
    }

    fn element(&self, key: &[u8; K], value_or_next: usize) -> ElementAttr {
        ElementAttr {
            map_fd: self.0.as_raw_fd() as u32,
            padding: 0,
            key: key.as_ptr().addr() as u64,
            value_or_next: value_or_next as u64,
            flags: 0,
        }
    }
}

impl<const K: usize, const V: usize> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A program to be loaded.
#[derive(Debug)]
pub(crate) struct Program<'p> {
    pub(crate) kind: ProgramKind,
    pub(crate) code: &'p [u64],
    /// BPF_F_* of BPF_PROG_LOAD.
    pub(crate) flags: u32,
    pub(crate) name: [u8; 16],
    pub(crate) hook: Hook,
}

/// Loads a program. The error carries what the kernel's verifier said.
pub(crate) fn load(program: &Program<'_>) -> Result<OwnedFd, PortError> {
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
    let mut log = vec![0u8; LOG_LEN];
    let attr = Attr {
        prog_type: program.kind as u32,
        insn_cnt: program.code.len() as u32,
        insns: program.code.as_ptr().addr() as u64,
        license: c"Dual MIT/GPL".as_ptr().addr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr().addr() as u64,
        kern_version: 0,
        prog_flags: program.flags,
        prog_name: program.name,
        prog_ifindex: 0,
        expected_attach_type: program.hook as u32,
    };
    bpf_fd(PROG_LOAD, &attr).map_err(|e| {
        let said = log.split(|&b| b == 0).next().unwrap_or_default();
        let said = String::from_utf8_lossy(said).trim().replace('\n', " | ");
        let what = if said.is_empty() { "cannot load it".to_owned() } else { format!("cannot load it ({said})") };
        let denied = PortErrorKind::of(&e) == PortErrorKind::Denied;
        let remedy = if denied { "vswitchd needs CAP_BPF and CAP_NET_ADMIN, or root" } else { "" };
        PortError::os("BPF program", what, e).with_remedy(remedy)
    })
}

/// Attaches a program to a hook of a device of the calling thread's namespace, until the link is closed. `flags`:
/// XDP_FLAGS_* for XDP, 0 otherwise.
pub(crate) fn attach(program: BorrowedFd<'_>, index: u32, hook: Hook, flags: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let attr = Attr { prog_fd: program.as_raw_fd() as u32, target_ifindex: index, attach_type: hook as u32, flags };
    bpf_fd(LINK_CREATE, &attr)
}

/// Runs an XDP program `count` times on frames of the kernel's that begin as `frame`, as if `device` of the calling
/// thread's namespace had received them; what it redirects is sent (BPF_F_TEST_XDP_LIVE_FRAMES).
pub(crate) fn run_live(program: BorrowedFd<'_>, frame: &[u8], device: u32, [count, batch]: [u32; 2]) -> io::Result<()> {
    const LIVE_FRAMES: u32 = 1 << 1;
    /// `struct xdp_md`.
    #[repr(C)]
    struct Context {
        data: u32,
        data_end: u32,
        data_meta: u32,
        ingress_ifindex: u32,
        rx_queue_index: u32,
        egress_ifindex: u32,
    }
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        padding: u32,
    }
    let context = Context {
        data: 0,
        data_end: frame.len() as u32,
        data_meta: 0,
        ingress_ifindex: device,
        rx_queue_index: 0,
        egress_ifindex: 0,
    };
    let attr = Attr {
        prog_fd: program.as_raw_fd() as u32,
        retval: 0,
        data_size_in: frame.len() as u32,
        data_size_out: 0,
        data_in: frame.as_ptr().addr() as u64,
        data_out: 0,
        repeat: count,
        duration: 0,
        ctx_size_in: size_of::<Context>() as u32,
        ctx_size_out: 0,
        ctx_in: std::ptr::from_ref(&context).addr() as u64,
        ctx_out: 0,
        flags: LIVE_FRAMES,
        cpu: 0,
        batch_size: batch,
        padding: 0,
    };
    bpf(PROG_RUN, &attr).map(drop)
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

/// A register. R1 to R5 carry arguments, R0 a result, R6 to R9 survive calls, R10 is the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum R {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10 = 10,
}

/// How wide an access to memory is.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Width {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
    Double = 0x18,
}

/// Functions of the kernel (enum bpf_func_id).
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Function {
    MapLookup = 1,
    MapUpdate = 2,
    CloneRedirect = 13,
    Redirect = 23,
    RedirectMap = 51,
    KtimeCoarse = 160,
}

/// An assembler (Documentation/bpf/standardization). Jumps name labels, which are put in when the code is taken.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    code: Vec<u64>,
    labels: HashMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
}

impl Assembler {
    fn put(&mut self, opcode: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> &mut Self {
        let registers =
            if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
        let [o0, o1] = offset.to_ne_bytes();
        let [i0, i1, i2, i3] = immediate.to_ne_bytes();
        self.code.push(u64::from_ne_bytes([opcode, registers, o0, o1, i0, i1, i2, i3]));
        self
    }

    fn jump(&mut self, opcode: u8, a: u8, b: u8, immediate: i32, to: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), to));
        self.put(opcode, a, b, 0, immediate)
    }

    pub(crate) fn label(&mut self, name: &'static str) -> &mut Self {
        self.labels.insert(name, self.code.len());
        self
    }

    pub(crate) fn copy(&mut self, to: R, from: R) -> &mut Self {
        self.put(0xbf, to as u8, from as u8, 0, 0)
    }

    pub(crate) fn set(&mut self, to: R, value: i32) -> &mut Self {
        self.put(0xb7, to as u8, 0, 0, value)
    }

    pub(crate) fn add(&mut self, to: R, value: i32) -> &mut Self {
        self.put(0x07, to as u8, 0, 0, value)
    }

    pub(crate) fn plus(&mut self, to: R, from: R) -> &mut Self {
        self.put(0x0f, to as u8, from as u8, 0, 0)
    }

    pub(crate) fn minus(&mut self, to: R, from: R) -> &mut Self {
        self.put(0x1f, to as u8, from as u8, 0, 0)
    }

    pub(crate) fn mask(&mut self, to: R, bits: i32) -> &mut Self {
        self.put(0x57, to as u8, 0, 0, bits)
    }

    pub(crate) fn shift_left(&mut self, to: R, bits: i32) -> &mut Self {
        self.put(0x67, to as u8, 0, 0, bits)
    }

    pub(crate) fn shift_right(&mut self, to: R, bits: i32) -> &mut Self {
        self.put(0x77, to as u8, 0, 0, bits)
    }

    /// The lower 16 bits in the order of the network, or back; the rest becomes zero.
    pub(crate) fn swap16(&mut self, to: R) -> &mut Self {
        self.put(0xdc, to as u8, 0, 0, 16).mask(to, 0xffff)
    }

    pub(crate) fn load(&mut self, width: Width, to: R, base: R, offset: i16) -> &mut Self {
        self.put(0x61 | width as u8, to as u8, base as u8, offset, 0)
    }

    pub(crate) fn store(&mut self, width: Width, base: R, offset: i16, from: R) -> &mut Self {
        self.put(0x63 | width as u8, base as u8, from as u8, offset, 0)
    }

    /// Stores a number.
    pub(crate) fn put_number(&mut self, width: Width, base: R, offset: i16, value: i32) -> &mut Self {
        self.put(0x62 | width as u8, base as u8, 0, offset, value)
    }

    /// `*(u64 *)base += from`, atomically.
    pub(crate) fn count(&mut self, base: R, from: R) -> &mut Self {
        self.count_at(base, 0, from)
    }

    /// `*(u64 *)(base + offset) += from`, atomically.
    pub(crate) fn count_at(&mut self, base: R, offset: i16, from: R) -> &mut Self {
        self.put(0xdb, base as u8, from as u8, offset, 0)
    }

    pub(crate) fn map(&mut self, to: R, map: BorrowedFd<'_>) -> &mut Self {
        const MAP_FD: u8 = 1;
        self.put(0x18, to as u8, MAP_FD, 0, map.as_raw_fd());
        self.code.push(0);
        self
    }

    pub(crate) fn if_equal(&mut self, a: R, value: i32, to: &'static str) -> &mut Self {
        self.jump(0x15, a as u8, 0, value, to)
    }

    pub(crate) fn if_not_equal(&mut self, a: R, value: i32, to: &'static str) -> &mut Self {
        self.jump(0x55, a as u8, 0, value, to)
    }

    pub(crate) fn if_different(&mut self, a: R, b: R, to: &'static str) -> &mut Self {
        self.jump(0x5d, a as u8, b as u8, 0, to)
    }

    pub(crate) fn if_same(&mut self, a: R, b: R, to: &'static str) -> &mut Self {
        self.jump(0x1d, a as u8, b as u8, 0, to)
    }

    pub(crate) fn if_below(&mut self, a: R, value: i32, to: &'static str) -> &mut Self {
        self.jump(0xa5, a as u8, 0, value, to)
    }

    pub(crate) fn if_any_bit(&mut self, a: R, bits: i32, to: &'static str) -> &mut Self {
        self.jump(0x45, a as u8, 0, bits, to)
    }

    pub(crate) fn if_greater(&mut self, a: R, b: R, to: &'static str) -> &mut Self {
        self.jump(0x2d, a as u8, b as u8, 0, to)
    }

    pub(crate) fn go(&mut self, to: &'static str) -> &mut Self {
        self.jump(0x05, 0, 0, 0, to)
    }

    pub(crate) fn call(&mut self, function: Function) -> &mut Self {
        self.put(0x85, 0, 0, 0, function as i32)
    }

    pub(crate) fn exit(&mut self) -> &mut Self {
        self.put(0x95, 0, 0, 0, 0)
    }

    /// The code, its jumps resolved. A jump to a label that is not there stays a jump to the next instruction.
    pub(crate) fn code(&mut self) -> Vec<u64> {
        let mut code = std::mem::take(&mut self.code);
        for (at, label) in self.jumps.drain(..) {
            let target = self.labels.get(label).copied().unwrap_or(at + 1);
            let distance = (target as i64 - at as i64 - 1) as i16;
            if let Some(instruction) = code.get_mut(at) {
                let mut bytes = instruction.to_ne_bytes();
                bytes[2..4].copy_from_slice(&distance.to_ne_bytes());
                *instruction = u64::from_ne_bytes(bytes);
            }
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn jumps_go_forward_to_their_labels() {
        let mut assembler = Assembler::default();
        assembler.if_equal(R::R1, 7, "end").set(R::R0, -1).label("end").exit();
        let bytes: Vec<[u8; 8]> = assembler.code().iter().map(|i| i.to_le_bytes()).collect();
        assert_eq!(
            bytes,
            [[0x15, 1, 1, 0, 7, 0, 0, 0], [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x95, 0, 0, 0, 0, 0, 0, 0]]
        );
    }
}
