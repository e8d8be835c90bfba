//! The task's attention page, read-only: the kernel process writes it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use umach_abi::link::attention;
use umach_link::futex;

/// Words that the kernel process changes when this task should look, and one that Linux changes when that process ends.
#[derive(Debug)]
pub(crate) struct Attention {
    map: MmapRaw,
}

impl Attention {
    /// Maps the page. The kernel process made it, of the right size.
    pub(crate) fn map(file: &File) -> io::Result<Attention> {
        if file.metadata()?.len() < attention::SIZE as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the attention page is too small"));
        }
        Ok(Attention { map: MmapOptions::new().len(attention::SIZE).map_raw_read_only(file)? })
    }
    /// Changes when there are events to pull.
    pub(crate) fn control(&self) -> &AtomicU32 {
        self.word(attention::CONTROL)
    }
    /// Changes when there may be mail.
    pub(crate) fn mail(&self) -> &AtomicU32 {
        self.word(attention::MAIL)
    }
    /// To be slept on for long, with its value: changes when the kernel process ends. `None` if it will not.
    pub(crate) fn kernel(&self) -> Option<(&AtomicU32, u32)> {
        let word = self.word(attention::KERNEL);
        let value = word.load(Ordering::Acquire);
        (value != 0).then_some((word, value & !attention::KERNEL_DEAD))
    }
    /// Whether the kernel process has ended, as far as Linux says so here. Linux woke only one of those who sleep: the others are woken now.
    pub(crate) fn kernel_is_dead(&self) -> bool {
        let word = self.word(attention::KERNEL);
        let dead = word.load(Ordering::Acquire) & attention::KERNEL_DEAD != 0;
        if dead {
            futex::try_wake(word);
        }
        dead
    }
    fn word(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(4) && at < attention::SIZE);
        // SAFETY:
        // * `at` is aligned and inside the mapping, which lives as long as `self`;
        // * the page is written by the kernel process only and read here atomically; nobody writes through this reference.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }
}
