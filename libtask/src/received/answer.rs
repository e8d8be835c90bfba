//! Where the answer to a received message goes.

use std::fmt;
use std::sync::Arc;

use umach_abi::Code;

use super::Received;
use crate::deliver;
use crate::direct::{CallerWatch, Owed};
use crate::error::{Error, SendError};
use crate::loan::Loan;
use crate::message::Message;
use crate::right::{Held, SendOnceRight, SendRight, is_dead};
use crate::task::Task;

/// Where the answer to a received message goes.
#[derive(Default)]
pub(crate) enum Answer {
    #[default]
    None,
    Right(ReplyRight),
    /// Into a slot of the caller's, which is a right with a name only if somebody asks for one.
    Slot(Owed),
}

/// Where an answer goes.
#[derive(Debug)]
pub enum ReplyRight {
    /// A send-once right: what [`SendRight::call`] waits on. Dropping it unused tells the caller.
    Once(SendOnceRight),
    /// An ordinary send right.
    Send(SendRight),
}

impl Received {
    /// Takes the right to answer, to keep it for later or give it to another thread or task.
    pub fn reply_right(&mut self) -> Option<ReplyRight> {
        self.take_answer().into_right(&self.task)
    }
    /// Memory of `len` bytes for the answer: see [`SendRight::loan`].
    pub fn loan(&self, len: usize) -> Loan {
        match &self.inner.reply {
            Answer::None => Loan::own(len),
            Answer::Right(right) => Loan::new(right.held(), len),
            Answer::Slot(owed) => Loan::over(&self.task, owed, len),
        }
    }
    /// Whether somebody waits for an answer.
    pub fn wants_reply(&self) -> bool {
        !matches!(self.inner.reply, Answer::None)
    }
    /// Whether whoever wanted an answer has given the call up, or is gone: then there is no point in working on one. A hint, which costs nothing for a call that came over a
    /// link, and a request to the kernel process for any other.
    pub fn is_given_up(&self) -> bool {
        if let Some(watch) = self.caller_watch() {
            return watch.is_over();
        }
        matches!(&self.inner.reply, Answer::Right(right) if right.is_dead())
    }
    /// To see whether the caller gives up, if the answer goes into a slot.
    pub(crate) fn caller_watch(&self) -> Option<CallerWatch> {
        match &self.inner.reply {
            Answer::None => None,
            Answer::Slot(owed) => Some(owed.watch()),
            Answer::Right(right) => self.task.0.plane.watch_owed(right.held().name()),
        }
    }
    /// The send-once right to answer, if that is what there is.
    pub(crate) fn answer_once(&self) -> Option<&Arc<Held>> {
        match &self.inner.reply {
            Answer::Right(ReplyRight::Once(right)) => Some(&right.held),
            _ => None,
        }
    }
    /// Takes the right to answer as it is.
    pub(crate) fn take_answer(&mut self) -> Answer {
        std::mem::take(&mut self.inner.reply)
    }
    /// Answers. Fails with `MACH_SEND_INVALID_REPLY` if no answer was asked for, or it was given already.
    pub fn reply(&mut self, message: Message) -> Result<(), SendError> {
        match self.take_answer() {
            Answer::Slot(owed) => deliver::reply(&self.task, owed, message),
            Answer::Right(right) => right.send(message),
            Answer::None => {
                let error = Error::mach(Code::MACH_SEND_INVALID_REPLY, "answering a message that asked for no answer");
                Err(SendError { error, message: Some(Box::new(message)) })
            }
        }
    }
}

impl Answer {
    /// As a right of its own.
    pub(crate) fn into_right(self, task: &Task) -> Option<ReplyRight> {
        match self {
            Answer::None => None,
            Answer::Right(right) => Some(right),
            Answer::Slot(owed) => Some(ReplyRight::Once(SendOnceRight::adopt(task, task.0.plane.name_reply(owed)))),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::None => f.write_str("nobody"),
            Answer::Right(right) => right.fmt(f),
            Answer::Slot(_) => f.write_str("the caller"),
        }
    }
}

impl ReplyRight {
    pub(crate) fn held(&self) -> &Held {
        match self {
            ReplyRight::Once(right) => &right.held,
            ReplyRight::Send(right) => &right.held,
        }
    }
    /// Memory of `len` bytes for the answer: see [`SendRight::loan`].
    pub fn loan(&self, len: usize) -> Loan {
        Loan::new(self.held(), len)
    }
    /// Whether nobody waits there.
    fn is_dead(&self) -> bool {
        is_dead(self.held()).unwrap_or(true)
    }
    /// Sends the answer. Never waits: to a send right whose queue is full it fails and gives the message back.
    pub fn send(self, message: Message) -> Result<(), SendError> {
        match self {
            ReplyRight::Once(right) => right.send(message),
            ReplyRight::Send(right) => right.try_send(message),
        }
    }
}
