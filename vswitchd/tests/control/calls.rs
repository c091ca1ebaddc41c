//! Each service's calls: what they change, what they tell, how they refuse.

use tonic::Code;
use weir_proto::v1;
use weir_proto::v1::port_spec::Attachment;

use crate::rig::{Rig, TWO, broadcast};

fn switch(name: &str) -> v1::SwitchSpec {
    v1::SwitchSpec { name: name.into(), ..Default::default() }
}

fn mem_port(name: &str, switch: &str) -> v1::PortSpec {
    v1::PortSpec {
        name: name.into(),
        switch: switch.into(),
        attachment: Some(Attachment::Mem(v1::Mem {})),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_are_added_changed_listed_and_removed() {
    let rig = Rig::start().await;
    let mut switches = rig.switches();
    let add = v1::AddSwitchRequest { switch: Some(switch("lan")) };
    let applied = switches.add(add.clone()).await.expect("is added").into_inner();
    assert_eq!((applied.changes, applied.revision), (vec!["+ switch lan".to_owned()], 1));
    let again = switches.add(add).await.expect_err("is there");
    assert_eq!((again.code(), again.message().contains("switch lan: exists")), (Code::AlreadyExists, true));

    let wanted = v1::SwitchSpec { ageing_s: Some(60), fdb_limit: Some(5), ..switch("lan") };
    let set = v1::SetSwitchRequest { switch: Some(wanted), fields: vec!["ageing_s".into()] };
    let applied = switches.set(set).await.expect("is set").into_inner();
    assert_eq!(applied.changes, ["~ switch lan: ageing_s 300 -> 60"]);
    let listed = switches.list(v1::ListSwitchesRequest::default()).await.expect("lists").into_inner().switches;
    let spec = listed[0].spec.clone().expect("has one");
    assert_eq!((spec.ageing_s, spec.fdb_limit), (Some(60), Some(65536)), "only the named field is taken");

    let wrong = v1::SetSwitchRequest { switch: Some(switch("lan")), fields: vec!["colour".into()] };
    let refused = switches.set(wrong).await.expect_err("has no colour");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("\"colour\" is no field") && refused.message().contains("ageing_s"));

    let none = v1::DeleteSwitchRequest { name: "wan".into(), with_ports: false };
    let refused = switches.delete(none).await.expect_err("is not there");
    assert_eq!((refused.code(), refused.message().contains("there are: lan")), (Code::NotFound, true));
    let delete = v1::DeleteSwitchRequest { name: "lan".into(), with_ports: false };
    switches.delete(delete).await.expect("is removed");
    assert_eq!(rig.state().await, (String::new(), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_with_ports_is_removed_only_with_them() {
    let rig = Rig::with(TWO).await;
    let mut request = v1::DeleteSwitchRequest { name: "lan".into(), with_ports: false };
    let refused = rig.switches().delete(request.clone()).await.expect_err("has ports");
    assert_eq!((refused.code(), refused.message().contains("a, b")), (Code::FailedPrecondition, true));
    request.with_ports = true;
    let applied = rig.switches().delete(request).await.expect("is removed").into_inner();
    assert_eq!(applied.changes, ["- port a", "- port b", "- switch lan"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_carry_frames_and_tell_of_it() {
    let rig = Rig::with("switch = [{ name = \"lan\" }]").await;
    for name in ["a", "b"] {
        let spec = v1::PortSpec { groups: vec!["web".into()], ..mem_port(name, "lan") };
        rig.ports()
            .add(v1::AddPortRequest { port: Some(spec), ..v1::AddPortRequest::default() })
            .await
            .expect("is added");
    }
    let frame = broadcast(1);
    rig.inject("a", &frame);
    assert_eq!(rig.receive("b"), Some(frame.clone()));

    let listed = rig.ports().list(v1::ListPortsRequest::default()).await.expect("lists").into_inner().ports;
    let names: Vec<_> = listed.iter().filter_map(|p| Some(p.spec.as_ref()?.name.as_str())).collect();
    assert_eq!(names, ["a", "b"]);
    let counters: Vec<_> = listed.iter().filter_map(|p| p.counters.as_ref()).collect();
    assert_eq!((counters[0].rx_packets, counters[0].rx_bytes), (1, frame.len() as u64));
    assert_eq!((counters[1].tx_packets, counters[1].tx_bytes), (1, frame.len() as u64));
    assert!(listed.iter().all(|p| p.link && p.kind == "mem"));

    let fdb = rig.switches().list_fdb(v1::ListFdbRequest::default()).await.expect("lists").into_inner().entries;
    assert_eq!((fdb[0].mac.as_str(), fdb[0].port.as_str(), fdb.len()), ("02:00:00:00:00:01", "a", 1));
    let flush = v1::FlushFdbRequest { switch: "lan".into() };
    assert_eq!(rig.switches().flush_fdb(flush).await.expect("is flushed").into_inner().switches, 1);
    let fdb = rig.switches().list_fdb(v1::ListFdbRequest::default()).await.expect("lists").into_inner().entries;
    assert_eq!(fdb, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_changed_without_losing_its_link() {
    let rig = Rig::with(TWO).await;
    let spec = v1::PortSpec { isolated: true, ..mem_port("a", "lan") };
    let set = v1::SetPortRequest { port: Some(spec), fields: vec!["isolated".into()] };
    assert_eq!(rig.ports().set(set).await.expect("is set").into_inner().changes, ["~ port a: isolated - -> true"]);
    rig.inject("b", &broadcast(2));
    assert!(rig.receive("a").is_some(), "the memory port of before is still the one");
    let delete = v1::DeletePortRequest { name: "a".into() };
    rig.ports().delete(delete.clone()).await.expect("is removed");
    let refused = rig.ports().delete(delete).await.expect_err("is gone");
    assert_eq!((refused.code(), refused.message().contains("there are: b")), (Code::NotFound, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_packets_are_told_with_their_reason() {
    let rig = Rig::with(&TWO.replace("mem = {}", "mem = {}, isolated = true")).await;
    rig.inject("a", &broadcast(1));
    let mut trace = v1::trace_client::TraceClient::new(rig.channel());
    let packet = loop {
        let why = trace.why(v1::WhyRequest { port: "a".into() }).await.expect("tells").into_inner();
        if let Some(packet) = why.packets.into_iter().next() {
            break packet;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((packet.port.as_str(), packet.length), ("a", 60));
    assert_eq!(packet.summary, "02:00:00:00:00:01 -> ff:ff:ff:ff:ff:ff type 0x88b5");
    assert!(packet.head.starts_with(&[0xff; 6]) && !packet.meaning.is_empty());
    let stats = v1::stats_client::StatsClient::new(rig.channel()).get(v1::GetStatsRequest {}).await;
    let stats = stats.expect("tells").into_inner();
    assert_eq!(stats.drops.iter().map(|d| (d.name.clone(), d.count)).collect::<Vec<_>>(), [(packet.reason, 1)]);
    let totals = stats.totals.expect("has them");
    assert_eq!(
        totals.received + totals.originated + totals.copied,
        totals.sent + totals.held + totals.merged + totals.dropped
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_traced_with_the_names_of_ports() {
    let rig = Rig::with(TWO).await;
    let mut trace = v1::trace_client::TraceClient::new(rig.channel());
    let request = v1::TraceFrameRequest { port: "a".into(), frame: broadcast(1), find_link: false };
    let steps = trace.frame(request).await.expect("is traced").into_inner().steps;
    assert!(steps.iter().any(|s| s.contains("port a")) && steps.iter().any(|s| s.contains("port b")), "{steps:?}");
    let short = v1::TraceFrameRequest { port: "a".into(), frame: vec![0; 13], find_link: false };
    assert_eq!(trace.frame(short).await.expect_err("is short").code(), Code::InvalidArgument);
    let elsewhere = v1::TraceFrameRequest { port: "z".into(), frame: broadcast(1), find_link: false };
    assert_eq!(trace.frame(elsewhere).await.expect_err("no such port").code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_applied_whole_or_not_at_all() {
    let rig = Rig::with(TWO).await;
    let mut policies = v1::policies_client::PoliciesClient::new(rig.channel());
    let rules = "[[rule]]\nname = \"web\"\naction = \"drop\"\nto = { ports = \"b\" }\nprotocol = \"tcp\"\n";
    let mut request = v1::ApplyPolicyRequest { toml: rules.into(), dry_run: true, ..Default::default() };
    let applied = policies.apply(request.clone()).await.expect("is fine").into_inner();
    assert_eq!((applied.changes.as_slice(), applied.revision), (&["+ rule web".to_owned()][..], 1));
    assert_eq!(policies.show(v1::ShowPolicyRequest {}).await.expect("shows").into_inner().rules, []);
    request.dry_run = false;
    assert_eq!(policies.apply(request).await.expect("is applied").into_inner().revision, 2);
    let shown = policies.show(v1::ShowPolicyRequest {}).await.expect("shows").into_inner();
    let rule = shown.rules[0].rule.clone().expect("has one");
    assert_eq!((rule.name.as_str(), rule.protocols.as_slice()), ("web", &["tcp".to_owned()][..]));

    let mut wrong = v1::Rule { name: "x".into(), ..Default::default() };
    let request = v1::ApplyPolicyRequest { rules: vec![wrong.clone()], ..Default::default() };
    assert!(policies.apply(request).await.expect_err("no action").message().contains("rule x: it has no action"));
    wrong.action = v1::Action::Drop.into();
    wrong.to = Some(v1::Side { ports: vec!["nobody".into()], ..Default::default() });
    let request = v1::ApplyPolicyRequest { rules: vec![rule.clone(), wrong], ..Default::default() };
    let refused = policies.apply(request).await.expect_err("no such port");
    assert_eq!(
        (refused.code(), refused.message().contains("rule x: there is no port \"nobody\"")),
        (Code::InvalidArgument, true)
    );
    let shown = policies.show(v1::ShowPolicyRequest {}).await.expect("shows").into_inner();
    assert_eq!(shown.rules.len(), 1);
    let request = v1::ApplyPolicyRequest { rules: vec![rule], ..Default::default() };
    assert_eq!(policies.apply(request).await.expect("says the same").into_inner().changes, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_sets_are_put_checked_shown_and_kept_while_in_use() {
    let rig = Rig::with(TWO).await;
    let mut sets = v1::rule_sets_client::RuleSetsClient::new(rig.channel());
    let text = "alert tcp any any -> any any (msg:\"x\"; content:\"attack\"; sid:1;)\n\
                alert tcp any any -> any any (nonsense; sid:2;)\n";
    let mut spec = v1::RuleSetSpec { name: "local".into(), text: text.into(), ..Default::default() };
    let check = v1::CheckRuleSetRequest { rule_set: Some(spec.clone()) };
    let status = sets.check(check).await.expect("is read").into_inner().status.expect("is told");
    assert_eq!((status.rules, status.refused), (1, 1));
    assert!(status.diagnostics[0].contains("nonsense"), "{:?}", status.diagnostics);

    let put = v1::PutRuleSetRequest { rule_set: Some(spec.clone()), create_only: true };
    let applied = sets.put(put.clone()).await.expect("is put").into_inner();
    assert_eq!(applied.warnings.len(), 1);
    assert_eq!(sets.put(put).await.expect_err("is there").code(), Code::AlreadyExists);
    spec.strict = true;
    let strict = v1::PutRuleSetRequest { rule_set: Some(spec), create_only: false };
    assert_eq!(sets.put(strict).await.expect_err("is strict").code(), Code::InvalidArgument);

    let wanted = v1::SwitchSpec { inspect: "local".into(), ..switch("lan") };
    let set = v1::SetSwitchRequest { switch: Some(wanted), fields: vec!["inspect".into()] };
    rig.switches().set(set).await.expect("is set");
    let listed = sets.list(v1::ListRuleSetsRequest::default()).await.expect("lists").into_inner().rule_sets;
    assert_eq!(listed[0].used_by, ["switch lan"]);
    let delete = v1::DeleteRuleSetRequest { name: "local".into() };
    let refused = sets.delete(delete).await.expect_err("is in use");
    assert_eq!((refused.code(), refused.message().contains("switch lan")), (Code::FailedPrecondition, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_listed_and_never_all_killed_by_mistake() {
    let rig = Rig::with(TWO).await;
    let mut flows = v1::flows_client::FlowsClient::new(rig.channel());
    let listed = flows.list(v1::ListFlowsRequest::default()).await.expect("lists").into_inner();
    assert_eq!((listed.flows, listed.total, listed.more), (vec![], 0, false));
    let refused = flows.kill(v1::KillFlowsRequest::default()).await.expect_err("says nothing");
    assert_eq!((refused.code(), refused.message().contains("filter is empty")), (Code::InvalidArgument, true));
    let filter = |filter| v1::KillFlowsRequest { filter: Some(filter) };
    let of_a = v1::FlowFilter { port: "a".into(), ..Default::default() };
    assert_eq!(flows.kill(filter(of_a)).await.expect("kills").into_inner().killed, 0);
    for (wrong, part) in [
        (v1::FlowFilter { address: "10.0.0.0/33".into(), ..Default::default() }, "address"),
        (v1::FlowFilter { state: "open".into(), ..Default::default() }, "established"),
        (v1::FlowFilter { rule: "none".into(), ..Default::default() }, "rule none"),
        (v1::FlowFilter { protocol: "tpc".into(), ..Default::default() }, "sctp"),
    ] {
        let refused = flows.kill(filter(wrong)).await.expect_err("is wrong");
        assert!(refused.message().contains(part), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_each_service_can_be_asked() {
    let rig = Rig::start().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(rig.channel());
    for service in vswitchd::control::SERVICES.into_iter().chain([""]) {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.expect("answers").into_inner();
        assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving, "{service}");
    }
}
