//! Two guests who have conversations, many at a time, each frame sent once what it answers has arrived.
//!
//! Every frame that arrives must be the next one of its conversation, of the right length and end; one that is lost
//! stops its conversation, which is an error.

use std::path::Path;
use std::time::{Duration, Instant};

use weir_ports::vhost_user::frontend::Frontend;

use super::Failure;
use super::guests::frontend;
use super::talk::{self, Step};

/// A conversation that gets no further for this long has lost a frame.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much of a frame's end is compared.
const END: usize = 8;

/// What passed in a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// How long it was.
    pub time: Duration,
    /// Frames that arrived.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were none of the other's, as of neighbour discovery.
    pub strange: u64,
}

/// A conversation that is being had.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Which, of the day's.
    script: usize,
    /// The client's number.
    number: u32,
    sent: usize,
    arrived: usize,
    last: Instant,
}

/// The guests, with what they say.
pub struct Mix {
    both: [Frontend; 2],
    scripts: Vec<Vec<Step>>,
    slots: Vec<Slot>,
    room: Vec<u8>,
    strange: u64,
}

impl Mix {
    /// Connects to the sockets of a switch that listens there; `at_a_time` conversations are had together.
    ///
    /// # Errors
    /// Where a socket cannot be reached or no agreement is come to.
    pub fn connect(sockets: [&Path; 2], at_a_time: u32) -> Result<Mix, Failure> {
        let [a, b] = sockets;
        let scripts = talk::day();
        let slot = |number: u32| Slot {
            script: number as usize % scripts.len(),
            number,
            sent: 0,
            arrived: 0,
            last: Instant::now(),
        };
        let slots = (0..at_a_time).map(slot).collect();
        let mut both = [frontend(a, 1514, false)?, frontend(b, 1514, false)?];
        for guest in &mut both {
            for ring in 0..2 {
                // They look by themselves, as all guests here do.
                guest.queue(ring).map(|queue| queue.request_call(false));
            }
        }
        Ok(Mix { both, slots, scripts, room: Vec::new(), strange: 0 })
    }

    /// Goes on with the conversations for some time.
    ///
    /// # Errors
    /// Where a frame is lost, or another arrives than was sent.
    pub fn run(&mut self, time: Duration) -> Result<Passed, Failure> {
        let (start, mut passed) = (Instant::now(), Passed::default());
        let strange = self.strange;
        self.slots.iter_mut().for_each(|slot| slot.last = start);
        while passed.time < time {
            self.send();
            let now = Instant::now();
            self.receive(now, &mut passed)?;
            passed.time = now.duration_since(start);
            if let Some(slot) = self.slots.iter().find(|slot| now.duration_since(slot.last) > PATIENCE) {
                let of = self.scripts.get(slot.script).map_or(0, Vec::len);
                return Err(format!("frame {} of {of} of a conversation did not arrive", slot.arrived + 1));
            }
        }
        passed.strange = self.strange - strange;
        Ok(passed)
    }

    fn send(&mut self) {
        for slot in &mut self.slots {
            let Some(script) = self.scripts.get(slot.script) else { continue };
            while let Some(step) = script.get(slot.sent) {
                // An answer waits for what it answers.
                let goes_on = slot.sent == slot.arrived
                    || slot
                        .sent
                        .checked_sub(1)
                        .and_then(|before| script.get(before))
                        .is_some_and(|s| s.side == step.side);
                let Some(guest) = self.both.get_mut(step.side).filter(|_| goes_on) else { break };
                if !guest.send(0, &[0; 12], step.write(slot.number, &mut self.room)) {
                    break;
                }
                slot.sent += 1;
            }
        }
        self.both.iter_mut().for_each(|guest| guest.flush(0));
    }

    fn receive(&mut self, now: Instant, passed: &mut Passed) -> Result<(), Failure> {
        let (slots, scripts, strange) = (&mut self.slots, &self.scripts, &mut self.strange);
        let (at_a_time, mut wrong) = (slots.len() as u32, None);
        for (side, guest) in self.both.iter_mut().enumerate() {
            guest.receive(0, |_, frame| {
                let sender = 1 - side.min(1);
                let slot = talk::slot_of(sender, frame, at_a_time).filter(|_| frame.get(12..14) == Some(&[8, 0]));
                let Some(slot) = slot.and_then(|slot| slots.get_mut(slot)) else {
                    *strange += 1;
                    return;
                };
                let expected = scripts.get(slot.script).and_then(|script| script.get(slot.arrived));
                if !expected.is_some_and(|step| step.side == sender && is_same(&step.frame, frame)) {
                    wrong = Some(format!(
                        "in place of frame {} of a conversation ({} bytes) another came, of {} bytes",
                        slot.arrived + 1,
                        expected.map_or(0, |step| step.frame.len()),
                        frame.len()
                    ));
                    return;
                }
                passed.frames += 1;
                passed.bytes += frame.len() as u64;
                (slot.arrived, slot.last) = (slot.arrived + 1, now);
                if scripts.get(slot.script).is_some_and(|script| slot.arrived == script.len()) {
                    *slot = Slot {
                        script: (slot.script + 1) % scripts.len(),
                        number: slot.number.wrapping_add(at_a_time),
                        sent: 0,
                        arrived: 0,
                        last: now,
                    };
                }
            });
        }
        wrong.map_or(Ok(()), Err)
    }
}

fn is_same(sent: &[u8], arrived: &[u8]) -> bool {
    // An acknowledgement ends with its time stamps.
    sent.len() == arrived.len() && sent.last_chunk::<END>() == arrived.last_chunk()
}
