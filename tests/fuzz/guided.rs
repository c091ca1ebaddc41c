//! The fuzz targets under libFuzzer: the target that `WEIR_FUZZ_TARGET` names is run with inputs that coverage guides.
//!
//! `tests/fuzz/run` builds it with counters and runs it; `tests/fuzz/README.md` says how.
#![no_main]

mod config;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use weir_tests::fuzz::{TARGETS, Target};

fn target() -> &'static Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("WEIR_FUZZ_TARGET").unwrap_or_default();
        let named = TARGETS.iter().chain([&config::TARGET]).find(|target| target.name == name);
        *named.unwrap_or_else(|| panic!("WEIR_FUZZ_TARGET names no target: {name:?}"))
    })
}

fuzz_target!(|input: &[u8]| (target().run)(input));
