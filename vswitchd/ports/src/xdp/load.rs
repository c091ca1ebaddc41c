//! Frames for measurements of devices, made and counted by XDP programs: far cheaper than any socket.
//!
//! A [`Generator`] has the kernel run its program on frames of its own (`BPF_PROG_RUN` with live frames, Linux 5.18),
//! which writes UDP headers and sends the frame by a device. What exceeds the pace of whoever receives is lost there. A
//! [`Sink`] counts what its device receives, and takes all of it. Both go with their values, also when the process
//! crashes.
//!
//! **Safety.** No code of its own beyond `bpf`'s: the kernel's verifier holds the programs to the frames' bounds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::program::{self, Attached, Hook, context};
use crate::bpf::{self, Assembler, Function, Map, MapKind, ProgramKind, R, Width};
use crate::netdev::Netdev;
use crate::netns::NetNs;
use crate::{PortError, PortErrorKind};

/// Ethernet, IPv4 and UDP without options.
pub const HEADERS: usize = 42;
/// Most flows: source ports of one address.
pub const FLOWS_MAX: u32 = 50_000;
/// Frames in one call of the kernel's inner loop (`batch_size` of the command).
const BATCH: u32 = 64;
const XDP_DROP: i32 = 1;
const XDP_ABORTED: i32 = 0;
const FIRST_PORT: i32 = 1024;
const PORTS_AT: usize = 34;
const IPV4: [u8; 2] = [8, 0];

/// Which of a frame's ports tells its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowPort {
    /// The source: of whoever opens flows.
    Source,
    /// The destination: of whoever answers.
    Destination,
}

/// Sends frames of a number of flows by a device.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
    device: u32,
    ns: NetNs,
}

impl Generator {
    /// `frame` is sent as it is but for the port that tells the flow, 1024 and up; its UDP checksum is to be zero.
    ///
    /// # Errors
    /// `NotFound` without the device, `Invalid` for a frame without room for headers or too many flows, `Denied` without
    /// the rights, `Unsupported` by an older kernel.
    pub fn new(
        ns: &NetNs,
        device: &str,
        frame: Vec<u8>,
        (flows, port): (u32, FlowPort),
    ) -> Result<Generator, PortError> {
        let object = || format!("generator on {device}");
        let refuse = |what| PortError::new(PortErrorKind::Invalid, object(), what);
        if !(1..=FLOWS_MAX).contains(&flows) {
            return Err(refuse("the flows are too many"));
        }
        let headers = frame.first_chunk::<HEADERS>().ok_or_else(|| refuse("the frame has no room for headers"))?;
        let failed = |what| move |e| PortError::os(object(), what, e);
        let index = Netdev::new(ns, device)?.index().map_err(failed("cannot find the device"))?;
        let next = Map::<4, 8>::new(MapKind::Array, 1).map_err(failed("cannot make its map"))?;
        let code = generate(headers, &next, index, (flows, port));
        let program = load(&code, *b"weir_generate\0\0\0")?;
        Ok(Generator { program, frame, device: index, ns: ns.duplicate()? })
    }

