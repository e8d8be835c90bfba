//! Who is at the other end, and how its death is seen.
//!
//! A peer that connects is named by the socket (`SO_PEERCRED`, `SO_PEERPIDFD`). On a socket pair these name whoever made the pair, so the first
//! packet on the lane of a task made by `TaskCreate` is received with credentials instead. Linux fills those in with the *real* uid and
//! gid of the sender, which differ from the effective ones only in set-uid programs.
//!
//! The pidfd is the proof of death. A hang-up is only a hint, for it can be withheld: by a forked child, or by mailing the socket away.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::sys::{self, Identified};
use crate::core::Peer;

/// Names the process that connected this socket, or made this pair.
pub(super) fn of_socket(socket: &OwnedFd) -> io::Result<(Peer, OwnedFd)> {
    let from = getsockopt(socket, sockopt::PeerCredentials)?;
    let peer = Peer { pid: from.pid() as u32, uid: from.uid(), gid: from.gid() };
    let pidfd = match getsockopt(socket, sockopt::PeerPidfd) {
        // Linux before 6.5.
        Err(nix::errno::Errno::ENOPROTOOPT) => open_pidfd(peer.pid)?,
        other => other?,
    };
    Ok((peer, pidfd))
}

/// Asks for credentials with each packet. A Linux without pidfds in them gives the process id only.
pub(super) fn ask_with_packets(socket: &OwnedFd, on: bool) -> io::Result<()> {
    sys::set_option(socket.as_fd(), libc::SO_PASSCRED, on.into())?;
    match sys::set_option(socket.as_fd(), sys::SO_PASSPIDFD, on.into()) {
        Err(why) if why.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        other => other,
    }
}

/// The identity that came with a packet; `None` if the packet says nothing, or its sender is gone without a trace.
pub(super) fn of_packet(packet: &mut Identified) -> Option<(Peer, OwnedFd)> {
    let peer = packet.peer?;
    let pidfd = packet.pidfd.take().or_else(|| open_pidfd(peer.pid).ok())?;
    Some((peer, pidfd))
}

/// By number, which may have been reused if the process died meanwhile: only where Linux offers nothing better.
fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
