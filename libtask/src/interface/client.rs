//! The calling side: what the generated client does with a message.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use umach_abi::Code;

use super::FAILURE;
use super::body::Reader;
use super::parts::Incoming;
use crate::aio::Sending;
use crate::deliver::CALLING;
use crate::error::{Error, Result, SendError};
use crate::message::Message;
use crate::pending::PendingCall;
use crate::receive::ReceiveRight;
use crate::received::Received;
use crate::right::SendRight;

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
pub(super) struct Conclude<R> {
    pub(super) expected: i32,
    pub(super) method: &'static str,
    pub(super) stream: Option<ReceiveRight>,
    pub(super) read: fn(Result<Received>, Option<ReceiveRight>) -> R,
}

impl<R> Conclude<R> {
    /// Reads the answer that [`PendingCall`] gave.
    fn read(&mut self, answer: Result<Received>) -> R {
        let answer = answer.and_then(|answer| checked(answer, self.expected, self.method));
        (self.read)(answer, self.stream.take())
    }
}

/// A method that was called and has not answered: what the methods of a client's `begin()` give. `R` is what the same method of the client itself gives.
///
/// It is a future of `R` (see [`crate::aio`]), or is waited for by a thread ([`Pending::finish`]), in both cases until the method's deadline, counted from the beginning of the call
/// ([`Error::is_timed_out`]). The call was sent at once; but if the server's queue was full, it is sent while it is awaited or finished. What went wrong with sending it is told then too.
///
/// Dropping it gives the call up. The server may ask for that ([`super::Caller::is_cancelled`]); its answer finds nobody. A method that is an `async fn` is dropped.
#[must_use = "dropping it gives the call up"]
pub struct Pending<R> {
    /// Or why there is none.
    pub(super) call: Result<PendingCall, Option<Error>>,
    pub(super) until: Instant,
    pub(super) conclude: Conclude<R>,
}

impl<R> Pending<R> {
    pub(super) fn new(call: Result<PendingCall>, timeout: Duration, conclude: Conclude<R>) -> Pending<R> {
        let until = after(timeout);
        let call = call.map_err(Some).map(|mut call| {
            call.set_until(until);
            call
        });
        Pending { call, until, conclude }
    }
    /// The same with so much time from now on, whatever the method says.
    pub fn with_deadline(mut self, timeout: Duration) -> Pending<R> {
        self.until = after(timeout);
        if let Ok(call) = &mut self.call {
            call.set_until(self.until);
        }
        self
    }
    /// Waits for the answer, until the deadline.
    pub fn finish(self) -> R {
        let left = self.until.saturating_duration_since(Instant::now());
        self.finish_within(left)
    }
    /// Waits for the answer at most so long from now on.
    pub fn finish_within(mut self, timeout: Duration) -> R {
        let answer = match self.call {
            Ok(call) => call.finish_within(timeout),
            Err(mut error) => Err(error.take().expect(ONCE)),
        };
        self.conclude.read(answer)
    }
}

fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    // What no clock can say is as good as never.
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(1 << 30))
}

const ONCE: &str = "a call is answered once";

impl<R> Future for Pending<R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = &mut *self;
        let answer = match &mut this.call {
            Err(error) => Err(error.take().expect(ONCE)),
            Ok(call) => match call.poll_answer(cx) {
                Poll::Ready(answer) => answer,
                Poll::Pending if Instant::now() < this.until => return Poll::Pending,
                Poll::Pending => {
                    let code = if call.give_up() { Code::MACH_RCV_TIMED_OUT } else { Code::MACH_SEND_TIMED_OUT };
                    Err(Error::Mach { code, what: CALLING, on: Some(call.right.label()) })
                }
            },
        };
        Poll::Ready(this.conclude.read(answer))
    }
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:?}", self.conclude.method, self.call)
    }
}

/// A one-way call, which has no answer: what such a method of a client's `begin()` gives. It was sent at once, unless the server's queue was full: then it is sent while this is awaited or
/// finished, until the method's deadline, or not at all if this is dropped.
#[must_use = "it is not sent yet if the server's queue is full"]
#[derive(Debug)]
pub struct PendingSend {
    state: Sent,
    until: Instant,
}

enum Sent {
    Done(Result<(), Option<Error>>),
    /// There was no room.
    Waits(Sending),
}

impl PendingSend {
    pub(super) fn begin<I: ?Sized>(right: &SendRight<I>, message: Message, timeout: Duration) -> PendingSend {
        let until = after(timeout);
        let state = match right.try_send(message) {
            Ok(()) => Sent::Done(Ok(())),
            Err(SendError { error, message: Some(message) }) if error.is_timed_out() => {
                Sent::Waits(Sending::new(&right.duplicate().untyped(), Some(*message), Some(until)))
            }
            Err(failed) => Sent::Done(Err(Some(failed.error))),
        };
        PendingSend { state, until }
    }
    /// Whether it was sent.
    pub fn is_sent(&self) -> bool {
        matches!(self.state, Sent::Done(Ok(())))
    }
    /// Waits for room, until the deadline.
    pub fn finish(self) -> Result<()> {
        match self.state {
            Sent::Done(done) => done.map_err(|error| error.expect(ONCE)),
            Sent::Waits(mut sending) => {
                let message = sending.take().expect(ONCE);
                let left = self.until.saturating_duration_since(Instant::now());
                Ok(sending.right().send_within(message, left)?)
            }
        }
    }
}

impl Future for PendingSend {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let done = match &mut this.state {
            Sent::Done(Ok(())) => return Poll::Ready(Ok(())),
            Sent::Done(Err(error)) => return Poll::Ready(Err(error.take().expect(ONCE))),
            Sent::Waits(sending) => match sending.poll(cx) {
                Poll::Pending if Instant::now() < this.until => return Poll::Pending,
                Poll::Pending => Err(Error::Mach { code: Code::MACH_SEND_TIMED_OUT, what: "sending", on: Some(sending.right().label()) }),
                Poll::Ready(sent) => sent.map_err(|failed| failed.error),
            },
        };
        this.state = Sent::Done(Ok(()));
        Poll::Ready(done)
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sent::Done(Ok(())) => "sent",
            Sent::Done(Err(_)) => "not sent",
            Sent::Waits(_) => "waits for room",
        })
    }
}
