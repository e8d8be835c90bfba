//! Interfaces: a trait whose methods are messages.
//!
//! [`interface`](macro@crate::interface) on a trait `Adder` makes three things of it. `AdderClient`, from a [`SendRight<dyn Adder>`](crate::SendRight), has the trait's methods and calls
//! them in another task. [`ReceiveRight::serve`](crate::ReceiveRight::serve) takes a value that implements the trait and answers such calls. And a description of it all is in the
//! binary, where `umach describe` finds it, and is what a server answers to whoever asks.
//!
//! ```
//! use libtask::{Result, SendRight, Task, run_local};
//!
//! /// Adds.
//! #[libtask::interface]
//! pub trait Adder {
//!     /// The sum of two numbers.
//!     #[id(1)]
//!     fn add(&self, a: u64, b: u64) -> u64;
//!     /// One's own counter. Who has the right has the counter.
//!     #[id(2)]
//!     fn counter(&mut self) -> std::result::Result<SendRight<dyn Counter>, String>;
//! }
//!
//! /// Counts.
//! #[libtask::interface]
//! pub trait Counter {
//!     /// Counts by `step`, and says what there is now.
//!     #[id(1)]
//!     fn count(&mut self, step: u32) -> u64;
//! }
//!
//! struct Sums(Task);
//! struct Count(u64);
//!
//! impl Adder for Sums {
//!     fn add(&self, a: u64, b: u64) -> u64 {
//!         a + b
//!     }
//!     fn counter(&mut self) -> std::result::Result<SendRight<dyn Counter>, String> {
//!         let port = self.0.new_port_of::<dyn Counter>().map_err(|error| error.to_string())?;
//!         let right = port.make_send().map_err(|error| error.to_string())?;
//!         std::thread::spawn(move || port.serve(Count(0)));
//!         Ok(right)
//!     }
//! }
//! impl Counter for Count {
//!     fn count(&mut self, step: u32) -> u64 {
//!         self.0 += u64::from(step);
//!         self.0
//!     }
//! }
//!
//! run_local(|kernel| -> std::result::Result<(), Box<dyn std::error::Error>> {
//!     let task = kernel.task("sums")?;
//!     let port = task.new_port_of::<dyn Adder>()?;
//!     task.set_bootstrap(&port.make_send()?)?; // what its children find
//!     let (friend, _control) = task.spawn_local("friend")?;
//!     std::thread::spawn(move || port.serve(Sums(task)));
//!
//!     let adder = AdderClient::from(friend.bootstrap()?.typed());
//!     assert_eq!(adder.add(2, 3)?, 5);
//!     let counter = adder.counter()?.client();
//!     assert_eq!((counter.count(2)?, counter.count(3)?), (2, 5));
//!     Ok(())
//! }).unwrap();
//! ```
//!
//! What a trait may say, what may be changed in it later, and how it stands in messages is in `docs/interfaces.md`.

mod at_once;
mod body;
mod client;
mod error;
mod later;
mod parts;
#[doc(hidden)]
pub mod runtime;
mod server;
mod stream;

use umach_describe::interface::ANSWER;
use umach_describe::{Broken, Description};

use crate::error::{Error, Result};
use crate::message::Message;
use crate::right::SendRight;

pub use at_once::{AT_ONCE, answer_async};
pub use client::{Pending, PendingSend};
pub use error::CallError;
pub use later::Later;
pub use parts::OpenFile;
pub use server::{Caller, Handled, answer, handle, refuse};
pub use stream::{Sink, SinkError, Stream};
pub use umach_describe::interface::{DESCRIBE, FAILURE, base_of};

/// What a right can be to: an interface, or (`()`) something about which nothing is said.
#[diagnostic::on_unimplemented(
    message = "a right to `{Self}` cannot be: it is no interface",
    label = "not an interface",
    note = "put `#[libtask::interface]` on the trait, and write `SendRight<dyn Trait>`"
)]
pub trait Target {
    /// The interface's name; empty if nothing is said.
    const NAME: &'static str;
}

impl Target for () {
    const NAME: &'static str = "";
}

/// An interface: `dyn Trait` of a trait with [`interface`](macro@crate::interface) on it, which implements this.
#[diagnostic::on_unimplemented(message = "`{Self}` is no interface", note = "put `#[libtask::interface]` on the trait")]
pub trait Interface: Target {
    /// A method's request has this id plus the method's number.
    const BASE: i32;
    /// The description, for [`Description::read`].
    const DESCRIPTION: &'static [u8];
    /// What calls it.
    type Client: From<SendRight<Self>>;
    /// Whether a message with this id calls a method of this interface, or would if there were such a method. For servers that dispatch by hand.
    fn is_call(id: i32) -> bool {
        (0..ANSWER).contains(&id.wrapping_sub(Self::BASE))
    }
}

/// An interface that `S` can serve, for `S` implements its trait.
#[diagnostic::on_unimplemented(
    message = "`{S}` cannot serve `{Self}`: it does not implement that trait",
    label = "this port's messages are those of `{Self}`"
)]
pub trait Serve<S: ?Sized>: Interface {
    /// Calls the method that a message asks for. Gives the answer, if it is to be sent now.
    #[doc(hidden)]
    fn dispatch(server: &mut S, caller: &mut Caller) -> Option<Message>;
}

/// An interface that `S` can serve in a future: what [`ReceiveRight::serve_async`](crate::ReceiveRight::serve_async) needs.
#[diagnostic::on_unimplemented(
    message = "`{S}` cannot serve `{Self}`: it does not implement that trait",
    label = "this port's messages are those of `{Self}`"
)]
pub trait ServeAsync<S> {
    /// Answers calls.
    #[doc(hidden)]
    fn serve_async(port: runtime::Port<'_>, server: S, at_once: usize) -> impl Future<Output = Result<()>>;
}

/// An interface with methods that are `async fn`, which `S` can serve: what [`answer_async`] needs.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no method that is an `async fn`, or `{S}` does not implement that trait",
    note = "`interface::answer` calls methods that are not async"
)]
pub trait ServeAtOnce<S> {
    /// Calls the method that a message asks for. Gives the answer, if there is to be one.
    #[doc(hidden)]
    fn dispatch(server: &S, caller: &mut Caller, course: &runtime::Course) -> impl Future<Output = Option<Message>> + Send;
}

impl<I: ?Sized + Interface> SendRight<I> {
    /// What calls the interface over this right.
    pub fn client(self) -> I::Client {
        I::Client::from(self)
    }
}

impl<I: ?Sized> SendRight<I> {
    /// Asks whoever receives there for the description of what it serves.
    pub fn describe(&self) -> Result<Description> {
        let answer = self.duplicate().untyped().call(Message::new(DESCRIBE))?;
        let answer = client::checked(answer, DESCRIBE.wrapping_add(ANSWER), "describe")?;
        Description::read(answer.bytes()).map_err(|broken| not_a_description(&answer, broken))
    }
}

fn not_a_description(answer: &crate::received::Received, broken: Broken) -> Error {
    Error::Body { id: answer.id(), len: answer.bytes().len(), what: "a description", why: broken.to_string() }
}
