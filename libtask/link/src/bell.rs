//! Bells: how somebody who sleeps is woken, and that somebody who is awake is not.
//!
//! Who sleeps says at which position of the ring: `ARMED` is the position up to which it has consumed everything, with a
//! [`umach_abi::link::bell`] in the low bits that positions leave free. Only the publishing that starts at this position rings:
//!
//! * one that ended there is what the sleeper saw before it armed;
//! * one that starts later follows one that started there, and that one rang, or came before the arming, and then the sleeper saw it when it
//!   looked once more.
//!
//! So a burst of messages to a sleeper costs one wake-up, not one a message until it runs. Space in a ring is asked for in the same way. *Each
//! sleep needs an arming of its own, after the last record was consumed.*

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use umach_abi::link::{ARMED, HEAD, RECORD_ALIGN, bell};

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

/// Says how this task wants to be woken when the peer publishes something, and that it has consumed all that it saw. Whoever calls it holds the
/// [`crate::Incoming`]. Afterwards look once more ([`crate::Incoming::has_more`]), then sleep on ([`crate::Incoming::tail_word`],
/// [`crate::Incoming::tail_seen`]).
pub fn arm<M: Memory>(mem: &M, mine: usize, bell: u32) {
    let consumed = mem.word(base(mine) + HEAD).load(Relaxed);
    mem.word(base(mine) + ARMED).store(consumed | (bell & LOW), Relaxed);
    mem.fence(Fence::Armed);
}

/// Says that this task looks by itself. Only if no other thread of it sleeps on the tail; leaving the arming costs one needless bell at most.
pub fn disarm<M: Memory>(mem: &M, mine: usize) {
    mem.word(base(mine) + ARMED).store(bell::NONE, Relaxed);
}

/// What the task of `half` says.
#[inline]
pub(crate) fn armed<M: Memory>(mem: &M, half: usize) -> u32 {
    mem.word(base(half) + ARMED).load(Acquire)
}
