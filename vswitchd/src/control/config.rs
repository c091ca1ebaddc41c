//! `weir.v1.Config`.

use std::time::Duration;

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::config_server::Config as ConfigService;

use super::Service;
use crate::commit::Terms;
use crate::config::Config;
use crate::refusal::Refusal;

/// The longest trial: a day.
const TRIAL_MAX_S: u32 = 86_400;

/// How long a change is on trial; `None` where it is to be kept at once.
pub(super) fn trial(confirm_within_s: u32) -> Result<Option<Duration>, Refusal> {
    if confirm_within_s > TRIAL_MAX_S {
        let message = format!("confirm_within_s = {confirm_within_s} is above {TRIAL_MAX_S} seconds");
        return Err(Refusal::invalid(message));
    }
    Ok((confirm_within_s > 0).then(|| Duration::from_secs(u64::from(confirm_within_s))))
}

#[tonic::async_trait]
impl ConfigService for Service {
    async fn apply(&self, request: Request<v1::ApplyConfigRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::ApplyConfigRequest { toml, dry_run, if_revision, confirm_within_s } = request.into_inner();
        let trial = trial(confirm_within_s)?;
        let wanted = Config::parse(&toml).map_err(Refusal::from)?;
        let terms = Terms { dry_run, if_revision, trial };
        let outcome = self.controller.change(terms, move |config| {
            *config = wanted;
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn confirm(&self, request: Request<v1::ConfirmConfigRequest>) -> Result<Response<v1::Applied>, Status> {
        let outcome = self.controller.confirm(request.into_inner().revision).await?;
        Ok(Response::new(outcome.into()))
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
