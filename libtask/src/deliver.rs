//! Typed messages: send, receive, call, serve. Each is one exchange ([`crate::exchange`]).
//!
//! What becomes of the rights in a message is decided here, by the code that comes back:
//!
//! | code | the message |
//! |---|---|
//! | success, or an error of the receive | sent: what it moved is no longer ours |
//! | an error in the header | untouched, given back |
//! | timed out or interrupted | comes back from the kernel with the same rights, some under new names |
//! | an error in the body | partly gone: see [`Message::lost`] |

use std::cell::Cell;
use std::time::{Duration, Instant};

use umach_abi::control::{PortDeallocate, PortGetRefs, msg_flags};
use umach_abi::limits::MESSAGE_MAX;
use umach_abi::message::{Descriptor, Header, Options, Place, TRAILER_MAX, TrailerRequest, descriptors};
use umach_abi::rights::received;
use umach_abi::{Code, Disposition, Name, RightKind};

use crate::direct::{Finished, Lazy, Open, Owed};
use crate::error::{Error, Result, RightLabel, SendError};
use crate::exchange::{
    self, Answered, Called, Either, Exchange, Post, after, answer_frames, call_plain, delivered, doubted, drop_reply_port, exchange,
    is_receive_error, receive_soon, send_plain,
};
use crate::frame::{RawFrame, array_names, take_attached};
use crate::message::{Message, Part, Reply};
use crate::receive::{Next, ReceiveRight};
use crate::received::{Answer, Received, ReplyRight};
use crate::region::{Memory, Region};
use crate::right::{Held, SendOnceRight, SendRight};
use crate::task::Task;
use crate::trace;
use crate::transport::{Lane, Wait};

