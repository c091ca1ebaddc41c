//! The XDP program of a port that takes part in the fast path.
//!
//! It reads a frame as `weir_wire`'s parser of the common kinds does, and is as strict: untagged IPv4 without options or
//! IPv6 without extension headers, whole, with TCP or UDP whose lengths are right. TCP must neither open nor end a
//! connection. A frame whose checksum its sender left unfinished comes up, where it is finished. What finds its place in
//! the fast path is sent by the device the place names; everything else goes to the sockets.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::fast_path::{Membership, NAME, name, place};
use super::program::{self, SocketMap, context};
use crate::PortError;
use crate::bpf::{self, Assembler, Function, ProgramKind, R, Width};

const XDP_REDIRECT: i32 = 4;
const ETHERNET: i16 = 14;
const V4: i16 = ETHERNET + 20;
const V6: i16 = ETHERNET + 40;
const UDP: i16 = 8;
const TCP: i16 = 20;
const PROTOCOL_TCP: i32 = 6;
const PROTOCOL_UDP: i32 = 17;
/// FIN, SYN, RST and ACK.
const FLAGS: i32 = 0x17;
const ACK: i32 = 0x10;

/// Places in the frame pointer's memory.
mod local {
    use super::NAME;
    pub const NAME_AT: i16 = -(NAME as i16);
    pub const LENGTH: i16 = NAME_AT - 8;
    pub const CHECKSUM: i16 = NAME_AT - 16;
    pub const COVERED: i16 = NAME_AT - 24;
    pub const NUMBER: i16 = NAME_AT - 32;
}

/// Loads the program of the device that `member` stands for.
pub(super) fn load(sockets: &SocketMap, member: &Membership) -> Result<OwnedFd, PortError> {
    let maps = member.maps().map_err(|e| PortError::new(crate::PortErrorKind::Unsupported, "fast path", e))?;
    let mut code = Assembler::default();
    let [names, places, devices] = maps.fds();
    begin(&mut code, member.device);
    ipv4(code.label("ipv4"));
    ipv6(code.label("ipv6"));
    transport(code.label("transport"));
    look_up(&mut code, names, places);
    send(&mut code, devices);
    program::hand_up(code.label("up").copy(R::R1, R::R6), sockets);
    bpf::load(&bpf::Program {
        kind: ProgramKind::Xdp,
        code: &code.code(),
        flags: 0,
        name: *b"weir_fast_path\0\0",
        hook: bpf::Hook::Xdp,
    })
}

/// R6 the context, R7 the frame, R8 its end, R5 its length; the name with nothing but the port.
fn begin(code: &mut Assembler, device: u32) {
    code.copy(R::R6, R::R1);
    code.load(Width::Word, R::R7, R::R6, context::DATA).load(Width::Word, R::R8, R::R6, context::DATA_END);
    reach(code, R::R7, V4 + UDP);
    for word in 0..NAME as i16 / 8 {
        code.put_number(Width::Double, R::R10, local::NAME_AT + word * 8, 0);
    }
    code.put_number(Width::Word, R::R10, local::NAME_AT + name::PORT, device as i32);
    code.copy(R::R4, R::R8).minus(R::R4, R::R7).store(Width::Double, R::R10, local::LENGTH, R::R4);
    code.load(Width::Half, R::R2, R::R7, 12).swap16(R::R2);
    code.if_equal(R::R2, 0x0800, "ipv4").if_equal(R::R2, 0x86dd, "ipv6").go("up");
}

/// Goes up where fewer than `bytes` follow at `from`.
fn reach(code: &mut Assembler, from: R, bytes: i16) {
    code.copy(R::R2, from).add(R::R2, bytes.into()).if_greater(R::R2, R::R8, "up");
}

/// Leaves the transport header in R9 and the bytes from there on in R5.
fn ipv4(code: &mut Assembler) {
    code.load(Width::Byte, R::R2, R::R7, ETHERNET).if_not_equal(R::R2, 0x45, "up");
    code.load(Width::Half, R::R2, R::R7, ETHERNET + 6).swap16(R::R2).if_any_bit(R::R2, 0x3fff, "up");
    code.set(R::R3, 0);
    for word in 0..10 {
        code.load(Width::Half, R::R2, R::R7, ETHERNET + word * 2).plus(R::R3, R::R2);
    }
    fold(code, R::R3);
    code.if_not_equal(R::R3, 0xffff, "up");
    code.load(Width::Half, R::R5, R::R7, ETHERNET + 2).swap16(R::R5);
    code.if_below(R::R5, (V4 - ETHERNET + UDP).into(), "up");
    code.copy(R::R2, R::R5).add(R::R2, ETHERNET.into()).if_greater(R::R2, R::R4, "up");
    code.add(R::R5, (ETHERNET - V4).into());
    code.load(Width::Byte, R::R2, R::R7, ETHERNET + 9).store(Width::Byte, R::R10, in_name(name::PROTOCOL), R::R2);
    code.load(Width::Word, R::R2, R::R7, ETHERNET + 12).store(Width::Word, R::R10, in_name(name::SOURCE), R::R2);
    code.load(Width::Word, R::R2, R::R7, ETHERNET + 16).store(Width::Word, R::R10, in_name(name::DESTINATION), R::R2);
    code.put_number(Width::Byte, R::R10, in_name(name::FAMILY), 4);
    code.copy(R::R9, R::R7).add(R::R9, V4.into()).go("transport");
}

