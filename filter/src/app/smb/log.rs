//! What EVE shows of a transaction.

use super::names;
use super::transaction::{Create, Kind, Negotiation, Status, TreeConnect, Tx};
use super::{Fid, auth::Session};
use crate::app::dcerpc::call::Layout;
use crate::json::Json;

/// Writes the members of the object `smb`.
pub(super) fn write(tx: &Tx, json: &mut Json<'_>) {
    json.number("id", tx.id);
    json.text("dialect", tx.dialect.as_deref().unwrap_or("unknown"));
    json.text("command", &if tx.version == 1 { names::command1(tx.command) } else { names::command2(tx.command) });
    match tx.status {
        Some(Status::Nt(code)) => {
            match names::nt_status(code) {
                Some(name) => json.text("status", name),
                None => json.text("status", &code.to_string()),
            };
            json.text("status_code", &format!("0x{code:x}"));
        }
        Some(Status::Dos(class, code)) => {
            json.text("status", &names::dos_status(class, code));
            json.text("status_code", &format!("0x{code:04x}"));
        }
        None => {}
    }
    json.number("session_id", tx.shown.0).number("tree_id", tx.shown.1);
    match &tx.kind {
        Kind::Generic => {}
        Kind::Negotiate(negotiation) => log_negotiation(negotiation, json),
        Kind::Session(session) => log_session(session, json),
        Kind::Tree(tree) => log_tree(tree, tx.version, json),
        Kind::Create(create) => log_create(create, json),
        Kind::File(file) => {
            json.bytes("filename", &file.name).bytes("share", &file.share).text("fuid", &file.fid.text());
        }
        Kind::Rename { fid, from, to } => {
            if tx.version == 2 {
                json.nested("set_info", |json| {
                    json.text("class", "FILE_INFO").text("info_level", "SMB2_FILE_RENAME_INFO");
                });
            }
            json.nested("rename", |json| {
                json.bytes("from", from).bytes("to", to);
            });
            json.text("fuid", &fid_text(*fid));
        }
        Kind::SetInfo { fid, name, subcommand, level, delete } => {
            log_name(name, "filename", json);
            log_access(*delete, json);
            match (tx.version, subcommand) {
                (1, 8) => json.text("subcmd", "SET_FILE_INFO"),
                (1, 6) => json.text("subcmd", "SET_PATH_INFO"),
                _ => json,
            };
            if *level == 1013 {
                json.text("level_of_interest", "Set Disposition Information");
            }
            json.text("fuid", &fid_text(*fid));
        }
        Kind::Ioctl(code) => {
            json.text("function", &names::function(*code));
        }
        Kind::Call(call) => {
            json.nested("dcerpc", |json| call.log(json, Layout::InSmb));
        }
    }
}

fn fid_text(fid: Option<Fid>) -> String {
    fid.map(|fid| fid.text()).unwrap_or_default()
}

fn log_name(name: &[u8], key: &str, json: &mut Json<'_>) {
    if name.is_empty() {
        json.text("filename", "<share_root>")
    } else {
        json.bytes(key, name)
    };
}

fn log_access(delete: bool, json: &mut Json<'_>) {
    json.text("access", if delete { "delete on close" } else { "normal" });
}

fn log_negotiation(negotiation: &Negotiation, json: &mut Json<'_>) {
    json.array("client_dialects", |json| {
        for dialect in &negotiation.dialects {
            json.item_bytes(dialect);
        }
    });
    if let Some(guid) = negotiation.client_guid {
        json.text("client_guid", &Fid::Long(guid).text());
    }
    json.text("server_guid", &negotiation.server_guid.map(|guid| Fid::Long(guid).text()).unwrap_or_default());
    if negotiation.max_read > 0 {
        json.number("max_read_size", negotiation.max_read);
    }
    if negotiation.max_write > 0 {
        json.number("max_write_size", negotiation.max_write);
    }
}

fn log_session(session: &Session, json: &mut Json<'_>) {
    if let Some(who) = &session.ntlmssp {
        json.nested("ntlmssp", |json| {
            json.bytes("domain", &who.domain).bytes("user", &who.user).bytes("host", &who.host);
            if let Some(version) = &who.version {
                json.text("version", version);
            }
        });
    }
    if let Some(ticket) = &session.kerberos {
        json.nested("kerberos", |json| {
            json.bytes("realm", &ticket.realm);
            json.array("snames", |json| {
                for name in &ticket.names {
                    json.item_bytes(name);
                }
            });
        });
    }
    for (key, host) in [("request", &session.client), ("response", &session.server)] {
        if let Some((system, manager)) = host {
            json.nested(key, |json| {
                json.bytes("native_os", system).bytes("native_lm", manager);
            });
        }
    }
}

fn log_tree(tree: &TreeConnect, version: u8, json: &mut Json<'_>) {
    json.bytes(if tree.pipe { "named_pipe" } else { "share" }, &tree.share);
    if version == 1 {
        json.nested("service", |json| {
            for (key, service) in [("request", &tree.asked_service), ("response", &tree.service)] {
                if let Some(service) = service {
                    json.bytes(key, service);
                }
            }
        });
        return;
    }
    let kind = match tree.share_type {
        1 => "FILE",
        2 => "PIPE",
        3 => "PRINT",
        _ => "UNKNOWN",
    };
    json.text("share_type", kind);
}

fn log_create(create: &Create, json: &mut Json<'_>) {
    log_name(&create.name, if create.directory { "directory" } else { "filename" }, json);
    let disposition = match create.disposition {
        0 => "FILE_SUPERSEDE",
        1 => "FILE_OPEN",
        2 => "FILE_CREATE",
        3 => "FILE_OPEN_IF",
        4 => "FILE_OVERWRITE",
        5 => "FILE_OVERWRITE_IF",
        _ => "UNKNOWN",
    };
    json.text("disposition", disposition);
    log_access(create.delete_on_close, json);
    for (key, time) in ["created", "accessed", "modified", "changed"].into_iter().zip(create.times) {
        json.number(key, time);
    }
    json.number("size", create.size).text("fuid", &fid_text(create.fid));
}
