//! Names of commands, dialects and errors, as EVE shows them.

use std::sync::LazyLock;

/// Commands of SMB 1 (MS-CIFS, 2.2.2.1).
const COMMANDS_1: &[(u16, &str)] = &[
    (0x00, "CREATE_DIRECTORY"),
    (0x01, "DELETE_DIRECTORY"),
    (0x02, "OPEN"),
    (0x03, "CREATE"),
    (0x04, "CLOSE"),
    (0x05, "FLUSH"),
    (0x06, "DELETE"),
    (0x07, "RENAME"),
    (0x08, "QUERY_INFORMATION"),
    (0x09, "SET_INFORMATION"),
    (0x0a, "READ"),
    (0x0b, "WRITE"),
    (0x0c, "LOCK_BYTE_RANGE"),
    (0x0d, "UNLOCK_BYTE_RANGE"),
    (0x0e, "CREATE_TEMPORARY"),
    (0x0f, "CREATE_NEW"),
    (0x10, "CHECK_DIRECTORY"),
    (0x11, "PROCESS_EXIT"),
    (0x12, "SEEK"),
    (0x13, "LOCK_AND_READ"),
    (0x14, "WRITE_AND_UNLOCK"),
    (0x1a, "READ_RAW"),
    (0x1b, "READ_MPX"),
    (0x1c, "READ_MPX_SECONDARY"),
    (0x1d, "WRITE_RAW"),
    (0x1e, "WRITE_MPX"),
    (0x1f, "WRITE_MPX_SECONDARY"),
    (0x20, "WRITE_COMPLETE"),
    (0x21, "QUERY_SERVER"),
    (0x22, "SET_INFORMATION2"),
    (0x23, "QUERY_INFORMATION2"),
    (0x24, "LOCKING_ANDX"),
    (0x25, "TRANS"),
    (0x26, "TRANS_SECONDARY"),
    (0x27, "IOCTL"),
    (0x28, "IOCTL_SECONDARY"),
    (0x29, "COPY"),
    (0x2a, "MOVE"),
    (0x2b, "ECHO"),
    (0x2c, "WRITE_AND_CLOSE"),
    (0x2d, "OPEN_ANDX"),
    (0x2e, "READ_ANDX"),
    (0x2f, "WRITE_ANDX"),
    (0x30, "NEW_FILE_SIZE"),
    (0x31, "CLOSE_AND_TREE_DISC"),
    (0x32, "TRANS2"),
    (0x33, "TRANS2_SECONDARY"),
    (0x34, "FIND_CLOSE2"),
    (0x35, "FIND_NOTIFY_CLOSE"),
    (0x70, "TREE_CONNECT"),
    (0x71, "TREE_DISCONNECT"),
    (0x72, "NEGOTIATE_PROTOCOL"),
    (0x73, "SESSION_SETUP_ANDX"),
    (0x74, "LOGOFF_ANDX"),
    (0x75, "TREE_CONNECT_ANDX"),
    (0x80, "QUERY_INFO_DISK"),
    (0x81, "SEARCH"),
    (0x82, "FIND"),
    (0x83, "FIND_UNIQUE"),
    (0x84, "FIND_CLOSE"),
    (0xa0, "NT_TRANS"),
    (0xa1, "NT_TRANS_SECONDARY"),
    (0xa2, "NT_CREATE_ANDX"),
    (0xa4, "NT_CANCEL"),
    (0xa5, "NT_RENAME"),
    (0xc0, "OPEN_PRINT_FILE"),
    (0xc1, "WRITE_PRINT_FILE"),
    (0xc2, "CLOSE_PRINT_FILE"),
    (0xc3, "GET_PRINT_QUEUE"),
];

/// The name of a command of SMB 1.
pub(super) fn command1(command: u16) -> String {
    match COMMANDS_1.iter().find(|(number, _)| *number == command) {
        Some((_, name)) => format!("SMB1_COMMAND_{name}"),
        None => command.to_string(),
    }
}

/// The name of a command of SMB 2 (MS-SMB2, 2.2.1).
pub(super) fn command2(command: u16) -> String {
    const NAMES: [&str; 19] = [
        "NEGOTIATE_PROTOCOL",
        "SESSION_SETUP",
        "SESSION_LOGOFF",
        "TREE_CONNECT",
        "TREE_DISCONNECT",
        "CREATE",
        "CLOSE",
        "FLUSH",
        "READ",
        "WRITE",
        "LOCK",
        "IOCTL",
        "CANCEL",
        "KEEPALIVE",
        "FIND",
        "CHANGE_NOTIFY",
        "GET_INFO",
        "SET_INFO",
        "OPLOCK_BREAK",
    ];
    match NAMES.get(usize::from(command)) {
        Some(name) => format!("SMB2_COMMAND_{name}"),
        None => command.to_string(),
    }
}

