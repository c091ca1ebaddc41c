//! The names of options. `filter/OPTIONS.md` says what they mean.

use weir_filter::capture::Options;
use weir_ids_rules::AppProtocol;

/// Options that stand for themselves.
const NAMES: &[&str] = &[
    "action-order",
    "app-layer.error-policy",
    "checksum",
    "classification-file",
    "decoder.max-layers",
    "default-reputation-path",
    "defrag.memcap",
    "defrag.timeout",
    "defrag.trackers",
    "detect.guess-applayer-tx",
    "exception-policy",
    "flow.limit",
    "flow.seed",
    "geoip-database",
    "geoip.database",
    "outputs.eve-log.types",
    "outputs.eve-log.types.alert.http-body",
    "outputs.eve-log.types.alert.http-body-printable",
    "outputs.file-store.force-filestore",
    "outputs.file-store.stream-depth",
    "packet-alert-max",
    "pcap-file.checksum-checks",
    "reputation-categories-file",
    "reputation-files",
    "stream.async-oneside",
    "stream.checksum-validation",
    "stream.drop-invalid",
    "stream.inline",
    "stream.max-syn-queued",
    "stream.max-synack-queued",
    "stream.midstream",
    "stream.midstream-policy",
    "stream.reassembly.depth",
    "stream.reassembly.memcap",
    "stream.reassembly.urgent.policy",
    "threshold-file",
    "vlan.use-for-tracking",
];

/// Options of which one part is the reader's to choose, or which are read together.
const BEGINNINGS: &[&str] = &[
    "decoder.geneve.",
    "decoder.teredo.",
    "decoder.vxlan.",
    "flow-timeouts.",
    "host-os-policy.",
    "vars.address-groups.",
    "vars.port-groups.",
];

/// Behind the name of any protocol, and `tcp.` or `udp.` where it has both.
const OF_ALL: &[&str] = &["detection-ports.dp", "detection-ports.sp", "enabled"];

/// Protocols whose transactions are not counted by `max-tx`: they have one, or a limit of their own.
const UNCOUNTED: &[AppProtocol] = &[
    AppProtocol::Doh2,
    AppProtocol::FtpData,
    AppProtocol::Http1,
    AppProtocol::Http2,
    AppProtocol::Modbus,
    AppProtocol::Quic,
    AppProtocol::Rfb,
    AppProtocol::Ssh,
    AppProtocol::Telnet,
    AppProtocol::Tls,
];

/// Of one protocol, behind its name.
const OF_ONE: &[(AppProtocol, &[&str])] = &[
    (
        AppProtocol::Smb,
        &[
            "max-read-queue-cnt",
            "max-read-queue-size",
            "max-read-size",
            "max-write-queue-cnt",
            "max-write-queue-size",
            "max-write-size",
        ],
    ),
    (
        AppProtocol::Smtp,
        &[
            "inspected-tracker.content-inspect-min-size",
            "inspected-tracker.content-inspect-window",
            "inspected-tracker.content-limit",
            "mime.body-md5",
            "mime.decode-base64",
            "mime.decode-mime",
            "mime.decode-quoted-printable",
            "mime.extract-urls",
            "mime.header-value-depth",
            "mime.log-url-scheme",
            "raw-extraction",
        ],
    ),
    (AppProtocol::Tls, &["encryption-handling"]),
];

/// Of HTTP/1: behind `default-config`, and of one server behind `server-config` and its name.
const OF_HTTP: &[&str] = &[
    "double-decode-path",
    "double-decode-query",
    "headers-limit",
    "http-body-inline",
    "max-tx",
    "meta-field-limit",
    "plusspace-decode",
    "request-body-inspect-window",
    "request-body-limit",
    "request-body-minimal-inspect-size",
    "response-body-decompress-layer-limit",
    "response-body-inspect-window",
    "response-body-limit",
    "response-body-minimal-inspect-size",
];

/// Options that nothing reads.
pub fn unknown(options: &Options) -> impl Iterator<Item = &str> {
    options.0.keys().map(String::as_str).filter(|name| !is_known(name))
}

fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
        || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || name.strip_prefix("app-layer.protocols.").is_some_and(is_of_protocol)
}

/// Of a protocol by its name, without what stands before it.
fn is_of_protocol(name: &str) -> bool {
    let Some((protocol, rest)) = name.split_once('.') else { return false };
    if let Some(rest) = rest.strip_prefix("libhtp.") {
        let server = rest.strip_prefix("server-config.").and_then(|rest| rest.rsplit_once('.'));
        return protocol == "http"
            && (rest.strip_prefix("default-config.").is_some_and(|rest| OF_HTTP.contains(&rest))
                || server.is_some_and(|(_, rest)| rest == "address" || OF_HTTP.contains(&rest)));
    }
    let Some(protocol) = AppProtocol::ALL.iter().find(|known| known.name() == protocol) else { return false };
    let either = rest.strip_prefix("tcp.").or_else(|| rest.strip_prefix("udp.")).unwrap_or(rest);
    OF_ALL.contains(&either)
        || rest == "max-tx" && !UNCOUNTED.contains(protocol)
        || OF_ONE.iter().any(|(of, names)| of == protocol && names.contains(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_reads_is_told() {
        let read = [
            "checksum",
            "stream.reassembly.urgent.policy",
            "vars.port-groups.HTTP_PORTS",
            "app-layer.protocols.dns.udp.detection-ports.dp",
            "app-layer.protocols.dnp3.enabled",
            "app-layer.protocols.mqtt.max-tx",
            "app-layer.protocols.smb.max-read-size",
            "app-layer.protocols.http.libhtp.default-config.headers-limit",
            "app-layer.protocols.http.libhtp.server-config.0.apache.address",
            "app-layer.protocols.http.libhtp.server-config.iis.double-decode-path",
        ];
        let not = [
            "checksums",
            "stream.reassembly.toserver-chunk-size",
            "app-layer.protocols.dns.max-read-size",
            "app-layer.protocols.http.max-tx",
            "app-layer.protocols.tls.max-tx",
            "app-layer.protocols.http.libhtp.default-config.address",
            "app-layer.protocols.http.libhtp.default-config.request-body-limits",
            "app-layer.protocols.gopher.enabled",
            "app-layer.protocols.tls",
        ];
        let options = read.iter().chain(&not).map(|name| ((*name).to_owned(), String::new())).collect();
        let mut expected = not.to_vec();
        expected.sort_unstable();
        assert_eq!(unknown(&Options(options)).collect::<Vec<_>>(), expected);
    }
}
