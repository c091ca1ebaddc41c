//! Members that events of the datapath and of captures have in common: what a flow speaks, its transactions, its files.

use weir_ids_rules::{AppProtocol, Buffer};

use crate::app::file::{Content, File};
use crate::app::{Anomaly, Mark, Transaction};
use crate::capture::reversed;
use crate::detect::{Alert, AppFacts, FlowFacts, Scene, Variables};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

use super::kinds::Bodies;
use super::{address, base64, printable, timestamp};

/// The tuple as the sender of this direction sends it.
pub fn directed(tuple: &Tuple, way: Direction) -> Tuple {
    match way {
        Direction::Original => *tuple,
        Direction::Reply => reversed(tuple),
    }
}

/// "to_server", "to_client".
pub fn way_name(way: Direction) -> &'static str {
    match way {
        Direction::Original => "to_server",
        Direction::Reply => "to_client",
    }
}

/// The name of a protocol's object in an event, and of the event.
pub fn object_name(protocol: AppProtocol) -> &'static str {
    match protocol {
        AppProtocol::Http1 | AppProtocol::Http2 => "http",
        AppProtocol::FtpData => "ftp_data",
        AppProtocol::BitTorrentDht => "bittorrent_dht",
        AppProtocol::Doh2 | AppProtocol::Llmnr => "dns",
        other => other.name(),
    }
}

/// What the flow speaks.
pub fn app_fields(json: &mut Json<'_>, app: &AppFacts) {
    match app.protocol {
        Some(protocol) => json.text("app_proto", protocol.name()),
        None if app.failed => json.text("app_proto", "failed"),
        None => json,
    };
    let [ts, tc] = app.by_way;
    for (name, protocol) in [
        ("app_proto_ts", ts),
        ("app_proto_tc", tc),
        ("app_proto_orig", app.original),
        ("app_proto_expected", app.expected),
    ] {
        // Only what differs from what the flow speaks is worth a word.
        if let Some(protocol) = protocol.filter(|&protocol| app.protocol != Some(protocol)) {
            json.text(name, protocol.name());
        }
    }
}

/// The object "flow" of events that are not the flow's own.
pub fn flow_fields(json: &mut Json<'_>, tuple: &Tuple, facts: &FlowFacts) {
    json.nested("flow", |json| {
        json.number("pkts_toserver", facts.packets[0]).number("pkts_toclient", facts.packets[1]);
        json.number("bytes_toserver", facts.bytes[0]).number("bytes_toclient", facts.bytes[1]);
        json.text("start", &timestamp(facts.start));
        json.text("src_ip", &address(tuple.source)).text("dest_ip", &address(tuple.destination));
        if matches!(tuple.protocol, 6 | 17 | 132) {
            json.number("src_port", tuple.source_port).number("dest_port", tuple.destination_port);
        }
    });
}

/// The object of a transaction, named after its protocol, and those beside it.
pub fn transaction_fields(json: &mut Json<'_>, protocol: AppProtocol, transaction: &dyn Transaction) {
    json.nested(object_name(protocol), |json| transaction.log(json));
    transaction.log_beside(json);
}

/// The members of "fileinfo", and of each item of "files".
pub fn file_fields(json: &mut Json<'_>, file: &File, number: u64) {
    if !file.name.is_empty() {
        json.bytes("filename", &file.name);
    }
    json.flag("gaps", file.gaps);
    json.text("state", file.state.name());
    for (name, hash) in [("md5", file.md5()), ("sha1", file.sha1()), ("sha256", file.sha256())] {
        if let Some(hash) = hash {
            json.hex(name, hash, "");
        }
    }
    json.flag("stored", file.stored.is_some());
    if let Some(id) = file.stored {
        json.number("file_id", id);
    }
    json.number("size", file.size()).number("tx_id", number);
    // Of a part that is less than the whole, where that is told.
    if let Some((start, end, Some(whole))) = file.range
        && (1..whole).contains(&end)
        && start <= end
        && (start > 0 || end + 1 < whole)
    {
        json.number("start", start).number("end", end);
    }
}

/// Files that the direction of an alert carries.
pub fn files_field(json: &mut Json<'_>, mark: &Mark, transaction: &dyn Transaction, way: Direction) {
    let list = transaction.files(way).map_or(&[][..], |files| files.list.as_slice());
    if list.iter().any(|file| file.announced) {
        json.array("files", |array| {
            for file in list.iter().filter(|file| file.announced) {
                array.item(|json| file_fields(json, file, mark.number));
            }
        });
    }
}

/// The object "anomaly" of an application layer.
pub fn anomaly_fields(json: &mut Json<'_>, protocol: Option<AppProtocol>, anomaly: Anomaly) {
    let (family, name) = anomaly.0.split_once('.').unwrap_or(("applayer", anomaly.0));
    // Tables of the older parsers are in capitals.
    let capitals = matches!(family, "http" | "tls" | "smtp" | "applayer" | "dnp3");
    let name = if capitals { name.to_ascii_uppercase() } else { name.to_owned() };
    json.nested("anomaly", |json| {
        if let Some(protocol) = protocol {
            json.text("app_proto", protocol.name());
        }
        json.text("type", "applayer").text("event", &name);
        json.text("layer", if family == "applayer" { "proto_detect" } else { "proto_parser" });
    });
}

/// Variables that rules have set: the object "metadata", where there are any.
pub fn metadata_field(json: &mut Json<'_>, variables: Variables<'_>) {
    if !variables.is_empty() {
        json.nested("metadata", |json| variables.tell(json));
    }
}

/// The transaction that an alert belongs to: its number, and whether it is a guess.
pub fn transaction_number(json: &mut Json<'_>, alert: &Alert<'_>) {
    if let Some((mark, _)) = alert.transaction {
        json.number("tx_id", mark.number);
        if alert.guessed {
            json.flag("tx_guessed", true);
        }
    }
}

/// The transaction that an alert belongs to, with its files and, where they are wanted, its bodies.
pub fn alert_transaction(json: &mut Json<'_>, scene: &Scene<'_>, alert: &Alert<'_>, bodies: Bodies) {
    if let (Some((mark, transaction)), Some(protocol)) = (alert.transaction, scene.app.protocol) {
        json.nested(object_name(protocol), |json| {
            transaction.log(json);
            body_fields(json, transaction, bodies);
        });
        transaction.log_beside(json);
        files_field(json, mark, transaction, scene.step.way);
    }
}

/// The bodies of a request and its response, as far as rules look at them.
fn body_fields(json: &mut Json<'_>, transaction: &dyn Transaction, bodies: Bodies) {
    let sides = [
        (Buffer::HttpRequestBody, Direction::Original, "http_request_body", "http_request_body_printable"),
        (Buffer::HttpResponseBody, Direction::Reply, "http_response_body", "http_response_body_printable"),
    ];
    for (buffer, way, encoded, as_text) in sides {
        let Some((body, _)) = transaction.grown(buffer, way).map(Content::recent) else { continue };
        if bodies.printable && !body.is_empty() {
            json.text(as_text, &printable(body));
        }
        if bodies.encoded && !body.is_empty() {
            json.text(encoded, &base64(body));
        }
    }
}

/// The bytes in which an alert matched.
pub fn payload_fields(json: &mut Json<'_>, alert: &Alert<'_>) {
    json.text("payload", &base64(alert.payload)).text("payload_printable", &printable(alert.payload));
    json.number("stream", u8::from(alert.on_stream));
}
