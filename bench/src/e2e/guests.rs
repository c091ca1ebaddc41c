//! Two guests that send and count: front ends on the switch's sockets, both in the hands of one thread.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use weir_ports::vhost_user::frontend::queue::Queue;
use weir_ports::vhost_user::frontend::{Backing, Frontend, FrontendConfig, RING_KINDS};

use super::Failure;
use super::edge::{Edge, guest_mac, is_right, router_mac, sent};

/// Frames made available in one go.
const BURST: usize = 64;
/// Whoever takes longer for a number of frames does something else.
const LONGEST_STRETCH: Duration = Duration::from_secs(5);
/// Entries of a ring, as a tuned guest has them.
const RING: u16 = 1024;
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// Where the time of departure stands in a frame: behind the UDP header.
const STAMP: usize = ETHERNET + IPV4 + UDP;

/// Bits of VIRTIO_NET_F_* and VIRTIO_F_* that the guests take: one buffer a frame; offloads only for super-segments, since
/// a generator of single frames has no use for them.
mod feature {
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// Super-segments of TCP over IPv4 both ways, with checksums left to be finished (CSUM, HOST_TSO4 and GUEST_*).
    pub const TSO: u64 = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 11;
    pub const VERSION_1: u64 = 1 << 32;
    pub const PROTOCOL: u64 = 1 << 30;
    /// VHOST_USER_PROTOCOL_F_MQ and _REPLY_ACK.
    pub const MQ_AND_REPLIES: u64 = 1 << 0 | 1 << 3;
}

/// Lengths of a simple Internet mix, as often as they come in twelve (RFC 6985 calls it "simple IMIX").
pub const IMIX: [usize; 12] = [60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 590, 60];

/// Longer frames are super-segments of TCP.
pub const FRAME_MAX: usize = 9014;
/// Entries of a ring of super-segments, and bytes of a buffer.
const SUPER_RING: u16 = 256;
const SUPER_BUFFER: u32 = 68 << 10;
/// Data of each segment that one is to be cut into.
const SEGMENT: u16 = 1460;
const TCP: usize = 20;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Bytes of a frame, or of a super-segment; of a mix: of the largest.
    pub frame: usize,
    /// Frames of several lengths: [`IMIX`].
    pub imix: bool,
    /// Flows of each direction.
    pub flows: u32,
    /// The second guest sends too: the answers to the first one's flows.
    pub both_ways: bool,
    /// Frames a second and direction; 0 for as many as possible.
    pub rate: u64,
    /// Frames carry their time of departure.
    pub stamped: bool,
    /// A router stands between the guests.
    pub edge: Option<Edge>,
    /// Rings are packed, and buffers are used in their order.
    pub packed: bool,
}

impl Traffic {
    /// What is sent from a buffer.
    fn of(self, id: u16) -> Traffic {
        let of_mix = IMIX.get(usize::from(id) % IMIX.len()).copied().filter(|_| self.imix);
        Traffic { frame: of_mix.unwrap_or(self.frame), ..self }
    }

    /// Whether a frame of this length may come.
    fn has(&self, length: usize) -> bool {
        length == self.frame || self.imix && IMIX.contains(&length)
    }
}

/// What happened in a stretch of time.
#[derive(Clone, Debug)]
pub struct Counted {
    /// How long it was.
    pub time: Duration,
    /// Frames sent by either guest.
    pub sent: u64,
    /// Frames that either guest got of the other.
    pub received: u64,
    /// Frames that were none of the other's.
    pub strange: u64,
    /// Nanoseconds from guest to guest.
    pub latency: Histogram<u64>,
}

