//! Reply slots: where the answer to a call lands.
//!
//! The slots that the task of a half writes are in that half; the task that calls picks one, in its *private* memory, and gives it a generation.
//!
//! 1. A slot's word is written once for a generation, last (Release; the caller's Acquire in [`poll`] pairs with it).
//! 2. The caller gives a slot a new generation only after the answer to the last one has come, also when it no longer waits for it: two answers are
//!    never written at the same time. A generation is not 0, and 30 bits of it count.
//! 3. A word with another generation means nothing.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use umach_abi::link::{SLOT_GIVEN_UP, SLOT_HEAD, SLOT_MAX, SLOT_SIZE, SLOT_WAITS, SLOTS, SLOTS_AT, bell, slot as state};
use umach_abi::records::violation;

use crate::bell::{Bell, LOW, armed};
use crate::evidence::Evidence;
use crate::memory::{Fence, Memory, Word, base, other};

/// The generations that there are.
pub const GENERATIONS: u32 = u32::MAX >> 2;

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Answered {
        /// Bytes of payload, at most [`SLOT_MAX`].
        len: usize,
        /// The message's id.
        id: u32,
        /// The answer's kind, as the two tasks agree on it.
        kind: u32,
    },
    /// The request was dropped unanswered.
    Dropped,
}

/// Answers a call of the peer: writes slot `slot` of the own half. Ring the bell.
///
/// Panics if there is no such slot, or the payload is longer than [`SLOT_MAX`].
#[inline]
pub fn answer<M: Memory>(mem: &M, mine: usize, slot: u32, generation: u32, id: u32, kind: u32, payload: &[&[u8]]) -> Bell {
    let at = word_at(mine, slot);
    let len: usize = payload.iter().map(|part| part.len()).sum();
    assert!(len <= SLOT_MAX, "an answer of {len} bytes is longer than any");
    let mut head = [0; 12];
    for (n, word) in [len as u32, id, kind].into_iter().enumerate() {
        head[4 * n..4 * n + 4].copy_from_slice(&word.to_le_bytes());
    }
    mem.write(at + 4, &head);
    let mut to = at + SLOT_HEAD;
    for part in payload {
        mem.write(to, part);
        to += part.len();
    }
    finish(mem, mine, slot, generation << 2 | state::DONE)
}

/// Tells the caller that no answer will come. Ring the bell.
pub fn drop_unanswered<M: Memory>(mem: &M, mine: usize, slot: u32, generation: u32) -> Bell {
    finish(mem, mine, slot, generation << 2 | state::DROPPED)
}

#[inline]
fn finish<M: Memory>(mem: &M, mine: usize, slot: u32, value: u32) -> Bell {
    let at = word_at(mine, slot);
    mem.word(at).store(value, Release);
    mem.fence(Fence::Answered);
    Bell::wanted(mem.word(other(mine) + SLOT_WAITS + 4 * slot as usize).load(Acquire), at)
}

/// Whether a slot's word is about this generation.
#[inline]
pub fn is_of(word: u32, generation: u32) -> bool {
    word >> 2 == generation & GENERATIONS
}

/// Whether the call that the task of half `mine` made in `slot` has its answer.
#[inline]
pub fn poll<M: Memory>(mem: &M, mine: usize, slot: u32, generation: u32) -> Result<Option<Outcome>, Evidence> {
    let at = word_at(mine ^ 1, slot);
    let word = mem.word(at).load(Acquire);
    if !is_of(word, generation) {
        return Ok(None);
    }
    match word & 3 {
        state::DONE => {}
        state::DROPPED => return Ok(Some(Outcome::Dropped)),
        other => return Err(Evidence::new(violation::REPLY, other, state::DROPPED)),
    }
    let mut head = [0; 12];
    mem.read(at + 4, &mut head);
    let field = |n: usize| u32::from_le_bytes([head[4 * n], head[4 * n + 1], head[4 * n + 2], head[4 * n + 3]]);
    let len = field(0) as usize;
    if len > SLOT_MAX {
        return Err(Evidence::new(violation::REPLY, field(0), SLOT_MAX as u64));
    }
    Ok(Some(Outcome::Answered { len, id: field(1), kind: field(2) }))
}

