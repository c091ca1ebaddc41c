//! `vswitchctl events`.

use clap::Args;
use serde_json::Value;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::print;

/// Alerts, drops, anomalies and flows that ended, as they are always kept. What flows speak (http, dns, tls, fileinfo and the
/// like) is recorded while somebody asks for it: while a file takes events (vswitchd run --eve), while it is followed, and
/// for ten minutes after that and after each asking.
#[derive(Args)]
pub struct Events {
    /// Go on with what happens from here on, until interrupted; otherwise the latest that are kept are shown.
    #[arg(long, short)]
    follow: bool,
    /// Only events of this type: alert, drop, allow, flow, virus, http … (a wrong one is answered with all there are); may be
    /// given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events of this port, on either side.
    #[arg(long)]
    port: Option<String>,
    /// Begin with up to this many of the latest events [usually: 50; with --follow none].
    #[arg(long, value_name = "NUMBER")]
    last: Option<u32>,
}

/// Runs the command.
pub async fn run(events: Events, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let Events { follow, types, port, last } = events;
    let last = last.unwrap_or(if follow { 0 } else { 50 });
    let request = v1::FollowEventsRequest { types, port: port.unwrap_or_default(), last, only_kept: !follow };
    let mut stream = daemon.events().await?.follow(request).await?.into_inner();
    while let Some(event) = stream.message().await? {
        print(&line(&event, format))?;
    }
    Ok(())
}

fn line(event: &v1::Event, format: Format) -> String {
    if event.r#type == "lost" {
        return match format {
            Format::Json => format!("{{\"event_type\":\"lost\",\"lost\":{}}}\n", event.lost),
            Format::Table => format!("... {} events were missed: they came faster than they were read\n", event.lost),
        };
    }
    match (format, serde_json::from_str(&event.eve)) {
        (Format::Table, Ok(eve)) => short(event, &eve),
        _ => format!("{}\n", event.eve),
    }
}

fn short(event: &v1::Event, eve: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let end = |address: &str, port: &str| match (&eve[address], &eve[port]) {
        (Value::Null, _) => String::new(),
        (address, Value::Null) => text(address),
        (address, port) => format!("{}:{}", text(address), text(port)),
    };
    let out = if event.out_port.is_empty() { "?" } else { &event.out_port };
    let what = match event.r#type.as_str() {
        "alert" => {
            let alert = &eve["alert"];
            format!(
                "{} [{}:{}:{}] {}",
                text(&alert["action"]),
                alert["gid"],
                alert["signature_id"],
                alert["rev"],
                text(&alert["signature"])
            )
        }
        "drop" => {
            let rule = text(&eve["drop"]["rule"]);
            let rule = if rule.is_empty() { rule } else { format!(" by rule {rule}") };
            format!("{}{rule} {}", text(&eve["drop"]["reason"]), text(&eve["alert"]["signature"]))
        }
        "flow" => {
            let flow = &eve["flow"];
            format!(
                "{} ({}), {}/{} packets, {}/{} bytes",
                text(&flow["state"]),
                text(&flow["reason"]),
                flow["pkts_toserver"],
                flow["pkts_toclient"],
                flow["bytes_toserver"],
                flow["bytes_toclient"]
            )
        }
        "notice" => {
            let notice = &eve["notice"];
            let interface = text(&notice["interface"]);
            let at = if interface.is_empty() { interface } else { format!(" at {interface}") };
            format!("{}{at}: {}", text(&notice["kind"]), text(&notice["text"]))
        }
        _ => format!("by rule {}", text(&eve["rule"])),
    };
    let head = format!("{} {:5}", text(&eve["timestamp"]), event.r#type);
    let ends = format!("{} -> {} {}", end("src_ip", "src_port"), end("dest_ip", "dest_port"), text(&eve["proto"]));
    format!("{head} {} > {out}  {}  {}\n", event.in_port, ends.trim(), what.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_one_line_for_people_and_its_eve_line_for_programs() {
        let eve = r#"{"timestamp":"T","src_ip":"10.0.0.1","src_port":4,"dest_ip":"10.0.0.2","dest_port":80,"proto":"TCP",
            "alert":{"action":"blocked","gid":1,"signature_id":7,"rev":3,"signature":"an exploit"}}"#;
        let event = v1::Event {
            r#type: "alert".into(),
            in_port: "vm1".into(),
            out_port: "vm2".into(),
            eve: eve.into(),
            ..Default::default()
        };
        assert_eq!(
            line(&event, Format::Table),
            "T alert vm1 > vm2  10.0.0.1:4 -> 10.0.0.2:80 TCP  blocked [1:7:3] an exploit\n"
        );
        assert_eq!(line(&event, Format::Json), format!("{eve}\n"));
    }

    #[test]
    fn a_notice_says_where_and_what_to_do() {
        let eve = r#"{"timestamp":"T","src_ip":"10.0.0.1","dest_ip":"10.0.1.2","proto":"UDP",
            "notice":{"kind":"nat-limit","text":"it has its share","interface":"edge/wan"}}"#;
        let event = v1::Event { r#type: "notice".into(), in_port: "vm1".into(), eve: eve.into(), ..Default::default() };
        assert_eq!(
            line(&event, Format::Table),
            "T notice vm1 > ?  10.0.0.1 -> 10.0.1.2 UDP  nat-limit at edge/wan: it has its share\n"
        );
    }
}
