//! `weir.v1.Appliances`.

use tonic::{Request, Response, Status};
use weir_fabric::appliance::ApplianceStatus;
use weir_proto::v1;
use weir_proto::v1::appliances_server::Appliances;

use super::Service;
use super::convert::{action_of, action_to_proto, filled, narrow, required, unknown_field};
use crate::commit::Terms;
use crate::config::{Appliance, Config, Hairpin, OnFailure, Probe};
use crate::refusal::Refusal;

/// What [`Appliances::set`] knows.
const FIELDS: [&str; 6] = ["default_action", "inspect", "fail_open", "bypass", "down", "probe"];

#[tonic::async_trait]
impl Appliances for Service {
    async fn add(&self, request: Request<v1::AddApplianceRequest>) -> Result<Response<v1::Applied>, Status> {
        let appliance = appliance_of(&required(request.into_inner().appliance, "appliance")?)?;
        let outcome = self.controller.change(Terms::default(), move |config| {
            if config.appliance(&appliance.name).is_some() {
                return Err(Refusal::exists("appliance", &appliance.name));
            }
            let ports: Vec<String> = appliance.ports().map(str::to_owned).collect();
            for port in config.ports.iter_mut().filter(|port| ports.contains(&port.name)) {
                port.switch.clone_from(&appliance.name);
            }
            config.appliances.push(appliance);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn set(&self, request: Request<v1::SetApplianceRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetApplianceRequest { appliance, fields } = request.into_inner();
        let wanted = appliance_of(&required(appliance, "appliance")?)?;
        let outcome = self.controller.change(Terms::default(), move |config| {
            let appliance = find(config, &wanted.name)?;
            let all = FIELDS.map(str::to_owned);
            for field in if fields.is_empty() { &all[..] } else { &fields[..] } {
                match field.as_str() {
                    "default_action" => appliance.default = wanted.default,
                    "inspect" => appliance.inspect.clone_from(&wanted.inspect),
                    "fail_open" => appliance.fail = wanted.fail,
                    "bypass" => appliance.bypass = wanted.bypass,
                    "down" => appliance.down = wanted.down,
                    "probe" => appliance.probe = wanted.probe,
                    other => return Err(unknown_field(&format!("appliance {}", wanted.name), other, &FIELDS)),
                }
            }
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn delete(&self, request: Request<v1::DeleteApplianceRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::DeleteApplianceRequest { name, with_ports, to_switch } = request.into_inner();
        let outcome = self.controller.change(Terms::default(), move |config| {
            find(config, &name)?;
            let ports: Vec<&str> = config.ports.iter().filter(|p| p.switch == name).map(|p| p.name.as_str()).collect();
            if !ports.is_empty() && !with_ports && to_switch.is_empty() {
                return Err(Refusal::state(format!(
                    "appliance {name}: it has ports ({}); say what becomes of them (--with-ports or --to-switch SWITCH)",
                    ports.join(", ")
                )));
            }
            if with_ports {
                config.ports.retain(|port| port.switch != name);
            }
            for port in config.ports.iter_mut().filter(|port| port.switch == name) {
                port.switch.clone_from(&to_switch);
            }
            config.appliances.retain(|appliance| appliance.name != name);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn list(
        &self,
        request: Request<v1::ListAppliancesRequest>,
    ) -> Result<Response<v1::ListAppliancesResponse>, Status> {
        let name = request.into_inner().name;
        let snapshot = self.controller.snapshot();
        let ids = super::select(&name, "appliance", snapshot.ids.appliances())?;
        let asked: Vec<_> = ids.iter().map(|(_, id)| *id).collect();
        let found = self
            .controller
            .worker()
            .ask_each(&asked, |view, id| view.fabric.appliance(view.now, id))
            .await
            .map_err(Refusal::from)?;
        let appliances =
            ids.iter().zip(found).map(|((name, _), found)| status(snapshot.config.appliance(name), found)).collect();
        Ok(Response::new(v1::ListAppliancesResponse { appliances }))
    }
}

fn find<'a>(config: &'a mut Config, name: &str) -> Result<&'a mut Appliance, Refusal> {
    match config.appliances.iter().position(|a| a.name == name) {
        Some(index) => Ok(&mut config.appliances[index]),
        None => Err(Refusal::not_found("appliance", name, config.appliances.iter().map(|a| a.name.as_str()))),
    }
}

fn appliance_of(spec: &v1::ApplianceSpec) -> Result<Appliance, Refusal> {
    let object = format!("appliance {}", spec.name);
    let pair = |pair: &v1::VlanPair| -> Result<[u16; 2], Refusal> {
        Ok([narrow(&object, "hairpin.vlans", pair.a)?, narrow(&object, "hairpin.vlans", pair.b)?])
    };
    let hairpin = |hairpin: &v1::Hairpin| -> Result<Hairpin, Refusal> {
        let vlans = hairpin.vlans.iter().map(pair).collect::<Result<_, _>>()?;
        Ok(Hairpin { port: hairpin.port.clone(), vlans })
    };
    Ok(Appliance {
        name: spec.name.clone(),
        wire: spec.wire.clone(),
        inline: spec.inline.clone(),
        hairpin: spec.hairpin.as_ref().map(hairpin).transpose()?,
        listen: spec.listen.clone(),
        default: action_of(&object, spec.default_action)?,
        inspect: filled(&spec.inspect),
        fail: if spec.fail_open { OnFailure::Open } else { OnFailure::Closed },
        bypass: spec.bypass,
        down: spec.down,
        probe: spec.probe.as_ref().map_or(Probe::default(), |probe| {
            let &v1::ApplianceProbe { interval_ms, within_ms, misses } = probe;
            Probe { interval_ms, within_ms, misses }
        }),
    })
}

fn status(wanted: Option<&Appliance>, found: Option<ApplianceStatus>) -> v1::ApplianceStatus {
    let spec = wanted.map(|appliance| v1::ApplianceSpec {
        name: appliance.name.clone(),
        wire: appliance.wire.clone(),
        inline: appliance.inline.clone(),
        hairpin: appliance.hairpin.as_ref().map(|hairpin| v1::Hairpin {
            port: hairpin.port.clone(),
            vlans: hairpin.vlans.iter().map(|&[a, b]| v1::VlanPair { a: a.into(), b: b.into() }).collect(),
        }),
        listen: appliance.listen.clone(),
        default_action: action_to_proto(appliance.default),
        inspect: appliance.inspect.clone().unwrap_or_default(),
        fail_open: appliance.fail == OnFailure::Open,
        bypass: appliance.bypass,
        down: appliance.down,
        probe: Some(v1::ApplianceProbe {
            interval_ms: appliance.probe.interval_ms,
            within_ms: appliance.probe.within_ms,
            misses: appliance.probe.misses,
        }),
    });
    let Some(ApplianceStatus { standing, counters, probe }) = found else {
        return v1::ApplianceStatus { spec, ..v1::ApplianceStatus::default() };
    };
    v1::ApplianceStatus {
        spec,
        standing: standing.label().into(),
        passed: counters.passed,
        refused: counters.refused,
        bypassed: counters.bypassed,
        failed_open: counters.failed_open,
        failed_closed: counters.failed_closed,
        failures: counters.failures,
        pulse: probe.pulse.label().into(),
        pulse_reason: probe.reason(),
        probes: probe.sent,
        probes_missed: probe.missed,
    }
}
