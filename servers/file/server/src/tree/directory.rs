//! A directory of the tree, and everything that is done beneath one.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use umach_file_api::error::Fault;
use umach_file_api::protocol::Stat;

use super::{OpenFile, Result, failure, path, retry, stat_of};

/// Look-ups that raced with a rename are repeated this often before the client is told to.
const RACES: usize = 64;

/// A directory, held by an `O_PATH` descriptor. It stays the same directory when it is renamed; when it is removed, operations beneath
/// it answer `Stale` or `NotFound`.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    resolve: ResolveFlags,
}

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenHow {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Create it if it is not there.
    pub create: bool,
    /// Create it; fail if it is there.
    pub create_new: bool,
    /// Cut it to nothing; needs `write`.
    pub truncate: bool,
    /// Refuse a link at the end of the path.
    pub no_follow: bool,
    /// Permission bits of a created file.
    pub mode: u32,
}

impl OpenHow {
    fn flags(&self) -> OFlags {
        let access = match (self.read, self.write) {
            (_, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (true, true) => OFlags::RDWR,
        };
        // NONBLOCK means nothing to a regular file, and saves the thread from those of /proc and /sys that would block.
        access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
    }
}

impl Directory {
    /// Opens the root of a tree by a path of this process: the only look-up that is not beneath something. With `one_file_system`, mount
    /// points beneath are not entered.
    pub fn open_root(path: &Path, one_file_system: bool) -> Result<Directory> {
        let fd = retry(|| rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))?;
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if one_file_system {
            resolve |= ResolveFlags::NO_XDEV;
        }
        Ok(Directory { fd, resolve })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The one look-up: beneath this directory or not at all.
    fn resolve(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        path::check(path)?;
        for _ in 0..RACES {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, self.resolve) {
                // A directory on the way was renamed while `..` was looked up; Linux asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::XDEV) => return Err(Fault::Escape.into()),
                other => return other.map_err(failure),
            }
        }
        Err(failure(Errno::AGAIN))
    }

    fn look(&self, path: &[u8], follow: bool) -> Result<OwnedFd> {
        let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
        self.resolve(path, flags, Mode::empty())
    }

    /// The directory that a last component is to be acted on in.
    fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8])> {
        let (parent, last) = path::split(path)?;
        Ok((self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, last))
    }

    /// A directory beneath this one.
    pub fn subdirectory(&self, path: &[u8]) -> Result<Directory> {
        let fd = self.resolve(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Directory { fd, resolve: self.resolve })
    }

    /// Another descriptor for this very directory.
    pub fn duplicate(&self) -> Result<Directory> {
        let fd = retry(|| rustix::io::fcntl_dupfd_cloexec(&self.fd, 0))?;
        Ok(Directory { fd, resolve: self.resolve })
    }

    /// Opens a regular file beneath.
    pub fn open(&self, path: &[u8], how: &OpenHow) -> Result<OpenFile> {
        let mode = Mode::from_raw_mode(how.mode & 0o777);
        for _ in 0..RACES {
            if !how.create_new {
                match self.look(path, !how.no_follow) {
                    Ok(found) => return reopen(found, how),
                    Err(error) if !(how.create && error.fault() == Some(Fault::NotFound)) => return Err(error),
                    Err(_) => {}
                }
            }
            // EXCL creates a fresh regular file or fails: it follows no link and opens nothing that is there.
            let created = self.resolve(path, how.flags() | OFlags::CREATE | OFlags::EXCL, mode);
            match created {
                // Somebody was faster, or a dangling link is there.
                Err(error) if error.fault() == Some(Fault::Exists) && !how.create_new => {
                    if self.look(path, false).is_ok_and(|found| is_link(&found)) {
                        return Err(Fault::Link.into());
                    }
                }
                other => return Ok(OpenFile::new(other?)),
            }
        }
        Err(failure(Errno::AGAIN))
    }

    /// Makes a directory.
    pub fn make_directory(&self, path: &[u8], mode: u32) -> Result<()> {
        let (parent, last) = self.parent(path)?;
        retry(|| rustix::fs::mkdirat(&parent, last, Mode::from_raw_mode(mode & 0o777)))
    }

    /// Renames what `from` names here to what `to` names in `target`.
    pub fn rename(&self, from: &[u8], target: &Directory, to: &[u8], replace: bool) -> Result<()> {
        let (from_parent, from) = self.parent(from)?;
        let (to_parent, to) = target.parent(to)?;
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        retry(|| rustix::fs::renameat_with(&from_parent, from, &to_parent, to, flags))
    }

    /// Removes a name: a file, link or special file, or an empty directory.
    pub fn remove(&self, path: &[u8]) -> Result<()> {
        let (parent, last) = self.parent(path)?;
        match retry(|| rustix::fs::unlinkat(&parent, last, AtFlags::empty())) {
            Err(error) if error.fault() == Some(Fault::IsDirectory) => retry(|| rustix::fs::unlinkat(&parent, last, AtFlags::REMOVEDIR)),
            other => other,
        }
    }

    /// Facts about a path; about the directory itself if the path is empty.
    pub fn stat(&self, path: &[u8], follow: bool) -> Result<Stat> {
        if path.is_empty() {
            return Ok(stat_of(&retry(|| rustix::fs::fstat(&self.fd))?));
        }
        let found = self.look(path, follow)?;
        Ok(stat_of(&retry(|| rustix::fs::fstat(&found))?))
    }

    /// Whether the directory was removed while it was held: everything beneath it then fails with `NotFound`.
    pub fn is_removed(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// A symbolic link's target.
    pub fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let found = self.look(path, false)?;
        if !is_link(&found) {
            return Err(Fault::InvalidArgument.into());
        }
        Ok(retry(|| rustix::fs::readlinkat(&found, "", Vec::new()))?.into_bytes())
    }

    /// Brings the directory's entries to the disk.
    pub fn sync(&self) -> Result<()> {
        let readable = self.open_for_reading()?;
        retry(|| rustix::fs::fsync(&readable))
    }

    /// An open file description of its own, so that its position is nobody else's.
    pub(super) fn open_for_reading(&self) -> Result<OwnedFd> {
        self.resolve(b".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }
}

fn is_link(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Opens what an `O_PATH` descriptor holds, if it is a regular file.
fn reopen(found: OwnedFd, how: &OpenHow) -> Result<OpenFile> {
    match FileType::from_raw_mode(retry(|| rustix::fs::fstat(&found))?.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Fault::IsDirectory.into()),
        FileType::Symlink => return Err(Fault::Link.into()),
        _ => return Err(Fault::NotRegular.into()),
    }
    // This process's own descriptor table, not a client's path: the magic link is the only way Linux has to open an O_PATH descriptor.
    let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
    let mut flags = how.flags();
    if how.truncate {
        flags |= OFlags::TRUNC;
    }
    Ok(OpenFile::new(retry(|| rustix::fs::open(&itself, flags, Mode::empty()))?))
}
