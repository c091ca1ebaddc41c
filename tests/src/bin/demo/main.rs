//! `cargo demo`: a host with guests on one switch, an attack between two of them, and what the operator sees of it.
//!
//! Needs Rust, root, `ip` and `/dev/net/tun`, nothing else. The guests are network namespaces with the kernel's own
//! TCP. Everything is removed at the end, also after Ctrl-C or a failure. Exits with 1 if any step did not do what it
//! says.

#![forbid(unsafe_code)]

mod show;
mod steps;
mod world;

use std::path::Path;
use std::process::{Command, ExitCode};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use weir_tests::lab::{Failure, end_everything, root_here};

use show::Story;
use world::World;

fn main() -> ExitCode {
    let stay = std::env::args().any(|argument| argument == "--stay");
    if let Some(remedy) = missing() {
        eprintln!("{remedy}");
        return ExitCode::FAILURE;
    }
    if let Err(e) = clean_up_on_signals().and_then(|()| build()) {
        eprintln!("{e}");
        return ExitCode::FAILURE;
    }
    let mut story = Story::new();
    if let Err(e) = tell(&mut story, stay) {
        story.failed(&e);
    }
    story.end()
}

fn tell(story: &mut Story, stay: bool) -> Result<(), Failure> {
    let mut world = steps::build_the_host(story)?;
    for step in steps::STEPS {
        // One step that fails does not spare the operator the others.
        if let Err(e) = step(&mut world, story) {
            story.failed(&e);
        }
    }
    if stay {
        stay_until_enter(&world);
    }
    steps::clean_up(world, story)
}

fn stay_until_enter(world: &World) {
    println!("\nThe host stays until Enter is pressed. In another terminal:\n{}", world.how_to_reach());
    // The end of the input ends the stay as well.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// What this machine lacks, with the remedy.
fn missing() -> Option<String> {
    if !root_here() {
        return Some(
            "The demo makes network namespaces and needs root. Try:\n\n    sudo env \"PATH=$PATH\" cargo demo\n".into(),
        );
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("/dev/net/tun is missing: modprobe tun, or start the container with --device /dev/net/tun".into());
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return Some("`ip` is missing: install iproute2 (Debian: apt-get install iproute2)".into());
    }
    None
}

/// Ctrl-C and the like end the demo as its own end would: nothing stays behind.
fn clean_up_on_signals() -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            println!("\ninterrupted; removing what was made");
            end_everything();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Builds the daemon and its client beside this program, in the same profile; `WEIR_BIN_DIR` says that they are built.
fn build() -> Result<(), Failure> {
    if std::env::var_os("WEIR_BIN_DIR").is_some() {
        return Ok(());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "vswitchd", "--package", "vswitchctl"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap_or(Path::new("."));
    let status = command.current_dir(root).status().map_err(|e| Failure::of("cannot run cargo", e))?;
    if status.success() { Ok(()) } else { Err(Failure::new("the switch could not be built")) }
}
