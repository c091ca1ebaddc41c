//! Who logs in: NTLMSSP (MS-NLMP) and Kerberos tickets in the blobs of a session's setup.

use crate::app::Anomaly;
use crate::app::krb5::{Ticket, ticket_in};
use crate::app::read::Reader;

/// Bytes of a name that are kept.
const NAME: usize = 512;

/// The parts of a session's setup.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) ntlmssp: Option<Identity>,
    pub(super) kerberos: Option<Ticket>,
    /// Operating system and LAN manager, as the client and the server say.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) server: Option<(Vec<u8>, Vec<u8>)>,
}

/// Who says to be who.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) domain: Vec<u8>,
    pub(super) user: Vec<u8>,
    pub(super) host: Vec<u8>,
    pub(super) version: Option<String>,
}

/// What is odd about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// It is cut off, or names places outside it.
    Malformed,
    /// A message that the other side sends.
    Order,
}

impl Odd {
    /// Its event, of a client's blob.
    pub(super) fn event(self) -> Anomaly {
        Anomaly(match self {
            Odd::Malformed => "smb.malformed_ntlmssp_request",
            Odd::Order => "smb.unusual_ntlmssp_order",
        })
    }
}

/// Messages of NTLMSSP.
const CHALLENGE: u32 = 2;
const AUTHENTICATE: u32 = 3;

impl Session {
    /// Reads a blob of the client.
    pub(super) fn read_blob(&mut self, blob: &[u8]) -> Result<(), Odd> {
        if let Some(at) = memchr::memmem::find(blob, b"NTLMSSP\0") {
            let message = blob.get(at..).unwrap_or_default();
            if let Some(identity) = identity(message)? {
                self.ntlmssp = Some(identity);
            }
        } else if let Some(ticket) = ticket_in(blob) {
            self.kerberos = Some(ticket);
        }
        Ok(())
    }
}

/// The names of an AUTHENTICATE message (MS-NLMP, 2.2.1.3); `Ok(None)` of another one.
fn identity(message: &[u8]) -> Result<Option<Identity>, Odd> {
    use Odd::Malformed;
    let mut reader = Reader::new(message);
    reader.take(8).ok_or(Malformed)?;
    match reader.le32().ok_or(Malformed)? {
        AUTHENTICATE => {}
        CHALLENGE => return Err(Odd::Order),
        _ => return Ok(None),
    }
    let read = |reader: &mut Reader<'_>| {
        let length = usize::from(reader.le16()?);
        reader.le16()?;
        let at = usize::try_from(reader.le32()?).ok()?;
        message.get(at..at.checked_add(length)?).map(without_zeros)
    };
    reader.take(16).ok_or(Malformed)?;
    let domain = read(&mut reader).ok_or(Malformed)?;
    let user = read(&mut reader).ok_or(Malformed)?;
    let host = read(&mut reader).ok_or(Malformed)?;
    reader.take(8).ok_or(Malformed)?;
    let flags = reader.le32().ok_or(Malformed)?;
    let version = if flags & 0x0200_0000 != 0 { reader.array::<8>() } else { None };
    let version = version.map(|[major, minor, low, high, _, _, _, revision]| {
        format!("{major}.{minor} build {} rev {revision}", u16::from_le_bytes([low, high]))
    });
    Ok(Some(Identity { domain, user, host, version }))
}

/// Text of two bytes a letter, as far as it is Latin; others keep their bytes.
pub(super) fn without_zeros(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|&byte| byte != 0).take(NAME).collect()
}
