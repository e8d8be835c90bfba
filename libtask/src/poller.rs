//! A descriptor for event loops and async runtimes: readable when a task should look for messages.
//!
//! It is a lane of the task's own on which `Poll` is asked: the kernel process answers when there is something, and a lane with an answer is readable.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use umach_abi::Code;
use umach_abi::control::{Call, Cancel, EVENTS_WAIT, Head, LaneOpen, Malformed, Poll, Reply, answer, phase};

use crate::error::{Error, Result};
use crate::sys::socket::Socket;
use crate::task::Task;
use crate::transport::Link;
use crate::transport::pool::Need;

/// Waits for a task's messages in somebody else's loop: `epoll`, or the reactor of an async runtime, watches its descriptor for reading.
///
/// One poller stands for all ports and sets of its task, whether messages come through the kernel process or over links. It tells that there
/// may be something, not what; a program looks with `try_receive`. The protocol:
///
/// 1. Look at each port or set until `try_receive` gives nothing.
/// 2. [`Poller::arm`]. If it says `true`, something came meanwhile: go to 1.
/// 3. Wait until the descriptor is readable (level or edge, both will do).
/// 4. [`Poller::drain`], and go to 1.
///
/// Nothing is lost, whatever other threads of the task do, and a wake-up may be for nothing. While it is armed and nothing comes, nobody wakes. A poller that
/// is not armed costs other tasks nothing; one that is armed makes whoever sends to this task over a link ring through the kernel process, once.
///
/// Each poller takes one of the task's lanes for itself. A task has room for four or so.
///
/// ```
/// use libtask::{Message, run_local};
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// run_local(|kernel| -> libtask::Result<()> {
///     let (server, port) = { let task = kernel.task("server")?; let port = task.new_port()?; (task, port) };
///     let poller = server.poller()?;
///     let sender = { let right = port.make_send()?; std::thread::spawn(move || right.send(Message::new(7)).unwrap()) };
///     let message = loop {
///         if let Some(message) = port.try_receive()? {
///             break message;
///         }
///         if !poller.arm()? {
///             poll(&mut [PollFd::new(&poller, PollFlags::IN)], None).expect("wait");
///             poller.drain()?;
///         }
///     };
///     assert_eq!(message.id(), 7);
///     sender.join().unwrap();
///     Ok(())
/// }).unwrap();
/// ```
///
/// An answer can be waited for in the same way: send with [`Message::reply_to`](crate::Message::reply_to) a port of the program's own, and look there.
pub struct Poller {
    task: Task,
    core: PollCore,
}

/// A poller that does not keep its task.
pub(crate) struct PollCore {
    bell: Arc<Bell>,
    /// Of a lane of the in-process kernel, which has no socket.
    local: Option<OwnedFd>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `Poll` was asked and its answer not read.
    in_flight: bool,
    /// What the kernel process has counted, as of its last answer.
    seen: u32,
    /// What came over links, as of the last look.
    arrivals: u32,
}

/// The lane, and how a thread of the task makes it readable.
pub(crate) struct Bell {
    link: Link,
    seq: AtomicU32,
    /// Whoever takes it back has the lane made readable.
    pub(crate) armed: AtomicBool,
}

impl Bell {
    fn send(&self, packet: &[u8]) -> Result<()> {
        match &self.link {
            Link::Socket(socket) => socket.send(packet),
            Link::Local(lane) => lane.send(packet).map_err(|_| Error::KernelGone),
        }
    }

    /// Has the question answered. If nothing is in flight, nothing happens.
    pub(crate) fn ring(&self) {
        let seq = self.seq.load(Ordering::Acquire);
        let mut packet = Vec::with_capacity(32);
        Cancel { seq, phases: phase::RECEIVE, interrupted: 0 }.encode(seq, &mut packet);
        // A connection that is over is readable as well.
        let _ = self.send(&packet);
    }
}

impl Task {
    /// A descriptor that is readable when this task should look for messages.
    pub fn poller(&self) -> Result<Poller> {
        Ok(Poller { task: self.clone(), core: PollCore::open(self)? })
    }
}

impl Poller {
    /// Makes the descriptor readable as soon as something comes. `true`: something may have come since the program looked, so it should look again
    /// before it waits.
    pub fn arm(&self) -> Result<bool> {
        let (mut state, _) = self.core.ask(&self.task)?;
        let plane = &self.task.0.plane;
        let seen = state.arrivals;
        state.arrivals = plane.arrivals();
        plane.arm_poller(&self.task, &self.core.bell, seen)
    }

    /// Takes what made the descriptor readable, and lets peers go on without ringing. To be called before the program looks for messages; if it is
    /// not, [`Poller::arm`] does it.
    pub fn drain(&self) -> Result<()> {
        self.core.drain(&self.task).map(drop)
    }

    /// The task it belongs to.
    pub fn task(&self) -> &Task {
        &self.task
    }
}

