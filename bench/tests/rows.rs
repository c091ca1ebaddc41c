//! Each kind of scenario, for moments: that it carries what it says, not how fast.

use std::path::Path;
use std::time::Duration;

use weir_bench::e2e::run::run;
use weir_bench::e2e::scenario::Scenario;
use weir_bench::e2e::switches::Kind;
use weir_bench::e2e::trial::Effort;
use weir_tests::lab::{Failure, binaries, skip_unless_root};

const BRIEF: Effort = Effort { time: Duration::from_millis(200), runs: 1, wait: Duration::ZERO };

/// What our switch and the peers came to in a scenario; each more than `least`.
fn runs(name: &str, against: &[Kind], least: f64) -> Result<(), Failure> {
    if skip_unless_root() {
        return Ok(());
    }
    if let Some(missing) = against.iter().find_map(Kind::missing) {
        println!("skipped: needs {missing}");
        return Ok(());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.toml"));
    let scenario = Scenario::read(&path).map_err(Failure::new)?;
    let rows = run(&[scenario], against, BRIEF, binaries()?, |_| {});
    assert_eq!(rows.len(), 1 + against.len());
    for row in rows {
        let figure = row.outcome.map_err(|e| Failure::of(row.switch, e))?.median;
        assert!(figure > least, "{name}, {}: {figure}", row.switch);
    }
    Ok(())
}

#[test]
fn hosts_behind_taps_get_what_was_sent() -> Result<(), Failure> {
    runs("tso-8", &[Kind::Plain], 1e6)
}

#[test]
fn the_kernels_bridge_lets_through_what_is_stateful() -> Result<(), Failure> {
    runs("tso-1", &[Kind::Bridge], 1e6)
}

#[test]
fn frames_made_by_the_kernel_pass_between_veths() -> Result<(), Failure> {
    runs("xdp-64", &[], 1e3)
}

#[test]
fn settled_flows_pass_in_the_kernel() -> Result<(), Failure> {
    runs("xdp-64-fast", &[], 1e3)
}

#[test]
fn no_frame_of_an_inspected_conversation_is_lost_or_out_of_order() -> Result<(), Failure> {
    runs("mix-ips", &[Kind::Plain], 0.0)
}

#[test]
fn frames_of_all_lengths_pass_between_guests() -> Result<(), Failure> {
    runs("vv-imix-10k", &[], 1e3)?;
    runs("vv-9000-1", &[], 1e3)
}

#[test]
fn latency_is_measured_at_a_share_of_what_is_carried() -> Result<(), Failure> {
    runs("latency-load-50", &[], 1.0)
}

#[test]
fn every_frame_of_new_flows_opens_one() -> Result<(), Failure> {
    runs("vv-64-new", &[], 1e3)?;
    runs("nat-64-new", &[], 1e3)
}

#[test]
fn segments_are_joined_on_their_way_to_a_host() -> Result<(), Failure> {
    runs("gro-1", &[Kind::NoGro], 1e6)
}

#[test]
fn frames_pass_a_guest_between_two_veths() -> Result<(), Failure> {
    runs("pvp-64", &[], 1e3)
}

#[test]
fn rule_sets_and_routes_change_while_frames_pass() -> Result<(), Failure> {
    runs("change-rule-set", &[], 1.0)?;
    runs("change-routes", &[], 1.0)
}

#[test]
fn a_capture_is_inspected_to_its_end() -> Result<(), Failure> {
    runs("capture-mix", &[], 1e6)
}
