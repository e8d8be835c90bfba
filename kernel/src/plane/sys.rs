//! The mapping of an attention page.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::thread::futex;
use umach_abi::link::attention;

use super::will::{Entry, Will};

/// A page that this process writes and others only read; and behind it one of this process's own, for an entry in its will.
#[derive(Debug)]
pub(super) struct Page {
    at: NonNull<u8>,
    will: Option<Will>,
}

/// Of both.
const MAPPED: usize = 2 * attention::SIZE;

// SAFETY: the page is only touched through atomics, and is unmapped by its owner's drop.
unsafe impl Send for Page {}

impl Page {
    /// Maps the first page of a memfd that is at least so long and never shrinks. With a will: for the thread that made that.
    pub(super) fn map(fd: BorrowedFd<'_>, will: Option<Will>) -> io::Result<Page> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that Linux chooses disturbs no other memory.
        let at = unsafe { mmap_anonymous(std::ptr::null_mut(), MAPPED, access, MapFlags::PRIVATE)? };
        let mut page = Page { at: NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?, will: None };
        // SAFETY: in place of the first page of that new mapping, which nobody has used.
        unsafe { mmap(at, attention::SIZE, access, MapFlags::SHARED | MapFlags::FIXED, fd, 0)? };
        let Some(will) = will else { return Ok(page) };
        page.word(attention::KERNEL).store(Will::word(), Ordering::SeqCst);
        // SAFETY: the second page is this one's own until `drop`, and the first is mapped as long.
        unsafe { will.put_in(page.entry()) };
        page.will = Some(will);
        Ok(page)
    }

    fn entry(&self) -> NonNull<Entry> {
        // SAFETY: inside the mapping, which is two pages long.
        unsafe { self.at.add(attention::SIZE).cast() }
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= attention::SIZE && at.is_multiple_of(4));
        // SAFETY: inside the mapping, which lives as long as `self`, and aligned (both checked; the mapping starts at a page). All access in this
        // process is atomic; nobody else can write.
        unsafe { &*self.at.as_ptr().add(at).cast::<AtomicU32>() }
    }

    /// Changes both words and wakes all who sleep on them.
    pub(super) fn change(&self) {
        let next = |at| self.word(at).load(Ordering::SeqCst).wrapping_add(1);
        self.set(next(attention::CONTROL), next(attention::MAIL));
    }

    /// Writes both words and wakes all who sleep on one that changes.
    pub(super) fn set(&self, control: u32, mail: u32) {
        for (at, value) in [(attention::CONTROL, control), (attention::MAIL, mail)] {
            let word = self.word(at);
            if word.swap(value, Ordering::SeqCst) != value {
                // Fails only if the word is not mapped; nobody may be there to be woken.
                let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
            }
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(will) = self.will {
            // SAFETY: it was put in by `map`, by this thread, which alone has this kind of page.
            unsafe { will.take_out(self.entry()) };
        }
        // SAFETY: the mapping is this page's own, and no reference to it outlives `self`.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), MAPPED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::Duration;

    #[test]
    fn who_sleeps_on_a_word_of_another_mapping_is_woken() {
        let fd = rustix::fs::memfd_create("page", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, attention::SIZE as u64).unwrap();
        let (ours, theirs) = (Page::map(fd.as_fd(), None).unwrap(), Page::map(fd.as_fd(), None).unwrap());
        let sleeper = std::thread::spawn(move || {
            // Whether it sleeps already when the word changes or not, it sees the change before the deadline.
            let deadline = futex::Timespec { tv_sec: 20, tv_nsec: 0 };
            let mut late = false;
            while theirs.word(attention::MAIL).load(Ordering::SeqCst) == 0 && !late {
                let slept = futex::wait(theirs.word(attention::MAIL), futex::Flags::empty(), 0, Some(&deadline));
                late = slept == Err(rustix::io::Errno::TIMEDOUT);
            }
            late
        });
        std::thread::sleep(Duration::from_millis(20));
        ours.set(0, 1);
        assert!(!sleeper.join().unwrap(), "never woken");
    }
}
