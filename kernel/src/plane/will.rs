//! What Linux does should this process be killed: it changes a word of each attention page and wakes somebody who sleeps on it, as for *robust futexes*.
//!
//! Linux walks a list of a thread's when that ends, and of each entry looks at the word that is a fixed distance away. The entries are in memory of this process's own, a page behind
//! each attention page, and only the words are where tasks can see them. So nobody can lead Linux astray, and no address is told. It walks 2048 entries; tasks beyond
//! that many learn of the end as they would without: by looking twice a minute.
#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

use umach_abi::link::attention;

/// `struct robust_list_head`.
#[repr(C)]
struct Head {
    first: *mut Entry,
    /// From an entry to its word.
    distance: libc::c_long,
    pending: *mut Entry,
}

/// `struct robust_list`, and the way back. The head counts as one.
#[repr(C)]
pub(super) struct Entry {
    next: *mut Entry,
    before: *mut Entry,
}

const _: () = assert!(offset_of!(Head, first) == offset_of!(Entry, next));

/// This thread's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Will(NonNull<Head>);

// SAFETY: it is an address; whoever follows it promises to be the thread that made it.
unsafe impl Send for Will {}

impl Will {
    /// Makes it. What this thread had before of that kind is no longer known to Linux; nothing in this crate has.
    pub(crate) fn make() -> io::Result<Will> {
        let distance = attention::KERNEL as libc::c_long - attention::SIZE as libc::c_long;
        // As long as the thread may live.
        let head = NonNull::from(Box::leak(Box::new(Head { first: ptr::null_mut(), distance, pending: ptr::null_mut() })));
        // SAFETY: just made, and nobody else's. A list that is empty leads back to its head.
        unsafe { (*head.as_ptr()).first = head.as_ptr().cast() };
        // SAFETY: Linux only reads it, when the thread ends; it is never freed.
        let set = unsafe { libc::syscall(libc::SYS_set_robust_list, head.as_ptr(), size_of::<Head>()) };
        if set == 0 { Ok(Will(head)) } else { Err(io::Error::last_os_error()) }
    }

    /// What a page's word has to be while this thread lives: its number, and that somebody is to be woken.
    pub(super) fn word() -> u32 {
        const FUTEX_WAITERS: u32 = 0x8000_0000;
        rustix::thread::gettid().as_raw_nonzero().get() as u32 | FUTEX_WAITERS
    }

    /// From now on Linux looks at the word that belongs to `entry`.
    ///
    /// # Safety
    ///
    /// `entry` is valid, nobody else's, and in no list, until it is taken out; the word is mapped as long. By the thread that made this.
    pub(super) unsafe fn put_in(self, entry: NonNull<Entry>) {
        let (head, entry) = (self.0.as_ptr().cast::<Entry>(), entry.as_ptr());
        // SAFETY: the list's own entries. In this order Linux finds a whole list at any moment.
        unsafe {
            let next = (*head).next;
            entry.write_volatile(Entry { next, before: head });
            ptr::addr_of_mut!((*head).next).write_volatile(entry);
            if next != head {
                (*next).before = entry;
            }
        }
    }

    /// Linux looks there no more.
    ///
    /// # Safety
    ///
    /// It is in this list. By the thread that made it.
    pub(super) unsafe fn take_out(self, entry: NonNull<Entry>) {
        let (head, entry) = (self.0.as_ptr().cast::<Entry>(), entry.as_ptr());
        // SAFETY: the list's own entries.
        unsafe {
            let Entry { next, before } = entry.read();
            ptr::addr_of_mut!((*before).next).write_volatile(next);
            if next != head {
                (*next).before = before;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use super::super::sys::Page;
    use super::*;

    fn word(fd: &OwnedFd) -> u32 {
        let mut bytes = [0; 4];
        rustix::io::pread(fd, &mut bytes, attention::KERNEL as u64).unwrap();
        u32::from_ne_bytes(bytes)
    }

    #[test]
    fn words_of_the_pages_that_are_left_change_when_the_thread_ends() {
        let fds: Vec<OwnedFd> = (0..5)
            .map(|_| {
                let fd = rustix::fs::memfd_create("page", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
                rustix::fs::ftruncate(&fd, attention::SIZE as u64).unwrap();
                fd
            })
            .collect();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let will = Will::make().unwrap();
                let mut pages: Vec<Page> = fds.iter().map(|fd| Page::map(fd.as_fd(), Some(will)).unwrap()).collect();
                // The newest, the oldest, one between.
                for at in [4, 0, 1] {
                    drop(pages.remove(at));
                }
                assert!(fds.iter().all(|fd| word(fd) == Will::word()));
                pages.into_iter().for_each(std::mem::forget);
            });
            thread.join().unwrap();
        });
        let dead = |fd: &OwnedFd| word(fd) & attention::KERNEL_DEAD != 0;
        assert_eq!(fds.iter().map(dead).collect::<Vec<_>>(), [false, true, false, true, false]);
    }
}
