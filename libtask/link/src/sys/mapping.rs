//! A link's memfd, mapped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use umach_abi::link;

use super::{copy, futex};
use crate::memory::{Fence, Memory};

/// Without these a peer could take pages away under the mapping (a signal at the next access), or make a later mapping of it fail.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Why a file is not mapped as a link.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It is not as long as a link.
    #[error("the file has {found} bytes where a link has {}: it is not a link, or one of another version", link::SIZE)]
    Size {
        /// How long it is.
        found: u64,
    },
    /// It could change its size.
    #[error("the file has seals {found:?} where a link has at least {SEALS:?}: do not trust who gave it")]
    Seals {
        /// The seals it has.
        found: SealFlags,
    },
    /// Linux refuses.
    #[error("{what} the memory of a link: {source}")]
    System {
        /// What we did.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Zeroed memory of a link, sealed: what the kernel process gives to both tasks.
pub fn create() -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("umach-link", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, link::SIZE as u64)?;
    rustix::fs::fcntl_add_seals(&fd, SEALS)?;
    Ok(fd)
}

/// A link in memory that another process has mapped too. Only addresses of it leave this module, as words that are atomic, never as slices.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
}

// SAFETY:
// * the mapping belongs to the value and stays where it is until the value is dropped;
// * all accesses to it are atomic, or by a copy that the compiler does not look into.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared access is what it is made for.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a link's memfd, after looking at its size and seals. The descriptor is not needed afterwards.
    pub fn new(fd: impl AsFd) -> Result<Mapping, MapError> {
        let system = |what| move |source: rustix::io::Errno| MapError::System { what, source: source.into() };
        let seals = rustix::fs::fcntl_get_seals(&fd).map_err(system("read the seals of"))?;
        if !seals.contains(SEALS) {
            return Err(MapError::Seals { found: seals });
        }
        let stat = rustix::fs::fstat(&fd).map_err(system("read the size of"))?;
        if stat.st_size != link::SIZE as i64 {
            return Err(MapError::Size { found: stat.st_size as u64 });
        }
        // SAFETY:
        // * a new mapping at an address that Linux chooses replaces nothing;
        // * the file has exactly this many bytes and can never have fewer (looked at above).
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), link::SIZE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0) };
        let start = start.map_err(system("map"))?;
        Ok(Mapping { start: NonNull::new(start.cast()).expect("Linux maps nothing at address 0") })
    }

    /// The address of `len` bytes at `at`.
    #[inline]
    fn at(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at <= link::SIZE && len <= link::SIZE - at, "{len} bytes at {at:#x} are not all inside a link");
        // SAFETY: inside the mapping or at its end (asserted).
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it so, the value owned it, and what was borrowed from the value is gone.
        let done = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), link::SIZE) };
        debug_assert!(done.is_ok(), "a mapping that was made can be undone");
    }
}

impl Memory for Mapping {
    type Word = AtomicU32;

    #[inline]
    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4), "a word at {at:#x}");
        // SAFETY:
        // * four bytes inside the mapping (`at` asserts it), which lives as long as the result;
        // * aligned: the mapping starts at a page and `at` is a multiple of four;
        // * other accesses to the bytes are atomic or by `copy`, in this process; what the other process does is no race of this program.
        unsafe { AtomicU32::from_ptr(self.at(at, 4).cast()) }
    }
    #[inline]
    fn read(&self, at: usize, out: &mut [u8]) {
        // SAFETY: the bytes are inside the mapping (`at` asserts it); they are accessed by atomics and by `copy` only.
        unsafe { copy::copy_out(self.at(at, out.len()), out) };
    }
    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        // SAFETY: as above.
        unsafe { copy::copy_in(self.at(at, bytes.len()), bytes) };
    }
    #[inline]
    fn fence(&self, _: Fence) {
        fence(Ordering::SeqCst);
    }
    fn wake(&self, at: usize) {
        futex::wake(self.word(at), u32::MAX);
    }
}
