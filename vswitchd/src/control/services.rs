//! `weir.v1.Services`.

use std::net::IpAddr;

use tonic::{Request, Response, Status};
use weir_proto::v1;
use weir_proto::v1::services_server::Services;
use weir_wire::MacAddr;

use super::Service;
use super::convert::{filled, required, text};
use super::convert_services::{
    count, dhcp_of, dhcp_to_proto, dhcp6_of, dhcp6_to_proto, dns_of, dns_to_proto, host_of, metadata_of,
    metadata_to_proto, record_of,
};
use crate::commit::Terms;
use crate::config::{Config, GuestHost, Interface, Router};
use crate::refusal::Refusal;
use crate::services::book::Counters;
use crate::services::leases::Lease;
use crate::services::{dns, metadata, now_s};

#[tonic::async_trait]
impl Services for Service {
    async fn set_dhcp(&self, request: Request<v1::SetDhcpRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetDhcpRequest { router, interface, dhcp, dhcp6 } = request.into_inner();
        let object = format!("router {router}: interface {interface}");
        let dhcp = dhcp.map(|spec| dhcp_of(&format!("{object}: dhcp"), &spec)).transpose()?;
        let dhcp6 = dhcp6.map(|spec| dhcp6_of(&format!("{object}: dhcp6"), &spec)).transpose()?;
        self.serve(move |config| {
            let known = interface_of(config, &router, &interface)?;
            if let Some(mut wanted) = dhcp {
                wanted.hosts.extend(known.dhcp.take().into_iter().flat_map(|before| before.hosts));
                known.dhcp = Some(wanted);
            }
            if let Some(mut wanted) = dhcp6 {
                wanted.hosts.extend(known.dhcp6.take().into_iter().flat_map(|before| before.hosts));
                known.dhcp6 = Some(wanted);
            }
            Ok(())
        })
        .await
    }

    async fn delete_dhcp(&self, request: Request<v1::DeleteDhcpRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::DeleteDhcpRequest { router, interface, dhcp, dhcp6 } = request.into_inner();
        self.serve(move |config| {
            let known = interface_of(config, &router, &interface)?;
            known.dhcp.take_if(|_| dhcp);
            known.dhcp6.take_if(|_| dhcp6);
            Ok(())
        })
        .await
    }

    async fn set_host(&self, request: Request<v1::SetHostRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetHostRequest { router, interface, host } = request.into_inner();
        let object = format!("router {router}: interface {interface}");
        let host = host_of(&object, &required(host, "host")?)?;
        self.serve(move |config| {
            let known = interface_of(config, &router, &interface)?;
            let v6 = host.address.is_some_and(|address| address.is_ipv6());
            let hosts = match (&mut known.dhcp, &mut known.dhcp6) {
                (Some(dhcp), _) if !v6 => &mut dhcp.hosts,
                (_, Some(dhcp6)) if v6 => &mut dhcp6.hosts,
                _ => {
                    return Err(Refusal::state(format!(
                        "{object}: it gives no addresses of that kind; see vswitchctl dhcp set --help"
                    )));
                }
            };
            hosts.retain(|other| !is_same(other, &host));
            hosts.push(host);
            Ok(())
        })
        .await
    }

    async fn delete_host(&self, request: Request<v1::DeleteHostRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::DeleteHostRequest { router, interface, host } = request.into_inner();
        self.serve(move |config| {
            let known = interface_of(config, &router, &interface)?;
            let named = |known: &GuestHost| {
                let texts = [known.address.map(|a| a.to_string()), known.mac.map(|m| m.to_string())];
                texts.iter().flatten().any(|text| *text == host)
                    || known.name.as_ref() == Some(&host)
                    || known.port.as_ref() == Some(&host)
            };
            let v4 = known.dhcp.iter_mut().map(|dhcp| &mut dhcp.hosts);
            let all: Vec<_> = v4.chain(known.dhcp6.iter_mut().map(|dhcp6| &mut dhcp6.hosts)).collect();
            let mut found = false;
            for hosts in all {
                found |= hosts.iter().any(named);
                hosts.retain(|host| !named(host));
            }
            if found { Ok(()) } else { Err(Refusal::not_found("host", &host, std::iter::empty())) }
        })
        .await
    }

    async fn set_dns(&self, request: Request<v1::SetDnsRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetDnsRequest { router, dns } = request.into_inner();
        let mut wanted = dns_of(&format!("router {router}: dns"), &required(dns, "dns")?)?;
        self.serve(move |config| {
            let known = router_of(config, &router)?;
            wanted.records.extend(known.dns.take().into_iter().flat_map(|before| before.records));
            known.dns = Some(wanted);
            Ok(())
        })
        .await
    }

