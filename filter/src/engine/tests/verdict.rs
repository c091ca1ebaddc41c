//! Files about which another program is asked, and files that only the end of their connection ends: what brings their
//! end waits for the verdict, and goes on in order, or not at all.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use md5::{Digest as _, Md5};

use super::*;
use crate::scan::remote::{Offer, Piece, Remote, Said, Terms};
use crate::scan::{self, Database};

const WAITS: Fate = Err(DropReason::AwaitsVerdict);
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
const ENDLESS: &[u8] = b"HTTP/1.0 200 OK\r\n\r\n";

fn checking(database: Database, remote: Option<Arc<Remote>>) -> Spec {
    let policy = scan::Policy { database: Some(Arc::new(database)), remote, ..scan::Policy::default() };
    Spec { scan: Arc::new(policy), ..spec(Action::Allow, vec![]) }
}

/// A download from B that is under way, and where its server stands.
struct Download {
    world: World,
    at: u32,
}

impl Download {
    fn new(spec: &Spec) -> Download {
        let mut world = World::new(spec);
        world.handshake(A, 1000, B, 80).unwrap();
        let get = b"GET /file.bin HTTP/1.1\r\nHost: a.example\r\n\r\n";
        world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 101, 501, get), A, B).unwrap();
        Download { world, at: 501 }
    }

    fn segment(&mut self, seq: u32, flags: u8, data: &[u8]) -> Fate {
        self.world.send(&seg(B4, 80, A4, 1000, TCP_ACK | flags, seq, 143, data), B, A)
    }

    /// The server says more.
    fn say(&mut self, data: &[u8]) -> Fate {
        let at = self.at;
        self.at += data.len() as u32;
        self.segment(at, 0, data)
    }

    /// The client has everything before `ack`.
    fn acknowledge(&mut self, ack: u32) -> Fate {
        self.world.send(&seg(A4, 1000, B4, 80, TCP_ACK, 143, ack, b""), A, B)
    }

    /// What was told of files and drops.
    fn told(&mut self) -> Vec<String> {
        let mut told = self.world.events();
        told.retain(|event| event.starts_with("virus ") || event.starts_with("drop "));
        told
    }

    /// What has become of what waited.
    fn later(&mut self) -> Vec<Fate> {
        let now = self.world.now;
        self.world.engine.look_at_held(now);
        self.world.go_on();
        std::mem::take(&mut self.world.later)
    }
}

fn asked(closed: bool) -> (Spec, Receiver<Offer>) {
    let terms = Terms { file_bytes: 1 << 20, waiting: 1 << 20, waiting_in_all: 1 << 20, closed };
    let (remote, offers) = Remote::new(terms);
    (checking(Database::builtin(), Some(Arc::new(remote))), offers)
}

/// The file that is asked about.
fn taken(offer: &Offer) -> Vec<u8> {
    let bytes = |piece| if let Piece::Bytes(bytes) = piece { bytes.as_ref().to_vec() } else { Vec::new() };
    offer.pieces.try_iter().flat_map(bytes).collect()
}

#[test]
fn the_end_of_a_file_waits_for_the_verdict_and_then_goes_on_in_order() {
    let (spec, offers) = asked(true);
    let mut download = Download::new(&spec);
    download.say(HEAD).unwrap();
    download.say(b"01234").unwrap();
    assert_eq!(download.say(b"56789"), WAITS);
    let end = download.at;
    assert_eq!(download.segment(end - 5, 0, b"56789"), WAITS, "a repetition is dropped");
    assert_eq!(download.segment(end, TCP_FIN, b""), WAITS, "what follows waits too");
    assert_eq!(download.world.engine.held(), 2);
    assert_eq!(download.segment(end - 10, 0, b"01234"), Ok(()), "what was delivered before may be repeated");
    assert_eq!(
        (download.acknowledge(end - 5), download.segment(end, 0, b"")),
        (Ok(()), Ok(())),
        "both may acknowledge"
    );
    assert_eq!(download.later(), Vec::<Fate>::new());
    let offer = offers.try_recv().unwrap();
    assert_eq!(taken(&offer), b"0123456789");
    offer.answer.say(Said::Clean);
    assert_eq!(download.later(), [Ok(()), Ok(())]);
    assert_eq!((download.world.engine.held(), download.acknowledge(end + 1)), (0, Ok(())));
    assert_eq!(download.told(), Vec::<String>::new());
}

#[test]
fn a_file_that_is_infected_is_not_delivered_to_its_end() {
    let (spec, offers) = asked(true);
    let mut download = Download::new(&spec);
    download.say(HEAD).unwrap();
    assert_eq!(download.say(b"0123456789"), WAITS);
    assert_eq!(download.say(b"more"), WAITS);
    offers.try_recv().unwrap().answer.say(Said::Infected("Evil.Test".into()));
    assert_eq!(download.later(), [Err(DropReason::Virus), Err(DropReason::FlowBlocked)]);
    assert_eq!(download.told(), ["virus Evil.Test http", "drop virus"]);
    assert_eq!((download.world.replies().len(), download.world.engine.held()), (2, 0));
    let at = download.at - 14;
    assert_eq!(download.segment(at, 0, b"0123456789"), Err(DropReason::FlowBlocked));
}

#[test]
fn without_a_verdict_the_stated_act_is_done_when_the_time_is_over() {
    for (closed, fate) in [(true, Err(DropReason::Virus)), (false, Ok(()))] {
        let (spec, offers) = asked(closed);
        let mut download = Download::new(&spec);
        download.say(HEAD).unwrap();
        assert_eq!(download.say(b"0123456789"), WAITS);
        let limit = scan::Limits::default().hold;
        download.world.now = download.world.now.after(limit - Duration::from_millis(1));
        assert_eq!(download.later(), Vec::<Fate>::new());
        let due = download.world.now.after(Duration::from_millis(1));
        download.world.tick();
        assert_eq!(download.world.engine.tick(download.world.now, |_, _| {}), Some(due), "the guard wakes for it");
        download.world.now = due;
        assert_eq!(download.later(), [fate]);
        assert_eq!(download.told()[0], "virus not judged: no verdict in time http");
        drop(offers);
    }
}

