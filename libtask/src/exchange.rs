//! One Mach message exchange (a send, a receive, or both) on whichever plane it belongs.
//!
//! Above this module a message is the bytes of [`umach_abi::message`] and a right is a name; below it are the lanes of the kernel process and the
//! links of the direct plane. The kernel process could serve every exchange. What goes over a link:
//!
//! | | over a link if |
//! |---|---|
//! | a send | the destination is copied from a send right with a live route. Plain and short: into the ring; memory and long bodies are lent. With rights the kernel process takes it with a ticket |
//! | a call | the same, with a reply port made for it |
//! | an answer | the send-once right stands for a slot of the caller's, and the answer has no rights |
//! | a receive | the port, or a member of the set, has or had routes: looks at both planes |

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use umach_abi::control::{Msg, PortAllocate, PortModRefs, answer, msg_flags};
use umach_abi::link::{RECORD_MAX, SLOT_MAX};
use umach_abi::message::{Descriptor, HEADER, Header, Options, Place, TrailerRequest, descriptors};
use umach_abi::records::Frame as FrameRow;
use umach_abi::rights::received;
use umach_abi::{Code, Disposition, Name, RightKind};

use crate::direct::{
    Answer, Came, Carry, Doubt, Finished, ForKernel, Frame, Lazy, Open, Plane, Room, Sent, Shortcut, Ticket, Ticketed, Until, Want,
};
use crate::error::{Error, Result};
use crate::received::{Frames, RawFrame, Received, Sender};
use crate::right::Held;
use crate::task::Task;
use crate::transport::pool::{Loan, Need};
use crate::transport::{Lane, Wait};

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Post<'m> {
    /// The Mach message, then its annex.
    pub(crate) bytes: &'m [u8],
    /// How many of them are the message.
    pub(crate) send_size: u32,
    /// What memory at [`umach_abi::message::Place::Lease`] is.
    pub(crate) rooms: &'m [Arc<Room>],
}

/// An exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange<'m> {
    /// `mach_msg` options, trailer request included.
    pub(crate) options: u32,
    /// [`msg_flags::TRY_SEND`], [`msg_flags::TRY_RECEIVE`].
    pub(crate) flags: u32,
    pub(crate) post: Option<Post<'m>>,
    /// The answer comes to a reply port of this library's; the header's reply name is left null.
    pub(crate) call: bool,
    pub(crate) receive: Name,
    pub(crate) limit: u32,
    pub(crate) count: u32,
    pub(crate) wait: Wait,
    /// What the handle of `receive` remembers.
    pub(crate) from: Option<&'m Shortcut>,
}

/// How it ended, with what came.
pub(crate) struct Answered<'t> {
    pub(crate) code: Code,
    source: Source<'t>,
}

#[allow(clippy::large_enum_variant)] // the large one is the common one, and it is not stored anywhere
enum Source<'t> {
    Nothing,
    /// In the answer that the lane read last.
    Lane(Loan<'t>),
    Frames(SmallVec<[Frame; 1]>),
    /// Messages that came over links, and as much of a trailer as was asked for.
    Messages(SmallVec<[Received; 1]>, TrailerRequest),
}

