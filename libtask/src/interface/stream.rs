//! Sequences from a server to a client: a port of the client's, whose queue is bounded.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use postcard_schema::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use umach_describe::fixed::has_parts;

use super::client::{checked, reading};
use super::runtime;
use crate::error::{Error, Result, SendError};
use crate::receive::{PortOptions, ReceiveRight};
use crate::received::{Notification, Received};
use crate::right::SendRight;
use crate::task::Task;

/// The server's end of a sequence, as the last parameter of a method. The client's method gives the [`Stream`]. Dropping it is the end.
///
/// As many items as the client's queue holds may be sent before the client reads one, so before the method returns too; then `send` waits, and since the client waits for the
/// method, more than that is for another thread, or for later.
pub struct Sink<T> {
    right: SendRight,
    id: i32,
    items: PhantomData<fn(T)>,
}

/// An item that was not sent.
#[derive(Debug)]
pub struct SinkError<T> {
    /// Why. [`Error::is_dead`]: nobody reads any more. [`Error::is_timed_out`]: the queue is full.
    pub error: Error,
    /// The item. If it holds a receive or send-once right, that is gone.
    pub item: T,
}

impl<T> Sink<T> {
    pub(super) fn new(right: SendRight, id: i32) -> Sink<T> {
        Sink { right, id, items: PhantomData }
    }
    /// The right that the items go to: to be told when the client's end is gone ([`SendRight::notify_dead`]).
    pub fn right(&self) -> &SendRight {
        &self.right
    }
    /// Whether the client's end is gone.
    pub fn is_closed(&self) -> bool {
        self.right.is_dead().unwrap_or(true)
    }
}

impl<T: Serialize + Schema> Sink<T> {
    /// Sends an item, waiting for room as long as it takes.
    pub fn send(&self, item: T) -> Result<(), SinkError<T>> {
        self.send_by(item, |right, message| right.send(message))
    }
    /// Sends an item, waiting for room at most so long.
    pub fn send_within(&self, item: T, timeout: Duration) -> Result<(), SinkError<T>> {
        self.send_by(item, |right, message| right.send_within(message, timeout))
    }
    /// Sends an item if there is room now.
    pub fn try_send(&self, item: T) -> Result<(), SinkError<T>> {
        self.send_by(item, |right, message| right.try_send(message))
    }
    /// Sends an item, waiting for room without a thread that waits: see [`crate::aio`].
    pub async fn send_async(&self, item: T) -> Result<(), SinkError<T>> {
        let message = runtime::request(self.id, const { has_parts(T::SCHEMA) }, &item);
        self.right.send_async(message).await.map_err(|failed| SinkError { error: failed.error, item })
    }
    fn send_by(&self, item: T, send: impl FnOnce(&SendRight, crate::Message) -> Result<(), SendError>) -> Result<(), SinkError<T>> {
        let message = runtime::request(self.id, const { has_parts(T::SCHEMA) }, &item);
        send(&self.right, message).map_err(|failed| SinkError { error: failed.error, item })
    }
}

impl<T> fmt::Debug for Sink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a sink to {}", self.right)
    }
}

impl<T> fmt::Display for SinkError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for SinkError<T> {}

/// The client's end of a sequence: what a method with a parameter [`Sink`] gives. Dropping it tells the server when it sends the next item, or asks.
#[must_use = "dropping it ends the sequence"]
pub struct Stream<T> {
    port: ReceiveRight,
    id: i32,
    method: &'static str,
    ended: bool,
    items: PhantomData<fn() -> T>,
}

/// The port of a stream that is asked for.
pub(super) fn open(task: &Task, queue: u32) -> Result<ReceiveRight> {
    let port = task.new_port_with(PortOptions { queue_limit: Some(queue), ..PortOptions::default() })?;
    // The server's will be the only right, so its end is the stream's. It is told behind the last item.
    port.on_no_senders(&port)?;
    Ok(port)
}

impl<T> Stream<T> {
    pub(super) fn new(port: ReceiveRight, id: i32, method: &'static str) -> Stream<T> {
        Stream { port, id, method, ended: false, items: PhantomData }
    }
    /// The port that the items come to, for a set or a poller. Whoever receives there hands what comes to [`Stream::read`].
    pub fn port(&self) -> &ReceiveRight {
        &self.port
    }
    /// Whether the server ended it, and that was read.
    pub fn is_ended(&self) -> bool {
        self.ended
    }
}

impl<T: DeserializeOwned + Schema> Stream<T> {
    /// The next item, waiting for it as long as it takes; `None` when the server has ended the stream.
    pub fn wait(&mut self) -> Result<Option<T>> {
        self.next_by(|port| port.receive())
    }
    /// The same with a deadline ([`Error::is_timed_out`]).
    pub fn wait_within(&mut self, timeout: Duration) -> Result<Option<T>> {
        self.next_by(|port| port.receive_within(timeout))
    }
    /// The next item if there is one now. [`Stream::is_ended`] says whether any can come.
    pub fn try_next(&mut self) -> Result<Option<T>> {
        match self.wait_within(Duration::ZERO) {
            Err(error) if error.is_timed_out() => Ok(None),
            done => done,
        }
    }
    /// The next item, without a thread that waits: see [`crate::aio`]. A stream is a `futures_core::Stream` too.
    pub async fn next_async(&mut self) -> Result<Option<T>> {
        std::future::poll_fn(|cx| futures_core::Stream::poll_next(Pin::new(&mut *self), cx)).await.transpose()
    }
    fn next_by(&mut self, mut receive: impl FnMut(&ReceiveRight) -> Result<Received>) -> Result<Option<T>> {
        while !self.ended {
            let message = receive(&self.port)?;
            if let Some(item) = self.read(message)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
    /// Reads a message that came on the stream's port: an item, or (`None`) news of the stream itself.
    pub fn read(&mut self, message: Received) -> Result<Option<T>> {
        match message.notification() {
            None => reading(const { has_parts(T::SCHEMA) }, checked(message, self.id, self.method)?, |reader| reader.read()).map(Some),
            Some(notification) => {
                self.ended |= matches!(notification, Notification::NoSenders { .. });
                Ok(None)
            }
        }
    }
}

impl<T: DeserializeOwned + Schema> Iterator for Stream<T> {
    type Item = Result<T>;
    fn next(&mut self) -> Option<Result<T>> {
        self.wait().transpose()
    }
}

/// In async programs; only the last waker counts. It ends with the server's end of the sequence.
impl<T: DeserializeOwned + Schema> futures_core::Stream for Stream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        while !self.ended {
            match ready!(self.port.poll_receive(cx)).and_then(|message| self.read(message)) {
                Ok(None) => {}
                item => return Poll::Ready(item.transpose()),
            }
        }
        Poll::Ready(None)
    }
}

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a stream on {}{}", self.port, if self.ended { ", ended" } else { "" })
    }
}
