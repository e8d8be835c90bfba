//! Calls that are waited for.

use std::time::Duration;

use umach_abi::control::msg_flags;
use umach_abi::message::Options;
use umach_abi::{Code, Disposition, Name};

use super::receive::{finish, first_received};
use super::send::{given_back, not_sent, send_failed};
use super::{receiving, with_bytes};
use crate::direct::Finished;
use crate::error::{Error, Result, SendError};
use crate::exchange::{self, Called, Exchange, call_plain, delivered, drop_reply_port, exchange, is_receive_error};
use crate::message::Message;
use crate::receive::ReceiveRight;
use crate::received::Received;
use crate::right::Held;
use crate::task::Task;
use crate::trace;

pub(crate) fn call(held: &Held, message: Message, timeout: Option<Duration>) -> Result<Received, SendError> {
    call_staged(held, message, timeout).map_err(given_back)
}

pub(crate) const CALLING: &str = "calling";

/// The exchange of a call, its message not yet given.
pub(super) fn calling(timeout: Option<Duration>) -> Exchange<'static> {
    let receiving = receiving(Name::NULL, 1, timeout);
    let flags = if timeout == Some(Duration::ZERO) { msg_flags::TRY_SEND | msg_flags::TRY_RECEIVE } else { 0 };
    Exchange { options: receiving.options | Options::SEND.bits(), flags, call: true, ..receiving }
}

/// A call has its own place for the answer.
#[inline]
pub(super) fn without_reply(held: &Held, message: Message) -> Result<Message, SendError> {
    if !message.has_reply() {
        return Ok(message);
    }
    let error = Error::on(Code::KERN_INVALID_ARGUMENT, "calling with a reply right of one's own", held.kind(), held.name());
    Err(SendError { error, message: Some(Box::new(message)) })
}

/// The request of a call that is answered at a port, which is made.
pub(super) fn answered_at_port(task: &Task, message: Message) -> Result<(Message, ReceiveRight), SendError> {
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

pub(super) fn answered_plainly(task: &Task, answer: Received) -> Result<Received, SendError> {
    trace::received(&answer);
    task.0.plane.look(task).map_err(|error| SendError { error, message: None })?;
    Ok(answer)
}

/// What a plain call over a link does not decide alone, or all of a call.
pub(super) fn conclude_call(
    held: &Held,
    mut message: Message,
    want: Exchange<'_>,
    unfinished: Option<Finished>,
) -> Result<Received, SendError> {
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
