//! Why a request was not carried out, told so that the caller can act on it.

use std::fmt;

use weir_ports::{PortError, PortErrorKind};

use crate::worker::Gone;

/// What kind of answer it is; becomes the gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong in itself.
    Invalid,
    /// There is no object of that name.
    NotFound,
    /// There is one already.
    Exists,
    /// The request does not fit the state of the daemon or of the host.
    State,
    /// The daemon lacks a permission.
    Denied,
    /// The daemon is on its way down.
    Unavailable,
    /// The host refused something that should have worked.
    Internal,
}

/// A refusal: object, what happened, what to do. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of answer it is.
    pub kind: Kind,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// The request is wrong in itself.
    pub fn invalid(message: impl Into<String>) -> Refusal {
        Refusal { kind: Kind::Invalid, message: message.into() }
    }

    /// There is no such object; names those there are.
    pub fn not_found<'a>(kind: &str, name: &str, there: impl Iterator<Item = &'a str>) -> Refusal {
        const SHOWN: usize = 8;
        let names: Vec<&str> = there.take(SHOWN + 1).collect();
        let hint = match names.as_slice() {
            [] => format!("there is none yet; see vswitchctl {} add --help", kind.replace(' ', "")),
            some if some.len() <= SHOWN => format!("there are: {}", some.join(", ")),
            some => format!("there are, among others: {}", some[..SHOWN].join(", ")),
        };
        Refusal { kind: Kind::NotFound, message: format!("{kind} {name}: there is no {kind} of that name; {hint}") }
    }

    /// There is such an object already.
    pub fn exists(kind: &str, name: &str) -> Refusal {
        Refusal {
            kind: Kind::Exists,
            message: format!("{kind} {name}: exists already; change it with \"set\" or choose another name"),
        }
    }

    /// The request does not fit the state.
    pub fn state(message: impl Into<String>) -> Refusal {
        Refusal { kind: Kind::State, message: message.into() }
    }

    /// The host refused something that should have worked.
    pub fn internal(message: impl Into<String>) -> Refusal {
        Refusal { kind: Kind::Internal, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<Gone> for Refusal {
    fn from(gone: Gone) -> Refusal {
        Refusal { kind: Kind::Unavailable, message: gone.to_string() }
    }
}

impl From<crate::config::ConfigError> for Refusal {
    fn from(error: crate::config::ConfigError) -> Refusal {
        Refusal::invalid(error.0)
    }
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> tonic::Status {
        let code = match refusal.kind {
            Kind::Invalid => tonic::Code::InvalidArgument,
            Kind::NotFound => tonic::Code::NotFound,
            Kind::Exists => tonic::Code::AlreadyExists,
            Kind::State => tonic::Code::FailedPrecondition,
            Kind::Denied => tonic::Code::PermissionDenied,
            Kind::Unavailable => tonic::Code::Unavailable,
            Kind::Internal => tonic::Code::Internal,
        };
        tonic::Status::new(code, refusal.message)
    }
}

/// A port that could not be opened.
pub fn from_port(port: &str, error: &PortError) -> Refusal {
    let kind = match error.kind() {
        PortErrorKind::Denied => Kind::Denied,
        PortErrorKind::NotFound | PortErrorKind::Busy | PortErrorKind::Unsupported => Kind::State,
        PortErrorKind::Invalid => Kind::Invalid,
        PortErrorKind::System => Kind::Internal,
    };
    Refusal { kind, message: format!("port {port}: {error}") }
}