impl Answered<'_> {
    fn just(code: Code) -> Answered<'static> {
        Answered { code, source: Source::Nothing }
    }
    fn frame(frame: Frame) -> Answered<'static> {
        Answered { code: frame.status, source: Source::Frames(SmallVec::from_iter([frame])) }
    }
    /// Whether messages may have come along.
    pub(crate) fn has_messages(&self) -> bool {
        !matches!(self.source, Source::Nothing)
    }
    /// Each message that came, in order: as a typed value if it is one already, else as bytes.
    pub(crate) fn each_typed(&mut self, mut take: impl FnMut(Either<Received, RawFrame<'_>>) -> Result<()>) -> Result<()> {
        match &mut self.source {
            Source::Messages(messages, _) => messages.drain(..).try_for_each(|message| take(Either::Typed(message))),
            _ => self.each(|frame| take(Either::Raw(frame))),
        }
    }
    /// All messages that came, if they are typed values already.
    pub(crate) fn take_typed(&mut self) -> Option<Vec<Received>> {
        match &mut self.source {
            Source::Messages(messages, _) => Some(std::mem::take(messages).into_vec()),
            _ => None,
        }
    }
    /// Each message that came as bytes, in order.
    pub(crate) fn each(&mut self, mut take: impl FnMut(RawFrame<'_>) -> Result<()>) -> Result<()> {
        match &mut self.source {
            Source::Nothing => Ok(()),
            Source::Lane(lane) => {
                let mut frames = answer_frames(lane)?;
                while let Some(frame) = frames.next()? {
                    take(frame)?;
                }
                Ok(())
            }
            Source::Messages(messages, request) => messages.drain(..).try_for_each(|message| {
                let (message, trailer) = message.into_bytes(*request);
                let (attached, leases) = (Vec::new(), Vec::new());
                take(RawFrame { status: Code::SUCCESS, message: &message, trailer: &trailer, annex: &[], attached, leases })
            }),
            Source::Frames(frames) => frames.iter_mut().try_for_each(|frame| {
                let leases = std::mem::take(&mut frame.leases);
                let Frame { status, message, trailer, annex, .. } = frame;
                take(RawFrame { status: *status, message, trailer, annex, attached: Vec::new(), leases })
            }),
        }
    }
    /// A lane for what is left to do, if the exchange took one.
    pub(crate) fn lane(&mut self) -> Option<&mut Lane> {
        match &mut self.source {
            Source::Lane(lane) => Some(lane),
            _ => None,
        }
    }
}

/// A message in one of two forms.
pub(crate) enum Either<T, R> {
    Typed(T),
    Raw(R),
}

pub(crate) fn answer_frames(lane: &mut Lane) -> Result<Frames<'_>> {
    let attached = std::mem::take(&mut lane.attached);
    let tail = <answer::Msg<'_> as umach_abi::control::Reply<'_>>::take(lane.fields()).map_err(Error::Protocol)?.frames;
    Ok(Frames::new(tail, attached))
}

/// A receive that delivered a message, if with some slots empty.
pub(crate) fn delivered(code: Code) -> bool {
    code.is_ok() || code.plain() == Code::MACH_RCV_BODY_ERROR
}

pub(crate) fn is_receive_error(code: Code) -> bool {
    code.0 >> 28 == 1 && code.0 & 0x4000 != 0
}

/// Does it.
pub(crate) fn exchange<'t>(task: &'t Task, want: &Exchange<'_>) -> Result<Answered<'t>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    plane.look(task)?;
    if !plane.is_active() {
        return Mixed { task, plane, want, until: None }.through_kernel(want, want.receive);
    }
    Mixed::new(task, want).run()
}

/// Sends a plain message over a link, if its destination has a route. `None`: by [`exchange`], and nothing has happened. A message about which there is
/// [`Doubt`] has to go by [`doubted`].
pub(crate) fn send_plain(
    task: &Task,
    name: Name,
    id: i32,
    body: &mut Carry<'_>,
    timeout: Option<Duration>,
) -> Result<Option<Result<Code, Doubt>>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    if !plane.is_active() {
        return Ok(None);
    }
    Ok(match plane.send(task, name, id, body, &Lazy::new(|| after(timeout)), timeout != Some(Duration::ZERO))? {
        Sent::Done => Some(Ok(Code::SUCCESS)),
        Sent::Late => Some(Ok(Code::MACH_SEND_TIMED_OUT)),
        Sent::NoRoute => None,
        Sent::Doubt(doubt) => Some(Err(doubt)),
    })
}

/// A message that is there, or comes at once, over a link. `None`: by [`exchange`], and nothing has happened.
#[inline]
pub(crate) fn receive_soon(held: &Held, wait: bool) -> Result<Option<Received>> {
    let task = held.task();
    task.check_fork()?;
    let plane = &task.0.plane;
    if !plane.is_active() {
        return Ok(None);
    }
    plane.receive_soon(task, &held.shortcut, wait)
}

/// The same for a bare name, in as much room as `want` says.
#[inline]
pub(crate) fn receive_soon_by_name(task: &Task, want: &Want, wait: bool) -> Result<Option<Received>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    match plane.place(want.name) {
        Some(place) => plane.receive_soon_at(task, &place, want, wait),
        None => Ok(None),
    }
}

/// What became of [`call_plain`].
pub(crate) enum Called {
    Answered(Received),
    Code(Code),
    /// To be finished by [`finish`].
    Else(Finished),
}

