//! Servers' loops, and answers.

use std::time::Duration;

use umach_abi::Disposition;
use umach_abi::control::msg_flags;
use umach_abi::message::Options;

use super::receive::{finish, first_received, receive};
use super::send::send_failed;
use super::{receiving, with_bytes};
use crate::direct::Owed;
use crate::error::{Error, Result, SendError};
use crate::exchange::{Exchange, delivered, exchange, is_receive_error};
use crate::message::Message;
use crate::receive::Next;
use crate::received::{Answer, Received, ReplyRight};
use crate::right::Held;
use crate::task::Task;
use crate::trace;

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
