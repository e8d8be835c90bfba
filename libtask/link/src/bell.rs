//! Bells: how somebody who sleeps is woken, and that somebody who is awake is not.
//!
//! `ARMED` holds a [`umach_abi::link::bell`] in its two low bits and counts the times that it was armed in the others. A producer that has rung
//! for one arming need not ring again until the next, for whoever armed sleeps on the tail that it saw, and that tail has changed for good.
//! So a burst of messages to a sleeper costs one wake-up, not one a message until it runs. *Each sleep needs an arming of its own.*

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use umach_abi::link::{ARMED, bell};

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
        match flag & 3 {
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

/// Says how this task wants to be woken when the peer publishes something. Afterwards look once more ([`crate::Incoming::has_more`]), then
/// sleep on ([`crate::Incoming::tail_word`], [`crate::Incoming::tail_seen`]).
pub fn arm<M: Memory>(mem: &M, mine: usize, bell: u32) {
    set(mem, mine, bell, 4);
    mem.fence(Fence::Armed);
}

/// Says that this task looks by itself: none of its threads sleeps on the tail any more.
pub fn disarm<M: Memory>(mem: &M, mine: usize) {
    set(mem, mine, bell::NONE, 0);
}

fn set<M: Memory>(mem: &M, mine: usize, bell: u32, step: u32) {
    let word = mem.word(base(mine) + ARMED);
    let count = (word.load(Relaxed) & !3).wrapping_add(step);
    word.store(count | (bell & 3), Relaxed);
}

/// What the task of `half` says.
#[inline]
pub(crate) fn armed<M: Memory>(mem: &M, half: usize) -> u32 {
    mem.word(base(half) + ARMED).load(Acquire)
}