/// The name of a dialect of SMB 2 and 3.
pub(super) fn dialect(number: u16) -> String {
    let name = match number {
        0x0202 => "2.02",
        0x0210 => "2.10",
        0x0222 => "2.22",
        0x0224 => "2.24",
        0x02ff => "2.??",
        0x0300 => "3.00",
        0x0302 => "3.02",
        0x0310 => "3.10",
        0x0311 => "3.11",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// The name of a function of IOCTL (MS-FSCC, 2.3; MS-SMB2, 2.2.31).
pub(super) fn function(code: u32) -> String {
    let name = match code {
        0x0006_0194 => "FSCTL_DFS_GET_REFERRALS",
        0x0006_01b0 => "FSCTL_DFS_GET_REFERRALS_EX",
        0x0009_0000 => "FSCTL_REQUEST_OPLOCK_LEVEL_1",
        0x0009_00a4 => "FSCTL_SET_REPARSE_POINT",
        0x0009_00a8 => "FSCTL_GET_REPARSE_POINT",
        0x0009_00c0 => "FSCTL_CREATE_OR_GET_OBJECT_ID",
        0x0009_00c4 => "FSCTL_SET_SPARSE",
        0x0011_400c => "FSCTL_PIPE_PEEK",
        0x0011_0018 => "FSCTL_PIPE_WAIT",
        0x0011_c017 => "FSCTL_PIPE_TRANSCEIVE",
        0x0014_0078 => "FSCTL_SRV_REQUEST_RESUME_KEY",
        0x0014_01d4 => "FSCTL_LMR_REQUEST_RESILIENCY",
        0x0014_01fc => "FSCTL_QUERY_NETWORK_INTERFACE_INFO",
        0x0014_0200 => "FSCTL_VALIDATE_NEGOTIATE_INFO_224",
        0x0014_0204 => "FSCTL_VALIDATE_NEGOTIATE_INFO",
        0x0014_4064 => "FSCTL_SRV_ENUMERATE_SNAPSHOTS",
        0x0014_40f2 => "FSCTL_SRV_COPYCHUNK",
        0x0014_80f2 => "FSCTL_SRV_COPYCHUNK_WRITE",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// Errors of Windows NT, in order: a number in hexadecimal digits and a name (MS-ERREF, 2.3.1).
const NT_STATUS: &str = include_str!("nt_status.txt");

/// The name of an error.
pub(super) fn nt_status(code: u32) -> Option<&'static str> {
    static NAMES: LazyLock<Vec<(u32, &str)>> = LazyLock::new(|| {
        let lines = NT_STATUS.lines().filter_map(|line| line.split_once(' '));
        lines.filter_map(|(code, name)| Some((u32::from_str_radix(code, 16).ok()?, name))).collect()
    });
    let at = NAMES.binary_search_by_key(&code, |(code, _)| *code).ok()?;
    NAMES.get(at).map(|(_, name)| *name)
}

/// The name of an error of DOS, of a class and with a number (MS-CIFS, 2.2.2.4).
pub(super) fn dos_status(class: u8, code: u16) -> String {
    let name = match (class, code) {
        (1, 0) => "DOS_SUCCESS",
        (1, 1) => "DOS_BAD_FUNC",
        (1, 2) => "DOS_BAD_FILE",
        (1, 3) => "DOS_BAD_PATH",
        (1, 4) => "DOS_TOO_MANY_OPEN_FILES",
        (1, 5) => "DOS_ACCESS_DENIED",
        (2, 1) => "SRV_ERROR",
        (2, 2) => "SRV_BADPW",
        (2, 3) => "SRV_BADTYPE",
        (2, 4) => "SRV_ACCESS",
        (2, 91) => "SRV_BADUID",
        (1 | 2, other) => return other.to_string(),
        _ => return format!("UNKNOWN_{class:02x}_{code:04x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_names() {
        assert_eq!(nt_status(0), Some("STATUS_SUCCESS"));
        assert_eq!(nt_status(0xc000_003b), Some("STATUS_OBJECT_PATH_SYNTAX_BAD"));
        assert_eq!(nt_status(0xc000_0001), Some("STATUS_UNSUCCESSFUL"));
        assert_eq!(nt_status(0xcfff_ffff), None);
        let codes: Vec<&str> = NT_STATUS.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert!(codes.is_sorted() && codes.iter().all(|code| code.len() == 8), "found by halves");
        assert_eq!(dos_status(1, 5), "DOS_ACCESS_DENIED");
        assert_eq!(dos_status(2, 91), "SRV_BADUID");
        assert_eq!(dos_status(2, 7), "7");
        assert_eq!(dos_status(0, 1), "UNKNOWN_00_0001");
    }
}
