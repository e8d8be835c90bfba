//! A link whose words are the scheduler's atomics. Its other bytes are no points at which threads switch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32 as Plain, Ordering};

use shuttle::sync::atomic::AtomicU32;
use shuttle::sync::{Condvar, Mutex};
use umach_abi::link;
use umach_link::{Fence, Memory, credit, slot};

/// A ring of few records.
const RING: u32 = 256;
/// The largest payload.
pub(crate) const RECORD: usize = 32;

/// A word: one that the scheduler watches, or bytes of a payload.
#[derive(Debug)]
pub(crate) enum Word {
    Watched(AtomicU32),
    Bytes(Plain),
}

impl umach_link::Word for Word {
    fn load(&self, order: Ordering) -> u32 {
        match self {
            Word::Watched(word) => word.load(order),
            Word::Bytes(word) => word.load(Ordering::Relaxed),
        }
    }
    fn store(&self, value: u32, order: Ordering) {
        match self {
            Word::Watched(word) => word.store(value, order),
            Word::Bytes(word) => word.store(value, Ordering::Relaxed),
        }
    }
    fn replace(&self, old: u32, new: u32) {
        let Word::Watched(word) = self else { unreachable!("no arming among a payload's bytes") };
        let _ = word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// The ring of half 0, and the slots and routes that the scenario uses.
#[derive(Debug)]
pub(crate) struct Cells {
    words: BTreeMap<usize, Word>,
    /// Linux compares and sleeps, or wakes, under a lock of its own.
    asleep: Mutex<()>,
    bed: Condvar,
}

impl Cells {
    pub(crate) fn new(slots: &[u32], routes: &[u32]) -> Cells {
        let mut watched = vec![link::TAIL, link::SPACE_WANTED, link::HALF + link::HEAD, link::HALF + link::ARMED];
        watched.extend(slots.iter().flat_map(|slot| [slot::word_at(1, *slot), link::SLOT_WAITS + 4 * *slot as usize]));
        watched.extend(routes.iter().flat_map(|route| [credit::word_at(1, *route), link::WANTS + 4 * *route as usize]));
        let ring = (link::RING..link::RING + RING as usize).step_by(4);
        let slots = slots.iter().flat_map(|slot| (4..link::SLOT_HEAD + 8).step_by(4).map(|at| slot::word_at(1, *slot) + at));
        let bytes = ring.chain(slots).map(|at| (at, Word::Bytes(Plain::new(0))));
        let watched = watched.into_iter().map(|at| (at, Word::Watched(AtomicU32::new(0))));
        Cells { words: bytes.chain(watched).collect(), asleep: Mutex::new(()), bed: Condvar::new() }
    }

    /// Sleeps until the word is rung, if it still has this value: Linux's futex.
    pub(crate) fn sleep(&self, at: usize, value: u32) {
        let guard = self.asleep.lock().unwrap();
        if umach_link::Word::load(self.word(at), Ordering::Relaxed) == value {
            drop(self.bed.wait(guard).unwrap());
        }
    }
}

impl Memory for Cells {
    type Word = Word;
    const RING: u32 = RING;
    const RECORD: usize = RECORD;

    fn word(&self, at: usize) -> &Word {
        self.words.get(&at).unwrap_or_else(|| panic!("no word at {at:#x} in this scenario"))
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        umach_link::read_words(self, at, out);
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        umach_link::write_words(self, at, bytes);
    }
    fn fence(&self, _: Fence) {}
    fn wake(&self, _: usize) {
        let _guard = self.asleep.lock().unwrap();
        self.bed.notify_all();
    }
}
