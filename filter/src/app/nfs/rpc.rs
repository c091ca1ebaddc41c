//! Calls and answers of ONC RPC (RFC 5531, 9), and the values of XDR (RFC 4506).

use crate::app::read::Reader;

/// Bytes of a machine's name.
const NAME: usize = 255;

/// Who calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    /// Kind of credentials.
    pub(super) flavor: u32,
    /// Machine, user, group (AUTH_SYS).
    pub(super) unix: Option<(Vec<u8>, u32, u32)>,
}

/// A call.
#[derive(Debug)]
pub(super) struct Call<'b> {
    pub(super) xid: u32,
    pub(super) program: u32,
    pub(super) version: u32,
    pub(super) procedure: u32,
    pub(super) credentials: Credentials,
    pub(super) arguments: &'b [u8],
}

impl<'b> Call<'b> {
    pub(super) fn read(record: &'b [u8]) -> Option<Call<'b>> {
        let mut reader = Reader::new(record);
        let xid = reader.be32()?;
        if reader.be32()? != 0 || reader.be32()? != 2 {
            return None;
        }
        let (program, version, procedure) = (reader.be32()?, reader.be32()?, reader.be32()?);
        let flavor = reader.be32()?;
        let unix = opaque(&mut reader).map(|content| unix(flavor, content))?;
        reader.be32()?;
        opaque(&mut reader)?;
        let credentials = Credentials { flavor, unix };
        Some(Call { xid, program, version, procedure, credentials, arguments: reader.rest() })
    }
}

fn unix(flavor: u32, content: &[u8]) -> Option<(Vec<u8>, u32, u32)> {
    let mut reader = Reader::new(content);
    reader.be32().filter(|_| flavor == 1)?;
    let machine = opaque(&mut reader)?;
    Some((machine.get(..NAME).unwrap_or(machine).to_vec(), reader.be32()?, reader.be32()?))
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply<'b> {
    pub(super) xid: u32,
    /// 0 accepted, 1 denied.
    pub(super) state: u32,
    pub(super) results: &'b [u8],
}

impl<'b> Reply<'b> {
    pub(super) fn read(record: &'b [u8]) -> Option<Reply<'b>> {
        let mut reader = Reader::new(record);
        let xid = reader.be32()?;
        if reader.be32()? != 1 {
            return None;
        }
        let state = reader.be32()?;
        if state != 0 {
            return Some(Reply { xid, state, results: &[] });
        }
        reader.be32()?;
        opaque(&mut reader)?;
        let results = if reader.be32()? == 0 { reader.rest() } else { &[] };
        Some(Reply { xid, state, results })
    }
}

/// Bytes with their length before them, filled up to a multiple of four.
pub(super) fn opaque<'b>(reader: &mut Reader<'b>) -> Option<&'b [u8]> {
    let mut ahead = *reader;
    let length = usize::try_from(ahead.be32()?).ok()?;
    let content = ahead.take(length)?;
    ahead.take_up_to((4 - length % 4) % 4);
    *reader = ahead;
    Some(content)
}
