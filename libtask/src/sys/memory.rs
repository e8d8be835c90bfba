//! Regions as Linux has them: sealing, checking, mapping.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use memmap2::{Mmap, MmapOptions, MmapRaw};
use rustix::fs::SealFlags;

/// The seals of a region that can never change again.
const SEALED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// Makes the file's holes pages (the kernel process refuses holes: they would be charged to the reader) and seals it for good.
pub(crate) fn seal(file: &File, size: u64) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    if size > 0 && (stat.st_blocks as u64).saturating_mul(512) < size {
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size)?;
    }
    rustix::fs::fcntl_add_seals(file, SEALED)?;
    Ok(())
}

/// Maps a sealed region privately for reading. The seals and the size are looked at first: they are what makes a `&[u8]` sound.
pub(crate) fn map_sealed(fd: impl AsFd, size: usize) -> Result<Mmap, String> {
    let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|e| format!("seals cannot be read: {e}"))?;
    if !seals.contains(SEALED) {
        return Err(format!("seals {seals:?} do not forbid change"));
    }
    let stat = rustix::fs::fstat(&fd).map_err(|e| format!("size cannot be read: {e}"))?;
    if (stat.st_size as u64) < size as u64 {
        return Err(format!("{size} bytes announced, {} there", stat.st_size));
    }
    // SAFETY:
    // * the object is sealed against shrinking and writing for ever (checked above, and F_SEAL_WRITE cannot be set while a writable
    //   shared mapping exists), so the bytes behind the slice never change and never vanish;
    // * the mapping is no longer than the object.
    unsafe { MmapOptions::new().len(size).map_copy_read_only(fd.as_fd().as_raw()) }.map_err(|e| format!("mapping: {e}"))
}

/// Maps a shared region. The result is a raw pointer, for others write to it at any time.
pub(crate) fn map_shared(fd: impl AsFd, size: usize) -> Result<MmapRaw, String> {
    let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|e| format!("seals cannot be read: {e}"))?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err("the object can shrink under the mapping".into());
    }
    let stat = rustix::fs::fstat(&fd).map_err(|e| format!("size cannot be read: {e}"))?;
    if (stat.st_size as u64) < size as u64 {
        return Err(format!("{size} bytes announced, {} there", stat.st_size));
    }
    MmapOptions::new().len(size).map_raw(fd.as_fd().as_raw()).map_err(|e| format!("mapping: {e}"))
}

/// Copies out of shared memory that others may be writing to.
pub(crate) fn read_shared(map: &MmapRaw, at: usize, out: &mut [u8]) {
    assert!(at.checked_add(out.len()).is_some_and(|end| end <= map.len()), "read past the region's end");
    // A volatile access per byte: whole words where both sides are aligned would be faster and is left to those who map it themselves.
    let base = map.as_ptr();
    for (i, byte) in out.iter_mut().enumerate() {
        // SAFETY: inside the mapping (asserted), which lives as long as `map`; volatile, since another process may write meanwhile.
        *byte = unsafe { base.add(at + i).read_volatile() };
    }
}

/// Copies into shared memory that others may be reading.
pub(crate) fn write_shared(map: &MmapRaw, at: usize, bytes: &[u8]) {
    assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= map.len()), "write past the region's end");
    let base = map.as_mut_ptr();
    for (i, byte) in bytes.iter().enumerate() {
        // SAFETY: as in `read_shared`.
        unsafe { base.add(at + i).write_volatile(*byte) };
    }
}

trait AsRaw {
    fn as_raw(&self) -> std::os::fd::RawFd;
}

impl AsRaw for std::os::fd::BorrowedFd<'_> {
    fn as_raw(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(self)
    }
}
