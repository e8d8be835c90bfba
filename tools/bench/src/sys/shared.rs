//! Memory that two processes of the bench share.
//!
//! Both are this program, and what they do with it is arranged by protocol: whoever writes some bytes has published them through a word (release)
//! before the other, having read that word (acquire), looks at them, and does not touch them again before it is told so in the same way. Every
//! function here relies on that. It is no way to deal with a process that is not trusted; that is what umach is for.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU32;

use anyhow::{Context, Result};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};

/// A mapping of a memfd.
pub(crate) struct Shared {
    map: MmapRaw,
}

impl Shared {
    /// New memory of so many bytes, all present, and the descriptor to map it by.
    pub(crate) fn create(len: usize) -> Result<(Shared, OwnedFd)> {
        let fd = memfd_create("umach-bench", MemfdFlags::CLOEXEC).context("making shared memory")?;
        ftruncate(&fd, len as u64).context("sizing shared memory")?;
        Ok((Shared::open(&fd)?, fd))
    }
    /// Somebody else's.
    pub(crate) fn open(fd: impl AsFd) -> Result<Shared> {
        let len = fstat(&fd).context("sizing shared memory")?.st_size as usize;
        let map = MmapOptions::new().len(len).populate().map_raw(&fd.as_fd()).context("mapping shared memory")?;
        Ok(Shared { map })
    }
    /// The word at this offset, a multiple of four.
    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.map.len());
        // SAFETY:
        // * the word lies in the mapping, which lives as long as the reference, and is aligned (the mapping starts at a page): checked above;
        // * all that anybody does to such a word is atomic.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }
    /// Copies in.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at <= self.map.len() && bytes.len() <= self.map.len() - at);
        // SAFETY: in bounds (checked above), disjoint (`bytes` is private), and nobody else touches these bytes now (see the module's head).
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(at), bytes.len()) }
    }
    /// Copies out.
    pub(crate) fn read(&self, at: usize, bytes: &mut [u8]) {
        assert!(at <= self.map.len() && bytes.len() <= self.map.len() - at);
        // SAFETY: as in `write`.
        unsafe { std::ptr::copy_nonoverlapping(self.map.as_ptr().add(at), bytes.as_mut_ptr(), bytes.len()) }
    }
    /// The bytes themselves, to read in place.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> &[u8] {
        assert!(at <= self.map.len() && len <= self.map.len() - at);
        // SAFETY: in bounds (checked above), and nobody writes these bytes while the reader has them (see the module's head).
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at), len) }
    }
    /// The bytes themselves, to fill in place.
    pub(crate) fn bytes_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        assert!(at <= self.map.len() && len <= self.map.len() - at);
        // SAFETY: in bounds (checked above), and nobody else touches these bytes meanwhile (see the module's head).
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(at), len) }
    }
}