impl Counted {
    /// Frames received a second.
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// Frames lost.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// One guest.
struct Guest {
    frontend: Frontend,
    /// Number of the flow that the next frame belongs to.
    next: u32,
    due: u64,
}

/// Both guests, and those that only are there.
pub struct Guests {
    both: [Guest; 2],
    silent: Vec<Frontend>,
    traffic: Traffic,
    start: Instant,
    empty: Histogram<u64>,
}

impl Guests {
    /// Connects to the sockets of a switch that listens there, and loads the rings.
    ///
    /// # Errors
    /// Where a socket cannot be reached or no agreement is come to.
    pub fn connect(sockets: [&Path; 2], traffic: Traffic) -> Result<Guests, Failure> {
        let mut both = Vec::with_capacity(2);
        for (number, socket) in sockets.into_iter().enumerate() {
            let frontend = frontend(socket, traffic.frame, traffic.packed)?;
            let mut guest = Guest { frontend, next: 0, due: 0 };
            for ring in 0..2 {
                // They look all the time: nobody needs to call them, which would cost the switch a system call a burst.
                guest.frontend.queue(ring).map(|queue| queue.request_call(false));
            }
            let queue = guest.frontend.queue(1).ok_or("the guest has no sending queue")?;
            if !queue.load_frames(&marks(traffic.frame), |id, room| write_frame(room, number, &traffic.of(id))) {
                return Err("the guest's sending queue cannot be loaded".to_owned());
            }
            both.push(guest);
        }
        let both: [Guest; 2] = both.try_into().map_err(|_| "there are two guests")?;
        // From 1 ns to 10 s with three digits.
        let empty = Histogram::new_with_bounds(1, 10_000_000_000, 3).map_err(|e| e.to_string())?;
        Ok(Guests { both, silent: Vec::new(), traffic, start: Instant::now(), empty })
    }

    /// Connects guests that say nothing.
    ///
    /// # Errors
    /// Where a socket cannot be reached or no agreement is come to.
    pub fn add_silent(&mut self, sockets: impl Iterator<Item = PathBuf>) -> Result<(), Failure> {
        for socket in sockets {
            self.silent.push(frontend(&socket, self.traffic.frame, self.traffic.packed)?);
        }
        Ok(())
    }

    /// Sends one frame of each flow, slowly, so that every flow and address is known; returns whether all came through.
    pub fn prime(&mut self) -> bool {
        let flows = u64::from(self.traffic.flows);
        let (kept, end) = (self.traffic, Instant::now() + Duration::from_secs(20));
        self.traffic.rate = 1_000_000;
        let mut got = 0;
        while got < flows * (1 + u64::from(kept.both_ways)) && Instant::now() < end {
            got += self.run(Duration::from_millis(20)).received;
        }
        self.traffic = kept;
        got >= flows
    }

    /// Lets both guests send a few frames, so that switches know where they are; returns whether any came through.
    pub fn greet(&mut self) -> bool {
        let kept = self.traffic;
        (self.traffic.rate, self.traffic.both_ways) = (1000, true);
        let got = self.run(Duration::from_millis(5)).received;
        self.traffic = kept;
        got > 0
    }

    /// The queue on which a guest that talks sends.
    pub(super) fn sending(&mut self, number: usize) -> Option<&mut Queue> {
        self.both.get_mut(number)?.frontend.queue(1)
    }

    /// The queue on which a guest that talks receives.
    pub(super) fn receiving(&mut self, number: usize) -> Option<&mut Queue> {
        self.both.get_mut(number)?.frontend.queue(0)
    }

    /// The queue on which the first silent guest receives.
    pub(super) fn bystander(&mut self) -> Option<&mut Queue> {
        self.silent.first_mut()?.queue(0)
    }

    /// Both guests send.
    pub fn both_ways(&self) -> bool {
        self.traffic.both_ways
    }

    /// Another rate; 0 for as many as possible.
    pub fn set_rate(&mut self, rate: u64) {
        self.traffic.rate = rate;
    }

    /// Lets the traffic flow for some time and counts, then waits for what is on its way.
    pub fn run(&mut self, time: Duration) -> Counted {
        let mut counted = self.flow(time);
        self.settle(&mut counted, Duration::from_millis(5));
        counted
    }

    /// Each guest that sends makes so many frames available at once, as far as its ring has room.
    pub fn burst(&mut self, frames: usize) -> Counted {
        let mut counted =
            Counted { time: Duration::ZERO, sent: 0, received: 0, strange: 0, latency: self.empty.clone() };
        let (traffic, senders) = (self.traffic, 1 + usize::from(self.traffic.both_ways));
        for (number, guest) in self.both.iter_mut().take(senders).enumerate() {
            let Guest { frontend, next, .. } = guest;
            let Some(queue) = frontend.queue(1) else { continue };
            let sent = queue.send_loaded(1, frames, |frame| {
                if traffic.flows > 1 {
                    set_flow(frame, number == 0, *next);
                    *next = if *next + 1 == traffic.flows { 0 } else { *next + 1 };
                }
            });
            counted.sent += sent as u64;
        }
        counted
    }

