//! Arenas, mapped: by the lender to write, by the borrower to read.
//!
//! The lender maps an arena before anybody else has it, and then seals it against other writers. So its bytes change by this process's hand alone, and
//! a part of it that nobody else in this process writes is ordinary memory. To the borrower it is memory that changes at any time: it copies.

use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, slice};

use parking_lot::Mutex;
use rustix::fs::SealFlags;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use umach_abi::link::lease::UNIT;

use super::copy;
use super::mapping::MapError;
use crate::space::{Range, Space};

/// Without these the memory could go away under the mapping.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// How much is copied before it is looked at (measured: [`copy::copy_foreign`]).
const BLOCK: usize = 2048;

/// A whole memfd, mapped.
#[derive(Debug)]
struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the value and stays where it is until that is dropped; who accesses which bytes when is the affair of the two
// types below.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    fn new(fd: impl AsFd, len: u64, access: ProtFlags) -> Result<Map, MapError> {
        let system = |what| move |source: rustix::io::Errno| MapError::System { what, source: source.into() };
        let seals = rustix::fs::fcntl_get_seals(&fd).map_err(system("read the seals of"))?;
        if !seals.contains(SEALS) {
            return Err(MapError::Seals { found: seals });
        }
        let stat = rustix::fs::fstat(&fd).map_err(system("read the size of"))?;
        if len == 0 || stat.st_size as u64 != len {
            return Err(MapError::Size { found: stat.st_size as u64 });
        }
        let size = usize::try_from(len).map_err(|_| MapError::Size { found: len })?;
        // SAFETY:
        // * a new mapping at an address that Linux chooses replaces nothing;
        // * the file has exactly this many bytes and can never have fewer (looked at above).
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), size, access, MapFlags::SHARED, fd, 0) };
        let start = start.map_err(system("map"))?;
        Ok(Map { start: NonNull::new(start.cast()).expect("Linux maps nothing at address 0"), len: size })
    }
    fn at(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at <= self.len && len <= self.len - at, "{len} bytes at {at:#x} are not all inside an arena");
        // SAFETY: inside the mapping or at its end (asserted).
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it so, the value owned it, and what was borrowed from the value is gone.
        let done = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(done.is_ok(), "a mapping that was made can be undone");
    }
}

/// Memory that this process lends from.
#[derive(Debug)]
pub struct Arena {
    map: Map,
    space: Mutex<Space>,
    ended: AtomicBool,
}

impl Arena {
    /// Maps a memfd of `len` bytes that nobody else has yet but who made it, and seals it so that nobody else can ever write it.
    pub fn new(fd: impl AsFd, len: u64) -> Result<Arc<Arena>, MapError> {
        let system = |what| move |source: rustix::io::Errno| MapError::System { what, source: source.into() };
        let map = Map::new(&fd, len, ProtFlags::READ | ProtFlags::WRITE)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL).map_err(system("seal"))?;
        // A forked child would be a second writer.
        // SAFETY: the range is the mapping, and this process goes on having it.
        unsafe { rustix::mm::madvise(map.start.as_ptr().cast(), map.len, Advice::LinuxDontFork) }.map_err(system("map"))?;
        Ok(Arc::new(Arena { map, space: Mutex::new(Space::new(len)), ended: AtomicBool::new(false) }))
    }
    /// A part of it with room for `len` bytes, if there is one now. What is in it is what was there before.
    pub fn take(self: &Arc<Arena>, len: usize) -> Option<Block> {
        let whole = (len.max(1) as u64).checked_next_multiple_of(UNIT)?;
        if self.ended.load(Ordering::Relaxed) {
            return None;
        }
        let range = self.space.lock().take(whole)?;
        Some(Block { arena: self.clone(), range, len })
    }
    /// Nothing is taken from it any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.map.len as u64
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.map.len == 0
    }
}

/// A part of an [`Arena`], this value's alone to write. It is free again when the value is dropped; the peer may read it from then on as well as before.
#[derive(Debug)]
pub struct Block {
    arena: Arc<Arena>,
    range: Range,
    len: usize,
}

