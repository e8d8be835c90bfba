//! What the algorithms need of memory: words, bytes, fences and a way to wake.
//!
//! The same code runs on a mapped memfd ([`crate::Mapping`]), on the heap ([`crate::Heap`]), and on the cells of a model checker, which may make the
//! ring tiny and may leave out a fence or an ordering to prove that it is needed. Offsets are absolute: a half's number times
//! [`umach_abi::link::HALF`], plus the layout's offset.

use std::sync::atomic::{AtomicU32, Ordering};

use umach_abi::link;

/// A shared 32-bit word.
pub trait Word {
    /// Its value.
    fn load(&self, order: Ordering) -> u32;
    /// Sets it.
    fn store(&self, value: u32, order: Ordering);
    /// Sets it to `new` if it is `old`.
    fn replace(&self, old: u32, new: u32);
}

impl Word for AtomicU32 {
    #[inline]
    fn load(&self, order: Ordering) -> u32 {
        AtomicU32::load(self, order)
    }
    #[inline]
    fn store(&self, value: u32, order: Ordering) {
        AtomicU32::store(self, value, order);
    }
    #[inline]
    fn replace(&self, old: u32, new: u32) {
        let _ = self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The places that need a full fence, each between a store to the own half and a load from the peer's. Each names its counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// Producer: tail published, then armed? and closings? (`Armed`, `Close`)
    Published,
    /// Consumer: armed, then anything published? (`Published`)
    Armed,
    /// Consumer: armed anew where it got to, then anything published? (`Published`)
    Rearmed,
    /// Consumer: head published, then space wanted? (`SpaceWanted`) And did another thread of it arm for what was before? (`Armed`)
    Consumed,
    /// Producer: space wanted, then is there space? (`Consumed`)
    SpaceWanted,
    /// Replier: slot written, then does its caller sleep? (`SlotWaits`)
    Answered,
    /// Caller: about to sleep, then is there an answer? (`Answered`)
    SlotWaits,
    /// Caller: call given up, then is its server rung for? (`Armed`)
    GivenUp,
    /// Receiver: message counted, then does the sender want credit? (`CreditWanted`)
    Delivered,
    /// Sender: credit wanted, then is there some? (`Delivered`)
    CreditWanted,
    /// Consumer: disarmed, then does a poller stand for it? (`Polled`)
    Left,
    /// Poller: stands for its task, then armed. (`Left`)
    Polled,
    /// Consumer: route closed, then what is published? (`Published`)
    Close,
    /// Task: request or name published, then does the kernel process look? (`Rests`)
    Asked,
    /// Kernel process: looks no more, then is anything published? (`Asked`)
    Rests,
    /// Kernel process: answered, then does the task sleep? (`AnswerWanted`)
    Replied,
    /// Task: about to sleep, then is there an answer? (`Replied`)
    AnswerWanted,
}

/// Memory of a link.
pub trait Memory: Send + Sync {
    /// Its words.
    type Word: Word;
    /// Bytes of a ring, a power of two.
    const RING: u32 = link::RING_SIZE as u32;
    /// The largest payload of a record.
    const RECORD: usize = link::RECORD_MAX;

    /// The word at `at`, a multiple of four.
    fn word(&self, at: usize) -> &Self::Word;
    /// Copies `out.len()` bytes out, from `at`. The peer may be writing there.
    fn read(&self, at: usize, out: &mut [u8]);
    /// Copies `bytes` in, at `at`.
    fn write(&self, at: usize, bytes: &[u8]);
    /// Something will soon be written at `at`: a hint.
    #[inline]
    fn expect_write(&self, _at: usize) {}
    /// A full fence.
    fn fence(&self, place: Fence);
    /// Wakes all that sleep on the word at `at`.
    fn wake(&self, at: usize);
}

/// Where a half starts.
#[inline]
pub(crate) fn base(half: usize) -> usize {
    assert!(half < 2, "a link has two halves");
    half * link::HALF
}

/// Where the other half starts.
#[inline]
pub(crate) fn other(half: usize) -> usize {
    base(half ^ 1)
}

/// [`Memory::read`] by relaxed loads of words.
pub fn read_words<M: Memory>(mem: &M, at: usize, out: &mut [u8]) {
    each_word(at, out.len(), |word, from, skip, len| {
        let bytes = mem.word(word).load(Ordering::Relaxed).to_ne_bytes();
        out[from..from + len].copy_from_slice(&bytes[skip..skip + len]);
    });
}

/// [`Memory::write`] by relaxed stores of words. A word that is written in part keeps the rest, for its one writer is the caller.
pub fn write_words<M: Memory>(mem: &M, at: usize, bytes: &[u8]) {
    each_word(at, bytes.len(), |word, from, skip, len| {
        let cell = mem.word(word);
        let mut value = if len == 4 { [0; 4] } else { cell.load(Ordering::Relaxed).to_ne_bytes() };
        value[skip..skip + len].copy_from_slice(&bytes[from..from + len]);
        cell.store(u32::from_ne_bytes(value), Ordering::Relaxed);
    });
}

/// Calls `visit(word's offset, offset in the bytes, bytes to skip in the word, bytes in the word)` for each word that the bytes touch.
fn each_word(at: usize, len: usize, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let mut done = 0;
    while done < len {
        let skip = (at + done) % 4;
        let part = (4 - skip).min(len - done);
        visit(at + done - skip, done, skip, part);
        done += part;
    }
}
