//! A bulk transfer over the kernel's TCP whose every byte is checked.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Failure, Namespace};

/// A finished transfer: what was received is what was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transfer {
    /// Bytes.
    pub bytes: u64,
    /// From the first byte sent to the last one received and checked.
    pub elapsed: Duration,
    /// Checksum of the stream, the same at both ends.
    pub checksum: u64,
}

impl Transfer {
    /// Bits of payload a second.
    pub fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// How long either side waits for the other before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
const BLOCK: usize = 256 << 10;

/// Sends `bytes` from one namespace to `address`, which is served in the other; both sums must agree.
pub fn transfer(from: &Namespace, to: &Namespace, address: SocketAddr, bytes: u64) -> Result<Transfer, Failure> {
    let what = format!("{} MB over TCP from {} to {} ({address})", bytes >> 20, from.name(), to.name());
    let listener = to.inside(|| TcpListener::bind(address).map_err(|e| Failure::of(address, e)))?;
    // The sockets keep their namespaces wherever they are used from here on.
    let receiver = std::thread::spawn(move || receive(&listener));
    let start = Instant::now();
    let sent = from.inside(|| send(address, bytes));
    if sent.is_err() {
        // The receiver waits in accept() if the connection never came up: any connection ends that.
        to.inside(|| Ok(TcpStream::connect(address).is_ok()))?;
    }
    let received = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let sent = sent.map_err(|e| Failure::of(format!("{what}, sender"), e))?;
    let (length, received) = received.map_err(|e| Failure::of(format!("{what}, receiver"), e))?;
    if length != bytes {
        return Err(Failure::new(format!("{what}: {length} bytes of {bytes} arrived")));
    }
    if received != sent {
        return Err(Failure::new(format!("{what}: checksum {received:#018x} received, {sent:#018x} sent")));
    }
    Ok(Transfer { bytes, elapsed: start.elapsed(), checksum: sent })
}

fn send(address: SocketAddr, bytes: u64) -> Result<u64, Failure> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut sum, mut block, mut left, mut number) = (Sum::new(), vec![0; BLOCK], bytes, 0_u64);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        fill(&mut block[..length], number);
        sum.add(&block[..length]);
        stream.write_all(&block[..length])?;
        left -= length as u64;
        number += 1;
    }
    stream.shutdown(Shutdown::Write)?;
    // Nothing is read here: the other side's close says that it has everything.
    let _ = stream.read(&mut [0])?;
    Ok(sum.value())
}

fn receive(listener: &TcpListener) -> Result<(u64, u64), Failure> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut sum, mut block, mut bytes) = (Sum::new(), vec![0; BLOCK], 0_u64);
    loop {
        let length = stream.read(&mut block)?;
        if length == 0 {
            return Ok((bytes, sum.value()));
        }
        sum.add(&block[..length]);
        bytes += length as u64;
    }
}

/// Content that is different in every block and at every place, so that nothing lost, doubled or moved goes unseen.
fn fill(block: &mut [u8], number: u64) {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in block.chunks_mut(8) {
        state = state.wrapping_mul(0xd129_0d3f_d1a9_b2a5).wrapping_add(0x1405_7b7e_f767_814f);
        let bytes = state.to_le_bytes();
        word.copy_from_slice(&bytes[..word.len()]);
    }
}

/// A 64-bit checksum of a stream, eight bytes at a step, whatever the pieces it comes in.
struct Sum {
    state: u64,
    rest: Vec<u8>,
    length: u64,
}

impl Sum {
    fn new() -> Sum {
        Sum { state: 0xcbf2_9ce4_8422_2325, rest: Vec::with_capacity(8), length: 0 }
    }

    fn add(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let take = (8 - self.rest.len()).min(bytes.len());
            self.rest.extend(&bytes[..take]);
            bytes = &bytes[take..];
            if let Ok(word) = <[u8; 8]>::try_from(self.rest.as_slice()) {
                self.step(u64::from_le_bytes(word));
                self.rest.clear();
            }
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.step(u64::from_le_bytes(*word));
        }
        self.rest.extend(rest);
    }

    fn step(&mut self, word: u64) {
        self.state = (self.state.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn value(mut self) -> u64 {
        let mut last = [0; 8];
        last[..self.rest.len()].copy_from_slice(&self.rest);
        self.step(u64::from_le_bytes(last));
        self.step(self.length);
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_in_pieces(bytes: &[u8], piece: usize) -> u64 {
        let mut sum = Sum::new();
        bytes.chunks(piece).for_each(|part| sum.add(part));
        sum.value()
    }

    #[test]
    fn the_sum_does_not_depend_on_the_pieces_but_on_every_byte_and_its_place() {
        let mut bytes = vec![0; 1000];
        fill(&mut bytes, 3);
        let whole = sum_in_pieces(&bytes, 1000);
        for piece in [1, 3, 7, 8, 9, 64, 999] {
            assert_eq!(sum_in_pieces(&bytes, piece), whole, "pieces of {piece}");
        }
        bytes.swap(100, 107);
        assert_ne!(sum_in_pieces(&bytes, 1000), whole);
        bytes.swap(100, 107);
        assert_ne!(sum_in_pieces(&bytes[..999], 1000), whole);
    }

    #[test]
    fn blocks_differ() {
        let (mut a, mut b) = (vec![0; 64], vec![0; 64]);
        fill(&mut a, 1);
        fill(&mut b, 2);
        assert_ne!(a, b);
    }
}
