//! Leases: memory of the sender that came with a message, and is given back.
//!
//! A lease is a part of an arena, under an index and a generation that its lender chose. The borrower writes one word for each index: that it took a
//! generation (of an answer), and that it has given it back.
//!
//! 1. The lender uses a lease's memory again only after its word said that this generation came back (Acquire in [`word`] pairs with Release in [`done`]),
//!    or once the borrower cannot have it any more.
//! 2. A word with another generation means nothing. Giving back twice changes nothing.
//! 3. What a payload says of leases is an allegation: [`read`] checks that each lies in an arena that the kernel process told of.

use std::sync::atomic::Ordering::{Acquire, Release};

use umach_abi::link::lease::{BODY, HEAD, INLINE, ROW, UNIT};
use umach_abi::link::{LEASES, LEASES_DONE};
use umach_abi::message::round4;
use umach_abi::records::violation;

use crate::evidence::Evidence;
use crate::memory::{Memory, Word, base};

/// The generations that there are.
pub const GENERATIONS: u32 = u32::MAX >> 1;

/// Borrower: has taken an answer with the peer's lease, and will give it back.
pub fn taken<M: Memory>(mem: &M, mine: usize, index: u32, generation: u32) {
    mem.word(word_at(mine, index)).store(generation << 1, Release);
}

/// Borrower: has done with the peer's lease. All that was read of it was read before.
pub fn done<M: Memory>(mem: &M, mine: usize, index: u32, generation: u32) {
    mem.word(word_at(mine, index)).store(generation << 1 | 1, Release);
}

/// What the task of half `peer` says of lease `index`: a generation, and whether it came back.
pub fn word<M: Memory>(mem: &M, peer: usize, index: u32) -> (u32, bool) {
    let word = mem.word(word_at(peer, index)).load(Acquire);
    (word >> 1, word & 1 != 0)
}

/// Where that word is.
pub fn word_at(half: usize, index: u32) -> usize {
    assert!((index as usize) < LEASES, "lease {index} is out of range");
    base(half) + LEASES_DONE + 4 * index as usize
}

/// One memory of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'p> {
    /// Its bytes are in the payload.
    Inline(&'p [u8]),
    /// It is lent.
    Lent(Lent),
}

/// Where a lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lent {
    /// Which arena of the sender's.
    pub arena: u32,
    /// Which lease.
    pub index: u32,
    /// Which use of it.
    pub generation: u32,
    /// Where in the arena, a multiple of [`UNIT`].
    pub offset: u64,
    /// How many bytes, at least one.
    pub len: u32,
}

/// A payload, written or read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload<'p> {
    /// The memory, in order.
    pub pieces: Vec<Piece<'p>>,
    /// The message's body, unless it is lent.
    pub body: &'p [u8],
    /// The body, if it is lent.
    pub lent_body: Option<Lent>,
}

/// What [`read`] does not decide alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// It breaks a rule.
    Broken(Evidence),
    /// This arena is not known here: learn what the kernel process says and read again. Then it is a lie.
    Unknown(u32),
}

impl From<Evidence> for ReadError {
    fn from(evidence: Evidence) -> ReadError {
        ReadError::Broken(evidence)
    }
}

/// The evidence of a payload that cannot be.
fn broken(found: impl Into<u64>, expected: impl Into<u64>) -> ReadError {
    ReadError::Broken(Evidence { rule: violation::LEASE, found: found.into(), expected: expected.into() })
}

/// Bytes of the payload that so many pieces take, with a body of `body` bytes and these inline bytes (each rounded up to four).
pub const fn size(pieces: usize, body: usize, inline: usize) -> usize {
    HEAD + ROW * pieces + body + inline
}

/// Appends the payload. The body's length is a multiple of four.
pub fn write(payload: &Payload<'_>, out: &mut Vec<u8>) {
    debug_assert!(payload.body.len().is_multiple_of(4) && (payload.body.is_empty() || payload.lent_body.is_none()));
    let count = payload.pieces.len() as u32 + u32::from(payload.lent_body.is_some());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&if payload.lent_body.is_some() { BODY } else { 0 }.to_le_bytes());
    let mut row = |lent: &Lent, len: u64| {
        for word in [lent.arena, lent.index, lent.generation, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&lent.offset.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
    };
    for piece in &payload.pieces {
        match piece {
            Piece::Inline(bytes) => row(&Lent { arena: INLINE, ..Lent::default() }, bytes.len() as u64),
            Piece::Lent(lent) => row(lent, lent.len.into()),
        }
    }
    if let Some(lent) = &payload.lent_body {
        row(lent, lent.len.into());
    }
    out.extend_from_slice(payload.body);
    for piece in &payload.pieces {
        if let Piece::Inline(bytes) = piece {
            out.extend_from_slice(bytes);
            out.resize(out.len() + round4(bytes.len()) - bytes.len(), 0);
        }
    }
}