/// Calls with a plain message over a link, if its destination has a route. `None`: by [`exchange`], and nothing has happened.
#[inline]
pub(crate) fn call_plain(task: &Task, held: &Held, id: i32, body: &mut Carry<'_>, timeout: Option<Duration>) -> Result<Option<Called>> {
    let until = Lazy::new(|| after(timeout));
    match begin_plain(task, held, id, body, &until, timeout != Some(Duration::ZERO))? {
        None => Ok(None),
        Some(Ok(open)) => finish_plain(task, open, &until).map(Some),
        Some(Err(code)) => Ok(Some(Called::Code(code))),
    }
}

/// The first half of it: the request is on its way, or it was too late.
#[inline]
pub(crate) fn begin_plain(
    task: &Task,
    held: &Held,
    id: i32,
    body: &mut Carry<'_>,
    until: &Lazy<impl FnOnce() -> Until>,
    patient: bool,
) -> Result<Option<Result<Open, Code>>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    if !plane.is_active() {
        return Ok(None);
    }
    Ok(match plane.begin_call(task, held.name(), id, body, until, patient)? {
        Ok(open) => Some(Ok(open)),
        Err(Sent::Late) => Some(Err(Code::MACH_SEND_TIMED_OUT)),
        Err(_) => None,
    })
}

/// The second half: waits for the answer.
#[inline]
pub(crate) fn finish_plain(task: &Task, open: Open, until: &Lazy<impl FnOnce() -> Until>) -> Result<Called> {
    Ok(match task.0.plane.finish_call(task, open, until)? {
        Finished::Answered(message) => Called::Answered(message),
        Finished::Late => Called::Code(Code::MACH_RCV_TIMED_OUT),
        other => Called::Else(other),
    })
}

/// Answers a call that came over a link with a plain message. False: by [`exchange`], and nothing has happened.
#[inline]
pub(crate) fn answer_plain(task: &Task, name: Name, id: i32, body: &[u8]) -> Result<bool> {
    task.check_fork()?;
    let plane = &task.0.plane;
    Ok(plane.is_active() && body.len() <= SLOT_MAX && plane.reply_to(task, name, id, &mut Carry::Plain([body, &[], &[]])))
}

/// What became of [`call_own`].
#[allow(clippy::large_enum_variant)] // it is not stored anywhere
pub(crate) enum OwnCall<'t> {
    /// It came to the reply port.
    Answered(Received),
    /// Another end, or the answer came another way.
    Else(Answered<'t>),
}

/// Calls with a plain message and a reply port of the program's own, which `want` receives from. `None`: by [`exchange`], and nothing has happened.
#[inline]
pub(crate) fn call_own<'t>(task: &'t Task, want: &Exchange<'_>, header: &Header, post: Post<'_>) -> Result<Option<OwnCall<'t>>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    if !plane.is_active() || !plane.is_reply_port(header.local) {
        return Ok(None);
    }
    let mixed = Mixed::new(task, want);
    let mut carry = Carry::Plain([&post.bytes[HEADER..], &[], &[]]);
    let begun = plane.begin_call(task, header.remote, header.id, &mut carry, &Lazy::new(|| mixed.send_until()), mixed.patient())?;
    let open = match begun {
        Ok(open) => open,
        Err(Sent::Late) => return Ok(Some(OwnCall::Else(Answered::just(Code::MACH_SEND_TIMED_OUT)))),
        Err(_) => return Ok(None),
    };
    Ok(Some(match plane.finish_soon(task, open, &Lazy::new(|| mixed.receive_until()))? {
        Ok(Finished::Answered(message)) => OwnCall::Answered(message),
        Ok(finished) => OwnCall::Else(mixed.came_to(header.local, finished, post)?),
        Err(open) => {
            plane.add_pending(header.local, open, &post.bytes[..post.send_size as usize]);
            OwnCall::Else(mixed.receive()?)
        }
    }))
}

/// Finishes what [`send_plain`] left in doubt.
pub(crate) fn doubted<'t>(task: &'t Task, want: &Exchange<'_>, post: Post<'_>, doubt: &Doubt) -> Result<Answered<'t>> {
    Mixed::new(task, want).send_doubted(post, doubt)
}

/// Finishes what [`call_plain`] left.
pub(crate) fn finish<'t>(task: &'t Task, want: &Exchange<'_>, post: Post<'_>, finished: Finished) -> Result<Answered<'t>> {
    Mixed::new(task, want).finished(finished, post)
}

