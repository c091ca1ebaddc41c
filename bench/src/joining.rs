//! What looking for segments that can be joined costs the packets of a burst: those that are none, those of which each is of
//! another connection, and those of which all but the first become part of the one before.

use weir_wire::build::frames::{Ends, tcp, udp};
use weir_wire::join::join;
use weir_wire::{Capabilities, Nowhere, Offload, Packet, Pool, PortId, TcpFields};

use crate::fabric::BURST;
use crate::measure::{Figure, Rounds, timed};

/// What a burst consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burst {
    /// Datagrams.
    Datagrams,
    /// Segments of as many connections.
    Strangers,
    /// Segments of one connection that follow each other.
    Train,
}

impl Burst {
    fn frame(self, number: u32, data: &[u8]) -> Vec<u8> {
        let (port, seq) = match self {
            Burst::Datagrams => return udp(Ends::ipv4(1, 2), (1000, 2000), data),
            Burst::Strangers => (1000 + number as u16, 1),
            Burst::Train => (1000, 1 + number * data.len() as u32),
        };
        let fields = TcpFields { source_port: port, destination_port: 80, seq, ack: 1, flags: 0x10, window: 500 };
        tcp(Ends::ipv4(1, 2), fields, &[], data)
    }

    /// Frames of each burst that become part of another one, where so many are as long as a super-segment may be.
    fn joined(self, most: usize) -> u64 {
        if self == Burst::Train { (BURST - BURST.div_ceil(most)) as u64 } else { 0 }
    }
}

/// Bursts of frames with so many bytes of data.
///
/// # Errors
/// Where others are joined than can be.
pub fn run(rounds: &Rounds, name: &str, burst: Burst, data: usize) -> Result<Figure, String> {
    let data = vec![0xa5; data];
    let frames: Vec<Vec<u8>> = (0..BURST as u32).map(|number| burst.frame(number, &data)).collect();
    let takes = Capabilities { ecn: false, uso: false, ..Capabilities::ALL };
    let (mut pool, mut packets, mut found, mut bursts) = (Pool::default(), Vec::with_capacity(BURST), 0, 0);
    let figure = rounds.measure(name, || {
        for (number, frame) in frames.iter().enumerate() {
            let Some(buffer) = pool.copy(frame) else { continue };
            let mut packet = Packet::new(buffer, PortId(1), Offload::default());
            if packet.parse().is_ok() {
                packet.hash = if burst == Burst::Train { 7 } else { 7 + number as u64 };
                packets.push(packet);
            }
        }
        let (joined, cost) = timed(BURST as u64, || join(&mut packets, takes, 1500, &Nowhere, &mut pool));
        (found, bursts) = (found + joined.frames, bursts + 1);
        packets.drain(..).for_each(|packet| pool.give(packet.buffer));
        cost
    });
    let wanted = bursts * burst.joined((65_535 - 40) / data.len());
    if found == wanted {
        return Ok(figure);
    }
    Err(format!("\"{name}\" gave a wrong answer: {found} frames were joined, {wanted} could be"))
}
