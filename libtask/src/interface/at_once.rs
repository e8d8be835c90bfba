//! Serving in a future: calls of methods that are `async fn` are in progress at once, a bounded number of them; the others have their turn, one after the other.
//!
//! A call that waits is a future beside others in the one that serves: no thread, and no executor of its own. Each is polled only when it was woken. All start in the order in which they
//! came. Beyond the bound, calls wait in the port's queue, and whoever sends to a full queue waits: a flood costs its senders time and the server no memory.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use umach_abi::Code;

use super::runtime::failure;
use super::{Caller, Interface, Later, ServeAsync, ServeAtOnce, Sink};
use crate::aio::{GivenUp, Started, serve};
use crate::error::Result;
use crate::message::Message;
use crate::receive::{Next, ReceiveRight};
use crate::received::Received;
use crate::right::Held;
use crate::task::Task;

/// Calls in progress at once, if [`ReceiveRight::serve_async`] is not told another number ([`ReceiveRight::serve_async_up_to`]).
pub const AT_ONCE: usize = 256;

/// The port that is served.
#[derive(Clone, Copy)]
pub struct Port<'p>(&'p Held);

impl<I: ?Sized + Interface> ReceiveRight<I> {
    /// Answers calls with `server`, which implements the interface's trait, in this future: no thread waits (see [`crate::aio`]), and none is started. It ends when [`ReceiveRight::serve`]
    /// does.
    ///
    /// Calls of methods that are `async fn` are in progress at once, up to [`AT_ONCE`] of them; further ones wait in the port's queue. They start in the order in which they came. The future
    /// of a call whose caller has given up or died is dropped when it next has to wait. One that panics is answered with an error (`MIG_REMOTE_ERROR`), and the others go on. One with a
    /// [`Sink`] and no result is answered before it runs, so that it may send as many items as it likes; it is dropped when the reader is gone.
    ///
    /// The methods of an interface that has no `async fn` run one after the other; one that takes long takes a [`Later`](super::Later), and answers from a future that it spawns.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use libtask::run_local;
    ///
    /// /// Takes its time.
    /// #[libtask::interface]
    /// pub trait Kitchen {
    ///     /// Cooks, and says what came of it.
    ///     #[id(1)]
    ///     async fn cook(&self, dish: &str, millis: u64) -> String;
    /// }
    ///
    /// struct Stove;
    ///
    /// impl Kitchen for Stove {
    ///     async fn cook(&self, dish: &str, millis: u64) -> String {
    ///         tokio::time::sleep(Duration::from_millis(millis)).await;
    ///         format!("{dish}, done")
    ///     }
    /// }
    ///
    /// run_local(|kernel| {
    ///     let task = kernel.task("kitchen")?;
    ///     let port = task.new_port_of::<dyn Kitchen>()?;
    ///     let kitchen = port.make_send()?.client();
    ///     tokio::runtime::Runtime::new()?.block_on(async {
    ///         libtask::tokio::attach(&task)?;
    ///         tokio::spawn(async move { port.serve_async(Stove).await });
    ///         let (soup, stew) = (kitchen.begin().cook("soup", 20), kitchen.begin().cook("stew", 10));
    ///         assert_eq!(stew.await?, "stew, done"); // while the soup cooks
    ///         assert_eq!(soup.await?, "soup, done");
    ///         Ok(())
    ///     })
    /// })
    /// # }
    /// # #[cfg(not(feature = "tokio"))]
    /// # fn main() {}
    /// ```
    pub async fn serve_async<S>(&self, server: S) -> Result<()>
    where
        I: ServeAsync<S>,
    {
        I::serve_async(Port(&self.held), server, AT_ONCE).await
    }

    /// The same with so many calls in progress at once, at least one.
    pub async fn serve_async_up_to<S>(&self, at_once: usize, server: S) -> Result<()>
    where
        I: ServeAsync<S>,
    {
        I::serve_async(Port(&self.held), server, at_once).await
    }
}

