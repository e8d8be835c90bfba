//! libtask: Mach's message passing for Linux programs. Tasks own ports, send each other messages that carry rights and memory, and are told
//! when the other side dies.
//!
//! # The words
//!
//! A *port* is a queue of messages. Who holds its one [`ReceiveRight`] receives; who holds a [`SendRight`] sends; a [`SendOnceRight`] sends one message, usually
//! an answer. Rights cannot be made up: the kernel process keeps them, and they move only inside messages. A [`Task`] is a holder of rights,
//! normally a process. In this library a right is a value that moves: dropping it gives it back, and that is what the others are told.
//!
//! # A first task in 15 lines
//!
//! ```
//! use libtask::{Message, run_local};
//!
//! fn main() -> libtask::Result<()> {
//!     run_local(|kernel| {
//!         let task = kernel.task("first")?;
//!         let inbox = task.new_port()?;
//!         let to_inbox = inbox.make_send()?;
//!         to_inbox.send(Message::new(1).body(&("apples", 3u32)))?;
//!         let message = inbox.receive()?;
//!         let (what, count): (String, u32) = message.body()?;
//!         assert_eq!((what.as_str(), count), ("apples", 3));
//!         assert_eq!(message.sender().task, task.id());
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # A server and its client
//!
//! ```
//! use libtask::run_local;
//!
//! #[libtask::interface]
//! pub trait Adder {
//!     #[id(1)]
//!     fn add(&self, a: u64, b: u64) -> u64;
//! }
//!
//! struct Sums;
//! impl Adder for Sums {
//!     fn add(&self, a: u64, b: u64) -> u64 {
//!         a + b
//!     }
//! }
//!
//! fn main() -> libtask::Result<()> {
//!     run_local(|kernel| {
//!         let server = kernel.task("server")?;
//!         let port = server.new_port_of::<dyn Adder>()?;
//!         server.set_bootstrap(&port.make_send()?)?; // what its children find
//!         let (client, _control) = server.spawn_local("client")?;
//!         std::thread::spawn(move || port.serve(Sums));
//!         let adder = AdderClient::from(client.bootstrap()?.typed());
//!         assert_eq!(adder.add(2, 3)?, 5);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Rights, memory and open files are arguments and results like any others; there are streams, one-way calls, deadlines, errors of the interface's own. See [`interface`](mod@interface) and
//! `docs/interfaces.md`.
//!
//! Without an interface, a message is an id and a body:
//!
//! ```
//! use libtask::{Message, Next, run_local};
//!
//! fn main() -> libtask::Result<()> {
//!     run_local(|kernel| {
//!         let server = kernel.task("server")?;
//!         let port = server.new_port()?;
//!         server.set_bootstrap(&port.make_send()?)?; // what its children find
//!         let (client, _control) = server.spawn_local("client")?;
//!         std::thread::spawn(move || {
//!             port.serve(|request| match request.body::<(u64, u64)>() {
//!                 Ok((a, b)) => Next::Reply(Message::new(101).body(&(a + b))),
//!                 Err(_) => Next::Continue, // dropped unanswered: the caller is told
//!             })
//!         });
//!         let adder = client.bootstrap()?;
//!         assert_eq!(adder.call(Message::new(100).body(&(2u64, 3u64)))?.body::<u64>()?, 5);
//!         assert!(adder.call(Message::new(100).body("two")).unwrap_err().is_server_died());
//!         Ok(())
//!     })
//! }
//! ```
//!
//! With processes the same program starts with [`Task::current`] and [`Task::spawn`]: see `examples/adder.rs`.
//!
//! # Where the kernel is
//!
//! | way | how |
//! |---|---|
//! | in this process | [`run_local`], [`LocalKernel`]: for tests, and for programs that are one process |
//! | a private kernel process | [`Task::current`] when there is no other, or [`Task::private_kernel`]; ends with its last task |
//! | a kernel process for the user | [`Task::current`] with `umach kernel` running, or [`Task::connect`] |
//!
//! All three speak the same packets, so a program notices no difference but speed.
//!
//! # The layers
//!
//! The types here never show a bare name in a way that matters; [`raw`] has Mach's own calls with names, one to one. `UMACH_TRACE=1` prints each message that
//! a task sends or receives.
//!
//! # What to know
//!
//! * Open files travel too ([`Message::file`]): a descriptor goes to the task that receives when the message is sent.
//! * Calls, sends and receives are futures too, in tokio, smol, or an event loop of the program's own: [`aio`], `docs/async.md`. A program with an event loop and no futures watches a [`Poller`].
//! * Everything is `Send + Sync`; any number of threads may send and receive at once. One that waits holds a lane of its own, and a task has at most
//!   60: the next that would wait waits for a lane first. So do not let more threads than that wait for each other within one task.
//! * A wait has a deadline where you give one; [`SendRight::call`] has one of 30 seconds. Dropping a request unanswered, or dying with it, is told to the
//!   caller at once ([`Error::is_server_died`]).
//! * A send that fails gives the message back ([`SendError::message`]) whenever Mach leaves it whole.
//! * After `fork` the child is not the task: every call fails with [`Error::Forked`], unless a task was made for it ([`Task::before_fork`]). No descriptor survives `exec`, except the lane that
//!   [`Task::spawn`] hands to the child.

pub mod aio;
mod connect;
mod control;
mod deliver;
mod direct;
mod error;
mod exchange;
mod files;
mod fork;
mod frame;
pub mod interface;
mod lease;
mod loan;
pub mod local;
mod look;
mod message;
mod pending;
mod poller;
pub mod raw;
mod receive;
mod received;
mod region;
mod right;
#[cfg(feature = "smol")]
pub mod smol;
pub mod spawn;
mod sys;
mod task;
#[cfg(feature = "tokio")]
pub mod tokio;
mod trace;
mod tracer;
mod transport;

pub use control::{Host, HostControl, TaskControl};
pub use error::{Error, Result, RightLabel, SendError};
pub use fork::ChildOfFork;
pub use interface::{CallError, Caller, Interface, Later, OpenFile, Pending, PendingSend, Sink, Stream};
pub use lease::Lease;
pub use loan::Loan;
pub use local::{LocalKernel, run_local};
pub use look::{LinkSide, LinkSnapshot};
pub use message::{Message, ReplyTo};
pub use pending::PendingCall;
pub use poller::Poller;
pub use receive::{Next, PortOptions, PortSet, PortStatus, ReceiveRight};
pub use received::{Notification, Received, ReplyRight, Sender};
pub use region::{Memory, Region, RegionWriter, SharedRegion};
pub use right::{CALL_TIMEOUT, DeadName, DeadNameRequest, SendOnceRight, SendRight};
pub use spawn::{Child, Command};
pub use task::Task;
pub use tracer::{TraceBatch, TraceFilter, TraceRecord, Tracer};
pub use umach_abi::records::{HostRow, LinkRow, NameRow, PortRow, RouteRow, SpaceRow, TaskRow, TraceRight, TraceRow};
pub use umach_abi::{Code, Disposition, Features, Name, RightKind, TypeBits};
pub use umach_macros::{data, interface};
pub use zerocopy;
