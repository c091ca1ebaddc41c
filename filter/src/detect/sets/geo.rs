//! Where addresses are: a database of MaxMind's format (<https://maxmind.github.io/MaxMind-DB/>), held in memory.
//!
//! What is asked of it is the country: `country.iso_code`, or that of the registration where there is no other. A
//! database that is damaged in its midst answers nothing for the addresses concerned.

use std::net::IpAddr;

use maxminddb::{PathElement, Reader};

/// A database.
#[derive(Debug)]
pub struct Database(Reader<Vec<u8>>);

impl Database {
    /// Takes up the bytes of a database.
    ///
    /// # Errors
    /// Where they are none.
    pub fn new(bytes: Vec<u8>) -> Result<Database, String> {
        Reader::from_source(bytes).map(Database).map_err(|error| format!("no database of places: {error}"))
    }

    /// The ISO code of an address's country, in capitals.
    pub fn country(&self, address: IpAddr) -> Option<[u8; 2]> {
        let found = self.0.lookup(address).ok()?;
        let code = |record: &str| {
            let path = [PathElement::Key(record), PathElement::Key("iso_code")];
            let code: &str = found.decode_path(&path).ok()??;
            code.as_bytes().first_chunk().map(|&[a, b]| [a.to_ascii_uppercase(), b.to_ascii_uppercase()])
        };
        code("country").or_else(|| code("registered_country"))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A text of MaxMind's data format.
    fn text(text: &str) -> Vec<u8> {
        let mut bytes = vec![0x40 | text.len() as u8];
        bytes.extend(text.as_bytes());
        bytes
    }

    fn map(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0xe0 | members.len() as u8];
        for (key, value) in members {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        bytes
    }

    /// A database of IPv4 that knows the lower half of all addresses as one country and nothing of the upper one.
    pub fn database(code: &str) -> Vec<u8> {
        // One node of 24-bit records: 0 leads to the data, 1 to "not found", which is the number of nodes.
        let mut bytes = vec![0, 0, 17, 0, 0, 1];
        bytes.extend([0; 16]);
        bytes.extend(map(&[("country", map(&[("iso_code", text(code))]))]));
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        let number = |n: u8| vec![0xa1, n];
        let long = |n: u8| vec![0xc1, n];
        bytes.extend(map(&[
            ("binary_format_major_version", number(2)),
            ("binary_format_minor_version", number(0)),
            ("build_epoch", vec![0x01, 0x02, 1]),
            ("database_type", text("Test")),
            ("description", map(&[])),
            ("ip_version", number(4)),
            ("languages", vec![0x00, 0x04]),
            ("node_count", long(1)),
            ("record_size", number(24)),
        ]));
        bytes
    }

    #[test]
    fn an_address_is_found_in_its_country() {
        let known = Database::new(database("DE")).unwrap();
        assert_eq!(known.country("9.1.2.3".parse().unwrap()), Some(*b"DE"));
        assert_eq!(known.country("200.1.2.3".parse().unwrap()), None);
    }

    #[test]
    fn damaged_databases_are_refused_or_know_nothing() {
        let whole = database("DE");
        for length in 0..whole.len() {
            if let Ok(known) = Database::new(whole[..length].to_vec()) {
                let _ = known.country("9.1.2.3".parse().unwrap());
            }
        }
        assert!(Database::new(b"no database".to_vec()).is_err());
    }
}
