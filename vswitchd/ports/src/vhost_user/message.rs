//! Messages of the vhost-user protocol: bytes to requests, replies to bytes. Pure; no descriptor is touched here.
//!
//! A message is a header of 12 bytes (request, flags, payload size, in the host's byte order) and a payload. Sizes,
//! flags and the number of descriptors that came along are checked here once, so that a [`Request`] is complete;
//! whether it makes sense (a ring that exists, an address inside memory) is for the session to say.

use std::fmt;

/// Length of the header.
pub const HEADER_LEN: usize = 12;
/// The longest payload that is read; the longest one there is (a configuration space of 256 bytes) is shorter.
pub const PAYLOAD_MAX: usize = 512;
/// Descriptors that may come with one message.
pub const FDS_MAX: usize = 8;
/// Regions in one memory table (the protocol's baseline).
pub const REGIONS_MAX: usize = 8;
/// Bytes of a configuration space.
pub const CONFIG_MAX: usize = 256;

const VERSION_MASK: u32 = 0x3;
const VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;
/// In the payload of SET_VRING_KICK, CALL and ERR: no descriptor comes along.
const NO_FD: u64 = 1 << 8;

/// Numbers of the requests that are served.
pub mod number {
    #![allow(missing_docs, reason = "the names are the protocol's own")]
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const RESET_OWNER: u32 = 4;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_LOG_BASE: u32 = 6;
    pub const SET_LOG_FD: u32 = 7;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const SET_VRING_ERR: u32 = 14;
    pub const GET_PROTOCOL_FEATURES: u32 = 15;
    pub const SET_PROTOCOL_FEATURES: u32 = 16;
    pub const GET_QUEUE_NUM: u32 = 17;
    pub const SET_VRING_ENABLE: u32 = 18;
    pub const SEND_RARP: u32 = 19;
    pub const NET_SET_MTU: u32 = 20;
    pub const SET_BACKEND_REQ_FD: u32 = 21;
    pub const GET_CONFIG: u32 = 24;
    pub const SET_CONFIG: u32 = 25;
    pub const GET_INFLIGHT_FD: u32 = 31;
    pub const SET_INFLIGHT_FD: u32 = 32;
    pub const GET_MAX_MEM_SLOTS: u32 = 36;
    pub const ADD_MEM_REG: u32 = 37;
    pub const REM_MEM_REG: u32 = 38;
    pub const SET_STATUS: u32 = 39;
    pub const GET_STATUS: u32 = 40;
}

/// The header of a message from the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which request.
    pub request: u32,
    /// The sender wants an acknowledgement (in force only with REPLY_ACK).
    pub need_reply: bool,
    /// Payload bytes that follow, at most [`PAYLOAD_MAX`].
    pub size: usize,
}

/// A piece of guest memory, as the front end describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionInfo {
    /// Guest physical address.
    pub guest: u64,
    /// Bytes.
    pub size: u64,
    /// Address in the front end's process; ring addresses are given in it.
    pub user: u64,
    /// Where the region starts in its file.
    pub offset: u64,
}

/// A memory table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryTable {
    regions: [RegionInfo; REGIONS_MAX],
    count: usize,
}

impl MemoryTable {
    /// The regions, in the order of their descriptors.
    pub fn regions(&self) -> &[RegionInfo] {
        self.regions.get(..self.count).unwrap_or(&[])
    }
}

/// Where a ring stands, in the front end's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingAddress {
    /// Descriptor table.
    pub descriptors: u64,
    /// Used ring.
    pub used: u64,
    /// Available ring.
    pub available: u64,
    /// Guest physical address of the used ring, for the log; in force with `logged`.
    pub log: u64,
    /// Writes to the used ring go into the dirty log.
    pub logged: bool,
}

/// Shared memory for descriptors in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InflightInfo {
    /// Bytes; 0 in GET_INFLIGHT_FD.
    pub size: u64,
    /// Where it starts in its file.
    pub offset: u64,
    /// Queues.
    pub queues: u16,
    /// Entries a queue.
    pub queue_size: u16,
}

