//! The exported tree: directories and files as this process holds them, without ports or messages.
//!
//! Theory: a [`Directory`] is an `O_PATH` descriptor, and every path is looked up by `openat2` *beneath* it, so the kernel refuses what
//! leads out (`..`, absolute paths, links, /proc's magic links) even when somebody renames directories meanwhile. Nothing here ever sees a
//! path from the root.
//!
//! 1. **No path escapes**: each look-up is `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`; operations that Linux offers without `openat2` (mkdir,
//!    rename, unlink) look up the parent so and take one plain last component, which those calls do not follow.
//! 2. **Nothing blocks on a special file, or disturbs one**: what a path leads to is first held by `O_PATH`, which opens nothing, and looked
//!    at; only regular files and directories are then opened, through `/proc/self/fd`, so it is the very object that was looked at.
//! 3. **Access is not checked here**: who may ask what is the handle's affair ([`crate::handle`]).

mod directory;
mod file;
mod listing;
mod path;

pub use directory::{Directory, OpenHow};
pub use file::OpenFile;

use rustix::fs::{FileType, Stat as LinuxStat};
use rustix::io::Errno;
use umach_file_api::error::Failure;
use umach_file_api::protocol::{Kind, Stat, Timestamp};

/// What the operations of this module answer.
pub type Result<T> = std::result::Result<T, Failure>;

fn failure(errno: Errno) -> Failure {
    Failure::from_errno(errno.raw_os_error())
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(failure),
        }
    }
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => Kind::Unknown,
    }
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // field widths differ between architectures
fn stat_of(stat: &LinuxStat) -> Stat {
    Stat {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        mode: stat.st_mode & 0o7777,
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        inode: stat.st_ino,
        links: stat.st_nlink.into(),
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: Timestamp { seconds: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as u32 },
        changed: Timestamp { seconds: stat.st_ctime as i64, nanos: stat.st_ctime_nsec as u32 },
    }
}

#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod tests;
