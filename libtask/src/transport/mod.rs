//! Lanes: one request out, one answer in, over a socket or straight into an in-process kernel.
//!
//! A lane belongs to one thread for the length of one request ([`pool`]). The packets are the same bytes either way; buffers are kept.
//!
//! Deadlines are this side's business: when one passes, `Cancel` goes out and the one answer that the kernel owes is read. So a lane is
//! always in step, and an answer that crossed with the cancel is simply the answer.

mod memory;
pub(crate) mod pool;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use umach_abi::control::{
    Call, Cancel, EVENTS_WAIT, Events, EventsWait, FileInbox, FileLane, Head, HostLinkMap, LaneFlush, LaneMemory, LaneOpen, LinkArena,
    Malformed, RegionCreate, RegionMap, Reply, TaskCreate, phase,
};
use umach_abi::limits::PACKET_MAX;
use umach_abi::{Code, Name};
use umach_kernel::local::{Answer, Attached as LocalAttached, LocalLane};

use crate::error::{Error, Result};
use crate::sys::socket::{Socket, Waited};
use memory::{Memory, Use};
use umach_link::lane::{Given, Outcome};

/// How long to wait for an answer, and what to give up then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wait {
    /// From the moment of the request.
    pub(crate) timeout: Option<Duration>,
    /// Phases ([`phase`]) that end when the time is up.
    pub(crate) timed: u32,
    /// Phases that end when a signal handler ran.
    pub(crate) interruptible: u32,
}

impl Wait {
    /// Until it is answered.
    pub(crate) const FOREVER: Wait = Wait { timeout: None, timed: 0, interruptible: 0 };
    /// Both phases end after `timeout`.
    pub(crate) fn within(timeout: Option<Duration>) -> Wait {
        Wait { timeout, timed: phase::SEND | phase::RECEIVE, interruptible: 0 }
    }
}

/// What came along with an answer.
#[derive(Debug)]
pub(crate) enum Attached {
    Fd(OwnedFd),
    Lane(LocalLane),
}

/// The far side of a lane.
pub(crate) enum Link {
    Socket(Socket),
    Local(LocalLane),
}

/// Whether the answer to a request may have descriptors attached. Messages may, too.
pub(crate) const fn attaches<C: Call>() -> bool {
    matches!(
        C::OP,
        LaneOpen::OP
            | LaneMemory::OP
            | TaskCreate::OP
            | RegionCreate::OP
            | RegionMap::OP
            | Events::OP
            | EventsWait::OP
            | HostLinkMap::OP
            | LinkArena::OP
            | FileInbox::OP
            | FileLane::OP
    )
}

impl Link {
    /// An attached new lane.
    pub(crate) fn from_attached(attached: Attached) -> Link {
        match attached {
            Attached::Fd(fd) => Link::Socket(Socket::new(fd)),
            Attached::Lane(lane) => Link::Local(lane),
        }
    }
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Link::Local(_))
    }
}

pub(crate) struct Lane {
    link: Link,
    /// Its memory, or how much it is used until it has some. Neither if the kernel process gives none.
    memory: Option<Memory>,
    usage: Option<Use>,
    seq: u32,
    /// The request being written.
    out: Vec<u8>,
    /// The answer last read; `len` bytes of it count.
    input: Vec<u8>,
    len: usize,
    fds: Vec<OwnedFd>,
    /// What came with the answer last read.
    pub(crate) attached: Vec<Attached>,
    /// A request went out whose answer was not read: the lane cannot be used again.
    in_flight: bool,
    /// This lane's own reply port for calls; null until the first one.
    pub(crate) reply_port: Name,
    /// Set when an answer says that the task has events to pull.
    pub(crate) events_wait: Arc<AtomicBool>,
}

impl Lane {
    pub(crate) fn new(link: Link, events_wait: Arc<AtomicBool>) -> Lane {
        // The local kernel hands whole packets over; a socket needs room for the largest. Untouched pages of it cost nothing.
        let (input, usage) = if link.is_local() { (Vec::new(), None) } else { (vec![0; PACKET_MAX], Some(Use::new())) };
        Lane {
            link,
            memory: None,
            usage,
            seq: 0,
            out: Vec::with_capacity(256),
            input,
            len: 0,
            fds: Vec::new(),
            attached: Vec::new(),
            in_flight: false,
            reply_port: Name::NULL,
            events_wait,
        }
    }

    /// A lane whose requests of up to `room` bytes need no memory, and that never gets memory beside its socket.
    pub(crate) fn set_aside(link: Link, events_wait: Arc<AtomicBool>, room: usize) -> Lane {
        let mut lane = Lane::new(link, events_wait);
        lane.usage = None;
        lane.out.reserve(room);
        lane
    }

    /// Whether the lane is in step and can serve another request.
    pub(crate) fn is_usable(&self) -> bool {
        !self.in_flight
    }

    /// Starts a request. The rest of a long tail may be appended to the returned packet; [`Lane::exchange`] sets the length.
    pub(crate) fn begin(&mut self, request: &impl Call) -> &mut Vec<u8> {
        if self.usage.as_mut().is_some_and(Use::is_often) {
            self.usage = None;
            self.ask_for_memory();
        }
        self.seq = self.seq.wrapping_add(1);
        request.encode(self.seq, &mut self.out);
        &mut self.out
    }

