//! Messages over a lane: send, receive, call, serve. Each is one request.
//!
//! What becomes of the rights in a message is decided here, by the code that comes back:
//!
//! | code | the message |
//! |---|---|
//! | success, or an error of the receive | sent: what it moved is no longer ours |
//! | an error in the header | untouched, given back |
//! | timed out or interrupted | comes back from the kernel with the same rights, some under new names |
//! | an error in the body | partly gone: see [`Message::lost`] |

use std::time::Duration;

use umach_abi::control::{self, Msg, PortAllocate, PortDeallocate, PortGetRefs, PortModRefs, answer, msg_flags};
use umach_abi::limits::MESSAGE_MAX;
use umach_abi::message::{Descriptor, Header, Options, Place, TRAILER_MAX, TrailerRequest, descriptors};
use umach_abi::rights::received;
use umach_abi::{Code, Disposition, Name, RightKind};

use crate::error::{Error, Result, RightLabel, SendError};
use crate::message::{Message, Part, Reply};
use crate::receive::{Next, ReceiveRight};
use crate::received::{Frames, RawFrame, Received, ReplyRight, array_names, take_attached};
use crate::region::{Memory, Region};
use crate::right::{Held, SendOnceRight, SendRight};
use crate::task::Task;
use crate::trace;
use crate::transport::pool::Need;
use crate::transport::{Lane, Wait};

/// Offset of `send_size` in a `Msg` packet; `annex` follows it.
const SEND_SIZE_AT: usize = umach_abi::control::HEAD + 32;

struct Sending<'m> {
    message: &'m mut Message,
    dest: (Name, Disposition),
    reply: Option<(Name, Disposition)>,
}

struct Receiving {
    from: Name,
    count: u32,
}

fn need(timeout: Option<Duration>) -> Need {
    match timeout {
        Some(Duration::ZERO) => Need::Prompt,
        other => Need::Blocking(other),
    }
}

/// One `Msg`. The answer's frames stay in the lane.
fn message_request(
    lane: &mut Lane,
    task: &Task,
    sending: Option<Sending<'_>>,
    receiving: Option<Receiving>,
    flags: u32,
    timeout: Option<Duration>,
) -> Result<Code> {
    let mut options = Options::empty();
    options.set(Options::SEND, sending.is_some());
    options.set(Options::RCV, receiving.is_some());
    let (receive, count) = receiving.as_ref().map_or((Name::NULL, 0), |receiving| (receiving.from, receiving.count));
    let options = options.bits() | if receiving.is_some() { TrailerRequest::Context.options() } else { 0 };
    let flags = flags | if timeout == Some(Duration::ZERO) { msg_flags::TRY_SEND | msg_flags::TRY_RECEIVE } else { 0 };
    let limit = (MESSAGE_MAX + TRAILER_MAX) as u32;
    let packet = lane.begin(&Msg { options, flags, receive, limit, route: 0, number: 0, count, send_size: 0, annex: 0, tail: &[] });
    if let Some(sending) = sending {
        let sizes = sending.message.encode(task, sending.dest, sending.reply, packet)?;
        packet[SEND_SIZE_AT..SEND_SIZE_AT + 4].copy_from_slice(&sizes.send_size.to_le_bytes());
        packet[SEND_SIZE_AT + 4..SEND_SIZE_AT + 8].copy_from_slice(&sizes.annex.to_le_bytes());
    }
    let wait = Wait::within(timeout.filter(|timeout| !timeout.is_zero()));
    Ok(lane.exchange(wait, true)?.status)
}

/// The messages of the answer last read, one after the other.
fn each_received(lane: &mut Lane, task: &Task, mut take: impl FnMut(Received)) -> Result<()> {
    let mut frames = answer_frames(lane)?;
    while let Some(frame) = frames.next()? {
        if frame.message.is_empty() {
            // Mach destroys a message whose header's rights find no room in the receiver's space.
            tracing::warn!(task = task.id(), code = ?frame.status, "a message was lost");
            continue;
        }
        let message = Received::parse(task, frame)?;
        trace::received(&message);
        take(message);
    }
    Ok(())
}

fn first_received(lane: &mut Lane, task: &Task) -> Result<Received> {
    let mut first = None;
    each_received(lane, task, |received| first = Some(received))?;
    first.ok_or_else(|| Error::mach(Code::MACH_RCV_INVALID_DATA, "receiving: the answer has no message"))
}

