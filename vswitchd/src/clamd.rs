//! clamd, asked about files by its `INSTREAM` command over a unix socket or TCP.
//!
//! A few threads carry one file each, as its bytes come; the worker hands them over by queues that it never waits for
//! ([`remote`]) and is told when an answer has come. Another thread asks clamd every [`PROBE`] whether it is there.
//!
//! A connection carries one file: `zINSTREAM\0`, then chunks, each behind its length in four bytes, big-endian, then a
//! length of zero; clamd answers `stream: OK`, `stream: NAME FOUND` or what went wrong (clamd(8)). What clamd says is
//! text of bounded length that is read as such and nothing more.
//!
//! Limits: files at one time ([`Settings::connections`]; others wait), bytes that wait, silence of either side
//! ([`Settings::timeout`]).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use weir_filter::scan::remote::{self, Offer, Piece, Remote, Said};

/// How often clamd is asked whether it is there.
const PROBE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 4096;
/// Bytes sent as one chunk.
const CHUNK: usize = 1 << 20;

/// Where clamd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if text.starts_with('/') {
            return Ok(Address::Unix(text.into()));
        }
        let of = text.strip_prefix("tcp:").unwrap_or(text);
        let wrong = |_| format!("\"{text}\" is neither the absolute path of a socket nor address:port");
        of.parse().map(Address::Tcp).map_err(wrong)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// How clamd is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub address: Address,
    /// Files at one time.
    pub connections: usize,
    /// The longest silence.
    pub timeout: Duration,
    /// Bounds of what is asked.
    pub terms: remote::Terms,
}

/// How clamd was found last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// It answers; `None` before it was asked.
    pub answers: Option<bool>,
    /// What it calls itself, or why it cannot be asked.
    pub text: String,
}

/// Tells the worker that an answer has come.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A clamd that is asked. Its threads end once nobody holds it or a question of it.
#[derive(Debug)]
pub struct Clamd {
    settings: Settings,
    remote: Arc<Remote>,
    health: Arc<Mutex<Health>>,
}

impl Clamd {
    /// Begins to ask. It need not be there yet.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn start(settings: Settings, wake: &Wake) -> io::Result<Clamd> {
        let (remote, offers) = Remote::new(settings.terms);
        let offers = Arc::new(Mutex::new(offers));
        for number in 0..settings.connections.max(1) {
            let (offers, settings, wake) = (Arc::clone(&offers), settings.clone(), Arc::clone(wake));
            let carry = move || carry(&offers, &settings, &wake);
            std::thread::Builder::new().name(format!("clamd-{number}")).spawn(carry)?;
        }
        let health = Arc::new(Mutex::new(Health::default()));
        let (seen, asked) = (Arc::downgrade(&health), settings.clone());
        std::thread::Builder::new().name("clamd-health".into()).spawn(move || watch(&seen, &asked))?;
        Ok(Clamd { settings, remote: Arc::new(remote), health })
    }

    /// How it is asked.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The asking end, for the guard.
    pub fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// How it was found last.
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Carries files, one after the other, until nobody asks any more.
fn carry(offers: &Mutex<Receiver<Offer>>, settings: &Settings, wake: &Wake) {
    loop {
        let next = offers.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(offer) = next else { return };
        let said = judge(&offer, settings, wake).unwrap_or_else(|why| Said::Failed(format!("clamd: {why}")));
        offer.answer.say(said);
        wake();
    }
}

/// Either kind of connection.
trait Connection: Read + Write {}

impl<C: Read + Write> Connection for C {}

fn connect(settings: &Settings) -> io::Result<Box<dyn Connection>> {
    let timeout = Some(settings.timeout);
    match &settings.address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(timeout)?;
            stream.set_write_timeout(timeout)?;
            Ok(Box::new(stream))
        }
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, settings.timeout)?;
            stream.set_read_timeout(timeout)?;
            stream.set_write_timeout(timeout)?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
    }
}

