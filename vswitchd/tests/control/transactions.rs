//! A change is made whole or not at all.

use tonic::Code;
use weir_proto::v1;

use crate::rig::{Rig, TWO, broadcast};

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_cannot_be_opened_leaves_nothing_changed_and_nothing_open() {
    let rig = Rig::with(TWO).await;
    let (before, revision) = rig.state().await;
    let socket = rig.path("vm1.sock");
    let wanted = format!(
        "switch = [{{ name = \"lan\", default = \"drop\" }}, {{ name = \"dmz\" }}]\n\
         port = [\n\
         {{ name = \"b\", switch = \"lan\", mem = {{}} }},\n\
         {{ name = \"vm1\", switch = \"dmz\", vhost_user = {{ path = \"{socket}\" }} }},\n\
         {{ name = \"t\", switch = \"dmz\", tap = {{ name = \"t0\", netns = \"no-such-namespace\" }} }}]\n"
    );
    let refused = rig.apply(&wanted).await.expect_err("there is no such namespace");
    assert!(refused.message().starts_with("port t: "), "{refused}");
    assert!(refused.message().contains("no-such-namespace"), "{refused}");
    assert!(!std::path::Path::new(&socket).exists(), "the port that was open is closed again");
    assert_eq!(rig.state().await, (before, revision));
    // The port that was to be removed carries frames, and the switch's default is what it was.
    rig.inject("a", &broadcast(1));
    assert_eq!(rig.receive("b"), Some(broadcast(1)));
    // Without the port that fails, the same state is fine.
    let without: Vec<&str> = wanted.lines().filter(|line| !line.contains("no-such")).collect();
    rig.apply(&(without.join("\n") + "]")).await.expect("is applied");
    assert!(std::path::Path::new(&socket).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_and_does_nothing() {
    let rig = Rig::with(TWO).await;
    let toml = TWO.replace("name = \"b\"", "name = \"c\"");
    let request = v1::ApplyConfigRequest { toml, dry_run: true, ..Default::default() };
    let planned = rig.config().apply(request).await.expect("is fine").into_inner();
    assert_eq!((planned.changes, planned.revision), (vec!["- port b".to_owned(), "+ port c".to_owned()], 1));
    assert!(rig.state().await.0.contains("\"b\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_state_that_somebody_else_has_changed_is_refused() {
    let rig = Rig::with(TWO).await;
    let request = |if_revision| v1::ApplyConfigRequest { if_revision, ..Default::default() };
    let refused = rig.config().apply(request(7)).await.expect_err("is of another state");
    assert_eq!((refused.code(), refused.message().contains("revision 1 by now")), (Code::FailedPrecondition, true));
    rig.config().apply(request(1)).await.expect("is of this state");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_time_follow_each_other() {
    let rig = Rig::start().await;
    let adds = (0..16).map(|n| {
        let mut switches = rig.switches();
        tokio::spawn(async move {
            let switch = Some(v1::SwitchSpec { name: format!("s{n}"), ..Default::default() });
            switches.add(v1::AddSwitchRequest { switch }).await.expect("is added").into_inner().revision
        })
    });
    let mut revisions = Vec::new();
    for add in adds.collect::<Vec<_>>() {
        revisions.push(add.await.expect("ends"));
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=16).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_can_be_applied_and_is_what_was_stored() {
    let rig = Rig::with(&TWO.replace("name = \"lan\"", "name = \"lan\", inspect = \"none\", ageing_s = 77")).await;
    let (text, _) = rig.state().await;
    assert_eq!(rig.apply(&text).await.expect("is applied").changes, [""; 0]);
    let stored = std::fs::read_to_string(rig.path("state.toml")).expect("is stored");
    assert!(stored.ends_with(&text), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_daemon_cannot_change_is_refused_with_the_remedy() {
    let rig = Rig::start().await;
    let larger = format!("{TWO}\n[settings.limits]\nflows = 2048\n");
    let refused = rig.apply(&larger).await.expect_err("needs a restart");
    assert_eq!((refused.code(), refused.message().contains("restart vswitchd")), (Code::FailedPrecondition, true));
    let socket = rig.path("vm.sock");
    let port = |queues: u16| {
        format!(
            "switch = [{{ name = \"lan\" }}]\n\
             port = [{{ name = \"vm\", switch = \"lan\", vhost_user = {{ path = \"{socket}\", queues = {queues} }} }}]"
        )
    };
    rig.apply(&port(1)).await.expect("is applied");
    for again in [port(2), port(1).replace("\"vm\"", "\"vm2\"")] {
        let refused = rig.apply(&again).await.expect_err("the socket is in use");
        assert!(refused.message().contains("is held by port vm, ") && refused.message().contains("delete that port"));
    }
    rig.apply("").await.expect("is applied");
    rig.apply(&port(2)).await.expect("what the port held is free when the answer comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_at_once() {
    let rig = Rig::start().await;
    let refused = rig.apply("port = [{ name = \"a b\", switch = \"x\" }]").await.expect_err("is wrong");
    assert_eq!((refused.code(), refused.message().lines().count()), (Code::InvalidArgument, 3));
    let refused = rig.apply("[[switch]]\nnam = \"lan\"\n").await.expect_err("is wrong");
    assert!(refused.message().contains("line 2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_on_trial_is_undone_unless_it_is_confirmed() {
    let rig = Rig::with(TWO).await;
    let on_trial = |toml: &str| v1::ApplyConfigRequest { toml: toml.into(), confirm_within_s: 1, ..Default::default() };
    let empty = rig.config().apply(on_trial("")).await.expect("is applied").into_inner();
    assert_eq!(rig.state().await, (String::new(), empty.revision));
    let meanwhile = rig.apply(TWO).await.expect_err("one trial at a time");
    assert!(meanwhile.message().contains("vswitchctl confirm"), "{meanwhile}");
    assert!(std::fs::read_to_string(rig.path("state.toml")).expect("is stored").contains("lan"), "a restart undoes it");
    while rig.state().await.1 == empty.revision {
        tokio::task::yield_now().await;
    }
    assert!(rig.state().await.0.contains("lan"), "it is undone");

    let kept = rig.config().apply(on_trial("")).await.expect("is applied").into_inner();
    let wrong = v1::ConfirmConfigRequest { revision: kept.revision + 1 };
    rig.config().confirm(wrong).await.expect_err("another one is on trial");
    rig.config().confirm(v1::ConfirmConfigRequest { revision: kept.revision }).await.expect("is kept");
    assert!(!std::fs::read_to_string(rig.path("state.toml")).expect("is stored").contains("lan"));
    let again = rig.config().confirm(v1::ConfirmConfigRequest::default()).await.expect_err("nothing is on trial");
    assert_eq!(again.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_files_are_read_again_when_asked() {
    let rig = Rig::start().await;
    let file = rig.path("local.rules");
    let rule = |sid: u32| format!("alert tcp any any -> any any (msg:\"x\"; content:\"attack\"; sid:{sid};)\n");
    std::fs::write(&file, rule(1)).expect("written");
    rig.apply(&format!("rule_set = [{{ name = \"local\", files = [\"{file}\"] }}]")).await.expect("is applied");
    let mut sets = v1::rule_sets_client::RuleSetsClient::new(rig.channel());
    let unchanged = sets.reload(v1::ReloadRuleSetsRequest {}).await.expect("is read").into_inner();
    assert_eq!(unchanged.changes, [""; 0]);
    std::fs::write(&file, rule(1) + &rule(2)).expect("written");
    let changed = sets.reload(v1::ReloadRuleSetsRequest {}).await.expect("is read").into_inner();
    assert_eq!(changed.changes, ["~ rule_set local (its files have changed)"]);
    let listed = sets.list(v1::ListRuleSetsRequest::default()).await.expect("lists").into_inner().rule_sets;
    assert_eq!(listed[0].rules, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_no_half_of_a_change() {
    let rig = Rig::start().await;
    let mut config = rig.config();
    let request = v1::ApplyConfigRequest { toml: TWO.into(), ..Default::default() };
    let call = tokio::spawn(async move { config.apply(request).await });
    tokio::task::yield_now().await;
    call.abort();
    // Whether it came through or not, the state and the ports agree, and the next change is made.
    rig.apply(TWO).await.expect("is applied");
    rig.inject("a", &broadcast(1));
    assert_eq!(rig.receive("b"), Some(broadcast(1)));
}
