//! Guests that ask of themselves: a stack of connections for each port that has any, so that no guest's segments meet
//! another's, whatever address it says it has.
//!
//! Limits: [`PORTS_MAX`] ports at once; what comes from further ones is dropped and counted. User data is read from its
//! file when it is asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use weir_fabric::serve::Punt;
use weir_wire::numbers::{TCP_ACK, TCP_SYN};

use super::super::metadata::http::{MANNER, read};
use super::super::metadata::{Facts, USER_DATA_MAX};
use super::super::now_s;
use super::super::served::{Catalogue, Guest};
use super::super::tcp::Stack;
use super::{Frame, Outgoing, QUESTIONS_IN_A_ROW, Server, Way, random};

/// Ports that have connections at once.
const PORTS_MAX: usize = 256;

/// By interface and port.
#[derive(Default)]
pub(super) struct Stacks(BTreeMap<(u16, u16), Stack<Way>>);

impl Stacks {
    /// All of them.
    pub fn stacks(&mut self) -> impl Iterator<Item = &mut Stack<Way>> {
        self.0.values_mut()
    }

    /// Ends those of interfaces that tell nothing, and of ports that are gone.
    pub fn retain(&mut self, catalogue: &Catalogue) {
        let tells = |id: &u16| catalogue.interfaces.get(id).is_some_and(|served| served.metadata.is_some());
        self.0.retain(|(interface, port), _| tells(interface) && catalogue.ports.contains_key(port));
    }
}

impl Server {
    pub(super) fn metadata(&mut self, punt: &Punt) {
        let tells = self.wanted.catalogue.interface(punt.interface).is_some_and(|served| served.metadata.is_some());
        let Some(frame) = Frame::read(punt).filter(|_| tells) else { return };
        let place = (punt.interface.0, punt.port.0);
        if !self.metadata.0.contains_key(&place) {
            // What belongs to no connection any more is let go.
            if punt.headers.tcp_flags & (TCP_SYN | TCP_ACK) != TCP_SYN {
                return;
            }
            if self.metadata.0.len() >= PORTS_MAX {
                self.services.state().metadata.counters.limited += 1;
                return;
            }
        }
        let now = self.started.elapsed();
        let stack = self.metadata.0.entry(place).or_insert_with(|| Stack::new(MANNER, random(), now));
        let way = Way { to: (punt.interface, punt.port, punt.vid), ends: frame.ends, port: frame.ports.0 };
        stack.take(frame.network.to_vec(), frame.ends, (frame.ports.0, punt.headers.tcp_flags), way);
    }

    /// Moves what connections have to say and to hear.
    pub(super) fn poll_metadata(&mut self) {
        let now = self.started.elapsed();
        for stack in self.metadata.0.values_mut() {
            for _ in 0..QUESTIONS_IN_A_ROW {
                let questions = stack.poll(now);
                if questions.is_empty() {
                    break;
                }
                for (line, bytes, way) in questions {
                    let (interface, port, _) = way.to;
                    let served = self.wanted.catalogue.interface(interface);
                    let (Some(served), Some(port)) = (served, self.wanted.catalogue.port(port)) else { continue };
                    let guest = Guest { port, mac: way.ends.source_mac, id: &[] };
                    let mut state = self.services.state();
                    let super::super::State { book, metadata, .. } = &mut *state;
                    let Some(facts) = Facts::of(served, &book.leases, guest, now_s()) else { continue };
                    let request = read(&bytes);
                    let answer = metadata.answer(&facts, &request, now_s(), user_data);
                    let (bytes, after) = answer.write(request.as_ref().ok());
                    stack.answer(line, &bytes, after);
                }
            }
            while let Some((frame, way)) = stack.next_segment() {
                self.outgoing.push(Outgoing::Answer { to: way.to, frame });
            }
        }
        self.metadata.0.retain(|_, stack| !stack.is_quiet());
    }
}

/// What a file holds; `None` where it is no file, cannot be read, or is too long.
fn user_data(path: &str) -> Option<Vec<u8>> {
    // Nothing that would let us wait, as a pipe does.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mut content = Vec::new();
    File::open(path).ok()?.take(USER_DATA_MAX as u64 + 1).read_to_end(&mut content).ok()?;
    (content.len() <= USER_DATA_MAX).then_some(content)
}
