//! Guests that flood, scan and take more than their share: the others never notice.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use weir_tests::lab::{
    Exchange, Failure, HttpServer, Lan, Namespace, RawHost, Said, Wanted, converse, http_get, skip_unless_root,
    skip_without, switch_with_rules, tap, transfer,
};
use weir_wire::build::{Ends, tcp};
use weir_wire::numbers::TCP_SYN;
use weir_wire::{MacAddr, TcpFields};

/// Sources of a flood.
const SOURCES: u32 = 100_000;

/// A SYN from whoever that is to a host.
fn syn(source: Ipv4Addr, mac: MacAddr, to: (Ipv4Addr, u16), seq: u32) -> Vec<u8> {
    let ends = Ends {
        source_mac: MacAddr([2, 0, 0, 0, 0, 0x66]),
        destination_mac: mac,
        source: IpAddr::V4(source),
        destination: IpAddr::V4(to.0),
    };
    let fields = TcpFields {
        source_port: 1024 + (seq % 60_000) as u16,
        destination_port: to.1,
        seq,
        ack: 0,
        flags: TCP_SYN,
        window: 1000,
    };
    tcp(ends, fields, &[2, 4, 5, 180], b"")
}

fn mac(host: &Namespace) -> Result<MacAddr, Failure> {
    let link = host.ip(&["link", "show", "dev", "eth0"])?;
    let text = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let bytes: Vec<u8> = text.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.try_into().map(MacAddr).map_err(|_| Failure::new(format!("no MAC address in {link}")))
}

/// Frames that have come to a host.
fn received(host: &Namespace) -> Result<u64, Failure> {
    host.inside(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).ok_or_else(|| Failure::new("no eth0"))
    })
}

/// A switch with a web server, a client and a socket for whoever sends raw frames.
fn site(server: &str, attacker: &str) -> Result<(Lan, RawHost), Failure> {
    let head = format!(
        "{}\n[[port]]\nname = \"attacker\"\nswitch = \"lan\"\nvhost_user = {{ path = \"{{dir}}/attacker.sock\" }}\n{attacker}\n",
        switch_with_rules("")
    );
    let web = Wanted { more: server, ..tap("web") };
    let lan = Lan::start(&head, &[web, tap("client")])?;
    let attacker = RawHost::connect(&lan.daemon.path("attacker.sock"))?;
    Ok((lan, attacker))
}

