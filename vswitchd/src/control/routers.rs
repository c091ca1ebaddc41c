//! `weir.v1.Routers`.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use tonic::{Request, Response, Status};
use weir_fabric::Step;
use weir_fabric::nat::NatCounters;
use weir_fabric::nat::bindings::BindingEntry;
use weir_fabric::router::neighbor::Found;
use weir_fabric::router::{InterfaceStatus, Target};
use weir_proto::v1;
use weir_proto::v1::routers_server::Routers;
use weir_wire::{InterfaceId, SwitchId};

use super::Service;
use super::convert::{action_to_proto, required, text, texts, unknown_field};
use super::convert_router::{interface_of, nat_of, route_of, router_of, router_to_proto};
use super::policy_routes::{self, policy_route_of};
use crate::commit::Terms;
use crate::config::{Config, Forward, Interface, Protocol, Route, Router};
use crate::published::Snapshot;
use crate::refusal::Refusal;
use crate::state::{Zones, default_of, inspect_of};

/// Bindings of an answer where the request names no number, and at most.
const BINDINGS_USUAL: usize = 1000;
const BINDINGS_MOST: usize = 100_000;

/// What [`Routers::set`] knows.
const FIELDS: [&str; 2] = ["default_action", "inspect"];

#[tonic::async_trait]
impl Routers for Service {
    async fn add(&self, request: Request<v1::AddRouterRequest>) -> Result<Response<v1::Applied>, Status> {
        let router = router_of(&required(request.into_inner().router, "router")?)?;
        self.edit(move |config| {
            if config.router(&router.name).is_some() {
                return Err(Refusal::exists("router", &router.name));
            }
            config.routers.push(router);
            Ok(())
        })
        .await
    }

    async fn set(&self, request: Request<v1::SetRouterRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetRouterRequest { router, fields } = request.into_inner();
        let wanted = router_of(&required(router, "router")?)?;
        self.edit(move |config| {
            let router = find(config, &wanted.name)?;
            let all = FIELDS.map(str::to_owned);
            for field in if fields.is_empty() { &all[..] } else { &fields[..] } {
                match field.as_str() {
                    "default_action" => router.default = wanted.default,
                    "inspect" => router.inspect.clone_from(&wanted.inspect),
                    other => return Err(unknown_field(&format!("router {}", wanted.name), other, &FIELDS)),
                }
            }
            Ok(())
        })
        .await
    }

    async fn delete(&self, request: Request<v1::DeleteRouterRequest>) -> Result<Response<v1::Applied>, Status> {
        let name = request.into_inner().name;
        self.edit(move |config| {
            find(config, &name)?;
            config.routers.retain(|router| router.name != name);
            Ok(())
        })
        .await
    }

    async fn list(
        &self,
        request: Request<v1::ListRoutersRequest>,
    ) -> Result<Response<v1::ListRoutersResponse>, Status> {
        let name = request.into_inner().name;
        let snapshot = self.controller.snapshot();
        let mut routers = Vec::new();
        for (name, _) in super::select(&name, "router", snapshot.ids.routers())? {
            routers.extend(self.status(&snapshot, &name).await?);
        }
        Ok(Response::new(v1::ListRoutersResponse { routers }))
    }

    async fn set_interface(&self, request: Request<v1::SetInterfaceRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetInterfaceRequest { router, interface, only_new } = request.into_inner();
        let wanted = interface_of(&format!("router {router}"), &required(interface, "interface")?)?;
        self.edit(move |config| {
            let known = &mut find(config, &router)?.interfaces;
            match known.iter_mut().find(|interface| interface.name == wanted.name) {
                Some(_) if only_new => return Err(Refusal::exists("interface", &wanted.name)),
                // What it serves is set by calls of its own.
                Some(interface) => {
                    let (dhcp, dhcp6, metadata) =
                        (interface.dhcp.take(), interface.dhcp6.take(), interface.metadata.take());
                    *interface = Interface { dhcp, dhcp6, metadata, ..wanted };
                }
                None => known.push(wanted),
            }
            Ok(())
        })
        .await
    }

