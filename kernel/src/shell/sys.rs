//! The few system calls that the wrappers do not offer. The only unsafe code of the kernel process.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::core::Peer;

/// `SO_PASSRIGHTS` (Linux 6.16): 0 makes senders of descriptors fail with EPERM. Sockets accepted from a listener inherit it.
pub(crate) const SO_PASSRIGHTS: i32 = 83;
/// `SO_PASSPIDFD` (Linux 6.5): packets come with a pidfd of their sender.
pub(super) const SO_PASSPIDFD: i32 = 76;
/// Control message type of that pidfd.
const SCM_PIDFD: i32 = 4;

/// `setsockopt(SOL_SOCKET)` with a number.
pub(crate) fn set_option(socket: BorrowedFd<'_>, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer is to a live `i32`, and the length is its size; the call keeps neither.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), size_of::<i32>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes sent on this socket that its peer has not yet read, as Linux accounts them (`SIOCOUTQ`).
pub(super) fn unread(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one `int`, and the pointer is to a live one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(bytes as u32) } else { Err(io::Error::last_os_error()) }
}

/// Takes over a descriptor that was inherited under a number, and marks it close-on-exec. One of the standard three is moved away and
/// leaves /dev/null behind, so that a later file does not end up as somebody's output.
pub(super) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: `fcntl(F_DUPFD_CLOEXEC)` and `fcntl(F_SETFD)` touch no memory, and fail on a number that is not open.
    let taken = unsafe {
        if number <= libc::STDERR_FILENO {
            libc::fcntl(number, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1)
        } else if libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) == 0 {
            number
        } else {
            -1
        }
    };
    if taken < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, as the call before showed. It is either new, or nothing else in this process owns it: whoever started
    // the process says so by giving its number on the command line, and that is read once.
    let taken = unsafe { OwnedFd::from_raw_fd(taken) };
    if number <= libc::STDERR_FILENO {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        // SAFETY: `dup2` touches no memory; the number it replaces is a standard one, which nothing in this process owns.
        if unsafe { libc::dup2(null.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(taken)
}

/// A packet with its sender's identity.
#[derive(Debug)]
pub(super) struct Identified {
    /// Its length; larger than the buffer if it was cut.
    pub len: usize,
    /// Who sent it; `None` if Linux did not say (sent before `SO_PASSCRED` was on).
    pub peer: Option<Peer>,
    /// The sender's pidfd, if Linux gives such.
    pub pidfd: Option<OwnedFd>,
}

/// Receives one packet with credentials, without blocking. Any other descriptor that came along is closed.
pub(super) fn recv_identified(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Identified> {
    /// Room for credentials, a pidfd and, on a Linux that cannot refuse them, some descriptors; aligned as control messages must be.
    #[repr(C, align(8))]
    struct Control([MaybeUninit<u8>; 256]);
    let mut control = Control([MaybeUninit::uninit(); 256]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` is a plain C struct for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | libc::MSG_TRUNC;
    // SAFETY: the header points to one part (the caller's exclusive buffer, with its length) and to a control buffer with its size; all
    // outlive the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut got = Identified { len: len as usize, peer: None, pidfd: None };
    // SAFETY: `recvmsg` succeeded, so the header describes well-formed control messages inside the buffer, which is still alive.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !next.is_null() {
        // SAFETY: a non-null result of CMSG_FIRSTHDR or CMSG_NXTHDR points to a complete header inside the buffer.
        let (level, kind, length) = unsafe { ((*next).cmsg_level, (*next).cmsg_type, (*next).cmsg_len as usize) };
        // SAFETY: as above; CMSG_LEN only computes.
        let (data, body) = unsafe { (libc::CMSG_DATA(next), length.saturating_sub(libc::CMSG_LEN(0) as usize)) };
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if body >= size_of::<libc::ucred>() => {
                // SAFETY: Linux wrote a whole `ucred` there (length checked); it may be unaligned.
                let from = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                if from.pid > 0 {
                    got.peer = Some(Peer { pid: from.pid as u32, uid: from.uid, gid: from.gid });
                }
            }
            (libc::SOL_SOCKET, SCM_PIDFD | libc::SCM_RIGHTS) => {
                for at in 0..body / size_of::<RawFd>() {
                    // SAFETY: the n-th number lies inside the body (length checked); it may be unaligned.
                    let number = unsafe { data.cast::<RawFd>().add(at).read_unaligned() };
                    if number < 0 {
                        continue; // Linux could not make the pidfd; the number is an errno
                    }
                    // SAFETY: Linux has just installed this descriptor for us, and nobody else knows of it.
                    let fd = unsafe { OwnedFd::from_raw_fd(number) };
                    if kind == SCM_PIDFD {
                        got.pidfd = Some(fd);
                    }
                }
            }
            _ => {}
        }
        // SAFETY: `next` is a header inside the buffer that `header` describes.
        next = unsafe { libc::CMSG_NXTHDR(&raw const header, next) };
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
    use std::os::fd::AsFd;

    #[test]
    fn packet_with_credentials_names_its_sender() {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        set_option(ours.as_fd(), libc::SO_PASSCRED, 1).unwrap();
        let pidfds = set_option(ours.as_fd(), SO_PASSPIDFD, 1).is_ok();
        send(&theirs, b"hello", SendFlags::empty()).unwrap();
        let mut buffer = [0; 3];
        let got = recv_identified(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!((got.len, &buffer), (5, b"hel"), "the true length, although cut");
        assert_eq!(got.peer.unwrap().pid, std::process::id());
        assert_eq!(got.pidfd.is_some(), pidfds);
    }

    #[test]
    fn packet_unread_is_counted_until_it_is_read() {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        assert_eq!(unread(ours.as_fd()).unwrap(), 0);
        send(&ours, b"hello", SendFlags::empty()).unwrap();
        assert!(unread(ours.as_fd()).unwrap() > 0);
        recv_identified(theirs.as_fd(), &mut [0; 8]).unwrap();
        assert_eq!(unread(ours.as_fd()).unwrap(), 0);
    }

    #[test]
    fn packet_sent_before_credentials_were_asked_for_has_no_sender() {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        send(&theirs, b"hello", SendFlags::empty()).unwrap();
        set_option(ours.as_fd(), libc::SO_PASSCRED, 1).unwrap();
        assert_eq!(recv_identified(ours.as_fd(), &mut [0; 8]).unwrap().peer, None);
    }
}
