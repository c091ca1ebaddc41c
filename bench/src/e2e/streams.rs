//! TCP from host to host by the kernel's own stack, as many bytes as pass.
//!
//! What arrives is compared with what was sent: the first megabytes byte by byte, later the ends of each piece that is
//! read, which costs the hosts little. At the end of each connection all that was sent must have arrived.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_tests::lab::Failure as LabFailure;

use super::Failure;
use super::hosts::Hosts;

/// What one write hands over; the content repeats after so much.
const BLOCK: usize = 128 << 10;
/// So much of a connection is compared whole.
const WHOLE: u64 = 4 << 20;
/// So much of either end of a piece is compared later.
const END: usize = 64;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// A service that no rule speaks of.
const PORT: u16 = 5001;

/// What passed in a stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// How long it was.
    pub time: Duration,
    /// Bytes of payload that arrived.
    pub bytes: u64,
}

/// Lets connections of the first host to the second send for `time`, `begun` first; calls `each` at the beginning and
/// the end of the stretch.
///
/// # Errors
/// Where a connection fails, or something else arrives than was sent.
pub fn stream(
    hosts: &Hosts,
    connections: u32,
    [begun, time]: [Duration; 2],
    mut each: impl FnMut(),
) -> Result<Passed, Failure> {
    let text = |e: LabFailure| e.to_string();
    let address = hosts.at(1, PORT);
    let [from, to] = &hosts.both;
    let listener = to.inside(|| TcpListener::bind(address).map_err(|e| LabFailure::of(address, e))).map_err(text)?;
    let (ends, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let block = Arc::new(content());
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..connections {
        let (ends, sent) = (Arc::clone(&ends), Arc::clone(&block));
        let stream = from.inside(|| connect(address)).map_err(text)?;
        senders.push(std::thread::spawn(move || send(stream, &sent, &ends)));
        let (stream, _) = listener.accept().map_err(|e| format!("accept: {e}"))?;
        let (block, received) = (Arc::clone(&block), Arc::clone(&received));
        receivers.push(std::thread::spawn(move || receive(stream, &block, &received)));
    }
    std::thread::sleep(begun);
    each();
    let (start, before) = (Instant::now(), received.load(Ordering::Relaxed));
    std::thread::sleep(time);
    let passed = Passed { time: start.elapsed(), bytes: received.load(Ordering::Relaxed) - before };
    each();
    ends.store(true, Ordering::Relaxed);
    for (sender, receiver) in senders.into_iter().zip(receivers) {
        let sent = sender.join().map_err(|_| "a sender failed")?.map_err(|e| format!("sender: {e}"))?;
        let received = receiver.join().map_err(|_| "a receiver failed")??;
        if sent != received {
            return Err(format!("{received} bytes of {sent} arrived"));
        }
    }
    Ok(passed)
}

/// Bytes in which nothing repeats.
fn content() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut words = Vec::with_capacity(BLOCK);
    while words.len() < BLOCK {
        state = state.wrapping_mul(0xd129_0d3f_d1a9_b2a5).wrapping_add(0x1405_7b7e_f767_814f);
        words.extend_from_slice(&state.rotate_left(23).to_le_bytes());
    }
    words
}

fn connect(address: SocketAddr) -> Result<TcpStream, LabFailure> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|e| LabFailure::of(address, e))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn send(mut stream: TcpStream, block: &[u8], ends: &AtomicBool) -> std::io::Result<u64> {
    let mut sent = 0;
    while !ends.load(Ordering::Relaxed) {
        stream.write_all(block)?;
        sent += block.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(sent)
}

fn receive(mut stream: TcpStream, block: &[u8], received: &AtomicU64) -> Result<u64, Failure> {
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    let (mut room, mut total) = (vec![0; BLOCK], 0_u64);
    loop {
        let length = match stream.read(&mut room) {
            Ok(0) => return Ok(total),
            Ok(length) => length,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(format!("receiver after {total} bytes: {e}")),
        };
        let piece = room.get(..length).unwrap_or_default();
        if !is_content(piece, total, block) {
            return Err(format!("other bytes than were sent arrived after {total} bytes"));
        }
        total += length as u64;
        received.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Whether a piece that begins at a place of the stream is what was sent there.
fn is_content(piece: &[u8], place: u64, block: &[u8]) -> bool {
    if place < WHOLE || piece.len() <= 2 * END {
        return is_part(piece, place, block);
    }
    let (first, last) = (piece.get(..END), piece.get(piece.len() - END..));
    first.is_some_and(|bytes| is_part(bytes, place, block))
        && last.is_some_and(|bytes| is_part(bytes, place + (piece.len() - END) as u64, block))
}

fn is_part(mut piece: &[u8], place: u64, block: &[u8]) -> bool {
    let mut at = (place % BLOCK as u64) as usize;
    while !piece.is_empty() {
        let Some(expected) = block.get(at..(at + piece.len()).min(BLOCK)) else { return false };
        let Some((now, rest)) = piece.split_at_checked(expected.len()) else { return false };
        if now != expected || expected.is_empty() {
            return false;
        }
        (piece, at) = (rest, 0);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_was_sent_is_seen() {
        let block = content();
        let twice = [block.clone(), block.clone()].concat();
        let piece = &twice[1000..1000 + BLOCK];
        assert!(is_content(piece, 1000, &block), "across the block's end");
        assert!(!is_content(piece, 1001, &block));
        let mut changed = piece.to_vec();
        changed[5000] ^= 1;
        assert!(!is_content(&changed, 1000, &block), "the first megabytes are compared whole");
        changed.swap(0, 1);
        assert!(!is_content(&changed, WHOLE + 1000, &block), "later the ends are");
    }
}
