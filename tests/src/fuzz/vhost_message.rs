//! Any bytes as messages of a vhost-user front end: read, and what was understood held against what it said.
//!
//! An input is a number of messages, each the count of its file descriptors (one byte), a header and its payload.

use weir_ports::vhost_user::message::{HEADER_LEN, Header, PAYLOAD_MAX, REGIONS_MAX, Request};

use super::Target;

/// The target.
pub const TARGET: Target = Target { name: "vhost_message", run, longest: 2048, one_in: 1 };

fn run(mut input: &[u8]) {
    while let Some((&fds, rest)) = input.split_first() {
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_LEN>() else { return };
        let parsed = match Header::parse(header) {
            Ok(parsed) => parsed,
            Err(malformed) => return assert!(!malformed.to_string().is_empty()),
        };
        assert!(parsed.size <= PAYLOAD_MAX, "no more is ever read than there is room for");
        let Some((payload, rest)) = rest.split_at_checked(parsed.size) else { return };
        match Request::parse(parsed, payload, fds.into()) {
            Ok(Request::SetMemTable(table)) => {
                assert_eq!(table.regions().len(), usize::from(fds), "a descriptor for each region");
                assert!(table.regions().len() <= REGIONS_MAX);
            }
            Ok(Request::Unknown(number)) => assert_eq!(number, parsed.request),
            Ok(_) => {}
            Err(malformed) => assert!(!malformed.to_string().is_empty()),
        }
        input = rest;
    }
}
