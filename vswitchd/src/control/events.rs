//! `weir.v1.Events`.

use std::sync::Arc;

use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::events_server::Events;

use super::{Answers, Service};
use crate::eve::{KEPT, Line, kinds};
use crate::readers::Reader;
use crate::refusal::Refusal;

#[tonic::async_trait]
impl Events for Service {
    type FollowStream = Answers<v1::Event>;

    async fn follow(&self, request: Request<v1::FollowEventsRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let v1::FollowEventsRequest { types, port, last, only_kept } = request.into_inner();
        if let Some(unknown) = types.iter().find(|t| kinds::all().all(|kind| kind != t.as_str())) {
            let message = format!(
                "there is no event type \"{unknown}\"; there are: {}",
                kinds::all().collect::<Vec<_>>().join(", ")
            );
            return Err(Refusal::invalid(message).into());
        }
        if !port.is_empty() {
            super::select(&port, "port", self.controller.snapshot().ids.ports())?;
        }
        let reads = types.is_empty() || types.iter().any(|kind| kinds::is_record(kind));
        let wanted = Wanted { types, port, _reader: reads.then(|| self.feed.readers().begin()) };
        let (kept, following) = self.feed.follow((last as usize).min(KEPT));
        let kept = tokio_stream::iter(kept.into_iter().map(Ok));
        if only_kept {
            let events = kept.filter_map(move |item| event(item, &wanted));
            return Ok(Response::new(self.until_stopped(events)));
        }
        let all = kept.chain(BroadcastStream::new(following));
        let events = all.filter_map(move |item| event(item, &wanted));
        Ok(Response::new(self.until_stopped(events)))
    }
}

/// What somebody asks for.
struct Wanted {
    /// Types of events; empty for all.
    types: Vec<String>,
    /// A port, or empty for all.
    port: String,
    /// He reads records as long as his stream lasts.
    _reader: Option<Reader>,
}

impl Wanted {
    fn has(&self, line: &Line) -> bool {
        (self.types.is_empty() || self.types.iter().any(|t| t == line.kind))
            && (self.port.is_empty() || line.in_port == self.port || line.out_port == self.port)
    }
}

fn event(item: Result<Arc<Line>, BroadcastStreamRecvError>, wanted: &Wanted) -> Option<v1::Event> {
    match item {
        Ok(line) => wanted.has(&line).then(|| v1::Event {
            number: line.number,
            r#type: line.kind.into(),
            wall_ns: line.wall_ns,
            in_port: line.in_port.clone(),
            out_port: line.out_port.clone(),
            eve: line.eve.clone(),
            lost: 0,
        }),
        Err(BroadcastStreamRecvError::Lagged(lost)) => {
            Some(v1::Event { r#type: "lost".into(), lost, ..v1::Event::default() })
        }
    }
}
