//! What goes through the kernel process: the message as bytes on a lane, with what it needed before it could be taken.

use std::time::Instant;

use smallvec::SmallVec;
use umach_abi::control::{Msg, PortAllocate, PortModRefs, msg_flags};
use umach_abi::message::{Descriptor, HEADER, Header, Options, Place, descriptors};
use umach_abi::{Code, Disposition, Name, RightKind};

use super::mixed::Mixed;
use super::{Answered, Exchange, Post, Source, is_receive_error};
use crate::direct::ForKernel;
use crate::error::{Error, Result};
use crate::task::Task;
use crate::transport::Lane;
use crate::transport::pool::{Loan, Need};

impl<'t> Mixed<'t, '_> {
    /// A send through the kernel process, with the receive if there is one and it belongs there.
    pub(super) fn send_through_kernel(&self, post: Post<'_>, flags: u32, route: u64, number: u32) -> Result<Answered<'t>> {
        loop {
            let answered = self.send_through_kernel_once(post, flags, route, number)?;
            if answered.code.plain() != Code::MACH_SEND_IN_PROGRESS || flags & msg_flags::DOUBT != 0 {
                return Ok(answered);
            }
            // A receiver died: what it had not received must be sent again first.
            drop(answered);
            self.plane.settle(self.task)?;
        }
    }

    fn send_through_kernel_once(&self, post: Post<'_>, flags: u32, route: u64, number: u32) -> Result<Answered<'t>> {
        let mut bytes = Vec::new();
        let (post, made) = self.explicit(post, &mut bytes)?;
        let want = Exchange { post: Some(post), flags: self.want.flags | flags, ..*self.want };
        let apart = self.receives() && !self.want.call && self.plane.place(self.want.receive).is_some();
        let mut lane = self.task.lane(self.need(self.send_until()))?;
        let reply_port = if self.want.call { reply_port(&mut lane, self.task)? } else { self.want.receive };
        let options = if apart { self.want.options & !Options::RCV.bits() } else { self.want.options };
        let this = Mixed { want: &want, ..*self };
        let reply = if self.want.call { reply_port } else { Name::NULL };
        this.write_post(&mut lane, post, options, want.flags, (route, number), reply_port, reply);
        let code = lane.exchange(self.want.wait, true)?.status;
        made.settle(code);
        if code.is_ok() || is_receive_error(code) {
            self.used(&made.known);
            if let Some(header) = Header::read(post.bytes) {
                self.learn_reply_port(&header);
            }
        } else {
            made.known.iter().for_each(|&name| self.plane.doubt_reply(name));
        }
        if code.plain() == Code::MACH_RCV_IN_PROGRESS {
            // Sent; the receive goes on here.
            if self.want.call {
                return self.receive_reply(lane);
            }
            drop(lane);
            self.plane.look(self.task)?;
            return self.receive();
        }
        if apart && code.is_ok() {
            drop(lane);
            return self.receive();
        }
        let mut answered = Answered { code, source: Source::Lane(lane) };
        if self.receives() && !self.want.call {
            self.renumber(&mut answered)?;
        }
        Ok(answered)
    }

    /// The reply to a call, on the lane's reply port.
    pub(super) fn receive_reply(&self, mut lane: Loan<'t>) -> Result<Answered<'t>> {
        let until = self.receive_until();
        let receive = lane.reply_port;
        let options = self.want.options & !Options::SEND.bits();
        loop {
            let limit = self.want.limit;
            let flags = self.want.flags & msg_flags::TRY_RECEIVE;
            lane.begin(&Msg { options, flags, receive, limit, route: 0, number: 0, count: 1, send_size: 0, annex: 0, tail: &[] });
            let code = lane.exchange(self.wait_until(until), true)?.status;
            if code.plain() != Code::MACH_RCV_IN_PROGRESS {
                return Ok(Answered { code, source: Source::Lane(lane) });
            }
            self.plane.look(self.task)?;
        }
    }

    /// The message with all replies owed in slots made rights that the kernel process knows, and memory that it does not know copied. A receive right
    /// that it moves is taken off the direct plane.
    pub(super) fn explicit<'b>(&self, post: Post<'b>, bytes: &'b mut Vec<u8>) -> Result<(Post<'b>, Made)> {
        let message = &post.bytes[..post.send_size as usize];
        let mut before = SmallVec::new();
        let Some(mut header) = Header::read(message) else { return Ok((post, Made::default())) };
        if header.remote == self.task.0.task_self {
            self.plane.make_mentioned_explicit(self.task, header.id, &message[HEADER.min(message.len())..])?;
        }
        for name in [&mut header.remote, &mut header.local] {
            if let Some(known) = self.plane.make_explicit(self.task, *name)? {
                before.push(std::mem::replace(name, known));
            }
        }
        let mut patched: SmallVec<[(usize, Descriptor); 1]> = SmallVec::new();
        let mut copied = ForKernel::default();
        if !post.rooms.is_empty() {
            copied.annex.extend_from_slice(&post.bytes[message.len()..]);
        }
        for (at, descriptor) in descriptors(message) {
            let (name, disposition) = match descriptor {
                Ok(Descriptor::Port { name, disposition } | Descriptor::Guarded { name, disposition, .. }) => (name, disposition),
                Ok(Descriptor::Memory { address, size, copy, volatile, .. }) => {
                    if let Some(Place::Lease(n)) = Place::from_raw(address)
                        && let Some(room) = post.rooms.get(n as usize)
                    {
                        let place = copied.place(self.task, &room.block)?;
                        let deallocate = matches!(place, Place::Region(_));
                        patched.push((at, Descriptor::Memory { address: place.to_raw(), deallocate, copy, size, volatile }));
                    }
                    continue;
                }
                _ => continue,
            };
            if disposition == Disposition::MoveReceive as u8 {
                // Its queue goes with it.
                self.plane.recall(self.task, name)?;
            } else if let Some(known) = self.plane.make_explicit(self.task, name)? {
                before.push(name);
                patched.push((at, Descriptor::Port { name: known, disposition }));
            }
        }
        if before.is_empty() && patched.is_empty() {
            return Ok((post, Made::default()));
        }
        bytes.extend_from_slice(if post.rooms.is_empty() { post.bytes } else { message });
        bytes[..HEADER].copy_from_slice(&header.to_bytes());
        for (at, descriptor) in patched {
            descriptor.write_at(bytes, at);
        }
        bytes.extend_from_slice(&copied.annex);
        Ok((Post { bytes, send_size: post.send_size, rooms: &[] }, Made { known: before, copied }))
    }

    /// The kernel process has taken a send-once right made from it.
    pub(super) fn learn_reply_port(&self, header: &Header) {
        if self.is_own_call(header) {
            self.plane.know_reply_port(header.local);
        }
    }

    /// These rights are no longer this task's.
    pub(super) fn used(&self, names: &[Name]) {
        for &name in names {
            self.plane.forget_reply(name);
        }
    }

    /// An exchange that concerns the kernel process alone.
    pub(super) fn through_kernel(&self, want: &Exchange<'_>, receive: Name) -> Result<Answered<'t>> {
        let sends = want.post.is_some();
        let tries = (!sends || want.flags & msg_flags::TRY_SEND != 0) && (!self.receives() || want.flags & msg_flags::TRY_RECEIVE != 0);
        let need = match want.wait.timeout {
            _ if tries => Need::Prompt,
            timeout if want.wait.timed & umach_abi::control::phase::SEND != 0 => Need::Blocking(timeout),
            _ => Need::Blocking(None),
        };
        let start = Instant::now();
        let mut bytes = Vec::new();
        // Only memory that was to be lent over a link which is no more: there are no replies in slots without links.
        let (post, made) = match want.post {
            Some(post) if !post.rooms.is_empty() => self.explicit(post, &mut bytes).map(|(post, made)| (Some(post), made))?,
            post => (post, Made::default()),
        };
        let mut lane = self.task.lane(need)?;
        let receive = if want.call { reply_port(&mut lane, self.task)? } else { receive };
        let code = match post {
            Some(post) => {
                let reply = if want.call { receive } else { Name::NULL };
                self.write_post(&mut lane, post, want.options, want.flags, (0, 0), receive, reply);
                let code = lane.exchange(want.wait, true)?.status;
                made.settle(code);
                code
            }
            None => {
                let (options, flags, limit, count) = (want.options, want.flags, want.limit, want.count);
                lane.begin(&Msg { options, flags, receive, limit, route: 0, number: 0, count, send_size: 0, annex: 0, tail: &[] });
                lane.exchange(want.wait, true)?.status
            }
        };
        if code.plain() != Code::MACH_RCV_IN_PROGRESS {
            return Ok(Answered { code, source: Source::Lane(lane) });
        }
        // Events came up, or the port has routes now. What was to be sent is sent.
        let until = want.wait.timeout.filter(|_| want.wait.timed & umach_abi::control::phase::RECEIVE != 0).map(|timeout| start + timeout);
        let this = Mixed { until, ..*self };
        if want.call {
            self.plane.look(self.task)?;
            return this.receive_reply(lane);
        }
        drop(lane);
        self.plane.look(self.task)?;
        this.receive()
    }

    /// Writes the request for a message. `reply`: the port for the answer to a call, if it is not null.
    #[allow(clippy::too_many_arguments)] // the request's own fields
    pub(super) fn write_post(
        &self,
        lane: &mut Lane,
        post: Post<'_>,
        options: u32,
        flags: u32,
        ticket: (u64, u32),
        receive: Name,
        reply: Name,
    ) {
        let ((route, number), limit, count) = (ticket, self.want.limit, self.want.count);
        let annex = post.bytes.len() as u32 - post.send_size;
        let packet =
            lane.begin(&Msg { options, flags, receive, limit, route, number, count, send_size: post.send_size, annex, tail: post.bytes });
        if reply.is_valid() {
            let at = packet.len() - post.bytes.len();
            if let Some(mut header) = Header::read(&packet[at..]) {
                header.bits |= (Disposition::MakeSendOnce as u32) << 8;
                header.local = reply;
                packet[at..at + HEADER].copy_from_slice(&header.to_bytes());
            }
        }
    }
}

/// What a message needed before the kernel process could take it.
#[derive(Default)]
pub(super) struct Made {
    /// What rights were called that it knows by other names now.
    pub(super) known: SmallVec<[Name; 1]>,
    copied: ForKernel,
}

impl Made {
    /// The kernel process has answered: regions that went with the message, or came back with it under names of their own, are not released here.
    pub(super) fn settle(&self, code: Code) {
        let came_back = matches!(code.plain(), Code::MACH_SEND_TIMED_OUT | Code::MACH_SEND_INTERRUPTED);
        if code.is_ok() || is_receive_error(code) || came_back {
            self.copied.sent();
        }
    }
}

/// The lane's own reply port.
pub(super) fn reply_port(lane: &mut Lane, task: &Task) -> Result<Name> {
    if lane.reply_port == Name::NULL {
        let call = PortAllocate { task: task.0.task_self, right: RightKind::Receive as u32, name: Name::NULL };
        let name = lane.request(&call)?.map_err(|code| Error::mach(code, "making a reply port"))?.name;
        lane.reply_port = name;
    }
    Ok(lane.reply_port)
}

/// A reply that comes too late must find nobody.
pub(crate) fn drop_reply_port(lane: &mut Lane, task: &Task) {
    let name = std::mem::replace(&mut lane.reply_port, Name::NULL);
    if name.is_valid() {
        let _ = lane.request(&PortModRefs { task: task.0.task_self, name, right: RightKind::Receive as u32, delta: -1 });
    }
}
