//! A small web server that remembers what it read, clients for it, and a conversation that stays open.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Failure, Namespace};

/// What a server keeps of what it read.
const MEMORY: usize = 1 << 20;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A web server in a namespace; ends with its value.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    read: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl HttpServer {
    /// Answers every request on `address` with `body`.
    pub fn start(host: &Namespace, address: SocketAddr, body: &str) -> Result<HttpServer, Failure> {
        let listener = host.inside(|| TcpListener::bind(address).map_err(|e| Failure::of(address, e)))?;
        listener.set_nonblocking(true)?;
        let (stop, read) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let server = (Arc::clone(&stop), Arc::clone(&read), body.to_owned());
        let thread = std::thread::spawn(move || {
            let (stop, read, body) = server;
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (read, body) = (Arc::clone(&read), body.clone());
                        // A client that goes away in the middle is what some tests are about.
                        std::thread::spawn(move || drop(serve(stream, &read, &body)));
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(2)),
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(())
        });
        Ok(HttpServer { address, stop, read, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether its application has read `text`, in whatever pieces it came.
    pub fn has_read(&self, text: &[u8]) -> bool {
        self.read.lock().is_ok_and(|read| read.windows(text.len()).any(|window| window == text))
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within its next look at `stop`; what it failed of was seen by the clients.
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, read: &Mutex<Vec<u8>>, body: &str) -> Result<(), Failure> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let (mut request, mut buffer) = (Vec::<u8>::new(), vec![0; 64 << 10]);
    while request.len() < MEMORY {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        request.extend(&buffer[..length]);
        if let Ok(mut read) = read.lock() {
            let room = MEMORY.saturating_sub(read.len());
            read.extend(&buffer[..length.min(room)]);
        }
        while let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            request.drain(..end + 4);
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: text/plain\r\n\r\n{body}")?;
        }
    }
    Ok(())
}

/// How a client's exchange with a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// An answer with this status and body.
    Answered(u16, String),
    /// The connection could not be made.
    NoConnection(String),
    /// The connection was made and then reset.
    Reset,
    /// The connection was made and nothing came back in time.
    Silence,
}

impl Exchange {
    /// An answer with status 200 and a body that contains `text`.
    pub fn is_page_with(&self, text: &str) -> bool {
        matches!(self, Exchange::Answered(200, body) if body.contains(text))
    }
}

/// Asks for a page.
pub fn http_get(from: &Namespace, address: SocketAddr, path: &str) -> Result<Exchange, Failure> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: weir-test\r\n\r\n", address.ip());
    http_pieces(from, address, &[request.as_bytes()], Duration::from_secs(5))
}

/// Sends a request in the given pieces, each a segment of its own, and waits up to `patience` for the answer.
pub fn http_pieces(
    from: &Namespace,
    address: SocketAddr,
    pieces: &[&[u8]],
    patience: Duration,
) -> Result<Exchange, Failure> {
    from.inside(|| {
        let mut stream = match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => stream,
            Err(e) => return Ok(Exchange::NoConnection(e.to_string())),
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        for piece in pieces {
            if let Err(e) = stream.write_all(piece) {
                return Ok(ended_by(&e));
            }
        }
        Ok(read_answer(&mut stream))
    })
}

fn read_answer(stream: &mut TcpStream) -> Exchange {
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return parse(&answer, true).unwrap_or(Exchange::Silence),
            Ok(length) => answer.extend(&buffer[..length]),
            Err(e) => return ended_by(&e),
        }
        if let Some(exchange) = parse(&answer, false) {
            return exchange;
        }
    }
}

fn ended_by(error: &std::io::Error) -> Exchange {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Exchange::Reset,
        _ => Exchange::Silence,
    }
}

/// The answer, once its body is complete (or the connection closed).
fn parse(answer: &[u8], closed: bool) -> Option<Exchange> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
    (closed || length.is_some_and(|length| body.len() >= length)).then(|| Exchange::Answered(status, body.to_owned()))
}

/// A TCP connection that stays open: what the client says, the server says back.
#[derive(Debug)]
pub struct Conversation {
    client: TcpStream,
}

/// What became of something said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It came back.
    Heard,
    /// The connection was reset or closed.
    Ended,
    /// Nothing came back in time.
    Silence,
}

/// Opens a conversation from one namespace to `address`, which is served in the other.
pub fn converse(from: &Namespace, to: &Namespace, address: SocketAddr) -> Result<Conversation, Failure> {
    let listener = to.inside(|| TcpListener::bind(address).map_err(|e| Failure::of(address, e)))?;
    std::thread::spawn(move || echo(&listener));
    let client = from.inside(|| Ok(TcpStream::connect_timeout(&address, CONNECT_WITHIN)?))?;
    client.set_nodelay(true)?;
    Ok(Conversation { client })
}

fn echo(listener: &TcpListener) -> Option<()> {
    let (mut stream, _) = listener.accept().ok()?;
    stream.set_nodelay(true).ok()?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut buffer).ok().filter(|&length| length > 0)?;
        stream.write_all(&buffer[..length]).ok()?;
    }
}

impl Conversation {
    /// Says something and waits up to `patience` for it to come back.
    pub fn say(&mut self, words: &[u8], patience: Duration) -> Result<Said, Failure> {
        self.client.set_read_timeout(Some(patience))?;
        self.client.set_write_timeout(Some(patience))?;
        let mut heard = vec![0; words.len()];
        let result = self.client.write_all(words).and_then(|()| self.client.read_exact(&mut heard));
        match result.map_err(|e| e.kind()) {
            Ok(()) if heard == words => Ok(Said::Heard),
            Ok(()) => Err(Failure::new("the conversation brought back other bytes than were said")),
            Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(Said::Silence),
            Err(_) => Ok(Said::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_the_last_byte_of_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(parse(&answer[..answer.len() - 1], false), None);
        assert_eq!(parse(answer, false), Some(Exchange::Answered(200, "hello".to_owned())));
    }
}
