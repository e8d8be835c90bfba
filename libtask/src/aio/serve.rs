//! Serving many requests at once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream::FuturesUnordered;

use super::hub::{Seat, Wish};
use super::receive::Receiving;
use umach_abi::Code;

use crate::direct::CallerWatch;
use crate::error::Result;
use crate::message::Message;
use crate::receive::{Next, PortOptions, PortSet, ReceiveRight};
use crate::received::{Notification, Received};
use crate::right::{Held, SendRight, request_notification};
use crate::task::Task;

/// After so many requests and answers without a pause, others of the runtime get their turn.
const TURN: u32 = 64;

/// A caller that may give up.
enum Caller {
    /// Nobody waits, or nothing can be known.
    Unknown,
    Link(CallerWatch),
    Right(Arc<Held>),
    /// The kernel process tells on this port.
    Told(ReceiveRight, Arc<Held>),
}

/// Waits until a caller gives up.
pub(crate) struct GivenUp {
    caller: Caller,
    seat: Seat,
}

impl GivenUp {
    pub(crate) fn new(request: &Received) -> GivenUp {
        let caller = match (request.caller_watch(), request.answer_once()) {
            (Some(watch), _) => Caller::Link(watch),
            (None, Some(right)) => Caller::Right(right.clone()),
            (None, None) => Caller::Unknown,
        };
        GivenUp { caller, seat: Seat::new(request.task()) }
    }

    /// Whoever receives what is sent by this right.
    pub(crate) fn of(right: &SendRight) -> GivenUp {
        GivenUp { caller: Caller::Right(right.held.clone()), seat: Seat::new(right.task()) }
    }

    pub(crate) fn poll(&mut self, task: &Task, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let epoch = task.0.hub.epoch();
            let wish = match &self.caller {
                Caller::Unknown => return Poll::Pending,
                Caller::Link(watch) if watch.is_over() => return Poll::Ready(()),
                Caller::Link(watch) => Wish::Caller(watch.clone()),
                Caller::Right(held) => {
                    self.caller = match ask(task, held) {
                        Ok(port) => Caller::Told(port, held.clone()),
                        // It is dead already, unless the handler has answered.
                        Err(error) if held.is_live() && error.code() == Code::KERN_INVALID_ARGUMENT => return Poll::Ready(()),
                        Err(_) => Caller::Unknown,
                    };
                    continue;
                }
                Caller::Told(port, _) => match port.try_receive() {
                    Ok(None) => Wish::Message(port.name()),
                    Ok(Some(told)) if matches!(told.notification(), Some(Notification::DeadName(_))) => return Poll::Ready(()),
                    // The right is used up: the handler answers by itself.
                    _ => {
                        self.caller = Caller::Unknown;
                        continue;
                    }
                },
            };
            match self.seat.wait(task, wish, cx, epoch) {
                Ok(true) => return Poll::Pending,
                Ok(false) => {}
                // It was a courtesy.
                Err(_) => self.caller = Caller::Unknown,
            }
        }
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Caller::Told(port, held) = &self.caller {
            // A notification has a reference to the dead name, which would be lost with it.
            if held.is_live() {
                let _ = request_notification(held, "asking no more of a caller's end", umach_abi::notify::DEAD_NAME, 0, None);
            }
            while let Ok(Some(_)) = port.try_receive() {}
        }
    }
}

/// Has the kernel process tell when the port of a send-once right dies.
fn ask(task: &Task, held: &Held) -> Result<ReceiveRight> {
    let port = task.new_port_with(PortOptions { queue_limit: Some(4), ..PortOptions::default() })?;
    request_notification(held, "asking to be told of a caller's end", umach_abi::notify::DEAD_NAME, 0, Some(&port.held))?;
    Ok(port)
}

/// One request, from its arrival to its answer. True: that was the last.
async fn handle<N: Into<Next>>(handler: &impl AsyncFn(&mut Received) -> N, mut request: Received) -> bool {
    let task = request.task().clone();
    let mut given_up = GivenUp::new(&request);
    let next = {
        let mut work = pin!(handler(&mut request));
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next.into())),
            Poll::Pending => given_up.poll(&task, cx).map(|()| None),
        })
        .await
    };
    // Before the right that it asked about is used.
    drop(given_up);
    match next {
        None | Some(Next::Continue) => false,
        Some(Next::Stop) => true,
        Some(Next::Reply(message)) => answer(&task, &mut request, message, false),
        Some(Next::ReplyAndStop(message)) => answer(&task, &mut request, message, true),
    }
}