fn ipv6(code: &mut Assembler) {
    reach(code, R::R7, V6 + UDP);
    code.load(Width::Byte, R::R2, R::R7, ETHERNET).shift_right(R::R2, 4).if_not_equal(R::R2, 6, "up");
    code.load(Width::Half, R::R5, R::R7, ETHERNET + 4).swap16(R::R5).if_below(R::R5, UDP.into(), "up");
    code.copy(R::R2, R::R5).add(R::R2, V6.into()).if_greater(R::R2, R::R4, "up");
    code.load(Width::Byte, R::R2, R::R7, ETHERNET + 6).store(Width::Byte, R::R10, in_name(name::PROTOCOL), R::R2);
    for word in 0..8 {
        code.load(Width::Word, R::R2, R::R7, ETHERNET + 8 + word * 4);
        code.store(Width::Word, R::R10, in_name(name::SOURCE) + word * 4, R::R2);
    }
    code.put_number(Width::Byte, R::R10, in_name(name::FAMILY), 6);
    code.copy(R::R9, R::R7).add(R::R9, V6.into());
}

/// Takes both ports into the name; leaves the checksum as it stands, and the length it covers.
fn transport(code: &mut Assembler) {
    code.load(Width::Word, R::R2, R::R9, 0).store(Width::Word, R::R10, in_name(name::PORTS), R::R2);
    code.load(Width::Byte, R::R2, R::R10, in_name(name::PROTOCOL));
    code.if_equal(R::R2, PROTOCOL_UDP, "udp").if_not_equal(R::R2, PROTOCOL_TCP, "up");
    reach(code, R::R9, TCP);
    code.load(Width::Byte, R::R2, R::R9, 13).mask(R::R2, FLAGS).if_not_equal(R::R2, ACK, "up");
    code.load(Width::Byte, R::R2, R::R9, 12).shift_right(R::R2, 4).shift_left(R::R2, 2);
    code.if_below(R::R2, TCP.into(), "up").if_greater(R::R2, R::R5, "up");
    code.load(Width::Half, R::R3, R::R9, 16).go("summed");
    code.label("udp").load(Width::Half, R::R2, R::R9, 4).swap16(R::R2);
    code.if_below(R::R2, UDP.into(), "up").if_greater(R::R2, R::R5, "up");
    code.copy(R::R5, R::R2).load(Width::Half, R::R3, R::R9, 6);
    code.label("summed").store(Width::Double, R::R10, local::CHECKSUM, R::R3);
    code.store(Width::Double, R::R10, local::COVERED, R::R5);
}

/// Leaves the place in R9, all of its conditions met.
fn look_up(code: &mut Assembler, names: BorrowedFd<'_>, places: BorrowedFd<'_>) {
    code.map(R::R1, names).copy(R::R2, R::R10).add(R::R2, local::NAME_AT.into()).call(Function::MapLookup);
    code.if_equal(R::R0, 0, "up");
    code.load(Width::Word, R::R2, R::R0, 0).store(Width::Word, R::R10, local::NUMBER, R::R2);
    code.map(R::R1, places).copy(R::R2, R::R10).add(R::R2, local::NUMBER.into()).call(Function::MapLookup);
    code.if_equal(R::R0, 0, "up").copy(R::R9, R::R0);
    code.load(Width::Word, R::R1, R::R9, place::GATE).if_not_equal(R::R1, 1, "up");
    for word in 0..NAME as i16 / 8 {
        code.load(Width::Double, R::R1, R::R9, place::NAME + word * 8);
        code.load(Width::Double, R::R2, R::R10, local::NAME_AT + word * 8).if_different(R::R1, R::R2, "up");
    }
    for word in 0..3 {
        code.load(Width::Word, R::R1, R::R9, place::ADDRESSES + word * 4);
        code.load(Width::Word, R::R2, R::R7, word * 4).if_different(R::R1, R::R2, "up");
    }
    code.load(Width::Word, R::R1, R::R9, place::LONGEST).load(Width::Double, R::R2, R::R10, local::LENGTH);
    code.if_greater(R::R2, R::R1, "up");
    // An unfinished checksum is the folded sum of the pseudo-header.
    code.load(Width::Word, R::R1, R::R9, place::PSEUDO).load(Width::Double, R::R2, R::R10, local::COVERED);
    code.swap16(R::R2).plus(R::R1, R::R2);
    fold(code, R::R1);
    code.load(Width::Double, R::R2, R::R10, local::CHECKSUM).if_same(R::R1, R::R2, "up");
}

/// Sends the frame by the place's device, and counts it there.
fn send(code: &mut Assembler, devices: BorrowedFd<'_>) {
    code.load(Width::Word, R::R2, R::R9, place::TO).map(R::R1, devices).set(R::R3, 0).call(Function::RedirectMap);
    code.if_not_equal(R::R0, XDP_REDIRECT, "up");
    code.set(R::R1, 1).count_at(R::R9, place::PACKETS, R::R1);
    code.load(Width::Double, R::R1, R::R10, local::LENGTH).count_at(R::R9, place::BYTES, R::R1);
    code.call(Function::KtimeCoarse).store(Width::Double, R::R9, place::LAST, R::R0);
    code.set(R::R0, XDP_REDIRECT).exit();
}

/// Folds a sum of up to 32 bits in `sum`; needs R2.
fn fold(code: &mut Assembler, sum: R) {
    for _ in 0..2 {
        code.copy(R::R2, sum).shift_right(R::R2, 16).mask(sum, 0xffff).plus(sum, R::R2);
    }
}

fn in_name(offset: i16) -> i16 {
    local::NAME_AT + offset
}
