//! The calling side: what the generated client does with a message.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use umach_abi::Code;

use super::FAILURE;
use super::body::Reader;
use super::parts::Incoming;
use crate::error::{Error, Result};
use crate::pending::PendingCall;
use crate::receive::ReceiveRight;
use crate::received::Received;

/// The answer, if it is one: its id is `expected`. `method` names what was called, for people.
pub(super) fn checked(answer: Received, expected: i32, method: &'static str) -> Result<Received> {
    if answer.id() == expected { Ok(answer) } else { Err(no_answer(&answer, expected, method)) }
}

#[cold]
fn no_answer(answer: &Received, expected: i32, method: &'static str) -> Error {
    if answer.id() == FAILURE
        && let Ok((code, reason)) = Reader::new(answer.bytes()).read::<(u32, String)>()
    {
        return Error::Failure { method, code: Code(code), reason };
    }
    Error::Failure { method, code: Code::MIG_REPLY_MISMATCH, reason: format!("message {} in place of {expected}", answer.id()) }
}

/// Reads an answer's body. `parts`: whether rights may be in it.
#[inline]
pub(super) fn reading<T>(parts: bool, mut answer: Received, read: impl FnOnce(&mut Reader<'_>) -> postcard::Result<T>) -> Result<T> {
    let incoming = parts.then(|| Incoming::begin(&mut answer));
    read(&mut Reader::new(answer.bytes())).map_err(|why| unreadable::<T>(&answer, incoming.as_ref(), why))
}

#[cold]
fn unreadable<T>(answer: &Received, incoming: Option<&Incoming>, why: postcard::Error) -> Error {
    incoming.and_then(Incoming::error).unwrap_or_else(|| Error::Body {
        id: answer.id(),
        len: answer.bytes().len(),
        what: std::any::type_name::<T>(),
        why: why.to_string(),
    })
}

/// What is known of an answer that has not come.
pub struct Conclude<R> {
    pub(super) expected: i32,
    pub(super) method: &'static str,
    pub(super) stream: Option<ReceiveRight>,
    pub(super) read: fn(Result<Received>, Option<ReceiveRight>) -> R,
}

impl<R> Conclude<R> {
    /// Reads the answer that [`PendingCall`] gave.
    pub fn read(self, answer: Result<Received>) -> R {
        let answer = answer.and_then(|answer| checked(answer, self.expected, self.method));
        (self.read)(answer, self.stream)
    }
}

/// A method that was called and has not answered: what the methods of a client's `begin()` give. `R` is what the same method of the client itself gives.
///
/// It is a future of `R` as well, without a deadline of its own: see [`crate::aio`]. If the server's queue is full, the call is sent while it is awaited or finished.
///
/// Dropping it gives the call up. The server may ask for that ([`super::Caller::is_cancelled`]); its answer finds nobody.
#[must_use = "dropping it gives the call up"]
pub struct Pending<R> {
    pub(super) call: PendingCall,
    pub(super) until: Instant,
    pub(super) conclude: Conclude<R>,
}

impl<R> Pending<R> {
    /// Waits for the answer, until the method's deadline, counted from its beginning.
    pub fn finish(self) -> R {
        let left = self.until.saturating_duration_since(Instant::now());
        self.finish_within(left)
    }
    /// Waits for the answer at most so long.
    pub fn finish_within(self, timeout: Duration) -> R {
        self.conclude.read(self.call.finish_within(timeout))
    }
    /// The call, the method's deadline, and how to read the answer: for who waits in another way.
    pub fn into_parts(self) -> (PendingCall, Instant, Conclude<R>) {
        (self.call, self.until, self.conclude)
    }
}

impl<R> Future for Pending<R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let answer = ready!(self.call.poll_answer(cx));
        let Conclude { expected, method, read, .. } = self.conclude;
        let conclude = Conclude { expected, method, stream: self.conclude.stream.take(), read };
        Poll::Ready(conclude.read(answer))
    }
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:?}", self.conclude.method, self.call)
    }
}
