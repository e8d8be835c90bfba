//! A link on the heap: for tests, fuzzing, and threads of one task.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use umach_abi::link;

use crate::memory::{Fence, Memory, read_words, write_words};
use crate::sys::futex;

/// Zeroed memory of a link. A ring of `RING` bytes makes the wraps frequent; records are then at most a quarter of it.
#[derive(Debug)]
pub struct Heap<const RING: u32 = { link::RING_SIZE as u32 }> {
    words: Box<[AtomicU32]>,
}

impl Heap {
    /// A link.
    pub fn new() -> Heap {
        Heap::small()
    }
}

impl<const RING: u32> Heap<RING> {
    /// A link with rings of `RING` bytes.
    pub fn small() -> Heap<RING> {
        const { assert!(RING as usize <= link::RING_SIZE) };
        Heap { words: (0..link::SIZE / 4).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl<const RING: u32> Default for Heap<RING> {
    fn default() -> Heap<RING> {
        Heap::small()
    }
}

impl<const RING: u32> Memory for Heap<RING> {
    type Word = AtomicU32;
    const RING: u32 = RING;
    const RECORD: usize = if RING as usize == link::RING_SIZE { link::RECORD_MAX } else { RING as usize / 4 };

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4), "a word at {at:#x}");
        &self.words[at / 4]
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        read_words(self, at, out);
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        write_words(self, at, bytes);
    }
    fn fence(&self, _: Fence) {
        fence(Ordering::SeqCst);
    }
    fn wake(&self, at: usize) {
        futex::wake(self.word(at), u32::MAX);
    }
}
