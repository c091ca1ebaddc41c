//! How much kernel TCP gets through in a given time. What arrives is counted, not compared; `transfer` does that.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Failure, Namespace};

const PATIENCE: Duration = Duration::from_secs(20);
const BLOCK: usize = 256 << 10;

/// What one TCP connection carried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// Bytes of payload that arrived.
    pub bytes: u64,
    /// In this time.
    pub elapsed: Duration,
}

impl Bandwidth {
    /// Gbit of payload a second.
    pub fn gigabits_per_second(&self) -> f64 {
        self.bytes as f64 * 8e-9 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Sends for `time` from one namespace to `address`, which is served in the other.
pub fn bandwidth(from: &Namespace, to: &Namespace, address: SocketAddr, time: Duration) -> Result<Bandwidth, Failure> {
    let listener = to.inside(|| TcpListener::bind(address).map_err(|e| Failure::of(address, e)))?;
    let client = from.inside(|| Ok(TcpStream::connect_timeout(&address, PATIENCE)?));
    let mut client = client.map_err(|e| Failure::of(format!("connection to {address}"), e))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let receiver = std::thread::spawn(move || receive(&listener));
    let (start, block) = (Instant::now(), vec![0x5a; BLOCK]);
    while start.elapsed() < time {
        client.write_all(&block)?;
    }
    client.shutdown(Shutdown::Write)?;
    let bytes = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(Bandwidth { bytes, elapsed: start.elapsed() })
}

fn receive(listener: &TcpListener) -> Result<u64, Failure> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut bytes, mut block) = (0, vec![0; BLOCK]);
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(bytes),
            length => bytes += length as u64,
        }
    }
}
