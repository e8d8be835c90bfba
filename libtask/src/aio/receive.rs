//! Receives.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use super::hub::{Seat, Wish};
use crate::deliver;
use crate::error::Result;
use crate::receive::{PortSet, ReceiveRight};
use crate::received::Received;
use crate::right::Held;

/// A message of a port or set, if there is one.
fn try_receive(held: &Held) -> Result<Option<Received>> {
    match deliver::receive(held, Some(Duration::ZERO)) {
        Ok(received) => Ok(Some(received)),
        Err(error) if error.is_timed_out() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Receives one message after the other.
pub(super) struct Receiving {
    seat: Seat,
    /// Since when it waits to be woken, if it looked for a while before.
    asleep: Option<Instant>,
}

impl Receiving {
    pub(super) fn new(held: &Held) -> Receiving {
        Receiving { seat: Seat::new(held.task()), asleep: None }
    }

    /// `linger`: whether to look for a little while before it waits to be woken.
    pub(super) fn poll(&mut self, held: &Held, cx: &mut Context<'_>, linger: bool) -> Poll<Result<Received>> {
        let task = held.task();
        let mut linger = linger && !self.seat.is_taken() && task.0.hub.is_quiet();
        loop {
            let epoch = task.0.hub.epoch();
            if let Some(received) = try_receive(held)? {
                self.seat.leave();
                if let Some(since) = self.asleep.take() {
                    task.0.plane.learn(since.elapsed());
                }
                return Poll::Ready(Ok(received));
            }
            if std::mem::take(&mut linger) {
                if task.0.plane.linger(held.name()) {
                    continue;
                }
                self.asleep = Some(Instant::now());
            }
            if self.seat.wait(task, Wish::Message(held.name()), cx, epoch)? {
                return Poll::Pending;
            }
        }
    }
}

/// A receive as a future. What is dropped before it is ready has taken nothing.
#[must_use = "it receives nothing before it is awaited"]
pub struct ReceiveFuture<'r> {
    held: &'r Held,
    receiving: Receiving,
}

impl Future for ReceiveFuture<'_> {
    type Output = Result<Received>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Received>> {
        let this = &mut *self;
        this.receiving.poll(this.held, cx, true)
    }
}

/// The messages of a port or set as a stream. It ends after its first error: a port that is gone stays so.
#[must_use = "it receives nothing before it is polled"]
pub struct Incoming<'r> {
    held: &'r Held,
    receiving: Receiving,
    ended: bool,
}

impl Incoming<'_> {
    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Received>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Incoming<'_> {
    type Item = Result<Received>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Received>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let came = this.receiving.poll(this.held, cx, true);
        this.ended = matches!(came, Poll::Ready(Err(_)));
        came.map(Some)
    }
}

impl FusedStream for Incoming<'_> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

macro_rules! receives_async {
    ($Right:ident $(, $I:ident)?) => {
        impl$(<$I: ?Sized>)? $Right$(<$I>)? {
            /// Waits for a message without a thread that waits: see [`crate::aio`].
            pub fn receive_async(&self) -> ReceiveFuture<'_> {
                ReceiveFuture { held: &self.held, receiving: Receiving::new(&self.held) }
            }
            /// The messages as a stream.
            pub fn incoming(&self) -> Incoming<'_> {
                Incoming { held: &self.held, receiving: Receiving::new(&self.held), ended: false }
            }
            /// A message, if there is one; else the waker is woken when there may be. Of all that poll one right in this way only the last waker counts; futures
            /// and streams count for themselves.
            pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Received>> {
                let (task, name) = (self.task(), self.name());
                let hub = &task.0.hub;
                loop {
                    let epoch = hub.epoch();
                    if let Some(received) = try_receive(&self.held)? {
                        hub.leave_polled(name);
                        return Poll::Ready(Ok(received));
                    }
                    if hub.wait_polled(task, name, cx, epoch)? {
                        return Poll::Pending;
                    }
                }
            }
        }
    };
}
receives_async!(ReceiveRight, I);
receives_async!(PortSet);

macro_rules! debug {
    ($($Future:ident),*) => {$(
        impl std::fmt::Debug for $Future<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a receive from {}", self.held.label())
            }
        }
    )*};
}
debug!(ReceiveFuture, Incoming);
