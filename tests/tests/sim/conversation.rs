//! Applications: one writes a text and closes, the other reads to the end.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

use crate::host::Family;
use crate::world::World;

/// One TCP connection, from the writer's and the reader's side.
pub struct Conversation {
    writer: (usize, SocketHandle),
    reader: (usize, SocketHandle),
    pub text: Vec<u8>,
    written: usize,
    pub read: Vec<u8>,
    /// Longest single write; small ones make small segments.
    most_at_once: u64,
    /// A place that no write goes across.
    pub stop_at: usize,
}

impl Conversation {
    /// The host at `from` connects to the one at `to` and is going to write `text`.
    pub fn start(
        world: &mut World,
        from: usize,
        to: usize,
        family: Family,
        text: Vec<u8>,
        most_at_once: u64,
    ) -> Conversation {
        let number = world.chance.below(20_000) as u16;
        let reader = world.places[to].host.listen(1000 + number);
        let writer = world.places[from].host.connect(to as u8 + 1, family, 1000 + number, 40_000 + number);
        world.wake(to);
        world.wake(from);
        let (writer, reader) = ((from, writer), (to, reader));
        Conversation { writer, reader, text, written: 0, read: Vec::new(), most_at_once, stop_at: 0 }
    }

    /// Reads and writes what can be; `true` once the whole text was read, or a side was reset.
    ///
    /// The writer's end of the stream is sent, but not waited for: smoltcp turns its timer off when all data are
    /// acknowledged and does not repeat a FIN that was lost.
    pub fn go_on(&mut self, world: &mut World) -> bool {
        let (place, handle) = self.writer;
        let socket = world.places[place].host.tcp(handle);
        let mut active = false;
        if socket.can_send() && self.written < self.text.len() {
            let most = 1 + world.chance.below(self.most_at_once) as usize;
            let limit = if self.written < self.stop_at { self.stop_at } else { self.text.len() };
            let end = (self.written + most).min(limit);
            self.written += socket.send_slice(&self.text[self.written..end]).unwrap_or(0);
            if self.written == self.text.len() {
                socket.close();
            }
            active = true;
        }
        let broken = socket.state() == State::Closed;
        if active {
            world.wake(place);
        }
        let (place, handle) = self.reader;
        let socket = world.places[place].host.tcp(handle);
        let mut active = false;
        while socket.can_recv() {
            let room = &mut [0; 4096];
            let length = socket.recv_slice(room).unwrap_or(0);
            self.read.extend_from_slice(&room[..length]);
            active = true;
        }
        if socket.state() == State::CloseWait {
            socket.close();
            active = true;
        }
        let broken = broken || socket.state() == State::Closed;
        if active {
            world.wake(place);
        }
        self.read.len() == self.text.len() || broken
    }

    /// Where both sides stand, for a failure's message.
    pub fn standing(&self, world: &mut World) -> String {
        let [writer, reader] = [self.writer, self.reader].map(|(place, handle)| {
            let socket = world.places[place].host.tcp(handle);
            format!("host {} {} with {} to send", place + 1, socket.state(), socket.send_queue())
        });
        let (read, length) = (self.read.len(), self.text.len());
        format!("{writer}, {reader}: {} of {length} bytes written, {read} read", self.written)
    }

    /// Ends both sides without a word, so that nothing is repeated for ever.
    pub fn abandon(&self, world: &mut World) {
        for (place, handle) in [self.writer, self.reader] {
            world.places[place].host.sockets.remove(handle);
        }
    }
}