impl PollCore {
    pub(crate) fn open(task: &Task) -> Result<PollCore> {
        const WHAT: &str = "opening a lane to poll";
        let mut lane = task.lane(Need::Prompt)?;
        let opened = lane.request(&LaneOpen {})?.map(drop);
        let attached = lane.attached.pop();
        drop(lane);
        opened.map_err(|code| Error::mach(code, WHAT))?;
        let link = Link::from_attached(attached.ok_or(Error::mach(Code::KERN_RESOURCE_SHORTAGE, WHAT))?);
        let local = match &link {
            Link::Local(lane) => Some(lane.bell().map_err(|why| Error::io(WHAT, why))?),
            Link::Socket(_) => None,
        };
        let bell = Arc::new(Bell { link, seq: AtomicU32::new(0), armed: AtomicBool::new(false) });
        task.0.plane.add_poller(&bell);
        Ok(PollCore { bell, local, state: Mutex::default() })
    }

    /// Arms it for futures: what is waited for is to be looked at afterwards. True if there is mail that was not there before.
    pub(crate) fn arm(&self, task: &Task) -> Result<bool> {
        let (_state, mail) = self.ask(task)?;
        task.0.plane.arm_for_futures(task, &self.bell).map(|()| mail)
    }

    /// Whether what comes makes the descriptor readable.
    pub(crate) fn is_armed(&self) -> bool {
        self.bell.armed.load(Ordering::SeqCst)
    }

    /// Takes what made the descriptor readable. True if there is mail that was not there before.
    pub(crate) fn drain(&self, task: &Task) -> Result<bool> {
        let mut state = self.state.lock();
        let seen = state.seen;
        state.arrivals = task.0.plane.arrivals();
        task.0.plane.disarm_poller(&self.bell);
        self.read_answer(task, &mut state)?;
        Ok(state.seen != seen)
    }

    /// What it was armed for is not waited for any more.
    pub(crate) fn disarm(&self, task: &Task) {
        task.0.plane.disarm_poller(&self.bell);
    }

    /// Pulls events, and has the question under way. Says whether there is mail that was not there before.
    fn ask(&self, task: &Task) -> Result<(MutexGuard<'_, State>, bool)> {
        task.check_fork()?;
        let mut state = self.state.lock();
        let seen = state.seen;
        self.read_answer(task, &mut state)?;
        task.0.plane.look(task)?;
        if !state.in_flight {
            let seq = self.bell.seq.load(Ordering::Relaxed).wrapping_add(1);
            self.bell.seq.store(seq, Ordering::Release);
            let mut packet = Vec::with_capacity(32);
            Poll { seen: state.seen }.encode(seq, &mut packet);
            self.bell.send(&packet)?;
            state.in_flight = true;
        }
        let mail = state.seen != seen;
        Ok((state, mail))
    }

    fn read_answer(&self, task: &Task, state: &mut State) -> Result<()> {
        if !state.in_flight {
            return Ok(());
        }
        let packet = match &self.bell.link {
            Link::Socket(socket) => receive(socket)?,
            Link::Local(lane) => {
                if let Some(bell) = &self.local {
                    // Empty or not: what is there now is read below.
                    let _ = rustix::io::read(bell, &mut [0u8; 8]);
                }
                lane.receive(Some(std::time::Instant::now())).map_err(|_| Error::KernelGone)?.map(|answer| answer.packet)
            }
        };
        let Some(packet) = packet else { return Ok(()) };
        let (head, fields) = Head::read(&packet).map_err(Error::Protocol)?;
        if head.op & EVENTS_WAIT != 0 {
            task.0.events_wait.store(true, Ordering::Relaxed);
        }
        if head.op & !EVENTS_WAIT != Poll::OP {
            return Err(Error::Protocol(Malformed::UnknownOp { op: head.op }));
        }
        head.status.ok().map_err(|code| Error::mach(code, "polling"))?;
        state.seen = answer::Poll::take(fields).map_err(Error::Protocol)?.seen;
        state.in_flight = false;
        Ok(())
    }
}

/// A packet, if there is one.
fn receive(socket: &Socket) -> Result<Option<Vec<u8>>> {
    let mut packet = vec![0; 64];
    loop {
        match rustix::net::recv(socket, &mut packet[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET | Errno::PIPE) => return Err(Error::KernelGone),
            Ok((bytes, _)) => {
                packet.truncate(bytes);
                return Ok(Some(packet));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(why) => return Err(Error::io("reading a poller's answer", why)),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.as_fd()
    }
}

impl AsFd for PollCore {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match (&self.bell.link, &self.local) {
            (Link::Socket(socket), _) => socket.as_fd(),
            (Link::Local(_), bell) => bell.as_ref().expect("made with the poller").as_fd(),
        }
    }
}

impl std::os::fd::AsRawFd for Poller {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.core.disarm(&self.task);
    }
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "poller of {:?}", self.task)
    }
}
