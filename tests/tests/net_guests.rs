//! Real guests on vhost-user sockets: two kernels under User Mode Linux, two under QEMU.

use std::time::Duration;

use weir_tests::lab::{Daemon, Failure, Guest, GuestKind, Side, skip_unless_root, wait_for};

/// A switch with two vhost-user ports; `first` and `second` are more of their attachments.
fn two_ports(first: &str, second: &str) -> String {
    let port = |name: &str, more: &str| {
        format!(
            "\n[[port]]\nname = \"{name}\"\nswitch = \"lan\"\nvhost_user = {{ path = \"{{dir}}/{name}.sock\"{more} }}\n"
        )
    };
    format!("[[switch]]\nname = \"lan\"\n{}{}", port("a", first), port("b", second))
}

fn boot(daemon: &Daemon, kind: GuestKind, side: Side, name: &str, address: &str) -> Result<Guest, Failure> {
    let settings = [format!("w.ip={address}/24"), format!("w.name={name}"), "w.serve=1".to_owned()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Guest::boot(daemon.namespace(), kind, side, &daemon.path(&format!("{name}.sock")), &settings)
}

/// Waits until a guest's ping gets through: a link that comes back takes a moment in the guest's kernel too.
fn reaches(guest: &Guest, address: &str) -> Result<(), Failure> {
    let what = format!("a ping to {address}");
    let limit = Duration::from_secs(90);
    let told = wait_for(&what, limit, || guest.sh(&format!("ping -c 1 -W 2 {address}")).ok());
    told.map(drop).map_err(|e| Failure::new(format!("{e}; the end of the console:\n{}", guest.console())))
}

fn serves(guest: &Guest, address: &str, name: &str) -> Result<(), Failure> {
    // Busybox's wget ends with SIGSEGV in QEMU's guest; its nc does not.
    let page = guest.sh(&format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} 80 | tail -n 1"))?;
    assert_eq!(page.trim(), format!("hello from {name}"));
    Ok(())
}

/// Sends megabytes of noise over TCP from one guest to the other and compares the sums.
fn sends(from: &Guest, to: &Guest, address: &str, megabytes: u32) -> Result<(), Failure> {
    // Its input does not end: a nc whose input ends closes its direction, and the other nc takes that for the end.
    let receiver = "nc -l -p 5001 0<>/tmp/hold | md5sum >/tmp/sum.part; mv /tmp/sum.part /tmp/sum";
    to.sh(&format!("rm -f /tmp/sum /tmp/hold; mkfifo /tmp/hold; ({receiver}) >/dev/null 2>&1 &"))?;
    wait_for("the receiver", Duration::from_secs(60), || to.sh("netstat -ltn | grep -q :5001").ok())?;
    from.sh(&format!("dd if=/dev/urandom of=/tmp/noise bs=1M count={megabytes} 2>/dev/null"))?;
    let sum = from.sh("md5sum </tmp/noise")?;
    from.sh(&format!("nc {address} 5001 </tmp/noise"))?;
    let received = wait_for("the receiver's sum", Duration::from_secs(60), || to.sh("cat /tmp/sum").ok())?;
    assert_eq!(received, sum, "{megabytes} MB to {address}");
    Ok(())
}

#[test]
fn two_user_mode_linux_guests_talk_and_one_comes_back_after_a_restart() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let daemon = Daemon::start(&two_ports("", ""))?;
    let uml = |name, address| boot(&daemon, GuestKind::Uml, Side::Connects, name, address);
    let (a, b) = (uml("a", "10.9.0.1")?, uml("b", "10.9.0.2")?);
    reaches(&a, "10.9.0.2")?;
    serves(&a, "10.9.0.2", "b")?;
    serves(&b, "10.9.0.1", "a")?;
    sends(&a, &b, "10.9.0.2", 8)?;
    sends(&b, &a, "10.9.0.1", 8)?;

    drop(b);
    let b = uml("b", "10.9.0.2")?;
    reaches(&a, "10.9.0.2")?;
    serves(&a, "10.9.0.2", "b")?;
    serves(&b, "10.9.0.1", "a")
}

