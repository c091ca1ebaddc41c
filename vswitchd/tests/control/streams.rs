//! Streams: events and counters, until the reader or the daemon ends.

use tokio_stream::StreamExt;
use tonic::Code;
use weir_proto::v1;

use crate::rig::{Rig, TWO, broadcast};

#[tokio::test(flavor = "multi_thread")]
async fn counters_are_told_again_and_again() {
    let rig = Rig::with(TWO).await;
    let mut stats = v1::stats_client::StatsClient::new(rig.channel());
    let request = v1::WatchStatsRequest { interval_ms: 100 };
    let mut stream = stats.watch(request).await.expect("begins").into_inner();
    let first = stream.next().await.expect("goes on").expect("is told");
    rig.inject("a", &broadcast(1));
    assert!(rig.receive("b").is_some());
    let second = stream.next().await.expect("goes on").expect("is told");
    let received = |s: &v1::StatsSnapshot| s.ports[0].counters.as_ref().map_or(0, |c| c.rx_packets);
    assert_eq!((received(&first), received(&second)), (0, 1));
    assert!(second.monotonic_ns > first.monotonic_ns);
    assert_eq!(
        stats.watch(v1::WatchStatsRequest { interval_ms: 1 }).await.expect_err("too fast").code(),
        Code::InvalidArgument
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_daemon_ends() {
    let rig = Rig::with(TWO).await;
    let mut events = v1::events_client::EventsClient::new(rig.channel());
    let mut following = events.follow(v1::FollowEventsRequest::default()).await.expect("begins").into_inner();
    let mut stats = v1::stats_client::StatsClient::new(rig.channel());
    let mut watching =
        stats.watch(v1::WatchStatsRequest { interval_ms: 3_600_000 }).await.expect("begins").into_inner();
    assert!(watching.next().await.is_some());
    rig.stop();
    assert!(following.next().await.is_none());
    assert!(watching.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flows_speak_is_recorded_for_who_asks_for_it() {
    let rig = Rig::with(TWO).await;
    let mut events = v1::events_client::EventsClient::new(rig.channel());
    let only = |kind: &str| v1::FollowEventsRequest { types: vec![kind.into()], ..Default::default() };
    let alerts = events.follow(only("alert")).await.expect("begins");
    assert!(!rig.readers().any(), "alerts are told to nobody, too");
    let names = events.follow(only("dns")).await.expect("begins");
    assert!(rig.readers().any());
    drop((alerts, names));
    assert!(rig.readers().any(), "who asks again wants what was in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_event_can_be_asked_for_and_no_other() {
    let rig = Rig::with(TWO).await;
    let mut events = v1::events_client::EventsClient::new(rig.channel());
    let only = |kind: &str| v1::FollowEventsRequest { types: vec![kind.into()], only_kept: true, ..Default::default() };
    for kind in ["alert", "virus", "content", "inspection", "notice", "filestore", "fileinfo", "http"] {
        events.follow(only(kind)).await.unwrap_or_else(|status| panic!("{kind}: {status}"));
    }
    let refused = events.follow(only("htpp")).await.expect_err("there is none");
    assert!(refused.message().contains("no event type \"htpp\"; there are: alert, drop"), "{refused}");
    assert!(refused.message().contains("http"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_events_alone_are_a_stream_with_an_end() {
    let rig = Rig::with(TWO).await;
    let mut events = v1::events_client::EventsClient::new(rig.channel());
    let request = v1::FollowEventsRequest { last: 10, only_kept: true, ..Default::default() };
    let mut kept = events.follow(request).await.expect("begins").into_inner();
    assert!(kept.next().await.is_none());
    let wrong = v1::FollowEventsRequest { types: vec!["alarm".into()], ..Default::default() };
    let refused = events.follow(wrong).await.expect_err("is unknown");
    assert!(refused.message().contains("alert, drop, allow, flow"), "{refused}");
}
