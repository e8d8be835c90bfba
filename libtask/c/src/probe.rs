//! Whether memory that the program names can be read or written, so that a wild pointer gives a code and not a signal.
//!
//! Linux says for a whole range in one call (`MADV_POPULATE_READ`, `MADV_POPULATE_WRITE`), and brings in what is missing on the way. Message buffers and
//! the memory that messages take along are used again and again, so each thread remembers some pages and some ranges. What the program unmaps by `munmap`, or
//! protects by `mprotect`, after that is believed in until something else takes its place; `vm_deallocate` and `vm_protect` are noticed, by the range that they
//! change: the last few ranges are written down for all threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use libtask::Code;

use crate::fork::ForkLock;
use crate::ool::page;

/// How many changes there were; who missed more than are written down forgets all it knows.
static EPOCH: AtomicU32 = AtomicU32::new(0);
/// The last changes: start and end, in the place of their number. A slot is written before its number shows in `EPOCH`.
static CHANGES: [[AtomicUsize; 2]; LOG] = [const { [const { AtomicUsize::new(0) }; 2] }; LOG];
static WRITING: ForkLock<()> = ForkLock::new(());
const LOG: usize = 8;

/// What is remembered as one. Linux's pages are as large, or a multiple.
const PAGE: usize = 4096;
/// Pages that a thread remembers.
const PAGES: usize = 32;
/// Ranges that it remembers.
const RANGES: usize = 4;

struct Known {
    /// Twice the number of the page after it, plus one if it can be written; so 0 is none.
    pages: [Cell<usize>; PAGES],
    /// Start and end of what can be read.
    ranges: [Cell<(usize, usize)>; RANGES],
    /// Where the next range goes.
    next: Cell<usize>,
    /// As of this change.
    seen: Cell<u32>,
}

thread_local! {
    static KNOWN: Known = const {
        Known {
            pages: [const { Cell::new(0) }; PAGES],
            ranges: [const { Cell::new((0, 0)) }; RANGES],
            next: Cell::new(0),
            seen: Cell::new(0),
        }
    };
}

/// The program changed its memory from `start` to `end`.
pub(crate) fn forget(start: usize, end: usize) {
    let _one = WRITING.lock();
    let number = EPOCH.load(Ordering::Relaxed);
    let [from, to] = &CHANGES[number as usize % LOG];
    from.store(start, Ordering::Relaxed);
    to.store(end, Ordering::Relaxed);
    EPOCH.store(number.wrapping_add(1), Ordering::Release);
}

/// So that the child finds it in order.
pub(crate) fn before_fork() {
    WRITING.before_fork();
}

pub(crate) fn after_fork() {
    WRITING.after_fork();
}

impl Known {
    #[inline]
    fn catch_up(&self) {
        let now = EPOCH.load(Ordering::Acquire);
        if self.seen.get() != now {
            self.forget_since(now);
        }
    }

    #[cold]
    fn forget_since(&self, now: u32) {
        let seen = self.seen.replace(now);
        // One less than are written down: the oldest is overwritten while the next change is.
        let missed = now.wrapping_sub(seen);
        if missed as usize >= LOG {
            return self.forget_all();
        }
        for number in (0..missed).map(|n| seen.wrapping_add(n)) {
            let [from, to] = &CHANGES[number as usize % LOG];
            let (start, end) = (from.load(Ordering::Relaxed), to.load(Ordering::Relaxed));
            let (first, last) = (start / PAGE, end.saturating_sub(1) / PAGE);
            self.pages
                .iter()
                .filter(|cell| cell.get() > 1 && (first..=last).contains(&((cell.get() >> 1) - 1)))
                .for_each(|cell| cell.set(0));
            self.ranges.iter().filter(|cell| cell.get().0 < end && start < cell.get().1).for_each(|cell| cell.set((0, 0)));
        }
        std::sync::atomic::fence(Ordering::Acquire);
        // What was read may have been overwritten meanwhile.
        if EPOCH.load(Ordering::Relaxed).wrapping_sub(seen) as usize >= LOG {
            self.forget_all();
        }
    }

    fn forget_all(&self) {
        self.pages.iter().for_each(|cell| cell.set(0));
        self.ranges.iter().for_each(|cell| cell.set((0, 0)));
    }
}

fn ask(start: usize, end: usize, advice: libc::c_int) -> bool {
    let start = start & !(page() - 1);
    // SAFETY: populating changes no byte; the range need not be mapped.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, advice) == 0 }
}

/// Why a range cannot be read, or written, now.
///
/// # Errors
/// `KERN_INVALID_ADDRESS`: not all of it is there. `KERN_PROTECTION_FAILURE`: it may not be.
pub(crate) fn check(start: usize, len: usize, write: bool) -> Result<(), Code> {
    let end = start.checked_add(len).ok_or(Code::KERN_INVALID_ADDRESS)?;
    if len == 0 || ask(start, end, if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ }) {
        return Ok(());
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EINVAL) => Err(Code::KERN_PROTECTION_FAILURE),
        _ => Err(Code::KERN_INVALID_ADDRESS),
    }
}

/// Whether all of it can be read now.
pub(crate) fn readable(at: *const u8, len: usize) -> bool {
    let start = at as usize;
    len == 0 || start.checked_add(len).is_some_and(|end| ask(start, end, libc::MADV_POPULATE_READ))
}

/// The same of memory that goes along with a message.
pub(crate) fn memory_readable(at: *const u8, len: usize) -> bool {
    let start = at as usize;
    let Some(end) = start.checked_add(len) else { return false };
    KNOWN.with(|known| {
        known.catch_up();
        if known.ranges.iter().any(|cell| cell.get().0 <= start && end <= cell.get().1) {
            return true;
        }
        let found = readable(at, len);
        if found && len > 0 {
            known.ranges[known.next.get() % RANGES].set((start, end));
            known.next.set(known.next.get().wrapping_add(1));
        }
        found
    })
}

/// The same for a message's buffer.
#[inline]
pub(crate) fn buffer_readable(at: *const u8, len: usize) -> bool {
    buffer(at as usize, len, false)
}

/// Whether a message's buffer can be written now.
#[inline]
pub(crate) fn buffer_writable(at: *const u8, len: usize) -> bool {
    buffer(at as usize, len, true)
}

#[inline]
fn buffer(start: usize, len: usize, write: bool) -> bool {
    if len == 0 {
        return true;
    }
    let Some(end) = start.checked_add(len) else { return false };
    let (first, last) = (start / PAGE, (end - 1) / PAGE);
    if last - first > 2 {
        return ask(start, end, if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ });
    }
    (first..=last).all(|number| known(number, write))
}

#[inline]
fn known(number: usize, write: bool) -> bool {
    KNOWN.with(|known| {
        known.catch_up();
        let cell = &known.pages[number % PAGES];
        if cell.get() >> 1 == number + 1 && (!write || cell.get() & 1 == 1) {
            return true;
        }
        let at = number * PAGE;
        let found = ask(at, at + PAGE, if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ });
        if found {
            cell.set((number + 1) << 1 | usize::from(write));
        }
        found
    })
}
