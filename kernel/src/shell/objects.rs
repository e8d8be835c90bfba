//! Region objects: memfds that the kernel process makes and hands down.
//!
//! A task may hold a writable mapping of an unsealed one, sit in a `write` to it on a page that never arrives, or pin its pages. So on an
//! object that somebody else has seen, only calls that cannot block on that are made: `F_GET_SEALS`, `fstat`, `dup`, `sendmsg`, `close`.
//! The task seals; the kernel process only looks.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

/// Makes the memfd of a new region. A shared one is sealed against resizing and further seals before anybody sees it.
pub fn create_region(size: u64, shared: bool) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("umach-region", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, size)?;
    if shared {
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    }
    Ok(fd)
}

/// A region with these bytes, which nobody can change any more. Nobody else has seen it, so nothing here can be made to block.
pub fn filled_region(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(create_region(bytes.len() as u64, false)?);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Whether a region that [`create_region`] made can never change again and costs its readers nothing: sealed against shrinking, growing,
/// writing and further seals; exactly `size` bytes; and without holes (a reader of a hole allocates the page, and is charged for it).
///
/// That it is a memfd on ordinary pages needs no look, for no task can put another object in its place. `st_blksize` would not tell anyway:
/// where shared memory uses transparent huge pages it is a huge page's size.
pub fn is_sealed(fd: BorrowedFd<'_>, size: u64) -> bool {
    let needed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    let (Ok(seals), Ok(stat)) = (rustix::fs::fcntl_get_seals(fd), rustix::fs::fstat(fd)) else {
        return false;
    };
    // Rounding the size up to whole pages adds nothing: pages are allocated whole.
    seals.contains(needed) && stat.st_size as u64 == size && (stat.st_blocks as u64).saturating_mul(512) >= size
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const FULL: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

    fn filled(size: usize) -> OwnedFd {
        let mut file = File::from(create_region(size as u64, false).unwrap());
        file.write_all(&vec![1; size]).unwrap();
        file.into()
    }

    #[test]
    fn region_filled_and_sealed_is_accepted() {
        for size in [0, 1, 4096, 4097, 100_000] {
            let fd = filled(size);
            assert!(!is_sealed(fd.as_fd(), size as u64), "accepted without seals");
            rustix::fs::fcntl_add_seals(&fd, FULL).unwrap();
            assert!(is_sealed(fd.as_fd(), size as u64));
            assert!(!is_sealed(fd.as_fd(), size as u64 + 1));
        }
    }

    #[test]
    fn region_filled_here_is_sealed() {
        for size in [0, 1, 70_000] {
            let fd = filled_region(&vec![7; size]).unwrap();
            assert!(is_sealed(fd.as_fd(), size as u64));
            assert!(rustix::io::pwrite(&fd, &[1], 0).is_err() || size == 0);
        }
    }

    #[test]
    fn region_with_a_seal_missing_is_refused() {
        for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE, SealFlags::SEAL] {
            let fd = filled(5000);
            rustix::fs::fcntl_add_seals(&fd, FULL - missing).unwrap();
            assert!(!is_sealed(fd.as_fd(), 5000), "accepted without {missing:?}");
        }
    }

    #[test]
    fn region_with_a_hole_is_refused() {
        let fd = create_region(1 << 20, false).unwrap();
        rustix::io::pwrite(&fd, &[1; 4096], 0).unwrap();
        rustix::fs::fcntl_add_seals(&fd, FULL).unwrap();
        assert!(!is_sealed(fd.as_fd(), 1 << 20));
    }

    #[test]
    fn region_shared_cannot_be_resized_or_sealed_further() {
        let fd = create_region(8192, true).unwrap();
        assert!(rustix::fs::ftruncate(&fd, 0).is_err());
        assert!(rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE).is_err());
        assert!(!is_sealed(fd.as_fd(), 8192));
    }
}
