//! A command with its answer, or a file on its way; as rules see it.

use std::sync::Arc;

use weir_ids_rules::{Buffer, Field};

use super::auth::Session;
use super::transfer::Transfer;
use super::{Fid, Key};
use crate::app::Transaction;
use crate::app::dcerpc::call::Call;
use crate::app::file::Files;
use crate::inspect::Direction;
use crate::json::Json;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// An error of Windows NT.
    Nt(u32),
    /// An error of DOS: class and code.
    Dos(u8, u16),
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Tx {
    pub(super) id: u64,
    /// 1, or 2 for 2 and 3.
    pub(super) version: u8,
    pub(super) command: u16,
    pub(super) status: Option<Status>,
    pub(super) key: Key,
    /// Session and tree as people read them, the session of SMB 1 being the user; those that the server has given, where
    /// it was asked for one.
    pub(super) shown: (u64, u32),
    pub(super) kind: Kind,
    pub(super) done: [bool; 2],
    pub(super) dialect: Option<Arc<str>>,
}

/// What it is about.
#[derive(Debug)]
pub(super) enum Kind {
    Generic,
    Negotiate(Box<Negotiation>),
    Session(Box<Session>),
    Tree(Box<TreeConnect>),
    Create(Box<Create>),
    File(Box<Transfer>),
    Rename { fid: Option<Fid>, from: Vec<u8>, to: Vec<u8> },
    SetInfo { fid: Option<Fid>, name: Vec<u8>, subcommand: u16, level: u16, delete: bool },
    Ioctl(u32),
    Call(Box<Call>),
}

#[derive(Debug, Default)]
pub(super) struct Negotiation {
    pub(super) dialects: Vec<Vec<u8>>,
    pub(super) client_guid: Option<[u8; 16]>,
    pub(super) server_guid: Option<[u8; 16]>,
    pub(super) max_read: u32,
    pub(super) max_write: u32,
}

#[derive(Debug, Default)]
pub(super) struct TreeConnect {
    pub(super) share: Vec<u8>,
    pub(super) asked_service: Option<Vec<u8>>,
    pub(super) service: Option<Vec<u8>>,
    pub(super) share_type: u8,
    pub(super) pipe: bool,
}

#[derive(Debug, Default)]
pub(super) struct Create {
    pub(super) name: Vec<u8>,
    pub(super) disposition: u32,
    pub(super) delete_on_close: bool,
    pub(super) directory: bool,
    /// Created, accessed, written, changed: seconds since 1970.
    pub(super) times: [u32; 4],
    pub(super) size: u64,
    pub(super) fid: Option<Fid>,
}

impl Tx {
    /// The request was seen.
    pub(super) fn asked(&mut self) {
        let [asked, _] = &mut self.done;
        *asked = true;
    }

    /// The answer was seen.
    pub(super) fn answered(&mut self, status: Option<Status>) {
        self.done = [true, true];
        if status.is_some() {
            self.status = status;
        }
    }

    /// A file of an open transfer.
    pub(super) fn is_transfer(&self, fid: Fid, way: Direction) -> bool {
        matches!(&self.kind, Kind::File(file) if file.fid == fid && file.way == way) && self.done != [true, true]
    }
}

impl Transaction for Tx {
    fn progress(&self, way: Direction) -> u8 {
        let [asked, answered] = self.done;
        let asked = match &self.kind {
            // Only the answer tells whether it is a pipe.
            Kind::Tree(_) => answered,
            _ => asked,
        };
        u8::from(if way == Direction::Original { asked } else { answered })
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, buffer: Buffer, way: Direction, nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        if nth > 0 {
            return None;
        }
        match (buffer, &self.kind) {
            (Buffer::SmbNamedPipe, Kind::Tree(tree)) if tree.pipe => Some(&tree.share),
            (Buffer::SmbShare, Kind::Tree(tree)) if !tree.pipe => Some(&tree.share),
            (Buffer::SmbNtlmsspUser, Kind::Session(session)) => {
                session.ntlmssp.as_ref().map(|who| &who.user[..]).filter(|name| !name.is_empty())
            }
            // A name of nobody is none.
            (Buffer::SmbNtlmsspDomain, Kind::Session(session)) => {
                session.ntlmssp.as_ref().map(|who| &who.domain[..]).filter(|name| !name.is_empty())
            }
            (Buffer::DcerpcStubData, Kind::Call(call)) => call.data(way),
            _ => None,
        }
    }

    fn number(&self, field: Field, _way: Direction, nth: usize) -> Option<u64> {
        match (field, &self.kind) {
            _ if nth > 0 => None,
            (Field::SmbVersion, _) => Some(u64::from(self.version)),
            (Field::DcerpcOpnum, Kind::Call(call)) => call.procedure().map(u64::from),
            _ => None,
        }
    }

    fn files(&self, way: Direction) -> Option<&Files> {
        match &self.kind {
            Kind::File(file) if file.way == way => Some(&file.parts.files),
            _ => None,
        }
    }

    fn files_mut(&mut self, way: Direction) -> Option<&mut Files> {
        match &mut self.kind {
            Kind::File(file) if file.way == way => Some(&mut file.parts.files),
            _ => None,
        }
    }

    fn special(&self, keyword: &str, argument: &str, _way: Direction) -> Option<bool> {
        match &self.kind {
            Kind::Call(call) => call.special(keyword, argument),
            _ => None,
        }
    }

    fn log(&self, json: &mut Json<'_>) {
        super::log::write(self, json);
    }
}