/// What the front end asks for. `ring` is the index of a ring: even ones carry frames to the guest, odd ones from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the protocol")]
pub enum Request {
    GetFeatures,
    SetFeatures(u64),
    SetOwner,
    ResetOwner,
    SetMemTable(Box<MemoryTable>),
    SetLogBase {
        size: u64,
        offset: u64,
    },
    SetLogFd,
    SetVringNum {
        ring: u32,
        size: u32,
    },
    SetVringAddr {
        ring: u32,
        address: RingAddress,
    },
    SetVringBase {
        ring: u32,
        base: u32,
    },
    GetVringBase {
        ring: u32,
    },
    SetVringKick {
        ring: u32,
    },
    SetVringCall {
        ring: u32,
    },
    SetVringErr {
        ring: u32,
    },
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueNum,
    SetVringEnable {
        ring: u32,
        enable: bool,
    },
    SendRarp([u8; 6]),
    NetSetMtu(u64),
    SetBackendReqFd,
    GetConfig {
        offset: u32,
        size: u32,
        flags: u32,
    },
    SetConfig,
    GetInflightFd(InflightInfo),
    SetInflightFd(InflightInfo),
    GetMaxMemSlots,
    AddMemReg(RegionInfo),
    RemMemReg(RegionInfo),
    SetStatus(u64),
    GetStatus,
    /// A request that is not served.
    Unknown(u32),
}

