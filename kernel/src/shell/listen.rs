//! The listening socket: a file in a directory that only its owner can enter.
//!
//! Two kernels at one path are kept apart by a lock file beside the socket. Who holds the lock owns the path: a socket found there is then
//! stale and is replaced, unless somebody answers on it after all. The lock file is removed while the lock is held, and a newcomer
//! that locked a removed file notices that it is no longer the one at the path, and starts over.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with};

use super::ShellError;
use super::conn::Sockets;

/// Connections that Linux keeps for us until they are accepted.
const BACKLOG: i32 = 1024;

/// The socket, its files, and a descriptor in reserve.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    lock: File,
    lock_path: PathBuf,
    /// Given up for a moment when there are no descriptors left, so that a connection can be taken and refused instead of being reported
    /// as waiting for ever.
    reserve: Option<OwnedFd>,
}

/// What waited at the socket.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A connection.
    Came(OwnedFd),
    /// One that was refused for want of descriptors.
    Refused,
    /// Nobody, or somebody who has gone again.
    Nobody,
    /// Linux cannot hand it over now.
    Starved(Errno),
}

impl Listener {
    /// Makes the directory, takes the lock, listens.
    pub(super) fn open(path: &Path, sockets: &Sockets) -> Result<Listener, ShellError> {
        let failed = |what: &'static str| move |source| ShellError::Socket { what, path: path.to_owned(), source };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        prepare_directory(directory)?;
        let lock_path = path.with_added_extension("lock");
        let lock = take_lock(path, &lock_path)?;
        let opened = || {
            clear_stale(path)?;
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
                .map_err(|why| failed("make")(why.into()))?;
            sockets.prepare_ours(&socket).map_err(failed("prepare"))?;
            let address = SocketAddrUnix::new(path).map_err(|_| ShellError::TooLong { path: path.to_owned() })?;
            bind(&socket, &address).map_err(|why| failed("bind")(why.into()))?;
            listen(&socket, BACKLOG).map_err(|why| failed("listen on")(why.into()))?;
            Ok(socket)
        };
        match opened() {
            Ok(socket) => Ok(Listener { socket, path: path.to_owned(), lock, lock_path, reserve: reserve() }),
            Err(why) => {
                let _ = std::fs::remove_file(&lock_path); // still locked: nobody else owns it
                Err(why)
            }
        }
    }

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes one connection, without blocking.
    pub(super) fn accept(&mut self) -> Arrival {
        match accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(socket) => Arrival::Came(socket),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => Arrival::Nobody,
            Err(why @ (Errno::MFILE | Errno::NFILE)) if self.reserve.take().is_some() => {
                let refused = accept_with(&self.socket, SocketFlags::CLOEXEC);
                let arrival = if refused.is_ok() { Arrival::Refused } else { Arrival::Starved(why) };
                drop(refused);
                self.reserve = reserve();
                arrival
            }
            Err(why) => {
                self.reserve = self.reserve.take().or_else(reserve);
                Arrival::Starved(why)
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The lock goes last, and while it is held, so that nobody's socket but ours is removed.
        let _ = std::fs::remove_file(&self.path);
        if is_at(&self.lock, &self.lock_path) {
            let _ = std::fs::remove_file(&self.lock_path);
        }
    }
}

fn reserve() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}

/// Makes the directory with mode 0700, or checks that it is such a one: ours, closed to others, and no symbolic link.
fn prepare_directory(directory: &Path) -> Result<(), ShellError> {
    let refuse = |why: String| ShellError::Directory { path: directory.to_owned(), why };
    match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(refuse(format!("cannot make it: {why}"))),
        _ => {}
    }
    let found = std::fs::symlink_metadata(directory).map_err(|why| refuse(why.to_string()))?;
    let me = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        return Err(refuse("it is not a directory (symbolic links are not followed)".into()));
    }
    if found.uid() != me {
        return Err(refuse(format!("it belongs to user {}, and this is user {me}; choose another place with --socket", found.uid())));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o7777;
        // A directory that everybody writes to is meant to be shared: closing it would break other programs.
        let mend = if mode & 0o002 != 0 {
            "choose a place inside a directory of your own with --socket; it is made if it is missing".to_owned()
        } else {
            format!("try: chmod 700 {}", directory.display())
        };
        return Err(refuse(format!("others may enter it (mode {mode:o}); {mend}")));
    }
    Ok(())
}

/// Locks the path for this kernel, or says who has it.
fn take_lock(path: &Path, lock_path: &Path) -> Result<File, ShellError> {
    let failed = |what: &'static str| move |source| ShellError::Socket { what, path: lock_path.to_owned(), source };
    // Another round is needed only when the owner removes the file between our open and our lock.
    for _ in 0..100 {
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(lock_path)
            .map_err(failed("open"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&lock, lock_path) => {
                // The number is for people; a lock file without it still locks.
                let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
                return Ok(lock);
            }
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                let _ = lock.read_to_string(&mut owner);
                return Err(ShellError::Taken { path: path.to_owned(), pid: owner.trim().parse().ok() });
            }
            Err(why) => return Err(failed("lock")(why.into())),
        }
    }
    Err(ShellError::Taken { path: path.to_owned(), pid: None })
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Removes a socket that nobody answers on. Anything else at the path stays.
fn clear_stale(path: &Path) -> Result<(), ShellError> {
    let failed = |what: &'static str| move |source| ShellError::Socket { what, path: path.to_owned(), source };
    let found = match std::fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed("look at"))?,
    };
    if !found.file_type().is_socket() {
        return Err(failed("replace")(io::Error::other("it is not a socket")));
    }
    let address = SocketAddrUnix::new(path).map_err(|_| ShellError::TooLong { path: path.to_owned() })?;
    let probe = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
        .map_err(|why| failed("make")(why.into()))?;
    match connect(&probe, &address) {
        // A full backlog is an answer too.
        Ok(()) | Err(Errno::AGAIN) => Err(ShellError::Taken { path: path.to_owned(), pid: None }),
        Err(Errno::CONNREFUSED) => {
            tracing::info!(path = %path.display(), "replacing a stale socket");
            std::fs::remove_file(path).map_err(failed("remove the stale"))
        }
        Err(why) => Err(failed("replace")(why.into())),
    }
}
