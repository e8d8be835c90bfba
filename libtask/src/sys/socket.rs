//! A lane's socket: one packet out, one packet in, with a deadline and descriptors.
//!
//! The deadline costs nothing on the fast path: `SO_RCVTIMEO` is set only when the wait asked for is shorter than the one in force. A longer
//! one in force is corrected after it has fired early, so a blocking loop that mixes waits settles on few calls.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use umach_abi::limits::ATTACH_MAX;

use crate::error::{Error, Result};

/// How a wait ended.
pub(crate) enum Waited {
    /// A packet of so many bytes is in the buffer.
    Packet(usize),
    /// The deadline passed.
    Late,
    /// A signal was handled.
    Interrupted,
}

pub(crate) struct Socket {
    fd: OwnedFd,
    /// `SO_RCVTIMEO` in force; `None`: for ever.
    timeout: Option<Duration>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const CONTROL: usize = rustix::cmsg_space!(ScmRights(ATTACH_MAX));

impl Socket {
    pub(crate) fn new(fd: OwnedFd) -> Socket {
        Socket { fd, timeout: None }
    }

    /// Hands a packet to the kernel process. Its end has room: a lane has one request in flight.
    pub(crate) fn send(&self, packet: &[u8]) -> Result<()> {
        loop {
            match rustix::net::send(&self.fd, packet, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(Error::KernelGone),
                Err(e) => return Err(Error::io("sending a request to the kernel process", e)),
            }
        }
    }

    /// Waits for a packet until `deadline`. Descriptors that come along are appended to `attached`, close-on-exec.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        attached: Option<&mut Vec<OwnedFd>>,
        wait: Option<(Instant, Duration)>,
    ) -> Result<Waited> {
        if let Some((_, whole)) = wait
            && self.timeout.is_none_or(|set| set > whole)
        {
            self.set_timeout(Some(whole))?;
        }
        let mut attached = attached;
        loop {
            let got = match attached.as_deref_mut() {
                Some(into) => self.receive_attached(buffer, into)?,
                None => rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty()).map(|(bytes, _)| bytes),
            };
            match got {
                // Linux returns 0 for the end and for an empty packet alike; the kernel process never sends the latter.
                Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => return Err(Error::KernelGone),
                Ok(bytes) => return Ok(Waited::Packet(bytes)),
                Err(error @ (Errno::INTR | Errno::AGAIN)) => {
                    let left = wait.map(|(deadline, _)| deadline.saturating_duration_since(Instant::now()));
                    if left == Some(Duration::ZERO) {
                        return Ok(Waited::Late);
                    }
                    // Also after a signal: Linux would begin anew, and signals that keep coming would make it wait for ever.
                    if left.is_some() || error == Errno::AGAIN {
                        self.set_timeout(left)?;
                    }
                    if error == Errno::INTR {
                        return Ok(Waited::Interrupted);
                    }
                }
                Err(e) => return Err(Error::io("receiving an answer from the kernel process", e)),
            }
        }
    }

    /// Whether the other end is closed, and nothing is left to read.
    pub(crate) fn is_closed(&self) -> bool {
        let mut byte = [0u8];
        let peeked = rustix::net::recv(&self.fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|(bytes, _)| bytes);
        matches!(peeked, Ok(0) | Err(Errno::CONNRESET | Errno::PIPE))
    }

    fn receive_attached(&self, buffer: &mut [u8], into: &mut Vec<OwnedFd>) -> Result<Result<usize, Errno>> {
        let mut space = [MaybeUninit::uninit(); CONTROL];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(&self.fd, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let got = match got {
            Ok(got) => got,
            Err(e) => return Ok(Err(e)),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                into.extend(fds);
            }
        }
        // MSG_CTRUNC: this process's table is full, and Linux has dropped the descriptors that did not fit. The packet itself is whole, so
        // its rights are not lost; whoever wants the n-th descriptor finds it missing.
        Ok(Ok(got.bytes))
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<()> {
        // Zero would mean for ever.
        let timeout = timeout.map(|t| t.max(Duration::from_micros(1)));
        set_socket_timeout(&self.fd, Timeout::Recv, timeout).map_err(|e| Error::io("setting a deadline", e))?;
        self.timeout = timeout;
        Ok(())
    }
}