/// So late from now.
pub(crate) fn after(timeout: Option<Duration>) -> Until {
    timeout.map(|timeout| Instant::now() + timeout)
}

/// When all of it must have ended.
fn until(want: &Exchange<'_>) -> Until {
    want.wait.timeout.filter(|_| want.wait.timed != 0).map(|timeout| Instant::now() + timeout)
}

/// An exchange of a task that has links.
struct Mixed<'t, 'm> {
    task: &'t Task,
    plane: &'t Plane,
    want: &'m Exchange<'m>,
    until: Until,
}

impl<'t, 'm> Mixed<'t, 'm> {
    fn new(task: &'t Task, want: &'m Exchange<'m>) -> Mixed<'t, 'm> {
        Mixed { task, plane: &task.0.plane, want, until: until(want) }
    }

    fn receives(&self) -> bool {
        self.want.options & Options::RCV.bits() != 0
    }

    fn run(&self) -> Result<Answered<'t>> {
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

    fn patient(&self) -> bool {
        self.want.flags & msg_flags::TRY_SEND == 0
    }

    /// The deadline of the send, if it has one.
    fn send_until(&self) -> Until {
        if self.want.wait.timed & umach_abi::control::phase::SEND != 0 { self.until } else { None }
    }

    fn receive_until(&self) -> Until {
        if self.want.flags & msg_flags::TRY_RECEIVE != 0 {
            return Some(Instant::now());
        }
        if self.want.wait.timed & umach_abi::control::phase::RECEIVE != 0 { self.until } else { None }
    }

    /// A send to a right. `None`: it has no route.
    fn send(&self, header: &Header, post: Post<'_>) -> Result<Option<Answered<'t>>> {
        let (task, plane) = (self.task, self.plane);
        let no_reply = header.local_disposition() == 0 && header.local == Name::NULL;
        if self.is_own_call(header)
            && plane.is_reply_port(header.local)
            && let Some(mut carry) = self.carry(header, post, RECORD_MAX)
        {
            match plane.begin_call(task, header.remote, header.id, &mut carry, &Lazy::new(|| self.send_until()), self.patient())? {
                Ok(open) => return self.receive_answer(header.local, open, post).map(Some),
                Err(Sent::Late) => return Ok(Some(Answered::just(Code::MACH_SEND_TIMED_OUT))),
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
                    self.patient(),
                )? {
                    Ok(open) => self.finish_call(open, post).map(Some),
                    Err(Sent::Late) => Ok(Some(Answered::just(Code::MACH_SEND_TIMED_OUT))),
                    Err(_) => self.send_ticket(header, post),
                };
            }
            return match plane.send(task, header.remote, header.id, &mut carry, &Lazy::new(|| self.send_until()), self.patient())? {
                Sent::Done => self.then_receive().map(Some),
                Sent::Late => Ok(Some(Answered::just(Code::MACH_SEND_TIMED_OUT))),
                Sent::NoRoute => Ok(None),
                Sent::Doubt(doubt) => self.send_doubted(post, &doubt).map(Some),
            };
        }
        self.send_ticket(header, post)
    }

