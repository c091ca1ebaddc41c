//! Any bytes as the rings of a driver: a real vhost-user port takes what it can and stays well.
//!
//! An input is what a guest has written: the descriptor table (16 entries of 16 bytes), the available ring (36 bytes),
//! indirect tables, and buffers in the rest.

use std::cell::RefCell;

use weir_ports::Port;
use weir_ports::vhost_user::frontend::{Frontend, FrontendConfig};
use weir_ports::vhost_user::{VhostUserConfig, VhostUserPort};
use weir_wire::buffer::PoolLimits;
use weir_wire::{Packet, Pool, PortId};

use super::Target;
use crate::lab::Scratch;

/// The target.
pub const TARGET: Target = Target { name: "descriptor_chain", run, longest: 4096, one_in: 50 };

/// Entries of the ring.
pub const ENTRIES: usize = 16;
/// Bytes of each buffer.
const BUFFER: u32 = 256;
/// Bytes of the indirect tables that an input writes.
const TABLES: usize = 256;
const TURNS: usize = 8;

struct Bench {
    // Goes after the port that listens in it.
    port: VhostUserPort,
    pool: Pool,
    scratch: Scratch,
}

thread_local! {
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

fn run(input: &[u8]) {
    take(input);
}

/// How many frames the port made of an input.
fn take(input: &[u8]) -> usize {
    BENCH.with_borrow_mut(|bench| match bench.take().or_else(set_up) {
        Some(mut ready) => {
            let count = attach_and_take(&mut ready, input);
            // Kept for the next input: whatever this one did, the port must serve the next guest.
            *bench = Some(ready);
            count
        }
        None => unreachable!("no port to try on"),
    })
}

fn set_up() -> Option<Bench> {
    let scratch = Scratch::new("chains").ok()?;
    let port = VhostUserPort::new(VhostUserConfig::new(scratch.path().join("sock"))).ok()?;
    Some(Bench { port, pool: Pool::new(PoolLimits { frames: 256, supers: 32 }), scratch })
}

fn attach_and_take(bench: &mut Bench, input: &[u8]) -> usize {
    let Bench { port, pool, scratch } = bench;
    let config = FrontendConfig { ring_size: ENTRIES as u16, buffer_len: BUFFER, ..FrontendConfig::default() };
    let attached = Frontend::connect(&scratch.path().join("sock"), config, &mut || port.on_event());
    let mut frontend = match attached {
        Ok(frontend) => frontend,
        Err(e) => unreachable!("the port did not serve a well-behaved front end: {e}; {:?}", port.status()),
    };
    let Some(place) = frontend.queue(1).map(|queue| queue.place()) else { return 0 };
    let areas = [
        (place.descriptors, 16 * ENTRIES),
        (place.available, 6 + 2 * ENTRIES),
        (place.tables, TABLES),
        (place.buffers, 4096),
    ];
    let mut rest = input;
    for (at, length) in areas {
        let (now, later) = rest.split_at(length.min(rest.len()));
        // Inside the memory by the layout's own rules.
        assert!(frontend.memory().write(at, now).is_ok());
        rest = later;
    }
    if let Some(queue) = frontend.queue(1) {
        queue.kick().signal();
    }
    let (mut burst, mut count): (Vec<Packet>, usize) = (Vec::new(), 0);
    for _ in 0..TURNS {
        port.on_event();
        count += port.rx(PortId(1), pool, &mut burst, 64);
        port.flush();
        assert!(burst.len() <= 64, "no more than there was room for");
        burst.drain(..).for_each(|packet| pool.give(packet.buffer));
    }
    assert_eq!(pool.outstanding(), 0, "every buffer is back");
    frontend.hang_up();
    port.on_event();
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames made of a file of the corpus.
    fn frames(name: &str) -> usize {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/descriptor_chain");
        take(&std::fs::read(folder.join(name)).unwrap())
    }

    #[test]
    fn the_corpus_reaches_the_rings() {
        assert_eq!(["one", "two_chained", "indirect", "many"].map(frames), [1, 1, 1, 16]);
        assert_eq!(["loop", "head_outside", "outside_memory", "indirect_nested"].map(frames), [0; 4]);
    }
}
