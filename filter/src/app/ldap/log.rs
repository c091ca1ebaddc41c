//! What EVE shows of a message.

use super::message::{Attribute, Body, Message, operation};
use crate::json::Json;

/// Writes the members of a request or a response.
pub(super) fn write(message: &Message, json: &mut Json<'_>) {
    let name = operation::name(message.operation);
    json.text("operation", name);
    match &message.body {
        Body::Other => {}
        body => {
            json.nested(name, |json| write_body(body, message.operation, json));
        }
    }
    let Some(controls) = &message.controls else { return };
    json.array("controls", |json| {
        for control in controls {
            json.item(|json| {
                json.bytes("control_type", &control.kind).flag("criticality", control.critical);
                if let Some(value) = &control.value {
                    json.hex("control_value", value, "");
                }
            });
        }
    });
}

fn write_body(body: &Body, number: u8, json: &mut Json<'_>) {
    match body {
        Body::Bind { version, name, sasl } => {
            json.number("version", *version).bytes("name", name);
            write_sasl(sasl, json);
        }
        Body::Search(search) => {
            json.bytes("base_object", &search.base);
            for (key, number) in ["scope", "deref_alias", "size_limit", "time_limit"].into_iter().zip(search.numbers) {
                json.number(key, number);
            }
            json.flag("types_only", search.types_only);
            if let Some(present) = &search.present {
                json.nested("filter", |json| {
                    json.text("type", "present").bytes("value", present);
                });
            }
            list(json, "attributes", &search.attributes);
        }
        Body::Modify { object, changes } => {
            json.bytes("object", object);
            write_changes(changes, json);
        }
        Body::Entry { dn, attributes } if number == operation::ADD => {
            json.bytes("entry", dn);
            write_attributes(attributes, "name", json);
        }
        Body::Entry { dn, attributes } => {
            json.bytes("base_object", dn);
            write_attributes(attributes, "type", json);
        }
        Body::ModifyDn { entry, name, delete_old, superior } => {
            json.bytes("entry", entry).bytes("new_rdn", name).flag("delete_old_rdn", *delete_old);
            optional(json, "new_superior", superior);
        }
        Body::Compare { entry, description, value } => {
            json.bytes("entry", entry);
            json.nested("attribute_value_assertion", |json| {
                json.bytes("description", description).bytes("value", value);
            });
        }
        Body::Extended { name, value } => {
            json.bytes("name", name);
            optional(json, "value", value);
        }
        Body::Intermediate { name, value } => {
            optional(json, "name", name);
            optional(json, "value", value);
        }
        Body::Result { outcome, credentials, name, value } => {
            json.text("result_code", &result_name(outcome.code));
            json.bytes("matched_dn", &outcome.matched).bytes("message", &outcome.message);
            if let Some(credentials) = credentials {
                json.hex("server_sasl_creds", credentials, "");
            }
            optional(json, "name", name);
            optional(json, "value", value);
        }
        Body::Delete(dn) => {
            json.bytes("dn", dn);
        }
        Body::Other => {}
    }
}

fn write_sasl(sasl: &Option<(Vec<u8>, Option<Vec<u8>>)>, json: &mut Json<'_>) {
    let Some((mechanism, credentials)) = sasl else { return };
    json.nested("sasl", |json| {
        json.bytes("mechanism", mechanism);
        if let Some(credentials) = credentials {
            json.hex("credentials", credentials, "");
        }
    });
}

fn optional(json: &mut Json<'_>, key: &str, value: &Option<Vec<u8>>) {
    if let Some(value) = value {
        json.bytes(key, value);
    }
}

fn list(json: &mut Json<'_>, key: &str, values: &[Vec<u8>]) {
    if !values.is_empty() {
        json.array(key, |json| {
            for value in values {
                json.item_bytes(value);
            }
        });
    }
}

fn write_changes(changes: &[(u64, Attribute)], json: &mut Json<'_>) {
    if changes.is_empty() {
        return;
    }
    json.array("changes", |json| {
        for (kind, attribute) in changes {
            json.item(|json| {
                let kind = match kind {
                    0 => "add",
                    1 => "delete",
                    2 => "replace",
                    3 => "increment",
                    _ => "unknown",
                };
                json.text("operation", kind);
                json.nested("modification", |json| {
                    json.bytes("attribute_type", &attribute.name);
                    list(json, "attribute_values", &attribute.values);
                });
            });
        }
    });
}

fn write_attributes(attributes: &[Attribute], key: &str, json: &mut Json<'_>) {
    if attributes.is_empty() {
        return;
    }
    json.array("attributes", |json| {
        for attribute in attributes {
            json.item(|json| {
                json.bytes(key, &attribute.name);
                list(json, "values", &attribute.values);
            });
        }
    });
}

fn result_name(code: u64) -> String {
    let name = match code {
        0 => "success",
        1 => "operations_error",
        2 => "protocol_error",
        3 => "time_limit_exceeded",
        4 => "size_limit_exceeded",
        5 => "compare_false",
        6 => "compare_true",
        7 => "auth_method_not_supported",
        8 => "stronger_auth_required",
        10 => "referral",
        11 => "admin_limit_exceeded",
        12 => "unavailable_critical_extension",
        13 => "confidentiality_required",
        14 => "sasl_bind_in_progress",
        16 => "no_such_attribute",
        17 => "undefined_attribute_type",
        18 => "inappropriate_matching",
        19 => "constraint_violation",
        20 => "attribute_or_value_exists",
        21 => "invalid_attribute_syntax",
        32 => "no_such_object",
        33 => "alias_problem",
        34 => "invalid_dns_syntax",
        35 => "is_leaf",
        36 => "alias_dereferencing_problem",
        48 => "inappropriate_authentication",
        49 => "invalid_credentials",
        50 => "insufficient_access_rights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwilling_to_perform",
        54 => "loop_detect",
        64 => "naming_violation",
        65 => "object_class_violation",
        66 => "not_allowed_on_non_leaf",
        67 => "not_allowed_on_rdn",
        68 => "entry_already_exists",
        69 => "object_class_mods_prohibited",
        71 => "affects_multiple_dsas",
        80 => "other",
        other => return other.to_string(),
    };
    name.to_owned()
}
