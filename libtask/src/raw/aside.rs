//! A lane that is set aside for one call from a signal handler.

use umach_abi::control::{LaneOpen, Msg, PortAllocate, PortDeallocate, PortModRefs, Reply, TaskExceptionPort, answer};
use umach_abi::message::{HEADER, Header, Options};
use umach_abi::records::Frame;
use umach_abi::{Code, Disposition, Name, RightKind};

use super::Space;
use crate::error::{Error, Result};
use crate::transport::pool::Need;
use crate::transport::{Lane, Link, Wait};

/// Room for a request without growing: the largest message that a handler sends, and what is around it.
const ROOM: usize = 4096;

/// A lane of its own with a buffer, for whoever may take no lock and no memory: the handler of a signal that came in the middle of anything. Whoever holds it
/// is inside the kernel process by it, whatever other threads do.
pub struct Aside {
    lane: Lane,
    task: Name,
}

impl Space<'_> {
    /// Sets a lane aside. It counts among the task's lanes.
    ///
    /// # Errors
    /// `KERN_RESOURCE_SHORTAGE`: the task may have no more lanes, or the process no more descriptors.
    pub fn aside(&self) -> std::result::Result<Aside, Code> {
        let open = || -> Result<std::result::Result<Aside, Code>> {
            let mut lane = self.task.lane(Need::Prompt)?;
            let opened = lane.request(&LaneOpen {})?.map(drop);
            Ok(match (opened, lane.attached.pop()) {
                (Ok(()), Some(attached)) => {
                    let lane = Lane::set_aside(Link::from_attached(attached), lane.events_wait.clone(), ROOM);
                    Ok(Aside { lane, task: self.task_self() })
                }
                (Err(code), _) => Err(code),
                _ => Err(Code::KERN_RESOURCE_SHORTAGE),
            })
        };
        open().map_err(|error: Error| error.code())?
    }
}

impl Aside {
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Lane) -> Result<std::result::Result<T, Code>>) -> std::result::Result<T, Code> {
        ask(&mut self.lane).map_err(|error| error.code())?
    }

    /// Who is to be told of this kind of exception of this task's, and how: port (null if nobody), behaviour and flavour. The right is the caller's.
    pub fn exception_port(&mut self, exception: u32) -> std::result::Result<(Name, u32, u32), Code> {
        let call = TaskExceptionPort { task: self.task, exception };
        self.ask(|lane| Ok(lane.request(&call)?.map(|answer| (answer.port, answer.behavior, answer.flavor))))
    }

    /// The task's own control right.
    pub fn task_self(&self) -> Name {
        self.task
    }

    /// `mach_port_allocate` of a receive right.
    pub fn port_allocate(&mut self) -> std::result::Result<Name, Code> {
        let call = PortAllocate { task: self.task, right: RightKind::Receive as u32, name: Name::NULL };
        self.ask(|lane| Ok(lane.request(&call)?.map(|answer| answer.name)))
    }

    /// Destroys a port, by its receive right.
    pub fn port_destroy(&mut self, name: Name) {
        let call = PortModRefs { task: self.task, name, right: RightKind::Receive as u32, delta: -1 };
        let _ = self.ask(|lane| Ok(lane.request(&call)?.map(drop)));
    }

    /// One more reference of a send right.
    ///
    /// # Errors
    /// As for `mach_port_mod_refs`: there is no such right, or it is dead.
    pub fn retain(&mut self, name: Name) -> std::result::Result<(), Code> {
        let call = PortModRefs { task: self.task, name, right: RightKind::Send as u32, delta: 1 };
        self.ask(|lane| Ok(lane.request(&call)?.map(drop)))
    }

    /// Gives a send right back.
    pub fn deallocate(&mut self, name: Name) {
        let call = PortDeallocate { task: self.task, name };
        let _ = self.ask(|lane| Ok(lane.request(&call)?.map(drop)));
    }

    /// Sends a message to a send right, with a reply port made for it (which is written into the message), and waits for the answer as long as it takes.
    /// Gives the answer's header and how much of its bytes is in `reply`.
    ///
    /// # Errors
    /// Those of a send and of a receive; `MACH_RCV_TOO_LARGE` if the answer is larger than `reply`.
    pub fn call(&mut self, message: &mut [u8], reply: &mut [u8]) -> std::result::Result<(Header, usize), Code> {
        let port = self.port_allocate()?;
        let done = self.exchange(port, message, reply);
        self.port_destroy(port);
        done
    }

    fn exchange(&mut self, port: Name, message: &mut [u8], reply: &mut [u8]) -> std::result::Result<(Header, usize), Code> {
        let mut header = Header::read(message).ok_or(Code::MACH_SEND_MSG_TOO_SMALL)?;
        header.local = port;
        header.bits = header.bits & !0x1f00 | (Disposition::MakeSendOnce as u32) << 8;
        message[..HEADER].copy_from_slice(&header.to_bytes());
        let call = Msg {
            options: (Options::SEND | Options::RCV).bits(),
            flags: 0,
            receive: port,
            limit: reply.len() as u32,
            route: 0,
            number: 0,
            count: 1,
            send_size: message.len() as u32,
            annex: 0,
            tail: message,
        };
        self.ask(|lane| {
            lane.begin(&call);
            let head = lane.exchange(Wait::FOREVER, false)?;
            if !head.status.is_ok() {
                return Ok(Err(head.status));
            }
            let frames = answer::Msg::take(lane.fields()).map_err(Error::Protocol)?.frames;
            let whole = Frame::read(frames).and_then(|frame| frames[Frame::SIZE..].get(..frame.size as usize));
            let Some(whole) = whole.filter(|whole| whole.len() <= reply.len()) else { return Ok(Err(Code::MACH_RCV_INVALID_DATA)) };
            reply[..whole.len()].copy_from_slice(whole);
            Ok(Header::read(whole).map(|header| (header, whole.len())).ok_or(Code::MACH_RCV_INVALID_DATA))
        })
    }
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a lane set aside")
    }
}
