//! A call with its answer, or a file on its way; as rules see it.

use weir_ids_rules::{Buffer, Field};

use super::Asked;
use super::rpc::Credentials;
use crate::app::Transaction;
use crate::app::file::Files;
use crate::app::parts::Parts;
use crate::inspect::Direction;
use crate::json::Json;

/// Further procedures that belong to a transaction.
const ALSO: usize = 64;

/// A transaction.
#[derive(Debug)]
pub(super) struct Tx {
    pub(super) id: u64,
    pub(super) xid: u32,
    pub(super) version: u32,
    pub(super) procedure: u32,
    pub(super) also: Vec<u32>,
    pub(super) name: Vec<u8>,
    pub(super) handle: Vec<u8>,
    pub(super) credentials: Credentials,
    pub(super) kind: Kind,
    /// State of the answer: of RPC, of NFS.
    pub(super) states: (u32, u32),
    done: [bool; 2],
}

/// What it is about.
#[derive(Debug)]
pub(super) enum Kind {
    Plain,
    /// The new name.
    Rename(Vec<u8>),
    File(Box<Transfer>),
}

/// A file that is read or written.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) way: Direction,
    pub(super) parts: Parts,
    pub(super) chunks: u32,
    pub(super) last_xid: u32,
}

impl Tx {
    pub(super) fn new(id: u64, xid: u32, asked: &Asked, credentials: &Credentials, kind: Kind) -> Tx {
        Tx {
            id,
            xid,
            version: asked.version,
            procedure: asked.procedure,
            also: Vec::new(),
            name: asked.name.clone(),
            handle: asked.handle.clone(),
            credentials: credentials.clone(),
            kind,
            states: (0, 0),
            done: [false, false],
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done == [true, true]
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    pub(super) fn is_transfer(&self, handle: &[u8], way: Direction) -> bool {
        matches!(&self.kind, Kind::File(file) if file.way == way) && self.handle == handle
    }

    /// The call was seen.
    pub(super) fn asked(&mut self) {
        let [asked, _] = &mut self.done;
        *asked = true;
    }

    /// The answer was seen.
    pub(super) fn answered(&mut self, rpc: u32, status: u32) {
        self.states = (rpc, status);
        self.done = [true, true];
    }

    /// Another procedure belongs to it.
    pub(super) fn also(&mut self, procedure: u32) {
        if self.also.len() < ALSO && !self.also.contains(&procedure) {
            self.also.push(procedure);
        }
    }

    /// A call more carries a part of the file.
    pub(super) fn next_chunk(&mut self, xid: u32) {
        if let Kind::File(file) = &mut self.kind {
            file.chunks = file.chunks.saturating_add(1);
        }
        self.last_call(xid);
    }

    /// A call more is about the file.
    pub(super) fn last_call(&mut self, xid: u32) {
        if let Kind::File(file) = &mut self.kind {
            file.last_xid = xid;
        }
    }

    /// Bytes of the file; whether they are its last ones.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8], last: bool) {
        if let Kind::File(file) = &mut self.kind {
            file.parts.put(offset, bytes);
        }
        if last {
            self.close();
        }
    }

    /// The file is complete.
    pub(super) fn close(&mut self) {
        if let Kind::File(file) = &mut self.kind {
            file.parts.close();
        }
        self.done = [true, true];
    }

    /// The direction ended.
    pub(super) fn cut_off(&mut self, way: Direction) {
        if let Kind::File(file) = &mut self.kind
            && file.way == way
        {
            file.parts.cut_off();
            self.done = [true, true];
        }
    }

    /// It is not waited for any longer.
    pub(super) fn give_up(&mut self) {
        if let Kind::File(file) = &mut self.kind {
            file.parts.cut_off();
        }
        self.done = [true, true];
    }
}

impl Transaction for Tx {
    fn progress(&self, way: Direction) -> u8 {
        let [asked, answered] = self.done;
        u8::from(if way == Direction::Original { asked } else { answered })
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, _: Buffer, _way: Direction, _nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        match field {
            _ if way == Direction::Reply => None,
            Field::NfsVersion if nth == 0 => Some(u64::from(self.version)),
            Field::NfsProcedure => {
                let mut all = std::iter::once(&self.procedure).chain(&self.also);
                all.nth(nth).map(|&procedure| u64::from(procedure))
            }
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

    fn log(&self, json: &mut Json<'_>) {
        super::log::write(self, json);
    }

    fn log_beside(&self, json: &mut Json<'_>) {
        json.nested("rpc", |json| super::log::write_rpc(self, json));
    }

    fn shown_in(&self) -> Direction {
        match &self.kind {
            Kind::File(file) => file.way,
            Kind::Plain | Kind::Rename(_) => Direction::Reply,
        }
    }

    fn shown_with_packet(&self) -> bool {
        true
    }

    fn is_logged(&self) -> bool {
        // Clients ask for attributes all the time.
        self.version > 3 || self.procedure != 1
    }
}
