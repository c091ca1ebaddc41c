//! A small file server (RFC 959, RFC 2428) for one folder in memory, in either mode of data connections. Clients are real.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Failure, Namespace};

const PATIENCE: Duration = Duration::from_secs(20);

/// A file server in a namespace; ends with its value.
#[derive(Debug)]
pub struct FtpServer {
    stop: Arc<AtomicBool>,
    files: Files,
    thread: Option<JoinHandle<()>>,
}

/// Names and contents.
type Files = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

impl FtpServer {
    /// Serves these files on `address`, and takes more.
    pub fn start(host: &Namespace, address: SocketAddr, files: &[(&str, &[u8])]) -> Result<FtpServer, Failure> {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let (files, stop) = (Arc::new(Mutex::new(files)), Arc::new(AtomicBool::new(false)));
        let listener = host.inside(|| TcpListener::bind(address).map_err(|e| Failure::of(address, e)))?;
        listener.set_nonblocking(true)?;
        let (ended, served, namespace) = (Arc::clone(&stop), Arc::clone(&files), host.name().to_owned());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (files, namespace) = (Arc::clone(&served), namespace.clone());
                        // Transfers that are cut off are what the tests are about.
                        std::thread::spawn(move || {
                            super::namespace::enter(&namespace).is_ok().then(|| serve(stream, &files))
                        });
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(2)),
                    Err(_) => return,
                }
            }
        });
        Ok(FtpServer { stop, files, thread: Some(thread) })
    }

    /// What a client has stored under a name, as far as it came; `None` where its transfer did not end well.
    pub fn stored(&self, name: &str) -> Option<Vec<u8>> {
        let files = self.files.lock().ok()?;
        files.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone())
    }
}

impl Drop for FtpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within its next look at `stop`.
            let _ = thread.join();
        }
    }
}

/// How the next data connection is made.
enum Data {
    None,
    Accept(TcpListener),
    Connect(SocketAddr),
}

impl Data {
    fn open(self) -> std::io::Result<TcpStream> {
        let stream = match self {
            Data::None => return Err(ErrorKind::NotConnected.into()),
            Data::Accept(listener) => listener.accept()?.0,
            Data::Connect(to) => TcpStream::connect_timeout(&to, PATIENCE)?,
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

fn serve(mut control: TcpStream, files: &Files) -> std::io::Result<()> {
    control.set_nonblocking(false)?;
    control.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(control.try_clone()?);
    control.write_all(b"220 ready\r\n")?;
    let (mut line, mut data) = (String::new(), Data::None);
    while lines.read_line(&mut line)? > 0 {
        let (command, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let (command, name) = (command.to_ascii_uppercase(), rest.trim_start_matches('/').to_owned());
        let answer = match command.as_str() {
            "USER" | "PASS" | "TYPE" | "CWD" => "230 fine".to_owned(),
            "PWD" => "257 \"/\"".to_owned(),
            "EPSV" | "PASV" => {
                let listener = TcpListener::bind((control.local_addr()?.ip(), 0))?;
                let port = listener.local_addr()?.port();
                data = Data::Accept(listener);
                if command == "EPSV" {
                    format!("229 listening (|||{port}|)")
                } else {
                    format!("227 listening {}", six(&control, port)?)
                }
            }
            "PORT" | "EPRT" => match address(&command, rest) {
                Some(to) => {
                    data = Data::Connect(to);
                    "200 fine".to_owned()
                }
                None => "501 no address".to_owned(),
            },
            "RETR" | "STOR" => {
                control.write_all(b"150 here\r\n")?;
                let ended = transfer(&command, name, std::mem::replace(&mut data, Data::None), files);
                if ended.is_ok() { "226 done".to_owned() } else { "426 broken off".to_owned() }
            }
            "QUIT" => return control.write_all(b"221 bye\r\n"),
            _ => "502 not here".to_owned(),
        };
        control.write_all(format!("{answer}\r\n").as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn transfer(command: &str, name: String, data: Data, files: &Files) -> std::io::Result<()> {
    let mut stream = data.open()?;
    let mut all = files.lock().map_err(|_| ErrorKind::Other)?;
    if command == "RETR" {
        let (_, bytes) = all.iter().find(|(known, _)| *known == name).ok_or(ErrorKind::NotFound)?;
        return stream.write_all(bytes);
    }
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    all.push((name, bytes));
    Ok(())
}

/// An address and a port as `PASV` tells them.
fn six(control: &TcpStream, port: u16) -> std::io::Result<String> {
    let ip = control.local_addr()?.ip().to_string().replace('.', ",");
    Ok(format!("({ip},{},{})", port >> 8, port & 255))
}

fn address(command: &str, text: &str) -> Option<SocketAddr> {
    if command == "EPRT" {
        let mut parts = text.split('|').skip(2);
        return Some(SocketAddr::new(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?));
    }
    let numbers: Vec<u8> = text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    let [a, b, c, d, high, low] = numbers[..] else { return None };
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}