/// A receive that delivered a message, if with some slots empty.
fn delivered(code: Code) -> bool {
    code.is_ok() || code.plain() == Code::MACH_RCV_BODY_ERROR
}

fn is_receive_error(code: Code) -> bool {
    code.0 >> 28 == 1 && code.0 & 0x4000 != 0
}

pub(crate) fn send(held: &Held, disposition: Disposition, mut message: Message, timeout: Option<Duration>) -> Result<(), SendError> {
    const WHAT: &str = "sending";
    let task = held.task();
    let intact = |error, message| Err(SendError { error, message: Some(Box::new(message)) });
    if let Err(error) = message.prepare(task) {
        return intact(error, message);
    }
    let mut lane = match task.lane(need(timeout)) {
        Ok(lane) => lane,
        Err(error) => return intact(error, message),
    };
    trace::sending(task, held.label(), &message);
    let sending = Sending { message: &mut message, dest: (held.name(), disposition), reply: None };
    match message_request(&mut lane, task, Some(sending), None, 0, timeout) {
        Err(error) => Err(not_sent(error, message)),
        Ok(code) if code.is_ok() => {
            drop(lane);
            if disposition == Disposition::MoveSendOnce {
                held.forget();
            }
            message.sent();
            Ok(())
        }
        Ok(code) => {
            let failed = send_failed(&mut lane, task, code, WHAT, held.label(), message);
            drop(lane);
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
fn send_failed(lane: &mut Lane, task: &Task, code: Code, what: &'static str, on: RightLabel, message: Message) -> (Error, Option<Message>) {
    let error = Error::Mach { code, what, on: Some(on) };
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
        shell.parts.push(match (descriptor, old) {
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
            shell.reply = Some(right);
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

fn answer_frames(lane: &mut Lane) -> Result<Frames<'_>> {
    let attached = std::mem::take(&mut lane.attached);
    let tail = <answer::Msg<'_> as control::Reply<'_>>::take(lane.fields()).map_err(Error::Protocol)?.frames;
    Ok(Frames::new(tail, attached))
}

pub(crate) fn receive(held: &Held, timeout: Option<Duration>) -> Result<Received> {
    let task = held.task();
    let mut lane = task.lane(need(timeout))?;
    match message_request(&mut lane, task, None, Some(Receiving { from: held.name(), count: 1 }), 0, timeout)? {
        code if delivered(code) => first_received(&mut lane, task),
        code => Err(Error::on(code, "receiving", held.kind(), held.name())),
    }
}

pub(crate) fn receive_batch(held: &Held, max: usize, timeout: Option<Duration>) -> Result<Vec<Received>> {
    let task = held.task();
    let mut lane = task.lane(need(timeout))?;
    let count = max.min(u32::MAX as usize) as u32;
    match message_request(&mut lane, task, None, Some(Receiving { from: held.name(), count }), 0, timeout)? {
        code if delivered(code) => {
            let mut received = Vec::new();
            each_received(&mut lane, task, |message| received.push(message))?;
            Ok(received)
        }
        code => Err(Error::on(code, "receiving", held.kind(), held.name())),
    }
}

pub(crate) fn call(held: &Held, mut message: Message, timeout: Option<Duration>) -> Result<Received, SendError> {
    const WHAT: &str = "calling";
    let task = held.task();
    let intact = |error, message| Err(SendError { error, message: Some(Box::new(message)) });
    if message.reply.is_some() {
        let error = Error::on(Code::KERN_INVALID_ARGUMENT, "calling with a reply right of one's own", held.kind(), held.name());
        return intact(error, message);
    }
    if let Err(error) = message.prepare(task) {
        return intact(error, message);
    }
    let mut lane = match task.lane(need(timeout)) {
        Ok(lane) => lane,
        Err(error) => return intact(error, message),
    };
    let reply_port = match reply_port(&mut lane, task) {
        Ok(port) => port,
        Err(error) => return intact(error, message),
    };
    trace::calling(task, held.label(), &message);
    let sending =
        Sending { message: &mut message, dest: (held.name(), Disposition::CopySend), reply: Some((reply_port, Disposition::MakeSendOnce)) };
    let code = match message_request(&mut lane, task, Some(sending), Some(Receiving { from: reply_port, count: 1 }), 0, timeout) {
        Ok(code) => code,
        Err(error) => return Err(not_sent(error, message)),
    };
    let gone = |error| SendError { error, message: None };
    if delivered(code) {
        let received = first_received(&mut lane, task);
        drop(lane);
        message.sent();
        let received = received.map_err(gone)?;
        if received.is_send_once_notification() {
            return Err(gone(Error::on(Code::MIG_SERVER_DIED, WHAT, held.kind(), held.name())));
        }
        return Ok(received);
    }
    if is_receive_error(code) {
        // Sent, and no answer: a late one must find nobody.
        drop_reply_port(&mut lane, task);
        drop(lane);
        message.sent();
        return Err(gone(Error::on(code, WHAT, held.kind(), held.name())));
    }
    let (error, message) = send_failed(&mut lane, task, code, WHAT, held.label(), message);
    if message.is_none() || error.is_timed_out() || code.plain() == Code::MACH_SEND_INTERRUPTED {
        // The send-once right for the answer was made and is gone again, and the port may have been told so.
        drop_reply_port(&mut lane, task);
    }
    Err(SendError { error, message: message.map(Box::new) })
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

fn drop_reply_port(lane: &mut Lane, task: &Task) {
    let name = std::mem::replace(&mut lane.reply_port, Name::NULL);
    let _ = lane.request(&PortModRefs { task: task.0.task_self, name, right: RightKind::Receive as u32, delta: -1 });
}

pub(crate) fn serve<N: Into<Next>>(held: &Held, mut handler: impl FnMut(&mut Received) -> N) -> Result<()> {
    let task = held.task();
    let mut answer: Option<(ReplyRight, Message)> = None;
    loop {
        let mut request = match answer.take() {
            Some((right, message)) => match reply_and_receive(held, right, message)? {
                Some(request) => request,
                None => continue,
            },
            None => receive(held, None)?,
        };
        let next = handler(&mut request).into();
        match next {
            Next::Continue => {}
            Next::Stop => return Ok(()),
            Next::Reply(mut message) => {
                if let Some(right) = request.reply_right() {
                    match message.prepare(task) {
                        Ok(()) => answer = Some((right, message)),
                        // Its right goes unused, so the caller is told that there is no answer.
                        Err(error) => tracing::warn!(task = task.id(), %error, "an answer could not be made"),
                    }
                }
            }
            Next::ReplyAndStop(message) => {
                // The caller may have gone: its loss.
                if let Some(right) = request.reply_right() {
                    let _ = right.send(message);
                }
                return Ok(());
            }
        }
    }
}

/// Answers and receives in one request. `None`: the answer could not be delivered, and nothing was received.
fn reply_and_receive(held: &Held, right: ReplyRight, mut message: Message) -> Result<Option<Received>> {
    let task = held.task();
    let (reply_held, disposition) = match &right {
        ReplyRight::Once(right) => (&right.held, Disposition::MoveSendOnce),
        ReplyRight::Send(right) => (&right.held, Disposition::CopySend),
    };
    let mut lane = task.lane(Need::Blocking(None))?;
    trace::sending(task, reply_held.label(), &message);
    let sending = Sending { message: &mut message, dest: (reply_held.name(), disposition), reply: None };
    let receiving = Receiving { from: held.name(), count: 1 };
    // A caller that does not read must not stop its server.
    let code = match message_request(&mut lane, task, Some(sending), Some(receiving), msg_flags::TRY_SEND, None) {
        Ok(code) => code,
        // The answer holds what is not this task's to send.
        Err(error @ Error::Mach { .. }) => {
            tracing::warn!(task = task.id(), %error, "an answer could not be sent");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if !code.is_ok() && !is_receive_error(code) {
        let (_, back) = send_failed(&mut lane, task, code, "answering", reply_held.label(), message);
        drop(lane);
        if back.is_none() && disposition == Disposition::MoveSendOnce {
            reply_held.forget();
        }
        return Ok(None);
    }
    let received =
        if delivered(code) { first_received(&mut lane, task) } else { Err(Error::on(code, "receiving", held.kind(), held.name())) };
    drop(lane);
    if disposition == Disposition::MoveSendOnce {
        reply_held.forget();
    }
    message.sent();
    received.map(Some)
}
