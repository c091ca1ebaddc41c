//! The host and the path that a request is meant for, from its target and its Host field.

use super::exchange::Exchange;
use super::line::{Method, Version};
use super::uri::{self, Reading};

/// What became of a target.
pub struct Target {
    /// It was encoded twice.
    pub double: bool,
    /// The host it names can be one.
    pub valid_host: bool,
}

impl Exchange {
    /// Reads the target of a request.
    pub(super) fn set_target(&mut self, target: &[u8], reading: Reading) -> Target {
        if self.method == Method::Connect {
            let pair = uri::host_port(target);
            self.raw_host = Some(self.request.build(pair.host)).filter(|_| !pair.host.is_empty());
            self.set_host(pair.host);
            self.port = pair.number;
            return Target { double: false, valid_host: pair.valid };
        }
        let parts = uri::parts(target);
        let mut normal = Vec::with_capacity(target.len());
        let done = uri::normalize(&parts, reading, &mut normal);
        self.normal_uri = self.request.build(&normal);
        self.path_length = done.path;
        self.has_path = parts.path.is_some();
        let mut valid_host = true;
        if let Some(host) = parts.host {
            self.raw_host = Some(self.request.build(host));
            self.set_host(host);
            self.port = parts.port.and_then(uri::number);
            valid_host = uri::is_host(host) && parts.port.is_some() == self.port.is_some();
        }
        Target { double: done.double, valid_host }
    }

    fn set_host(&mut self, host: &[u8]) {
        let mut normal = Vec::with_capacity(host.len());
        uri::normal_host(host, &mut normal);
        self.host = Some(self.request.build(&normal)).filter(|_| !normal.is_empty());
    }

    /// Compares the Host field with the target, and takes it where the target names no host.
    pub(super) fn settle_host(&mut self, note: &mut dyn FnMut(&'static str)) {
        let Some(field) = self.request.field(b"host").map(<[u8]>::to_vec) else {
            if self.request_version == Version::V11 {
                note("http.missing_host_header");
            }
            return;
        };
        let pair = uri::host_port(&field);
        if !pair.valid {
            note("http.request_header_host_invalid");
        }
        match self.host {
            None => {
                let host = self.request.build(&pair.host.to_ascii_lowercase());
                self.host = Some(host).filter(|_| !pair.host.is_empty());
                self.port = pair.number;
            }
            Some(host) => {
                let same_port = self.port.is_none() || pair.port.is_none() || self.port == pair.number;
                if !self.request.get(host).eq_ignore_ascii_case(pair.host) || !same_port {
                    note("http.host_header_ambiguous");
                }
            }
        }
    }
}