/// A message that breaks the protocol; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The version in the flags is not 1.
    Version(u32),
    /// A reply where a request belongs.
    Reply(u32),
    /// The payload is longer than any message has.
    TooLong {
        /// Request number.
        request: u32,
        /// Announced bytes.
        size: u32,
    },
    /// The payload has the wrong size for its request.
    Size {
        /// Request number.
        request: u32,
        /// Bytes that came.
        size: usize,
    },
    /// The wrong number of descriptors came along.
    Descriptors {
        /// Request number.
        request: u32,
        /// Descriptors that came.
        count: usize,
    },
    /// A number in the payload is out of its range.
    Value {
        /// Request number.
        request: u32,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Malformed::Version(flags) => write!(f, "a message has flags {flags:#x}, not those of protocol version 1"),
            Malformed::Reply(request) => write!(f, "message {request} is marked as a reply"),
            Malformed::TooLong { request, size } => write!(f, "message {request} announces {size} bytes"),
            Malformed::Size { request, size } => write!(f, "message {request} has a payload of {size} bytes"),
            Malformed::Descriptors { request, count } => {
                write!(f, "message {request} came with {count} file descriptors")
            }
            Malformed::Value { request } => write!(f, "message {request} holds a number out of range"),
        }
    }
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Malformed`] where the version, the direction or the size is wrong.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Header, Malformed> {
        let mut reader = Reader(bytes);
        let (request, flags, size) = match (reader.u32(), reader.u32(), reader.u32()) {
            (Some(request), Some(flags), Some(size)) => (request, flags, size),
            _ => return Err(Malformed::Version(0)),
        };
        if flags & VERSION_MASK != VERSION {
            return Err(Malformed::Version(flags));
        }
        if flags & REPLY != 0 {
            return Err(Malformed::Reply(request));
        }
        match usize::try_from(size) {
            Ok(n) if n <= PAYLOAD_MAX => Ok(Header { request, need_reply: flags & NEED_REPLY != 0, size: n }),
            _ => Err(Malformed::TooLong { request, size }),
        }
    }
}

impl Request {
    /// Reads a request whose payload is complete and that came with `fds` descriptors.
    ///
    /// # Errors
    /// [`Malformed`] where the payload's size, a number in it or the descriptors do not fit the request.
    pub fn parse(header: Header, payload: &[u8], fds: usize) -> Result<Request, Malformed> {
        let request = header.request;
        let wrong_size = Malformed::Size { request, size: payload.len() };
        if let Some(exact) = exact_size(request)
            && payload.len() != exact
        {
            return Err(wrong_size);
        }
        let parsed = Request::read(request, &mut Reader(payload)).ok_or(wrong_size)??;
        match parsed.fds(payload) {
            Some(wanted) if wanted != fds => Err(Malformed::Descriptors { request, count: fds }),
            _ => Ok(parsed),
        }
    }

    /// `None` where the payload is too short.
    fn read(request: u32, payload: &mut Reader<'_>) -> Option<Result<Request, Malformed>> {
        use number as n;
        Some(Ok(match request {
            n::GET_FEATURES => Request::GetFeatures,
            n::SET_FEATURES => Request::SetFeatures(payload.u64()?),
            n::SET_OWNER => Request::SetOwner,
            n::RESET_OWNER => Request::ResetOwner,
            n::SET_MEM_TABLE => return Request::read_table(payload),
            n::SET_LOG_BASE => Request::SetLogBase { size: payload.u64()?, offset: payload.u64()? },
            n::SET_LOG_FD => Request::SetLogFd,
            n::SET_VRING_NUM => Request::SetVringNum { ring: payload.u32()?, size: payload.u32()? },
            n::SET_VRING_ADDR => Request::SetVringAddr { ring: payload.u32()?, address: RingAddress::read(payload)? },
            n::SET_VRING_BASE => Request::SetVringBase { ring: payload.u32()?, base: payload.u32()? },
            n::GET_VRING_BASE => Request::GetVringBase { ring: payload.u32()? },
            n::SET_VRING_KICK => Request::SetVringKick { ring: (payload.u64()? & 0xff) as u32 },
            n::SET_VRING_CALL => Request::SetVringCall { ring: (payload.u64()? & 0xff) as u32 },
            n::SET_VRING_ERR => Request::SetVringErr { ring: (payload.u64()? & 0xff) as u32 },
            n::GET_PROTOCOL_FEATURES => Request::GetProtocolFeatures,
            n::SET_PROTOCOL_FEATURES => Request::SetProtocolFeatures(payload.u64()?),
            n::GET_QUEUE_NUM => Request::GetQueueNum,
            n::SET_VRING_ENABLE => {
                let ring = payload.u32()?;
                match payload.u32()? {
                    0 => Request::SetVringEnable { ring, enable: false },
                    1 => Request::SetVringEnable { ring, enable: true },
                    _ => return Some(Err(Malformed::Value { request })),
                }
            }
            n::SEND_RARP => Request::SendRarp(payload.array()?),
            n::NET_SET_MTU => Request::NetSetMtu(payload.u64()?),
            n::GET_CONFIG => Request::GetConfig { offset: payload.u32()?, size: payload.u32()?, flags: payload.u32()? },
            n::SET_BACKEND_REQ_FD => Request::SetBackendReqFd,
            n::SET_CONFIG => Request::SetConfig,
            n::GET_INFLIGHT_FD => Request::GetInflightFd(InflightInfo::read(payload)?),
            n::SET_INFLIGHT_FD => Request::SetInflightFd(InflightInfo::read(payload)?),
            n::GET_MAX_MEM_SLOTS => Request::GetMaxMemSlots,
            n::ADD_MEM_REG => Request::AddMemReg(RegionInfo::read_single(payload)?),
            n::REM_MEM_REG => Request::RemMemReg(RegionInfo::read_single(payload)?),
            n::SET_STATUS => Request::SetStatus(payload.u64()?),
            n::GET_STATUS => Request::GetStatus,
            other => Request::Unknown(other),
        }))
    }

    fn read_table(payload: &mut Reader<'_>) -> Option<Result<Request, Malformed>> {
        let count = payload.u32()? as usize;
        payload.u32()?;
        let mut table = MemoryTable { count, ..MemoryTable::default() };
        if count > REGIONS_MAX {
            return Some(Err(Malformed::Value { request: number::SET_MEM_TABLE }));
        }
        for region in table.regions.iter_mut().take(count) {
            *region = RegionInfo::read(payload)?;
        }
        Some(Ok(Request::SetMemTable(Box::new(table))))
    }

    /// How many descriptors belong to the request; `None` where any number will do.
    fn fds(&self, payload: &[u8]) -> Option<usize> {
        match self {
            Request::SetMemTable(table) => Some(table.count),
            Request::SetVringKick { .. } | Request::SetVringCall { .. } | Request::SetVringErr { .. } => {
                let none = Reader(payload).u64().is_some_and(|value| value & NO_FD != 0);
                Some(usize::from(!none))
            }
            Request::SetLogBase { .. } | Request::SetLogFd | Request::AddMemReg(_) => Some(1),
            Request::SetInflightFd(_) | Request::SetBackendReqFd => Some(1),
            // Front ends differ in whether they send the region's descriptor along; it is closed unused.
            Request::RemMemReg(_) | Request::Unknown(_) => None,
            _ => Some(0),
        }
    }
}

/// The payload's size where only one is right.
fn exact_size(request: u32) -> Option<usize> {
    use number as n;
    match request {
        n::GET_FEATURES | n::SET_OWNER | n::RESET_OWNER | n::GET_PROTOCOL_FEATURES => Some(0),
        n::GET_QUEUE_NUM | n::GET_MAX_MEM_SLOTS | n::GET_STATUS => Some(0),
        n::SET_FEATURES | n::SET_PROTOCOL_FEATURES | n::SET_STATUS | n::NET_SET_MTU | n::SEND_RARP => Some(8),
        n::SET_VRING_NUM | n::SET_VRING_BASE | n::GET_VRING_BASE | n::SET_VRING_ENABLE => Some(8),
        n::SET_VRING_KICK | n::SET_VRING_CALL | n::SET_VRING_ERR => Some(8),
        n::SET_LOG_BASE => Some(16),
        n::SET_VRING_ADDR | n::ADD_MEM_REG => Some(40),
        // SET_MEM_TABLE: User Mode Linux sends room for two regions and fills one.
        _ => None,
    }
}

impl RegionInfo {
    fn read(payload: &mut Reader<'_>) -> Option<RegionInfo> {
        Some(RegionInfo { guest: payload.u64()?, size: payload.u64()?, user: payload.u64()?, offset: payload.u64()? })
    }

    fn read_single(payload: &mut Reader<'_>) -> Option<RegionInfo> {
        payload.u64()?;
        RegionInfo::read(payload)
    }
}

impl RingAddress {
    fn read(payload: &mut Reader<'_>) -> Option<RingAddress> {
        let flags = payload.u32()?;
        Some(RingAddress {
            descriptors: payload.u64()?,
            used: payload.u64()?,
            available: payload.u64()?,
            log: payload.u64()?,
            logged: flags & 1 != 0,
        })
    }
}

impl InflightInfo {
    fn read(payload: &mut Reader<'_>) -> Option<InflightInfo> {
        Some(InflightInfo {
            size: payload.u64()?,
            offset: payload.u64()?,
            queues: payload.u16()?,
            queue_size: payload.u16()?,
        })
    }
}

/// A reply or, from our own front end, a request: header and payload, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    bytes: [u8; HEADER_LEN + PAYLOAD_MAX],
    len: usize,
}

impl Outgoing {
    /// The reply to `request` with an empty payload.
    pub fn reply(request: u32) -> Outgoing {
        Outgoing::new(request, VERSION | REPLY)
    }

    /// The reply to `request` that holds one number.
    pub fn reply_u64(request: u32, value: u64) -> Outgoing {
        Outgoing::reply(request).with(&value.to_ne_bytes())
    }

    /// A request, as a front end sends it.
    pub fn request(request: u32, need_reply: bool) -> Outgoing {
        Outgoing::new(request, if need_reply { VERSION | NEED_REPLY } else { VERSION })
    }

    fn new(request: u32, flags: u32) -> Outgoing {
        let mut message = Outgoing { bytes: [0; HEADER_LEN + PAYLOAD_MAX], len: HEADER_LEN };
        message.put(0, &request.to_ne_bytes());
        message.put(4, &flags.to_ne_bytes());
        message
    }

    /// Adds to the payload; what goes beyond the longest payload is cut off.
    #[must_use]
    pub fn with(mut self, payload: &[u8]) -> Outgoing {
        let n = payload.len().min(self.bytes.len() - self.len);
        self.put(self.len, payload.get(..n).unwrap_or(&[]));
        self.len += n;
        let size = (self.len - HEADER_LEN) as u32;
        self.put(8, &size.to_ne_bytes());
        self
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.bytes.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    /// Header and payload.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(request: u32, flags: u32, size: u32) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&request.to_ne_bytes());
        bytes[4..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..].copy_from_slice(&size.to_ne_bytes());
        bytes
    }

    fn parse(request: u32, payload: &[u8], fds: usize) -> Result<Request, Malformed> {
        let header = Header::parse(&header(request, VERSION, payload.len() as u32)).unwrap();
        Request::parse(header, payload, fds)
    }

    #[test]
    fn a_header_must_be_a_request_of_version_1_with_a_bounded_payload() {
        assert_eq!(
            Header::parse(&header(2, VERSION | NEED_REPLY, 8)),
            Ok(Header { request: 2, need_reply: true, size: 8 })
        );
        assert_eq!(Header::parse(&header(2, 2, 8)), Err(Malformed::Version(2)));
        assert_eq!(Header::parse(&header(2, VERSION | REPLY, 8)), Err(Malformed::Reply(2)));
        for size in [PAYLOAD_MAX as u32 + 1, 0x8000_0000, u32::MAX] {
            assert_eq!(Header::parse(&header(2, VERSION, size)), Err(Malformed::TooLong { request: 2, size }));
        }
    }

    #[test]
    fn a_payload_that_is_too_short_or_too_long_is_refused() {
        let wrong = |size| Err(Malformed::Size { request: number::SET_FEATURES, size });
        assert_eq!(parse(number::SET_FEATURES, &[0; 7], 0), wrong(7));
        assert_eq!(parse(number::SET_FEATURES, &[0; 9], 0), wrong(9));
        assert_eq!(parse(number::SET_FEATURES, &[0xff; 8], 0), Ok(Request::SetFeatures(u64::MAX)));
    }

    #[test]
    fn unexpected_descriptors_are_refused() {
        assert_eq!(
            parse(number::GET_FEATURES, &[], 1),
            Err(Malformed::Descriptors { request: number::GET_FEATURES, count: 1 })
        );
        assert!(parse(number::SET_LOG_BASE, &[0; 16], 0).is_err());
        assert!(parse(number::SET_LOG_BASE, &[0; 16], 2).is_err());
    }

    #[test]
    fn a_ring_message_has_a_descriptor_or_says_that_it_has_none() {
        let with = 3u64.to_ne_bytes();
        let without = (3 | NO_FD).to_ne_bytes();
        assert_eq!(parse(number::SET_VRING_KICK, &with, 1), Ok(Request::SetVringKick { ring: 3 }));
        assert_eq!(parse(number::SET_VRING_KICK, &without, 0), Ok(Request::SetVringKick { ring: 3 }));
        assert!(parse(number::SET_VRING_KICK, &with, 0).is_err());
        assert!(parse(number::SET_VRING_KICK, &without, 1).is_err());
    }

    #[test]
    fn a_memory_table_may_be_longer_than_its_regions_but_not_shorter() {
        let mut payload = vec![0u8; 8 + 64];
        payload[0] = 1;
        payload[8..16].copy_from_slice(&0x1000u64.to_ne_bytes());
        let Ok(Request::SetMemTable(table)) = parse(number::SET_MEM_TABLE, &payload, 1) else { panic!() };
        assert_eq!(table.regions(), [RegionInfo { guest: 0x1000, ..RegionInfo::default() }]);
        payload[0] = 3;
        assert!(matches!(parse(number::SET_MEM_TABLE, &payload, 3), Err(Malformed::Size { .. })));
        payload[0] = 9;
        assert!(matches!(parse(number::SET_MEM_TABLE, &payload, 8), Err(Malformed::Value { .. })));
    }

    #[test]
    fn a_reply_carries_its_size() {
        let reply = Outgoing::reply_u64(1, 0x0102);
        assert_eq!(reply.bytes().len(), 20);
        assert_eq!(reply.bytes()[4..8], (VERSION | REPLY).to_ne_bytes());
        assert_eq!(reply.bytes()[8..12], 8u32.to_ne_bytes());
        assert_eq!(Outgoing::reply(6).bytes().len(), 12);
        assert_eq!(Outgoing::reply(6).with(&[1; 600]).bytes().len(), HEADER_LEN + PAYLOAD_MAX);
    }

    #[test]
    fn no_payload_of_any_request_panics() {
        let bytes = [0xffu8; PAYLOAD_MAX];
        for request in 0..64 {
            for len in 0..=PAYLOAD_MAX {
                for fds in [0, 1, 8] {
                    let parsed = parse(request, &bytes[..len], fds);
                    assert!(request != number::SET_MEM_TABLE || parsed.is_err());
                }
            }
        }
    }
}
