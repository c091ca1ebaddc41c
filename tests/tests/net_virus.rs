//! The virus check between real TCP stacks: a test virus does not arrive by HTTP or SMTP, a long clean file does, whole.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use weir_tests::lab::{Failure, Host, HttpServer, Lan, Namespace, http_get, skip_unless_root, switch_with_rules, tap};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: usize = 100 << 20;

/// The test file of anti-virus programs, put together so that this source is none.
fn eicar() -> String {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR", "-STANDARD-ANTIVIRUS", "-TEST-FILE!$H+H*"].concat()
}

fn lan(virus: &str) -> Result<Lan, Failure> {
    Lan::start(&format!("{}\n{virus}", switch_with_rules("")), &[tap("server"), tap("client")])
}

fn two(lan: &Lan) -> [&Host; 2] {
    let [server, client] = &lan.hosts[..] else { unreachable!() };
    [server, client]
}

#[test]
fn a_test_virus_and_an_own_signature_do_not_arrive_by_http() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let file = std::env::temp_dir().join(format!("weir-net-virus-{}.ndb", std::process::id()));
    std::fs::write(&file, "Own.Marker:0:*:6f776e2d??61726b6572\nHtml.Only:3:*:616263\n")?;
    let lan = lan(&format!("[virus]\nenabled = true\nsignatures = [\"{}\"]\n", file.display()))?;
    let [server, client] = two(&lan);
    for (port, body, stopped) in [
        (80, eicar(), true),
        (81, format!("text before own-Marker text after {}", "x".repeat(5000)), true),
        (82, "clean".into(), false),
    ] {
        let web = HttpServer::start(&server.namespace, server.at(port), &body)?;
        let exchange = http_get(&client.namespace, web.address(), "/")?;
        assert_eq!(!exchange.is_page_with(&body), stopped, "{exchange:?}");
        assert!(!format!("{exchange:?}").contains(&eicar()), "{exchange:?}");
    }
    let event = lan.daemon.wait_event("the finding", |e| e["event_type"] == "virus")?;
    assert_eq!(event["virus"]["signature"], "Eicar-Test-Signature");
    assert_eq!(event["virus"]["action"], "blocked");
    assert_eq!(event["app_proto"], "http");
    let shown = lan.daemon.ctl(&["virus", "show"])?;
    assert!(shown.contains("2 infected") && shown.contains("refused 1: a target that is searched after"), "{shown}");
    std::fs::remove_file(file)?;
    Ok(())
}

/// A mail server that takes one mail and gives what it read of it, until the connection ended.
fn mail_server(host: &Namespace, address: SocketAddr) -> Result<std::thread::JoinHandle<Vec<u8>>, Failure> {
    let listener = host.inside(|| TcpListener::bind(address).map_err(|e| Failure::of(address, e)))?;
    Ok(std::thread::spawn(move || {
        let mut data = Vec::new();
        let Ok((mut stream, _)) = listener.accept() else { return data };
        // What ends early is what the test is about.
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.write_all(b"220 mx ESMTP\r\n");
        let Ok(copy) = stream.try_clone() else { return data };
        let (mut reader, mut in_data, mut line) = (BufReader::new(copy), false, Vec::new());
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if in_data {
                data.extend_from_slice(&line);
            }
            let answer: &[u8] = match line.as_slice() {
                b".\r\n" => b"250 queued\r\n",
                _ if in_data => b"",
                b"DATA\r\n" => b"354 go\r\n",
                _ => b"250 ok\r\n",
            };
            in_data |= line == b"DATA\r\n";
            line.clear();
            if stream.write_all(answer).is_err() {
                break;
            }
        }
        data
    }))
}

/// Sends a mail; whether the server took it.
fn send_mail(from: &Namespace, address: SocketAddr, text: &str) -> Result<bool, Failure> {
    from.inside(|| {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut answer = String::new();
        reader.read_line(&mut answer)?;
        for line in ["EHLO client\r\n", "MAIL FROM:<a@a.example>\r\n", "RCPT TO:<b@b.example>\r\n", "DATA\r\n"] {
            stream.write_all(line.as_bytes())?;
            reader.read_line(&mut answer)?;
        }
        answer.clear();
        let sent = stream.write_all(format!("{text}\r\n.\r\n").as_bytes());
        Ok(sent.is_ok() && reader.read_line(&mut answer).is_ok() && answer.starts_with("250"))
    })
}

#[test]
fn an_infected_attachment_is_not_taken_by_the_mail_server() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = lan("[virus]\nenabled = true\n")?;
    let [server, client] = two(&lan);
    // The test file in base64, its two halves put together here.
    let coded =
        ["WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy", "1URVNULUZJTEUhJEgrSCo="].concat();
    let mail = |body: &str| {
        format!(
            "Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=\"a.com\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{body}\r\n"
        )
    };
    for (port, body, taken) in [(25, coded.as_str(), false), (26, "Y2xlYW4=", true)] {
        let mx = mail_server(&server.namespace, server.at(port))?;
        assert_eq!(send_mail(&client.namespace, server.at(port), &mail(body))?, taken, "port {port}");
        let read = mx.join().map_err(|_| Failure::new("the mail server failed"))?;
        assert_eq!(read.ends_with(b".\r\n"), taken, "the server has the mail to its end only where it is clean");
    }
    Ok(())
}

/// A byte of the long file.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

/// Fetches a long file; the time it took.
fn fetch_long(lan: &Lan) -> Result<Duration, Failure> {
    let [server, client] = two(lan);
    let address = server.at(8080);
    let listener = server.namespace.inside(|| TcpListener::bind(address).map_err(|e| Failure::of(address, e)))?;
    let serving = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 1024];
        let _length = stream.read(&mut request)?;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {LONG}\r\n\r\n")?;
        let block: Vec<u8> = (0..1 << 20).map(byte).collect();
        (0..LONG >> 20).try_for_each(|_| stream.write_all(&block))
    });
    let start = Instant::now();
    let read = client.namespace.inside(|| {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /long HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")?;
        let mut all = Vec::with_capacity(LONG + 1024);
        stream.read_to_end(&mut all)?;
        Ok(all)
    })?;
    let took = start.elapsed();
    serving.join().map_err(|_| Failure::new("the server failed"))??;
    let body = read.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
    assert_eq!(read.len() - body, LONG);
    let block: Vec<u8> = (0..1 << 20).map(byte).collect();
    assert!(read[body..].chunks(1 << 20).all(|chunk| chunk == block), "the file arrived as it was sent");
    Ok(took)
}

#[test]
fn a_long_clean_file_arrives_whole() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    const VIRUS: &str = "[virus]\nenabled = true\n";
    let guarded = format!(
        "[[switch]]\nname = \"lan\"\ndefault = \"allow\"\ninspect = \"starter\"\n\
         [[rule_set]]\nname = \"starter\"\nbuiltin = \"starter\"\n{VIRUS}"
    );
    let off = fetch_long(&lan("")?)?.as_secs_f64();
    let checked = fetch_long(&lan(VIRUS)?)?.as_secs_f64();
    let both = Lan::start(&guarded, &[tap("server"), tap("client")])?;
    let inspected = fetch_long(&both)?.as_secs_f64();
    let shown = both.daemon.ctl_json(&["virus", "show"])?;
    let searched = shown["bytes"].as_u64().unwrap_or(0);
    assert!(searched >= LONG as u64, "all of it was searched: {shown}");
    println!(
        "100 MiB took {off:.3} s unguarded, {checked:.3} s with the virus check ({:.2} times), {inspected:.3} s with the starter rules too ({:.2} times)",
        checked / off,
        inspected / off
    );
    Ok(())
}