    async fn delete_interface(
        &self,
        request: Request<v1::DeleteInterfaceRequest>,
    ) -> Result<Response<v1::Applied>, Status> {
        let v1::DeleteInterfaceRequest { router, interface } = request.into_inner();
        self.edit(move |config| {
            let known = &mut find(config, &router)?.interfaces;
            let before = known.len();
            let names: Vec<String> = known.iter().map(|i| i.name.clone()).collect();
            known.retain(|i| i.name != interface);
            if known.len() == before {
                return Err(Refusal::not_found("interface", &interface, names.iter().map(String::as_str)));
            }
            Ok(())
        })
        .await
    }

    async fn set_routes(&self, request: Request<v1::SetRoutesRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetRoutesRequest { router, routes, only_new } = request.into_inner();
        let object = format!("router {router}");
        let routes: Vec<_> = routes.iter().map(|route| route_of(&object, route)).collect::<Result<_, _>>()?;
        self.edit(move |config| {
            let known = &mut find(config, &router)?.routes;
            let places: std::collections::HashMap<_, usize> =
                known.iter().enumerate().map(|(at, route)| (place(route), at)).collect();
            for route in routes {
                match places.get(&place(&route)).and_then(|&at| known.get_mut(at)) {
                    Some(_) if only_new => return Err(Refusal::exists("route", &route.to.to_string())),
                    Some(old) => *old = route,
                    None => known.push(route),
                }
            }
            Ok(())
        })
        .await
    }

    async fn delete_routes(&self, request: Request<v1::DeleteRoutesRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::DeleteRoutesRequest { router, to, table } = request.into_inner();
        let networks: Vec<IpNetwork> = texts(&format!("router {router}"), "to", &to)?;
        self.edit(move |config| {
            let known = &mut find(config, &router)?.routes;
            for network in &networks {
                let before = known.len();
                let here = |route: &Route| route.table.as_deref().unwrap_or_default() == table;
                known.retain(|route| !here(route) || key(&route.to) != key(network));
                if known.len() == before {
                    let there: Vec<String> = known.iter().map(|route| route.to.to_string()).collect();
                    return Err(Refusal::not_found("route", &network.to_string(), there.iter().map(String::as_str)));
                }
            }
            Ok(())
        })
        .await
    }

    async fn add_policy_route(
        &self,
        request: Request<v1::AddPolicyRouteRequest>,
    ) -> Result<Response<v1::Applied>, Status> {
        let v1::AddPolicyRouteRequest { router, policy_route, before } = request.into_inner();
        let wanted = policy_route_of(&format!("router {router}"), &required(policy_route, "policy_route")?)?;
        self.edit(move |config| policy_routes::add(find(config, &router)?, wanted, &before)).await
    }

    async fn delete_policy_routes(
        &self,
        request: Request<v1::DeletePolicyRoutesRequest>,
    ) -> Result<Response<v1::Applied>, Status> {
        let v1::DeletePolicyRoutesRequest { router, names } = request.into_inner();
        self.edit(move |config| policy_routes::delete(find(config, &router)?, &names)).await
    }

    async fn bypass_policy_route(
        &self,
        request: Request<v1::BypassPolicyRouteRequest>,
    ) -> Result<Response<v1::Applied>, Status> {
        let v1::BypassPolicyRouteRequest { router, name, bypass } = request.into_inner();
        self.edit(move |config| policy_routes::bypass(find(config, &router)?, &name, bypass)).await
    }

    async fn add_nat(&self, request: Request<v1::AddNatRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::AddNatRequest { router, nat } = request.into_inner();
        let wanted = nat_of(&format!("router {router}"), &nat.unwrap_or_default())?;
        self.edit(move |config| {
            let known = find(config, &router)?;
            known.masquerades.extend(wanted.masquerades);
            known.forwards.extend(wanted.forwards);
            known.one_to_one.extend(wanted.one_to_one);
            known.nptv6.extend(wanted.nptv6);
            known.nat64.extend(wanted.nat64);
            let new: Vec<_> = wanted.helpers.into_iter().filter(|helper| !known.helpers.contains(helper)).collect();
            known.helpers.extend(new);
            Ok(())
        })
        .await
    }

