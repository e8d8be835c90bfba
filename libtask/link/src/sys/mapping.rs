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

/// Why a file is not mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It is not as long as it should be.
    #[error("the file has {found} bytes, and should have others: it is something else, or of another version")]
    Size {
        /// How long it is.
        found: u64,
    },
    /// It could change its size.
    #[error("the file has seals {found:?} where at least {SEALS:?} are needed: do not trust who gave it")]
    Seals {
        /// The seals it has.
        found: SealFlags,
    },
    /// Linux refuses.
    #[error("{what} shared memory: {source}")]
    System {
        /// What we did.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Zeroed memory of a link, sealed: what the kernel process gives to both tasks.
pub fn create() -> io::Result<OwnedFd> {
    create_sized("umach-link", link::SIZE)
}

/// Zeroed memory of another size, sealed likewise.
pub fn create_sized(name: &str, size: usize) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, size as u64)?;
    rustix::fs::fcntl_add_seals(&fd, SEALS)?;
    Ok(fd)
}

/// Memory that another process has mapped too: a link, or a lane's. Only addresses of it leave this module, as words that are atomic, never as slices.
#[derive(Debug)]
pub struct Mapping<const SIZE: usize = { link::SIZE }> {
    start: NonNull<u8>,
}

// SAFETY:
// * the mapping belongs to the value and stays where it is until the value is dropped;
// * all accesses to it are atomic, or by a copy that the compiler does not look into.
unsafe impl<const SIZE: usize> Send for Mapping<SIZE> {}
// SAFETY: as above: shared access is what it is made for.
unsafe impl<const SIZE: usize> Sync for Mapping<SIZE> {}

impl Mapping {
    /// Maps a link's memfd, after looking at its size and seals. The descriptor is not needed afterwards.
    pub fn new(fd: impl AsFd) -> Result<Mapping, MapError> {
        Mapping::sized(fd)
    }
}

impl<const SIZE: usize> Mapping<SIZE> {
    /// The same for a memfd of another size.
    pub fn sized(fd: impl AsFd) -> Result<Mapping<SIZE>, MapError> {
        let system = |what| move |source: rustix::io::Errno| MapError::System { what, source: source.into() };
        let seals = rustix::fs::fcntl_get_seals(&fd).map_err(system("read the seals of"))?;
        if !seals.contains(SEALS) {
            return Err(MapError::Seals { found: seals });
        }
        let stat = rustix::fs::fstat(&fd).map_err(system("read the size of"))?;
        if stat.st_size != SIZE as i64 {
            return Err(MapError::Size { found: stat.st_size as u64 });
        }
        // SAFETY:
        // * a new mapping at an address that Linux chooses replaces nothing;
        // * the file has exactly this many bytes and can never have fewer (looked at above).
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), SIZE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0) };
        let start = start.map_err(system("map"))?;
        Ok(Mapping { start: NonNull::new(start.cast()).expect("Linux maps nothing at address 0") })
    }

    /// The address of `len` bytes at `at`.
    #[inline]
    fn at(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at <= SIZE && len <= SIZE - at, "{len} bytes at {at:#x} are not all inside the mapping");
        // SAFETY: inside the mapping or at its end (asserted).
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl<const SIZE: usize> Drop for Mapping<SIZE> {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it so, the value owned it, and what was borrowed from the value is gone.
        let done = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), SIZE) };
        debug_assert!(done.is_ok(), "a mapping that was made can be undone");
    }
}

impl<const SIZE: usize> Memory for Mapping<SIZE> {
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
    fn expect_write(&self, at: usize) {
        copy::expect_write(self.at(at, 1));
    }
    #[inline]
    fn fence(&self, _: Fence) {
        fence(Ordering::SeqCst);
    }
    fn wake(&self, at: usize) {
        futex::try_wake(self.word(at));
    }
}
