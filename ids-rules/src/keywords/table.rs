//! Every keyword there is, apart from those that name buffers and numbers, which have tables of their own.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{
    app, buffers, bytes, content, dataset, file, flow, meta, packet, pcre, size, state, threshold, transforms,
};
use crate::diagnostic::Fault;
use crate::lexer::RuleOption;
use crate::parser::Draft;
use crate::{Buffer, Field};

pub(super) type Apply = fn(&mut Draft, RuleOption<'_>) -> Result<(), Fault>;

/// What a keyword does.
pub(super) fn find(keyword: &str) -> Option<Apply> {
    static BY_NAME: LazyLock<HashMap<&str, Apply>> = LazyLock::new(|| KEYWORDS.iter().copied().collect());
    if let Some(apply) = BY_NAME.get(keyword) {
        return Some(*apply);
    }
    app::is_named(keyword).then_some(app::named as Apply)
}

/// Whether a keyword is known, for `requires: keyword`.
pub(crate) fn is_keyword(keyword: &str) -> bool {
    let buffer = Buffer::from_keyword(keyword).is_some_and(|buffer| buffer != Buffer::Payload);
    find(keyword).is_some() || buffer || Field::from_keyword(keyword).is_some()
}

/// Every keyword that a rule may use, each once, sorted.
pub fn keywords() -> Vec<&'static str> {
    // The payload is what is looked at without a keyword.
    let of_buffers = Buffer::KEYWORDS.iter().filter(|name| **name != Buffer::Payload.name());
    let of_traffic = of_buffers.chain(Field::KEYWORDS).copied().chain(app::names()).chain(buffers::names());
    let mut all: Vec<_> = KEYWORDS.iter().map(|(name, _)| *name).chain(of_traffic).collect();
    all.sort_unstable();
    all.dedup();
    all
}

