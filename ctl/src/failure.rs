//! What can go wrong, and the exit status that says which.

use std::process::ExitCode;

use tonic::{Code, Status};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    message: String,
}

/// The daemon said no.
const REFUSED: u8 = 1;
/// The command makes no sense.
const USAGE: u8 = 2;
/// There is no daemon to ask.
const UNREACHABLE: u8 = 3;
/// Whoever read our output has gone; nothing is wrong.
const READER_GONE: u8 = 0;

impl Failure {
    /// The command makes no sense.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { status: USAGE, message: message.into() }
    }

    /// The daemon, or a check in its stead, said no.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure { status: REFUSED, message: message.into() }
    }

    /// There is no daemon to ask.
    pub fn unreachable(message: impl Into<String>) -> Failure {
        Failure { status: UNREACHABLE, message: message.into() }
    }

    /// Output could not be written. A reader that has seen enough (`| head`) is no failure.
    pub fn output(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure { status: READER_GONE, message: String::new() },
            _ => Failure { status: REFUSED, message: format!("the output cannot be written: {error}") },
        }
    }

    /// Tells it on stderr; returns the exit status.
    pub fn report(&self) -> ExitCode {
        for line in self.message.lines() {
            eprintln!("vswitchctl: {line}");
        }
        ExitCode::from(self.status)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        match status.code() {
            Code::Unavailable | Code::Cancelled => {
                Failure::unreachable(format!("the daemon does not answer: {}", status.message()))
            }
            Code::Unimplemented => Failure::refused(format!(
                "the daemon does not know this request ({}); vswitchd and vswitchctl are of different versions",
                status.message()
            )),
            _ => Failure::refused(status.message()),
        }
    }
}
