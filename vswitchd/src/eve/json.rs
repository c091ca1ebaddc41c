//! An event as a line of EVE JSON, with the field names that Suricata writes and its readers know
//! ([`weir_filter::eve`]).
//!
//! Fields of our own: `switch`, `out_iface`, and `rule`, the policy rule that decided. `in_iface` and `out_iface` are
//! names of ports.

use weir_filter::Event;
use weir_filter::eve::{self, FlowLine, Head, Interfaces};
use weir_filter::event::{FlowRecord, Notice, Scene, StoredFile};
use weir_filter::json::Json;
use weir_wire::{DropReason, Instant, MacAddr, RuleId};

use super::{Clocks, Line, Naming};

/// Writes an event.
pub fn line(event: &Event, number: u64, clocks: &Clocks, naming: &Naming<'_>) -> Line {
    let of = |kind, scene| Writer { kind, scene, number, clocks, naming };
    match event {
        Event::Alert { scene, signature, members } => of("alert", scene).write(|json| {
            if members.is_empty() {
                eve::alert(json, signature, signature.blocked, scene.tuple.as_ref(), "");
            } else {
                json.members(members);
            }
            packet(json, scene);
        }),
        Event::Record { scene, kind, members } => of(kind, scene).write(|json| {
            json.members(members);
        }),
        Event::Drop { scene, reason, rule, signature } => of("drop", scene).write(|json| {
            dropped(json, scene, *reason, *rule, naming);
            if let Some(signature) = signature {
                eve::alert(json, signature, true, scene.tuple.as_ref(), "");
            }
            packet(json, scene);
        }),
        Event::Allow { scene, rule } => of("allow", scene).write(|json| {
            json.text("rule", &naming.judged_by.rule(*rule));
            packet(json, scene);
        }),
        Event::Shed { scene, stage } => of("inspection", scene).write(|json| {
            json.nested("inspection", |json| {
                json.text("given_up", stage.name()).text("reason", stage.meaning());
            });
        }),
        Event::Content { scene, finding } => of("content", scene).write(|json| site(json, finding)),
        Event::Virus { scene, finding } => of("virus", scene).write(|json| {
            json.text("app_proto", finding.protocol);
            json.nested("virus", |json| {
                json.text("action", if finding.blocked { "blocked" } else { "allowed" });
                json.flag("infected", finding.infected).text("signature", &finding.name);
                json.bytes("filename", finding.file.as_bytes()).number("size", finding.size);
            });
        }),
        Event::Flow(record) => flow(record, number, clocks, naming),
        Event::File(handed) => stored(handed.file(), number, clocks),
        Event::Notice(notice) => noticed(notice, number, clocks, naming),
    }
}

/// What the lines about a place have in common.
struct Writer<'w> {
    kind: &'static str,
    scene: &'w Scene,
    number: u64,
    clocks: &'w Clocks,
    naming: &'w Naming<'w>,
}

impl Writer<'_> {
    fn write(&self, fill: impl FnOnce(&mut Json<'_>)) -> Line {
        let Writer { kind, scene, number, clocks, naming } = self;
        let wall_ns = clocks.wall_ns(scene.time);
        let in_port = naming.names.port(scene.in_port);
        let out_port = scene.out_port.map(|port| naming.names.port(port));
        let switch = naming.names.switch(scene.switch);
        let vlan = [scene.vid.0];
        // What is told at the end of a flow has no frame, and so no MAC addresses.
        let has_macs = scene.source_mac != MacAddr::default() || scene.destination_mac != MacAddr::default();
        let head = Head {
            flow: scene.flow,
            vlan: if scene.vid.0 == 0 { &[] } else { &vlan },
            tuple: scene.tuple.as_ref(),
            community: scene.tuple.as_ref(),
            ether: has_macs.then_some((scene.source_mac.0, scene.destination_mac.0, None)),
            interfaces: Some(Interfaces { from: &in_port, to: out_port.as_deref(), switch: &switch }),
            ..Head::new(kind, Instant(wall_ns))
        };
        let mut eve = String::with_capacity(1024);
        let mut json = eve::head(&mut eve, &head);
        fill(&mut json);
        json.end();
        Line { number: *number, kind, wall_ns, in_port, out_port: out_port.unwrap_or_default(), eve }
    }
}

fn dropped(json: &mut Json<'_>, scene: &Scene, reason: DropReason, rule: Option<RuleId>, naming: &Naming<'_>) {
    json.nested("drop", |json| {
        json.number("len", scene.length).text("reason", reason.label());
        if let Some(rule) = rule {
            json.text("rule", &naming.judged_by.rule(rule));
        }
    });
}