thread_local! {
    /// Where this thread writes its messages; kept for its room.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Largest buffer that a thread keeps.
const SCRATCH_MAX: usize = 64 * 1024;

/// The message as bytes, while `f` needs them.
fn with_bytes<T>(task: &Task, message: &mut Message, dest: (Name, Disposition), f: impl FnOnce(Post<'_>) -> Result<T>) -> Result<T> {
    let mut bytes = SCRATCH.take();
    bytes.clear();
    let encoded = message.encode(task, dest, None, &mut bytes);
    let rooms = message.rooms();
    let result = encoded.and_then(|sizes| f(Post { bytes: &bytes, send_size: sizes.send_size, rooms: &rooms }));
    if bytes.capacity() <= SCRATCH_MAX {
        SCRATCH.set(bytes);
    }
    result
}

/// A receive of typed messages.
fn receiving(from: Name, count: u32, timeout: Option<Duration>) -> Exchange<'static> {
    Exchange {
        options: Options::RCV.bits() | TrailerRequest::Context.options(),
        flags: if timeout == Some(Duration::ZERO) { msg_flags::TRY_RECEIVE } else { 0 },
        post: None,
        call: false,
        receive: from,
        limit: (MESSAGE_MAX + TRAILER_MAX) as u32,
        count,
        wait: within(timeout),
        from: None,
    }
}

/// A try is answered at once, so there is no time to keep.
fn within(timeout: Option<Duration>) -> Wait {
    match timeout {
        None | Some(Duration::ZERO) => Wait::FOREVER,
        timeout => Wait::within(timeout),
    }
}

/// The messages that came.
fn each_received(answered: &mut Answered<'_>, task: &Task, mut take: impl FnMut(Received)) -> Result<()> {
    answered.each_typed(|message| {
        let frame = match message {
            Either::Typed(message) => {
                trace::received(&message);
                take(message);
                return Ok(());
            }
            Either::Raw(frame) => frame,
        };
        if frame.message.is_empty() {
            // Mach destroys a message whose header's rights find no room in the receiver's space.
            tracing::warn!(task = task.id(), code = ?frame.status, "a message was lost");
            return Ok(());
        }
        let message = Received::parse(task, frame)?;
        trace::received(&message);
        take(message);
        Ok(())
    })
}

fn first_received(answered: &mut Answered<'_>, task: &Task) -> Result<Received> {
    let mut first = None;
    each_received(answered, task, |received| first = Some(received))?;
    first.ok_or_else(|| Error::mach(Code::MACH_RCV_INVALID_DATA, "receiving: the answer has no message"))
}

#[inline]
pub(crate) fn send(held: &Held, disposition: Disposition, message: Message, timeout: Option<Duration>) -> Result<(), SendError> {
    send_staged(held, disposition, message, timeout).map_err(given_back)
}

/// What a failed send gives back is as it was before.
fn given_back(mut failed: SendError) -> SendError {
    failed.message.iter_mut().for_each(|message| message.unstage());
    failed
}

#[inline]
fn send_staged(held: &Held, disposition: Disposition, mut message: Message, timeout: Option<Duration>) -> Result<(), SendError> {
    const WHAT: &str = "sending";
    let task = held.task();
    let exchange_within = |timeout: Option<Duration>| Exchange {
        options: Options::SEND.bits(),
        flags: if timeout == Some(Duration::ZERO) { msg_flags::TRY_SEND } else { 0 },
        ..receiving(Name::NULL, 0, timeout)
    };
    let mut left = timeout;
    let mut doubt = None;
    if disposition == Disposition::CopySend
        && let Some(mut body) = message.plain(&mut [0; 4])
    {
        trace::sending(task, held.label(), &message);
        match send_plain(task, held.name(), message.id(), &mut body, timeout, exchange::patience(timeout)) {
            Ok(None) => {}
            Ok(Some(Err(unsure))) => doubt = Some(unsure),
            Ok(Some(Ok(code))) => {
                let error = |code| Error::Mach { code, what: WHAT, on: Some(held.label()) };
                return code.ok().map_err(|code| SendError { error: error(code), message: Some(Box::new(message)) });
            }
            Err(error) => return Err(not_sent(error, message)),
        }
    } else {
        left = match message.prepare(task, held.name()).and_then(|()| message.stage(task, held.name(), timeout)) {
            Ok(left) => left,
            Err(error) => return Err(SendError { error, message: Some(Box::new(message)) }),
        };
        trace::sending(task, held.label(), &message);
    }
    let answered = with_bytes(task, &mut message, (held.name(), disposition), |post| {
        let want = Exchange { post: Some(post), ..exchange_within(left) };
        match doubt {
            Some(doubt) => doubted(task, &want, post, &doubt),
            None => exchange(task, &want),
        }
    });
    match answered {
        Err(error) => Err(not_sent(error, message)),
        Ok(answered) if answered.code.is_ok() => {
            drop(answered);
            if disposition == Disposition::MoveSendOnce {
                held.forget();
            }
            message.sent();
            Ok(())
        }
        Ok(mut answered) => {
            let failed = send_failed(&mut answered, task, WHAT, held.label(), message);
            drop(answered);
            let (error, message) = failed;
            if message.is_none() && disposition == Disposition::MoveSendOnce {
                held.forget();
            }
            Err(SendError { error, message: message.map(Box::new) })
        }
    }
}

/// The request never reached the kernel, or nobody knows.
fn not_sent(error: Error, message: Message) -> SendError {
    match error {
        Error::KernelGone | Error::Io { .. } | Error::Protocol(_) => SendError { error, message: None },
        error => SendError { error, message: Some(Box::new(message)) },
    }
}

/// Sorts out what a failed send left: see the table above.
fn send_failed(answered: &mut Answered<'_>, task: &Task, what: &'static str, on: RightLabel, message: Message) -> (Error, Option<Message>) {
    let code = answered.code;
    let error = Error::Mach { code, what, on: Some(on) };
    let Some(lane) = answered.lane() else {
        // Nothing went out, and the kernel process has not seen it.
        return (error, Some(message));
    };
    let (message, whole) = match code.plain() {
        Code::MACH_SEND_TIMED_OUT | Code::MACH_SEND_INTERRUPTED => handed_back(lane, task, message),
        Code::MACH_SEND_INVALID_RIGHT | Code::MACH_SEND_INVALID_MEMORY | Code::MACH_SEND_INVALID_TYPE => (message, false),
        // In the body this comes from rights that could not be made; else it is the receiver's quota, and nothing was touched.
        Code::MACH_SEND_NO_BUFFER if message.makes_rights() => (message, false),
        _ => (message, true),
    };
    if whole {
        return (error, Some(message));
    }
    message.lost(|name| {
        let call = PortGetRefs { task: task.0.task_self, name, right: RightKind::Receive as u32 };
        matches!(lane.request(&call), Ok(Ok(answer)) if answer.refs == 1)
    });
    (error, None)
}

/// Rebuilds a message that the kernel gave back (Mach's pseudo-receive): the rights are the same, their names may not be. `false`: the answer
/// does not hold one, and the rights are lost.
fn handed_back(lane: &mut Lane, task: &Task, message: Message) -> (Message, bool) {
    let frame = answer_frames(lane).and_then(|mut frames| frames.next()).ok().flatten();
    let Some(frame) = frame else {
        return (message, false);
    };
    let Some(header) = Header::read(frame.message) else {
        return (message, false);
    };
    let RawFrame { message: bytes, annex, mut attached, .. } = frame;
    let (mut shell, parts, reply) = message.take_apart();
    let mut parts = parts.into_iter();
    for (_, descriptor) in descriptors(bytes) {
        let old = parts.next();
        shell = shell.part(match (descriptor, old) {
            (Ok(Descriptor::Port { name, disposition } | Descriptor::Guarded { name, disposition, .. }), old) => {
                old.iter().for_each(Part::sent);
                right_part(task, name, disposition)
            }
            (Ok(Descriptor::Ports { address, count, .. }), old) => {
                old.iter().for_each(Part::sent);
                let names = array_names(annex, address, count).unwrap_or_default();
                let rights = names.into_iter().filter(|name| name.is_valid()).map(|name| SendRight::adopt(task, name));
                Part::Rights { rights: rights.collect(), moved: false }
            }
            (Ok(Descriptor::Memory { address, .. }), Some(old @ Part::Loan(_))) => {
                // It was copied for the kernel process, and is as it was.
                if let Some(Place::Region(name)) = Place::from_raw(address) {
                    drop(SendRight::adopt(task, name));
                }
                old
            }
            (Ok(Descriptor::Memory { address, size, .. }), Some(old @ (Part::OwnRegion(_) | Part::LendRegion(_)))) => {
                match (Place::from_raw(address), old) {
                    // The region's right itself: as good as the one that was moved.
                    (Some(Place::Region(name)), old) => {
                        old.sent();
                        Part::OwnRegion(Region::adopt(SendRight::adopt(task, name), size as u64))
                    }
                    (_, Part::LendRegion(region)) => Part::LendRegion(region),
                    (Some(Place::Attached(n)), old) => {
                        old.sent();
                        let file = take_attached(&mut attached, n);
                        let memory = file.and_then(|file| Memory::from_sealed(&file, size as u64).ok());
                        Part::Bytes(memory.map(Memory::into_vec).unwrap_or_default())
                    }
                    (_, old) => old,
                }
            }
            (_, Some(old)) => old,
            (_, None) => Part::Empty(Name::NULL),
        });
    }
    // The header comes back unswapped. The destination is still the caller's own right, so this reference is one too many.
    if header.remote.is_valid() {
        let _ = lane.request(&PortDeallocate { task: task.0.task_self, name: header.remote });
    }
    if header.local.is_valid() {
        let right = match header.local_disposition() {
            received::SEND_ONCE => Reply::Once(SendOnceRight::adopt(task, header.local)),
            _ => Reply::Send { right: SendRight::adopt(task, header.local), moved: false },
        };
        if let Some(old) = reply {
            old.sent();
            shell.set_reply(right);
        } else {
            // A call's own: it goes with its reply port.
            right.sent();
        }
    }
    (shell, true)
}

fn right_part(task: &Task, name: Name, disposition: u8) -> Part {
    match (name.is_valid(), disposition) {
        (false, _) => Part::Empty(name),
        (_, received::RECEIVE) => Part::MoveReceive(ReceiveRight::adopt(task, name)),
        (_, received::SEND_ONCE) => Part::MoveSendOnce(SendOnceRight::adopt(task, name)),
        _ => Part::MoveSend { right: SendRight::adopt(task, name), moved: false },
    }
}

pub(crate) fn receive(held: &Held, timeout: Option<Duration>) -> Result<Received> {
    let task = held.task();
    if let Some(received) = receive_soon(held, timeout != Some(Duration::ZERO))? {
        trace::received(&received);
        return Ok(received);
    }
    let want = Exchange { from: Some(&held.shortcut), ..receiving(held.name(), 1, timeout) };
    let mut answered = exchange(task, &want)?;
    let received = match answered.code {
        code if delivered(code) => first_received(&mut answered, task),
        code => Err(Error::on(code, "receiving", held.kind(), held.name())),
    };
    finish(task, answered)?;
    received
}

/// What came up meanwhile is seen to before the program goes on: others may wait for that.
fn finish(task: &Task, answered: Answered<'_>) -> Result<()> {
    drop(answered);
    task.0.plane.look(task)
}

pub(crate) fn receive_batch(held: &Held, max: usize, timeout: Option<Duration>) -> Result<Vec<Received>> {
    let task = held.task();
    let max = max.min(u32::MAX as usize) as u32;
    let mut answered = exchange(task, &Exchange { from: Some(&held.shortcut), ..receiving(held.name(), max, timeout) })?;
    match answered.code {
        code if delivered(code) => {
            let mut received = answered.take_typed().unwrap_or_default();
            received.iter().for_each(trace::received);
            each_received(&mut answered, task, |message| received.push(message))?;
            finish(task, answered)?;
            Ok(received)
        }
        code => Err(Error::on(code, "receiving", held.kind(), held.name())),
    }
}

pub(crate) fn call(held: &Held, message: Message, timeout: Option<Duration>) -> Result<Received, SendError> {
    call_staged(held, message, timeout).map_err(given_back)
}

pub(crate) const CALLING: &str = "calling";

/// The exchange of a call, its message not yet given.
fn calling(timeout: Option<Duration>) -> Exchange<'static> {
    let receiving = receiving(Name::NULL, 1, timeout);
    let flags = if timeout == Some(Duration::ZERO) { msg_flags::TRY_SEND | msg_flags::TRY_RECEIVE } else { 0 };
    Exchange { options: receiving.options | Options::SEND.bits(), flags, call: true, ..receiving }
}

