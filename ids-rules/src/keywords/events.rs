//! Events of application protocols by the names that `app-layer-event` uses.
//!
//! Of the protocols listed here all events are known, those that other engines raise among them: a name that is none of
//! them is a mistake. Of other protocols any name is taken.

/// Protocols with their events.
const EVENTS: &[(&str, &str)] = &[
    (
        "applayer",
        "detect_protocol_only_one_direction mismatch_protocol_both_directions no_tls_after_starttls proto_detection_skipped unexpected_protocol wrong_direction_first_data",
    ),
    (
        "http",
        "100_continue_already_seen abnormal_ce_header compression_bomb double_encoded_uri duplicate_content_length_field_in_request duplicate_content_length_field_in_response failed_protocol_change file_name_too_long gzip_decompression_failed host_header_ambiguous invalid_authority_port invalid_content_length_field_in_request invalid_content_length_field_in_response invalid_request_chunk_len invalid_request_field_folding invalid_response_chunk_len invalid_response_field_folding invalid_server_port_in_request invalid_transfer_encoding_value_in_request invalid_transfer_encoding_value_in_response lzma_memlimit_reached method_delim_non_compliant missing_host_header multipart_generic_error multipart_invalid_header multipart_no_filedata range_invalid request_auth_unrecognized request_body_unexpected request_chunk_extension request_field_missing_colon request_field_too_long request_header_host_invalid request_header_invalid request_header_repetition request_line_incomplete request_line_invalid request_line_leading_whitespace request_line_missing_protocol request_server_port_tcp_port_mismatch request_too_many_headers request_uri_host_invalid response_abnormal_transfer_encoding response_body_unexpected response_chunk_extension response_chunked_old_proto response_field_missing_colon response_field_too_long response_header_invalid response_header_repetition response_invalid_protocol response_invalid_status response_multipart_byteranges response_too_many_headers too_many_encoding_layers too_many_warnings unable_to_match_response_to_request unknown_error uri_delim_non_compliant",
    ),
    (
        "smtp",
        "bdat_chunk_len_exceeded data_command_rejected duplicate_fields failed_protocol_change invalid_pipelined_sequence invalid_reply max_command_line_len_exceeded max_reply_line_len_exceeded mime_invalid_base64 mime_invalid_qp mime_long_boundary mime_long_enc_line mime_long_filename mime_long_header_name mime_long_header_value mime_long_line mime_malformed_msg mime_parse_failed no_server_welcome_message tls_rejected truncated_line unable_to_match_reply_with_request unparsable_content",
    ),
    (
        "smb",
        "duplicate_negotiate file_overlap internal_error malformed_data malformed_ntlmssp_request malformed_ntlmssp_response name_too_long negotiate_malformed_dialects negotiate_max_read_size_too_large negotiate_max_write_size_too_large read_queue_cnt_exceeded read_queue_size_exceeded read_request_too_large read_response_too_large record_overflow request_to_client response_to_server too_many_transactions tree_id_not_found unusual_ntlmssp_order write_queue_cnt_exceeded write_queue_size_exceeded write_request_too_large",
    ),
    (
        "ike",
        "invalid_proposal malformed_data multiple_server_proposal no_encryption payload_extra_data unknown_proposal weak_crypto_auth weak_crypto_dh weak_crypto_enc weak_crypto_no_auth weak_crypto_no_dh weak_crypto_prf",
    ),
    ("rfb", "confused_state malformed_message unimplemented_security_type unknown_security_result"),
    ("quic", "crypto_frag_too_long error_on_data error_on_header failed_decrypt"),
    (
        "modbus",
        "flooded invalid_exception_code invalid_function_code invalid_length invalid_protocol_id invalid_unit_identifier invalid_value unsolicited_response value_mismatch",
    ),
    (
        "dnp3",
        "bad_link_crc bad_transport_crc flooded len_too_small malformed max_points_per_object too_long_reassembly too_many_objects too_many_points unknown_object",
    ),
    ("dhcp", "malformed_options truncated_options"),
    ("ssh", "invalid_banner invalid_record long_banner long_kex_record"),
    ("krb5", "malformed_data weak_encryption"),
    ("nfs", "malformed_data non_existing_version too_many_transactions unsupported_version"),
    (
        "mqtt",
        "double_connect invalid_qos_level malformed_traffic missing_connect missing_msg_id missing_publish missing_subscribe missing_unsubscribe too_many_transactions unassigned_msg_type unintroduced_message",
    ),
];

/// Whether a protocol may have an event of this name; both in small letters.
pub fn is_known(protocol: &str, event: &str) -> bool {
    let protocol = if matches!(protocol, "ikev1" | "ikev2") { "ike" } else { protocol };
    let listed = EVENTS.iter().find(|(name, _)| *name == protocol);
    listed.is_none_or(|(_, events)| events.split(' ').any(|known| known == event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_known_by_their_protocol() {
        assert!(is_known("http", "missing_host_header") && !is_known("http", "missing_hosts"));
        assert!(is_known("ikev2", "weak_crypto_dh") && !is_known("applayer", "nonsense"));
        assert!(is_known("telnet", "anything"));
        assert!(is_known("mqtt", "malformed_traffic") && !is_known("mqtt", "malformed_message"));
    }
}
