//! The daemon as a process: idle it costs nothing, killed it leaves nothing that hinders the next start.

use std::time::Duration;

use weir_tests::lab::{Attach, Daemon, Failure, Lan, Wanted, ping, skip_unless_root, switch_with_rules, tap, xdp};

#[test]
fn with_ten_ports_and_nothing_to_do_it_uses_less_than_half_a_percent_of_a_core() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let kinds = [Attach::Tap, Attach::Tap, Attach::Tap, Attach::Tap, Attach::Xdp, Attach::Xdp, Attach::Xdp];
    let names: Vec<String> = (0..kinds.len()).map(|number| format!("host{number}")).collect();
    let wanted: Vec<Wanted<'_>> =
        kinds.iter().zip(&names).map(|(&attach, name)| Wanted { name, attach, more: "" }).collect();
    let mut head = switch_with_rules("");
    // Ports whose guests are away.
    for number in 7..10 {
        head += &format!("\n[[port]]\nname = \"guest{number}\"\nswitch = \"lan\"\n");
        head += &format!("vhost_user = {{ path = \"{{dir}}/guest{number}.sock\" }}\n");
    }
    let lan = Lan::start(&head, &wanted)?;
    assert_eq!(ping(&lan.hosts[0].namespace, "10.77.0.7", 3)?.lost(), 0);
    // Neighbour discovery of the hosts themselves goes on for a few seconds: that is work, not idleness.
    let window = Duration::from_secs(10);
    std::thread::sleep(Duration::from_secs(5));
    let before = lan.daemon.cpu_time()?;
    std::thread::sleep(window);
    let percent = (lan.daemon.cpu_time()? - before).as_secs_f64() / window.as_secs_f64() * 100.0;
    println!("idle with ten ports: {percent:.3} % of a core");
    assert!(percent < 0.5, "{percent:.3} % of a core");
    Ok(())
}

#[test]
fn killed_it_leaves_nothing_that_hinders_the_next_start() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let mut lan = Lan::start(&switch_with_rules(""), &[tap("a"), xdp("b"), xdp("c")])?;
    for round in 0..2 {
        let [a, b, c] = &lan.hosts[..] else { unreachable!() };
        assert_eq!(ping(&b.namespace, &c.address.to_string(), 3)?.lost(), 0, "round {round}");
        assert_eq!(ping(&a.namespace, &c.address.to_string(), 3)?.lost(), 0, "round {round}");
        lan.daemon.kill()?;
        assert_eq!(ping(&b.namespace, &c.address.to_string(), 1)?.lost(), 1, "round {round}");
        lan.daemon.run()?;
        // The TAP went with the process that owned it; the address was the guest's own affair.
        let a = &lan.hosts[0];
        a.namespace.address("eth0", &format!("{}/24", a.address))?;
    }
    Ok(())
}

#[test]
fn stopped_it_takes_its_sockets_along() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let config = "[[switch]]\nname = \"lan\"\n\n[[port]]\nname = \"vm\"\nswitch = \"lan\"\nvhost_user = { path = \"{dir}/vm.sock\" }\n";
    let mut daemon = Daemon::start(config)?;
    assert!(daemon.path("vm.sock").exists());
    daemon.stop()?;
    assert!(!daemon.path("vm.sock").exists());
    assert!(!daemon.path("control.sock").exists());
    daemon.run()
}

#[test]
fn a_state_is_applied_whole_or_not_at_all() -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    let lan = Lan::start(&switch_with_rules(""), &[tap("a"), xdp("b")])?;
    let [a, b] = &lan.hosts[..] else { unreachable!() };
    let before = lan.daemon.ctl(&["show", "--config"])?;
    let missing = "\n[[port]]\nname = \"c\"\nswitch = \"lan\"\nxdp = { interface = \"nowhere0\" }\n";
    let other = "\n[[switch]]\nname = \"other\"\n";

    let refused = lan.daemon.apply(&format!("{}{other}{missing}", lan.config)).expect_err("there is no nowhere0");
    assert!(refused.to_string().contains("nowhere0"), "the object is named: {refused}");
    assert_eq!(lan.daemon.ctl(&["show", "--config"])?, before, "nothing of it was done");
    assert_eq!(ping(&a.namespace, &b.address.to_string(), 2)?.lost(), 0);

    lan.daemon.apply(&format!("{}{other}", lan.config))?;
    let after = lan.daemon.ctl(&["show", "--config"])?;
    assert!(after.contains("other"), "{after}");
    lan.daemon.apply(&after)?;
    assert_eq!(lan.daemon.ctl(&["show", "--config"])?, after, "what is shown says what was applied");
    assert_eq!(ping(&a.namespace, &b.address.to_string(), 2)?.lost(), 0, "ports that stayed were not touched");
    Ok(())
}