/// Appends the first `len` bytes of the payload of the answer that the task of half `mine` got in `slot`.
///
/// Panics if no answer is so long.
pub fn read<M: Memory>(mem: &M, mine: usize, slot: u32, len: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + len, 0);
    read_into(mem, mine, slot, &mut out[start..]);
}

/// Copies the start of that payload.
///
/// Panics if no answer is so long.
#[inline]
pub fn read_into<M: Memory>(mem: &M, mine: usize, slot: u32, out: &mut [u8]) {
    assert!(out.len() <= SLOT_MAX, "an answer of {} bytes is longer than any", out.len());
    mem.read(word_at(mine ^ 1, slot) + SLOT_HEAD, out);
}

/// Says how the thread that waits for the answer in `slot` wants to be woken. Unless that is not at all, [`poll`] once more afterwards, then
/// sleep on ([`word_at`] of the peer's half, [`word_seen`] before that poll).
pub fn wait_flag<M: Memory>(mem: &M, mine: usize, slot: u32, how: u32) {
    assert!((slot as usize) < SLOTS, "slot {slot} is out of range");
    mem.word(base(mine) + SLOT_WAITS + 4 * slot as usize).store(how, Relaxed);
    if how != bell::NONE {
        mem.fence(Fence::SlotWaits);
    }
}

/// The call in `slot` is over: nobody waits there any more, so the next answer rings for nobody unless it is asked to.
#[inline]
pub fn stop_waiting<M: Memory>(mem: &M, mine: usize, slot: u32) {
    assert!((slot as usize) < SLOTS, "slot {slot} is out of range");
    let word = mem.word(base(mine) + SLOT_WAITS + 4 * slot as usize);
    if word.load(Relaxed) != bell::NONE {
        word.store(bell::NONE, Relaxed);
    }
}

/// Nobody waits for the answer to the call of this generation in `slot` any more, nor to earlier ones. Told for who asks, not for correctness. True if the peer wants to
/// be rung for news.
///
/// The word must not fall behind by more than half of the generations: see [`GIVEN_UP_STEP`].
pub fn give_up<M: Memory>(mem: &M, mine: usize, slot: u32, generation: u32) -> bool {
    assert!((slot as usize) < SLOTS, "slot {slot} is out of range");
    mem.word(base(mine) + SLOT_GIVEN_UP + 4 * slot as usize).store(generation & GENERATIONS, Release);
    mem.fence(Fence::GivenUp);
    armed(mem, mine ^ 1) & LOW != bell::NONE
}

/// Whoever starts a call whose generation is a multiple of this gives up those before it, which are over: so old ones are never taken for new ones.
pub const GIVEN_UP_STEP: u32 = 1 << 24;

/// Whether the peer gave up the call of this generation in `slot`.
pub fn is_given_up<M: Memory>(mem: &M, mine: usize, slot: u32, generation: u32) -> bool {
    assert!((slot as usize) < SLOTS, "slot {slot} is out of range");
    let newest = mem.word(other(mine) + SLOT_GIVEN_UP + 4 * slot as usize).load(Acquire);
    // Generations count up and wrap around.
    newest != 0 && newest.wrapping_sub(generation) & GENERATIONS <= GENERATIONS / 2
}

/// Where the word of `slot` is that the task of `half` writes.
#[inline]
pub fn word_at(half: usize, slot: u32) -> usize {
    assert!((slot as usize) < SLOTS, "slot {slot} is out of range");
    base(half) + SLOTS_AT + SLOT_SIZE * slot as usize
}

/// The value of the word of the peer's slot, to sleep on.
pub fn word_seen<M: Memory>(mem: &M, mine: usize, slot: u32) -> u32 {
    mem.word(word_at(mine ^ 1, slot)).load(Acquire)
}