    /// A send-once right made from a port of the program's own, and a receive from it: a call.
    fn is_own_call(&self, header: &Header) -> bool {
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
    fn came_to(&self, port: Name, finished: Finished, post: Post<'_>) -> Result<Answered<'t>> {
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
    fn send_doubted(&self, post: Post<'_>, doubt: &Doubt) -> Result<Answered<'t>> {
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
        let ticketed = plane.send_ticket(task, header.remote, self.want.call, self.send_until(), self.patient(), |ticket, slot| {
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
            Ticketed::Late => Answered::just(Code::MACH_SEND_TIMED_OUT),
            Ticketed::Refused(code, lane) => Answered { code, source: lane.map_or(Source::Nothing, Source::Lane) },
            Ticketed::Done(_, Some(open)) => return self.finish_call(open, post).map(Some),
            // No slot was free: its reply port is the lane's, which must be kept until the answer is there.
            Ticketed::Done(Some(lane), None) => return self.receive_reply(lane).map(Some),
            Ticketed::Done(None, None) => self.then_receive()?,
        }))
    }

    fn finish_call(&self, open: Open, post: Post<'_>) -> Result<Answered<'t>> {
        let finished = self.plane.finish_call(self.task, open, &Lazy::new(|| self.receive_until()))?;
        self.finished(finished, post)
    }

    fn finished(&self, finished: Finished, post: Post<'_>) -> Result<Answered<'t>> {
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
        if let Some(mut carry) = self.carry(header, post, SLOT_MAX).filter(|_| no_reply) {
            self.plane.reply_to(self.task, header.remote, header.id, &mut carry);
            return self.then_receive();
        }
        self.send_through_kernel(post, 0, 0, 0)
    }

    /// The send is done; the receive, if there is one.
    fn then_receive(&self) -> Result<Answered<'t>> {
        if self.receives() { self.receive() } else { Ok(Answered::just(Code::SUCCESS)) }
    }

    fn receive(&self) -> Result<Answered<'t>> {
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
    fn renumber(&self, answered: &mut Answered<'_>) -> Result<()> {
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

    fn need(&self, until: Until) -> Need {
        match until {
            Some(at) => match at.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Need::Prompt,
                left => Need::Blocking(Some(left)),
            },
            None => Need::Blocking(None),
        }
    }

    fn wait_until(&self, until: Until) -> Wait {
        match until {
            Some(at) => Wait { timeout: Some(at.saturating_duration_since(Instant::now())), ..self.want.wait },
            None => Wait { timeout: None, timed: 0, ..self.want.wait },
        }
    }

    /// A send through the kernel process, with the receive if there is one and it belongs there.
    fn send_through_kernel(&self, post: Post<'_>, flags: u32, route: u64, number: u32) -> Result<Answered<'t>> {
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
    fn receive_reply(&self, mut lane: Loan<'t>) -> Result<Answered<'t>> {
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
    fn explicit<'b>(&self, post: Post<'b>, bytes: &'b mut Vec<u8>) -> Result<(Post<'b>, Made)> {
        let message = &post.bytes[..post.send_size as usize];
        let mut before = SmallVec::new();
        let Some(mut header) = Header::read(message) else { return Ok((post, Made::default())) };
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
    fn learn_reply_port(&self, header: &Header) {
        if self.is_own_call(header) {
            self.plane.know_reply_port(header.local);
        }
    }

    /// These rights are no longer this task's.
    fn used(&self, names: &[Name]) {
        for &name in names {
            self.plane.forget_reply(name);
        }
    }

    /// An exchange that concerns the kernel process alone.
    fn through_kernel(&self, want: &Exchange<'_>, receive: Name) -> Result<Answered<'t>> {
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
    fn write_post(&self, lane: &mut Lane, post: Post<'_>, options: u32, flags: u32, ticket: (u64, u32), receive: Name, reply: Name) {
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
struct Made {
    /// What rights were called that it knows by other names now.
    known: SmallVec<[Name; 1]>,
    copied: ForKernel,
}

impl Made {
    /// The kernel process has answered: regions that went with the message, or came back with it under names of their own, are not released here.
    fn settle(&self, code: Code) {
        let came_back = matches!(code.plain(), Code::MACH_SEND_TIMED_OUT | Code::MACH_SEND_INTERRUPTED);
        if code.is_ok() || is_receive_error(code) || came_back {
            self.copied.sent();
        }
    }
}

/// The lane's own reply port.
fn reply_port(lane: &mut Lane, task: &Task) -> Result<Name> {
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

fn set_port(message: &mut [u8], port: Name) {
    if let Some(mut header) = Header::read(message) {
        header.local = port;
        message[..HEADER].copy_from_slice(&header.to_bytes());
    }
}

fn set_seqno(trailer: &mut [u8], seqno: u32) {
    if let Some(place) = trailer.get_mut(8..12) {
        place.copy_from_slice(&seqno.to_le_bytes());
    }
}

/// Goes over the messages of the answer that the lane read last.
fn patch_frames(lane: &mut Lane, mut patch: impl FnMut(&FrameRow, &mut [u8], &mut [u8])) {
    let mut rest = lane.fields_mut();
    while let Some(row) = FrameRow::read(rest) {
        let (size, trailer, annex) = (row.size as usize, row.trailer as usize, row.annex as usize);
        let whole = FrameRow::SIZE + size + trailer + annex;
        if rest.len() < whole {
            return;
        }
        let (frame, next) = rest.split_at_mut(whole);
        let (message, tail) = frame[FrameRow::SIZE..].split_at_mut(size);
        patch(&row, message, &mut tail[..trailer]);
        rest = next;
    }
}
