//! A file that is read or written through an open handle.

use super::Fid;
use crate::app::parts::Parts;
use crate::inspect::Direction;

/// One file on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) fid: Fid,
    pub(super) name: Vec<u8>,
    pub(super) share: Vec<u8>,
    pub(super) way: Direction,
    pub(super) parts: Parts,
}
