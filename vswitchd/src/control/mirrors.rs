//! `weir.v1.Mirrors`.

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::mirror_spec::To;
use weir_proto::v1::mirrors_server::Mirrors;

use super::Service;
use super::convert::{filled, narrow, required, text};
use crate::commit::Terms;
use crate::config::{CaptureFile, Direction, ErspanTo, Mirror};
use crate::refusal::Refusal;

#[tonic::async_trait]
impl Mirrors for Service {
    async fn add(&self, request: Request<v1::AddMirrorRequest>) -> Result<Response<v1::Applied>, Status> {
        let mirror = mirror_of(required(request.into_inner().mirror, "mirror")?)?;
        let outcome = self.controller.change(Terms::default(), move |config| {
            if config.mirrors.iter().any(|known| known.name == mirror.name) {
                return Err(Refusal::exists("mirror", &mirror.name));
            }
            config.mirrors.push(mirror);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn delete(&self, request: Request<v1::DeleteMirrorRequest>) -> Result<Response<v1::Applied>, Status> {
        let name = request.into_inner().name;
        let outcome = self.controller.change(Terms::default(), move |config| {
            if !config.mirrors.iter().any(|known| known.name == name) {
                return Err(Refusal::not_found(
                    "mirror",
                    &name,
                    config.mirrors.iter().map(|known| known.name.as_str()),
                ));
            }
            config.mirrors.retain(|known| known.name != name);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn list(
        &self,
        request: Request<v1::ListMirrorsRequest>,
    ) -> Result<Response<v1::ListMirrorsResponse>, Status> {
        let name = request.into_inner().name;
        let snapshot = self.controller.snapshot();
        let known = snapshot.config.mirrors.iter().map(|mirror| (mirror.name.as_str(), mirror));
        let wanted = super::select(&name, "mirror", known)?;
        let counted =
            self.controller.worker().ask_all(|view| view.fabric.mirrors()).await.map_err(Refusal::from)?.concat();
        let status = |(name, mirror): (String, &Mirror)| {
            let stats = counted.iter().find(|(known, _)| *known == name).map(|(_, stats)| *stats).unwrap_or_default();
            v1::MirrorStatus {
                spec: Some(mirror_to_proto(mirror)),
                matched: stats.matched,
                mirrored: stats.mirrored,
                bytes: stats.bytes,
                dropped: stats.dropped,
            }
        };
        Ok(Response::new(v1::ListMirrorsResponse { mirrors: wanted.into_iter().map(status).collect() }))
    }
}

fn mirror_of(spec: v1::MirrorSpec) -> Result<Mirror, Refusal> {
    let object = format!("mirror {}", spec.name);
    let direction = match v1::MirrorDirection::try_from(spec.direction) {
        Ok(v1::MirrorDirection::Unspecified | v1::MirrorDirection::Both) => Direction::Both,
        Ok(v1::MirrorDirection::In) => Direction::In,
        Ok(v1::MirrorDirection::Out) => Direction::Out,
        Err(_) => return Err(Refusal::invalid(format!("{object}: direction {} is not known", spec.direction))),
    };
    let vlans = spec.vlans.iter().map(|&vlan| narrow(&object, "vlans", vlan));
    let mut mirror = Mirror {
        vlans: vlans.collect::<Result<_, _>>()?,
        name: spec.name,
        ports: spec.ports,
        switches: spec.switches,
        direction,
        filter: spec.filter,
        one_of: spec.one_of,
        snap: spec.snap,
        ..Mirror::default()
    };
    let or = |value: u32, usual: u32| if value == 0 { usual } else { value };
    match spec.to {
        None => {}
        Some(To::ToPort(port)) => mirror.port = Some(port),
        Some(To::ToFile(file)) => {
            let (megabytes, files) = (or(file.megabytes, 100), or(file.files, 4));
            mirror.file = Some(CaptureFile { path: file.path, megabytes, files });
        }
        Some(To::ToErspan(erspan)) => {
            mirror.erspan = Some(ErspanTo {
                to: text(&object, "to_erspan.to", &erspan.to)?,
                from: filled(&erspan.from).map(|own| text(&object, "to_erspan.from", &own)).transpose()?,
                session: narrow(&object, "to_erspan.session", erspan.session)?,
                kind: narrow(&object, "to_erspan.type", or(erspan.r#type, 2))?,
                router: filled(&erspan.router),
            });
        }
    }
    Ok(mirror)
}

fn mirror_to_proto(mirror: &Mirror) -> v1::MirrorSpec {
    let to = match (&mirror.port, &mirror.file, &mirror.erspan) {
        (Some(port), ..) => Some(To::ToPort(port.clone())),
        (None, Some(file), _) => {
            let CaptureFile { path, megabytes, files } = file.clone();
            Some(To::ToFile(v1::MirrorFile { path, megabytes, files }))
        }
        (None, None, Some(erspan)) => Some(To::ToErspan(v1::MirrorErspan {
            to: erspan.to.to_string(),
            from: erspan.from.map(|own| own.to_string()).unwrap_or_default(),
            session: u32::from(erspan.session),
            r#type: u32::from(erspan.kind),
            router: erspan.router.clone().unwrap_or_default(),
        })),
        (None, None, None) => None,
    };
    v1::MirrorSpec {
        name: mirror.name.clone(),
        ports: mirror.ports.clone(),
        switches: mirror.switches.clone(),
        vlans: mirror.vlans.iter().map(|&vlan| u32::from(vlan)).collect(),
        direction: match mirror.direction {
            Direction::Both => v1::MirrorDirection::Both.into(),
            Direction::In => v1::MirrorDirection::In.into(),
            Direction::Out => v1::MirrorDirection::Out.into(),
        },
        filter: mirror.filter.clone(),
        one_of: mirror.one_of,
        snap: mirror.snap,
        to,
    }
}