    async fn delete_nat(&self, request: Request<v1::DeleteNatRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::DeleteNatRequest { router, nat } = request.into_inner();
        let named = nat_of(&format!("router {router}"), &nat.unwrap_or_default())?;
        self.edit(move |config| {
            let known = find(config, &router)?;
            let count = |r: &Router| {
                let rules = r.masquerades.len() + r.forwards.len() + r.one_to_one.len();
                rules + r.nptv6.len() + r.nat64.len() + r.helpers.len()
            };
            let before = count(known);
            known.masquerades.retain(|m| named.masquerades.iter().all(|n| n.interface != m.interface));
            let same = |a: &Forward, b: &Forward| (a.protocol, a.address, a.ports) == (b.protocol, b.address, b.ports);
            known.forwards.retain(|f| !named.forwards.iter().any(|n| same(n, f)));
            known.one_to_one.retain(|j| named.one_to_one.iter().all(|n| n.outside != j.outside));
            known.nptv6.retain(|p| named.nptv6.iter().all(|n| key(&n.outside) != key(&p.outside)));
            known.nat64.retain(|p| named.nat64.iter().all(|n| key(&n.prefix) != key(&p.prefix)));
            known.helpers.retain(|helper| !named.helpers.contains(helper));
            if before - count(known) < count(&named) {
                return Err(Refusal::state(format!(
                    "router {router}: it has no such translation; see vswitchctl nat show"
                )));
            }
            Ok(())
        })
        .await
    }

    async fn list_bindings(
        &self,
        request: Request<v1::ListBindingsRequest>,
    ) -> Result<Response<v1::ListBindingsResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => BINDINGS_USUAL,
            limit => (limit as usize).min(BINDINGS_MOST),
        };
        let snapshot = self.controller.snapshot();
        let asked = self.controller.worker().ask_all(move |view| view.fabric.nat(view.now, limit));
        let (mut bindings, mut total, mut counters) = (Vec::new(), 0, NatCounters::default());
        for (here, count, of_network) in asked.await.map_err(Refusal::from)? {
            bindings.extend(here);
            total += count;
            counters.add(&of_network);
        }
        bindings.truncate(limit);
        Ok(Response::new(v1::ListBindingsResponse {
            bindings: bindings.iter().map(|entry| binding(entry, &snapshot)).collect(),
            total: total as u64,
            made: counters.made,
            exhausted: counters.exhausted,
            over_limit: counters.over_limit,
            full: counters.full,
        }))
    }

    async fn flush_bindings(
        &self,
        _: Request<v1::FlushBindingsRequest>,
    ) -> Result<Response<v1::FlushBindingsResponse>, Status> {
        let asked = self.controller.worker().ask_all(move |view| {
            let (_, total, _) = view.fabric.nat(view.now, 0);
            view.fabric.apply(view.now, Step::FlushNat);
            total as u64
        });
        Ok(Response::new(v1::FlushBindingsResponse { forgotten: asked.await.map_err(Refusal::from)?.iter().sum() }))
    }

    async fn look_up(
        &self,
        request: Request<v1::LookUpRouteRequest>,
    ) -> Result<Response<v1::LookUpRouteResponse>, Status> {
        let v1::LookUpRouteRequest { router, address } = request.into_inner();
        let address: IpAddr = text(&format!("router {router}"), "address", &address)?;
        let snapshot = self.controller.snapshot();
        let ids = &snapshot.ids;
        let id = ids.router(&router);
        let id = id.ok_or_else(|| Refusal::not_found("router", &router, ids.routers().map(|(n, _)| n)))?;
        let asked = self.controller.worker().ask_of(id, move |view| {
            let target = view.fabric.routes(id).and_then(|table| table.lookup(address).cloned());
            let ways = match &target {
                Some(Target::Via(ways)) => ways.as_slice(),
                _ => &[],
            };
            let macs: Vec<_> =
                ways.iter().map(|way| view.fabric.neighbor(way.interface, way.gateway.unwrap_or(address))).collect();
            (target, macs)
        });
        let (target, macs) = asked.await.map_err(Refusal::from)?;
        Ok(Response::new(found(target.as_ref(), &macs, &snapshot)))
    }

    async fn list_neighbors(
        &self,
        request: Request<v1::ListNeighborsRequest>,
    ) -> Result<Response<v1::ListNeighborsResponse>, Status> {
        let snapshot = self.controller.snapshot();
        let wanted = interfaces_of(&snapshot, &request.into_inner().router)?;
        let asked = self.controller.worker().ask_all(move |view| view.fabric.neighbors(view.now));
        let mut known = asked.await.map_err(Refusal::from)?.concat();
        known.sort_unstable_by_key(|entry| (entry.interface, entry.address));
        let neighbors = known.into_iter().filter_map(|entry| {
            let (_, router, interface) = wanted.iter().find(|(id, ..)| *id == entry.interface)?;
            Some(v1::Neighbor {
                router: router.clone(),
                interface: interface.clone(),
                address: entry.address.to_string(),
                mac: entry.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                state: entry.state.into(),
                age_s: entry.age_s,
                held: u32::try_from(entry.held).unwrap_or(u32::MAX),
            })
        });
        Ok(Response::new(v1::ListNeighborsResponse { neighbors: neighbors.collect() }))
    }

    async fn flush_neighbors(
        &self,
        request: Request<v1::FlushNeighborsRequest>,
    ) -> Result<Response<v1::FlushNeighborsResponse>, Status> {
        let snapshot = self.controller.snapshot();
        let wanted = interfaces_of(&snapshot, &request.into_inner().router)?;
        let asked = self.controller.worker().ask_all(move |view| {
            let before = view.fabric.neighbors(view.now).len();
            wanted.iter().for_each(|(id, ..)| view.fabric.apply(view.now, Step::FlushNeighbors(*id)));
            before - view.fabric.neighbors(view.now).len()
        });
        let forgotten = asked.await.map_err(Refusal::from)?.iter().sum::<usize>() as u64;
        Ok(Response::new(v1::FlushNeighborsResponse { forgotten }))
    }
}