#[test]
fn qemu_guests_on_both_sides_of_the_socket_outlive_the_switch() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut daemon = Daemon::start(&two_ports(", role = \"server\"", ", role = \"client\""))?;
    let a = boot(&daemon, GuestKind::Qemu, Side::Connects, "a", "10.9.0.1")?;
    let b = boot(&daemon, GuestKind::Qemu, Side::Listens, "b", "10.9.0.2")?;
    reaches(&a, "10.9.0.2")?;
    serves(&a, "10.9.0.2", "b")?;
    sends(&b, &a, "10.9.0.1", 4)?;

    for how in ["killed", "stopped"] {
        if how == "killed" {
            daemon.kill()?
        } else {
            daemon.stop()?
        }
        assert!(a.sh("ping -c 1 -W 2 10.9.0.2").is_err(), "{how}: without the switch there is no way");
        daemon.run()?;
        reaches(&a, "10.9.0.2")?;
        reaches(&b, "10.9.0.1")?;
        serves(&b, "10.9.0.1", "a")?;
    }
    Ok(())
}

#[test]
fn a_qemu_guest_with_packed_rings_talks_to_one_with_split_rings() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let daemon = Daemon::start(&two_ports(", packed = true", ""))?;
    let a = boot(&daemon, GuestKind::QemuPacked, Side::Connects, "a", "10.9.0.1")?;
    let b = boot(&daemon, GuestKind::Uml, Side::Connects, "b", "10.9.0.2")?;
    reaches(&a, "10.9.0.2")?;
    let ports = daemon.ctl(&["port", "show", "a"])?;
    assert!(ports.contains("packed ring"), "{ports}");
    serves(&a, "10.9.0.2", "b")?;
    serves(&b, "10.9.0.1", "a")?;
    sends(&a, &b, "10.9.0.2", 4)?;
    sends(&b, &a, "10.9.0.1", 4)
}

#[test]
fn a_trunk_to_a_guest_reaches_access_ports_of_its_vlans_alone() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let (red, blue) = (weir_tests::lab::Namespace::new("red")?, weir_tests::lab::Namespace::new("blue")?);
    let access = |name: &str, host: &weir_tests::lab::Namespace, vlan: u16| {
        format!(
            "\n[[port]]\nname = \"{name}\"\nswitch = \"lan\"\ntap = {{ name = \"eth0\", netns = \"{}\" }}\n\
             vlan = {{ access = {vlan} }}\n",
            host.name()
        )
    };
    let config = format!(
        "[[switch]]\nname = \"lan\"\n{}{}\n[[port]]\nname = \"a\"\nswitch = \"lan\"\n\
         vhost_user = {{ path = \"{{dir}}/a.sock\" }}\nvlan = {{ trunk = [\"10\", \"20\"] }}\n",
        access("red", &red, 10),
        access("blue", &blue, 20)
    );
    let daemon = Daemon::start(&config)?;
    red.address("eth0", "10.10.0.1/24")?;
    blue.address("eth0", "10.20.0.1/24")?;
    // An address of the other VLAN's network on the wrong VLAN: only the switch keeps them apart.
    red.address("eth0", "10.20.0.9/24")?;
    let guest = boot(&daemon, GuestKind::Uml, Side::Connects, "a", "10.9.0.1")?;
    for (vlan, address) in [(10, "10.10.0.2"), (20, "10.20.0.2")] {
        guest.sh(&format!(
            "ip link add link eth0 name v{vlan} type vlan id {vlan} && ip addr add {address}/24 dev v{vlan} && \
             ip link set v{vlan} up"
        ))?;
    }
    reaches(&guest, "10.10.0.1")?;
    reaches(&guest, "10.20.0.1")?;
    assert!(guest.sh("ping -c 1 -W 2 10.20.0.9").is_err(), "red is not in VLAN 20");
    assert_eq!(weir_tests::lab::ping(&red, "10.20.0.1", 1)?.lost(), 1, "red and blue do not see each other");
    Ok(())
}
