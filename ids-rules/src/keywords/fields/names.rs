//! Names that stand for numbers, field by field, with the specification that gives them.

use crate::Field;
use crate::rule::Bounds;

/// The names of a field's values, or of its bits.
pub(super) struct Names {
    pub list: &'static [(&'static str, Bounds)],
}

const fn is(value: u64) -> Bounds {
    Bounds { min: value, max: value, negated: false }
}

macro_rules! names {
    ($($const:ident { $($name:literal $value:expr),+ $(,)? })+) => {
        $(const $const: &[(&str, Bounds)] = &[$(($name, is($value))),+];)+
    };
}

names! {
    // MQTT 5.0, 2.1.2 and 3.1.2.3.
    MQTT_TYPES {
        "CONNECT" 1, "CONNACK" 2, "PUBLISH" 3, "PUBACK" 4, "PUBREC" 5, "PUBREL" 6, "PUBCOMP" 7, "SUBSCRIBE" 8,
        "SUBACK" 9, "UNSUBSCRIBE" 10, "UNSUBACK" 11, "PINGREQ" 12, "PINGRESP" 13, "DISCONNECT" 14, "AUTH" 15,
        "UNASSIGNED" 0,
    }
    MQTT_FLAGS { "dup" 0x08, "retain" 0x01 }
    MQTT_CONNECT_FLAGS { "username" 0x80, "password" 0x40, "will_retain" 0x20, "will" 0x04, "clean_session" 0x02 }
    YES_NO { "yes" 1, "true" 1, "on" 1, "1" 1, "no" 0, "false" 0, "off" 0, "0" 0 }
    // RFC 4511, 4.2 and following, and its ASN.1 module.
    LDAP_OPERATIONS {
        "bind_request" 0, "bind_response" 1, "unbind_request" 2, "search_request" 3, "search_result_entry" 4,
        "search_result_done" 5, "modify_request" 6, "modify_response" 7, "add_request" 8, "add_response" 9,
        "del_request" 10, "del_response" 11, "mod_dn_request" 12, "mod_dn_response" 13, "compare_request" 14,
        "compare_response" 15, "abandon_request" 16, "search_result_reference" 19, "extended_request" 23,
        "extended_response" 24, "intermediate_response" 25, "unknown" 255,
    }
    LDAP_RESULTS {
        "success" 0, "operations_error" 1, "protocol_error" 2, "time_limit_exceeded" 3, "size_limit_exceeded" 4,
        "compare_false" 5, "compare_true" 6, "auth_method_not_supported" 7, "stronger_auth_required" 8, "referral" 10,
        "admin_limit_exceeded" 11, "unavailable_critical_extension" 12, "confidentiality_required" 13,
        "sasl_bind_in_progress" 14, "no_such_attribute" 16, "undefined_attribute_type" 17, "inappropriate_matching" 18,
        "constraint_violation" 19, "attribute_or_value_exists" 20, "invalid_attribute_syntax" 21, "no_such_object" 32,
        "alias_problem" 33, "invalid_dns_syntax" 34, "is_leaf" 35, "alias_dereferencing_problem" 36,
        "inappropriate_authentication" 48, "invalid_credentials" 49, "insufficient_access_rights" 50, "busy" 51,
        "unavailable" 52, "unwilling_to_perform" 53, "loop_detect" 54, "sort_control_missing" 60,
        "offset_range_error" 61, "naming_violation" 64, "object_class_violation" 65, "not_allowed_on_non_leaf" 66,
        "not_allowed_on_rdn" 67, "entry_already_exists" 68, "object_class_mods_prohibited" 69, "results_too_large" 70,
        "affects_multiple_dsas" 71, "control_error" 76, "other" 80, "server_down" 81, "local_error" 82,
        "encoding_error" 83, "decoding_error" 84, "timeout" 85, "auth_unknown" 86, "filter_error" 87,
        "user_canceled" 88, "param_error" 89, "no_memory" 90, "connect_error" 91, "not_supported" 92,
        "control_not_found" 93, "no_results_returned" 94, "more_results_to_return" 95, "client_loop" 96,
        "referral_limit_exceeded" 97, "invalid_response" 100, "ambiguous_response" 101, "tls_not_supported" 112,
        "intermediate_response" 113, "unknown_type" 114, "canceled" 118, "no_such_operation" 119, "too_late" 120,
        "cannot_cancel" 121, "assertion_failed" 122, "authorization_denied" 123, "e_sync_refresh_required" 4096,
        "no_operation" 16654,
    }
    // RFC 1157, 4.1.6.
    SNMP_TRAPS {
        "coldstart" 0, "warmstart" 1, "linkdown" 2, "linkup" 3, "authenticationfailure" 4, "egpneighborloss" 5,
        "enterprisespecific" 6,
    }
    FTP_MODES { "active" 0, "passive" 1 }
    FTP_DATA { "retr" 1, "stor" 2 }
    // RFC 6455, 5.2 and 11.8.
    WEBSOCKET_OPCODES { "continuation" 0, "text" 1, "binary" 2, "close" 8, "connection_close" 8,
        "ping" 9, "pong" 10 }
    WEBSOCKET_FLAGS { "fin" 0x80, "comp" 0x40 }
    // RFC 9113, 6 and 7.
    HTTP2_FRAMES {
        "DATA" 0, "HEADERS" 1, "PRIORITY" 2, "RSTSTREAM" 3, "RST_STREAM" 3, "SETTINGS" 4, "PUSHPROMISE" 5,
        "PUSH_PROMISE" 5, "PING" 6, "GOAWAY" 7, "WINDOWUPDATE" 8, "WINDOW_UPDATE" 8, "CONTINUATION" 9,
    }
    HTTP2_ERRORS {
        "NO_ERROR" 0, "PROTOCOL_ERROR" 1, "INTERNAL_ERROR" 2, "FLOW_CONTROL_ERROR" 3, "SETTINGS_TIMEOUT" 4,
        "STREAM_CLOSED" 5, "FRAME_SIZE_ERROR" 6, "REFUSED_STREAM" 7, "CANCEL" 8, "COMPRESSION_ERROR" 9,
        "CONNECT_ERROR" 10, "ENHANCE_YOUR_CALM" 11, "INADEQUATE_SECURITY" 12, "HTTP_1_1_REQUIRED" 13,
    }
    // RFC 1035, 3.2.2 and 4.1.1, and the registry of DNS parameters.
    DNS_TYPES {
        "A" 1, "NS" 2, "MD" 3, "MF" 4, "CNAME" 5, "SOA" 6, "MB" 7, "MG" 8, "MR" 9, "NULL" 10, "WKS" 11, "PTR" 12,
        "HINFO" 13, "MINFO" 14, "MX" 15, "TXT" 16, "RP" 17, "AFSDB" 18, "X25" 19, "ISDN" 20, "RT" 21, "NSAP" 22,
        "NSAPPTR" 23, "SIG" 24, "KEY" 25, "PX" 26, "GPOS" 27, "AAAA" 28, "LOC" 29, "NXT" 30, "SRV" 33, "ATMA" 34,
        "NAPTR" 35, "KX" 36, "CERT" 37, "A6" 38, "DNAME" 39, "OPT" 41, "APL" 42, "DS" 43, "SSHFP" 44, "IPSECKEY" 45,
        "RRSIG" 46, "NSEC" 47, "DNSKEY" 48, "DHCID" 49, "NSEC3" 50, "NSEC3PARAM" 51, "TLSA" 52, "HIP" 55, "CDS" 59,
        "CDNSKEY" 60, "SVCB" 64, "HTTPS" 65, "SPF" 99, "TKEY" 249, "TSIG" 250, "MAILA" 254, "ANY" 255, "URI" 256,
    }
    DNS_RCODES {
        "NOERROR" 0, "FORMERR" 1, "SERVFAIL" 2, "NXDOMAIN" 3, "NOTIMP" 4, "REFUSED" 5, "YXDOMAIN" 6, "YXRRSET" 7,
        "NXRRSET" 8, "NOTAUTH" 9, "NOTZONE" 10, "BADVERS" 16, "BADSIG" 16, "BADKEY" 17, "BADTIME" 18, "BADMODE" 19,
        "BADNAME" 20, "BADALG" 21, "BADTRUNC" 22,
    }
    // RFC 1813, 3.
    NFS_PROCEDURES {
        "NULL" 0, "GETATTR" 1, "SETATTR" 2, "LOOKUP" 3, "ACCESS" 4, "READLINK" 5, "READ" 6, "WRITE" 7, "CREATE" 8,
        "MKDIR" 9, "SYMLINK" 10, "MKNOD" 11, "REMOVE" 12, "RMDIR" 13, "RENAME" 14, "LINK" 15, "READDIR" 16,
        "READDIRPLUS" 17, "FSSTAT" 18, "STATFS" 18, "FSINFO" 19, "PATHCONF" 20, "COMMIT" 21,
    }
    // EtherNet/IP, volume 2, 2-3.2.
    ENIP_COMMANDS {
        "nop" 0, "list_services" 4, "list_identity" 0x63, "list_interfaces" 0x64, "register_session" 0x65,
        "unregister_session" 0x66, "send_rr_data" 0x6f, "send_r_r_data" 0x6f, "send_unit_data" 0x70, "indicate_status" 0x72, "cancel" 0x73,
    }
    ENIP_STATUS {
        "success" 0, "invalid_cmd" 1, "no_resources" 2, "incorrect_data" 3, "invalid_session" 0x64,
        "invalid_length" 0x65, "unsupported_prot_rev" 0x69, "encap_header_error" 0x6a,
    }
    // IEEE 1815, 4.2.2.
    DNP3_FUNCTIONS {
        "confirm" 0, "read" 1, "write" 2, "select" 3, "operate" 4, "direct_operate" 5, "direct_operate_nr" 6,
        "immed_freeze" 7, "immed_freeze_nr" 8, "freeze_clear" 9, "freeze_clear_nr" 10, "freeze_at_time" 11,
        "freeze_at_time_nr" 12, "cold_restart" 13, "warm_restart" 14, "initialize_data" 15, "initialize_appl" 16,
        "start_appl" 17, "stop_appl" 18, "save_config" 19, "enable_unsolicited" 20, "disable_unsolicited" 21,
        "assign_class" 22, "delay_measure" 23, "record_current_time" 24, "open_file" 25, "close_file" 26,
        "delete_file" 27, "get_file_info" 28, "authenticate_file" 29, "abort_file" 30, "activate_config" 31,
        "authenticate_req" 32, "authenticate_err" 33, "response" 129, "unsolicited_response" 130,
        "authenticate_resp" 131,
    }
    DNP3_INDICATIONS {
        "all_stations" 0x0100, "class_1_events" 0x0200, "class_2_events" 0x0400, "class_3_events" 0x0800,
        "need_time" 0x1000, "local_control" 0x2000, "device_trouble" 0x4000, "device_restart" 0x8000,
        "no_func_code_support" 0x0001, "object_unknown" 0x0002, "parameter_error" 0x0004, "event_buffer_overflow" 0x0008,
        "already_executing" 0x0010, "config_corrupt" 0x0020, "reserved_2" 0x0040, "reserved_1" 0x0080,
    }
    // RFC 5905, 7.3.
    NTP_MODES {
        "reserved" 0, "symmetric_active" 1, "symmetric_passive" 2, "client" 3, "server" 4, "broadcast" 5, "control" 6,
        "private" 7,
    }
    SNMP_PDUS {
        "get_request" 0, "get_next_request" 1, "response" 2, "set_request" 3, "trap_v1" 4, "get_bulk_request" 5,
        "inform_request" 6, "trap_v2" 7, "report" 8,
    }
}