/// The caller may have gone: its loss.
fn answer(task: &Task, request: &mut Received, message: Message, stop: bool) -> bool {
    if let Err(error) = request.reply(message) {
        tracing::debug!(task = task.id(), %error, "an answer found nobody");
    }
    stop
}

enum Event {
    Request(Received),
    Done(bool),
    /// Nothing runs any more.
    Idle,
}

/// A request whose answering has begun.
pub(crate) enum Started<F> {
    /// And ended. True: that was the last.
    Done(bool),
    /// The future says, when it is ready, whether that was the last.
    Runs(F),
}

/// Receives, and has each request answered: up to `at_once` at the same time.
pub(crate) async fn serve<F: Future<Output = bool>>(
    held: &Held,
    at_once: usize,
    mut start: impl FnMut(Received) -> Started<F>,
) -> Result<()> {
    let at_once = at_once.max(1);
    let mut receiving = Receiving::new(held);
    let mut running = pin!(FuturesUnordered::new());
    let (mut stops, mut turn) = (false, 0u32);
    loop {
        let event = poll_fn(|cx| {
            turn = turn.wrapping_add(1);
            if turn.is_multiple_of(TURN) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut receives = !stops && running.len() < at_once;
            if receives && turn.is_multiple_of(2) {
                receives = false;
                if let Poll::Ready(came) = receiving.poll(held, cx, running.is_empty()) {
                    return Poll::Ready(came.map(Event::Request));
                }
            }
            match running.as_mut().poll_next(cx) {
                Poll::Ready(Some(last)) => return Poll::Ready(Ok(Event::Done(last))),
                Poll::Ready(None) if stops => return Poll::Ready(Ok(Event::Idle)),
                _ => {}
            }
            if receives && let Poll::Ready(came) = receiving.poll(held, cx, running.is_empty()) {
                return Poll::Ready(came.map(Event::Request));
            }
            Poll::Pending
        });
        match event.await? {
            Event::Request(request) => match start(request) {
                Started::Done(last) => stops |= last,
                Started::Runs(future) => running.push(future),
            },
            Event::Done(last) => stops |= last,
            Event::Idle => return Ok(()),
        }
    }
}

macro_rules! serves_async {
    ($Right:ident) => {
        impl $Right {
            /// Receives and answers, up to `at_once` requests at the same time, until a handler says [`Next::Stop`] and those that run have ended (`Ok`), or the port is gone
            /// (`Err`). Further requests wait in the port's queue. All of it is one future: nothing is spawned.
            ///
            /// The handler's future is dropped when its caller gives up or dies, at the next await that has to wait. The handler returns what that of
            /// [`ReceiveRight::serve`] does.
            ///
            /// ```
            /// # #[cfg(feature = "smol")]
            /// # fn main() -> libtask::Result<()> {
            /// use libtask::{Message, Next, run_local};
            ///
            /// run_local(|kernel| {
            ///     let task = kernel.task("echo")?;
            ///     let port = task.new_port()?;
            ///     let to_port = port.make_send()?;
            ///     libtask::smol::attach(&task)?;
            ///     async_io::block_on(async {
            ///         let serving = port.serve_async(8, async |request: &mut libtask::Received| Next::ReplyAndStop(Message::new(2).bytes(request.bytes())));
            ///         let calling = to_port.call_async(Message::new(1).bytes(b"hello"));
            ///         let (served, answer) = futures_util::future::join(serving, calling).await;
            ///         served?;
            ///         assert_eq!(answer?.bytes(), b"hello");
            ///         Ok(())
            ///     })
            /// })
            /// # }
            /// # #[cfg(not(feature = "smol"))]
            /// # fn main() {}
            /// ```
            pub async fn serve_async<N: Into<Next>>(&self, at_once: usize, handler: impl AsyncFn(&mut Received) -> N) -> Result<()> {
                serve(&self.held, at_once, |request| Started::Runs(handle(&handler, request))).await
            }
        }
    };
}
serves_async!(ReceiveRight);
serves_async!(PortSet);
