//! Every way in which files travel, cut at every byte: what is infected never arrives complete, its clean twin arrives as
//! it was sent.

mod codings;
mod files;
mod mail;
mod web;

use super::*;
use crate::scan::{self, Database};

/// What is infected, whole, and how it is known; with one byte changed, what is clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// By the built-in signature.
    Eicar,
    /// By a body signature of a database of one's own.
    Body,
    /// By a logical one.
    Logical,
    /// By its digest alone, of each kind.
    Md5,
    Sha1,
    Sha256,
}

impl Known {
    const ALL: [Known; 6] = [Known::Eicar, Known::Body, Known::Logical, Known::Md5, Known::Sha1, Known::Sha256];

    fn object(self) -> Vec<u8> {
        match self {
            // Put together so that this source is not the test file of anti-virus programs.
            Known::Eicar => {
                [&b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR"[..], b"-STANDARD-ANTIVIRUS", b"-TEST-FILE!$H+H*"].concat()
            }
            Known::Body => b"this is my own-Marker".to_vec(),
            Known::Logical => b"two=words, one=after the other".to_vec(),
            Known::Md5 => b"known by MD5.".to_vec(),
            Known::Sha1 => b"known by SHA-1.".to_vec(),
            Known::Sha256 => b"known by SHA-256.".to_vec(),
        }
    }

    fn is_digest(self) -> bool {
        matches!(self, Known::Md5 | Known::Sha1 | Known::Sha256)
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn checking() -> Spec {
    use md5::Digest;
    let md5 = format!("{}:13:Own.Md5\n", hex(md5::Md5::digest(Known::Md5.object())));
    let sha1 = format!("{}:*:Own.Sha1\n", hex(sha1::Sha1::digest(Known::Sha1.object())));
    let sha256 = format!("{} Own.Sha256\n", hex(sha2::Sha256::digest(Known::Sha256.object())));
    let body = format!("Own.Body:0:*:{}??{}\n", hex("own-"), hex("arker"));
    let logical = format!("Own.Logical;Target:0;0&1;{};{}::i\n", hex("TWO=WORDS"), hex("one=after the other"));
    let logical = logical.replace(&hex("TWO=WORDS"), &format!("{}::i", hex("two=words")));
    let files = [("a.hdb", md5), ("a.hsb", sha1), ("list.txt", sha256), ("a.ndb", body), ("a.ldb", logical)];
    let database = Database::read(files.iter().map(|(name, text)| (*name, text.as_str())));
    assert!(database.refused.is_empty(), "{:?}", database.refused);
    assert_eq!(database.len(), (3, 3));
    let policy = scan::Policy { database: Some(Arc::new(database)), ..scan::Policy::default() };
    Spec { scan: Arc::new(policy), ..spec(Action::Allow, vec![]) }
}

/// A connection: who opens it, and its ports.
#[derive(Clone, Copy, Debug)]
struct Line {
    opener: u16,
    source: u16,
    port: u16,
}

/// Something that is said whole on a connection; `asks` by its opener.
#[derive(Clone, Debug)]
struct Turn {
    line: usize,
    asks: bool,
    bytes: Vec<u8>,
}

/// What is made of the beginning of what was said.
type Undo = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A conversation at whose end a file is carried. `number` is another one for each, so that ports differ.
struct Carrier {
    name: String,
    lines: fn(u16) -> Vec<Line>,
    turns: Vec<Turn>,
    /// What carries the file, on the connection that was opened last.
    asks: bool,
    said: Vec<u8>,
    /// How much of a file is too much.
    until: Until,
    /// The one who says it closes the connection then, which ends the file.
    closes: bool,
    /// What an application can make of the beginning of what was said.
    undo: Undo,
}

/// What may arrive of a file that a signature knows. One that its digest knows is known when the message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Not its last byte: applications may use what they have.
    Object,
    /// Not the end of the message, without which applications throw it away.
    Message,
}

/// One client, one server, one connection.
fn web_line(number: u16) -> Vec<Line> {
    vec![Line { opener: A, source: 2000 + number, port: 80 }]
}

fn turn(asks: bool, bytes: impl AsRef<[u8]>) -> Turn {
    Turn { line: 0, asks, bytes: bytes.as_ref().to_vec() }
}

/// A conversation under way.
struct Play<'w> {
    world: &'w mut World,
    lines: Vec<Line>,
    /// Next numbers of opener and opened.
    at: Vec<[u32; 2]>,
}

impl<'w> Play<'w> {
    fn begin(world: &'w mut World, carrier: &Carrier, number: u16) -> Play<'w> {
        world.heard = Some(vec![]);
        let lines = (carrier.lines)(number);
        let mut play = Play { world, at: vec![], lines };
        for turn in &carrier.turns {
            play.open(turn.line);
            let from = play.at[turn.line][usize::from(!turn.asks)];
            play.send(turn.line, turn.asks, from, &turn.bytes, 0)
                .unwrap_or_else(|why| panic!("{}: {why:?}", carrier.name));
            play.at[turn.line][usize::from(!turn.asks)] += turn.bytes.len() as u32;
            play.acknowledge(turn.line, turn.asks);
        }
        let last = play.lines.len() - 1;
        play.open(last);
        play
    }

    fn open(&mut self, nth: usize) {
        while self.at.len() <= nth {
            let Line { opener, source, port } = self.lines[self.at.len()];
            self.world.handshake(opener, source, other(opener), port).unwrap();
            self.at.push([101, 501]);
        }
    }

    fn send(&mut self, nth: usize, asks: bool, seq: u32, bytes: &[u8], flags: u8) -> Fate {
        let Line { opener, source, port } = self.lines[nth];
        let ack = self.at[nth][usize::from(asks)];
        let (from, from_port, to_port) = if asks { (opener, source, port) } else { (other(opener), port, source) };
        let address = |host| if host == A { A4 } else { B4 };
        let frame = seg(address(from), from_port, address(other(from)), to_port, TCP_ACK | flags, seq, ack, bytes);
        self.world.send(&frame, from, other(from))
    }

    /// The other side acknowledges what was said in order.
    fn acknowledge(&mut self, nth: usize, asked: bool) {
        let seq = self.at[nth][usize::from(asked)];
        // An acknowledgement of a flow that was ended does not pass.
        let _fate = self.send(nth, !asked, seq, b"", 0);
    }

    /// What the other side has of the last connection, in order from the start of what is said.
    fn received(&self, carrier: &Carrier) -> Vec<u8> {
        let nth = self.lines.len() - 1;
        let Line { source, port, .. } = self.lines[nth];
        let ports = if carrier.asks { (source, port) } else { (port, source) };
        let from = self.at[nth][usize::from(!carrier.asks)];
        let (mut bytes, mut known) = (vec![0; carrier.said.len()], vec![false; carrier.said.len()]);
        for Heard { ports: heard, seq, payload } in self.world.heard.iter().flatten() {
            if *heard != ports || *seq < from {
                continue;
            }
            for (at, byte) in ((seq - from) as usize..).zip(payload) {
                (bytes[at], known[at]) = (*byte, true);
            }
        }
        let whole = known.iter().take_while(|known| **known).count();
        bytes.truncate(whole);
        bytes
    }

    /// Says the carrying bytes in these pieces, in this order; what the other side has in the end.
    fn carry(mut self, carrier: &Carrier, pieces: &[std::ops::Range<usize>]) -> Vec<u8> {
        let nth = self.lines.len() - 1;
        let from = self.at[nth][usize::from(!carrier.asks)];
        let mut ended = false;
        for piece in pieces {
            let fate = self.send(nth, carrier.asks, from + piece.start as u32, &carrier.said[piece.clone()], 0);
            ended |= fate.is_err_and(|why| why != DropReason::AwaitsVerdict);
            let acknowledged = from + self.received(carrier).len() as u32;
            let before = std::mem::replace(&mut self.at[nth][usize::from(!carrier.asks)], acknowledged);
            self.acknowledge(nth, carrier.asks);
            self.at[nth][usize::from(!carrier.asks)] = before;
        }
        if carrier.closes && !ended {
            let end = from + carrier.said.len() as u32;
            // What is held goes on with it, or is refused.
            let _fate = self.send(nth, carrier.asks, end, b"", TCP_FIN);
        }
        self.received(carrier)
    }
}

fn other(host: u16) -> u16 {
    if host == A { B } else { A }
}

/// All cuts in two, in order and swapped, and single bytes.
fn orders(length: usize) -> impl Iterator<Item = Vec<std::ops::Range<usize>>> {
    let cuts = (1..length).flat_map(move |cut| [vec![0..cut, cut..length], vec![cut..length, 0..cut]]);
    let pieces = |size| (0..length).step_by(size).map(|at| at..length.min(at + size)).collect();
    cuts.chain([pieces(length), pieces(1)])
}

/// Conversations in one world.
const PLAYS: u16 = 400;

/// Plays a carrier in every cut. `forbidden`: what must not arrive complete; `None` where all of it must.
fn play(spec: &Spec, carrier: &Carrier, forbidden: Option<Known>) {
    let mut world = None;
    for (number, pieces) in (0u16..).zip(orders(carrier.said.len())) {
        if number % PLAYS == 0 {
            world = Some(World::new(spec));
        }
        let world = world.as_mut().unwrap();
        let got = Play::begin(world, carrier, number % PLAYS).carry(carrier, &pieces);
        let told = world.events();
        let shown = || format!("{} in {:?}: {told:?}", carrier.name, &pieces[..pieces.len().min(2)]);
        match forbidden {
            Some(known) => {
                let arrived = match carrier.until {
                    Until::Object if !known.is_digest() || carrier.closes => {
                        memchr::memmem::find(&(carrier.undo)(&got), &known.object()).is_some()
                    }
                    Until::Object | Until::Message => got.len() >= carrier.said.len(),
                };
                assert!(!arrived, "arrived: {}", shown());
                assert!(told.iter().any(|event| event.starts_with("virus ")), "not told: {}", shown());
            }
            None => {
                assert!(got == carrier.said, "{} of {} bytes arrived: {}", got.len(), carrier.said.len(), shown());
                assert!(!told.iter().any(|event| event.starts_with("virus ")), "told: {}", shown());
            }
        }
    }
}

/// How thoroughly a carrier is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// Files whole: digests are known at their end.
    Whole,
    /// Parts of files: signatures alone.
    Parts,
}

/// Asks a carrier of files: each kind of signature is stopped, the clean twin arrives.
fn check(knows: Knows, carrier: impl Fn(&[u8]) -> Carrier) {
    let spec = checking();
    for known in Known::ALL.into_iter().filter(|known| knows == Knows::Whole || !known.is_digest()) {
        let object = known.object();
        let infected = carrier(&object);
        let whole = (infected.undo)(&infected.said);
        assert!(memchr::memmem::find(&whole, &object).is_some(), "{}: the test can read the object", infected.name);
        play(&spec, &infected, Some(known));
        // Of the other kinds the last byte makes the twin as well.
        let mut twin = object.clone();
        *twin.last_mut().unwrap() ^= 1;
        if matches!(known, Known::Eicar | Known::Md5) {
            play(&spec, &carrier(&twin), None);
        }
    }
}
