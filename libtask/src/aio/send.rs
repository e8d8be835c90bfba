//! Sends that wait for room in the port's queue.
//!
//! Room on a route is rung for by its receiver, as for a thread that waits. Where the queue is the kernel process's, it is Mach's own send-possible notification: one for each right, which the futures that wait
//! for it share, for a right has one request at a time. If the program had asked for one itself, that is asked for again afterwards.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use umach_abi::control::PortRequestNotification;
use umach_abi::{Code, Disposition, Name, notify};

use super::hub::{Seat, Wish};
use crate::deliver;
use crate::error::{Result, SendError};
use crate::message::Message;
use crate::receive::{PortOptions, ReceiveRight};
use crate::right::{Held, SendOnceRight, SendRight, request_notification};
use crate::task::Task;

/// Waiting for room.
pub(crate) struct Room {
    seat: Seat,
    notice: Option<Arc<Notice>>,
    /// Times that there was room where just now was none.
    tries: u32,
}

/// So often a send is tried again at once before the kernel process is asked.
const TRIES: u32 = 2;

impl Room {
    pub(crate) fn new(task: &Task, until: Option<Instant>) -> Room {
        Room { seat: Seat::until(task, until), notice: None, tries: 0 }
    }

    /// A send just found no room. `false`: it is to be tried again at once.
    pub(crate) fn wait(&mut self, held: &Arc<Held>, cx: &mut Context<'_>, epoch: u64) -> Result<bool> {
        let task = held.task();
        if let Some(notice) = self.notice.take_if(|notice| !notice.has_come()) {
            // Woken for something else: the send may find room, and has been tried.
            let name = notice.port.name();
            self.notice = Some(notice);
            return self.seat.wait(task, Wish::Message(name), cx, epoch);
        }
        self.notice = None;
        if let Some(watch) = task.0.plane.watch_room(held.name()) {
            if watch.is_over() {
                return Ok(false);
            }
            self.tries = 0;
            return self.seat.wait(task, Wish::Room(watch), cx, epoch);
        }
        self.tries += 1;
        if self.tries <= TRIES && task.0.plane.has_route(held.name()) {
            return Ok(false);
        }
        self.tries = 0;
        let notice = task.0.hub.notice(held)?;
        let name = notice.port.name();
        self.notice = Some(notice);
        // It may have come by now.
        if self.notice.as_ref().is_some_and(|notice| notice.has_come()) {
            return Ok(false);
        }
        self.seat.wait(task, Wish::Message(name), cx, epoch)
    }
}

/// A send-possible notification of one right, asked for.
pub(crate) struct Notice {
    held: Arc<Held>,
    port: ReceiveRight,
    come: AtomicBool,
    /// Of a request of the program's own that this one replaced.
    before: Mutex<Option<SendOnceRight>>,
}

impl Notice {
    pub(super) fn ask(held: &Arc<Held>) -> Result<Notice> {
        let port = held.task().new_port_with(PortOptions { queue_limit: Some(4), ..PortOptions::default() })?;
        let before = request_notification(held, "waiting for room in a queue", notify::SEND_POSSIBLE, 1, Some(&port.held))?;
        Ok(Notice { held: held.clone(), port, come: AtomicBool::new(false), before: Mutex::new(before) })
    }

    /// Whether there was room, or something has become of the right: the send tells.
    pub(super) fn has_come(&self) -> bool {
        if !self.come.load(Ordering::Acquire) && !matches!(self.port.try_receive(), Ok(None)) {
            self.come.store(true, Ordering::Release);
            self.held.task().0.hub.forget_notice(self.held.name());
        }
        self.come.load(Ordering::Acquire)
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        let task = self.held.task();
        let before = self.before.lock().take();
        if before.is_none() && self.come.load(Ordering::Acquire) {
            return;
        }
        // The program's own is asked for again, or ours withdrawn.
        let call = PortRequestNotification {
            task: task.0.task_self,
            name: self.held.name(),
            id: notify::SEND_POSSIBLE as u32,
            sync: u32::from(before.is_some()),
            notify: before.as_ref().map_or(Name::NULL, |right| right.name()),
            disposition: Disposition::MoveSendOnce as u32,
        };
        let asked = task.request(&call, |answer, _| answer.previous);
        if let (Ok(Ok(_)), Some(before)) = (&asked, before) {
            before.held.forget();
        }
        if let Ok(Ok(previous)) = asked
            && previous.is_valid()
        {
            drop(SendOnceRight::adopt(task, previous));
        }
        // If the port had died, the notification has a reference to the dead name, which would be lost with it.
        while let Ok(Some(_)) = self.port.try_receive() {}
    }
}

/// A send under way.
pub(crate) struct Sending {
    right: SendRight,
    message: Option<Message>,
    room: Option<Room>,
    /// It is polled again by then.
    until: Option<Instant>,
}

impl Sending {
    pub(crate) fn new(right: &SendRight, message: Option<Message>, until: Option<Instant>) -> Sending {
        Sending { right: right.duplicate(), message, room: None, until }
    }
    pub(crate) fn right(&self) -> &SendRight {
        &self.right
    }
    pub(crate) fn set(&mut self, message: Message) {
        self.message = Some(message);
    }
    pub(crate) fn take(&mut self) -> Option<Message> {
        self.message.take()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let held = &self.right.held;
        loop {
            let epoch = held.task().0.hub.epoch();
            let message = self.message.take().expect("a message is sent once");
            match deliver::send(held, Disposition::CopySend, message, Some(Duration::ZERO)) {
                Err(SendError { error, message: Some(message) }) if error.code().plain() == Code::MACH_SEND_TIMED_OUT => {
                    let room = self.room.get_or_insert_with(|| Room::new(held.task(), self.until));
                    let waits = match room.wait(held, cx, epoch) {
                        Ok(waits) => waits,
                        Err(error) => return Poll::Ready(Err(SendError { error, message: Some(message) })),
                    };
                    self.message = Some(*message);
                    if waits {
                        return Poll::Pending;
                    }
                }
                sent => {
                    self.room = None;
                    return Poll::Ready(sent);
                }
            }
        }
    }
}

/// A send as a future: [`SendRight::send_async`]. What is dropped before it is ready has not been sent.
#[must_use = "nothing is sent before it is awaited"]
pub struct SendFuture(Sending);

impl<I: ?Sized> SendRight<I> {
    /// Sends, waiting for room in the port's queue without a thread that waits: see [`crate::aio`].
    pub fn send_async(&self, message: Message) -> SendFuture {
        SendFuture(Sending::new(&self.duplicate().untyped(), Some(message), None))
    }
}

impl SendFuture {
    /// The message, if it was not sent: for who gives up.
    pub fn into_message(mut self) -> Option<Message> {
        self.0.take()
    }
}

impl Future for SendFuture {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.0.poll(cx)
    }
}

impl std::fmt::Debug for SendFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a send to {}", self.0.right)
    }
}
