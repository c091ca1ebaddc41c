//! Services, schedules, tiers and members of groups: by calls, and by a clock in the test's hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tonic::Code;
use weir_proto::v1;

use crate::rig::{Rig, TWO, broadcast};

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_there_while_its_schedule_is_open() {
    // Monday, 1970-01-05, 11:59:59 of universal time.
    let time = Arc::new(AtomicI64::new(4 * 86_400 + 12 * 3600 - 1));
    let clock = Arc::clone(&time);
    let rig = Rig::start_by(Some(Box::new(move || (clock.load(Ordering::Relaxed), 0)))).await;
    let rules = "rule = [\n\
        { name = \"noon\", action = \"drop\", schedule = \"noon\" },\n\
        { name = \"rest\", action = \"allow\" }]\n\
        schedule = [{ name = \"noon\", times = \"mon 12:00-12:01\" }]\n";
    rig.apply(&format!("{TWO}{rules}")).await.expect("is applied");
    let before = rig.state().await;
    let status = || async {
        let shown = rig.policies().show(v1::ShowPolicyRequest {}).await.expect("is shown").into_inner();
        let told: Vec<(bool, u64, u64)> = shown.rules.iter().map(|rule| (rule.idle, rule.hits, rule.packets)).collect();
        (shown.epoch, told)
    };
    rig.inject("a", &broadcast(1));
    assert_eq!(rig.receive("b"), Some(broadcast(1)));
    let (first, told) = status().await;
    assert_eq!(told, [(true, 0, 0), (false, 1, 1)]);
    assert_eq!(rig.controller().renew().await, Ok(false), "nothing has changed");

    time.fetch_add(1, Ordering::Relaxed);
    assert_eq!(rig.controller().renew().await, Ok(true));
    rig.inject("a", &broadcast(1));
    // What comes behind it tells that it was seen.
    time.fetch_add(60, Ordering::Relaxed);
    let dropped = || async { status().await.1[0].1 == 1 };
    while !dropped().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.controller().renew().await, Ok(true));
    rig.inject("a", &broadcast(2));
    assert_eq!(rig.receive("b"), Some(broadcast(2)), "what the rule refused never came");
    let (last, told) = status().await;
    assert_eq!(told, [(true, 1, 1), (false, 2, 2)], "rules keep their counts");
    assert_eq!(last, first + 2);
    assert_eq!(rig.state().await, before, "the state and its revision stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_speak_in_is_set_shown_and_kept_while_it_is_used() {
    let rig = Rig::with(TWO).await;
    let mut segments = rig.segments();
    let entry = v1::ServiceEntry {
        protocols: vec!["tcp".into()],
        destination_ports: vec!["80".into(), "8000-8080".into()],
        ..Default::default()
    };
    let service = v1::ServiceSpec { name: "web".into(), entries: vec![entry] };
    let schedule =
        v1::ScheduleSpec { name: "office".into(), times: vec!["mon-fri 08:00-18:00".into()], ..Default::default() };
    let tier = |name: &str| v1::TierSpec { name: name.into(), default_action: "drop".into() };
    let group = v1::GroupMembers {
        group: "db".into(),
        addresses: vec!["10.0.9.0/24".into()],
        isolated: true,
        ..Default::default()
    };
    for request in [
        v1::SetSegmentRequest { service: Some(service.clone()), ..Default::default() },
        v1::SetSegmentRequest { schedule: Some(schedule), ..Default::default() },
        v1::SetSegmentRequest { tier: Some(tier("site")), ..Default::default() },
        v1::SetSegmentRequest { tier: Some(tier("emergency")), before: "site".into(), ..Default::default() },
        v1::SetSegmentRequest { group: Some(group), ..Default::default() },
    ] {
        segments.set(request).await.expect("is set");
    }
    let listed = segments.list(v1::ListSegmentsRequest {}).await.expect("is listed").into_inner();
    assert_eq!(listed.services, [service]);
    let tiers: Vec<&str> = listed.tiers.iter().map(|tier| tier.name.as_str()).collect();
    assert_eq!((tiers, listed.schedules[0].times.len()), (vec!["emergency", "site"], 1));
    assert_eq!((listed.groups[0].group.as_str(), listed.groups[0].isolated), ("db", true));
    let shown = rig.policies().show(v1::ShowPolicyRequest {}).await.expect("is shown").into_inner();
    let implied: Vec<&str> = shown.implied.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(implied, ["tier emergency default", "tier site default", "group db isolated"]);

    let rule = "[[rule]]\nname = \"r\"\naction = \"next\"\ntier = \"site\"\nservices = \"web\"\n";
    let request = v1::ApplyPolicyRequest { toml: rule.into(), ..Default::default() };
    rig.policies().apply(request).await.expect("is applied");
    for (kind, name, code) in [
        ("service", "web", Code::FailedPrecondition),
        ("tier", "site", Code::FailedPrecondition),
        ("service", "mail", Code::NotFound),
        ("switch", "lan", Code::InvalidArgument),
    ] {
        let request = v1::RemoveSegmentRequest { kind: kind.into(), name: name.into() };
        assert_eq!(segments.remove(request).await.expect_err("stays").code(), code, "{kind} {name}");
    }
    let request = v1::RemoveSegmentRequest { kind: "schedule".into(), name: "office".into() };
    segments.remove(request).await.expect("is removed");
    let wrong = v1::TierSpec { name: "odd".into(), default_action: "perhaps".into() };
    let refused = segments.set(v1::SetSegmentRequest { tier: Some(wrong), ..Default::default() }).await;
    assert!(refused.expect_err("is no action").message().contains("none of allow, drop and reject"));
}
