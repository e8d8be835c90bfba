//! Lanes as sockets.
//!
//! A lane owes at most one answer, so it needs no outbound queue: an answer that Linux does not take now waits in the lane's one slot, and
//! no request is read from that lane meanwhile. A task that does not read its answers thereby stops itself and nobody else.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, send, sendmsg, socketpair, sockopt,
};
use smallvec::SmallVec;
use umach_abi::limits::{ATTACH_MAX, PACKET_MAX};

use super::looking::LaneMemory;
use super::reaper::Region;
use super::sys;

/// A lane's socket and what is known of its far end.
#[derive(Debug)]
pub(super) struct Conn {
    /// The kernel process's end. Blocking mode does not matter: each call says MSG_DONTWAIT.
    pub(super) socket: OwnedFd,
    /// How far it has come.
    pub(super) stage: Stage,
    /// The answer that Linux did not take yet.
    pub(super) owed: Option<Box<Owed>>,
    /// Its memory, if the task asked for some.
    pub(super) memory: Option<Box<LaneMemory>>,
}

/// How far a lane has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The first lane of a task whose process is not known for sure: its first packet will tell.
    Unidentified,
    /// Connected, and has sent nothing yet; holds its place in the lobby.
    Lobby(u64),
    /// In use.
    Open,
}

/// An answer that waits.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) packet: Vec<u8>,
    pub(super) along: AlongList,
}

/// What goes along with an answer.
#[derive(Debug)]
pub(super) enum Along {
    /// A region's memfd. Shared, so that an answer on its way outlives the region.
    Region(Rc<Region>),
    /// The far end of a new lane, or something of the direct plane's; ours is closed once it is sent.
    Lane(OwnedFd),
}

/// Most answers carry nothing.
pub(super) type AlongList = SmallVec<[Along; 1]>;

impl AsFd for Along {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Along::Region(region) => (**region).as_fd(),
            Along::Lane(socket) => socket.as_fd(),
        }
    }
}

/// What became of an attempt to send.
#[derive(Debug)]
pub(super) enum Sent {
    /// Linux has it.
    Done,
    /// The peer reads too slowly: epoll will tell when there is room.
    Full,
    /// Linux is short of something: try again soon.
    Short,
    /// The far end is closed.
    Gone(Errno),
}

impl Conn {
    /// A lane in use, or about to be.
    pub(super) fn new(socket: OwnedFd, stage: Stage) -> Conn {
        Conn { socket, stage, owed: None, memory: None }
    }

    /// Sends an answer if Linux takes it now. Never blocks.
    pub(super) fn send(&self, packet: &[u8], along: &[Along]) -> Sent {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = if along.is_empty() { send(&self.socket, packet, flags) } else { self.send_along(packet, along, flags) };
        match result {
            Ok(_) => Sent::Done,
            Err(Errno::AGAIN) => Sent::Full,
            Err(Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS | Errno::INTR) => Sent::Short,
            Err(gone) => Sent::Gone(gone),
        }
    }

    #[cold]
    fn send_along(&self, packet: &[u8], along: &[Along], flags: SendFlags) -> rustix::io::Result<usize> {
        let fds: SmallVec<[BorrowedFd<'_>; 4]> = along.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ATTACH_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "the core attaches at most {ATTACH_MAX} descriptors to an answer");
        sendmsg(&self.socket, &[IoSlice::new(packet)], &mut control, flags)
    }
}

/// What this Linux offers for lanes; found out once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sockets {
    /// Linux refuses descriptors that tasks send up. Without it a task can make the kernel process close a descriptor of the task's making,
    /// and some take seconds to close.
    pub(super) refuse_descriptors: bool,
    /// Set on both ends if the default buffer cannot hold a packet.
    send_buffer: Option<usize>,
}

impl Sockets {
    /// Tries on a socket pair.
    pub(super) fn detect() -> io::Result<Sockets> {
        let (one, _other) = raw_pair()?;
        let refuse_descriptors = sys::set_option(one.as_fd(), sys::SO_PASSRIGHTS, 0).is_ok();
        // A packet fits if the buffer has 32 bytes more.
        let send_buffer = (sockopt::socket_send_buffer_size(&one)? < PACKET_MAX + 32).then_some(PACKET_MAX + 32);
        Ok(Sockets { refuse_descriptors, send_buffer })
    }

    /// Prepares an end that the kernel process keeps, or the listener that makes such ends. To be done before the far end is handed out:
    /// a descriptor that is sent before stays in the queue.
    pub(super) fn prepare_ours(&self, socket: &OwnedFd) -> io::Result<()> {
        if self.refuse_descriptors {
            sys::set_option(socket.as_fd(), sys::SO_PASSRIGHTS, 0)?;
        }
        self.prepare_theirs(socket)
    }

    fn prepare_theirs(&self, socket: &OwnedFd) -> io::Result<()> {
        if let Some(size) = self.send_buffer {
            sockopt::set_socket_send_buffer_size(socket, size)?;
        }
        Ok(())
    }

    /// A new lane: the kernel process's end, and the end to hand out.
    pub(super) fn pair(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let (ours, theirs) = raw_pair()?;
        self.prepare_ours(&ours)?;
        self.prepare_theirs(&theirs)?;
        Ok((ours, theirs))
    }
}

fn raw_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Whoever waits in the lane's memory looks at the socket, and finds it closed.
impl Drop for Conn {
    fn drop(&mut self) {
        self.memory.iter_mut().for_each(|memory| memory.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvFlags, recv};

    #[test]
    fn answer_of_the_largest_size_fits_an_empty_lane() {
        let (ours, theirs) = Sockets::detect().unwrap().pair().unwrap();
        let conn = Conn::new(ours, Stage::Open);
        assert!(matches!(conn.send(&vec![7; PACKET_MAX], &[]), Sent::Done));
        let mut buffer = vec![0; PACKET_MAX + 1];
        assert_eq!(recv(&theirs, &mut buffer[..], RecvFlags::DONTWAIT).unwrap().1, PACKET_MAX);
    }

    #[test]
    fn lane_nobody_reads_is_full_and_lane_closed_is_gone() {
        let (ours, theirs) = Sockets::detect().unwrap().pair().unwrap();
        let conn = Conn::new(ours, Stage::Open);
        let sent = (0..10_000).map(|_| conn.send(&[0; 64], &[])).find(|sent| !matches!(sent, Sent::Done));
        assert!(matches!(sent, Some(Sent::Full)), "{sent:?}");
        drop(theirs);
        assert!(matches!(conn.send(&[0; 64], &[]), Sent::Gone(_)));
    }

    #[test]
    fn descriptor_sent_up_is_refused_where_linux_can() {
        let sockets = Sockets::detect().unwrap();
        let (ours, theirs) = sockets.pair().unwrap();
        let task = Conn::new(theirs, Stage::Open);
        let (one, _other) = raw_pair().unwrap();
        let sent = task.send(&[0; 16], &[Along::Lane(one)]);
        assert_eq!(matches!(sent, Sent::Gone(Errno::PERM)), sockets.refuse_descriptors, "{sent:?}");
        drop(ours);
    }
}
