//! `weir.v1.VirusCheck`.

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::virus_check_server::VirusCheck;

use super::Service;
use crate::clamd::Clamd;
use crate::commit::Terms;

#[tonic::async_trait]
impl VirusCheck for Service {
    async fn show(&self, _: Request<v1::ShowVirusRequest>) -> Result<Response<v1::ShowVirusResponse>, Status> {
        let snapshot = self.controller.snapshot();
        let policy = snapshot.policy.scan();
        let (digests, bodies) = policy.database.as_ref().map_or((0, 0), |database| database.len());
        let refused = policy.database.iter().flat_map(|database| &database.refused);
        let [scanned, bytes, infected, limited] = policy.counts.read();
        Ok(Response::new(v1::ShowVirusResponse {
            enabled: snapshot.config.virus.enabled,
            files: snapshot.config.virus.signatures.clone(),
            digests: digests as u64,
            bodies: bodies as u64,
            refused: refused
                .map(|(why, count)| v1::RefusedSignatures { why: (*why).to_owned(), count: *count })
                .collect(),
            scanned,
            bytes,
            infected,
            limited,
            clamd: snapshot.virus.clamd.as_deref().map(shown),
        }))
    }

    async fn reload(&self, _: Request<v1::ReloadVirusRequest>) -> Result<Response<v1::Applied>, Status> {
        // Files are read at every change; a change of nothing reads them and takes what is different.
        let outcome = self.controller.change(Terms::default(), |_| Ok(()));
        Ok(Response::new(outcome.await?.into()))
    }

    async fn set(&self, request: Request<v1::SetVirusRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetVirusRequest { enabled, files, clamd } = request.into_inner();
        let outcome = self.controller.change(Terms::default(), move |config| {
            config.virus.enabled = enabled;
            if !files.is_empty() {
                config.virus.signatures = files;
            }
            if let Some(clamd) = clamd {
                config.virus.clamd = clamd;
            }
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }
}

fn shown(clamd: &Clamd) -> v1::Clamd {
    let (health, tally) = (clamd.health(), clamd.remote().tally());
    v1::Clamd {
        address: clamd.settings().address.to_string(),
        answers: health.answers,
        text: health.text,
        asked: tally.asked,
        clean: tally.clean,
        infected: tally.infected,
        failed: tally.failed,
        cut: tally.cut,
        waiting_bytes: tally.waiting,
    }
}