#[test]
fn a_syn_flood_never_reaches_the_guest_and_real_clients_do() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    // The flood has many sources: it comes from a network, not from a guest that is held to its own addresses.
    let (lan, mut attacker) = site("syn_proxy = { half_open = 0 }", "guard = { on = false }")?;
    let [web, client] = &lan.hosts[..] else { unreachable!() };
    let server = HttpServer::start(&web.namespace, web.at(80), "a page")?;
    assert!(http_get(&client.namespace, server.address(), "/")?.is_page_with("a page"), "before the flood");
    let (mac, to) = (mac(&web.namespace)?, (web.address, 80));
    let before = received(&web.namespace)?;
    let (over, pages) = (AtomicBool::new(false), AtomicU32::new(0));
    let flooded = std::thread::scope(|scope| -> Result<(), Failure> {
        let browsing = scope.spawn(|| -> Result<(), Failure> {
            while !over.load(Ordering::Relaxed) || pages.load(Ordering::Relaxed) < 20 {
                let page = http_get(&client.namespace, server.address(), "/")?;
                if !page.is_page_with("a page") {
                    return Err(Failure::new(format!("page {}: {page:?}", pages.load(Ordering::Relaxed))));
                }
                pages.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        for n in 0..SOURCES {
            attacker.send(&syn(Ipv4Addr::from(0x0b00_0000 + n), mac, to, n))?;
        }
        over.store(true, Ordering::Relaxed);
        browsing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    flooded?;
    let (frames, pages) = (received(&web.namespace)? - before, u64::from(pages.load(Ordering::Relaxed)));
    println!("{pages} pages meanwhile; {frames} frames reached the guest");
    // A page takes some ten frames to the server; the flood has none of them.
    assert!(frames < pages * 15 + 100, "{frames} frames for {pages} pages");
    let shown = lan.daemon.ctl_json(&["quota", "show"])?;
    let cookies = shown["cookies"].as_u64().unwrap_or(0);
    assert!(cookies > u64::from(SOURCES) / 2, "the flood was answered in the guest's place: {shown}");
    assert!(shown["completed"].as_u64() >= Some(pages), "{shown}");
    Ok(())
}

#[test]
fn a_connection_through_the_proxy_keeps_window_scale_timestamps_and_selective_acknowledgments() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    if skip_without("ss") {
        return Ok(());
    }
    let (lan, _attacker) = site("syn_proxy = { half_open = 0 }", "")?;
    let [web, client] = &lan.hosts[..] else { unreachable!() };
    // What each end says of the connection: its flags, and the scales of what it sends and takes.
    let told = |host: &Namespace, port: u16| -> Result<(bool, String, String), Failure> {
        let filter = format!("( sport = :{port} or dport = :{port} )");
        let out =
            host.inside(|| Ok(Command::new("ss").args(["-tine", "state", "established", &filter]).output()?))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let scales = text.split("wscale:").nth(1).and_then(|rest| rest.split(' ').next()?.split_once(','));
        let (sends, takes) = scales.ok_or_else(|| Failure::new(format!("no window scale in {text}")))?;
        let flags: Vec<&str> = text.split_whitespace().collect();
        Ok((flags.contains(&"ts") && flags.contains(&"sack"), sends.to_owned(), takes.to_owned()))
    };
    // The second connection is told what was learned of the server with the first.
    for port in [8001, 8002] {
        let mut talk = converse(&client.namespace, &web.namespace, web.at(port))?;
        assert_eq!(talk.say(b"a word", Duration::from_secs(5))?, Said::Heard);
        let (there, here) = (told(&web.namespace, port)?, told(&client.namespace, port)?);
        assert!(there.0 && here.0, "timestamps and selective acknowledgments: {there:?} {here:?}");
        assert_eq!(there.1, here.2, "the server knows the client's scale");
        if port == 8002 {
            assert_eq!(here.1, there.2, "the client knows the server's");
        }
    }
    // More than a window of 64 KiB could have on its way; all of it arrives as it was sent.
    transfer(&client.namespace, &web.namespace, web.at(8003), 64 << 20)?;
    transfer(&web.namespace, &client.namespace, client.at(8004), 16 << 20)?;
    let shown = lan.daemon.ctl_json(&["quota", "show"])?;
    assert!(shown["completed"].as_u64() >= Some(3), "{shown}");
    Ok(())
}

#[test]
fn a_guest_at_its_quota_harms_no_other_and_is_told_of() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (lan, mut attacker) = site("", "quota = { half_open = 50, new_flows = 2000 }")?;
    let [web, client] = &lan.hosts[..] else { unreachable!() };
    let server = HttpServer::start(&web.namespace, web.at(80), "a page")?;
    // A port where nobody listens: the connections stay half-open because their sources do not exist.
    let (mac, to) = (mac(&web.namespace)?, (web.address, 80));
    for n in 0..5000 {
        attacker.send(&syn(Ipv4Addr::new(10, 77, 0, 200), mac, to, n))?;
        if n % 250 == 0 {
            let page = http_get(&client.namespace, server.address(), "/")?;
            assert!(page.is_page_with("a page"), "after {n} of the others: {page:?}");
        }
    }
    let shown = lan.daemon.ctl(&["quota", "show", "attacker"])?;
    assert!(shown.contains("of 50") && shown.contains("half-open-limit"), "{shown}");
    lan.daemon.wait_event("the limit", |event| event["notice"]["kind"] == "quota-half-open")?;
    Ok(())
}

#[test]
fn a_scan_is_told_of_and_stopped_and_a_busy_client_is_neither() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (lan, mut attacker) = site("", "")?;
    lan.daemon.apply(&format!("{}\n[settings.detection]\nblock_s = 60\n", lan.daemon.config()?))?;
    let [web, client] = &lan.hosts[..] else { unreachable!() };
    let server = HttpServer::start(&web.namespace, web.at(80), "a page")?;
    for n in 0..100 {
        let page = http_get(&client.namespace, server.address(), "/")?;
        assert!(matches!(page, Exchange::Answered(200, _)), "page {n}: {page:?}");
    }
    // The prober answers questions for its address, so that the refusals of the guest find their way.
    let prober = Ipv4Addr::new(10, 77, 0, 201);
    web.namespace.ip(&["neigh", "replace", "10.77.0.201", "lladdr", "02:00:00:00:00:66", "dev", "eth0"])?;
    let mac = mac(&web.namespace)?;
    for port in 1000..1200 {
        attacker.send(&syn(prober, mac, (web.address, port), u32::from(port)))?;
        // At the pace of a host that answers.
        attacker.take(Duration::from_millis(2), |frame| frame.get(34..36) == Some(&port.to_be_bytes()));
    }
    let event = lan.daemon.wait_event("the scan", |event| event["notice"]["kind"] == "port-scan")?;
    assert_eq!((&event["notice"]["source"], &event["in_iface"]), (&"10.77.0.201".into(), &"attacker".into()));
    let shown = lan.daemon.ctl(&["suspect", "show"])?;
    let is_shown = |address: &str| shown.split_whitespace().any(|word| word == address);
    assert!(is_shown("10.77.0.201") && !is_shown(&client.address.to_string()), "{shown}");
    assert!(lan.daemon.ctl(&["why", "--port", "attacker"])?.contains("source-blocked"));
    assert!(http_get(&client.namespace, server.address(), "/")?.is_page_with("a page"));
    Ok(())
}
