//! A link whose words are the model checker's atomics and whose other bytes are its cells: any access to those that is not ordered
//! against the other side's is reported, so a missing Release or Acquire is found even where the bytes would look right.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, fence};
use loom::sync::{Condvar, Mutex};
use umach_abi::link;
use umach_link::{Fence, Memory};

/// What is made weaker than it is, to see that it has to be as it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Fences that are left out.
    pub(crate) fences: &'static [Fence],
    /// Words that are accessed without ordering.
    pub(crate) relaxed: &'static [usize],
    /// Words that do not keep up when somebody else consumes.
    pub(crate) frozen: &'static [usize],
    /// Words of which only these bits are kept.
    pub(crate) masked: &'static [(usize, u32)],
}

/// A word.
#[derive(Debug)]
pub(crate) struct Word {
    cell: AtomicU32,
    relaxed: bool,
    frozen: bool,
    mask: u32,
}

impl umach_link::Word for Word {
    fn load(&self, order: Ordering) -> u32 {
        self.cell.load(if self.relaxed { Ordering::Relaxed } else { order })
    }
    fn store(&self, value: u32, order: Ordering) {
        self.cell.store(value & self.mask, if self.relaxed { Ordering::Relaxed } else { order });
    }
    fn replace(&self, old: u32, new: u32) {
        if !self.frozen {
            let _ = self.cell.compare_exchange(old, new & self.mask, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// A link with rings of `RING` bytes, of which only the named places exist.
#[derive(Debug)]
pub(crate) struct Cells<const RING: u32> {
    words: BTreeMap<usize, Word>,
    bytes: BTreeMap<usize, UnsafeCell<u32>>,
    faults: Faults,
    /// Linux compares and sleeps, or wakes, under a lock of its own.
    asleep: Mutex<()>,
    bed: Condvar,
}

// SAFETY: the only cells are the checker's, which reports every access to them that is not ordered against all others.
unsafe impl<const RING: u32> Sync for Cells<RING> {}
// SAFETY: as above; there is nothing in it that belongs to a thread.
unsafe impl<const RING: u32> Send for Cells<RING> {}

impl<const RING: u32> Cells<RING> {
    /// The rings' words and bytes of half 0's ring, `words`, and the bytes of `areas` (multiples of four).
    pub(crate) fn new(faults: Faults, words: &[usize], areas: &[Range<usize>]) -> Cells<RING> {
        let ring = [link::TAIL, link::SPACE_WANTED, link::HALF + link::HEAD, link::HALF + link::ARMED];
        let word = |at: usize| {
            let mask = faults.masked.iter().find(|(word, _)| *word == at).map_or(u32::MAX, |(_, mask)| *mask);
            let (relaxed, frozen) = (faults.relaxed.contains(&at), faults.frozen.contains(&at));
            (at, Word { cell: AtomicU32::new(0), relaxed, frozen, mask })
        };
        let ring_bytes = link::RING..link::RING + RING as usize;
        let cells = areas.iter().chain([&ring_bytes]).flat_map(|area| area.clone().step_by(4));
        Cells {
            words: ring.iter().chain(words).map(|at| word(*at)).collect(),
            bytes: cells.map(|at| (at, UnsafeCell::new(0))).collect(),
            faults,
            asleep: Mutex::new(()),
            bed: Condvar::new(),
        }
    }

    /// Sleeps until the word is rung, if it still has this value: Linux's futex.
    pub(crate) fn sleep(&self, at: usize, value: u32) {
        let guard = self.asleep.lock().unwrap();
        if self.word(at).cell.load(Ordering::Relaxed) == value {
            drop(self.bed.wait(guard).unwrap());
        }
    }
}

impl<const RING: u32> Memory for Cells<RING> {
    type Word = Word;
    const RING: u32 = RING;
    const RECORD: usize = 8;

    fn word(&self, at: usize) -> &Word {
        self.words.get(&at).unwrap_or_else(|| panic!("no word at {at:#x} in this model"))
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        for (n, part) in out.chunks_exact_mut(4).enumerate() {
            // SAFETY: the checker has just made sure that nobody writes the cell; the pointer does not leave.
            part.copy_from_slice(&self.bytes[&(at + 4 * n)].with(|cell| unsafe { *cell }).to_ne_bytes());
        }
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        for (n, part) in bytes.as_chunks::<4>().0.iter().enumerate() {
            // SAFETY: the checker has just made sure that nobody else uses the cell; the pointer does not leave.
            self.bytes[&(at + 4 * n)].with_mut(|cell| unsafe { *cell = u32::from_ne_bytes(*part) });
        }
    }
    fn fence(&self, place: Fence) {
        if !self.faults.fences.contains(&place) {
            fence(Ordering::SeqCst);
        }
    }
    fn wake(&self, _: usize) {
        let _guard = self.asleep.lock().unwrap();
        self.bed.notify_all();
    }
}
