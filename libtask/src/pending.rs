//! Calls that go on while their caller does something else.

use std::time::{Duration, Instant};

use crate::aio::Polled;
use crate::deliver::{self, Begun};
use crate::error::{Result, SendError};
use crate::message::Message;
use crate::received::Received;
use crate::right::{CALL_TIMEOUT, SendRight};

/// A call whose answer is still to be had. Several may be on their way at once, also to one port; each has its own answer. It is finished by a thread that waits
/// ([`PendingCall::finish`]) or awaited as a future (see [`crate::aio`]); one that is dropped is given up.
///
/// ```
/// use libtask::{Message, Next, run_local};
///
/// run_local(|kernel| -> libtask::Result<()> {
///     let server = kernel.task("server")?;
///     let port = server.new_port()?;
///     server.set_bootstrap(&port.make_send()?)?;
///     let (client, _control) = server.spawn_local("client")?;
///     std::thread::spawn(move || port.serve(|request| Next::Reply(Message::new(2).bytes(request.bytes()))));
///     let echo = client.bootstrap()?;
///     let calls = ["one", "two"].map(|word| echo.begin_call(Message::new(1).bytes(word.as_bytes())));
///     for (call, word) in calls.into_iter().zip(["one", "two"]) {
///         assert_eq!(call?.finish()?.bytes(), word.as_bytes());
///     }
///     Ok(())
/// }).unwrap();
/// ```
#[must_use = "the answer is lost with it"]
pub struct PendingCall {
    pub(crate) right: SendRight,
    pub(crate) begun: Option<Begun>,
    /// What it needs as a future.
    pub(crate) polled: Polled,
}

impl<I: ?Sized> SendRight<I> {
    /// Sends a request and does not wait for the answer: [`PendingCall::finish`] does. It waits while the queue of the port is full, at most as
    /// long as [`SendRight::call`].
    pub fn begin_call(&self, message: Message) -> Result<PendingCall, SendError> {
        let begun = deliver::begin_call(&self.held, message, Some(CALL_TIMEOUT))?;
        Ok(PendingCall::new(self.duplicate().untyped(), begun))
    }
}

impl PendingCall {
    pub(crate) fn new(right: SendRight, begun: Begun) -> PendingCall {
        PendingCall { right, begun: Some(begun), polled: Polled::default() }
    }
    /// Waits for the answer as long as [`SendRight::call`] does.
    pub fn finish(self) -> Result<Received> {
        self.finish_within(CALL_TIMEOUT)
    }
    /// Waits for the answer; fails with `MACH_RCV_TIMED_OUT` if there is none in time, and then it is lost.
    pub fn finish_within(mut self, timeout: Duration) -> Result<Received> {
        let begun = self.begun.take().expect("it is finished once");
        deliver::finish_call(&self.right.held, begun, Some(timeout))
    }
}

impl PendingCall {
    /// Who awaits it is woken by then, whether it is answered or not.
    pub(crate) fn set_until(&mut self, until: Instant) {
        self.polled = Polled::default();
        self.polled.until = Some(until);
    }
    /// Nobody waits any more: it is over, unless it is already. Says whether the request was sent.
    pub(crate) fn give_up(&mut self) -> bool {
        let Some(begun) = self.begun.take() else { return true };
        deliver::give_up_call(&self.right.held, &begun);
        self.polled = Polled::default();
        !matches!(begun, Begun::Full(_) | Begun::Again(..))
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let Some(begun) = &self.begun {
            deliver::give_up_call(&self.right.held, begun);
        }
    }
}

impl std::fmt::Debug for PendingCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a call of {} on its way", self.right)
    }
}
