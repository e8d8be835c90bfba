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

const WORD: usize = size_of::<u64>();

/// Where `ptr` becomes word-aligned, within `len` bytes.
fn head(ptr: *const u8, len: usize) -> usize {
    ptr.align_offset(WORD).min(len)
}

/// Copies out of shared memory that others may be writing to: by volatile words where the memory is aligned.
pub(crate) fn read_shared(map: &MmapRaw, at: usize, out: &mut [u8]) {
    assert!(at.checked_add(out.len()).is_some_and(|end| end <= map.len()), "read past the region's end");
    // SAFETY: `at` is inside the mapping or at its end (asserted).
    let mut from = unsafe { map.as_ptr().add(at) };
    let (start, rest) = out.split_at_mut(head(from, out.len()));
    let (words, end) = rest.split_at_mut(rest.len() / WORD * WORD);
    let bytes = |out: &mut [u8], from: &mut *const u8| {
        for byte in out {
            // SAFETY: one byte inside the mapping, which lives as long as `map`; volatile, since another process may write meanwhile. The step
            // after it ends inside the mapping or at its end.
            unsafe {
                *byte = from.read_volatile();
                *from = from.add(1);
            }
        }
    };
    bytes(start, &mut from);
    for word in words.chunks_exact_mut(WORD) {
        // SAFETY: as above for eight bytes; `from` is aligned to them since `start` was copied.
        unsafe {
            word.copy_from_slice(&from.cast::<u64>().read_volatile().to_ne_bytes());
            from = from.add(WORD);
        }
    }
    bytes(end, &mut from);
}

/// Copies into shared memory that others may be reading.
pub(crate) fn write_shared(map: &MmapRaw, at: usize, bytes: &[u8]) {
    assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= map.len()), "write past the region's end");
    // SAFETY: `at` is inside the mapping or at its end (asserted).
    let mut to = unsafe { map.as_mut_ptr().add(at) };
    let (start, rest) = bytes.split_at(head(to, bytes.len()));
    let (words, end) = rest.split_at(rest.len() / WORD * WORD);
    let write = |bytes: &[u8], to: &mut *mut u8| {
        for byte in bytes {
            // SAFETY: as in `read_shared`.
            unsafe {
                to.write_volatile(*byte);
                *to = to.add(1);
            }
        }
    };
    write(start, &mut to);
    for word in words.chunks_exact(WORD) {
        let word = u64::from_ne_bytes(word.try_into().expect("eight bytes"));
        // SAFETY: as in `read_shared`.
        unsafe {
            to.cast::<u64>().write_volatile(word);
            to = to.add(WORD);
        }
    }
    write(end, &mut to);
}

trait AsRaw {
    fn as_raw(&self) -> std::os::fd::RawFd;
}

impl AsRaw for std::os::fd::BorrowedFd<'_> {
    fn as_raw(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    fn object(size: u64, seals: SealFlags) -> OwnedFd {
        let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::ALLOW_SEALING | rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, size).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    #[test]
    fn shared_copies_agree_at_every_alignment() {
        let map = map_shared(object(256, SealFlags::SHRINK), 256).unwrap();
        let pattern: Vec<u8> = (0..64).collect();
        for at in 0..20 {
            for len in 0..40 {
                write_shared(&map, 0, &[0xee; 100]);
                write_shared(&map, at, &pattern[..len]);
                let mut all = [0; 100];
                read_shared(&map, 0, &mut all);
                let mut part = vec![0; len];
                read_shared(&map, at, &mut part);
                assert_eq!(part, pattern[..len]);
                assert_eq!(&all[at..at + len], &pattern[..len]);
                assert!(all[..at].iter().chain(&all[at + len..]).all(|&byte| byte == 0xee));
            }
        }
    }

    #[test]
    fn memory_that_could_change_or_shrink_is_not_mapped() {
        assert!(map_sealed(object(4096, SEALED), 4096).is_ok());
        for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE, SealFlags::SEAL] {
            assert!(map_sealed(object(4096, SEALED - missing), 4096).is_err(), "mapped without {missing:?}");
        }
        assert!(map_sealed(object(4096, SEALED), 4097).unwrap_err().contains("4096"));
        assert!(map_shared(object(4096, SealFlags::GROW), 4096).is_err());
        assert!(map_shared(object(4096, SealFlags::SHRINK), 4097).is_err());
    }
}
