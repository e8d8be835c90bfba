//! The messages in an answer of the kernel process, as bytes with what came beside them: [`crate::received`] makes typed values of them, [`crate::raw`] hands them on.

use std::fs::File;

use umach_abi::control::Malformed;
use umach_abi::message::Place;
use umach_abi::records::Frame;
use umach_abi::{Code, Name};

use crate::direct::Borrowed;
use crate::error::{Error, Result};
use crate::transport::Attached;

/// One message in an answer, not interpreted.
pub(crate) struct RawFrame<'a> {
    pub(crate) status: Code,
    pub(crate) message: &'a [u8],
    pub(crate) trailer: &'a [u8],
    pub(crate) annex: &'a [u8],
    /// Each is taken out once.
    pub(crate) attached: Vec<Option<Attached>>,
    /// Likewise.
    pub(crate) leases: Vec<Option<Borrowed>>,
}

/// The messages of an answer's tail. Every descriptor that came along goes to its message; those of messages that were not read are closed.
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
    attached: std::vec::IntoIter<Attached>,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(tail: &'a [u8], attached: Vec<Attached>) -> Frames<'a> {
        Frames { rest: tail, attached: attached.into_iter() }
    }

    pub(crate) fn next(&mut self) -> Result<Option<RawFrame<'a>>> {
        let bytes = self.rest;
        if bytes.is_empty() {
            return Ok(None);
        }
        let short = |need: usize| Error::Protocol(Malformed::Short { have: bytes.len(), need });
        let row = Frame::read(bytes).ok_or_else(|| short(Frame::SIZE))?;
        let sizes = [row.size as usize, row.trailer as usize, row.annex as usize];
        let whole = Frame::SIZE + sizes.iter().sum::<usize>();
        let frame = bytes.get(..whole).ok_or_else(|| short(whole))?;
        self.rest = &bytes[whole..];
        let (message, rest) = frame[Frame::SIZE..].split_at(sizes[0]);
        let (trailer, annex) = rest.split_at(sizes[1]);
        let attached = match row.attach {
            0 => Vec::new(),
            n => self.attached.by_ref().take(n as usize).map(Some).collect(),
        };
        Ok(Some(RawFrame { status: Code(row.status), message, trailer, annex, attached, leases: Vec::new() }))
    }
}

/// The names of a received port array.
pub(crate) fn array_names(annex: &[u8], address: u64, count: u32) -> Option<Vec<Name>> {
    array_bytes(annex, address, count).map(names_of)
}

/// The same, four bytes each.
pub(crate) fn array_bytes(annex: &[u8], address: u64, count: u32) -> Option<&[u8]> {
    match Place::from_raw(address)? {
        Place::Null if count == 0 => Some(&[]),
        Place::Annex(at) => annex.get(at as usize..(at as usize).checked_add(4 * count as usize)?),
        _ => None,
    }
}

/// Names of four bytes each.
pub(crate) fn names_of(bytes: &[u8]) -> Vec<Name> {
    bytes.chunks_exact(4).map(|b| Name(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
}

/// The n-th descriptor of a frame, taken out.
pub(crate) fn take_attached(attached: &mut [Option<Attached>], n: u32) -> Option<File> {
    match attached.get_mut(n as usize)?.take()? {
        Attached::Fd(fd) => Some(File::from(fd)),
        Attached::Lane(_) => None,
    }
}
