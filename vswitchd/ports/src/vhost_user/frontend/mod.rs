//! A vhost-user front end of our own: the other side of the wire, for tests, measurements and demonstrations.
//!
//! It shares memory of its own, lays rings out in it and moves frames as a guest's driver would, with offload marks,
//! several queue pairs, split or packed rings, chained or indirect descriptors. It speaks as QEMU or as User Mode Linux do. Whatever it does
//! properly a test can also do by hand and wrongly: raw messages ([`Frontend::request`]), raw memory
//! ([`Frontend::memory`]), the places of the rings ([`queue::Place`]).
//!
//! Replies are waited for; meanwhile the function given as `idle` runs, so that one thread can hold both sides.
//!
//! # Safety model
//! It owns the memory it shares. The back end is trusted no more than the other way round: indices and lengths from
//! the used ring are checked before use.

pub mod payload;
pub mod queue;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::features::{self, Agreed, protocol};
use super::memory::Mapping;
use super::message::{HEADER_LEN, Outgoing, PAYLOAD_MAX, number as n};
use super::socket::{self, Read};
use super::{endpoint, shared};
pub use payload::{memory_table, pair, ring_address};
use queue::{Direction, Layout, Place, Queue};

/// Guest physical address of the shared memory.
pub const GUEST_BASE: u64 = 0x4000_0000;
/// Address of the shared memory in what would be the front end's process.
pub const USER_BASE: u64 = 0x7f00_0000_0000;

/// The features that say what kind the rings are: what a guest asks for by name, as QEMU's and DPDK's do.
pub const RING_KINDS: u64 = features::RING_PACKED | features::IN_ORDER;

const REPLY_LIMIT: Duration = Duration::from_secs(20);

/// Whose manner it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// QEMU: GET_FEATURES first, rings enabled by message.
    #[default]
    Qemu,
    /// User Mode Linux: SET_OWNER first, an acknowledgement for everything, PROTOCOL_FEATURES taken back.
    Uml,
}

/// What shared memory is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// A file in memory that nobody can make shorter.
    #[default]
    Sealed,
    /// A file in memory that its holders can make shorter.
    Unsealed,
    /// Huge pages, of which the system must have some free.
    Huge,
}

/// How a front end behaves.
#[derive(Clone, Copy, Debug)]
pub struct FrontendConfig {
    /// Manner.
    pub dialect: Dialect,
    /// Queue pairs.
    pub queue_pairs: u16,
    /// Entries a ring.
    pub ring_size: u16,
    /// virtio features it takes if offered; by default all but [`RING_KINDS`].
    pub features: u64,
    /// Protocol features it takes if offered.
    pub protocol: u64,
    /// Bytes of each buffer.
    pub buffer_len: u32,
    /// How frames stand in descriptors on the way out.
    pub layout: Layout,
    /// Descriptors of each chain that waits for a frame.
    pub receive_chain: u16,
    /// What its memory is made of.
    pub backing: Backing,
}

impl Default for FrontendConfig {
    fn default() -> FrontendConfig {
        FrontendConfig {
            dialect: Dialect::Qemu,
            queue_pairs: 1,
            ring_size: 256,
            features: !RING_KINDS,
            protocol: u64::MAX,
            buffer_len: 2048,
            layout: Layout::Together,
            receive_chain: 1,
            backing: Backing::Sealed,
        }
    }
}

/// A connected front end.
#[derive(Debug)]
pub struct Frontend {
    config: FrontendConfig,
    stream: UnixStream,
    queues: Vec<Queue>,
    /// What was agreed on.
    pub agreed: Agreed,
    /// Protocol features agreed on.
    pub protocol: u64,
    memory: Memory,
}

/// The memory it shares.
#[derive(Debug)]
pub struct Memory {
    file: OwnedFd,
    mapping: Mapping,
}

