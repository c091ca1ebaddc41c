//! The connection that carries one file of FTP. It is known by its announcement alone.

use weir_ids_rules::{AppProtocol, Buffer, Field};

use crate::app::file::{Files, Limits};
use crate::app::{Context, Description, Expectation, Fed, Input, List, Parser, Probe, Provides, Settings};
use crate::app::{Transaction, Transactions};
use crate::event::Tuple;
use crate::inspect::Direction;
use crate::json::Json;

/// It is no file but a directory's listing.
pub const LISTING: u8 = 0;
/// The file comes from the server, as `ftpdata_command` counts.
pub const RETRIEVE: u8 = 1;
/// The file goes to the server.
pub const STORE: u8 = 2;

/// How it is found and what its transactions have.
pub const DESCRIPTION: Description = Description {
    protocol: AppProtocol::FtpData,
    tcp: true,
    udp: false,
    ports: &[],
    patterns: &[],
    probe,
    on_ports_only: true,
    start,
    buffers: &[
        Provides::new(Buffer::FileData, Direction::Original, 0),
        Provides::new(Buffer::FileData, Direction::Reply, 0),
        Provides::new(Buffer::FileName, Direction::Original, 0),
        Provides::new(Buffer::FileName, Direction::Reply, 0),
    ],
    hooks: &[],
};

/// Bytes alone tell nothing.
fn probe(_way: Direction, _bytes: &[u8], _tuple: &Tuple) -> Probe {
    Probe::No
}

fn start(_settings: &Settings, _tuple: &Tuple) -> Box<dyn Parser> {
    Box::new(FtpData::default())
}

#[derive(Debug, Default)]
struct FtpData {
    list: List<Transfer>,
    name: Box<[u8]>,
    command: u8,
    begun: bool,
}

impl Parser for FtpData {
    fn protocol(&self) -> AppProtocol {
        AppProtocol::FtpData
    }

    fn expected(&mut self, expectation: &Expectation) {
        self.name = expectation.label.clone();
        self.command = expectation.command;
    }

    fn feed(&mut self, way: Direction, input: Input<'_>, context: &mut Context<'_>) -> Fed {
        if !self.begun && !input.bytes.is_empty() {
            self.begun = true;
            let mut transfer =
                Transfer { name: self.name.clone(), command: self.command, way, done: false, files: Files::default() };
            let file = transfer.files.open(&self.name, Limits::default(), context.settings.hashed());
            if let Some(file) = file {
                (file.announced, file.open_ended) = (!self.name.is_empty(), true);
            }
            self.list.push(transfer);
        }
        let Some(transfer) = self.list.last_mut().filter(|transfer| transfer.way == way) else {
            return Fed::Used(input.bytes.len());
        };
        if let Some(file) = transfer.files.current() {
            file.append(input.bytes);
            if input.end {
                file.close();
            }
        }
        transfer.done |= input.end;
        Fed::Used(input.bytes.len())
    }

    fn gap(&mut self, way: Direction, bytes: u64, _context: &mut Context<'_>) -> bool {
        let transfer = self.list.last_mut().filter(|transfer| transfer.way == way);
        if let Some(file) = transfer.and_then(|transfer| transfer.files.current()) {
            file.gap(bytes);
        }
        true
    }

    fn transactions(&self) -> &dyn Transactions {
        &self.list
    }

    fn transactions_mut(&mut self) -> &mut dyn Transactions {
        &mut self.list
    }
}

/// One file on its way.
#[derive(Debug)]
struct Transfer {
    name: Box<[u8]>,
    command: u8,
    way: Direction,
    done: bool,
    files: Files,
}

impl Transaction for Transfer {
    fn progress(&self, _way: Direction) -> u8 {
        u8::from(self.done)
    }

    fn complete(&self, _way: Direction) -> u8 {
        1
    }

    fn buffer<'t>(&'t self, _: Buffer, _way: Direction, _nth: usize, _work: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        None
    }

    fn number(&self, field: Field, way: Direction, nth: usize) -> Option<u64> {
        // Each command has its direction, whoever has opened the connection.
        let fits = match self.command {
            RETRIEVE => way == Direction::Reply,
            STORE => way == Direction::Original,
            _ => true,
        };
        (field == Field::FtpDataCommand && nth == 0 && fits).then_some(u64::from(self.command))
    }

    fn files(&self, way: Direction) -> Option<&Files> {
        (way == self.way).then_some(&self.files)
    }

    fn files_mut(&mut self, way: Direction) -> Option<&mut Files> {
        (way == self.way).then_some(&mut self.files)
    }

    fn log(&self, json: &mut Json<'_>) {
        if !self.name.is_empty() {
            json.bytes("filename", &self.name);
        }
        match self.command {
            RETRIEVE => json.text("command", "RETR"),
            STORE => json.text("command", "STOR"),
            _ => json,
        };
    }
}
