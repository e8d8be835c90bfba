//! Fork detection: one load on the fast path.
//!
//! A page is marked `MADV_WIPEONFORK`, so Linux zeroes it in every child, however the child was made. It holds a token that is drawn anew
//! whenever it is found zero. A connection remembers the token under which it was made; another one means that this process is a fork of
//! the one that connected.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

struct Page(NonNull<AtomicU64>);

// SAFETY: the pointer is to a mapping that is never unmapped, and it is only used as `&AtomicU64`, which is Sync.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

static PAGE: OnceLock<Option<Page>> = OnceLock::new();

fn page() -> Option<&'static AtomicU64> {
    let page = PAGE.get_or_init(|| {
        // Linux rounds both lengths up to a whole page.
        let len = size_of::<AtomicU64>();
        use rustix::mm::{Advice, MapFlags, ProtFlags};
        // SAFETY:
        // * a new private anonymous mapping at an address of Linux's choice touches no memory of anybody;
        // * it is page-aligned and zeroed, hence a valid AtomicU64, and is never unmapped.
        let at =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }.ok()?;
        // SAFETY: the range is exactly the mapping made above; wiping it in a child leaves a valid AtomicU64 of zero.
        unsafe { rustix::mm::madvise(at, len, Advice::LinuxWipeOnFork) }.ok()?;
        NonNull::new(at.cast()).map(Page)
    });
    // SAFETY: see `get_or_init` above: valid, aligned and alive for ever; accessed atomically only.
    page.as_ref().map(|page| unsafe { page.0.as_ref() })
}

/// The token of this process, never zero. It is another one after a fork.
pub(crate) fn token() -> u64 {
    let Some(page) = page() else {
        // Linux without wipe-on-fork (before 4.14): the process id serves, at the price of a call.
        return std::process::id() as u64;
    };
    let token = page.load(Ordering::Relaxed);
    if token != 0 {
        return token;
    }
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let fresh = (nanos << 22 ^ std::process::id() as u64) | 1;
    match page.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fresh,
        Err(won) => won,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_in_a_forked_child_is_another() {
        let before = token();
        assert_eq!(before, token());
        // SAFETY: the child only reads an atomic, may make one system call, and leaves by _exit: all async-signal-safe.
        match unsafe { libc::fork() } {
            0 => {
                let differs = token() != before;
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(differs as i32) }
            }
            child => {
                let mut status = 0;
                // SAFETY: `status` is a valid place, `child` is this process's child.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!(libc::WEXITSTATUS(status), 1);
            }
        }
    }
}
