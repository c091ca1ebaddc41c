//! What EVE shows of a transaction.

use super::transaction::{Kind, Tx};
use crate::json::Json;

const PROCEDURES_2: &[&str] = &[
    "NULL",
    "GETATTR",
    "SETATTR",
    "ROOT",
    "LOOKUP",
    "READLINK",
    "READ",
    "WRITECACHE",
    "WRITE",
    "CREATE",
    "REMOVE",
    "RENAME",
    "LINK",
    "SYMLINK",
    "MKDIR",
    "RMDIR",
    "READDIR",
    "STATFS",
];
const PROCEDURES_3: &[&str] = &[
    "NULL",
    "GETATTR",
    "SETATTR",
    "LOOKUP",
    "ACCESS",
    "READLINK",
    "READ",
    "WRITE",
    "CREATE",
    "MKDIR",
    "SYMLINK",
    "MKNOD",
    "REMOVE",
    "RMDIR",
    "RENAME",
    "LINK",
    "READDIR",
    "READDIRPLUS",
    "FSSTAT",
    "FSINFO",
    "PATHCONF",
    "COMMIT",
];
const PROCEDURES_4: &[&str] = &[
    "NULL",
    "COMPOUND",
    "2",
    "ACCESS",
    "CLOSE",
    "COMMIT",
    "CREATE",
    "DELEGPURGE",
    "DELEGRETURN",
    "GETATTR",
    "GETFH",
    "LINK",
    "LOCK",
    "LOCKT",
    "LOCKU",
    "LOOKUP",
    "LOOKUPP",
    "NVERIFY",
    "OPEN",
    "OPENATTR",
    "OPEN_CONFIRM",
    "OPEN_DOWNGRADE",
    "PUTFH",
    "PUTPUBFH",
    "PUTROOTFH",
    "READ",
    "READDIR",
    "READLINK",
    "REMOVE",
    "RENAME",
    "RENEW",
    "RESTOREFH",
    "SAVEFH",
    "SECINFO",
    "SETATTR",
    "SETCLIENTID",
    "SETCLIENTID_CONFIRM",
    "VERIFY",
    "WRITE",
    "RELEASE_LOCKOWNER",
];

fn procedure(version: u32, number: u32) -> String {
    let names = match version {
        2 => PROCEDURES_2,
        3 => PROCEDURES_3,
        _ => PROCEDURES_4,
    };
    let name = usize::try_from(number).ok().and_then(|number| names.get(number));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

fn status(number: u32) -> String {
    let name = match number {
        0 => "OK",
        1 => "ERR_PERM",
        2 => "ERR_NOENT",
        5 => "ERR_IO",
        6 => "ERR_NXIO",
        13 => "ERR_ACCES",
        17 => "ERR_EXIST",
        18 => "ERR_XDEV",
        19 => "ERR_NODEV",
        20 => "ERR_NOTDIR",
        21 => "ERR_ISDIR",
        22 => "ERR_INVAL",
        27 => "ERR_FBIG",
        28 => "ERR_NOSPC",
        30 => "ERR_ROFS",
        31 => "ERR_MLINK",
        63 => "ERR_NAMETOOLONG",
        66 => "ERR_NOTEMPTY",
        69 => "ERR_DQUOT",
        70 => "ERR_STALE",
        71 => "ERR_REMOTE",
        10001 => "ERR_BADHANDLE",
        10002 => "ERR_NOT_SYNC",
        10003 => "ERR_BAD_COOKIE",
        10004 => "ERR_NOTSUPP",
        10005 => "ERR_TOOSMALL",
        10006 => "ERR_SERVERFAULT",
        10007 => "ERR_BADTYPE",
        10008 => "ERR_JUKEBOX",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// CRC-32 of IEEE 802.3: what stands for a handle.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// Writes the members of the object `nfs`.
pub(super) fn write(tx: &Tx, json: &mut Json<'_>) {
    json.number("version", tx.version).text("procedure", &procedure(tx.version, tx.procedure));
    json.bytes("filename", &tx.name);
    if !tx.handle.is_empty() {
        json.text("hhash", &format!("{:x}", checksum(&tx.handle)));
    }
    json.number("id", tx.id).flag("file_tx", tx.is_file()).text("type", "response");
    json.text("status", &status(tx.states.1));
    match &tx.kind {
        Kind::Plain => {}
        Kind::Rename(to) => {
            json.nested("rename", |json| {
                json.bytes("from", &tx.name).bytes("to", to);
            });
        }
        Kind::File(file) => {
            let key = if file.way == crate::inspect::Direction::Original { "write" } else { "read" };
            json.nested(key, |json| {
                json.flag("first", true).flag("last", tx.is_done());
                json.number("last_xid", file.last_xid).number("chunks", file.chunks);
            });
        }
    }
}

/// Writes the members of the object `rpc`.
pub(super) fn write_rpc(tx: &Tx, json: &mut Json<'_>) {
    const FLAVORS: &[&str] = &["NULL", "UNIX", "SHORT", "DH", "KERB", "RSA", "GSS"];
    json.number("xid", tx.xid);
    match tx.states.0 {
        0 => json.text("status", "ACCEPTED"),
        1 => json.text("status", "DENIED"),
        other => json.text("status", &other.to_string()),
    };
    let flavor = usize::try_from(tx.credentials.flavor).ok().and_then(|flavor| FLAVORS.get(flavor));
    match flavor {
        Some(name) => json.text("auth_type", name),
        None => json.text("auth_type", &tx.credentials.flavor.to_string()),
    };
    if let Some((machine, user, group)) = &tx.credentials.unix {
        json.nested("creds", |json| {
            json.bytes("machine_name", machine).number("uid", *user).number("gid", *group);
        });
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(super::checksum(b"123456789"), 0xcbf4_3926);
    }
}