/// Reads a payload that was copied out. `size_of` knows the arenas; a lent body has at most `body_max` bytes.
pub fn read<'p>(payload: &'p [u8], body_max: usize, size_of: impl Fn(u32) -> Option<u64>) -> Result<Payload<'p>, ReadError> {
    let word = |at: usize| payload.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));
    let (Some(count), Some(flags)) = (word(0), word(4)) else { return Err(broken(payload.len() as u64, HEAD as u64)) };
    let rows = payload[HEAD..].get(..(count as usize).saturating_mul(ROW)).ok_or_else(|| broken(count, (payload.len() / ROW) as u64))?;
    if flags & !BODY != 0 || (flags & BODY != 0 && count == 0) {
        return Err(broken(flags, BODY));
    }
    let rows = rows.as_chunks::<ROW>().0.iter().map(|row| read_row(row, &size_of)).collect::<Result<Vec<_>, _>>()?;
    let inline: u64 = rows.iter().map(|row| if row.arena == INLINE { round4(row.len as usize) as u64 } else { 0 }).sum();
    let rest = &payload[HEAD + ROW * rows.len()..];
    let body = (rest.len() as u64).checked_sub(inline).ok_or_else(|| broken(inline, rest.len() as u64))? as usize;
    let (body, mut inline) = rest.split_at(body);
    let lent_body = if flags & BODY != 0 { rows.last().copied() } else { None };
    if !body.len().is_multiple_of(4) || (lent_body.is_some() && !body.is_empty()) {
        return Err(broken(body.len() as u64, 0u64));
    }
    if let Some(lent) = lent_body
        && (lent.arena == INLINE || lent.len as usize > body_max || !lent.len.is_multiple_of(4))
    {
        return Err(broken(lent.len, body_max as u64));
    }
    let memory = rows.len() - usize::from(lent_body.is_some());
    let pieces = rows[..memory].iter().map(|row| match row.arena {
        INLINE => {
            let (bytes, rest) = inline.split_at(round4(row.len as usize));
            inline = rest;
            Piece::Inline(&bytes[..row.len as usize])
        }
        _ => Piece::Lent(*row),
    });
    Ok(Payload { pieces: pieces.collect(), body, lent_body })
}

fn read_row(row: &[u8; ROW], size_of: impl Fn(u32) -> Option<u64>) -> Result<Lent, ReadError> {
    let word = |n: usize| u32::from_le_bytes([row[4 * n], row[4 * n + 1], row[4 * n + 2], row[4 * n + 3]]);
    let long = |n: usize| u64::from(word(n)) | u64::from(word(n + 1)) << 32;
    let (arena, index, generation, offset, len) = (word(0), word(1), word(2), long(4), long(6));
    let Ok(length) = u32::try_from(len) else { return Err(broken(len, u32::MAX)) };
    if word(3) != 0 {
        return Err(broken(word(3), 0u32));
    }
    if arena == INLINE {
        let unused = u64::from(index) | u64::from(generation) | offset;
        // So long that its padding would overflow it is in no payload.
        return if unused == 0 && length <= u32::MAX - 3 {
            Ok(Lent { arena, len: length, ..Lent::default() })
        } else {
            Err(broken(unused, 0u32))
        };
    }
    if index as usize >= LEASES {
        return Err(broken(index, LEASES as u64));
    }
    if generation == 0 || generation > GENERATIONS {
        return Err(broken(generation, GENERATIONS));
    }
    let size = size_of(arena).ok_or(ReadError::Unknown(arena))?;
    if len == 0 || !offset.is_multiple_of(UNIT) || offset > size || len > size - offset {
        return Err(broken(offset, size));
    }
    Ok(Lent { arena, index, generation, offset, len: length })
}
