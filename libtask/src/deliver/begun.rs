//! Calls that are started, and finished later or given up.

use std::time::{Duration, Instant};

use umach_abi::{Code, Disposition};

use super::call::{CALLING, answered_at_port, answered_plainly, call, calling, conclude_call, without_reply};
use super::receive::receive;
use super::send::{not_sent, send};
use crate::direct::{Finished, Lazy, Open};
use crate::error::{Error, Result, SendError};
use crate::exchange::{self, Called, after};
use crate::message::Message;
use crate::receive::ReceiveRight;
use crate::received::Received;
use crate::right::Held;
use crate::trace;

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
