//! DCE/RPC in named pipes: written and read, or sent and answered in one step.

use super::transaction::{Kind, Status, Tx};
use super::{Fid, Key, Smb};
use crate::app::dcerpc::call::Call;
use crate::app::dcerpc::record::{self, Header, Request, kind};
use crate::app::dcerpc::{agree, answer};
use crate::app::{Anomaly, Settings};
use crate::inspect::Direction;

/// Bytes of a record of which more is to come.
const PENDING: usize = 64 << 10;

/// Where data of a pipe was met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carrier {
    pub(super) version: u8,
    pub(super) command: u16,
    pub(super) key: Key,
    pub(super) fid: Fid,
}

/// Names of pipes that carry calls.
pub(super) fn is_service(name: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "svcctl",
        "srvsvc",
        "atsvc",
        "lsarpc",
        "lsass",
        "samr",
        "spoolss",
        "winreg",
        "wkssvc",
        "netlogon",
        "epmapper",
        "eventlog",
        "browser",
        "efsrpc",
        "netdfs",
        "ntsvcs",
        "initshutdown",
        "trkwks",
        "srvcs",
        "keysvc",
        "fssagentrpc",
    ];
    let name = name.strip_prefix(b"\\").unwrap_or(name);
    let name = name.strip_prefix(b"PIPE\\").unwrap_or(name);
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether data looks like a record.
pub(super) fn looks_like_call(data: &[u8]) -> bool {
    Header::read(data).is_some_and(|header| header.kind <= kind::LAST)
}

impl Smb {
    /// Data of a pipe, in one direction. Records may come in several parts.
    pub(super) fn pipe_data(
        &mut self,
        way: Direction,
        carrier: Carrier,
        data: &[u8],
        status: Status,
        settings: &Settings,
    ) {
        let place = (carrier.fid, way as u8);
        let mut joined = self.state.pipes.remove(&place).unwrap_or_default();
        joined.extend_from_slice(data);
        let mut rest = &joined[..];
        while !rest.is_empty() {
            let Some(header) = Header::read(rest) else {
                if rest.len() >= record::HEADER {
                    self.list.anomaly(Anomaly("smb.malformed_data"));
                    return;
                }
                break;
            };
            let Some(record) = rest.get(..header.length) else { break };
            let body = header.body(record);
            let read = match way {
                Direction::Original => self.call_request(carrier, &header, body, settings),
                Direction::Reply => self.call_response(carrier, &header, body, status, settings),
            };
            if read.is_none() {
                self.list.anomaly(Anomaly("smb.malformed_data"));
            }
            rest = rest.get(header.length..).unwrap_or_default();
        }
        if !rest.is_empty() && rest.len() <= PENDING {
            let rest = rest.to_vec();
            self.state.pipes.insert(place, rest);
        }
    }

    fn call_request(&mut self, carrier: Carrier, header: &Header, body: &[u8], settings: &Settings) -> Option<()> {
        if header.kind == kind::REQUEST {
            let request = Request::read(header, body)?;
            let last = header.flags & record::LAST != 0;
            let first = header.flags & record::FIRST != 0;
            if first || self.find_call(carrier, header.call).is_none() {
                self.begin_call(carrier, header, settings)?;
                if let Some(call) = self.find_call(carrier, header.call).and_then(call_of) {
                    call.opnum = request.opnum;
                    call.context = request.context;
                }
            }
            let tx = self.find_call(carrier, header.call)?;
            if last {
                tx.asked();
            }
            call_of(tx)?.add(Direction::Original, request.stub);
            return Some(());
        }
        if matches!(header.kind, kind::BIND | kind::ALTER) {
            agree(&mut self.state.interfaces, record::bind(header, body)?, header.kind);
        }
        let tx = self.begin_call(carrier, header, settings)?;
        tx.asked();
        (header.kind <= kind::LAST).then_some(())
    }

    fn call_response(
        &mut self,
        carrier: Carrier,
        header: &Header,
        body: &[u8],
        status: Status,
        settings: &Settings,
    ) -> Option<()> {
        if matches!(header.kind, kind::BIND_ACK | kind::ALTER_RESPONSE) {
            answer(&mut self.state.interfaces, header.call, &record::bind_answers(header, body)?);
            let interfaces = self.state.interfaces.clone();
            for tx in self.list.iter_mut() {
                if let Some(call) = call_of(tx) {
                    call.interfaces = interfaces.clone();
                }
            }
        }
        if self.find_call(carrier, header.call).is_none() {
            let tx = self.begin_call(carrier, header, settings)?;
            tx.asked();
            call_of(tx)?.request = None;
        }
        let tx = self.find_call(carrier, header.call)?;
        if header.kind != kind::RESPONSE || header.flags & record::LAST != 0 {
            tx.answered(Some(status));
        }
        let call = call_of(tx)?;
        call.response = Some(header.kind);
        if header.kind == kind::RESPONSE {
            call.add(Direction::Reply, record::response_stub(header, body)?);
        }
        (header.kind <= kind::LAST).then_some(())
    }

    fn begin_call(&mut self, carrier: Carrier, header: &Header, settings: &Settings) -> Option<&mut Tx> {
        let interfaces = self.state.interfaces.clone();
        let call =
            Call { id: header.call, request: Some(header.kind), order: header.order, interfaces, ..Call::default() };
        self.begin(carrier.version, carrier.command, carrier.key, Kind::Call(Box::new(call)), settings)
    }

    /// The newest call of this number in the same session and tree whose answer is not complete.
    fn find_call(&mut self, carrier: Carrier, id: u32) -> Option<&mut Tx> {
        let same = |tx: &Tx| {
            tx.done != [true, true]
                && (tx.key.session, tx.key.tree) == (carrier.key.session, carrier.key.tree)
                && matches!(&tx.kind, Kind::Call(call) if call.id == id)
        };
        self.list.iter_mut().rev().find(|tx| same(tx))
    }
}

fn call_of(tx: &mut Tx) -> Option<&mut Call> {
    match &mut tx.kind {
        Kind::Call(call) => Some(call),
        _ => None,
    }
}