/// A call has its own place for the answer.
#[inline]
fn without_reply(held: &Held, message: Message) -> Result<Message, SendError> {
    if !message.has_reply() {
        return Ok(message);
    }
    let error = Error::on(Code::KERN_INVALID_ARGUMENT, "calling with a reply right of one's own", held.kind(), held.name());
    Err(SendError { error, message: Some(Box::new(message)) })
}

/// The request of a call that is answered at a port, which is made.
fn answered_at_port(task: &Task, message: Message) -> Result<(Message, ReceiveRight), SendError> {
    match task.new_port() {
        Ok(port) => Ok((message.reply_to(&port), port)),
        Err(error) => Err(SendError { error, message: Some(Box::new(message)) }),
    }
}

fn call_staged(held: &Held, message: Message, timeout: Option<Duration>) -> Result<Received, SendError> {
    let task = held.task();
    let mut message = without_reply(held, message)?;
    let mut left = timeout;
    let mut unfinished = None;
    if let Some(mut body) = message.plain(&mut [0; 4]) {
        trace::calling(task, held.label(), &message);
        match call_plain(task, held, message.id(), &mut body, timeout) {
            Ok(None) => {}
            Ok(Some(Called::Else(finished))) => unfinished = Some(finished),
            Ok(Some(Called::Answered(answer))) => return answered_plainly(task, answer),
            Ok(Some(Called::Code(code))) => {
                let error = Error::on(code, CALLING, held.kind(), held.name());
                // Sent, and no answer; or not sent at all.
                let message = if is_receive_error(code) { None } else { Some(Box::new(message)) };
                return Err(SendError { error, message });
            }
            Err(error) => return Err(not_sent(error, message)),
        }
    } else {
        left = match message.prepare(task, held.name()).and_then(|()| message.stage(task, held.name(), timeout)) {
            Ok(left) => left,
            Err(error) => return Err(SendError { error, message: Some(Box::new(message)) }),
        };
        trace::calling(task, held.label(), &message);
    }
    conclude_call(held, message, calling(left), unfinished)
}

