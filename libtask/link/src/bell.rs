//! Bells: how somebody who sleeps is woken, and that somebody who is awake is not.
//!
//! Who sleeps says at which position of the ring: `ARMED` is a position up to which everything was consumed, with a
//! [`umach_abi::link::bell`] in the low bits that positions leave free. A publishing rings if that position is not before its start. If it is, an
//! earlier publishing went past it; that one rang, or came before the arming, and then the sleeper saw it when it looked once more. So
//! a burst of messages to a sleeper costs one wake-up, not one a message until it runs.
//!
//! The position has to keep up: whoever consumes (it may be another thread than the one that armed) moves it along with the head.
//!
//! ```text
//! who arms                                        who consumes
//!   store ARMED at HEAD                             store HEAD
//!   fence (Armed)                                   fence (Consumed)
//!   load HEAD; another one? arm at that             load ARMED; armed before HEAD? arm at HEAD, fence (Rearmed)
//! ```
//!
//! So `ARMED` stays a level: the peer rings as long as it is set. Space in a ring is asked for in the same way, with `SPACE_WANTED` and the head.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use umach_abi::link::{ARMED, HEAD, RECORD_ALIGN, RECORD_HEAD, bell};

use crate::memory::{Fence, Memory, Word, base};

/// What is left to do so that the peer notices.
#[must_use = "the peer sleeps on until its bell is rung"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bell {
    /// Nothing: it looks by itself, or was told already.
    None,
    /// [`Memory::wake`] on this word.
    Futex(usize),
    /// Ask the kernel process to wake it.
    Kernel,
}

impl Bell {
    /// From what the peer says. What it says in words that are none of ours is its own loss.
    #[inline]
    pub(crate) fn wanted(flag: u32, word: usize) -> Bell {
        match flag & LOW {
            bell::FUTEX => Bell::Futex(word),
            bell::KERNEL => Bell::Kernel,
            _ => Bell::None,
        }
    }
    /// Wakes the peer if this crate can do it; true if the kernel process has to be asked.
    #[inline]
    pub fn ring<M: Memory>(self, mem: &M) -> bool {
        if let Bell::Futex(word) = self {
            mem.wake(word);
        }
        self == Bell::Kernel
    }
}

/// Bits of a position that say how to wake.
pub(crate) const LOW: u32 = RECORD_ALIGN as u32 - 1;

/// Says how this task wants to be woken when the peer publishes something. Afterwards look once more ([`crate::Incoming::has_more`]), then sleep on
/// ([`crate::Incoming::tail_word`], [`crate::Incoming::tail_seen`]).
pub fn arm<M: Memory>(mem: &M, mine: usize, bell: u32) {
    let (head, armed) = (mem.word(base(mine) + HEAD), mem.word(base(mine) + ARMED));
    let mut consumed = head.load(Relaxed);
    // Each round but the last is one in which another thread consumed something. If it goes on and on, the peer writes where it should not, and
    // may do without our attention.
    for _ in 0..M::RING as usize / RECORD_HEAD {
        armed.store(consumed | (bell & LOW), Relaxed);
        mem.fence(Fence::Armed);
        match head.load(Relaxed) {
            now if now == consumed => return,
            now => consumed = now,
        }
    }
}

/// What the task of half `mine` says, moved to where it has consumed everything now.
#[inline]
pub(crate) fn keep_up<M: Memory>(mem: &M, mine: usize, head: u32) {
    let word = mem.word(base(mine) + ARMED);
    let armed = word.load(Relaxed);
    if armed & LOW != bell::NONE && armed & !LOW != head {
        word.replace(armed, head | (armed & LOW));
        mem.fence(Fence::Rearmed);
    }
}

/// Whether the wish or arming `flag` is about a position that a publishing from `start` to `end` goes past, or just met.
#[inline]
pub(crate) fn concerns(flag: u32, start: u32, end: u32) -> bool {
    flag & LOW != bell::NONE && end.wrapping_sub(flag & !LOW) <= end.wrapping_sub(start)
}

/// Says that this task looks by itself. Only if no other thread of it sleeps on the tail.
pub fn disarm<M: Memory>(mem: &M, mine: usize) {
    mem.word(base(mine) + ARMED).store(bell::NONE, Relaxed);
}

/// As [`disarm`], unless the task is `polled`: a descriptor stands for it, which the kernel process makes readable. Then the peer is to ring there from now on, and
/// what was published before has to be looked at once more. Who polls says so, with a [`Fence::Polled`] behind it, before it arms.
pub fn leave<M: Memory>(mem: &M, mine: usize, polled: impl FnOnce() -> bool) {
    disarm(mem, mine);
    mem.fence(Fence::Left);
    if polled() {
        arm(mem, mine, bell::KERNEL);
    }
}

/// What the task of `half` says.
#[inline]
pub(crate) fn armed<M: Memory>(mem: &M, half: usize) -> u32 {
    mem.word(base(half) + ARMED).load(Acquire)
}
