//! The content filter against clients that write a name in another way, between real TCP stacks and Apache: what Apache
//! takes for the denied site is denied, and its neighbour answers at the same time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use weir_tests::lab::{
    Apache, Failure, Host, HttpServer, Lan, Scratch, Wanted, fetch, http_get, skip_unless_root, skip_without,
    switch_with_rules, tap,
};

const PATIENCE: Duration = Duration::from_secs(5);
const CONTENT: &str = r#"
[[content.list]]
name = "bad"
entries = ["bad.example"]

[[content.rule]]
name = "no-bad"
action = "deny"
lists = ["bad"]
from = { groups = ["office"] }

[[content.rule]]
name = "veiled"
action = "log"
kinds = ["tls"]
hidden = true
"#;

fn office(name: &'static str) -> Wanted<'static> {
    Wanted { more: "groups = [\"office\"]", ..tap(name) }
}

fn missing() -> bool {
    skip_unless_root() || skip_without("apache2") || skip_without("curl") || skip_without("openssl")
}

/// Says pieces, each as a segment of its own, and hears what comes until the other side ends or is silent.
fn exchange(from: &Host, to: SocketAddr, pieces: &[&[u8]]) -> Result<Vec<u8>, Failure> {
    from.namespace.inside(|| {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut heard = Vec::new();
        for piece in pieces {
            // A connection that was ended takes no more.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let _ended = stream.read_to_end(&mut heard);
        Ok(heard)
    })
}

fn shows(heard: &[u8], site: &str) -> bool {
    String::from_utf8_lossy(heard).contains(&format!("this is {site}"))
}

const CLOSE: &str = "Connection: close\r\n\r\n";

#[test]
fn another_spelling_of_a_host_is_the_same_host() -> Result<(), Failure> {
    if missing() {
        return Ok(());
    }
    let lan = Lan::start(&(switch_with_rules("") + CONTENT), &[tap("web"), office("desk"), tap("lab")])?;
    let [web, desk, lab] = &lan.hosts[..] else { unreachable!() };
    let _apache = Apache::start(&web.namespace, &["good.example", "bad.example"])?;
    let keep = "GET / HTTP/1.1\r\nHost: good.example\r\n\r\n";
    for request in [
        format!("GET / HTTP/1.1\r\nhOST:  BAD.example.\r\n{CLOSE}"),
        format!("GET / HTTP/1.1\r\nHost: bad.example:80\r\n{CLOSE}"),
        format!("GET http://bad.example/ HTTP/1.1\r\nHost: good.example\r\n{CLOSE}"),
        format!("GET HTTP://Bad.Example:80/ HTTP/1.1\r\nHost: good.example\r\n{CLOSE}"),
        format!("{keep}GET / HTTP/1.1\r\nHost: bad.example\r\n{CLOSE}"),
        format!(
            "{keep}{keep}HEAD / HTTP/1.1\r\nHost: good.example\r\n\r\nGET / HTTP/1.1\r\nHost: bad.example\r\n{CLOSE}"
        ),
    ] {
        let bytes = request.as_bytes();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for pieces in [&[bytes][..], &[&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]], &single] {
            let heard = exchange(lab, web.at(80), pieces)?;
            assert!(shows(&heard, "bad.example"), "who may, reaches it so: {request:?} {heard:?}");
            let heard = exchange(desk, web.at(80), pieces)?;
            assert!(!shows(&heard, "bad.example"), "{request:?}");
            let good = format!("GET / HTTP/1.1\r\nHost: good.example\r\n{CLOSE}");
            assert!(shows(&exchange(desk, web.at(80), &[good.as_bytes()])?, "good.example"), "its neighbour answers");
        }
    }
    // HTTP/2 within TLS is judged by the name of the handshake.
    let server = web.address.to_string();
    let get = |site: &str| fetch(&desk.namespace, &format!("https://{site}/"), &server, &["--http2"]);
    let good = get("good.example")?;
    assert!(shows(good.body.as_bytes(), "good.example"), "{good:?}");
    let bad = get("bad.example")?;
    assert!(bad.exit != 0 && bad.body.is_empty(), "{bad:?}");
    Ok(())
}

/// The handshake message of a client that asks for this name, with extensions besides.
fn hello(name: &str, more: &[u8]) -> Vec<u8> {
    let long = |n: usize| (n as u16).to_be_bytes();
    let n = name.len();
    let named = [&[0, 0][..], &long(n + 5), &long(n + 3), &[0], &long(n), name.as_bytes()].concat();
    let extensions = [&named[..], more].concat();
    let body =
        [&[3, 3][..], &[7; 32], &[0, 0, 4, 0xc0, 0x2f, 0x13, 1, 1, 0], &long(extensions.len()), &extensions].concat();
    [&[1, 0][..], &long(body.len()), &body].concat()
}

#[test]
fn a_hello_in_pieces_names_its_site_and_a_hidden_one_is_told() -> Result<(), Failure> {
    if missing() {
        return Ok(());
    }
    let lan = Lan::start(&(switch_with_rules("") + CONTENT), &[tap("web"), office("desk")])?;
    let [web, desk] = &lan.hosts[..] else { unreachable!() };
    let _apache = Apache::start(&web.namespace, &["good.example", "bad.example"])?;
    let records = |message: &[u8], length: usize| -> Vec<Vec<u8>> {
        message.chunks(length).map(|part| [&[22, 3, 1, 0, part.len() as u8][..], part].concat()).collect()
    };
    for length in [20, 50, 200] {
        for (site, denied) in [("bad.example", true), ("good.example", false)] {
            let records = records(&hello(site, &[]), length);
            let pieces: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let heard = exchange(desk, web.at(443), &pieces)?;
            // Apache answers with a record of its own, be it an alert; a denied client hears nothing of it.
            assert_eq!(heard.is_empty(), denied, "{site} in records of {length}: {heard:?}");
        }
    }
    // Encrypted Client Hello: the outer name is allowed, the rule for hidden ones tells of it.
    let veiled = records(&hello("good.example", &[0xfe, 0x0d, 0, 4, 0, 1, 2, 3]), 250);
    assert!(!exchange(desk, web.at(443), &[&veiled[0]])?.is_empty());
    let event = lan.daemon.wait_event("the hidden name", |e| e["content"]["rule"] == "veiled")?;
    assert_eq!(event["content"]["action"], "allowed");
    assert_eq!(event["content"]["hostname"], "good.example");
    assert_eq!(event["content"]["encrypted_client_hello"], "offered", "{event}");
    Ok(())
}

/// A database of places (MaxMind's format) that knows the lower half of all IPv4 addresses as this country.
fn places(code: &str) -> Vec<u8> {
    let text = |text: &str| [&[0x40 | text.len() as u8], text.as_bytes()].concat();
    let map = |members: &[(&str, Vec<u8>)]| {
        let members = members.iter().flat_map(|(key, value)| [text(key), value.clone()].concat());
        [vec![0xe0], members.collect()].concat()
    };
    let sized = |members: &[(&str, Vec<u8>)]| {
        let mut bytes = map(members);
        bytes[0] |= members.len() as u8;
        bytes
    };
    let number = |n: u8| vec![0xa1, n];
    let record = sized(&[("country", sized(&[("iso_code", text(code))]))]);
    let about = sized(&[
        ("binary_format_major_version", number(2)),
        ("binary_format_minor_version", number(0)),
        ("build_epoch", vec![0x01, 0x02, 1]),
        ("database_type", text("Test")),
        ("description", sized(&[])),
        ("ip_version", number(4)),
        ("languages", vec![0x00, 0x04]),
        ("node_count", vec![0xc1, 1]),
        ("record_size", number(24)),
    ]);
    // One node of 24-bit records: the lower half leads to the data, the upper to "not found".
    [&[0, 0, 17, 0, 0, 1][..], &[0; 16], &record, b"\xab\xcd\xefMaxMind.com", &about].concat()
}

#[test]
fn servers_of_a_country_are_denied_to_a_group() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let scratch = Scratch::new("places")?;
    let file = scratch.path().join("places.mmdb");
    std::fs::write(&file, places("DE"))?;
    let content = format!("\n[content]\ngeoip = \"{}\"\n", file.display());
    let rule = |code: &str| {
        format!(
            "[[content.rule]]\nname = \"far\"\naction = \"deny\"\ncountries = [\"{code}\"]\nfrom = {{ groups = [\"office\"] }}\n"
        )
    };
    let lan = Lan::start(&(switch_with_rules("") + &content + &rule("de")), &[tap("web"), office("desk"), tap("lab")])?;
    let [web, desk, lab] = &lan.hosts[..] else { unreachable!() };
    let server = HttpServer::start(&web.namespace, web.at(80), "a page")?;
    assert!(http_get(&lab.namespace, server.address(), "/")?.is_page_with("a page"));
    assert!(!http_get(&desk.namespace, server.address(), "/").is_ok_and(|got| got.is_page_with("a page")));
    let event = lan.daemon.wait_event("the denial", |e| e["event_type"] == "content")?;
    assert_eq!(event["content"]["rule"], "far");
    lan.daemon.ctl(&["content", "rule", "add", "far", "deny", "--country", "FR", "--group", "office"])?;
    assert!(http_get(&desk.namespace, server.address(), "/")?.is_page_with("a page"));
    let refused = lan.daemon.try_ctl(&["content", "rule", "add", "far", "deny", "--country", "Germany"])?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("two letters"));
    Ok(())
}