fn answered_plainly(task: &Task, answer: Received) -> Result<Received, SendError> {
    trace::received(&answer);
    task.0.plane.look(task).map_err(|error| SendError { error, message: None })?;
    Ok(answer)
}

/// What a plain call over a link does not decide alone, or all of a call.
fn conclude_call(held: &Held, mut message: Message, want: Exchange<'_>, unfinished: Option<Finished>) -> Result<Received, SendError> {
    let task = held.task();
    let answered = with_bytes(task, &mut message, (held.name(), Disposition::CopySend), |post| {
        let want = Exchange { post: Some(post), ..want };
        match unfinished {
            Some(finished) => exchange::finish(task, &want, post, finished),
            None => exchange(task, &want),
        }
    });
    let mut answered = match answered {
        Ok(answered) => answered,
        Err(error) => return Err(not_sent(error, message)),
    };
    let code = answered.code;
    let gone = |error| SendError { error, message: None };
    if delivered(code) {
        let received = first_received(&mut answered, task);
        let finished = finish(task, answered);
        message.sent();
        finished.map_err(gone)?;
        let received = received.map_err(gone)?;
        if received.is_send_once_notification() {
            return Err(gone(Error::on(Code::MIG_SERVER_DIED, CALLING, held.kind(), held.name())));
        }
        return Ok(received);
    }
    if is_receive_error(code) {
        // Sent, and no answer: a late one must find nobody.
        if let Some(lane) = answered.lane() {
            drop_reply_port(lane, task);
        }
        drop(answered);
        message.sent();
        return Err(gone(Error::on(code, CALLING, held.kind(), held.name())));
    }
    let (error, message) = send_failed(&mut answered, task, CALLING, held.label(), message);
    if let Some(lane) = answered.lane()
        && (message.is_none() || error.is_timed_out() || code.plain() == Code::MACH_SEND_INTERRUPTED)
    {
        // The send-once right for the answer was made and is gone again, and the port may have been told so.
        drop_reply_port(lane, task);
    }
    drop(answered);
    Err(SendError { error, message: message.map(Box::new) })
}

