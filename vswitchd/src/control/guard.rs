//! `weir.v1.Guard`.

use std::collections::HashMap;

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::guard_server::Guard;
use weir_wire::{DropReason, Instant, MacAddr, PortId, Vid};

use super::Service;
use super::convert::{narrow, text, texts};
use crate::commit::Terms;
use crate::refusal::Refusal;

/// Bindings of an answer where the request names no number, and at most.
const BINDINGS_USUAL: usize = 1000;
const BINDINGS_MOST: usize = 100_000;

/// What the guard drops for.
const REASONS: [DropReason; 7] = [
    DropReason::SpoofedMac,
    DropReason::SpoofedAddress,
    DropReason::SpoofedArp,
    DropReason::SpoofedNeighbor,
    DropReason::RogueRouter,
    DropReason::RogueDhcp,
    DropReason::BindingLimit,
];

#[tonic::async_trait]
impl Guard for Service {
    async fn set(&self, request: Request<v1::SetGuardRequest>) -> Result<Response<v1::Applied>, Status> {
        let wanted = request.into_inner();
        let object = format!("port {}: guard", wanted.port);
        let addresses = texts(&object, "addresses", &wanted.addresses)?;
        let shared = texts(&object, "shared", &wanted.shared)?;
        let roles = texts(&object, "roles", &wanted.roles)?;
        let (macs, shared_macs) =
            (texts(&object, "macs", &wanted.macs)?, texts(&object, "shared_macs", &wanted.shared_macs)?);
        let outcome = self.controller.change(Terms::default(), move |config| {
            let Some(at) = config.ports.iter().position(|port| port.name == wanted.port) else {
                let names = config.ports.iter().map(|port| port.name.as_str());
                return Err(Refusal::not_found("port", &wanted.port, names));
            };
            let Some(port) = config.ports.get_mut(at) else { return Ok(()) };
            let mut guard = port.guard.clone().unwrap_or_default();
            guard.on = wanted.on.or(guard.on);
            guard.learn = wanted.learn.unwrap_or(guard.learn);
            guard.limit = wanted.limit.unwrap_or(guard.limit);
            if wanted.set_addresses {
                guard.addresses = addresses;
            }
            if wanted.set_shared {
                guard.shared = shared;
            }
            if wanted.set_roles {
                guard.roles = roles;
            }
            if wanted.set_macs {
                guard.macs = macs;
            }
            if wanted.set_shared_macs {
                guard.shared_macs = shared_macs;
            }
            port.guard = Some(guard);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn show(&self, request: Request<v1::ShowGuardRequest>) -> Result<Response<v1::ShowGuardResponse>, Status> {
        let name = request.into_inner().port;
        let snapshot = self.controller.snapshot();
        let ids = super::select(&name, "port", snapshot.ids.ports())?;
        let asked: Vec<PortId> = ids.iter().map(|(_, id)| *id).collect();
        let counters = self.controller.worker().ask_each(&asked, |view, id| {
            let dropped = view.fabric.counters(id).map(|counters| counters.dropped.clone());
            REASONS.map(|reason| dropped.as_ref().map_or(0, |dropped| dropped.get(reason)))
        });
        let counters: Vec<[u64; REASONS.len()]> = counters.await.map_err(Refusal::from)?;
        let bindings = self.controller.worker().ask_all(|view| view.fabric.bindings(BINDINGS_MOST).0);
        let bindings = bindings.await.map_err(Refusal::from)?.concat();
        let mut bound: HashMap<PortId, u32> = HashMap::new();
        bindings.iter().for_each(|(_, binding)| *bound.entry(binding.port).or_default() += 1);
        let status = |((name, id), counted): (&(String, PortId), &[u64; REASONS.len()])| {
            let port = snapshot.config.port(name);
            let effective = port.and_then(|port| port.effective_guard());
            let guard = port.and_then(|port| port.guard.clone()).unwrap_or_default();
            let counts = REASONS.iter().zip(counted).filter(|(_, count)| **count > 0);
            v1::GuardStatus {
                port: name.clone(),
                on: effective.is_some() && port.is_some_and(|port| snapshot.config.appliance(&port.switch).is_none()),
                learn: guard.learn,
                limit: guard.limit,
                addresses: guard.addresses.iter().map(ToString::to_string).collect(),
                shared: guard.shared.iter().map(ToString::to_string).collect(),
                roles: guard.roles.iter().map(|role| role.label().to_owned()).collect(),
                macs: guard.macs.iter().map(ToString::to_string).collect(),
                shared_macs: guard.shared_macs.iter().map(ToString::to_string).collect(),
                bindings: bound.get(id).copied().unwrap_or(0),
                dropped: counts
                    .map(|(reason, &count)| v1::Count {
                        name: reason.label().into(),
                        count,
                        meaning: reason.meaning().into(),
                    })
                    .collect(),
            }
        };
        let ports = ids.iter().zip(&counters).map(status).collect();
        Ok(Response::new(v1::ShowGuardResponse { ports }))
    }

    async fn list_address_bindings(
        &self,
        request: Request<v1::ListAddressBindingsRequest>,
    ) -> Result<Response<v1::ListAddressBindingsResponse>, Status> {
        let v1::ListAddressBindingsRequest { port, limit } = request.into_inner();
        let snapshot = self.controller.snapshot();
        let of = if port.is_empty() {
            None
        } else {
            super::select(&port, "port", snapshot.ids.ports())?.first().map(|(_, id)| *id)
        };
        let limit = if limit == 0 { BINDINGS_USUAL } else { (limit as usize).min(BINDINGS_MOST) };
        let asked = self.controller.worker().ask_all(move |view| (view.now, view.fabric.bindings(usize::MAX)));
        let (mut now, mut bindings, mut total) = (Instant::ZERO, Vec::new(), 0);
        for (here, (some, count)) in asked.await.map_err(Refusal::from)? {
            now = now.max(here);
            bindings.extend(some);
            total += count;
        }
        let now_s = u32::try_from(now.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let wanted = bindings.iter().filter(|(_, binding)| of.is_none_or(|of| binding.port == of)).take(limit);
        let bindings = wanted.map(|((switch, vid, address), binding)| v1::AddressBinding {
            switch: snapshot.names.switch(*switch),
            vlan: vid.0.into(),
            address: address.to_string(),
            port: snapshot.names.port(binding.port),
            mac: if binding.mac == MacAddr::ZERO { String::new() } else { binding.mac.to_string() },
            origin: binding.origin.label().into(),
            lease_s: binding.until_s.map(|until| until.saturating_sub(now_s)),
            heard: binding.heard,
        });
        Ok(Response::new(v1::ListAddressBindingsResponse { bindings: bindings.collect(), total: total as u64 }))
    }

    async fn forget_address_binding(
        &self,
        request: Request<v1::ForgetAddressBindingRequest>,
    ) -> Result<Response<v1::ForgetAddressBindingResponse>, Status> {
        let v1::ForgetAddressBindingRequest { switch, vlan, address } = request.into_inner();
        let snapshot = self.controller.snapshot();
        let Some(id) = snapshot.ids.switch(&switch) else {
            return Err(Refusal::not_found("switch", &switch, snapshot.ids.switches().map(|(name, _)| name)).into());
        };
        let place = (id, Vid(narrow("binding", "vlan", vlan)?), text("binding", "address", &address)?);
        let asked = self.controller.worker().ask_of(id, move |view| view.fabric.forget_binding(place));
        if !asked.await.map_err(Refusal::from)? {
            let message = format!("binding {address}: switch {switch} has none in VLAN {vlan}; see guard bindings");
            return Err(Refusal { kind: crate::refusal::Kind::NotFound, message }.into());
        }
        Ok(Response::new(v1::ForgetAddressBindingResponse {}))
    }
}
