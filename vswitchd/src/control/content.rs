//! `weir.v1.ContentFilter`.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use tonic::{Request, Response, Status};
use weir_filter::content::{self, Kind, Site, Who, name};
use weir_proto::v1;
use weir_proto::v1::content_filter_server::ContentFilter;
use weir_wire::{PortId, SwitchId};

use super::Service;
use super::convert::{narrow, required, texts};
use crate::commit::Terms;
use crate::config::{Config, ContentList, ContentRule, Side};
use crate::published::Snapshot;
use crate::refusal::Refusal;

#[tonic::async_trait]
impl ContentFilter for Service {
    async fn put_list(&self, request: Request<v1::PutContentListRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::ContentListSpec { name, files, entries } = required(request.into_inner().list, "list")?;
        let list = ContentList { name, files, entries };
        let outcome = self.controller.change(Terms::default(), move |config| {
            match config.content.lists.iter_mut().find(|known| known.name == list.name) {
                Some(known) => *known = list,
                None => config.content.lists.push(list),
            }
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn delete_list(
        &self,
        request: Request<v1::DeleteContentListRequest>,
    ) -> Result<Response<v1::Applied>, Status> {
        let name = request.into_inner().name;
        let outcome = self.controller.change(Terms::default(), move |config| {
            if !config.content.lists.iter().any(|list| list.name == name) {
                let there = config.content.lists.iter().map(|list| list.name.as_str());
                return Err(Refusal::not_found("content list", &name, there));
            }
            let users = config.users_of_content_list(&name);
            if !users.is_empty() {
                return Err(Refusal::state(format!(
                    "content list {name}: it is asked by {}; change those first",
                    users.join(", ")
                )));
            }
            config.content.lists.retain(|list| list.name != name);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn reload(&self, _: Request<v1::ReloadContentRequest>) -> Result<Response<v1::Applied>, Status> {
        // Files are read at every change; a change of nothing reads them and takes what is different.
        let outcome = self.controller.change(Terms::default(), |_| Ok(()));
        Ok(Response::new(outcome.await?.into()))
    }

    async fn put_rule(&self, request: Request<v1::PutContentRuleRequest>) -> Result<Response<v1::Applied>, Status> {
        let v1::PutContentRuleRequest { rule, before } = request.into_inner();
        let rule = rule_of(required(rule, "rule")?)?;
        let outcome = self.controller.change(Terms::default(), move |config| put_rule(config, rule, &before));
        Ok(Response::new(outcome.await?.into()))
    }

    async fn delete_rule(
        &self,
        request: Request<v1::DeleteContentRuleRequest>,
    ) -> Result<Response<v1::Applied>, Status> {
        let name = request.into_inner().name;
        let outcome = self.controller.change(Terms::default(), move |config| {
            if !config.content.rules.iter().any(|rule| rule.name == name) {
                let there = config.content.rules.iter().map(|rule| rule.name.as_str());
                return Err(Refusal::not_found("content rule", &name, there));
            }
            config.content.rules.retain(|rule| rule.name != name);
            Ok(())
        });
        Ok(Response::new(outcome.await?.into()))
    }

    async fn show(&self, _: Request<v1::ShowContentRequest>) -> Result<Response<v1::ShowContentResponse>, Status> {
        let snapshot = self.controller.snapshot();
        let content = snapshot.policy.content();
        let lists = snapshot.config.content.lists.iter().zip(content.lists()).map(|(spec, (_, list))| {
            let line = |(number, text): &(usize, String)| format!("{number}: {text}");
            v1::ContentListStatus {
                entries: list.len() as u64,
                refused: list.refused,
                refused_lines: list.refused_lines.iter().map(line).collect(),
                memory: list.memory() as u64,
                hits: list.hits(),
                used_by: snapshot.config.users_of_content_list(&spec.name),
                spec: Some(v1::ContentListSpec {
                    name: spec.name.clone(),
                    files: spec.files.clone(),
                    entries: spec.entries.clone(),
                }),
            }
        });
        let rules = snapshot.config.content.rules.iter().zip(content.rule_hits());
        let rules = rules.map(|(spec, (_, hits))| v1::ContentRuleStatus { spec: Some(rule_to_proto(spec)), hits });
        let (judged, denied) = content.totals();
        Ok(Response::new(v1::ShowContentResponse {
            lists: lists.collect(),
            rules: rules.collect(),
            default_action: label(&snapshot.config.content.default),
            judged,
            denied,
        }))
    }

    async fn test(
        &self,
        request: Request<v1::TestContentRequest>,
    ) -> Result<Response<v1::TestContentResponse>, Status> {
        Ok(Response::new(test(&self.controller.snapshot(), &request.into_inner())?))
    }
}

fn put_rule(config: &mut Config, rule: ContentRule, before: &str) -> Result<(), Refusal> {
    let rules = &mut config.content.rules;
    let known = rules.iter().position(|known| known.name == rule.name);
    if before.is_empty() {
        match known.and_then(|at| rules.get_mut(at)) {
            Some(known) => *known = rule,
            None => rules.push(rule),
        }
        return Ok(());
    }
    rules.retain(|known| known.name != rule.name);
    let Some(at) = rules.iter().position(|known| known.name == before) else {
        return Err(Refusal::not_found("content rule", before, rules.iter().map(|rule| rule.name.as_str())));
    };
    rules.insert(at, rule);
    Ok(())
}

fn test(snapshot: &Snapshot, asked: &v1::TestContentRequest) -> Result<v1::TestContentResponse, Refusal> {
    let url = asked.url.as_bytes();
    let (host, path) = match name::absolute(url) {
        Some(parts) => parts,
        None => url.split_at(url.iter().position(|&byte| byte == b'/').unwrap_or(url.len())),
    };
    let host = name::host(host).ok_or_else(|| Refusal::invalid(format!("\"{}\" names no host", asked.url)))?;
    let kind = match asked.kind.as_str() {
        "" if asked.url.starts_with("https:") => Kind::Tls,
        "" => Kind::Http,
        kind => crate::content::kind(value("kind", kind)?),
    };
    let path = (kind == Kind::Http).then(|| name::path(path));
    let server: Option<IpAddr> = match asked.address.as_str() {
        "" => name::address(&host),
        address => Some(super::convert::text("content test", "address", address)?),
    };
    let port = match asked.port.as_str() {
        "" => None,
        port => Some(snapshot.config.port(port).ok_or_else(|| {
            Refusal::not_found("port", port, snapshot.config.ports.iter().map(|port| port.name.as_str()))
        })?),
    };
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let who = Who {
        switch: port.and_then(|port| snapshot.ids.switch(&port.switch)).unwrap_or(SwitchId(u16::MAX)),
        port: port.and_then(|port| snapshot.ids.port(&port.name)).unwrap_or(PortId(u16::MAX)),
        address: nobody,
    };
    let content = snapshot.policy.content();
    let server = server.unwrap_or(nobody);
    let site = Site { kind, host: &host, path: path.as_deref(), server, encrypted: false };
    let (noted, found) = content.judge(&who, &site);
    let denied = found.action == content::Action::Deny;
    Ok(v1::TestContentResponse {
        action: if denied { "deny" } else { "allow" }.into(),
        rule: content.rule_name(&found).into(),
        list: content.list_name(&found).unwrap_or_default().into(),
        category: found.category.clone().unwrap_or_default(),
        score: found.score.unwrap_or_default().into(),
        answer: if denied { format!("{:?}", found.answer).to_ascii_lowercase() } else { String::new() },
        logged: noted.iter().map(|noted| content.rule_name(noted).to_owned()).collect(),
        path: path.map(|path| String::from_utf8_lossy(&path).into_owned()).unwrap_or_default(),
        host,
    })
}

/// A value by the word that stands for it in the configuration.
fn value<'t, T: Deserialize<'t>>(field: &str, text: &'t str) -> Result<T, Refusal> {
    let words: StrDeserializer<'t, ValueError> = text.into_deserializer();
    T::deserialize(words).map_err(|e| Refusal::invalid(format!("{field}: {e}")))
}

/// The word that stands for a value in the configuration.
fn label<T: serde::Serialize>(value: &T) -> String {
    toml::Value::try_from(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn rule_of(spec: v1::ContentRuleSpec) -> Result<ContentRule, Refusal> {
    let object = format!("content rule {}", spec.name);
    Ok(ContentRule {
        action: value("action", &spec.action)?,
        from: Side {
            ports: spec.from_ports,
            groups: spec.from_groups,
            addresses: texts(&object, "from_addresses", &spec.from_addresses)?,
            macs: Vec::new(),
        },
        switches: spec.switches,
        kinds: spec.kinds.iter().map(|kind| value("kinds", kind)).collect::<Result<_, _>>()?,
        lists: spec.lists,
        categories: spec.categories,
        min_score: narrow(&object, "min_score", spec.min_score)?,
        hidden: spec.hidden,
        countries: spec.countries,
        answer: if spec.answer.is_empty() { None } else { Some(value("answer", &spec.answer)?) },
        name: spec.name,
    })
}

fn rule_to_proto(rule: &ContentRule) -> v1::ContentRuleSpec {
    v1::ContentRuleSpec {
        name: rule.name.clone(),
        action: label(&rule.action),
        from_ports: rule.from.ports.clone(),
        from_groups: rule.from.groups.clone(),
        from_addresses: rule.from.addresses.iter().map(ToString::to_string).collect(),
        switches: rule.switches.clone(),
        kinds: rule.kinds.iter().map(label).collect(),
        lists: rule.lists.clone(),
        categories: rule.categories.clone(),
        min_score: rule.min_score.into(),
        hidden: rule.hidden,
        countries: rule.countries.clone(),
        answer: rule.answer.as_ref().map(label).unwrap_or_default(),
    }
}
