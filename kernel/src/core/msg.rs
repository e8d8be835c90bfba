//! The requests that send and receive: `Msg` and `SendMany`.

use umach_abi::control::{self, answer, encode_answer, msg_flags};
use umach_abi::message::{Header, Options, TrailerRequest};
use umach_abi::records::Frame;
use umach_abi::{Code, Disposition, RightKind};

use super::Core;
use super::arena::Id;
use super::effect::{Effect, LaneId, TaskId, Violation};
use super::mail::MailId;
use super::route::RouteId;
use super::send::Posted;
use super::task::{Receive, Wait};

/// A message's place on a route.
#[derive(Debug, Clone, Copy)]
enum Numbered {
    No,
    /// With the slot and generation of the reply that it wants.
    Ticket(RouteId, u32, Option<(u32, u32)>),
    Doubt(RouteId, u32),
}

impl Core {
    pub(super) fn msg(&mut self, lane: LaneId, task: TaskId, request: &control::Msg<'_>) -> Result<(), Violation> {
        let options = Options::from_bits_retain(request.options);
        let claimed = request.send_size as u64 + request.annex as u64;
        let sends = options.contains(Options::SEND);
        self.perhaps_end(task);
        if claimed != request.tail.len() as u64 || (!sends && claimed != 0) {
            return Err(Violation::Sizes { claimed, have: request.tail.len() });
        }
        let want = if options.contains(Options::RCV) {
            let Some(trailer) = TrailerRequest::from_options(request.options) else {
                self.finish_receive(lane, Code::MACH_RCV_INVALID_TRAILER);
                return Ok(());
            };
            Some(Receive {
                name: request.receive,
                limit: request.limit,
                large: options.contains(Options::RCV_LARGE),
                identity: options.contains(Options::RCV_LARGE_IDENTITY),
                guarded: options.contains(Options::RCV_GUARDED_DESC),
                trailer,
                poll: request.flags & msg_flags::TRY_RECEIVE != 0,
                count: request.count,
                watch: request.flags & msg_flags::WATCH != 0,
                ticket: (request.flags & msg_flags::BY_TICKET != 0).then(|| (RouteId(Id::from_raw(request.route)), request.number)),
            })
        } else {
            None
        };
        let plane = &self.tasks[task.0].plane;
        if request.flags & msg_flags::WATCH != 0 && request.number != 0 && request.number != plane.control && !sends {
            self.finish_receive(lane, Code::MACH_RCV_IN_PROGRESS_TIMED);
            return Ok(());
        }
        if request.flags & msg_flags::AGAIN != 0 {
            let sent = self.send_again(task, request.route, request.number, request.tail.split_at(request.send_size as usize));
            self.finish_receive(lane, sent.err().unwrap_or(Code::SUCCESS));
            return Ok(());
        }
        if sends {
            let (bytes, annex) = request.tail.split_at(request.send_size as usize);
            let copied = match self.numbered(task, request, bytes) {
                Ok(numbered) => {
                    let may = if matches!(numbered, Numbered::No) { self.ordinary(task, bytes) } else { Ok(()) };
                    may.and_then(|()| self.copy_in(task, bytes, annex, options)).map(|mail| (mail, numbered))
                }
                Err(code) => Err(code),
            };
            match copied {
                Err(Code::SUCCESS) => {} // it has arrived before
                Err(code) => {
                    self.finish_receive(lane, code);
                    return Ok(());
                }
                Ok((None, _)) => {}
                Ok((Some(mail), numbered)) => match self.post_numbered(mail, numbered) {
                    Posted::Sent => {}
                    Posted::Full(mail, _) if request.flags & msg_flags::TRY_SEND != 0 => {
                        self.give_back(lane, mail, Code::MACH_SEND_TIMED_OUT);
                        return Ok(());
                    }
                    Posted::Full(mail, port) => {
                        let mail = MailId(self.mails.insert(mail));
                        self.ports[port.0].waiters().senders.push_back(lane);
                        self.wait(lane, Wait::Send { port, mail, then: want });
                        self.count_sent(task);
                        return Ok(());
                    }
                },
            }
            self.count_sent(task);
            self.sent_copy(task, bytes);
        }
        match want {
            Some(want) => self.begin_receive(lane, want),
            None => self.finish_receive(lane, Code::SUCCESS),
        }
        Ok(())
    }