    /// Sends what [`Lane::begin`] started and reads its answer. `attachments`: whether descriptors may come along.
    pub(crate) fn exchange(&mut self, wait: Wait, attachments: bool) -> Result<Head> {
        self.attached.clear();
        Head::finish(&mut self.out);
        self.in_flight = true;
        if !self.exchange_in_memory()? {
            self.read_answer(wait, attachments)?;
        }
        self.in_flight = false;
        let op = u16::from_le_bytes([self.out[0], self.out[1]]);
        let (mut head, _) = Head::read(&self.input[..self.len]).map_err(Error::Protocol)?;
        if head.op & EVENTS_WAIT != 0 {
            head.op &= !EVENTS_WAIT;
            self.events_wait.store(true, Ordering::Relaxed);
        }
        if head.op != op {
            return Err(Error::Protocol(Malformed::UnknownOp { op: head.op }));
        }
        if head.seq != self.seq {
            return Err(Error::Protocol(Malformed::Reserved { value: head.seq }));
        }
        Ok(head)
    }

    /// The fields of the answer last read.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.input[umach_abi::control::HEAD..self.len]
    }

    /// The same, to be patched.
    pub(crate) fn fields_mut(&mut self) -> &mut [u8] {
        &mut self.input[umach_abi::control::HEAD..self.len]
    }

    /// A request whose answer comes at once. The answer's fields, or the kernel's refusal.
    pub(crate) fn request<C: Call>(&mut self, call: &C) -> Result<Result<C::Answer<'_>, Code>> {
        self.begin(call);
        let head = self.exchange(Wait::FOREVER, attaches::<C>())?;
        if !head.status.is_ok() {
            return Ok(Err(head.status));
        }
        Reply::take(self.fields()).map(Ok).map_err(Error::Protocol)
    }

    /// It is used much. Without memory it goes on as it is.
    #[cold]
    fn ask_for_memory(&mut self) {
        if let Ok(Ok(_)) = self.request(&LaneMemory {})
            && let Some(Attached::Fd(fd)) = self.attached.pop()
        {
            self.memory = Memory::map(&fd);
        }
    }

    /// Sends the request. True if its answer has been read already.
    fn exchange_in_memory(&mut self) -> Result<bool> {
        if let (Link::Socket(socket), Some(memory)) = (&self.link, &mut self.memory)
            && memory.takes(&self.out)
        {
            let Outcome::Here(len) = memory.exchange(&self.out, socket)? else { return Ok(false) };
            memory.read(&mut self.input[..len]);
            self.len = len;
            return Ok(true);
        }
        self.send_packet().map(|()| false)
    }

    /// Has the kernel process release a right with nobody waiting for it. False if it must be asked.
    fn release_in_memory(&mut self, name: Name) -> bool {
        match self.memory.as_mut().map_or(Given::Full, |memory| memory.release(name)) {
            Given::Seen => true,
            Given::Unseen => {
                let _ = self.request(&LaneFlush {});
                true
            }
            Given::Full => false,
        }
    }

    fn send_packet(&mut self) -> Result<()> {
        match &self.link {
            Link::Socket(socket) => socket.send(&self.out),
            Link::Local(lane) => lane.send(&self.out).map_err(|_| Error::KernelGone),
        }
    }

    fn read_answer(&mut self, wait: Wait, attachments: bool) -> Result<()> {
        let mut timed = wait.timed;
        let mut interruptible = wait.interruptible;
        let until = wait.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        loop {
            let until = if timed == 0 { None } else { until };
            match self.read_packet(attachments, until)? {
                Waited::Packet(len) => {
                    self.len = len;
                    return Ok(());
                }
                Waited::Late => {
                    self.cancel(timed, false)?;
                    interruptible &= !timed;
                    timed = 0;
                }
                Waited::Interrupted if interruptible != 0 => {
                    self.cancel(interruptible, true)?;
                    timed &= !interruptible;
                    interruptible = 0;
                }
                Waited::Interrupted => {}
            }
        }
    }

    fn read_packet(&mut self, attachments: bool, until: Option<(Instant, Duration)>) -> Result<Waited> {
        match &mut self.link {
            Link::Socket(socket) => {
                let fds = if attachments { Some(&mut self.fds) } else { None };
                let waited = socket.receive(&mut self.input, fds, until);
                if !self.fds.is_empty() {
                    self.attached.extend(self.fds.drain(..).map(Attached::Fd));
                }
                waited
            }
            Link::Local(lane) => match lane.receive(until.map(|(deadline, _)| deadline)) {
                Err(_) => Err(Error::KernelGone),
                Ok(None) => Ok(Waited::Late),
                Ok(Some(Answer { packet, attached })) => {
                    self.input = packet;
                    self.attached.extend(attached.into_iter().map(|one| match one {
                        LocalAttached::Fd(fd) => Attached::Fd(fd),
                        LocalAttached::Lane(lane) => Attached::Lane(lane),
                    }));
                    Ok(Waited::Packet(self.input.len()))
                }
            },
        }
    }

    fn cancel(&mut self, phases: u32, interrupted: bool) -> Result<()> {
        let mut packet = Vec::with_capacity(32);
        Cancel { seq: self.seq, phases, interrupted: interrupted as u32 }.encode(self.seq, &mut packet);
        match &self.link {
            Link::Socket(socket) => socket.send(&packet),
            Link::Local(lane) => lane.send(&packet).map_err(|_| Error::KernelGone),
        }
    }
}
