//! The answering side: who calls, and the loop.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use umach_abi::Name;
use umach_describe::interface::ANSWER;

use super::{Interface, Serve};
use crate::deliver;
use crate::error::Result;
use crate::loan::Loan;
use crate::message::Message;
use crate::receive::{Next, ReceiveRight};
use crate::received::{Notification, Received, Sender};
use crate::task::Task;

/// Who calls, for a method that has a parameter `&Caller`. What it says comes from the kernel process, not from the caller.
pub struct Caller {
    pub(super) request: Received,
    stop: AtomicBool,
}

impl Caller {
    pub(super) fn new(request: Received) -> Caller {
        Caller { request, stop: AtomicBool::new(false) }
    }
    /// The task that calls, its process and its user.
    pub fn sender(&self) -> Sender {
        self.request.sender()
    }
    /// The badge of the port that was called: its context ([`ReceiveRight::set_context`]). A server that gives each client a port of its own tells them apart by it.
    pub fn badge(&self) -> u64 {
        self.request.context()
    }
    /// The name of the port that was called; compare with [`ReceiveRight::name`].
    pub fn port(&self) -> Name {
        self.request.port()
    }
    /// The task that was called.
    pub fn task(&self) -> &Task {
        self.request.task()
    }
    /// Whether nobody waits for the answer any more: the caller dropped the pending call, its time was up, or it died. Worth asking during long work.
    pub fn is_cancelled(&self) -> bool {
        self.request.is_given_up()
    }
    /// Memory for the answer, which the caller will read where it is: see [`crate::SendRight::loan`].
    pub fn loan(&self, len: usize) -> Loan {
        self.request.loan(len)
    }
    /// The caller may have gone: its loss.
    pub(super) fn answer(&mut self, answer: Message) {
        if let Err(error) = self.request.reply(answer) {
            tracing::debug!(task = self.task().id(), %error, "an answer found nobody");
        }
    }
    /// Has [`ReceiveRight::serve`] return when this call is answered, [`ReceiveRight::serve_async`] when this one and all that are in progress are.
    pub fn stop_serving(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
    pub(super) fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.request)
    }
}

/// What became of a message that was handed to an interface.
#[derive(Debug)]
pub enum Handled {
    /// It was a call. It was answered, or will be.
    Done,
    /// The same, and the method asked to stop ([`Caller::stop_serving`]).
    Stop,
    /// It is no call: the kernel process tells something.
    Notification(Received),
}

/// Answers one message, for servers with a loop of their own (several ports in a set, say).
///
/// ```
/// # use libtask::interface::{self, Handled};
/// # #[libtask::interface]
/// # /// Adds.
/// # pub trait Adder {
/// #     /// Adds.
/// #     #[id(1)] fn add(&self, a: u64, b: u64) -> u64;
/// # }
/// # fn serve(set: libtask::PortSet, mut server: impl Adder) -> libtask::Result<()> {
/// loop {
///     match interface::handle::<dyn Adder, _>(&mut server, set.receive()?) {
///         Handled::Done => {}
///         Handled::Stop => return Ok(()),
///         Handled::Notification(notification) => eprintln!("{notification:?}"),
///     }
/// }
/// # }
/// ```
pub fn handle<I: ?Sized + Serve<S>, S: ?Sized>(server: &mut S, request: Received) -> Handled {
    if request.notification().is_some() {
        return Handled::Notification(request);
    }
    let mut caller = Caller::new(request);
    if let Some(answer) = I::dispatch(server, &mut caller) {
        caller.answer(answer);
    }
    if caller.stops() { Handled::Stop } else { Handled::Done }
}

/// Calls the method that a message asks for, and gives the answer for whoever received the message to send: with what comes next as [`crate::PortSet::serve`]
/// does, or at once ([`Received::reply`]). So a server can have many ports, with an object and an interface for each, and keep a message for later
/// ([`Received::take_message`]). `docs/interfaces.md` shows how. What the kernel process tells is none of an interface's, and is left alone here.
pub fn answer<I: ?Sized + Serve<S>, S: ?Sized>(server: &mut S, request: &mut Received) -> Next {
    if request.notification().is_some() {
        return Next::Continue;
    }
    let (answered, next) = answer_to::<I, S>(server, request.take_message());
    *request = answered;
    next
}

/// The answer that a server gives without a call of the method, whichever it is: `error`, in the form of an interface all of whose methods give
/// `Result<_, E>`.
pub fn refuse<E: Serialize>(request: &Received, error: &E) -> Next {
    Next::Reply(Message::new(request.id().wrapping_add(ANSWER)).body(&Err::<(), &E>(error)))
}

fn answer_to<I: ?Sized + Serve<S>, S: ?Sized>(server: &mut S, request: Received) -> (Received, Next) {
    let mut caller = Caller::new(request);
    let answer = I::dispatch(server, &mut caller);
    let next = match (answer, caller.stops()) {
        (Some(answer), false) => Next::Reply(answer),
        (None, false) => Next::Continue,
        (Some(answer), true) => Next::ReplyAndStop(answer),
        (None, true) => Next::Stop,
    };
    (caller.request, next)
}

impl<I: ?Sized + Interface> ReceiveRight<I> {
    /// Answers calls with `server`, which implements the interface's trait, until a method says [`Caller::stop_serving`], the port is gone
    /// ([`crate::Error::is_port_gone`]), or, if that was asked for on this very port ([`ReceiveRight::on_no_senders`]), nobody is left who could call.
    pub fn serve<S>(&self, mut server: S) -> Result<()>
    where
        I: Serve<S>,
    {
        deliver::serve_by_value(&self.held, |request| answer_to::<I, S>(&mut server, request))
    }
}

/// What the loop does about a notification.
pub(super) fn notified(caller: &Caller, notification: &Notification) {
    match notification {
        Notification::NoSenders { .. } => caller.stop_serving(),
        other => tracing::debug!(task = caller.task().id(), ?other, "ignored"),
    }
}