    /// Sends so many, one flow after the other; must be called in the device's namespace, see [`Generator::run`].
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` kernels do not know live frames.
    pub fn send(&self, frames: u32) -> io::Result<()> {
        bpf::run_live(self.program.as_fd(), &self.frame, self.device, [frames, BATCH])
    }

    /// Runs `work` in the device's namespace.
    ///
    /// # Errors
    /// Where it cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, PortError> {
        self.ns.run(work)
    }
}

/// Counts and takes what a device receives.
#[derive(Debug)]
pub struct Sink {
    counts: Map<4, 8>,
    _attached: Attached,
}

/// What a [`Sink`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sunk {
    /// Frames of the expected length and addresses.
    pub expected: u64,
    /// Others.
    pub strange: u64,
}

impl Sink {
    /// Expects frames of so many bytes, IPv4, between two addresses.
    ///
    /// # Errors
    /// As of [`Generator::new`]; `Busy` where another program is attached.
    pub fn new(ns: &NetNs, device: &str, length: usize, addresses: [[u8; 4]; 2]) -> Result<Sink, PortError> {
        let object = || format!("sink on {device}");
        let failed = |what| move |e| PortError::os(object(), what, e);
        let index = Netdev::new(ns, device)?.index().map_err(failed("cannot find the device"))?;
        let counts = Map::<4, 8>::new(MapKind::Array, 2).map_err(failed("cannot make its map"))?;
        let program = load(&count(&counts, length, addresses), *b"weir_sink\0\0\0\0\0\0\0")?;
        let attached = ns.run(|| program::attach(program.as_fd(), index, Hook::Native))?;
        Ok(Sink { counts, _attached: attached.map_err(failed("cannot attach its program"))? })
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn counts(&self) -> io::Result<Sunk> {
        let of = |key: u32| self.counts.get(key.to_ne_bytes()).map(|value| value.map_or(0, u64::from_ne_bytes));
        Ok(Sunk { expected: of(0)?, strange: of(1)? })
    }
}

fn load(code: &[u64], name: [u8; 16]) -> Result<OwnedFd, PortError> {
    bpf::load(&bpf::Program { kind: ProgramKind::Xdp, code, flags: 0, name, hook: bpf::Hook::Xdp })
}

/// R7: the frame; leaves for "bad" where it has no room for headers.
fn frame_in_r7(code: &mut Assembler) {
    code.load(Width::Word, R::R7, R::R1, context::DATA).load(Width::Word, R::R8, R::R1, context::DATA_END);
    code.copy(R::R2, R::R7).add(R::R2, HEADERS as i32).if_greater(R::R2, R::R8, "bad");
}

/// R0: the value of a key of an array; leaves for "bad" where there is none.
fn look_up(code: &mut Assembler, map: &Map<4, 8>, key: i32) {
    code.put_number(Width::Word, R::R10, -4, key).copy(R::R2, R::R10).add(R::R2, -4).map(R::R1, map.as_fd());
    code.call(Function::MapLookup).if_equal(R::R0, 0, "bad");
}

fn generate(headers: &[u8; HEADERS], next: &Map<4, 8>, device: u32, (flows, port): (u32, FlowPort)) -> Vec<u64> {
    let mut code = Assembler::default();
    frame_in_r7(&mut code);
    // A frame that was used before comes back as its receiver left it.
    let (words, rest) = headers.as_chunks::<4>();
    for (number, word) in words.iter().enumerate() {
        code.put_number(Width::Word, R::R7, number as i16 * 4, i32::from_ne_bytes(*word));
    }
    if let Some(&half) = rest.first_chunk::<2>() {
        code.put_number(Width::Half, R::R7, words.len() as i16 * 4, i32::from(i16::from_ne_bytes(half)));
    }
    look_up(&mut code, next, 0);
    code.load(Width::Double, R::R3, R::R0, 0).copy(R::R4, R::R3).add(R::R4, 1);
    code.if_not_equal(R::R4, flows as i32, "within").set(R::R4, 0);
    code.label("within").store(Width::Double, R::R0, 0, R::R4);
    let place = match port {
        FlowPort::Source => PORTS_AT,
        FlowPort::Destination => PORTS_AT + 2,
    };
    code.add(R::R3, FIRST_PORT).swap16(R::R3).store(Width::Half, R::R7, place as i16, R::R3);
    code.set(R::R1, device as i32).set(R::R2, 0).call(Function::Redirect).exit();
    code.label("bad").set(R::R0, XDP_ABORTED).exit();
    code.code()
}

fn count(counts: &Map<4, 8>, length: usize, addresses: [[u8; 4]; 2]) -> Vec<u64> {
    let mut code = Assembler::default();
    frame_in_r7(&mut code);
    code.copy(R::R2, R::R8).minus(R::R2, R::R7).if_not_equal(R::R2, length as i32, "strange");
    code.load(Width::Half, R::R2, R::R7, 12).if_not_equal(R::R2, i32::from(u16::from_ne_bytes(IPV4)), "strange");
    for (address, place) in addresses.into_iter().zip([26, 30]) {
        // Compared as a number without a sign, as it is loaded.
        code.load(Width::Word, R::R2, R::R7, place).shift_left(R::R2, 32);
        code.set(R::R3, i32::from_ne_bytes(address)).shift_left(R::R3, 32).if_different(R::R2, R::R3, "strange");
    }
    look_up(&mut code, counts, 0);
    code.go("count").label("strange");
    look_up(&mut code, counts, 1);
    code.label("count").set(R::R1, 1).count(R::R0, R::R1);
    code.label("bad").set(R::R0, XDP_DROP).exit();
    code.code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_without_a_device_or_with_too_many_flows_is_refused() {
        let frame = || vec![0; 60];
        let ns = NetNs::own();
        let refused = |frame, flows| Generator::new(&ns, "weir-none", frame, (flows, FlowPort::Source)).unwrap_err();
        assert_eq!(refused(frame(), 1).kind(), PortErrorKind::NotFound);
        assert_eq!(refused(frame(), FLOWS_MAX + 1).kind(), PortErrorKind::Invalid);
        assert_eq!(refused(frame(), 0).kind(), PortErrorKind::Invalid);
        assert_eq!(refused(vec![0; HEADERS - 1], 1).kind(), PortErrorKind::Invalid);
    }
}