impl Memory {
    fn new(len: u64, backing: Backing) -> io::Result<Memory> {
        let file = match backing {
            Backing::Sealed => shared::memory_file(len)?,
            Backing::Unsealed => shared::memory_file_unsealed(len)?,
            Backing::Huge => shared::memory_file_huge(len)?,
        };
        let mapping = Mapping::new(file.as_fd(), 0, len).map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Memory { file, mapping })
    }

    /// The file.
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty()
    }

    fn at(&self, guest: u64, len: usize) -> io::Result<*mut u8> {
        let offset = guest.wrapping_sub(GUEST_BASE);
        match usize::try_from(offset).ok().filter(|&o| o <= self.len() && len <= self.len() - o) {
            // SAFETY: the offset lies inside the mapping.
            Some(offset) => Ok(unsafe { self.mapping.start().add(offset) }),
            None => Err(io::Error::other(format!("{guest:#x} is not in the shared memory"))),
        }
    }

    /// Writes at a guest address.
    ///
    /// # Errors
    /// Outside the memory.
    pub fn write(&self, guest: u64, bytes: &[u8]) -> io::Result<()> {
        let to = self.at(guest, bytes.len())?;
        // SAFETY: the range lies inside the mapping; `bytes` is elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Reads at a guest address.
    ///
    /// # Errors
    /// Outside the memory.
    pub fn read<const N: usize>(&self, guest: u64) -> io::Result<[u8; N]> {
        let from = self.at(guest, N)?;
        let mut bytes = [0; N];
        // SAFETY: the range lies inside the mapping; `bytes` is elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), N) };
        Ok(bytes)
    }
}

/// A reply to a request.
#[derive(Debug)]
pub struct Reply {
    /// Which request it answers.
    pub request: u32,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Descriptors that came along.
    pub fds: Vec<OwnedFd>,
}

impl Reply {
    /// The payload as one number.
    pub fn value(&self) -> u64 {
        self.payload.first_chunk().map_or(u64::MAX, |bytes| u64::from_ne_bytes(*bytes))
    }
}

impl Frontend {
    /// Connects to a back end that listens at `path`, agrees and starts its rings.
    ///
    /// # Errors
    /// Whatever the socket reports, a missing answer, or a refusal.
    pub fn connect(path: &Path, config: FrontendConfig, idle: &mut dyn FnMut()) -> io::Result<Frontend> {
        Frontend::start(endpoint::connect(path)?, config, idle)
    }

    /// Listens at `path` for one back end, agrees and starts its rings.
    ///
    /// # Errors
    /// As for [`Frontend::connect`].
    pub fn listen(path: &Path, config: FrontendConfig, idle: &mut dyn FnMut()) -> io::Result<Frontend> {
        let listener = UnixListener::bind(path)?;
        let stream = Frontend::accept(&listener, idle)?;
        Frontend::start(stream, config, idle)
    }

