//! An exchange of a task that has links: which plane each half goes over.

use std::time::{Duration, Instant};

use smallvec::SmallVec;
use umach_abi::control::{Msg, msg_flags, phase};
use umach_abi::link::{RECORD_MAX, SLOT_MAX};
use umach_abi::message::{HEADER, Header, Options, TrailerRequest};
use umach_abi::rights::received;
use umach_abi::{Code, Disposition, Name};

use super::kernel::reply_port;
use super::{Answered, Exchange, Post, Source, patch_frames, set_port, set_seqno, until};
use crate::direct::{Answer, Came, Carry, Doubt, Finished, Frame, Lazy, Open, Plane, Sent, Ticket, Ticketed, Until, Want};
use crate::error::Result;
use crate::received::{Received, Sender};
use crate::task::Task;
use crate::transport::Wait;
use crate::transport::pool::Need;

/// An exchange of a task that has links.
pub(super) struct Mixed<'t, 'm> {
    pub(super) task: &'t Task,
    pub(super) plane: &'t Plane,
    pub(super) want: &'m Exchange<'m>,
    pub(super) until: Until,
}

impl<'t, 'm> Mixed<'t, 'm> {
    pub(super) fn new(task: &'t Task, want: &'m Exchange<'m>) -> Mixed<'t, 'm> {
        Mixed { task, plane: &task.0.plane, want, until: until(want) }
    }

    pub(super) fn receives(&self) -> bool {
        self.want.options & Options::RCV.bits() != 0
    }

