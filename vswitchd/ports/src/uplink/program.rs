//! The two programs of a shared card, at the hooks of the kernel's traffic control (tcx, Linux 6.6).
//!
//! *At the card*, on arrival and on departure: a frame for a known guest goes to the TAP device and so to the switch; one
//! for everybody goes on its way and a copy of it to the switch; all others go on. *At the TAP device*, where the switch
//! puts its frames: one for the host is received by the card, one for everybody by the card and by the wire, all others
//! leave by the card. Frames that come from the switch carry a mark on their way through the card, so that they are not
//! given to it again.
//!
//! Guests are known by what they send. An address that is the host's or pinned is nobody else's: a frame of the switch
//! that claims it is dropped and counted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use weir_wire::MacAddr;

use crate::PortError;
use crate::bpf::{self, Assembler, Function, Hook, Map, MapKind, Program, ProgramKind, R, Width};

/// Guests remembered; the longest silent makes room.
const GUESTS: u32 = 16384;
/// Addresses pinned at most.
const PINS: u32 = 1024;
/// "WEIR" in `skb->mark`.
const MARK: i32 = 0x5745_4952;

/// Offsets in `struct __sk_buff`.
mod skb {
    pub const MARK: i16 = 8;
    pub const DATA: i16 = 76;
    pub const DATA_END: i16 = 80;
}

/// What a tcx program answers (enum tcx_action_base).
mod answer {
    pub const NEXT: i32 = -1;
    pub const DROP: i32 = 2;
}

const BPF_F_INGRESS: i32 = 1;
const ETHERNET_HEADER: i32 = 14;

/// Whose a pinned address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Owner {
    Host = 1,
    Outside = 2,
}

/// What the programs share.
#[derive(Debug)]
pub(super) struct Tables {
    guests: Map<8, 4>,
    pins: Map<8, 4>,
    spoofed: Map<4, 8>,
}

fn key(mac: MacAddr) -> [u8; 8] {
    let mut key = [0; 8];
    key[..6].copy_from_slice(&mac.0);
    key
}

impl Tables {
    pub(super) fn new() -> io::Result<Tables> {
        Ok(Tables {
            guests: Map::new(MapKind::LruHash, GUESTS)?,
            pins: Map::new(MapKind::Hash, PINS)?,
            spoofed: Map::new(MapKind::Array, 1)?,
        })
    }

    pub(super) fn pin(&self, mac: MacAddr, owner: Owner) -> io::Result<()> {
        self.pins.set(key(mac), (owner as u32).to_ne_bytes())
    }

    /// Forgets the pinned addresses.
    pub(super) fn unpin_all(&self) -> io::Result<()> {
        self.pins.keys(PINS as usize)?.into_iter().try_for_each(|key| self.pins.remove(key))
    }

    /// Guests known, up to `limit` of them.
    pub(super) fn guests(&self, limit: usize) -> io::Result<Vec<MacAddr>> {
        let address = |key: [u8; 8]| key.first_chunk().map(|&mac| MacAddr(mac));
        let mut guests: Vec<MacAddr> = self.guests.keys(limit)?.into_iter().filter_map(address).collect();
        guests.sort_unstable();
        Ok(guests)
    }

    /// Frames of the switch that claimed a pinned address.
    pub(super) fn spoofed(&self) -> io::Result<u64> {
        Ok(self.spoofed.get([0; 4])?.map_or(0, u64::from_ne_bytes))
    }
}

/// Loads the program of the card's two hooks; `tap` is the TAP device's number.
pub(super) fn load_card(tables: &Tables, tap: u32) -> Result<OwnedFd, PortError> {
    load(&card(tables.guests.as_fd(), tap), *b"weir_card\0\0\0\0\0\0\0")
}

/// Loads the program of the TAP device; `card` is the card's number.
pub(super) fn load_switch(tables: &Tables, card: u32) -> Result<OwnedFd, PortError> {
    load(&switch(tables, card), *b"weir_switch\0\0\0\0\0")
}

fn load(code: &[u64], name: [u8; 16]) -> Result<OwnedFd, PortError> {
    bpf::load(&Program { kind: ProgramKind::Classifier, code, flags: 0, name, hook: Hook::TcxIngress })
}