/// A call that is on its way.
pub(crate) enum Begun {
    /// The answer comes in a slot. The message is kept, for its receiver may not take it.
    Slot(Open, Box<Message>),
    /// The answer comes to this port.
    Port(ReceiveRight),
    /// The request, with where to answer, is to be sent, or sent again: who was to take it did not.
    Again(Box<Message>, ReceiveRight),
    /// There was no room for the request.
    Full(Box<Message>),
}

/// What became of a call that was to start without waiting.
pub(crate) enum Started {
    /// It is on its way.
    Begun(Begun),
    /// There is no room for the request.
    Full(Message),
    /// The request is to be sent, with where to answer: then the answer comes there.
    Send(Message, ReceiveRight),
}

/// Starts a call without waiting for room. `ring`: wakes its receiver at once; else whoever finishes the call does.
pub(crate) fn start_call(held: &Held, message: Message, ring: bool) -> Result<Started, SendError> {
    let task = held.task();
    let message = without_reply(held, message)?;
    if let Some(mut body) = message.plain(&mut [0; 4]) {
        match exchange::begin_plain(
            task,
            held,
            message.id(),
            &mut body,
            &Lazy::new(|| after(Some(Duration::ZERO))),
            exchange::patience(Some(Duration::ZERO)),
        ) {
            Ok(None) => {}
            Ok(Some(Ok(open))) => {
                trace::calling(task, held.label(), &message);
                if ring {
                    task.0.plane.ring_for(task, &open);
                }
                return Ok(Started::Begun(Begun::Slot(open, Box::new(message))));
            }
            Ok(Some(Err(_))) => return Ok(Started::Full(message)),
            Err(error) => return Err(not_sent(error, message)),
        }
    }
    answered_at_port(task, message).map(|(message, port)| Started::Send(message, port))
}