const KEYWORDS: &[(&str, Apply)] = &[
    ("msg", meta::msg),
    ("sid", meta::sid),
    ("gid", meta::gid),
    ("rev", meta::rev),
    ("classtype", meta::classtype),
    ("priority", meta::priority),
    ("reference", meta::reference),
    ("metadata", meta::metadata),
    ("target", meta::target),
    ("noalert", meta::noalert),
    ("alert", meta::alert),
    ("requires", app::nothing),
    ("flow", flow::flow),
    ("flow.age", flow::flow_age),
    ("flow.pkts", flow::flow_packets),
    ("flow.bytes", flow::flow_bytes),
    ("flow.pkts_toserver", flow::flow_counter),
    ("flow.pkts_toclient", flow::flow_counter),
    ("flow.bytes_toserver", flow::flow_counter),
    ("flow.bytes_toclient", flow::flow_counter),
    ("flow.elephant", flow::flow_elephant),
    ("stream_size", flow::stream_size),
    ("flowbits", state::flowbits),
    ("flowint", state::flowint),
    ("xbits", state::xbits),
    ("hostbits", state::hostbits),
    ("content", content::content),
    ("uricontent", content::uricontent),
    ("nocase", content::nocase),
    ("rawbytes", content::rawbytes),
    ("offset", content::offset),
    ("depth", content::depth),
    ("distance", content::distance),
    ("within", content::within),
    ("startswith", content::startswith),
    ("endswith", content::endswith),
    ("fast_pattern", content::fast_pattern),
    ("replace", content::replace),
    ("pcre", pcre::pcre),
    ("isdataat", size::isdataat),
    ("dsize", size::dsize),
    ("bsize", size::bsize),
    ("bufferlen", size::bufferlen),
    ("urilen", size::urilen),
    ("entropy", size::entropy),
    ("byte_test", bytes::byte_test),
    ("byte_jump", bytes::byte_jump),
    ("byte_extract", bytes::byte_extract),
    ("byte_math", bytes::byte_math),
    ("base64_decode", bytes::base64_decode),
    ("to_md5", transforms::to_md5),
    ("to_sha1", transforms::to_sha1),
    ("to_sha256", transforms::to_sha256),
    ("compress_whitespace", transforms::compress_whitespace),
    ("strip_whitespace", transforms::strip_whitespace),
    ("to_lowercase", transforms::to_lowercase),
    ("to_uppercase", transforms::to_uppercase),
    ("dotprefix", transforms::dotprefix),
    ("header_lowercase", transforms::header_lowercase),
    ("strip_pseudo_headers", transforms::strip_pseudo_headers),
    ("url_decode", transforms::url_decode),
    ("domain", transforms::domain),
    ("tld", transforms::tld),
    ("xor", transforms::xor),
    ("pcrexform", transforms::pcrexform),
    ("from_base64", transforms::from_base64),
    ("gunzip", transforms::gunzip),
    ("zlib_deflate", transforms::zlib_deflate),
    ("subslice", transforms::subslice),
    ("absent", buffers::absent),
    ("to_server", buffers::force_direction),
    ("to_client", buffers::force_direction),
    ("bidir.toserver", buffers::force_direction),
    ("bidir.toclient", buffers::force_direction),
    ("flags", packet::flags),
    ("tcp.flags", packet::flags),
    ("seq", packet::seq),
    ("tcp.seq", packet::seq),
    ("ack", packet::ack),
    ("tcp.ack", packet::ack),
    ("window", packet::window),
    ("tcp.window", packet::window),
    ("tcp.mss", packet::tcp_mss),
    ("tcp.wscale", packet::tcp_wscale),
    ("ttl", packet::ttl),
    ("tos", packet::tos),
    ("id", packet::id),
    ("ip_proto", packet::ip_proto),
    ("sameip", packet::sameip),
    ("l3_proto", packet::ip_version),
    ("rpc", packet::rpc),
    ("asn1", bytes::asn1),
    ("ipv4-csum", packet::checksum),
    ("tcpv4-csum", packet::checksum),
    ("tcpv6-csum", packet::checksum),
    ("udpv4-csum", packet::checksum),
    ("udpv6-csum", packet::checksum),
    ("icmpv4-csum", packet::checksum),
    ("icmpv6-csum", packet::checksum),
    ("fragbits", packet::fragbits),
    ("fragoffset", packet::fragoffset),
    ("ipopts", packet::ipopts),
    ("itype", packet::itype),
    ("icode", packet::icode),
    ("icmp_id", packet::icmp_id),
    ("icmp_seq", packet::icmp_seq),
    ("icmpv6.mtu", packet::icmpv6_mtu),
    ("igmp.type", packet::igmp_type),
    ("vlan.id", packet::vlan_id),
    ("vlan.layers", packet::vlan_layers),
    ("decode-event", packet::decode_event),
    ("stream-event", packet::stream_event),
    ("engine-event", packet::engine_event),
    ("threshold", threshold::threshold),
    ("detection_filter", threshold::detection_filter),
    ("tag", threshold::tag),
    ("filename", file::filename),
    ("fileext", file::fileext),
    ("filemagic", file::filemagic),
    ("filesize", file::filesize),
    ("file.size", file::filesize),
    ("filemd5", file::filemd5),
    ("filesha1", file::filesha1),
    ("filesha256", file::filesha256),
    ("filestore", file::filestore),
    ("dataset", dataset::dataset),
    ("datarep", dataset::datarep),
    ("iprep", dataset::iprep),
    ("geoip", dataset::geoip),
    ("app-layer-protocol", app::app_layer_protocol),
    ("app-layer-event", app::app_layer_event),
    ("app-layer-state", app::app_layer_state),
    ("config", app::config),
    ("prefilter", app::prefilter),
    ("bypass", app::bypass),
    ("lua", app::lua),
    ("luajit", app::lua),
    ("luaxform", app::lua),
    ("service", app::service),
    // Marks are for NFQUEUE, which is not used.
    ("nfq_set_mark", app::nothing),
    ("rem", app::nothing),
    ("gname", app::nothing),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_named_once() {
        for (i, (name, _)) in KEYWORDS.iter().enumerate() {
            assert!(KEYWORDS[i + 1..].iter().all(|(other, _)| other != name), "{name}");
            assert!(!app::is_named(name), "{name}");
            let elsewhere = Buffer::from_keyword(name).is_some() || Field::from_keyword(name).is_some();
            // The size of a file is asked of the file, whatever the protocol.
            assert!(!elsewhere || *name == "filesize", "{name}");
        }
    }
}
