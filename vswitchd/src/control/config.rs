//! `weir.v1.Config`.

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::config_server::Config as ConfigService;

use super::Service;
use crate::commit::Mode;
use crate::config::Config;
use crate::refusal::Refusal;

#[tonic::async_trait]
impl ConfigService for Service {
    async fn apply(&self, request: Request<v1::ApplyConfigRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::ApplyConfigRequest { toml, dry_run, if_revision } = request.into_inner();
        let wanted = Config::parse(&toml).map_err(Refusal::from)?;
        let mode = if dry_run { Mode::DryRun } else { Mode::Commit };
        let outcome = self.controller.change_if(mode, if_revision, |config| {
            *config = wanted;
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn show(&self, _: Request<v1::ShowConfigRequest>) -> Result<Response<v1::ShowConfigResponse>, Status> {
        let snapshot = self.controller.snapshot();
        Ok(Response::new(v1::ShowConfigResponse {
            toml: snapshot.config.to_toml().map_err(Refusal::from)?,
            revision: snapshot.revision,
            epoch: snapshot.epoch.0,
            version: env!("CARGO_PKG_VERSION").into(),
        }))
    }
}