/// RFC 6143, 7.1.3; anything beyond is not known.
const RFB_RESULTS: &[(&str, Bounds)] = &[
    ("ok", is(0)),
    ("fail", is(1)),
    ("toomany", is(2)),
    ("too_many", is(2)),
    ("unknown", Bounds { min: 3, max: u32::MAX as u64, negated: false }),
];

/// The names of a field's values; `None` where only numbers are written.
pub(super) fn names(field: Field) -> Option<Names> {
    let list = match field {
        Field::MqttType => MQTT_TYPES,
        Field::MqttFlags => MQTT_FLAGS,
        Field::MqttConnectFlags => MQTT_CONNECT_FLAGS,
        Field::MqttConnackSessionPresent | Field::FtpReplyReceived => YES_NO,
        Field::LdapRequestOperation | Field::LdapResponsesOperation => LDAP_OPERATIONS,
        Field::LdapResponsesResultCode => LDAP_RESULTS,
        Field::FtpMode => FTP_MODES,
        Field::FtpDataCommand => FTP_DATA,
        Field::WebSocketOpcode => WEBSOCKET_OPCODES,
        Field::WebSocketFlags => WEBSOCKET_FLAGS,
        Field::Http2FrameType => HTTP2_FRAMES,
        Field::Http2ErrorCode => HTTP2_ERRORS,
        Field::DnsRrtype => DNS_TYPES,
        Field::DnsRcode => DNS_RCODES,
        Field::NfsProcedure => NFS_PROCEDURES,
        Field::EnipCommand => ENIP_COMMANDS,
        Field::EnipStatus => ENIP_STATUS,
        Field::Dnp3Function => DNP3_FUNCTIONS,
        Field::Dnp3Indicators => DNP3_INDICATIONS,
        Field::NtpMode => NTP_MODES,
        Field::SnmpPduType => SNMP_PDUS,
        Field::SnmpTrapType => SNMP_TRAPS,
        Field::RfbSecResult => RFB_RESULTS,
        _ => return None,
    };
    Some(Names { list })
}
