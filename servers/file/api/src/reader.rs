//! Reading a file from front to back.
//!
//! Where the server lends what it read, several requests are on their way while the program looks at the last piece, so server and client work at the same
//! time. Where it does not, a piece is a region, which is mapped; those are fetched one by one, and larger.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use libtask::interface::Pending;
use libtask::{CALL_TIMEOUT, CallError, Lease, Memory};

use crate::error::{Failure, FileError};
use crate::file::{File, checked_lease, seek};

/// Bytes of a piece that is lent: it stays in a processor's second cache from the server's reading to the program's.
const LENT: u64 = 512 << 10;
/// Bytes of a piece that is mapped: so many that the message costs little beside it.
const MAPPED: u64 = 4 << 20;
/// Requests on their way: one that is being read, one that waits for that, and one that is being looked at.
const AHEAD: usize = 3;

/// Reads a file from a position on; see [`File::reader`].
#[derive(Debug)]
pub struct Reader {
    file: File,
    position: u64,
    /// Offset of `piece` in the file.
    start: u64,
    piece: Piece,
    /// What comes after the piece, in order.
    ahead: VecDeque<Asked>,
    /// The server lends.
    lends: bool,
}

/// What the program looks at.
#[derive(Debug)]
enum Piece {
    /// Copied from what was lent. Kept for its room.
    Copied(Vec<u8>),
    Own(Memory),
}

/// A request that is on its way.
#[derive(Debug)]
struct Asked {
    offset: u64,
    length: u64,
    answer: Pending<Result<Lease, CallError<Failure>>>,
}

impl Reader {
    pub(crate) fn new(file: File) -> Reader {
        Reader { file, position: 0, start: 0, piece: Piece::Copied(Vec::new()), ahead: VecDeque::new(), lends: true }
    }
    fn shown(&self) -> &[u8] {
        match &self.piece {
            Piece::Copied(bytes) => bytes,
            Piece::Own(memory) => memory,
        }
    }
    /// What of the piece is still to be looked at.
    fn rest(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.shown().get(skip..)).unwrap_or_default()
    }

    fn ask(&mut self, offset: u64) {
        let length = if self.lends { LENT } else { MAPPED };
        let answer = self.file.client().begin().read(offset, length);
        self.ahead.push_back(Asked { offset, length, answer });
    }

    /// Gets the piece at the position. None is left, and none on its way, if that is the end.
    fn fetch(&mut self) -> Result<(), FileError> {
        if self.ahead.front().is_some_and(|next| next.offset != self.position) {
            self.ahead.clear();
        }
        // What was read to its end so far is likely to be read on.
        let goes_on = !self.shown().is_empty() && self.start + self.shown().len() as u64 == self.position;
        if self.ahead.is_empty() {
            self.ask(self.position);
        }
        while self.lends && goes_on && self.ahead.len() < AHEAD {
            let last = self.ahead.back().expect("just asked");
            self.ask(last.offset + last.length);
        }
        let Asked { offset, length, answer } = self.ahead.pop_front().expect("just asked");
        // Counted from here: the program may have looked at the last piece for long.
        let lease = checked_lease(answer.finish_within(CALL_TIMEOUT), length)?;
        if (lease.len() as u64) < length {
            // The rest was asked for at the wrong place, or there is none.
            self.ahead.clear();
        }
        self.start = offset;
        if !lease.is_empty() {
            self.lends = lease.is_in_place();
        }
        match lease.into_own() {
            Ok(memory) => self.piece = Piece::Own(memory),
            Err(lease) => {
                let mut bytes = match std::mem::replace(&mut self.piece, Piece::Copied(Vec::new())) {
                    Piece::Copied(bytes) => bytes,
                    Piece::Own(_) => Vec::new(),
                };
                bytes.clear();
                lease.append_to(&mut bytes);
                self.piece = Piece::Copied(bytes);
            }
        }
        Ok(())
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() {
            self.fetch()?;
        }
        Ok(self.rest())
    }
    fn consume(&mut self, amount: usize) {
        self.position += amount as u64;
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = seek(&self.file, self.position, to)?;
        Ok(self.position)
    }
}