/// Goes to "short" where the frame has no whole Ethernet header; R2 is its start.
fn header(code: &mut Assembler) -> &mut Assembler {
    code.load(Width::Word, R::R2, R::R6, skb::DATA).load(Width::Word, R::R3, R::R6, skb::DATA_END);
    code.copy(R::R4, R::R2).add(R::R4, ETHERNET_HEADER).if_greater(R::R4, R::R3, "short")
}

/// Puts the address at `from` of the frame into the frame pointer's memory at `to`, as a map's key.
fn address(code: &mut Assembler, from: i16, to: i16) -> &mut Assembler {
    code.load(Width::Half, R::R5, R::R2, from).store(Width::Half, R::R10, to, R::R5);
    code.load(Width::Half, R::R5, R::R2, from + 2).store(Width::Half, R::R10, to + 2, R::R5);
    code.load(Width::Half, R::R5, R::R2, from + 4).store(Width::Half, R::R10, to + 4, R::R5);
    code.set(R::R5, 0).store(Width::Half, R::R10, to + 6, R::R5)
}

fn look_up<'c>(code: &'c mut Assembler, map: BorrowedFd<'_>, key: i16) -> &'c mut Assembler {
    code.copy(R::R2, R::R10).add(R::R2, key.into()).map(R::R1, map).call(Function::MapLookup)
}

const DESTINATION: i16 = -8;
const SOURCE: i16 = -16;
const VALUE: i16 = -24;

fn card(guests: BorrowedFd<'_>, tap: u32) -> Vec<u64> {
    let (code, tap) = (&mut Assembler::default(), tap as i32);
    code.copy(R::R6, R::R1).load(Width::Word, R::R2, R::R6, skb::MARK).if_not_equal(R::R2, MARK, "theirs");
    code.set(R::R2, 0).store(Width::Word, R::R6, skb::MARK, R::R2).go("short");
    header(code.label("theirs")).load(Width::Byte, R::R5, R::R2, 0).if_any_bit(R::R5, 1, "everybody");
    look_up(address(code, 0, DESTINATION), guests, DESTINATION).if_equal(R::R0, 0, "short");
    code.set(R::R1, tap).set(R::R2, 0).call(Function::Redirect).exit();
    code.label("everybody").copy(R::R1, R::R6).set(R::R2, tap).set(R::R3, 0).call(Function::CloneRedirect);
    code.label("short").set(R::R0, answer::NEXT).exit().code()
}

fn switch(tables: &Tables, card: u32) -> Vec<u64> {
    let (code, card) = (&mut Assembler::default(), card as i32);
    header(code.copy(R::R6, R::R1)).load(Width::Byte, R::R7, R::R2, 0);
    code.load(Width::Byte, R::R5, R::R2, 6).if_any_bit(R::R5, 1, "short");
    address(address(code, 0, DESTINATION), 6, SOURCE);
    look_up(code, tables.pins.as_fd(), SOURCE).if_not_equal(R::R0, 0, "spoofed");
    look_up(code, tables.guests.as_fd(), SOURCE).if_not_equal(R::R0, 0, "known");
    code.set(R::R5, 1).store(Width::Double, R::R10, VALUE, R::R5).copy(R::R2, R::R10).add(R::R2, SOURCE.into());
    code.copy(R::R3, R::R10).add(R::R3, VALUE.into()).set(R::R4, 0).map(R::R1, tables.guests.as_fd());
    code.call(Function::MapUpdate);
    code.label("known").set(R::R2, MARK).store(Width::Word, R::R6, skb::MARK, R::R2);
    code.if_any_bit(R::R7, 1, "everybody");
    look_up(code, tables.pins.as_fd(), DESTINATION).if_equal(R::R0, 0, "out");
    code.load(Width::Word, R::R1, R::R0, 0).if_equal(R::R1, Owner::Host as i32, "host");
    code.label("out").set(R::R1, card).set(R::R2, 0).call(Function::Redirect).exit();
    code.label("everybody").copy(R::R1, R::R6).set(R::R2, card).set(R::R3, 0).call(Function::CloneRedirect);
    code.label("host").set(R::R1, card).set(R::R2, BPF_F_INGRESS).call(Function::Redirect).exit();
    code.label("spoofed").set(R::R5, 0).store(Width::Double, R::R10, VALUE, R::R5);
    look_up(code, tables.spoofed.as_fd(), VALUE).if_equal(R::R0, 0, "short");
    code.set(R::R1, 1).count(R::R0, R::R1);
    code.label("short").set(R::R0, answer::DROP).exit().code()
}
