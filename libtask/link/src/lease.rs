//! Leases: memory of the sender that came with a message, and is given back.

use std::sync::atomic::Ordering::{Acquire, Release};

use umach_abi::link::{LEASES, LEASES_DONE};

use crate::memory::{Memory, Word, base};

/// Receiver: has done with the peer's lease. All that was read of it was read before (Release; [`is_done`] pairs with it).
pub fn done<M: Memory>(mem: &M, mine: usize, index: u32, generation: u32) {
    mem.word(word_at(mine, index)).store(generation, Release);
}

/// The last generation of lease `index` that the task of half `peer` has given back.
pub fn is_done<M: Memory>(mem: &M, peer: usize, index: u32) -> u32 {
    mem.word(word_at(peer, index)).load(Acquire)
}

/// Where that word is.
pub fn word_at(half: usize, index: u32) -> usize {
    assert!((index as usize) < LEASES, "lease {index} is out of range");
    base(half) + LEASES_DONE + 4 * index as usize
}
