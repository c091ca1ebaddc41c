//! A packet costs no more instructions than it did: a regression is seen on any machine, however busy.

use std::path::Path;
use std::process::Command;

use weir_bench::instructions::{Ledger, compiler};

#[test]
fn packets_cost_no_more_than_before() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: needs valgrind");
        return;
    }
    let recorded = Ledger::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml")).unwrap();
    let rustc = compiler().unwrap();
    if rustc != recorded.rustc {
        println!("skipped: needs rustc {}, with which the figures were taken; this is {rustc}", recorded.rustc);
        return;
    }
    let now = recorded.count_again(Path::new(env!("CARGO_BIN_EXE_micro")), rustc).unwrap();
    now.cases.iter().for_each(|case| println!("{:40} {:.0}", case.name, case.instructions));
    let exceeded = recorded.exceeded_by(&now);
    assert!(exceeded.is_empty(), "{}", exceeded.join("\n"));
}
