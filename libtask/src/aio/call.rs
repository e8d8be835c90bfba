//! Calls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::hub::{Seat, Wish};
use super::send::{Room, Sending};
use crate::deliver::{self, Begun, Course, Started};
use crate::direct::Lazy;
use crate::error::{Result, SendError};
use crate::exchange::after;
use crate::message::Message;
use crate::pending::PendingCall;
use crate::received::Received;
use crate::right::SendRight;

/// What a call needs while it is polled.
#[derive(Default)]
pub(crate) struct Polled {
    seat: Option<Seat>,
    /// The request is to be sent.
    sending: Option<Sending>,
    /// There is to be room for it.
    room: Option<Room>,
    /// Since when it waits to be woken, if it looked for a while before.
    asleep: Option<Instant>,
    /// It is polled again by then.
    pub(crate) until: Option<Instant>,
}

impl Polled {
    fn leave(&mut self) {
        if let Some(seat) = &mut self.seat {
            seat.leave();
        }
    }
}

impl PendingCall {
    /// The answer, if it is there; else the waker is woken when it may be. Only the last waker counts. [`Error::NotAttached`](crate::Error::NotAttached) if nobody is there
    /// to wake it; it can be finished otherwise then.
    ///
    /// Panics if the call has been answered already.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received>> {
        let task = self.right.task().clone();
        loop {
            let epoch = task.0.hub.epoch();
            let seated = self.polled.seat.as_ref().is_some_and(Seat::is_taken);
            match self.begun.take().expect("a call is answered once") {
                Begun::Slot(open, message) => {
                    let plane = &task.0.plane;
                    let finished = if seated || !task.0.hub.is_quiet() {
                        // All may have been quiet when it was sent, so that its bell was kept for now.
                        plane.ring_for(&task, &open);
                        plane.look_at_call(&task, &open)?
                    } else {
                        match plane.finish_soon(&task, open, &Lazy::new(|| after(None)))? {
                            Ok(finished) => match deliver::take_course(&self.right.held, *message, finished)? {
                                Course::Answered(answer) => return Poll::Ready(Ok(answer)),
                                Course::Now(begun) => {
                                    self.begun = Some(begun);
                                    continue;
                                }
                            },
                            Err(still) => {
                                self.polled.asleep = Some(Instant::now());
                                let wait = self.wait_for_slot(&task, Begun::Slot(still, message), seated, cx, epoch)?;
                                if wait { return Poll::Pending } else { continue }
                            }
                        }
                    };
                    match finished {
                        None => {
                            if self.wait_for_slot(&task, Begun::Slot(open, message), seated, cx, epoch)? {
                                return Poll::Pending;
                            }
                        }
                        Some(finished) => {
                            plane.end_call(&open);
                            self.polled.leave();
                            if let Some(since) = self.polled.asleep.take() {
                                plane.learn(since.elapsed());
                            }
                            match deliver::take_course(&self.right.held, *message, finished)? {
                                Course::Answered(answer) => return Poll::Ready(Ok(answer)),
                                Course::Now(begun) => self.begun = Some(begun),
                            }
                        }
                    }
                }
                Begun::Port(port) => match port.try_receive()? {
                    Some(answer) => {
                        self.polled.leave();
                        return Poll::Ready(deliver::answer_at_port(&self.right.held, answer));
                    }
                    None => {
                        let name = port.name();
                        self.begun = Some(Begun::Port(port));
                        let seat = self.polled.seat.get_or_insert_with(|| Seat::until(&task, self.polled.until));
                        if seat.wait(&task, Wish::Message(name), cx, epoch)? {
                            return Poll::Pending;
                        }
                    }
                },
                Begun::Full(message) => {
                    match deliver::start_call(&self.right.held, *message, !task.0.hub.is_quiet())? {
                        Started::Begun(begun) => self.begun = Some(begun),
                        Started::Send(message, port) => self.begun = Some(Begun::Again(Box::new(message), port)),
                        Started::Full(message) => {
                            self.begun = Some(Begun::Full(Box::new(message)));
                            let room = self.polled.room.get_or_insert_with(|| Room::new(&task, self.polled.until));
                            if room.wait(&self.right.held, cx, epoch)? {
                                return Poll::Pending;
                            }
                            continue;
                        }
                    }
                    self.polled.room = None;
                }
                Begun::Again(message, port) => {
                    let sending = self.polled.sending.get_or_insert_with(|| Sending::new(&self.right, None, self.polled.until));
                    sending.set(*message);
                    match sending.poll(cx) {
                        Poll::Pending => {
                            let message = sending.take().expect("not sent");
                            self.begun = Some(Begun::Again(Box::new(message), port));
                            return Poll::Pending;
                        }
                        Poll::Ready(sent) => {
                            self.polled.sending = None;
                            sent?;
                            self.begun = Some(Begun::Port(port));
                        }
                    }
                }
            }
        }
    }

    /// Has the answer rung for. `false`: look again.
    fn wait_for_slot(&mut self, task: &crate::Task, begun: Begun, seated: bool, cx: &mut Context<'_>, epoch: u64) -> Result<bool> {
        let Begun::Slot(open, _) = &begun else { unreachable!("a call in a slot") };
        let seat = self.polled.seat.get_or_insert_with(|| Seat::until(task, self.polled.until));
        let waits = if seated {
            seat.wait_on(task, cx, epoch)
        } else {
            let watch = task.0.plane.watch_answer(open);
            if watch.is_over() { Ok(false) } else { seat.wait(task, Wish::Answer(watch), cx, epoch) }
        };
        self.begun = Some(begun);
        waits
    }
}

impl Future for PendingCall {
    type Output = Result<Received>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Received>> {
        self.poll_answer(cx)
    }
}

/// A call as a future: [`SendRight::call_async`]. Nothing is sent before it is polled. Dropping it gives the call up.
#[must_use = "nothing is sent before it is awaited"]
pub struct CallFuture(PendingCall);

impl<I: ?Sized> SendRight<I> {
    /// Sends and waits for the answer, as [`SendRight::call`] does, without a thread that waits, and without a deadline of its own: see [`crate::aio`].
    pub fn call_async(&self, message: Message) -> CallFuture {
        CallFuture(PendingCall::new(self.duplicate().untyped(), Begun::Full(Box::new(message))))
    }
    /// As [`SendRight::begin_call`], but does not wait for room: if the queue is full now, the request is sent when the call is finished, or while it is polled.
    pub fn begin_call_soon(&self, message: Message) -> Result<PendingCall, SendError> {
        let begun = deliver::begin_soon(&self.held, message)?;
        Ok(PendingCall::new(self.duplicate().untyped(), begun))
    }
}

impl Future for CallFuture {
    type Output = Result<Received>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Received>> {
        self.0.poll_answer(cx)
    }
}

impl std::fmt::Debug for CallFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
