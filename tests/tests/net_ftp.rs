//! The virus check on FTP between a real client (curl) and a server, in both directions and both modes.

use std::process::{Command, Stdio};

use weir_tests::lab::{Failure, FtpServer, Lan, Scratch, skip_unless_root, skip_without, switch_with_rules, tap};

/// The test file of anti-virus programs, put together so that this source is none.
fn eicar() -> Vec<u8> {
    [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR", "-STANDARD-ANTIVIRUS", "-TEST-FILE!$H+H*"].concat().into_bytes()
}

#[test]
fn infected_files_arrive_in_neither_direction_and_clean_ones_do() -> Result<(), Failure> {
    if skip_unless_root() || skip_without("curl") {
        return Ok(());
    }
    let head = format!("{}\n[virus]\nenabled = true\n", switch_with_rules(""));
    let lan = Lan::start(&head, &[tap("server"), tap("client")])?;
    let [server, client] = &lan.hosts[..] else { unreachable!() };
    let clean: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let bad = [&clean[..5000], &eicar()].concat();
    let ftp = FtpServer::start(&server.namespace, server.at(21), &[("clean.bin", &clean), ("bad.bin", &bad)])?;
    let scratch = Scratch::new("ftp")?;
    let path = |name: &str| scratch.path().join(name);
    std::fs::write(path("clean.up"), &clean)?;
    std::fs::write(path("bad.up"), &bad)?;
    let curl = |more: &[&str], remote: &str| -> Result<(bool, Vec<u8>), Failure> {
        let mut command = Command::new("curl");
        command.args(["-s", "-m", "20"]).args(more).arg(format!("ftp://{}/{remote}", server.address));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let output = client.namespace.spawn(&mut command)?.wait_with_output()?;
        Ok((output.status.success(), output.stdout))
    };
    let modes: [(&str, &[&str]); 4] = [
        ("epsv", &[]),
        ("pasv", &["--disable-epsv"]),
        ("eprt", &["--ftp-port", "-"]),
        ("port", &["--ftp-port", "-", "--disable-eprt"]),
    ];
    for (mode, choice) in modes {
        let (well, got) = curl(choice, "clean.bin")?;
        assert!(well && got == clean, "{mode}: {} bytes of {}", got.len(), clean.len());
        let (well, got) = curl(choice, "bad.bin")?;
        assert!(!well && got.len() < bad.len(), "{mode}: {} bytes of {}", got.len(), bad.len());
        for (name, whole) in [("clean.up", true), ("bad.up", false)] {
            let (from, to) = (path(name).display().to_string(), format!("{mode}-{name}"));
            let (well, _) = curl(&[choice, &["-T", &from]].concat(), &to)?;
            assert_eq!(well, whole, "{mode} {name}");
            let stored = ftp.stored(&to);
            assert_eq!(
                stored.is_some_and(|stored| stored.len() == std::fs::metadata(&from).map_or(0, |of| of.len() as usize)),
                whole
            );
        }
    }
    let event = lan.daemon.wait_event("the finding", |e| e["event_type"] == "virus")?;
    assert_eq!(event["virus"]["signature"], "Eicar-Test-Signature");
    assert_eq!(event["app_proto"], "ftp-data");
    Ok(())
}
