//! What can go wrong with a port, told so that an operator can act on it.

use std::fmt;
use std::io;

/// What a caller can do about a [`PortError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortErrorKind {
    /// The process lacks a capability or a permission.
    Denied,
    /// The named object (device, namespace, file, socket) does not exist.
    NotFound,
    /// The object is there but somebody else holds it.
    Busy,
    /// The settings contradict each other or what the object is.
    Invalid,
    /// The kernel or the other side does not do what is needed.
    Unsupported,
    /// Anything else the kernel reports.
    System,
}

impl PortErrorKind {
    /// The kind that an error number of the kernel stands for.
    pub fn of(error: &io::Error) -> PortErrorKind {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PortErrorKind::Denied,
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => PortErrorKind::NotFound,
            Some(libc::EBUSY | libc::EEXIST | libc::EADDRINUSE) => PortErrorKind::Busy,
            Some(libc::EINVAL | libc::ERANGE | libc::ENAMETOOLONG | libc::E2BIG) => PortErrorKind::Invalid,
            Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOPROTOOPT | libc::ENOTTY) => PortErrorKind::Unsupported,
            Some(_) => PortErrorKind::System,
            None => match error.kind() {
                io::ErrorKind::NotFound => PortErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => PortErrorKind::Denied,
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => PortErrorKind::Invalid,
                io::ErrorKind::Unsupported => PortErrorKind::Unsupported,
                _ => PortErrorKind::System,
            },
        }
    }
}

/// A port could not be made, or a device could not be set up. Displays as one line: object, what happened, remedy.
#[derive(Debug)]
pub struct PortError {
    object: String,
    what: String,
    remedy: String,
    kind: PortErrorKind,
    source: Option<io::Error>,
}

impl PortError {
    /// `object` is named as the operator names it ("tap vm1"); `what` says what happened, in lower case.
    pub fn new(kind: PortErrorKind, object: impl Into<String>, what: impl Into<String>) -> PortError {
        PortError { object: object.into(), what: what.into(), remedy: String::new(), kind, source: None }
    }

    /// The kernel refused `what` ("cannot open /dev/net/tun"); its reason is appended.
    pub fn os(object: impl Into<String>, what: impl Into<String>, source: io::Error) -> PortError {
        let kind = PortErrorKind::of(&source);
        PortError { source: Some(source), ..PortError::new(kind, object, what) }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> PortError {
        self.remedy = remedy.into();
        self
    }

    /// Says what a caller can do about it, where the kernel's number says less than is known here.
    #[must_use]
    pub fn of_kind(mut self, kind: PortErrorKind) -> PortError {
        self.kind = kind;
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> PortErrorKind {
        self.kind
    }

    /// The port, device or file this is about.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// What to do about it; empty where nothing is known to help.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// The kernel's error number, where the kernel said no.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for PortError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_one_line_with_its_remedy() {
        let error = PortError::os("tap vm1", "cannot open /dev/net/tun", io::Error::from_raw_os_error(libc::ENOENT))
            .with_remedy("run \"modprobe tun\"");
        assert_eq!(
            error.to_string(),
            "tap vm1: cannot open /dev/net/tun: No such file or directory (os error 2); run \"modprobe tun\""
        );
        assert_eq!(error.kind(), PortErrorKind::NotFound);
    }

    #[test]
    fn without_a_remedy_nothing_trails() {
        let error = PortError::new(PortErrorKind::Invalid, "pcap a.pcap", "not a capture file");
        assert_eq!(error.to_string(), "pcap a.pcap: not a capture file");
    }
}