/// A site as content rules judged it.
fn site(json: &mut Json<'_>, finding: &weir_filter::content::Finding) {
    use weir_filter::content::Action;
    let action = match finding.action {
        Action::Deny => "blocked",
        Action::Allow | Action::Log => "allowed",
    };
    json.nested("content", |json| {
        json.text("action", action).text("rule", &finding.rule).text("app_proto", finding.kind.name());
        for (name, value) in [("list", &finding.list), ("category", &finding.category)] {
            if let Some(value) = value {
                json.text(name, value);
            }
        }
        if let Some(score) = finding.score {
            json.number("score", score);
        }
        json.bytes("hostname", finding.host.as_bytes());
        if !finding.path.is_empty() {
            json.bytes("url", finding.path.as_bytes());
        }
        if finding.encrypted {
            json.text("encrypted_client_hello", "offered");
        }
    });
}

/// The packet's bytes; link type 1 is Ethernet.
fn packet(json: &mut Json<'_>, scene: &Scene) {
    if scene.packet.is_empty() {
        return;
    }
    json.text("packet", &eve::base64(&scene.packet));
    json.nested("packet_info", |json| {
        json.number("linktype", 1u8);
    });
}

/// A file is stored, an event type of our own.
pub fn stored(file: &StoredFile, number: u64, clocks: &Clocks) -> Line {
    let wall_ns = clocks.wall_ns;
    let mut eve = String::with_capacity(256);
    let mut json = eve::head(&mut eve, &Head::new("filestore", Instant(wall_ns)));
    json.nested("filestore", |json| {
        json.hex("sha256", &file.sha256, "").text("path", &file.path());
        json.number("size", file.size).number("stored_bytes", file.bytes.len() as u64);
    });
    json.end();
    Line { number, kind: "filestore", wall_ns, in_port: String::new(), out_port: String::new(), eve }
}

/// What a switch or a router noticed, an event type of our own.
fn noticed(notice: &Notice, number: u64, clocks: &Clocks, naming: &Naming<'_>) -> Line {
    let in_port = naming.names.port(notice.port);
    let out_port = notice.other_port.map(|p| naming.names.port(p));
    let switch = naming.names.switch(notice.switch);
    let wall_ns = clocks.wall_ns(notice.time);
    let vlan = [notice.vid.0];
    let head = Head {
        vlan: if notice.vid.0 == 0 { &[] } else { &vlan },
        tuple: notice.tuple.as_ref(),
        interfaces: Some(Interfaces { from: &in_port, to: out_port.as_deref(), switch: &switch }),
        ..Head::new("notice", Instant(wall_ns))
    };
    let mut eve = String::with_capacity(512);
    let mut json = eve::head(&mut eve, &head);
    json.nested("notice", |json| {
        json.text("kind", notice.kind).text("text", &notice.text);
        if let Some(mac) = notice.mac {
            json.text("mac", &mac.to_string());
        }
        if let Some(interface) = notice.interface {
            json.text("interface", &naming.names.interface(interface));
        }
        if let Some(source) = notice.source {
            json.text("source", &source.to_string());
        }
        if let Some(number) = notice.number {
            json.number("number", number);
        }
    });
    json.end();
    Line { number, kind: "notice", wall_ns, in_port, out_port: out_port.unwrap_or_default(), eve }
}

fn flow(record: &FlowRecord, number: u64, clocks: &Clocks, naming: &Naming<'_>) -> Line {
    let in_port = naming.names.port(record.in_port);
    let out_port = record.out_port.map(|p| naming.names.port(p));
    let switch = naming.names.switch(record.switch);
    let wall_ns = clocks.wall_ns(clocks.monotonic);
    let vlan = [record.vid.0];
    let head = Head {
        flow: record.flow,
        vlan: if record.vid.0 == 0 { &[] } else { &vlan },
        tuple: Some(&record.tuple),
        community: Some(&record.tuple),
        interfaces: Some(Interfaces { from: &in_port, to: out_port.as_deref(), switch: &switch }),
        ..Head::new("flow", Instant(wall_ns))
    };
    let mut eve = String::with_capacity(512);
    let mut json = eve::head(&mut eve, &head);
    if let Some(protocol) = record.app {
        json.text("app_proto", protocol.name());
    }
    let rule = naming.judged_by.rule(record.rule);
    eve::flow(
        &mut json,
        &FlowLine {
            packets: record.packets,
            bytes: record.bytes,
            start: Instant(clocks.wall_ns(record.start)),
            end: Instant(clocks.wall_ns(record.last)),
            state: record.state,
            reason: record.reason,
            alerted: record.alerted,
            action: None,
            transactions: None,
            exception: None,
            rule: Some(&rule),
            tcp: None,
            icmp_answer: eve::icmp_answer(&record.tuple).filter(|_| record.packets[1] > 0),
        },
    );
    json.end();
    Line { number, kind: "flow", wall_ns, in_port, out_port: out_port.unwrap_or_default(), eve }
}