impl Block {
    /// Where in the arena it starts.
    pub fn offset(&self) -> u64 {
        self.range.at
    }
    /// The arena.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }
    /// Uses the first `len` bytes only.
    ///
    /// Panics if it has fewer.
    pub fn shorten(&mut self, len: usize) {
        assert!(len <= self.len, "a block of {} bytes does not become longer", self.len);
        self.len = len;
    }
}

impl Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let start = self.arena.map.at(self.range.at as usize, self.len);
        // SAFETY:
        // * `len` bytes inside the mapping (`at` asserts it), which lives as long as the arena that the value holds; every byte of a memfd is initialised;
        // * the range is this block's alone (`Space` gives none out twice), so nobody in this process writes it while the value is borrowed, and
        //   nobody outside can: the file was sealed against other writers before anybody else had it.
        unsafe { slice::from_raw_parts(start, self.len) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.arena.map.at(self.range.at as usize, self.len);
        // SAFETY: as above; the value is borrowed mutably. That another process reads meanwhile is no race of this program.
        unsafe { slice::from_raw_parts_mut(start, self.len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.arena.space.lock().give_back(self.range);
    }
}

/// Memory of a peer that it lends from. It may change while it is read.
#[derive(Debug)]
pub struct Foreign {
    map: Map,
}

impl Foreign {
    /// Maps a peer's arena of `len` bytes for reading, after looking at its seals.
    pub fn new(fd: impl AsFd, len: u64) -> Result<Foreign, MapError> {
        Map::new(fd, len, ProtFlags::READ).map(|map| Foreign { map })
    }
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.map.len as u64
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.map.len == 0
    }
    /// Copies `out.len()` bytes from `at`.
    ///
    /// Panics past the end.
    pub fn read(&self, at: u64, out: &mut [u8]) {
        let from = self.map.at(usize::try_from(at).expect("inside the mapping"), out.len());
        // SAFETY: the bytes are inside the mapping (`at` asserts it); this process accesses them by `copy` only, and `out` is ours.
        unsafe { copy::copy_foreign(from, out.as_mut_ptr(), out.len()) };
    }
    /// Appends `len` bytes from `at` on to `out`.
    ///
    /// Panics past the end.
    pub fn append_to(&self, at: u64, len: usize, out: &mut Vec<u8>) {
        let from = self.map.at(usize::try_from(at).expect("inside the mapping"), len);
        out.reserve(len);
        // SAFETY: as above; there is room for `len` more bytes, which are all written before they count.
        unsafe {
            copy::copy_foreign(from, out.spare_capacity_mut().as_mut_ptr().cast(), len);
            out.set_len(out.len() + len);
        }
    }
    /// Shows `len` bytes from `at` on, in order and each once, in blocks that were copied out and do not change.
    ///
    /// Panics past the end.
    pub fn blocks(&self, at: u64, len: usize, mut look: impl FnMut(&[u8])) {
        let mut block = Aligned([0; BLOCK]);
        let mut done = 0;
        while done < len {
            let part = &mut block.0[..BLOCK.min(len - done)];
            self.read(at + done as u64, part);
            look(part);
            done += part.len();
        }
    }
    /// Shows `len` bytes from `at` on, in order and each once, 64 at a time and at last what is left over. They do not change while they are looked at.
    ///
    /// Panics past the end.
    #[inline]
    pub fn lines(&self, at: u64, len: usize, mut look: impl FnMut(&[u8])) {
        let from = self.map.at(usize::try_from(at).expect("inside the mapping"), len);
        let rest = len % copy::LINE;
        // SAFETY: the bytes are inside the mapping (`at` asserts it), which is mapped for reading only.
        unsafe { copy::each_line(from, len / copy::LINE, |line| look(line)) };
        if rest > 0 {
            let mut line = [0; copy::LINE];
            let line = &mut line[..rest];
            self.read(at + (len - rest) as u64, line);
            look(line);
        }
    }
}

/// So that vector instructions need not straddle cache lines.
#[repr(align(64))]
struct Aligned([u8; BLOCK]);

/// What a process that lends gets from the kernel process, for tests: a memfd that keeps its size.
#[doc(hidden)]
pub fn create_arena(len: u64) -> io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::MemfdFlags;
    let fd = rustix::fs::memfd_create("umach-arena", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, len)?;
    rustix::fs::fcntl_add_seals(&fd, SEALS)?;
    Ok(fd)
}