    async fn delete_dns(&self, request: Request<v1::DeleteDnsRequest>) -> Result<Response<v1::Applied>, Status> {
        let router = request.into_inner().router;
        self.serve(move |config| {
            router_of(config, &router)?.dns = None;
            Ok(())
        })
        .await
    }

    async fn set_record(&self, request: Request<v1::SetRecordRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetRecordRequest { router, record } = request.into_inner();
        let record = record_of(&format!("router {router}: dns"), &required(record, "record")?)?;
        self.serve(move |config| {
            let known = names_of(config, &router)?;
            known.records.retain(|other| !other.name.eq_ignore_ascii_case(&record.name));
            known.records.push(record);
            Ok(())
        })
        .await
    }

    async fn delete_record(&self, request: Request<v1::DeleteRecordRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::DeleteRecordRequest { router, name } = request.into_inner();
        self.serve(move |config| {
            let known = &mut names_of(config, &router)?.records;
            let there: Vec<String> = known.iter().map(|record| record.name.clone()).collect();
            known.retain(|record| !record.name.eq_ignore_ascii_case(&name));
            if known.len() < there.len() {
                return Ok(());
            }
            Err(Refusal::not_found("record", &name, there.iter().map(String::as_str)))
        })
        .await
    }

    async fn set_metadata(&self, request: Request<v1::SetMetadataRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::SetMetadataRequest { router, interface, metadata } = request.into_inner();
        self.serve(move |config| {
            interface_of(config, &router, &interface)?.metadata = metadata.as_ref().map(metadata_of);
            Ok(())
        })
        .await
    }

    async fn list(
        &self,
        request: Request<v1::ListServicesRequest>,
    ) -> Result<Response<v1::ListServicesResponse>, Status> {
        let wanted = request.into_inner().router;
        let snapshot = self.controller.snapshot();
        super::select(&wanted, "router", snapshot.ids.routers())?;
        let routers = || snapshot.config.routers.iter().filter(|router| wanted.is_empty() || router.name == wanted);
        let held = self.controller.services().held();
        let held_at = |router: &str, interface: &str| {
            held.iter().filter(|lease| lease.router() == router && lease.interface() == interface).count()
        };
        let serving = |router: &Router, interface: &Interface| v1::InterfaceServices {
            router: router.name.clone(),
            interface: interface.name.clone(),
            dhcp: interface.dhcp.as_ref().map(dhcp_to_proto),
            dhcp6: interface.dhcp6.as_ref().map(dhcp6_to_proto),
            dns: router.serves_names(interface),
            metadata: interface.metadata.as_ref().map(metadata_to_proto),
            leases: count(held_at(&router.name, &interface.name)),
        };
        let interfaces = routers().flat_map(|router| router.interfaces.iter().map(move |i| serving(router, i)));
        let serves = |i: &v1::InterfaceServices| i.dhcp.is_some() || i.dhcp6.is_some() || i.dns || i.metadata.is_some();
        let names = routers()
            .filter_map(|r| Some(v1::RouterNames { router: r.name.clone(), dns: Some(dns_to_proto(r.dns.as_ref()?)) }));
        let state = self.controller.services().state();
        Ok(Response::new(v1::ListServicesResponse {
            interfaces: interfaces.filter(serves).collect(),
            names: names.collect(),
            dhcp: Some(counters(&state.book.v4)),
            dhcp6: Some(counters(&state.book.v6)),
            dns: Some(names_counters(&state.dns)),
            unwritten: state.book.journal.failed,
            metadata: Some(metadata_counters(&state.metadata.counters)),
        }))
    }

    async fn list_leases(
        &self,
        request: Request<v1::ListLeasesRequest>,
    ) -> Result<Response<v1::ListLeasesResponse>, Status> {
        let v1::ListLeasesRequest { router, interface, port, all } = request.into_inner();
        let (state, now_s) = (self.controller.services().state(), now_s());
        let wanted = |lease: &&Lease| {
            (all || lease.is_live(now_s))
                && (router.is_empty() || lease.router() == router)
                && (interface.is_empty() || lease.interface() == interface)
                && (port.is_empty() || lease.port == port)
        };
        let leases = state.book.leases.iter().filter(wanted).map(|lease| v1::Lease {
            router: lease.router().to_owned(),
            interface: lease.interface().to_owned(),
            address: lease.address.to_string(),
            mac: lease.mac.to_string(),
            port: lease.port.clone(),
            name: lease.name.clone().unwrap_or_default(),
            state: lease.standing.label().into(),
            left_s: lease.until_s.saturating_sub(now_s),
        });
        Ok(Response::new(v1::ListLeasesResponse { leases: leases.collect() }))
    }