/// What clamd says of a file.
fn judge(offer: &Offer, settings: &Settings, wake: &Wake) -> Result<Said, String> {
    let mut stream = connect(settings).map_err(|e| format!("cannot be reached: {e}"))?;
    match send(&mut *stream, offer, settings, wake) {
        Ok(true) => {}
        // What was said meanwhile, or that nobody wants to know any more.
        Ok(false) => return Ok(Said::Failed("the file was not sent to its end".into())),
        // It may have said why it takes no more.
        Err(error) => {
            return Ok(match answer(&mut *stream) {
                Ok(text) if !text.is_empty() => verdict(&text),
                Ok(_) | Err(_) => Said::Failed(format!("clamd: {error}")),
            });
        }
    }
    let text = answer(&mut *stream).map_err(|e| format!("gave no answer: {e}"))?;
    Ok(verdict(&text))
}

/// Sends a file as it comes; `false` where it does not come to its end.
fn send(stream: &mut dyn Connection, offer: &Offer, settings: &Settings, wake: &Wake) -> io::Result<bool> {
    stream.write_all(b"zINSTREAM\0")?;
    loop {
        match offer.pieces.recv_timeout(settings.timeout) {
            Ok(Piece::Bytes(bytes)) => {
                for chunk in bytes.as_ref().chunks(CHUNK) {
                    stream.write_all(&(chunk.len() as u32).to_be_bytes())?;
                    stream.write_all(chunk)?;
                }
                let held = !offer.answer.has_room();
                drop(bytes);
                if held && offer.answer.has_room() {
                    wake();
                }
            }
            Ok(Piece::End) => {
                stream.write_all(&0u32.to_be_bytes())?;
                stream.flush()?;
                return Ok(true);
            }
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
    }
}

/// Reads an answer, which a zero ends.
fn answer(stream: &mut dyn Connection) -> io::Result<String> {
    let (mut text, mut room) = (Vec::new(), [0; 512]);
    while text.len() < ANSWER_MAX {
        let length = stream.read(&mut room)?;
        let come = room.get(..length).unwrap_or_default();
        let end = come.iter().position(|byte| matches!(byte, 0 | b'\n'));
        text.extend_from_slice(come.get(..end.unwrap_or(length)).unwrap_or_default());
        if end.is_some() || length == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What an answer to `INSTREAM` means.
fn verdict(text: &str) -> Said {
    let said = text.strip_prefix("stream: ").unwrap_or(text).trim();
    match said.strip_suffix(" FOUND") {
        Some(name) => Said::Infected(name.to_owned()),
        None if said == "OK" => Said::Clean,
        None if said.is_empty() => Said::Failed("clamd: gave no answer".into()),
        None => Said::Failed(format!("clamd: {said}")),
    }
}

/// Looks whether clamd is there, until nobody wants to know any more.
fn watch(health: &Weak<Mutex<Health>>, settings: &Settings) {
    let mut last = None;
    loop {
        let found = probe(settings);
        let Some(health) = health.upgrade() else { return };
        if last != found.answers {
            last = found.answers;
            match found.answers {
                Some(true) => tracing::info!("clamd at {} answers: {}", settings.address, found.text),
                Some(false) | None => tracing::warn!("clamd at {} cannot be asked: {}", settings.address, found.text),
            }
        }
        *health.lock().unwrap_or_else(PoisonError::into_inner) = found;
        drop(health);
        std::thread::sleep(PROBE);
    }
}

fn probe(settings: &Settings) -> Health {
    let asked = connect(settings).and_then(|mut stream| {
        stream.write_all(b"zVERSION\0")?;
        answer(&mut *stream)
    });
    match asked {
        Ok(text) if !text.is_empty() => Health { answers: Some(true), text },
        Ok(_) => Health { answers: Some(false), text: "it says nothing".into() },
        Err(error) => Health { answers: Some(false), text: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;

    use super::*;

    const TERMS: remote::Terms =
        remote::Terms { file_bytes: 1 << 20, waiting: 1 << 16, waiting_in_all: 1 << 20, closed: true };

    /// A clamd that finds what holds `evil`, and what it was sent.
    fn clamd(name: &str, answers: usize) -> (Settings, mpsc::Receiver<Vec<u8>>) {
        let path = std::env::temp_dir().join(format!("weir-clamd-{name}-{}", std::process::id()));
        let _gone = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let (told, files) = mpsc::channel();
        std::thread::spawn(move || {
            let mut left = answers;
            while left > 0 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut command: Vec<u8> = Vec::new();
                let mut byte = [1];
                while byte != [0] {
                    stream.read_exact(&mut byte).unwrap();
                    command.extend(byte.iter().filter(|&&byte| byte != 0));
                }
                if command == b"zVERSION" {
                    stream.write_all(b"ClamAV of the test\0").unwrap();
                    continue;
                }
                assert_eq!(command, b"zINSTREAM");
                left -= 1;
                let mut file = Vec::new();
                loop {
                    let mut length = [0; 4];
                    stream.read_exact(&mut length).unwrap();
                    let mut chunk = vec![0; u32::from_be_bytes(length) as usize];
                    if chunk.is_empty() {
                        break;
                    }
                    stream.read_exact(&mut chunk).unwrap();
                    file.extend(chunk);
                }
                let evil = file.windows(4).any(|window| window == b"evil");
                stream.write_all(if evil { b"stream: Evil.Test FOUND\0" } else { b"stream: OK\0" }).unwrap();
                told.send(file).unwrap();
            }
        });
        let timeout = Duration::from_secs(5);
        (Settings { address: Address::Unix(path), connections: 2, timeout, terms: TERMS }, files)
    }

    fn woken() -> (Wake, mpsc::Receiver<()>) {
        let (wake, woken) = mpsc::channel();
        let wake = Mutex::new(wake);
        let ring = move || wake.lock().unwrap().send(()).unwrap_or(());
        (Arc::new(ring), woken)
    }

    #[test]
    fn files_are_sent_in_chunks_and_answers_are_read() {
        let (settings, files) = clamd("files", 2);
        let (wake, woken) = woken();
        let asked = Clamd::start(settings, &wake).unwrap();
        for (parts, said) in [(["so ev", "il!"], Said::Infected("Evil.Test".into())), (["so cl", "ean"], Said::Clean)] {
            let mut question = asked.remote().ask();
            parts.iter().for_each(|part| question.say(part.as_bytes()));
            question.end();
            woken.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(question.answer().get(), Some(&said));
            assert_eq!(files.recv().unwrap(), parts.concat().as_bytes());
        }
        let tally = asked.remote().tally();
        assert_eq!((tally.asked, tally.clean, tally.infected, tally.failed, tally.waiting), (2, 1, 1, 0, 0));
    }

    #[test]
    fn where_nobody_listens_a_file_is_not_judged() {
        let address = Address::Unix("/nonexistent/clamd.ctl".into());
        let settings = Settings { address, connections: 1, timeout: Duration::from_secs(1), terms: TERMS };
        let (wake, woken) = woken();
        let asked = Clamd::start(settings, &wake).unwrap();
        let mut question = asked.remote().ask();
        question.say(b"abc");
        question.end();
        woken.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(matches!(question.answer().get(), Some(Said::Failed(why)) if why.contains("cannot be reached")));
    }

    #[test]
    fn answers_mean_what_clamd_says_they_mean() {
        assert_eq!(verdict("stream: OK"), Said::Clean);
        assert_eq!(verdict("stream: Win.Test FOUND"), Said::Infected("Win.Test".into()));
        assert_eq!(
            verdict("INSTREAM size limit exceeded. ERROR"),
            Said::Failed("clamd: INSTREAM size limit exceeded. ERROR".into())
        );
        assert_eq!(verdict(""), Said::Failed("clamd: gave no answer".into()));
    }

    #[test]
    fn addresses_are_paths_or_address_and_port() {
        assert_eq!("/run/clamav/clamd.ctl".parse(), Ok(Address::Unix("/run/clamav/clamd.ctl".into())));
        let tcp = Ok(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 3310))));
        assert_eq!(("tcp:127.0.0.1:3310".parse(), "127.0.0.1:3310".parse()), (tcp.clone(), tcp));
        assert!("clamd.example".parse::<Address>().is_err());
    }
}