/// Starts a call if there is room for its request. If there is none, whoever waits for the answer sends it.
pub(crate) fn begin_soon(held: &Held, message: Message) -> Result<Begun, SendError> {
    match start_call(held, message, true)? {
        Started::Begun(begun) => Ok(begun),
        Started::Full(message) => Ok(Begun::Full(Box::new(message))),
        Started::Send(message, port) => match send(held, Disposition::CopySend, message, Some(Duration::ZERO)) {
            Ok(()) => Ok(Begun::Port(port)),
            Err(SendError { error, message: Some(message) }) if error.is_timed_out() => Ok(Begun::Again(message, port)),
            Err(failed) => Err(failed),
        },
    }
}

/// What a look at a call found that is not over by that alone.
pub(crate) enum Course {
    Answered(Received),
    /// Its answer comes otherwise.
    Now(Begun),
}

/// A call in a slot has come to this; the slot is free again. Does not wait.
pub(crate) fn take_course(held: &Held, message: Message, finished: Finished) -> Result<Course> {
    let task = held.task();
    match finished {
        Finished::Answered(answer) => Ok(answered_plainly(task, answer).map(Course::Answered)?),
        Finished::Moved(name) => Ok(Course::Now(Begun::Port(ReceiveRight::adopt(task, name)))),
        Finished::NotTaken => {
            let (message, port) = answered_at_port(task, message)?;
            Ok(Course::Now(Begun::Again(Box::new(message), port)))
        }
        finished => Ok(conclude_call(held, message, calling(Some(Duration::ZERO)), Some(finished)).map(Course::Answered)?),
    }
}

/// What came to the port of a call.
pub(crate) fn answer_at_port(held: &Held, answer: Received) -> Result<Received> {
    if answer.is_send_once_notification() {
        return Err(Error::on(Code::MIG_SERVER_DIED, CALLING, held.kind(), held.name()));
    }
    Ok(answer)
}

pub(crate) fn begin_call(held: &Held, message: Message, timeout: Option<Duration>) -> Result<Begun, SendError> {
    let task = held.task();
    let message = without_reply(held, message)?;
    if let Some(mut body) = message.plain(&mut [0; 4]) {
        trace::calling(task, held.label(), &message);
        match exchange::begin_plain(task, held, message.id(), &mut body, &Lazy::new(|| after(timeout)), exchange::patience(timeout)) {
            Ok(None) => {}
            Ok(Some(Ok(open))) => {
                task.0.plane.ring_for(task, &open);
                return Ok(Begun::Slot(open, Box::new(message)));
            }
            Ok(Some(Err(code))) => {
                let error = Error::on(code, CALLING, held.kind(), held.name());
                return Err(SendError { error, message: Some(Box::new(message)) });
            }
            Err(error) => return Err(not_sent(error, message)),
        }
    }
    let (message, port) = answered_at_port(task, message)?;
    send(held, Disposition::CopySend, message, timeout).map(|()| Begun::Port(port))
}

pub(crate) fn finish_call(held: &Held, begun: Begun, timeout: Option<Duration>) -> Result<Received> {
    let task = held.task();
    let answered = match begun {
        Begun::Slot(open, message) => match exchange::finish_plain(task, open, &Lazy::new(|| after(timeout)))? {
            Called::Answered(answer) => answered_plainly(task, answer),
            Called::Code(code) => return Err(Error::on(code, CALLING, held.kind(), held.name())),
            Called::Else(finished) => conclude_call(held, *message, calling(timeout), Some(finished)),
        },
        Begun::Port(port) => return answer_at_port(held, receive(&port.held, timeout)?),
        Begun::Full(message) => return Ok(call(held, *message, timeout)?),
        Begun::Again(message, port) => {
            let until = after(timeout);
            send(held, Disposition::CopySend, *message, timeout)?;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            return answer_at_port(held, receive(&port.held, left)?);
        }
    };
    answered.map_err(|failed| failed.error)
}

/// Nobody wants the answer.
pub(crate) fn give_up_call(held: &Held, begun: &Begun) {
    if let Begun::Slot(open, _) = begun {
        held.task().0.plane.give_up_call(held.task(), open);
    }
}

pub(crate) fn serve<N: Into<Next>>(held: &Held, mut handler: impl FnMut(&mut Received) -> N) -> Result<()> {
    serve_by_value(held, |mut request| {
        let next = handler(&mut request).into();
        (request, next)
    })
}