    /// Lets as many frames flow as fast as rings take them, from each guest that sends, then waits for what is on its way.
    pub fn stretch(&mut self, frames: u64) -> Counted {
        self.traffic.rate = 0;
        let senders = 1 + u64::from(self.traffic.both_ways);
        let (mut counted, begin) = (self.flow(Duration::ZERO), Instant::now());
        while counted.sent < frames * senders && begin.elapsed() < LONGEST_STRETCH {
            self.send(&mut counted);
            self.collect(&mut counted);
        }
        self.settle(&mut counted, Duration::from_millis(5));
        counted
    }

    /// Counts what still arrives, until nothing has for some time.
    pub fn settle(&mut self, counted: &mut Counted, quiet: Duration) {
        let mut last = (Instant::now(), counted.received);
        while last.0.elapsed() < quiet {
            self.collect(counted);
            if counted.received != last.1 {
                last = (Instant::now(), counted.received);
            }
        }
    }

    /// Lets the traffic flow for some time and counts what was sent and received in it.
    pub fn flow(&mut self, time: Duration) -> Counted {
        let mut counted = Counted { time, sent: 0, received: 0, strange: 0, latency: self.empty.clone() };
        let begin = Instant::now();
        let first = self.nanos();
        for guest in &mut self.both {
            guest.due = first;
        }
        let mut elapsed = Duration::ZERO;
        while elapsed < time {
            self.send(&mut counted);
            self.collect(&mut counted);
            elapsed = begin.elapsed();
        }
        counted.time = elapsed;
        counted
    }

