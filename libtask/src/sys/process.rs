//! Lanes across `exec`: handing one to a child, adopting one from the parent.
//!
//! Every descriptor of libtask is close-on-exec. The one lane that a child is meant to have is made inheritable in the child itself,
//! between fork and exec, so no other child that is started meanwhile can get it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the child keep `fd` under its number, and gives it an empty signal mask: it must not inherit what this process blocks to wait for. The
/// descriptor stays owned by, and close-on-exec in, this process. With `new_session` the child leaves this process's session.
pub(crate) fn inherit(command: &mut Command, fd: &OwnedFd, new_session: bool) {
    let fd = fd.as_raw_fd();
    let keep = move || {
        // SAFETY: sigemptyset initialises the set before it is read; both calls are async-signal-safe.
        unsafe {
            let mut none = std::mem::MaybeUninit::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        }
        // SAFETY: no arguments; async-signal-safe.
        if new_session && unsafe { libc::setsid() } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fcntl on a number; async-signal-safe.
        match unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: the closure runs between fork and exec; its calls are async-signal-safe, and it allocates nothing.
    unsafe { command.pre_exec(keep) };
}

/// A program that runs with standard input or output closed gets their numbers for new descriptors; a child's own would land on the lane.
pub(crate) fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

/// Takes over an inherited lane: if descriptor `fd` is a `SOCK_SEQPACKET` socket and, where the spawner said so, has inode `inode`.
pub(crate) fn adopt(fd: RawFd, inode: Option<u64>) -> Option<OwnedFd> {
    if fd <= 2 {
        return None;
    }
    // SAFETY: a query on a number that may be closed; the result is checked. The borrow ends before anything could close it.
    let seen = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let stat = rustix::fs::fstat(seen).ok()?;
    if inode.is_some_and(|inode| stat.st_ino != inode) {
        return None;
    }
    if rustix::net::sockopt::socket_type(seen) != Ok(rustix::net::SocketType::SEQPACKET) {
        return None;
    }
    rustix::io::fcntl_setfd(seen, rustix::io::FdFlags::CLOEXEC).ok()?;
    // SAFETY: the descriptor is open and is the socket that the spawner left here for this library (its environment says so); the caller adopts
    // at most once in a process, so nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor's inode.
pub(crate) fn inode(fd: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_ino)
}
