//! Inboxes for ends of file lanes, and the lanes themselves.
//!
//! What is kept here never holds a task's descriptor. Of an inbox the near end is kept, and Linux refuses descriptors that the task sends to it
//! (`SO_PASSRIGHTS`). Of a lane nothing is kept: the end that can receive descriptors goes into the inbox before anybody has the other end; and
//! that other end, which may have to wait in an answer, refuses descriptors as well.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use hashbrown::HashMap;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair, sockopt,
};

use crate::core::{FileLaneId, TaskId};
use crate::shell::sys;

/// How many bytes of packets wait in an inbox, as Linux counts them: about twenty ends. A task that does not read gets no more of them, for
/// descriptors on their way count against the kernel process's user.
const INBOX_ROOM: usize = 16 << 10;

/// The near ends of all inboxes.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    near: HashMap<TaskId, OwnedFd>,
}

/// A pair whose first end takes no descriptors, where Linux can refuse them.
fn one_way() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // Before 6.16 there is no such option; the documents say what that means.
    let _ = sys::set_option(one.as_fd(), sys::SO_PASSRIGHTS, 0);
    Ok((one, other))
}

impl Inboxes {
    /// A new inbox: the task's end.
    pub(super) fn open(&mut self, task: TaskId) -> io::Result<OwnedFd> {
        let (near, far) = one_way()?;
        sockopt::set_socket_send_buffer_size(&near, INBOX_ROOM)?;
        self.near.insert(task, near);
        Ok(far)
    }

    /// A new lane to the owner of an inbox: the sender's end.
    pub(super) fn new_lane(&mut self, lane: FileLaneId, to: TaskId) -> io::Result<OwnedFd> {
        let inbox = self.near.get(&to).ok_or_else(super::missing)?;
        let (sends, receives) = one_way()?;
        let fds = [receives.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "there is room for one");
        let number = lane.to_raw().to_le_bytes();
        sendmsg(inbox, &[IoSlice::new(&number)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(sends)
    }

    /// The task is no more.
    pub(super) fn close(&mut self, task: TaskId) {
        self.near.remove(&task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, send};
    use std::io::IoSliceMut;

    const TASK: u64 = 1 << 32;

    fn receive(from: &OwnedFd) -> (Vec<u8>, Option<OwnedFd>) {
        let mut bytes = [0; 64];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC).unwrap();
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        (bytes[..got.bytes].to_vec(), fd)
    }

    fn send_file(to: &OwnedFd) -> rustix::io::Result<usize> {
        let file = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let fds = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(to, &[IoSlice::new(b"file")], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    }

    #[test]
    fn lane_carries_descriptors_one_way_only() {
        let mut inboxes = Inboxes::default();
        let (task, lane) = (TaskId::from_raw(TASK), FileLaneId::from_raw(7 << 32));
        assert!(inboxes.new_lane(lane, task).is_err(), "no inbox");
        let inbox = inboxes.open(task).unwrap();
        let sends = inboxes.new_lane(lane, task).unwrap();
        let (number, receives) = receive(&inbox);
        let receives = receives.unwrap();
        assert_eq!(number, lane.to_raw().to_le_bytes());
        send_file(&sends).unwrap();
        assert!(receive(&receives).1.is_some());
        let refuses = sys::set_option(sends.as_fd(), sys::SO_PASSRIGHTS, 0).is_ok();
        assert_eq!(send_file(&receives).is_err(), refuses);
        assert_eq!(send_file(&inbox).is_err(), refuses);
        send(&receives, b"bytes do no harm", SendFlags::DONTWAIT).unwrap();
    }

    #[test]
    fn inbox_nobody_reads_takes_few_ends() {
        let mut inboxes = Inboxes::default();
        let task = TaskId::from_raw(TASK);
        let _inbox = inboxes.open(task).unwrap();
        let lane = FileLaneId::from_raw(7 << 32);
        let lanes: Vec<_> = (0..100).map_while(|_| inboxes.new_lane(lane, task).ok()).collect();
        assert!((4..64).contains(&lanes.len()), "{}", lanes.len());
    }
}