    async fn release_leases(
        &self,
        request: Request<v1::ReleaseLeasesRequest>,
    ) -> Result<Response<v1::ReleaseLeasesResponse>, Status> {
        let v1::ReleaseLeasesRequest { router, address, port, mac } = request.into_inner();
        let address: Option<IpAddr> = filled(&address).map(|a| text("lease", "address", &a)).transpose()?;
        let mac: Option<MacAddr> = filled(&mac).map(|m| text("lease", "mac", &m)).transpose()?;
        if router.is_empty() && address.is_none() && port.is_empty() && mac.is_none() {
            return Err(Refusal::invalid("lease: say which to take back: by address, port, mac or router").into());
        }
        let released = self.controller.services().take_back(|lease| {
            (router.is_empty() || lease.router() == router)
                && address.is_none_or(|address| lease.address == address)
                && (port.is_empty() || lease.port == port)
                && mac.is_none_or(|mac| lease.mac == mac)
        });
        Ok(Response::new(v1::ReleaseLeasesResponse { released: count(released) }))
    }

    async fn flush_names(&self, _: Request<v1::FlushNamesRequest>) -> Result<Response<v1::FlushNamesResponse>, Status> {
        let forgotten = self.controller.services().state().dns.cache.flush() as u64;
        Ok(Response::new(v1::FlushNamesResponse { forgotten }))
    }
}

impl Service {
    async fn serve(
        &self,
        edit: impl FnOnce(&mut Config) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Response<v1::Applied>, Status> {
        let outcome = self.controller.change(Terms::default(), edit);
        Ok(Response::new(outcome.await?.into()))
    }
}

/// Whether two entries speak of the same guest, or of the same address.
fn is_same(a: &GuestHost, b: &GuestHost) -> bool {
    let guest = (&a.port, &a.mac, &a.id) == (&b.port, &b.mac, &b.id);
    guest || a.address.is_some() && a.address == b.address
}

fn router_of<'a>(config: &'a mut Config, name: &str) -> Result<&'a mut Router, Refusal> {
    match config.routers.iter().position(|router| router.name == name) {
        Some(index) => Ok(&mut config.routers[index]),
        None => Err(Refusal::not_found("router", name, config.routers.iter().map(|r| r.name.as_str()))),
    }
}

fn interface_of<'a>(config: &'a mut Config, router: &str, name: &str) -> Result<&'a mut Interface, Refusal> {
    let router = router_of(config, router)?;
    match router.interfaces.iter().position(|interface| interface.name == name) {
        Some(index) => Ok(&mut router.interfaces[index]),
        None => Err(Refusal::not_found("interface", name, router.interfaces.iter().map(|i| i.name.as_str()))),
    }
}

fn names_of<'a>(config: &'a mut Config, router: &str) -> Result<&'a mut crate::config::Dns, Refusal> {
    let known = router_of(config, router)?;
    known.dns.as_mut().ok_or_else(|| {
        Refusal::state(format!("router {router}: it serves no names; begin with vswitchctl dns set {router}"))
    })
}

fn counters(counters: &Counters) -> v1::DhcpCounters {
    let Counters { requests, answers, refusals, malformed, foreign, limited, port_limit, exhausted, conflicts } =
        *counters;
    v1::DhcpCounters { requests, answers, refusals, malformed, foreign, limited, port_limit, exhausted, conflicts }
}

fn metadata_counters(counters: &metadata::Counters) -> v1::MetadataCounters {
    let metadata::Counters { requests, answered, unknown, refused, malformed, unreadable, limited } = *counters;
    v1::MetadataCounters { requests, answered, unknown, refused, malformed, unreadable, limited }
}

fn names_counters<B>(desk: &dns::Desk<B>) -> v1::DnsCounters {
    let dns::Counters { questions, local, forwarded, failed, refused, malformed, limited } = desk.counters;
    v1::DnsCounters {
        questions,
        local,
        cached: desk.cache.hits,
        forwarded,
        failed,
        refused,
        malformed,
        limited,
        remembered: desk.cache.len() as u64,
        waiting: desk.waiting() as u64,
    }
}