    fn nanos(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn send(&mut self, counted: &mut Counted) {
        let now = self.nanos();
        let traffic = self.traffic;
        let senders = 1 + usize::from(traffic.both_ways);
        for (number, guest) in self.both.iter_mut().take(senders).enumerate() {
            let (mut room, mut least) = (BURST, BURST / 2);
            if traffic.rate > 0 {
                let gap = 1_000_000_000 / traffic.rate.max(1);
                least = 1;
                room = (now.saturating_sub(guest.due) / gap.max(1)).min(BURST as u64) as usize;
            }
            let Guest { frontend, next, due } = guest;
            let Some(queue) = frontend.queue(1) else { continue };
            let sent = queue.send_loaded(least, room, |frame| {
                if traffic.flows > 1 {
                    set_flow(frame, number == 0, *next);
                    *next = if *next + 1 == traffic.flows { 0 } else { *next + 1 };
                }
                if traffic.stamped
                    && let Some(stamp) = frame.get_mut(STAMP..STAMP + 8)
                {
                    stamp.copy_from_slice(&now.to_ne_bytes());
                }
            });
            counted.sent += sent as u64;
            if traffic.rate > 0 {
                *due += sent as u64 * (1_000_000_000 / traffic.rate.max(1));
            }
        }
    }

    fn collect(&mut self, counted: &mut Counted) {
        let (now, traffic) = (self.nanos(), self.traffic);
        for (number, guest) in self.both.iter_mut().enumerate() {
            let Some(queue) = guest.frontend.queue(0) else { continue };
            queue.drain_frames(BURST, |frame| {
                if !traffic.has(frame.len()) || !is_right(traffic.edge, number, frame) {
                    counted.strange += 1;
                    return;
                }
                counted.received += 1;
                if traffic.stamped
                    && let Some(&stamp) = frame.get(STAMP..).and_then(<[u8]>::first_chunk)
                {
                    // A value outside the bounds is the highest there is.
                    counted.latency.saturating_record(now.saturating_sub(u64::from_ne_bytes(stamp)).max(1));
                }
            });
        }
    }
}

/// A guest's side of a socket, for frames of a length.
pub(super) fn frontend(socket: &Path, frame: usize, packed: bool) -> Result<Frontend, Failure> {
    let kinds = if packed { RING_KINDS } else { 0 };
    let (offloads, ring_size, buffer_len) = match frame {
        0..=2000 => (0, RING, 2048),
        2001..=FRAME_MAX => (0, RING, 16384),
        _ => (feature::TSO, SUPER_RING, SUPER_BUFFER),
    };
    let features = feature::MRG_RXBUF | feature::VERSION_1 | feature::PROTOCOL | kinds | offloads;
    let wanted = FrontendConfig {
        ring_size,
        features,
        protocol: feature::MQ_AND_REPLIES,
        buffer_len,
        backing: Backing::Huge,
        ..FrontendConfig::default()
    };
    let mut idle = || std::thread::yield_now();
    // Huge pages where there are some; a peer may insist, we do not.
    Frontend::connect(socket, wanted, &mut idle)
        .or_else(|_| Frontend::connect(socket, FrontendConfig { backing: Backing::Sealed, ..wanted }, &mut idle))
        .map_err(|e| format!("{}: {e}", socket.display()))
        .and_then(|frontend| match frontend.agreed.0 {
            agreed if packed && agreed & RING_KINDS == 0 => Err("the switch takes no packed rings".to_owned()),
            agreed if agreed & offloads != offloads => Err("the switch takes no super-segments".to_owned()),
            _ => Ok(frontend),
        })
}

/// The virtio-net header of frames of this length: of super-segments their kind, where the data begin, how much of them a
/// segment has, and which checksum is to be finished.
fn marks(frame: usize) -> [u8; 12] {
    let mut header = [0; 12];
    if frame > FRAME_MAX {
        header[..2].copy_from_slice(&[1, 1]);
        let numbers = [(ETHERNET + IPV4 + TCP) as u16, SEGMENT, (ETHERNET + IPV4) as u16, 16];
        header[2..10].copy_from_slice(&numbers.map(u16::to_le_bytes).concat());
    }
    header
}

/// Writes a UDP frame of a guest to the other, or the answer to it; returns its length.
fn write_frame(room: &mut [u8], side: usize, traffic: &Traffic) -> usize {
    let frame = frame_of(side, traffic);
    let n = frame.len().min(room.len());
    room[..n].copy_from_slice(&frame[..n]);
    n
}

/// A UDP frame of a guest to the other, or the answer to it, of the first flow; a super-segment of TCP where it is longer
/// than frames are.
pub(super) fn frame_of(side: usize, traffic: &Traffic) -> Vec<u8> {
    let (length, first) = (traffic.frame, side == 0);
    let mut frame = vec![0; length];
    frame[..6].copy_from_slice(&if traffic.edge.is_some() { router_mac(side) } else { guest_mac(1 - side.min(1)) });
    frame[6..12].copy_from_slice(&guest_mac(side));
    frame[12..14].copy_from_slice(&[8, 0]);
    let ip = &mut frame[ETHERNET..ETHERNET + IPV4];
    let (here, there) = sent(traffic.edge, side);
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((length - ETHERNET) as u16).to_be_bytes());
    ip[8..10].copy_from_slice(&[64, if length > FRAME_MAX { 6 } else { 17 }]);
    ip[12..16].copy_from_slice(&here);
    ip[16..20].copy_from_slice(&there);
    let checksum = !folded(ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    if length > FRAME_MAX {
        let ends = folded(&ip[12..20]);
        tcp(&mut frame[ETHERNET + IPV4..], ends);
        set_flow(&mut frame, first, 0);
        return frame;
    }
    // No UDP checksum (RFC 768), so that ports can be changed alone.
    let length_udp = (length - ETHERNET - IPV4) as u16;
    frame[ETHERNET + IPV4 + 4..ETHERNET + IPV4 + 6].copy_from_slice(&length_udp.to_be_bytes());
    set_flow(&mut frame, first, 0);
    frame
}

/// The sum of words as checksums have it.
fn folded(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.as_chunks::<2>().0.iter().map(|&w| u32::from(u16::from_be_bytes(w))).sum();
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A segment in the midst of a connection, sent again and again; its checksum is the pseudo-header's sum, to be finished.
fn tcp(segment: &mut [u8], ends: u16) {
    let length = segment.len() as u16;
    segment[4..12].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    segment[12..16].copy_from_slice(&[0x50, 0x10, 0xff, 0xff]);
    let pseudo = [ends, 6, length].map(u16::to_be_bytes).concat();
    segment[16..18].copy_from_slice(&folded(&pseudo).to_be_bytes());
}

/// Flows there are: ports of the first guest by ports of the second.
pub const FLOWS_MAX: u32 = CLIENT_PORTS * CLIENT_PORTS;
const CLIENT_PORTS: u32 = 60_000;

/// Makes a frame belong to a flow: the first guest's port and the upper part of the second one's say which.
fn set_flow(frame: &mut [u8], first: bool, flow: u32) {
    let (guest, service) = (1024 + (flow % CLIENT_PORTS) as u16, 5000 + (flow / CLIENT_PORTS) as u16);
    let [a, b] = guest.to_be_bytes();
    let [c, d] = service.to_be_bytes();
    if let Some(ports) = frame.get_mut(ETHERNET + IPV4..ETHERNET + IPV4 + 4) {
        ports.copy_from_slice(&if first { [a, b, c, d] } else { [c, d, a, b] });
    }
}