/// Answers one message of an interface that has an `async fn`, for servers with a loop of their own ([`PortSet::serve_async`](crate::PortSet::serve_async), say): as [`super::answer`]
/// does for the others. A method with a [`Sink`] is answered here when it returns, whatever its result: it spawns what sends more items than the client's queue holds.
pub async fn answer_async<I: ?Sized + ServeAtOnce<S>, S>(server: &S, request: &mut Received) -> Next {
    if request.notification().is_some() {
        return Next::Continue;
    }
    let mut caller = Caller::new(request.take_message());
    // Whoever polls this looks after a caller that gives up; and would not know that it was answered.
    let answer = I::dispatch(server, &mut caller, &Course(Mutex::new(None))).await;
    let stops = caller.stops();
    *request = caller.request;
    match (answer, stops) {
        (Some(answer), false) => Next::Reply(answer),
        (None, false) => Next::Continue,
        (Some(answer), true) => Next::ReplyAndStop(answer),
        (None, true) => Next::Stop,
    }
}

/// Serves an interface none of whose methods is async.
pub async fn serve_in_turn(port: Port<'_>, mut dispatch: impl FnMut(&mut Caller) -> Option<Message>) -> Result<()> {
    let answer = |request| -> Started<std::future::Ready<bool>> {
        let mut caller = Caller::new(request);
        if let Some(answer) = dispatch(&mut caller) {
            caller.answer(answer);
        }
        Started::Done(caller.stops())
    };
    serve(port.0, 1, answer).await
}

/// Serves one of whose methods some are.
pub async fn serve_at_once<I: ?Sized + ServeAtOnce<S>, S>(port: Port<'_>, server: S, at_once: usize) -> Result<()> {
    serve(port.0, at_once, |request| Started::Runs(call::<I, S>(&server, request))).await
}

/// Who waits for what a method does, and may cease to: the caller, and once it is answered the reader of the stream.
pub struct Course(Mutex<Option<GivenUp>>);

impl Course {
    fn poll(&self, task: &Task, cx: &mut Context<'_>) -> Poll<()> {
        self.0.lock().as_mut().map_or(Poll::Pending, |given_up| given_up.poll(task, cx))
    }
    /// Answers a method that is going to send items, so that its caller reads them while they are sent. If that is not to be now, gives the answer back.
    pub fn answer_first<T>(&self, answer: Later<()>, items: &Sink<T>) -> Option<Later<()>> {
        let mut given_up = self.0.lock();
        if given_up.is_none() {
            return Some(answer);
        }
        *given_up = Some(GivenUp::of(items.right()));
        drop(given_up);
        super::runtime::answer_last(Some(answer));
        None
    }
}

/// What became of a method.
enum Ended {
    Returned(Option<Message>),
    Panicked,
    GivenUp,
}

/// One call, from its arrival to its answer. True: that was the last.
async fn call<I: ?Sized + ServeAtOnce<S>, S>(server: &S, request: Received) -> bool {
    let task = request.task().clone();
    let course = Course(Mutex::new(Some(GivenUp::new(&request))));
    let mut caller = Caller::new(request);
    let ended = {
        let mut work = pin!(I::dispatch(server, &mut caller, &course));
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(answer)) => Poll::Ready(Ended::Returned(answer)),
            Ok(Poll::Pending) => course.poll(&task, cx).map(|()| Ended::GivenUp),
            Err(_) => Poll::Ready(Ended::Panicked),
        })
        .await
    };
    // Before the right that it asked about is used.
    drop(course);
    match ended {
        Ended::Returned(None) | Ended::GivenUp => {}
        Ended::Returned(Some(answer)) => caller.answer(answer),
        Ended::Panicked => {
            tracing::error!(task = task.id(), call = ?caller, "a method panicked");
            if caller.request.wants_reply() {
                caller.answer(failure(Code::MIG_REMOTE_ERROR, "the method panicked".to_owned()));
            }
        }
    }
    caller.stops()
}
