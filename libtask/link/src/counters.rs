//! What people and the other side may want to know: counters, and what a task is doing.

use std::sync::atomic::Ordering::Relaxed;

use umach_abi::link::{COUNTERS, COUNTERS_AT, CPU, STATE};

use crate::memory::{Memory, Word, base};

/// Adds `n` to a counter ([`umach_abi::link::counter`]) of the own half.
#[inline]
pub fn count<M: Memory>(mem: &M, mine: usize, counter: usize, n: u64) {
    assert!(counter < COUNTERS, "counter {counter} is out of range");
    let at = base(mine) + COUNTERS_AT + 8 * counter;
    let mut bytes = [0; 8];
    mem.read(at, &mut bytes);
    mem.write(at, &u64::from_ne_bytes(bytes).wrapping_add(n).to_ne_bytes());
}

/// The counters of a half.
pub fn counters<M: Memory>(mem: &M, half: usize) -> [u64; COUNTERS] {
    std::array::from_fn(|counter| {
        let mut bytes = [0; 8];
        mem.read(base(half) + COUNTERS_AT + 8 * counter, &mut bytes);
        u64::from_ne_bytes(bytes)
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
