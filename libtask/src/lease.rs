//! Memory that came with a message, read where it is.

use std::fmt;

use crate::direct::Borrowed;
use crate::loan::Loan;
use crate::message::Part;
use crate::region::{Memory, Region};

/// Memory that came with a message ([`crate::Received::take_lease`]). If the sender lent it, it is read where the sender wrote it, and the sender may write there
/// still: there is no slice of it, and every byte that is looked at is a copy. Nothing is promised of such bytes, except that they can be checked and
/// then used, for a copy does not change. Who needs all of them to be one snapshot takes them out ([`Lease::to_vec`], [`crate::Received::memory`]).
///
/// Dropping it gives it back to the sender.
///
/// An argument or a result of an interface that is lent has this type on both sides. Who sends it makes it from a [`Loan`] that he filled, a [`Region`], or a
/// vector.
pub struct Lease(Inner);

enum Inner {
    Lent(Borrowed),
    Own(Memory),
    /// Not sent yet.
    Filled(Loan),
    /// Likewise, and mapped by its receiver only.
    Region(Region),
}

impl Lease {
    pub(crate) fn lent(borrowed: Borrowed) -> Lease {
        Lease(Inner::Lent(borrowed))
    }
    pub(crate) fn own(memory: Memory) -> Lease {
        Lease(Inner::Own(memory))
    }
    /// Bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::Lent(lent) => lent.len(),
            Inner::Own(memory) => memory.len(),
            Inner::Filled(loan) => loan.len(),
            Inner::Region(region) => region.len() as usize,
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether it is the sender's memory, and not this task's own.
    pub fn is_in_place(&self) -> bool {
        matches!(self.0, Inner::Lent(_))
    }
    /// The bytes, if they are this task's own, mapped, and nobody else can change them.
    pub fn own_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Lent(_) | Inner::Region(_) => None,
            Inner::Own(memory) => Some(memory),
            Inner::Filled(loan) => Some(loan),
        }
    }
    /// Copies `out.len()` bytes from `offset` on.
    ///
    /// Panics past the end.
    pub fn read_at(&self, out: &mut [u8], offset: usize) {
        let fits = offset <= self.len() && out.len() <= self.len() - offset;
        assert!(fits, "{} bytes at {offset} are not all inside a lease of {}", out.len(), self.len());
        match &self.0 {
            Inner::Lent(lent) => {
                let (memory, at) = lent.memory().expect("a lease that is mapped");
                memory.read(at + offset as u64, out);
            }
            Inner::Own(memory) => out.copy_from_slice(&memory[offset..offset + out.len()]),
            Inner::Filled(loan) => out.copy_from_slice(&loan[offset..offset + out.len()]),
            Inner::Region(region) => out.copy_from_slice(&mapped(region)[offset..offset + out.len()]),
        }
    }
    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        match &self.0 {
            Inner::Lent(lent) => lent.to_vec().expect("a lease that is mapped"),
            Inner::Own(memory) => memory.to_vec(),
            Inner::Filled(loan) => loan.to_vec(),
            Inner::Region(region) => mapped(region).to_vec(),
        }
    }
    /// Appends a copy of all bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Inner::Lent(lent) => {
                let (memory, at) = lent.memory().expect("a lease that is mapped");
                memory.append_to(at, lent.len(), out);
            }
            Inner::Own(memory) => out.extend_from_slice(memory),
            Inner::Filled(loan) => out.extend_from_slice(loan),
            Inner::Region(region) => out.extend_from_slice(&mapped(region)),
        }
    }
    /// The memory, if it is this task's own already.
    pub fn into_own(self) -> Result<Memory, Lease> {
        match self.0 {
            Inner::Own(memory) => Ok(memory),
            other => Err(Lease(other)),
        }
    }
    /// Shows all bytes in order and each once, 64 at a time and at last what is left over: the quickest for whom a short loop over them is enough (a sum, a
    /// search), since they need not pass through memory once more. Whoever calls a function for them is better off with [`Lease::blocks`].
    #[inline]
    pub fn lines(&self, look: impl FnMut(&[u8])) {
        match &self.0 {
            Inner::Lent(lent) => {
                let (memory, at) = lent.memory().expect("a lease that is mapped");
                memory.lines(at, lent.len(), look);
            }
            Inner::Own(memory) => lines_of(memory, look),
            Inner::Filled(loan) => lines_of(loan, look),
            Inner::Region(region) => lines_of(&mapped(region), look),
        }
    }
    /// Shows all bytes in order and each once, in blocks of some KiB (multiples of 64 bytes but for the last).
    pub fn blocks(&self, look: impl FnMut(&[u8])) {
        match &self.0 {
            Inner::Lent(lent) => {
                let (memory, at) = lent.memory().expect("a lease that is mapped");
                memory.blocks(at, lent.len(), look);
            }
            Inner::Own(memory) => memory.chunks(1 << 16).for_each(look),
            Inner::Filled(loan) => loan.chunks(1 << 16).for_each(look),
            Inner::Region(region) => mapped(region).chunks(1 << 16).for_each(look),
        }
    }
    /// As a part of a message to be sent.
    pub(crate) fn part(&self) -> Part {
        match &self.0 {
            Inner::Lent(lent) => Part::Bytes(lent.to_vec().expect("a lease that is mapped")),
            Inner::Own(memory) => Part::Shared(memory.share()),
            Inner::Filled(loan) => loan.part(),
            Inner::Region(region) => Part::LendRegion(region.duplicate()),
        }
    }
}

/// A region that this task is about to lend. It has the right to it, so only its kernel's end or a full table of descriptors is in the way.
fn mapped(region: &Region) -> Memory {
    region.map().expect("a region of this task's own can be mapped")
}

#[inline]
fn lines_of(bytes: &[u8], mut look: impl FnMut(&[u8])) {
    let (lines, rest) = bytes.as_chunks::<64>();
    lines.iter().for_each(|line| look(line));
    if !rest.is_empty() {
        look(rest);
    }
}

impl From<Loan> for Lease {
    fn from(loan: Loan) -> Lease {
        match loan.into_own() {
            Ok(bytes) => Lease::own(bytes.into()),
            Err(room) => Lease(Inner::Filled(room)),
        }
    }
}

/// Lends the region's bytes: the receiver sees a snapshot, and nothing is copied.
impl From<Region> for Lease {
    fn from(region: Region) -> Lease {
        Lease(Inner::Region(region))
    }
}

impl From<Vec<u8>> for Lease {
    fn from(bytes: Vec<u8>) -> Lease {
        Lease::own(bytes.into())
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease of {} bytes{}", self.len(), if self.is_in_place() { ", in place" } else { "" })
    }
}