/// The same with a handler that gives the request back.
#[inline]
pub(crate) fn serve_by_value(held: &Held, mut handler: impl FnMut(Received) -> (Received, Next)) -> Result<()> {
    let task = held.task();
    let mut answer: Option<(ReplyRight, Message)> = None;
    loop {
        let request = match answer.take() {
            Some((right, message)) => match reply_and_receive(held, right, message)? {
                Some(request) => request,
                None => continue,
            },
            None => receive(held, None)?,
        };
        let (mut request, next) = handler(request);
        match next {
            Next::Continue => {}
            Next::Stop => return Ok(()),
            Next::Reply(message) => answer = answer_or_keep(task, request.take_answer(), message),
            Next::ReplyAndStop(message) => {
                // The caller may have gone: its loss.
                let _ = request.reply(message);
                return Ok(());
            }
        }
    }
}

/// Answers at once where that is no request to the kernel process. Else the answer, ready to be sent.
fn answer_or_keep(task: &Task, answer: Answer, mut message: Message) -> Option<(ReplyRight, Message)> {
    if let Answer::Slot(owed) = &answer
        && let Some(mut body) = message.plain(&mut [0; 4])
    {
        trace::answering(task, &message);
        task.0.plane.reply(task, owed, message.id(), &mut body);
        return None;
    }
    let right = answer.into_right(task)?;
    match message.prepare(task, right.held().name()) {
        // What it lends is not to be held until the next request comes.
        Ok(()) if message.lends() => {
            if let Err(error) = right.send(message) {
                tracing::debug!(task = task.id(), %error, "an answer found nobody");
            }
            None
        }
        Ok(()) => Some((right, message)),
        // Its right goes unused, so the caller is told that there is no answer.
        Err(error) => {
            tracing::warn!(task = task.id(), %error, "an answer could not be made");
            None
        }
    }
}

/// Answers a call that came over a link.
pub(crate) fn reply(task: &Task, owed: Owed, message: Message) -> Result<(), SendError> {
    if let Some(mut body) = message.plain(&mut [0; 4]) {
        trace::answering(task, &message);
        task.0.plane.reply(task, &owed, message.id(), &mut body);
        return Ok(());
    }
    match Answer::Slot(owed).into_right(task) {
        Some(right) => right.send(message),
        None => Ok(()),
    }
}

/// Answers and receives in one request. `None`: the answer could not be delivered, and nothing was received.
fn reply_and_receive(held: &Held, right: ReplyRight, mut message: Message) -> Result<Option<Received>> {
    let task = held.task();
    let (reply_held, disposition) = match &right {
        ReplyRight::Once(right) => (&right.held, Disposition::MoveSendOnce),
        ReplyRight::Send(right) => (&right.held, Disposition::CopySend),
    };
    if let Err(error) = message.stage(task, reply_held.name(), Some(Duration::ZERO)) {
        tracing::warn!(task = task.id(), %error, "an answer's open file could not be sent");
        return Ok(None);
    }
    trace::sending(task, reply_held.label(), &message);
    let answered = with_bytes(task, &mut message, (reply_held.name(), disposition), |post| {
        let receiving = receiving(held.name(), 1, None);
        // A caller that does not read must not stop its server.
        let flags = msg_flags::TRY_SEND;
        let from = Some(&held.shortcut);
        exchange(task, &Exchange { options: receiving.options | Options::SEND.bits(), flags, post: Some(post), from, ..receiving })
    });
    let mut answered = match answered {
        Ok(answered) => answered,
        // The answer holds what is not this task's to send.
        Err(error @ Error::Mach { .. }) => {
            tracing::warn!(task = task.id(), %error, "an answer could not be sent");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let code = answered.code;
    if !code.is_ok() && !is_receive_error(code) {
        let (_, back) = send_failed(&mut answered, task, "answering", reply_held.label(), message);
        drop(answered);
        if back.is_none() && disposition == Disposition::MoveSendOnce {
            reply_held.forget();
        }
        return Ok(None);
    }
    let received =
        if delivered(code) { first_received(&mut answered, task) } else { Err(Error::on(code, "receiving", held.kind(), held.name())) };
    finish(task, answered)?;
    if disposition == Disposition::MoveSendOnce {
        reply_held.forget();
    }
    message.sent();
    received.map(Some)
}