    pub(super) fn run(&self) -> Result<Answered<'t>> {
        let Some(post) = self.want.post else { return self.receive() };
        let message = &post.bytes[..post.send_size as usize];
        let Some(header) = Header::read(message) else { return self.through_kernel(self.want, self.want.receive) };
        if header.remote_disposition() == Disposition::MoveSendOnce as u8 && self.plane.owes(header.remote) {
            return self.answer(&header, post);
        }
        if header.remote_disposition() == Disposition::CopySend as u8
            && let Some(answered) = self.send(&header, post)?
        {
            if answered.code.plain() == Code::MACH_SEND_TIMED_OUT && self.want.options & Options::SEND_NOTIFY.bits() != 0 {
                self.plane.want_room(self.task, header.remote)?;
            }
            return Ok(answered);
        }
        self.send_through_kernel(post, 0, 0, 0)
    }

    /// A short message without rights.
    fn is_plain(&self, header: &Header, post: Post<'_>, room: usize) -> bool {
        !header.is_complex()
            && post.bytes.len() == post.send_size as usize
            && post.bytes.len() >= HEADER
            && post.bytes.len().is_multiple_of(4)
            && post.bytes.len() - HEADER <= room
            && header.voucher_disposition() == 0
    }

    /// What of the message goes over a link, in a payload of at most `room` bytes. `None`: the kernel process must have it.
    fn carry<'p>(&self, header: &Header, post: Post<'p>, room: usize) -> Option<Carry<'p>> {
        if self.is_plain(header, post, room) {
            return Some(Carry::Plain([&post.bytes[HEADER..], &[], &[]]));
        }
        self.plane.lend(self.task, header, post, room).map(|lending| Carry::Lent(Box::new(lending)))
    }

    /// The deadline of the send, if it has one.
    pub(super) fn send_until(&self) -> Until {
        if self.want.wait.timed & phase::SEND != 0 { self.until } else { None }
    }

    pub(super) fn receive_until(&self) -> Until {
        if self.want.flags & msg_flags::TRY_RECEIVE != 0 {
            return Some(Instant::now());
        }
        if self.want.wait.timed & phase::RECEIVE != 0 { self.until } else { None }
    }

    /// A send to a right. `None`: it has no route.
    pub(super) fn send(&self, header: &Header, post: Post<'_>) -> Result<Option<Answered<'t>>> {
        let (task, plane) = (self.task, self.plane);
        let no_reply = header.local_disposition() == 0 && header.local == Name::NULL;
        if self.is_own_call(header)
            && plane.is_reply_port(header.local)
            && let Some(mut carry) = self.carry(header, post, RECORD_MAX)
        {
            match plane.begin_call(task, header.remote, header.id, &mut carry, &Lazy::new(|| self.send_until()), self.want.patience())? {
                Ok(open) => return self.receive_answer(header.local, open, post).map(Some),
                Err(Sent::Over(code)) => return Ok(Some(Answered::just(code))),
                Err(_) => {}
            }
        }
        if let Some(mut carry) = self.carry(header, post, RECORD_MAX).filter(|_| self.want.call || no_reply) {
            if self.want.call {
                return match plane.begin_call(
                    task,
                    header.remote,
                    header.id,
                    &mut carry,
                    &Lazy::new(|| self.send_until()),
                    self.want.patience(),
                )? {
                    Ok(open) => self.finish_call(open, post).map(Some),
                    Err(Sent::Over(code)) => Ok(Some(Answered::just(code))),
                    Err(_) => self.send_ticket(header, post),
                };
            }
            return match plane.send(task, header.remote, header.id, &mut carry, &Lazy::new(|| self.send_until()), self.want.patience())? {
                Sent::Done => self.then_receive().map(Some),
                Sent::Over(code) => Ok(Some(Answered::just(code))),
                Sent::NoRoute => Ok(None),
                Sent::Doubt(doubt) => self.send_doubted(post, &doubt).map(Some),
            };
        }
        self.send_ticket(header, post)
    }

    /// A send-once right made from a port of the program's own, and a receive from it: a call.
    pub(super) fn is_own_call(&self, header: &Header) -> bool {
        header.local_disposition() == Disposition::MakeSendOnce as u8
            && self.receives()
            && !self.want.call
            && header.local == self.want.receive
    }

    /// The answer to a call with a reply port of the program's own, or whatever comes to that port before it.
    fn receive_answer(&self, port: Name, open: Open, post: Post<'_>) -> Result<Answered<'t>> {
        match self.plane.finish_soon(self.task, open, &Lazy::new(|| self.receive_until()))? {
            Ok(finished) => self.came_to(port, finished, post),
            Err(open) => {
                self.plane.add_pending(port, open, &post.bytes[..post.send_size as usize]);
                self.receive()
            }
        }
    }

    /// An answer as a message that came to this port.
    pub(super) fn came_to(&self, port: Name, finished: Finished, post: Post<'_>) -> Result<Answered<'t>> {
        let mut answered = self.finished(finished, post)?;
        match &mut answered.source {
            Source::Messages(messages, _) => messages.iter_mut().for_each(|message| message.set_port(port)),
            Source::Frames(frames) => frames.iter_mut().for_each(|frame| set_port(&mut frame.message, port)),
            Source::Lane(lane) => patch_frames(lane, |_, message, _| set_port(message, port)),
            Source::Nothing => {}
        }
        Ok(answered)
    }

    /// A message that may or may not have been taken before its route was closed.
    pub(super) fn send_doubted(&self, post: Post<'_>, doubt: &Doubt) -> Result<Answered<'t>> {
        let (route, number) = doubt.ticket();
        let answered = self.send_through_kernel(post, msg_flags::DOUBT, route, number)?;
        match answered.code.plain() {
            // It went while the port lived. Who received it may have been the one that let the port die.
            Code::MACH_SEND_INVALID_DEST => {
                drop(answered);
                return self.then_receive();
            }
            Code::MACH_SEND_IN_PROGRESS => {}
            _ => return Ok(answered),
        }
        // Another thread has applied the end of the route meanwhile, and the kernel process has let it go.
        drop(answered);
        self.plane.look(self.task)?;
        if doubt.is_done(self.plane) { self.then_receive() } else { self.send_through_kernel(post, 0, 0, 0) }
    }

    /// With rights, or too long for a record, or with a reply port of the program's own.
    fn send_ticket(&self, header: &Header, post: Post<'_>) -> Result<Option<Answered<'t>>> {
        let (task, plane) = (self.task, self.plane);
        let mut bytes = Vec::new();
        let (post, made) = self.explicit(post, &mut bytes)?;
        let ticketed =
            plane.send_ticket(task, header.remote, self.want.call, self.send_until(), self.want.patience(), |ticket, slot| {
                let needs_port = self.want.call && slot.is_none();
                let mut lane = task.lane(if needs_port { self.need(self.receive_until()) } else { Need::Prompt })?;
                let reply = if needs_port { reply_port(&mut lane, task)? } else { Name::NULL };
                let options = self.want.options & !Options::RCV.bits();
                let (receive, limit) = slot.map_or((Name::NULL, 0), |(slot, generation)| (Name(slot + 1), generation));
                let want = Exchange { limit, ..*self.want };
                Mixed { want: &want, ..*self }.write_post(&mut lane, post, options, msg_flags::TICKET, ticket, receive, reply);
                let code = lane.exchange(Wait::FOREVER, true)?.status;
                made.settle(code);
                Ok((code, (needs_port || !code.is_ok()).then_some(lane)))
            })?;
        if matches!(ticketed, Ticketed::Done(..)) {
            self.used(&made.known);
            self.learn_reply_port(header);
        }
        Ok(Some(match ticketed {
            Ticketed::NoRoute => return Ok(None),
            Ticketed::Over(code) => Answered::just(code),
            Ticketed::Refused(code, lane) => Answered { code, source: lane.map_or(Source::Nothing, Source::Lane) },
            Ticketed::Done(_, Some(open)) => return self.finish_call(open, post).map(Some),
            // No slot was free: its reply port is the lane's, which must be kept until the answer is there.
            Ticketed::Done(Some(lane), None) => return self.receive_reply(lane).map(Some),
            Ticketed::Done(None, None) => self.then_receive()?,
        }))
    }

    pub(super) fn finish_call(&self, open: Open, post: Post<'_>) -> Result<Answered<'t>> {
        let finished = self.plane.finish_call(self.task, open, &Lazy::new(|| self.receive_until()))?;
        self.finished(finished, post)
    }

    pub(super) fn finished(&self, finished: Finished, post: Post<'_>) -> Result<Answered<'t>> {
        Ok(match finished {
            Finished::Answered(message) => self.answered(SmallVec::from_iter([message])),
            Finished::Lent { id, answer, peer } => {
                let Answer { mut message, is_complex, annex, leases } = *answer;
                let bits = Header::make_bits(0, received::SEND_ONCE, is_complex);
                let header = Header { bits, size: message.len() as u32, id, ..Header::default() };
                message[..HEADER].copy_from_slice(&header.to_bytes());
                let trailer = self.trailer(peer);
                Answered::frame(Frame { status: Code::SUCCESS, message, trailer, annex, leases })
            }
            Finished::Dropped | Finished::Died => self.unanswered(),
            Finished::Late => Answered::just(Code::MACH_RCV_TIMED_OUT),
            Finished::NotTaken => {
                let answered = self.send_through_kernel(post, 0, 0, 0)?;
                // It had been sent; then its port died with it.
                if answered.code.plain() == Code::MACH_SEND_INVALID_DEST { self.unanswered() } else { answered }
            }
            Finished::Moved(port) => {
                let answered = self.receive_at(port, self.receive_until());
                self.plane.drop_port(self.task, port);
                answered?
            }
        })
    }

    /// What Mach sends in place of an answer.
    fn unanswered(&self) -> Answered<'t> {
        self.answered(SmallVec::from_iter([Received::no_answer(self.task)]))
    }

    fn trailer(&self, peer: Sender) -> SmallVec<[u8; 64]> {
        let request = TrailerRequest::from_options(self.want.options).unwrap_or(TrailerRequest::Null);
        let mut bytes = Vec::with_capacity(request.size());
        peer.trailer().write(request, &mut bytes);
        SmallVec::from_slice(&bytes)
    }

    /// Messages that came over links.
    fn answered(&self, messages: SmallVec<[Received; 1]>) -> Answered<'t> {
        let request = TrailerRequest::from_options(self.want.options).unwrap_or(TrailerRequest::Null);
        Answered { code: Code::SUCCESS, source: Source::Messages(messages, request) }
    }

    /// An answer to a call that came over a link.
    fn answer(&self, header: &Header, post: Post<'_>) -> Result<Answered<'t>> {
        let no_reply = header.local_disposition() == 0 && header.local == Name::NULL;
        if let Some(mut carry) = self.carry(header, post, SLOT_MAX).filter(|_| no_reply)
            && self.plane.reply_to(self.task, header.remote, header.id, &mut carry)
        {
            return self.then_receive();
        }
        // Or another thread has just made it known to the kernel process.
        self.send_through_kernel(post, 0, 0, 0)
    }

    /// The send is done; the receive, if there is one.
    fn then_receive(&self) -> Result<Answered<'t>> {
        if self.receives() { self.receive() } else { Ok(Answered::just(Code::SUCCESS)) }
    }

    pub(super) fn receive(&self) -> Result<Answered<'t>> {
        self.receive_at(self.want.receive, self.receive_until())
    }

    fn receive_at(&self, name: Name, until: Until) -> Result<Answered<'t>> {
        if TrailerRequest::from_options(self.want.options).is_none() {
            return Ok(Answered::just(Code::MACH_RCV_INVALID_TRAILER));
        }
        let mut waited = false;
        loop {
            let Some(place) = self.plane.place_of(name, self.want.from.filter(|_| name == self.want.receive)) else {
                match self.ask(name, 0, 0, until)? {
                    answered if answered.code.plain() == Code::MACH_RCV_IN_PROGRESS => {
                        drop(answered);
                        self.plane.look(self.task)?;
                        continue;
                    }
                    answered => return Ok(answered),
                }
            };
            let want = Want { name, options: self.want.options, limit: self.want.limit, count: self.want.count };
            match self.plane.receive(self.task, &place, &want, until)? {
                Came::Messages(messages) => return Ok(self.answered(messages)),
                Came::Frame(frame) => {
                    let mut answered = Answered::frame(frame);
                    if let Source::Frames(frames) = &mut answered.source {
                        while (frames.len() as u32) < self.want.count
                            && let Some(frame) = self.plane.take_plain(&place, &want)
                        {
                            frames.push(frame);
                        }
                    }
                    return Ok(answered);
                }
                Came::Finished(Finished::NotTaken, post) => {
                    // As it was to be sent, with its own reply port; the receive goes on here.
                    let post = Post { bytes: &post, send_size: post.len() as u32, rooms: &[] };
                    let send = Exchange { options: Options::SEND.bits(), post: Some(post), receive: Name::NULL, ..*self.want };
                    let answered = Mixed { want: &send, ..*self }.send_through_kernel(post, 0, 0, 0)?;
                    if !answered.code.is_ok() {
                        drop(answered);
                        return self.came_to(name, Finished::Died, post);
                    }
                }
                Came::Finished(finished, post) => {
                    let post = Post { bytes: &post, send_size: post.len() as u32, rooms: &[] };
                    return self.came_to(name, finished, post);
                }
                Came::Moved { place, name: moved, mail } => {
                    let mut answered = self.ask(moved, msg_flags::WATCH, 0, until)?;
                    match answered.code.plain() {
                        Code::MACH_RCV_IN_PROGRESS => self.plane.pending_asked(&place, moved, mail),
                        Code::MACH_RCV_IN_PROGRESS_TIMED => {}
                        // It stays there.
                        Code::MACH_RCV_TOO_LARGE if self.want.options & Options::RCV_LARGE.bits() != 0 => return Ok(answered),
                        _ => {
                            if let Source::Lane(lane) = &mut answered.source {
                                patch_frames(lane, |_, message, _| set_port(message, name));
                            }
                            self.plane.pending_came(self.task, &place, moved);
                            return Ok(answered);
                        }
                    }
                }
                Came::Late => return Ok(Answered::just(Code::MACH_RCV_TIMED_OUT)),
                Came::Interrupted => return Ok(Answered::just(Code::MACH_RCV_INTERRUPTED)),
                Came::Ticket(ticket) => {
                    if let Some(answered) = self.fetch(ticket)? {
                        return Ok(answered);
                    }
                }
                Came::Ask { place, mail, control } => {
                    let mut answered = self.ask(name, msg_flags::WATCH, control, until)?;
                    self.plane.asked(&place, answered.code, mail);
                    match answered.code.plain() {
                        Code::MACH_RCV_IN_PROGRESS | Code::MACH_RCV_IN_PROGRESS_TIMED => {}
                        // The port went away while this thread waited on it.
                        Code::MACH_RCV_INVALID_NAME if waited => return Ok(Answered::just(Code::MACH_RCV_PORT_CHANGED)),
                        _ => {
                            self.renumber(&mut answered)?;
                            return Ok(answered);
                        }
                    }
                    waited = true;
                }
            }
        }
    }

    /// A receive at the kernel process.
    fn ask(&self, name: Name, flags: u32, number: u32, until: Until) -> Result<Answered<'t>> {
        let mut lane = self.task.lane(if flags & msg_flags::WATCH != 0 { Need::Prompt } else { self.need(until) })?;
        let options = self.want.options & !Options::SEND.bits();
        let try_flag = if flags & msg_flags::WATCH == 0 { self.want.flags & msg_flags::TRY_RECEIVE } else { 0 };
        let (limit, count) = (self.want.limit, self.want.count);
        let flags = flags | try_flag;
        // Either is answered at once.
        let wait = if flags & (msg_flags::WATCH | msg_flags::TRY_RECEIVE) != 0 { Wait::FOREVER } else { self.wait_until(until) };
        lane.begin(&Msg { options, flags, receive: name, limit, route: 0, number, count, send_size: 0, annex: 0, tail: &[] });
        let code = lane.exchange(wait, true)?.status;
        Ok(Answered { code, source: Source::Lane(lane) })
    }

    /// Fetches messages whose tickets came. `None`: the first is not there any more.
    fn fetch(&self, mut ticket: Ticket) -> Result<Option<Answered<'t>>> {
        let asked = self.task.lane(Need::Prompt).and_then(|mut lane| {
            lane.begin(&Msg {
                options: self.want.options & !Options::SEND.bits(),
                flags: msg_flags::BY_TICKET,
                receive: ticket.port(),
                limit: self.want.limit,
                route: ticket.route(),
                number: ticket.number(),
                count: ticket.count(),
                send_size: 0,
                annex: 0,
                tail: &[],
            });
            let code = lane.exchange(Wait::FOREVER, true)?.status;
            Ok((code, lane))
        });
        let (code, mut lane) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                self.plane.not_fetched(ticket);
                return Err(error);
            }
        };
        if code.plain() == Code::MACH_RCV_TOO_LARGE && self.want.options & Options::RCV_LARGE.bits() != 0 {
            self.plane.not_fetched(ticket);
            return Ok(Some(Answered { code, source: Source::Lane(lane) }));
        }
        if matches!(code.plain(), Code::MACH_RCV_INVALID_DATA | Code::MACH_RCV_INVALID_NAME) {
            drop(lane);
            self.plane.not_there(self.task, &mut ticket, code);
            self.plane.not_fetched(ticket);
            return Ok(None);
        }
        patch_frames(&mut lane, |_, message, trailer| {
            let Some((reply, seqno)) = self.plane.fetched(&mut ticket) else { return };
            if let (Some(reply), Some(mut header)) = (reply, Header::read(message)) {
                header.bits |= received::SEND_ONCE as u32;
                header.remote = reply;
                message[..HEADER].copy_from_slice(&header.to_bytes());
            }
            set_seqno(trailer, seqno);
        });
        // There was no room for those in the answer, or one between them is not there any more.
        self.plane.not_fetched(ticket);
        Ok(Some(Answered { code, source: Source::Lane(lane) }))
    }

    /// Mail to ports whose messages this side counts gets their numbers.
    pub(super) fn renumber(&self, answered: &mut Answered<'_>) -> Result<()> {
        let Source::Lane(lane) = &mut answered.source else { return Ok(()) };
        patch_frames(lane, |row, message, trailer| {
            if row.options != 0 {
                self.plane.mail_received(row.options);
            }
            if let Some(header) = Header::read(message)
                && let Some(seqno) = self.plane.seqno_of_mail(header.local)
            {
                set_seqno(trailer, seqno);
            }
        });
        Ok(())
    }

    pub(super) fn need(&self, until: Until) -> Need {
        match until {
            Some(at) => match at.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Need::Prompt,
                left => Need::Blocking(Some(left)),
            },
            None => Need::Blocking(None),
        }
    }

    pub(super) fn wait_until(&self, until: Until) -> Wait {
        match until {
            Some(at) => Wait { timeout: Some(at.saturating_duration_since(Instant::now())), ..self.want.wait },
            None => Wait { timeout: None, timed: 0, ..self.want.wait },
        }
    }
}
