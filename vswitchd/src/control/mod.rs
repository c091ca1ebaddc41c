//! `weir.v1` as services: one file a service, one function a call, no logic. A call reads a snapshot, asks the worker, or
//! asks the [`Controller`](crate::commit::Controller) for a change.

mod appliances;
mod config;
mod content;
mod convert;
mod convert_nat;
mod convert_port;
mod convert_router;
mod convert_services;
mod convert_switching;
mod events;
mod explain;
mod flows;
mod guard;
mod inspection;
mod mirrors;
mod policies;
mod policy_routes;
mod ports;
mod quotas;
mod routers;
mod rule_sets;
mod segments;
mod services;
mod shadow;
mod stats;
mod summary;
mod switches;
mod switching;
mod trace;
mod virus;
mod workers;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::Status;
use tonic::service::Routes;
use weir_proto::{MESSAGE_MAX, v1};

use crate::commit::{Controller, Outcome};
use crate::eve::Feed;

/// What the services work with.
#[derive(Clone)]
pub struct Service {
    controller: Arc<Controller>,
    feed: Feed,
    stop: watch::Receiver<bool>,
    started: std::time::Instant,
}

impl Service {
    /// Services of a daemon that has just started. Streams end when `stop` says so.
    pub fn new(controller: Arc<Controller>, feed: Feed, stop: watch::Receiver<bool>) -> Service {
        Service { controller, feed, stop, started: std::time::Instant::now() }
    }

    /// A stream that ends with the daemon, which would otherwise wait for its readers.
    fn until_stopped<T: Send + 'static>(&self, stream: impl Stream<Item = T> + Send + 'static) -> Answers<T> {
        let mut stop = self.stop.clone();
        let stopped = async move {
            // The sender going away is a stop too.
            drop(stop.wait_for(|stop| *stop).await);
        };
        Box::pin(Until { stream: Box::pin(stream), stopped: Box::pin(stopped) })
    }

    /// All services, ready to be served.
    pub fn routes(&self) -> Routes {
        macro_rules! add {
            ($($module:ident :: $server:ident),+) => {{
                let mut routes = Routes::default();
                $(
                    let server = v1::$module::$server::new(self.clone());
                    routes = routes.add_service(
                        server.max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX),
                    );
                )+
                routes
            }};
        }
        add!(
            switches_server::SwitchesServer,
            ports_server::PortsServer,
            switching_server::SwitchingServer,
            mirrors_server::MirrorsServer,
            routers_server::RoutersServer,
            services_server::ServicesServer,
            appliances_server::AppliancesServer,
            guard_server::GuardServer,
            policies_server::PoliciesServer,
            shadow_server::ShadowServer,
            quotas_server::QuotasServer,
            segments_server::SegmentsServer,
            rule_sets_server::RuleSetsServer,
            flows_server::FlowsServer,
            stats_server::StatsServer,
            inspection_server::InspectionServer,
            events_server::EventsServer,
            config_server::ConfigServer,
            trace_server::TraceServer,
            content_filter_server::ContentFilterServer,
            virus_check_server::VirusCheckServer,
            workers_server::WorkersServer
        )
    }
}

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A stream until something happens.
struct Until<T> {
    stream: Pin<Box<dyn Stream<Item = T> + Send>>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<T> Stream for Until<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.stopped.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => self.stream.as_mut().poll_next(context).map(|item| item.map(Ok)),
        }
    }
}

impl From<Outcome> for v1::Applied {
    fn from(outcome: Outcome) -> v1::Applied {
        let Outcome { epoch, revision, changes, warnings } = outcome;
        v1::Applied { epoch, revision, changes, warnings }
    }
}

/// Names of the services, for the health check.
pub const SERVICES: [&str; 22] = [
    "weir.v1.Switches",
    "weir.v1.Ports",
    "weir.v1.Switching",
    "weir.v1.Mirrors",
    "weir.v1.Routers",
    "weir.v1.Services",
    "weir.v1.Appliances",
    "weir.v1.Guard",
    "weir.v1.Policies",
    "weir.v1.Shadow",
    "weir.v1.Quotas",
    "weir.v1.Segments",
    "weir.v1.RuleSets",
    "weir.v1.Flows",
    "weir.v1.Stats",
    "weir.v1.Inspection",
    "weir.v1.Events",
    "weir.v1.Config",
    "weir.v1.Trace",
    "weir.v1.ContentFilter",
    "weir.v1.VirusCheck",
    "weir.v1.Workers",
];

/// The named object, or all of them where no name is given.
fn select<'a, T>(
    name: &str,
    kind: &str,
    all: impl Iterator<Item = (&'a str, T)>,
) -> Result<Vec<(String, T)>, crate::refusal::Refusal> {
    let all: Vec<(&str, T)> = all.collect();
    if name.is_empty() {
        return Ok(all.into_iter().map(|(n, item)| (n.to_owned(), item)).collect());
    }
    let names: Vec<&str> = all.iter().map(|(n, _)| *n).collect();
    if !names.contains(&name) {
        return Err(crate::refusal::Refusal::not_found(kind, name, names.into_iter()));
    }
    Ok(all.into_iter().filter(|(n, _)| *n == name).map(|(n, item)| (n.to_owned(), item)).collect())
}
