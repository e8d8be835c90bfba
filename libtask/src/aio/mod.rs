//! Messages in async programs: calls, receives and sends that are futures, whatever runtime polls them.
//!
//! # How a program uses it
//!
//! A runtime is *attached* to a task once; then every right of that task has futures:
//!
//! | | |
//! |---|---|
//! | `libtask::tokio::attach(&task)` | in a tokio runtime (feature `tokio`) |
//! | `libtask::smol::attach(&task)` | smol, async-std, anything on async-io (feature `smol`) |
//! | [`Task::attach`](crate::Task::attach) | an event loop of the program's own: see [`Reactor`] |
//!
//! | instead of | |
//! |---|---|
//! | [`SendRight::call`](crate::SendRight::call) | [`SendRight::call_async`](crate::SendRight::call_async) |
//! | [`SendRight::begin_call`](crate::SendRight::begin_call), [`PendingCall::finish`](crate::PendingCall::finish) | the same, and `.await` or [`PendingCall::poll_answer`](crate::PendingCall::poll_answer) |
//! | [`SendRight::send`](crate::SendRight::send) | [`SendRight::send_async`](crate::SendRight::send_async) |
//! | [`ReceiveRight::receive`](crate::ReceiveRight::receive) | [`ReceiveRight::receive_async`](crate::ReceiveRight::receive_async), [`ReceiveRight::poll_receive`](crate::ReceiveRight::poll_receive), [`ReceiveRight::incoming`](crate::ReceiveRight::incoming) |
//! | [`ReceiveRight::serve`](crate::ReceiveRight::serve) | [`ReceiveRight::serve_async`](crate::ReceiveRight::serve_async): many requests at once |
//!
//! Nothing here starts a thread. Threads of the task may send, receive and call at the same time as futures do, also on the same port; several runtimes may be attached to one
//! task, and each wakes futures of all.
//!
//! # What is promised
//!
//! * A future takes a message only in the moment in which it is ready: one that is dropped has taken nothing. A call that is dropped gives its slot back; its server can see
//!   that ([`Received::is_given_up`](crate::Received::is_given_up)).
//! * A future that waits costs nothing until there is news for its task. Whoever hears the bell looks at what the others wait for and wakes those whose time has come; where
//!   only the kernel process knows (mail), all that wait for messages.
//! * Polling does not wait, but for the kernel process's prompt answers, and for up to a tenth of a millisecond of looking when nothing else of the task waits and that has paid
//!   lately, as the blocking calls do.
//!
//! # How it works
//!
//! ```text
//! a future                                          whoever hears the bell (in the runtime's waker)
//!   epoch read; looked: nothing there                 descriptor drained, events pulled
//!   waker and wish into the list, unless the          under the list's lock: epoch += 1, each wish looked at,
//!     epoch has changed: then looks again               wakers taken of those whose time has come
//!   poller armed, unless it is                        wishes left? armed again, and each looked at once more
//! ```
//!
//! The bell is a [`Poller`](crate::Poller)'s: a lane on which the kernel process answers when there is something. Its descriptor is what the runtime watches, with a waker that does the
//! right-hand column itself. So no future has to be polled for another's sake, and one that is kept and never polled harms nobody.
//!
//! Lock order: a driver's `turning`, its poller, the direct plane's locks, the list of wishes. Wakers are called with none of them held.

mod call;
mod hub;
mod reactor;
mod receive;
mod send;
mod serve;

pub use call::CallFuture;
pub(crate) use call::Polled;
pub(crate) use hub::Hub;
pub use reactor::{Doorbell, Reactor};
pub use receive::{Incoming, ReceiveFuture};
pub use send::SendFuture;
pub(crate) use send::Sending;
pub(crate) use serve::{GivenUp, Started, serve};
