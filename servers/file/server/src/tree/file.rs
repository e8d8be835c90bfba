//! An open regular file.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use umach_file_api::error::{Failure, Fault};
use umach_file_api::protocol::Stat;

use super::{Result, failure, retry, stat_of};

/// Bytes moved at once where sendfile does not work: little enough to stay in the cache between read and write.
const PIECE: usize = 256 * 1024;

/// A regular file; offsets are the caller's, so any number of threads and clients use one at the same time.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
}

impl OpenFile {
    pub(super) fn new(fd: OwnedFd) -> OpenFile {
        OpenFile { fd }
    }

    /// Facts about it.
    pub fn stat(&self) -> Result<Stat> {
        Ok(stat_of(&retry(|| rustix::fs::fstat(&self.fd))?))
    }

    /// Up to `length` bytes from `offset`; fewer only at the end of the file.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let filled = self.read_into(offset, &mut bytes)?;
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Fills `bytes` from `offset`; says how many, fewer only at the end of the file.
    pub fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        check_range(offset, bytes.len() as u64)?;
        let mut filled = 0;
        while filled < bytes.len() {
            match retry(|| rustix::io::pread(&self.fd, &mut bytes[filled..], offset + filled as u64)) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if filled == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(filled)
    }

    /// Copies up to `length` bytes from `offset` to the position of `out` (a fresh memfd), without passing them through this process's
    /// memory where Linux can. Says how many; fewer only at the end of the file.
    pub fn copy_to(&self, out: impl AsFd, offset: u64, length: u64) -> Result<u64> {
        check_range(offset, length)?;
        let mut copied = 0;
        while copied < length {
            let mut at = offset + copied;
            // sendfile, since copy_file_range does not go from one file system to another, which a memfd always is.
            match retry(|| rustix::fs::sendfile(&out, &self.fd, Some(&mut at), (length - copied) as usize)) {
                Ok(0) => break,
                Ok(n) => copied += n as u64,
                // Files of /proc and of some FUSE servers have no splice.
                Err(error) if copied == 0 && error == failure(Errno::INVAL) => return self.copy_through(out, offset, length),
                Err(error) if copied == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(copied)
    }

    fn copy_through(&self, out: impl AsFd, offset: u64, length: u64) -> Result<u64> {
        let mut copied = 0;
        while copied < length {
            let piece = self.read(offset + copied, PIECE.min((length - copied) as usize))?;
            if piece.is_empty() {
                break;
            }
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                let n = retry(|| rustix::io::write(&out, rest))?;
                rest = &rest[n..];
            }
            copied += piece.len() as u64;
        }
        Ok(copied)
    }

    /// Writes at `offset`. Says how many bytes were taken: fewer if the file system ran full on the way, and the next call says why.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<u64> {
        check_range(offset, bytes.len() as u64)?;
        write_all(bytes, |rest, done| rustix::io::pwrite(&self.fd, rest, offset + done))
    }

    /// Adds at the end, wherever that is at each moment: one piece of what Linux takes at once is never torn by another writer's.
    pub fn append(&self, bytes: &[u8]) -> Result<u64> {
        write_all(bytes, |rest, _| rustix::io::pwritev2(&self.fd, &[std::io::IoSlice::new(rest)], 0, ReadWriteFlags::APPEND))
    }

    /// Cuts or extends it.
    pub fn truncate(&self, size: u64) -> Result<()> {
        check_range(size, 0)?;
        retry(|| rustix::fs::ftruncate(&self.fd, size))
    }

    /// A descriptor for somebody else: another open of this very file, so position and flags are not shared.
    pub fn descriptor(&self, read: bool, write: bool) -> Result<OwnedFd> {
        let access = match (read, write) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        // As in `Directory`: this process's own table, not a path of a client's.
        let itself = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        retry(|| rustix::fs::open(&itself, access | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()))
    }

    /// Brings it to the disk.
    pub fn sync(&self, data_only: bool) -> Result<()> {
        retry(|| if data_only { rustix::fs::fdatasync(&self.fd) } else { rustix::fs::fsync(&self.fd) })
    }
}

fn write_all(bytes: &[u8], mut write: impl FnMut(&[u8], u64) -> rustix::io::Result<usize>) -> Result<u64> {
    let mut done = 0;
    while done < bytes.len() {
        match retry(|| write(&bytes[done..], done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done as u64)
}

/// Linux's offsets are signed; what lies beyond is the client's mistake, not a short read.
fn check_range(offset: u64, length: u64) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if end <= i64::MAX as u64 => Ok(()),
        _ => Err(Failure::from(Fault::InvalidArgument)),
    }
}