    /// What the flags say about a message's place on a route. Nothing changes. `Err(SUCCESS)`: there is nothing to send any more.
    fn numbered(&self, task: TaskId, request: &control::Msg<'_>, bytes: &[u8]) -> Result<Numbered, Code> {
        let Some(header) = Header::read(bytes) else { return Ok(Numbered::No) };
        let flags = request.flags & (msg_flags::TICKET | msg_flags::DOUBT | msg_flags::BY_TICKET);
        match flags {
            msg_flags::TICKET => {
                let slot = request.receive.0.checked_sub(1).map(|slot| (slot, request.limit));
                self.check_ticket(task, request.route, request.number, header.remote).map(|id| Numbered::Ticket(id, request.number, slot))
            }
            msg_flags::DOUBT => {
                let route = self.check_doubt(task, request.route, request.number, header.remote)?;
                Ok(route.map_or(Numbered::No, |id| Numbered::Doubt(id, request.number)))
            }
            0 | msg_flags::BY_TICKET => Ok(Numbered::No),
            _ => Err(Code::MACH_SEND_INVALID_OPTIONS),
        }
    }

    fn post_numbered(&mut self, mail: super::mail::Mail, numbered: Numbered) -> Posted {
        match numbered {
            Numbered::No => self.post(mail),
            Numbered::Ticket(route, number, slot) => match self.keep_ticket(route, number, mail, slot) {
                None => Posted::Sent,
                Some(mail) => self.post(mail),
            },
            Numbered::Doubt(route, number) => self.post_doubt(route, number, mail),
        }
    }

    /// A message is about to go the kernel's way. It may have to wait until its sender has pulled its events.
    fn ordinary(&mut self, task: TaskId, bytes: &[u8]) -> Result<(), Code> {
        match Header::read(bytes) {
            Some(header) if self.tasks[task.0].plane.agreed => self.bypassed(task, header.remote),
            _ => Ok(()),
        }
    }

    /// A message went the kernel's way with a copy of a right: perhaps the next one need not.
    fn sent_copy(&mut self, task: TaskId, bytes: &[u8]) {
        if let Some(header) = Header::read(bytes)
            && header.remote_disposition() == Disposition::CopySend as u8
        {
            self.consider_route(task, header.remote);
        }
    }

    fn count_sent(&mut self, task: TaskId) {
        self.sent += 1;
        self.tasks[task.0].sent += 1;
    }

    pub(super) fn send_many(&mut self, lane: LaneId, task: TaskId, request: &control::SendMany<'_>) -> Result<(), Violation> {
        let mut rest = request.tail;
        let (mut sent, mut status) = (0, Code::SUCCESS);
        let wrong = |rest: &[u8]| Violation::Sizes { claimed: request.count as u64, have: rest.len() };
        while sent < request.count && status.is_ok() {
            let row = Frame::read(rest).ok_or_else(|| wrong(rest))?;
            rest = &rest[Frame::SIZE..];
            let (size, annex) = (row.size as usize, row.annex as usize);
            if size.checked_add(annex).is_none_or(|both| both > rest.len()) {
                return Err(wrong(rest));
            }
            let (bytes, tail) = rest.split_at(size);
            let (annex, tail) = tail.split_at(annex);
            rest = tail;
            status = self.send_one(task, bytes, annex, Options::from_bits_retain(row.options)).err().unwrap_or(Code::SUCCESS);
            sent += u32::from(status.is_ok());
        }
        let pending = self.lanes[lane.0].pending.take().expect("a request is being answered");
        let mut packet = Vec::with_capacity(32);
        encode_answer(pending.op, pending.seq, status, 0, Some(&answer::SendMany { sent }), &mut packet);
        self.effects.push(Effect::Answer { lane, packet, attach: Vec::new() });
        Ok(())
    }

    /// A send that does not wait and consumes nothing if the queue is full.
    fn send_one(&mut self, task: TaskId, bytes: &[u8], annex: &[u8], options: Options) -> Result<(), Code> {
        if let Some(header) = Header::read(bytes)
            && let Some(entry) = self.refresh(task, header.remote)
            && let Some(port) = entry.port()
            && Disposition::from_raw(header.remote_disposition()).is_some_and(|d| d.becomes() == RightKind::Send)
            && self.ports[port.0].kobject().is_none()
            && self.ports[port.0].full()
        {
            if options.contains(Options::SEND_NOTIFY) {
                self.arm_send_possible(task, header.remote, port);
            }
            return Err(Code::MACH_SEND_TIMED_OUT);
        }
        self.ordinary(task, bytes)?;
        if let Some(mail) = self.copy_in(task, bytes, annex, options)?
            && let Posted::Full(mail, port) = self.post(mail)
        {
            // There was room; a notification that the message's own rights set off has taken it. The message is consumed, so it goes in.
            self.enqueue(port, mail);
        }
        self.count_sent(task);
        self.sent_copy(task, bytes);
        Ok(())
    }
}
