//! What people and the other side may want to know: counters, and what a task is doing.

use std::sync::atomic::Ordering::Relaxed;

use umach_abi::link::{COUNTERS, COUNTERS_AT, CPU, STATE};

use crate::memory::{Memory, Word, base};

/// Adds `n` to a counter ([`umach_abi::link::counter`]) of the own half.
#[inline]
pub fn count<M: Memory>(mem: &M, mine: usize, counter: usize, n: u64) {
    assert!(counter < COUNTERS, "counter {counter} is out of range");
    let at = base(mine) + COUNTERS_AT + 8 * counter;
    let (low, high) = (mem.word(at), mem.word(at + 4));
    let before = u64::from(low.load(Relaxed)) | u64::from(high.load(Relaxed)) << 32;
    let after = before.wrapping_add(n);
    low.store(after as u32, Relaxed);
    if after >> 32 != before >> 32 {
        high.store((after >> 32) as u32, Relaxed);
    }
}

/// The counters of a half.
pub fn counters<M: Memory>(mem: &M, half: usize) -> [u64; COUNTERS] {
    std::array::from_fn(|counter| {
        let at = base(half) + COUNTERS_AT + 8 * counter;
        u64::from(mem.word(at).load(Relaxed)) | u64::from(mem.word(at + 4).load(Relaxed)) << 32
    })
}

/// Says what this task does ([`umach_abi::link::state`]), and on which CPU.
#[inline]
pub fn publish_state<M: Memory>(mem: &M, mine: usize, state: u32, cpu: u32) {
    mem.word(base(mine) + CPU).store(cpu, Relaxed);
    mem.word(base(mine) + STATE).store(state, Relaxed);
}

/// What the task of a half says that it does, and on which CPU.
#[inline]
pub fn state<M: Memory>(mem: &M, half: usize) -> (u32, u32) {
    (mem.word(base(half) + STATE).load(Relaxed), mem.word(base(half) + CPU).load(Relaxed))
}
