//! Whether memory that the program names can be read or written, so that a wild pointer gives a code and not a signal.
//!
//! Linux says for a whole range in one call (`MADV_POPULATE_READ`, `MADV_POPULATE_WRITE`), and brings in what is missing on the way. For message buffers, which
//! are used again and again, each thread remembers some pages. A page that the program unmaps by `munmap`, or protects by `mprotect`, after that is
//! believed in until another one takes its place; `vm_deallocate` and `vm_protect` are noticed.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ool::page;

/// Changes when the program changed its memory.
static EPOCH: AtomicU32 = AtomicU32::new(0);

/// Pages that a thread remembers.
const PAGES: usize = 32;

thread_local! {
    /// Twice the number of the page after it, plus one if it can be written; so 0 is none.
    static KNOWN: [Cell<usize>; PAGES] = const { [const { Cell::new(0) }; PAGES] };
    static SEEN: Cell<u32> = const { Cell::new(0) };
}

/// The program changed its memory.
pub(crate) fn forget() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

fn ask(start: usize, end: usize, advice: libc::c_int) -> bool {
    let start = start & !(page() - 1);
    // SAFETY: populating changes no byte; the range need not be mapped.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, advice) == 0 }
}

/// Whether all of it can be read now.
pub(crate) fn readable(at: *const u8, len: usize) -> bool {
    let start = at as usize;
    len == 0 || start.checked_add(len).is_some_and(|end| ask(start, end, libc::MADV_POPULATE_READ))
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
    let (first, last) = (start / page(), (end - 1) / page());
    if last - first > 2 {
        return ask(start, end, if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ });
    }
    (first..=last).all(|number| known(number, write))
}

#[inline]
fn known(number: usize, write: bool) -> bool {
    let epoch = EPOCH.load(Ordering::Relaxed);
    KNOWN.with(|known| {
        if SEEN.replace(epoch) != epoch {
            known.iter().for_each(|cell| cell.set(0));
        }
        let cell = &known[number % PAGES];
        if cell.get() >> 1 == number + 1 && (!write || cell.get() & 1 == 1) {
            return true;
        }
        let at = number * page();
        let found = ask(at, at + page(), if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ });
        if found {
            cell.set((number + 1) << 1 | usize::from(write));
        }
        found
    })
}