impl Service {
    async fn edit(
        &self,
        edit: impl FnOnce(&mut Config) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Response<v1::Applied>, Status> {
        let outcome = self.controller.change(Terms::default(), edit);
        Ok(Response::new(outcome.await?.into()))
    }

    async fn status(&self, snapshot: &Snapshot, name: &str) -> Result<Option<v1::RouterStatus>, Refusal> {
        let (Some(router), Some(id)) = (snapshot.config.router(name), snapshot.ids.router(name)) else {
            return Ok(None);
        };
        let interfaces: Vec<(String, InterfaceId)> = router
            .interfaces
            .iter()
            .filter_map(|interface| Some((interface.name.clone(), snapshot.ids.interface(name, &interface.name)?)))
            .collect();
        let asked = self.controller.worker().ask_of(id, move |view| {
            let status =
                interfaces.into_iter().filter_map(|(name, id)| Some((name, view.fabric.router_interface(id)?)));
            let table = view.fabric.routes(id).map(|table| (table.len() as u64, table.bytes() as u64));
            (status.collect::<Vec<_>>(), table.unwrap_or_default())
        });
        let (interfaces, (routes, table_bytes)) = asked.await?;
        let zones = Zones::of(&snapshot.config, &snapshot.ids);
        Ok(Some(v1::RouterStatus {
            spec: Some(router_to_proto(router)),
            interfaces: interfaces.iter().map(|(name, status)| interface_status(name, status, snapshot)).collect(),
            routes,
            table_bytes,
            applied_default: action_to_proto(default_of(&snapshot.config, router)),
            applied_inspect: inspect_of(&snapshot.config, router).unwrap_or_default(),
            zone: zones.name_of(name).unwrap_or(name).to_owned(),
        }))
    }
}

fn interface_status(name: &str, status: &InterfaceStatus, snapshot: &Snapshot) -> v1::InterfaceStatus {
    let (config, counters) = (&status.config, &status.counters);
    let addresses = status.addresses.iter().map(|address| v1::InterfaceAddress {
        address: format!("{}/{}", address.prefix.address, address.prefix.length),
        duplicate: address.duplicate,
    });
    v1::InterfaceStatus {
        name: name.to_owned(),
        switch: snapshot.names.switch(config.switch),
        vlan: u32::from(config.vid.0),
        mac: config.mac.to_string(),
        addresses: addresses.collect(),
        mtu: config.mtu,
        received: counters.received,
        forwarded: counters.forwarded,
        errors_sent: counters.errors_sent,
        errors_limited: counters.errors_limited,
        conflicts: counters.conflicts,
    }
}

fn binding(entry: &BindingEntry, snapshot: &Snapshot) -> v1::Binding {
    let names = &entry.names;
    let to_all = names.remote.0.is_unspecified();
    v1::Binding {
        router: snapshot.names.switch(SwitchId(names.zone)),
        protocol: Protocol(names.protocol).to_string(),
        inside: names.inside.0.to_string(),
        inside_port: u32::from(names.inside.1),
        outside: names.outside.0.to_string(),
        outside_port: u32::from(names.outside.1),
        remote: if to_all { String::new() } else { names.remote.0.to_string() },
        remote_port: u32::from(names.remote.1),
        idle_s: entry.idle_s,
        answered: entry.answered,
    }
}

/// What a route is for people.
fn found(target: Option<&Target>, macs: &[Option<Found>], snapshot: &Snapshot) -> v1::LookUpRouteResponse {
    let (kind, ways) = match target {
        None => ("none", &[][..]),
        Some(Target::Local) => ("local", &[][..]),
        Some(Target::Edge) => ("edge", &[][..]),
        Some(Target::Blackhole) => ("blackhole", &[][..]),
        Some(Target::Unreachable) => ("unreachable", &[][..]),
        Some(Target::Prohibit) => ("prohibit", &[][..]),
        Some(Target::Via(ways)) if ways.iter().all(|way| way.gateway.is_none()) => ("direct", ways.as_slice()),
        Some(Target::Via(ways)) => ("via", ways.as_slice()),
    };
    let ways = ways.iter().zip(macs).map(|(way, mac)| v1::look_up_route_response::Way {
        interface: snapshot.names.interface(way.interface),
        gateway: way.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        mac: match mac {
            Some(Found::At(mac)) => mac.to_string(),
            Some(Found::Asked | Found::Unreachable | Found::NoRoom) | None => String::new(),
        },
    });
    v1::LookUpRouteResponse { kind: kind.into(), ways: ways.collect() }
}

/// Interfaces with the names of router and interface, of one router or of all.
fn interfaces_of(snapshot: &Snapshot, router: &str) -> Result<Vec<(InterfaceId, String, String)>, Refusal> {
    let selected = super::select(router, "router", snapshot.ids.routers())?;
    let wanted = |name: &str| selected.iter().any(|(known, _)| known == name);
    let interfaces = snapshot.ids.interfaces().filter(|(router, ..)| wanted(router));
    Ok(interfaces.map(|(router, interface, id)| (id, router.to_owned(), interface.to_owned())).collect())
}

/// What names a route among others.
fn place(route: &Route) -> (Option<String>, (IpAddr, u8)) {
    (route.table.clone(), key(&route.to))
}

fn key(network: &IpNetwork) -> (IpAddr, u8) {
    (network.network(), network.prefix())
}

fn find<'a>(config: &'a mut Config, name: &str) -> Result<&'a mut Router, Refusal> {
    match config.routers.iter().position(|router| router.name == name) {
        Some(index) => Ok(&mut config.routers[index]),
        None => Err(Refusal::not_found("router", name, config.routers.iter().map(|r| r.name.as_str()))),
    }
}