    /// Waits for a back end to connect.
    ///
    /// # Errors
    /// Nobody came.
    pub fn accept(listener: &UnixListener, idle: &mut dyn FnMut()) -> io::Result<UnixStream> {
        listener.set_nonblocking(true)?;
        let end = Instant::now() + REPLY_LIMIT;
        loop {
            match listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(e) if e.kind() != io::ErrorKind::WouldBlock || Instant::now() > end => return Err(e),
                Err(_) => wait(listener.as_fd(), idle),
            }
        }
    }

    /// Agrees on `stream` and starts the rings.
    ///
    /// # Errors
    /// As for [`Frontend::connect`].
    pub fn start(stream: UnixStream, config: FrontendConfig, idle: &mut dyn FnMut()) -> io::Result<Frontend> {
        let mut frontend = Frontend::unstarted(stream, config)?;
        frontend.agree(idle)?;
        frontend.share_memory(idle)?;
        frontend.start_rings(idle)?;
        Ok(frontend)
    }

    /// A front end that has not said anything yet.
    ///
    /// # Errors
    /// No memory, or no descriptors.
    pub fn unstarted(stream: UnixStream, config: FrontendConfig) -> io::Result<Frontend> {
        stream.set_nonblocking(true)?;
        let per_ring = Place::len(config.ring_size, config.buffer_len);
        let rings = config.queue_pairs * 2;
        let memory = Memory::new(per_ring * u64::from(rings), config.backing)?;
        let queues = (0..rings)
            .map(|index| {
                let place = Place::new(GUEST_BASE + per_ring * u64::from(index), config.ring_size, config.buffer_len);
                let direction = if index % 2 == 0 { Direction::Receive } else { Direction::Send };
                let host = memory.at(place.start, per_ring as usize)?;
                Queue::new(place, host, direction, config.layout, config.receive_chain)
            })
            .collect::<io::Result<_>>()?;
        Ok(Frontend { config, stream, queues, agreed: Agreed::default(), protocol: 0, memory })
    }

    /// The memory it shares.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A ring by its index: even ones receive, odd ones send.
    pub fn queue(&mut self, index: usize) -> Option<&mut Queue> {
        self.queues.get_mut(index)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn request(&self, number: u32, payload: &[u8], fds: &[BorrowedFd<'_>], need_reply: bool) -> io::Result<()> {
        let raw: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
        self.send_raw(Outgoing::request(number, need_reply).with(payload).bytes(), &raw)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send_raw(&self, bytes: &[u8], fds: &[std::os::fd::RawFd]) -> io::Result<()> {
        socket::send(self.stream.as_fd(), bytes, fds)
            .map_err(|e| io::Error::new(io::ErrorKind::BrokenPipe, e.to_string()))
    }

    /// Sends a message and waits for its reply.
    ///
    /// # Errors
    /// The connection is gone, or no reply comes.
    pub fn ask(&self, number: u32, payload: &[u8], idle: &mut dyn FnMut()) -> io::Result<Reply> {
        self.request(number, payload, &[], false)?;
        self.reply(idle)
    }

    /// Sends a message and waits for its acknowledgement.
    ///
    /// # Errors
    /// The connection is gone, no reply comes, or it was refused.
    pub fn tell(&self, number: u32, payload: &[u8], fds: &[BorrowedFd<'_>], idle: &mut dyn FnMut()) -> io::Result<()> {
        let acknowledged = self.protocol & protocol::REPLY_ACK != 0;
        self.request(number, payload, fds, acknowledged)?;
        if acknowledged && self.reply(idle)?.value() != 0 {
            return Err(io::Error::other(format!("request {number} was refused")));
        }
        Ok(())
    }

    /// Waits for a reply.
    ///
    /// # Errors
    /// The connection is gone, or no reply comes.
    pub fn reply(&self, idle: &mut dyn FnMut()) -> io::Result<Reply> {
        let mut fds = Vec::new();
        let mut header = [0; HEADER_LEN];
        self.read_exact(&mut header, &mut fds, idle)?;
        let field = |at: usize| header.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_ne_bytes(*b));
        let size = field(8) as usize;
        if size > PAYLOAD_MAX {
            return Err(io::Error::other(format!("a reply of {size} bytes")));
        }
        let mut payload = vec![0; size];
        self.read_exact(&mut payload, &mut fds, idle)?;
        Ok(Reply { request: field(0), payload, fds })
    }

    fn read_exact(&self, to: &mut [u8], fds: &mut Vec<OwnedFd>, idle: &mut dyn FnMut()) -> io::Result<()> {
        let end = Instant::now() + REPLY_LIMIT;
        let mut got = 0;
        while let Some(rest) = to.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match socket::read(&self.stream, rest, fds).map_err(|e| io::Error::other(e.to_string()))? {
                Read::Bytes(n) => got += n,
                Read::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                Read::Nothing if Instant::now() > end => return Err(io::ErrorKind::TimedOut.into()),
                Read::Nothing => wait(self.stream.as_fd(), idle),
            }
        }
        Ok(())
    }

    /// Agrees on features.
    ///
    /// # Errors
    /// As for [`Frontend::tell`].
    pub fn agree(&mut self, idle: &mut dyn FnMut()) -> io::Result<()> {
        let uml = self.config.dialect == Dialect::Uml;
        if uml {
            self.request(n::SET_OWNER, &[], &[], false)?;
        }
        let offered = self.ask(n::GET_FEATURES, &[], idle)?.value();
        let wanted = offered & self.config.features & !features::LOG_ALL;
        if offered & features::PROTOCOL_FEATURES != 0 {
            let offered = self.ask(n::GET_PROTOCOL_FEATURES, &[], idle)?.value();
            let known = if uml { protocol::REPLY_ACK | protocol::CONFIG } else { u64::MAX };
            self.protocol = offered & known & self.config.protocol;
            self.tell(n::SET_PROTOCOL_FEATURES, &self.protocol.to_ne_bytes(), &[], idle)?;
        }
        if !uml {
            if self.protocol & protocol::MQ != 0 {
                let pairs = self.ask(n::GET_QUEUE_NUM, &[], idle)?.value();
                if pairs < u64::from(self.config.queue_pairs) {
                    return Err(io::Error::other(format!("the back end has {pairs} queue pairs only")));
                }
            }
            self.request(n::SET_OWNER, &[], &[], false)?;
        }
        self.agreed = Agreed(wanted);
        self.tell(n::SET_FEATURES, &wanted.to_ne_bytes(), &[], idle)?;
        if uml {
            self.agreed = Agreed(wanted & !features::PROTOCOL_FEATURES);
            self.tell(n::SET_FEATURES, &self.agreed.0.to_ne_bytes(), &[], idle)?;
        }
        self.queues.iter_mut().for_each(|queue| queue.agree(self.agreed));
        Ok(())
    }

    /// Hands the memory over.
    ///
    /// # Errors
    /// As for [`Frontend::tell`].
    pub fn share_memory(&self, idle: &mut dyn FnMut()) -> io::Result<()> {
        let table = memory_table(&[(GUEST_BASE, self.memory.len() as u64, USER_BASE, 0)]);
        self.tell(n::SET_MEM_TABLE, &table, &[self.memory.file.as_fd()], idle)
    }

    /// Sets all rings up and starts them.
    ///
    /// # Errors
    /// As for [`Frontend::tell`].
    pub fn start_rings(&mut self, idle: &mut dyn FnMut()) -> io::Result<()> {
        for index in 0..self.queues.len() as u32 {
            self.start_ring(index, idle)?;
        }
        Ok(())
    }

    /// Sets one ring up, at the place where its driver is, and starts it.
    ///
    /// # Errors
    /// As for [`Frontend::tell`].
    pub fn start_ring(&mut self, index: u32, idle: &mut dyn FnMut()) -> io::Result<()> {
        let Some(queue) = self.queues.get_mut(index as usize) else { return Ok(()) };
        queue.post();
        let Some(queue) = self.queues.get(index as usize) else { return Ok(()) };
        let place = queue.place();
        self.tell(n::SET_VRING_NUM, &pair(index, u32::from(place.size)), &[], idle)?;
        self.tell(n::SET_VRING_BASE, &pair(index, queue.base()), &[], idle)?;
        self.tell(n::SET_VRING_ADDR, &ring_address(index, place, false), &[], idle)?;
        let ring = u64::from(index).to_ne_bytes();
        self.tell(n::SET_VRING_CALL, &ring, &[queue.call().as_fd()], idle)?;
        self.tell(n::SET_VRING_ERR, &ring, &[queue.error().as_fd()], idle)?;
        self.tell(n::SET_VRING_KICK, &ring, &[queue.kick().as_fd()], idle)?;
        if self.agreed.has(features::PROTOCOL_FEATURES) {
            self.tell(n::SET_VRING_ENABLE, &pair(index, 1), &[], idle)?;
        }
        Ok(())
    }

    /// Stops a ring; returns where it stopped.
    ///
    /// # Errors
    /// As for [`Frontend::ask`].
    pub fn stop_ring(&self, index: u32, idle: &mut dyn FnMut()) -> io::Result<u32> {
        let reply = self.ask(n::GET_VRING_BASE, &pair(index, 0), idle)?;
        Ok((reply.value() >> 32) as u32)
    }

    /// Goes on over another connection, on which nothing has been said yet.
    ///
    /// # Errors
    /// It cannot be made non-blocking.
    pub fn replace_stream(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        self.stream = stream;
        Ok(())
    }

    /// Ends the connection; the memory stays.
    pub fn hang_up(&self) {
        // A connection that is gone already needs no ending.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Queues a frame on a pair; [`Frontend::flush`] shows it to the back end. `false` where there is no room.
    pub fn send(&mut self, pair: usize, header: &[u8; 12], frame: &[u8]) -> bool {
        self.queues.get_mut(2 * pair + 1).is_some_and(|queue| queue.send(header, frame))
    }

    /// Shows what was queued, and kicks where the back end wants it.
    pub fn flush(&mut self, pair: usize) {
        if let Some(queue) = self.queues.get_mut(2 * pair + 1) {
            queue.flush();
        }
    }

    /// Hands each frame that has come on a pair to `each`, with its header, and posts the buffers anew.
    pub fn receive(&mut self, pair: usize, each: impl FnMut(&[u8; 12], &[u8])) -> usize {
        self.queues.get_mut(2 * pair).map_or(0, |queue| queue.receive(each))
    }
}

/// Lets the other side run, then waits a little for input.
fn wait(fd: BorrowedFd<'_>, idle: &mut dyn FnMut()) {
    idle();
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `poll` is one valid entry.
    unsafe { libc::poll(&mut poll, 1, 1) };
}
