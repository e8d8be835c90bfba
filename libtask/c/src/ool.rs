//! Out-of-line memory that comes with messages: private pages that the program gives back with `vm_deallocate`.
//!
//! To touch fresh pages takes longer than to copy what comes in them. So blocks of some size that come back are kept for the next message: moved out of
//! their place, which is free then, as that of memory that was given back is. To move a block costs less than to protect it and to unprotect it later
//! (1 MiB: 6 µs, and 15).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;

use crate::fork::ForkLock;
use crate::probe;

/// Blocks of so many bytes are kept,
const KEPT: std::ops::RangeInclusive<usize> = 64 << 10..=16 << 20;
/// at most so many bytes of them.
const KEPT_MAX: usize = 64 << 20;

struct Pool {
    /// Blocks that the program has, by start: their lengths.
    out: BTreeMap<usize, usize>,
    /// Blocks that came back: start and length.
    back: Vec<(usize, usize)>,
    kept: usize,
}

static POOL: ForkLock<Pool> = ForkLock::new(Pool { out: BTreeMap::new(), back: Vec::new(), kept: 0 });

/// Bytes of a page.
#[inline]
pub(crate) fn page() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    // SAFETY: asks Linux for a number.
    *PAGE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize)
}

/// Whole pages.
pub(crate) fn pages(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(page())
}

fn map(len: usize, flags: libc::c_int, fd: libc::c_int) -> Option<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a place of Linux's choice touches nobody's memory.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_PRIVATE | flags, fd, 0) };
    if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
}

/// Room for `len` bytes (not 0), all to be written by the caller; what is behind them up to the page's end is zero.
pub(crate) fn allocate(len: usize) -> Option<NonNull<u8>> {
    let whole = pages(len)?;
    let kept = KEPT.contains(&whole);
    let found = if kept { take_back(whole) } else { None };
    let at = match found {
        Some(at) => {
            // SAFETY: inside the block of `whole` bytes, which is this function's alone.
            unsafe { at.add(len).write_bytes(0, whole - len) };
            at
        }
        None => map(whole, libc::MAP_ANONYMOUS | libc::MAP_POPULATE, -1)?,
    };
    if kept {
        POOL.lock().out.insert(at.as_ptr() as usize, whole);
    }
    Some(at)
}

fn take_back(whole: usize) -> Option<NonNull<u8>> {
    let mut pool = POOL.lock();
    let n = pool.back.iter().rposition(|&(_, len)| len == whole)?;
    let (at, _) = pool.back.swap_remove(n);
    pool.kept -= whole;
    NonNull::new(at as *mut u8)
}

/// The bytes of a sealed object, mapped privately.
pub(crate) fn map_sealed(file: &File, len: u64) -> Option<NonNull<u8>> {
    map(pages(usize::try_from(len).ok()?)?, 0, file.as_raw_fd())
}

/// Whether a range is inside a block that the program has, and can be read for that reason: it was given to the program so.
pub(crate) fn holds(start: usize, len: usize) -> bool {
    let pool = POOL.lock();
    let block = pool.out.range(..=start).next_back();
    block.is_some_and(|(&at, &whole)| start.checked_add(len).is_some_and(|end| end <= at + whole))
}

/// Memory from here on is protected otherwise: what of it are blocks are none any more.
pub(crate) fn disown(start: usize, end: usize) {
    let mut pool = POOL.lock();
    while let Some((&at, &len)) = pool.out.range(..end).next_back()
        && at + len > start
    {
        pool.out.remove(&at);
    }
}

/// Gives memory back. False if it is none.
pub(crate) fn release(start: usize, len: usize) -> bool {
    let Some(end) = start.checked_add(len).and_then(pages) else { return false };
    let start = start & !(page() - 1);
    if start == end {
        return true;
    }
    probe::forget(start, end);
    let mut pool = POOL.lock();
    if pool.out.get(&start) == Some(&(end - start)) {
        pool.out.remove(&start);
        if pool.keep(start, end - start) {
            return true;
        }
        drop(pool);
    } else {
        // Some of a block: it is no longer one.
        drop(pool);
        disown(start, end);
    }
    // SAFETY: the program says that it does not use this memory any more.
    unsafe { libc::munmap(start as *mut libc::c_void, end - start) == 0 }
}

/// Unmaps what is kept: before somebody lists what the program has.
pub(crate) fn let_go() {
    let mut pool = POOL.lock();
    pool.kept = 0;
    for (at, len) in pool.back.drain(..) {
        // SAFETY: the pool's alone.
        unsafe { libc::munmap(at as *mut libc::c_void, len) };
    }
}

impl Pool {
    fn keep(&mut self, start: usize, len: usize) -> bool {
        if self.kept + len > KEPT_MAX {
            return false;
        }
        let Some(to) = set_aside(start as *mut libc::c_void, len) else { return false };
        self.back.push((to, len));
        self.kept += len;
        true
    }
}

/// Moves pages that the program gave back to where it knows nothing of; nothing is left where they were. `None`: they are there still.
fn set_aside(at: *mut libc::c_void, len: usize) -> Option<usize> {
    let (nothing, new) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // The advice is refused for what is not private memory of this process's own: should the program have put something else at that place. And should it
    // have protected it otherwise, that ends here; Linux soon says that there is nothing to be done.
    // SAFETY: the program gave these pages back, and the new mapping at a place of Linux's choice gives way to them.
    unsafe {
        if libc::madvise(at, page(), libc::MADV_FREE) != 0 || libc::mprotect(at, len, libc::PROT_READ | libc::PROT_WRITE) != 0 {
            return None;
        }
        let to = libc::mmap(std::ptr::null_mut(), len, nothing, new, -1, 0);
        if to == libc::MAP_FAILED {
            return None;
        }
        if libc::mremap(at, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, to) == libc::MAP_FAILED {
            libc::munmap(to, len);
            return None;
        }
        Some(to as usize)
    }
}

/// So that the child finds it in order.
pub(crate) fn before_fork() {
    POOL.before_fork();
}

pub(crate) fn after_fork() {
    POOL.after_fork();
}
