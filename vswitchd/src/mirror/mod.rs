//! Where mirrors write: capture files, and the host's network.
//!
//! The worker hands copies over in batches through a queue of [`BATCHES`]; a thread of its own writes them. When it is
//! slower than the traffic the queue fills, and what does not fit is counted as the mirror's loss: the worker never
//! waits. Files are bounded in size and number; a file that cannot be written is told once, and its copies are lost.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};
use weir_fabric::mirror::{Handed, HandedCopy};

use crate::config::{Config, Mirror};
use crate::eve::Clocks;
use crate::refusal::Refusal;
use file::Rotating;

/// Batches that may wait for the thread that writes.
pub const BATCHES: usize = 64;
/// GRE (IANA protocol number).
const GRE: i32 = 47;
/// Bytes of the IPv4 header that the host writes by itself, and where the destination stands in it.
const IPV4: usize = 20;
const DESTINATION: usize = 16;

/// What is open for mirrors. Shared by the control side, which opens and closes, and the thread that writes.
#[derive(Clone, Debug, Default)]
pub struct Outlets(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    all: BTreeMap<u64, Outlet>,
    /// The mirrors that have one, by name.
    names: BTreeMap<String, (Mirror, u64)>,
}

#[derive(Debug)]
struct Outlet {
    way: Way,
    /// The last failure has been told.
    told: bool,
}

#[derive(Debug)]
enum Way {
    File(Rotating),
    Host(UdpSocket),
}

impl Outlets {
    /// Opens what the mirrors of a state need and is not open yet; returns the number of each, by the mirrors' names.
    ///
    /// # Errors
    /// What cannot be opened, with the mirror's name. What was opened for others stays open until [`Outlets::keep`].
    pub fn open(&self, desired: &Config) -> Result<BTreeMap<String, u64>, Refusal> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = BTreeMap::new();
        for mirror in &desired.mirrors {
            let known = open
                .names
                .get(&mirror.name)
                .filter(|(known, _)| known.file == mirror.file && known.erspan == mirror.erspan);
            if let Some((_, number)) = known {
                numbers.insert(mirror.name.clone(), *number);
                continue;
            }
            let way = match (&mirror.file, &mirror.erspan) {
                (Some(file), _) => Way::File(Rotating::open(file).map_err(|e| {
                    Refusal::state(format!("mirror {}: {}: {e}", mirror.name, file.path))
                })?),
                (None, Some(erspan)) if erspan.router.is_none() => Way::Host(host_socket(erspan.from).map_err(|e| {
                    Refusal::state(format!(
                        "mirror {}: the host cannot send ERSPAN: {e}; vswitchd needs CAP_NET_RAW, and \"from\" an address \
                         of the host",
                        mirror.name
                    ))
                })?),
                (None, _) => continue,
            };
            open.last += 1;
            let number = open.last;
            open.all.insert(number, Outlet { way, told: false });
            open.names.insert(mirror.name.clone(), (mirror.clone(), number));
            numbers.insert(mirror.name.clone(), number);
        }
        Ok(numbers)
    }

    /// Closes everything but these.
    pub fn keep(&self, numbers: &BTreeMap<String, u64>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.all.retain(|number, _| numbers.values().any(|kept| kept == number));
        open.names.retain(|name, (_, number)| numbers.get(name) == Some(number));
    }

    /// Writes what the worker hands over, until it ends. Runs on a thread of its own.
    pub fn write(&self, batches: &Receiver<Handed>) {
        while let Ok(batch) = batches.recv() {
            let clocks = Clocks::now();
            let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for copied in &batch.copies {
                let bytes = batch.bytes.get(copied.start..copied.start + copied.length).unwrap_or(&[]);
                let Some(outlet) = open.all.get_mut(&copied.outlet) else { continue };
                outlet.write(copied, bytes, &clocks);
            }
            for outlet in open.all.values_mut() {
                outlet.flush();
            }
        }
    }
}

impl Outlet {
    fn write(&mut self, copied: &HandedCopy, bytes: &[u8], clocks: &Clocks) {
        let written = match &mut self.way {
            Way::File(file) => file.write(clocks.wall_ns(copied.time), bytes, copied.whole),
            Way::Host(socket) => send(socket, bytes),
        };
        self.tell(written);
    }

    fn flush(&mut self) {
        let flushed = match &mut self.way {
            Way::File(file) => file.flush(),
            Way::Host(_) => Ok(()),
        };
        self.tell(flushed);
    }

    fn tell(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.told = false,
            Err(error) if !self.told => {
                self.told = true;
                tracing::warn!("a mirror's copies cannot be written and are lost: {error}");
            }
            Err(_) => {}
        }
    }
}

fn host_socket(from: Option<Ipv4Addr>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(GRE)))?;
    if let Some(own) = from.filter(|own| !own.is_unspecified()) {
        socket.bind(&SocketAddr::from((own, 0)).into())?;
    }
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from(socket))
}

/// The host writes the IPv4 header by itself, and cuts what is too long for its link.
fn send(socket: &UdpSocket, packet: &[u8]) -> io::Result<()> {
    let to = packet.get(DESTINATION..IPV4).and_then(<[u8]>::first_chunk::<4>);
    let (Some(&to), Some(body)) = (to, packet.get(IPV4..)) else { return Ok(()) };
    socket.send_to(body, SocketAddr::from((to, 0))).map(drop)
}