#[test]
fn nobody_to_ask_is_told_at_once_and_met_as_stated() {
    for (closed, fate) in [(true, Err(DropReason::Virus)), (false, Ok(()))] {
        let (spec, offers) = asked(closed);
        drop(offers);
        let mut download = Download::new(&spec);
        download.say(HEAD).unwrap();
        assert_eq!(download.say(b"0123456789"), WAITS);
        assert_eq!(download.later(), [fate]);
        assert!(download.told()[0].starts_with("virus not judged: nobody judges"), "it is told");
    }
}

#[test]
fn a_file_that_is_read_slowly_elsewhere_is_held_up_and_goes_on() {
    let terms = Terms { file_bytes: 1 << 20, waiting: 1000, waiting_in_all: 1 << 20, closed: true };
    let (remote, offers) = Remote::new(terms);
    let mut download = Download::new(&checking(Database::builtin(), Some(Arc::new(remote))));
    download.say(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n").unwrap();
    let block = [b'x'; 1400];
    assert_eq!(download.say(&block), WAITS, "more than a thousand bytes wait");
    assert_eq!(download.say(&block), WAITS);
    assert_eq!(download.later(), Vec::<Fate>::new());
    let offer = offers.try_recv().unwrap();
    assert_eq!(taken(&offer).len(), 2800);
    assert_eq!(download.later(), [Ok(()), Ok(())]);
    assert_eq!((download.say(&block[..900]), download.say(&block)), (Ok(()), WAITS));
}

#[test]
fn what_is_held_is_bounded() {
    let terms = Terms { file_bytes: 1 << 20, waiting: 100, waiting_in_all: 1 << 20, closed: true };
    let (remote, _offers) = Remote::new(terms);
    let mut download = Download::new(&checking(Database::builtin(), Some(Arc::new(remote))));
    download.say(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n").unwrap();
    for _ in 0..400 {
        assert_eq!(download.say(&[b'x'; 120]), WAITS);
    }
    assert_eq!(download.world.engine.held(), 256);
}

/// A database that knows one file by its digest.
fn knows(file: &[u8]) -> Database {
    let digest: String = Md5::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
    Database::read([("own.hdb", format!("{digest}:{}:Known.Digest\n", file.len()).as_str())].into_iter())
}

#[test]
fn a_known_digest_is_stopped_before_the_last_bytes_of_a_file_without_a_length() {
    let mut download = Download::new(&checking(knows(b"one two three"), None));
    download.say(ENDLESS).unwrap();
    assert_eq!(download.say(b"one "), WAITS);
    assert_eq!(download.say(b"two "), WAITS);
    assert_eq!(std::mem::take(&mut download.world.later), [Ok(())], "the one before goes on");
    assert_eq!(download.say(b"three"), WAITS);
    assert_eq!(std::mem::take(&mut download.world.later), [Ok(())]);
    let at = download.at;
    assert_eq!(download.segment(at, TCP_FIN, b""), Err(DropReason::Virus));
    assert_eq!(download.later(), [Err(DropReason::FlowBlocked)], "the last segment was never delivered");
    assert_eq!(download.told()[0], "virus Known.Digest http");
}

#[test]
fn a_clean_file_without_a_length_arrives_in_order() {
    let mut download = Download::new(&checking(knows(b"another"), None));
    download.say(ENDLESS).unwrap();
    assert_eq!(download.say(b"one "), WAITS);
    assert_eq!(download.say(b"two"), WAITS);
    let at = download.at;
    assert_eq!(download.segment(at, TCP_FIN, b""), WAITS, "it goes on behind what waits");
    assert_eq!(download.later(), [Ok(()), Ok(()), Ok(())]);
    assert_eq!(download.world.engine.held(), 0);
}

#[test]
fn where_the_sender_pauses_its_last_segment_is_delivered() {
    let mut download = Download::new(&checking(knows(b"one two"), None));
    download.say(ENDLESS).unwrap();
    assert_eq!(download.say(b"one two"), WAITS);
    download.world.now = download.world.now.after(scan::Limits::default().hold_tail);
    assert_eq!(download.later(), [Ok(())]);
    let at = download.at;
    assert_eq!(download.segment(at, TCP_FIN, b""), Err(DropReason::Virus), "its end is not");
}

#[test]
fn a_policy_that_checks_no_files_lets_what_is_held_go() {
    let (spec, _offers) = asked(true);
    let mut download = Download::new(&spec);
    download.say(HEAD).unwrap();
    assert_eq!(download.say(b"0123456789"), WAITS);
    download.world.install(&super::spec(Action::Allow, vec![]));
    download.world.tick();
    download.world.go_on();
    assert_eq!(download.world.later, [Ok(())]);
}

#[test]
fn a_flow_that_ends_takes_what_is_held_of_it_along() {
    let (spec, _offers) = asked(true);
    let mut download = Download::new(&spec);
    download.say(HEAD).unwrap();
    assert_eq!(download.say(b"0123456789"), WAITS);
    let now = download.world.now;
    assert_eq!(download.world.engine.kill_flows(now, |_| true), 1);
    assert_eq!(download.later(), [Err(DropReason::FlowBlocked)]);
    assert_eq!((download.world.engine.held(), download.world.pool.outstanding()), (0, 0));
}
